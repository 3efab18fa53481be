r"""FITS files that are whole: the one way in which files of events, runs, responses and maps are opened.

A FITS file is a sequence of units, each a header and data in blocks of 2880 bytes. The header says how long its data
are,

.. math:: n = \frac{|\mathrm{BITPIX}|}{8}\, \mathrm{GCOUNT}\, \Big(\mathrm{PCOUNT} + \prod_i \mathrm{NAXIS}_i\Big) ,

so that a file can be followed from unit to unit without reading it into memory. Readers of FITS stop quietly where a
file ends inside a header, take the part of a compressed file before a cut, and look at checksums only when asked. Here
every byte is passed once, in pieces: a cut anywhere, bytes that belong to no unit, a damaged compression and checksums
that do not fit are errors before anything is read.

Checksums are those of the FITS standard 4.0, section 4.4.2.7: the sum of the 32-bit words of a unit in ones' complement
is all ones where the header has ``CHECKSUM``; that of its data alone is ``DATASUM``.
"""

import bz2
import gzip
import lzma
import os
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits

from pymc_gamma.errors import DataFileError, PymcGammaError

__all__ = ["check_whole", "open_fits", "reading"]

BLOCK = 2880
"""Bytes of a block of a FITS file."""
PIECE = 512 * BLOCK
"""Bytes that are passed at a time, 1.4 MiB."""
IN_MEMORY = 64 * 2**20
"""Bytes of a compressed file that are kept in memory uncompressed; more go to a temporary file."""
LARGEST_HEADER = 20_000
"""Blocks of a header, 720 000 lines, beyond which it is not taken for one."""
MOST = 999
"""Axes or columns of an extension, by the FITS standard; a reader makes room for as many as a header tells."""
INFLATION = 100
"""Ratio of size and compressed size from which a large file is not believed; IRFs and events reach 2 to 20."""
INFLATED = 256 * 2**20
"""Bytes below which the ratio does not matter."""
COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""First bytes of a compressed file, and what undoes it; each raises where the stream is cut."""
ALL_ONES = 0xFFFFFFFF


@contextmanager
def reading(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Make one error of every way in which reading a file can fail.

    Parameters
    ----------
    path : path-like
        The file, for the message.
    what : str
        What it should be, with its article: ``"a GADF event file"``.

    Raises
    ------
    DataFileError
        If the block raises anything but an error of this package, which passes.

    Examples
    --------
    >>> with reading("damaged.fits", "an event file"):
    ...     raise KeyError("TUNIT3")
    Traceback (most recent call last):
        ...
    pymc_gamma.errors.DataFileError: damaged.fits is not an event file, or is damaged (KeyError: 'TUNIT3'). ...
    """
    try:
        yield
    except PymcGammaError:
        raise
    except Exception as error:
        raise DataFileError(
            f"{path} is not {what}, or is damaged ({type(error).__name__}: {error}). Copy it again, or look at it with "
            "astropy.io.fits.info."
        ) from error


