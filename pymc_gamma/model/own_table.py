"""A user's own table of log-likelihoods, and fractions, in the order of the events and components of a model.

Labels of xarray and pandas are taken by name (:mod:`pymc_gamma.labelled`), variables and data of a model by their dims.
"""

from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pymc.logprob.abstract import MeasurableOp
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors

from pymc_gamma.errors import ModelError
from pymc_gamma.labelled import Labelled, aligned, arranged, has_labels, read_labelled
from pymc_gamma.model.event_source import TabulatedSource
from pymc_gamma.tensors import described, joined, value_of, with_unit
from pymc_gamma.units import numbers

__all__ = ["OwnTable", "coords_of_last_dim", "fraction_tensor", "own_table"]

_EVENT_DIM, _COMPONENT_DIM = "event", "component"


class OwnTable(NamedTuple):
    """A table ready for a model.

    Attributes
    ----------
    source : TabulatedSource
        Names of the components.
    fraction : TensorVariable
        Fractions in their order.
    observed : numpy.ndarray or TensorVariable
        The table, with multiplicities as a last column if there are any.
    events : tuple, optional
        Labels of the rows.
    """

    source: TabulatedSource
    fraction: Variable
    observed: NDArray[np.float64] | Variable
    events: tuple[Any, ...] | None


def own_table(name: str, model: pm.Model, fraction: Any, table: Any, multiplicity: Any, dims: Any) -> OwnTable:
    """The table of a mixture, its rows and columns in the order of the model.

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    model : pymc.Model
        Has the coordinates.
    fraction : tensor_like
        Fractions of the components.
    table : array_like, DataArray, DataFrame or TensorVariable
        Log-likelihoods, shape (N, K).
    multiplicity : array_like, optional
        Multiplicity of the rows.
    dims : tuple of str, optional
        Dims that the variable will have.

    Raises
    ------
    ModelError
        If labels do not match, the table depends on parameters of the model, or fractions are a batch.
    TypeError
        If multiplicities are no numbers.
    astropy.units.UnitConversionError
        If anything has a unit.
    """
    what = f"{name}: log_likelihood"
    given = _read(what, model, table)
    fraction = joined(fraction, f"{name}: the fractions", low=0.0)
    fraction_dim = _last_dim(model, fraction) or _COMPONENT_DIM
    shape = given.values.type.shape if isinstance(given.values, Variable) else np.shape(given.values)
    if len(shape) != 2:
        raise ModelError(f"{what} must have one row per event and one column per component, got shape {shape}.")
    names = _names(model, fraction, arranged(given, {_EVENT_DIM: None, fraction_dim: None}, what))
    event_dim = _EVENT_DIM if dims is None or isinstance(dims, str) else str(dims[0])
    rows = model.coords.get(event_dim)
    axes = {event_dim: None if rows is None else tuple(rows), fraction_dim: names}
    ordered = arranged(given, axes, what)
    events = ordered.labels[0]
    if multiplicity is not None and has_labels(multiplicity):
        multiplicity = aligned(multiplicity, {event_dim: events}, f"{name}: multiplicity")
    elif multiplicity is not None and events is not None and events not in given.labels:
        raise ModelError(
            f"{name}: the rows of log_likelihood have labels, and were put into the order of the coordinate "
            f"{event_dim!r} of the model; give multiplicity the same labels, so that it can follow."
        )
    if multiplicity is not None:
        multiplicity = numbers(multiplicity, f"{name}: multiplicity", finite=False)
    source = TabulatedSource(names)
    fraction = fraction_tensor(name, model, fraction, names)
    if fraction.type.ndim > 1:
        raise ModelError(
            f"{name}: the fractions of a log_likelihood table must be one vector with an entry for each of {names}, "
            f"got {fraction.type}; make one EventMixture for each table of a batch."
        )
    value = ordered.values
    if not isinstance(value, Variable):
        return OwnTable(source, fraction, source.value(value, multiplicity), events)
    checked = source.value(value_of(value), multiplicity)  # what cannot be used is refused here, where the user is
    if multiplicity is not None:
        value = pt.concatenate([value, pt.constant(checked[:, -1:])], axis=1)
    if not isinstance(value, SharedVariable):
        value = pt.specify_shape(value, (None, checked.shape[1]))
    return OwnTable(source, fraction, value, None)


