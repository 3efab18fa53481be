"""What a report is about, and what of it is there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_gamma.analysis.report_advice import OF_PYTHON, Advice
from pymc_gamma.errors import PymcGammaError
from pymc_gamma.events import Events
from pymc_gamma.inference.posterior import SAMPLE_DIMS, posterior_dataset
from pymc_gamma.inference.summary import summary

if TYPE_CHECKING:
    import pandas as pd
    import pymc as pm

    from pymc_gamma.analysis.report_page import Html
    from pymc_gamma.plotting import SkyCells
    from pymc_gamma.response import Response

__all__ = ["LeftOut", "ReportInput", "Section", "first_scalars", "scalars"]

PREDICTIVE = "posterior_predictive"
INTERVAL = 0.9
"""Share of the draws that intervals of parameters hold."""
MOST_SCALARS = 2000
"""Scalars of a posterior that are summarised; each takes some milliseconds."""


class LeftOut(PymcGammaError):
    """A section that has nothing to show; the message says why, as a sentence."""


@dataclass(frozen=True, eq=False)
class ReportInput:
    """What a report is about; each may be missing.

    Parameters
    ----------
    idata : `xarray.DataTree`, optional
        Results of a sampler.
    response : Response, optional
        The response of the model.
    given_events : Events, optional
        Events as they were given.
    model : pymc.Model, optional
        The model.
    config : str, optional
        Text of the file that made the results.
    spectra : mapping of str to callable, optional
        Spectra of components, as the model has them.
    truth : mapping of str to array_like, optional
        True values of variables, of simulated events.
    advice : Advice
        How the reader does what the report tells to do.
    """

    idata: xr.DataTree | None = None
    response: "Response | None" = None
    given_events: Events | None = None
    model: "pm.Model | None" = None
    config: str | None = None
    spectra: Mapping[str, Callable[[Any], Any]] | None = None
    truth: Mapping[str, Any] = field(default_factory=dict)
    advice: Advice = OF_PYTHON

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of the results."""
        return () if self.idata is None else tuple(self.idata.children)

    def group(self, name: str) -> xr.Dataset | None:
        """A group of the results, if there is one."""
        return self.idata[name].to_dataset() if self.idata is not None and name in self.groups else None

    def attribute(self, name: str) -> Any:
        """Attribute of the results or of their posterior; None if there is none."""
        if self.idata is None:
            return None
        nested = self.idata["posterior"].attrs if "posterior" in self.groups else {}
        return self.idata.attrs.get(name, nested.get(name))

    @cached_property
    def folded(self) -> "Response":
        """The response.

        Raises
        ------
        LeftOut
            If there is none.
        """
        if self.response is None:
            raise LeftOut(self.advice.response)
        return self.response

    @cached_property
    def posterior(self) -> xr.Dataset:
        """Draws of the posterior.

        Raises
        ------
        LeftOut
            If there are none; says what there is.
        """
        if self.idata is None:
            raise LeftOut(self.advice.results)
        if "posterior" not in self.groups and not self.idata.has_data:
            there = f"The results hold {', '.join(self.groups)}" if self.groups else "The results are empty"
            raise LeftOut(f"{there}; there is no posterior: nothing was sampled, or the sampler failed.")
        posterior = posterior_dataset(self.idata)
        if not posterior.data_vars or not all(posterior.sizes[dim] for dim in SAMPLE_DIMS if dim in posterior.sizes):
            raise LeftOut("The posterior holds no draws.")
        return posterior

    @property
    def results(self) -> xr.DataTree:
        """Results of a sampler that hold a posterior.

        Raises
        ------
        LeftOut
            If they do not.
        """
        _ = self.posterior
        assert self.idata is not None
        return self.idata

    @cached_property
    def summarised(self) -> xr.Dataset:
        """The first scalars of the posterior, those that are summarised."""
        return first_scalars(self.posterior, MOST_SCALARS)

    @cached_property
    def summary(self) -> "tuple[pd.DataFrame, int]":
        """Summary of the first scalars of the posterior, and how many scalars there are."""
        total = sum(scalars(one) for one in self.posterior.data_vars.values())
        return summary(self.summarised, ci_prob=INTERVAL, ci_kind="eti", round_to="none"), total

    @cached_property
    def event_variable(self) -> Any:
        """The variable of the model that its events are; None without a model, or if it has none or several."""
        from pymc_gamma.model.random import EventMixtureRV

        found = [
            one
            for one in (() if self.model is None else self.model.basic_RVs)
            if one.owner is not None and isinstance(one.owner.op, EventMixtureRV)
        ]
        return found[0] if len(found) == 1 else None

    @cached_property
    def events(self) -> Events:
        """Observed events: those given, or those that the results or the model hold.

        Raises
        ------
        LeftOut
            If there are none.
        """
        if self.given_events is not None:
            return self.given_events
        held = self.group("observed_data")
        if held is not None and any("reco" in one.dims for one in held.data_vars.values()):
            return Events.from_predictive(held, self.folded)
        value = None if self.event_variable is None else self._observed_rows()
        if value is None:
            raise LeftOut(self.advice.events)
        columns = self.event_variable.owner.op.layout.names
        present = ~np.isnan(value).all(axis=1)
        return Events.from_rows(value[present], columns, self.folded.roi.frame)

    def _observed_rows(self) -> np.ndarray | None:
        from pytensor.compile.sharedvalue import SharedVariable
        from pytensor.graph.basic import Constant

        assert self.model is not None
        value = self.model.rvs_to_values[self.event_variable]
        if isinstance(value, Constant | SharedVariable):
            rows = np.asarray(value.get_value() if isinstance(value, SharedVariable) else value.data)
            return rows if rows.ndim == 2 else None
        return None

    @cached_property
    def kept_events(self) -> Events:
        """The events in the domains of the observations, in the frame of the region.

        Raises
        ------
        LeftOut
            If there are none.
        """
        chosen = self.events.selection(self.folded.roi, self.folded.observations).inside
        if not chosen.any():
            raise LeftOut("None of the events lie in the region of interest.")
        return self.events[chosen].to_frame(self.folded.roi.frame)

    @cached_property
    def fraction(self) -> str | None:
        """Name of the variable of the posterior that holds the fractions of all components; None if there is none."""
        names = sorted(self.folded.component_names)
        for name, one in self.posterior.data_vars.items():
            rest = [str(dim) for dim in one.dims if dim not in SAMPLE_DIMS]
            if len(rest) != 1 or one.sizes[rest[0]] != len(names):
                continue
            labels = one.coords[rest[0]].values if rest[0] in one.coords else names
            if sorted(map(str, labels)) == names and np.allclose(one.sum(rest), 1, atol=1e-6):
                return str(name)
        return None

    @cached_property
    def prediction(self) -> dict[str, Any]:
        """How pictures get what the posterior predicts: keywords of `plot_counts` and others.

        Fractions are enough where nothing else changes what is expected of a component; else event lists are needed
        that were drawn from the posterior.

        Raises
        ------
        LeftOut
            If neither is there; says how to draw the lists.
        """
        if self._fractions_suffice and self.fraction is not None:
            return {"var_name": self.fraction}
        held = self.group(PREDICTIVE)
        names = [] if held is None else [str(name) for name, one in held.data_vars.items() if "reco" in one.dims]
        if not names:
            raise LeftOut(
                "Fractions alone do not say what this model predicts, and the results hold no simulated events. "
                f"{self.advice.predictive}"
            )
        return {"predictive": names[0], "group": PREDICTIVE}

    @property
    def _fractions_suffice(self) -> bool:
        response = self.folded
        if response.free_spectrum or response.free_shape or response.scans:
            return False
        # a mixture with no parameters but its fractions: no systematics either
        return (
            self.event_variable is None or len(self.event_variable.owner.op.dist_params(self.event_variable.owner)) == 1
        )

    @cached_property
    def sky(self) -> "SkyCells":
        """Cells of the sky that several pictures share."""
        from pymc_gamma.plotting import SkyCells
        from pymc_gamma.plotting.counts import default_cells

        return SkyCells.from_response(self.folded, default_cells(self.kept_events))


