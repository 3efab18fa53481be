"""Significance of a component: likelihood and evidence ratios against integrals on grids; bad input."""

from functools import cache

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.special import logsumexp
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, PymcGammaWarning

BACKGROUND = np.linspace(0.4, 1.8, 281)
NORM = np.exp(np.linspace(-9, 2.5, 1151))


@cache
def response(free=()):
    sky = [source("crab", 0.3, -0.2, index=2.3, amplitude=4e-12), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=1), region(width=1.6, energy=(1.0, 50.0)), free_spectrum=free)


@cache
def events(norm):
    return response().with_spectra(norms={"crab": norm}).simulate(rng=4)


@cache
def grid(norm):
    """Logarithm of the likelihood at norms of both components, and of the background alone."""
    density, acceptance = response().density(events(norm)), response().acceptance.values
    both = sum(np.log(NORM[:, None] * a + BACKGROUND * b) for a, b in density)
    both = both - NORM[:, None] * acceptance[0] - BACKGROUND * acceptance[1]
    return both, sum(np.log(BACKGROUND * b) for _, b in density) - BACKGROUND * acceptance[1]


def log_prior(background):
    return -0.5 * (np.log(background) / 0.3) ** 2 - np.log(background * 0.3 * np.sqrt(2 * np.pi))


PRIORS = {
    "half-normal": (
        lambda: pm.HalfNormal("norm", 2.0),
        lambda x: -0.5 * (x / 2) ** 2 + np.log(2 / (2 * np.sqrt(2 * np.pi))),
    ),
    "log-normal": (
        lambda: pm.LogNormal("norm", -2, 1.0),
        lambda x: -0.5 * (np.log(x) + 2) ** 2 - np.log(x * np.sqrt(2 * np.pi)),
    ),
}


def model_of(prior, norm):
    with pm.Model(coords=response().coords) as model:
        norms = {"crab": PRIORS[prior][0](), "ccr": pm.LogNormal("background", 0, 0.3)}
        pmg.ExtendedEventMixture("events", response=response(), norms=norms, observed=events(norm))
    return model


def draws_of(prior, norm, n=2000):
    """Draws of the posterior out of the grid."""
    both, _ = grid(norm)
    density = both + PRIORS[prior][1](NORM)[:, None] + log_prior(BACKGROUND) + np.log(NORM)[:, None]
    density = np.exp(density - density.max())
    rng = np.random.default_rng(1)
    i, j = np.unravel_index(rng.choice(density.size, n, p=density.ravel() / density.sum()), density.shape)
    # anywhere in their cells
    norms = NORM[i] * np.exp(np.log(NORM[1] / NORM[0]) * (rng.random(n) - 0.5))
    background = BACKGROUND[j] + (BACKGROUND[1] - BACKGROUND[0]) * (rng.random(n) - 0.5)
    return xr.Dataset({"norm": (("chain", "draw"), norms[None]), "background": (("chain", "draw"), background[None])})


def expected(prior, norm):
    """TS and logarithm of the evidence ratio."""
    both, alone = grid(norm)
    log_norm = PRIORS[prior][1](NORM)[:, None]
    # the maximum of the posterior density, without what the prior of the norm says there
    best = np.unravel_index((both + log_norm + log_prior(BACKGROUND)).argmax(), both.shape)
    ts = 2 * ((both + log_prior(BACKGROUND))[best] - (alone + log_prior(BACKGROUND)).max())
    with_it = logsumexp(both + log_norm + log_prior(BACKGROUND) + np.log(NORM)[:, None])
    return ts, with_it + np.log(np.log(NORM[1] / NORM[0])) - logsumexp(alone + log_prior(BACKGROUND))


@pytest.mark.parametrize("prior", list(PRIORS))
@pytest.mark.parametrize("norm", [0.0, 0.03])
def test_a_faint_source_against_a_grid(prior, norm):
    found = pmg.significance(model_of(prior, norm), "crab", draws_of(prior, norm), max_draws=2000)
    ts, log_ratio = expected(prior, norm)
    assert found.ts == pytest.approx(ts, abs=0.03)
    assert found.n_parameters == 1
    assert found.evidence_ratio.log == pytest.approx(log_ratio, abs=5 * found.evidence_ratio.log_err)
    assert found.evidence_ratio.log_err < 0.04
    assert found.k_hat < 0.7


def test_a_bright_source_against_a_grid():
    """Without it the background would lie several standard deviations away: draws do not tell the evidence well."""
    with pytest.warns(PymcGammaWarning, match="is not to be trusted"):
        found = pmg.significance(model_of("half-normal", 0.2), "crab", draws_of("half-normal", 0.2), max_draws=2000)
    ts, log_ratio = expected("half-normal", 0.2)
    assert found.ts == pytest.approx(ts, abs=0.03)
    assert found.sqrt_ts == np.sqrt(found.ts)
    assert found.evidence_ratio.log == pytest.approx(log_ratio, abs=1)


def test_a_source_of_free_spectrum_has_more_parameters():
    free = response(("crab",))
    with pm.Model(coords=free.coords) as model:
        scale = pm.HalfNormal("scale", 1.0)  # speaks of the index alone, and goes with it
        index = pm.Normal("index", 2.3, scale)
        amplitude = pm.LogNormal("amplitude", np.log(1e-12), 1.0)
        background = pm.LogNormal("background", 0, 0.3)
        spectra = {"crab": pmg.PowerLaw(index=index, amplitude=amplitude)}
        pmg.ExtendedEventMixture(
            "events", response=free, spectra=spectra, norms={"ccr": background}, observed=events(0.2)
        )
    with pytest.warns(PymcGammaWarning, match="no maximum was found"):  # of the scale, which is best at zero
        found = pmg.significance(model, "crab")
    assert found.n_parameters == 2
    assert list(found.null.value) == ["background"]
    assert found.null.value["background"] == pytest.approx(
        BACKGROUND[(grid(0.2)[1] + log_prior(BACKGROUND)).argmax()], abs=0.01
    )
    assert found.p_value == pytest.approx(np.exp(-found.ts / 2), rel=1e-6)  # chi-square of two degrees of freedom
    assert "2 parameters more, p-value" in repr(found)


