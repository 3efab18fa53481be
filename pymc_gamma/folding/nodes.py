r"""True energies at which spectra are tabulated, and what a tabulated spectrum puts into true-energy bins.

Spectra are tabulated at nodes :math:`E_n`, equidistant in :math:`\log E` and at most :data:`NODE_STEP` apart. That is
narrower than the features of any energy dispersion, so that the response :math:`K(E)` of an event is smooth between
nodes. A spectrum is compared with a power law, :math:`\phi(E) = E^{-2.5}\, r(E)`.

**From a function to the nodes.** Where a spectrum is smooth its values are taken. Sums over equidistant nodes integrate
a Gaussian of width :math:`\sigma` up to a factor :math:`1 + 2 e^{-2 \pi^2 \sigma^2 / h^2}`: a line is smooth as soon as
its width is that of the spacing :math:`h`. Where cubic interpolation between nodes misses the spectrum (lines narrower
than that, steps at an endpoint) it is projected on the hat functions :math:`h_n` of the nodes,

.. math:: r_n = \int \phi\, h_n\,\mathrm{d}E \Big/ \int E^{-2.5}\, h_n\,\mathrm{d}E ,

so that counts and mean energies are right wherever the feature lies between the nodes.

**From the nodes to bins.** Bins hold several intervals of nodes. A bin with the response
:math:`\int_b K E^{-2.5}\,\mathrm{d}E` needs a number :math:`r_b` such that :math:`\sum_b r_b \int_b K E^{-2.5}` is the
integral of :math:`K \phi`. To fourth order in the width of the bins this is the value at the centre less a 24th of the
second difference; the ratio at the centre, or the mean over the bin, would widen features by the width of a bin. Where
:math:`r` is not a parabola inside a bin the bin is split at its nodes (:func:`split_bins`).
"""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import binary_dilation, binary_propagation, maximum_filter1d

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import PymcGammaWarning
from pymc_gamma.folding.tables import IN_BIN_INDEX

__all__ = [
    "NODE_STEP",
    "at_bins",
    "bends_between",
    "has_narrow",
    "is_curved",
    "nodes_per_bin",
    "onto_hats",
    "photons_at_nodes",
    "sharpened",
    "spectrum_nodes",
    "split_bins",
    "tabulate",
    "warn_unresolved",
]

NODE_STEP = 0.007
"""Largest spacing of the nodes in the natural logarithm of the energy: a line of 1 % is as wide as one and a half."""
SUB_NODES = 16
"""Points per interval at which a spectrum is evaluated that is not smooth between nodes."""
ROUGH = 0.04
"""Error of the cubic interpolation half-way between nodes, relative to the largest ratio near by, above which a
spectrum is not smooth."""
NEAR = 0.03
REACH = 0.28
"""Ranges in log E of what is near by: between nodes, and for bins, beyond which no dispersion lets one shine
through."""
BIN_RESIDUAL = 0.01
BIN_CURVATURE = 0.02
BIN_SLOPE = 0.15
"""Residual from a parabola, and second difference over half a bin, relative to the largest ratio near by, above which
a bin is split; and change over a bin above which it is if its neighbour is."""
NODE_CURVATURE = 0.2
NODE_RESIDUAL = 0.02
"""Second difference between the nodes of smooth spectra, relative to the largest ratio near by (that of a Gaussian 2.2
of them wide), and residual from a curve through them, above which a spectrum is not smooth."""
PEAK, TWIN_PEAK = 1.2, 1.5
"""Second difference at one node, and its sum over two neighbours, that no feature wider than 0.7 nodes has."""


def nodes_per_bin(energy_edges: FloatArray) -> int:
    """Number of intervals between nodes in each of equidistant bins: even, so that centres are nodes."""
    width = math.log(energy_edges[-1] / energy_edges[0]) / (len(energy_edges) - 1)
    return 2 * math.ceil(width / (2 * NODE_STEP) - 1e-9)


def spectrum_nodes(energy_edges: FloatArray) -> FloatArray:
    """True energies in TeV at which spectra are tabulated: the edges of equidistant bins and nodes between them.

    Examples
    --------
    >>> spectrum_nodes(np.array([1.0, 1.01, 1.0201])).round(4).tolist()
    [1.0, 1.005, 1.01, 1.015, 1.0201]
    """
    per_bin = nodes_per_bin(energy_edges)
    position = np.arange((len(energy_edges) - 1) * per_bin + 1) / per_bin
    return np.exp(np.interp(position, np.arange(len(energy_edges)), np.log(energy_edges)))


