"""Arrays that say what their entries are: those of xarray and pandas, put into the order of names.

Where a vector or a table has one entry for each of several names (components, children of a node, observations), plain
arrays are taken in order; an array with labels is taken by them, whatever its order. What an array says of itself is
never ignored: labels that are missing, unknown or occur twice are errors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from pytensor.graph.basic import Variable

from pymc_gamma.errors import ModelError
from pymc_gamma.tensors import joined
from pymc_gamma.units import numbers

__all__ = [
    "Labelled",
    "aligned",
    "arranged",
    "as_mapping",
    "has_labels",
    "match_labels",
    "read_labelled",
    "same_labels",
]


class Labelled(NamedTuple):
    """An array with the names of its axes, and labels of their entries where it has some.

    Attributes
    ----------
    values : numpy.ndarray or TensorVariable
        The numbers.
    dims : tuple of str
        Names of the axes; empty where an axis has none.
    labels : tuple
        For each axis the labels of its entries, or None.
    """

    values: Any
    dims: tuple[str, ...]
    labels: tuple[tuple[Any, ...] | None, ...]


def has_labels(value: Any) -> bool:
    """Whether a value is an array of xarray or pandas."""
    return isinstance(value, xr.DataArray | xr.Dataset) or _is_pandas(value)


def read_labelled(value: Any, what: str) -> Labelled:
    """An array of xarray or pandas with its labels.

    The running numbers that pandas gives rows and columns without labels are none.

    Raises
    ------
    ModelError
        If it holds several arrays, or no numbers.
    """
    if isinstance(value, xr.Dataset):
        raise ModelError(
            f"{what} must be an array, got an xarray Dataset of {list(value.data_vars)}; take one of its variables, or "
            'put them side by side with `dataset.to_dataarray("component")`.'
        )
    if isinstance(value, xr.DataArray):
        dims = tuple(str(dim) for dim in value.dims)
        labels = tuple(_coordinate(value, dim) for dim in value.dims)
    else:
        dims = tuple("" if axis.name is None else str(axis.name) for axis in value.axes)
        labels = tuple(None if _is_count(axis) else tuple(axis) for axis in value.axes)
    values = joined(value.to_numpy(), what)
    if not isinstance(values, Variable):
        try:
            values = numbers(values, what, finite=False)
        except TypeError as error:
            raise ModelError(
                f"{what} must be numbers, got a {type(value).__name__} with entries that are none: {error}"
            ) from error
    return Labelled(values, dims, labels)


def aligned(value: Any, axes: Mapping[str, Sequence[Any] | None], what: str) -> Any:
    """An array whose last axes are the wanted ones, with their entries in the wanted order.

    Parameters
    ----------
    value : array_like, `xarray.DataArray`, `pandas.DataFrame` or `pandas.Series`
        What the user gave. Without labels it is returned as it is.
    axes : mapping of str to sequence
        Names of the last axes in order, and the labels of the entries of each; None where any will do.
    what : str
        What the array is, for messages.

    Returns
    -------
    array_like
        Shape (..., *lengths of the axes).

    Raises
    ------
    ModelError
        If a label is missing, unknown or occurs twice.

    Examples
    --------
    >>> import pandas as pd
    >>> aligned(pd.Series({"b": 2.0, "a": 1.0}), {"component": ("a", "b")}, "the fractions").tolist()
    [1.0, 2.0]
    """
    return arranged(read_labelled(value, what), axes, what).values if has_labels(value) else value


def arranged(given: Labelled, axes: Mapping[str, Sequence[Any] | None], what: str) -> Labelled:
    """As :func:`aligned`, for an array or PyTensor variable whose dims and labels are known."""
    order = _axes_in_order(given, axes)
    values = given.values if order == sorted(order) else given.values.transpose(*order)
    labels = [given.labels[axis] for axis in order]
    first = len(order) - len(axes)
    for axis, (dim, wanted) in enumerate(axes.items(), start=first):
        own = labels[axis] if axis >= 0 else None
        if own is None or wanted is None:
            continue
        places = match_labels(own, wanted, f"the labels of {what}", dim)
        labels[axis] = tuple(wanted)
        if places != list(range(len(places))):
            values = values[(*(slice(None),) * axis, np.array(places))]
    return Labelled(values, (*(given.dims[axis] for axis in order[:first]), *axes), tuple(labels))


def match_labels(labels: Sequence[Any], wanted: Sequence[Any], what: str, dim: str) -> list[int]:
    """Where each of the wanted labels is among the given ones.

    Raises
    ------
    ModelError
        If they are not the same labels, each once.
    """
    given, names = [str(one) for one in labels], [str(one) for one in wanted]
    twice = sorted({one for one in given if given.count(one) > 1}) if len(set(given)) < len(given) else []
    if twice:
        raise ModelError(f"{what} name {_some(twice)} more than once; each {dim} must be there once.")
    places = {one: place for place, one in enumerate(given)}
    known = set(names)
    missing, extra = [one for one in names if one not in places], [one for one in given if one not in known]
    if missing or extra:
        raise ModelError(
            f"{what} must be those of the {dim}s, {_some(names)}, in any order; missing {_some(missing)}, "
            f"unknown {_some(extra)}. Select or rename them, or pass plain numbers in the order of the {dim}s."
        )
    return [places[one] for one in names]


def as_mapping(value: Any, names: Sequence[str], what: str, known: str = "components") -> dict[str, Any]:
    """Values by name, from a mapping (of some names), or a labelled vector (of all).

    Raises
    ------
    ModelError
        If it is neither, a mapping names something else, or labels do not match.

    Examples
    --------
    >>> as_mapping({"b": 2.0}, ("a", "b"), "norms")
    {'b': 2.0}
    """
    if value is None:
        return {}
    if _is_pandas(value) and value.ndim == 1 and value.dtype == object:
        value = dict(value.items())  # a series of functions, for example
    if has_labels(value):
        vector = aligned(value, {"component": names}, what)
        shape = vector.type.shape if isinstance(vector, Variable) else vector.shape
        if shape != (len(names),):
            raise ModelError(f"{what} must have one entry for each of {tuple(names)}, got shape {shape}.")
        return {name: vector[k] for k, name in enumerate(names)}
    if not isinstance(value, Mapping):
        raise ModelError(f"{what} must be a mapping from names of {known}, got {type(value).__name__}.")
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ModelError(f"{what} are given for {unknown}, but the {known} are {tuple(names)}.")
    return {str(name): one for name, one in value.items()}


def same_labels(labels: Sequence[Any] | None, wanted: Sequence[Any] | None) -> bool:
    """Whether labels are the wanted ones, in any order."""
    if labels is None or wanted is None or len(labels) != len(wanted):
        return False
    return {str(one) for one in labels} == {str(one) for one in wanted}


def _axes_in_order(given: Labelled, axes: Mapping[str, Sequence[Any] | None]) -> list[int]:
    """Numbers of the axes: those not asked for first, then one for each of the wanted."""
    free = list(range(given.values.ndim))
    found: dict[str, int] = {}

    def take(choose: Callable[[int, str], bool]) -> None:
        for dim in axes:
            fits = [axis for axis in free if dim not in found and choose(axis, dim)]
            if len(fits) == 1:
                found[dim] = fits[0]
                free.remove(fits[0])

    take(lambda axis, dim: given.dims[axis] == dim)
    take(lambda axis, dim: same_labels(given.labels[axis], axes[dim]))
    rest = [dim for dim in axes if dim not in found]
    for dim in rest[::-1]:  # what is left is taken by position, from the last
        if free:
            found[dim] = free.pop()
    return [*free, *(found[dim] for dim in axes if dim in found)]


def _coordinate(value: xr.DataArray, dim: Any) -> tuple[Any, ...] | None:
    """Labels along a dimension: its index, or the one coordinate of names along it."""
    if dim in value.indexes:
        return tuple(value.indexes[dim])
    named = [one for one in value.coords.values() if one.dims == (dim,) and one.dtype.kind in "OUT"]
    return tuple(named[0].values) if len(named) == 1 else None


def _is_pandas(value: Any) -> bool:
    """Whether a value is a frame or a series (an index is a plain sequence)."""
    ours = any(base.__module__.partition(".")[0] == "pandas" for base in type(value).__mro__)
    return ours and hasattr(value, "axes") and hasattr(value, "to_numpy")


def _is_count(index: Any) -> bool:
    """Whether an index is the running number that pandas makes where there are no labels."""
    return type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1 and index.name is None


def _some(names: Sequence[str], n: int = 8) -> str:
    return f"[{', '.join(map(repr, names[:n]))}{', ...' if len(names) > n else ''}]"
