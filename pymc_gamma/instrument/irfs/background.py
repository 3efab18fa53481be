r"""The residual background of a gammapy IRF on clean nodes of reconstructed energy and field of view.

The rate :math:`b(E', x)` is known where the file has a bin with something in it. A position :math:`x` that is empty at
every energy is not covered; energies that are empty at every position, at either end, are left out of the range. What
is empty in between is filled, so that no event there has a rate of zero:

- between bins that are not empty, by interpolation of :math:`\ln b`, the mean over the axes on which there are such
  bins on both sides, weighted with the inverse of their distance;
- otherwise with the spectrum of the nearest position :math:`x'` that is not empty there, going from an energy
  :math:`E_1` that is filled to its neighbour :math:`E_2`: :math:`b(E_2,x) = b(E_1,x)\,b(E_2,x')/b(E_1,x')`.

Where less than half of the covered positions hold something at an energy, little was measured, and a bin that is not
empty is above the mean of its neighbourhood: there the fill is multiplied by twice their share.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from pymc_gamma.arrays import BoolArray, FloatArray
from pymc_gamma.errors import IRFError, warn_user
from pymc_gamma.instrument.irfs.core import Background
from pymc_gamma.instrument.irfs.reading import Axis, at_least_two, read_axis, read_values
from pymc_gamma.sums import weighted_sum

__all__ = ["asymmetry", "background", "read_background", "unaligned"]

SMALLEST_RATE = 1e-40
"""Smaller rates [s-1 TeV-1 sr-1] are as good as none."""

EQUALLY_NEAR = 8
"""Most bins of a regular grid that are equally near to another; none of them may be preferred."""

ASYMMETRY_TOLD = 0.01
"""Smallest asymmetry that makes an unknown orientation worth a word."""


def background(tables: Mapping[str, Any], name: str, repairs: list[str]) -> Background | None:
    """Clean residual background, or None if there is none."""
    bkg = tables.get("bkg")
    if bkg is None:
        return None
    rate = read_values(bkg, "s-1 TeV-1 sr-1", "background", name)
    energy = read_axis(bkg, "energy", "TeV")
    radial = "offset" in bkg.axes.names
    if radial:
        lon, lat = read_axis(bkg, "offset", "deg"), Axis(np.zeros(1), np.array([-90.0, 90.0]))
        rate = rate[:, :, None]
    else:
        lon, lat = read_axis(bkg, "fov_lon", "deg"), read_axis(bkg, "fov_lat", "deg")
    alignment = "RADEC" if radial else _alignment(bkg, name)
    if alignment == "REVERSE_LON_RADEC":  # of old H.E.S.S. files, whose longitude grows towards the east
        lon, rate, alignment = Axis(-lon.centers[::-1], -lon.edges[::-1]), rate[:, ::-1].copy(), "RADEC"
    if np.any(rate < 0):
        repairs.append(f"background: {int((rate < 0).sum())} negative cells taken as empty")
    rate = np.where(rate > SMALLEST_RATE, rate, 0.0)
    if not rate.any():
        raise IRFError(f"IRFs {name}: the background is zero everywhere.")
    energy, rate = _given_energies(energy, rate, repairs)
    covered = (rate > 0).any(axis=0)
    _report(rate, energy, lon, lat, covered, radial, repairs)
    rate = _filled(rate, np.log(energy.centers), lon.centers, lat.centers, covered)
    limits = (float(energy.edges[0]), float(energy.edges[-1]))
    energies, rate = at_least_two(energy, rate, axis_number=0)
    first, rate = at_least_two(lon, rate, axis_number=1)
    second = lat.centers
    if not radial:
        second, rate = at_least_two(lat, rate, axis_number=2)
    clean = Background(energies, first, second, rate, radial, limits, lon.edges, lat.edges, covered, alignment)
    if not radial:
        _report_orientation(clean, bkg, repairs)
    return clean


def read_background(bkg: Any, name: str) -> Background:
    """A background that is clean already, or one of gammapy made so; repairs are told.

    Raises
    ------
    TypeError
        If it is neither.
    IRFError
        If it cannot be used.
    """
    if isinstance(bkg, Background):
        return bkg
    if not hasattr(bkg, "axes") or not hasattr(bkg, "quantity"):
        raise TypeError(
            f"bkg of the background {name!r} must be a Background2D or Background3D of gammapy, or that of IRFs, got "
            f"{type(bkg).__name__}."
        )
    repairs: list[str] = []
    made = background({"bkg": bkg}, name, repairs)
    assert made is not None
    if repairs:
        warn_user(f"the background {name!r} was repaired: {'; '.join(repairs)}.")
    return made


def asymmetry(bkg: Background) -> float:
    """Mean relative difference between a background and its average over all orientations of the field of view."""
    if bkg.radial:
        return 0.0
    edges = np.abs(np.array([bkg.fov_lon_edges[[0, -1]], bkg.fov_lat_edges[[0, -1]]]))
    radius = (np.arange(60) + 0.5) / 60 * float(np.hypot(*edges.max(axis=1)))
    azimuth = np.radians(np.arange(0, 360, 5))
    lon, lat = np.radians(np.outer(radius, np.cos(azimuth))), np.radians(np.outer(radius, np.sin(azimuth)))
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1).reshape(-1, 3)
    rates = bkg.spectra_at(vectors, np.log(bkg.energy), np.eye(3))
    rate = np.trapezoid(rates, bkg.energy, axis=0).reshape(lon.shape)
    seen = rate > 0
    mean = rate.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    difference = np.where(seen, np.abs(rate - mean[:, None]), 0).sum(axis=1)
    return float(weighted_sum(difference, radius) / weighted_sum(np.asarray(rate.sum(axis=1)), radius))


def unaligned(bkg: Background) -> str | None:
    """What is said of a background that turns with the telescope where its orientation is not known, or None."""
    spread = asymmetry(bkg) if bkg.alignment == "ALTAZ" else 0.0
    if spread < ASYMMETRY_TOLD:
        return None
    return (
        "background: aligned with altitude and azimuth (FOVALIGN=ALTAZ); without the orientation of the run "
        f"(fov_rotation) it is used as if aligned with RADEC, and it differs by {spread:.1%} in the mean from its "
        "average over all orientations"
    )


def _alignment(bkg: Any, name: str) -> str:
    alignment = str(getattr(bkg, "fov_alignment", "RADEC")).rsplit(".", 1)[-1]
    if alignment not in ("RADEC", "ALTAZ", "REVERSE_LON_RADEC"):
        raise IRFError(
            f"IRFs {name}: the background is aligned with {alignment!r} (FOVALIGN), expected RADEC, ALTAZ or "
            "REVERSE_LON_RADEC."
        )
    return alignment


def _report_orientation(clean: Background, bkg: Any, repairs: list[str]) -> None:
    told = unaligned(clean)
    if told is not None:
        repairs.append(told)
    # a table made in memory has no header and was given its alignment by whoever made it
    elif clean.alignment == "RADEC" and bkg.meta and "FOVALIGN" not in bkg.meta:
        spread = asymmetry(clean)
        if spread >= ASYMMETRY_TOLD:
            repairs.append(
                "background: the file does not say how it is aligned (FOVALIGN), taken as RADEC; it differs by "
                f"{spread:.1%} in the mean from its average over all orientations"
            )


def _given_energies(energy: Axis, rate: FloatArray, repairs: list[str]) -> tuple[Axis, FloatArray]:
    """The energies between the first and last at which some position is not empty."""
    given = np.flatnonzero(rate.any(axis=(1, 2)))
    first, last = int(given[0]), int(given[-1]) + 1
    if last - first < len(rate):
        kept = Axis(energy.centers[first:last], energy.edges[first : last + 1])
        repairs.append(
            f"background: empty at every position in {len(rate) - last + first} of {len(rate)} energy bins at the "
            f"ends, so it is given for {kept.edges[0]:.4g}-{kept.edges[-1]:.4g} TeV only"
        )
        return kept, rate[first:last]
    return energy, rate


def _report(
    rate: FloatArray, energy: Axis, lon: Axis, lat: Axis, covered: BoolArray, radial: bool, repairs: list[str]
) -> None:
    """Say which positions are not covered and which cells are filled."""

    def where(i: NDArray[np.int64], j: NDArray[np.int64]) -> str:
        if radial:
            return f"offset {_span(lon.centers[i])} deg"
        return f"fov_lon {_span(lon.centers[i])} deg, fov_lat {_span(lat.centers[j])} deg"

    i, j = np.nonzero(~covered)
    if len(i):
        repairs.append(
            f"background: empty at every energy at {len(i)} of {covered.size} positions ({where(i, j)}), which are not "
            "covered"
        )
    k, i, j = np.nonzero((rate == 0) & covered)
    if len(k):
        repairs.append(
            f"background: {len(k)} empty cells of {rate.size} filled from their neighbours, at "
            f"{_span(energy.centers[k])} TeV, {where(i, j)}"
        )


def _span(values: FloatArray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _filled(
    rate: FloatArray, log_energy: FloatArray, lon: FloatArray, lat: FloatArray, covered: BoolArray
) -> FloatArray:
    """The rate with its empty cells filled; positions not covered are those of the nearest covered one."""
    given = rate > 0
    if given.all():
        return rate
    log_rate = np.log(np.where(given, rate, 1.0))
    known = given.copy()
    weight, total = np.zeros(rate.shape), np.zeros(rate.shape)
    for axis, nodes in enumerate((log_energy, lon, lat)):
        inverse, value = _between(log_rate, given, nodes, axis)
        weight += inverse
        total += inverse * value
    inner = ~given & covered & (weight > 0)
    log_rate[inner] = total[inner] / weight[inner]
    known |= inner
    positions = np.stack(np.meshgrid(lon, lat, indexing="ij"), axis=-1)
    start = int(known.sum(axis=(1, 2)).argmax())
    for k in [*range(start, len(rate)), *range(start - 1, -1, -1)]:
        missing = covered & ~known[k]
        if missing.any() and k == start:
            log_rate[k][missing] = _from_nearest(log_rate[k], positions, known[k], missing)
        elif missing.any():
            # a layer nearer to the start is complete
            done = log_rate[k - 1 if k > start else k + 1]
            log_rate[k][missing] = done[missing]
            if known[k].any():
                log_rate[k][missing] += _from_nearest(log_rate[k] - done, positions, known[k], missing)
    share = given.sum(axis=(1, 2)) / covered.sum()
    thin = np.where((share > 0) & (share < 0.5), np.log(2 * np.where(share > 0, share, 0.5)), 0.0)
    log_rate = np.where(given, log_rate, log_rate + thin[:, None, None])
    if not covered.all():
        log_rate[:, ~covered] = _from_nearest(log_rate, positions, covered, ~covered)
    # the cells that were given stay as they are, to the last bit
    return np.where(given, rate, np.exp(log_rate))


def _between(log_rate: FloatArray, given: BoolArray, nodes: FloatArray, axis: int) -> tuple[FloatArray, FloatArray]:
    """Interpolation of each cell between those given before and after it on an axis.

    Returns the inverse of their distance in cells, 0 where there is none on one side, and the value.
    """
    values, known = np.moveaxis(log_rate, axis, -1), np.moveaxis(given, axis, -1)
    n = values.shape[-1]
    index = np.arange(n)
    before = np.maximum.accumulate(np.where(known, index, -1), axis=-1)
    after = np.flip(np.minimum.accumulate(np.flip(np.where(known, index, n), -1), axis=-1), -1)
    both = (before >= 0) & (after < n) & ~known
    low, high = np.where(both, before, 0), np.where(both, after, n - 1)
    span = nodes[high] - nodes[low]
    fraction = (nodes - nodes[low]) / np.where(span > 0, span, 1)
    value = np.take_along_axis(values, low, -1) * (1 - fraction) + np.take_along_axis(values, high, -1) * fraction
    inverse = np.where(both, 1 / np.maximum(high - low, 1), 0)
    return np.moveaxis(inverse, -1, axis), np.moveaxis(value, -1, axis)


def _from_nearest(values: FloatArray, positions: FloatArray, known: BoolArray, wanted: BoolArray) -> FloatArray:
    """Values (..., n_lon, n_lat) of the known position nearest to each wanted one, the mean of those equally near."""
    n = min(EQUALLY_NEAR, int(known.sum()))
    distance, index = KDTree(positions[known]).query(positions[wanted], k=[*range(1, n + 1)])
    weight = (distance <= distance[:, :1] * (1 + 1e-9)).astype(float)
    return np.asarray((values[..., known][..., index] * weight).sum(axis=-1) / weight.sum(axis=-1))
