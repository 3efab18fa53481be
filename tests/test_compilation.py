"""Machine code of kernels is never older than their sources, wherever it is kept."""

import ast
import importlib
import json
import os
import pkgutil
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import numba as nb
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import pymc_gamma
from pymc_gamma import compilation

PACKAGE = Path(pymc_gamma.__file__).parent

# What a kernel of each part gives, whether it came from the cache, and the warnings on the way.
PROBE = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import numpy as np
    from pymc_gamma.errors import PymcGammaWarning
    from pymc_gamma.folding.kernels import locate_bands
    from pymc_gamma.instrument.irfs.kernels import background_rate, field_positions

    nodes, rate = np.arange(3.0), np.zeros((3, 3, 3)); rate[2] = 1.0
    one, yes, index, out, lon, part = np.ones(1), np.ones(1, bool), np.empty(1, int), *np.empty((3, 1))
    background_rate(one, one, yes, np.array([1.75]), np.array([0.0, 2.0]), nodes, nodes, nodes, rate, out)
    edges, axis = np.array([-90.0, 90.0]), np.array([[0.0, 1.0, 0.0]])
    field_positions(axis, np.eye(3), edges, edges, np.ones((1, 1), bool), False, lon, one, yes)
    locate_bands(np.array([0.75]), 0.0, 1.0, np.zeros(3, int), np.zeros(3, int), index, part, index, index)
    kernels = (background_rate, field_positions, locate_bands)
    hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels)
    folder = background_rate.stats.cache_path
warned = [(str(one.message), one.filename) for one in caught if issubclass(one.category, PymcGammaWarning)]
print(json.dumps({"rate": float(np.log(out[0])), "lon": lon[0], "part": part[0], "hits": hits, "folder": folder,
                  "warned": warned}))
"""

LIKELIHOOD = """
import json, warnings, numpy as np, pymc as pm, pymc_gamma as pmg
from pymc_gamma.errors import PymcGammaWarning
rows = np.random.default_rng(1).normal(size=(3000, 3))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with pm.Model() as model:
        pmg.EventMixture("e", np.array([0.5, 0.3, 0.2]), log_likelihood=rows)
    found = float(model.compile_logp()({}))
warned = [one.filename for one in caught if issubclass(one.category, PymcGammaWarning)]
print(json.dumps([found, float(np.log(np.exp(rows) @ [0.5, 0.3, 0.2]).sum()), warned]))
"""

# Imports a file of kernels only after it was edited, and puts it back before the kernel is compiled.
PUT_BACK = """
import json, os
from pathlib import Path
import pymc_gamma.compilation as compilation
path = compilation._PACKAGE / "instrument" / "irfs" / "kernels.py"
source, status = path.read_bytes(), path.stat()
path.write_bytes(source.replace(b"DEG = math.pi / 180", b"DEG = math.pi / 200"))
import pymc_gamma.instrument.irfs.kernels
path.write_bytes(source)
os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
"""


class Copy:
    """A copy of the package with caches of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.package = folder / "pymc_gamma"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__", "data"))
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"},
            "PYTHONPATH": str(folder),
            "PYTENSOR_FLAGS": f"base_compiledir={folder / 'compiled'}",
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "home" / "cache"),
            "LOCALAPPDATA": str(folder / "home" / "cache"),
        }
        self._edits = 0

    def edit(self, file, old, new):
        path = self.package / file
        source = path.read_text(encoding="utf-8")
        assert source.count(old) == 1, f"{file} holds {old!r} {source.count(old)} times"
        path.write_text(source.replace(old, new), encoding="utf-8")
        # Python itself takes a source of the same size and second for the one it has compiled
        self._edits += 1
        os.utime(path, (2e9 + self._edits, 2e9 + self._edits))

    def start(self, script=PROBE):
        path = self.folder / "probe.py"
        path.write_text(script)
        return subprocess.Popen(
            [sys.executable, str(path)], env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, text=True
        )

    def run(self, script=PROBE):
        return answer(self.start(script))


