"""Pages of the documentation with outputs that are kept: these are those of the code that is shown."""

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"

pytestmark = pytest.mark.skipif(not (DOCS / "kept.py").is_file(), reason="the pages are not part of an installation")

PAGE = """---
kernelspec:
  name: python3
kept_outputs: true
---

# Title

```{code-cell} ipython3
:tags: [remove-cell]

import hidden
```

Before.

```{code-cell} ipython3
answer = 42
print(answer)
```

Between.

```{code-cell} ipython3
draw()
```

After.
"""


@pytest.fixture(scope="module")
def kept():
    specification = importlib.util.spec_from_file_location("kept", DOCS / "kept.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def pages(kept):
    return [page for page in sorted(DOCS.glob("tutorials/*.md")) if kept.is_kept(page.read_text(encoding="utf-8"))]


@pytest.fixture
def page(kept, tmp_path):
    path = tmp_path / "small.md"
    path.write_text(PAGE, encoding="utf-8")
    outputs = [
        [],
        [{"kind": "text", "content": "42"}],
        [{"kind": "picture", "file": "kept/small/2-0.png", "width": 300}, {"kind": "html", "content": "<b>x</b>"}],
    ]
    cells = kept.cells(PAGE)
    found = [{"code": cell.checksum, "outputs": one} for cell, one in zip(cells, outputs, strict=True)]
    (tmp_path / "kept" / "small").mkdir(parents=True)
    (tmp_path / "kept" / "small" / "outputs.json").write_text(json.dumps(found), encoding="utf-8")
    return path


def test_outputs_are_of_the_code_of_their_page(kept):
    found = pages(kept)
    assert found
    for page in found:
        assert kept.stale(page) == ""
        files = {one["file"] for cell in kept.kept(page) for one in cell["outputs"] if one["kind"] == "picture"}
        there = {path.relative_to(page.parent).as_posix() for path in kept.folder_of(page).glob("*.png")}
        assert files == there != set()


def test_no_page_is_half_kept(kept):
    folders = {path.name for path in (DOCS / "tutorials" / "kept").iterdir()}
    assert folders == {page.stem for page in pages(kept)}


def test_a_page_is_shown_with_its_outputs(kept, page):
    shown = kept.shown(page)
    assert "hidden" not in shown
    assert "{code-cell}" not in shown
    assert "kernelspec" not in shown
    order = [
        "# Title",
        "Before.",
        "answer = 42\nprint(answer)\n```",
        "```{code-block} text\n42\n",
        "Between.",
        "draw()",
        "```{image} kept/small/2-0.png\n:width: 300px\n",
        "```{raw} html\n<b>x</b>\n",
        "After.",
    ]
    places = [shown.index(one) for one in order]
    assert places == sorted(places)
    assert kept.stale(page) == ""


def test_other_code_is_noticed(kept, page):
    page.write_text(PAGE.replace("answer = 42", "answer = 43"), encoding="utf-8")
    assert kept.stale(page) == "the code of cell 1 of small.md is not that of its outputs"
    page.write_text(PAGE.replace("Between.", "```{code-cell} ipython3\nmore()\n```"), encoding="utf-8")
    assert kept.stale(page) == "small.md has 4 cells, and outputs of 3 are kept"
    page.write_text(PAGE.replace("Between.", "Other words."), encoding="utf-8")
    assert kept.stale(page) == ""


def test_a_page_that_is_executed_with_the_site_is_not_kept(kept, page):
    page.write_text(PAGE.replace("kept_outputs: true\n", ""), encoding="utf-8")
    assert not kept.is_kept(page.read_text(encoding="utf-8"))
    with pytest.raises(SystemExit, match=r"small\.md is executed when the site is built"):
        kept.keep(page)
