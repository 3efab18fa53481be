"""From the name of a data set to a file on this machine.

A file is looked for in the package, then in the folder named by the environment variable ``PYMC_GAMMA_DATA``
(a local mirror: any tree that holds the files or their archives under their own names), then in the cache,
then at its origin. Every copy whose checksum is known is verified.
"""

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pymc_gamma.datasets.citation import Citation
from pymc_gamma.datasets.registry import REGISTRY, Dataset
from pymc_gamma.errors import DataFileError
from pymc_gamma.files import atomic_path

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["MIRROR_VARIABLE", "available", "cache_folder", "citation", "fetch", "info", "names", "path"]

#: Environment variable that names a local mirror.
MIRROR_VARIABLE = "PYMC_GAMMA_DATA"


def info(name: str) -> Dataset:
    """Describe a data set.

    Parameters
    ----------
    name : str
        Name of the data set; see :func:`available`.

    Returns
    -------
    Dataset
        File name, origin, checksum, citation.

    Raises
    ------
    DataFileError
        If there is no data set of that name.

    Examples
    --------
    >>> from pymc_gamma import datasets
    >>> datasets.info("prod5-south-20deg-50h").citation.doi
    '10.5281/zenodo.5499840'
    """
    try:
        return REGISTRY[name]
    except KeyError:
        close = get_close_matches(str(name), REGISTRY, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise DataFileError(
            f"There is no data set named {name!r}.{hint} `datasets.available()` lists all of them."
        ) from None


def names() -> tuple[str, ...]:
    """Names of all data sets, the bundled ones first.

    Examples
    --------
    >>> from pymc_gamma import datasets
    >>> "prod5-north-40deg-5h" in datasets.names()
    True
    """
    return tuple(REGISTRY)


def citation(name: str) -> Citation:
    """Return what to cite for a data set, with its terms of use.

    Parameters
    ----------
    name : str
        Name of the data set.

    Returns
    -------
    Citation
        Reference and terms.

    Raises
    ------
    DataFileError
        If there is no data set of that name.

    Examples
    --------
    >>> from pymc_gamma import datasets
    >>> datasets.citation("hgps-sources").arxiv
    '1804.02432'
    """
    return info(name).citation


def available() -> "Table":
    """Table of the data sets: name, description, whether bundled, whether a download is possible, terms.

    Returns
    -------
    astropy.table.Table
        One row per data set.

    Examples
    --------
    >>> from pymc_gamma import datasets
    >>> table = datasets.available()
    >>> table["name"][table["bundled"]].tolist()
    ['prod5-south-20deg-50h', 'hgps-sources', 'fermi-diffuse-template', 'pppc4dmid-gammas', 'hess-dl3-dr1-crab']
    """
    from astropy.table import Table

    return Table(
        {
            "name": [d.name for d in REGISTRY.values()],
            "description": [d.description for d in REGISTRY.values()],
            "bundled": [d.bundled for d in REGISTRY.values()],
            "downloadable": [d.downloadable for d in REGISTRY.values()],
            "cite": [str(d.citation) for d in REGISTRY.values()],
            "terms": [d.citation.terms or "" for d in REGISTRY.values()],
        }
    )


def cache_folder() -> Path:
    """Folder that keeps downloads, as the operating system has it."""
    import pooch

    return Path(pooch.os_cache("pymc_gamma"))


def path(name: str) -> Path:
    """File or folder of a data set that is already on this machine; nothing is downloaded.

    Parameters
    ----------
    name : str
        Name of the data set.

    Returns
    -------
    pathlib.Path
        The file, or the folder of a data set of several files.

    Raises
    ------
    DataFileError
        If it is unknown, absent or damaged. The message says what to fetch and where to put it.

    Examples
    --------
    >>> from pymc_gamma import datasets
    >>> datasets.path("prod5-south-20deg-50h").name
    'prod5-south-20deg-50h.fits.gz'
    """
    dataset = info(name)
    found = _local(dataset)
    if found is None:
        raise DataFileError(_missing(dataset, "it is not on this machine"))
    return found


def fetch(name: str) -> Path:
    """File or folder of a data set, downloaded into the cache when it is not on this machine yet.

    Parameters
    ----------
    name : str
        Name of the data set.

    Returns
    -------
    pathlib.Path
        The file, or the folder of a data set of several files.

    Raises
    ------
    DataFileError
        If it is unknown, damaged, or can neither be found nor downloaded. The message says what to fetch and
        where to put it.

    Examples
    --------
    >>> from pymc_gamma import datasets
    >>> datasets.fetch("hgps-sources").suffix
    '.ecsv'
    """
    dataset = info(name)
    found = _local(dataset)
    if found is not None:
        return found
    if dataset.url is not None and dataset.members:
        folder = cache_folder() / dataset.file_name
        for member, sha256 in dataset.members.items():
            _download(dataset, f"{dataset.url}/{member}", f"{dataset.file_name}/{member}", sha256)
        return folder
    if dataset.url is not None:
        return _download(dataset, dataset.url, dataset.file_name, dataset.sha256)
    if dataset.archive is not None:
        container_name = dataset.archive.container_url.rsplit("/", 1)[-1]
        # No checksum of the container is known; that of the archive inside is checked below.
        container = _download(dataset, dataset.archive.container_url, container_name, None)
        archive = cache_folder() / dataset.archive.file_name
        _extract_from_zip(container, archive)
        _verify(archive, dataset.archive.sha256)
        return _extract_from_tar(archive, cache_folder() / dataset.file_name)
    raise DataFileError(_missing(dataset, "it cannot be downloaded automatically"))


def _local(dataset: Dataset) -> Path | None:
    if dataset.bundled:
        bundled = Path(str(files("pymc_gamma.datasets") / "data" / dataset.file_name))
        for file, sha256 in _members(dataset, bundled).items():
            if not file.is_file():
                raise DataFileError(f"{file} is missing from the installation; reinstall pymc-gamma.")
            if _sha256(file) != sha256:
                raise DataFileError(f"{file} of the installation is damaged or was changed; reinstall pymc-gamma.")
        return bundled
    for folder in _folders():
        for candidate in _find(folder, dataset):
            for file, sha256 in _members(dataset, candidate).items():
                if sha256 is not None:
                    _verify(file, sha256)
            return candidate
        if dataset.archive is not None:
            for archive in _find_files(folder, dataset.archive.file_name):
                _verify(archive, dataset.archive.sha256)
                return _extract_from_tar(archive, cache_folder() / dataset.file_name)
    return None


def _members(dataset: Dataset, path: Path) -> dict[Path, str | None]:
    """Files of a data set that lies at a path, and their checksums."""
    return {path / member: sha256 for member, sha256 in dataset.members.items()} or {path: dataset.sha256}


def _folders() -> Iterator[Path]:
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        folder = Path(mirror).expanduser()
        if not folder.is_dir():
            raise DataFileError(f"The environment variable {MIRROR_VARIABLE} names {mirror!r}, which is not a folder.")
        yield folder
    yield cache_folder()


def _find(folder: Path, dataset: Dataset) -> Iterator[Path]:
    """Files of a data set of one file, or folders that hold all files of another, the top level first."""
    if not dataset.members:
        yield from _find_files(folder, dataset.file_name)
        return
    for candidate in [folder, *sorted(folder.rglob(dataset.file_name), key=lambda one: len(one.parts))]:
        if candidate.name == dataset.file_name and all(file.is_file() for file in _members(dataset, candidate)):
            yield candidate


def _find_files(folder: Path, file_name: str) -> Iterator[Path]:
    """Files of that name in a folder, the top level first."""
    if (folder / file_name).is_file():
        yield folder / file_name
    elif folder.is_dir():
        yield from sorted(p for p in folder.rglob(file_name) if p.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _verify(file: Path, sha256: str) -> None:
    digest = _sha256(file)
    if digest != sha256:
        raise DataFileError(
            f"{file} is damaged or another version: its SHA-256 is {digest}, expected {sha256}. "
            "Remove it and fetch it again."
        )


def _download(dataset: Dataset, url: str, file_name: str, sha256: str | None) -> Path:
    import pooch

    target = cache_folder() / file_name
    try:
        return Path(
            pooch.retrieve(
                url,
                known_hash=None if sha256 is None else f"sha256:{sha256}",
                fname=target.name,
                path=target.parent,
            )
        )
    except (
        OSError,
        ValueError,
    ) as error:  # requests raises OSErrors; pooch a ValueError for a wrong checksum
        raise DataFileError(_missing(dataset, f"downloading {url} failed ({error})")) from error


def _extract_from_zip(container: Path, target: Path) -> None:
    """Extract the member of a zip file that is named like ``target``, wherever it lies inside."""
    try:
        with zipfile.ZipFile(container) as archive:
            member = next((m for m in archive.namelist() if m.rsplit("/", 1)[-1] == target.name), None)
            if member is None:
                raise DataFileError(f"{container} does not hold {target.name}.")
            with archive.open(member) as source:
                _write(source, target)
    except zipfile.BadZipFile as error:
        raise DataFileError(f"{container} is not a complete zip file; remove it and try again.") from error


def _extract_from_tar(archive: Path, target: Path) -> Path:
    """Extract the member of a tar file that is named like ``target``."""
    if target.is_file():
        return target
    try:
        with tarfile.open(archive) as tar:
            member = next((m for m in tar.getmembers() if m.name.rsplit("/", 1)[-1] == target.name), None)
            source = None if member is None else tar.extractfile(member)
            if source is None:
                raise DataFileError(f"{archive} does not hold {target.name}.")
            with closing(source):
                _write(source, target)
    except tarfile.TarError as error:
        raise DataFileError(f"{archive} is not a complete tar file; remove it and try again.") from error
    return target


def _write(source: IO[bytes], target: Path) -> None:
    with atomic_path(target, overwrite=True) as temporary:
        temporary.write_bytes(source.read())


def _missing(dataset: Dataset, why: str) -> str:
    wanted = dataset.file_name
    if dataset.archive is not None:
        wanted += f" or {dataset.archive.file_name}"
    return (
        f"The data set {dataset.name!r} is not available: {why}. Get {wanted} from {dataset.home} and put it "
        f"into {cache_folder()}, or into a folder of your own that you name in the environment variable "
        f"{MIRROR_VARIABLE}."
    )
