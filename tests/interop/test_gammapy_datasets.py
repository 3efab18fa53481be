"""Data sets of gammapy, alone and beside observations, as one model: against gammapy's own fits and statistics."""

import copy

import astropy.units as u
import numpy as np
import ogip_files
import pymc as pm
import pytest
import xarray as xr
from astropy.table import Table
from dl3_field import observations, region, sky_model
from gammapy.data import Observations
from gammapy.datasets import Datasets, FluxPointsDataset, MapDataset, SpectrumDataset, SpectrumDatasetOnOff
from gammapy.estimators import FluxPoints
from gammapy.maps import MapAxis, RegionGeom, WcsGeom
from gammapy.modeling import Fit
from gammapy.modeling import models as gp
from pytensor.graph.traversal import ancestors

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError, SkyModelError

pytestmark = pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
ENERGY = np.geomspace(0.05, 0.4, 5)
FLUX = u.Unit("TeV-1 cm-2 s-1")


def crab(name="crab", **changes):
    spectral = gp.LogParabolaSpectralModel(amplitude="2e-11 TeV-1 cm-2 s-1", reference="1 TeV", alpha=2.2, beta=0.05)
    return gp.SkyModel(spectral, name=name, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ogip")


def on_off(folder, name="magic", **changes):
    return SpectrumDatasetOnOff.read(ogip_files.write(folder, gammapy=True, **changes), name=name)


def points(name="lat", stat_type="chi2"):
    dnde = 3e-11 * ENERGY**-2.1 * np.array([1.05, 0.98, 0.9, 1.1, 1.02])
    table = Table({"e_ref": ENERGY * u.TeV, "dnde": dnde * FLUX, "dnde_err": 0.1 * dnde * FLUX})
    table.meta["SED_TYPE"] = "dnde"
    return FluxPointsDataset(data=FluxPoints.from_table(table), name=name, stat_type=stat_type)


def flat(models):
    """Copies with priors that say nothing."""
    models = copy.deepcopy(models)
    for parameter in models.parameters.free_parameters:
        reach = 20 * abs(parameter.value) + 2
        low = 0 if parameter.name == "amplitude" else -reach
        parameter.prior = gp.UniformPrior(min=low, max=1e-9 if parameter.name == "amplitude" else reach)
    return models


def log_likelihood(model, values):
    """Of all data, at values of the parameters."""
    graph = sum(pm.logp(one, model.rvs_to_values[one]).sum() for one in model.observed_RVs)
    return float(graph.eval({model[name]: value for name, value in values.items()}, mode="FAST_COMPILE"))


def test_a_joint_fit_is_gammapys(folder):
    models = gp.Models([crab()])
    given = Datasets([on_off(folder), points()])
    model = pmg.from_gammapy(flat(models), given, background=pmg.ProfiledBackground())
    assert [one.name for one in model.observed_RVs] == ["magic", "lat"]
    constant = np.log(2 * np.pi * given["lat"].data.dnde_err.data.ravel() ** 2).sum()
    given.models = models
    spectral = models["crab"].spectral_model
    for amplitude, alpha, beta in ((2e-11, 2.2, 0.05), (5e-11, 2.6, 0.2), (1e-11, 1.8, 0.0)):
        spectral.amplitude.value, spectral.alpha.value, spectral.beta.value = amplitude, alpha, beta
        at = {"crab.spectral.amplitude": amplitude, "crab.spectral.alpha": alpha, "crab.spectral.beta": beta}
        assert -2 * log_likelihood(model, at) - constant == pytest.approx(given.stat_sum(), rel=1e-3)
    Fit(optimize_opts={"tol": 1e-3}).run(given)
    best = pmg.best_fit(model, tolerance=1e-4)
    for name in ("amplitude", "alpha", "beta"):
        parameter = getattr(spectral, name)
        assert float(best.value[f"crab.spectral.{name}"]) == pytest.approx(parameter.value, rel=2e-3)


def test_models_are_for_their_data_sets(folder):
    """A second source in one data set alone, and a spectrum that the other data set alone sees."""
    other = gp.SkyModel(
        gp.PowerLawSpectralModel(amplitude="4e-12 TeV-1 cm-2 s-1"), name="other", datasets_names="magic"
    )
    models = gp.Models([crab(datasets_names=["magic", "fact"]), other, crab("third", datasets_names=["lat"])])
    given = Datasets([on_off(folder), on_off(folder, "fact"), points()])
    model = pmg.from_gammapy(flat(models), given, background=pmg.FlatBackground)
    assert len(model.free_RVs) == 8
    at = {name: float(one.value) for one, name in zip(models.parameters, models.parameters_unique_names, strict=True)}
    at = {name: value for name, value in at.items() if name in model.named_vars}
    with pm.Model() as by_hand:
        shape = pmg.LogParabola(amplitude=2e-11, alpha=2.2, beta=0.05, reference=1.0)
        both = shape + pmg.PowerLaw(amplitude=4e-12)
        data = [pmg.CountsSpectrum.from_gammapy(one) for one in (given["magic"], given["fact"])]
        for one, spectrum in zip(data, (both, shape), strict=True):
            pmg.OnOffCounts(one.name, one, spectrum=spectrum, background=pmg.FlatBackground())
        pmg.FluxPointsData("lat", given["lat"], spectrum=shape)
    expected = float(by_hand.compile_logp(mode="FAST_COMPILE")({}))
    assert log_likelihood(model, at) == pytest.approx(expected, rel=1e-9)


def test_a_source_has_its_name_in_all_data(folder):
    """Estimators of fluxes find it: its significance is that of events and counts together."""
    given = [on_off(folder), on_off(folder, "fact")]
    model = pmg.from_gammapy(crab(), given, background=pmg.MeasuredBackground())
    assert pmg.significance(model, "crab").ts > 0
    models = [crab(), crab("other", datasets_names="fact")]
    both = pmg.from_gammapy(models, given, dataset_options={"fact": {"component": "pair"}})
    with pytest.raises(ModelError, match="pair"):
        pmg.significance(both, "nothing")


def test_linked_parameters_are_one_variable_in_several_data_sets(folder):
    first, second = crab(datasets_names="magic"), crab("other", datasets_names="lat")
    second.spectral_model.alpha = first.spectral_model.alpha
    models = gp.Models([first, second])
    model = pmg.from_gammapy(models, [on_off(folder), points()], background=pmg.FlatBackground())
    alpha = model["crab.spectral.alpha"]
    assert "other.spectral.alpha" not in model.named_vars
    assert len(model.free_RVs) == 5
    assert all(alpha in set(ancestors([one])) for one in model.observed_RVs)


def test_events_and_data_sets_in_one_model(runs, folder):
    models = gp.Models([sky_model(), gp.FoVBackgroundModel("obs-11")])
    fold = {"fold_options": {"energy_true": 60}}
    sets = Datasets([on_off(folder), points()])
    together = pmg.from_gammapy(models, [Observations(runs), sets], region(), background=pmg.FlatBackground(), **fold)
    assert {one.name for one in together.observed_RVs} == {"events", "magic", "lat"}
    alone = pmg.from_gammapy(models, Observations(runs), region(), **fold)
    assert [one.name for one in alone.free_RVs] == [one.name for one in together.free_RVs]
    others = pmg.from_gammapy(models[:1], sets, background=pmg.FlatBackground())
    spectral = {"crab.spectral.index": 2.5, "crab.spectral.amplitude": 3.1e-11}
    at = spectral | {"obs-11-bkg.spectral.norm": 0.9}
    expected = log_likelihood(alone, at) + log_likelihood(others, spectral)
    assert log_likelihood(together, at) == pytest.approx(expected, rel=1e-9)


def test_a_source_that_one_kind_of_data_sees(runs, folder):
    """Of two sources one is for the events alone, where its position is free."""
    near, counted = sky_model("near", offset=0.2, datasets_names=["stacked"]), crab(datasets_names="magic")
    near.spatial_model.lon_0.frozen = False
    options = {"background": pmg.FlatBackground(), "fold_options": {"energy_true": 60}}
    model = pmg.from_gammapy([near, counted], [*runs, on_off(folder)], region(), **options)
    events = {"near.spatial.lon_0", "near.spectral.index", "near.spectral.amplitude"}
    counts = {f"crab.spectral.{name}" for name in ("amplitude", "alpha", "beta")}
    inputs = {
        name: {one.name for one in model.free_RVs if one in set(ancestors([model[name]]))}
        for name in ("events", "magic")
    }
    assert inputs == {"events": events, "magic": counts}


def test_any_model_whose_parameters_are_factors(folder):
    """A template has no counterpart, and its norm is a factor."""
    energy = np.geomspace(0.01, 100, 30) * u.TeV
    template = gp.TemplateSpectralModel(energy, 3e-11 * energy.value**-2.4 * FLUX)
    spectral = template * gp.PowerLawNormSpectralModel()
    given = Datasets([on_off(folder), points()])
    model = pmg.from_gammapy(
        flat(gp.Models([gp.SkyModel(spectral, name="crab")])), given, background=pmg.FlatBackground
    )
    power_law = gp.PowerLawSpectralModel(index=2.4, amplitude="3e-11 TeV-1 cm-2 s-1")
    same = pmg.from_gammapy(gp.SkyModel(power_law, name="crab"), given, background=pmg.FlatBackground)
    [name] = [one.name for one in model.free_RVs]
    at = {"crab.spectral.amplitude": 6e-11, "crab.spectral.index": 2.4}
    assert log_likelihood(model, {name: 2.0}) == pytest.approx(log_likelihood(same, at), rel=1e-4)


def test_the_posterior_goes_back(folder, seed):
    models = gp.Models([crab()])
    model = pmg.from_gammapy(models, Datasets([on_off(folder), points()]), background=pmg.FlatBackground)
    best = pmg.best_fit(model)
    rng = np.random.default_rng(seed)
    names = [one.name for one in model.free_RVs]
    draws = {n: (("chain", "draw"), rng.normal(best.value[n], best.sd[n], (2, 400))) for n in names}
    found = pmg.to_gammapy(xr.Dataset(draws), models)["crab"].spectral_model
    for name in ("amplitude", "alpha", "beta"):
        parameter = getattr(found, name)
        assert parameter.value == pytest.approx(float(best.value[f"crab.spectral.{name}"]), abs=0.2 * parameter.error)


def test_options_of_data_sets(folder):
    model = pmg.from_gammapy(
        crab(),
        [on_off(folder), on_off(folder, "fact"), points()],
        background=pmg.FlatBackground(),
        dataset_options={
            "magic": {"systematics": [pmg.EnergyScale(0.15)], "background": pmg.MeasuredBackground()},
            "lat": {"expected_flux": True, "statistic": "distrib"},
        },
    )
    assert {"magic_energy_scale", "magic_background", "lat_flux"} <= model.named_vars.keys()
    assert "fact_background" not in model.named_vars
    assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point()))


