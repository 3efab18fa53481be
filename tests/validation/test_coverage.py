"""Coverage: intervals hold the truth at the rate they should, in models with physical fluxes, spectra and systematics.

For each of 200 data sets the true parameters are drawn from the prior, and events are simulated with them. Then central
intervals of the posterior hold the truth in exactly their share of the data sets, and the posterior probability below
the truth is uniform, if likelihood, simulator and priors fit together, whatever the priors (Cook, Gelman and Rubin
2006, JCGS 15, 675). It holds for all data sets taken together, not for each truth.

A model is compiled once; the events are a shared variable, replaced for each data set. Posteriors are importance
samples from a Student distribution around the maximum, with the covariance of the curvature there.
"""

import time

import numpy as np
import pymc as pm
import pytensor
import pytest
from laplace import compiled, summit
from scipy import stats
from setups import P_VALUE, pointing, region, source

import pymc_gamma as pmg

pytestmark = pytest.mark.slow

DATA_SETS = 200
DRAWS = 1000
LEAST_EFFECTIVE = 200
FREEDOM = 5
AMPLITUDE = 3e-12
LEVELS = (0.68, 0.95)
STEP = 0.5
"""Standard deviations between the gradients of the curvature: those of an energy scale jump a little at its nodes."""


def folded(free):
    sky = [source("crab", 0.3, -0.2, amplitude=AMPLITUDE), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=4), region(width=1.2, energy=(0.5, 100)), free_spectrum=free)


def power_law():
    index = pm.Normal("index", 2.3, 0.25)
    return {"crab": pmg.PowerLaw(index=index, amplitude=pm.LogNormal("amplitude", np.log(AMPLITUDE), 0.4))}


def fluxes(response, **events):
    """Index, amplitude and background norm: a Poisson process."""
    norms = {"ccr": pm.LogNormal("norm", 0.0, 0.2)}
    pmg.ExtendedEventMixture("events", response=response, spectra=power_law(), norms=norms, **events)


def mixture(response, **events):
    """Fraction and index: a fixed number of events."""
    fraction = pm.Uniform("fraction", 0.0, 1.0)
    spectra = {"crab": pmg.PowerLaw(index=pm.Normal("index", 2.3, 0.25))}
    if "observed" not in events:
        events = {"n_events": 1000}
    pmg.EventMixture("events", pm.math.stack([fraction, 1 - fraction]), response=response, spectra=spectra, **events)


def systematics(response, **events):
    """An instrument whose energy scale, background norm and background tilt are uncertain."""
    pmg.ExtendedEventMixture(
        "events",
        response=response,
        spectra=power_law(),
        systematics=[pmg.EnergyScale(sigma=0.1), pmg.BackgroundNorm(sigma=0.2), pmg.BackgroundTilt(sigma=0.1)],
        **events,
    )


def predictive(build, response):
    """Parameters from the prior, and events: both from PyMC's forward sampling of the model."""
    with pm.Model() as model:
        build(response)
        draws = pm.sample_prior_predictive(DATA_SETS, random_seed=1, compile_kwargs={"mode": "FAST_COMPILE"})
    prior = {rv.name: draws["prior"][rv.name].values[0] for rv in model.free_RVs if rv.name != "events"}
    return prior, [rows[np.isfinite(rows[:, 0])] for rows in draws["prior"]["events"].values[0]]


def distorted(build, response):
    """Parameters from the prior, and events of an instrument with a distorted response, which no fit knows."""
    with pm.Model() as model:
        build(response)
    variables = [rv for rv in model.free_RVs if rv.name != "events"]
    values = pm.draw(variables, DATA_SETS, random_seed=1, mode="FAST_COMPILE")
    prior = {rv.name: value for rv, value in zip(variables, values, strict=True)}
    rng, events = np.random.default_rng(2), []
    reco = response.free_components[1].energy
    for d in range(DATA_SETS):
        one = {name: np.ravel(value[d])[0] for name, value in prior.items()}
        instrument = response.with_systematics(energy_scale=one["energy_scale"])
        spectra = {
            "crab": one["amplitude"] * response.energy_true ** -one["index"],
            "ccr": one["background_norm"] * reco ** -one["background_tilt"],
        }
        events.append(instrument.with_spectra(spectra).simulate(rng=rng).to_rows(response.reco))
    return prior, events


def unconstrained(model, prior):
    """The true parameters as samplers see them, shape (DATA_SETS, P), and their names."""
    columns = []
    for rv in model.free_RVs:
        transform, value = model.rvs_to_transforms[rv], prior[rv.name].reshape(DATA_SETS)
        columns.append(value if transform is None else transform.forward(value, *rv.owner.inputs).eval())
    return np.stack(columns, axis=1), [rv.name for rv in model.free_RVs]


def probability_below(function, start, truth, rng):
    """Posterior probability below the true value of each parameter, and effective number of draws."""
    best = summit(function, start, STEP)
    proposal = stats.multivariate_t(best.x, best.covariance, df=FREEDOM, seed=rng)
    draws = proposal.rvs(DRAWS)
    log_weight = np.array([float(function(x)[0]) for x in draws]) - proposal.logpdf(draws)
    weight = np.exp(log_weight - np.nanmax(log_weight))
    weight /= weight.sum()
    return (weight[:, None] * (draws < truth)).sum(axis=0), 1 / np.sum(weight**2)


@pytest.mark.parametrize(
    ("build", "free", "simulate"),
    [
        (fluxes, ["crab"], predictive),
        (mixture, ["crab"], predictive),
        (systematics, ["crab", "ccr"], predictive),
        (systematics, ["crab", "ccr"], distorted),
    ],
)
def test_intervals_cover_the_truth(build, free, simulate):
    response = folded(free)
    began = time.perf_counter()
    prior, events = simulate(build, response)
    n_rows = max(map(len, events))
    padded = [np.concatenate([rows, np.full((n_rows - len(rows), rows.shape[1]), np.nan)]) for rows in events]
    with pm.Model() as model:
        data = pytensor.shared(padded[0], "data")  # `pymc.Data` refuses NaN
        build(response, observed=data)
    function, start = compiled(model, mode=None)  # worth its seconds: called a hundred thousand times
    start = np.concatenate([np.ravel(value) for value in start.values()])
    truth, names = unconstrained(model, prior)
    rng = np.random.default_rng(3)
    below, effective = np.empty_like(truth), np.empty(DATA_SETS)
    for d in range(DATA_SETS):
        data.set_value(padded[d])
        below[d], effective[d] = probability_below(function, start, truth[d], rng)
    print(
        f"{build.__name__}, {simulate.__name__}: {np.mean([*map(len, events)]):.0f} events, at most {n_rows}; "
        f"effective draws {effective.min():.0f} to {effective.max():.0f} of {DRAWS}; "
        f"{time.perf_counter() - began:.0f} s"
    )
    assert effective.min() > LEAST_EFFECTIVE
    failures = []
    for name, column in zip(names, below.T, strict=True):
        p = stats.kstest(column, "uniform").pvalue
        line = f"  {name:16s} rank: mean {column.mean():.3f}, uniform: p = {p:.3f}"
        good = p > P_VALUE
        for level in LEVELS:
            low, high = stats.binom.interval(0.999, DATA_SETS, level)
            count = int(np.sum(np.abs(column - 0.5) < level / 2))
            line += f"; {level:.0%}: {count} of {DATA_SETS} (band {low:.0f} to {high:.0f})"
            good &= low <= count <= high
        print(line)
        if not good:
            failures.append(line)
    assert not failures
