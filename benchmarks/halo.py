"""A halo of dark matter with free profile and spectrum: time of value and gradient, of tables, and accuracy.

Run ``python -m benchmarks.halo``. The Galactic centre, 50 h, 4500 events, a fifth of them from the halo. Accuracy is
against a halo that was folded with the profile in question.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt

import pymc_gamma as pmg
from benchmarks._timing import Figures, gradient_time
from benchmarks.setting import galactic_centre
from pymc_gamma import darkmatter

TARGET_MS = 0.5
N_EVENTS = 4500
STEEP = 1.25
NORMS = {"ccr": 6e-4}


def folded(slope: float, **kwargs: list[str]) -> pmg.Response:
    """A halo of a slope and the residual background."""
    spectrum = darkmatter.Annihilation(1.13 * u.TeV, 3e-26 * u.cm**3 / u.s, channels="W")
    halo = darkmatter.DarkMatterHalo(darkmatter.GeneralisedNFW(slope), spectrum)
    _, observation, roi = galactic_centre()
    return pmg.fold([halo, pmg.CosmicRayBackground()], observation, roi, **kwargs)


def model(response: pmg.Response, events: pmg.Events, *, slope: object = None) -> pm.Model:
    """Free cross-section, mass if the spectrum is free, and slope if the profile is and none is given."""
    with pm.Model(coords=response.coords) as made:
        log_sigmav = pm.Normal("log10_sigmav", -25.5, 1.0)
        spectra, norms, shapes = None, dict(NORMS), None
        if response.free_spectrum:
            mass = pm.LogNormal("mass", np.log(1.13), 0.3)
            spectra = {"dm": darkmatter.Annihilation(mass, 10**log_sigmav, channels="W")}
        else:
            norms["dm"] = 10 ** (log_sigmav + 25.5)
        if response.free_shape:
            gamma = pm.Uniform("gamma", 0.0, 1.45, initval=1.0) if slope is None else pt.constant(slope)
            shapes = {"dm": {"gamma": gamma}}
        pmg.ExtendedEventMixture(
            "events", response=response, observed=events, spectra=spectra, norms=norms, shapes=shapes
        )
    return made


def main() -> None:
    figures = Figures("Halo of dark matter, 4500 events")
    names = ["dm"]
    kinds = {
        "free cross-section": {},
        "free slope, cross-section": {"free_shape": names},
        "free mass, cross-section": {"free_spectrum": names},
        "free mass, slope, cross-section": {"free_shape": names, "free_spectrum": names},
    }
    events = folded(1.0).simulate({"dm": 0.2, "ccr": 0.8}, N_EVENTS, rng=1)
    for kind, keywords in kinds.items():
        response = folded(1.0, **keywords)
        start = time.perf_counter()
        made = model(response, events)
        build = time.perf_counter() - start
        call = gradient_time(made) * 1e3
        whole = len(keywords) == 2
        figures.add(
            f"log L + gradient, {kind}",
            f"<= {TARGET_MS} ms" if whole else "",
            f"{call:.2f} ms (model made in {build:.1f} s)",
            call <= TARGET_MS if whole else None,
        )
        if "free_shape" in keywords:
            other = folded(STEEP, **{key: one for key, one in keywords.items() if key != "free_shape"})
            values = [
                float(one.compile_logp()(one.initial_point()))
                for one in (model(response, events, slope=STEEP), model(other, events))
            ]
            figures.add("  error of log L at another slope", "", f"{values[0] - values[1]:.1e}")
    figures.show()


if __name__ == "__main__":
    main()
