"""Stages of an analysis file that make the posterior: fold, read or simulate events, sample."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pymc_gamma.analysis.modelling import EVENTS
from pymc_gamma.analysis.observing import Selected
from pymc_gamma.analysis.parameters import Scope, read_parameter
from pymc_gamma.analysis.plan import Plan
from pymc_gamma.analysis.results import as_netcdf, read_netcdf
from pymc_gamma.analysis.samplers import Sampler
from pymc_gamma.analysis.section import VALUE_ERRORS
from pymc_gamma.analysis.stages import Job, Stage, mark_of_files

__all__ = ["EventsMade", "EventsStage", "FoldStage", "SampleStage"]


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
    rounded = True  # positions are turned from one frame to another

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

    def __init__(self, plan: Plan, sampler: Sampler) -> None:
        self.plan, self.sampler = plan, sampler
        self.needs = plan.sources
        self.name = sampler.sampler

    def inputs(self) -> dict[str, Any]:
        """The model, and how it is sampled."""
        plan = self.plan
        results = {key: str(getattr(plan.config.results, key)) for key in ("expected_counts", "integrated_flux")}
        return {
            **plan.parts("components", "dark_matter", "models", "priors", "mixture", "systematics"),
            "fit": self.sampler.model_dump(),
            "results": results,
            **({"files of data": mark_of_files(plan.modelling.files())} if plan.config.of_tables else {}),
            "seed": plan.seed(self.name),
        }

    def compute(self, job: Job) -> Any:
        """See `Stage`."""
        import pymc_gamma as pmg

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
        made = pmg.annotate(made, built.model)
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
    try:
        scope = Scope({name: read_parameter(one, own_unit=True) for name, one in priors.items()})
        found: Any = read_parameter(prior, own_unit=True)
        return {"free around": found.reference(scope, found.unit or ""), "unit": found.unit}
    except VALUE_ERRORS:
        return prior
