r"""Pages whose data do not come with the package: code as on any other page, outputs kept beside it.

A page with ``kept_outputs: true`` at its head is a notebook like the others, but is not executed when the site is
built. What it prints and draws lies in ``kept/<page>/`` next to it, with a checksum of the code of each cell: Sphinx
warns when code and outputs do not belong together. With the data, in the folder that PYMC_GAMMA_DATA names, they are
made anew::

    python docs/kept.py docs/tutorials/flare.md
"""

import base64
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

CELL = re.compile(
    r"^```\{code-cell\} ipython3\n(:tags: \[(?P<tags>[^\n]*)\]\n)?(?P<code>.*?)^```\n", re.DOTALL | re.MULTILINE
)
HEAD = re.compile(r"\A---\n(?P<head>.*?)^---\n", re.DOTALL | re.MULTILINE)
SENSIBLE_WIDTH = 0.5  # figures have twice the pixels that they are shown with


class Cell(NamedTuple):
    """Code, its tags, and where it stands in the page."""

    code: str
    tags: str
    start: int
    stop: int

    @property
    def checksum(self) -> str:
        """By which kept outputs know their code."""
        return hashlib.sha256(self.code.encode()).hexdigest()[:16]


def is_kept(text: str) -> bool:
    """Whether a page asks for outputs that are kept."""
    head = HEAD.match(text)
    return head is not None and "kept_outputs: true" in head["head"].splitlines()


def cells(text: str) -> list[Cell]:
    """The code cells of a page."""
    return [
        Cell(one["code"].strip("\n") + "\n", one["tags"] or "", one.start(), one.end()) for one in CELL.finditer(text)
    ]


def folder_of(page: Path) -> Path:
    """Where the outputs of a page are kept."""
    return page.parent / "kept" / page.stem


def kept(page: Path) -> list[dict[str, Any]]:
    """For each cell the checksum of its code, and what it put out."""
    path = folder_of(page) / "outputs.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def stale(page: Path) -> str:
    """What is wrong with the outputs of a page; empty if nothing is."""
    code, outputs = cells(page.read_text(encoding="utf-8")), kept(page)
    if len(code) != len(outputs):
        return f"{page.name} has {len(code)} cells, and outputs of {len(outputs)} are kept"
    for k, (cell, one) in enumerate(zip(code, outputs, strict=True)):
        if one["code"] != cell.checksum:
            return f"the code of cell {k} of {page.name} is not that of its outputs"
    return ""


def shown(page: Path) -> str:
    """A page as Markdown without cells, with the outputs in place."""
    text = page.read_text(encoding="utf-8")
    parts, at = [], HEAD.match(text).end()
    for cell, one in zip(cells(text), kept(page), strict=False):
        parts.append(text[at : cell.start])
        at = cell.stop
        if "remove-cell" in cell.tags:
            continue
        inner = boxed("cell_input", f"```{{code-block}} ipython3\n{cell.code}```\n")
        if one["outputs"]:
            inner += boxed("cell_output", "".join(boxed("output", directive(output)) for output in one["outputs"]))
        parts.append(boxed("cell", inner))
    return "".join([*parts, text[at:]])


def boxed(kind: str, content: str) -> str:
    """A block of the class that notebooks have; containers of Markdown cannot have an underscore in its name."""
    start, stop = (f"```{{raw}} html\n{tag}\n```\n" for tag in (f'<div class="{kind} docutils container">', "</div>"))
    return f"{start}{content}{stop}"


def directive(output: dict[str, str]) -> str:
    """One output in Markdown."""
    if output["kind"] == "picture":
        return f"```{{image}} {output['file']}\n:width: {output['width']}px\n```\n"
    if output["kind"] == "html":
        return f"````{{raw}} html\n{output['content']}\n````\n"
    return f"````{{code-block}} text\n{output['content']}\n````\n"


def executed(page: Path) -> list[list[dict[str, Any]]]:
    """Run a page in a kernel; for each cell what it put out, as notebooks have it."""
    import nbclient
    import nbformat

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    code = [nbformat.v4.new_code_cell(cell.code) for cell in cells(page.read_text(encoding="utf-8"))]
    notebook = nbformat.v4.new_notebook(cells=code)
    nbclient.NotebookClient(
        notebook, timeout=3600, kernel_name="python3", resources={"metadata": {"path": page.parent}}
    ).execute()
    return [one.outputs for one in notebook.cells]


def keep(page: Path) -> None:
    """Run a page, and replace the outputs that are kept of it."""
    text = page.read_text(encoding="utf-8")
    if not is_kept(text):
        raise SystemExit(f"{page} is executed when the site is built: it has no 'kept_outputs: true' at its head.")
    made = executed(page)
    folder = folder_of(page)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    found = []
    for k, (cell, outputs) in enumerate(zip(cells(text), made, strict=True)):
        plain = [plain_output(one, folder / f"{k}-{j}.png") for j, one in enumerate(outputs)]
        found.append({"code": cell.checksum, "outputs": [one for one in plain if one]})
    content = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    mirror = os.environ.get("PYMC_GAMMA_DATA")
    if mirror and mirror in content:
        raise SystemExit(f"{page} prints the name of your folder {mirror}.")
    (folder / "outputs.json").write_text(content, encoding="utf-8")


def plain_output(output: Any, picture: Path) -> dict[str, Any] | None:
    """An output of a notebook as it is kept; a picture is written."""
    if output.output_type == "stream":
        if output.name != "stdout":
            raise SystemExit(f"the page writes to {output.name}: {output.text}")
        return {"kind": "text", "content": output.text.rstrip("\n")}
    data = output.data
    if "image/png" in data:
        content = base64.b64decode(data["image/png"])
        picture.write_bytes(content)
        width = round(SENSIBLE_WIDTH * int.from_bytes(content[16:20], "big"))  # of the header of a PNG file
        return {"kind": "picture", "file": "/".join(picture.parts[-3:]), "width": width}
    if "text/html" in data:
        return {"kind": "html", "content": re.sub(r' id="table\d+"', "", data["text/html"])}
    return {"kind": "text", "content": data["text/plain"]}


def setup(app: Any) -> dict[str, bool]:
    """Sphinx extension: pages that ask for it are shown with the outputs that are kept."""
    from sphinx.util import logging

    def replace(app: Any, name: str, source: list[str]) -> None:
        page = Path(app.env.doc2path(name))
        if page.suffix != ".md" or not is_kept(source[0]):
            return
        problem = stale(page)
        if problem:
            logging.getLogger(__name__).warning("%s; run python docs/kept.py %s", problem, page, location=name)
        app.env.note_dependency(str(folder_of(page) / "outputs.json"))
        source[0] = shown(page)

    app.connect("source-read", replace)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("which pages? python docs/kept.py docs/tutorials/flare.md")
    for argument in sys.argv[1:]:
        keep(Path(argument).resolve())
