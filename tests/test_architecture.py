"""Imports point down the layers of docs/development/architecture.md, also those inside functions."""

import ast
import functools
import pydoc
import re
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pymc_gamma as pmg
from pymc_gamma.pictures import picture

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pymc_gamma"
DOCUMENT = ROOT / "docs" / "development" / "architecture.md"

# They use the public face of the package, `import pymc_gamma as pmg`, as a user does.
TOP = {"cli", "analysis"}


def layers() -> dict[str, int]:
    """Height of each part of the package, from the table in the document; 0 is the ground."""
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\|[^|]+\|([^|]*`[^|]*)\|[^|]*\|$", text, flags=re.MULTILINE)
    return {name: len(rows) - 1 - position for position, row in enumerate(rows) for name in re.findall(r"`(\w+)`", row)}


def part_of(path: Path) -> str:
    """Subpackage or module a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_parts(source: str, package: tuple[str, ...]) -> set[str]:
    """Parts of the package that a source file imports anywhere; "" is the package itself."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            modules = [f"{module}.{alias.name}" for alias in node.names] if module == "pymc_gamma" else [module]
        else:
            continue
        for module in modules:
            first, _, rest = module.partition(".")
            if first == "pymc_gamma" and rest != "__version__":
                parts.add(rest.partition(".")[0])
    return parts


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_every_part_has_a_layer():
    missing = {part_of(path) for path in FILES} - set(layers())
    assert not missing, f"add {sorted(missing)} to the table of layers in {DOCUMENT.relative_to(ROOT)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    height = layers()
    here = part_of(path)
    package = ("pymc_gamma", *path.relative_to(PACKAGE).parts[:-1])
    for part in imported_parts(path.read_text(encoding="utf-8"), package):
        if part == "":
            assert here in TOP, f"{path.name} imports the whole package; import the module that is meant"
        else:
            assert height.get(part, 0) <= height[here], f"{here} imports {part}, which lies above it"


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("import pymc_gamma.ops.kernels", {"ops"}),
        ("from pymc_gamma.sky import SkySource", {"sky"}),
        ("from pymc_gamma import plotting", {"plotting"}),
        ("from pymc_gamma import __version__", set()),
        ("import pymc_gamma as pmg", {""}),
        ("def f():\n    from ..sky import x", {"sky"}),
        ("from .local import x", {"ops"}),
        ("import numpy", set()),
    ],
)
def test_the_reader_of_imports(source, parts):
    assert imported_parts(source, ("pymc_gamma", "ops")) == parts


def module_of(path: Path) -> str:
    """Dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def needed_modules(source: str, known: Collection[str]) -> set[str]:
    """Modules that a source file imports when it runs, also inside functions; not those under TYPE_CHECKING."""
    tree = ast.parse(source)
    for_readers = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and name_of(test.test) == "TYPE_CHECKING"
        for statement in test.body
        for node in ast.walk(statement)
    }
    needed = set()
    for node in ast.walk(tree):
        if id(node) in for_readers:
            continue
        if isinstance(node, ast.Import):
            needed |= {alias.name for alias in node.names} & set(known)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
            needed |= (names & set(known)) - ({str(node.module)} if names & set(known) - {str(node.module)} else set())
    return needed


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """A circle of a directed graph, empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circles_of_modules():
    graph = {name: needed_modules(path.read_text(encoding="utf-8"), MODULES) for name, path in MODULES.items()}
    assert sum(map(len, graph.values())) > len(graph)
    assert not circle_in(graph), f"they import each other: {' -> '.join(circle_in(graph))}"


def test_no_circles_of_rooms():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        package = ("pymc_gamma", *path.relative_to(PACKAGE).parts[:-1])
        graph.setdefault(part_of(path), set()).update(imported_parts(path.read_text(encoding="utf-8"), package))
    for room, others in graph.items():
        others -= {room, ""}
    assert not circle_in(graph), f"they import each other: {' -> '.join(circle_in(graph))}"


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import a.b", {"a.b"}),
        ("from a import b", {"a.b"}),
        ("from a import name", {"a"}),
        ("from a.b import c", {"a.b"}),
        ("def f():\n    from a.b import c", {"a.b"}),
        ("if TYPE_CHECKING:\n    from a.b import c", set()),
        ("import numpy", set()),
    ],
)
def test_the_reader_of_modules(source, modules):
    assert needed_modules(source, {"a", "a.b"}) == modules


def test_the_finder_of_circles():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()})
    assert not circle_in({"a": {"b", "c"}, "b": {"c"}})


def test_pictures_are_named_in_one_way():
    named = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            assert path.name == "pictures.py" or name_of(node) not in {"import_module", "__import__"}, (
                f"{path.name} imports by name; a picture is found by pymc_gamma.pictures.picture"
            )
            if name_of(node) == "picture":
                assert isinstance(node.args[0], ast.Constant), f"{path.name} hides the name of its picture"
                named.add(node.args[0].value)
    assert named
    for name in named:
        assert callable(picture(name))


def draws(source: str) -> bool:
    """Whether a source file imports matplotlib when it runs."""
    known = ("matplotlib", "matplotlib.pyplot", "matplotlib.colors", "matplotlib.patches", "matplotlib.lines")
    return bool(needed_modules(source, known))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pictures_are_drawn_in_one_room(path):
    assert part_of(path) in {"plotting", *TOP} or not draws(path.read_text(encoding="utf-8")), (
        f"{path.name} draws; put the picture into plotting and ask for it by pymc_gamma.pictures.picture"
    )


@pytest.mark.parametrize("document", [DOCUMENT, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_files_that_documents_name_are_there(document):
    named = re.findall(r"`(\w+(?:/\w+)+(?:\.py|/))`", document.read_text(encoding="utf-8"))
    assert len(named) > 5
    missing = [name for name in named if not ((PACKAGE / name).exists() or (ROOT / name).exists())]
    assert not missing


REFERENCE = re.findall(r"^   ([A-Za-z_][\w.]*)$", (ROOT / "docs" / "api" / "index.md").read_text("utf-8"), re.MULTILINE)
MOVED = (
    "distributions.protocol.MixtureResponse",
    "domain.Domain",
    "good_time.GoodTime",
    "irfs.EffectiveArea",
    "safe_mask.run_limits",
    "spectra.Spectrum",
    "systematics.Systematic",
    "workflow.quickstart",
)


@pytest.mark.parametrize("name", REFERENCE)
def test_names_of_the_reference_are_there(name):
    assert pydoc.locate(f"pymc_gamma.{name}") is not None


@pytest.mark.parametrize("name", MOVED)
def test_modules_that_moved_are_attributes_still(name):
    assert functools.reduce(getattr, name.split("."), pmg).__name__ == name.rpartition(".")[-1]


HEAVY = ("gammapy", "dynesty", "corner", "matplotlib", "nutpie", "jax")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_where_they_are_used(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        heavy = [name for name in names if name.partition(".")[0] in HEAVY]
        assert not heavy, f"{path.name} imports {heavy} when it is loaded"


def is_of_kernels(path: Path) -> bool:
    """Whether a file may hold kernels, or what they are compiled with."""
    return path.name.endswith("kernels.py") or str(path.relative_to(PACKAGE)) in ("compilation.py", "ops/intrinsics.py")


def kernels_in(source: str) -> list[int]:
    """Lines that compile with numba, but for functions inside others: numba forms of Ops, which PyTensor asks for."""
    lines = []
    for outer in ast.parse(source).body:
        inside = outer.body if isinstance(outer, ast.FunctionDef) else []
        hidden = {id(node) for child in inside for node in ast.walk(child)}
        for node in ast.walk(outer):
            if isinstance(node, ast.Attribute) and id(node) not in hidden and name_of(node) in COMPILERS | EXTENDERS:
                lines.append(node.lineno)
            if isinstance(node, ast.ImportFrom) and node.module in DECORATORS:
                lines += [node.lineno for alias in node.names if alias.name in DECORATORS[node.module]]
    return lines


@pytest.mark.parametrize(
    "path", [path for path in FILES if not is_of_kernels(path)], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_kernels_lie_in_modules_of_kernels(path):
    lines = kernels_in(path.read_text(encoding="utf-8"))
    assert not lines, f"{path.name}, lines {lines}: kernels belong in modules named kernels.py or ..._kernels.py"


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("from pymc_gamma.compilation import kernel", True),
        ("@nb.njit\ndef f(): pass", True),
        ("@nb.extending.overload(g)\ndef f(): pass", True),
        ("from pymc_gamma.ops.intrinsics import inlined", True),
        ("def g():\n    @nb.njit\n    def f(): pass\n    return f", False),
        ("from pymc_gamma.ops import kernels", False),
    ],
)
def test_the_reader_of_kernels(source, bad):
    assert bool(kernels_in(source)) == bad


COMPILERS = {"jit", "njit", "vectorize", "guvectorize", "cfunc", "stencil", "jit_module"}
EXTENDERS = {"intrinsic", "overload", "overload_method", "register_jitable"}
DECORATORS = {"pymc_gamma.compilation": {"kernel"}, "pymc_gamma.ops.intrinsics": {"inlined", "jit", "part"}}
VERSIONED = {"register_funcify_default_op_cache_key", "register_funcify_and_cache_key"}


def name_of(node: ast.AST) -> str:
    """Last part of the name of what is called, decorates or is read."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def own_returns(node: ast.AST) -> list[ast.Return]:
    """Return statements of a function, not those of functions inside it."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            found.append(child)
        elif not isinstance(child, ast.FunctionDef):
            found += own_returns(child)
    return found


def unkeyed_compilations(source: str) -> list[int]:
    """Lines that compile with numba, but for functions inside others: what PyTensor compiles and caches by version.

    Also lines that ask for numba's own cache, and those that return another version to PyTensor than cache_version.
    """
    lines = []
    for outer in ast.parse(source).body:
        inside = outer.body if isinstance(outer, ast.FunctionDef) else []
        hidden = {id(node) for child in inside for node in ast.walk(child)}
        for node in ast.walk(outer):
            if isinstance(node, ast.Attribute) and name_of(node) in COMPILERS and id(node) not in hidden:
                lines.append(node.lineno)
            if isinstance(node, ast.keyword) and node.arg == "cache":
                lines.append(node.value.lineno)
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "numba":
                lines += [node.lineno for alias in node.names if alias.name in COMPILERS]
        if isinstance(outer, ast.FunctionDef) and VERSIONED & {name_of(one) for one in outer.decorator_list}:
            lines += [
                one.lineno
                for one in own_returns(outer)
                if not isinstance(one.value, ast.Tuple) or name_of(one.value.elts[1]) != "cache_version"
            ]
    return lines


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name != "compilation.py"], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_kernels_are_cached_under_their_sources(path):
    lines = unkeyed_compilations(path.read_text(encoding="utf-8"))
    assert not lines, (
        f"{path.name}, lines {lines}: compile with pymc_gamma.compilation.kernel, version by cache_version"
    )


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("@nb.njit(cache=True, nogil=True)\ndef f(): pass", True),
        ("@nb.njit\ndef f(): pass", True),
        ("jit = nb.njit(nogil=True)", True),
        ("from numba import njit", True),
        ("def g():\n    @nb.njit(cache=True)\n    def f(): pass", True),
        ("@kernel(nogil=True)\ndef f(): pass", False),
        ("def g():\n    @nb.njit\n    def f(): pass\n    return f", False),
        ("@register_funcify_default_op_cache_key(Op)\ndef g(op):\n    return f, 1", True),
        ("@register_funcify_default_op_cache_key(Op)\ndef g(op):\n    return f, cache_version()", False),
    ],
)
def test_the_reader_of_compilations(source, bad):
    assert bool(unkeyed_compilations(source)) == bad
