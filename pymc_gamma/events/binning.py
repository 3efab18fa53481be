r"""Events gathered into cells.

Of an event in a cell :math:`C_c` all that is known is that it lies there, so that

.. math:: \sum_i \log f(x_i) \to \sum_c m_c \log \frac{1}{|C_c|} \int_{C_c} f(x)\,\mathrm{d}x

over the occupied cells alone, with :math:`m_c` the number of events in the cell. A row stands at the mean of its events
(geometric in energy) and keeps the edges of its cell, over which a response averages its densities.
"""

import warnings
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError, PymcGammaWarning
from pymc_gamma.events.cells import Cells
from pymc_gamma.events.validation import wrap_longitude
from pymc_gamma.units import scalar_value, to_value

if TYPE_CHECKING:
    from pymc_gamma.events.container import Events

__all__ = ["bin_events", "cell_index", "given_edges", "longitude_edges"]


def bin_events[EventsT: "Events"](
    events: EventsT,
    energy: int | u.Quantity,
    *,
    pixel: u.Quantity | None = None,
    lon: u.Quantity | None = None,
    lat: u.Quantity | None = None,
) -> EventsT:
    """See :meth:`pymc_gamma.events.Events.binned`."""
    if (pixel is None) == (lon is None and lat is None) or (lon is None) != (lat is None):
        raise EventError("binned() needs either pixel=, or both lon= and lat= edges.")
    if len(events) == 0:
        return events
    values = [events.energy.value, events.lon.value, events.lat.value]
    edges = [_energy_edges(values[0], energy)]
    if pixel is not None:
        width = scalar_value(pixel, "deg", "pixel")
        if not width > 0:
            raise EventError(f"pixel must be positive, got {width:g} deg.")
        # Unwrap around the field, so that one across the +-180 deg line is binned in one piece.
        values[1] = wrap_longitude(values[1], _mean_longitude(values[1]))
        edges += [_pixel_edges(values[1], width), _pixel_edges(values[2], width)]
    else:
        edges += [longitude_edges(lon), given_edges(lat, "deg", "lat")]
        values[1] = wrap_longitude(values[1], 0.5 * (edges[1][0] + edges[1][-1]))

    cells = [cell_index(value, edge) for value, edge in zip(values, edges, strict=True)]
    inside = np.logical_and.reduce([cell >= 0 for cell in cells])
    left_out = float(events.multiplicity[~inside].sum())
    if left_out:
        warnings.warn(
            f"{left_out:g} of {events.n_total:g} events lie outside the bin edges and are left out."
            + (f" Edges are {events.frame} longitudes and latitudes, not offsets." if not inside.any() else ""),
            PymcGammaWarning,
            stacklevel=3,
        )

    shape = (int(events.observation.max()) + 1, *(len(edge) - 1 for edge in edges))
    flat = np.ravel_multi_index((events.observation[inside], *(cell[inside] for cell in cells)), shape)
    occupied, row = np.unique(flat, return_inverse=True)
    weight = events.multiplicity[inside]
    total = np.bincount(row, weights=weight, minlength=len(occupied))

    which = np.unravel_index(occupied, shape)
    sides = [edge[index + shift] for edge, index in zip(edges, which[1:], strict=True) for shift in (0, 1)]
    corners = np.stack(sides, axis=1)
    corners[:, 4:] = np.clip(corners[:, 4:], -90, 90)  # edges may lie beyond a pole, the sky does not
    if events.cells is not None:
        _check_nested(events, values[1], inside, corners[row])

    def mean(values: FloatArray) -> FloatArray:
        return np.bincount(row, weights=weight * values[inside], minlength=len(occupied)) / total

    return type(events)(
        np.exp(mean(np.log(values[0]))) * u.TeV,
        mean(values[1]) * u.deg,
        mean(values[2]) * u.deg,
        frame=events.frame,
        observation=which[0],
        multiplicity=total,
        cells=Cells.from_edges(corners),
        meta=events.meta,
    )


def _check_nested(events: "Events", lon: FloatArray, inside: NDArray[np.bool_], corners: FloatArray) -> None:
    """Raise EventError unless the cells that events fill already lie within the new ones."""
    assert events.cells is not None
    own = events.cells.edges + np.repeat([0.0, 1.0, 0.0], 2) * (lon - events.lon.value)[:, None]
    slack = 1e-9 * np.maximum(1, np.abs(corners))
    beyond = (own[inside, ::2] < (corners - slack)[:, ::2]) | (own[inside, 1::2] > (corners + slack)[:, 1::2])
    n_beyond = int(beyond.any(axis=1).sum())
    if n_beyond:
        raise EventError(
            f"{n_beyond} of {len(events)} rows fill cells already, which reach beyond the new ones; choose edges among "
            "the old ones, or gather the single events."
        )


def _energy_edges(values: FloatArray, energy: int | u.Quantity) -> FloatArray:
    if isinstance(energy, int | np.integer):
        if energy < 1:
            raise EventError(f"energy must be at least one bin, got {energy}.")
        low, high = values.min(), values.max()
        # Widened by a rounding error, so that the extreme events are inside.
        edges = np.geomspace(low * (1 - 1e-12), high * (1 + 1e-12), int(energy) + 1)
        return np.asarray(edges, dtype=np.float64)
    given = given_edges(energy, "TeV", "energy")
    if given[0] <= 0:
        raise EventError(f"energy edges must be positive, got {given[0]:g} TeV.")
    return given


def given_edges(edges: u.Quantity, unit: str, name: str) -> FloatArray:
    """Increasing edges of bins in ``unit``, or an error that names them."""
    values = to_value(edges, unit, name)
    if values.ndim != 1 or len(values) < 2 or not np.all(np.diff(values) > 0):
        raise EventError(f"{name} edges must be two or more increasing values, got {values} {unit}.")
    return values


def longitude_edges(edges: u.Quantity) -> FloatArray:
    """As :func:`given_edges` in degrees, for longitudes: not more than once around."""
    values = given_edges(edges, "deg", "lon")
    if values[-1] - values[0] > 360 * (1 + 1e-12):
        raise EventError(
            f"lon edges span {values[-1] - values[0]:g} deg; more than 360 deg would count directions twice."
        )
    return values


def _pixel_edges(values: FloatArray, width: float) -> FloatArray:
    first = int(np.floor(values.min() / width))
    last = max(int(np.ceil(values.max() / width)), first + 1)
    return np.asarray(np.arange(first, last + 1) * width, dtype=np.float64)


def _mean_longitude(lon: FloatArray) -> float:
    return float(np.degrees(np.angle(np.exp(1j * np.radians(lon)).mean())))


def cell_index(values: FloatArray, edges: FloatArray) -> NDArray[np.intp]:
    """Index of the half-open bin of each value (the last bin is closed), -1 outside."""
    index = np.searchsorted(edges, values, side="right") - 1
    index[values == edges[-1]] = len(edges) - 2
    index[index == len(edges) - 1] = -1
    return index
