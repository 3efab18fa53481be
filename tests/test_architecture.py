"""Imports point down the layers of docs/development/architecture.md, also those inside functions."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pymc_gamma"
DOCUMENT = ROOT / "docs" / "development" / "architecture.md"

# They use the public face of the package, `import pymc_gamma as pmg`, as a user does.
TOP = {"cli", "workflow"}


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
