r"""Bands of events that a component of an intensity cannot have made: left out of the table.

Most events are far from most sources. There the density of a source is tiny and not zero, down to the smallest numbers
of floating point at a dozen widths of the PSF, and would be read at each call. The columns :math:`D_{in}` of a
component go with coefficients that are at most its fraction of all counts over :math:`s_n`, the share that the column
has in its acceptance. So its density at an event is at most its fraction times

.. math:: q_i = \max_n D_{in} / s_n ,

whatever its spectrum is. Let :math:`p_{ik}` be the densities of all components for coefficients of one. Then log L of
events of multiplicity :math:`m_i` changes by less than

.. math:: \sum_i m_i\, F\, q_i \Big/ \sum_k p_{ik}

if the bands of these events are left out, as long as the component has at most *F* times as many counts as the others:
all, say, beside others that have one in *F* each. For each component the events of the least ratios are left out, as
many as keep this sum below a tolerance. The derivative with respect to the logarithm of a coefficient changes by less
than it, too. Faint sources stay far below: with a hundredth of the counts beside a background a million times.

The bound does not depend on the fluxes that a response was folded with: in a mixture these say nothing. Only where
everything else has coefficients of exactly zero is an event impossible that was all but impossible before.
"""

from collections.abc import Sequence

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.bands import Bands

__all__ = ["BRIGHTEST", "TOLERANCE", "without_negligible"]

BRIGHTEST = 1e4
"""Ratio of the counts of a component to those of the others up to which the tolerance holds."""
TOLERANCE = 1e-3
"""Change of log L for each component at that ratio."""
_CHUNK = 2**17
"""Bands that are looked at together."""


def without_negligible(
    bands: Bands, shares: Sequence[FloatArray], densities: FloatArray, multiplicity: FloatArray
) -> Bands:
    """Bands without those that do not matter for log L whatever a fit does, see above.

    Parameters
    ----------
    bands : Bands
        Bands of N events, of densities for coefficients of one over the acceptance.
    shares : sequence of numpy.ndarray
        For each component the share of each column in the acceptance.
    densities : numpy.ndarray
        Densities of the components that have a number for each event, in the same units, shape (N, n).
    multiplicity : numpy.ndarray
        How often each event was observed, shape (N,).

    Returns
    -------
    Bands
        The same events and components; bands left out have no numbers.
    """
    n_events, n_bands = bands.column.shape
    share = np.concatenate(shares)
    first_share = np.cumsum([0, *(len(one) for one in shares[:-1])])
    found, costs = [np.empty(0, np.int64)], [np.empty(0)]
    step = max(_CHUNK // n_bands, 1)
    for first in range(0, n_events, step):
        rows = slice(first, min(first + step, n_events))
        pointer = bands.pointer[rows.start * n_bands : rows.stop * n_bands + 1]
        length, starts = np.diff(pointer), pointer[:-1] - pointer[0]
        values = bands.values[pointer[0] : pointer[-1]].astype(np.float64)
        column = np.repeat((bands.column[rows] + first_share).ravel() - starts, length) + np.arange(len(values))
        there = length > 0  # reduceat gives an entry where there is none
        density = np.where(there, np.add.reduceat(np.append(values, 0.0), starts), 0)
        every = densities[rows].sum(axis=1) + density.reshape(-1, n_bands).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # no share; events that nothing explains
            most = np.where(values > 0, values / share[column], 0)
            largest = np.maximum.reduceat(np.append(most, 0.0), starts).reshape(-1, n_bands)
            # densities of events that count less are looked at, too
            cost = (largest * (BRIGHTEST * np.maximum(multiplicity[rows], 1) / every)[:, None]).ravel()
        small = np.flatnonzero((cost < TOLERANCE) & there)
        found.append(small + rows.start * n_bands)
        costs.append(cost[small])
    which, cost = np.concatenate(found), np.concatenate(costs)
    component = which % n_bands
    order = np.lexsort((cost, component))
    which, component, total = which[order], component[order], np.cumsum(cost[order])
    before = np.append(0.0, total)[np.searchsorted(component, component)]  # of the components sorted earlier
    left_out = which[total - before <= TOLERANCE]
    if not len(left_out):
        return bands
    keep = np.ones(n_events * n_bands, bool)
    keep[left_out] = False
    length = np.diff(bands.pointer)
    values = bands.values[np.repeat(keep, length)]
    return Bands(values, np.concatenate([[0], np.cumsum(np.where(keep, length, 0))]), bands.column)
