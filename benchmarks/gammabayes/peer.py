"""Time the Quick Start of GammaBayes 0.1.9, stage by stage.

The job is the one of GammaBayes' own Quick Start tutorial, in its low-level form (the high-level one swaps
two of the three fractions): 4500 events of one 50 h pointing at the Galactic centre, 6.4 deg x 6.4 deg,
0.1-100 TeV, drawn from Galactic diffuse emission (1/6), H.E.S.S. Galactic Plane Survey sources (1/3) and
residual cosmic rays (1/2) on a grid of 0.4 deg and 50 energies; then the three fractions are inferred under a
flat Dirichlet prior.

============  ==============================================================================
set_up        read the IRFs, evaluate the exposure and the components on the grid
simulate      draw true events of each component, pass each of them through the IRFs
normalise     integrate point spread function and energy dispersion over the reconstructed grid
marginalise   for each occupied cell and component, integrate over true energy and direction
sample        nested sampling (dynesty, 500 live points, dlogz 0.5)
============  ==============================================================================

This file runs in the peer's own environment (Python 3.11 or 3.12; the versions are in ``environment.py``),
imports nothing of pymc_gamma, and writes its measurements as JSON. ``compare.py`` runs it and sets the result
beside ours. Other jobs are classes derived from `QuickStart`, in files of their own.

Two quirks of version 0.1.9 have to be worked around. Its components carry no IRFs, so adding up simulated
events fails (``'dict' object has no attribute 'pointing_dir'``): the IRFs are attached by hand. It draws from
Python's ``random`` as well as from NumPy's global state, so both are seeded, and dynesty is given its own
generator.

On a twentieth of the events, in half a minute::

    python benchmarks/gammabayes/peer.py --fraction-of-job 0.05 --output peer.json
"""

import argparse
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

# gammapy 1.1 and the peer take logarithms of empty cells and call deprecated NumPy; not ours to repair.
warnings.simplefilter("ignore")
os.environ.setdefault("TQDM_DISABLE", "1")  # hundreds of progress bars bury the timings

import numpy as np  # noqa: E402
from job import DLOGZ, LIVE_POINTS, QUICKSTART, Job, StageClock, seconds_per_call, write_record  # noqa: E402

PACKAGES = ("numpy", "scipy", "astropy", "gammapy", "dynesty")


def build_instrument(geometry: Any) -> tuple[Any, Any]:
    """Return the IRFs and the exposure of one 50 h pointing at the Galactic centre."""
    from astropy import units as u
    from gammabayes import GammaLogExposure
    from gammabayes.likelihoods.irfs import IRF_LogLikelihood

    observation = {"pointing_dir": np.zeros(2) * u.deg, "observation_time": 50 * u.hr}
    irfs = IRF_LogLikelihood(axes=geometry.axes, dependent_axes=geometry.axes, **observation)
    return irfs, GammaLogExposure(binning_geometry=geometry, irfs=irfs, **observation)


class QuickStart:
    """The job of the Quick Start, stage by stage."""

    job: ClassVar[Job] = QUICKSTART
    #: The components' names in the peer.
    names: ClassVar[dict[str, str]] = {
        "diffuse": "FermiGaggeroDiffusePrior",
        "hgps": "HESSCatalogueSources_Prior",
        "ccr": "CCR_BKG",
    }
    #: Ends of the grid in longitude and latitude, deg, in steps of 0.4 deg.
    grid: ClassVar[tuple[float, float]] = (-3.2, 3.2)

    def geometry(self) -> Any:
        """Return the grid, used for true and for reconstructed quantities alike."""
        from astropy import units as u
        from gammabayes import GammaBinning

        first, last = self.grid
        angle = np.arange(first, last + 1e-5, 0.4) * u.deg
        return GammaBinning(energy_axis=np.logspace(-1, 2, 50) * u.TeV, lon_axis=angle, lat_axis=angle)

    def components(self, geometry: Any, irfs: Any, exposure: Any) -> dict[str, Any]:
        """Return the components, in the order of the job's fractions."""
        from gammabayes.priors import FermiGaggeroDiffusePrior, HESSCatalogueSources_Prior, ObsFluxDiscreteLogPrior

        return {
            "diffuse": FermiGaggeroDiffusePrior(binning_geometry=geometry, log_exposure_map=exposure),
            "hgps": HESSCatalogueSources_Prior(binning_geometry=geometry, log_exposure_map=exposure),
            "ccr": ObsFluxDiscreteLogPrior(
                name=self.names["ccr"],
                logfunction=irfs.log_bkg_CCR,
                binning_geometry=geometry,
                observation_time=exposure.observation_time,
                pointing_dir=exposure.pointing_dir,
            ),
        }

    def scanned(self) -> dict[str, Any] | list[Any]:
        """Return the parameters that are scanned: none."""
        return {}

    def simulate(self, components: dict[str, Any], irfs: Any, n_events: int) -> Any:
        """Draw true events in the proportions of the job and return what the instrument makes of them."""
        true_events = [components[name].sample(round(n_events * share)) for name, share in self.job.fractions.items()]
        return irfs.sample(eventdata=sum(true_events[1:], start=true_events[0]))

    def marginalise(self, events: Any, components: dict[str, Any], irfs: Any, log_norm: Any, geometry: Any) -> Any:
        """Return, per component, the log density of each occupied cell, true values integrated out."""
        from gammabayes.hyper_inference import DiscreteAdaptiveScan

        scan = DiscreteAdaptiveScan(
            log_priors=list(components.values()),
            log_likelihood=irfs,
            axes=geometry.axes,
            nuisance_axes=geometry.axes,
            prior_parameter_specifications=self.scanned(),
            log_likelihoodnormalisation=log_norm,
            bounds=[["log10", 1.0], ["linear", 1.3], ["linear", 1.3]],
        )
        return scan.nuisance_log_marginalisation(events)

    def posterior(self, log_densities: Any, multiplicity: Any) -> Any:
        """Return the mixture posterior under a flat Dirichlet prior on the fractions."""
        from gammabayes.hyper_inference import MTree, ScanOutput_StochasticTreeMixturePosterior

        names = [self.names[name] for name in self.job.fractions]
        tree = MTree()
        tree.create_tree(layout=names, values=list(self.job.fractions.values()))
        prior: dict[str, dict[str, Any]] = {name: {"discrete": False, "bounds": [0.0, 1.0]} for name in names}
        prior[names[0]] |= {
            "dependent": names[1:],
            "custom_dist_name": "dirichlet",
            "custom_dist_kwargs": {"alpha": [1.0] * len(names)},
        }
        return ScanOutput_StochasticTreeMixturePosterior(
            mixture_tree=tree,
            log_nuisance_marg_results=log_densities,
            mixture_parameter_specifications=prior,
            prior_parameter_specifications=self.scanned(),
            shared_parameters={},
            event_weights=multiplicity,
        )

    #: From the job's other parameters to the peer's, and back.
    to_peer: ClassVar[Callable[[Any], Any]] = np.asarray
    from_peer: ClassVar[Callable[[Any], Any]] = np.asarray


