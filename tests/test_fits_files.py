"""FITS files are whole, or the error says which is not, where, and what to do."""

import bz2
import gzip
import io
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import pymc_gamma as pmg
from pymc_gamma import fits_files
from pymc_gamma.errors import DataFileError, PymcGammaError
from pymc_gamma.fits_files import BLOCK, check_whole, open_fits, reading

PACK = {"fits": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
IRFS = pmg.datasets.path("prod5-south-20deg-50h")


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A file of three units with checksums: no data, a table of 700 rows, an image."""
    path = tmp_path_factory.mktemp("fits") / "whole.fits"
    numbers = np.random.default_rng(1).random(700)
    table = fits.BinTableHDU.from_columns([fits.Column("ENERGY", "D", unit="TeV", array=numbers)], name="EVENTS")
    image = fits.ImageHDU(np.arange(3000, dtype=np.int32).reshape(30, 100), name="MAP")
    fits.HDUList([fits.PrimaryHDU(), table, image]).writeto(path, checksum=True)
    return path.read_bytes()


def stored(tmp_path, content, how="fits"):
    path = tmp_path / f"file.{how}"
    path.write_bytes(PACK[how](content))
    return path


def start_of(content, name):
    """First byte of the data of an extension."""
    with fits.open(io.BytesIO(content)) as hdus:
        return hdus[name].fileinfo()["datLoc"]


@pytest.mark.parametrize("how", PACK)
@pytest.mark.parametrize("in_memory", [100, 2**26])
def test_whole_files_are_read(tmp_path, content, how, in_memory, monkeypatch):
    monkeypatch.setattr(fits_files, "IN_MEMORY", in_memory)
    path = stored(tmp_path, content, how)
    check_whole(path)
    with open_fits(path) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "EVENTS", "MAP"]
        np.testing.assert_array_equal(hdus["EVENTS"].data["ENERGY"], np.random.default_rng(1).random(700))
        np.testing.assert_array_equal(hdus["MAP"].data.ravel(), np.arange(3000))


@pytest.mark.parametrize("how", PACK)
def test_a_cut_anywhere_is_an_error(tmp_path, content, how):
    for end in range(1, len(content), 719):  # 719 is prime: every kind of place is met
        path = stored(tmp_path, content[:end], how)
        if end % BLOCK == 0 and end in unit_ends(content):
            check_whole(path)  # nothing in the file tells
            continue
        with pytest.raises(DataFileError, match=rf"(?i)file\.{how}.*copy it again"):
            check_whole(path)


def unit_ends(content):
    with fits.open(io.BytesIO(content)) as hdus:
        return [hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"] for hdu in hdus]


@pytest.mark.parametrize("how", ["gz", "bz2", "xz"])
def test_a_cut_or_changed_compression_is_an_error(tmp_path, content, how):
    packed = PACK[how](content)
    for changed in (packed[:-1], packed[: len(packed) // 2], packed[:20], flipped(packed, 4000)):
        path = tmp_path / f"file.{how}"
        path.write_bytes(changed)
        with pytest.raises(DataFileError, match=rf"(?i)file\.{how}.*copy it again"):
            check_whole(path)


def flipped(content, byte, bit=4):
    changed = bytearray(content)
    changed[byte] ^= 1 << bit
    return bytes(changed)


def test_one_bit_that_is_not_the_one_that_was_written_is_told(tmp_path, content):
    """Every bit of data and header is in a sum; astropy says nothing unless it is asked."""
    rng = np.random.default_rng(5)
    for byte, bit in zip(rng.integers(0, len(content), 300), rng.integers(0, 8, 300), strict=True):
        path = stored(tmp_path, flipped(content, byte, bit))
        with pytest.raises(DataFileError, match=r"file\.fits"):
            check_whole(path)


@pytest.mark.parametrize(("name", "key"), [("EVENTS", "DATASUM"), ("MAP", "DATASUM")])
def test_a_checksum_that_does_not_fit_names_the_extension(tmp_path, content, name, key):
    path = stored(tmp_path, flipped(content, start_of(content, name) + 11))
    with pytest.raises(DataFileError, match=rf"file\.fits: the checksum of extension '{name}' does not fit \({key}"):
        check_whole(path)


def test_a_changed_header_is_told_and_new_checksums_mend_it(tmp_path, content):
    path = stored(tmp_path, content.replace(b"TeV     ", b"GeV     "))
    with pytest.raises(DataFileError, match=r"'EVENTS' does not fit \(CHECKSUM.*hdu\.add_checksum\(\)"):
        check_whole(path)
    with fits.open(path, mode="update") as hdus:
        for hdu in hdus:
            hdu.add_checksum()
    check_whole(path)
    fits.setval(path, "DEADC", value=0.9, extname="EVENTS")  # what other errors advise
    check_whole(path)


def test_sums_agree_with_those_of_astropy(tmp_path):
    """Also of a table whose words add up to more than 2^32, and of empty data."""
    ones = fits.ImageHDU(np.full(5000, -1, dtype=np.int32), name="ONES")
    empty = fits.BinTableHDU.from_columns([fits.Column("X", "D", array=[])], name="EMPTY")
    path = tmp_path / "file.fits"
    fits.HDUList([fits.PrimaryHDU(), ones, empty]).writeto(path, checksum=True)
    check_whole(path)


def test_files_without_checksums_are_read(tmp_path, content):
    path = tmp_path / "file.fits"
    with fits.open(io.BytesIO(content)) as hdus:
        hdus.writeto(path, checksum="remove")
    assert b"CHECKSUM" not in path.read_bytes()
    check_whole(path)
    path.write_bytes(flipped(path.read_bytes(), start_of(path.read_bytes(), "MAP") + 11))
    check_whole(path)  # nothing in the file tells


@pytest.mark.parametrize("padding", [b"\0" * 7, b"\0" * BLOCK, b" " * 3 * BLOCK])
def test_padding_is_nothing(tmp_path, content, padding):
    check_whole(stored(tmp_path, content + padding))


@pytest.mark.parametrize("rest", [b"x" * 7, b"\0" * BLOCK + b"x", b"x" * BLOCK])
def test_bytes_that_belong_to_no_extension(tmp_path, content, rest):
    with pytest.raises(DataFileError, match=r"file\.fits .*'MAP'.*no complete extension"):
        check_whole(stored(tmp_path, content + rest))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"NAXIS2  =                  700", b"NAXIS2  =              7000000", "'EVENTS' is cut"),
        (b"NAXIS2  =                  700", b"NAXIS2  =                'abc'", "NAXIS2 in the header of 'EVENTS'"),
        (
            b"NAXIS2  =                  700",
            b"NAXIS2  =                   -7",
            "NAXIS2 in the header of 'EVENTS' is -7",
        ),
        (b"NAXIS2  ", b"NAXISX  ", "NAXIS2 in the header of 'EVENTS' is None"),
        (
            b"PCOUNT  =                    0",
            b"PCOUNT  =                    T",
            "PCOUNT in the header of 'EVENTS' is True",
        ),
        (b"XTENSION= 'BINTABLE'", b"XTENSIOM= 'BINTABLE'", "after 'PRIMARY'"),
        (b"SIMPLE  =", b"SIMPLF  =", "no FITS file"),
        (b"EXTNAME ", b"EXT\xff\xfeME ", "header of extension number 1 cannot be read"),
    ],
)
def test_headers_that_cannot_be_followed(tmp_path, content, old, new, told):
    assert old in content
    path = stored(tmp_path, content.replace(old, new, 1))
    with pytest.raises(DataFileError, match=rf"file\.fits.*{told}"):
        check_whole(path)


def test_what_is_no_file(tmp_path, monkeypatch):
    with pytest.raises(DataFileError, match=r"no file .*nothing\.fits; check the path"):
        check_whole(tmp_path / "nothing.fits")
    with pytest.raises(DataFileError, match="is a folder"):
        check_whole(tmp_path)
    (tmp_path / "empty.fits").touch()
    with pytest.raises(DataFileError, match=r"empty\.fits is empty"):
        check_whole(tmp_path / "empty.fits")

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)  # chmod does not stop the administrator
    with pytest.raises(DataFileError, match=r"empty\.fits cannot be opened.*Permission denied.*check the path and the"):
        check_whole(tmp_path / "empty.fits")


READERS = {
    "events": pmg.Events.read,
    "irfs": pmg.load_irfs,
    "catalogue": lambda path: pmg.HGPSCatalog(path=path),
    "template": lambda path: pmg.GalacticDiffuse(template=path),
}


@pytest.mark.parametrize("reader", [*READERS.values(), check_whole], ids=[*READERS, "check_whole"])
@pytest.mark.parametrize("name", ["a\0b.fits", "lone\ud800.fits"])
def test_names_that_no_file_can_have(reader, name):
    with pytest.raises(PymcGammaError):
        reader(name)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_checks(tmp_path, content, reader):
    path = stored(tmp_path, flipped(content, start_of(content, "MAP") + 11))
    with pytest.raises(DataFileError, match=r"file\.fits: the checksum of extension 'MAP'"):
        READERS[reader](path)
    for wrong in (tmp_path, tmp_path / "nothing.fits"):
        with pytest.raises(DataFileError, match=wrong.name):
            READERS[reader](wrong)


def test_a_flipped_bit_of_an_energy_is_no_other_energy(tmp_path):
    import astropy.units as u

    path = tmp_path / "events.fits"
    pmg.Events([2.0] * u.TeV, [0.0] * u.deg, [0.0] * u.deg, frame="galactic").write(path)
    written = path.read_bytes()
    two, four = (np.array([energy], dtype=">f8").tobytes() for energy in (2.0, 4.0))
    assert written.count(two) == 1
    path.write_bytes(written.replace(two, four))
    with pytest.raises(DataFileError, match=r"events\.fits: the checksum of extension 'EVENTS' does not fit"):
        pmg.Events.read(path)


def test_a_response_with_checksums_is_verified(tmp_path):
    path = tmp_path / "irfs.fits"
    with open_fits(IRFS) as hdus:
        hdus.writeto(path, checksum=True)
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, start_of(whole, "POINT SPREAD FUNCTION") + 200))
    with pytest.raises(DataFileError, match=r"irfs\.fits: the checksum of extension 'POINT SPREAD FUNCTION'"):
        pmg.load_irfs(path)


INFLATED = """
import resource, sys
from pymc_gamma import Events
from pymc_gamma.errors import DataFileError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Events.read(sys.argv[1])
except DataFileError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_small_file_that_inflates_is_refused_in_little_memory(tmp_path):
    """2 GB of zeros behind a valid header, in 2 MB."""
    rows = 2**31 // 8
    header = fits.BinTableHDU.from_columns([fits.Column("ENERGY", "D", unit="TeV", array=[1.0])], name="EVENTS").header
    header["NAXIS2"] = rows
    path = tmp_path / "bomb.fits.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(fits.PrimaryHDU().header.tostring().encode() + header.tostring().encode())
        for _ in range(2**31 // 2**24):
            file.write(bytes(2**24))
    assert path.stat().st_size < 2**24
    found = subprocess.run([sys.executable, "-c", INFLATED, path], capture_output=True, text=True, check=True)
    told, grown = found.stdout.strip().rsplit("\n", 1)
    assert "bomb.fits.gz is compressed to less than 1/100 of its size" in told
    assert "gunzip" in told
    assert int(grown) < 300, "MiB"


def test_errors_of_this_package_pass_and_others_name_the_file():
    with pytest.raises(pmg.errors.EventError, match=r"^mine$"), reading("file.fits", "a map"):
        raise pmg.errors.EventError("mine")
    told = r"file\.fits is not a map, or is damaged \(ZeroDivisionError: "
    with pytest.raises(DataFileError, match=told), reading("file.fits", "a map"):
        1 / 0  # noqa: B018