def tabulate(function: Callable[[FloatArray], FloatArray], energy_edges: FloatArray, label: str) -> FloatArray:
    """Values of a spectrum on the nodes that integrate like it.

    Parameters
    ----------
    function : callable
        From energies in TeV (n,) to fluxes (n,).
    energy_edges : numpy.ndarray
        Edges of equidistant true-energy bins in TeV.
    label : str
        Name of the spectrum, for the warning.

    Returns
    -------
    numpy.ndarray
        One value for each of :func:`spectrum_nodes`.

    Warns
    -----
    PymcGammaWarning
        If the spectrum has features that are narrower than the nodes.
    """
    nodes = spectrum_nodes(energy_edges)
    middle = np.sqrt(nodes[1:] * nodes[:-1])
    both = np.empty(2 * len(nodes) - 1)
    both[::2], both[1::2] = nodes, middle
    values = np.asarray(function(both), float)
    if values.shape != both.shape or not np.all(np.isfinite(values)):
        return np.asarray(function(nodes), float)  # whoever asked for it says what is wrong
    flux = values[::2].copy()
    rough = binary_dilation(_rough_cells(values * both**IN_BIN_INDEX, nodes), iterations=2)
    if not rough.any():
        return flux
    affected = np.convolve(rough, [1, 1])  # the nodes at both ends of a rough interval
    step = math.log(nodes[1] / nodes[0])
    inner = (np.arange(SUB_NODES) + 0.5) / SUB_NODES
    cells = np.flatnonzero(np.convolve(affected, [1, 1])[1:-1])
    energy = nodes[cells, None] * np.exp(step * inner)
    found = np.asarray(function(energy.ravel()), float).reshape(energy.shape)
    integral = np.zeros((2, len(nodes)))
    for row, density in zip(integral, (found, energy**-IN_BIN_INDEX), strict=True):
        np.add.at(row, cells, (density * energy * (1 - inner)).sum(axis=1))
        np.add.at(row, cells + 1, (density * energy * inner).sum(axis=1))
    projected = np.flatnonzero(affected)
    flux[projected] = integral[0, projected] / integral[1, projected] * nodes[projected] ** -IN_BIN_INDEX
    warn_unresolved(flux, energy_edges, label, _narrowest(found * energy**IN_BIN_INDEX, step / SUB_NODES))
    return flux


def photons_at_nodes(energy: Any, flux: Any, nodes: FloatArray, index: float, xp: Any) -> Any:
    """Values on nodes that integrate like a spectrum of which the photons between them are known: the same projection.

    Parameters
    ----------
    energy, flux : array_like or TensorVariable
        Points in each interval between nodes in TeV, (n - 1, q), and photons there, cm-2 s-1, (..., n - 1, q).
    nodes : numpy.ndarray
        Equidistant in log E, TeV, shape (n,).
    index : float
        Index of the power law that the spectrum is compared with.
    xp : module
        NumPy, or PyTensor's ``tensor``.

    Returns
    -------
    numpy.ndarray or TensorVariable
        TeV-1 cm-2 s-1, shape (..., n).
    """
    length = np.log(nodes[1:] / nodes[:-1])
    above = xp.log(energy / nodes[:-1, None]) / length[:, None]
    upper, every = xp.sum(flux * above, axis=-1), xp.sum(flux, axis=-1)
    # integrals of E^-index over both hats of an interval
    power = 1 - index
    whole = (nodes[1:] ** power - nodes[:-1] ** power) / power
    high = (nodes[1:] ** power - whole / length) / power
    total = np.append(whole - high, 0) + np.append(0, high)
    return onto_hats(every - upper, upper, xp) * (nodes**-index / total)


def onto_hats(below: Any, above: Any, xp: Any) -> Any:
    """Integrals over the hats of nodes, from those over the two hats of each interval between them."""
    zero = xp.zeros_like(below[..., :1])
    return xp.concatenate([below, zero], axis=-1) + xp.concatenate([zero, above], axis=-1)


def _rough_cells(ratio: FloatArray, nodes: FloatArray) -> NDArray[np.bool_]:
    """Intervals in which the cubic through the nodes misses the value half-way; ratios at nodes and half-way."""
    at, half = ratio[::2], ratio[1::2]
    padded = np.concatenate([2 * at[:1] - at[1:2], at, 2 * at[-1:] - at[-2:-1]])
    cubic = (9 * (at[1:] + at[:-1]) - padded[:-3] - padded[3:]) / 16
    size = 2 * math.ceil(NEAR / math.log(nodes[1] / nodes[0])) + 1
    scale = maximum_filter1d(np.maximum(half, np.maximum(at[1:], at[:-1])), size)
    return np.asarray(np.abs(half - cubic) > ROUGH * scale)