def answer(process):
    output, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(output)


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def test_edited_sources_are_compiled_again(copy):
    first = copy.run()
    assert [first["rate"], first["lon"], first["part"]] == pytest.approx([0.75, 90.0, 0.75])
    assert copy.run()["hits"] == 3

    # a constant of the file of a kernel, a number in a kernel, a helper of another file that is inlined
    copy.edit("instrument/irfs/kernels.py", "DEG = math.pi / 180", "DEG = math.pi / 200")
    copy.edit("folding/kernels.py", "min(max(x - r, 0.0), 1.0)", "min(max(x - r, 0.0), 0.25)")
    copy.edit("search_kernels.py", "(nodes[k + 1] - nodes[k]), 0.0), 1.0)", "(nodes[k + 1] - nodes[k]), 0.0), 0.5)")
    second = copy.run()
    assert [second["rate"], second["lon"], second["part"]] == pytest.approx([0.5, 100.0, 0.25])
    # a constant that this helper takes from a file which no kernel names
    (copy.package / "bounds.py").write_text("TOP = 0.25\n")
    copy.edit("search_kernels.py", "0.0), 0.5)", "0.0), TOP)")
    copy.edit("search_kernels.py", "__all__ =", "from .bounds import (  # (\n    TOP,\n)\n\n__all__ =")
    assert copy.run()["rate"] == pytest.approx(0.25)
    copy.edit("bounds.py", "0.25", "0.125")
    last = copy.run()
    assert last["rate"] == pytest.approx(0.125)
    assert last["hits"] == 0
    # what no kernel uses changes nothing
    copy.edit("cli.py", "import argparse", "import argparse  # the same")
    assert copy.run() == {**last, "hits": 3}


def test_an_edited_layout_reaches_the_likelihood(copy):
    for block in (512, 256):
        value, right, warned = copy.run(LIKELIHOOD)
        assert value == pytest.approx(right, rel=1e-12)
        assert not warned
        copy.edit("ops/layout.py", f"BLOCK = {block}", "BLOCK = 256")


def test_sources_that_are_put_back_while_a_process_runs(copy):
    """What was compiled between is not kept under the key of what is there before and after."""
    edited = copy.run(PUT_BACK + PROBE)
    assert edited["lon"] == pytest.approx(100.0)
    after = copy.run()
    assert (after["lon"], after["hits"]) == (pytest.approx(90.0), 0)


@pytest.mark.parametrize("remove", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_bytecode_of_another_source_of_the_same_size_and_second(copy, remove):
    """Python runs it; its machine code must not outlive it."""
    copy.environment.pop("PYTHONDONTWRITEBYTECODE", None)
    copy.environment["NUMBA_CACHE_DIR"] = str(copy.folder / "named")
    assert copy.run()["lon"] == pytest.approx(90.0)
    assert copy.run()["hits"] == 3
    path = copy.package / "instrument" / "irfs" / "kernels.py"
    status, source = path.stat(), path.read_text(encoding="utf-8")
    path.write_text(source.replace("DEG = math.pi / 180", "DEG = math.pi / 200"), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    for _ in range(2):
        outdated = copy.run()
        assert (outdated["lon"], outdated["hits"]) == (pytest.approx(90.0), 0)  # Python's own old code
        ((message, filename),) = outdated["warned"]
        assert "kernels.cpython" in message
        assert filename == str(copy.folder / "probe.py")
    if remove:
        shutil.rmtree(path.parent / "__pycache__")
    else:
        path.touch()
    for hits in (0, 3):
        found = copy.run()
        assert (found["lon"], found["hits"], found["warned"]) == (pytest.approx(100.0), hits, [])


@pytest.mark.parametrize("mode", list(py_compile.PycInvalidationMode))
def test_what_python_runs(tmp_path, mode):
    """Bytecode that Python takes although it is of another source, in all its forms; and damaged bytecode."""
    path = tmp_path / "a.py"

    def outdated():
        return compilation._is_outdated(path, path.read_bytes())

    def runs():
        command = [sys.executable, "-c", "import a; print(a.x)"]
        return int(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=environment).stdout)

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    path.write_text("x = 1")
    os.utime(path, (2e9, 2e9))
    assert not outdated()
    compiled = Path(py_compile.compile(str(path), invalidation_mode=mode))
    assert (runs(), outdated()) == (1, False)
    path.write_text("x = 2")
    os.utime(path, (2e9, 2e9))
    assert (runs() == 1) == outdated() == (mode is not py_compile.PycInvalidationMode.CHECKED_HASH)
    os.utime(path, (2e9 + 1, 2e9 + 1))
    assert (runs() == 1) == outdated() == (mode is py_compile.PycInvalidationMode.UNCHECKED_HASH)
    path.write_text("x = 3  # longer")
    os.utime(path, (2e9, 2e9))
    assert (runs() == 1) == outdated() == (mode is py_compile.PycInvalidationMode.UNCHECKED_HASH)
    whole = compiled.read_bytes()
    for damaged in (b"", whole[:10], whole[:17], b"\0" + whole[1:]):
        compiled.write_bytes(damaged)
        assert not outdated()


@pytest.mark.parametrize("name", ["numba", "llvmlite", "numpy", "python"])
def test_the_key_holds_the_versions_of_what_compiles(tmp_path, monkeypatch, name):
    (tmp_path / "compilation.py").write_text("")
    before = compilation._Sources(tmp_path).key
    assert compilation._Sources(tmp_path).key == before
    module = sys if name == "python" else sys.modules[name]
    monkeypatch.setattr(module, "version" if name == "python" else "__version__", "0.0.1")
    assert compilation._Sources(tmp_path).key != before


def test_a_named_folder_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "~/xx")
    assert next(compilation._places()) == tmp_path / "xx" / "pymc_gamma"


