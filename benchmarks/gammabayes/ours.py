"""Time the job of ``peer.py`` done by pymc_gamma, stage by stage.

Same setting (one 50 h pointing at the Galactic centre, 6.4 deg x 6.4 deg, 0.1-100 TeV), same three
components, fractions and number of events, same flat Dirichlet prior, same nested sampler with the same
settings. Other jobs are classes derived from `QuickStart`, in files of their own.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from job import DLOGZ, LIVE_POINTS, QUICKSTART, Job, StageClock, seconds_per_call, write_record

PACKAGES = ("pymc", "pytensor", "numba", "nutpie", "dynesty", "numpy", "gammapy")


class QuickStart:
    """The job of the Quick Start, stage by stage."""

    job: ClassVar[Job] = QUICKSTART

    def observe(self) -> tuple[Any, Any]:
        """Return observation and region of interest."""
        import astropy.units as u
        from astropy.coordinates import SkyCoord

        import pymc_gamma as pmg

        centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
        irfs = pmg.load_irfs("prod5-south-20deg-50h")
        observation = pmg.Observation(irfs=irfs, pointing=centre, livetime=50 * u.h)
        return observation, pmg.RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)

    def components(self) -> list[Any]:
        """Return the components, in the order of the job's fractions."""
        import pymc_gamma as pmg

        return [pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()]

    def priors(self) -> dict[str, Any]:
        """Return variables of the model at hand for the job's other parameters: none."""
        return {}

    def spectra(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the spectra that depend on parameters, by component: none."""
        return {}

    def model(self, response: Any, events: Any) -> Any:
        """Return the mixture model of the events under a flat Dirichlet prior."""
        import pymc as pm

        import pymc_gamma as pmg

        with pm.Model(coords=response.coords) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(len(self.job.fractions)), dims="component")
            spectra = self.spectra(self.priors())
            pmg.EventMixture("events", fraction, response=response, spectra=spectra, observed=events)
        return model


def summarise(idata: Any, job: Job, errors: Any) -> dict[str, Any]:
    """Return posterior moments of the fractions and other parameters, with Monte Carlo errors of the means."""
    draws = idata.posterior.dataset.stack(sample=("chain", "draw"))
    values = [
        *draws["fraction"].transpose("component", "sample").values,
        *(draws[key].values for key in job.parameters),
    ]
    sd = np.std(values, axis=1)
    return {
        "mean": np.mean(values, axis=1).tolist(),
        "sd": sd.tolist(),
        "mean_error": errors(idata, job, sd).tolist(),
    }


def errors_of_nested(idata: Any, _job: Job, sd: Any) -> Any:
    """Return Monte Carlo errors of the means of nested sampling: from the effective number of its weighted points."""
    weight = np.exp(idata["nested"]["log_weight"].values)
    return sd * np.sqrt((weight**2).sum()) / weight.sum()


def errors_of_nuts(idata: Any, job: Job, _sd: Any) -> Any:
    """Return Monte Carlo errors of the means of NUTS, which autocorrelation makes larger."""
    import arviz as az

    error = az.mcse(idata.posterior)
    return np.array([*error["fraction"].values, *(float(error[key]) for key in job.parameters)])


def run_pass(case: QuickStart, n_events: int, seed: int, clock: StageClock) -> dict[str, Any]:
    """Run the whole job once and return its results."""
    import pymc as pm

    import pymc_gamma as pmg

    job = case.job
    with clock.stage("set_up"):
        observation, roi = case.observe()
        components = case.components()
        spectra = case.spectra(job.parameters)
    with clock.stage("fold"):
        response = pmg.fold(components, observation, roi, free_spectrum=list(spectra))
    with clock.stage("simulate"):
        rng = np.random.default_rng(seed)
        events = response.simulate(list(job.fractions.values()), n_events=n_events, spectra=spectra or None, rng=rng)
    with clock.stage("density"):
        response.density(events)
    with clock.stage("nested"):
        model = case.model(response, events)
        nested = pmg.sample_nested(model, nlive=LIVE_POINTS, dlogz=DLOGZ, random_seed=seed, progressbar=False)
    with clock.stage("nuts"), case.model(response, events):
        nuts = pm.sample(1000, tune=1000, chains=4, random_seed=seed, progressbar=False)
    point = pmg.prior_transform(model)(np.full(len(job.fractions) - 1 + len(job.parameters), 0.4))
    return {
        "likelihood_seconds": seconds_per_call(pmg.log_likelihood(model), point),
        "nested": summarise(nested, job, errors_of_nested) | {"likelihood_calls": nested.attrs["ncall"]},
        "nuts": summarise(nuts, job, errors_of_nuts),
        "nuts_sampling_seconds": nuts.posterior.attrs["sampling_time"],
    }


def run_job(case: QuickStart, n_events: int, seed: int, repeats: int) -> dict[str, Any]:
    """Run the job ``1 + repeats`` times; return all measurements and the results of the first pass."""
    first = StageClock()
    with first.stage("import"):
        from pymc_gamma import EventMixture, Events, fold, load_irfs, sample_nested  # noqa: F401 (lazy names)
    results = run_pass(case, n_events, seed, first)
    later = [StageClock() for _ in range(repeats)]
    for number, clock in enumerate(later, start=1):
        again = run_pass(case, n_events, seed + number, clock)
        for name in ("likelihood_seconds", "nuts_sampling_seconds"):
            results[name] = min(results[name], again[name])
    steady = {
        name: {kind: min(clock.stages[name][kind] for clock in later) for kind in ("wall", "cpu")}
        for name in later[0].stages
    }
    return {"n_events": n_events, "first": first.stages, "steady": steady, **results}


def parse_arguments(job: Job) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Time pymc_gamma on {job.title}, stage by stage.")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=job.n_events, help=f"number of events (default {job.n_events})")
    parser.add_argument("--repeats", type=int, default=5, help="passes after the first one (default 5)")
    arguments = parser.parse_args()
    if arguments.events < 1 or arguments.repeats < 1:
        parser.error("--events and --repeats must be at least 1")
    return arguments


def main(case: QuickStart) -> None:
    """Run a job as the command line says."""
    arguments = parse_arguments(case.job)
    measurements = run_job(case, arguments.events, arguments.seed, arguments.repeats)
    write_record(arguments.output, case.job, "pymc_gamma", PACKAGES, arguments.seed, measurements)


if __name__ == "__main__":
    main(QuickStart())