def test_other_data_that_keep_the_component_are_told():
    """Counts of an ON region know the flux that is shared, whatever the events are compared with."""
    free, edges = response(("crab",)), np.geomspace(1, 10, 4) * u.TeV
    exposure = np.full(3, 1e13) * u.Unit("cm2 s")
    counts = pmg.CountsSpectrum("toy", [12, 5, 2], energy=edges, energy_true=edges, exposure=exposure, edisp=np.eye(3))
    with pm.Model(coords=free.coords) as model:
        spectrum = pmg.PowerLaw(index=2.3, amplitude=pm.LogNormal("amplitude", np.log(1e-12), 1.0))
        pmg.ExtendedEventMixture("events", response=free, spectra={"crab": spectrum}, observed=events(0.2))
        pmg.OnOffCounts("magic", counts, spectrum=spectrum)
    with pytest.warns(PymcGammaWarning, match=r"taken out of \['events'\] alone: \['magic'\] share parameters"):
        assert pmg.significance(model, "crab").n_parameters == 0


def test_fractions():
    """The share of a component, at a fixed number of events."""
    with pm.Model(coords=response().coords) as model:
        fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, response=response(), observed=events(0.2))
    found = pmg.significance(model, "crab")
    density = response().density(events(0.2)) / response().acceptance.values
    share = np.linspace(0, 0.9, 9001)[:, None]
    log_like = np.log(share * density[:, 0] + (1 - share) * density[:, 1]).sum(axis=1)
    assert found.ts == pytest.approx(2 * (log_like.max() - log_like[0]), abs=1e-3)
    assert found.n_parameters == 1
    assert found.null is None
    assert found.p_value < 1e-10
    assert "sqrt(TS)" in repr(found)
    # the evidence ratio, from draws at the quantiles of the posterior
    posterior = np.exp(log_like - log_like.max())
    middle = (np.cumsum(posterior) - 0.5 * posterior) / posterior.sum()
    first = np.interp((np.arange(500) + 0.5) / 500, middle, share[:, 0])
    draws = np.stack([first, 1 - first], axis=-1)[None]
    found = pmg.significance(model, "crab", xr.Dataset({"fraction": (("chain", "draw", "component"), draws)}))
    log_ratio = logsumexp(log_like) + np.log(share[1, 0]) - log_like[0]
    assert found.evidence_ratio.log == pytest.approx(log_ratio, abs=4 * found.evidence_ratio.log_err)
    assert found.evidence_ratio.log_err < 0.05


def test_three_fractions():
    """One parameter of two that are left goes with a component."""
    sky = [source("a", 0.3, -0.2), source("b", -0.3, 0.2), pmg.CosmicRayBackground()]
    folded = pmg.fold(sky, pointing(hours=1), region(width=1.6, energy=(1.0, 50.0)))
    observed = folded.simulate({"a": 0.3, "b": 0.3, "ccr": 0.4}, 200, rng=1)
    with pm.Model(coords=folded.coords) as model:
        fraction = pm.Dirichlet("fraction", np.ones(3), dims="component")
        pmg.EventMixture("events", fraction, response=folded, observed=observed)
    with pytest.warns(PymcGammaWarning, match="no maximum was found"):  # the fraction of nothing is any
        found = pmg.significance(model, "a")
    assert found.n_parameters == 1
    with np.errstate(divide="ignore"):  # far from sources
        logarithms = np.log(folded.density(observed) / folded.acceptance.values)
    with pm.Model(coords={"component": ["b", "ccr"]}) as smaller:
        fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, log_likelihood=logarithms[:, 1:])
    with pm.Model(coords=folded.coords) as whole:
        fraction = pm.Dirichlet("fraction", np.ones(3), dims="component")
        pmg.EventMixture("events", fraction, log_likelihood=logarithms)
    difference = pmg.best_fit(whole).log_density - pmg.best_fit(smaller).log_density - np.log(2)  # of the priors
    assert found.ts == pytest.approx(2 * difference, abs=0.01)


def test_bad_input():
    model = model_of("half-normal", 0.2)
    with pytest.raises(ModelError, match=r"no component 'crap'; it has \['crab', 'ccr'\]"):
        pmg.significance(model, "crap")
    with pm.Model() as other:
        pm.Normal("y", pm.Normal("mu"), 1, observed=0.0)
    with pytest.raises(ModelError, match=r"observes no events of components; it observes \['y'\]"):
        pmg.significance(other, "crab")
    alone = pmg.fold(pmg.CosmicRayBackground(), pointing(hours=1), response().roi)
    with pm.Model(coords=alone.coords) as single:
        norms = {"ccr": pm.LogNormal("background", 0, 0.3)}
        pmg.ExtendedEventMixture("events", response=alone, norms=norms, observed=events(0.0))
    with pytest.raises(ModelError, match="'ccr' is the only component"):
        pmg.significance(single, "ccr")
    with pytest.raises(ModelError, match="posterior lacks"):
        pmg.significance(model, "crab", xr.Dataset({"norm": (("chain", "draw"), np.ones((1, 20)))}))