def test_folders_in_order_and_one_warning_without_any(copy):
    in_package = copy.run()
    assert in_package["folder"].startswith(str(copy.package / "__pycache__"))
    assert not in_package["warned"]

    shutil.rmtree(copy.package / "__pycache__")
    (copy.package / "__pycache__").write_text("a file, where no folder can be made")
    of_user = copy.run()
    assert of_user["folder"].startswith(str(copy.folder / "home"))
    assert not of_user["warned"]
    assert copy.run()["hits"] == 3

    copy.environment["NUMBA_CACHE_DIR"] = str(copy.folder / "named")
    assert copy.run()["folder"].startswith(str(copy.folder / "named"))

    copy.environment["NUMBA_CACHE_DIR"] = str(copy.package / "__pycache__" / "nowhere")
    shutil.rmtree(copy.folder / "home")
    (copy.folder / "home").write_text("a file")
    for _ in range(2):
        nowhere = copy.run()
        assert (nowhere["rate"], nowhere["folder"], nowhere["hits"]) == (pytest.approx(0.75), None, 0)
        ((message, filename),) = nowhere["warned"]
        assert "NUMBA_CACHE_DIR" in message
        assert filename == str(copy.folder / "probe.py")
    # also where PyTensor is what calls the kernel
    assert copy.run(LIKELIHOOD)[2] == [str(copy.folder / "probe.py")]


def test_two_processes_and_damaged_files(copy):
    both = [copy.start(), copy.start()]
    assert [answer(one)["rate"] for one in both] == pytest.approx([0.75, 0.75])
    found = copy.run()
    assert found["hits"] == 3
    files = sorted(Path(found["folder"]).iterdir())
    assert not [path for path in files if ".tmp." in path.name]
    for path in files:
        path.write_bytes(path.read_bytes()[:-7])
    assert copy.run() == {**found, "hits": 0}
    assert copy.run() == found


def test_only_the_folders_used_last_are_kept(tmp_path):
    folders = [tmp_path / f"kernels-{k}" for k in range(7)]
    for k, folder in enumerate(folders):
        folder.mkdir()
        (folder / "code").write_text("x")
        os.utime(folder, (1000 + k, 1000 + k))
    os.utime(folders[0], (2000, 2000))
    (tmp_path / "other").mkdir()
    compilation._remove_old(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"other", "kernels-0", "kernels-4", "kernels-5", "kernels-6"}


