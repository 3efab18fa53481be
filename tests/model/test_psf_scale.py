"""A scale of the PSF as a parameter, against responses folded for each width."""

import importlib.util

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, SkyModelError
from pymc_gamma.folding import tables as fold_tables

SCALES = (0.87, 1.0, 1.06)
SIGMA = 0.05
TOLERANCE = 0.05
"""Of log L; what the data say of the width changes it by up to hundreds. A shell has noise where it is all but dark."""


def template(sigma=0.3):
    """A shell: folded on a grid."""
    from gammapy.modeling.models import PowerLawSpectralModel, ShellSpatialModel

    spatial = ShellSpatialModel(
        lon_0=-0.3 * u.deg, lat_0=0.2 * u.deg, radius=sigma * u.deg, width=0.1 * u.deg, frame="galactic"
    )
    spectral = PowerLawSpectralModel(index=2.2, amplitude=4e-12 * u.Unit("TeV-1 cm-2 s-1"))
    return pmg.SkySource("shell", spatial, spectral)


class Several(pmg.SkyComponent):
    """A catalogue: sources of one component."""

    def __init__(self, name, sources):
        super().__init__(name)
        self.sources = sources

    def parts(self, roi, margin_deg=0.8):
        return tuple(part for one in self.sources for part in one.parts(roi, margin_deg))


def components(kind):
    bright = {"amplitude": 3e-12, "index": 2.3}
    sources = {
        "point": [source("crab", 0.3, -0.2, **bright)],
        "gaussian": [source("crab", 0.3, -0.2, sigma=0.08, **bright)],
        "template": [template()],
        "several": [source("crab", 0.3, -0.2, **bright), template(), source("edge", 0.82, 0.1, sigma=0.1, **bright)],
        "catalogue": [
            Several(
                "crab",
                [source("a", 0.3, -0.2, **bright), template(), source("b", -0.5, 0.73, index=2.0, amplitude=1e-12)],
            )
        ],
    }
    return [*sources[kind], pmg.CosmicRayBackground()]


def folded(kind, free=(), n=1, hours=10):
    observations = [pointing(hours=hours / n, lon=0.3 * k) for k in range(n)]
    return pmg.fold(components(kind), observations, region(width=1.6, energy=(0.5, 100)), free_spectrum=free)


def exact(response, events, scale, **kwargs):
    """Log L of a Poisson process under a response folded for a width."""
    response = response if scale == 1 else response.with_systematics(psf_scale=scale)
    with pm.Model(coords=response.coords) as model:
        pmg.ExtendedEventMixture("events", response=response, observed=events, **kwargs)
    return float(model.compile_logp(mode="FAST_COMPILE")({}))


def with_scale(response, events, sigma=SIGMA, distribution="extended", free=None, **kwargs):
    with pm.Model(coords=response.coords) as model:
        scale = pm.Uniform("scale", 1 - 3 * sigma, 1 + 3 * sigma, initval=1.0)
        systematics = [pmg.PSFScale(sigma=sigma, value=scale)]
        if distribution == "extended":
            pmg.ExtendedEventMixture("events", response=response, observed=events, systematics=systematics, **kwargs)
        else:
            weights = np.asarray(response.acceptance / response.acceptance.sum())
            pmg.EventMixture("events", weights, response=response, observed=events, systematics=systematics, **kwargs)
    return model


def log_likelihood(model, scales):
    function = model.compile_logp(vars=[model["events"]], jacobian=False, mode="FAST_COMPILE")
    name = model.rvs_to_values[model["scale"]].name
    transform = model.rvs_to_transforms[model["scale"]]
    inputs = model["scale"].owner.inputs
    return np.array([float(function({name: transform.forward(s, *inputs).eval()})) for s in scales])


