"""Small cells that cover a circle or a rectangle on the sphere: nodes of integrals, and places to draw from."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.geometry.sphere import unit_vectors

__all__ = ["BoxCells", "Cells", "RingCells", "lattice"]

_FIBONACCI = (610, 377)


def lattice() -> tuple[FloatArray, FloatArray]:
    """Points of the unit square, (610,) each, to measure areas by counting: a Fibonacci lattice.

    All its points differ in both coordinates. A square grid of as many would see an edge along one of its axes move in
    steps of 1/25; here they are 1/610 (Niederreiter 1992, Random number generation and quasi-Monte Carlo methods, 5.2).
    """
    n, step = _FIBONACCI
    k = np.arange(n)
    return (k + 0.5) / n, (k * step % n + 0.5) / n


class Cells(Protocol):
    """Cells of known solid angle.

    Attributes
    ----------
    solid_angle : numpy.ndarray
        Solid angle of each cell in sr, shape (n,).
    """

    solid_angle: FloatArray

    def points(self, cell: NDArray[np.int64], u: FloatArray, w: FloatArray) -> FloatArray:
        """Unit vectors (n, 3) at fractions (u, w) of cells given by index; uniform ones give uniform points."""
        ...


class BoxCells:
    """Cells of a rectangle in its offset frame.

    Parameters
    ----------
    basis : numpy.ndarray
        Rotation matrix (3, 3) into the offset frame.
    half_width, half_height : float
        Half sizes in degrees.
    step : float
        Largest size of a cell in degrees.
    """

    def __init__(self, basis: FloatArray, half_width: float, half_height: float, step: float) -> None:
        self._basis = basis
        self.edges = tuple(
            np.linspace(-half, half, max(4, int(np.ceil(2 * half / step - 1e-9))) + 1)
            for half in (half_width, half_height)
        )
        lon, lat = self.edges
        self.solid_angle = (np.diff(np.sin(np.radians(lat)))[:, None] * np.radians(np.diff(lon))).ravel()

    def points(self, cell: NDArray[np.int64], u: FloatArray, w: FloatArray) -> FloatArray:
        """See :class:`Cells`: linear in longitude, and in the sine of the latitude."""
        lon_edges, lat_edges = self.edges
        row, column = np.divmod(cell, len(lon_edges) - 1)
        lon = lon_edges[column] + u * (lon_edges[1] - lon_edges[0])
        sine = np.sin(np.radians(lat_edges))
        lat = np.degrees(np.arcsin(sine[row] + w * (sine[row + 1] - sine[row])))
        return unit_vectors(lon, lat) @ self._basis


class RingCells:
    """Sectors of the rings around the centre of a circle.

    Parameters
    ----------
    basis : numpy.ndarray
        Rotation matrix (3, 3); its first row is the centre.
    radius : float
        Radius of the circle in degrees.
    step : float
        Largest size of a cell in degrees.
    """

    def __init__(self, basis: FloatArray, radius: float, step: float) -> None:
        self._basis = basis
        self._edges = np.linspace(0, np.radians(radius), max(4, int(np.ceil(radius / step))) + 1)
        self._turn = max(8, int(np.ceil(2 * np.pi * radius / step)))
        self.solid_angle = np.repeat(-np.diff(np.cos(self._edges)) * 2 * np.pi / self._turn, self._turn)

    def points(self, cell: NDArray[np.int64], u: FloatArray, w: FloatArray) -> FloatArray:
        """See :class:`Cells`: linear in the azimuth, and in the cosine of the separation."""
        ring, sector = np.divmod(cell, self._turn)
        cosine = np.cos(self._edges)
        height = cosine[ring] + w * (cosine[ring + 1] - cosine[ring])
        azimuth = (sector + u) * 2 * np.pi / self._turn
        across = np.sqrt(np.maximum(1 - height**2, 0))
        local = np.stack([height, across * np.cos(azimuth), across * np.sin(azimuth)], axis=-1)
        return np.asarray(local @ self._basis)
