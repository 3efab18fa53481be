r"""The energy dispersion of a gammapy IRF, as a density on equidistant nodes of the migration.

A file holds, for every true energy and offset, a histogram over bins :math:`(\mu_k, \mu_{k+1})` of the migration
:math:`\mu = E'/E`. Its values :math:`v_k` are a density, :math:`\sum_k v_k (\mu_{k+1}-\mu_k) = 1`, as the data format
says, or probabilities, :math:`\sum_k v_k = 1`, as in files of CTAO prod5. Which of the two is decided for the table:
what is closer to 1 in the median over energies and offsets. Where the bins are equally wide the two differ by a factor
only.

The fold and the simulator take the density to be linear between equidistant nodes. A histogram of other or of too wide
bins is therefore resampled by content: the node :math:`m_j` of a grid of step :math:`h` has

.. math:: d_j = \frac{F(m_j + h/2) - F(m_j - h/2)}{h} ,

with the cumulative distribution :math:`F` of the histogram, uniform inside each bin. The mean stays what it was.
Grouping adds up to :math:`h^2/12` to the variance (Sheppard's correction) and the interpolation :math:`h^2/6`, so with
:math:`h \le 0.15\,w` the width :math:`w` grows by at most 0.3 %. Here :math:`w` is half of the central 68 %: a few
events far away, which dominate the standard deviation, do not widen it. Equidistant bins of at most :math:`0.4\,w` are
left alone: against the histogram, uniform inside its bins, the variance grows by :math:`h^2/12`, the width by 0.7 %.

The result is compared with the histogram: contents of its central 68 % and 95 %, and the cumulative distribution at its
edges. The step is halved where a peak narrower than :math:`w` is missed, until the number of nodes is at its limit; how
wrong the widths then are is reported. Columns of a few events are narrower than the resolution and must not decide: one
of at most three bins counts with its neighbours in energy where these together are much wider, one with an empty bin
in its central 68 % is not compared, and widths and differences are running medians over energies.

Other repairs (each is reported): negative cells set to 0; columns without a single simulated event, or with a value
that is not finite, filled from the nearest one that is complete.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import IRFError
from pymc_gamma.instrument.irfs.core import EffectiveArea, EnergyDispersion
from pymc_gamma.instrument.irfs.reading import (
    Cells,
    at_least_two,
    nearest_valid,
    read_axis,
    read_values,
    require,
)
from pymc_gamma.sums import weighted_sum

__all__ = ["energy_dispersion"]

WHAT = "energy dispersion"
NORMALISATION_TOLERANCE = 1e-3
CONVENTION_TOLERANCE = 0.2
"""How far from 1 a sum or an integral may be, in the median, for the table to count as normalised in that way."""
COARSEST_STEP, RESAMPLED_STEP = 0.4, 0.15
"""Step of the nodes in units of the width: the largest that is left alone, and what other axes are resampled to."""
CORE = (0.16, 0.84)
CENTRAL = (CORE, (0.025, 0.975))
"""Quantiles between which the width is taken, and those between which contents are compared."""
NARROW_SHARE = 0.02
"""Share of the columns that may be narrower, or worse, than those that decide."""
FEW_BINS, MUCH_WIDER, RUN = 3, 3.0, 5
"""Most bins of a column that may hold just a few events, how much wider its neighbours then are, and their number."""
LARGEST_DIFFERENCE, LARGEST_STEP = 0.01, 0.02
"""Relative difference of a width, and difference of cumulative distributions, from which nodes are too far apart; the
latter where bins stay as they are, since an eighth of the difference of neighbouring bins is noise in part."""
LEAST_SLOPE = 0.5
"""Smallest change of content with relative width that a content is divided by; that of a Gaussian is 0.48 at 68 %."""
HALVINGS, HALVINGS_OF_FEW_EVENTS = 6, 2
"""Most halvings of the step, and those where all columns have empty bins in their core."""
SEEN = 1e-3
"""Energies count where the effective area is more than this share of its largest value at the offset."""
LOST_CONTENT, LOST_VARIANCE = 1e-7, 1e-3
"""Content, and share of the variance, that a resampled column may lose at each end of its axis."""
MAX_NODES = 16_000
MAX_CELLS = 20_000_000
PLAUSIBLE_MIGRATION = (0.3, 3.0)
"""Range of the median migration; a mean would be that of the outliers."""


def energy_dispersion(
    tables: Mapping[str, Any], name: str, repairs: list[str], aeff: EffectiveArea
) -> EnergyDispersion:
    """Clean energy dispersion, normalised for every true energy and offset."""
    edisp = require(tables, "edisp", WHAT, name)
    energy, offset = read_axis(edisp, "energy_true", "TeV", WHAT, name), read_axis(edisp, "offset", "deg", WHAT, name)
    migra = read_axis(edisp, "migra", "", WHAT, name)
    values = read_values(edisp, "", WHAT, name, finite=False)  # (energy, migra, offset)
    values = np.moveaxis(values, 1, 2)
    cells = Cells.of(edisp, ("energy_true", "offset", "migra"))
    columns = Cells.of(edisp, ("energy_true", "offset"))

    broken = ~np.isfinite(values).all(axis=2)
    if broken.any():
        repairs.append(
            f"{WHAT}: {int(broken.sum())} of {broken.size} (energy_true, offset) columns hold values that are not "
            f"finite, the first at {columns.describe(broken)}; filled from the nearest one"
        )
        values = np.where(broken[..., None], 0.0, values)
    if np.any(values < 0):
        repairs.append(
            f"{WHAT}: {int((values < 0).sum())} negative cells set to 0, the first at "
            f"{cells.describe(values < 0, values)}"
        )
        values = np.maximum(values, 0.0)
    filled = (values > 0).any(axis=2)
    if not filled.any():
        raise IRFError(f"IRFs {name}: the {WHAT} is empty.")
    content = _content(values, filled, np.diff(migra.edges), repairs)
    empty = ~filled & ~broken
    if empty.any():
        repairs.append(
            f"{WHAT}: {int(empty.sum())} of {filled.size} (energy_true, offset) columns are empty, "
            "filled from the nearest one"
        )
    content = content[nearest_valid(filled, np.log(energy.centers), offset.centers)]
    mean, sigma = _moments(content, migra.edges)
    seen = _seen(aeff, energy.centers, offset.centers)
    typical = float(np.median(_quantile(content, migra.edges, 0.5)[seen]))
    if not PLAUSIBLE_MIGRATION[0] < typical < PLAUSIBLE_MIGRATION[1]:
        raise IRFError(
            f"IRFs {name}: the {WHAT} has a median migration (reconstructed over true energy) of {typical:.3g}, on"
            f" an axis migra from {migra.edges[0]:g} to {migra.edges[-1]:g}; expected about 1."
        )
    nodes, density = _equidistant(content, migra.edges, mean, sigma, seen, repairs)
    energies, density = at_least_two(energy, density, axis_number=0)
    return EnergyDispersion(
        energies,
        offset.centers,
        nodes,
        np.ascontiguousarray(density),
        offset_max=np.inf if offset.single else offset.span[1],
        energy_range=energy.span,
    )


def _content(values: FloatArray, filled: NDArray[np.bool_], width: FloatArray, repairs: list[str]) -> FloatArray:
    """Probability of each bin; columns sum to 1 where they are filled."""
    total, integral = values.sum(axis=2), (values * width).sum(axis=2)
    uniform = bool(np.allclose(width, width[0], rtol=1e-3))
    far = {
        "density": abs(float(np.median(integral[filled])) - 1),
        "probability": abs(float(np.median(total[filled])) - 1),
    }
    convention = "probability" if far["probability"] < min(far["density"], CONVENTION_TOLERANCE) else "density"
    span = f"{integral[filled].min():.3g} to {integral[filled].max():.3g}"
    if not uniform and convention == "probability":
        repairs.append(
            f"{WHAT}: the values are probabilities of the bins of the axis migra (they sum to 1), not a density as the "
            "format says; used as probabilities"
        )
    elif np.abs(integral[filled] - 1).max() > NORMALISATION_TOLERANCE:
        reading = "" if uniform or far["density"] < CONVENTION_TOLERANCE else "; not normalised, read as a density"
        repairs.append(f"{WHAT}: integrals over the axis migra were {span}, normalised to 1{reading}")
    weight, norm = (1.0, total) if uniform or convention == "probability" else (width, integral)
    return np.asarray(values * weight / np.where(filled, norm, 1)[..., None])


def _moments(content: FloatArray, edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of histograms that are uniform inside their bins."""
    centre, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    mean = weighted_sum(content, centre)
    # about the mean: far outliers would cancel digits otherwise
    variance = np.einsum("eok,eok->eo", content, (centre - mean[..., None]) ** 2) + weighted_sum(content, width**2 / 12)
    return mean, np.sqrt(variance)