@pytest.mark.parametrize("free", [False, True], ids=["fixed spectrum", "free spectrum"])
@pytest.mark.parametrize("kind", ["point", "gaussian", "template", "several", "catalogue"])
def test_log_likelihood(kind, free):
    names = [one.name for one in components(kind)[:-1]]
    response = folded(kind, names if free else ())
    events = response.simulate(rng=3)
    found = log_likelihood(with_scale(response, events), SCALES)
    expected = np.array([exact(response, events, s) for s in SCALES])
    assert found[SCALES.index(1.0)] == pytest.approx(expected[SCALES.index(1.0)], abs=2e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("free", [False, True], ids=["fixed spectrum", "free spectrum"])
def test_mixture(free):
    response = folded("several", ["crab", "edge"] if free else (), n=2)
    events = response.simulate(rng=4)
    spectra = {name: pmg.PowerLaw(index=2.3) for name in response.free_spectrum} or None
    weights = np.asarray(response.acceptance / response.acceptance.sum())
    found = log_likelihood(with_scale(response, events, distribution="mixture", spectra=spectra), SCALES)
    expected = []
    for scale in SCALES:
        wider = response.with_systematics(psf_scale=scale)
        with pm.Model(coords=response.coords) as model:
            pmg.EventMixture("events", weights, response=wider, observed=events, spectra=spectra)
        expected.append(float(model.compile_logp(mode="FAST_COMPILE")({})))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("free", [False, True], ids=["fixed spectrum", "free spectrum"])
def test_norms_of_observations(free):
    response = folded("several", ["crab", "edge"] if free else (), n=2)
    events = response.simulate(rng=4)
    norms = {"crab": np.array([1.3, 0.6]), "shell": np.array([0.7, 1.1])}
    found = log_likelihood(with_scale(response, events, norms=norms), SCALES)
    expected = [exact(response, events, scale, norms=norms) for scale in SCALES]
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_a_spectrum_that_is_not_the_nominal_one():
    response = folded("point", ["crab"])
    events = response.simulate(rng=5)
    spectrum = pmg.PowerLaw(index=2.9, amplitude=2e-12)
    found = log_likelihood(with_scale(response, events, spectra={"crab": spectrum}), SCALES)
    other = response.with_spectra({"crab": spectrum})
    expected = np.array([exact(other, events, s) for s in SCALES])
    np.testing.assert_allclose(found - found[1], expected - expected[1], rtol=0, atol=3 * TOLERANCE)


def test_wide_prior():
    """Factors of four between the widths: far events come into reach, the narrowest PSFs see pixels of the shell."""
    response = folded("several")
    events = response.simulate(rng=6)
    scales = (0.41, 1.0, 1.45)
    found = log_likelihood(with_scale(response, events, sigma=0.2), scales)
    expected = np.array([exact(response, events, s) for s in scales])
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.5)


def test_nothing_is_folded_again(monkeypatch):
    """Averages of the dispersion over energies are what a fold spends its time and memory on."""
    response = folded("several", ["crab", "shell"])
    events = response.simulate(rng=7)
    averages = []
    kept = fold_tables.kernels.average_dispersion

    def counted(*args):
        averages.append(1)
        return kept(*args)

    def log_l(systematics):
        averages.clear()
        fresh = response.refold()  # with narrow bins to be made
        with pm.Model(coords=response.coords) as model:
            pmg.ExtendedEventMixture("events", response=fresh, observed=events, systematics=systematics)
        return float(model.compile_logp(mode="FAST_COMPILE")({}))

    monkeypatch.setattr(fold_tables.kernels, "average_dispersion", counted)
    nominal, without = log_l([]), len(averages)
    assert log_l([pmg.PSFScale(value=1.0)]) == pytest.approx(nominal, abs=2e-3)
    assert len(averages) == without > 0


