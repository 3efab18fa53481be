"""Scans: the likelihood with a parameter between nodes, its time, and its error against the exact density.

Run ``python -m benchmarks.scans``. A Gaussian source of free width beside a flat background, of which the density is
known at any width: exact refolding costs nothing here. What is timed is PyTensor's compiled function for the log
likelihood and its gradient, as samplers call it; and the same of both distributions, for a source folded at the nodes.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from astropy.coordinates import SkyCoord
from gammapy.modeling.models import GaussianSpatialModel, PowerLawSpectralModel
from numpy.typing import NDArray

import pymc_gamma as pmg
from benchmarks._timing import Figures, interleaved_times
from pymc_gamma.ops.scan import scan_density
from pymc_gamma.ops.scan_tables import ScanTables, grid_error

TARGET = 60e-6
"""Longest time of one call in seconds, of 21 nodes and 4500 events."""
WIDTH = 0.3
"""True width in degrees."""
SHARE, BACKGROUND = 0.4, 0.05
"""Share of the source, and density of the background per square degree, on a disc that holds all events."""


def log_density(r2: NDArray[np.float64], sigma: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Of events at squared distances, shape (N, ...)."""
    width = np.asarray(sigma)
    return -r2.reshape(-1, *[1] * width.ndim) / (2 * width**2) - np.log(2 * np.pi * width**2)


def simulated(rng: np.random.Generator, n_events: int) -> NDArray[np.float64]:
    """Squared distances of events of source and background."""
    n_source = rng.binomial(n_events, SHARE)
    radius2 = 1 / (np.pi * BACKGROUND)
    source = rng.exponential(2 * WIDTH**2, n_source)
    return np.concatenate([source, rng.uniform(0, radius2, n_events - n_source)])


def log_likelihood(density: pt.TensorVariable) -> pt.TensorVariable:
    return pt.log(SHARE * density + (1 - SHARE) * BACKGROUND).sum()


def compiled(tables: ScanTables, exact: NDArray[np.float64] | None = None) -> Callable[[float], list[float]]:
    """Log likelihood and its gradient; with squared distances those of the exact density."""
    parameters = [pt.scalar(name) for name in ("first", "second")[: tables.n_axes]]
    if exact is None:
        density = scan_density(parameters, tables)
    else:
        r2 = pytensor.shared(exact, "r2")
        density = pt.exp(-r2 / (2 * parameters[0] ** 2)) / (2 * np.pi * parameters[0] ** 2)
    value = log_likelihood(density)
    function = pytensor.function(parameters, [value, *pt.grad(value, parameters)])
    function.trust_input = True
    return lambda *at: [float(one) for one in function(*(np.asarray(one) for one in at))]


def one_parameter(figures: Figures, n_events: int, n_nodes: int) -> None:
    rng = np.random.default_rng(1)
    r2 = simulated(rng, n_events)
    nodes = np.linspace(0.2, 0.4, n_nodes)
    logs = log_density(r2, nodes)
    tables = ScanTables.build(nodes, logs)
    scan, exact = compiled(tables), compiled(tables, r2)
    times = interleaved_times({"scan": lambda: scan(0.3013), "exact": lambda: exact(0.3013)}, seconds=1.0)
    points = np.concatenate([(nodes[1:] + nodes[:-1]) / 2, rng.uniform(nodes[0], nodes[-1], 100)])
    error, slope, steep = 0.0, 0.0, 0.0
    for x in points:
        found, expected = scan(x), exact(x)
        error = max(error, abs(found[0] - expected[0]))
        slope, steep = max(slope, abs(found[1] - expected[1])), max(steep, abs(expected[1]))
    rest = np.full(n_events, np.log((1 - SHARE) * BACKGROUND))
    change, _ = grid_error(nodes, np.log(SHARE) + logs, log_rest=rest)
    wanted = (n_events, n_nodes) == (4500, 21)
    figures.add(
        f"log L + gradient, {n_events} events, {n_nodes} nodes",
        f"<= {TARGET * 1e6:g} us" if wanted else "",
        f"{times['scan'] * 1e6:.1f} us (closed form {times['exact'] * 1e6:.1f} us)",
        times["scan"] <= TARGET if wanted else None,
    )
    figures.add(
        "  largest error of log L", "< 0.01" if wanted else "", f"{error:.1e}", error < 0.01 if wanted else None
    )
    figures.add("  largest error of its gradient", "", f"{slope / steep:.1e} of the largest gradient")
    figures.add("  change of log L with half the nodes", "", f"{np.abs(change).max():.1e}")


