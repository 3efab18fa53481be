"""One pointing of the telescopes: instrument response, direction, time.

An observation turns a sky flux into expected counts. Exposure uses the live time; the residual background
uses the on-time, because its rate is given per unit of on-time
(GADF, https://gamma-astro-data-formats.readthedocs.io).
"""

import math
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time
from numpy.typing import ArrayLike

from pymc_gamma.arguments import checked, integer, kind, mapping, number, plain, quantity, seed, several, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.geometry import (
    RegionOfInterest,
    convert_lonlat,
    scalar_direction,
    separation_deg,
    sky_frame,
    tangent_basis,
    unit_vectors,
)
from pymc_gamma.instrument.dl3 import (
    check_files,
    field_orientation,
    gammapy_runs,
    is_gammapy_run,
    run_arguments,
    run_responses,
)
from pymc_gamma.instrument.good_time import TOLERANCE, GoodTime
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.instrument.irfs.core import Background
from pymc_gamma.instrument.safe_mask import SafeMask, index_energies, run_limits
from pymc_gamma.instrument.time_bins import intervals, split_observations
from pymc_gamma.pictures import picture
from pymc_gamma.times import from_seconds, reference
from pymc_gamma.units import scalar_value, to_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Observation"]

NO_LIMIT = (0.0, math.inf)
"""Range of energies without a limit, TeV."""


