r"""Flux points and light curves by gammapy that `tests/validation/test_gammapy_points.py` compares with.

    python tests/validation/references/gammapy_points.py FOLDER

FOLDER holds HESS DL3 DR1 as `gammapy.data.DataStore` reads it. The result is `gammapy_points.json` beside this file.

Data sets, masks and fits are those of `gammapy_fits.py`: one `MapDataset` for each run. Flux points and the light
curve of the Crab nebula follow the fit "crab-safe-0.9", with all parameters but the norm of a band or run held where
that fit has them (`reoptimize=False`). The light curve of PKS 2155-304 holds the spectrum of `PKS_INDEX` and the
backgrounds that the fit of each run alone found.
"""

import argparse
import json
import warnings
from importlib.metadata import version
from pathlib import Path

import astropy.units as u
import numpy as np
from gammapy.data import DataStore
from gammapy.datasets import Datasets
from gammapy.estimators import FluxPointsEstimator, LightCurveEstimator
from gammapy.modeling import Fit
from gammapy.modeling.models import FoVBackgroundModel, PowerLawNormSpectralModel, SkyModel
from gammapy_fits import FITS, OUTPUT, dataset, spatial_model, spectral_model

POINTS = Path(__file__).with_name("gammapy_points.json")
EDGES = [0, 6, 11, 16, 21, 26, 36, 46, 55]
"""Edges of bands, by number among those of the bins of energy."""
PKS_INDEX = 3.3
PKS_RUNS = range(33787, 33802)
ESTIMATOR = {"selection_optional": ["errn-errp", "ul"], "n_sigma_ul": 2, "reoptimize": False}


def columns(table, names):
    return {name: np.ravel(table[name].value).tolist() for name in names}


def with_background(sets, source, values=None):
    models = [source]
    for one in sets:
        background = FoVBackgroundModel(spectral_model=PowerLawNormSpectralModel(), dataset_name=one.name)
        background.spectral_model.tilt.frozen = False
        if values is not None:
            background.spectral_model.norm.value, background.spectral_model.tilt.value = values[one.name]
        models.append(background)
    sets.models = models
    return sets


def crab(store):
    setting = FITS["crab-safe-0.9"]
    source = SkyModel(spectral_model(setting), spatial_model(setting), name="source")
    sets = with_background(Datasets([dataset(run, setting) for run in store.get_observations(setting["runs"])]), source)
    if not Fit(backend="minuit").run(sets).success:
        raise SystemExit("the fit did not converge")
    parameters = {p.name: p.value for p in source.parameters.free_parameters}
    edges = np.geomspace(setting["energy_min"], setting["energy_max"], setting["bins"] + 1)[EDGES] * u.TeV
    points = FluxPointsEstimator(energy_edges=edges, source="source", **ESTIMATOR).run(sets)
    curve = LightCurveEstimator(energy_edges=edges[[1, -1]], source="source", **ESTIMATOR).run(sets)
    names = ["dnde", "dnde_err", "dnde_errn", "dnde_errp", "dnde_ul", "sqrt_ts"]
    return {
        "parameters": parameters,
        "edges": edges.value.tolist(),
        "points": columns(points.to_table(sed_type="dnde"), names),
        "light_curve": light_curve(curve),
    }


def light_curve(curve):
    table = curve.to_table(sed_type="flux", format="lightcurve")
    return columns(table, ["flux", "flux_err", "flux_errn", "flux_errp", "flux_ul", "sqrt_ts", "time_min", "time_max"])


def pks(store):
    fits = json.loads(OUTPUT.read_text())["fits"]
    setting = FITS[f"pks-{PKS_RUNS[0]}"]
    own = {f"{run}": fits[f"pks-{run}"]["background"][f"{run}"] for run in PKS_RUNS}
    source = SkyModel(spectral_model(setting), spatial_model(setting), name="source")
    source.spectral_model.index.value = PKS_INDEX
    source.spectral_model.index.frozen = True
    sets = Datasets([dataset(run, setting) for run in store.get_observations(list(PKS_RUNS))])
    values = {run: (one["norm"][0], one["tilt"][0]) for run, one in own.items()}
    with_background(sets, source, values)
    edges = [setting["energy_min"], sets[0].counts.geom.axes["energy"].edges[-1].value] * u.TeV
    curve = LightCurveEstimator(energy_edges=edges, source="source", **ESTIMATOR).run(sets)
    return {"index": PKS_INDEX, "edges": edges.value.tolist(), "background": values, "light_curve": light_curve(curve)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    store = DataStore.from_dir(parser.parse_args().folder)
    warnings.simplefilter("ignore")
    result = {"made_by": "gammapy_points.py", "gammapy": version("gammapy"), "crab": crab(store), "pks": pks(store)}
    POINTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