def _narrowest(ratio: FloatArray, step: float) -> float:
    """Width (standard deviation of a Gaussian of the same area and height) in log E of the strongest rough feature."""
    flat = ratio.ravel()
    peak = int(flat.argmax())
    above = flat > flat[peak] / 2
    left = peak - int(np.argmin(above[peak::-1])) if not above[: peak + 1].all() else -1
    right = peak + int(np.argmin(above[peak:])) if not above[peak:].all() else len(flat)
    return step * max(right - left - 1, 1) / 2.3548


def warn_unresolved(flux: FloatArray, energy_edges: FloatArray, label: str, width: float | None = None) -> None:
    """Warn if values on the nodes have a feature as narrow as their spacing.

    Parameters
    ----------
    flux : numpy.ndarray
        On the nodes.
    energy_edges : numpy.ndarray
        Edges of equidistant true-energy bins in TeV.
    label : str
        Name of the spectrum.
    width : float, optional
        Standard deviation of the feature in log E, if it is known.
    """
    nodes = spectrum_nodes(energy_edges)
    step = math.log(nodes[1] / nodes[0])
    ratio = flux * nodes**IN_BIN_INDEX
    bend = np.pad(2 * ratio[1:-1] - ratio[2:] - ratio[:-2], 1)
    scale = maximum_filter1d(ratio, 2 * math.ceil(NEAR / step) + 1)
    narrow = (bend > PEAK * scale) | (np.pad(bend[1:] + bend[:-1], (0, 1)) > TWIN_PEAK * scale)
    narrow &= scale > 0
    if not narrow.any():
        return
    at = nodes[np.flatnonzero(narrow)[ratio[narrow].argmax()]]
    needed = 0.5 * step if width is None else min(width, 0.5 * step)
    bins = 10 * math.ceil(math.log(energy_edges[-1] / energy_edges[0]) / (2 * needed) / 10)
    warnings.warn(
        f"{label} has a feature at {at:.4g} TeV that is narrower than the true-energy nodes, which are {step:.2%} of "
        f"the energy apart; fold with energy_true={bins} for nodes {needed:.2%} apart.",
        PymcGammaWarning,
        stacklevel=2,
    )


