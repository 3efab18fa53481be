"""Time the job of ``peer.py`` done by pymc_gamma, stage by stage.

Same setting (one 50 h pointing at the Galactic centre, 6.4 deg x 6.4 deg, 0.1-100 TeV), same three
components, fractions and number of events, same flat Dirichlet prior, same nested sampler with the same
settings.

============  ==============================================================================
set_up        read the IRFs, describe observation, region and components
fold          the components through the IRFs, with their acceptance
simulate      draw the events through the IRFs
density       density of each event under each component, true values integrated out
nested        build the model, nested sampling (dynesty, 500 live points, dlogz 0.5)
nuts          build the model, ``pm.sample`` with four chains of 1000 + 1000 draws
============  ==============================================================================

The first pass runs in a fresh process and includes every compilation that caches on disk do not save it. Each
later pass has another seed, so that no table of an earlier one can be reused, and builds its models anew; for
each stage the quickest of them counts. ``compare.py`` runs this file with empty caches; by hand::

    python benchmarks/gammabayes/ours.py --output ours.json
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from job import DLOGZ, LIVE_POINTS, N_EVENTS, TRUTH, StageClock, seconds_per_call, write_record

PACKAGES = ("pymc", "pytensor", "numba", "nutpie", "dynesty", "numpy", "gammapy")


def set_up() -> tuple[Any, Any, list[Any]]:
    """Return observation, region of interest and components, the latter in the order of ``TRUTH``."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    import pymc_gamma as pmg

    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    irfs = pmg.load_irfs("prod5-south-20deg-50h")
    observation = pmg.Observation(irfs=irfs, pointing=centre, livetime=50 * u.h)
    roi = pmg.RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
    return observation, roi, [pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()]


def build_model(response: Any, events: Any) -> Any:
    """Return the mixture model of the events under a flat Dirichlet prior."""
    import pymc as pm

    import pymc_gamma as pmg

    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(len(TRUTH)), dims="component")
        pmg.EventMixture("events", fraction, response=response, observed=events)
    return model


def summarise(idata: Any) -> dict[str, Any]:
    """Return posterior moments of the fractions."""
    fraction = idata.posterior["fraction"]
    return {
        "fraction_mean": fraction.mean(("chain", "draw")).values.tolist(),
        "fraction_sd": fraction.std(("chain", "draw")).values.tolist(),
    }


def run_pass(n_events: int, seed: int, clock: StageClock) -> dict[str, Any]:
    """Run the whole job once and return its results."""
    import pymc as pm

    import pymc_gamma as pmg

    with clock.stage("set_up"):
        observation, roi, components = set_up()
    with clock.stage("fold"):
        response = pmg.fold(components, observation, roi)
    with clock.stage("simulate"):
        events = response.simulate(list(TRUTH.values()), n_events=n_events, rng=np.random.default_rng(seed))
    with clock.stage("density"):
        response.density(events)
    with clock.stage("nested"):
        model = build_model(response, events)
        nested = pmg.sample_nested(model, nlive=LIVE_POINTS, dlogz=DLOGZ, random_seed=seed, progressbar=False)
    with clock.stage("nuts"), build_model(response, events):
        nuts = pm.sample(1000, tune=1000, chains=4, random_seed=seed, progressbar=False)
    point = pmg.prior_transform(model)(np.array([0.4, 0.5]))
    return {
        "likelihood_seconds": seconds_per_call(pmg.log_likelihood(model), point),
        "nested": summarise(nested) | {"likelihood_calls": nested.attrs["ncall"]},
        "nuts": summarise(nuts),
        "nuts_sampling_seconds": nuts.posterior.attrs["sampling_time"],
    }


def run_job(n_events: int, seed: int, repeats: int) -> dict[str, Any]:
    """Run the job ``1 + repeats`` times; return all measurements and the results of the first pass."""
    first = StageClock()
    with first.stage("import"):
        from pymc_gamma import EventMixture, Events, fold, load_irfs, sample_nested  # noqa: F401 (lazy names)
    results = run_pass(n_events, seed, first)
    later = [StageClock() for _ in range(repeats)]
    for number, clock in enumerate(later, start=1):
        again = run_pass(n_events, seed + number, clock)
        for name in ("likelihood_seconds", "nuts_sampling_seconds"):
            results[name] = min(results[name], again[name])
    steady = {
        name: {kind: min(clock.stages[name][kind] for clock in later) for kind in ("wall", "cpu")}
        for name in later[0].stages
    }
    return {"n_events": n_events, "first": first.stages, "steady": steady, **results}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the job of peer.py done by pymc_gamma.")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=N_EVENTS, help=f"number of events (default {N_EVENTS})")
    parser.add_argument("--repeats", type=int, default=5, help="passes after the first one (default 5)")
    arguments = parser.parse_args()
    if arguments.events < 1 or arguments.repeats < 1:
        parser.error("--events and --repeats must be at least 1")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    measurements = run_job(arguments.events, arguments.seed, arguments.repeats)
    write_record(arguments.output, "pymc_gamma", PACKAGES, arguments.seed, measurements)


if __name__ == "__main__":
    main()