def test_no_machine_code_of_sources_that_changed_while_they_ran(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    (package / "compilation.py").write_text("")
    (package / "kernels.py").write_text("from package.compilation import kernel")
    sources = compilation._Sources(package)
    assert len(sources.paths) == 2
    monkeypatch.setattr(compilation, "_sources", sources)
    monkeypatch.setattr(compilation, "_folder", lambda: tmp_path)
    before = compilation.cache_version()
    assert before == compilation.cache_version()

    def add(x):
        return x + 1

    assert compilation.kernel(add)(1) == 2
    assert compilation.kernel(add)(1) == 2
    written = sorted(tmp_path.glob("*.nb*"))
    assert len(written) == 2
    (package / "kernels.py").write_text("from package.compilation import kernel, cache_version")
    again = compilation.kernel(add)
    assert again(1) == 2
    assert again(1.0) == 2.0
    assert sum(again.stats.cache_hits.values()) == 0
    assert sorted(tmp_path.glob("*.nb*")) == written
    assert len({before, compilation.cache_version(), compilation.cache_version()}) == 3


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch):
    def full(self, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compilation, "_folder", lambda: tmp_path)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._save_data", full)
    compilation._warn.cache_clear()
    double = compilation.kernel(lambda x: 2 * x)
    with pytest.warns(pymc_gamma.errors.PymcGammaWarning, match="No space left"):
        assert double(2) == 4
    assert double(2.5) == 5.0  # once is enough: warnings are errors in this suite


def imported_files(path):
    """Files of the package that a file imports, from its syntax tree."""
    package = ("pymc_gamma", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            first, *parts = name.split(".")
            if first == "pymc_gamma" and parts:
                origin = PACKAGE.joinpath(*parts)
                yield from (one for one in (origin.with_suffix(".py"), origin / "__init__.py") if one.exists())


def test_all_that_kernels_are_compiled_from_is_in_the_key():
    sources = set(compilation._sources.paths)
    defining = set()
    for found in pkgutil.walk_packages([str(PACKAGE)], "pymc_gamma."):
        module = importlib.import_module(found.name)
        if any(isinstance(value, Dispatcher) for value in vars(module).values()):
            defining.add(Path(module.__file__))
    assert {path.parent.name for path in defining} >= {"folding", "irfs", "ops", "simulation"}
    assert defining <= sources
    for path in sources:
        assert set(imported_files(path)) <= sources, path


def test_a_kernel_does_not_take_over_how_its_caller_rearranges_sums():
    """PyTensor's own functions may drop ``(x + big) - big``, which rounds; numba lets what they call inherit this."""

    def rounded(x):
        return (x + 6755399441055744.0) - 6755399441055744.0

    kernel = compilation.kernel(rounded)
    kernel._cache.disable()  # its key does not hold the sources of tests
    for own, expected in ((kernel, 1.0), (nb.njit(rounded), 0.7)):
        assert nb.njit(lambda x, own=own: own(x), fastmath={"reassoc", "nsz"})(0.7) == expected


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("from .a import x", {"a.py"}),
        ("    from ..p.a import x  # inside a function", {"a.py"}),
        ("from p import a", {"a.py", "__init__.py"}),
        ("from p.a import (\n    x,  # )\n    y,\n)", {"a.py"}),
        ("from p import (  # )\n    b,\n    a as c,\n)", {"a.py", "b/__init__.py", "__init__.py"}),
        ("import p.a as z, p.b", {"a.py", "b/__init__.py"}),
        ("from . import a", {"a.py", "__init__.py"}),
        ("import numpy", set()),
        ("from q.a import x", set()),
    ],
)
def test_the_reader_of_imports(tmp_path, source, files):
    package = tmp_path / "p"
    (package / "b").mkdir(parents=True)
    for name in ("__init__.py", "a.py", "b/__init__.py"):
        (package / name).write_text("")
    sources = compilation._Sources(package)
    found = {path for path in sources._imported(package / "here.py", source.encode()) if path.exists()}
    assert found == {package / name for name in files}


def test_kernels_of_one_name_and_line_in_two_modules_are_two(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "_folder", lambda: tmp_path)
    results = []
    for module, value in (("one", 1.0), ("two", 2.0)):
        names = {"VALUE": value, "__name__": f"p.{module}.kernels"}
        exec(compile("def f():\n    return VALUE", f"{module}/kernels.py", "exec"), names)
        results.append(compilation.kernel(names["f"])())
    assert results == [1.0, 2.0]
    assert np.unique([path.name.split(".py")[0] for path in tmp_path.iterdir()]).size == 2