def two_parameters(figures: Figures) -> None:
    """Width and a tilt that differs from event to event: 16 rows to read instead of 4."""
    rng, n_events = np.random.default_rng(2), 4500
    r2 = simulated(rng, n_events)
    width, tilt = np.linspace(0.2, 0.4, 11), np.linspace(-1, 1, 11)
    logs = log_density(r2, width)[:, :, None] + np.multiply.outer(rng.normal(size=n_events), tilt)[:, None, :]
    tables = ScanTables.build([width, tilt], logs)
    scan = compiled(tables)
    seconds = interleaved_times({"scan": lambda: scan(0.3013, 0.17)}, seconds=1.0)["scan"]
    size = tables.table.nbytes / 2**20
    figures.add(f"log L + gradient, {n_events} events, 11 x 11 nodes", "", f"{seconds * 1e6:.1f} us ({size:.0f} MB)")


def gaussian(sigma: u.Quantity) -> pmg.SkySource:
    place = {"lon_0": "0.1 deg", "lat_0": "0.05 deg", "frame": "galactic"}
    spectrum = PowerLawSpectralModel(amplitude="2e-11 TeV-1 cm-2 s-1")
    return pmg.SkySource("source", GaussianSpatialModel(sigma=sigma, **place), spectrum)


def model_of(response: pmg.Response, events: pmg.Events, *, extended: bool, sigma: float | None = None) -> pm.Model:
    """Both distributions, with the width a variable, or as it was folded."""
    with pm.Model(coords=response.coords) as model:
        scan = None if sigma is not None else {"sigma": pm.Uniform("sigma", 0.2, 0.4, default_transform=None)}
        if extended:
            norms = {"source": pm.LogNormal("norm", 0, 1), "ccr": pm.LogNormal("norm_ccr", 0, 1)}
            pmg.ExtendedEventMixture("events", response=response, norms=norms, scan=scan, observed=events)
        else:
            fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
            pmg.EventMixture("events", fraction, response=response, scan=scan, observed=events)
    return model


def distributions(figures: Figures) -> None:
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=5 * u.h)
    roi = pmg.RegionOfInterest(center=centre, width=3 * u.deg, energy=(1, 50) * u.TeV)
    scanned = pmg.Scanned("source", gaussian, nodes={"sigma": np.linspace(0.2, 0.4, 21) * u.deg})
    response = pmg.fold([scanned, pmg.CosmicRayBackground()], observation, roi, progressbar=False)
    events = response.simulate({"source": SHARE, "ccr": 1 - SHARE}, 4500, rng=1)
    exact = response.at_scan({"source": {"sigma": 0.3013}})
    for extended in (False, True):
        functions, values = {}, {}
        for name, own, sigma in (("scan", response, None), ("fixed", exact, 0.3013)):
            model = model_of(own, events, extended=extended, sigma=sigma)
            function = model.logp_dlogp_function(ravel_inputs=True)
            start = model.initial_point() | ({} if sigma is not None else {"sigma": np.array(0.3013)})
            function.set_extra_values({})
            at = np.concatenate([np.ravel(start[one.name]) for one in function._grad_vars])
            functions[name] = lambda function=function, at=at: function._pytensor_function(at)
            values[name] = float(model.compile_logp(vars=[model["events"]])(start))
        times = interleaved_times(functions, seconds=1.0)
        label = "ExtendedEventMixture" if extended else "EventMixture"
        figures.add(
            f"{label}: log L + gradient, 4500 events, 21 nodes",
            "",
            f"{times['scan'] * 1e6:.0f} us (fixed width {times['fixed'] * 1e6:.0f} us)",
        )
        error = abs(values["scan"] - values["fixed"])
        figures.add("  error of log L between nodes", "< 0.01", f"{error:.1e}", error < 0.01)


def main() -> None:
    figures = Figures("Scans")
    distributions(figures)
    for n_events, n_nodes in ((4500, 21), (4500, 11), (100_000, 21)):
        one_parameter(figures, n_events, n_nodes)
    two_parameters(figures)
    figures.show()


if __name__ == "__main__":
    main()
