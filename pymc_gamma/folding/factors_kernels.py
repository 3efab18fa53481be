r"""Kernel that writes columns of Gaussians of many widths as combinations of a few of them.

The density of an event is :math:`\sum_{gn} w_g K_{gn} \rho_n`, with weights of widths and coefficients of a spectrum,
none negative. Rows of :math:`K` are alike where a width is large against the PSF: few of them, the pivots :math:`p_j`,
tell the others, :math:`K_{gn} \approx \sum_j U_{gj} K_{p_j n}`. The next pivot is the row whose remainder is the
largest, and the others are projected on the pivots by least squares (Golub & Van Loan, Matrix Computations, section
5.4.2: QR with pivoting). Least squares leave a remainder that is orthogonal to the pivots, so it cancels in sums over
smooth spectra; remainders that vanish at points, as those of cross approximations do, add up.

What counts are errors relative to densities. With :math:`d_{Pn} = \sum_g w^P_g K_{gn}` for some profiles *P*, each
scaled to a largest number of 1, and their mean :math:`d_n`, rows are multiplied with
:math:`\max_P w^P_g / \sum_n d_{Pn}` and columns with :math:`d_n^{-3/4}`, between those for smooth spectra and those for
lines, of which the tails of a dispersion see as much as its peak.
"""

import math

import numpy as np

from pymc_gamma.compilation import kernel

__all__ = ["MAX_PIVOTS", "pick_pivots"]

MAX_PIVOTS = 12
FAINT = 1e-4
"""Share of the largest density below which columns are not given more weight."""


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
        Largest remainder of a row, over the largest row.
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
        row_weight, density = np.zeros(n_widths), np.zeros(size)
        for p in range(n_profiles):
            total = np.zeros(size)
            for g in range(n_widths):
                for n in range(size):
                    total[n] += weights[p, g] * rest[g, n]
            largest = total.max()
            if largest <= 0:
                continue
            for n in range(size):
                density[n] += total[n] / largest
            for g in range(n_widths):
                row_weight[g] = max(row_weight[g], weights[p, g] / total.sum())
        density /= density.max()
        for n in range(size):
            density[n] = max(density[n], FAINT) ** -0.75
        for g in range(n_widths):
            for n in range(size):
                rest[g, n] *= row_weight[g] * density[n]
        # Gram-Schmidt: unit vectors along the remainders of pivots, and what all rows hold of them
        along = np.zeros((MAX_PIVOTS, n_widths))
        enough, count = 0.0, 0
        while count < MAX_PIVOTS:
            largest, at = 0.0, 0
            for g in range(n_widths):
                norm = 0.0
                for n in range(size):
                    norm += rest[g, n] * rest[g, n]
                if norm > largest:
                    largest, at = norm, g
            norm = math.sqrt(largest)
            if norm <= enough:
                break
            enough = max(enough, tolerance * norm)  # that of the first, which is the largest
            unit = rest[at] / norm
            for g in range(n_widths):
                share = 0.0
                for n in range(size):
                    share += rest[g, n] * unit[n]
                along[count, g] = share
                for n in range(size):
                    rest[g, n] -= share * unit[n]
            rest[at] = 0.0
            pivots[i, count] = at
            count += 1
        # from unit vectors to the pivots themselves: a triangular system; and without the weights of rows
        for j in range(count - 1, -1, -1):
            at = pivots[i, j]
            for g in range(n_widths):
                share = along[j, g]
                for k in range(j + 1, count):
                    share -= factors[i, k, g] * along[j, pivots[i, k]]
                factors[i, j, g] = share / along[j, at]
        for j in range(count):
            at = pivots[i, j]
            for g in range(n_widths):
                if row_weight[g] > 0:
                    factors[i, j, g] *= row_weight[at] / row_weight[g]
