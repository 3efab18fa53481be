"""The stages of an analysis file: fold, read or simulate events, sample, predict, report."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from pymc_gamma.analysis.document import Document
from pymc_gamma.analysis.modelling import EVENTS, FRACTION, Built, Modelling
from pymc_gamma.analysis.observing import Observing, Selected
from pymc_gamma.analysis.parameters import read_parameter
from pymc_gamma.analysis.pictures import picture_named
from pymc_gamma.analysis.progress import Bars
from pymc_gamma.analysis.samplers import Sampler
from pymc_gamma.analysis.schema import AnalysisConfig
from pymc_gamma.analysis.section import VALUE_ERRORS
from pymc_gamma.analysis.stages import Job, Stage, mark_of_files

__all__ = ["Plan", "Predicted", "Seen", "as_netcdf", "as_png", "combined", "stages_of"]

DPI = 130
EVIDENCE = ("log_evidence", "log_evidence_err")
"""Attributes of the results of samplers that give it."""
PREDICTIVE_FILE, REPORT_FILE = "predictive.nc", "report.html"
MOST_DRAWS = 200
"""Draws of the posterior for which events are simulated."""
MOST_SHOWN = 8
"""Numbers in a picture of the posterior."""


@dataclass(eq=False)
class Plan:
    """What all stages of an analysis share.

    Parameters
    ----------
    config : AnalysisConfig
        The analysis.
    document : Document
        The file.
    bars : Bars
        What the user sees.
    """

    config: AnalysisConfig
    document: Document
    bars: Bars
    checkpoints: Path | None = None

    @cached_property
    def observing(self) -> Observing:
        """Observations."""
        return Observing(self.config, self.document)

    @cached_property
    def modelling(self) -> Modelling:
        """Model."""
        return Modelling(self.config, self.document, self.observing)

    @cached_property
    def random_names(self) -> list[str]:
        """Stages that draw random numbers."""
        return ["events", *(one.sampler for one in self.config.fit.samplers), "predict"]

    def seed(self, name: str) -> int:
        """Seed of a stage."""
        names = self.random_names
        states = np.random.SeedSequence(self.config.general.seed).generate_state(len(names))
        return int(states[names.index(name)])

    def parts(self, *keys: str) -> dict[str, Any]:
        """What the file says under some keys."""
        return {key: self.document.data.get(key) for key in keys}

    def built(self, job: Job) -> Built:
        """The model of the events, made when it is first needed."""
        if self._built is None:
            with self.bars.run("fold the events"):
                self._built = self.modelling.build(job.value("fold"), job.value("events").selected.events)
        return self._built

    _built: Built | None = field(default=None, init=False)


class FoldStage(Stage):
    """The sky folded through the instrument response."""

    name = "fold"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def inputs(self) -> dict[str, Any]:
        """Observations and components; of priors where they are centred."""
        plan = self.plan
        parts: dict[str, Any] = plan.parts("observations", "pointings", "models")
        data = dict(plan.document.data.get("datasets") or {})
        data.pop("binned", None)
        priors = plan.document.data.get("priors") or {}
        files = [*plan.observing.files(), *plan.modelling.files()]
        return {
            **parts,
            "datasets": data,
            **{key: _where_folded(plan.document.data.get(key), priors) for key in ("components", "dark_matter")},
            "files of data": mark_of_files(files),
        }

    def compute(self, job: Job) -> Any:
        """See `Stage`."""
        with self.plan.bars.run("fold the sky through the instrument response"):
            return self.plan.modelling.fold()

    def write(self, value: Any, folder: Path) -> None:
        """See `Stage`."""
        value.save(folder / "response.zarr")

    def read(self, folder: Path) -> Any:
        """See `Stage`."""
        import pymc_gamma as pmg

        return pmg.Response.load(folder / "response.zarr")


@dataclass(frozen=True, eq=False)
class EventsMade:
    """Events, and the values that they were simulated with.

    Parameters
    ----------
    selected : Selected
        Events.
    truth : dict
        Values of variables; empty if the events are real.
    """

    selected: Selected
    truth: dict[str, Any] = field(default_factory=dict)


class EventsStage(Stage):
    """Events, read or simulated."""

    name = "events"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.needs = () if plan.config.simulate is None else ("fold",)

    def inputs(self) -> dict[str, Any]:
        """Data, or all that a simulation takes."""
        plan = self.plan
        if plan.config.simulate is None:
            parts = plan.parts("observations", "pointings", "datasets")
            return {**parts, "files of data": mark_of_files(plan.observing.files())}
        keys = ("simulate", "components", "dark_matter", "models", "priors", "mixture", "systematics")
        binned = (plan.document.data.get("datasets") or {}).get("binned")
        return {**plan.parts(*keys), "datasets.binned": binned, "general.seed": plan.config.general.seed}

    def compute(self, job: Job) -> EventsMade:
        """See `Stage`."""
        simulate = self.plan.config.simulate
        if simulate is None:
            with self.plan.bars.run("read the events"):
                return EventsMade(self.plan.observing.events())
        many = "" if simulate.n_events is None else f" {simulate.n_events}"
        with self.plan.bars.run(f"simulate{many} events"):
            return self._simulated(job.value("fold"))

    def _simulated(self, response: Any) -> EventsMade:
        import pymc as pm

        import pymc_gamma as pmg

        built = self.plan.modelling.build(response)
        truth = self.plan.modelling.true_values(built)
        known = pm.do(built.model, truth) if truth else built.model
        # Python draws the events either way: compiling the graph would only cost time.
        prior = pm.sample_prior_predictive(
            draws=1, model=known, random_seed=self.plan.seed("events"), compile_kwargs={"mode": "FAST_COMPILE"}
        )
        events = pmg.Events.from_predictive(prior, response)
        for name, draws in prior.children["prior"].to_dataset().items() if "prior" in prior.children else ():
            if str(name) != EVENTS:
                truth[str(name)] = np.asarray(draws.values[0, 0])
        return EventsMade(Selected(self.plan.observing.binned(events), float(len(events))), truth)

    def write(self, value: EventsMade, folder: Path) -> None:
        """See `Stage`."""
        value.selected.events.write(folder / "events.fits")
        told = {
            "n_read": value.selected.n_read,
            "left_out": value.selected.left_out,
            "truth": {name: np.asarray(one).tolist() for name, one in value.truth.items()},
        }
        (folder / "events.json").write_text(json.dumps(told, indent=1), encoding="utf-8")

    def read(self, folder: Path) -> EventsMade:
        """See `Stage`."""
        import pymc_gamma as pmg

        told = json.loads((folder / "events.json").read_text(encoding="utf-8"))
        events = pmg.Events.read(folder / "events.fits")
        truth = {name: np.asarray(one) for name, one in told["truth"].items()}
        return EventsMade(Selected(events, told["n_read"], told["left_out"]), truth)


class SampleStage(Stage):
    """The posterior, by one sampler."""

    needs = ("fold", "events")

    def __init__(self, plan: Plan, sampler: Sampler) -> None:
        self.plan, self.sampler = plan, sampler
        self.name = sampler.sampler

    def inputs(self) -> dict[str, Any]:
        """The model, and how it is sampled."""
        plan = self.plan
        results = {key: str(getattr(plan.config.results, key)) for key in ("expected_counts", "integrated_flux")}
        return {
            **plan.parts("components", "dark_matter", "models", "priors", "mixture", "systematics"),
            "fit": self.sampler.model_dump(),
            "results": results,
            "seed": plan.seed(self.name),
        }

    def compute(self, job: Job) -> Any:
        """See `Stage`."""
        built = self.plan.built(job)
        checkpoint = None
        if self.plan.checkpoints is not None:
            mark = job.states()[self.name].mark
            checkpoint = self.plan.checkpoints / f"{self.name}-{mark[:16]}"
        with self.plan.bars.run(self.sampler.title, total=self.sampler.total) as advance:
            made = self.sampler.run(
                built.model,
                seed=self.plan.seed(self.name),
                n_jobs=self.plan.config.general.n_jobs,
                advance=advance,
                checkpoint=checkpoint,
            )
        for name, unit in built.units.items():
            if name in made["posterior"]:
                made["posterior"][name].attrs["units"] = unit
        return made

    def write(self, value: Any, folder: Path) -> None:
        """See `Stage`."""
        (folder / "posterior.nc").write_bytes(as_netcdf(value))

    def read(self, folder: Path) -> Any:
        """See `Stage`."""
        return read_netcdf(folder / "posterior.nc")


@dataclass(eq=False)
class Seen:
    """What pictures are made of.

    Parameters
    ----------
    events : Events
        The events.
    response : Response
        The response.
    posteriors : dict
        Of each sampler, by a name for the legend.
    truth : dict
        Values that events were simulated with.
    spectra : dict
        Spectra of sources of free spectrum.
    needs_draws : bool
        Whether counts come from draws of events.
    predictive : xarray.DataTree
        The first posterior, with draws of events if these are needed.
    """

    events: Any
    response: Any
    posteriors: Mapping[str, Any]
    truth: Mapping[str, Any]
    spectra: Mapping[str, Any]
    needs_draws: bool
    predictive: Any
    labels: list[str] = field(default_factory=list)

    @property
    def posterior(self) -> Any:
        """Of the first sampler."""
        return next(iter(self.posteriors.values()))

    @cached_property
    def sky(self) -> Any:
        """Cells that several pictures share."""
        from pymc_gamma.plotting import SkyCells
        from pymc_gamma.plotting.counts import default_cells

        return SkyCells.from_response(self.response, default_cells(self.events))

    @property
    def names(self) -> dict[str, str]:
        """Keywords of pictures of counts."""
        return {"predictive": EVENTS} if self.needs_draws else {}

    @property
    def energy_range(self) -> Any:
        """Range of reconstructed energy."""
        import astropy.units as u

        return u.Quantity([self.response.roi.energy_min, self.response.roi.energy_max], "TeV")

    @property
    def variables(self) -> list[str]:
        """Variables of the model, as many as a picture can show."""
        posterior = self.posterior["posterior"].to_dataset()
        found: list[str] = []
        n = 0
        for name in self.labels:
            size = int(np.prod([posterior[name].sizes[dim] for dim in posterior[name].dims[2:]])) or 1
            if n + size <= MOST_SHOWN or not found:
                found.append(name)
                n += size
        return found


@dataclass(frozen=True, eq=False)
class Predicted:
    """What follows from a posterior.

    Parameters
    ----------
    pictures : dict
        Figures by the name of their file; paths of these where they were drawn before.
    predictive : xarray.DataTree, optional
        Draws of events, where they were needed.
    """

    pictures: dict[str, Any]
    predictive: Any = None


class PredictStage(Stage):
    """Draws of events from the posterior, and pictures."""

    name = "predict"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.needs = ("fold", "events", *(one.sampler for one in plan.config.fit.samplers))

    def inputs(self) -> dict[str, Any]:
        """Which pictures."""
        return {"results": list(self.plan.config.results.pictures), "seed": self.plan.seed("predict")}

    def compute(self, job: Job) -> Predicted:
        """See `Stage`."""
        plan = self.plan
        posteriors = {one.label: job.value(one.sampler) for one in plan.config.fit.samplers}
        made: EventsMade = job.value("events")
        first = next(iter(posteriors.values()))
        needs_draws = plan.modelling.needs_draws
        spectra: dict[str, Any] = {}
        if needs_draws:
            instrumental = job.value("fold").instrumental
            spectra = {name: one for name, one in plan.built(job).spectra.items() if name not in instrumental}
            with plan.bars.run("draw events from the posterior"):
                first = self._predictive(first, plan.built(job).model)
        with plan.bars.run("draw the pictures"):
            known = [name for name in first["posterior"].to_dataset() if not str(name).startswith(f"{EVENTS}_")]
            labels = [FRACTION] if FRACTION in known else [str(name) for name in known]
            labels += [str(name) for name in known if str(name) not in labels and not _is_node(str(name), first)]
            seen = Seen(
                made.selected.events, job.value("fold"), posteriors, made.truth, spectra, needs_draws, first, labels
            )
            pictures = {
                f"{name}.png": picture_named(name).draw(seen, plan.seed("predict"))
                for name in plan.config.results.pictures
            }
        return Predicted(pictures, first if needs_draws else None)

    def _predictive(self, posterior: Any, model: Any) -> Any:
        import pymc as pm

        draws = posterior["posterior"].to_dataset()
        n = draws.sizes["chain"] * draws.sizes["draw"]
        thinned = posterior.isel(draw=slice(None, None, max(1, n // MOST_DRAWS)))
        return pm.sample_posterior_predictive(
            thinned,
            model=model,
            var_names=[EVENTS],
            random_seed=self.plan.seed("predict"),
            progressbar=False,
            extend_inferencedata=True,
            compile_kwargs={"mode": "FAST_COMPILE"},
        )

    def write(self, value: Predicted, folder: Path) -> None:
        """See `Stage`."""
        for name, picture in value.pictures.items():
            (folder / name).write_bytes(as_png(picture))
        if value.predictive is not None:
            (folder / PREDICTIVE_FILE).write_bytes(as_netcdf(value.predictive))

    def read(self, folder: Path) -> Predicted:
        """See `Stage`."""
        path = folder / PREDICTIVE_FILE
        return Predicted(
            {one.name: one for one in sorted(folder.glob("*.png"))}, read_netcdf(path) if path.is_file() else None
        )


class ReportStage(Stage):
    """A page about all of it."""

    name = "report"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.needs = ("fold", "events", *(one.sampler for one in plan.config.fit.samplers), "predict")

    def inputs(self) -> dict[str, Any]:
        """The file as it was written, and changes of it."""
        return {"text of the file": self.plan.document.text, "values": self.plan.document.data}

    def compute(self, job: Job) -> str:
        """See `Stage`."""
        import pymc_gamma as pmg

        plan = self.plan
        with plan.bars.run("write the report"), TemporaryDirectory() as folder:
            response, made = job.found("fold"), job.found("events")
            events = None if made is None else made.selected.events
            posteriors = {one.sampler: job.found(one.sampler) for one in plan.config.fit.samplers}
            posteriors = {name: tree for name, tree in posteriors.items() if tree is not None}
            idata = combined(posteriors) if posteriors else None
            predicted = job.found("predict")
            if idata is not None and predicted is not None and predicted.predictive is not None:
                idata["posterior_predictive"] = predicted.predictive["posterior_predictive"]
            built = plan.built(job) if response is not None and events is not None else None
            path = pmg.report(
                idata,
                response,
                Path(folder) / REPORT_FILE,
                events=events,
                model=None if built is None else built.model,
                config=plan.document.text,
                sections=None if made is None else {"Events that were read": lambda _: _told_events(made.selected)},
            )
            return path.read_text(encoding="utf-8")

    def write(self, value: str, folder: Path) -> None:
        """See `Stage`."""
        (folder / REPORT_FILE).write_text(value, encoding="utf-8")

    def read(self, folder: Path) -> str:
        """See `Stage`."""
        return (folder / REPORT_FILE).read_text(encoding="utf-8")


def stages_of(plan: Plan) -> list[Stage]:
    """Stages of an analysis, in order."""
    samplers = [SampleStage(plan, one) for one in plan.config.fit.samplers]
    report = [ReportStage(plan)] if plan.config.results.report else []
    return [FoldStage(plan), EventsStage(plan), *samplers, PredictStage(plan), *report]


def combined(posteriors: Mapping[str, Any]) -> Any:
    """Results of several samplers in one tree: that of the first, and groups of the others under their names."""
    names = list(posteriors)
    tree = posteriors[names[0]].copy()
    for name in names:
        other = posteriors[name]
        tree.attrs |= {key: other.attrs[key] for key in EVIDENCE if key in other.attrs}
        if name == names[0]:
            continue
        for group in other.children:
            if not group.endswith("_data"):  # observed and constant data are those of the first
                tree[group if group.startswith(name) else f"{name}_{group}"] = other[group]
    return tree


def _told_events(selected: Selected) -> str:
    from html import escape

    rows = [*selected.left_out.items(), ("kept", selected.n_read - sum(selected.left_out.values()))]
    told = "".join(f"<tr><td>{escape(reason)}</td><td>{n:g}</td></tr>" for reason, n in rows)
    return f"<table><tr><th>Events</th><th>Number</th></tr>{told}</table>"


def read_netcdf(path: Path) -> Any:
    """Content of a file of netCDF, in memory."""
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return tree.load()


def as_netcdf(tree: Any) -> bytes:
    """Content of a file of netCDF.

    In memory: HDF5 crashes the process at its end when the disk was full while it wrote.
    """
    return bytes(tree.to_netcdf(engine="h5netcdf"))


def as_png(figure: Any) -> bytes:
    """Content of a picture, which is closed."""
    import matplotlib.pyplot as plt

    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    plt.close(figure)
    return picture.getvalue()


def _is_node(name: str, tree: Any) -> bool:
    """Whether a variable holds the shares of a node of a tree, which the fractions say too."""
    return any(str(dim).endswith("_child") for dim in tree["posterior"][name].dims)


def _where_folded(value: Any, priors: Mapping[str, Any]) -> Any:
    """Components as the response depends on them: of each prior where it is centred."""
    if isinstance(value, dict):
        if "prior" in value:
            return _centre(value, priors)
        return {key: _where_folded(one, priors) for key, one in value.items() if key not in ("norm", "tilt")}
    if isinstance(value, list):
        return [_where_folded(one, priors) for one in value]
    if isinstance(value, str) and value in priors:
        return _centre(priors[value], priors)
    return value


def _centre(prior: Any, priors: Mapping[str, Any]) -> Any:
    from pymc_gamma.analysis.parameters import Scope

    try:
        scope = Scope({name: read_parameter(one, own_unit=True) for name, one in priors.items()})
        found: Any = read_parameter(prior, own_unit=True)
        return {"free around": found.reference(scope, found.unit or ""), "unit": found.unit}
    except VALUE_ERRORS:
        return prior
