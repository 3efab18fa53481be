"""Free positions and extensions of gammapy models: variables, priors, likelihood, and the way back."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from dl3_field import POSITION, observations, region, sky_model
from gammapy.modeling import models as gp
from scipy import stats

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, SkyModelError
from pymc_gamma.interop import GammapyTranslation

RA, DEC = POSITION.ra.deg, POSITION.dec.deg
FREE = ("lon_0", "lat_0", "sigma", "e", "phi")


def extended(*free, kind=gp.GaussianSpatialModel, name="crab", frame="icrs", **sizes):
    """A source with some parameters of its shape free."""
    sizes = sizes or {"sigma": "0.1 deg", "e": 0.6, "phi": "30 deg"}
    at = POSITION.transform_to(frame).spherical
    spatial = kind(lon_0=at.lon, lat_0=at.lat, frame=frame, **sizes)
    for parameter in spatial.parameters:
        parameter.frozen = parameter.name not in free
    spectral = gp.PowerLawSpectralModel(index=2.4, amplitude="3.8e-11 TeV-1 cm-2 s-1")
    return gp.SkyModel(spectral, spatial, name=name)


def translate(*models):
    return GammapyTranslation(list(models), ["11", "12"])


def variables_of(*models):
    with pm.Model() as model:
        translate(*models).variables()
    return model


@pytest.fixture(scope="module")
def response():
    translation = translate(extended(*FREE))
    return pmg.fold(
        translation.components,
        observations(),
        region(),
        free_spectrum=translation.free_spectrum,
        free_shape=translation.free_shape,
        energy_true=60,
    )


@pytest.fixture(scope="module")
def events(response):
    return response.simulate(rng=4)[::4]  # enough of them, and quick


def test_likelihood_is_that_of_the_same_model_by_hand(response, events):
    model = pmg.from_gammapy(extended(*FREE), observations(), region(), events=events, response=response)
    names = [f"crab.spatial.{name}" for name in FREE]
    assert {rv.name for rv in model.free_RVs} == {*names, "crab.spectral.index", "crab.spectral.amplitude"}
    shape = {"lon_0": RA + 0.003, "lat_0": DEC - 0.002, "sigma": 0.105, "e": 0.63, "phi": 27.0}
    at = dict(zip(names, shape.values(), strict=True)) | {
        "crab.spectral.index": 2.45,
        "crab.spectral.amplitude": 3.6e-11,
    }
    graph = pm.logp(model["events"], model.rvs_to_values[model["events"]]).sum()
    found = float(graph.eval({model[name]: value for name, value in at.items()}, mode="FAST_COMPILE"))
    again = response.with_shapes({"crab": shape})
    again = again.with_spectra({"crab": 3.6e-11 * again.energy_true**-2.45})
    expected = np.log(again.density(events).sum(axis=1)).sum() - float(again.acceptance.sum())
    # a thousand events: 1e-4 rms of each, and 3e-5 of the expected 4000
    assert found == pytest.approx(expected, abs=0.1)


def test_it_starts_where_the_models_are(response, events):
    model = pmg.from_gammapy(extended(*FREE), observations(), region(), events=events, response=response)
    logp = model.compile_logp(mode="FAST_COMPILE")
    start = model.initial_point()
    assert np.isfinite(logp(start))
    rng = np.random.default_rng(1)
    for _ in range(5):  # and within the jitter that PyMC adds
        point = {name: value + rng.uniform(-1, 1, value.shape) for name, value in start.items()}
        assert np.isfinite(logp(point))


def test_a_response_is_folded_with_free_shapes():
    model = pmg.from_gammapy(
        extended("sigma"), observations(), region(), fold_options={"energy_true": 60}, max_events=20_000
    )
    assert "crab.spatial.sigma" in model.named_vars


def logp_of(model, name, values):
    variable = model[name]
    return np.array([float(pm.logp(variable, value).eval()) for value in values])


def test_default_priors():
    model = variables_of(extended(*FREE))
    width = 0.1 / np.cos(np.radians(DEC))
    expected = {
        "lon_0": stats.norm(RA, width),
        "lat_0": stats.norm(DEC, 0.1),
        "sigma": stats.uniform(0, 0.2),
        "e": stats.uniform(0, 0.98),
        "phi": stats.norm(30, 45),
    }
    for name, prior in expected.items():
        values = prior.ppf([0.05, 0.5, 0.9])
        found = logp_of(model, f"crab.spatial.{name}", values)
        np.testing.assert_allclose(found, prior.logpdf(values), rtol=1e-6)


def test_priors_of_gammapy_end_where_tables_do():
    source = extended(*FREE)
    spatial = source.spatial_model
    spatial.lon_0.prior = gp.GaussianPrior(mu=RA + 0.02, sigma=0.05)
    spatial.lat_0.prior = gp.UniformPrior(min=DEC - 3, max=DEC + 3)
    spatial.sigma.prior = gp.GaussianPrior(mu=0.09, sigma=0.03)
    spatial.e.min, spatial.e.max = 0.2, 0.8
    model = variables_of(source)
    reach = 0.3 / np.cos(np.radians(DEC))
    expected = {
        "lon_0": stats.truncnorm((-reach - 0.02) / 0.05, (reach - 0.02) / 0.05, RA + 0.02, 0.05),
        "lat_0": stats.uniform(DEC - 0.3, 0.6),
        "sigma": stats.truncnorm(-3, 0.11 / 0.03, 0.09, 0.03),
        "e": stats.uniform(0.2, 0.6),
    }
    for name, prior in expected.items():
        values = prior.ppf([0.05, 0.5, 0.9])
        found = logp_of(model, f"crab.spatial.{name}", values)
        np.testing.assert_allclose(found, prior.logpdf(values), rtol=1e-6)


def test_units_are_those_of_the_parameters():
    source = extended(*FREE)
    source.spatial_model.sigma.unit = "arcmin"
    source.spatial_model.sigma.value = 6.0
    source.spatial_model.phi.unit = "rad"
    source.spatial_model.phi.value = np.radians(30)
    model = variables_of(source)
    values = np.array([3.0, 11.9])
    np.testing.assert_allclose(logp_of(model, "crab.spatial.sigma", values), -np.log(12))
    prior = stats.norm(np.radians(30), np.radians(45))
    np.testing.assert_allclose(logp_of(model, "crab.spatial.phi", [0.1, 0.9]), prior.logpdf([0.1, 0.9]), rtol=1e-6)


def test_variables_are_turned_into_degrees(response):
    source = extended("sigma")
    source.spatial_model.sigma.unit = "arcmin"
    source.spatial_model.sigma.value = 6.0
    translation = translate(source)
    with pm.Model():
        variables = translation.variables()
        (shape,) = translation.shapes(variables, response).values()
    (variable,) = [v for p, v in variables.items() if p.name == "sigma"]
    assert shape.sigma.eval({variable: 6.0}) == pytest.approx(0.1)
    assert shape.lon_0 == pytest.approx(RA)


@pytest.mark.parametrize(
    ("kind", "sizes", "shape"),
    [
        (gp.DiskSpatialModel, {"r_0": "0.2 deg", "edge_width": 0.01}, pmg.DiskShape),
        (gp.ShellSpatialModel, {"radius": "0.2 deg", "width": "0.1 deg"}, pmg.ShellShape),
    ],
)
def test_discs_and_shells(kind, sizes, shape):
    free = ("lon_0", "lat_0", *(name for name in sizes if name != "edge_width"))
    translation = translate(extended(*free, kind=kind, **sizes))
    assert translation.free_shape == ("crab",)
    with pm.Model() as model:
        variables = translation.variables()
    assert {rv.name for rv in model.free_RVs} >= {f"crab.spatial.{name}" for name in free}
    assert {p.name for p in variables} >= set(free)
    (mine,) = translation._shapes.values()
    assert type(mine.reference) is shape


def test_the_posterior_goes_back(rng):
    source = extended(*FREE)
    names = [f"crab.spatial.{name}" for name in FREE] + ["crab.spectral.index", "crab.spectral.amplitude"]
    middle = np.array([RA + 0.01, DEC, 0.11, 0.5, 40.0, 2.4, 3e-11])
    scales = np.array([0.004, 0.003, 0.005, 0.05, 6.0, 0.05, 1e-12])
    correlation = np.eye(7) + np.diag(np.full(6, 0.4), 1) + np.diag(np.full(6, 0.4), -1)
    draws = middle + rng.multivariate_normal(np.zeros(7), correlation, size=(4, 500)) * scales
    posterior = xr.Dataset({name: (("chain", "draw"), draws[..., k]) for k, name in enumerate(names)})
    found = pmg.to_gammapy(posterior, source)
    spatial = found["crab"].spatial_model
    rows = draws.reshape(-1, 7)
    assert spatial.lon_0.value == pytest.approx(rows[:, 0].mean())
    assert spatial.phi.error == pytest.approx(rows[:, 4].std(ddof=1))
    order = [spatial.covariance.parameters.names.index(name) for name in FREE]
    covariance = spatial.covariance.data[np.ix_(order, order)] / np.outer(scales[:5], scales[:5])
    np.testing.assert_allclose(covariance, np.cov(rows[:, :5].T) / np.outer(scales[:5], scales[:5]), atol=1e-9)
    assert spatial.position.ra.deg == pytest.approx(rows[:, 0].mean())


@pytest.mark.slow
def test_sampled_and_back(response, seed):
    events = response.simulate(rng=4)
    source = extended("lon_0", "lat_0", "sigma")
    for parameter in source.spectral_model.parameters:
        parameter.frozen = True
    model = pmg.from_gammapy(source, observations(), region(), events=events, response=response)
    with model:
        idata = pm.sample(
            200,
            tune=300,
            chains=2,
            cores=1,
            nuts_sampler="pymc",
            random_seed=seed,
            progressbar=False,
            compute_convergence_checks=False,
        )
    assert int(idata.sample_stats["diverging"].sum()) == 0
    spatial = pmg.to_gammapy(idata, source)["crab"].spatial_model
    for name, truth in {"lon_0": RA, "lat_0": DEC, "sigma": 0.1}.items():
        parameter = getattr(spatial, name)
        assert abs(parameter.value - truth) < 4 * parameter.error
        assert 0 < parameter.error < 0.01


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            lambda: extended("r_0", "e", kind=gp.DiskSpatialModel, r_0="0.2 deg", edge_width=0.01),
            r"'e' of the spatial model DiskSpatialModel of 'crab' is free, but cannot",
        ),
        (
            lambda: extended("r_0", kind=gp.DiskSpatialModel, r_0="0.2 deg", e=0.5),
            r"'r_0' of the spatial model DiskSpatialModel of 'crab' is free.*models\['crab'\].spatial_model.r_0.frozen",
        ),
        (
            lambda: extended("eta", kind=gp.GeneralizedGaussianSpatialModel, r_0="0.2 deg", eta=0.7),
            r"'eta' of the spatial model GeneralizedGaussianSpatialModel",
        ),
    ],
)
def test_what_cannot_be_free_is_named(source, message):
    with pytest.raises(SkyModelError, match=message):
        translate(source())


def test_near_a_pole():
    source = sky_model()
    source.spatial_model.lat_0.value = 88.9
    source.spatial_model.lon_0.frozen = False
    with pytest.raises(SkyModelError, match=r"'lon_0' of 'crab' is free at the latitude 88\.9 deg"):
        translate(source)


def test_the_frame_is_that_of_the_region():
    for free in ("lon_0", "phi"):
        model = extended(free, frame="galactic")
        with pytest.raises(SkyModelError, match=rf"\['{free}'\] of 'crab' are free in the frame 'galactic'"):
            pmg.from_gammapy(model, observations(), region(), fold_options={"energy_true": 60}, max_events=20_000)


def test_a_response_with_other_free_shapes(response):
    with pytest.raises(ModelError, match=r"leaves the shapes of \('crab',\) to the model.*free_shape"):
        pmg.from_gammapy(extended(), observations(), region(), response=response, max_events=20_000)
    source = extended("sigma")
    source.spatial_model.sigma.prior = gp.UniformPrior(min=0.4, max=0.5)
    with pytest.raises(ModelError, match="no number between its limits"):
        pmg.from_gammapy(source, observations(), region(), response=response, max_events=20_000)
