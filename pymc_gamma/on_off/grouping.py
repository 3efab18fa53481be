"""Neighbouring channels joined in groups."""

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.errors import EventError
from pymc_gamma.on_off.channels import Channels

__all__ = ["begins_of_groups", "joined_groups"]

SAME_ALPHA = 1e-6
"""Relative difference of ratios of exposures within which counts add up."""


def begins_of_groups(
    name: str,
    channels: Channels,
    grouping: IntArray | None,
    n: int | None,
    min_counts: float | None,
    min_off: float | None,
) -> NDArray[np.bool_]:
    """Where groups begin, shape (n_channels,); channels that are not used are groups of their own.

    Parameters
    ----------
    name : str
        Of the data set, for messages.
    channels : Channels
        The channels.
    grouping : numpy.ndarray, optional
        Groups of the file, which are taken where nothing else is given.
    n : int, optional
        Channels in a group.
    min_counts, min_off : float, optional
        ON and OFF counts that a group holds at least.

    Raises
    ------
    EventError
        If there are no OFF counts to hold, or no groups of the file.
    """
    mask, on, off = channels.mask, channels.counts, channels.counts_off
    if min_off is not None and off is None:
        raise EventError(f"{name!r} has no OFF region, whose counts min_off= asks for.")
    begins = ~mask
    begins[1:] |= begins[:-1]
    begins[0] = True
    if n is None and min_counts is None and min_off is None:
        if grouping is None:
            raise EventError(f"{name!r} has no groups of its own (GROUPING); give n, min_counts or min_off.")
        return np.asarray(begins | (grouping != -1))
    wanted = np.array([n or 0, min_counts or 0, min_off or 0])
    holds = np.column_stack([np.ones(len(mask)), on, np.zeros(len(mask)) if off is None else off])
    for run in np.split(np.arange(len(mask)), np.flatnonzero(begins)[1:]):
        _split(run, holds, wanted, begins)
    return begins


def joined_groups(
    name: str, channels: Channels, edges: FloatArray, edisp: FloatArray, begins: NDArray[np.bool_]
) -> tuple[Channels, FloatArray, FloatArray]:
    """Channels, their edges and probabilities (m, n), of groups.

    Raises
    ------
    EventError
        If alpha differs within a group.
    """
    group, first = np.cumsum(begins) - 1, np.flatnonzero(begins)
    alpha, off = channels.alpha, channels.counts_off
    if alpha is not None:
        reference = alpha[first]
        differs = channels.mask & ~np.isclose(alpha, reference[group], rtol=SAME_ALPHA, atol=0)
        if differs.any():
            c = int(differs.argmax())
            raise EventError(
                f"{name!r}: alpha differs within a group ({reference[group[c]]:.6g} and {alpha[c]:.6g} near "
                f"{edges[c]:.4g} TeV); counts of both do not add up. Group less, or not across that energy."
            )
        alpha = reference
    joined = Channels(
        np.add.reduceat(channels.counts, first),
        None if off is None else np.add.reduceat(off, first),
        alpha,
        channels.mask[first],
    )
    return joined, np.append(edges[first], edges[-1]), np.add.reduceat(edisp, first, axis=1)


def _split(run: IntArray, holds: FloatArray, wanted: FloatArray, begins: NDArray[np.bool_]) -> None:
    """Cut a run of channels where those since the last cut hold enough; the rest stays with the last."""
    held, last = np.zeros(len(wanted)), None
    for c in run:
        if (held >= wanted).all():
            begins[c], last, held = True, c, np.zeros(len(wanted))
        held = held + holds[c]
    if last is not None and not (held >= wanted).all():
        begins[last] = False
