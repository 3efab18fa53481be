r"""ON and OFF regions on the sky, and the events in them.

The ON region is a circle around the source. OFF regions that gammapy finds are the same circle, turned around the
pointing: a background that depends on the offset alone is the same in each, so that :math:`\alpha = 1/n` for :math:`n`
of them. Where the radius depends on the energy (``RAD_MAX``), it does so in all of them. Other OFF regions, such as a
ring, have

.. math:: \alpha(E') = \int_\mathrm{ON} B(E', \Omega)\,\mathrm{d}\Omega \Big/
          \int_\mathrm{OFF} B(E', \Omega)\,\mathrm{d}\Omega

with the background :math:`B` of the response, of which only the shape over the field of view counts (Berge et al. 2007,
A&A 466, 1219), or 1 where there is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from pymc_gamma.arguments import is_several
from pymc_gamma.arrays import BoolArray, FloatArray
from pymc_gamma.errors import EventError, IRFError, RegionError, warn_user
from pymc_gamma.events import Events
from pymc_gamma.geometry import RegionOfInterest, scalar_direction, separation_deg, sky_frame, unit_vectors
from pymc_gamma.geometry.outlines import SkyShape
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.on_off.checks import checked_range
from pymc_gamma.on_off.region_response import reconstructed_nodes, region_response
from pymc_gamma.units import scalar_value

__all__ = ["extract"]

SAME_RADIUS = 1e-3
"""Relative difference of radii in files and regions that is rounding."""
FINDER_PIXEL, PIXELS = 0.01, 10
"""Degrees, of gammapy's finders, and how many are in a radius at least."""
TOUCHING = 0.15
"""Part of their size by which circles may overlap, as finders work on pixels; 7 % of the area are then in both."""
EXCLUSION_PIXEL = 0.02
"""Degrees; pixels of the map of exclusions that gammapy's finders look at."""
CELLS = 40
"""Cells across a region in integrals over it."""


@dataclass(frozen=True)
class _Off:
    """OFF regions of a run.

    Attributes
    ----------
    contains : callable
        Whether unit vectors (n, 3) at energies in TeV (n,) lie in one.
    alpha : numpy.ndarray
        Ratio of the acceptances of ON and OFF at energies in TeV.
    """

    contains: Callable[[FloatArray, FloatArray], BoolArray]
    alpha: FloatArray


def extract(
    observation: Any, events: Any, region: Any, *, off: Any, exclude: Any, energy_range: Any
) -> list[dict[str, Any]]:
    """What an :class:`~pymc_gamma.OnOffEvents` is made of, for each run; see there."""
    runs = [observation] if isinstance(observation, Observation) else observation
    if not is_several(runs) or not all(isinstance(one, Observation) for one in runs):
        raise TypeError(f"observation must be one Observation, or several in a list, got {type(observation).__name__}.")
    runs = list(runs)
    if not runs:
        raise RegionError("there is no observation to extract events from; give at least one.")
    if not isinstance(events, Events):
        raise TypeError(f"events must be Events, got {type(events).__name__}.")
    if (events.multiplicity != 1).any():
        raise EventError("events were binned: ON and OFF events are counted one by one. Give those of the runs.")
    unknown = ~np.isin(events.observation, np.arange(len(runs)))
    if unknown.any():
        raise EventError(
            f"{int(unknown.sum())} of {len(events)} events are of observation {events.observation[unknown][0]}, and "
            f"there {'is 1' if len(runs) == 1 else f'are {len(runs)}'}; give all runs, or the events of these."
        )
    centre, radius = _circle(region)
    asked = None if energy_range is None else checked_range(energy_range, RegionError)
    frame = scalar_direction(centre, "region")[0]
    own = events.to_frame(frame)
    return [
        _of_run(
            one,
            f"observation {one.name or k}",
            str(one.name or k),
            own[own.observation == k],
            centre,
            radius,
            off,
            exclude,
            asked,
        )
        for k, one in enumerate(runs)
    ]


