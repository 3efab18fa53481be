"""Code that pages of the documentation and docstrings of modules show but do not run: it parses, and its names exist.

Tutorials are run when the site is built, examples in docstrings by `make test`; these blocks stand between the two.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

import pymc_gamma as pmg

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^(?P<indent> *)```python\n(?P<code>.*?)^ *```", re.DOTALL | re.MULTILINE)
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if BLOCK.search(path.read_text(encoding="utf-8"))]


def blocks(text):
    """Line at which each block begins, and its code."""
    for match in BLOCK.finditer(text):
        code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        yield text.count("\n", 0, match.start()) + 2, code


def faults(code):
    """What is wrong with a block: names that the package does not have, keywords that its callables do not take."""
    found = []
    for node in ast.walk(ast.parse(code)):
        target = node.func if isinstance(node, ast.Call) else node
        if not isinstance(target, ast.Attribute) or not ast.unparse(target).startswith("pmg."):
            continue
        name, value = ast.unparse(target), pmg
        if not re.fullmatch(r"[\w.]+", name):  # a method of what a call returns
            continue
        for part in name.split(".")[1:]:
            if not hasattr(value, part):
                found.append(f"{name} does not exist")
                break
            value = getattr(value, part)
        else:
            if isinstance(node, ast.Call):
                found += [f"{name} takes no {one}" for one in unknown_keywords(value, node)]
    return found


def unknown_keywords(function, call):
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return []
    known = {one.name for one in parameters}
    return [one.arg for one in call.keywords if one.arg is not None and one.arg not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_code_of_a_page(page):
    found = {}
    for line, code in blocks(page.read_text(encoding="utf-8")):
        try:
            wrong = faults(code)
        except SyntaxError as error:
            wrong = [str(error)]
        if wrong:
            found[line] = wrong
    assert found == {}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = pmg.PowerLaw(index=2.0)", []),
        ("x = pmg.PowerLaws(index=2.0)", ["pmg.PowerLaws does not exist"]),
        ("x = pmg.darkmatter.NWF()", ["pmg.darkmatter.NWF does not exist"]),
        ("pmg.load_irfs('x', title='y')", ["pmg.load_irfs takes no title"]),
        ("pmg.fold(sky, observation, roi).simulates()", []),
    ],
)
def test_faults_are_found(code, expected):
    assert list(dict.fromkeys(faults(code))) == expected


def test_blocks_in_lists_are_found():
    assert list(blocks("a\n\n- b\n\n  ```python\n  x = 1\n  y = 2\n  ```\n")) == [(6, "x = 1\ny = 2\n")]