def scalars(array: xr.DataArray) -> int:
    """Number of scalars of a variable."""
    return int(np.prod([array.sizes[dim] for dim in array.dims if dim not in SAMPLE_DIMS], dtype=np.int64))


def first_scalars(posterior: xr.Dataset, most: int) -> xr.Dataset:
    """Variables one after the other, until they have ``most`` scalars; of the last one perhaps only a part."""
    chosen: dict[str, xr.DataArray] = {}
    for name, array in posterior.data_vars.items():
        if most <= 0:
            break
        rest = [dim for dim in array.dims if dim not in SAMPLE_DIMS]
        if scalars(array) > most:
            # whole slices along the first dim, as many as fit, or else some entries of one of them
            for k, dim in enumerate(rest):
                size = int(np.prod([array.sizes[other] for other in rest[k + 1 :]], dtype=np.int64))
                array = array.isel({dim: slice(max(1, most // size))})
        chosen[str(name)] = array.drop_vars([one for one in array.coords if one not in array.dims])
        most -= scalars(array)
    return xr.Dataset(chosen)


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Parameters
    ----------
    title : str
        Its heading.
    write : callable
        From what the report is about to HTML; may raise :class:`LeftOut`.
    """

    title: str
    write: "Callable[[ReportInput], Html]"
