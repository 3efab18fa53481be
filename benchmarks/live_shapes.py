"""A source of free position, extension and spectrum: time of value and gradient, of tables, and accuracy.

Run ``python -m benchmarks.live_shapes``. Events are 4000 of the source and as many of a flat background as make 10 000
that it may reach. Times are CPU times, the least over repeats; accuracy is against the same source folded anew.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import astropy.units as u
import numpy as np
import pytensor
import pytensor.tensor as pt
from astropy.coordinates import SkyCoord
from gammapy.modeling.models import GaussianSpatialModel, PointSpatialModel, PowerLawSpectralModel
from numpy.typing import NDArray

import pymc_gamma as pmg
from benchmarks._timing import Figures
from pymc_gamma.folding.live import LiveSource, LiveTables
from pymc_gamma.folding.live_counts import LiveCounts
from pymc_gamma.folding.live_counts import live_counts as tabulate_counts
from pymc_gamma.folding.live_shapes import DiskShape, GaussianShape, LiveShape, PointShape, ShellShape
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.ops.live_counts import live_counts
from pymc_gamma.ops.live_density import live_density

FloatArray = NDArray[np.float64]

POSITION = (0.2, -0.1)
N_SOURCE, N_EVENTS = 4000, 10_000
TARGET_MS = {"one": 1.2, "three": 1.5}


def irfs(gaussians: str) -> IRFs:
    """Responses with a PSF of one or of three Gaussians."""
    one = pmg.load_irfs("prod5-south-20deg-50h")
    if gaussians == "one":
        return one
    sigma = np.concatenate([one.psf.sigma * factor for factor in (0.8, 1.4, 2.6)])
    weight = np.concatenate([one.psf.weight * share for share in (0.72, 0.22, 0.06)])
    return replace(one, psf=replace(one.psf, sigma=sigma, weight=weight), name=f"{one.name}-three")


def sky_source(shape: LiveShape) -> pmg.SkySource:
    position = {"lon_0": shape.lon_0 * u.deg, "lat_0": shape.lat_0 * u.deg, "frame": "galactic"}
    if isinstance(shape, GaussianShape):
        spatial = GaussianSpatialModel(sigma=shape.sigma * u.deg, e=shape.e, phi=shape.phi * u.deg, **position)
    else:
        spatial = PointSpatialModel(**position)
    amplitude = u.Quantity(1e-12, "TeV-1 cm-2 s-1")
    return pmg.SkySource("source", spatial, PowerLawSpectralModel(index=2.3, amplitude=amplitude, reference="1 TeV"))


class Job:
    """A source, its events and its tables."""

    def __init__(self, shape: LiveShape, gaussians: str) -> None:
        pointing = SkyCoord(0.5 * u.deg, 0.3 * u.deg, frame="galactic")
        centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
        self.observation = pmg.Observation(irfs(gaussians), pointing=pointing, livetime=50 * u.h)
        self.roi = pmg.RegionOfInterest(center=centre, width=3 * u.deg, energy=(0.2, 50) * u.TeV)
        self.shape = shape
        response = self.response(GaussianShape(*POSITION, 0.1) if not isinstance(shape, GaussianShape) else shape)
        rows = response.event_rows(response.simulate(rng=1))[:, :3]
        rng = np.random.default_rng(2)
        flat = np.stack([rng.choice(rows[:, 0], 40_000), *rng.uniform(-1.0, 1.0, (2, 40_000))], axis=1)
        rows = np.concatenate([rows[:N_SOURCE], flat + np.array([0, *POSITION])])
        vectors, energy = unit_vectors(rows[:, 1], rows[:, 2]), rows[:, 0]
        spectrum = response.components[0].part_fluxes()[0]
        self.source = LiveSource(shape, response._fold.folded, response.energy_true_edges, spectrum)
        near = self.source.tables(vectors, energy).near[:N_EVENTS]
        self.rows, self.vectors, self.energy = rows[near], vectors[near], energy[near]
        tabulate_counts(self.source)
        self.build_s, self.tables = timed(lambda: self.source.tables(self.vectors, self.energy))
        self.counts_s, self.counts = timed(lambda: tabulate_counts(self.source))

    def response(self, shape: LiveShape) -> pmg.Response:
        """The source folded."""
        return pmg.fold([sky_source(shape)], self.observation, self.roi, energy_true=75, free_spectrum="source")

    def refolded(self, shape: LiveShape) -> tuple[FloatArray, float]:
        """Density and expected counts of the source folded anew, for the spectrum of the reference."""
        response = self.response(shape)
        smooth = response.free_components[0].smooth
        bands = response.spectral_bands(self.rows, smooth=["source"])
        length = np.diff(bands.pointer)
        node = np.arange(len(bands.values)) - np.repeat(bands.pointer[:-1] - bands.column[:, 0], length)
        value = bands.values * self.source.nominal[node]
        density = np.bincount(np.repeat(np.arange(len(length)), length), value, len(length))
        return density * smooth.acceptance.sum(), float(smooth.acceptance[0] @ self.source.nominal)

    def function(self) -> Callable[[FloatArray], list[Any]]:
        """Value and gradient of a log-likelihood by all parameters of the shape and the whole spectrum."""
        names = list(self.shape.parameters)
        x = pt.vector("x", shape=(len(names) + self.source.n_coefficients,))
        shape = type(self.shape)(*(x[k] for k in range(len(names))))
        rho, theta = x[len(names) :] * self.source.nominal, pt.stack(shape.theta())
        background = pt.constant(0.01 * self.tables.density(self.shape, self.source.nominal).max())
        value = pt.log(live_density(theta, rho, self.tables) + background).sum()
        value -= (live_counts(theta, self.counts) * rho).sum()
        function = pytensor.function([x], [value, pt.grad(value, x)], mode="NUMBA")
        function.trust_input = True
        return function

    @property
    def at(self) -> FloatArray:
        """A point beside the reference."""
        values = np.array(list(self.shape.parameters.values()), float)
        values[0] += 0.003
        return np.concatenate([values, np.ones(self.source.n_coefficients)])


def timed(task: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = task()
    return time.process_time() - start, result


def cpu_ms(task: Callable[[], Any], repeats: int = 40, calls: int = 10) -> float:
    """Least CPU time of a call in ms."""
    task()
    least = np.inf
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(calls):
            task()
        least = min(least, (time.process_time() - start) / calls)
    return 1e3 * least


def rms(tables: LiveTables, shape: LiveShape, job: Job, expected: FloatArray) -> float:
    """Of relative differences in density, for events that the source matters for."""
    found = tables.density(shape, job.source.nominal)
    used = expected > 1e-4 * expected.max()
    return float(np.sqrt(np.mean((found[used] / expected[used] - 1) ** 2)))


def counts_error(counts: LiveCounts, shape: LiveShape, job: Job, expected: float) -> float:
    return abs(float(counts.per_coefficient(shape)[0] @ job.source.nominal) / expected - 1)


def shifted(shape: LiveShape) -> LiveShape:
    """Three posterior standard deviations of 4000 events away in position, and as much in extension."""
    other = replace(shape, lon_0=shape.lon_0 + 0.004, lat_0=shape.lat_0 - 0.003)  # type: ignore[type-var]
    return replace(other, sigma=1.05 * other.sigma, e=0.55, phi=36.0) if isinstance(other, GaussianShape) else other


def main() -> None:
    figures = Figures("Live shapes: 10 000 events within reach, spectrum of 76 coefficients free")
    for gaussians in ("one", "three"):
        for shape in (PointShape(*POSITION), GaussianShape(*POSITION, 0.1, 0.5, 30.0)):
            job = Job(shape, gaussians)
            label = f"{type(shape).__name__}, PSF of {gaussians}"
            function, at = job.function(), job.at
            target = TARGET_MS[gaussians]
            call = cpu_ms(lambda function=function, at=at: function(at))
            figures.add(f"{label}: value and gradient", f"{target} ms", f"{call:.2f} ms", call <= target)
            build = job.build_s
            figures.add(f"{label}: tables of densities", "2 s", f"{build:.1f} s", build <= 2)
            figures.add(f"{label}: tables of counts", "", f"{job.counts_s:.1f} s")
            for where, other, limit in (("at the reference", shape, 1e-4), ("3 sigma away", shifted(shape), 1e-3)):
                density, counts = job.refolded(other)
                error = rms(job.tables, other, job, density)
                figures.add(f"{label}: rms of densities {where}", f"{limit:g}", f"{error:.1e}", error <= limit)
                error = counts_error(job.counts, other, job, counts)
                figures.add(f"{label}: counts {where}", "1e-4", f"{error:.1e}", error <= 1e-4)
            gradient = function(at)[1]
            worst = 0.0
            for k in range(len(shape.parameters)):
                errors = []
                for size in (3e-6, 1e-5, 3e-5, 1e-4):  # rounding shrinks with the step, curvature grows
                    step = np.zeros(len(at))
                    step[k] = size * max(abs(at[k]), 0.1)
                    slope = (function(at + step)[0] - function(at - step)[0]) / (2 * step[k])
                    errors.append(abs(slope / gradient[k] - 1))
                worst = max(worst, min(errors))
            figures.add(f"{label}: gradient", "1e-6", f"{worst:.1e}", worst <= 1e-6)
    for shape in (DiskShape(*POSITION, 0.2), ShellShape(*POSITION, 0.15, 0.08)):
        job = Job(shape, "one")
        function, at = job.function(), job.at
        call = cpu_ms(lambda function=function, at=at: function(at), repeats=10)
        label = f"{type(shape).__name__}, PSF of one"
        figures.add(f"{label}: value and gradient", "", f"{call:.2f} ms")
        figures.add(f"{label}: tables of densities, of counts", "", f"{job.build_s:.1f} s, {job.counts_s:.1f} s")
    figures.show()


if __name__ == "__main__":
    main()
