"""Mutation testing of the core: small changes of the code that the tests should notice.

    scripts/mutants.py --sample 300 --seed 1          a random sample of all mutants
    scripts/mutants.py --only folding/kernels         all mutants of the files whose path holds this
    scripts/mutants.py --list                         count the mutants, run nothing

A mutant is one change of one place: an operator, a comparison, a boundary, a constant, a condition, a returned value
(:class:`Mutator`). It is killed when a test fails, when the mutated file can no longer be imported, or when the tests
do not end; whatever else goes wrong says nothing about the tests (:func:`outcome`). Each runs in a copy of the tree, in
a process forked from one that has imported the other packages already, the fastest tests first, up to the first that
fails. Files of compiled kernels run in plain Python (``NUMBA_DISABLE_JIT``): to compile each mutant would take twenty
seconds, and numba's cache does not know of mutants in what a kernel inlines.

Not mutated: messages of errors, annotations, decorators, docstrings, and settings, that is literals given to a name at
the top of a module, such as the size of a pixel: a test of those would only repeat them.

Results are lines of JSON, one for each mutant, and hold for the file and its tests as they were: a run that was stopped
goes on where it was, and after a change of the file or of its tests the mutants of the file run again.
mutmut 3 leaves out decorated functions, all kernels, and cosmic-ray starts an interpreter for each of its mutants (8695
for the kernels of the fold alone), in the working tree itself; hence this script.
"""

import argparse
import ast
import functools
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # forks are taken from a process of one thread

# PyTensor leaves a thread of native code behind, which holds none of Python's locks
warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "scripts" / "equivalent_mutants.toml"
"""Survivors that change nothing which a test should see, with reasons."""

TESTS: dict[str, tuple[str, ...]] = {
    "geometry/sphere.py": ("tests/core/test_sphere.py", "tests/test_geometry.py"),
    "geometry/cover.py": ("tests/core/test_sphere.py", "tests/test_geometry.py"),
    "geometry/region.py": ("tests/core/test_shapes.py", "tests/test_geometry.py"),
    "geometry/outlines.py": ("tests/core/test_shapes.py", "tests/test_geometry.py"),
    "instrument/domain.py": ("tests/core/test_shapes.py",),
    "search_kernels.py": ("tests/test_search.py",),
    "folding/kernels.py": ("tests/core/test_fold_kernels.py",),
    "folding/tables.py": ("tests/core/test_fold_tables.py", "tests/response/test_tables.py"),
    "folding/containment.py": ("tests/core/test_containment.py",),
    **dict.fromkeys(
        (
            "folding/engine.py",
            "folding/component.py",
            "folding/sources.py",
            "folding/background.py",
            "folding/background_rate.py",
            "folding/folded.py",
        ),
        ("tests/core/test_columns.py", "tests/response/test_smooth_response.py"),
    ),
    **dict.fromkeys(
        ("response/folds.py", "response/densities.py", "response/response.py"),
        ("tests/core/test_columns.py", "tests/response/test_response.py", "tests/response/test_smooth_response.py"),
    ),
    "ops/kernels.py": ("tests/core/test_event_kernels.py",),
    "ops/block_kernels.py": ("tests/core/test_event_kernels.py",),
    "ops/log_kernels.py": ("tests/core/test_event_kernels.py",),
    "ops/tile_kernels.py": ("tests/core/test_event_kernels.py",),
    "ops/hat_kernels.py": ("tests/core/test_event_kernels.py",),
    "ops/layout.py": ("tests/core/test_event_kernels.py",),
    "ops/tiles.py": ("tests/core/test_event_kernels.py", "tests/ops/test_tiles.py"),
    "ops/logmatvec.py": ("tests/ops/test_connections.py", "tests/ops/test_logmatvec.py", "tests/ops/test_bands.py"),
    "ops/hats.py": ("tests/ops/test_hats.py", "tests/ops/test_connections.py"),
}
"""The core, and the tests that answer for each file."""

PRELOADED = (
    "astropy.coordinates",
    "astropy.units",
    "gammapy.maps",
    "gammapy.modeling.models",
    "matplotlib.pyplot",
    "numba",
    "pytensor.tensor",
    "pytest",
    "regions",
    "scipy.interpolate",
    "scipy.stats",
    "xarray",
)


def is_interpreted(path: str) -> bool:
    """Whether mutants of a file run in plain Python: files of kernels."""
    return path.endswith("kernels.py")


# ---------------------------------------------------------------------------------------------------------- mutants