@contextmanager
def open_fits(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The extensions of a FITS file of which nothing is missing and nothing was changed.

    Parameters
    ----------
    path : path-like
        FITS file, plain or compressed with gzip, bzip2 or xz.

    Yields
    ------
    astropy.io.fits.HDUList
        Their data are read when they are used.

    Raises
    ------
    DataFileError
        If the file is not there, may not be read, is no FITS file, is cut, has bytes that belong to no extension, or
        has a checksum that does not fit; names the file, and the extension.

    Examples
    --------
    >>> from pymc_gamma import datasets
    >>> with open_fits(datasets.path("prod5-south-20deg-50h")) as hdus:
    ...     hdus[1].name
    'EFFECTIVE AREA'
    """
    with _whole(Path(path)) as content, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*extra padding.*")
        warnings.filterwarnings("ignore", message=".*did not parse as fits unit.*")
        with reading(path, "a FITS file"):
            hdus = fits.open(content, memmap=False, lazy_load_hdus=False)
        with hdus:
            yield hdus


def check_whole(path: str | os.PathLike[str]) -> None:
    """Raise a DataFileError as :func:`open_fits` does; for files that another library reads."""
    with _whole(Path(path)):
        pass


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """The uncompressed content of a file that has been checked, at its beginning."""
    try:
        size = path.stat().st_size
        file = path.open("rb") if path.is_file() else None
    except FileNotFoundError:
        raise DataFileError(f"there is no file {path}; check the path.") from None
    except (OSError, ValueError) as error:  # ValueError of a name that no file can have
        raise DataFileError(f"{path} cannot be opened ({error}); check the path and the permissions.") from error
    if file is None:
        raise DataFileError(f"{path} is a folder or a device, not a file; give the path of a FITS file.")
    with file:
        first = file.read(max(map(len, COMPRESSIONS)))
        file.seek(0)
        unpack = next((how for start, how in COMPRESSIONS.items() if first.startswith(start)), None)
        if unpack is None:
            _follow(_Stream(path, file))
            file.seek(0)
            yield file
            return
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as copy, unpack(file) as source:
            _follow(_Stream(path, source, copy, limit=max(INFLATED, INFLATION * size)))
            copy.seek(0)
            yield copy


class _Stream:
    """Bytes of a file, kept in a copy as they pass if there is one."""

    def __init__(self, path: Path, source: IO[bytes], copy: IO[bytes] | None = None, limit: float = np.inf) -> None:
        self.path, self._source, self._copy, self._limit = path, source, copy, limit
        self.position = 0

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end of the file."""
        parts = []
        left = size
        try:
            while left and (part := self._source.read(left)):
                parts.append(part)
                left -= len(part)
        except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise DataFileError(
                f"{self.path} cannot be read ({type(error).__name__}: {error}). The file is cut or damaged; copy it "
                "again."
            ) from error
        content = b"".join(parts)
        self.position += len(content)
        if self.position > self._limit:
            raise DataFileError(
                f"{self.path} is compressed to less than 1/{INFLATION} of its size, more than {self.position >> 20} "
                "MiB; such a file is taken for a damaged one. If it is right, uncompress it (gunzip) and read that."
            )
        if self._copy is not None:
            self._copy.write(content)
        return content


class _Sum:
    """Sum of 32-bit words in ones' complement; pieces are whole blocks, whose length is a multiple of four."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, content: bytes) -> None:
        total = self.value + int(np.frombuffer(content, dtype=">u4").sum(dtype=np.uint64))
        while total >> 32:
            total = (total & ALL_ONES) + (total >> 32)
        self.value = total


def _follow(stream: _Stream) -> None:
    """Pass a file from unit to unit; raise a DataFileError where something is missing or does not fit."""
    name = ""
    number = 0
    while block := stream.read(BLOCK):
        if number and not block.strip(b"\0 "):
            _pass_padding(stream, name)
            return
        header, total = _read_header(stream, block, number, name)
        name = _name(header, number)
        _pass_data(stream, header, name, total)
        number += 1
    if not number:
        raise DataFileError(f"{stream.path} is empty, no FITS file; copy it again.")


def _read_header(stream: _Stream, block: bytes, number: int, before: str) -> tuple[Any, _Sum]:
    """Header that begins with a block, and the sum of its words."""
    total = _Sum()
    blocks = [block]
    start = b"XTENSION= " if number else b"SIMPLE  = "
    known = block.startswith(start)
    if not known and not number:
        raise DataFileError(
            f"{stream.path} is no FITS file: it begins with {block[:16]!r}, a FITS file with {start.decode()!r}. "
            "Check the path, or copy it again."
        )
    while known:
        if len(block) < BLOCK or len(blocks) > LARGEST_HEADER:
            known = False
        elif any(block[k : k + 8] == b"END     " for k in range(0, BLOCK, 80)):
            break
        else:
            block = stream.read(BLOCK)
            blocks.append(block)
    if not known:
        where = f"after {before!r}" if number else "the first one"
        raise DataFileError(
            f"{stream.path} ends inside the header of an extension, {where}: {sum(map(len, blocks))} bytes are left "
            "that are no complete extension. The file is cut; copy it again."
        )
    content = b"".join(blocks)
    total.add(content)
    try:
        header = fits.Header.fromstring(content.decode("ascii"))
        for key in ("XTENSION", "CHECKSUM", "DATASUM", "EXTNAME"):  # parsed only when they are asked for
            header.get(key)
    except Exception as error:
        raise DataFileError(
            f"{stream.path}: the header of extension number {number} cannot be read ({error}). The file is damaged; "
            "copy it again."
        ) from error
    return header, total


def _name(header: Any, number: int) -> str:
    return str(header.get("EXTNAME", "") or ("PRIMARY" if number == 0 else f"number {number}")).strip()


def _data_size(header: Any, path: Path, name: str) -> int:
    """Bytes of the data of a unit, without their padding."""
    numbers = {}

    def number(key: str, default: int | None = None) -> int:
        try:
            value = header.get(key, default)
        except Exception:  # a card that cannot be parsed
            value = None
        if isinstance(value, bool) or not isinstance(value, int) or (key != "BITPIX" and value < 0):
            raise DataFileError(
                f"{path}: {key} in the header of {name!r} is {value!r}, not a number that says how long the data are. "
                "The file is damaged; copy it again."
            )
        numbers[key] = value
        return value

    bits = abs(number("BITPIX"))
    for key in ("NAXIS", "TFIELDS"):
        if number(key, 0) > MOST:
            raise DataFileError(
                f"{path}: {key} in the header of {name!r} is {numbers[key]}, more than the {MOST} that a FITS file can "
                "have. The file is damaged; copy it again."
            )
    axes = [number(f"NAXIS{k + 1}") for k in range(number("NAXIS"))]
    if not axes:
        return 0
    groups = axes[0] == 0 and header.get("GROUPS") is True
    size = 1
    for axis in axes[1:] if groups else axes:
        size *= axis
    return bits // 8 * number("GCOUNT", 1) * (number("PCOUNT", 0) + size)


def _pass_data(stream: _Stream, header: Any, name: str, total: _Sum) -> None:
    """Pass the data of a unit; compare their length and the checksums with what the header says."""
    size = _data_size(header, stream.path, name)
    padded = -(-size // BLOCK) * BLOCK
    wanted = {key: str(header[key]).strip() for key in ("CHECKSUM", "DATASUM") if str(header.get(key, "")).strip()}
    data = _Sum()
    left = padded
    while left:
        piece = stream.read(min(left, PIECE))
        if not piece or len(piece) % BLOCK:
            missing = left - len(piece)
            raise DataFileError(
                f"{stream.path}: extension {name!r} is cut, {missing} of {padded} bytes of its data are missing. The "
                "file is cut; copy it again."
            )
        left -= len(piece)
        if wanted:
            data.add(piece)
    if "DATASUM" in wanted and wanted["DATASUM"] != str(data.value) and not _both_zero(wanted["DATASUM"], data.value):
        _refuse_sum(stream.path, name, "DATASUM", f"{wanted['DATASUM']}, its data sum up to {data.value}")
    if "CHECKSUM" in wanted:
        whole = total.value + data.value
        whole = (whole & ALL_ONES) + (whole >> 32)
        if whole not in (0, ALL_ONES):
            _refuse_sum(stream.path, name, "CHECKSUM", repr(wanted["CHECKSUM"]))


def _both_zero(told: str, value: int) -> bool:
    """Whether two sums are the two zeros of ones' complement."""
    return value in (0, ALL_ONES) and told in ("0", str(ALL_ONES))


def _refuse_sum(path: Path, name: str, key: str, told: str) -> None:
    raise DataFileError(
        f"{path}: the checksum of extension {name!r} does not fit ({key} = {told}): the file was changed after it was "
        "written. Copy it again. If it was changed on purpose, or a program copied the checksums of the table that it "
        "read (astropy.table and gammapy do), make new ones: hdu.add_checksum() for each hdu of "
        "astropy.io.fits.open(path, mode='update')."
    )


def _pass_padding(stream: _Stream, name: str) -> None:
    """Pass what follows the last unit, zeros or blanks."""
    while piece := stream.read(PIECE):
        if piece.strip(b"\0 "):
            raise DataFileError(
                f"{stream.path} has bytes after extension {name!r} that are no complete extension. The file is "
                "damaged; copy it again."
            )
