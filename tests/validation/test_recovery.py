"""Coverage: the 90 % interval of each fraction holds the truth at the rate it should.

Fractions are drawn from the prior, 4500 events are simulated with them through the response, and the posterior is
summed on a grid of fractions from the log-likelihood of `EventMixture`. Drawn from the prior, the rank of the truth in
its posterior is uniform (Cook, Gelman and Rubin 2006, JCGS 15, 675), which is tested too.
"""

import numpy as np
import pymc as pm
import pytest
from pymc.model.transform.conditioning import remove_value_transforms
from scipy import stats
from setups import P_VALUE, pointing, quick_start_components, region

import pymc_gamma as pmg

pytestmark = pytest.mark.slow

SEEDS = 50
EVENTS = 4500
GRID = 41
WIDTH = 6.0
"""Half width of the grid in standard deviations."""


@pytest.fixture(scope="module")
def response():
    return pmg.fold(quick_start_components(), pointing(), region())


def log_likelihood(response, events):
    """log L of fractions, from the model that a user writes."""
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
        pmg.EventMixture("events", fraction, response=response, observed=events)
    free = remove_value_transforms(model)
    compiled = free.compile_logp(vars=free["events"], jacobian=False)
    return lambda fraction: float(compiled({"fraction": fraction}))


def summit(density, steps=500):
    """Most likely fractions by expectation-maximisation, and their covariance: where to put the grid."""
    fraction = np.full(density.shape[1], 1 / density.shape[1])
    for _ in range(steps):
        share = density * fraction
        fraction = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    score = density[:, :2] - density[:, 2:]
    score /= (density @ fraction)[:, None]
    return fraction, np.linalg.inv(score.T @ score)


def ranks(response, events, truth):
    """Posterior probability below the true value of each fraction."""
    logp = log_likelihood(response, events)
    best, covariance = summit(response.component_pdf(events.to_rows(response.reco)))
    spread = np.sqrt(np.diag(covariance))
    bounds = [
        np.linspace(max(0, best[k] - WIDTH * spread[k]), min(1, best[k] + WIDTH * spread[k]), GRID + 1)
        for k in range(2)
    ]
    middle = [0.5 * (edges[1:] + edges[:-1]) for edges in bounds]
    points = np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, 2)
    points = np.column_stack([points, 1 - points.sum(axis=1)])
    points = points[points[:, 2] > 0]
    values = np.array([logp(point) for point in points])
    weight = np.exp(values - values.max())
    weight /= weight.sum()
    return [_rank(points[:, k], weight, truth[k]) for k in range(3)]


def _rank(values, weight, truth):
    """Cumulative probability at the truth, half of each grid value below it and half above."""
    levels, index = np.unique(np.round(values, 12), return_inverse=True)
    mass = np.bincount(index, weights=weight)
    return float(np.interp(truth, levels, np.cumsum(mass) - 0.5 * mass, left=0, right=1))


def test_intervals_cover_the_truth(response):
    rng = np.random.default_rng(2026)
    found = []
    for _ in range(SEEDS):
        truth = rng.dirichlet(np.ones(3))
        events = response.simulate(truth, EVENTS, rng=rng)
        found.append(ranks(response, events, truth))
    found = np.array(found)
    covered = ((found > 0.05) & (found < 0.95)).sum(axis=0)
    low, high = stats.binom.interval(0.999, SEEDS, 0.9)
    for name, count, column in zip(response.component_names, covered, found.T, strict=True):
        p = stats.kstest(column, "uniform").pvalue
        print(f"{name:8s} {count} of {SEEDS} covered (band {low:.0f} to {high:.0f}), rank uniform: p = {p:.3f}")
        assert low <= count <= high
        assert p > P_VALUE
