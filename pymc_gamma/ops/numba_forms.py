"""Numba forms of the Ops: what PyTensor's default linker runs.

PyTensor caches compiled graphs on disk under a key that knows the Op but not the kernels it calls; the version
returned here changes with all their sources, so that an edited kernel is never answered with old machine code.
"""

from collections.abc import Callable
from typing import Any

import numba as nb
from pytensor.graph.basic import Apply
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.compilation import cache_version
from pymc_gamma.ops.intrinsics import inlined
from pymc_gamma.ops.layout import EventArrays, Tiles
from pymc_gamma.ops.logmatvec import EventOp

__all__: list[str] = []


@inlined
def _tiles(arrays):  # type: ignore[no-untyped-def]
    return Tiles(arrays[0], arrays[1], arrays[2], arrays[3])


@inlined
def _no_tiles(arrays):  # type: ignore[no-untyped-def]
    return None


@inlined
def _as_they_are(vectors):  # type: ignore[no-untyped-def]
    return vectors


@inlined
def _with_nothing_added(vectors):  # type: ignore[no-untyped-def]
    return (vectors[0], None, *vectors[1:])


@register_funcify_default_op_cache_key(EventOp)
def _numba_form(op: EventOp, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    """The kernel of an Op, called with the inputs of its node."""
    run = op.kernel
    n_events, n_arrays = len(EventArrays._fields), len(op.table_inputs)
    tiles_of = _tiles if op.banded else _no_tiles
    vectors_of = _as_they_are if op.added else _with_nothing_added

    @nb.njit
    def form(*inputs):  # type: ignore[no-untyped-def]
        events = EventArrays(*inputs[:n_events])
        return run(events, tiles_of(inputs[n_events:n_arrays]), *vectors_of(inputs[n_arrays:]))

    return form, cache_version()
