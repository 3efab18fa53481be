"""A posterior written into gammapy models: values, errors, covariance, links, files."""

import numpy as np
import pytest
import xarray as xr
from dl3_field import sky_model
from gammapy.modeling import models as gp

import pymc_gamma as pmg
from pymc_gamma.errors import DataFileError, ModelError

NAMES = ("crab.spectral.index", "crab.spectral.amplitude", "run-bkg.spectral.norm")
COVARIANCE = np.array([[4e-4, 8e-15, 0.0], [8e-15, 1e-24, -1e-15], [0.0, -1e-15, 1e-4]])


@pytest.fixture
def models():
    return gp.Models([sky_model(), gp.FoVBackgroundModel(dataset_name="run")])


@pytest.fixture
def posterior(rng):
    # correlated, of very different scales
    scales = np.sqrt(np.diag(COVARIANCE))
    unit = rng.multivariate_normal(np.zeros(3), COVARIANCE / np.outer(scales, scales), size=(4, 500))
    draws = np.array([2.5, 3e-11, 1.05]) + unit * scales
    return xr.Dataset({name: (("chain", "draw"), draws[..., k]) for k, name in enumerate(NAMES)})


def test_values_errors_and_covariance(models, posterior):
    found = pmg.to_gammapy(posterior, models)
    spectral = found["crab"].spectral_model
    rows = np.array([posterior[name].values.ravel() for name in NAMES])
    assert spectral.index.value == pytest.approx(rows[0].mean())
    assert spectral.amplitude.error == pytest.approx(rows[1].std(ddof=1))
    assert found["run-bkg"].spectral_model.norm.error == pytest.approx(rows[2].std(ddof=1))
    free = [k for k, parameter in enumerate(found.parameters) if not parameter.frozen]
    scales = rows.std(axis=1)
    correlation = found.covariance.data[np.ix_(free, free)] / np.outer(scales, scales)
    assert correlation == pytest.approx(np.corrcoef(rows), abs=2e-3)
    assert spectral.covariance.data[0, 1] == pytest.approx(np.cov(rows)[0, 1])
    assert spectral.reference.error == 0
    assert models["crab"].spectral_model.index.value == 2.4, "the models given stay as they are"


def test_median_and_groups(models, posterior):
    tree = xr.DataTree.from_dict({"posterior": posterior})
    found = pmg.to_gammapy(tree, list(models), point="median")
    assert found["crab"].spectral_model.index.value == pytest.approx(float(posterior[NAMES[0]].median()))


def test_gammapy_propagates_the_errors(models, posterior):
    import astropy.units as u

    spectral = pmg.to_gammapy(posterior, models)["crab"].spectral_model
    energy = np.geomspace(0.5, 20, 5)
    draws = posterior[NAMES[1]].values[..., None] * energy ** -posterior[NAMES[0]].values[..., None]
    value, low, high = spectral.evaluate_error(energy * u.TeV, n_samples=20_000).to_value("TeV-1 cm-2 s-1")
    assert value == pytest.approx(draws.mean(axis=(0, 1)), rel=0.01)
    # to the accuracy of 2000 draws
    assert low + high == pytest.approx(2 * draws.std(axis=(0, 1)), rel=0.1)
    spectral.plot_error(energy_bounds=(0.5, 20) * u.TeV)


def test_linked_parameters_have_one_draw(posterior):
    first, second = sky_model(), sky_model("vela", 0.4)
    second.spectral_model.index = first.spectral_model.index
    second.spectral_model.amplitude.frozen = True
    found = pmg.to_gammapy(posterior, [first, second])
    crab, vela = found["crab"].spectral_model, found["vela"].spectral_model
    assert vela.index is crab.index
    assert vela.index.error == pytest.approx(float(posterior[NAMES[0]].std(ddof=1)))
    assert vela.covariance.data[0, 0] == pytest.approx(vela.index.error**2)


def test_the_file_of_models_holds_it(models, posterior, tmp_path):
    path = tmp_path / "models.yaml"
    found = pmg.to_gammapy(posterior, models)
    found.write(path)
    again = gp.Models.read(path)
    assert again["crab"].spectral_model.index.value == pytest.approx(found["crab"].spectral_model.index.value)
    assert again.covariance.data == pytest.approx(found.covariance.data, rel=1e-6)
    assert pmg.to_gammapy(posterior, path).parameters.value == pytest.approx(found.parameters.value)


def test_models_without_free_parameters(posterior):
    model = sky_model()
    model.freeze()
    assert pmg.to_gammapy(posterior, model)["crab"].spectral_model.index.value == 2.4


def test_bad_input(models, posterior):
    with pytest.raises(ModelError, match=r"the posterior has no \['run-bkg.spectral.norm'\]"):
        pmg.to_gammapy(posterior.drop_vars(NAMES[2]), models)
    with pytest.raises(ModelError, match=r"crab.spectral.index must be a finite number"):
        pmg.to_gammapy(posterior.assign({NAMES[0]: posterior[NAMES[0]] * np.nan}), models)
    with pytest.raises(ModelError, match=r"crab.spectral.index must be a finite number"):
        pmg.to_gammapy(posterior.isel(draw=0), models)
    with pytest.raises(ValueError, match="'mean' or 'median'"):
        pmg.to_gammapy(posterior, models, point="mode")
    with pytest.raises(TypeError, match="gammapy Models"):
        pmg.to_gammapy(posterior, 3)
    with pytest.raises(TypeError, match="list"):
        pmg.to_gammapy(posterior, [gp.PowerLawSpectralModel])
    with pytest.raises(ModelError, match="models is empty"):
        pmg.to_gammapy(posterior, [])
    with pytest.raises(DataFileError, match=r"nowhere.yaml"):
        pmg.to_gammapy(posterior, "nowhere.yaml")
    with pytest.raises(ModelError, match="rename the model"):
        pmg.to_gammapy(posterior, sky_model("HESS J1/2"))
