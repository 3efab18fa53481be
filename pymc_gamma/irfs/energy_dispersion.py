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
:math:`h \le 0.15\,\sigma` the width grows by at most 0.3 %. Equidistant bins of at most :math:`0.4\,\sigma` are left
alone: against the histogram, uniform inside its bins, the variance grows by :math:`h^2/12`, the width by 0.7 %.

Other repairs (each is reported): negative cells set to 0; columns without a single simulated event, or with a value
that is not finite, filled from the nearest one that is complete.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import IRFError
from pymc_gamma.irfs.core import EffectiveArea, EnergyDispersion
from pymc_gamma.irfs.reading import (
    Cells,
    at_least_two,
    nearest_valid,
    read_axis,
    read_values,
    refuse_point_like,
    require,
)

__all__ = ["energy_dispersion"]

FloatArray = NDArray[np.float64]

WHAT = "energy dispersion"
NORMALISATION_TOLERANCE = 1e-3
CONVENTION_TOLERANCE = 0.2
"""How far from 1 a sum or an integral may be, in the median, for the table to count as normalised in that way."""
COARSEST_STEP, RESAMPLED_STEP = 0.4, 0.15
"""Step of the nodes in units of the width: the largest that is left alone, and what other axes are resampled to."""
NARROW_QUANTILE = 0.02
SEEN = 1e-3
"""Energies count where the effective area is more than this share of its largest value at the offset."""
LOST_CONTENT, LOST_VARIANCE = 1e-7, 1e-3
"""Content, and share of the variance, that a resampled column may lose at each end of its axis."""
MAX_NODES = 4000
MAX_CELLS = 20_000_000
PLAUSIBLE_MIGRATION = (0.3, 3.0)
"""Range of the median of the mean migrations."""


def energy_dispersion(
    tables: Mapping[str, Any], name: str, repairs: list[str], aeff: EffectiveArea
) -> EnergyDispersion:
    """Clean energy dispersion, normalised for every true energy and offset."""
    edisp = require(tables, "edisp", WHAT, name)
    refuse_point_like(edisp, WHAT, name)
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
    typical = float(np.median(mean[seen]))
    if not PLAUSIBLE_MIGRATION[0] < typical < PLAUSIBLE_MIGRATION[1]:
        raise IRFError(
            f"IRFs {name}: the {WHAT} has a mean migration (reconstructed over true energy) of {typical:.3g} in the "
            f"median, on an axis migra from {migra.edges[0]:g} to {migra.edges[-1]:g}; expected about 1."
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
    mean = content @ centre
    # about the mean: far outliers would cancel digits otherwise
    variance = np.einsum("eok,eok->eo", content, (centre - mean[..., None]) ** 2) + content @ (width**2 / 12)
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
    narrow = float(np.quantile(sigma[seen], NARROW_QUANTILE))
    uniform = bool(np.allclose(width, width[0], rtol=1e-3))
    if uniform and width[0] <= COARSEST_STEP * narrow:
        return 0.5 * (edges[1:] + edges[:-1]), content / width[0]

    low, high = _support(content, edges, mean, sigma)
    step = RESAMPLED_STEP * narrow
    if uniform:
        step = float(width[0]) / np.ceil(width[0] / step)  # so that no new cell lies across an edge of the file
    most = min(MAX_NODES, max(MAX_CELLS // (content.shape[0] * content.shape[1]), 100))
    coarsest = (high - low) / most
    note = ""
    if step < coarsest:
        note = f"; that is {coarsest / narrow:.2g} of the narrowest width, so narrow columns come out too wide"
        step = coarsest
    n = int(np.ceil((high - low) / step - 1e-9))
    fine = low + step * np.arange(n + 1)
    cumulative = np.concatenate([np.zeros_like(content[..., :1]), np.cumsum(content, axis=2)], axis=2)
    k = np.clip(np.searchsorted(edges, fine, side="right") - 1, 0, len(width) - 1)
    t = np.clip((fine - edges[k]) / width[k], 0.0, 1.0)
    at = cumulative[..., k] * (1 - t) + cumulative[..., k + 1] * t
    at[..., 0], at[..., -1] = 0.0, 1.0  # what lies beyond is negligible, see _support
    repairs.append(
        f"{WHAT}: axis migra, {len(width)} bins from {edges[0]:.3g} to {edges[-1]:.3g}, resampled by content to {n} "
        f"equidistant nodes {step:.2g} apart between {low:.3g} and {fine[-1]:.3g}{note}"
    )
    return 0.5 * (fine[1:] + fine[:-1]), np.diff(at, axis=2) / step


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