def _of_run(
    run: Observation,
    label: str,
    name: str,
    events: Events,
    centre: SkyCoord,
    radius: float | None,
    off: Any,
    exclude: Any,
    asked: tuple[float, float] | None,
) -> dict[str, Any]:
    frame, lon, lat = scalar_direction(centre, "region")
    source, axis = unit_vectors(lon, lat), run.axis_vector(frame)
    offset = float(separation_deg(source, axis))
    if offset > run.offset_max:
        raise RegionError(
            f"{label}: the source lies {offset:.3g} deg from the pointing, and offsets up to {run.offset_max:.3g} deg "
            "are used. Leave the run out, or give it another offset_max."
        )
    radius_at = _radius_of(run, label, radius, offset)
    given = run.irfs.energy_true_range
    low, high = max(run.energy_range[0], given[0]), min(run.energy_range[1], given[1])
    if asked is not None:
        low, high = max(low, asked[0]), min(high, asked[1])
    if not low < high:
        raise RegionError(
            f"{label}: no energies are left; it is safe at {run.energy_range[0]:.4g}-{run.energy_range[1]:.4g} TeV, "
            f"its response given at {given[0]:.4g}-{given[1]:.4g} TeV"
            + ("." if asked is None else f", and {asked[0]:.4g}-{asked[1]:.4g} TeV are asked for.")
        )
    grid = reconstructed_nodes(low, high)
    of_on = radius_at(grid)
    response = region_response(run.irfs, offset, radius, run.livetime_s, grid, label)
    energy, vectors = events.energy.value, unit_vectors(events.lon.value, events.lat.value)
    kept = (energy >= low) & (energy <= high)
    energy, vectors = energy[kept], vectors[kept]
    separation = separation_deg(vectors, source)
    excluded = _shapes(exclude, frame)
    regions = _off_regions(run, label, centre, of_on, radius_at, off, excluded, grid)
    return {
        "name": name,
        "energy": energy[separation <= radius_at(energy)],
        "energy_off": energy[regions.contains(vectors, energy)],
        "grid": grid,
        "alpha": regions.alpha,
        "acceptance_off": _solid_angle(of_on) / regions.alpha,
        "nodes": response.nodes,
        "exposure": response.exposure,
        "livetime": run.livetime_s * u.s,
        "good_time_s": run.good_time_s,
    }


def _circle(region: Any) -> tuple[SkyCoord, float | None]:
    """Centre, and radius in deg if it is known."""
    if isinstance(region, SkyCoord):
        return region, None
    centre, radius = getattr(region, "center", None), getattr(region, "radius", None)
    if type(region).__name__ == "PointSkyRegion":
        return region.center, None
    if type(region).__name__ != "CircleSkyRegion" or not isinstance(centre, SkyCoord):
        raise TypeError(
            f"region must be the position of the source, a SkyCoord, or a regions.CircleSkyRegion around it, got "
            f"{type(region).__name__}."
        )
    size = scalar_value(radius, "deg", "region")
    if not 0 < size < 10:
        raise RegionError(f"the radius of the ON region must be between 0 and 10 deg, got {size:g} deg.")
    return centre, size


def _radius_of(run: Observation, label: str, radius: float | None, offset: float) -> Callable[[FloatArray], FloatArray]:
    """Radius of the ON region in deg at reconstructed energies in TeV."""
    table = run.irfs.rad_max
    if table is None:
        if radius is None:
            what = (
                "its point-like response does not say within which distance of the source events were kept (RAD_MAX)"
                if run.irfs.is_point_like
                else "with a full-enclosure response the ON region may be of any size"
            )
            raise IRFError(
                f"{label}: {what}; give a circle around the source, regions.CircleSkyRegion(position, radius)."
            )
        fixed = radius
        return lambda energy: np.full(np.shape(energy), fixed)
    if radius is not None:
        spread = table.at(np.geomspace(0.01, 100, 200), offset)
        if not np.allclose(spread, radius, rtol=SAME_RADIUS):
            span = f"{spread.min():.4g} deg" if table.is_fixed else f"{spread.min():.4g} to {spread.max():.4g} deg"
            raise RegionError(
                f"{label}: the ON region has a radius of {radius:.4g} deg, and its response holds for events within "
                f"{span} of the source (RAD_MAX). Give the position alone, a SkyCoord."
            )
    known = table
    return lambda energy: known.at(energy, offset)


def _shapes(exclude: Any, frame: str) -> tuple[SkyShape, ...]:
    from pymc_gamma.geometry.sky_regions import shapes_of

    several = [] if exclude is None else list(exclude) if is_several(exclude) else [exclude]
    try:
        return tuple(shape for one in several for shape in shapes_of(one, frame))
    except RegionError as error:
        raise RegionError(f"exclude: {error}") from error


