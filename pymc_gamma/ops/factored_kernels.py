"""Kernels of columns that are products of factors and bands, see :mod:`pymc_gamma.ops.factored`."""

import numpy as np

from pymc_gamma.compilation import kernel

__all__ = ["rows_dot", "rows_pull"]

FASTMATH = {"reassoc", "contract", "nsz"}


@kernel(error_model="numpy", fastmath=FASTMATH)
def rows_dot(w, v, factors, values, pointer, column):  # type: ignore[no-untyped-def]
    """Products of rows of factors with ``w`` and of bands with ``v``, shape (R,) each."""
    n, n_widths = factors.shape
    first, second = np.empty(n), np.empty(n)
    for r in range(n):
        row, total = factors[r], 0.0
        for g in range(n_widths):
            total += row[g] * w[g]
        first[r] = total
        band = values[pointer[r] : pointer[r + 1]]
        own = v[column[r] : column[r] + len(band)]
        total = 0.0
        for j in range(len(band)):
            total += band[j] * own[j]
        second[r] = total
    return first, second


@kernel(error_model="numpy", fastmath=FASTMATH)
def rows_pull(first, second, n_coefficients, factors, values, pointer, column):  # type: ignore[no-untyped-def]
    """Sums of rows of factors and of bands, with weights."""
    n, n_widths = factors.shape
    w, v = np.zeros(n_widths), np.zeros(n_coefficients)
    for r in range(n):
        row, x = factors[r], first[r]
        for g in range(n_widths):
            w[g] += row[g] * x
        band, y = values[pointer[r] : pointer[r + 1]], second[r]
        own = v[column[r] : column[r] + len(band)]
        for j in range(len(band)):
            own[j] += band[j] * y
    return w, v