def spectrum_dataset(background=0.0):
    """Counts without OFF region."""
    true, reco = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", 8, name="energy_true"), (1, 10) * u.TeV
    axis = MapAxis.from_energy_bounds(*reco, 4, name="energy")
    geom = RegionGeom.create("icrs;circle(0, 0, 0.1)", axes=[axis])
    made = SpectrumDataset.create(geom, energy_axis_true=true, name="bare")
    made.exposure.quantity = np.full(made.exposure.data.shape, 1e10) * u.Unit("m2 s")
    made.counts.data += 3
    made.background.data += background
    made.mask_safe.data[...] = True
    return made


def test_counts_without_background():
    model = pmg.from_gammapy(crab(), spectrum_dataset())
    assert [one.name for one in model.observed_RVs] == ["bare"]
    with pytest.raises(EventError, match="background model of 20 events"):
        pmg.from_gammapy(crab(), spectrum_dataset(5.0))


def map_dataset(name="maps"):
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", 2)
    return MapDataset.create(WcsGeom.create(npix=3, axes=[axis]), name=name)


def with_spatial(**free):
    spatial = gp.PointSpatialModel()
    for name in ("lon_0", "lat_0"):
        getattr(spatial, name).frozen = name not in free
    return gp.SkyModel(gp.PowerLawSpectralModel(), spatial, name="crab")