def _off_regions(
    run: Observation,
    label: str,
    centre: SkyCoord,
    radius: FloatArray,
    radius_at: Callable[[FloatArray], FloatArray],
    off: Any,
    excluded: Sequence[SkyShape],
    grid: FloatArray,
) -> _Off:
    from gammapy.makers import ReflectedRegionsFinder, RegionsFinder

    if off is None or isinstance(off, RegionsFinder):
        pixel = min(FINDER_PIXEL, float(radius.max()) / PIXELS)
        finder = ReflectedRegionsFinder(binsz=pixel * u.deg) if off is None else off
        return _turned(run, label, centre, radius, radius_at, finder, excluded)
    if hasattr(off, "run"):
        own = getattr(off, "region_finder", None)
        raise TypeError(
            "off must be a finder of regions such as gammapy.makers.WobbleRegionsFinder(3), or regions, got "
            + (f"the class {off.__name__}" if isinstance(off, type) else type(off).__name__)
            + ("." if own is None else "; give its region_finder.")
        )
    return _given(run, label, centre, radius, off, excluded, grid)


def _turned(
    run: Observation,
    label: str,
    centre: SkyCoord,
    radius: FloatArray,
    radius_at: Callable[[FloatArray], FloatArray],
    finder: Any,
    excluded: Sequence[SkyShape],
) -> _Off:
    """The ON region turned around the pointing, by a finder of gammapy."""
    from regions import CircleSkyRegion

    largest = float(radius.max())
    pointing = run.pointing.transform_to(centre.frame)
    found, _ = finder.run(
        CircleSkyRegion(centre, largest * u.deg),
        pointing,
        _exclusion_mask(pointing, centre, largest, excluded),
    )
    if not found:
        offset = float(pointing.separation(centre).deg)
        raise RegionError(
            f"{label}: no OFF region fits. The ON region has a radius of {largest:.3g} deg and lies {offset:.3g} deg "
            f"from the pointing{', and parts of the sky are excluded' if excluded else ''}. Give another finder, such "
            "as WobbleRegionsFinder(1), regions of your own by off=, or leave the run out."
        )
    # exactly at the offset of the source: finders work on pixels
    angles = [pointing.position_angle(one.center) for one in found]
    centres = SkyCoord([pointing.directional_offset_by(angle, pointing.separation(centre)) for angle in angles])
    frame, lon, lat = scalar_direction(centre, "region")
    there = centres.transform_to(sky_frame(frame)).spherical
    vectors = unit_vectors(there.lon.deg, there.lat.deg)
    every = np.concatenate([unit_vectors(lon, lat)[None], vectors])
    nearest = min(float(separation_deg(every[k + 1 :], one).min()) for k, one in enumerate(every[:-1]))
    if nearest < 2 * largest * (1 - TOUCHING):
        raise RegionError(
            f"{label}: regions that {type(finder).__name__} finds overlap: the ON region has a radius of {largest:.3g} "
            f"deg, and centres lie {nearest:.3g} deg apart; events would count twice. Give another finder, or a finer "
            "binsz= to one that works on pixels, regions of your own by off=, or leave the run out."
        )

    def contains(at: FloatArray, energy: FloatArray) -> BoolArray:
        inside = np.zeros(len(at), bool)
        for one in vectors:
            inside |= separation_deg(at, one) <= radius_at(energy)
        return inside

    return _Off(contains, np.full(len(radius), 1 / len(found)))


def _exclusion_mask(pointing: SkyCoord, centre: SkyCoord, radius: float, excluded: Sequence[SkyShape]) -> Any:
    """Map that is False where it excludes, as gammapy's finders take it; None without exclusions."""
    if not excluded:
        return None
    from gammapy.maps import WcsGeom, WcsNDMap

    width = 2 * (float(pointing.separation(centre).deg) + radius) + 0.5
    frame, _, _ = scalar_direction(centre, "region")
    geom = WcsGeom.create(skydir=pointing, binsz=EXCLUSION_PIXEL, width=width, frame=frame)
    there = geom.get_coord().skycoord.transform_to(sky_frame(frame)).spherical
    vectors = unit_vectors(there.lon.deg.ravel(), there.lat.deg.ravel())
    allowed = ~np.any([shape.contains(vectors) for shape in excluded], axis=0)
    return WcsNDMap(geom, allowed.reshape(geom.data_shape))


