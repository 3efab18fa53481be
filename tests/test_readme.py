"""What newcomers see first: the code of the README, and of the pages that go on from it, runs; links lead to pages."""

import ast
import re
import runpy
from functools import partial
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytest

from pymc_gamma.errors import PymcGammaWarning

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "quickstart.py"
LINKS = runpy.run_path(str(ROOT / "scripts" / "links.py"))
SHORT = {"draws": 100, "tune": 200, "chains": 2, "progressbar": False}
"""Settings of all sampling of the pages."""
SLOW = pytest.mark.slow


def blocks(text, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def after_docstring(source):
    docstring, *_ = ast.parse(source).body
    return "\n".join(source.splitlines()[docstring.end_lineno :]).strip()


def test_readme_shows_the_example():
    assert after_docstring(EXAMPLE.read_text(encoding="utf-8")) in [block.strip() for block in blocks(README)]


def test_example_recovers_the_truth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    names = runpy.run_path(str(EXAMPLE))
    plt.close("all")

    assert {path.name for path in tmp_path.iterdir()} == {"corner.png", "events.png"}
    draws = names["idata"]["posterior"]["fraction"]
    mean, sd = draws.mean(("chain", "draw")), draws.std(("chain", "draw"))
    assert (abs(mean - names["truth"]) < 3.9 * sd).all()  # 99.9 % for three fractions
    nested = names["nested"]["posterior"]["fraction"]
    assert (abs(nested.mean(("chain", "draw")) - mean) < sd).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run blocks of a page, with short chains, in one namespace for all pages; files go to a folder."""
    matplotlib.use("Agg")
    folder, names = tmp_path_factory.mktemp("readme"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(pm, "sample", partial(pm.sample, **SHORT))

        def execute(page, code):
            with pytest.warns(PymcGammaWarning) if "DataStore" in code else np.errstate():
                exec(compile(code, page, "exec"), names)
            plt.close("all")
            return names

        yield execute


@pytest.fixture(scope="module")
def own_data(run):
    """The names that the first snippet of the README leaves behind."""
    return run("README.md", blocks(README)[0])


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_readme_takes_own_data_to_a_spectrum(own_data):
    assert Path("spectrum.png").stat().st_size > 10_000
    index = own_data["idata"]["posterior"]["index"]
    assert abs(float(index.mean()) - 2.63) < 0.1  # H.E.S.S. 2006, a power law: 2.63 +- 0.01


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_readme_takes_gammapys_models(run, own_data):
    names = run("README.md", blocks(README)[1])
    posterior = own_data["idata"]["posterior"]["index"]
    best = float(names["best"].value["crab.spectral.index"])
    assert abs(best - float(posterior.mean())) < 3 * float(posterior.std())


def test_every_block_of_the_readme_is_run():
    assert len(blocks(README)) == 3  # own data, gammapy, and the example


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
@pytest.mark.parametrize(
    "page", [pytest.param("recipes.md", marks=SLOW), pytest.param("arviz.md", marks=SLOW), "citing.md"]
)
def test_pages_go_on_from_the_readme(page, run, own_data):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    code = blocks(text)
    assert code
    for number, block in enumerate(code):
        run(f"{page}, block {number}", block)


def test_commands_exist():
    text = "\n".join(blocks(README, "console")) + (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README + text)) <= targets
    source = (ROOT / "pymc_gamma" / "cli.py").read_text(encoding="utf-8")
    commands = set(re.findall(r"pymc-gamma ([a-z]+)", README + text))
    assert commands
    assert all(f'"{command}"' in source for command in commands)


def test_links_of_the_readme_lead_to_pages():
    assert list(LINKS["broken"](README, LINKS["site"]())) == []


@pytest.mark.parametrize(
    "link",
    [
        "docs/concepts.md",
        "LICENCE",
        "https://pymc-gamma.github.io/pymc-gamma/nowhere.html",
        "https://pymc-gamma.github.io/pymc-gamma/concepts.html#nowhere",
        "https://pymc-gamma.github.io/pymc-gamma/concepts.md",
    ],
)
def test_wrong_links_are_found(link):
    (found,) = LINKS["broken"](f"[it]({link})", "https://pymc-gamma.github.io/pymc-gamma/")
    assert found.startswith(link)


def test_the_site_may_move():
    there, here = LINKS["site"](), "https://elsewhere.org/gamma/"
    names = LINKS["pages"]()
    text = LINKS["moved"](README, here, names)
    assert there + "concepts.html" not in text
    assert list(LINKS["broken"](text, here)) == []
    assert LINKS["moved"](text, there, names) == README
