r"""Brightness templates on a regular grid of longitude and latitude.

Bilinear interpolation between nodes; outside the grid the value at its edge, so that a margin around a region
may reach over it. A cube is reduced to an image by integration over energy. Between the tabulated energies,
and from the last one to the end of the band, the intensity of each pixel is a power law, so the integral over
a segment from :math:`E_1` to :math:`E_2` is exact,

.. math:: \int I\,dE = \frac{I_2 E_2 - I_1 E_1}{1 + a}, \qquad a = \frac{\ln(I_2/I_1)}{\ln(E_2/E_1)} .
"""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pymc_gamma import datasets
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import DataFileError, SkyModelError, warn_user
from pymc_gamma.fits_files import open_fits, reading
from pymc_gamma.geometry import FRAMES
from pymc_gamma.power_laws import mean_exponential

__all__ = ["TEMPLATE_BAND", "GridTemplate", "band_integral", "load_template"]

#: Energy band in TeV whose integral gives the shape of a template that depends on energy.
TEMPLATE_BAND = (0.1, 0.6)

#: Ratio of neighbouring values, sorted, from which the larger ones are not taken for granted.
OUTLYING = 1e15


@dataclass(frozen=True, eq=False)
class GridTemplate:
    """Relative brightness on a regular grid.

    Parameters
    ----------
    lon, lat : float
        First node in degrees.
    step_lon, step_lat : float
        Steps in degrees, positive.
    values : numpy.ndarray
        Relative brightness, shape (n_lat, n_lon), not negative.
    frame : str
        ``"galactic"`` or ``"icrs"``.
    name : str
        Where it comes from, for messages.

    Raises
    ------
    SkyModelError
        If a value is negative or not finite, or all are zero.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[1, 1, 1], [1, 3, 1], [1, 1, 1]])
    >>> template = GridTemplate(-1.0, -1.0, 1.0, 1.0, values, "galactic", "toy")
    >>> template(np.array([0.0, 0.5]), np.array([0.0, 0.0]))
    array([3., 2.])
    """

    lon: float
    lat: float
    step_lon: float
    step_lat: float
    values: FloatArray
    frame: str
    name: str

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float64)
        if values.ndim != 2 or min(values.shape) < 2 or self.frame not in FRAMES:
            raise SkyModelError(
                f"The template {self.name!r} must be an image of at least 2 x 2 pixels in one of the frames "
                f"{FRAMES}, got shape {values.shape} in {self.frame!r}."
            )
        if not np.all(np.isfinite(values) & (values >= 0)) or not values.any():
            raise SkyModelError(f"The template {self.name!r} must be finite, not negative, and not zero everywhere.")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @property
    def step(self) -> float:
        """The smaller step in degrees."""
        return min(self.step_lon, self.step_lat)

    @property
    def periodic(self) -> bool:
        """Whether it goes all the way around."""
        return self.values.shape[1] * self.step_lon > 360 - 0.5 * self.step_lon

    @property
    def cover(self) -> tuple[float, float, float, float]:
        """Longitude from, to and latitude from, to in degrees, pixels included."""
        n_lat, n_lon = self.values.shape
        return (
            self.lon - self.step_lon / 2,
            self.lon + (n_lon - 0.5) * self.step_lon,
            max(self.lat - self.step_lat / 2, -90.0),
            min(self.lat + (n_lat - 0.5) * self.step_lat, 90.0),
        )

    def _pixels(self, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
        n_lon = self.values.shape[1]
        middle = self.lon + 0.5 * (n_lon - 1) * self.step_lon
        # Nearest image of the longitude, seen from the middle of the grid.
        wrapped = middle + (np.asarray(lon, dtype=np.float64) - middle + 180.0) % 360.0 - 180.0
        return (wrapped - self.lon) / self.step_lon, (np.asarray(lat) - self.lat) / self.step_lat

    def contains(self, lon: FloatArray, lat: FloatArray) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Whether directions in degrees, in its frame, lie on a pixel."""
        x, y = self._pixels(lon, lat)
        n_lat, n_lon = self.values.shape
        return ((np.abs(x - (n_lon - 1) / 2) <= n_lon / 2) | self.periodic) & (np.abs(y - (n_lat - 1) / 2) <= n_lat / 2)

    def __call__(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        """Relative brightness at directions in degrees, in its frame."""
        x, y = self._pixels(lon, lat)
        n_lat, n_lon = self.values.shape
        if self.periodic:
            column = np.floor(x).astype(np.intp)
            left, right = column % n_lon, (column + 1) % n_lon
        else:
            x = np.clip(x, 0, n_lon - 1)
            column = np.minimum(x.astype(np.intp), n_lon - 2)
            left, right = column, column + 1
        y = np.clip(y, 0, n_lat - 1)
        row = np.minimum(y.astype(np.intp), n_lat - 2)
        s, t = x - column, y - row
        below = (1 - s) * self.values[row, left] + s * self.values[row, right]
        above = (1 - s) * self.values[row + 1, left] + s * self.values[row + 1, right]
        return (1 - t) * below + t * above


def band_integral(cube: FloatArray, energy: FloatArray, band: tuple[float, float]) -> FloatArray:
    """Integral over an energy band of a cube that is a power law between its energies.

    Parameters
    ----------
    cube : numpy.ndarray
        Intensity per unit energy, shape (n_energy, ...), positive.
    energy : numpy.ndarray
        Energies, increasing, shape (n_energy,).
    band : tuple of float
        Limits of the integral, in the unit of ``energy``.

    Returns
    -------
    numpy.ndarray
        The integral, shape (...).

    Examples
    --------
    >>> import numpy as np
    >>> energy = np.array([1.0, 2.0, 4.0])
    >>> band_integral(energy[:, None] ** -2.0, energy, (1.0, 4.0)).round(12)
    array([0.75])
    """
    log_energy, log_cube = np.log(energy), np.log(cube)
    inner = energy[(energy > band[0]) & (energy < band[1])]
    total = np.zeros(cube.shape[1:])
    for low, high in itertools.pairwise([band[0], *inner.tolist(), band[1]]):
        k = int(np.clip(np.searchsorted(energy, 0.5 * (low + high)) - 1, 0, energy.size - 2))
        index = (log_cube[k + 1] - log_cube[k]) / (log_energy[k + 1] - log_energy[k])
        first, span = cube[k] * (low / energy[k]) ** index, np.log(high / low)
        total += first * low * span * mean_exponential((index + 1) * span)
    return total


def load_template(source: Any = None) -> GridTemplate:
    """Template from the bundled file, from a file of the user, or from a gammapy map.

    Parameters
    ----------
    source : path-like, gammapy.maps.Map or GridTemplate, optional
        An image, or a cube whose integral over 0.1-0.6 TeV is taken (clipped to where the cube ends).
        Default: the bundled shape of the Fermi-LAT interstellar emission model around the Galactic centre.

    Returns
    -------
    GridTemplate
        Plate-carree maps keep their pixels; others are sampled at half the size of their pixels.

    Raises
    ------
    DataFileError
        If there is no such file, or it is not a map.
    SkyModelError
        If the map cannot serve as a template.

    Examples
    --------
    >>> load_template().frame
    'galactic'
    """
    if isinstance(source, GridTemplate):
        return source
    if source is None:
        return _read_bundled()
    from gammapy.maps import Map

    if isinstance(source, Map):
        return _from_map(source, "gammapy map")
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"template must be a path or a gammapy Map, got {type(source).__name__}.")
    path = Path(source)
    if not path.exists():
        raise DataFileError(f"There is no template file {path}; leave `template` out to use the bundled one.")
    with reading(path, "a map that gammapy can read"), open_fits(path) as hdus:
        _check_grid(hdus, path.name)
        return _from_map(Map.from_hdulist(hdus), path.name)


def _check_grid(hdus: Any, name: str) -> None:
    """Warn of keywords of a grid that are not there, so that FITS gives them values that no map has."""
    for hdu in hdus:
        header = hdu.header
        if not hdu.is_image or int(header.get("NAXIS", 0)) < 2 or "CTYPE1" not in header:
            continue
        wanted = [f"{key}{axis}" for key in ("CRPIX", "CRVAL", "CDELT") for axis in (1, 2)]
        given = {f"CDELT{axis}" for axis in (1, 2) if any(f"CD{axis}_{k}" in header for k in (1, 2))}
        if missing := [key for key in wanted if key not in header and key not in given]:
            warn_user(
                f"The map {name!r} lacks {', '.join(missing)} in its header; FITS takes 0 for the reference (CRPIX, "
                "CRVAL) and 1 for the step (CDELT). If that is not meant, the map lies elsewhere on the sky."
            )


def _read_bundled() -> GridTemplate:
    path = datasets.path("fermi-diffuse-template")
    with open_fits(path) as hdus:
        header, values = hdus[0].header, hdus[0].data
    return _from_plate_carree(header, values, "galactic", path.name)


def _from_plate_carree(header: Any, values: FloatArray, frame: str, name: str) -> GridTemplate:
    """Template of a plate-carree image whose reference point lies on the equator."""
    first, step = [], []
    for axis in (1, 2):
        delta = float(header[f"CDELT{axis}"])
        node = float(header[f"CRVAL{axis}"]) + delta * (1 - float(header[f"CRPIX{axis}"]))
        size = values.shape[2 - axis]
        if delta < 0:
            values = np.flip(values, axis=2 - axis)
            node += delta * (size - 1)
        first.append(node)
        step.append(abs(delta))
    return GridTemplate(first[0], first[1], step[0], step[1], values, frame, name)


def _from_map(sky_map: Any, name: str) -> GridTemplate:
    image = _to_image(sky_map, name)
    _warn_of_outliers(image.data, name)
    geom = image.geom
    if not geom.is_hpx and geom.wcs.wcs.ctype[0].endswith("CAR") and geom.wcs.wcs.crval[1] == 0:
        return _from_plate_carree(_grid_keywords(geom.wcs), image.data, str(geom.frame), name)
    return _resampled(image, name)


def _warn_of_outliers(values: FloatArray, name: str) -> None:
    """Warn of pixels that stand apart from all others by so much that they are hardly meant."""
    lit = np.unique(values[values > 0])
    apart = np.flatnonzero(lit[1:] > OUTLYING * lit[:-1])
    if len(apart):
        low, high = lit[apart[-1]], lit[apart[-1] + 1]
        warn_user(
            f"The template {name!r} has {int((values >= high).sum())} pixels of {high:.3g} to {lit[-1]:.3g}, the "
            f"others are at most {low:.3g}. If these values are not meant, the file is damaged."
        )


def _grid_keywords(wcs: Any) -> dict[str, float]:
    """FITS keywords of the grid; astropy leaves those with default values out of its headers."""
    pairs = {}
    for axis in (0, 1):
        for key in ("crval", "crpix", "cdelt"):
            pairs[f"{key.upper()}{axis + 1}"] = float(getattr(wcs.wcs, key)[axis])
    return pairs


def _to_image(sky_map: Any, name: str) -> Any:
    from gammapy.maps import Map

    geom = sky_map.geom
    if geom.is_image:
        return sky_map
    if geom.axes.names not in (["energy_true"], ["energy"]):
        raise SkyModelError(
            f"The template {name!r} has the axes {geom.axes.names}; expected an image, or an energy axis."
        )
    axis = geom.axes[0]
    energy, end = axis.center.to_value("TeV"), float(axis.edges[-1].to_value("TeV"))
    band = (max(TEMPLATE_BAND[0], float(energy[0])), min(TEMPLATE_BAND[1], end))
    if band[0] >= band[1] or energy.size < 2:
        raise SkyModelError(
            f"The template {name!r} covers {energy[0]:.3g} to {end:.3g} TeV and does not reach the band "
            f"{TEMPLATE_BAND} TeV; integrate it over energy and pass the image."
        )
    tiny = np.finfo(float).tiny
    data = band_integral(np.maximum(sky_map.data.astype(float), tiny), energy, band)
    return Map.from_geom(geom.to_image(), data=data)


def _resampled(image: Any, name: str) -> GridTemplate:
    """Sample a map of any projection on a grid of longitude and latitude."""
    from scipy.ndimage import distance_transform_edt

    geom = image.geom
    if geom.is_allsky:
        lon, lat = np.array([-180.0, 180.0]), np.array([-90.0, 90.0])
        pixel = float(np.degrees(np.sqrt(4 * np.pi / geom.npix_max))) if geom.is_hpx else None
    else:
        coords = geom.get_coord()
        centre = float(geom.center_skydir.data.lon.deg)
        around = centre + (coords.lon.to_value("deg") - centre + 180) % 360 - 180
        lon = np.array([np.nanmin(around), np.nanmax(around)])
        lat = np.array([np.nanmin(coords.lat.value), np.nanmax(coords.lat.value)])
        pixel = None
    step = (float(np.min(geom.pixel_scales.to_value("deg"))) if pixel is None else pixel) / 2
    grid_lon = np.arange(lon[0], lon[1] + step / 2, step)
    grid_lat = np.arange(lat[0], lat[1] + step / 2, step)
    mesh_lon, mesh_lat = np.meshgrid(grid_lon, grid_lat)
    options = {} if geom.is_hpx else {"fill_value": np.nan}
    values = image.interp_by_coord({"lon": mesh_lon, "lat": mesh_lat}, method="linear", **options)
    outside = ~np.isfinite(values)
    if outside.any():
        nearest = distance_transform_edt(outside, return_distances=False, return_indices=True)
        values = values[tuple(nearest)]
    return GridTemplate(
        float(grid_lon[0]), float(grid_lat[0]), step, step, np.maximum(values, 0), str(geom.frame), name
    )
