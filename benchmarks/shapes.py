"""Posterior of a Gaussian source with everything free: position, extension, index, amplitude, norm of the background.

Run ``python -m benchmarks.shapes``. About 4000 events of the source on 6000 of the background, 4 x (1000 + 1000) draws.
What counts is CPU time of sampling, over all threads, and without compilation, which does not depend on the events.
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

TRUTH = {"msh_lon": 0.3, "msh_lat": -0.2, "sigma": 0.1, "index": 2.3, "amplitude": 1e-11, "norm": 1.0}
EVENTS = {"msh": 4000, "ccr": 6000}
DRAWS, CHAINS, CORES = 1000, 4, 2
TARGET_S = 30


def folded() -> pmg.Response:
    """Source and background, scaled to the wanted numbers of events."""
    from gammapy.modeling.models import GaussianSpatialModel, PowerLawSpectralModel

    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=5 * u.h)
    roi = pmg.RegionOfInterest(center=centre, radius=1 * u.deg, energy=(0.5, 50) * u.TeV)
    spatial = GaussianSpatialModel(
        lon_0=TRUTH["msh_lon"] * u.deg, lat_0=TRUTH["msh_lat"] * u.deg, sigma=TRUTH["sigma"] * u.deg, frame="galactic"
    )
    spectral = PowerLawSpectralModel(
        index=TRUTH["index"], amplitude=TRUTH["amplitude"] * u.Unit("TeV-1 cm-2 s-1"), reference=1 * u.TeV
    )
    components = [pmg.SkySource("msh", spatial, spectral), pmg.CosmicRayBackground()]
    response = pmg.fold(components, observation, roi, free_spectrum=["msh"], free_shape=["msh"])
    counts = dict(zip(response.component_names, response.acceptance.values, strict=True))
    return response.with_spectra(norms={name: wanted / counts[name] for name, wanted in EVENTS.items()})


def posterior(response: pmg.Response, events: pmg.Events) -> pm.Model:
    """The model that a user would write."""
    amplitude = float(response.nominal_flux("msh", [1.0])[0])
    with pm.Model(coords=response.coords) as model:
        centre = SkyCoord(TRUTH["msh_lon"], TRUTH["msh_lat"], unit="deg", frame="galactic")
        lon, lat = pmg.position("msh", centre, 0.05 * u.deg)
        sigma = pm.LogNormal("sigma", np.log(TRUTH["sigma"]), 0.5)
        spectrum = pmg.PowerLaw(
            index=pm.Normal("index", TRUTH["index"], 0.5), amplitude=pm.LogNormal("amplitude", np.log(amplitude), 1.0)
        )
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            shapes={"msh": pmg.GaussianShape(lon, lat, sigma)},
            spectra={"msh": spectrum},
            norms={"ccr": pm.LogNormal("norm", 0.0, 0.2)},
            observed=events,
        )
    return model


def main() -> None:
    import nutpie

    warnings.simplefilter("ignore", FutureWarning)
    figures = Figures("Gaussian source: position, extension, index, amplitude and a norm, 4 x (1000 + 1000) draws")
    response = folded()
    events = response.simulate(rng=5)
    model = posterior(response, events)
    start = time.process_time()
    compiled = nutpie.compile_pymc_model(model)
    compilation = time.process_time() - start
    start = time.process_time()
    idata = nutpie.sample(compiled, draws=DRAWS, tune=DRAWS, chains=CHAINS, cores=CORES, seed=1, progress_bar=False)
    sampling = time.process_time() - start
    truth = {**TRUTH, "amplitude": float(response.nominal_flux("msh", [1.0])[0])}
    table = az.summary(idata, var_names=list(truth), round_to="none")
    statistics = idata["sample_stats"]
    divergences = int(statistics["diverging"].sum())
    r_hat, ess = float(table["r_hat"].max()), float(table["ess_bulk"].min())
    figures.add("events", "", f"{len(events)}")
    figures.add("log L + gradient in PyMC", "", f"{gradient_time(model) * 1e3:.3f} ms")
    figures.add("compilation", "", f"{compilation:.1f} s of CPU")
    figures.add("sampling", f"<= {TARGET_S} s of CPU", f"{sampling:.1f} s of CPU", sampling <= TARGET_S)
    figures.add("  steps per draw", "", f"{float(statistics['n_steps'].mean()):.1f}")
    figures.add("  divergences", "0", f"{divergences}", divergences == 0)
    figures.add("  R-hat", "< 1.01", f"{r_hat:.4f}", r_hat < 1.01)
    figures.add("  least effective sample size", "", f"{ess:.0f}")
    for name, value in truth.items():
        mean, sd = float(table.loc[name, "mean"]), float(table.loc[name, "sd"])
        figures.add(f"  {name}", f"{value:.3g}", f"{mean:.4g} +- {sd:.2g}")
    figures.show()


if __name__ == "__main__":
    main()
