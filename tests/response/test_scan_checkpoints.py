"""Nodes of a scan that are kept: after a failure or a kill, damaged, of another scan, in folders of all kinds."""

import errno
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.datasets import Citation
from pymc_gamma.errors import FolderInUseError, PymcGammaWarning, ResponseMismatchError, SkyModelError
from pymc_gamma.files import LOCK_NAME, locked_folder
from pymc_gamma.locks import Lock
from pymc_gamma.response import scan_nodes

SIGMA = [0.1, 0.15, 0.2, 0.25]
SPECTRUM = "TeV-1 cm-2 s-1"


class Factory:
    """Gaussians, or shells as templates; notes at which values it is called, and fails at some."""

    def __init__(self, fails=(), index=2.2, template=False):
        self.calls, self.fails, self.index, self.template = [], fails, index, template

    def __call__(self, sigma):
        from gammapy.modeling.models import PowerLawSpectralModel, ShellSpatialModel

        value = float(sigma.to_value("deg"))
        self.calls.append(round(value, 6))
        if value in self.fails:
            raise OSError("the network is down")
        if self.template:
            place = {"lon_0": "0.1 deg", "lat_0": "0.05 deg", "frame": "galactic"}
            return pmg.SkySource(
                "shell",
                ShellSpatialModel(radius=sigma, width="0.1 deg", **place),
                PowerLawSpectralModel(index=self.index, amplitude=f"1e-11 {SPECTRUM}"),
                [Citation(f"A shell of {value}", doi="10.1000/182")],
            )
        return source("gaussian", 0.1, 0.05, sigma=value, index=self.index, amplitude=1e-11)


def scanned(factory, folder, nodes=SIGMA, name="rxj", parameter_unit=u.deg):
    nodes = (nodes * u.deg).to(parameter_unit)
    return pmg.Scanned(name, factory, nodes={"sigma": nodes}, checkpoint_folder=folder)


def folded(scan, observation=None, width=1.6, **options):
    observation = pointing(hours=5) if observation is None else observation
    sky = [scan, pmg.CosmicRayBackground()]
    return pmg.fold(sky, observation, region(width=width, energy=(1.0, 50.0)), progressbar=False, **options)


