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
from pymc_gamma.ops.form_kernels import as_they_are, no_tiles, tiles_from, with_nothing_added
from pymc_gamma.ops.layout import EventArrays
from pymc_gamma.ops.logmatvec import EventOp

__all__: list[str] = []


@register_funcify_default_op_cache_key(EventOp)
def _numba_form(op: EventOp, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    """The kernel of an Op, called with the inputs of its node."""
    run = op.kernel
    n_events, n_arrays = len(EventArrays._fields), len(op.table_inputs)
    tiles_of = tiles_from if op.banded else no_tiles
    vectors_of = as_they_are if op.added else with_nothing_added

    @nb.njit
    def form(*inputs):  # type: ignore[no-untyped-def]
        events = EventArrays(*inputs[:n_events])
        return run(events, tiles_of(inputs[n_events:n_arrays]), *vectors_of(inputs[n_arrays:]))

    return form, cache_version()
