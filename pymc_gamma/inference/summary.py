"""Summaries of posteriors in units and powers of ten in which they are readable."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pymc_gamma.arguments import checked, kind, mapping, text, texts
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.posterior import SAMPLE_DIMS, posterior_dataset
from pymc_gamma.inference.scales import Scale, power_of_ten
from pymc_gamma.keywords import check_keywords, keywords_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["summary"]

_OURS = ("data", "filter_vars", "fmt", "sample_dims")
"""Arguments of ArviZ that are not passed on: it is given the draws of the scalars that the table shows."""


@checked(idata=kind("DataTree", "Dataset"), var_names=texts, units=mapping, group=text)
def summary(
    idata: xr.DataTree | xr.Dataset,
    var_names: Sequence[str] | None = None,
    *,
    units: Mapping[str, Any] | None = None,
    group: str = "posterior",
    **options: Any,
) -> "pd.DataFrame":
    """Table of a posterior as `arviz.summary` makes it, with units, in powers of ten that are readable.

    ``arviz.summary`` shows a flux of 1e-12 TeV-1 cm-2 s-1 as it is stored. Here each number stands in the power of ten
    that its row names, as in :func:`pymc_gamma.plot_corner`: numbers from 0.01 to 10000 stay as they are.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        A posterior, of any sampler, or another group of draws.
    var_names : sequence of str, optional
        Variables to show. Default: all.
    units : mapping, optional
        Unit of the draws by variable, ``{"amplitude": "cm-2 s-1 TeV-1"}``, a string or an `~astropy.units.Unit`.
        Default: ``attrs["units"]`` of the variables.
    group : str
        Which group of a tree.
    **options
        As for `arviz.summary`: ``kind``, ``ci_prob``, ``ci_kind``, ``round_to``, ``coords``, ``skipna``

    Returns
    -------
    `pandas.DataFrame`
        One row for each scalar. The column ``unit`` says what its numbers are in, such as ``1e-12 cm-2 s-1 TeV-1``;
        R-hat and effective sample sizes have no unit.

    Raises
    ------
    ModelError
        If there is no such group or variable, or it holds no draws.
    TypeError
        If `arviz.summary` knows no such option.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> draws = 2.3e-12 + 1e-13 * np.random.default_rng(0).normal(size=(4, 500))
    >>> posterior = xr.Dataset({"amplitude": (("chain", "draw"), draws, {"units": "cm-2 s-1 TeV-1"})})
    >>> table = summary(posterior)
    >>> table.loc["amplitude", "unit"], round(float(table.loc["amplitude", "mean"]), 1)
    ('1e-12 cm-2 s-1 TeV-1', 2.3)
    """
    import arviz as az

    passed_on = [name for name in keywords_of(az.summary) if name not in _OURS]
    check_keywords("summary", options, (*keywords_of(summary), *passed_on))
    coords = options.pop("coords", None)
    draws = _chosen(_group(idata, group), var_names)
    draws = draws if coords is None else draws.sel(coords)
    unknown = [name for name in units or {} if name not in draws.data_vars]
    if unknown:
        raise ModelError(f"units names {', '.join(map(repr, unknown))}; the table shows {list(draws.data_vars)}.")
    dims = [dim for dim in SAMPLE_DIMS if dim in draws.dims]
    scaled, scales = {}, []
    for name, array in draws.data_vars.items():
        unit = (units or {}).get(str(name), array.attrs.get("units", ""))
        own = _scales(array, dims, unit if isinstance(unit, str) else f"{unit:generic}")
        scales += own.ravel().tolist()
        factors = np.array([one.factor for one in own.ravel()]).reshape(own.shape)
        rest = [dim for dim in array.dims if dim not in dims]
        scaled[name] = (array / xr.DataArray(factors, dims=rest)).transpose(*array.dims)
    with np.errstate(divide="ignore", invalid="ignore"):  # what does not vary has no R-hat: NaN
        table = az.summary(_as_chains(xr.Dataset(scaled), dims), **options)
    table.insert(0, "unit", [one.text for one in scales])
    return table


def _group(idata: xr.DataTree | xr.Dataset, group: str) -> xr.Dataset:
    if isinstance(idata, xr.DataTree) and group != "posterior":
        if group not in idata.children:
            raise ModelError(f"There is no group {group!r}; the groups are {', '.join(idata.children) or 'none'}.")
        return idata[group].to_dataset()
    return posterior_dataset(idata)


def _chosen(draws: xr.Dataset, var_names: Sequence[str] | None) -> xr.Dataset:
    missing = [name for name in var_names or () if name not in draws.data_vars]
    chosen = draws if var_names is None or missing else draws[list(var_names)]
    without = [str(name) for name, one in chosen.data_vars.items() if not {*SAMPLE_DIMS} & {*one.dims}]
    if missing or without or not chosen.data_vars:
        told = "There are no variables"
        if missing:
            told = f"There is no variable {', '.join(map(repr, missing))}"
        elif without:
            told = f"There are no draws (chain, draw) of {', '.join(map(repr, without))}"
        raise ModelError(f"{told}; there are {', '.join(map(repr, draws.data_vars)) or 'none'}.")
    return chosen


def _as_chains(draws: xr.Dataset, dims: Sequence[str]) -> xr.Dataset:
    """Draws with the dims chain and draw: those of one dim are one chain."""
    if len(dims) > 1:
        return draws
    (only,) = dims
    alone = draws.drop_vars(SAMPLE_DIMS, errors="ignore").rename({only: "draw"} if only != "draw" else {})
    return alone.expand_dims("chain")


def _scales(array: xr.DataArray, dims: Sequence[str], unit: str) -> np.ndarray:
    """Scale of each scalar of a variable, in the shape that it has without the dims of samples."""
    own = [dim for dim in dims if dim in array.dims]
    rest = [dim for dim in array.dims if dim not in own]
    values: FloatArray = np.asarray(array.transpose(*rest, *own).values, dtype=np.float64)
    shape = values.shape[: len(rest)]
    scales = np.empty(shape, object)
    for index in np.ndindex(shape):
        scales[index] = Scale(power_of_ten(values[index].ravel()), unit)
    return scales
