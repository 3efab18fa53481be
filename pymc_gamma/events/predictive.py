"""Simulated events out of the predictive samples of PyMC: as lists, and as counts in bins.

Draws of a Poisson process differ in their number of events. PyMC holds them in one rectangular array, in which the
rows that no event fills are NaN. Both forms here leave them out.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from pymc_gamma.arguments import checked, directions, offering, text
from pymc_gamma.errors import EventError
from pymc_gamma.events.histogram import Bins

if TYPE_CHECKING:
    from pymc_gamma.events.container import Events

__all__ = ["bin_predictive", "events_from_predictive", "predictive_counts"]

# "prior" too: there PyMC puts an unobserved event variable of a prior predictive sample.
_GROUPS = ("predictions", "posterior_predictive", "prior_predictive", "prior")
_RECO_DIM = "reco"
_SAMPLE_DIMS = ("chain", "draw", "sample")


@checked(response=offering("reco", "roi"), center=directions, var_name=text, group=text)
def predictive_counts(
    idata: xr.DataTree | xr.Dataset,
    response: Any,
    energy: u.Quantity | None = None,
    *,
    lon: u.Quantity | None = None,
    lat: u.Quantity | None = None,
    center: SkyCoord | None = None,
    radius: u.Quantity | None = None,
    observation: int | str | None = None,
    var_name: str | None = None,
    group: str | None = "posterior_predictive",
) -> xr.DataArray:
    """Counts in bins of each simulated event list of a predictive sample.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        Output of ``pm.sample_posterior_predictive`` or ``pm.sample_prior_predictive``.
    response : Response
        The response the events were simulated with; it knows their frame.
    energy : `~astropy.units.Quantity`, optional
        Edges of bins of reconstructed energy. An axis left out is not divided.
    lon, lat : `~astropy.units.Quantity`, optional
        Edges of cells in the frame of the response, both or neither.
    center, radius : `~astropy.coordinates.SkyCoord` and `~astropy.units.Quantity`, optional
        Instead of ``lon`` and ``lat``: a direction in any frame, and the edges of rings around it.
    observation : int or str, optional
        Only one observation, by its index in the response or by its name. Default: all together.
    var_name : str, optional
        Name of the event variable; needed when there are several.
    group : str, optional
        Group to look in; with None any one that holds simulated events.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw[, energy][, lat, lon][, radius]); coordinates are the centres of the bins (geometric in
        energy). Rows of NaN (padding of draws with fewer events) are not counted; neither are events in no bin.

    Raises
    ------
    EventError
        If there are no such draws, or the edges are not increasing.
    TypeError
        If edges have no unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import xarray as xr
    >>> from types import SimpleNamespace
    >>> response = SimpleNamespace(roi=SimpleNamespace(frame="galactic"), reco=("energy", "lon", "lat"))
    >>> draws = np.array([[1.5, 0, 0], [5, 0.1, 0], [np.nan] * 3])[None, None]
    >>> predictive = xr.Dataset({"events": (("chain", "draw", "event", "reco"), draws)})
    >>> predictive_counts(predictive, response, [1, 2, 10, 100] * u.TeV).values.tolist()
    [[[1.0, 1.0, 0.0]]]
    """
    bins = Bins.from_quantities(response.roi.frame, energy, lon, lat, center, radius)
    index = None if observation is None else response.observation_index(observation)
    return bin_predictive(idata, response, bins, var_name=var_name, group=group, observation=index)


def bin_predictive(
    idata: xr.DataTree | xr.Dataset,
    response: Any,
    bins: Bins,
    *,
    var_name: str | None,
    group: str | None,
    observation: int | None = None,
) -> xr.DataArray:
    """See :func:`predictive_counts`; the observation is given by its index."""
    array = _find_variable(idata, var_name, group)
    dims = [dim for dim in _SAMPLE_DIMS if dim in array.dims]
    rest = [dim for dim in array.dims if dim not in dims and dim != _RECO_DIM]
    if len(rest) != 1 or _RECO_DIM not in array.dims:
        raise EventError(f"'{array.name}' has dims {array.dims}; events need (chain, draw, event, {_RECO_DIM}).")
    array = array.transpose(*dims, rest[0], _RECO_DIM)
    columns = {name: k for k, name in enumerate(_reco_names(array, response))}
    missing = [name for name in ("energy", "lon", "lat") if name not in columns]
    if missing:
        raise EventError(f"'{array.name}' has the columns {tuple(columns)}; {', '.join(missing)} are needed too.")
    shape = array.shape[:-2]
    lists = np.asarray(array.values, dtype=np.float64).reshape(-1, *array.shape[-2:])
    counts = np.empty((len(lists), *bins.shape))
    for i, rows in enumerate(lists):
        # Binary search takes NaN for the largest number there is: padding would be counted by an axis left out.
        kept = rows[~np.isnan(rows[:, columns["energy"]])]
        # a response of one observation has no column for it
        if observation is not None and "observation" in columns:
            kept = kept[kept[:, columns["observation"]] == observation]
        weights = kept[:, columns["multiplicity"]] if "multiplicity" in columns else None
        energy, lon, lat = (kept[:, columns[name]] for name in ("energy", "lon", "lat"))
        counts[i] = bins.count(energy, lon, lat, weights)
    coords: dict[str, Any] = {dim: array.coords[dim].values for dim in dims if dim in array.coords}
    return xr.DataArray(
        counts.reshape(*shape, *bins.shape),
        coords | bins.coords,
        (*dims, *bins.edges),
        name="counts",
        attrs={"units": "counts"},
    )


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
    dim = array.dims[-1]
    if dim in array.coords and array.coords[dim].dtype.kind in "OUT":
        return tuple(str(name) for name in array.coords[dim].values)
    names: Sequence[str] = tuple(getattr(response, "reco", ("energy", "lon", "lat")))
    if len(names) != array.sizes[dim]:
        raise EventError(f"'{array.name}' has {array.sizes[dim]} columns without names; the response has {names}.")
    return names
