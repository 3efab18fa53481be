"""Shapes from the regions of other programs: the package `regions`, DS9 files, mask maps of gammapy."""

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from pymc_gamma.errors import RegionError
from pymc_gamma.geometry.outlines import Circle, Compound, Ellipse, MaskMap, Polygon, Rectangle, SkyShape
from pymc_gamma.geometry.sphere import FRAMES, position_angle_of_north

__all__ = ["frame_of", "shapes_of", "single_shape"]


def shapes_of(source: Any, frame: str) -> list[SkyShape]:
    """Shapes, in ``frame``, that a region, a file of regions or a mask map excludes.

    Parameters
    ----------
    source : regions.SkyRegion, path or gammapy.maps.Map
        A mask map is False where it excludes, the convention of gammapy.
    frame : {"galactic", "icrs"}
        Frame of the region of interest.

    Returns
    -------
    list of SkyShape

    Raises
    ------
    RegionError
        If it is none of these, or cannot be used; says what it is.
    """
    if isinstance(source, str | PathLike):
        return _shapes_of_file(source, frame)
    if _is_map(source):
        return [_mask(source, frame, inside=False)]
    if type(source).__name__ == "Regions":
        return [_shape(region, frame) for region in source]
    return [_shape(source, frame)]


def single_shape(source: Any, frame: str) -> SkyShape:
    """The shape of one region, of a file that holds one, or of a mask map that is True inside."""
    if isinstance(source, str | PathLike):
        shapes = _shapes_of_file(source, frame)
        if len(shapes) != 1:
            raise RegionError(f"{source} holds {len(shapes)} regions; a region of interest is one.")
        return shapes[0]
    if _is_map(source):
        return _mask(source, frame, inside=True)
    return _shape(source, frame)


def _shapes_of_file(source: str | PathLike[str], frame: str) -> list[SkyShape]:
    """Shapes of a region file; of one that cannot be used, its number in the file."""
    shapes = []
    for k, region in enumerate(_read(Path(source))):
        try:
            shapes.append(_shape(region, frame))
        except RegionError as error:
            raise RegionError(f"{str(source)!r}, region {k} (counted from 0): {error}") from error
        except Exception as error:
            raise RegionError(
                f"{str(source)!r}, region {k} (counted from 0) is no shape on the sky "
                f"({type(error).__name__}: {error})."
            ) from error
    return shapes


def frame_of(source: Any) -> str:
    """Frame of a region, file or map where it is galactic or ICRS, else ICRS."""
    if isinstance(source, str | PathLike):
        regions = _read(Path(source))
        return frame_of(regions[0]) if regions else "icrs"
    if _is_map(source):
        name = str(source.geom.frame)
    elif hasattr(source, "region1"):
        return frame_of(source.region1)
    else:
        place = getattr(source, "center", None)
        place = getattr(source, "vertices", None) if place is None else place
        name = str(place.frame.name) if isinstance(place, SkyCoord) else "icrs"
    return name if name in FRAMES else "icrs"


def _read(path: Path) -> list[Any]:
    from regions import Regions

    if not path.is_file():
        raise RegionError(f"there is no region file {str(path)!r}.")
    options = {"format": "ds9"} if path.suffix == ".reg" else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the reader goes on without a shape it does not know
            found = list(Regions.read(str(path), **options))
    except Exception as error:
        raise RegionError(f"cannot read regions from {str(path)!r}: {error}") from error
    if options and "||" in path.read_text(errors="replace"):
        raise RegionError(f"{str(path)!r} joins shapes with '||', of which only the first would be read; list them.")
    if not found:
        raise RegionError(f"{str(path)!r} holds no region.")
    return found


def _shape(region: Any, frame: str) -> SkyShape:
    if str(getattr(region, "meta", {}).get("include", True)) in {"False", "-", "0"}:
        raise RegionError(
            f"a {type(region).__name__} is marked with a minus sign, which says 'outside of'; write it without: what "
            "is inside is cut out."
        )
    convert = _CONVERTERS.get(type(region).__name__)
    if convert is None:
        raise RegionError(
            f"a {type(region).__name__} cannot be used as a part of the sky; known are {', '.join(_CONVERTERS)}, "
            "region files, and mask maps of gammapy (pixel regions need `.to_sky(wcs)`)."
        )
    return convert(region, frame)


def _place(region: Any, frame: str) -> tuple[float, float]:
    if not region.center.isscalar:
        raise RegionError(f"a {type(region).__name__} must have one centre, got an array of {region.center.shape}.")
    return _lonlat(region.center, frame)


