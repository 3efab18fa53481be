"""Posterior draws as plain arrays, with their labels and weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.posterior import SAMPLE_DIMS, posterior_dataset

__all__ = ["PosteriorDraws", "component_draws", "posterior_draws", "resample"]


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """Draws of scalars.

    Parameters
    ----------
    values : numpy.ndarray
        Shape ``(sample, scalar)``.
    labels : tuple of str
        One per scalar: the variable, and its coordinates if it has any.
    owners : tuple of (str, tuple of int)
        Variable and index of each scalar.
    units : mapping of str
        ``attrs["units"]`` of the variables that have it.
    """

    values: FloatArray
    labels: tuple[str, ...]
    owners: tuple[tuple[str, tuple[int, ...]], ...]
    units: Mapping[str, str] = field(default_factory=dict)


def posterior_draws(idata: xr.DataTree | xr.Dataset, var_names: Sequence[str] | None = None) -> PosteriorDraws:
    """Flatten the variables of a posterior to columns.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        With a ``posterior`` group, or that group itself.
    var_names : sequence of str, optional
        Which variables; all by default.

    Returns
    -------
    PosteriorDraws
        Chains joined.

    Raises
    ------
    ModelError
        If there is no posterior or no such variable.
    """
    posterior = posterior_dataset(idata)
    names = [str(name) for name in posterior.data_vars] if var_names is None else list(var_names)
    missing = [name for name in names if name not in posterior.data_vars]
    if missing or not names:
        raise ModelError(
            f"The posterior has no variable {', '.join(map(repr, missing)) or 'at all'}; "
            f"it has {', '.join(map(repr, posterior.data_vars)) or 'none'}."
        )
    columns, labels, owners = [], [], []
    for name in names:
        array = _samples_first(posterior[name])
        for index in np.ndindex(array.shape[1:]):
            columns.append(np.asarray(array.values[(slice(None), *index)], dtype=np.float64))
            labels.append(_label(array, name, index))
            owners.append((name, index))
    units = {name: str(posterior[name].attrs["units"]) for name in names if "units" in posterior[name].attrs}
    return PosteriorDraws(np.column_stack(columns), tuple(labels), tuple(owners), units)


def component_draws(idata: xr.DataTree | xr.Dataset, var_name: str, component_names: Sequence[str]) -> FloatArray:
    """Draws of one number per component, in the order of the response, shape ``(sample, component)``.

    Raises
    ------
    ModelError
        If the variable does not have one entry per component.
    """
    posterior = posterior_dataset(idata)
    if var_name not in posterior.data_vars:
        raise ModelError(
            f"The posterior has no variable {var_name!r}; it has "
            f"{', '.join(map(repr, posterior.data_vars)) or 'none'}. Give var_name=."
        )
    array = posterior[var_name]
    if "component" in array.coords and array.coords["component"].dtype.kind in "OUT":
        here = [str(name) for name in array.coords["component"].values]
        if sorted(here) != sorted(component_names):
            raise ModelError(
                f"{var_name!r} is about the components {here}, the response about {list(component_names)}."
            )
        array = array.sel(component=list(component_names))
    array = _samples_first(array)
    if array.ndim != 2 or array.shape[1] != len(component_names):
        raise ModelError(
            f"{var_name!r} has shape {array.shape} with the draws first; "
            f"expected one entry for each of the {len(component_names)} components."
        )
    return np.asarray(array.values, dtype=np.float64)


def resample(values: FloatArray, weights: ArrayLike | None, n: int, rng: np.random.Generator) -> FloatArray:
    """At most ``n`` rows of ``values``, drawn with ``weights`` (equal by default).

    Raises
    ------
    ValueError
        If there is not one non-negative weight per row.
    """
    if weights is None:
        if len(values) <= n:
            return values
        return values[rng.choice(len(values), n, replace=False)]
    probability = np.asarray(weights, dtype=np.float64).ravel()
    if probability.shape != (len(values),) or not np.all(probability >= 0) or not probability.sum() > 0:
        raise ValueError(f"weights must be {len(values)} non-negative numbers, one per draw.")
    return values[rng.choice(len(values), n, p=probability / probability.sum())]


def _samples_first(array: xr.DataArray) -> xr.DataArray:
    dims = [dim for dim in SAMPLE_DIMS if dim in array.dims]
    if not dims:
        raise ModelError(f"{array.name!r} has dims {array.dims}, none of them chain or draw.")
    rest = [dim for dim in array.dims if dim not in dims]
    ordered = array.transpose(*dims, *rest)
    values = ordered.values.reshape(-1, *ordered.shape[len(dims) :])
    coords = {dim: array.coords[dim].values for dim in rest if dim in array.coords}
    return xr.DataArray(values, dims=("_sample", *rest), coords=coords, name=array.name)


def _label(array: xr.DataArray, name: str, index: tuple[int, ...]) -> str:
    if not index:
        return name
    where: list[Any] = [
        array.coords[dim].values[i] if dim in array.coords else i for dim, i in zip(array.dims[1:], index, strict=True)
    ]
    return f"{name}\n{', '.join(map(str, where))}"
