"""ON/OFF spectra and flux points of real data in one fit: gammapy's and ours, from the same data sets and models.

The files are those of the joint Crab publication, looked for as in `test_joint_crab.py`: fluxes of Fermi-LAT from its
spectrum, by gammapy, beside the counts of MAGIC.
"""

import os
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from gammapy.datasets import Datasets, FluxPointsDataset, SpectrumDatasetOnOff
from gammapy.estimators import FluxPointsEstimator
from gammapy.modeling import Fit
from gammapy.modeling import models as gp

import pymc_gamma as pmg
from pymc_gamma.datasets import MIRROR_VARIABLE

pytestmark = pytest.mark.slow
NAMES = ("amplitude", "alpha", "beta")


def crab():
    spectral = gp.LogParabolaSpectralModel(amplitude="3.8e-11 TeV-1 cm-2 s-1", reference="1 TeV", alpha=2.5, beta=0.1)
    return gp.SkyModel(spectral, name="crab")


def read(folder, energy_min, energy_max):
    made = []
    for path in sorted(folder.glob("pha_*.fits")):
        dataset = SpectrumDatasetOnOff.read(path, name=path.name.split(".")[0])
        dataset.mask_fit = dataset.counts.geom.energy_mask(energy_min * u.TeV, energy_max * u.TeV)
        made.append(dataset)
    return made


@pytest.fixture(scope="module")
def spectra():
    root = Path(os.environ.get(MIRROR_VARIABLE, ""))
    found = [one for one in (root / "joint-crab", root) if (one / "spectra" / "magic").is_dir()]
    if not os.environ.get(MIRROR_VARIABLE) or not found:
        pytest.skip("no joint-crab data")
    return found[0] / "spectra"


@pytest.fixture(scope="module")
def fluxes(spectra):
    """Flux points of Fermi-LAT with scans of the likelihood."""
    datasets = Datasets(read(spectra / "fermi", 0.03, 2))
    datasets.models = [crab()]
    Fit().run(datasets)
    edges = np.geomspace(0.03, 2, 7) * u.TeV
    return FluxPointsEstimator(energy_edges=edges, source="crab", selection_optional="all").run(datasets)


@pytest.mark.parametrize("statistic", ["chi2", "distrib", "profile"])
def test_counts_and_fluxes_together(spectra, fluxes, statistic):
    given = Datasets(
        [*read(spectra / "magic", 0.08, 30), FluxPointsDataset(data=fluxes, name="lat", stat_type=statistic)]
    )
    models = gp.Models([crab()])
    for parameter, limits in zip(models.parameters.free_parameters, ((0, 1e-9), (-20, 20), (-20, 20)), strict=True):
        parameter.prior = gp.UniformPrior(min=limits[0], max=limits[1])
    best = pmg.best_fit(pmg.from_gammapy(models, given, background=pmg.ProfiledBackground()), tolerance=1e-4)
    given.models = [crab()]
    Fit(optimize_opts={"tol": 1e-3}).run(given)
    theirs = [getattr(given.models["crab"].spectral_model, name) for name in NAMES]
    found = [float(best.value[f"crab.spectral.{name}"]) for name in NAMES]
    np.testing.assert_allclose(found, [one.value for one in theirs], rtol=2e-3)
    errors = [float(best.sd[f"crab.spectral.{name}"]) for name in NAMES]
    np.testing.assert_allclose(errors, [one.error for one in theirs], rtol=0.02)
