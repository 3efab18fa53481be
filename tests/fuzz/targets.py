"""Readers under test: each takes a folder with a changed file in it, and must read it or name it.

``TARGETS`` maps a name to what makes the file and what reads it.
"""

import gzip
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from mutators import mutated_fits, mutated_yaml

import pymc_gamma as pmg

HESS = pmg.datasets.path("hess-dl3-dr1-crab")
RUN = "data/hess_dl3_dr1_obs_id_023526.fits.gz"


@dataclass(frozen=True)
class Target:
    """A file and its reader.

    Parameters
    ----------
    original : callable
        Gives the bytes of the file, not compressed.
    mutate : callable
        Bytes and generator to other bytes, and what was done.
    place : callable
        Folder and bytes to the path that :attr:`read` takes; writes the file.
    read : callable
        Path to anything. None as its result means that the library before ours refused.
    named : tuple of str
        What an error must name, one of these.
    """

    original: Callable[[], bytes]
    mutate: Callable[[bytes, np.random.Generator], tuple[bytes, str]]
    place: Callable[[Path, bytes], Path]
    read: Callable[[Path], Any]
    named: tuple[str, ...]


def _plain(folder: Path, content: bytes) -> Path:
    path = folder / "file.fits"
    path.write_bytes(content)
    return path


def _store(folder: Path, content: bytes) -> Path:
    shutil.copytree(HESS, folder / "store")
    (folder / "store" / RUN).write_bytes(gzip.compress(content, 1))
    return folder / "store"


def _indexed(folder: Path, content: bytes) -> Path:
    shutil.copytree(HESS, folder / "store")
    (folder / "store" / "hdu-index.fits.gz").write_bytes(gzip.compress(content, 1))
    return folder / "store"


@cache
def _events() -> bytes:
    rng = np.random.default_rng(1)
    events = pmg.Events(
        10 ** rng.uniform(-1, 2, 300) * u.TeV,
        rng.normal(0, 1, 300) * u.deg,
        rng.normal(0, 1, 300) * u.deg,
        observation=rng.integers(0, 2, 300),
    )
    return _written(lambda path: events.write(path))


@cache
def _without_sums() -> bytes:
    out = io.BytesIO()
    with fits.open(io.BytesIO(_events())) as hdus:
        hdus.writeto(out, checksum="remove")
    return out.getvalue()


def _written(write: Callable[[Path], None]) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.fits"
        write(path)
        return path.read_bytes()


@cache
def _unpacked(path: Path) -> bytes:
    with gzip.open(path) as file:
        return file.read()


@cache
def _map(cube: bool) -> bytes:
    from gammapy.maps import Map, MapAxis

    axes = [MapAxis.from_energy_bounds("0.05 TeV", "2 TeV", nbin=4, name="energy_true")] if cube else []
    sky = Map.create(npix=(30, 20), binsz=0.5, frame="galactic", axes=axes, unit="TeV-1 cm-2 s-1 sr-1")
    sky.data += 1 + np.random.default_rng(2).random(sky.data.shape)
    return _written(sky.write)


def _opened(store: Path) -> Any:
    from gammapy.data import DataStore

    try:
        return DataStore.from_dir(store)
    except Exception:
        return None


def _gammapy_run(path: Path) -> Any:
    from gammapy.data import Observation

    try:
        return Observation.read(path)
    except Exception:
        return None


def _with(opened: Any, read: Callable[[Any], Any]) -> Any:
    return None if opened is None else read(opened)


@cache
def _models() -> bytes:
    from gammapy.modeling import models as gp

    index = gp.PowerLawSpectralModel(index=2.2)
    index.index.prior = gp.GaussianPrior(mu=2.2, sigma=0.3)
    index.amplitude.prior = gp.LogUniformPrior(min=1e-14, max=1e-10)
    spatial = [gp.PointSpatialModel(lon_0="83.6 deg", lat_0="22 deg", frame="icrs") for _ in range(2)]
    spatial.append(gp.GaussianSpatialModel(lon_0="184 deg", lat_0="-5.8 deg", sigma="0.1 deg", frame="galactic"))
    spectra = [index, gp.ExpCutoffPowerLawSpectralModel(), gp.LogParabolaSpectralModel()]
    spectra[1].index = index.index  # a link
    for one in spatial:
        one.freeze()
    sources = [
        gp.SkyModel(two, one, name=f"source-{k}") for k, (one, two) in enumerate(zip(spatial, spectra, strict=True))
    ]
    compound = gp.SkyModel(
        gp.PowerLawSpectralModel() * gp.PowerLawNormSpectralModel(), spatial[0].copy(), name="product"
    )
    background = gp.FoVBackgroundModel(dataset_name="obs-1")
    return gp.Models([*sources, compound, background]).to_yaml().encode()


def _yaml(folder: Path, content: bytes) -> Path:
    path = folder / "models.yaml"
    path.write_bytes(content)
    return path


def _translated(path: Path) -> Any:
    import pymc as pm

    from pymc_gamma.interop import GammapyTranslation

    translation = GammapyTranslation(path, ["1"])
    with pm.Model():
        return translation.variables()


FILE = ("file.fits",)
OF_RUN = ("23526", "hess_dl3_dr1_obs_id_023526")
ANY_RUN = ("observation", "data store", "index")

TARGETS = {
    "events": Target(_events, mutated_fits, _plain, pmg.Events.read, FILE),
    "events-without-sums": Target(_without_sums, mutated_fits, _plain, pmg.Events.read, FILE),
    "events-hess": Target(lambda: _unpacked(HESS / RUN), mutated_fits, _plain, pmg.Events.read, FILE),
    "irfs": Target(
        lambda: _unpacked(pmg.datasets.path("prod5-south-20deg-50h")), mutated_fits, _plain, pmg.load_irfs, FILE
    ),
    "irfs-hess": Target(lambda: _unpacked(HESS / RUN), mutated_fits, _plain, pmg.load_irfs, FILE),
    "store-observations": Target(
        lambda: _unpacked(HESS / RUN), mutated_fits, _store,
        lambda path: _with(_opened(path), lambda store: pmg.Observation.from_gammapy(store.obs(23526))), OF_RUN,
    ),
    "store-events": Target(
        lambda: _unpacked(HESS / RUN), mutated_fits, _store,
        lambda path: _with(_opened(path), pmg.Events.from_gammapy), OF_RUN,
    ),
    "run": Target(
        lambda: _unpacked(HESS / RUN), mutated_fits, _plain,
        lambda path: _with(_gammapy_run(path), pmg.Observation.from_gammapy), ("observation", "IRFs"),
    ),
    "run-events": Target(
        lambda: _unpacked(HESS / RUN), mutated_fits, _plain,
        lambda path: _with(_gammapy_run(path), pmg.Events.from_gammapy), ("observation",),
    ),
    "index": Target(
        lambda: _unpacked(HESS / "hdu-index.fits.gz"), mutated_fits, _indexed,
        lambda path: _with(_opened(path), pmg.Events.from_gammapy), ANY_RUN,
    ),
    "image": Target(
        lambda: _map(False), mutated_fits, _plain, lambda path: pmg.GalacticDiffuse(template=path), FILE
    ),
    "cube": Target(lambda: _map(True), mutated_fits, _plain, lambda path: pmg.GalacticDiffuse(template=path), FILE),
    "models": Target(_models, mutated_yaml, _yaml, _translated, ("models.yaml", "source-", "product", "obs-1")),
}  # fmt: skip
