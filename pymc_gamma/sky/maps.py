r"""Brightness given by the cells of a map, so that the flux of every cell is kept.

A map says for each cell *c* of solid angle :math:`\Delta\Omega_c` the flux :math:`F_c = f_c\,\Delta\Omega_c`. Any
interpolation between the centres of cells changes the sum of the fluxes, and blurs: a bilinear one adds
:math:`p^2/6` to the variance of a source along either axis, for cells of width *p*. Here the brightness inside a cell
is a plane over the coordinates :math:`(\xi, \eta)`, which run from -1/2 to 1/2 across it,

.. math:: S(\xi, \eta) = f_c\,(1 + s_x\,\xi + s_y\,\eta), \qquad s_x = \frac{f_{c+1} - f_{c-1}}{4 f_c},

and likewise :math:`s_y`. Its integral over the cell is :math:`F_c` whatever the slopes. Half the slope between the
neighbours is what leaves the variance of a smooth source unchanged: a constant in each cell adds :math:`p^2/12`, and
the full slope takes away twice that. Where the brightness would turn negative in a corner, both slopes are reduced.
Outside the map the brightness is zero.

A map that goes around the sky goes on at the other side of its seam.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.geometry import EqualAreaPlane, frame_rotation, lonlat_from_vectors, separation_deg, unit_vectors
from pymc_gamma.sky.component import Cells
from pymc_gamma.sums import weighted_sum

__all__ = ["MapBrightness", "MapGeometry", "RotatedCells"]

Indices = NDArray[np.int64]
Points = tuple[FloatArray, Indices, FloatArray, FloatArray, FloatArray]
"""Unit vectors (n, 3), cell, solid angle in sr, and the two coordinates inside the cell, of points of a map."""

CYLINDRICAL = ("CAR", "CEA", "MER", "CYP")
ROWS_AT_A_TIME = 1_000_000
"""Cells or points whose directions are computed at once."""
SHEARED = 6
"""Half the length of a cell in its nominal size, at most: towards its edge a projection shears the cells."""
EDGE_PARTS = 16
"""Parts along the side of a cell that the edge of a projection cuts, for its solid angle."""
KEPT_POINTS = 1_000_000
"""Points of a map that are kept for the next energy of a cube."""
WIDEST_SOURCE = 60.0
"""Radius in degrees of the largest map that is a source with an edge."""
HEALPIX_POINTS = 4
"""Points of a HEALPix map are this much denser than asked for: its cells are not divided but searched."""


class MapGeometry:
    """Where the cells of a gammapy map lie.

    Parameters
    ----------
    geom : gammapy.maps.Geom
        Geometry of an image: WCS of any projection, or HEALPix.
    shift : tuple of float
        Degrees by which longitudes and latitudes are moved, as gammapy moves a template.

    Attributes
    ----------
    pixel : float
        Size of the cells in degrees.
    shape : tuple of int
        Rows and columns, or the number of cells of a HEALPix map.
    solid_angle : numpy.ndarray
        Of each cell in sr, shape (n,); that within the projection for cells it cuts.
    """

    def __init__(self, geom: Any, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        self._geom, self._shift = geom, shift
        self._kept: tuple[Any, Points] | None = None
        area = np.asarray(geom.solid_angle().to_value("sr"), dtype=np.float64)
        if geom.is_hpx:
            self.shape: tuple[int, ...] = (int(np.prod(geom.data_shape)),)
            self.solid_angle = np.broadcast_to(area, self.shape).copy()
            self._outside = np.empty(0, np.int64)
            self.pixel = self._widest = float(np.degrees(np.sqrt(self.solid_angle[0])))
            return
        self.shape = tuple(int(n) for n in geom.data_shape)
        self.solid_angle = area.ravel().copy()
        self.pixel = float(np.min(geom.pixel_scales.to_value("deg")))
        self._widest = float(np.max(geom.pixel_scales.to_value("deg")))
        # columns all the way around, and whether the map has that many
        cylindrical = str(geom.wcs.wcs.ctype[0])[-3:] in CYLINDRICAL
        self._period = 360.0 / abs(float(geom.wcs.wcs.cdelt[0])) if cylindrical else np.inf
        self._around = round(self._period) if self.shape[1] > self._period - 0.5 else 0
        self._outside = np.empty(0, np.int64)
        bad = np.flatnonzero(~(np.isfinite(self.solid_angle) & (self.solid_angle > 0)))
        if len(bad):
            # the edge of the projection cuts those that have a corner inside; the others are no part of the sky
            self.solid_angle[bad] = 0.0
            cut = bad[np.isfinite(self._corners(bad)[..., 0]).any(axis=0)]
            self._outside = cut[np.isnan(self.centres(cut)[:, 0])]
            _, cell, solid, _, _ = self._divided(cut, EDGE_PARTS)
            self.solid_angle[cut] = np.bincount(cell, solid, self.size)[cut]
        if self._around:
            # columns that come again at the other end
            self.solid_angle.reshape(self.shape)[:, self._around :] = 0.0

    @property
    def on_the_sky(self) -> NDArray[np.bool_]:
        """Which cells have their centre inside the projection, shape (n,)."""
        inside = self.solid_angle > 0
        inside[self._outside] = False
        return inside

    @property
    def size(self) -> int:
        """Number of cells."""
        return int(np.prod(self.shape))

    def neighbours(
        self, values: FloatArray, cells: Indices
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray] | None:
        """Values to the left, right, below and above of cells; None where cells have no such order.

        Beyond an edge of the map the values go on as they change between the last two cells, but not below zero.
        """
        if self._geom.is_hpx:
            return None
        rows, columns = self.shape
        row, column = np.divmod(cells, columns)
        here = values[cells]

        def beside(dy: int, dx: int) -> FloatArray:
            y, x = row + dy, column + dx
            if self._around:
                x = x % self._around
            inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            found = values[np.where(inside, y * columns + x, cells)]
            if inside.all():
                return found
            back = np.clip(row - dy, 0, rows - 1) * columns + np.clip(column - dx, 0, columns - 1)
            return np.where(inside, found, np.maximum(2 * here - values[back], 0))

        return beside(0, -1), beside(0, 1), beside(-1, 0), beside(1, 0)

    def centres(self, cells: Indices) -> FloatArray:
        """Unit vectors (n, 3) of the centres of cells, NaN outside the projection."""
        if self._geom.is_hpx:
            coords = self._geom.get_coord()
            lon, lat = (np.ravel(x.to_value("deg"))[cells] for x in (coords.lon, coords.lat))
            return self._vectors(lon, lat)
        row, column = np.divmod(cells, self.shape[1])
        return self._at(column.astype(float), row.astype(float))

    def near(self, centre: FloatArray, radius: float) -> Indices:
        """Cells within a radius in degrees of a direction, and those next to them."""
        found, reach = [], radius + SHEARED * self._widest
        for first in range(0, self.size, ROWS_AT_A_TIME):
            cells = np.arange(first, min(first + ROWS_AT_A_TIME, self.size))
            cells = cells[self.solid_angle[cells] > 0]
            away = separation_deg(self.centres(cells), centre)
            # a cell whose centre lies outside the projection may have a corner in it
            outside = np.flatnonzero(np.isnan(away))
            away[outside] = np.fmin.reduce(separation_deg(self._corners(cells[outside]), centre), axis=0)
            found.append(cells[away <= reach])
        return np.concatenate(found)

    def points(self, centre: FloatArray, radius: float, spacing: float) -> Points:
        """Points of the cells within a radius of a direction, about ``spacing`` degrees apart at most."""
        key = (tuple(centre.tolist()), radius, spacing)
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        if self._geom.is_hpx:
            found = self._searched(centre, radius, spacing)
        else:
            found = self._divided(self.near(centre, radius), max(1, int(np.ceil(self._widest / spacing - 1e-9))))
        self._kept = (key, found) if len(found[1]) <= KEPT_POINTS else None
        return found

    def locate(self, lon: FloatArray, lat: FloatArray) -> tuple[Indices, FloatArray, FloatArray]:
        """Cell of directions in degrees, -1 outside, and the coordinates inside it."""
        lon, lat = lon - self._shift[0], lat - self._shift[1]
        if self._geom.is_hpx:
            (index,) = self._geom.coord_to_idx((lon, lat))
            return np.asarray(index, dtype=np.int64), np.zeros(len(lon)), np.zeros(len(lon))
        x, y = (np.asarray(q, dtype=np.float64) for q in self._geom.wcs.wcs_world2pix(lon, lat, 0))
        rows, columns = self.shape
        if np.isfinite(self._period):
            x = (x + 0.5) % self._period - 0.5
        valid = (x >= -0.5) & (x < columns - 0.5) & (y >= -0.5) & (y < rows - 0.5)
        x, y = np.where(valid, x, 0.0), np.where(valid, y, 0.0)
        column = np.clip(np.floor(x + 0.5).astype(np.int64), 0, columns - 1)
        row = np.clip(np.floor(y + 0.5).astype(np.int64), 0, rows - 1)
        return np.where(valid, row * columns + column, -1), x - column, y - row

    def _vectors(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        return unit_vectors(lon + self._shift[0], lat + self._shift[1])

    def _at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Unit vectors of pixel coordinates; NaN outside the projection."""
        if np.isfinite(self._period):
            # projections end half a turn from their reference; a map may lie across that
            reference = float(self._geom.wcs.wcs.crpix[0]) - 1
            x = x - self._period * np.round((x - reference) / self._period)
        return self._vectors(*self._geom.wcs.wcs_pix2world(x, y, 0))

    def _corners(self, cells: Indices) -> FloatArray:
        """Unit vectors of the corners of cells, shape (4, n, 3)."""
        row, column = np.divmod(cells, self.shape[1])
        return np.stack([self._at(column + dx, row + dy) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)])

    def _divided(self, cells: Indices, parts: int) -> Points:
        """Cells divided into ``parts`` x ``parts`` points each."""
        edge, middle = np.arange(parts + 1) / parts - 0.5, (np.arange(parts) + 0.5) / parts - 0.5
        per_chunk = max(1, ROWS_AT_A_TIME // (parts + 1) ** 2)
        chunks = []
        for first in range(0, len(cells), per_chunk):
            here = cells[first : first + per_chunk]
            row, column = np.divmod(here, self.shape[1])

            def lattice(at: FloatArray, row: Indices = row, column: Indices = column) -> FloatArray:
                shape = (len(row), len(at), len(at))
                y = np.broadcast_to(row[:, None, None] + at[:, None], shape)
                x = np.broadcast_to(column[:, None, None] + at, shape)
                return self._at(x.ravel(), y.ravel()).reshape(*shape, 3)

            corner, vectors = lattice(edge), lattice(middle)
            diagonals = corner[:, 1:, 1:] - corner[:, :-1, :-1], corner[:, 1:, :-1] - corner[:, :-1, 1:]
            area = 0.5 * np.linalg.norm(np.cross(*diagonals), axis=-1)
            seen = np.isfinite(vectors).all(axis=-1)
            # a corner outside the projection leaves no area: as large as the others of the cell
            known = np.where(np.isfinite(area), area, 0.0)
            counted = np.maximum(np.isfinite(area).sum(axis=(1, 2)), 1)
            typical = known.sum(axis=(1, 2)) / counted
            nominal = np.radians(self.pixel / parts) ** 2
            area = np.where(np.isfinite(area), area, np.where(typical > 0, typical, nominal)[:, None, None])
            area = np.where(seen, area, 0.0)
            total, given = area.sum(axis=(1, 2)), self.solid_angle[here]
            whole = seen.all(axis=(1, 2)) & np.isfinite(given) & (given > 0)
            area *= np.where(whole, given / np.where(total > 0, total, 1.0), 1.0)[:, None, None]
            which = np.broadcast_to(here[:, None, None], area.shape)[seen]
            inside = (np.broadcast_to(offset, area.shape)[seen] for offset in (middle, middle[:, None]))
            chunks.append((vectors[seen], which, area[seen], *inside))
        if not chunks:
            return np.empty((0, 3)), np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0)
        joined = [np.concatenate(column) for column in zip(*chunks, strict=True)]
        return joined[0], joined[1], joined[2], joined[3], joined[4]

    def _searched(self, centre: FloatArray, radius: float, spacing: float) -> Points:
        """Points of an equal-area grid with the cells they lie in, whose areas are shared by their points."""
        lon, lat = lonlat_from_vectors(centre)
        plane = EqualAreaPlane(float(lon), float(lat))
        reach = min(radius + 3 * self.pixel, 150.0)
        half = float(np.degrees(2 * np.sin(np.radians(reach) / 2)))
        step = spacing / HEALPIX_POINTS
        axis = np.arange(-half, half + step, step)
        chunks = []
        for row in np.array_split(axis, max(1, len(axis) ** 2 // ROWS_AT_A_TIME)):
            x, y = (q.ravel() for q in np.meshgrid(axis, row))
            disc = x * x + y * y < half * half
            vectors = plane.unproject(x[disc], y[disc])
            cell, _, _ = self.locate(*lonlat_from_vectors(vectors))
            chunks.append((vectors[cell >= 0], cell[cell >= 0]))
        vectors, cell = (np.concatenate(column) for column in zip(*chunks, strict=True))
        hits = np.bincount(cell, minlength=self.size)
        # the rim of the disc cuts cells, which have less than their share of points there
        area = np.minimum(self.solid_angle[cell] / hits[cell], 1.5 * np.radians(step) ** 2)
        return vectors, cell, area, np.zeros(len(cell)), np.zeros(len(cell))


class MapBrightness:
    """Brightness of a map.

    Parameters
    ----------
    geometry : MapGeometry
        Where its cells lie.
    values : numpy.ndarray
        Brightness of each cell, not negative, shape (n,).
    scale : float
        What makes sr-1 of the values.
    """

    def __init__(self, geometry: MapGeometry, values: FloatArray, scale: float = 1.0) -> None:
        self.geometry, self.values, self.scale = geometry, values, scale

    def __call__(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        """Brightness in sr-1 at directions in degrees, in the frame of the map."""
        shape = np.shape(lon)
        cell, x, y = self.geometry.locate(np.ravel(lon).astype(np.float64), np.ravel(lat).astype(np.float64))
        value = self.scale * self.values[cell] * self._profile(cell, x, y)
        return np.asarray(np.where(cell >= 0, value, 0.0).reshape(shape))

    def cells(self, centre: FloatArray, radius: float, spacing: float) -> tuple[FloatArray, FloatArray]:
        """Points of the map and their fluxes; see :data:`pymc_gamma.sky.component.Cells`."""
        vectors, cell, area, x, y = self.geometry.points(centre, radius, spacing)
        lit = self.values[cell] > 0
        cell, area, share = cell[lit], area[lit], (area * self._profile(cell, x, y))[lit]
        # areas differ inside a cell, so that a slope may not cancel
        total, plain = (np.bincount(cell, weight, self.values.size) for weight in (share, area))
        flux = self.scale * self.values[cell] * share * plain[cell] / total[cell]
        return vectors[lit], flux

    def extent(self) -> tuple[float, float, float]:
        """Longitude and latitude of the middle of the flux, and the radius around it beyond which there is none.

        In degrees; the radius is ``inf`` where it is more than 60.
        """
        weight = self.values * self.geometry.solid_angle
        lit = np.flatnonzero(weight > 0)
        vectors = self.geometry.centres(lit)
        known = np.isfinite(vectors[:, 0])
        middle = weighted_sum(vectors[known].T, weight[lit][known])
        if not np.linalg.norm(middle) > 0:
            return 0.0, 0.0, np.inf
        middle = middle / np.linalg.norm(middle)
        lon, lat = lonlat_from_vectors(middle)
        radius = float(separation_deg(vectors[known], middle).max()) + 2 * self.geometry.pixel
        return float(lon), float(lat), radius if radius < WIDEST_SOURCE else np.inf

    def unresolved(self) -> float:
        """Mean difference between a cell and the four around it, weighted by flux.

        0 for a plane, 1 and more where single cells stand out; 0 for HEALPix maps, whose cells have no such order.
        """
        weight = self.values * self.geometry.solid_angle
        lit = np.flatnonzero(weight > 0)
        around = self.geometry.neighbours(self.values, lit)
        if around is None or not lit.size:
            return 0.0
        change = np.abs(self.values[lit] - 0.25 * sum(around))
        return float(weighted_sum(change, self.geometry.solid_angle[lit]) / weight.sum())

    def _profile(self, cell: Indices, x: FloatArray, y: FloatArray) -> FloatArray:
        """Brightness inside cells over its mean; cells without any are left as they are."""
        which, back = np.unique(cell, return_inverse=True)
        around = self.geometry.neighbours(self.values, which)
        if around is None:
            return np.ones(len(cell))
        left, right, below, above = around
        here = self.values[which]
        slope = np.stack([right - left, above - below]) / (4 * np.where(here > 0, here, np.inf))
        slope *= np.minimum(1.0, 2 / np.maximum(np.abs(slope).sum(axis=0), 2.0))
        return np.asarray(1 + slope[0, back] * x + slope[1, back] * y)


@dataclass(frozen=True)
class RotatedCells:
    """Cells of a map in one frame, asked for directions in another.

    Parameters
    ----------
    cells : callable
        In ``own_frame``.
    own_frame, frame : str
        Frame of the map, and of the directions.
    """

    cells: Cells
    own_frame: str
    frame: str

    def __call__(self, centre: FloatArray, radius: float, spacing: float) -> tuple[FloatArray, FloatArray]:
        """Points of the map and their fluxes; see :data:`pymc_gamma.sky.component.Cells`."""
        turn = frame_rotation(self.own_frame, self.frame)
        vectors, flux = self.cells(centre @ turn, radius, spacing)
        return vectors @ turn.T, flux
