"""Simulated events out of the predictive samples of PyMC."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_gamma.errors import EventError

if TYPE_CHECKING:
    from pymc_gamma.events.container import Events

__all__ = ["events_from_predictive"]

# "prior" too: there PyMC puts an unobserved event variable of a prior predictive sample.
_GROUPS = ("predictions", "posterior_predictive", "prior_predictive", "prior")
_RECO_DIM = "reco"


def events_from_predictive[EventsT: "Events"](
    cls: type[EventsT],
    idata: xr.DataTree | xr.Dataset,
    response: Any,
    *,
    draw: int,
    chain: int,
    var_name: str | None,
    group: str | None,
) -> EventsT:
    """See :meth:`pymc_gamma.events.Events.from_predictive`."""
    array = _find_variable(idata, var_name, group)
    for dim, index in (("chain", chain), ("draw", draw)):
        if dim not in array.dims:
            continue
        if not -array.sizes[dim] <= index < array.sizes[dim]:
            raise EventError(f"{dim}={index} is out of range: '{array.name}' has {array.sizes[dim]} {dim}s, from 0.")
        array = array.isel({dim: index})
    if array.ndim != 2:
        raise EventError(
            f"'{array.name}' has dims {array.dims} after choosing chain and draw; events need (event, {_RECO_DIM})."
        )
    if array.dims[0] == _RECO_DIM:
        array = array.transpose()
    reco = _reco_names(array, response)
    rows = np.asarray(array.values, dtype=np.float64)
    padding = np.isnan(rows).all(axis=1)
    meta = {"variable": str(array.name), "chain": int(chain), "draw": int(draw)}
    return cls.from_rows(rows[~padding], reco, response.roi.frame, meta=meta)


def _find_variable(idata: xr.DataTree | xr.Dataset, var_name: str | None, group: str | None) -> xr.DataArray:
    datasets = _datasets(idata, group)
    found = {
        (place, str(name)): array
        for place, dataset in datasets.items()
        for name, array in dataset.data_vars.items()
        if (name == var_name if var_name is not None else _RECO_DIM in array.dims)
    }
    if len(found) == 1:
        return next(iter(found.values()))
    places = ", ".join(f"'{place}'" for place in datasets) or "no group of simulated events"
    if not found:
        wanted = f"named '{var_name}'" if var_name is not None else f"with the dim '{_RECO_DIM}'"
        held = ", ".join(sorted({str(name) for dataset in datasets.values() for name in dataset.data_vars}))
        raise EventError(
            f"No variable {wanted} in {places} (variables there: {held or 'none'}). "
            "Give var_name= and group= of the simulated events."
        )
    told = ", ".join(f"var_name={name!r}, group={place!r}" for place, name in found)
    raise EventError(f"More than one variable may hold simulated events; choose one of: {told}.")


def _datasets(idata: xr.DataTree | xr.Dataset, group: str | None) -> dict[str, xr.Dataset]:
    if isinstance(idata, xr.Dataset):
        return {"the dataset": idata}
    if not isinstance(idata, xr.DataTree):
        raise TypeError(f"idata must be an xarray DataTree or Dataset, got {type(idata).__name__}.")
    if group is not None:
        if group not in idata.children:
            raise EventError(f"There is no group '{group}'; the groups are {', '.join(idata.children) or 'none'}.")
        return {group: idata[group].to_dataset()}
    groups = {name: idata[name].to_dataset() for name in _GROUPS if name in idata.children}
    if not groups and idata.has_data:
        return {"the root group": idata.to_dataset()}
    return groups


def _reco_names(array: xr.DataArray, response: Any) -> Sequence[str]:
    dim = array.dims[1]
    if dim in array.coords and array.coords[dim].dtype.kind in "OUT":
        return tuple(str(name) for name in array.coords[dim].values)
    names: Sequence[str] = tuple(getattr(response, "reco", ("energy", "lon", "lat")))
    if len(names) != array.sizes[dim]:
        raise EventError(f"'{array.name}' has {array.sizes[dim]} columns without names; the response has {names}.")
    return names