def is_curved(ratio: FloatArray, per_bin: int, step: float) -> NDArray[np.bool_]:
    """Bins inside which a spectrum is not the parabola through its values at the edges and the centre.

    Parameters
    ----------
    ratio : numpy.ndarray
        Spectrum over a power law at the nodes, shape (n_bins * per_bin + 1,).
    per_bin : int
        Intervals between nodes in each bin, even.
    step : float
        Spacing of the nodes in log E.
    """
    cells = np.concatenate([ratio[:-1].reshape(-1, per_bin), ratio[per_bin::per_bin, None]], axis=1)
    left, centre, right = cells[:, :1], cells[:, per_bin // 2, None], cells[:, -1:]
    t = np.arange(per_bin + 1) / (0.5 * per_bin) - 1
    bend = left - 2 * centre + right
    residual = np.abs(cells - (centre + 0.5 * t * (right - left) + 0.5 * t**2 * bend)).max(axis=1)
    scale = maximum_filter1d(cells.max(axis=1), 2 * math.ceil(REACH / (per_bin * step)) + 1)
    curved = (residual > BIN_RESIDUAL * scale) | (np.abs(bend[:, 0]) > BIN_CURVATURE * scale)
    if curved.any():
        # where wide bins meet narrow ones the error is of third order, and goes with the slope of the spectrum there
        steep = np.abs(right - left)[:, 0] > BIN_SLOPE * scale
        narrow = binary_propagation(curved, mask=curved | steep)
        return np.asarray(binary_dilation(narrow))  # what a bin holds depends on the nodes beside it
    return curved


def has_narrow(flux: FloatArray, energy_edges: FloatArray) -> bool:
    """Whether a spectrum on the nodes is not what a smooth curve through its values at the edges of the bins is."""
    nodes, per_bin = spectrum_nodes(energy_edges), nodes_per_bin(energy_edges)
    ratio = flux * nodes**IN_BIN_INDEX
    if not np.all(np.isfinite(ratio)):
        return False  # whoever uses it says what is wrong
    curve = CubicSpline(np.log(nodes[::per_bin]), ratio[::per_bin])(np.log(nodes))
    scale = maximum_filter1d(ratio, 2 * math.ceil(REACH / math.log(nodes[1] / nodes[0])) + 1)
    if np.any(np.abs(ratio - curve) > NODE_RESIDUAL * scale):
        return True
    return bends_between(flux[::per_bin], energy_edges)


def bends_between(flux: FloatArray, energy: FloatArray) -> bool:
    """Whether a spectrum bends so much from one of equidistant energies to the next that it is not known between."""
    ratio = flux * energy**IN_BIN_INDEX
    bend = np.abs(ratio[2:] - 2 * ratio[1:-1] + ratio[:-2])
    scale = maximum_filter1d(ratio, 2 * math.ceil(REACH / math.log(energy[1] / energy[0])) + 1)[1:-1]
    return bool(np.any(bend > NODE_CURVATURE * scale))


def split_bins(fluxes: Iterable[FloatArray], energy_edges: FloatArray) -> FloatArray:
    """Edges of the true-energy bins, with those split at their nodes in which one of some spectra is narrow."""
    per_bin, nodes = nodes_per_bin(energy_edges), spectrum_nodes(energy_edges)
    step = math.log(nodes[1] / nodes[0])
    narrow = np.zeros(len(energy_edges) - 1, bool)
    for flux in fluxes:
        narrow |= is_curved(flux * nodes**IN_BIN_INDEX, per_bin, step)
    keep = np.concatenate([np.repeat(narrow, per_bin), [True]])
    keep[::per_bin] = True
    return nodes[keep]


def at_bins(flux: FloatArray, energy_edges: FloatArray) -> FloatArray:
    """What a spectrum puts into true-energy bins, as a value at their geometric centres.

    Parameters
    ----------
    flux : numpy.ndarray
        On nodes equidistant in log E from the first to the last edge, along the last axis.
    energy_edges : numpy.ndarray
        Edges of the bins, all of them nodes: an even number of intervals apart, or one.

    Returns
    -------
    numpy.ndarray
        Slightly negative beside narrow lines.
    """
    n = flux.shape[-1] - 1
    log_edges = np.log(energy_edges)
    step = (log_edges[-1] - log_edges[0]) / n
    edge = np.rint((log_edges - log_edges[0]) / step).astype(np.int64)
    ratio = flux * np.exp(IN_BIN_INDEX * (log_edges[0] + step * np.arange(n + 1)))
    first, last = edge[:-1], edge[1:]
    low, high = ratio[..., first], ratio[..., last]
    centre = ratio[..., (first + last) // 2]
    whole = centre - (low - 2 * centre + high) / 6
    # the errors of neighbours cancel, second order included; where narrow bins follow, the edge has to be put right
    width = last - first
    narrower_after = np.append(width[1:] < width[:-1], False)
    narrower_before = np.append(False, width[:-1] < width[1:])
    whole += narrower_after * (low - 4 * centre + 3 * high) / 12 + narrower_before * (3 * low - 4 * centre + high) / 12
    around = ratio[..., np.maximum(first - 1, 0)] + ratio[..., np.minimum(last + 1, n)]
    value = np.where(width % 2 == 0, whole, (7 * (low + high) - around) / 12)
    return np.asarray(value * np.exp(-0.5 * IN_BIN_INDEX * (log_edges[1:] + log_edges[:-1])))


def sharpened(columns: FloatArray) -> FloatArray:
    r"""Columns for averages of a spectrum over the hats of the nodes, from columns averaged over boxes around them.

    A response averaged over boxes takes the averages of a spectrum over hats less an eighth of the second difference,
    :math:`\rho_n = r_n - \delta^2 r_n / 8`. The transpose of that map, once, on the columns of each event makes
    densities :math:`\sum_n A_n r_n` without it. Where a dispersion begins or ends, columns would be slightly negative.
    What they lack is taken from their neighbours inside, twice from the first and less once from the second: the same
    for a straight :math:`r`. So densities are positive for any spectrum that is.

    Parameters
    ----------
    columns : numpy.ndarray
        Not negative, along the last axis.
    """
    inner, weight = columns[..., 1:-1], 1 / 12 + 1 / 24
    out = columns.copy()
    out[..., 1:-1] += 2 * weight * inner
    out[..., :-2] -= weight * inner
    out[..., 2:] -= weight * inner
    lacking = np.minimum(out, 0)
    if lacking.any():
        padded = np.pad(columns, [(0, 0)] * (columns.ndim - 1) + [(1, 1)])
        rising = padded[..., 2:] >= padded[..., :-2]
        out -= lacking
        up, down = np.where(rising, lacking, 0), np.where(rising, 0, lacking)
        for k, share in enumerate((2, -1), start=1):
            out[..., k:] += share * up[..., :-k]
            out[..., :-k] += share * down[..., k:]
        np.maximum(out, 0, out=out)
    total = out.sum(axis=-1, keepdims=True)
    out *= columns.sum(axis=-1, keepdims=True) / np.where(total > 0, total, 1)
    return out
