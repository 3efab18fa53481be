"""Posterior of a point source in physical units: index, amplitude, cut-off and the norms of two other components.

Run ``python -m benchmarks.point_source``. 5 h on a source 0.4 deg off axis with an extended neighbour, on the residual
background, bundled prod5 response: a Poisson process, so the number of events is informative. Compilation and sampling
are timed apart: the first is the same for 100 events and for 100 000.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg
from benchmarks._timing import Figures, gradient_time

TRUTH = {"index": 2.2, "amplitude": 4e-12, "lambda_": 0.08, "norm_halo": 1.0, "norm_ccr": 1.0}
HOURS = 5
DRAWS, CHAINS, CORES = 1000, 4, 2


def folded() -> pmg.Response:
    """Response of source, neighbour and background."""
    from gammapy.modeling.models import (
        ExpCutoffPowerLawSpectralModel,
        GaussianSpatialModel,
        PointSpatialModel,
        PowerLawSpectralModel,
    )

    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=HOURS * u.h)
    roi = pmg.RegionOfInterest(center=centre, radius=1 * u.deg, energy=(0.3, 100) * u.TeV)
    unit = u.Unit("TeV-1 cm-2 s-1")
    spectrum = ExpCutoffPowerLawSpectralModel(
        index=TRUTH["index"], amplitude=TRUTH["amplitude"] * unit, lambda_=TRUTH["lambda_"] / u.TeV
    )
    source = pmg.SkySource("source", PointSpatialModel(lon_0="0.3 deg", lat_0="0.25 deg", frame="galactic"), spectrum)
    halo = pmg.SkySource(
        "halo",
        GaussianSpatialModel(lon_0="0.1 deg", lat_0="0 deg", sigma="0.3 deg", frame="galactic"),
        PowerLawSpectralModel(index=2.5, amplitude=5e-12 * unit),
    )
    return pmg.fold([source, halo, pmg.CosmicRayBackground()], observation, roi, free_spectrum="source")


def posterior(response: pmg.Response, events: pmg.Events) -> pm.Model:
    """The model that a user would write."""
    with pm.Model(coords=response.coords) as model:
        index = pm.Normal("index", 2.3, 0.5)
        amplitude = pm.LogNormal("amplitude", np.log(3e-12), 1.0)
        lambda_ = pm.HalfNormal("lambda_", 0.2)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            spectra={"source": pmg.ExpCutoffPowerLaw(index=index, amplitude=amplitude, lambda_=lambda_)},
            norms={"halo": pm.LogNormal("norm_halo", 0.0, 0.5), "ccr": pm.LogNormal("norm_ccr", 0.0, 0.2)},
            observed=events,
        )
    return model


def main() -> None:
    import nutpie

    warnings.simplefilter("ignore", FutureWarning)
    figures = Figures("Point source: index, amplitude, cut-off and two norms, 4 x (1000 + 1000) draws")
    response = folded()
    events = response.simulate(rng=5)
    model = posterior(response, events)
    start = time.perf_counter()
    compiled = nutpie.compile_pymc_model(model)
    compilation = time.perf_counter() - start
    start = time.perf_counter()
    idata = nutpie.sample(compiled, draws=DRAWS, tune=DRAWS, chains=CHAINS, cores=CORES, seed=1, progress_bar=False)
    sampling = time.perf_counter() - start
    table = az.summary(idata, var_names=list(TRUTH), round_to="none")
    divergences = int(idata["sample_stats"]["diverging"].sum())
    r_hat, ess = float(table["r_hat"].max()), float(table["ess_bulk"].min())
    figures.add("events", "", f"{len(events)}")
    figures.add("log L + gradient in PyMC", "", f"{gradient_time(model) * 1e3:.3f} ms")
    figures.add("compilation", "", f"{compilation:.1f} s")
    figures.add(f"sampling, {CORES} cores", "<= 30 s", f"{sampling:.1f} s", sampling <= 30)
    figures.add("  divergences", "0", f"{divergences}", divergences == 0)
    figures.add("  R-hat", "< 1.01", f"{r_hat:.4f}", r_hat < 1.01)
    figures.add("  least effective sample size", "", f"{ess:.0f}")
    for name, truth in TRUTH.items():
        mean, sd = float(table.loc[name, "mean"]), float(table.loc[name, "sd"])
        figures.add(f"  {name}", f"{truth:.3g}", f"{mean:.4g} +- {sd:.2g}")
    figures.show()


if __name__ == "__main__":
    main()