def content(folder):
    """Files by name, but for hidden leftovers of a writer that was killed."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if not path.name.startswith(".")}


def assert_same(one, other):
    """Two responses are of the same inputs, bit for bit."""
    assert one.fingerprint() == other.fingerprint()
    np.testing.assert_array_equal(one.scans["rxj"].acceptance, other.scans["rxj"].acceptance)
    rows = np.array([[2.0, 0.1, 0.05], [5.0, 0.2, -0.1]])
    np.testing.assert_array_equal(one.scans["rxj"].log_densities(rows), other.scans["rxj"].log_densities(rows))


@pytest.mark.parametrize("template", [False, True])
def test_a_factory_that_fails_at_the_third_node(template, tmp_path):
    folder = tmp_path / "new" / "nodes"
    failing = Factory(fails=[0.2], template=template)
    with pytest.raises(SkyModelError, match=r"'rxj', sigma = 0.2 deg: the factory failed: OSError: the network is"):
        folded(scanned(failing, folder))
    assert failing.calls == [0.1, 0.1, 0.15, 0.2]  # the first one tells whether it works
    assert sorted(content(folder)) == ["sigma=0.1.npz", "sigma=0.15.npz"]
    working = Factory(template=template)
    resumed = folded(scanned(working, folder))
    assert working.calls == [0.2, 0.25]
    assert sorted(content(folder)) == [f"sigma={one}.npz" for one in SIGMA]
    undisturbed = folded(scanned(Factory(template=template), None))
    assert_same(resumed, undisturbed)
    assert resumed.citations() == undisturbed.citations()
    if template:
        assert "A shell of 0.1" in str(resumed.citations())
        assert "A shell of 0.25" in str(resumed.citations())
    again = Factory()
    assert_same(folded(scanned(again, folder)), undisturbed)
    assert again.calls == []


def test_each_node_is_asked_for_once():
    factory = Factory()
    folded(scanned(factory, None))
    assert factory.calls == [0.1, *SIGMA]


def test_a_node_that_cannot_be_compiled(tmp_path, monkeypatch):
    """What was made beside it is kept."""
    compiled = scan_nodes.compile_component

    def at_most(component, field):
        if component.parts(field.roi)[0].shape.sigma > 0.2:
            raise SkyModelError("too large")
        return compiled(component, field)

    monkeypatch.setattr(scan_nodes, "compile_component", at_most)
    with pytest.raises(SkyModelError, match=r"Scanned\(name='rxj'.*, sigma = 0.25 deg: too large"):
        folded(scanned(Factory(), tmp_path))
    monkeypatch.undo()
    assert sorted(content(tmp_path)) == ["sigma=0.1.npz", "sigma=0.15.npz", "sigma=0.2.npz"]
    factory = Factory()
    folded(scanned(factory, tmp_path))
    assert factory.calls == [0.25]


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from test_scan_checkpoints import Factory, folded, scanned

folder = Path(sys.argv[1])

class Killed(Factory):
    def __call__(self, sigma):
        if sigma.value == 0.2:
            while len(list(folder.glob("*.npz"))) < 2:  # the others are compiled meanwhile
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(sigma)

folded(scanned(Killed(), folder))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills itself")
def test_a_run_that_is_killed_at_the_third_node(tmp_path):
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert (tmp_path / LOCK_NAME).exists()
    factory = Factory()
    resumed = folded(scanned(factory, tmp_path))
    assert factory.calls == [0.2, 0.25]
    assert sorted(content(tmp_path)) == [f"sigma={one}.npz" for one in SIGMA]
    assert_same(resumed, folded(scanned(Factory(), None)))


def test_nodes_added_to_a_grid(tmp_path):
    folded(scanned(Factory(), tmp_path, nodes=[0.1, 0.2, 0.3]))
    finer = Factory()
    response = folded(scanned(finer, tmp_path, nodes=[0.1, 0.15, 0.2, 0.25, 0.3]))
    assert finer.calls == [0.15, 0.25]
    assert_same(response, folded(scanned(Factory(), None, nodes=[0.1, 0.15, 0.2, 0.25, 0.3])))


def test_two_parameters_and_numbers_without_a_unit(tmp_path):
    calls = []

    def factory(index, sigma):
        calls.append((index, sigma))
        return source("gaussian", 0.1, 0.05, sigma=sigma, index=index, amplitude=1e-11)

    nodes = {"index": [2.0, 2.5], "sigma": [0.1, 0.2]}
    made = folded(pmg.Scanned("rxj", factory, nodes, checkpoint_folder=tmp_path))
    assert {"index=2.5,sigma=0.1.npz", "index=2.0,sigma=0.2.npz"} < set(content(tmp_path))
    (tmp_path / "index=2.5,sigma=0.1.npz").unlink()
    calls.clear()
    resumed = folded(pmg.Scanned("rxj", factory, nodes, checkpoint_folder=tmp_path))
    assert calls == [(2.5, 0.1)]
    assert_same(resumed, made)


def test_other_observations_of_the_same_instrument(tmp_path):
    """Nodes depend on the region and on what the IRFs blur, not on pointings and live times."""
    folded(scanned(Factory(), tmp_path))
    factory, observations = Factory(), [pointing(0.3, 0.0, hours=2), pointing(-0.3, 0.1, hours=3)]
    resumed = folded(scanned(factory, tmp_path), observations)
    assert factory.calls == []
    np.testing.assert_array_equal(
        resumed.scans["rxj"].acceptance, folded(scanned(Factory(), None), observations).scans["rxj"].acceptance
    )


@pytest.mark.parametrize(
    ("scan", "options", "told"),
    [
        ({"name": "vela"}, {}, "name"),
        ({"parameter_unit": u.arcmin}, {}, "parameters and their units"),
        ({}, {"width": 1.4}, "region of interest"),
        ({}, {"energy_true": 60}, "true-energy bins"),
        ({}, {"pixel": 0.01 * u.deg}, "pixel of templates"),
        ({"name": "vela", "nodes": [0.3, 0.4]}, {}, "name"),  # other values, other files
    ],
)
def test_a_folder_of_another_scan(scan, options, told, tmp_path):
    folded(scanned(Factory(), tmp_path))
    before, factory = content(tmp_path), Factory()
    with pytest.raises(ResponseMismatchError, match=rf"differing: {told}\. Give another checkpoint_folder, or delete"):
        folded(scanned(factory, tmp_path, **scan), **options)
    assert factory.calls == []
    assert content(tmp_path) == before


def test_what_a_factory_does_is_not_compared(tmp_path):
    """As the documentation says."""
    first = folded(scanned(Factory(index=2.2), tmp_path))
    assert_same(folded(scanned(Factory(index=3.0), tmp_path)), first)


def test_damaged_nodes_are_made_again(tmp_path):
    undisturbed = folded(scanned(Factory(), tmp_path))
    whole = (tmp_path / "sigma=0.15.npz").read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not an archive", whole[:1000] + b"????" + whole[1004:]):
        (tmp_path / "sigma=0.15.npz").write_bytes(damaged)
        factory = Factory()
        with pytest.warns(PymcGammaWarning, match=r"sigma=0.15.npz cannot be read .*; this node is made again"):
            response = folded(scanned(factory, tmp_path))
        assert factory.calls == [0.15]
        assert_same(response, undisturbed)
        assert (tmp_path / "sigma=0.15.npz").read_bytes() == whole


def test_any_flipped_bit_is_found_or_means_nothing(tmp_path, rng):
    undisturbed = folded(scanned(Factory(), tmp_path))
    scan = scanned(Factory(), tmp_path)
    field = undisturbed._fold.scans[0].field
    files = scan_nodes.NodeFiles(tmp_path, scan, field)
    meta, arrays = files.read([1])[1].component.to_arrays()
    path = files.path(1)
    whole = bytearray(path.read_bytes())
    lost = 0
    for place in rng.choice(len(whole), 400, replace=False):
        spoiled = whole.copy()
        spoiled[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        found = files.read([1], warn=False)
        lost += not found
        for node in found.values():
            other_meta, others = node.component.to_arrays()
            assert other_meta == meta
            for key, values in arrays.items():
                np.testing.assert_array_equal(others[key], values)
    assert lost > 300


def test_no_code_of_a_file_is_run(tmp_path):
    folded(scanned(Factory(), tmp_path))
    path = tmp_path / "sigma=0.15.npz"
    with np.load(path) as file:
        tables = {key: file[key] for key in file.files}
    tables["component/sources_flux"] = np.array([print], dtype=object)
    np.savez(path, **tables)
    with pytest.warns(PymcGammaWarning, match="allow_pickle=False"):
        folded(scanned(Factory(), tmp_path))


def test_files_of_the_user_stay(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.arange(3))
    (tmp_path / "notes.txt").write_text("mine")
    before = content(tmp_path)
    folded(scanned(Factory(), tmp_path))
    assert before.items() <= content(tmp_path).items()
    assert set(content(tmp_path)) - set(before) == {f"sigma={one}.npz" for one in SIGMA}


def test_two_runs_at_once(tmp_path):
    factory = Factory()
    scan = scanned(factory, tmp_path)
    with locked_folder(tmp_path), pytest.raises(FolderInUseError, match="another run is writing into"):
        folded(scan)
    assert factory.calls == [0.1]
    folded(scan)
    with locked_folder(tmp_path):  # nothing to be made
        folded(scan)


def test_a_read_only_folder(tmp_path, monkeypatch):
    """One that has all nodes is read; where some are missing no factory is called in vain."""
    folded(scanned(Factory(), tmp_path))

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Lock, "take", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    factory = Factory()
    folded(scanned(factory, tmp_path))
    with pytest.raises(OSError, match="cannot be written: Read-only file system"):
        folded(scanned(factory, tmp_path, nodes=[0.1, 0.3]))
    assert factory.calls == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    factory = Factory()
    scan = scanned(factory, tmp_path / "file")
    with pytest.raises(OSError, match="cannot be written"):
        folded(scan)
    assert factory.calls == [0.1]
    with pytest.raises(TypeError, match="checkpoint_folder must be a string or a path, got int 3"):
        scanned(factory, 3)


def test_the_bar_goes_on_where_it_was(tmp_path, monkeypatch):
    folded(scanned(Factory(), tmp_path, nodes=[0.1, 0.2]))
    seen = []
    monkeypatch.setattr(
        scan_nodes.Progress, "add_task", lambda self, label, *, total, completed: seen.append((total, completed)) or 0
    )
    monkeypatch.setattr(scan_nodes.Progress, "advance", lambda self, bar: seen.append("one more"))
    sky = [scanned(Factory(), tmp_path), pmg.CosmicRayBackground()]
    pmg.fold(sky, pointing(hours=5), region(width=1.6, energy=(1.0, 50.0)))
    assert seen == [(4, 2), "one more", "one more"]


def test_archives_are_what_others_can_read(tmp_path):
    folded(scanned(Factory(), tmp_path))
    with zipfile.ZipFile(tmp_path / "sigma=0.1.npz") as archive:
        assert archive.testzip() is None
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