_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_SWAPPED = {
    **{a: b for pair in (("min", "max"), ("minimum", "maximum"), ("floor", "ceil"), ("sin", "cos")) for a, b in [pair]},
    **{b: a for pair in (("min", "max"), ("minimum", "maximum"), ("floor", "ceil"), ("sin", "cos")) for a, b in [pair]},
    "any": "all",
    "all": "any",
    "radians": "degrees",
    "degrees": "radians",
}


@dataclass(frozen=True)
class Mutant:
    """One change: ``old`` at an offset of the source of a file becomes ``new``."""

    file: str
    line: int
    start: int
    stop: int
    old: str
    new: str

    @property
    def name(self) -> str:
        """The same from run to run, as long as the file is."""
        return f"{self.file}:{self.line}:{self.start}-{self.stop}:{self.new}"

    def apply(self, source: bytes) -> bytes:
        """The source with the change in it."""
        return source[: self.start] + self.new.encode() + source[self.stop :]


class Mutator:
    """Finds the mutants of a source file."""

    def __init__(self, file: str, source: str) -> None:
        self.file, self.source = file, source.encode()
        self.lines = [0]
        for line in self.source.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.found: list[Mutant] = []
        self.visit(ast.parse(source), top=True)

    def add(self, node: ast.expr | ast.stmt, new: str) -> None:
        """A mutant that has other text in the place of a node."""
        start = self.lines[node.lineno - 1] + node.col_offset
        stop = self.lines[node.end_lineno - 1] + node.end_col_offset  # type: ignore[operator]
        old = self.source[start:stop].decode()
        self.found.append(Mutant(self.file, node.lineno, start, stop, old, new))

    def visit(self, node: ast.AST, top: bool = False) -> None:
        """Mutants of a node and of all below it."""
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.TypeAlias):
            return
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("warn_user", "TypeVar"):
            return
        if top and isinstance(node, ast.Assign) and _is_setting(node.value):
            return
        for change in _changes(node):
            self.add(node, change)  # type: ignore[arg-type]
        for name, value in ast.iter_fields(node):
            if name in ("decorator_list", "annotation", "returns", "type_params", "bases", "ctx"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _is_docstring(child):
                    self.visit(child, top=isinstance(node, ast.Module))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_setting(value: ast.expr) -> bool:
    """A literal, or a collection of literals."""
    if isinstance(value, ast.Tuple | ast.List | ast.Set):
        return all(map(_is_setting, value.elts))
    return isinstance(value, ast.Constant) or (isinstance(value, ast.BinOp | ast.UnaryOp) and _is_literal(value))


def _is_literal(value: ast.AST) -> bool:
    return all(
        isinstance(one, ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop) for one in ast.walk(value)
    )


def _changes(node: ast.AST) -> Iterator[str]:
    """What may stand in the place of a node."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC and not any(map(_is_text, (left, right))):
            yield f"({ast.unparse(ast.BinOp(left, _ARITHMETIC[type(op)](), right))})"
        case ast.AugAssign(target, op, value):
            yield "pass"
            if type(op) in _ARITHMETIC:
                yield ast.unparse(ast.AugAssign(target, _ARITHMETIC[type(op)](), value))
        case ast.UnaryOp(ast.USub() | ast.Not() | ast.Invert(), operand):
            yield f"({ast.unparse(operand)})"
        case ast.Compare(left, ops, comparators):
            for k, op in enumerate(ops):
                for other in _COMPARISONS[type(op)]:
                    yield f"({ast.unparse(ast.Compare(left, [*ops[:k], other(), *ops[k + 1 :]], comparators))})"
        case ast.BoolOp(op, values):
            yield f"({ast.unparse(ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values))})"
        case ast.Constant(bool() as value):
            yield str(not value)
        case ast.Constant(int() as value):
            yield str(value + 1)
        case ast.Constant(float() as value):
            yield repr(value * 1.25) if value else "1.0"
        case ast.IfExp(test, body, orelse):
            yield f"({ast.unparse(ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse))})"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"
        case ast.Return(value) if value is not None and not _is_none(value):
            yield "return None"
        case ast.Expr(ast.Call()):
            yield "pass"
        case ast.Call(ast.Name(name), args, keywords) if name in _SWAPPED:
            yield ast.unparse(ast.Call(ast.Name(_SWAPPED[name]), args, keywords))
        case ast.Call(ast.Attribute(value, name), args, keywords) if name in _SWAPPED:
            yield ast.unparse(ast.Call(ast.Attribute(value, _SWAPPED[name]), args, keywords))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def negated_conditions(mutator: Mutator, tree: ast.AST) -> None:
    """Mutants that take the other branch."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and not _only_raises(node):
            mutator.add(node.test, f"not ({ast.unparse(node.test)})")
        elif isinstance(node, ast.If):
            mutator.add(node.test, "False")  # an error that is never raised


def _only_raises(node: ast.If) -> bool:
    return all(isinstance(one, ast.Raise) for one in node.body)


def mutants_of(file: str) -> list[Mutant]:
    """All mutants of a file of the package that are Python."""
    source = (ROOT / "pymc_gamma" / file).read_text()
    mutator = Mutator(file, source)
    negated_conditions(mutator, ast.parse(source))
    unique = {mutant.name: mutant for mutant in mutator.found if mutant.old != mutant.new}
    good = []
    for mutant in unique.values():
        try:
            ast.parse(mutant.apply(source.encode()))
        except SyntaxError:
            continue
        good.append(mutant)
    return sorted(good, key=lambda one: (one.start, one.stop, one.new))


# -------------------------------------------------------------------------------------------------------------- runs


OUT_OF_ROOM = ("MemoryError", "OSError: [Errno 28]", "OSError: [Errno 12]", "OSError: [Errno 24]")
"""How errors begin that a machine without room makes, whatever the code is: of memory, disk or open files."""


def outcome(code: int | None, report: dict) -> str:
    """What the end of the tests says of a mutant.

    Parameters
    ----------
    code : int or None
        Exit code of the process, that of pytest unless it was ended; none if its time was up.
    report : dict
        What :class:`FastestFirst` saw: the names of tests and files that failed, and the error of the first.

    Returns
    -------
    str
        ``survived``, ``killed``, ``timeout``, or ``error`` if it cannot be said: the process was ended, pytest itself
        failed, or the machine had no room.
    """
    if code is None:
        return "timeout"
    if code == 0:
        return "survived"
    failed, error = report.get("failed", []), report.get("error", "")
    # 1: a test failed; 2: a file of tests, or the mutated file itself, could not be imported
    return "killed" if code in (1, 2) and failed and not error.startswith(OUT_OF_ROOM) else "error"


class FastestFirst:
    """Pytest plugin: files and tests in order of their time at the last good run, and what happened in this one."""

    def __init__(self, package: Path, times: dict[str, float]) -> None:
        self.package, self.times = package, times
        self.now: dict[str, float] = {}
        self.failed: list[str] = []
        self.error = ""

    def pytest_collection_modifyitems(self, items: list) -> None:  # noqa: D102
        import pymc_gamma

        assert Path(pymc_gamma.__file__).is_relative_to(self.package), pymc_gamma.__file__
        files: Counter[str] = Counter()
        for item in items:
            files[item.nodeid.split("::")[0]] += self.times.get(item.nodeid, 0.0)  # type: ignore[assignment]

        def key(item) -> tuple:  # type: ignore[no-untyped-def]
            file = item.nodeid.split("::")[0]
            return files[file], file, self.times.get(item.nodeid, 0.0)

        items.sort(key=key)

    def pytest_runtest_logreport(self, report) -> None:  # type: ignore[no-untyped-def]  # noqa: D102
        self.now[report.nodeid] = self.now.get(report.nodeid, 0.0) + report.duration
        self.note(report)

    def pytest_collectreport(self, report) -> None:  # type: ignore[no-untyped-def]  # noqa: D102
        self.note(report)

    def note(self, report) -> None:  # type: ignore[no-untyped-def]
        """Note a failure, and the error of the first."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.error = self.error or (crash.message if crash else str(report.longrepr).split("\nE   ")[-1])
            self.failed.append(report.nodeid)


def run_tests(tree: Path, file: str, times: dict[str, float], report: Path) -> int:
    """Run the tests of a file, in this process; called in a fork."""
    import numba
    import pytest

    os.chdir(tree)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = bool(times)
    if is_interpreted(file):
        os.environ["NUMBA_DISABLE_JIT"] = "1"
        numba.config.DISABLE_JIT = True
    log = os.open(report.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:  # where a conftest imports it pytest would give up, as it does for reasons of its own
        importlib.import_module(f"pymc_gamma.{file.removesuffix('.py').replace('/', '.')}")
    except Exception as error:
        traceback.print_exc()
        error_text = "".join(traceback.format_exception_only(error)).strip()
        report.write_text(json.dumps({"times": {}, "failed": [f"import of {file}"], "error": error_text}))
        return 2
    plugin = FastestFirst(tree, times)
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = int(pytest.main([*options, *TESTS[file]], plugins=[plugin]))
    report.write_text(json.dumps({"times": plugin.now, "failed": plugin.failed[:1], "error": plugin.error}))
    return code


def forked(tree: Path, file: str, times: dict[str, float], report: Path) -> int:
    """Start the tests in a fork; its process id."""
    report.unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    os.setsid()
    code = 99
    try:
        code = run_tests(tree, file, times, report)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


@dataclass
class Slot:
    """A copy of the tree, and the mutant that runs in it."""

    tree: Path
    report: Path
    mutant: Mutant | None = None
    source: bytes = b""
    pid: int = 0
    since: float = 0.0
    limit: float = 0.0
    key: str = ""

    def put(self, mutant: Mutant, baseline: "Baseline") -> None:
        """Start a mutant."""
        path = self.tree / "pymc_gamma" / mutant.file
        self.source = path.read_bytes()
        path.write_bytes(mutant.apply(self.source))
        self.mutant, self.since, self.limit = mutant, time.monotonic(), baseline.limit
        self.key = key_of(mutant.file)
        self.pid = forked(self.tree, mutant.file, baseline.times, self.report)

    def take(self) -> dict | None:
        """Result of the mutant if it has ended, or was ended because its time is up."""
        assert self.mutant is not None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        late = pid == 0 and time.monotonic() - self.since > self.limit
        if late:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        elif pid == 0:
            return None
        code = None if late else os.waitstatus_to_exitcode(status)
        report = json.loads(self.report.read_text() or "{}") if self.report.exists() else {}
        result, by = outcome(code, report), report.get("failed", [])
        (self.tree / "pymc_gamma" / self.mutant.file).write_bytes(self.source)
        found = {
            "name": self.mutant.name,
            **asdict(self.mutant),
            "result": result,
            "key": self.key,
            "by": by[0] if by else f"exit code {code}",
            "seconds": round(time.monotonic() - self.since, 1),
        }
        self.mutant = None
        return found


@dataclass(frozen=True)
class Baseline:
    """Times of the tests of a file without any change, and the time that a mutant is given."""

    times: dict[str, float]
    limit: float


def baseline(slot: Slot, file: str) -> Baseline:
    """Run the tests of a file unchanged."""
    since = time.monotonic()
    _, status = os.waitpid(forked(slot.tree, file, {}, slot.report), 0)
    seconds = time.monotonic() - since
    if os.waitstatus_to_exitcode(status) != 0:
        log = slot.report.with_suffix(".log").read_text()
        sys.exit(f"the tests of {file} fail without any mutant:\n{log[-4000:]}")
    times = json.loads(slot.report.read_text())["times"]
    print(f"{file}: {len(times)} tests in {seconds:.1f} s", flush=True)
    return Baseline(times, 5 * seconds + 30)


def baselines_of(slot: Slot, files: Sequence[str]) -> dict[str, Baseline]:
    """Of several files; those with the same tests share one."""
    known: dict[tuple, Baseline] = {}
    for file in files:
        kind = (TESTS[file], is_interpreted(file))
        if kind not in known:
            known[kind] = baseline(slot, file)
    return {file: known[TESTS[file], is_interpreted(file)] for file in files}


def copy_tree(to: Path) -> None:
    """What git knows of the working tree, as it is now."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


@functools.cache
def key_of(file: str, root: Path = ROOT) -> str:
    """Hash of a file of the package, of its tests, and of what tests share: what a result was found for."""
    shared = [path for path in (root / "tests").glob("*.py") if not path.name.startswith("test_")]
    shared += (root / "tests").glob("*/conftest.py")
    digest = hashlib.blake2b(digest_size=8)
    for path in [root / "pymc_gamma" / file, *(root / name for name in TESTS[file]), *sorted(shared)]:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def read_results(path: Path) -> dict[str, dict]:
    """The last result of each mutant, of the files and tests as they are."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {one["name"]: one for one in map(json.loads, lines) if one.get("key") == key_of(one["file"])}


def run(mutants: Sequence[Mutant], results: Path, jobs: int) -> None:
    """Run mutants of which nothing is known, ``jobs`` at a time; those that end in an error run twice."""
    known = read_results(results)
    todo = [one for one in mutants if known.get(one.name, {}).get("result", "error") == "error"]
    again: set[str] = set()
    if not todo:
        return
    with tempfile.TemporaryDirectory() as folder, results.open("a") as out:
        # what is compiled around mutants stays here
        os.environ["PYTENSOR_FLAGS"] = (
            f"{os.environ.get('PYTENSOR_FLAGS', '')},base_compiledir={folder}/pytensor".strip(",")
        )
        for module in PRELOADED:
            __import__(module)
        slots = [Slot(Path(folder) / f"tree{k}", Path(folder) / f"report{k}.json") for k in range(jobs)]
        copy_tree(slots[0].tree)
        baselines = baselines_of(slots[0], sorted({one.file for one in todo}))
        for slot in slots[1:]:  # what was compiled is copied too
            shutil.copytree(slots[0].tree, slot.tree)
        while todo or any(slot.mutant for slot in slots):
            for slot in slots:
                mutant = slot.mutant
                if mutant is not None and (found := slot.take()) is not None:
                    if found["result"] == "error" and mutant.name not in again:
                        again.add(mutant.name)
                        todo.append(mutant)
                        continue
                    out.write(json.dumps(found) + "\n")
                    out.flush()
                    if found["result"] in ("survived", "error"):
                        print(f"{found['result']}: {_describe(found)} ({found['by']})", flush=True)
                if slot.mutant is None and todo:
                    mutant = todo.pop(0)
                    slot.put(mutant, baselines[mutant.file])
            time.sleep(0.02)


def _change(found: dict) -> str:
    return " -> ".join(" ".join(found[key].split()) for key in ("old", "new"))


def _describe(found: dict) -> str:
    return f"{found['file']}:{found['line']}: {_change(found)}"


def is_equivalent(found: dict, reasons: Sequence[dict]) -> bool:
    """Whether a survivor is one of those that EQUIVALENT explains."""
    code = (ROOT / "pymc_gamma" / found["file"]).read_text().splitlines()[found["line"] - 1].split("  #")[0].strip()
    change = _change(found)
    return any(
        one["file"] == found["file"] and one["code"] == code and change in one.get("changes", [change])
        for reason in reasons
        for one in reason["mutants"]
    )


def summary(mutants: Sequence[Mutant], results: Path) -> None:
    """Print the survivors, and the score by file and in all: of those that are not equivalent, and of all.

    Mutants that ended in an error are in neither.
    """
    known = read_results(results)
    found = [known[one.name] for one in mutants if one.name in known]
    reasons = tomllib.loads(EQUIVALENT.read_text())["reason"]
    for one in found:
        if one["result"] == "survived" and is_equivalent(one, reasons):
            one["result"] = "equivalent"
    for kind in ("equivalent", "survived", "timeout", "error"):
        print(f"\n{kind}")
        for one in sorted(found, key=lambda one: (one["file"], one["line"])):
            if one["result"] == kind:
                print(f"  {_describe(one)}")
    print(
        f"\n{'file':<24}{'mutants':>8}{'killed':>8}{'late':>6}{'equivalent':>12}{'survived':>10}{'error':>7}"
        f"{'score':>8}{'raw':>8}"
    )
    for file in [*sorted({one["file"] for one in found}), "all"]:
        of = Counter(one["result"] for one in found if file in ("all", one["file"]))
        n, killed = of.total() - of["error"], of["killed"] + of["timeout"]
        counts = f"{n:>8}{of['killed']:>8}{of['timeout']:>6}{of['equivalent']:>12}{of['survived']:>10}{of['error']:>7}"
        print(f"{file:<24}{counts}{killed / max(n - of['equivalent'], 1):>8.1%}{killed / max(n, 1):>8.1%}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, help="number of mutants, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--only", default="", help="only files whose path holds this")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--results", type=Path, default=Path("mutants.jsonl"), help="lines of JSON, read and extended")
    parser.add_argument("--list", action="store_true", help="count the mutants by file, run nothing")
    arguments = parser.parse_args()
    mutants = [one for file in TESTS if arguments.only in file for one in mutants_of(file)]
    if arguments.sample is not None and arguments.sample < len(mutants):
        mutants = random.Random(arguments.seed).sample(mutants, arguments.sample)
    if arguments.list:
        for file, n in Counter(one.file for one in mutants).items():
            print(f"{file:<28}{n:>8}")
        print(f"{'all':<28}{len(mutants):>8}")
        return
    run(mutants, arguments.results, arguments.jobs)
    summary(mutants, arguments.results)


if __name__ == "__main__":
    main()