def template():
    axis = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", 3, name="energy_true")
    from gammapy.maps import Map

    cube = Map.create(npix=(3, 3), axes=[axis], unit="TeV-1 cm-2 s-1 sr-1")
    cube.data += 1.0
    return gp.SkyModel(gp.PowerLawNormSpectralModel(), gp.TemplateSpatialModel(cube, normalize=False), name="cloud")


@pytest.mark.parametrize(
    ("models", "given", "options", "error", "message"),
    [
        (crab, lambda f: [map_dataset(), points()], {}, ModelError, "'maps' is a MapDataset: its events are binned"),
        (crab, lambda f: Datasets(), {}, ModelError, "holds no data set"),
        (crab, lambda f: [points(), points()], {}, ModelError, r"data sets are called \['lat'\]"),
        (crab, lambda f: [points()], {"background": pmg.FlatBackground()}, ModelError, "background= is for data sets"),
        (crab, lambda f: [points()], {"expected_counts": True}, TypeError, "expected_counts.* are for observations"),
        (crab, lambda f: [points()], {"dataset_options": {"let": {}}}, ModelError, r"are for \['let'\]; the data sets"),
        (crab, lambda f: [points()], {"dataset_options": {"lat": {"a": 1}}}, TypeError, "of 'lat' may be norm, sys"),
        (crab, lambda f: [points()], {"dataset_options": {"lat": {"spectrum": 1}}}, TypeError, "of 'lat' may be"),
        (crab, lambda f: [points()], {"dataset_options": 3}, TypeError, "must be a mapping"),
        (lambda: crab(datasets_names="other"), lambda f: [points()], {}, SkyModelError, "for the datasets"),
        (lambda: crab(datasets_names="magic"), lambda f: [on_off(f), points()], {}, ModelError, "no model.* 'lat'"),
        (lambda: with_spatial(lon_0=1), lambda f: [points()], {}, SkyModelError, r"\['lon_0'\] of 'crab' are free"),
        (template, lambda f: [points()], {}, SkyModelError, "'cloud' follows from its map, and 'lat'"),
        (lambda: [crab(), gp.FoVBackgroundModel("lat")], lambda f: points(), {}, SkyModelError, "their OFF regions"),
        (sky_model, lambda f: [*observations(), points()], {}, TypeError, "roi must be"),
        (sky_model, lambda f: [*observations(), points("11")], {"roi": 1}, TypeError, "roi must be"),
        (sky_model, lambda f: [*observations(), points("11")], {"roi": region()}, ModelError, r"both called \['11'\]"),
    ],
)  # fmt: skip
def test_bad_input(models, given, options, error, message, folder):
    with pytest.raises(error, match=message):
        pmg.from_gammapy(models(), given(folder), **options)


def test_a_background_model_beside_observations_and_data_sets(folder):
    models = [sky_model(), gp.FoVBackgroundModel("magic")]
    with pytest.raises(SkyModelError, match=r"is for \['magic'\]; backgrounds of counts spectra"):
        pmg.from_gammapy(models, [*observations(), on_off(folder)], region())


def test_spectra_with_a_point_spread_function_are_refused(folder):
    dataset = on_off(folder)
    dataset.psf = "some PSF"
    with pytest.raises(EventError, match="'magic' has a PSF"):
        pmg.CountsSpectrum.from_gammapy(dataset)
