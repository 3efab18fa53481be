"""Many faint point sources in one field: table and time of a call with and without the bands that do not matter.

Run ``python -m benchmarks.many_sources``. Sources of free spectrum and a background in a region of 3 deg x 3 deg,
10 000 events. Both sides are of one model in one run; what is timed is PyTensor's compiled function for the log
likelihood and its gradient, as samplers call it, and the memory is that of what this function holds.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from typing import Any
from unittest import mock

import astropy.units as u
import numpy as np
import pymc as pm
from astropy.coordinates import SkyCoord
from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel

import pymc_gamma as pmg
from benchmarks._timing import Figures, interleaved_times
from pymc_gamma.model import intensity

N_EVENTS = 10_000
AMPLITUDE = 1e-13
"""Of a source at 1 TeV, TeV-1 cm-2 s-1: 16 counts in 5 h beside 3900 of the background."""
TARGET = 0.95
"""Largest ratio of time and memory with and without: less would not be worth the code."""


def field(n_sources: int) -> tuple[pmg.Response, pmg.Events, list[str]]:
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=5 * u.h)
    roi = pmg.RegionOfInterest(center=centre, width=3 * u.deg, energy=(1, 50) * u.TeV)
    spectrum = PowerLawSpectralModel(index=2.3, amplitude=f"{AMPLITUDE} TeV-1 cm-2 s-1")
    places = np.random.default_rng(1).uniform(-1.5, 1.5, (n_sources, 2)) * u.deg
    sources = [
        pmg.SkySource(f"S{k}", PointSpatialModel(lon_0=lon, lat_0=lat, frame="galactic"), spectrum)
        for k, (lon, lat) in enumerate(places)
    ]
    names = [one.name for one in sources]
    response = pmg.fold([*sources, pmg.CosmicRayBackground()], observation, roi, free_spectrum=names)
    events = response.simulate({**dict.fromkeys(names, 0.1 / n_sources), "ccr": 0.9}, N_EVENTS, rng=2)
    return response, events, names


def compiled(response: pmg.Response, events: pmg.Events, names: list[str]) -> tuple[Callable[[], Any], float]:
    """Log likelihood and gradient at the initial point, and bytes of what the function holds."""
    n = len(names)
    with pm.Model(coords=response.coords) as model:
        spectrum = pmg.PowerLaw(
            index=pm.Normal("index", 2.3, 0.3, shape=n), amplitude=AMPLITUDE * pm.LogNormal("amplitude", 0, 1, shape=n)
        )
        norms = {"ccr": pm.LogNormal("norm", 0, 0.1)}
        spectra = {tuple(names): spectrum}
        pmg.ExtendedEventMixture("events", response=response, spectra=spectra, norms=norms, observed=events)
    wrapper = model.logp_dlogp_function(ravel_inputs=True)
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    function.trust_input = True
    start = model.initial_point()
    at = np.concatenate([np.ravel(start[one.name]) for one in wrapper._grad_vars])
    size = sum(np.asarray(one.get_value(borrow=True)).nbytes for one in function.get_shared())
    return lambda: [np.asarray(one) for one in function(at)], size


def main() -> None:
    figures = Figures(f"Many faint point sources, {N_EVENTS} events in 3 deg x 3 deg")
    for n_sources in (20, 100):
        inputs = field(n_sources)
        ours, size = compiled(*inputs)
        with mock.patch.object(intensity, "without_negligible", lambda bands, *_: bands):
            every, before = compiled(*inputs)
        times = interleaved_times({"ours": ours, "every": every})
        (value, gradient), (expected, slopes) = ours(), every()
        for what, ratio, told in (
            ("memory", size / before, f"{size / 1e6:.1f} of {before / 1e6:.1f} MB"),
            (
                "log L + gradient",
                times["ours"] / times["every"],
                f"{times['ours'] * 1e6:.0f} of {times['every'] * 1e6:.0f} us",
            ),
        ):
            figures.add(f"{n_sources} sources: {what}", f"<= {TARGET}", f"{ratio:.2f} ({told})", ratio <= TARGET)
        change = max(abs(value - expected), np.abs(gradient - slopes).max())
        figures.add("  largest change of log L and gradient", "< 1e-3", f"{change:.1e}", change < 1e-3)
    figures.show()


if __name__ == "__main__":
    main()