def _seen(aeff: EffectiveArea, energy: FloatArray, offset: FloatArray) -> NDArray[np.bool_]:
    """Which columns the instrument uses; all of them if it uses none of these."""
    log_nodes, log_energy = np.log(aeff.energy), np.log(energy)
    by_energy = np.stack([np.interp(log_energy, log_nodes, column, 0.0, 0.0) for column in aeff.values.T], axis=1)
    area = np.stack([np.interp(offset, aeff.offset, row) for row in by_energy])
    seen = area > SEEN * area.max(axis=0)
    return seen if seen.any() else np.ones_like(seen)


def _equidistant(
    content: FloatArray,
    edges: FloatArray,
    mean: FloatArray,
    sigma: FloatArray,
    seen: NDArray[np.bool_],
    repairs: list[str],
) -> tuple[FloatArray, FloatArray]:
    """Equidistant nodes and the density there; the bins of the file where they are equidistant and fine enough."""
    width = np.diff(edges)
    typical, pooled = _without_few_events(content, edges, seen)
    narrow = float(np.quantile(_running_median(_core_width(typical, edges), seen), NARROW_SHARE, method="lower"))
    compared = seen & ~pooled & ~_has_gaps(typical, edges)
    halvings = HALVINGS if compared.any() else HALVINGS_OF_FEW_EVENTS
    compared = compared if compared.any() else seen
    uniform = bool(np.allclose(width, width[0], rtol=1e-3))
    if uniform and width[0] <= COARSEST_STEP * narrow:
        nodes, density = 0.5 * (edges[1:] + edges[:-1]), content / width[0]
        of_widths, of_cumulative = _difference(typical, edges, nodes, typical / width[0], compared)
        if of_widths <= LARGEST_DIFFERENCE and of_cumulative <= LARGEST_STEP:
            return nodes, density

    low, high = _support(content, edges, mean, sigma)
    most = min(MAX_NODES, max(MAX_CELLS // (content.shape[0] * content.shape[1]), 100))
    coarsest = (high - low) / most
    wanted = RESAMPLED_STEP * narrow
    for _ in range(halvings + 1):
        step = max(wanted, coarsest)
        if uniform:  # so that no new cell lies across an edge of the file
            parts = np.ceil(width[0] / wanted - 1e-9)
            step = float(width[0]) / max(min(parts, np.floor(width[0] / coarsest)), 1.0)
        n = int(np.ceil((high - low) / step - 1e-9))
        fine = low + step * np.arange(n + 1)
        nodes = 0.5 * (fine[1:] + fine[:-1])
        of_widths, of_cumulative = _difference(typical, edges, nodes, _grouped(typical, edges, fine), compared)
        off, limited = max(of_widths, of_cumulative), step > wanted
        if off <= LARGEST_DIFFERENCE or limited:
            break
        wanted = 0.5 * step
    note = ""
    if off > LARGEST_DIFFERENCE:
        widened = _widening(typical, edges, nodes, _grouped(typical, edges, fine), compared)
        note = (
            f"; that is {step / narrow:.2g} of the narrowest width (half of the central 68 %), {narrow:.2g}: widths "
            f"come out up to {widened:.3g} times as large as in the file, cumulative distributions up to "
            f"{of_cumulative:.2g} off"
        )
        if limited:
            note += f"; a table has at most {most:.0f} nodes here, cut the axis if few events are far out"
    repairs.append(
        f"{WHAT}: axis migra, {len(width)} bins from {edges[0]:.3g} to {edges[-1]:.3g}, resampled by content to {n} "
        f"equidistant nodes {step:.2g} apart between {low:.3g} and {fine[-1]:.3g}{note}"
    )
    return nodes, _grouped(content, edges, fine)


def _cumulative(content: FloatArray) -> FloatArray:
    """Cumulative distribution at the edges."""
    return np.concatenate([np.zeros_like(content[..., :1]), np.cumsum(content, axis=-1)], axis=-1)


def _grouped(content: FloatArray, edges: FloatArray, fine: FloatArray) -> FloatArray:
    """Mean density between equidistant edges, of histograms that are uniform inside their bins."""
    cumulative = _cumulative(content)
    k = np.clip(np.searchsorted(edges, fine, side="right") - 1, 0, len(edges) - 2)
    t = np.clip((fine - edges[k]) / (edges[k + 1] - edges[k]), 0.0, 1.0)
    at = cumulative[..., k] * (1 - t) + cumulative[..., k + 1] * t
    at[..., 0], at[..., -1] = 0.0, 1.0  # what lies beyond is negligible, see _support
    return np.asarray(np.diff(at, axis=-1) / (fine[1] - fine[0]))


def _quantile(content: FloatArray, edges: FloatArray, share: float) -> FloatArray:
    """Quantile of histograms that are uniform inside their bins, shape that of content without its last axis."""
    cumulative = _cumulative(content)
    k = np.clip((cumulative < share).sum(axis=-1) - 1, 0, len(edges) - 2)
    below = np.take_along_axis(cumulative, k[..., None], -1)[..., 0]
    inside = np.take_along_axis(content, k[..., None], -1)[..., 0]
    t = np.clip((share - below) / np.where(inside > 0, inside, 1.0), 0.0, 1.0)
    return np.asarray(edges[k] + t * (edges[k + 1] - edges[k]))


def _core_width(content: FloatArray, edges: FloatArray) -> FloatArray:
    """Half of the central 68 %."""
    return 0.5 * (_quantile(content, edges, CORE[1]) - _quantile(content, edges, CORE[0]))


def _without_few_events(
    content: FloatArray, edges: FloatArray, seen: NDArray[np.bool_]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Content whose columns of a few scattered events are the mean over their neighbours in energy, and which are."""
    few = seen & ((content > 0).sum(axis=2) <= FEW_BINS)
    if not few.any():
        return content, few
    pooled = ndimage.uniform_filter1d(content, RUN, axis=0, mode="nearest")
    few &= _core_width(pooled, edges) > MUCH_WIDER * _core_width(content, edges)
    return np.where(few[..., None], pooled, content), few


def _has_gaps(content: FloatArray, edges: FloatArray) -> NDArray[np.bool_]:
    """Whether a bin of the central 68 % is empty, as in columns of fewer events than bins."""
    low, high = (_quantile(content, edges, share)[..., None] for share in CORE)
    return np.asarray(((content == 0) & (edges[1:] > low) & (edges[:-1] < high)).any(axis=-1))


def _running_median(values: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """Of the columns seen, over neighbouring energies at the same offset; all offsets one after the other."""
    columns = [column[use] for column, use in zip(values.T, seen.T, strict=True)]
    return np.concatenate([ndimage.median_filter(column, RUN, mode="nearest") for column in columns if len(column)])


def _difference(
    content: FloatArray, edges: FloatArray, nodes: FloatArray, density: FloatArray, seen: NDArray[np.bool_]
) -> tuple[float, float]:
    """Largest differences between histograms and densities that are linear between equidistant nodes.

    Relative, of the widths of the central 68 % and 95 %, and of the cumulative distributions at the edges.
    """
    of_widths, of_cumulative = np.zeros(content.shape[:2]), np.zeros(content.shape[:2])
    for j in range(content.shape[1]):  # offset by offset, for the memory
        column, used = content[:, j], density[:, j]
        at_edges, _ = _linear(nodes, used, np.broadcast_to(edges, (len(column), len(edges))))
        of_cumulative[:, j] = np.abs(at_edges - _cumulative(column)).max(axis=1)
        for low, high in CENTRAL:
            ends = np.stack([_quantile(column, edges, low), _quantile(column, edges, high)], axis=1)
            below, slope = _linear(nodes, used, ends)
            missing = np.abs(high - low - (below[:, 1] - below[:, 0]))
            # the quantiles of an empty stretch are anywhere on it: there only the content counts
            to_width = slope.sum(axis=1) * 0.5 * (ends[:, 1] - ends[:, 0])
            of_widths[:, j] = np.maximum(of_widths[:, j], missing / np.maximum(to_width, LEAST_SLOPE))
    widths, cumulative = (
        float(np.quantile(_running_median(worst, seen), 1 - NARROW_SHARE, method="higher"))
        for worst in (of_widths, of_cumulative)
    )
    return widths, cumulative


def _widening(
    content: FloatArray, edges: FloatArray, nodes: FloatArray, density: FloatArray, seen: NDArray[np.bool_]
) -> float:
    """Largest ratio of half of the central 68 %, of densities linear between nodes and of histograms."""
    step = nodes[1] - nodes[0]
    halves = nodes[0] + 0.5 * step * np.arange(-2, 2 * len(nodes) + 1)
    ratio = np.ones(content.shape[:2])
    for j in range(content.shape[1]):
        cumulative, _ = _linear(nodes, density[:, j], np.broadcast_to(halves, (len(content), len(halves))))
        ratio[:, j] = _core_width(np.diff(cumulative, axis=1), halves) / _core_width(content[:, j], edges)
    return float(np.quantile(_running_median(ratio, seen), 1 - NARROW_SHARE, method="higher"))


def _linear(nodes: FloatArray, density: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cumulative distribution at x (n, m) of densities (n, n_nodes) linear between nodes, and the density there."""
    step = nodes[1] - nodes[0] if len(nodes) > 1 else 1.0
    padded = np.pad(density, ((0, 0), (1, 1)))
    cumulative = _cumulative(0.5 * step * (padded[:, 1:] + padded[:, :-1]))
    place = (x - nodes[0]) / step + 1
    k = np.clip(place.astype(np.int64), 0, padded.shape[1] - 2)
    t = np.clip(place - k, 0.0, 1.0)
    left, right = np.take_along_axis(padded, k, 1), np.take_along_axis(padded, k + 1, 1)
    inside = step * t * (left + 0.5 * t * (right - left))
    return np.take_along_axis(cumulative, k, 1) + inside, left * (1 - t) + right * t


def _support(content: FloatArray, edges: FloatArray, mean: FloatArray, sigma: FloatArray) -> tuple[float, float]:
    """Edges between which lies all of every column but a negligible part, of content as of variance."""
    outside = np.maximum(np.abs(edges[:-1] - mean[..., None]), np.abs(edges[1:] - mean[..., None]))
    variance = content * (outside / sigma[..., None]) ** 2

    def negligible(along: slice) -> NDArray[np.bool_]:
        lost, spread = np.cumsum(content[..., along], axis=2), np.cumsum(variance[..., along], axis=2)
        return np.asarray((lost < LOST_CONTENT) & (spread < LOST_VARIANCE)).all(axis=(0, 1))

    below, above = negligible(slice(None)), negligible(slice(None, None, -1))
    first, last = int((~below).argmax()), len(edges) - 2 - int((~above).argmax())
    return float(edges[first]), float(edges[last + 1])
