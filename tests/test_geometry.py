import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from pymc_gamma.errors import RegionError
from pymc_gamma.geometry import (
    EqualAreaPlane,
    RegionOfInterest,
    convert_lonlat,
    lonlat_from_vectors,
    separation_deg,
    unit_vectors,
)

ENERGY = (0.1, 100) * u.TeV
angles = st.tuples(st.floats(-179.9, 179.9), st.floats(-85, 85))


def region(lon=0.0, lat=0.0, frame="galactic", **size):
    return RegionOfInterest(SkyCoord(lon * u.deg, lat * u.deg, frame=frame), energy=ENERGY, **size)


@given(angles)
def test_vectors_and_angles_are_inverse(direction):
    lon, lat = lonlat_from_vectors(unit_vectors(*direction))
    assert np.allclose([lon, lat], direction, atol=1e-10)


@given(angles, angles)
def test_separation_agrees_with_astropy(a, b):
    ours = separation_deg(unit_vectors(*a), unit_vectors(*b))
    theirs = SkyCoord(*a, unit="deg").separation(SkyCoord(*b, unit="deg")).deg
    assert ours == pytest.approx(theirs, abs=1e-9)


@given(angles)
def test_frame_conversion_agrees_with_astropy_and_returns(direction):
    theirs = SkyCoord(*direction, unit="deg", frame="galactic").icrs
    there = convert_lonlat(*direction, "galactic", "icrs")
    assert separation_deg(unit_vectors(*there), unit_vectors(theirs.ra.deg, theirs.dec.deg)) < 1e-8
    back = convert_lonlat(*there, "icrs", "galactic")
    assert separation_deg(unit_vectors(*back), unit_vectors(*direction)) < 1e-9


def test_plane_keeps_areas_and_returns():
    plane = EqualAreaPlane(30.0, 60.0)
    x, y = np.meshgrid(np.linspace(-8, 8, 9), np.linspace(-8, 8, 9))
    assert np.allclose(plane.to_plane(*plane.to_sky(x, y)), (x, y), atol=1e-10)
    # solid angle of a small square anywhere on the plane, from the spherical triangle of its corners
    h = 1e-3
    for x0, y0 in [(0, 0), (6, -3)]:
        a, b, c = (plane.unproject(x0 + dx, y0 + dy) for dx, dy in [(0, 0), (h, 0), (0, h)])
        area = np.linalg.norm(np.cross(b - a, c - a))
        assert area == pytest.approx(np.radians(h) ** 2, rel=1e-5)


@pytest.mark.parametrize(("lat", "frame"), [(0, "galactic"), (60, "icrs"), (-82, "icrs")])
@pytest.mark.parametrize("size", [{"width": 6.4 * u.deg}, {"width": (4, 2) * u.deg}, {"radius": 2.5 * u.deg}])
def test_quadrature_covers_the_region_wherever_it_lies(lat, frame, size):
    roi = region(120, lat, frame, **size)
    lon, lat_nodes, weight = roi.quadrature(0.1)
    assert weight.sum() == pytest.approx(roi.solid_angle, rel=1e-10)
    assert roi.contains(lon, lat_nodes).all()
    assert roi.offset(lon, lat_nodes).max() <= roi.radius
    # an integral that is known: the mean of the cosine of the offset over a circle
    if "radius" in size:
        r = np.radians(roi.radius)
        mean = (weight * np.cos(np.radians(roi.offset(lon, lat_nodes)))).sum() / roi.solid_angle
        assert mean == pytest.approx((1 + np.cos(r)) / 2, rel=1e-6)


@pytest.mark.parametrize("size", [{"width": (4, 2) * u.deg}, {"radius": 2 * u.deg}])
def test_cells_are_sampled_uniformly_inside_the_region(size, rng):
    roi = region(10, 70, "icrs", **size)
    _, _, weight = roi.quadrature(0.2)
    cell = rng.choice(len(weight), 40_000, p=weight / weight.sum())
    vectors = roi.cells(0.2).points(cell, rng.random(len(cell)), rng.random(len(cell)))
    assert roi.contains_vectors(vectors).all()
    # uniform on the sphere: so is the sine of the latitude for a rectangle, the cosine of the offset for a circle
    local = vectors @ roi.basis.T
    value = local[:, 2] if "width" in size else local[:, 0]
    low, high = (np.sin(np.radians([-1, 1]))) if "width" in size else (np.cos(np.radians(2)), 1)
    counts = np.histogram(value, np.linspace(low, high, 11))[0]
    assert ((counts - 4000) ** 2 / 4000).sum() < 29.6  # chi-square, 10 bins, 99.9 %


def test_a_width_is_a_width_on_the_sky_at_high_latitude():
    roi = region(0, 80, "icrs", width=4 * u.deg)
    lon, lat = roi.from_offset(1.99, 0.0)
    assert roi.contains(lon, lat)
    assert abs(lon) > 10  # 2 deg on the sky are 11 deg of right ascension
    assert not roi.contains(*roi.from_offset(2.01, 0.0))


def test_region_survives_a_round_trip():
    for size in ({"width": (3, 2) * u.deg}, {"radius": 1 * u.deg}):
        roi = region(5, -3, **size)
        assert RegionOfInterest.from_dict(roi.to_dict()).to_dict() == roi.to_dict()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"width": 6.4}, TypeError, "width must be an astropy Quantity"),
        ({"width": 6.4 * u.TeV}, u.UnitConversionError, "width must be convertible to deg"),
        ({"width": -1 * u.deg}, RegionError, "positive"),
        ({"width": [1, 2, 3] * u.deg}, RegionError, "one angle or two"),
        ({"width": None}, RegionError, "exactly one"),
        ({"radius": 1 * u.deg}, RegionError, "exactly one"),
        ({"energy": (0.1, 100)}, TypeError, "energy must be an astropy Quantity"),
        ({"energy": (100, 0.1) * u.TeV}, RegionError, "0 < minimum < maximum"),
        ({"energy": (0, 10) * u.TeV}, RegionError, "0 < minimum < maximum"),
        ({"energy": (1, 1) * u.TeV}, RegionError, "0 < minimum < maximum"),
        ({"energy": (0.1, np.nan) * u.TeV}, RegionError, "0 < minimum < maximum"),
        ({"center": (0, 0)}, TypeError, "SkyCoord"),
        ({"center": SkyCoord([0, 1] * u.deg, [0, 1] * u.deg, frame="galactic")}, RegionError, "single direction"),
        ({"center": SkyCoord(0 * u.deg, 0 * u.deg, frame="fk5")}, RegionError, "center.galactic"),
        ({"center": SkyCoord(np.nan * u.deg, 0 * u.deg, frame="icrs")}, RegionError, "not finite"),
    ],
)
def test_bad_regions_name_the_culprit(change, error, message):
    good = {"center": SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic"), "width": 6.4 * u.deg, "energy": ENERGY}
    with pytest.raises(error, match=message):
        RegionOfInterest(**{**good, **change})
