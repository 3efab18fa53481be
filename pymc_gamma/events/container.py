r"""The event list.

An event is a reconstructed energy and direction :math:`x_i = (E_i, \ell_i, b_i)`, the index of the
observation it was taken in (which decides its instrument response), and a multiplicity :math:`m_i`: 1, or
the number of events of a cell when a list was binned. A binned list knows the extents of its cells. Events enter a
likelihood only through :math:`\sum_i m_i \log f(x_i)`, so a list is a set: order carries no meaning. Arrival times,
where they are known, say which observation an event belongs to when runs are cut into time bins
(:mod:`pymc_gamma.events.splitting`).
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import (
    checked,
    directions,
    integer,
    kind,
    offering,
    path,
    several,
    text,
    texts,
    unitless,
)
from pymc_gamma.errors import EventError
from pymc_gamma.events.cells import Cells
from pymc_gamma.events.columns import plain_rows
from pymc_gamma.events.rows import CELL, MULTIPLICITY, RECO, TIME
from pymc_gamma.events.validation import (
    as_multiplicity,
    as_observation,
    as_seconds,
    check_columns,
    check_frame,
    to_column,
    without_masked,
    wrap_longitude,
)
from pymc_gamma.files import user_path
from pymc_gamma.geometry import convert_lonlat
from pymc_gamma.pictures import picture
from pymc_gamma.times import from_seconds

if TYPE_CHECKING:
    import xarray as xr
    from astropy.table import QTable
    from matplotlib.figure import Figure

    from pymc_gamma.events.selection import EventSelection
    from pymc_gamma.geometry import RegionOfInterest
    from pymc_gamma.instrument.observation import Observation

__all__ = ["RECO", "Events"]

_COLUMNS = (*RECO, "observation", MULTIPLICITY)


class Events:
    """List of reconstructed gamma-ray events.

    The arrays of a list are read-only; selecting, joining and binning give new lists.

    Parameters
    ----------
    energy : `~astropy.units.Quantity`
        Reconstructed energies, shape ``(event,)``. This and the next may also be a column of an astropy table that has
        a unit, or a list of quantities, masked or not.
    lon, lat : `~astropy.units.Quantity`
        Reconstructed directions in ``frame``, shape ``(event,)``. Longitudes are wrapped to (-180, 180] deg,
        so that a field around the Galactic centre has no jump.
    frame : {"galactic", "icrs"}
        Frame of ``lon`` and ``lat``.
    observation : array_like of int, optional
        Index of the observation of each event, shape ``(event,)`` or one number for all. Default 0.
    multiplicity : array_like of float, optional
        How many events each row stands for, shape ``(event,)``. Default 1.
    time : `~astropy.time.Time`, optional
        Arrival times, shape ``(event,)``, masked where one is not known: such a row stays. Default: not known.
    cells : `~pymc_gamma.events.Cells`, optional
        Extents of cells, in ``frame``, within which the events of each row are known to lie. Default: the events lie
        where the row says.
    meta : mapping, optional
        Anything worth keeping with the events (seed, run numbers, ...).

    Raises
    ------
    TypeError
        If a column has no unit, or ``time`` holds no astropy times.
    astropy.units.UnitConversionError
        If it has the wrong one.
    EventError
        If lengths differ, a column holds something else than numbers, a value is NaN, an energy or a multiplicity is
        not positive, a latitude is beyond a pole, or a row lies outside its cell. The message names the column and the
        rows.

    Warns
    -----
    PymcGammaWarning
        If rows are masked in a column (other than ``time``) and were left out; says how many.

    Examples
    --------
    >>> import astropy.units as u
    >>> events = Events([0.5, 2] * u.TeV, [359.9, 0.2] * u.deg, [0, -0.1] * u.deg, frame="galactic")
    >>> events
    Events(2 events, 0.5 to 2 TeV, galactic)
    >>> events.lon
    <Quantity [-0.1,  0.2] deg>
    >>> len(events[events.energy > 1 * u.TeV])
    1
    """

    __slots__ = ("_cells", "_energy", "_frame", "_lat", "_lon", "_meta", "_multiplicity", "_observation", "_time")

    @checked(frame=text)
    def __init__(
        self,
        energy: u.Quantity,
        lon: u.Quantity,
        lat: u.Quantity,
        *,
        frame: str,
        observation: ArrayLike | None = None,
        multiplicity: ArrayLike | None = None,
        time: Time | None = None,
        cells: Cells | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self._frame = check_frame(frame)
        given = {"energy": energy, "lon": lon, "lat": lat, "observation": observation, "multiplicity": multiplicity}
        given = without_masked(given | {TIME: as_seconds(time)})
        self._energy = to_column(given["energy"], "TeV", "energy")
        self._lon = to_column(given["lon"], "deg", "lon")
        self._lat = to_column(given["lat"], "deg", "lat")
        self._observation = as_observation(given["observation"], len(self._energy))
        self._multiplicity = as_multiplicity(given["multiplicity"], len(self._energy))
        self._time = given[TIME]
        if not isinstance(meta, Mapping | None):
            raise TypeError(f"meta must be a mapping of anything worth keeping, got {type(meta).__name__}.")
        self._meta = dict(meta or {})
        check_columns(self._energy, self._lon, self._lat, self._observation, self._multiplicity, self._time)
        self._lon = wrap_longitude(self._lon)
        if not isinstance(cells, Cells | None):
            raise TypeError(f"cells must be Cells, got {type(cells).__name__}.")
        self._cells = None if cells is None else cells.around(self._energy, self._lon, self._lat)
        for values in (self._energy, self._lon, self._lat, self._observation, self._multiplicity, self._time):
            if values is not None:
                values.setflags(write=False)

    @property
    def energy(self) -> u.Quantity:
        """Reconstructed energies [TeV], shape ``(event,)``."""
        return u.Quantity(self._energy, "TeV", copy=False)

    @property
    def lon(self) -> u.Quantity:
        """Longitudes in :attr:`frame`, within (-180, 180] [deg], shape ``(event,)``."""
        return u.Quantity(self._lon, "deg", copy=False)

    @property
    def lat(self) -> u.Quantity:
        """Latitudes in :attr:`frame` [deg], shape ``(event,)``."""
        return u.Quantity(self._lat, "deg", copy=False)

    @property
    def coords(self) -> SkyCoord:
        """Directions, in :attr:`frame`, shape ``(event,)``."""
        return SkyCoord(self.lon, self.lat, frame=self._frame)

    @property
    def observation(self) -> NDArray[np.int64]:
        """Index of the observation of each event, shape ``(event,)``."""
        return self._observation

    @property
    def multiplicity(self) -> NDArray[np.float64]:
        """How many events each row stands for, shape ``(event,)``."""
        return self._multiplicity

    @property
    def time(self) -> Time | None:
        """Arrival times (TT), shape ``(event,)``, masked where one is not known; None if the list has none.

        They are kept to 0.1 microseconds, as seconds since the reference of :mod:`pymc_gamma.times`.
        """
        return None if self._time is None else from_seconds(self._time)

    @property
    def cells(self) -> Cells | None:
        """Extents of the cells that the events of each row fill; None if events lie where their row says."""
        return self._cells

    @property
    def n_total(self) -> float:
        """Number of events: the sum of the multiplicities."""
        return float(self._multiplicity.sum())

    @property
    def frame(self) -> str:
        """Frame of the directions: ``"galactic"`` or ``"icrs"``."""
        return self._frame

    @property
    def meta(self) -> dict[str, Any]:
        """What was stored with the events."""
        return self._meta

    def __len__(self) -> int:
        return len(self._energy)

    def __getitem__(self, item: Any) -> Self:
        """Events of an index, a slice, an index array or a boolean mask; always a list of events."""
        if (n_masked := int(np.count_nonzero(getattr(item, "mask", False)))) > 0:
            raise EventError(
                f"an index of events must say of each whether it is meant, but {n_masked} of its entries are masked; "
                "fill them, for example by mask.filled(False)."
            )
        if isinstance(item, np.ndarray | list) and np.asarray(item).dtype == bool:
            mask = np.asarray(item)
            if mask.shape != (len(self),):
                raise EventError(f"A mask for {len(self)} events needs shape ({len(self)},), got {mask.shape}.")
        elif (
            item is None
            or (isinstance(item, np.ndarray | list) and np.ndim(item) != 1)
            or isinstance(item, tuple | str)
        ):
            raise EventError(
                f"events are a list: choose some by a number, a slice, a mask or a list of numbers, got {item!r}."
            )
        try:
            return self._take([item] if isinstance(item, int | np.integer) else item)
        except IndexError:
            raise IndexError(
                f"there are {len(self)} events, chosen by numbers from 0 to {len(self) - 1}, negative ones from the "
                f"end, a slice or a mask; got {item!r}."
            ) from None

    def __add__(self, other: object) -> Self:
        """Both lists in one; observation indices are kept as they are, and single events may join cells.

        Where one list has arrival times and the other has none, those of the other are masked in the joint list.
        """
        if not isinstance(other, Events):
            return NotImplemented
        if other.frame != self.frame:
            raise EventError(
                f"Cannot join events in the {self.frame} frame and in the {other.frame} frame; "
                f"convert one first with `.to_frame({self.frame!r})`."
            )
        joined = type(self)(
            np.concatenate([self._energy, other._energy]) * u.TeV,
            np.concatenate([self._lon, other._lon]) * u.deg,
            np.concatenate([self._lat, other._lat]) * u.deg,
            frame=self._frame,
            observation=np.concatenate([self._observation, other._observation]),
            multiplicity=np.concatenate([self._multiplicity, other._multiplicity]),
            cells=_joined(self, other),
            meta={k: v for k, v in {**other._meta, **self._meta}.items() if _agree(k, self._meta, other._meta)},
        )
        return joined._with_seconds(_seconds_joined(self, other))

    def __radd__(self, other: object) -> Self:
        """What ``sum`` begins with, the number 0, adds nothing."""
        return self._take(slice(None)) if isinstance(other, int) and other == 0 else NotImplemented

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise TypeError(
            "Events do not turn into an array by themselves, because observation indices and multiplicities "
            "would be lost without a word; use `events.to_rows(reco)` and say which columns you want."
        )

    def __repr__(self) -> str:
        if len(self) == 0:
            return f"Events(0 events, {self._frame})"
        parts = [f"{len(self)} event{'s' if len(self) > 1 else ''}"]
        if self._cells is not None or not np.all(self._multiplicity == 1.0):
            parts[0] = f"{len(self)} cells, {self.n_total:g} events"
        parts.append(f"{self._energy.min():.3g} to {self._energy.max():.3g} TeV")
        parts.append(self._frame)
        n_observations = len(np.unique(self._observation))
        if n_observations > 1:
            parts.append(f"{n_observations} observations")
        return f"Events({', '.join(parts)})"

    @checked(frame=text)
    def to_frame(self, frame: str) -> Self:
        """Express the directions in another frame.

        Parameters
        ----------
        frame : {"galactic", "icrs"}
            Wanted frame.

        Returns
        -------
        Events
            ``self`` if it is in that frame already.

        Raises
        ------
        EventError
            If the events are in cells: these are rectangles in one frame only.

        Examples
        --------
        >>> import astropy.units as u
        >>> events = Events(1 * u.TeV, 0 * u.deg, 0 * u.deg, frame="galactic").to_frame("icrs")
        >>> events.lon.round(3), events.lat.round(3)
        (<Quantity [-93.595] deg>, <Quantity [-28.936] deg>)
        """
        if check_frame(frame) == self._frame:
            return self
        if self._cells is not None:
            raise EventError(
                f"these events fill cells, rectangles in the {self._frame} frame that are none in the {frame} frame; "
                f"convert the single events before they are gathered, events.to_frame({frame!r}).binned(...), or leave "
                "the extents out, cells.without_cells(), where only positions matter."
            )
        lon, lat = convert_lonlat(self._lon, self._lat, self._frame, frame)
        converted = type(self)(
            self.energy,
            lon * u.deg,
            lat * u.deg,
            frame=frame,
            observation=self._observation,
            multiplicity=self._multiplicity,
            meta=self._meta,
        )
        return converted._with_seconds(self._time)

    def without_cells(self) -> Self:
        """The same rows without the extents of their cells.

        A likelihood then takes densities at the position of each row, the mean of its events. That is as good only
        where cells are narrow against the resolution of the instrument.
        """
        new = self._take(slice(None))
        new._cells = None
        return new

    @checked(observation=unitless)
    def with_observation(self, observation: ArrayLike) -> Self:
        """Give the events other observation indices, shape ``(event,)`` or one number for all.

        Examples
        --------
        >>> import astropy.units as u
        >>> first = Events([1, 2] * u.TeV, [0, 0] * u.deg, [0, 0] * u.deg, frame="galactic")
        >>> (first + first.with_observation(1)).observation
        array([0, 0, 1, 1])
        """
        return type(self)(
            self.energy,
            self.lon,
            self.lat,
            frame=self._frame,
            observation=observation,
            multiplicity=self._multiplicity,
            time=self.time,
            cells=self._cells,
            meta=self._meta,
        )

    def with_time(self, time: Time | None) -> Self:
        """Give the events other arrival times, shape ``(event,)`` or one for all; None: not known.

        Examples
        --------
        >>> import astropy.units as u
        >>> from astropy.time import Time
        >>> events = Events([1, 2] * u.TeV, [0, 0] * u.deg, [0, 0] * u.deg, frame="galactic")
        >>> events.with_time(Time("2025-03-01T22:00:00", scale="tt") + [0, 1] * u.s).time.isot.tolist()
        ['2025-03-01T22:00:00.000', '2025-03-01T22:00:01.000']
        """
        seconds = as_seconds(time)
        if seconds is not None and seconds.size == 1:
            seconds = np.full(len(self), seconds[0])
        check_columns(self._energy, self._lon, self._lat, self._observation, self._multiplicity, seconds)
        return self._take(slice(None))._with_seconds(seconds)

    @checked(observations=several("Observation", "list", "tuple"))
    def split(self, observations: "Sequence[Observation] | Sequence[Sequence[Observation]]") -> Self:
        """Give each event the index of the observation in whose good time it arrived.

        Observations cut into time bins (:meth:`Observation.split <pymc_gamma.Observation.split>`) get their events so.

        Parameters
        ----------
        observations : sequence of Observation, or sequence of such sequences
            In a plain list an event belongs to the one in whose good time it lies, whatever its index was; good times
            must not overlap. Where they do (types of events, two arrays of telescopes), give one list for each index
            that the events have now: events of index *k* are shared out among the observations of list *k*, and get
            the index in all lists one after the other.

        Returns
        -------
        Events
            In the same order, without those that belong to none; ``meta["outside_time_bins"]`` is their number.

        Raises
        ------
        EventError
            If no event has a time, an observation has no good time, or good times overlap.

        Warns
        -----
        PymcGammaWarning
            If events belong to no observation and were left out; says how many and why.

        Examples
        --------
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> from astropy.time import Time
        >>> import pymc_gamma as pmg
        >>> start = Time("2025-03-01T22:00:00", scale="tt")
        >>> crab = SkyCoord(83.63 * u.deg, 22.01 * u.deg)
        >>> run = pmg.Observation(
        ...     pmg.load_irfs("prod5-south-20deg-50h"), crab, livetime=27 * u.min, good_time=start + [0, 30] * u.min
        ... )
        >>> events = pmg.Events.from_rows([[1, 83.6, 22], [2, 83.7, 22], [3, 83.6, 22]], frame="icrs")
        >>> events = events.with_time(start + [1, 2, 20] * u.min)
        >>> events.split(run.split([0, 15, 30] * u.min)).observation
        array([0, 0, 1])
        """
        from pymc_gamma.events.splitting import split_events

        return split_events(self, observations)

    @checked(reco=texts)
    def to_rows(self, reco: Sequence[str] = RECO) -> NDArray[np.float64]:
        """Events as plain numbers in fixed units, the form that PyMC sees.

        Parameters
        ----------
        reco : sequence of str
            Columns: any of ``"energy"`` [TeV], ``"lon"``, ``"lat"`` [deg], ``"observation"``,
            ``"multiplicity"``, and the edges of the cell ``"energy_min"``, ``"energy_max"`` [TeV], ``"lon_min"``,
            ``"lon_max"``, ``"lat_min"``, ``"lat_max"`` [deg], which are the event itself where there are no cells;
            ``"time"``, seconds since the reference of :mod:`pymc_gamma.times`, NaN where it is not known.

        Returns
        -------
        numpy.ndarray
            float64, shape ``(event, len(reco))``.

        Raises
        ------
        EventError
            If a column is unknown.

        Examples
        --------
        >>> import astropy.units as u
        >>> Events([1, 2] * u.TeV, [0, 1] * u.deg, [0, -1] * u.deg, frame="galactic").to_rows(("energy", "lat"))
        array([[ 1.,  0.],
               [ 2., -1.]])
        """
        _check_reco(reco)
        rows = np.empty((len(self), len(reco)))
        for column, name in enumerate(reco):
            if name == TIME:
                rows[:, column] = np.nan if self._time is None else self._time
            elif name not in CELL:
                rows[:, column] = getattr(self, f"_{name}")
            elif self._cells is None:
                rows[:, column] = getattr(self, f"_{name.removesuffix('_min').removesuffix('_max')}")
            else:
                rows[:, column] = self._cells.edges[:, CELL.index(name)]
        return rows

    @classmethod
    @checked(reco=texts, frame=text)
    def from_rows(
        cls,
        rows: ArrayLike,
        reco: Sequence[str] = RECO,
        frame: str = "galactic",
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> Self:
        """Inverse of :meth:`to_rows`.

        Parameters
        ----------
        rows : array_like
            Shape ``(event, len(reco))``, in TeV and deg. The columns of a pandas data frame, and an xarray array with a
            coordinate ``"reco"``, are taken by their names.
        reco : sequence of str
            Names of the columns; ``"energy"``, ``"lon"`` and ``"lat"`` are needed, and all edges of cells or none. A
            ``"time"`` that is NaN is not known.
        frame : {"galactic", "icrs"}
            Frame of the directions.
        meta : mapping, optional
            Kept with the events.

        Returns
        -------
        Events
            One event per row.

        Raises
        ------
        EventError
            If shape or names do not fit, or a row is not an event.

        Examples
        --------
        >>> Events.from_rows([[1.0, 0.5, -0.5]])
        Events(1 event, 1 to 1 TeV, galactic)
        """
        _check_reco(reco)
        missing = [name for name in RECO if name not in reco]
        if missing:
            raise EventError(f"reco must name {', '.join(missing)} too; got {tuple(reco)}.")
        edges = [name for name in CELL if name in reco]
        if edges and len(edges) < len(CELL):
            raise EventError(f"a cell needs all of {', '.join(CELL)}; got {', '.join(edges)}.")
        table = plain_rows(rows, reco)
        columns = without_masked({name: table[:, column] for column, name in enumerate(reco)})
        seconds = columns.get(TIME)
        if seconds is not None:
            seconds = None if np.isnan(seconds).all() and len(seconds) else np.array(seconds)
        events = cls(
            columns["energy"] * u.TeV,
            columns["lon"] * u.deg,
            columns["lat"] * u.deg,
            frame=frame,
            observation=columns.get("observation"),
            multiplicity=columns.get("multiplicity"),
            cells=Cells.from_edges(np.stack([columns[name] for name in CELL], axis=1)) if edges else None,
            meta=meta,
        )
        return events._with_seconds(seconds)

    @classmethod
    @checked(coords=directions, frame=text)
    def from_skycoord(cls, energy: u.Quantity, coords: SkyCoord, *, frame: str = "galactic", **kwargs: Any) -> Self:
        """Events from energies and a `~astropy.coordinates.SkyCoord` in any frame.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Shape ``(event,)``.
        coords : `~astropy.coordinates.SkyCoord`
            Directions, shape ``(event,)``.
        frame : {"galactic", "icrs"}
            Frame to store them in.
        **kwargs
            ``observation``, ``multiplicity``, ``time``, ``cells``, ``meta`` as for :class:`Events`.

        Returns
        -------
        Events
            One event per entry.

        Examples
        --------
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> crab = SkyCoord(83.633, 22.014, unit="deg", frame="icrs")
        >>> Events.from_skycoord(3 * u.TeV, crab).lat.round(1)
        <Quantity [-5.8] deg>
        """
        if coords.ndim > 1:
            raise EventError(f"coords must be one-dimensional, one entry per event, got shape {coords.shape}.")
        try:
            spherical = coords.transform_to(check_frame(frame)).spherical
        except EventError:
            raise
        except Exception as error:
            raise EventError(
                f"coords in the frame {coords.name!r} cannot be converted to {frame!r}; does the frame lack a time or "
                f"a place? ({type(error).__name__}: {error})"
            ) from error
        return cls(energy, spherical.lon, spherical.lat, frame=frame, **kwargs)

    @checked(roi=kind("RegionOfInterest"), observations=several("Observation"))
    def selection(
        self, roi: "RegionOfInterest", observations: "Observation | Sequence[Observation] | None" = None
    ) -> "EventSelection":
        """Which events are kept, and why the others are not.

        Parameters
        ----------
        roi : RegionOfInterest
            Region on the sky and range of reconstructed energy.
        observations : Observation or sequence of Observation, optional
            Observations, in the order of :attr:`observation`: what lies beyond the limits of its own observation
            (energy range, largest offset, instrument response, good time where it and the arrival time are known) is
            not kept either.

        Returns
        -------
        EventSelection
            Mask and counts by reason.
        """
        from pymc_gamma.events.selection import EventSelection

        return EventSelection.from_events(self, roi, observations)

    @checked(roi=kind("RegionOfInterest"), observations=several("Observation"))
    def select(
        self, roi: "RegionOfInterest", observations: "Observation | Sequence[Observation] | None" = None
    ) -> Self:
        """Events that a region of interest and their observations keep; a warning counts the others by reason.

        A likelihood needs the same domain for its events and for its expected counts, so :func:`pymc_gamma.fold` and
        this method take the same region and observations. To leave out a part of the sky, exclude it from the region
        (``RegionOfInterest(..., exclude=...)``): events dropped by hand are still expected.

        Parameters
        ----------
        roi : RegionOfInterest
            Region on the sky and range of reconstructed energy.
        observations : Observation or sequence of Observation, optional
            As for :meth:`selection`.

        Returns
        -------
        Events
            In the frame of the region.

        Warns
        -----
        PymcGammaWarning
            If events were left out; says how many and why.

        See Also
        --------
        selection : the same as a report, without a warning.
        """
        selection = self.selection(roi, observations)
        selection.warn()
        return self[selection.inside].to_frame(roi.frame)

    def binned(
        self,
        energy: int | u.Quantity,
        *,
        pixel: u.Quantity | None = None,
        lon: u.Quantity | None = None,
        lat: u.Quantity | None = None,
    ) -> Self:
        """Gather events into cells: one row per occupied cell, its multiplicity the number of events.

        A likelihood then costs as much as there are occupied cells, and uses the densities averaged over them, so that
        cells may be as wide as the resolution of the instrument or wider: only the information about where in their
        cell events lie is lost. Rows stand at the mean of their events (geometric in energy), and :attr:`cells` holds
        the extents. Events of different observations stay in different rows. Arrival times are not kept, as cells hold
        events of several: cut runs into time bins before (:meth:`split`).

        Select events before they are gathered, and gather them in the frame of the region of interest. A cell may reach
        beyond the region: densities are averaged over the part inside.

        Parameters
        ----------
        energy : int or `~astropy.units.Quantity`
            Number of logarithmic bins over the range of the events, or the edges.
        pixel : `~astropy.units.Quantity`, optional
            Width of square cells in longitude and latitude; edges lie at its multiples.
        lon, lat : `~astropy.units.Quantity`, optional
            Edges, instead of ``pixel``.

        Returns
        -------
        Events
            Cells in the order energy, longitude, latitude within each observation.

        Raises
        ------
        EventError
            If neither ``pixel`` nor both ``lon`` and ``lat`` are given, edges do not increase, or the events are in
            cells already that do not fit into the new ones.

        Warns
        -----
        PymcGammaWarning
            If events lie outside the edges and were left out; says how many.

        Examples
        --------
        >>> import astropy.units as u
        >>> lon, lat = [0.01, 0.02, 0.03] * u.deg, [0.01, 0.01, 0.01] * u.deg
        >>> events = Events([1.1, 1.2, 5] * u.TeV, lon, lat, frame="galactic")
        >>> events.binned([1, 2, 10] * u.TeV, pixel=0.1 * u.deg)
        Events(2 cells, 3 events, 1.15 to 5 TeV, galactic)
        """
        from pymc_gamma.events.binning import bin_events

        return bin_events(self, energy, pixel=pixel, lon=lon, lat=lat)

    @classmethod
    @checked(response=offering("reco", "roi"), draw=integer, chain=integer, var_name=text, group=text)
    def from_predictive(
        cls,
        idata: "xr.DataTree | xr.Dataset",
        response: Any,
        *,
        draw: int = 0,
        chain: int = 0,
        var_name: str | None = None,
        group: str | None = None,
    ) -> Self:
        """One simulated event list out of a predictive sample of PyMC.

        Parameters
        ----------
        idata : `xarray.DataTree` or `xarray.Dataset`
            Output of ``pm.sample_prior_predictive`` or ``pm.sample_posterior_predictive``.
        response : Response
            The response the events were simulated with; it knows their frame.
        draw, chain : int
            Which sample, counted from 0.
        var_name : str, optional
            Name of the event variable; needed when there are several.
        group : str, optional
            Group to look in; needed when several groups hold simulated events.

        Returns
        -------
        Events
            Rows of NaN (padding of draws with fewer events) are left out. They have no arrival times: see
            :meth:`with_time` and :meth:`Observation.draw_times <pymc_gamma.Observation.draw_times>`.

        Raises
        ------
        EventError
            If no such variable is found, or more than one; the message lists them.
        """
        from pymc_gamma.events.predictive import events_from_predictive

        return events_from_predictive(cls, idata, response, draw=draw, chain=chain, var_name=var_name, group=group)

    def to_table(self) -> "QTable":
        """Events as an astropy table.

        Returns
        -------
        `~astropy.table.QTable`
            Columns ``ENERGY``, ``RA``, ``DEC`` (ICRS), ``GLON``, ``GLAT``, ``OBS_INDEX``, ``MULTIPLICITY``; ``TIME`` if
            the list has arrival times; of events in cells also their edges, ``ENERGY_MIN``, ``ENERGY_MAX``,
            ``LON_MIN``, ... in :attr:`frame`.
        """
        from pymc_gamma.events.gadf import to_table

        return to_table(self)

    @classmethod
    @checked(frame=text)
    def from_table(cls, table: Any, *, frame: str | None = None, units: Mapping[str, Any] | None = None) -> Self:
        """Events from a table with columns as in :meth:`to_table`.

        Parameters
        ----------
        table : `~astropy.table.Table`, `~astropy.table.QTable`, `pandas.DataFrame`, structured array or mapping
            ``ENERGY`` and either ``RA`` and ``DEC`` (ICRS) or ``GLON`` and ``GLAT``, with units; ``OBS_INDEX``,
            ``MULTIPLICITY`` and ``TIME`` are optional. Lower-case names are accepted. With both pairs of coordinates,
            ``RA`` and ``DEC`` count, the columns of the standard, except in a table that :meth:`to_table` made of
            galactic events. ``TIME`` holds astropy times, or numbers of which the ``meta`` of the table says what they
            count from (``MJDREFI``, ``MJDREFF``, ``TIMESYS``).
        frame : {"galactic", "icrs"}, optional
            Frame of the result. Default: the one the table was made from, else ``"galactic"``.
        units : mapping, optional
            Name of a column to its unit, for those that have none: pandas knows no units, and none is guessed.

        Returns
        -------
        Events
            One event per row.

        Raises
        ------
        TypeError
            If it is no table, or ``units`` no mapping.
        EventError
            If a column is missing, is there twice, has no unit or the wrong one, or holds something else than numbers.

        Warns
        -----
        PymcGammaWarning
            If rows are masked (missing, in pandas) and were left out, the two pairs of coordinates disagree, there is a
            ``TIME`` but not what it counts from, or columns are named as edges of cells but some of the edges are
            missing; says how many rows, and which columns.

        Examples
        --------
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"energy": [900.0, 2000.0], "glon": [0.1, 0.2], "glat": [0.0, -0.1]})
        >>> Events.from_table(frame, units={"energy": "GeV", "glon": "deg", "glat": "deg"})
        Events(2 events, 0.9 to 2 TeV, galactic)
        """
        from pymc_gamma.events.gadf import from_table

        return from_table(cls, table, frame=frame, units=units)

    def to_gammapy(self) -> Any:
        """Events as a gammapy event list.

        Returns
        -------
        `gammapy.data.EventList`
            Where arrival times are not known, all are at the reference time, and the header says so.
        """
        from pymc_gamma.events.gadf import to_gammapy

        return to_gammapy(self)

    @classmethod
    @checked(frame=text, observation=integer, roi=kind("RegionOfInterest"))
    def from_gammapy(
        cls,
        source: Any,
        *,
        frame: str | None = None,
        observation: int = 0,
        roi: "RegionOfInterest | None" = None,
        observations: "Observation | Sequence[Observation] | None" = None,
    ) -> Self:
        """Events from gammapy: an event list, one observation or several.

        Parameters
        ----------
        source : gammapy.data.EventList, Observation, Observations, DataStore or iterable of Observation
            Several runs become one list: events of the first have observation index 0, of the second 1, and so on, as
            :meth:`Observation.list_from_gammapy <pymc_gamma.Observation.list_from_gammapy>` numbers them.
        frame : {"galactic", "icrs"}, optional
            Frame of the result. Default: that of ``roi``, else ``"galactic"``.
        observation : int
            Index of the first run. Ignored for an event list that carries its own (``OBS_INDEX``).
        roi : RegionOfInterest, optional
            Keep the events inside of it only, and of runs those alone that their instrument response covers.
        observations : Observation or sequence of Observation, optional
            The runs as observations: what lies beyond the energy range or largest offset of its own is not kept either,
            as in :meth:`select`. Needs ``roi``.

        Returns
        -------
        Events
            One event per row; the ids of the runs are in ``meta["obs_ids"]``, the numbers of events outside of good
            time in ``meta["outside_good_time"]``, by id.

        Raises
        ------
        TypeError
            If it is none of these.
        EventError
            If a run has no events, or a value is not that of an event; names the run.
        DataFileError
            If there is no run, or the times of the events of one do not fit its good time intervals, or the file of one
            is cut or lacks its events; names the run.

        Warns
        -----
        PymcGammaWarning
            If events lie outside of the good time intervals of their run or outside ``roi`` and were left out; says
            how many, of which run and why.

        Notes
        -----
        Runs are read within their good time intervals (GTI) and their selection in time (``run.select_time``), the same
        as the live time of :meth:`Observation.from_gammapy <pymc_gamma.Observation.from_gammapy>`. An event list
        alone has no intervals and is taken as it is. Events keep their arrival times.
        """
        from pymc_gamma.events.gadf import from_gammapy

        if frame is not None:
            check_frame(frame)
        if roi is None:
            if observations is not None:
                raise EventError("observations= goes with roi=: together they say which events are kept.")
            return from_gammapy(cls, source, frame=frame or "galactic", observation=observation)[0]
        # whatever energies a user trusts: no analysis has counts where a response gives none
        events, covering = from_gammapy(
            cls, source, frame=frame or roi.frame, observation=observation, respond=observations is None
        )
        observations = covering if observations is None else observations
        counted = events.with_observation(events.observation - observation) if observations is not None else events
        selection = counted.selection(roi, observations)
        selection.warn()
        return events[selection.inside]

    @checked(path=path)
    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a GADF event file (FITS, HDU ``EVENTS``) that gammapy reads.

        The file appears whole or not at all. It holds everything but :attr:`meta`. Whole runs, with good time intervals
        and instrument response, are written by :func:`pymc_gamma.write_runs`.

        Parameters
        ----------
        path : path-like
            Destination, ``.fits`` or ``.fits.gz`` (also ``.fit`` and ``.fts``).
        overwrite : bool
            Replace an existing file.

        Raises
        ------
        EventError
            If the name ends otherwise.
        FileExistsError
            If the file exists and ``overwrite`` is false.
        OSError
            If it cannot be written, on a full disk for instance; a file that was there is unchanged.
        """
        from pymc_gamma.events.gadf import write_gadf

        write_gadf(self, path, overwrite=overwrite)

    @classmethod
    @checked(path=path, frame=text)
    def read(cls, path: str | os.PathLike[str], *, hdu: str = "EVENTS", frame: str | None = None) -> Self:
        """Read a GADF event file, ours or any other.

        Events outside the good time intervals of the file (HDU ``GTI``, if it has one) are left out; the others keep
        their arrival times. A run with its
        response and pointing is read by gammapy and :meth:`from_gammapy`.

        Parameters
        ----------
        path : path-like
            FITS file.
        hdu : str
            Name of the HDU.
        frame : {"galactic", "icrs"}, optional
            Frame of the result. Default: the one the file was written from, else ``"galactic"``.

        Returns
        -------
        Events
            One event per row.

        Raises
        ------
        DataFileError
            If there is no such file, it is cut or damaged, a checksum in it does not fit, or it holds no event list;
            names the file, and the HDU.
        EventError
            If a column is missing, has no unit or the wrong one, or holds what no event has; names file and column.

        Warns
        -----
        PymcGammaWarning
            If events lie outside the good time intervals; says how many, and so does ``meta["outside_good_time"]``. And
            as for :meth:`from_table`; a NaN of a FITS file is a masked value.
        """
        from pymc_gamma.events.gadf import read_gadf

        return read_gadf(cls, user_path(path), hdu=hdu, frame=frame)

    @checked(count_scaling=text)
    def peek(self, *, count_scaling: str = "sqrt", fig: "Figure | None" = None) -> "Figure":
        """Draw a counts map and an energy histogram.

        Parameters
        ----------
        count_scaling : {"sqrt", "log", "linear"}
            Colour scale of the map.
        fig : `~matplotlib.figure.Figure`, optional
            Figure to draw in.

        Returns
        -------
        `~matplotlib.figure.Figure`
            Two panels; longitude increases leftwards, as on the sky.

        Raises
        ------
        EventError
            If there is nothing to draw.
        """
        figure: Figure = picture("peek_events")(self, count_scaling=count_scaling, fig=fig)
        return figure

    def _take(self, item: Any) -> Self:
        # The rows were checked when this list was made: no need to check them again.
        new = object.__new__(type(self))
        new._frame, new._meta = self._frame, dict(self._meta)
        for name in _COLUMNS:
            values = getattr(self, f"_{name}")[item]
            values.setflags(write=False)
            setattr(new, f"_{name}", values)
        new._time = None if self._time is None else self._time[item]
        new._cells = None if self._cells is None else self._cells.take(item)
        return new

    def _with_seconds(self, seconds: NDArray[np.float64] | None) -> Self:
        """Put arrival times, in seconds since the reference, into a list that is new and was not yet handed out."""
        if seconds is not None:
            check_columns(self._energy, self._lon, self._lat, self._observation, self._multiplicity, seconds)
            seconds.setflags(write=False)
        self._time = seconds
        return self


def _check_reco(reco: Sequence[str]) -> None:
    names = (*_COLUMNS, TIME, *CELL)
    if any(name not in names for name in reco) or len(set(reco)) != len(reco):
        raise EventError(f"reco must be distinct names out of {', '.join(names)}, got {tuple(reco)}.")


def _seconds_joined(*lists: Events) -> NDArray[np.float64] | None:
    """Arrival times of several lists, NaN in those that have none; None if none of them has."""
    if all(one._time is None for one in lists):
        return None
    return np.concatenate([np.full(len(one), np.nan) if one._time is None else one._time for one in lists])


def _joined(*lists: Events) -> Cells | None:
    """Cells of several lists; without extent in those that have none."""
    if all(one.cells is None for one in lists):
        return None
    return Cells.from_edges(np.concatenate([one.to_rows(CELL) for one in lists]))


def _agree(key: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return key not in first or key not in second or bool(np.all(first[key] == second[key]))
