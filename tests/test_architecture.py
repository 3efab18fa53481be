"""Imports point down the layers of docs/development/architecture.md, also those inside functions."""

import ast
import functools
import pydoc
import re
from pathlib import Path

import pytest

import pymc_gamma as pmg

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


COMPILERS = {"jit", "njit", "vectorize", "guvectorize", "cfunc", "stencil", "jit_module"}
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