def test_expected_counts_and_draws():
    """The source at the edge loses events to a wider PSF; draws follow, part by part."""
    response = folded("catalogue", n=2)
    for s in (0.9, 1.12):
        with pm.Model(coords=response.coords) as model:
            pmg.ExtendedEventMixture(
                "events", response=response, expected_counts=True, systematics=[pmg.PSFScale(value=s)]
            )
        wider = response.with_systematics(psf_scale=s)
        np.testing.assert_allclose(model["events_expected_counts"].eval(), wider.acceptance, rtol=1e-4)
        source = model["events"].owner.op
        found = source.source.expected_parts(source.source.parameters([np.ones(2), np.array([s])]))
        for of_found, of_expected in zip(found, wider.expected_parts(), strict=True):
            for mine, expected in zip(of_found, of_expected, strict=True):
                np.testing.assert_allclose(mine, expected, rtol=1e-4)


def test_prior_predictive_widths():
    response = pmg.fold(
        [source("crab", 0.3, -0.2, amplitude=3e-12)], pointing(hours=10), region(width=1.6, energy=(0.5, 100))
    )
    widths = []
    for s in (0.85, 1.15):
        with pm.Model(coords=response.coords) as model:
            pmg.ExtendedEventMixture("events", response=response, systematics=[pmg.PSFScale(value=s)])
        rows = pm.draw(model["events"], random_seed=2, mode="FAST_COMPILE")
        rows = rows[np.isfinite(rows[:, 0])]
        widths.append(np.median(np.hypot(rows[:, 1] - 0.3, rows[:, 2] + 0.2)))
    n = float(response.acceptance.sum())
    assert widths[1] / widths[0] == pytest.approx(1.15 / 0.85, abs=4 / np.sqrt(n))


@pytest.mark.parametrize("mode", ["FAST_COMPILE", pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("free", [False, True], ids=["fixed spectrum", "free spectrum"])
def test_gradients(free, mode):
    response = folded("several", ["crab", "shell"] if free else ())
    events = response.simulate(rng=8).select(response.roi)
    with pm.Model(coords=response.coords) as model:
        scale = pm.Uniform("scale", 0.85, 1.15, initval=1.0, default_transform=None)
        norm = pm.LogNormal("norm", 0.0, 0.3, default_transform=None)
        spectra = {"crab": pmg.PowerLaw(index=pm.Normal("index", 2.3, 0.3), amplitude=3e-12)} if free else None
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            observed=events,
            norms={"shell": norm},
            spectra=spectra,
            systematics=[pmg.PSFScale(value=scale)],
        )
    value, slope = model.compile_logp(mode=mode), model.compile_dlogp(mode=mode)
    at = {"scale": np.array(1.04), "norm": np.array(1.1)} | ({"index": np.array(2.35)} if free else {})
    names = [one.name for one in model.value_vars]
    h = 1e-5

    def moved(name, step):
        return {**at, name: at[name] + step}

    gradient = slope(at)
    for k, name in enumerate(names):
        difference = (value(moved(name, h)) - value(moved(name, -h))) / (2 * h)
        assert gradient[k] == pytest.approx(difference, rel=1e-5, abs=1e-3)


@pytest.mark.slow  # every family of Ops in JAX is in test_jax.py
@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
def test_jax():
    from pymc.sampling.jax import get_jaxified_logp

    response = folded("several", ["crab"])
    model = with_scale(response, response.simulate(rng=9))
    point = model.initial_point()
    for shift in (0.0, 0.4, -0.8):
        own = {name: value + shift for name, value in point.items()}
        found = float(get_jaxified_logp(model)(list(own.values())))
        assert found == pytest.approx(float(model.compile_logp()(own)), rel=1e-9)


def test_pointwise_log_likelihood():
    response = folded("point")
    events = response.simulate(rng=10)
    with pm.Model(coords=response.coords) as model:
        scale = pm.Uniform("scale", 0.9, 1.1)
        pmg.ExtendedEventMixture(
            "events", response=response, observed=events, systematics=[pmg.PSFScale(sigma=SIGMA, value=scale)]
        )
        prior = pm.sample_prior_predictive(3, var_names=["scale"], random_seed=1)["prior"]
        idata = pm.compute_log_likelihood(xr.DataTree.from_dict({"posterior": prior.to_dataset()}), progressbar=False)
    found = idata["log_likelihood"]["events"]
    found = found.sum(dim=[dim for dim in found.dims if dim not in ("chain", "draw")])
    expected = log_likelihood(model, idata["posterior"]["scale"].values[0])
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-9)


