r"""Asimov data: cells with expected counts as multiplicities, without noise (Cowan et al. 2011, EPJC 71, 1554).

The multiplicity of a cell :math:`c` is what a model expects in it,

.. math:: m_c = \sum_k n_k\, s_k\, |c \cap D|\, \bar\lambda_k(c) ,

with the same averages :math:`\bar\lambda_k(c)` of densities over the part of the cell in the domain
(:mod:`pymc_gamma.response.cells`) that a likelihood compares it with, and factors :math:`s_k`, 1 to the accuracy of
these averages, that make the sum over all cells the expected counts of the component. A fit to them finds the
parameters they were made with.
"""

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arguments import integer
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.events import Events
from pymc_gamma.events.binning import given_edges, longitude_edges
from pymc_gamma.events.rows import CELL
from pymc_gamma.events.validation import wrap_longitude
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.geometry import RegionOfInterest, unit_vectors
from pymc_gamma.instrument.domain import Domain
from pymc_gamma.labelled import as_mapping
from pymc_gamma.response.cells import average_over_cells
from pymc_gamma.response.folds import Fold
from pymc_gamma.units import numbers, scalar_value

__all__ = ["CellEdges", "asimov_events", "norm_factors"]

POINTS = 8
"""Points along each side of a cell that say whether a part of it is in the domain."""
LARGEST_CORRECTION = 0.01
CELLS_AT_ONCE = 100_000


class CellEdges:
    """Edges of cells: a grid of energies, longitudes and latitudes that covers a region.

    Parameters
    ----------
    roi : RegionOfInterest
        The region.
    energy : int or Quantity
        Number of logarithmic bins over the energies of the region, or edges.
    pixel : Quantity, optional
        Width of square cells in longitude and latitude; edges lie at its multiples.
    lon, lat : Quantity, optional
        Edges, instead of ``pixel``.

    Raises
    ------
    EventError
        If neither ``pixel`` nor both ``lon`` and ``lat`` are given, or edges do not increase.
    """

    def __init__(self, roi: RegionOfInterest, energy: Any, pixel: Any = None, lon: Any = None, lat: Any = None) -> None:
        if (pixel is None) == (lon is None and lat is None) or (lon is None) != (lat is None):
            raise EventError("asimov() needs either pixel=, or both lon= and lat= edges.")
        if isinstance(energy, u.Quantity):
            self.energy = given_edges(energy, "TeV", "energy")
            if not self.energy[0] > 0:
                raise EventError(f"energy edges must be positive, got {self.energy[0]:g} TeV.")
        else:
            self.energy = np.geomspace(roi.energy_min, roi.energy_max, integer(energy, "energy", low=1) + 1)
        if pixel is None:
            self.lon, self.lat = longitude_edges(lon), given_edges(lat, "deg", "lat")
        else:
            width = scalar_value(pixel, "deg", "pixel")
            if not 0 < width < np.inf:
                raise EventError(f"pixel must be positive, got {width:g} deg.")
            self.lon, self.lat = _grid(roi, width)
        self.lat = np.unique(np.clip(self.lat, -90, 90))

    def in_domain(self, domain: Domain) -> FloatArray:
        """Cells (N, 6) of which a part is in a domain, and the place of an event in each (N, 3), side by side."""
        lon, lat = (np.stack([edge[:-1], edge[1:]], axis=1) for edge in (self.lon, self.lat))
        pairs = np.stack(np.meshgrid(np.arange(len(lon)), np.arange(len(lat)), indexing="ij"), axis=-1).reshape(-1, 2)
        kept, places = _parts_inside(np.concatenate([lon[pairs[:, 0]], lat[pairs[:, 1]]], axis=1), domain)
        energy = np.stack([self.energy[:-1], self.energy[1:]], axis=1)
        clipped = domain.clip(energy)
        energy, clipped = energy[clipped[:, 0] < clipped[:, 1]], clipped[clipped[:, 0] < clipped[:, 1]]
        n_energy, n_sky = len(energy), len(kept)
        middle = np.sqrt(clipped.prod(axis=1))
        sky = np.tile(np.concatenate([kept, places], axis=1), (n_energy, 1))
        own = np.repeat(np.column_stack([energy, middle]), n_sky, axis=0)
        return np.column_stack([own[:, :2], sky[:, :4], own[:, 2], sky[:, 4:]])


def asimov_events(
    fold: Fold, edges: CellEdges, factors: FloatArray, weights: FloatArray | None = None, n_events: float | None = None
) -> Events:
    """Expected counts in cells.

    Parameters
    ----------
    fold : Fold
        Components and observations.
    edges : CellEdges
        Edges of the cells.
    factors : numpy.ndarray
        On the fluxes of the components, shape (K, n_observations).
    weights : numpy.ndarray, optional
        Fractions of the components instead of their expected counts, shape (K,), not normalised.
    n_events : float, optional
        Number of events, with ``weights``.

    Raises
    ------
    ModelError
        If no events are expected, or only a part of the expected ones lies in the cells.
    """
    expected = fold.counts
    bright = np.flatnonzero(expected.sum(axis=1) > 0)
    if weights is not None:
        dark = [fold.names[k] for k in np.flatnonzero(weights) if k not in bright]
        if dark:
            raise ModelError(f"the spectra of {dark} are zero everywhere; no event of them is expected.")
        assert n_events is not None
        factors = factors * (weights * n_events / weights.sum() / np.maximum(expected.sum(axis=1), 1e-300))[:, None]
    bright = bright[(factors * expected)[bright].any(axis=1)]
    if not len(bright):
        raise ModelError("no event is expected: all fluxes are zero.")
    parts = []
    for o, folded in enumerate(fold.folded):
        rows = edges.in_domain(folded.domain)
        counts = np.empty((len(rows), len(bright)))
        for first in range(0, len(rows), CELLS_AT_ONCE):
            chosen = slice(first, first + CELLS_AT_ONCE)
            counts[chosen] = _counts(fold, folded, bright, rows[chosen])
        total = counts.sum(axis=0)
        _check_covered(fold, o, bright, total)
        scale = np.where(total > 0, expected[bright, o] / np.where(total > 0, total, 1), 0)
        multiplicity = counts @ (scale * factors[bright, o])
        kept = multiplicity > 0
        parts.append((rows[kept], multiplicity[kept], np.full(int(kept.sum()), o)))
    rows, multiplicity, observation = (np.concatenate(column) for column in zip(*parts, strict=True))
    columns = ("energy", "lon", "lat", *CELL, "observation", "multiplicity")
    table = np.column_stack([rows[:, 6:], rows[:, :6], observation, multiplicity])
    return Events.from_rows(table, columns, frame=fold.roi.frame)


