"""Bundled files, the registry, the search for a file, and what happens when it is not there."""

import gzip
import hashlib
import importlib.util
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pooch
import pytest

from pymc_gamma import datasets
from pymc_gamma.datasets import access
from pymc_gamma.errors import DataFileError

BUNDLED = ("prod5-south-20deg-50h", "hgps-sources", "fermi-diffuse-template", "pppc4dmid-gammas", "hess-dl3-dr1-crab")
HESS = "hess-dl3-dr1-crab"
FLARE = "hess-dl3-dr1-pks-2155-304-flare"
REMOTE = "prod5-north-40deg-5h"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, no mirror, no network."""
    folder = tmp_path / "cache"

    def offline(url, **_):
        raise OSError(f"no route to {url}")

    monkeypatch.delenv(datasets.MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(access, "cache_folder", lambda: folder)
    monkeypatch.setattr(pooch, "retrieve", offline)
    return folder


@pytest.fixture
def mirror(monkeypatch, tmp_path, cache):
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv(datasets.MIRROR_VARIABLE, str(folder))
    return folder


def register(monkeypatch, dataset):
    monkeypatch.setattr(access, "REGISTRY", {**datasets.REGISTRY, dataset.name: dataset})


def tar_bytes(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(f"./{name}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def with_archive(monkeypatch, content=b"irfs"):
    """Register a stand-in for a remote data set; returns it with the bytes of its archive."""
    known = datasets.info(REMOTE)
    archive = tar_bytes(known.file_name, content)
    sha256 = hashlib.sha256(archive).hexdigest()
    dataset = replace(known, archive=replace(known.archive, sha256=sha256))
    register(monkeypatch, dataset)
    return dataset, archive


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files_are_intact_and_need_no_network(name, cache):
    path = datasets.fetch(name)
    assert path == datasets.path(name)
    dataset = datasets.info(name)
    expected = {path / member: sha256 for member, sha256 in dataset.members.items()} or {path: dataset.sha256}
    assert {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in expected} == expected


def test_every_bundled_file_has_its_terms():
    folder = datasets.path("hgps-sources").parent
    terms = (folder / "LICENSES.md").read_text(encoding="utf-8")
    files = {path.name for path in folder.iterdir() if path.suffix != ".md"}
    assert files == {datasets.info(name).file_name for name in BUNDLED}
    for name in BUNDLED:
        assert f"## {datasets.info(name).file_name}" in terms
        assert datasets.citation(name).doi in terms
        assert datasets.citation(name).terms


def test_bundled_irfs_hold_every_table():
    from astropy.io import fits

    with fits.open(datasets.path("prod5-south-20deg-50h")) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == [
            "EFFECTIVE AREA",
            "POINT SPREAD FUNCTION",
            "ENERGY DISPERSION",
            "BACKGROUND",
        ]
        assert hdus["BACKGROUND"].header["HDUCLAS4"] == "BKG_3D"


def test_folder_holds_its_members_and_nothing_else():
    folder = datasets.path(HESS)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == set(datasets.info(HESS).members)


def test_terms_of_the_owner_travel_with_the_runs():
    own = " ".join((datasets.path(HESS) / "README.txt").read_text(encoding="utf-8").split())
    terms = datasets.citation(HESS).terms
    for sentence in (
        "No scientific publications may be derived from the data",
        "sing the data for new claims about the astrophysical sources is not permitted",
        "This work made use of data from the H.E.S.S. DL3 public test data release 1",
    ):
        assert sentence in own
        assert sentence in terms


def test_folder_without_a_member_is_refused(monkeypatch, cache):
    known = datasets.info(HESS)
    register(monkeypatch, replace(known, members={**known.members, "data/absent.fits.gz": "0"}))
    with pytest.raises(DataFileError, match=r"absent\.fits\.gz is missing from the installation"):
        datasets.path(HESS)


def test_bundled_runs_are_read_by_gammapy():
    """Every table of every run, compared with the raw files; no warning is raised."""
    from astropy.io import fits
    from gammapy.data import DataStore

    folder = datasets.path(HESS)
    runs = DataStore.from_dir(folder).get_observations()
    assert [run.obs_id for run in runs] == [23523, 23526, 23559, 23592]
    for run in runs:
        with fits.open(folder / "data" / f"hess_dl3_dr1_obs_id_{run.obs_id:06d}.fits.gz") as hdus:
            energy = hdus["EVENTS"].data["ENERGY"]
            assert run.events.energy.to_value("TeV").tolist() == energy.tolist()
            assert run.observation_live_time_duration.to_value("s") == pytest.approx(hdus["EVENTS"].header["LIVETIME"])
            assert run.aeff.meta["LO_THRES"] == hdus["AEFF"].header["LO_THRES"]
            assert run.bkg.data.shape == (20, 50, 50)
            assert run.psf is not None
            assert run.edisp is not None


def test_names_and_table_agree():
    table = datasets.available()
    assert tuple(table["name"]) == datasets.names()
    assert len(set(datasets.names())) == len(table) == 5 + 5 + (18 * 9 - 1) + 9
    assert tuple(table["name"][table["bundled"]]) == BUNDLED
    assert all(table["cite"])
    assert "prod3b-south-20deg-50h" in datasets.names()


def test_archive_names_follow_the_release():
    lst = datasets.info("prod5-north-lst-60deg-0.5h-south-az")
    assert lst.file_name == "Prod5-North-60deg-SouthAz-4LSTs.1800s-v0.1.fits.gz"
    assert lst.archive.file_name == "CTA-Performance-prod5-v0.1-North-LSTSubArray-60deg.FITS.tar.gz"


def test_unknown_name_suggests_a_near_one():
    with pytest.raises(DataFileError, match=r"no data set named 'prod5-south-20deg-50'.*'prod5-south-20deg-50h'"):
        datasets.fetch("prod5-south-20deg-50")


@pytest.mark.parametrize("name", [REMOTE, FLARE, "hgps-catalog", "dark-matter-spectra", "prod3b-south-20deg-50h"])
def test_missing_and_offline_says_what_to_do(name, cache):
    dataset = datasets.info(name)
    for access_function in (datasets.fetch, datasets.path):
        with pytest.raises(DataFileError) as caught:
            access_function(name)
        for part in (name, dataset.file_name, dataset.home, str(cache), datasets.MIRROR_VARIABLE):
            assert part in str(caught.value)


def test_mirror_is_searched_at_any_depth_and_verified(monkeypatch, mirror):
    content = b"catalogue"
    sha256 = hashlib.sha256(content).hexdigest()
    register(monkeypatch, replace(datasets.info("hgps-catalog"), sha256=sha256))
    (mirror / "deep" / "er").mkdir(parents=True)
    file = mirror / "deep" / "er" / "hgps_catalog_v1.fits.gz"
    file.write_bytes(content)
    assert datasets.path("hgps-catalog") == file
    file.write_bytes(b"truncated")
    with pytest.raises(DataFileError, match=r"hgps_catalog_v1\.fits\.gz is damaged"):
        datasets.path("hgps-catalog")


def test_mirror_that_is_no_folder(monkeypatch, cache):
    monkeypatch.setenv(datasets.MIRROR_VARIABLE, "/no/such/folder")
    with pytest.raises(DataFileError, match="PYMC_GAMMA_DATA names '/no/such/folder'"):
        datasets.path("hgps-catalog")


def test_archive_in_the_mirror_is_unpacked_into_the_cache(monkeypatch, mirror, cache):
    dataset, archive = with_archive(monkeypatch)
    (mirror / dataset.archive.file_name).write_bytes(archive)
    path = datasets.path(REMOTE)
    assert path == cache / dataset.file_name
    assert path.read_bytes() == b"irfs"
    (mirror / dataset.archive.file_name).unlink()
    assert datasets.path(REMOTE) == path


def test_damaged_archive_is_refused(monkeypatch, mirror):
    dataset, archive = with_archive(monkeypatch)
    (mirror / dataset.archive.file_name).write_bytes(archive[:-10])
    with pytest.raises(DataFileError, match="is damaged or another version"):
        datasets.path(REMOTE)


def test_archive_without_the_file(monkeypatch, mirror):
    known = datasets.info(REMOTE)
    archive = tar_bytes("something-else.fits.gz", b"")
    sha256 = hashlib.sha256(archive).hexdigest()
    register(monkeypatch, replace(known, archive=replace(known.archive, sha256=sha256)))
    (mirror / known.archive.file_name).write_bytes(archive)
    with pytest.raises(DataFileError, match=f"does not hold {known.file_name}"):
        datasets.path(REMOTE)


def test_download_of_an_archive_in_a_container(monkeypatch, cache):
    dataset, archive = with_archive(monkeypatch)
    asked = []

    def retrieve(url, *, known_hash, fname, path):
        asked.append((url, known_hash))
        path.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path / fname, "w") as container:
            container.writestr(f"fits/{dataset.archive.file_name}", archive)
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert datasets.fetch(REMOTE).read_bytes() == b"irfs"
    assert datasets.fetch(REMOTE).read_bytes() == b"irfs"
    assert asked == [(dataset.archive.container_url, None)]


def test_downloaded_archive_is_verified(monkeypatch, cache):
    dataset = datasets.info(REMOTE)

    def retrieve(url, *, known_hash, fname, path):
        path.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path / fname, "w") as container:
            container.writestr(f"fits/{dataset.archive.file_name}", b"forged")
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(DataFileError, match="is damaged or another version"):
        datasets.fetch(REMOTE)


def test_direct_download_passes_the_checksum_on(monkeypatch, cache):
    asked = {}

    def retrieve(url, **kwargs):
        asked.update(kwargs, url=url)
        raise ValueError("hash of downloaded file does not match")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(DataFileError, match=r"downloading https://.*does not match"):
        datasets.fetch("hgps-catalog")
    assert asked["known_hash"] == f"sha256:{datasets.info('hgps-catalog').sha256}"
    assert asked["path"] == cache


def small_folder(monkeypatch):
    """Register a stand-in for the runs of the flare; returns it with its files."""
    contents = {"README.txt": b"terms", "obs-index.fits.gz": b"any", "data/run.fits.gz": b"run"}
    sums = {member: hashlib.sha256(content).hexdigest() for member, content in contents.items()}
    dataset = replace(datasets.info(FLARE), members={**sums, "obs-index.fits.gz": None})
    register(monkeypatch, dataset)
    return dataset, contents


def write_all(folder, contents):
    for member, content in contents.items():
        (folder / member).parent.mkdir(parents=True, exist_ok=True)
        (folder / member).write_bytes(content)


@pytest.mark.parametrize("place", ["deep/er/hess-dl3-dr1", "hess-dl3-dr1"])
def test_folder_in_the_mirror_is_found_and_verified(place, monkeypatch, mirror):
    _, contents = small_folder(monkeypatch)
    write_all(mirror / "another" / "hess-dl3-dr1", {"README.txt": b"terms"})  # not all of it: passed by
    write_all(mirror / place, contents)
    assert datasets.path(FLARE) == datasets.fetch(FLARE) == mirror / place
    monkeypatch.setenv(datasets.MIRROR_VARIABLE, str(mirror / place))
    assert datasets.path(FLARE) == mirror / place
    (mirror / place / "obs-index.fits.gz").write_bytes(b"an index of more runs")
    assert datasets.path(FLARE) == mirror / place
    (mirror / place / "data" / "run.fits.gz").write_bytes(b"cut")
    with pytest.raises(DataFileError, match=r"run\.fits\.gz is damaged or another version"):
        datasets.path(FLARE)


def test_folder_is_downloaded_file_by_file(monkeypatch, cache):
    dataset, contents = small_folder(monkeypatch)
    asked, dead = [], [True]

    def retrieve(url, *, known_hash, fname, path):
        member = (path / fname).relative_to(cache / "hess-dl3-dr1").as_posix()
        assert url == f"{dataset.url}/{member}"
        sha256 = dataset.members[member]
        assert known_hash == (sha256 and f"sha256:{sha256}")
        if dead and len(asked) == 2:
            raise OSError("the line went dead")
        asked.append(member)
        write_all(cache / "hess-dl3-dr1", {member: contents[member]})
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(DataFileError, match=r"run\.fits\.gz failed \(the line went dead\)"):
        datasets.fetch(FLARE)
    with pytest.raises(DataFileError, match="not on this machine"):
        datasets.path(FLARE)
    dead.clear()
    assert datasets.fetch(FLARE) == datasets.path(FLARE) == cache / "hess-dl3-dr1"


def test_runs_of_the_flare_are_those_that_the_index_names():
    """Needs the release, in the mirror of the developer."""
    index = official("hess_dl3_dr1_obs_id_033787.fits.gz").parents[1]
    from gammapy.data import DataStore

    assert datasets.path(FLARE) == index
    table = DataStore.from_dir(index).obs_table
    named = [int(run) for run in table["OBS_ID"][table["OBJECT"] == "PKS 2155-304"] if 33787 <= run <= 33801]
    assert [f"data/hess_dl3_dr1_obs_id_{run:06d}.fits.gz" for run in named] == list(datasets.info(FLARE).members)[3:]


def test_citation_needs_a_text():
    with pytest.raises(ValueError, match="needs a text"):
        datasets.Citation(" ")
    assert str(datasets.Citation("A", doi="10.1/2", arxiv="1.2")) == "A, doi:10.1/2, arXiv:1.2"


def official(name):
    """An official file in the mirror of the developer, or a skipped test."""
    if not os.environ.get(datasets.MIRROR_VARIABLE):
        pytest.skip(f"needs official files: set {datasets.MIRROR_VARIABLE} to a folder that holds them")
    found = list(Path(os.environ[datasets.MIRROR_VARIABLE]).rglob(name))
    if not found:
        pytest.skip(f"needs the official file {name}")
    return found[0]


def make_datasets():
    """The script that makes the bundled files."""
    script = Path(__file__).parents[1] / "scripts" / "make_datasets.py"
    if not script.is_file():
        pytest.skip("the scripts are not part of an installation")
    specification = importlib.util.spec_from_file_location("make_datasets", script)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_shipped_runs_are_reproducible(tmp_path):
    index = official("hess_dl3_dr1_obs_id_020136.fits.gz")  # a run that is not shipped: the whole release
    made = make_datasets().make_hess(index.parents[1], tmp_path)
    shipped = datasets.path(HESS)
    for member in datasets.info(HESS).members:
        here, there = (made / member).read_bytes(), (shipped / member).read_bytes()
        if "index" in member:  # the compressed bytes depend on the version of zlib
            here, there = gzip.decompress(here), gzip.decompress(there)
        assert here == there


@pytest.mark.parametrize(
    ("maker", "source", "name"),
    [
        ("make_irfs", "CTA-Performance-prod5-v0.1-South-20deg.FITS.tar.gz", "prod5-south-20deg-50h"),
        ("make_hgps", "hgps_catalog_v1.fits.gz", "hgps-sources"),
        ("make_fermi", "gll_iem_v06_gc.fits.gz", "fermi-diffuse-template"),
    ],
)
def test_shipped_files_are_reproducible(maker, source, name, tmp_path):
    made = getattr(make_datasets(), maker)(official(source), tmp_path).read_bytes()
    shipped = datasets.path(name).read_bytes()
    if maker == "make_fermi":  # the compressed bytes depend on the version of zlib
        made, shipped = gzip.decompress(made), gzip.decompress(shipped)
    assert made == shipped


def test_shipped_spectra_of_dark_matter_are_reproducible(tmp_path):
    made = make_datasets().make_pppc(official("AtProduction_gammas.dat"), tmp_path)
    with np.load(made) as here, np.load(datasets.path("pppc4dmid-gammas")) as there:
        assert here.files == there.files
        for key in here.files:
            np.testing.assert_array_equal(here[key], there[key])


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_file_that_was_changed_is_refused(name, monkeypatch, tmp_path, cache):
    """One bit, of the last file of the data set; a reader does not see it."""
    dataset = datasets.info(name)
    original = datasets.path(name)
    for member in dataset.members or [""]:
        copy = tmp_path / "data" / dataset.file_name / member
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((original / member).read_bytes())
    monkeypatch.setattr(access, "files", lambda _: tmp_path)
    assert datasets.path(name) == tmp_path / "data" / dataset.file_name
    changed = bytearray(copy.read_bytes())
    changed[len(changed) // 2] ^= 1
    copy.write_bytes(changed)
    for find in (datasets.path, datasets.fetch):
        with pytest.raises(DataFileError, match=rf"{copy.name} of the installation is damaged or was changed; reinst"):
            find(name)
