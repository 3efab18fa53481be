"""A scale of the PSF as a parameter: time and memory of the model beside those without, and beside folding again.

Run ``python -m benchmarks.psf_scale``. The Galactic centre with diffuse emission, the H.E.S.S. catalogue, a source of
free spectrum and the residual background, 10 000 events. Each model is built in a process of its own, whose largest
memory is compared; one of them folds the response for nine widths, as a mixture of responses would need.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import multiprocessing
import resource
import time

import astropy.units as u
import numpy as np
import pymc as pm
from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel

import pymc_gamma as pmg
from benchmarks._timing import Figures, gradient_time
from benchmarks.setting import galactic_centre

WIDTHS = np.linspace(0.85, 1.15, 9)
MEMORY = 1.2
"""Largest memory over that without a scale."""


def folded() -> pmg.Response:
    spectral = PowerLawSpectralModel(index=2.2, amplitude="1e-12 TeV-1 cm-2 s-1", reference="1 TeV")
    point = pmg.SkySource("point", PointSpatialModel(lon_0=0.4 * u.deg, lat_0=-0.3 * u.deg, frame="galactic"), spectral)
    components, observation, roi = galactic_centre()
    return pmg.fold([point, *components], observation, roi, free_spectrum=["point"])


def model(response: pmg.Response, events: pmg.Events, systematics: list[pmg.Systematic]) -> pm.Model:
    with pm.Model(coords=response.coords) as made:
        index = pm.Normal("index", 2.2, 0.2)
        norm = pm.LogNormal("norm", 0.0, 0.3)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            observed=events,
            spectra={"point": pmg.PowerLaw(index=index, amplitude=1e-12)},
            norms={"ccr": norm},
            systematics=systematics,
        )
    return made


def measured(kind: str) -> dict[str, float]:
    """Seconds to build and to call, and megabytes, of one way."""
    response = folded()
    events = response.simulate(n_events=10_000, weights=np.asarray(response.acceptance), rng=1)
    start = time.perf_counter()
    kept = []
    if kind == "folded again":
        rows = response.event_rows(events)
        for width in WIDTHS:
            other = response.with_systematics(psf_scale=float(width))
            other.column_densities(rows, other.free_spectrum)
            kept.append(other)
    made = model(response, events, [pmg.PSFScale()] if kind == "scale" else [])
    made.compile_logp(mode="FAST_COMPILE")(made.initial_point())
    build = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"build": build, "memory": memory, "call": gradient_time(made)}


def main() -> None:
    figures = Figures("Scale of the PSF")
    context = multiprocessing.get_context("spawn")
    found = {}
    for kind in ("without", "scale", "folded again"):
        with context.Pool(1) as pool:
            found[kind] = pool.apply(measured, (kind,))
    before, one, again = (found[kind] for kind in ("without", "scale", "folded again"))
    ratio = one["memory"] / before["memory"]
    figures.add(
        "largest memory with a scale over that without",
        f"< {MEMORY}",
        f"{ratio:.3f} ({one['memory']:.0f} MB; nine responses {again['memory'] / before['memory']:.2f})",
        ratio < MEMORY,
    )
    figures.add(
        "table of events",
        "",
        f"{one['build']:.1f} s (without {before['build']:.1f} s, nine responses {again['build']:.1f} s)",
    )
    times = f"{one['call'] * 1e3:.2f} ms (without {before['call'] * 1e3:.2f} ms)"
    figures.add("log L + gradient, 10 000 events", "", times)
    figures.show()


if __name__ == "__main__":
    main()