def summarise(results: Any, case: QuickStart) -> dict[str, Any]:
    """Return posterior moments, evidence and cost of a dynesty run."""
    fractions, others = np.split(results.samples, [len(case.job.fractions)], axis=1)
    samples = np.hstack([fractions, case.from_peer(others)])
    weight = np.exp(results.logwt - results.logz[-1])
    weight /= weight.sum()
    mean = weight @ samples
    return {
        "mean": mean.tolist(),
        "sd": np.sqrt(weight @ (samples - mean) ** 2).tolist(),
        "log_evidence": float(results.logz[-1]),
        "log_evidence_err": float(results.logzerr[-1]),
        "likelihood_calls": int(np.sum(results.ncall)),
        "iterations": int(results.niter),
    }


def run_job(case: QuickStart, n_events: int, seed: int) -> dict[str, Any]:
    """Run the whole job and return its measurements."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the peer draws from NumPy's global state)
    clock = StageClock()
    with clock.stage("import"):
        import gammabayes.dark_matter
        import gammabayes.hyper_inference
        import gammabayes.priors  # noqa: F401
    with clock.stage("set_up"):
        geometry = case.geometry()
        irfs, exposure = build_instrument(geometry)
        components = case.components(geometry, irfs, exposure)
        for component in components.values():
            component.irf_loglike = irfs  # the first quirk of the module docstring
    with clock.stage("simulate"):
        events = case.simulate(components, irfs, n_events)
    with clock.stage("normalise"):
        log_edisp_norm, log_psf_norm = irfs.create_log_norm_matrices()
    with clock.stage("marginalise"):
        log_densities = case.marginalise(events, components, irfs, log_edisp_norm + log_psf_norm, geometry)
    multiplicity = np.asarray(events.nonzero_bin_data[1])
    posterior = case.posterior(log_densities, multiplicity)
    point = np.array([*case.job.fractions.values(), *case.to_peer(list(case.job.parameters.values()))])
    likelihood_seconds = seconds_per_call(posterior.ln_likelihood, point)
    with clock.stage("sample"):
        posterior.initiate_exploration(nlive=LIVE_POINTS, rstate=np.random.default_rng(seed))
        posterior.run_exploration(dlogz=DLOGZ, print_progress=False)
    return {
        "stages": clock.stages,
        "n_events": int(multiplicity.sum()),
        "n_cells": len(multiplicity),
        "likelihood_seconds": likelihood_seconds,
        **summarise(posterior.results, case),
    }


def parse_arguments(job: Job) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Time GammaBayes 0.1.9 on {job.title}, stage by stage.")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--fraction-of-job",
        type=float,
        default=1.0,
        metavar="F",
        help=f"simulate and analyse F x {job.n_events} events, 0 < F <= 1 (default 1; 0.05 takes half a minute)",
    )
    arguments = parser.parse_args()
    if not 0 < arguments.fraction_of_job <= 1:
        parser.error(f"--fraction-of-job must be in (0, 1], got {arguments.fraction_of_job}")
    return arguments


def main(case: QuickStart) -> None:
    """Run a job as the command line says."""
    arguments = parse_arguments(case.job)
    n_events = round(case.job.n_events * arguments.fraction_of_job)
    measurements = run_job(case, n_events, arguments.seed)
    write_record(arguments.output, case.job, "GammaBayes", PACKAGES, arguments.seed, measurements)


if __name__ == "__main__":
    main(QuickStart())
