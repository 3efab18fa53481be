"""Flux points as data: likelihoods against gammapy's statistics and formulae written out; files, masks, bad input."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from astropy.table import QTable, Table
from gammapy.datasets import FluxPointsDataset
from gammapy.estimators import FluxPoints
from gammapy.modeling import Fit
from gammapy.modeling.models import PowerLawSpectralModel, SkyModel
from scipy import integrate, stats

import pymc_gamma as pmg
from pymc_gamma import darkmatter
from pymc_gamma.errors import DataFileError, EventError, ModelError, PymcGammaWarning

FLUX = u.Unit("TeV-1 cm-2 s-1")
EDGES = np.geomspace(0.3, 30, 7)
ENERGY = np.sqrt(EDGES[1:] * EDGES[:-1])
TRUE = 3e-11 * ENERGY**-2.5
DNDE = TRUE * np.array([1.05, 0.9, 1.02, 1.15, 0.8, 1.3])
UP, DOWN = 0.12 * TRUE * ENERGY**0.4, 0.08 * TRUE * ENERGY**0.4
POINTS = ((2.5, 3e-11), (2.2, 2e-11), (2.9, 5e-11))


def table(*, limit=(), **columns):
    """Points with asymmetric errors; those in ``limit`` have a limit alone."""
    made = Table({"e_ref": ENERGY * u.TeV, "e_min": EDGES[:-1] * u.TeV, "e_max": EDGES[1:] * u.TeV})
    given = {"dnde": DNDE, "dnde_err": 0.5 * (UP + DOWN), "dnde_errn": DOWN, "dnde_errp": UP, "dnde_ul": 2 * DNDE}
    for name, values in (given | columns).items():
        if values is not None:
            made[name] = values * FLUX if name.startswith("dnde") else values
    if made["dnde"].unit is not None:
        for name in ("dnde", "dnde_err", "dnde_errn", "dnde_errp"):
            if name in made.colnames:
                made[name][list(limit)] = np.nan
    if "is_ul" not in made.colnames:
        made["is_ul"] = np.isin(np.arange(6), limit)
    made.meta.update({"SED_TYPE": "dnde", "UL_CONF": 0.95})
    return made


def scanned():
    """Points with scans, of Poisson counts on a background."""
    rng = np.random.default_rng(2)
    signal, background = np.array([90.0, 60, 30, 12, 4, 1]), np.array([20.0, 12, 7, 3, 2, 1])
    counts = rng.poisson(signal * DNDE / TRUE + background)
    norm = np.linspace(0, 5, 41)

    def stat(value):
        expected = np.multiply.outer(signal, np.atleast_1d(value)) + background[:, None]
        return -2 * stats.poisson.logpmf(counts[:, None], expected)

    best = np.clip((counts - background) / signal, 0, None)
    made = Table({"e_ref": ENERGY * u.TeV, "e_min": EDGES[:-1] * u.TeV, "e_max": EDGES[1:] * u.TeV})
    for name, power in (("ref_dnde", 0), ("ref_e2dnde", 2)):
        made[name] = TRUE * ENERGY**power * u.Unit(f"TeV{power - 1 or ''} cm-2 s-1" if power else "TeV-1 cm-2 s-1")
    made["ref_flux"], made["ref_eflux"] = TRUE * ENERGY / u.cm**2 / u.s, TRUE * ENERGY**2 * u.Unit("TeV cm-2 s-1")
    made["norm"], made["norm_err"] = best, np.sqrt(counts + 1) / signal
    made["stat"] = [stat(b)[k, 0] for k, b in enumerate(best)]
    made["norm_scan"], made["stat_scan"] = np.tile(norm, (6, 1)), stat(norm)
    made.meta["SED_TYPE"] = "likelihood"
    return FluxPoints.from_table(made, sed_type="likelihood")


def model_of(points, **given):
    with pm.Model() as model:
        index, amplitude = pm.Normal("index", 2.5, 1e4), pm.Normal("amplitude", 30, 1e6)
        spectrum = given.pop("spectrum", pmg.PowerLaw(index=index, amplitude=1e-12 * amplitude))
        pmg.FluxPointsData("published", points, spectrum=spectrum, **given)
    return model


def log_likelihood(model, index, amplitude):
    """Of the points alone: one array for each observed variable."""
    function = model.compile_fn(
        model.logp(vars=model.observed_RVs, sum=False), inputs=model.value_vars, on_unused_input="ignore"
    )
    return [np.asarray(one) for one in function({"index": np.array(index), "amplitude": np.array(amplitude * 1e12)})]


def stat_of(dataset, index, amplitude):
    spectral = dataset.models[0].spectral_model
    spectral.index.value, spectral.amplitude.value = index, amplitude
    return dataset.stat_sum()


def test_symmetric_errors_are_gammapys_chi2():
    dataset = FluxPointsDataset(
        SkyModel(PowerLawSpectralModel(), name="crab"), FluxPoints.from_table(table()), name="points", stat_type="chi2"
    )
    model = model_of(dataset)
    constant = np.log(2 * np.pi * (0.5 * (UP + DOWN)) ** 2).sum()
    for at in POINTS:
        [found] = log_likelihood(model, *at)
        assert -2 * found.sum() - constant == pytest.approx(stat_of(dataset, *at), rel=1e-9)
    assert model.named_vars_to_dims["published"] == ("published_energy",)
    np.testing.assert_allclose(model.coords["published_energy"], ENERGY)


def test_asymmetric_errors_are_gammapys_distrib_and_a_probability():
    dataset = FluxPointsDataset(
        SkyModel(PowerLawSpectralModel(), name="crab"), FluxPoints.from_table(table()), stat_type="distrib"
    )
    constant = 2 * np.log((UP + DOWN) * np.sqrt(np.pi / 2)).sum()
    for points in (dataset, table()):  # by default
        model = model_of(points)
        for at in POINTS:
            [found] = log_likelihood(model, *at)
            assert -2 * found.sum() - constant == pytest.approx(stat_of(dataset, *at), rel=1e-9)
    amplitude = DNDE[2] * ENERGY[2] ** 2.5  # whatever the flux of the model is

    def density(value):
        with pm.Model() as one:
            dnde = DNDE.copy()
            dnde[2] = value
            pmg.FluxPointsData("x", table(dnde=dnde), spectrum=pmg.PowerLaw(index=2.5, amplitude=amplitude))
        return np.exp(one.compile_fn(one.logp(vars=one.observed_RVs, sum=False), on_unused_input="ignore")({})[0][2])

    halves = [np.linspace(DNDE[2] - 6 * DOWN[2], DNDE[2], 41), np.linspace(DNDE[2], DNDE[2] + 6 * UP[2], 41)]
    total = sum(integrate.simpson([density(x) for x in half], half) for half in halves)
    assert total == pytest.approx(1, abs=1e-4)


def test_limits_are_probabilities_to_lie_below():
    model = model_of(table(limit=[4, 5]))
    assert [one.name for one in model.observed_RVs] == ["published_limits", "published"]
    np.testing.assert_allclose(model.coords["published_limits_energy"], ENERGY[4:])
    limit = 2 * DNDE[4:]
    for index, amplitude in (*POINTS, (1.0, 1e-9)):  # the last far above the limits
        below, measured = log_likelihood(model, index, amplitude)
        flux = amplitude * ENERGY**-index
        np.testing.assert_allclose(below, stats.norm.logcdf(limit, flux[4:], limit / 2), rtol=1e-6)
        width = np.where(flux[:4] >= DNDE[:4], UP[:4], DOWN[:4])
        expected = -0.5 * ((flux[:4] - DNDE[:4]) / width) ** 2 - np.log((UP + DOWN)[:4] * np.sqrt(np.pi / 2))
        np.testing.assert_allclose(measured, expected, rtol=1e-9)


def test_a_limit_with_a_flux_and_errors_counts_with_these():
    quoted = model_of(table(is_ul=np.arange(6) > 3))
    assert [one.name for one in quoted.observed_RVs] == ["published"]
    assert len(quoted.coords["published_energy"]) == 6
    with pytest.warns(PymcGammaWarning, match=r"2 points are left out, at 9\.487, 20\.44 TeV"):
        left = model_of(table(is_ul=np.arange(6) > 3), statistic="chi2")
    assert len(left.coords["published_energy"]) == 4


def test_limits_alone():
    model = model_of(table(limit=range(6)))
    assert [one.name for one in model.observed_RVs] == ["published_limits"]
    with model:
        drawn = pm.sample_prior_predictive(3, random_seed=1).prior_predictive["published_limits"]
    assert np.all(drawn.values >= 2 * DNDE * (1 - 1e-12))


def test_scans_are_gammapys_profile():
    points = scanned()
    dataset = FluxPointsDataset(SkyModel(PowerLawSpectralModel(), name="crab"), points, stat_type="profile")
    for given in (points, dataset):
        model = model_of(given)
        for at in POINTS:
            [found] = log_likelihood(model, *at)
            assert found.shape == (6,)
            assert -2 * found.sum() == pytest.approx(stat_of(dataset, *at), abs=1e-6)
    brighter = [log_likelihood(model, 2.5, 3e-11 * factor)[0] for factor in (5, 5.1, 10, 100, 1e4)]
    assert np.all(np.diff(brighter, axis=0) < 0), "the likelihood falls beyond the scans"
    slope = [log_likelihood(model, 2.5, 1.5e-10 * (1 + step))[0] for step in (-1e-6, 0, 1e-6)]
    np.testing.assert_allclose(slope[2] - slope[1], slope[1] - slope[0], rtol=1e-3)  # without a kink at its end


@pytest.mark.filterwarnings("ignore:Numba will use object mode")
def test_scans_have_no_draws():
    with model_of(scanned()), pytest.raises(ModelError, match="no predictive draws"):
        pm.sample_prior_predictive(2, random_seed=1)


@pytest.mark.parametrize("statistic", ["chi2", "distrib", "profile"])
def test_best_fits_are_gammapys(statistic):
    points = scanned() if statistic == "profile" else FluxPoints.from_table(table())
    spectral = PowerLawSpectralModel(index=2.4, amplitude="2.5e-11 TeV-1 cm-2 s-1")
    dataset = FluxPointsDataset(SkyModel(spectral, name="crab"), points, stat_type=statistic)
    Fit(optimize_opts={"tol": 1e-4}).run([dataset])
    best = pmg.best_fit(model_of(dataset, statistic=statistic), tolerance=1e-4)
    found = [float(best.value.index), 1e-12 * float(best.value.amplitude)]
    np.testing.assert_allclose(found, [spectral.index.value, spectral.amplitude.value], rtol=2e-3)
    if statistic == "chi2":
        errors = [float(best.sd.index), 1e-12 * float(best.sd.amplitude)]
        np.testing.assert_allclose(errors, [spectral.index.error, spectral.amplitude.error], rtol=2e-2)


def test_predictive_draws_and_likelihoods_of_points():
    with pm.Model():
        index = pm.Normal("index", 2.5, 1e-6)
        spectrum = pmg.PowerLaw(index=index, amplitude=3e-11)
        pmg.FluxPointsData("published", table(), spectrum=spectrum, expected_flux=True)
        prior = pm.sample_prior_predictive(4000, random_seed=3)
        one = xr.DataTree.from_dict({"posterior": prior.prior.to_dataset().isel(draw=slice(2))})
        pm.compute_log_likelihood(one, progressbar=False)
    assert one.log_likelihood["published"].dims == ("chain", "draw", "published_energy")
    drawn = prior.prior_predictive["published"].values[0]
    share, n = UP / (UP + DOWN), len(drawn)
    below = (drawn < TRUE).mean(axis=0)
    assert np.all(np.abs(below - share) < 4.5 * np.sqrt(share * (1 - share) / n))
    for side, width in ((drawn < TRUE, UP), (drawn > TRUE, DOWN)):
        spread = np.sqrt(np.where(side, (drawn - TRUE) ** 2, 0).sum(axis=0) / side.sum(axis=0))
        np.testing.assert_allclose(spread, width, rtol=4.5 / np.sqrt(2 * side.sum(axis=0).min()))
    np.testing.assert_allclose(prior.prior["published_flux"][0, 0], TRUE, rtol=1e-4)


def test_kinds_of_points_and_files(tmp_path):
    theirs = FluxPoints.from_table(table(limit=[5]))
    masked = FluxPointsDataset(data=theirs, stat_type="distrib", mask_fit=(np.arange(6) > 0).reshape(6, 1, 1))
    expected = log_likelihood(model_of(theirs), 2.4, 3e-11)
    for kind, points in {"table": table(limit=[5]), "qtable": QTable(table(limit=[5]))}.items():
        for found, value in zip(log_likelihood(model_of(points), 2.4, 3e-11), expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-7, err_msg=kind)
    for suffix in ("ecsv", "fits"):
        theirs.write(tmp_path / f"points.{suffix}")
        masked.write(tmp_path / f"masked.{suffix}")
        for file, first in (("points", 0), ("masked", 1)):
            below, measured = log_likelihood(model_of(tmp_path / f"{file}.{suffix}"), 2.4, 3e-11)
            np.testing.assert_allclose(below, expected[0], rtol=1e-6)
            np.testing.assert_allclose(measured, expected[1][first:], rtol=1e-6)
    _, measured = log_likelihood(model_of(str(tmp_path / "points.fits"), mask=np.arange(6) != 2), 2.4, 3e-11)
    np.testing.assert_allclose(measured, np.delete(expected[1], 2), rtol=1e-6)


@pytest.mark.parametrize("kind", [Table, QTable])
def test_what_a_table_masks_was_not_measured(kind, tmp_path):
    made = kind(Table(table(), masked=True))
    made["dnde"].mask[2] = True
    if kind is Table:
        made.write(tmp_path / "masked.ecsv")
        given = [made, tmp_path / "masked.ecsv"]
    else:
        given = [made]
    for points in given:
        model = model_of(points)
        np.testing.assert_allclose(model.coords["published_energy"], np.delete(ENERGY, 2))
        np.testing.assert_allclose(model.coords["published_limits_energy"], ENERGY[2:3])


def test_fluxes_are_at_the_energies_that_are_said():
    at = ENERGY * 1.1
    model = model_of(table(e_ref=at * u.TeV))
    np.testing.assert_allclose(model.coords["published_energy"], at)
    [found] = log_likelihood(model, 2.5, 3e-11)
    [same] = log_likelihood(model_of(table()), 2.5, 3e-11 * 1.1**-2.5)
    np.testing.assert_allclose(found, same, rtol=1e-9)


def test_systematics_of_an_instrument():
    with pm.Model() as model:
        spectrum = pmg.PowerLaw(index=2.5, amplitude=3e-11)
        given = [
            pmg.EnergyScale(0.1, value=1.1),
            pmg.EffectiveAreaNorm(0.1),
            pmg.EffectiveAreaShape(0.1, knots=[1, 10] * u.TeV),
        ]
        pmg.FluxPointsData(
            "published", table(), spectrum=spectrum, norm=0.5, systematics=given, expected_flux=True, statistic="chi2"
        )
        pmg.FluxPointsData("others", table(), spectrum=spectrum, systematics=[pmg.EnergyScale])
    assert {"published_aeff_norm", "published_aeff_shape", "others_energy_scale"} == {v.name for v in model.free_RVs}
    graph = model.replace_rvs_by_values([model["published_flux"]])
    [flux] = model.compile_fn(graph, inputs=model.value_vars, on_unused_input="ignore")(
        {**model.initial_point(), "published_aeff_norm_log__": np.array(0.0), "published_aeff_shape": np.full(2, 0.2)}
    )
    np.testing.assert_allclose(flux, 0.5 * np.exp(0.2) * 3e-11 * (ENERGY / 1.1) ** -2.5 / 1.1, rtol=1e-9)


@pytest.mark.parametrize("points", [table, scanned])
def test_impossible_parameters_are_impossible_fluxes(points):
    with pm.Model() as model:
        mass = pm.Uniform("mass", 0.05, 10.0, initval=1.0)
        pmg.FluxPointsData("published", points(), spectrum=darkmatter.Annihilation(mass, 1e-20, "W", j_factor=1e20))
    logp = model.compile_logp()
    assert np.isfinite(logp(model.initial_point()))
    assert logp({"mass_interval__": np.log(0.01 / 9.94)}) == -np.inf


@pytest.mark.parametrize("points", [table, lambda: table(limit=[4, 5]), scanned])
def test_a_scale_that_is_not_positive_is_impossible(points):
    with pm.Model() as model:
        scale, spectrum = pm.Normal("scale", 1.0, 1.0), pmg.PowerLaw(index=2.5, amplitude=3e-11)
        pmg.FluxPointsData("published", points(), spectrum=spectrum, systematics=[pmg.EnergyScale(value=scale)])
    logp = model.compile_logp()
    assert np.isfinite(logp({"scale": np.array(1.1)}))
    assert logp({"scale": np.array(-0.1)}) == -np.inf


def light_curve():
    made = Table({"time_min": [0.0, 1.0], "time_max": [1.0, 2.0]})
    for name, value in {"e_ref": 3, "e_min": 1, "e_max": 9}.items():
        made[name] = np.full((2, 1), value) * u.TeV
    made["dnde"], made["dnde_err"] = np.full((2, 1), 1e-12) * FLUX, np.full((2, 1), 1e-13) * FLUX
    made.meta.update({"SED_TYPE": "dnde", "MJDREFI": 51544, "MJDREFF": 0.0, "TIMESYS": "tt", "TIMEUNIT": "d"})
    return FluxPoints.from_table(made, format="lightcurve")


def short_scan():
    made = scanned().to_table(sed_type="likelihood")
    for name in ("norm_scan", "stat_scan"):
        made[name] = made[name][:, :6]  # up to 0.625
    return FluxPoints.from_table(made, sed_type="likelihood")


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
@pytest.mark.parametrize(
    ("points", "given", "error", "message"),
    [
        (lambda: table(dnde=np.full(6, np.nan), dnde_ul=None), {}, ModelError, "none of 6 can be used, at 0.4403"),
        (lambda: table(limit=range(6)), {"statistic": "chi2"}, ModelError, "none of 6 can be used"),
        (table, {"mask": np.zeros(6, bool)}, ModelError, "all are masked"),
        (table, {"mask": [1, 0]}, ModelError, "mask must be 6 times"),
        (lambda: table(dnde_errp=-UP), {}, ModelError, "positive; that at 0.4403 TeV is -"),
        (lambda: table(dnde_err=0 * UP), {"statistic": "chi2"}, ModelError, "positive; that at 0.4403 TeV is 0 "),
        (lambda: table(dnde_err=np.inf * UP), {"statistic": "chi2"}, ModelError, "that at 0.4403 TeV is inf"),
        (lambda: table(dnde_err=None, dnde_errn=None, dnde_errp=None, dnde_ul=None), {}, ModelError, "TeV is nan"),
        (lambda: table(limit=[3], dnde_ul=-DNDE), {}, ModelError, "limits must be positive; they are not at 4.403 TeV"),
        (table, {"statistic": "profile"}, ModelError, "no scans of the likelihood"),
        (short_scan, {}, ModelError, "before the likelihood falls"),
        (table, {"statistic": "wstat"}, ValueError, "'chi2', 'distrib', 'profile'"),
        (table, {"spectrum": 3.0}, ModelError, "must be a function of the energy"),
        (table, {"spectrum": lambda energy: np.ones((3, 6))}, ModelError, "one value for each energy"),
        (table, {"spectrum": lambda energy: np.ones(5)}, ModelError, "one value for each energy"),
        (table, {"spectrum": pmg.PowerLaw(amplitude=-1e-12)}, ModelError, "is -.* at 0.4403 TeV"),
        (table, {"spectra": 3}, TypeError, "Did you mean 'spectrum'"),
        (table, {"systematics": [pmg.PSFScale(0.1)]}, ModelError, "no effect"),
        (light_curve, {}, EventError, "axis of time"),
        (lambda: 3.0, {}, TypeError, "must be flux points"),
        (lambda: "nowhere.ecsv", {}, DataFileError, "no file nowhere.ecsv"),
        (lambda: table(e_ref=[-1.0, 1, 2, 3, 4, 5] * u.TeV), {}, DataFileError, "positive node values"),
        (lambda: Table({"a": [1]}), {}, DataFileError, "table of flux points"),
        (lambda: FluxPointsDataset(data=FluxPoints.from_table(table()), mask_fit=np.ones(3, bool)), {}, EventError,
         r"mask_fit has the shape \(3,\)"),
    ],
)  # fmt: skip
def test_bad_input(points, given, error, message):
    with pytest.raises(error, match=message):
        model_of(points(), **given)


def test_units_and_files_that_are_others(tmp_path):
    made = table()
    made["dnde"] = made["dnde"].value * u.TeV
    with pytest.raises((u.UnitConversionError, DataFileError)):
        model_of(made)
    (tmp_path / "other.ecsv").write_text("nothing", encoding="utf-8")
    (tmp_path / "other.fits").write_text("nothing", encoding="utf-8")
    for suffix in ("ecsv", "fits"):
        with pytest.raises(DataFileError, match=f"other.{suffix}"):
            model_of(tmp_path / f"other.{suffix}")


def test_two_data_sets_of_one_name():
    with pm.Model():
        spectrum = pmg.PowerLaw(index=2.5, amplitude=3e-11)
        pmg.FluxPointsData("published", table(), spectrum=spectrum)
        with pytest.raises(ModelError, match="called 'published'"):
            pmg.FluxPointsData("published", table(), spectrum=spectrum)
        with pytest.raises(ModelError, match="hold no '/'"):
            pmg.FluxPointsData("a/b", table(), spectrum=spectrum)
