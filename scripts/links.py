"""Check the links of README.md, and of the pages of the site.

    python scripts/links.py             links of README.md to the site: is there such a page?
    python scripts/links.py --write     put the address of the site, which pyproject.toml says, into README.md
    python scripts/links.py --external  ask other sites for their pages: needs a network, not part of the tests

Links between pages are checked by Sphinx, which ``make docs`` runs with warnings as errors.
"""

import argparse
import re
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LINK = re.compile(r'(?:\]\(|src=")([^)\s"]+)')
ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]}|]+")


def site() -> str:
    """Address of the site, as pyproject.toml says."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return content["project"]["urls"]["Documentation"]


def broken(text: str, address: str, folder: Path = ROOT) -> Iterator[str]:
    """Links of a README to pages or files that are not there.

    Sources of pages are no pages: a link to one shows its markup.
    """
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if path.startswith(address):
            page = path.removeprefix(address) or "index.html"
            source = folder / "docs" / Path(page).with_suffix(".md")
            if not page.endswith(".html") or not source.is_file():
                yield target
                continue
            if anchor and anchor not in anchors(source.read_text(encoding="utf-8")):
                yield target
        elif not path.startswith(("http://", "https://")) and path:
            if path.startswith("docs/") and path.endswith(".md"):
                yield f"{target} (the source of a page; link to {address})"
            elif not (folder / path).exists():
                yield target


def anchors(text: str) -> set[str]:
    """Anchors of a page, by its headings."""
    headings = re.findall(r"^#+ +(.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def moved(text: str, address: str, names: set[str]) -> str:
    """A README whose links to pages of the site go to this address."""

    def replace(match: re.Match[str]) -> str:
        parts = match["path"].split("/")
        ends = ("/".join(parts[first:]) for first in range(len(parts)))  # the longest first
        return next((address + page for page in ends if page in names), match[0])

    return re.sub(r"https?://(?P<path>[^\s()#]+\.html)", replace, text)


def pages() -> set[str]:
    """Names of the pages of the site."""
    docs = ROOT / "docs"
    return {path.relative_to(docs).with_suffix(".html").as_posix() for path in docs.rglob("*.md")}


def answers(address: str) -> str:
    """Why a page cannot be had; empty if it can."""
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (links of pymc_gamma)"})
    try:
        with urllib.request.urlopen(request, timeout=20):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code in (403, 405, 429) else f"{error.code} {error.reason}"  # publishers refuse programs
    except OSError as error:
        return str(error)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the address of the site into README.md")
    parser.add_argument("--external", action="store_true", help="ask other sites, over the network")
    chosen = parser.parse_args()
    if chosen.write:
        README.write_text(moved(README.read_text(encoding="utf-8"), site(), pages()), encoding="utf-8")
    problems = list(broken(README.read_text(encoding="utf-8"), site()))
    if chosen.external:
        sources = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
        found = {a.rstrip(".,;:") for path in sources for a in ADDRESS.findall(path.read_text(encoding="utf-8"))}
        for address in sorted(a for a in found if not a.startswith((site(), "http://localhost"))):
            problem = answers(address)
            if problem:
                problems.append(f"{address}: {problem}")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
