"""Readers under test: each takes a folder with a changed file in it, and must read it or refuse it.

``TARGETS`` maps a name to what makes the file and what reads it. The files are small: those that come with the
package, those that it writes, and some of other programs. Larger ones are taken where ``PYMC_GAMMA_DATA`` has them.
"""

import gzip
import io
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from mutators import BYTES, FITS, STORE, TEXT, YAML, Mutator

import pymc_gamma as pmg

HESS = pmg.datasets.path("hess-dl3-dr1-crab")
RUN = "data/hess_dl3_dr1_obs_id_023526.fits.gz"


@dataclass(frozen=True)
class Target:
    """A file and its reader.

    Parameters
    ----------
    original : callable
        Gives the content of the file, not compressed; of a store, a mapping of paths to bytes.
    mutators : tuple of callable
        What can be done to it; those that are there twice are taken twice as often.
    place : callable
        Folder and content to the path that :attr:`read` takes; writes the file.
    read : callable
        Path to anything. None as its result means that the library before ours refused.
    named : tuple of str
        What an error must name, one of these.
    sums : bool
        Whether the original has checksums of all that is in it.
    data : str, optional
        Data set that it needs.
    """

    original: Callable[[], Any]
    mutators: tuple[Mutator, ...]
    place: Callable[[Path, Any], Path]
    read: Callable[[Path], Any]
    named: tuple[str, ...]
    sums: bool = False
    data: str | None = None

    def missing(self) -> str | None:
        """Why it cannot be tried here, or None."""
        try:
            if self.data is not None:
                pmg.datasets.path(self.data)
        except pmg.errors.DataFileError as error:
            return str(error)
        return None


def _named(name: str) -> Callable[[Path, bytes], Path]:
    def place(folder: Path, content: bytes) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return place


def _store(folder: Path, content: bytes) -> Path:
    shutil.copytree(HESS, folder / "store")
    (folder / "store" / RUN).write_bytes(gzip.compress(content, 1))
    return folder / "store"


def _indexed(folder: Path, content: bytes) -> Path:
    shutil.copytree(HESS, folder / "store")
    (folder / "store" / "hdu-index.fits.gz").write_bytes(gzip.compress(content, 1))
    return folder / "store"


def _list() -> pmg.Events:
    rng = np.random.default_rng(1)
    return pmg.Events(
        10 ** rng.uniform(-1, 2, 300) * u.TeV,
        rng.normal(0, 1, 300) * u.deg,
        rng.normal(0, 1, 300) * u.deg,
        observation=rng.integers(0, 2, 300),
        frame="galactic",
    )


@cache
def _events() -> bytes:
    return _written(_list().write)


@cache
def _cells() -> bytes:
    return _without_sums(_written(_list().binned(energy=6, pixel=0.5 * u.deg).write))


def _without_sums(content: bytes) -> bytes:
    out = io.BytesIO()
    with fits.open(io.BytesIO(content)) as hdus:
        hdus.writeto(out, checksum="remove")
    return out.getvalue()


@cache
def _with_sums(path: Path) -> bytes:
    out = io.BytesIO()
    with fits.open(path) as hdus:
        hdus.writeto(out, checksum=True, output_verify="silentfix+ignore")
    return out.getvalue()


def _written(write: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.fits"
        write(path)
        return path.read_bytes()


@cache
def _response() -> dict[str, bytes]:
    """A small response of all kinds of parts: sources, a template, a background, a free spectrum."""
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=50 * u.h)
    roi = pmg.RegionOfInterest(centre, width=2 * u.deg, energy=(0.5, 50) * u.TeV)
    components = [pmg.HGPSCatalog(), pmg.GalacticDiffuse(), pmg.CosmicRayBackground()]
    response = pmg.fold(components, observation, roi, free_spectrum=["hgps"])
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "response.zarr"
        response.save(store)
        return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def _saved(folder: Path, content: dict[str, bytes]) -> Path:
    for name, part in content.items():
        path = folder / "response.zarr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part)
    return folder / "response.zarr"


REGIONS = b"""# Region file format: DS9 version 4.1
global color=green
galactic
circle(0.5,0.2,0.3)
ellipse(359.2,-0.4,0.4,0.2,30)
box(1.1,0.9,0.5,0.2,10)
polygon(358.6,0.8,359.0,0.8,359.0,1.2,358.7,1.1)
icrs
annulus(266.4,-28.9,0.1,0.2)
"""


def _without_regions(path: Path) -> Any:
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    return pmg.RegionOfInterest(centre, width=4 * u.deg, energy=(0.5, 50) * u.TeV, exclude=[path])


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

    with suppress(Exception), _patience():
        return DataStore.from_dir(store)
    return None