def norm_factors(fold: Fold, norms: Mapping[str, Any] | None) -> FloatArray:
    """Factors on the fluxes of components (K, n_observations), from a number or one for each observation by name.

    Raises
    ------
    ModelError
        If a name is not that of a component, or a factor is negative or not finite.
    """
    n = len(fold.folded)
    factors = np.ones((len(fold.names), n))
    for name, value in as_mapping(norms, fold.names, "norms").items():
        norm = numbers(value, f"the norm of {name!r}", finite=False)
        if norm.shape not in ((), (n,)) or not np.all(np.isfinite(norm) & (norm >= 0)):
            each = f", or {n} of them, one for each observation" if n > 1 else ""
            raise ModelError(f"the norm of {name!r} must be a finite number, not negative{each}; got {value}.")
        factors[fold.names.index(name)] = norm
    return factors


def _counts(fold: Fold, folded: FoldedObservation, which: NDArray[np.intp], rows: FloatArray) -> FloatArray:
    """Counts (N, n) of some components in cells with the place of an event in each, columns of :class:`CellEdges`."""
    components = [fold.components[k] for k in which]
    out = np.zeros((len(rows), len(which)))
    total = fold.counts[which].sum(axis=1)
    cells, means = np.ascontiguousarray(rows[:, :6]), np.ascontiguousarray(rows[:, 6:])
    for group in average_over_cells(cells, means, np.arange(len(rows)), folded, components, total):
        width = (group.ranges.high - group.ranges.low)[group.which]
        out[group.rows] = group.nodes.density * (group.nodes.area * width)[:, None]
    return out


def _check_covered(fold: Fold, observation: int, which: NDArray[np.intp], total: FloatArray) -> None:
    """Raise a ModelError unless cells hold all that is expected."""
    expected = fold.counts[which, observation]
    bad = np.abs(total - expected) > LARGEST_CORRECTION * expected
    if bad.any():
        first = int(bad.argmax())
        raise ModelError(
            f"the cells hold {total[first]:.4g} of {expected[first]:.4g} expected events of "
            f"{fold.names[which[first]]!r} in observation {fold.observation_labels[observation]!r}; their edges must "
            "cover the whole region and its energies, because a likelihood expects events in all of it."
        )


def _grid(roi: RegionOfInterest, width: float) -> tuple[FloatArray, FloatArray]:
    """Edges at multiples of a width that cover a region."""
    step = min(width, roi.radius / 30)
    lon, lat, _ = roi.quadrature(step)
    lon = wrap_longitude(lon, roi.lon)
    margin = step / np.array([max(np.cos(np.radians(np.abs(lat).max())), 0.01), 1.0])
    found = []
    for values, more in zip((lon, lat), margin, strict=True):
        first, last = int(np.floor((values.min() - more) / width)), int(np.ceil((values.max() + more) / width))
        found.append(np.asarray(np.arange(first, last + 1) * width, float))
    if found[0][-1] - found[0][0] > 360:
        found[0] = np.linspace(roi.lon - 180, roi.lon + 180, int(np.ceil(360 / width)) + 1)
    return found[0], found[1]


def _parts_inside(cells: FloatArray, domain: Domain) -> tuple[FloatArray, FloatArray]:
    """Cells on the sky (n, 4) of which a part is in a domain, and a place in that part (n, 2), near its middle."""
    fraction = (np.arange(POINTS) + 0.5) / POINTS
    u_, v = (one.ravel() for one in np.meshgrid(fraction, fraction, indexing="ij"))
    kept, places = [np.empty((0, 4))], [np.empty((0, 2))]
    for first in range(0, len(cells), CELLS_AT_ONCE // POINTS**2):
        own = cells[first : first + CELLS_AT_ONCE // POINTS**2]
        lon = own[:, [0]] + u_ * (own[:, [1]] - own[:, [0]])
        lat = own[:, [2]] + v * (own[:, [3]] - own[:, [2]])
        inside = domain.contains_sky(unit_vectors(lon, lat))
        some = inside.any(axis=1)
        own, lon, lat, inside = own[some], lon[some], lat[some], inside[some]
        number_of = inside.sum(axis=1, keepdims=True)
        middle = [(one * inside).sum(axis=1, keepdims=True) / number_of for one in (lon, lat)]
        distance = np.where(inside, np.hypot(lon - middle[0], lat - middle[1]), np.inf)
        nearest = (np.arange(len(own)), distance.argmin(axis=1))
        kept.append(own)
        places.append(np.column_stack([lon[nearest], lat[nearest]]))
    return np.concatenate(kept), np.concatenate(places)
