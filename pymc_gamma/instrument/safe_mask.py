r"""Energies and offsets in which a run can be trusted.

Near its threshold the response of a run is uncertain: the effective area rises steeply, reconstructed energies are
biased. Observatories write the range they consider safe into the header of the effective area, ``LO_THRES`` and
``HI_THRES`` (TeV), and gammapy's ``SafeMaskMaker`` derives ranges from the tables. Either becomes one range per run,

.. math:: E_{\min} \le E' \le E_{\max}, \qquad o' \le o_{\max} ,

of *reconstructed* energy :math:`E'` and offset :math:`o'` from the pointing. As in gammapy, thresholds found in true
energy (``aeff-default``, ``aeff-max``) are applied to the reconstructed one as they are.

gammapy's own code decides. What it returns is a mask of the energy bins of a data set: those that lie entirely in the
range. Events have no bins, so the energies are taken that gammapy compares the edges of the bins with. ``aeff-max`` and
``edisp-bias`` look for them on the bins of a data set, and what they find moves by some per cent with coarse ones. Here
the bins are narrow, 200 per decade over the axis of the table, the limit that gammapy's own data sets tend to.
``bkg-peak`` returns the lower edge of the bin with most background, of 100 per decade here, summed over the field of
view of the table. With ``irfs="DL3"`` gammapy uses the bins of the tables, and so does this module. The position is
that of the maker (``position`` or ``fixed_offset``), and without one the pointing, where gammapy would take the centre
of the map.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import astropy.units as u
import numpy as np

from pymc_gamma.errors import DataFileError
from pymc_gamma.fits_files import reading
from pymc_gamma.instrument.dl3 import index_of, reading_run
from pymc_gamma.instrument.good_time import whole_run
from pymc_gamma.units import scalar_value, to_value

__all__ = ["RunLimits", "SafeMask", "index_energies", "run_limits"]

type SafeMask = Literal["file"] | Any | None
"""``"file"`` (what the file says is safe), a gammapy ``SafeMaskMaker``, or None (no limit)."""

type Index = Mapping[str, tuple[float | None, float | None]]

FILE_KEYS = (("LO_THRES", "SAFE_ENERGY_LO"), ("HI_THRES", "SAFE_ENERGY_HI"))
"""Header keys and columns of the lowest and the highest safe energy, TeV."""

ENERGY_METHODS = {
    "aeff-default": "make_mask_energy_aeff_default",
    "aeff-max": "make_mask_energy_aeff_max",
    "edisp-bias": "make_mask_energy_edisp_bias",
    "bkg-peak": "make_mask_energy_bkg_peak",
}

BACKGROUND_PIXELS = 30
"""Pixels across the field of view in which the background is summed."""

BINS_PER_DECADE = 100
"""Energy bins in which the peak of the background is sought."""

NARROW_BINS_PER_DECADE = 200
"""Energy bins on which thresholds of effective area and energy dispersion are sought."""


class RunLimits(NamedTuple):
    """Limits of one run.

    Attributes
    ----------
    energy_range : tuple of float
        Reconstructed energies in TeV, (0, inf) without a limit.
    offset_max : float
        Degrees, inf without a limit.
    """

    energy_range: tuple[float, float]
    offset_max: float


def run_limits(
    run: Any,
    safe_mask: SafeMask = "file",
    *,
    energy_range: u.Quantity | Sequence[u.Quantity] | None = None,
    offset_max: u.Quantity | None = None,
    index: Index | None = None,
) -> RunLimits:
    """Range of reconstructed energy and largest offset of a run, without converting its response.

    Parameters
    ----------
    run : gammapy.data.Observation
        The run.
    safe_mask : {"file"} or gammapy.makers.SafeMaskMaker or None
        ``"file"``: what the file itself says is safe. A ``SafeMaskMaker``: its methods and their parameters, evaluated
        for this run. None: no limit.
    energy_range, offset_max : `~astropy.units.Quantity`, optional
        Limits by hand, in place of those of ``safe_mask``.
    index : mapping, optional
        Safe energies of an index of observations (see :func:`index_energies`), for files without any.

    Returns
    -------
    RunLimits

    Raises
    ------
    TypeError
        If ``safe_mask`` is something else or a limit has no unit.
    DataFileError
        If the safe range is empty, a threshold in the file is not a number, or a method cannot be evaluated; names the
        run.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from gammapy.data import FixedPointingInfo, Observation
    >>> from gammapy.irf import load_irf_dict_from_file
    >>> from gammapy.makers import SafeMaskMaker
    >>> import pymc_gamma as pmg
    >>> run = Observation.create(
    ...     pointing=FixedPointingInfo(fixed_icrs=SkyCoord(83.63 * u.deg, 22.01 * u.deg)),
    ...     livetime=0.5 * u.h,
    ...     irfs=load_irf_dict_from_file(pmg.datasets.path("prod5-south-20deg-50h")),
    ... )
    >>> run_limits(run)
    RunLimits(energy_range=(0.0, inf), offset_max=inf)
    >>> limits = run_limits(run, SafeMaskMaker(methods=["aeff-max", "offset-max"], offset_max="2 deg"))
    >>> round(limits.energy_range[0], 2), limits.offset_max
    (0.51, 2.0)
    """
    label = str(run.obs_id)
    maker = _checked(safe_mask)
    if energy_range is not None:
        low, high = _by_hand(energy_range)
        how = "energy_range"
    elif maker is not None:
        low, high = _of_maker(whole_run(run), maker, label)
        how = f"SafeMaskMaker with {', '.join(sorted(maker.methods))}"
    elif safe_mask is None:
        low, high, how = 0.0, math.inf, "no safe mask"
    else:
        low, high = _of_file(run, label, (index or {}).get(label, (None, None)))
        how = "the thresholds in its file"
    if not low < high:
        raise DataFileError(
            f"observation {label} has no safe energies by {how}: from {low:g} to {high:g} TeV. Leave the run out, or "
            "give energy_range= or another safe_mask=."
        )
    if offset_max is not None:
        largest = scalar_value(offset_max, "deg", "offset_max")
    else:
        largest = float(maker.offset_max.to_value("deg")) if maker and "offset-max" in maker.methods else math.inf
    if not largest > 0:
        raise DataFileError(
            f"observation {label}: the largest offset must be positive, got {largest:g} deg (offset_max)."
        )
    return RunLimits((low, high), largest)


def index_energies(source: Any) -> dict[str, tuple[float | None, float | None]]:
    """Safe energies in the index of observations of a gammapy ``DataStore``, by observation id; empty for others."""
    from gammapy.data import DataStore

    table = source.obs_table if isinstance(source, DataStore) else None
    if table is None:
        return {}
    found: dict[str, tuple[float | None, float | None]] = {}
    with reading(index_of(source, "obs-index"), "an index of observations"):
        for row in table:
            low, high = (_of_index(table, row, keys[1]) for keys in FILE_KEYS)
            found[str(row["OBS_ID"])] = (low, high)
    return found


def _of_index(table: Any, row: Any, name: str) -> float | None:
    if name not in table.colnames or np.ma.is_masked(row[name]):
        return None
    return float(u.Quantity(row[name], table[name].unit or "TeV").to_value("TeV"))


def _checked(safe_mask: Any) -> Any:
    """The SafeMaskMaker, or None if it is something else that is allowed."""
    if safe_mask is None or (isinstance(safe_mask, str) and safe_mask == "file"):
        return None
    from gammapy.makers import SafeMaskMaker

    if not isinstance(safe_mask, SafeMaskMaker):
        raise TypeError(
            'safe_mask must be "file" (what the file says is safe), a gammapy.makers.SafeMaskMaker or None (no limit), '
            f"got {safe_mask!r}."
        )
    unknown = set(safe_mask.methods) - {*ENERGY_METHODS, "offset-max"}
    if unknown or type(safe_mask).run is not SafeMaskMaker.run:
        raise TypeError(
            f"safe_mask: of a SafeMaskMaker the methods {', '.join(ENERGY_METHODS)} and offset-max are known, not "
            f"{', '.join(sorted(unknown)) or 'those of a class of its own'}; give energy_range= and offset_max=."
        )
    return safe_mask


def _by_hand(energy_range: Any) -> tuple[float, float]:
    bounds = to_value(energy_range, "TeV", "energy_range")
    if bounds.shape != (2,) or np.isnan(bounds).any() or not 0 <= bounds[0] < bounds[1]:
        raise ValueError(
            f"energy_range must be a range (minimum, maximum) with 0 <= minimum < maximum, got {bounds} TeV."
        )
    return float(bounds[0]), float(bounds[1])


def _of_file(run: Any, label: str, index: tuple[float | None, float | None]) -> tuple[float, float]:
    """Thresholds in the header of the effective area, else of the index; 0 and negative numbers stand for none."""
    with reading_run(run, "aeff"):
        aeff = run.aeff
    meta = {} if aeff is None else (aeff.meta or {})
    bounds: list[float] = []
    for keys, of_index, none in zip(FILE_KEYS, index, (0.0, math.inf), strict=True):
        key = next((key for key in keys if meta.get(key) is not None), None)
        value = of_index if key is None else meta[key]
        try:
            number = 0.0 if value is None else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise DataFileError(
                f"observation {label}: {key or keys[1]} is {value!r}, expected an energy in TeV; give energy_range=, "
                "or safe_mask=None to do without."
            )
        bounds.append(number if number > 0 else none)
    low, high = bounds
    if aeff is not None and low >= (highest := float(aeff.axes["energy_true"].edges[-1].to_value("TeV"))):
        return low, min(high, highest)
    return low, high


def _of_maker(run: Any, maker: Any, label: str) -> tuple[float, float]:
    """Energies that gammapy compares the edges of bins with, by all methods together."""
    low, high = 0.0, math.inf
    for method in sorted(set(maker.methods) & set(ENERGY_METHODS)):
        try:
            dataset = _Stage(run, maker, method)
            getattr(maker, ENERGY_METHODS[method])(dataset, run)
        except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
            raise DataFileError(
                f"observation {label}: gammapy's SafeMaskMaker cannot evaluate {method!r} for it "
                f"({type(error).__name__}: {error}). Are all tables it needs there ({', '.join(run.available_irfs)})?"
            ) from error
        if not dataset.asked:
            raise DataFileError(
                f"observation {label} has no safe energies by SafeMaskMaker with {method}: its effective area is zero "
                "at the position."
            )
        for energy_min, energy_max in dataset.asked:
            low = max(low, 0.0 if energy_min is None else _number(energy_min))
            high = min(high, math.inf if energy_max is None else _number(energy_max))
    if math.isnan(low) or math.isnan(high):
        raise DataFileError(
            f"observation {label}: gammapy's SafeMaskMaker found no energy with {sorted(maker.methods)}."
        )
    return low, high


def _number(energy: Any) -> float:
    return float(u.Quantity(energy).to_value("TeV"))


def _narrow(axis: Any, name: str = "energy_true") -> Any:
    """Narrow bins over the range of an axis of energy."""
    from gammapy.maps import MapAxis

    return MapAxis.from_energy_bounds(*axis.bounds, NARROW_BINS_PER_DECADE, per_decade=True, name=name)


class _Stage:
    """What ``SafeMaskMaker`` looks at in a data set, made of the tables of one run on narrow bins.

    ``asked`` lists the limits of energy that it asked the geometry for.
    """

    def __init__(self, run: Any, maker: Any, method: str) -> None:
        from gammapy.maps import MapAxis

        self.name = str(run.obs_id)
        self._run = run
        self._pointing = run.get_pointing_icrs(run.tmid)
        if method == "bkg-peak":
            energy = MapAxis.from_energy_bounds(*run.bkg.axes["energy"].bounds, BINS_PER_DECADE, per_decade=True)
        else:
            energy = _narrow((run.edisp if method == "edisp-bias" else run.aeff).axes["energy_true"], "energy")
        self._geom = self._map(self._pointing, [energy])
        self._where = maker._get_position(run, self._geom)
        self.asked: list[tuple[Any, Any]] = []
        self._geom.energy_mask = self._energy_mask

    def _energy_mask(self, energy_min: Any = None, energy_max: Any = None, round_to_edge: bool = False) -> None:
        self.asked.append((energy_min, energy_max))

    def _map(self, position: Any, axes: list[Any], npix: int = 3, width: float = 0.06) -> Any:
        from gammapy.maps import WcsGeom

        return WcsGeom.create(skydir=position, npix=npix, binsz=width / npix, axes=axes)

    @cached_property
    def exposure(self) -> Any:
        """Around the position; interpolated there, it is the value at the position."""
        from gammapy.makers import MapDatasetMaker

        geom = self._map(self._where, [_narrow(self._run.aeff.axes["energy_true"])])
        return MapDatasetMaker().make_exposure(geom, self._run)

    @cached_property
    def edisp(self) -> Any:
        """Energy dispersion around the position."""
        from gammapy.makers import MapDatasetMaker

        axes = self._run.edisp.axes
        geom = self._map(self._where, [axes["migra"], _narrow(axes["energy_true"])])
        return MapDatasetMaker().make_edisp(geom, self._run)

    def npred_background(self) -> Any:
        """Expected background in narrow bins of energy over its whole field of view."""
        from gammapy.makers import MapDatasetMaker

        axes = self._run.bkg.axes
        reach = max(float(np.abs(axes[name].edges.to_value("deg")).max()) for name in axes.names if name != "energy")
        geom = self._map(self._pointing, [self._geom.axes["energy"]], BACKGROUND_PIXELS, 2 * reach)
        return MapDatasetMaker().make_background(geom, self._run)
