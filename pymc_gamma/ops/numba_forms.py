"""Numba forms of the Ops: what PyTensor's default linker runs.

PyTensor caches compiled graphs on disk under a key that knows the Op but not the kernels it calls; the version
returned here changes with all their sources, so that an edited kernel is never answered with old machine code.
"""

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from pytensor.graph.basic import Apply
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.compilation import cache_version
from pymc_gamma.ops import kernels
from pymc_gamma.ops.logmatvec import LogMatVec, LogMatVecHVP, LogMatVecJVP, LogMatVecSum, LogMatVecVJP

__all__: list[str] = []


@register_funcify_default_op_cache_key(LogMatVec)
def _log_matvec(op: LogMatVec, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    if op.banded:

        @nb.njit
        def banded_log_matvec(  # type: ignore[no-untyped-def]
            table,
            multiplicity,
            unit,
            offset,
            offset_sum,
            log_rows,
            numbers,
            tiles,
            pointer,
            order,
            coefficients,
        ):
            values = kernels.pointwise(table, multiplicity, offset, coefficients, (numbers, tiles, pointer), log_rows)
            return kernels.in_event_order(values, order)

        return banded_log_matvec, cache_version()

    @nb.njit
    def log_matvec(table, multiplicity, unit, offset, offset_sum, log_rows, coefficients):  # type: ignore[no-untyped-def]
        return kernels.pointwise(table, multiplicity, offset, coefficients, None, log_rows)

    return log_matvec, cache_version()


@register_funcify_default_op_cache_key(LogMatVecSum)
def _log_matvec_sum(op: LogMatVecSum, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    if op.banded:

        @nb.njit
        def banded_log_matvec_sum(  # type: ignore[no-untyped-def]
            table,
            multiplicity,
            unit,
            offset,
            offset_sum,
            log_rows,
            numbers,
            tiles,
            pointer,
            order,
            coefficients,
        ):
            value, gradient = kernels.fused(
                table, multiplicity, unit, coefficients, (numbers, tiles, pointer), log_rows
            )
            return np.asarray(value + offset_sum.item()), gradient

        return banded_log_matvec_sum, cache_version()

    @nb.njit
    def log_matvec_sum(table, multiplicity, unit, offset, offset_sum, log_rows, coefficients):  # type: ignore[no-untyped-def]
        value, gradient = kernels.fused(table, multiplicity, unit, coefficients, None, log_rows)
        return np.asarray(value + offset_sum.item()), gradient

    return log_matvec_sum, cache_version()


@register_funcify_default_op_cache_key(LogMatVecVJP)
def _log_matvec_vjp(op: LogMatVecVJP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    if op.banded:

        @nb.njit
        def banded_log_matvec_vjp(  # type: ignore[no-untyped-def]
            table,
            multiplicity,
            unit,
            offset,
            offset_sum,
            log_rows,
            numbers,
            tiles,
            pointer,
            order,
            coefficients,
            weight,
        ):
            return kernels.vjp(table, weight[order] * multiplicity, coefficients, (numbers, tiles, pointer), log_rows)

        return banded_log_matvec_vjp, cache_version()

    @nb.njit
    def log_matvec_vjp(table, multiplicity, unit, offset, offset_sum, log_rows, coefficients, weight):  # type: ignore[no-untyped-def]
        return kernels.vjp(table, weight * multiplicity, coefficients, None, log_rows)

    return log_matvec_vjp, cache_version()


@register_funcify_default_op_cache_key(LogMatVecJVP)
def _log_matvec_jvp(op: LogMatVecJVP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    if op.banded:

        @nb.njit
        def banded_log_matvec_jvp(  # type: ignore[no-untyped-def]
            table,
            multiplicity,
            unit,
            offset,
            offset_sum,
            log_rows,
            numbers,
            tiles,
            pointer,
            order,
            coefficients,
            weight,
            direction,
        ):
            weight = weight[order] * multiplicity
            values = kernels.pushforward(table, weight, coefficients, direction, (numbers, tiles, pointer), log_rows)
            return kernels.in_event_order(values, order)

        return banded_log_matvec_jvp, cache_version()

    @nb.njit
    def log_matvec_jvp(table, multiplicity, unit, offset, offset_sum, log_rows, coefficients, weight, direction):  # type: ignore[no-untyped-def]
        return kernels.pushforward(table, weight * multiplicity, coefficients, direction, None, log_rows)

    return log_matvec_jvp, cache_version()


@register_funcify_default_op_cache_key(LogMatVecHVP)
def _log_matvec_hvp(op: LogMatVecHVP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    if op.banded:

        @nb.njit
        def banded_log_matvec_hvp(  # type: ignore[no-untyped-def]
            table,
            multiplicity,
            unit,
            offset,
            offset_sum,
            log_rows,
            numbers,
            tiles,
            pointer,
            order,
            coefficients,
            weight,
            direction,
        ):
            weight = weight[order] * multiplicity
            return kernels.hessian_product(table, weight, coefficients, direction, (numbers, tiles, pointer), log_rows)

        return banded_log_matvec_hvp, cache_version()

    @nb.njit
    def log_matvec_hvp(table, multiplicity, unit, offset, offset_sum, log_rows, coefficients, weight, direction):  # type: ignore[no-untyped-def]
        return kernels.hessian_product(table, weight * multiplicity, coefficients, direction, None, log_rows)

    return log_matvec_hvp, cache_version()
