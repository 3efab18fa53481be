"""Shapes, regions of interest and domains against astropy's angles, and areas that are known."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from setups import direction, pointing, quick_start_irfs, region

import pymc_gamma as pmg
from pymc_gamma.errors import RegionError
from pymc_gamma.geometry import lonlat_from_vectors, unit_vectors
from pymc_gamma.geometry.outlines import Circle, Compound, Ellipse, MaskMap, Polygon, Rectangle, SkyShape
from pymc_gamma.geometry.region import RegionOfInterest, covered_cells, covered_fraction
from pymc_gamma.instrument.domain import ROUNDING, Domain

LON, LAT = 40.0, 50.0
CENTRE = SkyCoord(LON * u.deg, LAT * u.deg)


@pytest.fixture
def places(rng):
    """Directions around the centre, and some on the other side of the sky."""
    turn, arc = rng.uniform(0, 360, 3000), np.r_[rng.uniform(0, 6, 2900), rng.uniform(80, 180, 100)]
    return CENTRE.directional_offset_by(turn * u.deg, arc * u.deg)


def vectors_of(coords):
    return coords.cartesian.xyz.value.T


def arcs(places, angle):
    """Arcs in degrees from the centre along the width (east at angle 0) and along the height of a turned shape."""
    r = CENTRE.separation(places).deg
    turn = CENTRE.position_angle(places).rad - np.radians(angle)
    return r * np.sin(turn), r * np.cos(turn)


@pytest.mark.parametrize("radius", [0.5, 3.0, 90.0, 170.0])
def test_circles(places, radius):
    shape = Circle(LON, LAT, radius)
    np.testing.assert_array_equal(shape.contains(vectors_of(places)), CENTRE.separation(places).deg <= radius)
    assert shape.bounds() == (LON, LAT, radius)
    assert shape.solid_angle == pytest.approx(4 * np.pi * np.sin(np.radians(radius) / 2) ** 2, rel=1e-12)


def turned_by(angle, places):
    """Longitudes and latitudes on a sphere turned so that the centre is at (0, 0) and the height points north."""
    here = places.transform_to(CENTRE.skyoffset_frame(rotation=angle * u.deg))
    return here.lon.wrap_at(180 * u.deg).deg, here.lat.deg


@pytest.mark.parametrize(
    ("half", "angle"), [((3.0, 1.0), 0.0), ((3.0, 1.0), 25.0), ((90.0, 2.0), -40.0), ((89.0, 60.0), 0.0)]
)
def test_rectangles(places, half, angle):
    shape = Rectangle(LON, LAT, *half, angle)
    lon, lat = turned_by(angle, places)
    expected = (np.abs(lon) <= half[0]) & (np.abs(lat) <= half[1])
    np.testing.assert_array_equal(shape.contains(vectors_of(places)), expected)
    assert 0 < expected.sum() < len(expected)
    lon, lat, radius = shape.bounds()
    corners = SkyCoord([half[0], half[0]] * u.deg, [0.0, half[1]] * u.deg)
    assert (lon, lat) == (LON, LAT)
    assert radius == pytest.approx(corners.separation(SkyCoord(0 * u.deg, 0 * u.deg)).deg.max(), rel=1e-12)
    cells = shape.cells(1.0)
    assert cells.solid_angle.sum() == pytest.approx(shape.solid_angle, rel=1e-9)
    assert shape.solid_angle == pytest.approx(2 * np.radians(half[0]) * 2 * np.sin(np.radians(half[1])), rel=1e-12)
    index = np.arange(len(cells.solid_angle))
    middle = cells.points(index, np.full(len(index), 0.5), np.full(len(index), 0.5))
    assert shape.contains(middle).all()


def test_half_a_sphere_ends_at_its_edge():
    shape = Rectangle(0.0, 0.0, 90.0, 80.0)
    assert shape.contains(unit_vectors([89.9, 90.1, -89.9, 180.0], 0.0)).tolist() == [True, False, True, False]


@pytest.mark.parametrize(("half", "angle"), [((3.0, 1.0), 0.0), ((1.0, 4.0), 65.0), ((80.0, 3.0), -20.0)])
def test_ellipses(places, half, angle):
    shape = Ellipse(LON, LAT, *half, angle)
    x, y = arcs(places, angle)
    expected = (x / half[0]) ** 2 + (y / half[1]) ** 2 <= 1
    np.testing.assert_array_equal(shape.contains(vectors_of(places)), expected)
    assert 0 < expected.sum() < len(expected)
    assert shape.bounds() == (LON, LAT, max(half))
    assert shape.contains(unit_vectors(LON, LAT))
    assert shape.solid_angle is None
    if max(half) < 10:
        roi = RegionOfInterest.from_dict({"frame": "icrs", "outline": shape.to_dict(), "exclude": [], "energy": [1, 2]})
        assert roi.solid_angle == pytest.approx(np.pi * np.radians(half[0]) * np.radians(half[1]), rel=2e-3)


def convex_contains(corners, vectors):
    """Which vectors lie on the inner side of every great circle through two neighbouring corners."""
    edges = np.cross(corners, np.roll(corners, -1, axis=0))
    side = vectors @ edges.T
    inner = np.sign(corners.mean(axis=0) @ edges.T)
    return np.all(side * inner > 0, axis=1)


def test_polygons(places):
    turns, radii = np.array([10.0, 80.0, 150.0, 200.0, 300.0]), np.array([3.0, 2.0, 4.0, 3.5, 2.5])
    corners = CENTRE.directional_offset_by(turns * u.deg, radii * u.deg)
    shape = Polygon(corners.ra.deg, corners.dec.deg)
    expected = convex_contains(vectors_of(corners), vectors_of(places))
    np.testing.assert_array_equal(shape.contains(vectors_of(places)), expected)
    assert 100 < expected.sum() < 2000
    lon, lat, radius = shape.bounds()
    middle = SkyCoord(lon * u.deg, lat * u.deg)
    assert radius == pytest.approx(middle.separation(corners).deg.max(), rel=1e-12)
    assert isinstance(shape.lon, tuple)
    assert isinstance(shape.lat, tuple)
    backwards = Polygon(shape.lon[::-1], shape.lat[::-1])
    np.testing.assert_array_equal(backwards.contains(vectors_of(places)), expected)


def test_a_polygon_with_a_notch(places):
    """A concave polygon is a convex one without a triangle; one edge runs along a parallel of its middle."""
    square = [(-2.0, -2.0), (2.0, -2.0), (2.0, 2.0), (-2.0, 2.0)]
    frame = CENTRE.skyoffset_frame()

    def polygon(points):
        corners = SkyCoord(*np.transpose(points) * u.deg, frame=frame).icrs
        return Polygon(corners.ra.deg, corners.dec.deg), vectors_of(corners)

    notched, _ = polygon([*square[:2], (0.0, 0.5), *square[2:]])
    _, outer = polygon(square)
    _, notch = polygon([square[1], square[2], (0.0, 0.5)])
    vectors = vectors_of(places)
    expected = convex_contains(outer, vectors) & ~convex_contains(notch, vectors)
    np.testing.assert_array_equal(notched.contains(vectors), expected)


def test_a_polygon_is_not_seen_from_behind():
    shape = Polygon((-1.0, 1.0, 0.0), (-1.0, -1.0, 1.5))
    assert shape.contains(unit_vectors(0.0, 0.0))
    assert not shape.contains(unit_vectors(180.0, 0.0))
    assert not shape.contains(unit_vectors([89.0, 90.0, 91.0], 0.0)).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Circle(0, 0, 0.0), "radius must be positive"),
        (lambda: Circle(0, 0, 180.1), "radius must be positive"),
        (lambda: Rectangle(0, 0, 0.0, 1.0), "at most 180 x 160 deg, got 0 x 2 deg"),
        (lambda: Rectangle(0, 0, 1.0, 0.0), "width must be positive"),
        (lambda: Rectangle(0, 0, 90.1, 1.0), "width must be positive"),
        (lambda: Rectangle(0, 0, 1.0, 80.1), "width must be positive"),
        (lambda: Ellipse(0, 0, 0.0, 1.0), "half axes"),
        (lambda: Ellipse(0, 0, 1.0, 0.0), "half axes"),
        (lambda: Ellipse(0, 0, 90.1, 1.0), "half axes"),
        (lambda: Ellipse(0, 0, 1.0, 90.1), "half axes"),
        (lambda: Polygon((0.0, 1.0), (0.0, 1.0)), "at least three vertices, got 2"),
        (lambda: Polygon((0.0, 180.0, 90.0, 270.0), (0.0,) * 4), "within 80 deg"),
        (lambda: Polygon((-81.0, 81.0, 0.0), (0.0, 0.0, 2.0)), "within 80 deg"),
        (lambda: Compound(Circle(0, 0, 1), Circle(0, 0, 1), "nor"), "combined by one of"),
    ],
)
def test_shapes_that_cannot_be(make, message):
    with pytest.raises(RegionError, match=message):
        make()


@pytest.mark.parametrize(
    "shape", [Circle(0, 0, 180), Rectangle(0, 0, 90, 80), Ellipse(0, 0, 90, 90), Circle(0, 0, 0.5)]
)
def test_the_largest_shapes_can_be(shape):
    assert shape.contains(unit_vectors(0.0, 0.0))


def test_compounds(places):
    one, other = Circle(LON, LAT, 3.0), Circle(LON + 3.0, LAT, 2.5)
    a, b = one.contains(vectors_of(places)), other.contains(vectors_of(places))
    for operation, expected in {"and": a & b, "or": a | b, "xor": a ^ b, "minus": a & ~b}.items():
        shape = Compound(one, other, operation)
        np.testing.assert_array_equal(shape.contains(vectors_of(places)), expected)
        again = SkyShape.from_dict(shape.to_dict())
        assert again == shape
        lon, lat, radius = shape.bounds()
        middle = SkyCoord(lon * u.deg, lat * u.deg)
        if operation in ("and", "minus"):
            assert (lon, lat, radius) == one.bounds()
        else:
            apart = CENTRE.separation(SkyCoord((LON + 3) * u.deg, LAT * u.deg)).deg
            assert radius == pytest.approx(apart + 2.5)
        assert np.all(middle.separation(places[expected]).deg <= radius)
    inner = Compound(one, Circle(LON, LAT, 1.0), "or")
    assert inner.bounds()[2] == 3.0
    assert Compound(one, Circle(LON + 180, -LAT, 170.0), "or").bounds()[2] == 180.0


def wcs_of(crval, cdelt, crpix, projection="TAN"):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"GLON-{projection}", f"GLAT-{projection}"]
    wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = crval, cdelt, crpix
    return wcs


def test_masks(rng):
    """Pixel by pixel, in another frame than that of the map; outside of the map there is nothing."""
    wcs = wcs_of((20.0, 5.0), (-0.5, 0.5), (4.0, 3.0))
    inside = rng.random((6, 8)) < 0.5
    inside[[0, -1, 2, 3], [0, -1, 0, -1]] = True
    shape = MaskMap.from_pixels(wcs, inside, "galactic", "icrs")
    assert SkyShape.from_dict(shape.to_dict()) == shape
    row, column = np.indices((8, 10)) - 1
    for shift in ((0.0, 0.0), (0.4, -0.4)):
        lon, lat = wcs.wcs_pix2world(column.ravel() + shift[0], row.ravel() + shift[1], 0)
        icrs = SkyCoord(lon * u.deg, lat * u.deg, frame="galactic").icrs
        found = shape.contains(vectors_of(icrs).reshape(8, 10, 3))
        np.testing.assert_array_equal(found, np.pad(inside, 1))
    lon, lat, radius = shape.bounds()
    corners = wcs.wcs_pix2world(*(inside.nonzero()[::-1]), 0)
    apart = SkyCoord(lon * u.deg, lat * u.deg).separation(SkyCoord(*corners * u.deg, frame="galactic")).deg
    assert radius == pytest.approx(apart.max() + np.hypot(0.5, 0.5), rel=1e-9)
    assert not shape.contains(unit_vectors(200.0, -60.0))
    empty = MaskMap.from_pixels(wcs, np.zeros((3, 3), bool), "galactic", "icrs")
    assert empty.bounds()[2] < 1e-3


@pytest.mark.parametrize("first", [-200.0, 100.0, 170.0])
def test_a_map_that_reaches_over_half_a_turn(first):
    """Plate carrée: pixels are found whichever turn their longitude is given in."""
    wcs = wcs_of((0.0, 0.0), (1.0, 1.0), (1.0 - first, 1.0), "CAR")
    inside = np.zeros((1, 90), bool)
    inside[0, [5, 40, 85]] = True
    shape = MaskMap.from_pixels(wcs, inside, "galactic", "galactic")
    lon = first + np.arange(-3, 93)
    np.testing.assert_array_equal(shape.contains(unit_vectors(lon, 0.0)), np.pad(inside[0], 3))


def test_a_mask_all_around_has_no_middle():
    wcs = wcs_of((0.0, 0.0), (10.0, 10.0), (18.5, 1.0), "CAR")
    shape = MaskMap.from_pixels(wcs, np.ones((1, 36), bool), "galactic", "galactic")
    assert shape.bounds() == (0.0, 0.0, 180.0)


# ------------------------------------------------------------------------------------------------------------ regions


def test_properties_of_a_rectangle():
    roi = region(10.0, 60.0, "icrs", width=[4.0, 2.0])
    assert (roi.frame, roi.lon, roi.lat) == ("icrs", 10.0, 60.0)
    assert roi.half_width == (2.0, 1.0)
    assert roi.half_extent == (2.0, 1.0)
    assert (roi.energy_min, roi.energy_max) == (0.1, 100.0)
    assert "width=(4, 2) deg" in repr(roi)
    assert roi.solid_angle == pytest.approx(np.radians(4) * 2 * np.sin(np.radians(1)), rel=1e-12)
    corner = SkyCoord(2 * u.deg, 1 * u.deg).separation(SkyCoord(0 * u.deg, 0 * u.deg)).deg
    assert roi.radius == pytest.approx(corner, rel=1e-12)
    assert roi.center.separation(SkyCoord(10 * u.deg, 60 * u.deg)).deg < 1e-12
    lon, lat = roi.cell_edges(0.5)
    np.testing.assert_allclose(lon, np.linspace(-2, 2, 9))
    np.testing.assert_allclose(lat, np.linspace(-1, 1, 5))
    assert roi.exclude == ()


def test_properties_of_other_outlines():
    circle = region(10.0, 60.0, "icrs", radius=2.0)
    assert circle.half_width is None
    assert circle.half_extent == (2.0, 2.0)
    assert "radius=2 deg" in repr(circle)
    lon, lat = circle.cell_edges(0.5)
    assert lon[-1] == pytest.approx(2 / np.cos(np.radians(2)))
    assert lat[-1] == pytest.approx(2)
    wide = region(radius=80.0)
    assert wide.cell_edges(5.0)[0][-1] == pytest.approx(80 / np.cos(np.radians(80)))
    ellipse = from_shape(Ellipse(LON, LAT, 2.0, 1.0, 30.0))
    assert "Ellipse within 2 deg" in repr(ellipse)
    assert ellipse.half_extent == (2.0, 2.0)
    turned = from_shape(Rectangle(LON, LAT, 2.0, 1.0, 30.0))
    assert turned.half_width is None


def from_shape(shape, exclude=(), energy=(1.0, 10.0)):
    return RegionOfInterest.from_dict(
        {"frame": "icrs", "outline": shape.to_dict(), "exclude": [one.to_dict() for one in exclude], "energy": energy}
    )


def test_offsets(places):
    roi = region(LON, LAT, "icrs", radius=3.0)
    lon, lat = roi.lonlat(places.galactic)
    np.testing.assert_allclose(unit_vectors(lon, lat), vectors_of(places), atol=1e-12)
    assert lon.min() >= -180
    assert lon.max() <= 180
    expected = turned_by(0.0, places)
    found = roi.offset_lonlat(lon, lat)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(unit_vectors(*roi.from_offset(*found)), vectors_of(places), atol=1e-12)
    np.testing.assert_allclose(roi.offset(lon, lat), CENTRE.separation(places).deg, atol=1e-9)
    np.testing.assert_array_equal(roi.contains(lon, lat), CENTRE.separation(places).deg <= 3.0)


def test_exclusions(places):
    hole, other = Circle(LON + 1.0, LAT, 0.8), Ellipse(LON, LAT + 1.5, 1.0, 0.4)
    roi = from_shape(Circle(LON, LAT, 3.0), [hole, other])
    vectors = vectors_of(places)
    cut = hole.contains(vectors) | other.contains(vectors)
    np.testing.assert_array_equal(roi.excludes_vectors(vectors), cut)
    np.testing.assert_array_equal(roi.contains_vectors(vectors), roi.outline.contains(vectors) & ~cut)
    assert ", 2 excluded" in repr(roi)
    again = RegionOfInterest.from_dict(roi.to_dict())
    assert again.to_dict() == roi.to_dict()
    with pytest.raises(RegionError, match="exclude leaves nothing"):
        from_shape(Circle(LON, LAT, 1.0), [Circle(LON, LAT, 1.1)])
    from_shape(Circle(LON, LAT, 1.0), [Circle(LON, LAT, 0.9)])
    # two halves, neither of which holds the whole
    halves = [Circle(LON, LAT + side, 1.5) for side in (-0.8, 0.8)]
    with pytest.raises(RegionError, match="exclude leaves nothing"):
        from_shape(Circle(LON, LAT, 1.0), halves)
    from_shape(Circle(LON, LAT, 1.0), halves[:1])


def test_a_region_of_a_single_shape():
    from regions import CircleSkyRegion, EllipseSkyRegion

    circle = CircleSkyRegion(CENTRE.galactic, 1 * u.deg)
    roi = RegionOfInterest.from_region(circle, energy=(1, 10) * u.TeV)
    assert roi.frame == "galactic"
    assert roi.radius == 1.0
    assert RegionOfInterest.from_region(circle, energy=(1, 10) * u.TeV, frame="icrs").lon == pytest.approx(LON)
    with pytest.raises(RegionError, match="frame must be one of"):
        RegionOfInterest.from_region(circle, energy=(1, 10) * u.TeV, frame="fk5")
    RegionOfInterest.from_region(CircleSkyRegion(CENTRE, 80 * u.deg), energy=(1, 10) * u.TeV)
    with pytest.raises(RegionError, match="fit into a circle of 80 deg, got 81 deg"):
        RegionOfInterest.from_region(CircleSkyRegion(CENTRE, 81 * u.deg), energy=(1, 10) * u.TeV)
    ellipse = EllipseSkyRegion(CENTRE, 4 * u.deg, 2 * u.deg, 30 * u.deg)
    outline = RegionOfInterest.from_region(ellipse, energy=(1, 10) * u.TeV).outline
    assert (outline.half_width, outline.half_height, outline.angle) == pytest.approx((2.0, 1.0, 30.0))


@pytest.mark.parametrize("kind", ["one", "list", "tuple"])
def test_exclusions_come_alone_or_in_lists(kind):
    from regions import CircleSkyRegion

    hole = CircleSkyRegion(CENTRE, 0.5 * u.deg)
    given = {"one": hole, "list": [hole], "tuple": (hole, hole)}[kind]
    roi = pmg.RegionOfInterest(CENTRE, radius=2 * u.deg, energy=(1, 10) * u.TeV, exclude=given)
    assert len(roi.exclude) == (2 if kind == "tuple" else 1)
    assert not roi.contains(LON, LAT)
    assert pmg.RegionOfInterest(CENTRE, radius=2 * u.deg, energy=(1, 10) * u.TeV, exclude=None).exclude == ()


def test_the_largest_circle():
    assert region(radius=80.0).radius == 80.0
    with pytest.raises(RegionError, match=r"at most 80 deg, got 80.5 deg"):
        region(radius=80.5)
    with pytest.raises(RegionError, match="radius must be positive"):
        region(radius=0.0)


def test_quadrature_of_a_shape_without_a_formula():
    """Cells at its edge count with the share that lies inside."""
    roi = from_shape(Ellipse(LON, LAT, 2.0, 1.0, 30.0))
    lon, lat, weight = roi.quadrature(0.1)
    assert weight.sum() == pytest.approx(np.pi * np.radians(2) * np.radians(1), rel=2e-3)
    assert (weight > 0).all()
    x, y = arcs(SkyCoord(lon * u.deg, lat * u.deg), 30.0)
    assert weight @ x**2 / weight.sum() == pytest.approx(2.0**2 / 4, rel=5e-3)
    assert weight @ y**2 / weight.sum() == pytest.approx(1.0**2 / 4, rel=5e-3)


def test_cells_at_an_edge():
    """A half-plane through a box: shares of the cells, and the middle of what lies inside."""
    shape = Rectangle(0.0, 0.0, 1.0, 1.0)
    cells = shape.cells(0.5)  # four by four, edges at -1, -0.5, 0, 0.5, 1

    def west(vectors):
        return lonlat_from_vectors(vectors)[0] <= 0.125

    fraction = covered_fraction(cells, west).reshape(4, 4)
    np.testing.assert_allclose(fraction, np.tile([1, 1, 0.25, 0], (4, 1)), atol=2e-3)
    index, vectors, share = covered_cells(cells, west)
    assert index.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]
    np.testing.assert_allclose(share, np.tile([1, 1, 0.25], 4), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-12)
    lon, lat = lonlat_from_vectors(vectors)
    np.testing.assert_allclose(lon, np.tile([-0.75, -0.25, 0.0625], 4), atol=1e-3)
    np.testing.assert_allclose(lat, np.repeat([-0.75, -0.25, 0.25, 0.75], 3), atol=2e-3)
    assert not covered_fraction(cells, lambda vectors: np.zeros(vectors.shape[:-1], bool)).any()
    corner = covered_fraction(cells, lambda vectors: vectors @ unit_vectors(1.0, 1.0) > np.cos(np.radians(0.2)))
    assert corner[-1] == pytest.approx(np.pi * 0.2**2 / 4 / 0.25, abs=5e-3)


# ------------------------------------------------------------------------------------------------------------ domains


def irfs_without_background():
    return dataclasses.replace(quick_start_irfs(), bkg=None)


def limited(**limits):
    return pmg.Observation(irfs_without_background(), direction(0.5, 0.0), livetime=1 * u.h, **limits)


@pytest.mark.parametrize("where", ["alone", "limited", "whole"])
def test_domain(rng, where):
    roi = from_galactic(exclude=[Circle(1.0, 0.5, 0.4)])
    observation = {
        "alone": None,
        "limited": limited(energy_range=(2.0, 20.0) * u.TeV, offset_max=1.2 * u.deg),
        "whole": limited(),
    }[where]
    domain = Domain(roi, observation)
    low, high = {"alone": (1, 50), "limited": (2, 20), "whole": (1, 50)}[where]
    assert domain.energy_range == (low, high)
    offset_max = {"alone": np.inf, "limited": 1.2, "whole": quick_start_irfs().offset_max}[where]
    assert domain.offset_max == offset_max
    lon, lat = rng.uniform(-3, 3, (2, 4000))
    energy = np.exp(rng.uniform(np.log(0.5), np.log(100), 4000))
    coords, vectors = SkyCoord(lon * u.deg, lat * u.deg, frame="galactic"), unit_vectors(lon, lat)
    inside = coords.separation(direction(0, 0)).deg <= 2
    cut = coords.separation(direction(1.0, 0.5)).deg <= 0.4
    far = coords.separation(direction(0.5, 0.0)).deg > offset_max
    bright = (energy >= low) & (energy <= high)
    np.testing.assert_array_equal(domain.contains_energy(energy), bright)
    np.testing.assert_array_equal(domain.is_covered(vectors), ~far)
    np.testing.assert_array_equal(domain.contains_sky(vectors), inside & ~cut & ~far)
    np.testing.assert_array_equal(domain.contains(vectors, energy), inside & ~cut & ~far & bright)
    assert domain.is_given(vectors).all()
    reasons = domain.reasons(vectors, energy)
    expected = {
        "outside the region on the sky": ~inside,
        "in an excluded part of the region": inside & cut,
        "beyond the largest offset": inside & ~cut & far,
        "below 1 TeV": inside & ~cut & ~far & (energy < 1),
        "above 50 TeV": inside & ~cut & ~far & (energy > 50),
        "below 2 TeV": inside & ~cut & ~far & (energy >= 1) & (energy < low),
        "above 20 TeV": inside & ~cut & ~far & (energy <= 50) & (energy > high),
    }
    assert len(reasons) == sum(one.any() for one in expected.values())
    for reason, found in reasons.items():
        (start,) = (one for one in expected if reason.startswith(one))
        np.testing.assert_array_equal(found, expected[start])
    np.testing.assert_allclose(domain.clip(np.array([0.1, 3.0, 1000.0])), [low, 3.0, high])


def from_galactic(exclude=()):
    return RegionOfInterest.from_dict(
        {
            "frame": "galactic",
            "outline": Circle(0.0, 0.0, 2.0).to_dict(),
            "exclude": [one.to_dict() for one in exclude],
            "energy": [1.0, 50.0],
        }
    )


def test_edges_in_energy_belong_to_the_domain_up_to_rounding():
    domain = Domain(from_galactic())
    at = np.array([1 - 2 * ROUNDING, 1 - 0.5 * ROUNDING, 1.0, 50.0, 50 * (1 + 0.5 * ROUNDING), 50 * (1 + 2 * ROUNDING)])
    expected = [False, True, True, True, True, False]
    assert domain.contains_energy(at).tolist() == expected
    vectors = np.tile(unit_vectors(0.0, 0.0), (6, 1))
    found = domain.reasons(vectors, at)
    assert {name: bad.tolist() for name, bad in found.items()} == {
        "below 1 TeV": [True, *[False] * 5],
        "above 50 TeV": [*[False] * 5, True],
    }


def test_what_the_response_gives_bounds_the_domain():
    irfs = irfs_without_background()
    narrow = dataclasses.replace(
        irfs,
        edisp=dataclasses.replace(irfs.edisp, energy_range=(2.5, 30.0)),
        psf=dataclasses.replace(irfs.psf, offset_max=1.5),
    )
    observation = pmg.Observation(narrow, direction(0.0, 0.0), livetime=1 * u.h)
    domain = Domain(from_galactic(), observation)
    assert domain.given == (2.5, 30.0)
    assert domain.asked == (1.0, 50.0)
    assert domain.energy_range == (2.5, 30.0)
    assert domain.offset_max == 1.5
    near, far = unit_vectors([1.4, 1.6], 0.0)
    assert domain.is_given(np.array([near, far])).tolist() == [True, False]
    reasons = domain.reasons(np.array([near, near, near]), np.array([2.0, 3.0, 40.0]))
    assert {name: bad.tolist() for name, bad in reasons.items()} == {
        "at energies that the IRFs do not give": [True, False, True]
    }
    # the largest offset that is asked for does not matter to what is given
    limit = pmg.Observation(narrow, direction(0.0, 0.0), livetime=1 * u.h, offset_max=1 * u.deg)
    assert Domain(from_galactic(), limit).is_given(np.array([near])).all()
    assert not Domain(from_galactic(), limit).is_covered(np.array([near])).any()


def test_the_background_bounds_the_domain():
    irfs = quick_start_irfs()
    covered = irfs.bkg.covered.copy()
    covered[irfs.bkg.fov_lon_edges[:-1] >= 1.0] = False
    bkg = dataclasses.replace(irfs.bkg, covered=covered, energy_range=(3.0, 20.0))
    observation = pmg.Observation(dataclasses.replace(irfs, bkg=bkg), direction(0.0, 0.0), livetime=1 * u.h)
    domain = Domain(from_galactic(), observation)
    assert domain.energy_range == (3.0, 20.0)
    lon, lat = (one.ravel() for one in np.meshgrid(np.linspace(-2, 2, 41), np.linspace(-2, 2, 41)))
    vectors = unit_vectors(lon, lat)
    basis = observation.background_basis("galactic")
    known = bkg.covers(vectors, basis)
    assert 0 < known.sum() < len(known)
    np.testing.assert_array_equal(domain.is_covered(vectors), known)
    np.testing.assert_array_equal(domain.is_given(vectors), known)
    np.testing.assert_array_equal(domain.is_given(vectors.reshape(41, 41, 3)), known.reshape(41, 41))
    reasons = domain.reasons(vectors, np.full(len(lon), 5.0))
    np.testing.assert_array_equal(
        reasons["where the IRFs give no background"],
        ~known & (np.hypot(lon, lat) <= 2) & from_galactic().contains(lon, lat),
    )


def test_no_energies_left():
    with pytest.raises(RegionError, match=r"no energies are left for the observation: the region asks for 1-50 TeV"):
        Domain(from_galactic(), limited(energy_range=(60.0, 70.0) * u.TeV))
    with pytest.raises(RegionError, match=r"no energies are left for observation run 7"):
        Domain(from_galactic(), limited(energy_range=(50.0, 70.0) * u.TeV, name="run 7"))


def test_cells_of_a_domain(rng):
    """Their solid angle is that of the region without the hole; draws are uniform in what is left."""
    hole = Circle(0.8, 0.0, 0.5)
    cells = Domain(from_galactic(exclude=[hole])).cells(0.1)
    expected = 2 * np.pi * (np.cos(np.radians(0.5)) - np.cos(np.radians(2)))
    assert cells.solid_angle.sum() == pytest.approx(expected, rel=1e-4)
    assert not hole.contains(cells.vectors).any()
    share = cells.solid_angle / cells.solid_angle.sum()
    drawn = cells.sample(rng.choice(len(share), 40_000, p=share), rng)
    assert not hole.contains(drawn).any()
    lon, lat = lonlat_from_vectors(drawn)
    # the mean of a disc without a hole, by hand: -(0.5 / 2)^2 / (1 - (0.5 / 2)^2) x 0.8
    assert lon.mean() == pytest.approx(-0.8 / 15, abs=4 * lon.std() / 200)
    assert lat.mean() == pytest.approx(0, abs=4 * lat.std() / 200)
    ring = np.hypot(lon - 0.8, lat) < 0.6
    assert ring.mean() == pytest.approx((0.6**2 - 0.5**2) / (4 - 0.25), abs=4 * np.sqrt(0.03 / 40_000))
    whole = Domain(from_galactic()).cells(0.1)
    assert whole.solid_angle.sum() == pytest.approx(2 * np.pi * (1 - np.cos(np.radians(2))), rel=1e-12)


def test_an_observation_at_the_region():
    """A pointing elsewhere covers a part of it."""
    domain = Domain(from_galactic(), pointing(lon=7.0, irfs=irfs_without_background()))
    assert domain.contains_sky(unit_vectors([1.5, -1.5], 0.0)).tolist() == [True, False]