def test_outside_the_range():
    response = folded("point", hours=1)
    events = response.simulate(rng=11)
    with pm.Model(coords=response.coords) as model:
        scale = pm.Flat("scale", initval=1.0)
        pmg.ExtendedEventMixture(
            "events", response=response, observed=events, systematics=[pmg.PSFScale(sigma=SIGMA, value=scale)]
        )
    function = model.compile_logp(mode="FAST_COMPILE")
    for value in (0.849, 1.151, -1.0, 0.0, np.nan):
        assert float(function({"scale": np.array(value)})) == -np.inf, value
    assert np.isfinite(function({"scale": np.array(1.149)}))
    with pm.Model(coords=response.coords):
        scale = pmg.PSFScale(sigma=SIGMA, value=pm.Flat("scale", initval=1.2))
        with pytest.raises(ModelError, match=r"scale of the PSF is 1.2, outside 0.85 to 1.15"):
            pmg.ExtendedEventMixture("events", response=response, observed=events, systematics=[scale])


def test_bad_factors():
    response = folded("point", hours=1)
    with pytest.raises(ValueError, match=r"within 0.8 to 1.2, got \[0.7 1. \]"):
        response.under_psf_scales([0.7, 1.0], (0.8, 1.2), ["crab"])
    with pytest.raises(SkyModelError, match="no component 'other'"):
        response.under_psf_scales([0.9, 1.0], (0.8, 1.2), ["other"])


@pytest.mark.parametrize("free", [False, True], ids=["fixed spectrum", "free spectrum"])
def test_predictive_draws_of_every_kind_of_source(free):
    """Energies and directions of draws under a wide PSF are those of events of a response folded for it."""
    scale, names = 1.14, ["crab", "edge"]
    response = folded("several", names if free else ())
    with pm.Model(coords=response.coords) as model:
        spectra = {name: pmg.PowerLaw(index=2.0, amplitude=4e-12) for name in names} if free else None
        pmg.ExtendedEventMixture(
            "events", response=response, spectra=spectra, systematics=[pmg.PSFScale(value=scale)], max_events=40_000
        )
    if free:
        response = response.with_spectra(dict.fromkeys(names, 4e-12 * response.energy_true**-2.0))
    wider = response.with_systematics(psf_scale=scale)
    expected = float(wider.acceptance.sum())
    rows = pm.draw(model["events"], random_seed=4, mode="FAST_COMPILE")
    rows = rows[np.isfinite(rows[:, 0])]
    assert abs(len(rows) - expected) < 4 * np.sqrt(expected)
    events = wider.simulate(rng=5).to_rows()
    nominal = response.simulate(rng=6).to_rows()
    middle = {"crab": (0.3, -0.2), "shell": (-0.3, 0.2), "edge": (0.82, 0.1)}
    for lon, lat in middle.values():
        away = [np.hypot(one[:, 1] - lon, one[:, 2] - lat) for one in (rows, events)]
        near = [one[one < 0.25] for one in away]
        assert stats.ks_2samp(*near).pvalue > 1e-3
    assert stats.ks_2samp(np.log(rows[:, 0]), np.log(events[:, 0])).pvalue > 1e-3
    # the test sees the width: with the nominal PSF the events around the point source lie closer to it
    close = [np.hypot(one[:, 1] - 0.3, one[:, 2] + 0.2) for one in (rows, nominal)]
    assert stats.ks_2samp(*(one[one < 0.12] for one in close)).pvalue < 1e-3