def _gammapy_run(path: Path) -> Any:
    from gammapy.data import Observation

    with suppress(Exception), _patience():
        return Observation.read(path)
    return None


@contextmanager
def _patience(seconds: float = 10.0) -> Iterator[None]:
    """Raise an error in a library that hangs: astropy reads for ever where it cannot parse XTENSION."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


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
    text = gp.Models([*sources, compound, background]).to_yaml()
    text = text[: text.index("metadata:")] if "metadata:" in text else text  # the time of writing
    return re.sub(r"@[\w-]{8}", "@abcdefgh", text).encode()  # labels of links are random


@cache
def _models_with_sum() -> bytes:
    """The same with the checksum that gammapy adds."""
    from gammapy.modeling.models import Models

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "models.yaml"
        path.write_bytes(_models())
        Models.read(path).write(path, overwrite=True, write_covariance=False, checksum=True)
        return path.read_bytes()


def _translated(path: Path) -> Any:
    import pymc as pm

    from pymc_gamma.interop import GammapyTranslation
    from pymc_gamma.interop.model_file import read_model_file

    models = read_model_file(path)
    translation = GammapyTranslation(path, ["1"])
    with pm.Model() as model:
        translation.variables()
    return models.to_dict(full_output=True), sorted(model.named_vars)


FILE = ("file.fits",)
OF_RUN = ("23526", "hess_dl3_dr1_obs_id_023526")
ANY_RUN = ("observation", "data store", "index")


def _run() -> bytes:
    return _unpacked(HESS / RUN)


def _observation(path: Path) -> Any:
    return _with(_opened(path), lambda store: pmg.Observation.from_gammapy(store.obs(23526)))


def _template(path: Path) -> Any:
    return pmg.GalacticDiffuse(template=path)


TARGETS = {
    "events": Target(_events, FITS, _named("file.fits"), pmg.Events.read, FILE, sums=True),
    "events-packed": Target(
        lambda: gzip.compress(_without_sums(_events()), mtime=0), BYTES, _named("file.fits.gz"), pmg.Events.read, FILE,
        sums=True,
    ),
    "events-without-sums": Target(
        lambda: _without_sums(_events()), FITS, _named("file.fits"), pmg.Events.read, FILE
    ),
    "events-in-cells": Target(_cells, FITS, _named("file.fits"), pmg.Events.read, FILE),
    "events-hess": Target(_run, FITS, _named("file.fits"), pmg.Events.read, FILE),
    "irfs": Target(
        lambda: _unpacked(pmg.datasets.path("prod5-south-20deg-50h")), FITS, _named("file.fits"), pmg.load_irfs, FILE
    ),
    "irfs-hess": Target(_run, FITS, _named("file.fits"), pmg.load_irfs, FILE),
    "store-observations": Target(_run, FITS, _store, _observation, OF_RUN),
    "store-with-sums": Target(lambda: _with_sums(HESS / RUN), BYTES, _store, _observation, OF_RUN, sums=True),
    "store-events": Target(
        _run, FITS, _store, lambda path: _with(_opened(path), pmg.Events.from_gammapy), OF_RUN
    ),
    "run": Target(
        _run, FITS, _named("file.fits"),
        lambda path: _with(_gammapy_run(path), pmg.Observation.from_gammapy), ("observation", "IRFs"),
    ),
    "run-events": Target(
        _run, FITS, _named("file.fits"),
        lambda path: _with(_gammapy_run(path), pmg.Events.from_gammapy), ("observation",),
    ),
    "index": Target(
        lambda: _unpacked(HESS / "hdu-index.fits.gz"), FITS, _indexed,
        lambda path: _with(_opened(path), pmg.Events.from_gammapy), ANY_RUN,
    ),
    "image": Target(lambda: _map(False), FITS, _named("file.fits"), _template, FILE),
    "cube": Target(lambda: _map(True), FITS, _named("file.fits"), _template, FILE),
    "catalogue": Target(
        lambda: _unpacked(pmg.datasets.path("hgps-catalog")), FITS, _named("file.fits"),
        lambda path: pmg.HGPSCatalog(path=path), FILE, data="hgps-catalog",
    ),
    "regions": Target(lambda: REGIONS, TEXT, _named("file.reg"), _without_regions, ("file.reg",)),
    "models": Target(
        _models, YAML, _named("models.yaml"), _translated, ("models.yaml", "source-", "product", "obs-1")
    ),
    "models-with-sum": Target(
        _models_with_sum, TEXT, _named("models.yaml"), _translated, ("models.yaml", "source-", "product", "obs-1"),
        sums=True,
    ),
    "response": Target(_response, STORE, _saved, pmg.Response.load, ("response.zarr",)),
}  # fmt: skip