class Observation:
    """A pointing with its instrument response.

    Parameters
    ----------
    irfs : IRFs
        From :func:`~pymc_gamma.load_irfs`.
    pointing : `~astropy.coordinates.SkyCoord`
        Direction of the telescope axis, galactic or ICRS.
    livetime : `~astropy.units.Quantity`
        Observation time corrected for dead time.
    ontime : `~astropy.units.Quantity`, optional
        Observation time; the residual background is proportional to it. Default: the length of ``good_time`` if that is
        given, else ``livetime``.
    name : str, optional
        Its label in coordinates, tables and legends; those that are folded together must differ.
    energy_range : `~astropy.units.Quantity`, optional
        Range (minimum, maximum) of reconstructed energy in which the run can be trusted. Default: no limit of its own.
    offset_max : `~astropy.units.Quantity`, optional
        Largest offset from the pointing of events that are used. Default: as far as the response reaches.
    fov_rotation : `~astropy.units.Quantity`, optional
        Orientation of a field of view that is aligned with altitude and azimuth: position angle of the zenith at the
        pointing, from ICRS north through east. Default: not known; such a background is then used as if aligned with
        right ascension and declination.
    good_time : `~astropy.time.Time`, optional
        When the data were taken: start and end of an interval, shape ``(2,)``, or of several, ``(interval, 2)``. Time
        that two share counts once. Default: not known; :meth:`split` needs it.

    Attributes
    ----------
    energy_range : tuple of float
        TeV; (0, inf) without a limit.
    offset_max : float
        Degrees; inf without a limit.
    fov_rotation : float or None
        Degrees.
    good_time_s : numpy.ndarray or None
        Good time intervals in seconds (TT) since the reference of :mod:`pymc_gamma.times`, shape ``(interval, 2)``.
    bin_name : str or None
        Name that a time bin of an observation without one was given.

    Raises
    ------
    TypeError
        If a time, an energy or an angle has no unit, ``good_time`` is no astropy time or ``irfs`` is not an
        :class:`~pymc_gamma.IRFs`.
    ValueError
        If a time is not positive, the live time exceeds the on-time or this the good time, an interval of good time
        does not end after it starts, the energy range is empty, the largest offset is not positive or the rotation is
        not finite.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> import pymc_gamma as pmg
    >>> centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    >>> pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=50 * u.h)
    Observation('prod5-south-20deg-50h', galactic lon=0 lat=0 deg, livetime=50 h)
    """

    @checked(name=text)
    def __init__(
        self,
        irfs: IRFs,
        pointing: SkyCoord,
        livetime: u.Quantity,
        ontime: u.Quantity | None = None,
        name: str | None = None,
        *,
        energy_range: u.Quantity | Sequence[u.Quantity] | None = None,
        offset_max: u.Quantity | None = None,
        fov_rotation: u.Quantity | None = None,
        good_time: Time | None = None,
    ) -> None:
        if not isinstance(irfs, IRFs):
            raise TypeError(f"irfs must come from load_irfs(...), got {type(irfs).__name__}.")
        self.irfs = irfs
        self.frame, self.lon, self.lat = scalar_direction(pointing, "pointing")
        self.livetime_s = scalar_value(livetime, "s", "livetime")
        self.good_time_s = None if good_time is None else intervals(good_time)
        lasted = self.livetime_s if self.good_time_s is None else float(np.diff(self.good_time_s).sum())
        self.ontime_s = lasted if ontime is None else scalar_value(ontime, "s", "ontime")
        if not (np.isfinite(self.ontime_s) and 0 < self.livetime_s <= self.ontime_s * (1 + 1e-9)):
            raise ValueError(
                f"times must satisfy 0 < livetime <= ontime, got livetime={self.livetime_s} s and "
                f"ontime={self.ontime_s} s."
            )
        if self.good_time_s is not None and self.ontime_s > lasted * (1 + 1e-6) + TOLERANCE:
            raise ValueError(f"good_time must last as long as the ontime, {self.ontime_s} s, but lasts {lasted} s.")
        self.name = name
        self.bin_name: str | None = None
        self.energy_range = _energy_range(energy_range)
        self.offset_max = math.inf if offset_max is None else scalar_value(offset_max, "deg", "offset_max")
        if not self.offset_max > 0:
            raise ValueError(f"offset_max must be positive, got {self.offset_max} deg.")
        self.fov_rotation = None if fov_rotation is None else scalar_value(fov_rotation, "deg", "fov_rotation")
        if self.fov_rotation is not None and not math.isfinite(self.fov_rotation):
            raise ValueError(f"fov_rotation must be a finite angle, got {self.fov_rotation} deg.")

    @property
    def is_numbered(self) -> bool:
        """Whether its name is but the number of a time bin of an observation without one, see :meth:`split`."""
        return self.bin_name is not None and self.name == self.bin_name

    def __repr__(self) -> str:
        limits = ""
        if self.energy_range != NO_LIMIT:
            limits += f", energy=({self.energy_range[0]:.4g}, {self.energy_range[1]:.4g}) TeV"
        if math.isfinite(self.offset_max):
            limits += f", offset<={self.offset_max:g} deg"
        return (
            f"Observation({self.name or self.irfs.name!r}, {self.frame} lon={self.lon:g} lat={self.lat:g} deg, "
            f"livetime={self.livetime_s / 3600:g} h{limits})"
        )

    @classmethod
    def from_gammapy(
        cls,
        observation: Any,
        *,
        safe_mask: SafeMask = "file",
        energy_range: u.Quantity | Sequence[u.Quantity] | None = None,
        offset_max: u.Quantity | None = None,
    ) -> Self:
        """Observation from a gammapy ``Observation``, of DL3 files (GADF) or in memory.

        Takes the pointing, the good time intervals (the on-time is the length of their union, within the selection in
        time if the run has one), the dead time (which makes it the live time), the instrument response of the run, the
        orientation of a background that is aligned with altitude and azimuth, and the range in which the run can be
        trusted. Events are read by :meth:`Events.from_gammapy <pymc_gamma.Events.from_gammapy>`.

        Parameters
        ----------
        observation : gammapy.data.Observation
            One run. For several see :meth:`list_from_gammapy`.
        safe_mask : {"file"} or gammapy.makers.SafeMaskMaker or None
            Where :attr:`energy_range` and :attr:`offset_max` come from. ``"file"``: what the file says is safe, header
            keys ``LO_THRES`` and ``HI_THRES`` (TeV) of the effective area. A ``SafeMaskMaker``: its methods and their
            parameters, evaluated for this run by gammapy on narrow bins (200 per decade of true energy over the axis of
            the table), so thresholds can differ by some per cent from those of a data set with coarse ones; see
            :mod:`pymc_gamma.instrument.safe_mask`. None: no limit of its own.
        energy_range, offset_max : `~astropy.units.Quantity`, optional
            Limits by hand, in place of those of ``safe_mask``.

        Returns
        -------
        Observation
            Named by its observation id.

        Raises
        ------
        TypeError
            If it is not one gammapy observation, or ``safe_mask`` is something else.
        DataFileError
            If it has no good time or no pointing, drifts, or nothing of it is safe; of a run of a data store also if a
            file is cut or does not hold a table that the index lists. A run of gammapy's ``Observation.read`` does not
            know its file.
        IRFError
            If a table of the response is missing or empty, or some are point-like and others are not.

        Warns
        -----
        PymcGammaWarning
            What was repaired in its response; that a run has no background and no index that says so.

        Examples
        --------
        >>> import warnings
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> from gammapy.data import FixedPointingInfo
        >>> from gammapy.data import Observation as Run
        >>> from gammapy.irf import load_irf_dict_from_file
        >>> from gammapy.makers import SafeMaskMaker
        >>> import pymc_gamma as pmg
        >>> run = Run.create(
        ...     pointing=FixedPointingInfo(fixed_icrs=SkyCoord(83.63 * u.deg, 22.01 * u.deg)),
        ...     livetime=0.5 * u.h,
        ...     deadtime_fraction=0.1,
        ...     irfs=load_irf_dict_from_file(pmg.datasets.path("prod5-south-20deg-50h")),
        ...     obs_id=7,
        ... )
        >>> with warnings.catch_warnings(action="ignore"):  # of repairs
        ...     observation = pmg.Observation.from_gammapy(run)
        ...     safe = pmg.Observation.from_gammapy(run, safe_mask=SafeMaskMaker(["aeff-max"]), offset_max=2 * u.deg)
        >>> observation
        Observation('7', icrs lon=83.63 lat=22.01 deg, livetime=0.45 h)
        >>> safe
        Observation('7', icrs lon=83.63 lat=22.01 deg, livetime=0.45 h, energy=(0.5066, inf) TeV, offset<=2 deg)
        """
        if not is_gammapy_run(observation):
            raise TypeError(
                f"Observation.from_gammapy needs one gammapy Observation, got {type(observation).__name__}; for "
                "several use Observation.list_from_gammapy."
            )
        (one,) = cls.list_from_gammapy(
            [observation], safe_mask=safe_mask, energy_range=energy_range, offset_max=offset_max
        )
        return one

    @classmethod
    def list_from_gammapy(
        cls,
        observations: Any,
        *,
        safe_mask: SafeMask = "file",
        energy_range: u.Quantity | Sequence[u.Quantity] | None = None,
        offset_max: u.Quantity | None = None,
    ) -> list[Self]:
        """One observation for each run; runs with the same response share it in memory.

        Parameters
        ----------
        observations : gammapy.data.Observations, gammapy.data.DataStore or iterable of gammapy.data.Observation
            The runs; all those of a data store. Its index of observations (``SAFE_ENERGY_LO``, ``SAFE_ENERGY_HI``)
            stands in where the effective area of a run names no safe energies.
        safe_mask : {"file"} or gammapy.makers.SafeMaskMaker or None
            As for :meth:`from_gammapy`, evaluated for each run.
        energy_range, offset_max : `~astropy.units.Quantity`, optional
            Limits by hand, the same for all runs.

        Returns
        -------
        list of Observation
            In the same order, which :meth:`Events.from_gammapy <pymc_gamma.Events.from_gammapy>` numbers too.

        Raises
        ------
        TypeError
            If there is something else among them.
        DataFileError, IRFError
            As for :meth:`from_gammapy`, and if there is no run or a data store lacks tables of some; the message names
            the runs.
        """
        runs = gammapy_runs(observations)
        index = index_energies(observations)
        check_files(runs)
        limits = [
            run_limits(run, safe_mask, energy_range=energy_range, offset_max=offset_max, index=index) for run in runs
        ]
        arguments = [run_arguments(run) for run in runs]
        found = [
            cls(irfs, **one, fov_rotation=field_orientation(run, irfs).angle)
            for run, irfs, one in zip(runs, run_responses(runs), arguments, strict=True)
        ]
        for one, limit in zip(found, limits, strict=True):
            one.energy_range, one.offset_max = limit
        return found

    @property
    def pointing(self) -> SkyCoord:
        """Pointing direction."""
        return SkyCoord(self.lon * u.deg, self.lat * u.deg, frame=sky_frame(self.frame))

    @property
    def livetime(self) -> u.Quantity:
        """Live time, which the exposure is proportional to."""
        return (self.livetime_s / 3600) * u.h

    @property
    def ontime(self) -> u.Quantity:
        """On-time, which the residual background is proportional to."""
        return (self.ontime_s / 3600) * u.h

    @property
    def good_time(self) -> Time | None:
        """Start and end of the good time intervals (TT), in order, shape ``(interval, 2)``; None if not known."""
        return None if self.good_time_s is None else from_seconds(self.good_time_s)

    def split(self, times: Time | u.Quantity) -> list[Self]:
        """Cut into time bins, one observation for each.

        On-time and live time follow from the good time in the bin, so that the dead-time fraction stays the same; what
        else there is (response, pointing, limits, orientation of the field of view, which is the mean of the whole run)
        stays as it is. Events follow by :meth:`Events.split <pymc_gamma.Events.split>`.

        Parameters
        ----------
        times : `~astropy.time.Time` or `~astropy.units.Quantity`
            Increasing edges of the bins, or offsets from the start of the good time, shape ``(bin + 1,)``.

        Returns
        -------
        list of Observation
            Named ``"<name> 0"``, ``"<name> 1"``, ... by the number of the bin. Bins without good time are left out, and
            keep their number.

        Raises
        ------
        TypeError
            If ``times`` are neither times nor offsets.
        ValueError
            If the observation has no good time intervals, ``times`` do not increase, or no bin holds good time.

        Warns
        -----
        PymcGammaWarning
            If a bin holds no good time, or good time lies outside the bins; says which and how much.

        Examples
        --------
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> from astropy.time import Time
        >>> import pymc_gamma as pmg
        >>> run = pmg.Observation(
        ...     pmg.load_irfs("prod5-south-20deg-50h"),
        ...     SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic"),
        ...     livetime=27 * u.min,
        ...     name="run 7",
        ...     good_time=Time("2025-03-01T22:00:00", scale="tt") + [0, 30] * u.min,
        ... )
        >>> for piece in run.split([0, 10, 30] * u.min):
        ...     print(piece.name, piece.livetime.to("min").round(3), piece.good_time.isot.tolist())
        run 7 0 9.0 min [['2025-03-01T22:00:00.000', '2025-03-01T22:10:00.000']]
        run 7 1 18.0 min [['2025-03-01T22:10:00.000', '2025-03-01T22:30:00.000']]
        """
        return split_observations([self], times)

    @classmethod
    @checked(observations=several("Observation"))
    def split_list(cls, observations: "Sequence[Observation]", times: Time | u.Quantity) -> "list[Observation]":
        """Cut several observations into time bins, see :meth:`split`.

        Parameters
        ----------
        observations : sequence of Observation
            The observations.
        times : `~astropy.time.Time` or `~astropy.units.Quantity`
            Increasing edges of the bins, the same for all; or offsets, for each from the start of its own good time.

        Returns
        -------
        list of Observation
            The bins of the first observation, of the second, and so on; each without those that hold none of its good
            time.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`split`.

        Warns
        -----
        PymcGammaWarning
            If a bin holds good time of none of the observations, or good time lies outside the bins.

        Examples
        --------
        >>> edges = Time(["2025-03-01T12:00:00", "2025-03-02T12:00:00", "2025-03-03T12:00:00"])  # doctest: +SKIP
        >>> nights = pmg.Observation.split_list(runs, edges)  # doctest: +SKIP
        """
        return split_observations([observations] if isinstance(observations, Observation) else observations, times)

    @checked(n=integer, rng=seed)
    def draw_times(self, n: int, rng: np.random.Generator | int | None = None) -> Time:
        """Arrival times of events, drawn uniformly in the good time.

        Parameters
        ----------
        n : int
            How many.
        rng : numpy.random.Generator or int, optional
            Random numbers or a seed.

        Returns
        -------
        astropy.time.Time
            In random order, shape ``(n,)``.

        Raises
        ------
        ValueError
            If the observation has no good time intervals.
        """
        if self.good_time_s is None:
            raise ValueError(
                f"observation {self.name or ''} has no good time intervals to draw times in; give them with "
                "Observation(..., good_time=start + [0, 30] * u.min)."
            )
        return from_seconds(GoodTime(reference(), *self.good_time_s.T).draw(n, np.random.default_rng(rng)))

    @checked(irfs=kind("IRFs"))
    def with_irfs(self, irfs: IRFs) -> "Observation":
        """The same observation with another instrument response."""
        other = copy(self)
        other.irfs = irfs
        return other

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers that define the pointing (degrees, seconds); the IRFs are not included."""
        return {
            "frame": self.frame,
            "lon": self.lon,
            "lat": self.lat,
            "livetime_s": self.livetime_s,
            "ontime_s": self.ontime_s,
            "name": self.name,
            "energy_range": [_finite(bound) for bound in self.energy_range],
            "offset_max": _finite(self.offset_max),
            "fov_rotation": self.fov_rotation,
            "good_time_s": None if self.good_time_s is None else self.good_time_s.tolist(),
        }

    @classmethod
    @checked(data=mapping)
    def from_dict(cls, data: dict[str, Any], irfs: IRFs) -> "Observation":
        """Inverse of :meth:`to_dict`."""
        pointing = SkyCoord(data["lon"] * u.deg, data["lat"] * u.deg, frame=sky_frame(data["frame"]))
        times = {key: data[f"{key}_s"] * u.s for key in ("livetime", "ontime")}
        observation = cls(irfs, pointing, name=data["name"], **times)
        low, high = (math.inf if bound is None else float(bound) for bound in data["energy_range"])
        observation.energy_range = (low, high)
        observation.offset_max = math.inf if data["offset_max"] is None else float(data["offset_max"])
        observation.fov_rotation = data["fov_rotation"]
        good = data.get("good_time_s")  # stores of earlier versions have none
        observation.good_time_s = None if good is None else np.asarray(good, dtype=np.float64)
        return observation

    @checked(frame=text)
    def axis_vector(self, frame: str) -> FloatArray:
        """Unit vector of the pointing in a frame."""
        return unit_vectors(*convert_lonlat(self.lon, self.lat, self.frame, frame))

    @checked("lon", "lat", lon=plain("deg"), lat=plain("deg"), frame=text)
    def offset(self, lon: ArrayLike, lat: ArrayLike, frame: str) -> FloatArray:
        """Offset in degrees of directions in degrees."""
        return separation_deg(unit_vectors(lon, lat), self.axis_vector(frame))

    @checked(frame=text)
    def fov_basis(self, frame: str) -> FloatArray:
        """Rotation matrix (3, 3) from a frame to the field of view: rows are axis, fov_lon and fov_lat.

        The field of view is aligned with ICRS and its longitude grows towards the west, gammapy's convention
        (``FoVICRSFrame``).
        """
        lon, lat = convert_lonlat(self.lon, self.lat, self.frame, "icrs")
        towards, east, north = tangent_basis(float(lon), float(lat))
        axes = [unit_vectors(*convert_lonlat(*_lonlat(axis), "icrs", frame)) for axis in (towards, -east, north)]
        return np.stack(axes)

    @checked(frame=text, bkg=kind("Background"))
    def background_basis(self, frame: str, bkg: Background | None = None) -> FloatArray:
        """Rotation matrix (3, 3) from a frame to the field of view in which a residual background is given.

        The background is that of the IRFs, unless another is given.

        That of :meth:`fov_basis`, unless the background is aligned with altitude and azimuth and :attr:`fov_rotation`
        is known: then the latitude grows towards the zenith and the longitude towards the left of an observer who
        looks at the pointing, gammapy's convention (``FoVAltAzFrame``).
        """
        towards, west, north = self.fov_basis(frame)
        bkg = self.irfs.bkg if bkg is None else bkg
        if bkg is None or bkg.radial or bkg.alignment != "ALTAZ" or self.fov_rotation is None:
            return np.stack([towards, west, north])
        angle = math.radians(self.fov_rotation)
        up = math.cos(angle) * north - math.sin(angle) * west
        left = -math.cos(angle) * west - math.sin(angle) * north
        return np.stack([towards, left, up])

    @checked("lon", "lat", energy_true=partial(number, low=0), lon=plain("deg"), lat=plain("deg"), frame=text)
    def exposure(self, energy_true: float, lon: ArrayLike, lat: ArrayLike, frame: str) -> FloatArray:
        """Exposure in cm2 s at one true energy (TeV) and directions in degrees."""
        aeff = self.irfs.aeff
        x = np.log(energy_true)
        nodes = np.log(aeff.energy)
        if not nodes[0] <= x <= nodes[-1]:
            return np.zeros(np.shape(lon))
        profile = np.array([np.interp(x, nodes, column) for column in aeff.values.T])
        offset = self.offset(lon, lat, frame)
        return np.maximum(np.interp(offset, aeff.offset, profile, right=0.0), 0) * self.livetime_s

    @checked(roi=kind("RegionOfInterest"), energy_true=quantity("TeV"))
    def peek(
        self, roi: RegionOfInterest, *, energy_true: u.Quantity = 1 * u.TeV, fig: "Figure | None" = None
    ) -> "Figure":
        """Plot the exposure over a region at one true energy, in the offset frame of the region.

        Parameters
        ----------
        roi : RegionOfInterest
            What to show.
        energy_true : `~astropy.units.Quantity`
            True energy.
        fig : matplotlib.figure.Figure, optional
            Where to draw.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        energy = scalar_value(energy_true, "TeV", "energy_true")
        figure: Figure = picture("peek_observation")(self, roi, energy, fig=fig)
        return figure


def _energy_range(given: Any) -> tuple[float, float]:
    """Limits in TeV of a range given by a user."""
    if given is None:
        return NO_LIMIT
    bounds = to_value(given, "TeV", "energy_range")
    if bounds.shape != (2,) or np.isnan(bounds).any() or not 0 <= bounds[0] < bounds[1]:
        raise ValueError(
            f"energy_range must be a range (minimum, maximum) with 0 <= minimum < maximum, got {bounds} TeV."
        )
    return float(bounds[0]), float(bounds[1])


def _finite(value: float) -> float | None:
    """A number for JSON, which knows no infinity."""
    return value if math.isfinite(value) else None


def _lonlat(vector: FloatArray) -> tuple[float, float]:
    lon = float(np.degrees(np.arctan2(vector[1], vector[0])))
    return lon, float(np.degrees(np.arcsin(np.clip(vector[2], -1, 1))))
