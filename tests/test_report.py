"""Reports: whole pages that need nothing else, whatever is missing or broken."""

import base64
import io
import re
from html.parser import HTMLParser

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from PIL import Image
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.analysis import report as module
from pymc_gamma.analysis.report_diagnostics import CHECKS, verdicts
from pymc_gamma.analysis.report_input import ReportInput
from pymc_gamma.errors import warn_user
from pymc_gamma.interop.priors import log_uniform
from pymc_gamma.plotting.draw_model import Node, draw_model

VOID = {"meta", "img", "br"}
EVIL = '<script>alert("x")</script><img src=http://example.com/x.png onerror=alert(1)>'
EVIL_NAME = EVIL.replace("/", "")  # PyMC allows none in names


class Page(HTMLParser):
    """A page that was parsed: its tags are closed in order, and nothing is loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.text, self.open, self.tags, self.pictures, self.sections = text, [], [], [], {}
        self._title = None
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs.items():
            assert not name.startswith("on"), f"{tag} has {name}"
            if name in {"src", "href", "data", "action", "srcset"}:
                assert value.startswith(("data:image/png;base64,", "#")), f"{tag} loads {value[:80]}"
        if tag == "img":
            assert attrs["alt"].strip()
            picture = Image.open(io.BytesIO(base64.b64decode(attrs["src"].partition(",")[2])))
            picture.load()
            assert picture.size == (int(attrs["width"]), int(attrs["height"]))
            self.pictures.append(picture)
        if tag == "h2":
            self._title = ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"
        if tag == "h2":
            self.sections[self._title] = []
            self._current, self._title = self._title, None

    def handle_data(self, data):
        if self._title is not None:
            self._title += data
        elif self.sections:
            self.sections[self._current].append(data)

    def section(self, title):
        return " ".join(" ".join(self.sections[title]).split())

    @property
    def failed(self):
        return [title for title in self.sections if "could not be made" in self.section(title)]


def read(path):
    page = Page(path.read_text(encoding="utf-8"))
    assert not {"script", "iframe", "object", "link", "svg", "style"} & set(page.tags) - {"style"}
    assert "default-src 'none'" in page.text
    assert "url(" not in page.text
    # what is missing is told in a sentence
    for title in page.sections:
        assert page.section(title), title
    return page


@pytest.fixture(scope="module")
def response():
    sky = [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=1), region(width=1.6, energy=(1.0, 50.0)))


@pytest.fixture(scope="module")
def events(response):
    return response.simulate({"crab": 1, "ccr": 1}, 200, rng=1)


@pytest.fixture(scope="module")
def model(response, events):
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, response=response, observed=events)
    return model


def fractions(chains=4, draws=200, seed=1):
    drawn = np.random.default_rng(seed).dirichlet([100, 100], (chains, draws))
    return xr.Dataset({"fraction": (("chain", "draw", "component"), drawn)}, {"component": ["crab", "ccr"]})


def statistics(chains=4, draws=200, **changed):
    rng = np.random.default_rng(2)
    known = {
        "diverging": np.zeros((chains, draws), bool),
        "reached_max_treedepth": np.zeros((chains, draws), bool),
        "energy": rng.normal(size=(chains, draws)),
    }
    return xr.Dataset({name: (("chain", "draw"), value) for name, value in (known | changed).items()})


def tree(**groups):
    return xr.DataTree.from_dict(groups)


def write(tmp_path, *arguments, **options):
    return read(pmg.report(*arguments, tmp_path / "report.html", **options))


def test_a_whole_analysis(tmp_path, response, events, model):
    found = tree(posterior=fractions(), sample_stats=statistics())
    found.attrs |= {"log_evidence": -12.345, "log_evidence_err": 0.2, "sampler": "dynesty"}
    config = "general:\n  seed: 1  # a < b & c\n"
    page = write(tmp_path, found, response, events=events, model=model, config=config, title="Crab & co")
    assert not page.failed
    left_out = [title for title in page.sections if f">{title}</a> <span class" in page.text]
    assert left_out == ["Spectra"]
    assert len(page.pictures) == 5  # model, corner, map, spectrum, check
    assert "<title>Crab &amp; co</title>" in page.text
    assert "200 events in 1 observation (1 h), 2 components (crab, ccr)." in page.section("In brief")
    assert "all 7 checks of the sampler are good" in page.section("In brief")
    assert "prod5-south-20deg-50h" in page.section("What was observed")
    assert "2.56 deg²" in page.section("What was observed")
    assert "Dirichlet([1, 1])" in page.section("Model")
    assert "events depends on fraction" in page.text
    mean = float(fractions()["fraction"][..., 0].mean())
    assert f"fraction[crab] {mean:.3f}" in page.section("Posterior")
    assert "-12.35 0.20" in page.section("Evidence")
    assert "general:\n  seed: 1  # a < b & c\n" in "".join(page.sections["The file that made this"])
    assert all(str(one) in page.section("What to cite") for one in response.citations())
    assert "pymc-gamma" in page.section("Versions")


def test_events_are_counted_by_reason(tmp_path, response, events):
    outside = pmg.Events([2, 0.5, 60, 3] * u.TeV, [5, 0, 0, 0] * u.deg, [0, 0, 0, 0] * u.deg, frame="galactic")
    page = write(tmp_path, tree(posterior=fractions()), response, events=events + outside)
    told = page.section("Events")
    assert "204 events, 201 of them" in told
    for reason in ("outside the region on the sky 1", "below 1 TeV 1", "above 50 TeV 1", "kept 201"):
        assert reason in told
    assert not page.failed


def test_events_come_from_the_results_or_the_model(tmp_path, response, events, model):
    rows = xr.Dataset({"events": (("event", "reco"), events.to_rows())}, {"reco": list(response.reco)})
    for number, options in enumerate(({}, {"model": model})):
        groups = {"posterior": fractions()} | ({} if options else {"observed_data": rows})
        page = read(pmg.report(tree(**groups), response, tmp_path / f"{number}.html", **options))
        assert "200 events, 200 of them" in page.section("Events")


@pytest.mark.parametrize("with_model", [True, False])
def test_nothing_was_sampled(tmp_path, response, events, model, with_model):
    prior = tree(prior=fractions())
    page = write(tmp_path, prior, response, events=events, model=model if with_model else None)
    assert not page.failed
    told = "The results hold prior; there is no posterior: nothing was sampled, or the sampler failed."
    for title in ("Posterior", "Diagnostics", "Joint distributions", "Counts map", "Counts spectrum"):
        assert page.section(title) == told
    assert "No model was given" in page.text or with_model
    assert "200 events, 200 of them" in page.section("Events")


@pytest.mark.parametrize("results", [None, tree(), tree(posterior=fractions(draws=0)), tree(posterior=xr.Dataset())])
def test_nothing_at_all(tmp_path, results):
    page = write(tmp_path, results, None)
    assert not page.failed
    assert not page.pictures
    assert "No response was given" in page.section("What was observed")
    assert "No observed events were given" in page.section("Events")
    assert page.section("Versions")


def test_everything_is_escaped(tmp_path, events, response):
    draws = np.random.default_rng(1).normal(size=(4, 100, 2))
    names = {"k": [EVIL, "b"]}
    posterior = xr.Dataset({EVIL_NAME: (("chain", "draw", "k"), draws, {"units": EVIL})}, names)
    with pm.Model(coords={"k": [EVIL, "b"]}) as model:
        pm.Normal(EVIL_NAME, dims="k")
    page = write(
        tmp_path, tree(posterior=posterior), response, events=events, model=model, config=EVIL, title=EVIL,
        sections={EVIL: lambda _: "<p>mine</p>"},
    )  # fmt: skip
    assert not page.failed
    assert "<script" not in page.text
    assert EVIL in page.section("The file that made this")
    assert "mine" in page.section(EVIL)


@pytest.fixture(scope="module")
def free(response):
    """A response of two observations with a free spectrum, its model of binned events, and draws of both."""
    sky = [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]
    pointings = [pointing(hours=1), pointing(0.2, 0.1, hours=2)]
    folded = pmg.fold(sky, pointings, response.roi, free_spectrum=["crab"])
    events = folded.simulate({"crab": 1, "ccr": 1}, 150, rng=1)
    with pm.Model(coords=folded.coords) as model:
        fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
        spectra = {"crab": pmg.PowerLaw(index=pm.Normal("index", 2.3, 0.1))}
        pmg.EventMixture("events", fraction, response=folded, spectra=spectra, observed=events)
    posterior = fractions(draws=50).assign(
        index=(("chain", "draw"), np.random.default_rng(3).normal(2.3, 0.1, (4, 50)))
    )
    lists = np.stack([folded.simulate({"crab": 1, "ccr": 1}, 150, rng=k).to_rows(folded.reco) for k in range(20)])
    coords = {"reco": list(folded.reco)}
    predictive = xr.Dataset({"events": (("chain", "draw", "event", "reco"), lists[None])}, coords)
    return folded, model, events, posterior, predictive, spectra


def test_free_spectra_of_several_observations(tmp_path, free):
    folded, model, events, posterior, predictive, _ = free
    found = tree(posterior=posterior, sample_stats=statistics(draws=50), posterior_predictive=predictive)
    page = write(tmp_path, found, folded, events=events, model=model)
    assert not page.failed
    assert len(page.pictures) == 6
    assert "2 observations, 3 h of live time" in page.section("What was observed")
    each = [f"{int((events.observation == k).sum())} prod5" for k in range(2)]
    assert all(f"{k} {told}" in page.section("What was observed") for k, told in enumerate(each))
    assert "Spectral energy distribution of crab" in page.section("Spectra")
    assert "only the shape of a spectrum means something" in page.section("Spectra")
    assert "Only the" not in page.section("Posterior")


def test_what_pictures_of_free_spectra_need(tmp_path, free):
    folded, _, events, posterior, _, spectra = free
    page = write(tmp_path, posterior, folded, events=events)
    assert not page.failed
    for title in ("Counts map", "Counts spectrum", "Predictive check"):
        assert "pm.sample_posterior_predictive(idata, model=model" in page.section(title)
    assert "The spectra of crab are free; pass model= or spectra=" in page.section("Spectra")
    again = read(pmg.report(posterior, folded, tmp_path / "again.html", events=events, spectra=spectra))
    assert "Spectral energy distribution of crab" in again.section("Spectra")


def test_events_in_cells(tmp_path, response, events):
    cells = events.binned(8, pixel=0.2 * u.deg)
    page = write(tmp_path, fractions(), response, events=cells)
    assert not page.failed
    assert f"200 events, 200 of them in the domain of the analysis. They are gathered in {len(cells)} rows" in page.text


def test_sections_of_a_user(tmp_path, response):
    def figure(subject):
        drawn = plt.figure(figsize=(2, 1))
        drawn.text(0, 0, str(subject.response.component_names))
        return drawn

    def broken(_):
        raise KeyError("nothing < here")

    def noisy(_):
        warn_user("mind the <gap>")
        return "<p>done</p>"

    own = {"A picture": figure, "A fault": broken, "No HTML": lambda _: 3, "A warning": noisy}
    page = write(tmp_path, tree(posterior=fractions()), response, sections=own)
    assert page.failed == ["A fault", "No HTML"]
    assert "KeyError: 'nothing < here'" in page.section("A fault")
    assert page.section("A warning") == "done Note: mind the <gap>"
    titles = list(page.sections)
    assert titles[-7:-3] == list(own)
    assert not plt.get_fignums()
    with pytest.raises(TypeError, match=r"sections\['x'\] must be a function"):
        pmg.report(None, None, tmp_path / "other.html", sections={"x": "<p>text</p>"})


def test_thousands_of_parameters(tmp_path, monkeypatch):
    monkeypatch.setattr("pymc_gamma.analysis.report_input.MOST_SCALARS", 60)
    rng = np.random.default_rng(1)
    many = xr.Dataset(
        {
            "mu": (("chain", "draw"), rng.normal(size=(4, 100))),
            "wide": (("chain", "draw", "i", "j"), rng.normal(size=(4, 100, 300, 10))),
            "after": (("chain", "draw"), rng.normal(size=(4, 100))),
        }
    )
    page = write(tmp_path, many, None)
    assert not page.failed
    told = page.section("Posterior")
    assert "400 draws in 4 chains of 3002 parameters. Only the first 52" in told
    assert "(the first 30 of 52)" in told
    assert "22 more rows" in told
    assert "wide[4, 9]" in told
    assert page.tags.count("details") == 1
    assert "wide, " not in page.section("Joint distributions")


def test_nested_sampling_alone(tmp_path, response, events, model):
    result = pmg.sample_nested(model, nlive=60, dlogz=1.0, random_seed=1, progressbar=False)
    page = write(tmp_path, result, response, events=events, model=model)
    assert not page.failed
    told = page.section("Diagnostics")
    assert "Nested sampling gave" in told
    assert "R-hat" not in told
    assert f"ln Z = {result.attrs['log_evidence']:.2f} ±" in told
    assert len(page.pictures) == 5


CHANGES = {
    "divergences": (statistics(diverging=np.arange(800).reshape(4, 200) % 20 == 0), "Divergences", "bad"),
    "one": (statistics(diverging=np.arange(800).reshape(4, 200) == 3), "Divergences", "check"),
    "depth": (statistics(reached_max_treedepth=np.ones((4, 200), bool)), "Tree depth", "check"),
    "energy": (statistics(energy=np.cumsum(np.full((4, 200), 0.1), axis=1)), "Energy (E-BFMI)", "check"),
}


@pytest.mark.parametrize(("stats", "name", "level"), CHANGES.values(), ids=CHANGES)
def test_verdicts_of_the_sampler(tmp_path, stats, name, level):
    found = tree(posterior=fractions(), sample_stats=stats)
    given = {one.name: one for one in verdicts(ReportInput(found))}
    assert {one.name for one in given.values() if one.level != "good"} == {name}
    assert given[name].level == level
    assert given[name].advice
    page = write(tmp_path, found, None)
    assert f"{name}: {level} ." in page.section("Diagnostics")
    assert given[name].advice in page.section("Diagnostics")
    assert name in page.section("In brief")


def test_verdicts_of_the_draws():
    def levels(**variables):
        arrays = {name: (("chain", "draw"), value) for name, value in variables.items()}
        return {one.name: one.level for one in verdicts(ReportInput(tree(posterior=xr.Dataset(arrays))))}

    rng = np.random.default_rng(1)
    fine = rng.normal(size=(4, 500))
    good = {"Draws": "good", "R-hat": "good", "Effective sample size": "good"}
    assert levels(x=fine) == good
    assert levels(x=fine, y=np.full((4, 500), 2.0)) == good | {"Draws": "check"}
    assert levels(x=np.where(fine > 2, np.nan, fine), z=fine)["Draws"] == "bad"
    apart = fine + 3 * np.arange(4)[:, None]
    assert levels(x=apart) == {"Draws": "good", "R-hat": "bad", "Effective sample size": "bad"}
    slow = np.repeat(rng.normal(size=(4, 20)), 25, axis=1)
    assert levels(x=slow)["Effective sample size"] == "bad"
    assert levels(x=fine[:1])["R-hat"] == "check"
    assert levels(x=fine[:, :2])["R-hat"] == "check"


def test_evidence_of_sequential_monte_carlo(tmp_path):
    stages = np.array([[-8.0, -5.0, -3.0], [-8.0, -5.5, -3.4]])
    stats = xr.Dataset({"log_marginal_likelihood": (("chain", "stage"), stages)})
    page = write(tmp_path, tree(posterior=fractions(chains=2), sample_stats=stats), None)
    assert "sequential Monte Carlo -3.20 0.20" in page.section("Evidence")
    assert not page.failed


def test_checks_are_known_by_their_tuple(monkeypatch):
    monkeypatch.setattr("pymc_gamma.analysis.report_diagnostics.CHECKS", CHECKS[:1])
    assert [one.name for one in verdicts(ReportInput(tree(posterior=fractions())))] == ["Draws"]


def test_a_file_is_never_replaced_unasked(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("mine", encoding="utf-8")
    monkeypatch.setattr(module, "page", lambda *_: pytest.fail("it must look before it works"))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        pmg.report(None, None, path)
    assert path.read_text(encoding="utf-8") == "mine"
    monkeypatch.undo()
    assert pmg.report(None, None, path, overwrite=True) == path
    assert read(path)
    with pytest.raises(IsADirectoryError):
        pmg.report(None, None, tmp_path, overwrite=True)


def test_wrong_kinds_are_refused(tmp_path, response):
    for arguments in ((3, None), (None, 3), (response, None)):
        with pytest.raises(TypeError):
            pmg.report(*arguments, tmp_path / "report.html")
    for name in ("events", "model", "config", "title", "spectra", "sections", "truth"):
        with pytest.raises(TypeError, match=name):
            pmg.report(None, None, tmp_path / "report.html", **{name: 3})
    assert not list(tmp_path.iterdir())


def test_sizes_of_fluxes_are_readable(tmp_path):
    draws = 2.345e-12 + 1e-13 * np.random.default_rng(0).normal(size=(4, 500))
    posterior = xr.Dataset({"amplitude": (("chain", "draw"), draws, {"units": "cm-2 s-1 TeV-1"})})
    told = write(tmp_path, posterior, None).section("Posterior")
    assert re.search(r"amplitude 2\.3\d 0\.1\d\d? 2\.1\d\d? to 2\.5\d\d? 1e-12 cm-2 s-1 TeV-1", told)


def test_true_values_stand_beside_the_posterior(tmp_path):
    rng = np.random.default_rng(0)
    flux = 2.345e-12 + 1e-13 * rng.normal(size=(4, 500))
    posterior = xr.Dataset(
        {
            "flux": (("chain", "draw"), flux, {"units": "1e-3 cm-2 s-1"}),
            "shares": (("chain", "draw", "i", "j"), rng.normal([[1, 2], [3, 4]], size=(4, 500, 2, 2))),
            "other": (("chain", "draw"), rng.normal(size=(4, 500))),
        }
    )
    truth = {"flux": 2.25e-12, "shares": [[1.5, 2.5], [3.5, 4.5]]}
    told = write(tmp_path, posterior, None, truth=truth).section("Posterior")
    assert "Parameter Truth Mean" in told
    assert re.search(r"flux 2\.250? 2\.3\d+ .* 1e-12 1e-3 cm-2 s-1", told)
    for k, value in enumerate(("1.5", "2.5", "3.5", "4.5")):
        assert re.search(rf"shares\[{k // 2}, {k % 2}\] {value}0* ", told)
    assert re.search(r"other – ", told)
    for wrong, why in (({"flux": [1, 2]}, "the truth of 'flux' has the shape (2,)"), ({"x": 1}, "true values of x")):
        page = read(pmg.report(posterior, None, tmp_path / "other.html", truth=wrong, overwrite=True))
        assert why in page.section("Posterior")
    assert "Truth" not in read(pmg.report(posterior, None, tmp_path / "none.html")).section("Posterior")


def test_priors_are_called_as_analysis_files_call_them(tmp_path):
    with pm.Model() as model:
        log_uniform("mass", 0.5, 20.0)
    told = write(tmp_path, None, None, model=model).section("Model")
    assert "mass parameter LogUniform(0.5, 20)" in told
    assert "CustomDist" not in told


def test_the_graph_of_a_model_has_each_variable_below_those_it_depends_on():
    nodes = {
        "y": Node("observed", "y\nNormal", ["mu", "sigma"]),
        "mu": Node("deterministic", "mu\ncomputed", ["a", "b"]),
        "a": Node("free", "a\nNormal", []),
        "b": Node("free", "b\n$x_{", []),  # no mathematics
        "sigma": Node("free", "sigma\nHalfNormal", []),
        "alone": Node("potential", "alone\npotential", []),
    }
    figure = draw_model(nodes)
    figure.canvas.draw()
    height = {one.get_text().split("\n")[0]: one.get_position()[1] for one in figure.axes[0].texts if one.get_text()}
    assert height.keys() == nodes.keys()
    for name, node in nodes.items():
        assert all(height[parent] > height[name] for parent in node.parents)
    assert height["sigma"] == height["mu"]  # just above what it is for
    plt.close(figure)
