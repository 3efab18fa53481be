"""How often the flux lies in its posterior intervals where ON and OFF regions hold few events.

1000 simulated data sets of 5 to 20 ON events, of which 5 are expected to be background, and 25 OFF events: about one
and a half in each channel. The flux is drawn from its prior, the background is a power law that no prior knows of.
Intervals are those of the marginal posterior (Laplace's approximation for what else is free).
"""

import functools
import os
import warnings
from multiprocessing import get_context

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytest
from scipy import stats

import pymc_gamma as pmg
from pymc_gamma.inference.marginal import MarginalPosterior

pytestmark = pytest.mark.slow

N = int(os.environ.get("PYMC_GAMMA_SIMULATIONS", "1000"))
EDGES, TRUE = np.geomspace(0.5, 20, 17), np.geomspace(0.3, 40, 91)
MIDDLE = np.sqrt(TRUE[1:] * TRUE[:-1])
NODES = np.geomspace(0.5, 20, 241)
ALPHA, N_SOURCE, N_OFF, WIDTH = 0.2, 8.0, 25.0, 0.5
LEVELS = (0.68, 0.95)
WORKERS = 2
BACKGROUNDS = {
    "events": pmg.MeasuredBackground, "channels": pmg.MeasuredBackground, "flat": pmg.FlatBackground,
    "profiled": pmg.ProfiledBackground,
}  # fmt: skip


def events(on, off):
    edisp = stats.lognorm.pdf(NODES, s=0.2, scale=MIDDLE[:, None])
    with warnings.catch_warnings(action="ignore"):  # of no OFF events
        return pmg.OnOffEvents(
            "run", on * u.TeV, nodes=NODES * u.TeV, energy_true=TRUE * u.TeV, edisp=edisp * u.Unit("TeV-1"),
            exposure=1e12 * MIDDLE**0.5 * u.Unit("cm2 s"), energy_off=off * u.TeV, alpha=ALPHA,
        )  # fmt: skip


@functools.cache
def shapes():
    """Cumulative distributions of the energies of the source and of the background, and the norm of the source."""
    made = events(np.ones(1), np.ones(1))
    law = pmg.PowerLaw(index=2.5, amplitude=1e-12)
    fine = np.geomspace(0.5, 20, 4001)
    rate = made.grid.rates_at(made.nodes().expected(law, "law"), fine)
    found = []
    for rates in (rate, fine**-2.7):
        below = np.concatenate([[0], np.cumsum(0.5 * (rates[1:] + rates[:-1]) * np.diff(fine))])
        found.append(below / below[-1])
    return fine, *found, N_SOURCE / made.npred(law)


def simulated(seed):
    """The logarithm of the flux, and energies of ON and OFF events; None if there are too many or too few."""
    fine, source, background, _ = shapes()
    rng = np.random.default_rng(seed)
    log_factor = rng.normal(0, WIDTH)

    def energies(n, cumulative):
        return np.interp(rng.random(rng.poisson(n)), cumulative, fine)

    on = np.concatenate([energies(N_SOURCE * np.exp(log_factor), source), energies(ALPHA * N_OFF, background)])
    off = energies(N_OFF, background)
    return (log_factor, on, off) if 5 <= len(on) <= 20 else None


def ranks(kind, seed):
    """Posterior quantiles at the ends of intervals, against the truth; None for a data set that is left out."""
    # each data set is a model of its own, evaluated a few hundred times: C thunks are there at once
    with pytensor.config.change_flags(mode="CVM" if pytensor.config.cxx else pytensor.config.mode):
        return _ranks(kind, seed)


def _ranks(kind, seed):
    drawn = simulated(seed)
    if drawn is None:
        return None
    truth, on, off = drawn
    data = events(on, off)
    with warnings.catch_warnings(action="ignore"), pm.Model() as model:
        log_factor = pm.Normal("log_factor", 0.0, WIDTH)
        law = pmg.PowerLaw(index=2.5, amplitude=1e-12 * shapes()[-1] * pm.math.exp(log_factor))
        made = data if kind == "events" else data.binned(EDGES * u.TeV)
        pmg.OnOffCounts("on", made, spectrum=law, background=BACKGROUNDS[kind]())
        posterior = MarginalPosterior(model, "log_factor")
        ends = [[posterior.quantile(0.5 + sign * level / 2) for sign in (-1, 1)] for level in LEVELS]
        return [low < truth < high for low, high in ends], truth - posterior.quantile(0.5)


def coverage(kind):
    """Share of data sets whose intervals hold the truth, and the mean distance of the median from it."""
    with get_context("spawn").Pool(WORKERS, maxtasksperchild=10) as pool:  # compiled models stay in memory
        found = [one for one in pool.imap(functools.partial(ranks, kind), range(int(N * 1.25)), chunksize=10) if one]
    found = found[:N]
    assert len(found) == N
    inside = np.array([one[0] for one in found]).mean(axis=0)
    away = np.array([one[1] for one in found])
    print(f"{kind:10s} of {N}: 68 % {inside[0]:.3f}, 95 % {inside[1]:.3f}, truth - median {away.mean():+.3f} +- "
          f"{away.std() / np.sqrt(N):.3f} (ln flux)", flush=True)  # fmt: skip
    return inside


@pytest.mark.parametrize("kind", ["events", "channels"])
def test_intervals_hold_the_flux_as_often_as_they_say(kind):
    for level, share in zip(LEVELS, coverage(kind), strict=True):
        assert stats.binom.ppf(0.0005, N, level) <= share * N <= stats.binom.ppf(0.9995, N, level)


@pytest.mark.parametrize("kind", ["flat", "profiled"])
def test_other_backgrounds_to_compare_with(kind):
    assert np.all(coverage(kind) > 0.5)
