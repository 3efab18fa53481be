"""Dark matter on background: nested sampling and sequential Monte Carlo agree on what the data prefer.

With one parameter for the signal and one for the background the evidences also follow from quadrature.
"""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from scipy.special import logsumexp
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma import darkmatter

pytestmark = pytest.mark.slow

J_FACTOR = 1e22 * u.GeV**2 / u.cm**5
LARGEST = 10.0
"""Of the cross-section, 1e-25 cm3 s-1."""


@pytest.fixture(scope="module")
def response():
    sky = [source("dm", 0.0, 0.0, sigma=0.2), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=2), region(radius=1.0, energy=(0.3, 10.0)), free_spectrum=["dm"])


def build(response, events, signal):
    with pm.Model() as model:
        norm = pm.LogNormal("norm", 0, 0.3)
        sigmav = pm.Uniform("sigmav", 0, LARGEST) if signal else 0.0
        spectrum = darkmatter.Annihilation(2.0, 1e-25 * sigmav, "W", j_factor=J_FACTOR)
        pmg.ExtendedEventMixture(
            "events", response=response, spectra={"dm": spectrum}, norms={"ccr": norm}, observed=events
        )
    return model


def quadrature(model, signal):
    """Logarithm of the evidence, by sums over a grid of the parameters on the real line."""
    logp = model.compile_logp()
    log_norm = np.linspace(-0.15, 0.15, 121)
    logit = np.linspace(-9, 6, 301) if signal else np.zeros(1)
    names = {"norm_log__": log_norm, **({"sigmav_interval__": logit} if signal else {})}
    steps = np.sum([np.log(np.diff(grid)[0]) for grid in names.values()])
    grids = np.meshgrid(*names.values(), indexing="ij")
    values = [
        logp(dict(zip(names, map(np.asarray, point), strict=True)))
        for point in zip(*(g.ravel() for g in grids), strict=True)
    ]
    return logsumexp(values) + steps


@pytest.mark.parametrize("sigmav", [0.0, 1e-25])
def test_samplers_agree(response, sigmav):
    drawn = response.simulate(
        spectra={"dm": darkmatter.Annihilation(2.0, sigmav, "W", j_factor=J_FACTOR)},
        rng=1,
    )
    events = drawn.binned(12, pixel=0.2 * u.deg)
    models = [build(response, events, signal) for signal in (True, False)]
    exact = quadrature(models[0], True) - quadrature(models[1], False)
    nested = [pmg.sample_nested(one, nlive=400, dlogz=0.1, random_seed=1, progressbar=False) for one in models]
    smc = [pm.sample_smc(1000, chains=4, cores=1, random_seed=1, progressbar=False, model=one) for one in models]
    factors = [pmg.bayes_factor(*nested), pmg.bayes_factor(*smc)]
    for found in factors:
        assert found.log_err < 0.5
        assert abs(found.log - exact) < 4 * found.log_err + 0.02
    assert abs(factors[0].log - factors[1].log) < 4 * np.hypot(factors[0].log_err, factors[1].log_err)
    assert (exact > 0) == (sigmav > 0)