def _lonlat(coords: SkyCoord, frame: str) -> tuple[Any, Any]:
    here = coords.transform_to(frame).spherical
    lon = (here.lon.deg + 180) % 360 - 180
    if not (np.all(np.isfinite(lon)) and np.all(np.isfinite(here.lat.deg))):
        raise RegionError("a region has a position that is not finite.")
    return (lon.tolist(), here.lat.deg.tolist()) if np.ndim(lon) else (float(lon), float(here.lat.deg))


def _angle(region: Any, frame: str) -> float:
    """Position angle of the height of a region, in the frame of the region of interest."""
    own = region.center.frame.name
    if own in FRAMES:
        here = region.center.spherical
        turn = position_angle_of_north(float(here.lon.deg), float(here.lat.deg), own, frame)
    else:
        # another frame: its north is where a small step in its latitude leads
        step = region.center.directional_offset_by(0, 1e-3)
        turn = float(region.center.transform_to(frame).position_angle(step.transform_to(frame)).deg)
    return float(region.angle.to_value("deg")) + turn


def _circle(region: Any, frame: str) -> SkyShape:
    return Circle(*_place(region, frame), float(region.radius.to_value("deg")))


def _ellipse(region: Any, frame: str) -> SkyShape:
    return _ellipse_of(region, frame, region.width, region.height)


def _ellipse_of(region: Any, frame: str, width: Any, height: Any) -> SkyShape:
    half = (float(width.to_value("deg")) / 2, float(height.to_value("deg")) / 2)
    return Ellipse(*_place(region, frame), *half, _angle(region, frame))


def _rectangle(region: Any, frame: str) -> SkyShape:
    return _rectangle_of(region, frame, region.width, region.height)


def _rectangle_of(region: Any, frame: str, width: Any, height: Any) -> SkyShape:
    half = (float(width.to_value("deg")) / 2, float(height.to_value("deg")) / 2)
    return Rectangle(*_place(region, frame), *half, _angle(region, frame))


def _polygon(region: Any, frame: str) -> SkyShape:
    return Polygon(*_lonlat(region.vertices, frame))


def _ring(region: Any, frame: str) -> SkyShape:
    place = _place(region, frame)
    outer, inner = (float(radius.to_value("deg")) for radius in (region.outer_radius, region.inner_radius))
    return Compound(Circle(*place, outer), Circle(*place, inner), "minus")


def _hollow(of: Callable[..., SkyShape]) -> Callable[[Any, str], SkyShape]:
    def convert(region: Any, frame: str) -> SkyShape:
        outer = of(region, frame, region.outer_width, region.outer_height)
        return Compound(outer, of(region, frame, region.inner_width, region.inner_height), "minus")

    return convert


def _compound(region: Any, frame: str) -> SkyShape:
    operation = {"and_": "and", "or_": "or", "xor": "xor"}.get(region.operator.__name__, region.operator.__name__)
    return Compound(_shape(region.region1, frame), _shape(region.region2, frame), operation)


_CONVERTERS: dict[str, Callable[[Any, str], SkyShape]] = {
    "CircleSkyRegion": _circle,
    "EllipseSkyRegion": _ellipse,
    "RectangleSkyRegion": _rectangle,
    "PolygonSkyRegion": _polygon,
    "CircleAnnulusSkyRegion": _ring,
    "EllipseAnnulusSkyRegion": _hollow(_ellipse_of),
    "RectangleAnnulusSkyRegion": _hollow(_rectangle_of),
    "CompoundSkyRegion": _compound,
}


def _is_map(source: Any) -> bool:
    return hasattr(source, "geom") and hasattr(source, "data")


def _mask(sky_map: Any, frame: str, *, inside: bool) -> SkyShape:
    """Pixels of a map whose value is ``inside``."""
    geom = sky_map.geom
    if getattr(geom, "is_hpx", False) or not hasattr(geom, "wcs") or getattr(geom, "is_region", False):
        raise RegionError("a mask must be a WCS map of gammapy; convert others, for example with `interp_to_geom`.")
    if str(geom.frame) not in FRAMES:
        raise RegionError(f"a mask must be in one of the frames {FRAMES}, got {geom.frame!r}.")
    values = np.asarray(sky_map.data)
    if values.dtype.kind != "b" and not np.all((values == 0) | (values == 1)):
        raise RegionError("a mask must hold True and False (or 1 and 0) only; write for example `sky_map > threshold`.")
    planes = values.astype(bool).reshape(-1, *values.shape[-2:])
    if np.any(planes != planes[0]):
        raise RegionError("a mask must be the same at all energies; reduce it to an image first.")
    pixels = planes[0] == inside
    if inside and not pixels.any():
        raise RegionError("a mask that bounds a region of interest must be True somewhere; this one is empty.")
    return MaskMap.from_pixels(geom.wcs.celestial, pixels, str(geom.frame), frame)
