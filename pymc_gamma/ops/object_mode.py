"""Ops that call back into Python on purpose, without the warning that PyTensor gives when it happens by accident."""

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import get_numba_type

__all__ = ["object_mode_form"]


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

    def run(inputs: tuple[Any, ...]) -> Any:
        storage: list[list[Any]] = [[None] for _ in types]
        op.perform(node, inputs, storage)
        results = tuple(
            np.asarray(cell[0], order="C") if isinstance(cell[0], np.ndarray) else cell[0] for cell in storage
        )
        return results[0] if len(types) == 1 else results

    @nb.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
    def object_mode(*inputs):  # type: ignore[no-untyped-def]
        with nb.objmode(result=result_type):
            result = run(inputs)
        return result

    return object_mode
