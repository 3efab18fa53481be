r"""Fits by gammapy of the H.E.S.S. runs that `tests/validation/test_real_data.py` compares with.

    python tests/validation/references/gammapy_fits.py FOLDER [--only crab ...] [--output FILE]

FOLDER holds HESS DL3 DR1 as `gammapy.data.DataStore` reads it. The result is `gammapy_fits.json` beside this file.

Every fit is gammapy's three-dimensional analysis, with one `MapDataset` for each run and nothing stacked: the
likelihood of counts in cells of `PIXEL` and of energy, with a source common to all runs and a background of its own in
each, the table of the run times :math:`n\,E^{-t}` (E in TeV). A cell belongs to the fit if its centre lies in the
circle. What a fit may not change is in `FITS`; what it found, and minuit's errors, goes to the file.

With a free shape minuit's covariance is not to be had (it fails, with a Hessian that is not positive), and it stops
early: such fits are minimised twice, and the errors come from the curvature of the statistic, by differences over a
good part of a standard deviation, over which the rounding of the source to pixels averages out.
"""

import argparse
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore, Observation
from gammapy.datasets import Datasets, MapDataset
from gammapy.makers import MapDatasetMaker, SafeMaskMaker
from gammapy.maps import Map, MapAxis, WcsGeom
from gammapy.modeling import Fit
from gammapy.modeling.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    LogParabolaSpectralModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    SpatialModel,
    SpectralModel,
)
from regions import CircleSkyRegion

PIXEL = 0.02
ENERGY_END = 30.0
BINS_PER_DECADE = 30
STEP = 0.4
"""Standard deviations over which the statistic is differentiated."""
FIRST_STEP = {"lon_0": 0.01, "lat_0": 0.01, "sigma": 0.01, "e": 0.05, "phi": 10.0}
OUTPUT = Path(__file__).with_name("gammapy_fits.json")

CRAB = {
    "runs": [23523, 23526, 23559, 23592],
    "center": [83.6218, 22.0240],
    "source": {"lon_0": 83.6218, "lat_0": 22.0240},
    "spectrum": {"type": "log parabola", "amplitude": 4e-11, "alpha": 2.2, "beta": 0.2},
}
MSH = {
    "runs": [20136, 20137, 20151, 20282],
    "center": [228.547, -59.174],
    "source": {"lon_0": 228.547, "lat_0": -59.174, "sigma": 0.108, "e": 0.93, "phi": 140.0},
    "spectrum": {"type": "power law", "amplitude": 5e-12, "index": 2.2},
    "energy_min": 0.6,
    "radius": 0.7,
}
PKS = {
    "center": [329.71694, -30.22559],
    "source": {"lon_0": 329.71694, "lat_0": -30.22559},
    "spectrum": {"type": "power law", "amplitude": 3e-11, "index": 3.3},
    "energy_min": 1.1,
    "radius": 0.9,
}
# The thresholds of the four runs are powers of ten in steps of 0.03. Edges at these powers, a hair above to be on the
# safe side of rounding, let the mask keep what lies above each threshold, neither more nor less.
SAFE = {
    "safe_mask": {"methods": ["aeff-default", "offset-max"], "offset_max": 2.5},
    "energy_min": 10**-0.18 * (1 + 1e-9),
    "energy_max": 10**1.47 * (1 + 1e-9),
    "bins": 55,
}

FITS: dict[str, dict[str, Any]] = {
    "crab-0.9": {**CRAB, "energy_min": 0.88, "radius": 0.9},
    "crab-1.5": {**CRAB, "energy_min": 0.88, "radius": 1.5},
    "crab-safe-0.9": {**CRAB, **SAFE, "radius": 0.9},
    "msh-0.7": MSH,
    "msh-free-0.7": {**MSH, "free_shape": True},
    **{f"pks-{run}": {**PKS, "runs": [run]} for run in range(33787, 33802)},
}


def spectral_model(setting: dict[str, Any]) -> SpectralModel:
    """Model of the source's spectrum at its starting values; the reference energy is 1 TeV."""
    values = {name: value for name, value in setting["spectrum"].items() if name != "type"}
    amplitude = values.pop("amplitude") * u.Unit("TeV-1 cm-2 s-1")
    kind = {"log parabola": LogParabolaSpectralModel, "power law": PowerLawSpectralModel}
    return kind[setting["spectrum"]["type"]](amplitude=amplitude, reference=1 * u.TeV, **values)


def spatial_model(setting: dict[str, Any]) -> SpatialModel:
    """Model of the source's shape, frozen unless the setting leaves it free."""
    values = {name: value if name == "e" else value * u.deg for name, value in setting["source"].items()}
    model = (GaussianSpatialModel if "sigma" in values else PointSpatialModel)(**values, frame="icrs")
    for parameter in model.parameters:
        parameter.frozen = not setting.get("free_shape", False)
        parameter.error = FIRST_STEP.get(parameter.name, 0.0)  # the first step of minuit, which is else far too long
    return model