def fraction_tensor(name: str, model: pm.Model | None, fraction: Any, names: tuple[str, ...]) -> Variable:
    """Fractions as a tensor whose last axis is that of the components.

    Raises
    ------
    ModelError
        If labelled fractions are not those of the components, or they are no numbers.
    """
    what = f"{name}: the fractions"
    dims = getattr(getattr(fraction, "type", None), "dims", None)
    if dims is not None:  # a variable of pymc.dims
        coords = [None if model is None else model.coords.get(dim) for dim in dims]
        given = Labelled(fraction.values, tuple(dims), tuple(None if one is None else tuple(one) for one in coords))
        return arranged(given, {_COMPONENT_DIM: names}, what).values
    if not isinstance(fraction, Variable):
        fraction = joined(aligned(fraction, {_COMPONENT_DIM: names}, what), f"{what} of {names}", low=0.0)
    if not isinstance(fraction, Variable):
        fraction = numbers(fraction, f"{what} of {names}", finite=False)
        if not (np.all(np.isfinite(fraction)) and np.all(fraction >= 0) and np.all(fraction.sum(axis=-1) > 0)):
            raise ModelError(
                f"{what} of {names} must be finite and not negative, with a positive sum, got {fraction.tolist()}."
            )
    return with_unit(described(pt.as_tensor_variable(fraction), f"{what} of {names}"), "")


def coords_of_last_dim(model: pm.Model, variable: Any) -> tuple[str, ...] | None:
    """Coordinate values of the last dim of a variable, if it has any in this model."""
    dim = _last_dim(model, variable)
    values = model.coords.get(dim) if dim else None
    return None if values is None else tuple(str(one) for one in values)


def _last_dim(model: pm.Model, variable: Any) -> str | None:
    dims = model.named_vars_to_dims.get(getattr(variable, "name", None) or "")
    return str(dims[-1]) if dims and dims[-1] else None


def _names(model: pm.Model, fraction: Any, table: Labelled) -> tuple[str, ...]:
    """Names of the components: those of the fractions or of the model, else those of the table, else numbers."""
    shape = fraction.type.shape if isinstance(fraction, Variable) else np.shape(fraction)
    values = table.values
    n = (shape[-1] if shape else None) or np.shape(value_of(values))[-1]
    named = coords_of_last_dim(model, fraction)
    if named is not None:
        return named
    known = model.coords.get(_COMPONENT_DIM)
    if known is not None and len(known) == n:
        return tuple(str(one) for one in known)
    if has_labels(fraction):
        named = arranged(read_labelled(fraction, "the fractions"), {_COMPONENT_DIM: None}, "").labels[-1]
    named = named or table.labels[-1]
    return tuple(f"component {k}" for k in range(n)) if named is None else tuple(str(one) for one in named)


def _read(what: str, model: pm.Model, table: Any) -> Labelled:
    """The table as numbers, or as an expression of data that may change, with what it says of its axes."""
    if isinstance(table, Constant):
        table = np.asarray(table.data)
    if has_labels(table):
        return read_labelled(table, what)
    if not isinstance(table, Variable):
        try:
            values = numbers(table, what, finite=False)
        except u.UnitConversionError:
            raise
        except TypeError as error:
            raise ModelError(f"{what} must be numbers, one row for each event, got {type(table).__name__}.") from error
        return Labelled(values, ("",) * values.ndim, (None,) * values.ndim)
    random = [one for one in ancestors([table]) if one.owner is not None and isinstance(one.owner.op, MeasurableOp)]
    inputs = [one for one in ancestors([table]) if one.owner is None and not isinstance(one, Constant | SharedVariable)]
    if random or inputs:
        names = sorted({one.name or str(one) for one in (*random, *inputs)})
        raise ModelError(
            f"{what} depends on {names}; the table of an EventMixture is data: numbers, or pymc.Data. For a likelihood "
            "of the events that depends on parameters write "
            'pm.Potential("events", pt.sum(pt.logsumexp(pt.log(fraction) + log_likelihood, axis=1))).'
        )
    dims = getattr(table.type, "dims", None)
    if dims is not None:
        table = table.values
    dims = dims or model.named_vars_to_dims.get(table.name or "") or ("",) * table.ndim
    coords = [model.coords.get(dim) for dim in dims]
    return Labelled(table, tuple(map(str, dims)), tuple(None if one is None else tuple(one) for one in coords))
