"""The joint Crab: spectra of five instruments, alone and together, as in Nigro et al. 2019, A&A 625, A10.

The data are those of that paper (doi:10.1051/0004-6361/201834938, https://github.com/open-gamma-ray-astro/joint-crab),
as OGIP files: Fermi-LAT, MAGIC, VERITAS, FACT and H.E.S.S. Those of MAGIC and VERITAS were released to reproduce that
publication alone; see the terms there before you use them for anything else.

Backgrounds are of free shape, measured by the OFF regions; ``--profiled`` takes WStat instead, as the paper does.
With ``--scales`` each instrument has an energy scale with a Gaussian prior of 15 %, Fermi-LAT of 5 %. With
``--events`` the events of MAGIC, VERITAS, FACT and H.E.S.S. are observed one by one instead of in channels; Fermi-LAT
stays as it is::

    python examples/joint_crab.py path/to/joint-crab/results/spectra [--scales] [--profiled] [--events path/to/data]
"""

import argparse
import time
from pathlib import Path
from typing import Any

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from regions import CircleSkyRegion

import pymc_gamma as pmg

CRAB = SkyCoord(83.6333 * u.deg, 22.0144 * u.deg)

RANGES = {"fermi": (0.03, 2), "magic": (0.08, 30), "veritas": (0.15, 30), "fact": (0.4, 30), "hess": (0.66, 30)}
"""TeV: energies of the published fits."""
SCALES = {name: 0.05 if name == "fermi" else 0.15 for name in RANGES}


def read(folder: Path) -> dict[str, list[pmg.CountsSpectrum]]:
    """The counts spectra of each instrument."""
    found = {}
    for name, energies in RANGES.items():
        files = sorted((folder / name).glob("pha*.fits"))
        if not files:
            raise SystemExit(f"{folder / name} holds no pha*.fits; pass the folder of the spectra.")
        found[name] = [pmg.CountsSpectrum.read(file, energy_range=energies * u.TeV) for file in files]
    return found


def read_events(folder: Path, channels: dict[str, list[pmg.CountsSpectrum]]) -> dict[str, list[pmg.OnOffEvents]]:
    """ON and OFF events of each run, with the energies that its channels have; those of FACT as one data set."""
    ranges = {one.name: one.energy_range for spectra in channels.values() for one in spectra}
    found = {}
    for name in ("magic", "veritas", "fact", "hess"):
        store = DataStore.from_dir(pmg.datasets.path("hess-dl3-dr1-crab") if name == "hess" else folder / name)
        observations = pmg.Observation.list_from_gammapy(store, safe_mask=None)
        events = pmg.Events.from_gammapy(store, frame="icrs")
        region = CircleSkyRegion(CRAB, 0.11 * u.deg) if name == "hess" else CRAB  # files of the others say how large
        found[name] = [
            pmg.OnOffEvents.extract(
                observation,
                events[events.observation == k].with_observation(0),
                region,
                energy_range=ranges.get(observation.name, channels[name][0].energy_range),
            )
            for k, observation in enumerate(observations)
        ]
    found["fact"] = [pmg.OnOffEvents.stack(found["fact"], "fact")]
    return found


def model_of(data: dict[str, list[Any]], *, profiled: bool = False, scales: bool = False) -> pm.Model:
    """One log-parabola for all instruments; its curvature is that with the logarithm to the base of ten."""
    with pm.Model() as model:
        log_amplitude = pm.Normal("log_amplitude", np.log(4e-11), 1.0)
        amplitude = pm.Deterministic("amplitude", pm.math.exp(log_amplitude))  # TeV-1 cm-2 s-1 at 1 TeV
        alpha = pm.Normal("alpha", 2.5, 0.5)
        beta = pm.Normal("beta", 0.2, 0.5)
        crab = pmg.LogParabola(amplitude=amplitude, alpha=alpha, beta=beta / np.log(10), reference=1 * u.TeV)
        for name, spectra in data.items():
            systematics = []
            if scales:
                scale = pm.Normal(f"{name}_energy_scale", 1.0, SCALES[name], initval=1.0)
                systematics = [pmg.EnergyScale(value=scale, shift_area=True)]
            background = pmg.ProfiledBackground() if profiled else pmg.MeasuredBackground()
            pmg.OnOffCounts(name, spectra, spectrum=crab, systematics=systematics, background=background)
    return model


def line(name: str, best: pmg.BestFit) -> str:
    """Amplitude in 1e-12 TeV-1 cm-2 s-1, index and curvature."""
    value, sd = best.value, best.sd
    numbers = [(1e12 * value.amplitude, 1e12 * sd.amplitude), (value.alpha, sd.alpha), (value.beta, sd.beta)]
    return f"{name:8s}" + "  ".join(f"{float(v):8.4f} +- {float(s):6.4f}" for v, s in numbers)


def main() -> None:
    """Fit each instrument and all of them, then sample the joint posterior."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the spectra")
    parser.add_argument("--scales", action="store_true", help="energy scales as nuisance parameters of the joint fit")
    parser.add_argument("--profiled", action="store_true", help="WStat instead of backgrounds of free shape")
    parser.add_argument("--events", type=Path, help="folder of the runs, to observe events one by one")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    data: dict[str, list[Any]] = dict(read(arguments.folder))
    if arguments.events is not None:
        data.update(read_events(arguments.events, read(arguments.folder)))
    for name, spectra in data.items():
        print(line(name, pmg.best_fit(model_of({name: spectra}, profiled=arguments.profiled))), flush=True)
    start = time.perf_counter()
    model = model_of(data, profiled=arguments.profiled, scales=arguments.scales)
    best = pmg.best_fit(model)
    print(line("joint", best), flush=True)
    idata = pm.sample(
        1000,
        tune=1000,
        chains=4,
        cores=2,
        model=model,
        nuts_sampler="nutpie",
        initvals=best.initvals,
        random_seed=arguments.seed,
        progressbar=False,
    )
    print(f"{time.perf_counter() - start:.0f} s")
    print(az.summary(idata, var_names=["amplitude", "alpha", "beta"], round_to="none"))


if __name__ == "__main__":
    main()