def dataset(run: Observation, setting: dict[str, Any]) -> MapDataset:
    """Counts, exposure, response and background of a run, masked to the region of the fit."""
    center = SkyCoord(*setting["center"] * u.deg, frame="icrs")
    energy_min = setting["energy_min"]
    energy_max = setting.get("energy_max", ENERGY_END)
    bins = setting.get("bins", round(BINS_PER_DECADE * np.log10(energy_max / energy_min)))
    energy = MapAxis.from_energy_bounds(energy_min * u.TeV, energy_max * u.TeV, bins)
    energy_true = MapAxis.from_energy_bounds(0.1 * u.TeV, 100 * u.TeV, 3 * BINS_PER_DECADE, name="energy_true")
    geom = WcsGeom.create(
        skydir=center, binsz=PIXEL, width=2 * setting["radius"] + 0.4, frame="icrs", axes=[energy], proj="TAN"
    )
    empty = MapDataset.create(geom, energy_axis_true=energy_true, name=str(run.obs_id))
    made = MapDatasetMaker(selection=["counts", "exposure", "background", "psf", "edisp"]).run(empty, run)
    if "safe_mask" in setting:
        safe = setting["safe_mask"]
        made = SafeMaskMaker(safe["methods"], offset_max=safe["offset_max"] * u.deg).run(made, run)
    circle = CircleSkyRegion(center, setting["radius"] * u.deg)
    made.mask_fit = Map.from_geom(geom, data=geom.region_mask([circle]).data)
    return made


def fit(runs: Iterable[Observation], setting: dict[str, Any]) -> dict[str, Any]:
    """Fit the runs of a setting and report values and errors."""
    datasets = Datasets([dataset(run, setting) for run in runs])
    source = SkyModel(spectral_model(setting), spatial_model(setting), name="source")
    backgrounds = []
    for one in datasets:
        background = FoVBackgroundModel(spectral_model=PowerLawNormSpectralModel(), dataset_name=one.name)
        background.spectral_model.tilt.frozen = False
        backgrounds.append(background)
    datasets.models = [source, *backgrounds]
    result = Fit(backend="minuit").run(datasets)
    if setting.get("free_shape", False):
        Fit(backend="minuit").run(datasets)
        set_errors(datasets)
    elif not result.success:
        raise SystemExit(f"The fit of {setting} did not converge: {result.message}")
    report: dict[str, Any] = {
        "source": {p.name: [float(p.value), float(p.error)] for p in source.parameters.free_parameters},
        "background": {
            one.name: {p.name: [float(p.value), float(p.error)] for p in background.parameters.free_parameters}
            for one, background in zip(datasets, backgrounds, strict=True)
        },
        "counts": {
            one.name: int((one.counts.data * np.broadcast_to(one.mask.data, one.counts.data.shape)).sum())
            for one in datasets
        },
        "counts_source": {one.name: float((one.npred_signal().data * one.mask.data).sum()) for one in datasets},
    }
    if "safe_mask" in setting:
        report["energy_min"] = {
            one.name: float(one.counts.geom.axes["energy"].edges_min[one.mask.data.any(axis=(1, 2))][0].to_value("TeV"))
            for one in datasets
        }
    return report


def set_errors(datasets: Datasets) -> None:
    """Standard deviations of all free parameters from the curvature of the statistic, in two rounds."""
    free = datasets.models.parameters.free_parameters
    best = np.array([p.value for p in free])
    sigma = np.array([FIRST_STEP.get(p.name, 0.05 * abs(p.value) or 0.05) for p in free])

    def statistic(x: np.ndarray) -> float:
        for parameter, value in zip(free, x, strict=True):
            parameter.value = value
        return float(datasets.stat_sum()) / 2

    for _ in range(2):
        unit = np.diag(sigma * STEP)
        hessian = np.empty((len(best), len(best)))
        for i in range(len(best)):
            for j in range(i + 1):
                corners = [a * b * statistic(best + a * unit[i] + b * unit[j]) for a in (1, -1) for b in (1, -1)]
                hessian[i, j] = hessian[j, i] = sum(corners) / (4 * unit[i, i] * unit[j, j])
        sigma = np.sqrt(np.diag(np.linalg.inv(hessian)))
    statistic(best)
    for parameter, error in zip(free, sigma, strict=True):
        parameter.error = error


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the reference fits by gammapy.")
    parser.add_argument("folder", type=Path, help="HESS DL3 DR1")
    parser.add_argument("--only", nargs="+", default=[], help="names of fits that start so")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    store = DataStore.from_dir(arguments.folder)
    known = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
    fits = known.get("fits", {})
    for name, setting in FITS.items():
        if not arguments.only or name.startswith(tuple(arguments.only)):
            fits[name] = {"setting": setting, **fit(store.get_observations(setting["runs"]), setting)}
            print(name, json.dumps(fits[name]["source"]))
    content = {
        "made_by": "tests/validation/references/gammapy_fits.py",
        "data": "HESS DL3 DR1, doi:10.5281/zenodo.1421099, with backgrounds of doi:10.1051/0004-6361/201936452",
        "gammapy": version("gammapy"),
        "pixel_deg": PIXEL,
        "energy_bins_per_decade": BINS_PER_DECADE,
        "energy_max_TeV": ENERGY_END,
        "fits": {name: fits[name] for name in FITS if name in fits},
    }
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
