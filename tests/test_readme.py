"""What newcomers see first: the code of the README, and of the pages that go on from it, runs; links lead to pages."""

import ast
import re
import runpy
import sys
from functools import partial
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pymc as pm
import pytest

import pymc_gamma
from pymc_gamma.errors import PymcGammaWarning

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "quickstart.py"
LINKS = runpy.run_path(str(ROOT / "scripts" / "links.py"))
SHORT = {"draws": 100, "tune": 200, "chains": 2, "progressbar": False}
"""Settings of all sampling of the pages."""


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
def own_data(tmp_path_factory):
    """The names that the first snippet of the README leaves behind; short chains, files go to a folder."""
    matplotlib.use("Agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("readme"))
        patch.setattr(pm, "sample", partial(pm.sample, **SHORT))
        with pytest.warns(PymcGammaWarning):
            names = run("README.md", blocks(README)[:1], {})
        yield names


def run(page, code, names):
    """Run blocks of a page one after the other; the names they leave behind."""
    names = dict(names)
    for number, block in enumerate(code):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
        plt.close("all")
    return names


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_readme_takes_own_data_to_a_spectrum(own_data):
    assert Path("spectrum.png").stat().st_size > 10_000
    index = own_data["idata"]["posterior"]["index"]
    assert abs(float(index.mean()) - 2.63) < 0.1  # H.E.S.S. 2006, a power law: 2.63 +- 0.01


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_readme_takes_gammapys_models(own_data):
    names = run("README.md", blocks(README)[1:2], own_data)
    posterior = own_data["idata"]["posterior"]["index"]
    best = float(names["best"].value["crab.spectral.index"])
    assert abs(best - float(posterior.mean())) < 3 * float(posterior.std())


def test_every_block_of_the_readme_is_run():
    assert len(blocks(README)) == 3  # own data, gammapy, and the example


def run_page(page, names):
    code = blocks((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert code
    return run(page, code, names)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_recipes_go_on_from_the_readme(own_data):
    names = run_page("recipes.md", own_data)
    assert len(names["points"].table) == 5
    assert len(names["curve"].table) == 4
    left_out = len(names["events"]) - len(names["fewer"])
    acceptances = [float(names[one].acceptance.sel(component="ccr")) for one in ("response", "expected_less")]
    expected = len(names["events"]) * (1 - acceptances[1] / acceptances[0])
    assert abs(left_out - expected) < 4 * expected**0.5
    assert abs(float(names["place"].value["crab_lon"]) - 83.6218) < 0.01  # where gammapy's fits find it
    assert {path.name for path in Path().iterdir()} >= {"crab.ecsv", "response.zarr", "posterior.nc", "events.fits"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_page_on_arviz_goes_on_from_the_readme(own_data):
    names = run_page("arviz.md", own_data)
    assert float((names["predicted"] >= names["observed"]).mean()) > 0.8  # a power law predicts too many


def test_page_on_citing_goes_on_from_the_readme(own_data, capsys):
    run_page("citing.md", own_data)
    assert "zenodo.1421099" in capsys.readouterr().out  # the H.E.S.S. runs


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


def test_the_site_has_its_formulas_and_its_address(monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])  # the configuration adds a folder
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    assert conf["html_baseurl"] == LINKS["site"]()
    wanted = [conf["mathjax_path"], *conf["html_css_files"]]
    assert all((ROOT / "docs" / "_static" / name).is_file() for name in wanted)


def test_notebooks_are_executed_again_when_the_package_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    notebook_cache = runpy.run_path(str(ROOT / "docs" / "conf.py"))["notebook_cache"]
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("a = 1", encoding="utf-8")
    monkeypatch.setattr(pymc_gamma, "__file__", str(package / "__init__.py"))
    first = notebook_cache(tmp_path / "notebooks")
    first.mkdir(parents=True)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "any.pyc").write_bytes(b"code")
    assert notebook_cache(tmp_path / "notebooks") == first
    (package / "__init__.py").write_text("a = 2", encoding="utf-8")
    assert notebook_cache(tmp_path / "notebooks") != first
    assert not first.exists()
