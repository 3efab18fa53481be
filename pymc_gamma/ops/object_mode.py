"""Ops that call back into Python on purpose, without the warning that PyTensor gives when it happens by accident."""

import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numba as nb
import numpy as np
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import get_numba_type

__all__ = ["object_mode_form"]


class _Handle:
    """A callable that pickles as its address.

    Numba stores what an object-mode block refers to as pickled bytes in the machine code and copies them at every
    call. For a response these are 20 MB and 30 ms; for a handle they are nothing.
    """

    _living: ClassVar[weakref.WeakValueDictionary[int, "_Handle"]] = weakref.WeakValueDictionary()

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._living[id(self)] = self

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __reduce__(self) -> tuple[Callable[[int], "_Handle"], tuple[int]]:
        return _find, (id(self),)


class _Handles(list[_Handle]):
    """Handles of an Op; they mean nothing elsewhere, so copies and pickles of the Op go without."""

    def __reduce__(self) -> tuple[type["_Handles"], tuple[()]]:
        return _Handles, ()


def _find(address: int) -> _Handle:
    return _Handle._living[address]


def object_mode_form(op: Op, node: Apply) -> Callable[..., Any]:
    """Numba function that runs ``op.perform`` in object mode.

    Parameters
    ----------
    op : Op
        The Op.
    node : Apply
        The node it sits on: gives the types of the outputs.

    Returns
    -------
    callable
        To be returned from a ``numba_funcify`` dispatch.
    """
    types = [get_numba_type(output.type, layout="C") for output in node.outputs]
    result_type = types[0] if len(types) == 1 else nb.types.Tuple(types)

    def perform(inputs: tuple[Any, ...]) -> Any:
        storage: list[list[Any]] = [[None] for _ in types]
        op.perform(node, inputs, storage)
        results = tuple(
            np.asarray(cell[0], order="C") if isinstance(cell[0], np.ndarray) else cell[0] for cell in storage
        )
        return results[0] if len(types) == 1 else results

    run = _Handle(perform)
    # the compiled code finds the handle, it does not own it: the Op does
    vars(op).setdefault("_object_mode_handles", _Handles()).append(run)

    @nb.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
    def object_mode(*inputs):  # type: ignore[no-untyped-def]
        with nb.objmode(result=result_type):
            result = run(inputs)
        return result

    return object_mode
