"""What the arguments of models have in common: lists that mix numbers and PyTensor variables, units of variables.

A list with variables is one variable, ``[b, 1 - b]`` where a vector is wanted. A variable has no unit of its own; what
it is used for has, and notes it.

While PyTensor compiles it keeps what it compiles for in its global configuration. Two threads at once may leave it
there, and every model made later is then compiled for that: what this package compiles in threads holds `COMPILING`.
"""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.units import numbers

__all__ = [
    "COMPILING",
    "described",
    "descriptions_of",
    "has_variables",
    "joined",
    "only_entry",
    "unit_of",
    "units_of",
    "value_of",
    "with_unit",
]

COMPILING = threading.RLock()
"""Held by a thread that compiles."""


def has_variables(value: Any) -> bool:
    """Whether a list, a tuple or an array of objects holds a PyTensor variable, at any depth."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "O" and any(isinstance(one, Variable) for one in value.flat)
    return isinstance(value, list | tuple) and any(isinstance(one, Variable) or has_variables(one) for one in value)


def joined(value: Any, name: str, *, low: float = -np.inf) -> Any:
    """A list with variables in it as one variable; anything else as it is.

    Parameters
    ----------
    value : list, tuple or object
        What the user gave.
    name : str
        What it is, for messages.
    low : float
        Smallest value that numbers beside the variables may have.

    Returns
    -------
    TensorVariable or object
        float64, stacked along new leading axes.

    Raises
    ------
    TypeError
        If something in the list is neither a variable nor a number, or the entries have different numbers of axes.
    ValueError
        If a number in it is not finite, or too small.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> b = pt.constant(0.25)
    >>> joined([b, 1 - b, 2], "fraction").eval().tolist()
    [0.25, 0.75, 2.0]
    >>> joined([1, 2], "fraction")
    [1, 2]
    """
    return _join(value, name, low) if has_variables(value) else value


def only_entry(vector: Variable) -> Variable:
    """The entry of a vector of one, a scalar; evaluation fails where the vector turns out to have others.

    Examples
    --------
    >>> float(only_entry(pt.constant([2.5])).eval())
    2.5
    """
    return vector.reshape(())


def with_unit(variable: Any, unit: str) -> Any:
    """A variable, of which is noted in which unit its numbers are; what is noted first stays.

    Parameters
    ----------
    variable : TensorVariable
        A variable of a model, or what is computed from one.
    unit : str
        Unit that its numbers are taken in.

    Returns
    -------
    TensorVariable
        The same.

    Examples
    --------
    >>> index = with_unit(pt.scalar("index"), "deg")
    >>> unit_of(index), unit_of(2 * index)
    ('deg', None)
    """
    if unit_of(variable) is None:
        variable.tag.unit = unit
    return variable


def described(variable: Any, what: str) -> Any:
    """A variable, noted what it is used for unless something was noted before; a number as it is.

    Examples
    --------
    >>> index = described(pt.scalar("index"), "index of PowerLaw")
    >>> descriptions_of({"index": index, "other": pt.scalar("other")})
    {'index': 'index of PowerLaw'}
    """
    if isinstance(variable, Variable) and _noted(variable, "description") is None:
        variable.tag.description = what
    return variable


def unit_of(variable: Any) -> str | None:
    """Unit that was noted of a variable, or of what a ``pm.Deterministic`` is a view of; None if none was."""
    return _noted(variable, "unit")


def units_of(variables: Mapping[str, Any]) -> dict[str, str]:
    """Units of the variables of which they were noted, by name."""
    return {name: unit for name, one in variables.items() if (unit := unit_of(one)) is not None}


def descriptions_of(variables: Mapping[str, Any]) -> dict[str, str]:
    """What variables are used for, of those of which it was noted, by name."""
    found = {name: _noted(one, "description") for name, one in variables.items()}
    return {name: what for name, what in found.items() if what is not None}


def _noted(variable: Any, what: str) -> str | None:
    note: str | None = getattr(variable.tag, what, None)
    if note is None and isinstance(getattr(variable.owner, "op", None), ViewOp):
        return _noted(variable.owner.inputs[0], what)
    return note


def _join(value: Any, name: str, low: float) -> Variable:
    if isinstance(value, Variable):
        plain = value.values if hasattr(value.type, "dims") else value  # a variable of pymc.dims
        return pt.as_tensor_variable(plain).astype("float64")
    if not has_variables(value):
        plain = numbers(value, name)
        if not np.all(plain >= low):
            raise ValueError(f"{name} must be at least {low:g}, got {value!r}.")
        return pt.constant(plain)
    parts = [_join(one, name, low) for one in value]
    shapes = [part.type.shape for part in parts]
    known = [{length for length in lengths if length is not None} for lengths in zip(*shapes, strict=False)]
    if len({len(shape) for shape in shapes}) > 1 or any(len(lengths) > 1 for lengths in known):
        raise TypeError(f"{name} must have entries of one shape, got {shapes} in {value!r}.")
    return pt.stack(parts)


def value_of(expression: Any) -> NDArray[Any]:
    """The numbers of an expression without free variables, in any thread; an array of what is no expression.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> value_of(pt.exp(pt.zeros(2))).tolist(), value_of(3.0).item()
    ([1.0, 1.0], 3.0)
    """
    if not hasattr(expression, "eval"):
        return np.asarray(expression)
    if isinstance(expression, Constant):
        return np.array(expression.data)  # a copy, as below
    with COMPILING:
        return np.asarray(expression.eval(mode="FAST_COMPILE"))  # used once: not worth more
