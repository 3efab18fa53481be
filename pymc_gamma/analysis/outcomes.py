"""Stages of an analysis file after the posterior: predict, report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from pymc_gamma.analysis.modelling import EVENTS, FRACTION, Built
from pymc_gamma.analysis.pictures import picture_named
from pymc_gamma.analysis.plan import Plan
from pymc_gamma.analysis.results import as_netcdf, as_png, read_netcdf
from pymc_gamma.analysis.stages import Job, Stage
from pymc_gamma.analysis.steps import EventsMade

__all__ = ["REPORT_FILE", "PredictStage", "Predicted", "ReportStage", "Seen"]

PREDICTIVE_FILE, REPORT_FILE = "predictive.nc", "report.html"
MOST_DRAWS = 100
"""Draws of the posterior for which events are simulated."""
MOST_SHOWN = 8
"""Numbers in a picture of the posterior."""


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
        self.needs = (*plan.sources, *(one.sampler for one in plan.config.fit.samplers))

    def inputs(self) -> dict[str, Any]:
        """Which pictures."""
        return {"results": list(self.plan.config.results.pictures), "seed": self.plan.seed("predict")}

    def compute(self, job: Job) -> Predicted:
        """See `Stage`."""
        plan = self.plan
        posteriors = {one.label: job.value(one.sampler) for one in plan.config.fit.samplers}
        made: EventsMade | None = job.found("events")
        first = next(iter(posteriors.values()))
        needs_draws = plan.modelling.needs_draws
        spectra: dict[str, Any] = {}
        if needs_draws:
            spectra = _fluxes(plan.built(job), job.value("fold"))
            with plan.bars.run("draw events from the posterior"):
                first = self._predictive(first, plan.built(job).model)
        with plan.bars.run("draw the pictures"):
            known = [name for name in first["posterior"].to_dataset() if not str(name).startswith(f"{EVENTS}_")]
            labels = [FRACTION] if FRACTION in known else [str(name) for name in known]
            labels += [str(name) for name in known if str(name) not in labels and not _is_node(str(name), first)]
            events, truth = (None, {}) if made is None else (made.selected.events, made.truth)
            seen = Seen(events, job.found("fold"), posteriors, truth, spectra, needs_draws, first, labels)
            chosen = {name: picture_named(name) for name in plan.config.results.pictures}
            pictures = {
                f"{name}.png": one.draw(seen, plan.seed("predict"))
                for name, one in chosen.items()
                if made is not None or not one.needs_events
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
        self.needs = (*plan.sources, *(one.sampler for one in plan.config.fit.samplers), "predict")

    def inputs(self) -> dict[str, Any]:
        """The file as it was written, and changes of it."""
        data = dict(self.plan.document.data)
        data["general"] = {key: one for key, one in (data.get("general") or {}).items() if key != "outdir"}
        return {"text of the file": self.plan.document.text, "values": data}

    def compute(self, job: Job) -> str:
        """See `Stage`."""
        from pymc_gamma.analysis.report_of_file import page_of

        with self.plan.bars.run("write the report"):
            return page_of(self.plan, job, self.needs)

    def write(self, value: str, folder: Path) -> None:
        """See `Stage`."""
        (folder / REPORT_FILE).write_text(value, encoding="utf-8")

    def read(self, folder: Path) -> str:
        """See `Stage`."""
        return (folder / REPORT_FILE).read_text(encoding="utf-8")


def _fluxes(built: Built, response: Any) -> dict[str, Any]:
    """Spectra of sources as fluxes: those of halos with the J or D factor of the region."""
    from pymc_gamma.model.component import flux_scale

    def flux(energy: Any, spectrum: Any, scale: Any) -> Any:
        return spectrum(energy) * scale

    return {
        name: partial(flux, spectrum=one, scale=flux_scale(response, name, built.shapes.get(name)))
        for name, one in built.spectra.items()
        if name not in response.instrumental
    }


def _is_node(name: str, tree: Any) -> bool:
    """Whether a variable holds the shares of a node of a tree, which the fractions say too."""
    return any(str(dim).endswith("_child") for dim in tree["posterior"][name].dims)
