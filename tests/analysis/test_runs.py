"""Analyses that are run, small ones: what is there afterwards, what is run again, what a report holds."""

import re
import shutil
from pathlib import Path

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from rich.console import Console
from scenes import SMALL, SOURCE, small

import pymc_gamma as pmg
from pymc_gamma.analysis import steps
from pymc_gamma.analysis.analysis import CHECKPOINTS
from pymc_gamma.analysis.samplers import nested
from pymc_gamma.analysis.templates import template, template_names
from pymc_gamma.errors import AnalysisFileError, FolderInUseError
from pymc_gamma.files import locked_folder

EXAMPLES = Path(__file__).parents[2] / "examples"
QUIET = Console(quiet=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore:IRFs of :pymc_gamma.errors.PymcGammaWarning"),  # real ones are repaired at load
    pytest.mark.filterwarnings("ignore:.* events lie outside:pymc_gamma.errors.PymcGammaWarning"),
    pytest.mark.filterwarnings("ignore:events outside the good time:pymc_gamma.errors.PymcGammaWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:arviz_stats"),  # of twenty draws there is not much to say
]


def why(analysis):
    return {name: state.why for name, state in analysis.states().items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Both samplers."""
    folder = tmp_path_factory.mktemp("small") / "results"
    return small("fit.sampler=[nuts, nested]", output=folder).run(console=QUIET)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "results"
    return pmg.Analysis.from_yaml(SOURCE, output=folder).run(console=QUIET)


def test_a_run_leaves_a_folder_for_each_stage(finished):
    files = {path.relative_to(finished.output).as_posix() for path in finished.output.rglob("*") if path.is_file()}
    seen = {name for name in files if not name.startswith("fold/response.zarr/")}
    assert seen == {
        *(f"{stage}/stage.json" for stage in ("fold", "events", "nuts", "nested", "predict", "report")),
        "events/events.fits",
        "events/events.json",
        "nuts/posterior.nc",
        "nested/posterior.nc",
        "predict/corner.png",
        "report/report.html",
    }
    assert set(why(finished).values()) == {"up to date"}


def test_results_are_those_of_the_library(finished):
    assert len(finished.events) == 40
    assert finished.truth["fraction"].tolist() == [0.5, 0.5]
    assert finished.response.component_names == ("hgps", "ccr")
    draws = finished.posterior["posterior"]["fraction"]
    assert draws.sizes == {"chain": 2, "draw": 20, "component": 2}
    evidence = finished.posteriors["nested"].attrs["log_evidence"]
    # the same by hand: the response, the model and the seed are all there is to it
    with pm.Model(coords=finished.response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, response=finished.response, observed=finished.events)
    seeds = np.random.SeedSequence(3).generate_state(4)
    by_hand = pmg.sample_nested(model, nlive=30, dlogz=0.5, random_seed=int(seeds[2]), progressbar=False)
    assert by_hand.attrs["log_evidence"] == pytest.approx(evidence, abs=1e-9)


def test_what_is_read_again_is_what_was_made(finished):
    again = small("fit.sampler=[nuts, nested]", output=finished.output)
    np.testing.assert_array_equal(again.events.to_rows(), finished.events.to_rows())
    np.testing.assert_array_equal(again.posterior["posterior"]["fraction"], finished.posterior["posterior"]["fraction"])
    densities = [one.response.density(finished.events) for one in (again, finished)]
    np.testing.assert_allclose(*densities, rtol=1e-12)
    point = again.model.initial_point()
    assert np.isfinite(again.model.compile_logp()(point))


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        ("fit.draws=30", ["nuts", "predict", "report"]),
        ("results.pictures=[]", ["predict", "report"]),
        ("mixture.concentrations.fraction=[1, 2]", ["events", "nuts", "nested", "predict", "report"]),
        ("general.seed=4", ["events", "nuts", "nested", "predict", "report"]),
        ("pointings.centre.livetime=2 h", ["fold", "events", "nuts", "nested", "predict", "report"]),
        ("components.hgps.exclude=[HESS J1745-290]", ["fold", "events", "nuts", "nested", "predict", "report"]),
        ("general.n_jobs=2", ["report"]),
    ],
)
def test_changes_run_what_depends_on_them(change, runs, finished):
    states = small("fit.sampler=[nuts, nested]", change, output=finished.output).states()
    assert [name for name, state in states.items() if not state.is_current] == runs


def test_widths_of_priors_do_not_fold_again(source):
    for change, runs in (
        ("priors.index.sigma=0.5", ["events", "nuts", "predict", "report"]),
        ("priors.index.mu=2.5", ["fold", "events", "nuts", "predict", "report"]),
    ):
        states = pmg.Analysis.from_yaml(SOURCE, set=[change], output=source.output).states()
        assert [name for name, state in states.items() if not state.is_current] == runs


def test_a_second_run_changes_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.output.rglob("*")}
    small("fit.sampler=[nuts, nested]", output=finished.output).run(console=QUIET)
    after = {path: path.stat().st_mtime_ns for path in finished.output.rglob("*")}
    assert {path: time for path, time in after.items() if path != finished.output} == {
        path: time for path, time in before.items() if path != finished.output
    }


def test_a_run_that_failed_half_way_has_a_report_and_goes_on(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.output, tmp_path / "results")
    for name in ("nested", "predict", "report"):
        shutil.rmtree(tmp_path / "results" / name)
    analysis = small("fit.sampler=[nuts, nested]", output=tmp_path / "results")

    def fail(*_, **__):
        raise ValueError("the sampler is lost")

    with monkeypatch.context() as patched:
        patched.setattr(nested.Nested, "run", fail)
        with pytest.raises(ValueError, match="the sampler is lost"):
            analysis.run(console=QUIET)
        page = analysis.report(console=QUIET).read_text(encoding="utf-8")
    assert "fraction" in page
    states = why(small("fit.sampler=[nuts, nested]", output=tmp_path / "results"))
    assert states["nuts"] == "up to date"
    assert states["nested"] == "not there yet"
    assert "missing" in states["report"]
    again = small("fit.sampler=[nuts, nested]", output=tmp_path / "results").run(console=QUIET)
    assert again.posteriors["nested"].attrs["log_evidence"] == finished.posteriors["nested"].attrs["log_evidence"]


def test_a_sampler_that_was_stopped_goes_on_from_its_checkpoint(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.output, tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "nested")
    calls = []
    original = pmg.sample_nested

    def told(*arguments, **options):
        calls.append(options["resume"])
        return original(*arguments, **options)

    def lost(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(pmg, "sample_nested", told)
    with monkeypatch.context() as patched:
        patched.setattr(steps, "as_netcdf", lost)
        with pytest.raises(OSError, match="the disk is full"):
            small("fit.sampler=[nuts, nested]", output=tmp_path / "results").run(console=QUIET)
    assert list((tmp_path / "results" / CHECKPOINTS).iterdir())
    again = small("fit.sampler=[nuts, nested]", output=tmp_path / "results").run(console=QUIET)
    assert calls == [False, True]
    evidence = [one.posteriors["nested"].attrs["log_evidence"] for one in (again, finished)]
    assert evidence[0] == pytest.approx(evidence[1], abs=1e-6)
    assert not (tmp_path / "results" / CHECKPOINTS).exists()


def test_a_report_of_nothing_says_so(tmp_path):
    page = small(output=tmp_path).report(console=QUIET).read_text(encoding="utf-8")
    assert "There is no posterior: no stage of a sampler has run to its end." in page
    with pytest.raises(AnalysisFileError, match=r"results\.report is false"):
        small("results.report=false", output=tmp_path).report(console=QUIET)


def test_a_source_of_free_spectrum(source):
    posterior = source.posterior["posterior"]
    assert {"index", "star.spectral.amplitude", "ccr.norm", "events_expected_counts", "events_flux"} <= set(posterior)
    assert posterior["star.spectral.amplitude"].attrs["units"] == "TeV-1 cm-2 s-1"
    assert posterior["ccr.norm"].dims == ("chain", "draw", "observation")
    assert posterior["observation"].values.tolist() == ["a", "b"]
    assert source.truth["index"] == 2.2
    np.testing.assert_allclose(source.truth["ccr.norm"], [1, 1.1])
    assert (source.output / "predict" / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    page = (source.output / "report" / "report.html").read_text(encoding="utf-8")
    assert "star.spectral.amplitude" in page
    assert "lon_0: 0.3 deg" in page  # the file that made it


def test_the_model_is_that_of_the_library(source):
    """Log-likelihoods at some values, against a model that is written by hand."""
    theirs = source.model
    response = source.response
    values = {"index": 2.3, "star.spectral.amplitude": 1.5e-11, "ccr.norm": np.array([0.9, 1.2])}
    with pm.Model(coords=response.coords, model=None) as mine:
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            spectra={
                "star": pmg.PowerLaw(index=2.3, amplitude=1.5e-11),
                "ccr": pmg.PowerLawNorm(norm=np.array([0.9, 1.2])),
            },
            observed=source.events,
        )
    known = pm.do(theirs, values)
    logp = [float(one.compile_logp(vars=[one["events"]])({})) for one in (known, mine)]
    assert logp[0] == pytest.approx(logp[1], rel=1e-10)


def test_runs_into_one_folder_do_not_meet(tmp_path):
    with locked_folder(tmp_path), pytest.raises(FolderInUseError):
        small(output=tmp_path).run(console=QUIET)


def test_folders_of_the_user_stay(tmp_path):
    (tmp_path / "fold").mkdir()
    (tmp_path / "fold" / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="no result of an analysis"):
        small(output=tmp_path).run(console=QUIET)
    assert (tmp_path / "fold" / "thesis.tex").read_text() == "precious"


def test_results_are_asked_for_after_a_run(tmp_path):
    with pytest.raises(AnalysisFileError, match="'nuts' has not run yet"):
        _ = small(output=tmp_path).posterior


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["pointings.centre.irf=none.fits"], r"pointings\.0\.irf: there is no file .*none\.fits"),
        (["components.0={kind: hgps, path: none.fits}"], r"components\.0: .*none\.fits"),
        (["components.0={kind: diffuse}", "datasets.geom.wcs.width.width=20 deg"], r"template"),
        (["datasets.exclude=[none.reg]"], r"datasets\.exclude\.0: there is no file"),
        (["datasets.geom.axes.energy.min=20 TeV"], r"datasets\.geom: "),
        (["models=none.yaml"], r"models: there is no file .*none\.yaml"),
        (["simulate.values.fractoin=[1, 0]"], r"no variable 'fractoin'; did you mean 'fraction'"),
        (["simulate.values.fraction=[0.5, 0.6]"], r"sum to 1, got \[0\.5, 0\.6\]"),
        (["simulate.values.fraction={hgps: 1}"], r"give a value for each of \['hgps', 'ccr'\]"),
        (["mixture.tree={a: [hgps], b: [dm]}"], r"leaves of the mixture tree"),
        (["mixture.concentrations.fractoin=1"], r"no node 'fractoin'"),
        (["mixture.concentrations.fraction=[1, 2, 3]"], r"one for each of \['hgps', 'ccr'\]"),
        (["systematics=[{type: EffectiveAreaNorm}]"], r"analysis: events: a factor on all events"),
    ],
)
def test_what_cannot_be_made_is_told_with_its_line(changes, told, tmp_path):
    with pytest.raises(AnalysisFileError, match=told):
        small(*changes, output=tmp_path).run(console=QUIET)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("{datastore: nowhere}", r"there is no folder .*nowhere"),
        ("{datastore: hess-dl3-dr1-crab, obs_ids: [23523, 1]}", r"no runs \[1\]"),
        ("{datastore: hess-dl3-dr1-crab, obs_file: none.txt}", r"there is no file .*none\.txt"),
        ("{datastore: hess-dl3-dr1-crab, obs_cone: {lon: 0 deg, lat: 0 deg, radius: 1 deg}}", r"no run is left"),
    ],
)
def test_runs_that_are_not_there_are_named(section, told, tmp_path):
    changes = [f"observations={section}", f"general.outdir={tmp_path}"]
    with pytest.raises(AnalysisFileError, match=told):
        pmg.Analysis.from_yaml(template("crab"), set=changes).check()


def test_runs_by_file_and_cone(tmp_path):
    (tmp_path / "runs.txt").write_text("# good ones\n23526  # second\n23523\n", encoding="utf-8")
    section = f"{{datastore: hess-dl3-dr1-crab, obs_file: {tmp_path / 'runs.txt'}}}"
    chosen = pmg.Analysis.from_yaml(template("crab"), set=[f"observations={section}"])
    with chosen._plan(QUIET) as plan:
        assert [one.name for one in plan.observing.observations] == ["23526", "23523"]
    near = "{lon: 83.63 deg, lat: 22.01 deg, radius: 1 deg}"
    section = f"{{datastore: hess-dl3-dr1-crab, obs_cone: {near}}}"
    chosen = pmg.Analysis.from_yaml(template("crab"), set=[f"observations={section}"])
    with chosen._plan(QUIET) as plan:
        assert [one.name for one in plan.observing.observations] == ["23523", "23526"]


def test_examples_are_the_templates():
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(template_names())
    for name in template_names():
        assert (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8") == template(name)


def test_the_example_of_real_data_runs(tmp_path):
    changes = ["fit.draws=30", "fit.tune=60", "fit.chains=1", "observations.obs_ids=[23523, 23526]"]
    made = pmg.Analysis.read(EXAMPLES / "crab.yaml", set=changes, output=tmp_path).run(console=QUIET)
    position = made.response.roi
    assert position.frame == "icrs"
    # the events are those that the library selects of these runs
    from gammapy.data import DataStore

    runs = DataStore.from_dir(pmg.datasets.path("hess-dl3-dr1-crab")).get_observations([23523, 23526])
    observations = pmg.Observation.list_from_gammapy(runs)
    assert len(made.events) == len(pmg.Events.from_gammapy(runs, roi=made.response.roi, observations=observations))
    alpha = made.posterior["posterior"]["crab.spectral.alpha"]
    assert 1.5 < float(alpha.mean()) < 3.0
    flux = made.posterior["posterior"]["events_flux"]
    assert 1e-11 < float(flux.mean()) < 5e-11
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert re.search("outside the good time of their run", page)
    assert "No scientific publications" in page or "no scientific publications" in page


def test_the_example_of_dark_matter_runs(tmp_path):
    changes = ["fit.draws=20", "fit.tune=30", "fit.chains=1", "simulate.n_events=150", "pointings=" + SHORT]
    made = pmg.Analysis.read(EXAMPLES / "dark-matter.yaml", set=changes, output=tmp_path).run(console=QUIET)
    posterior = made.posterior["posterior"]
    assert {"mass", "mixture", "dm", "bkg", "fraction"} <= set(posterior)
    assert made.truth["mass"] == 10
    assert np.all((posterior["mass"] >= 1) & (posterior["mass"] <= 20))
    np.testing.assert_allclose(made.truth["fraction"][:4], 0.125)
    assert posterior["mass"].attrs["units"] == "TeV"
    assert np.all(posterior["WW.sigmav"] > 0)
    assert posterior["WW.sigmav"].attrs["units"] == "cm3 s-1"


SHORT = "[{lon: 0 deg, lat: 0 deg, livetime: 5 h}]"


def test_gammapy_models_in_a_file(tmp_path):
    from gammapy.modeling.models import (
        GaussianPrior,
        Models,
        PointSpatialModel,
        PowerLawSpectralModel,
        SkyModel,
    )

    spatial = PointSpatialModel(lon_0="0.3 deg", lat_0="0 deg", frame="galactic")
    spatial.freeze()
    spectral = PowerLawSpectralModel(index=2.2, amplitude="2e-11 TeV-1 cm-2 s-1")
    spectral.index.prior = GaussianPrior(mu=2.2, sigma=0.3)
    Models([SkyModel(spectral, spatial, name="star")]).write(tmp_path / "models.yaml")
    (tmp_path / "analysis.yaml").write_text(
        SOURCE.partition("priors:")[0]
        + "models: models.yaml\n"
        + "mixture: {likelihood: poisson}\nsimulate: {values: {star.spectral.index: 2.2}}\n"
        + "fit: {draws: 10, tune: 10, chains: 1}\nresults: {pictures: []}\n",
        encoding="utf-8",
    )
    analysis = pmg.Analysis.read(tmp_path / "analysis.yaml")
    analysis.check()
    with analysis._plan(QUIET) as plan:
        assert [one.name for one in plan.modelling.sky] == ["star", "ccr"]  # as from_gammapy: the background as well
        built = plan.modelling.build(plan.modelling.fold())
    assert {one.name for one in built.model.free_RVs} == {"star.spectral.index", "star.spectral.amplitude", "events"}
    assert built.units["star.spectral.amplitude"] == "1 / (TeV s cm2)"
    with pytest.raises(AnalysisFileError, match="freeze"):
        pmg.Analysis.read(
            tmp_path / "analysis.yaml", set=["mixture.likelihood=mixture", "simulate.n_events=10"]
        ).check()


def test_events_of_a_file(tmp_path, source):
    events = source.events
    events.write(tmp_path / "mine.fits")
    changes = ["simulate=null", f"observations={{events: {tmp_path / 'mine.fits'}}}", "results.pictures=[]"]
    analysis = pmg.Analysis.from_yaml(SOURCE, set=changes, output=tmp_path / "results")
    with analysis._plan(QUIET) as plan:
        selected = plan.observing.events()
    assert len(selected.events) == len(events)
    narrow = pmg.Analysis.from_yaml(SOURCE, set=[*changes, "datasets.geom.axes.energy.min=2 TeV"])
    with narrow._plan(QUIET) as plan:
        selected = plan.observing.events()
    assert len(selected.events) == int((events.energy >= 2 * u.TeV).sum())
    assert sum(selected.left_out.values()) == len(events) - len(selected.events)
    missing = pmg.Analysis.from_yaml(SOURCE, set=["simulate=null", "observations={events: none.fits}"])
    with pytest.raises(AnalysisFileError, match=r"observations\.events: .*none\.fits"):
        missing.check()


def test_text_of_small_is_a_valid_file():
    assert SMALL.startswith("version: 1")