def _given(
    run: Observation,
    label: str,
    centre: SkyCoord,
    radius: FloatArray,
    off: Any,
    excluded: Sequence[SkyShape],
    grid: FloatArray,
) -> _Off:
    """Regions of the user."""
    frame, lon, lat = scalar_direction(centre, "region")
    source, largest = unit_vectors(lon, lat), float(radius.max())
    span = (1.0, 2.0) * u.TeV
    on = RegionOfInterest(centre.transform_to(sky_frame(frame)), radius=largest * u.deg, energy=span)
    of_on_points, of_on_angle = _cells(on, lambda at: separation_deg(at, source) <= largest)
    within = of_on_points[separation_deg(of_on_points, source) < largest * (1 - 1 / CELLS)]
    seen = _seen(run, frame)
    rois = []
    for one in off if is_several(off) else [off]:
        try:
            roi = RegionOfInterest.from_region(one, energy=span, exclude=list(excluded), frame=frame)
        except RegionError as error:
            raise RegionError(f"{label}: off: {error}") from error
        points, _ = _cells(roi, roi.contains_vectors)
        near = len(points) and float(separation_deg(points, source).min()) < largest - roi.radius / CELLS
        if near or roi.contains_vectors(within).any():
            raise RegionError(f"{label}: the OFF region {roi!r} overlaps the ON region; events would count twice.")
        rois.append(roi)
    if not rois:
        raise RegionError(f"{label}: off= is empty; give at least one region.")

    def contains(at: FloatArray, energy: FloatArray) -> BoolArray:
        return np.any([roi.contains_vectors(at) for roi in rois], axis=0) & seen(at)

    def alone(k: int) -> Callable[[FloatArray], BoolArray]:  # what two regions share counts once
        def own(at: FloatArray) -> BoolArray:
            earlier = [roi.contains_vectors(at) for roi in rois[:k]]
            new = rois[k].contains_vectors(at) & seen(at)
            return new & ~np.any(earlier, axis=0) if earlier else new

        return own

    pieces = [_cells(roi, alone(k)) for k, roi in enumerate(rois)]
    of_off = _acceptance(
        run, np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces]), frame, grid
    )
    of_on = _acceptance(run, of_on_points, of_on_angle, frame, grid)
    solid_angle = _solid_angle(radius)
    of_on *= solid_angle / solid_angle.max()
    if not (of_off > 0).all() or not (of_on > 0).all():
        raise RegionError(
            f"{label}: nothing of the {'OFF' if (of_on > 0).all() else 'ON'} region is left, the run did not look "
            "there, or the background of its response is zero there at some energies; choose other regions or energies."
        )
    if run.irfs.bkg is None:
        warn_user(
            f"{label}: its response has no background, so that the acceptances of ON and OFF are taken to be their "
            f"solid angles (alpha = {of_on[0] / of_off[0]:.4g}). Off axis it is less; OFF regions at the offset of the "
            "source need no such assumption."
        )
    return _Off(contains, of_on / of_off)


def _seen(run: Observation, frame: str) -> Callable[[FloatArray], BoolArray]:
    """Whether the run looked at unit vectors (n, 3): where its background is known, or its response without one."""
    axis, bkg, basis = run.axis_vector(frame), run.irfs.bkg, run.background_basis(frame)
    largest = run.offset_max if bkg is not None else min(run.offset_max, run.irfs.offset_max)

    def seen(at: FloatArray) -> BoolArray:
        near = separation_deg(at, axis) <= largest
        return near if bkg is None else near & bkg.covers(at, basis)

    return seen


def _solid_angle(radius: FloatArray) -> FloatArray:
    """Solid angle in sr of circles with radii in deg."""
    return np.asarray(2 * np.pi * (1 - np.cos(np.radians(radius))))


def _cells(roi: RegionOfInterest, contains: Callable[[FloatArray], BoolArray]) -> tuple[FloatArray, FloatArray]:
    """Unit vectors in a region and solid angles in sr around them."""
    from pymc_gamma.geometry import covered_cells

    cells = roi.cells(roi.radius / CELLS)
    index, vectors, fraction = covered_cells(cells, contains)
    return vectors, cells.solid_angle[index] * fraction


def _acceptance(
    run: Observation, vectors: FloatArray, solid_angle: FloatArray, frame: str, grid: FloatArray
) -> FloatArray:
    """Background of the response at energies in TeV, integrated over directions; their solid angle without one."""
    bkg = run.irfs.bkg
    if bkg is None:
        return np.full(len(grid), solid_angle.sum())
    spectra = bkg.spectra_at(vectors, np.log(grid), run.background_basis(frame))
    found = spectra @ solid_angle
    # beyond the table the shape at its last energy
    good = found > 0
    return found if not good.any() else np.interp(np.log(grid), np.log(grid[good]), found[good])
