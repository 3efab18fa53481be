r"""Kernel that writes columns of Gaussians of many widths as combinations of a few of them.

The density of an event is :math:`\sum_{gn} w_g K_{gn} \rho_n`, with weights of widths and coefficients of a spectrum,
none negative. Rows of :math:`K` are alike where a width is large against the PSF: few of them, the pivots :math:`p_j`,
tell the others, :math:`K_{gn} \approx \sum_j U_{gj} K_{p_j n}` (cross approximation: Bebendorf 2000, Numerische
Mathematik 86, 565). The remainder is compared with what an event can see: with
:math:`\max_P w^P_g / \sum_h w^P_h K_{hn}` for some profiles *P*, so that the density is right to a tolerance whatever
the spectrum.
"""

import numpy as np

from pymc_gamma.compilation import kernel

__all__ = ["MAX_PIVOTS", "pick_pivots"]

MAX_PIVOTS = 12
FAINT = 1e-4
"""Share of the largest number of an event's columns, below which errors are compared with that."""


@kernel(error_model="numpy")
def pick_pivots(columns, weights, tolerance, pivots, factors):  # type: ignore[no-untyped-def]
    """Pivots of each event, by number, and what they are multiplied with for each width.

    Parameters
    ----------
    columns : numpy.ndarray
        Not negative, shape (n_events, n_widths, n_nodes).
    weights : numpy.ndarray
        Weights of the widths in some profiles, shape (n_profiles, n_widths).
    tolerance : float
        Largest error relative to a density.
    pivots : numpy.ndarray
        Filled with widths, -1 where there are less of them, shape (n_events, MAX_PIVOTS).
    factors : numpy.ndarray
        Filled, shape (n_events, MAX_PIVOTS, n_widths).
    """
    n_events, n_widths, n_nodes = columns.shape
    n_profiles = len(weights)
    for i in range(n_events):
        pivots[i] = -1
        factors[i] = 0.0
        first, last = n_nodes, 0
        for g in range(n_widths):
            for n in range(n_nodes):
                if columns[i, g, n] > 0:
                    first, last = min(first, n), max(last, n + 1)
        size = last - first
        if size <= 0:
            continue
        rest = columns[i, :, first:last].copy()
        scale = np.zeros((n_widths, size))
        for p in range(n_profiles):
            total = np.zeros(size)
            for g in range(n_widths):
                for n in range(size):
                    total[n] += weights[p, g] * rest[g, n]
            largest = total.max()
            if largest <= 0:
                continue
            for n in range(size):
                total[n] = 1 / max(total[n], FAINT * largest)
            for g in range(n_widths):
                for n in range(size):
                    scale[g, n] = max(scale[g, n], weights[p, g] * total[n])
        combined = np.zeros((MAX_PIVOTS, n_widths))
        count = 0
        while count < MAX_PIVOTS:
            worst, at_g, at_n = 0.0, 0, 0
            for g in range(n_widths):
                for n in range(size):
                    error = abs(rest[g, n]) * scale[g, n]
                    if error > worst:
                        worst, at_g, at_n = error, g, n
            if worst <= tolerance:
                break
            pivot = rest[at_g, at_n]
            row = rest[at_g].copy()
            for g in range(n_widths):
                u = rest[g, at_n] / pivot
                combined[count, g] = u
                for n in range(size):
                    rest[g, n] -= u * row[n]
            rest[at_g] = 0.0
            pivots[i, count] = at_g
            count += 1
        # from remainders of the pivots to these themselves: a triangular system
        for j in range(count - 1, -1, -1):
            for g in range(n_widths):
                total = combined[j, g]
                for k in range(j + 1, count):
                    total -= factors[i, k, g] * combined[j, pivots[i, k]]
                factors[i, j, g] = total
