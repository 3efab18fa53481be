"""Directions, planes and cells against astropy, and integrals over the sphere that are known."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from pymc_gamma.errors import RegionError
from pymc_gamma.geometry.cover import BoxCells, RingCells, lattice
from pymc_gamma.geometry.sphere import (
    EqualAreaPlane,
    convert_lonlat,
    frame_rotation,
    gaussian_nodes,
    lonlat_from_vectors,
    major_offsets,
    position_angle_of_north,
    position_angle_vector,
    scalar_direction,
    separation_deg,
    sky_frame,
    tangent_basis,
    unit_vectors,
)

PLACES = [(0.0, 0.0), (10.0, 20.0), (-120.0, -70.0), (200.0, 45.0)]


def sky(lon, lat, frame="icrs"):
    return SkyCoord(lon * u.deg, lat * u.deg, frame=frame)


@pytest.mark.parametrize("place", PLACES)
def test_vectors_are_those_of_astropy(place):
    vector = sky(*place).cartesian.xyz.value
    np.testing.assert_allclose(unit_vectors(*place), vector, atol=1e-15)
    lon, lat = lonlat_from_vectors(vector)
    assert lat == pytest.approx(place[1], abs=1e-12)
    assert lon == pytest.approx((place[0] + 180) % 360 - 180, abs=1e-12)


def test_vectors_of_longitudes_along_one_latitude():
    assert unit_vectors(np.zeros(3), 10.0).shape == (3, 3)
    assert unit_vectors(0.0, np.zeros((2, 4))).shape == (2, 4, 3)


@pytest.mark.parametrize("apart", [0.0, 1e-7, 1.0, 90.0, 179.999, 180.0])
def test_separations(apart):
    a, b = sky(30.0, 10.0), sky(30.0, 10.0).directional_offset_by(40 * u.deg, apart * u.deg)
    found = separation_deg(a.cartesian.xyz.value, b.cartesian.xyz.value)
    assert found == pytest.approx(apart, abs=2e-6 if apart > 179 else 1e-13, rel=1e-8)


@pytest.mark.parametrize("place", PLACES)
def test_tangent_basis(place):
    here = sky(*place)
    towards, east, north = tangent_basis(*place)
    np.testing.assert_allclose(towards, here.cartesian.xyz.value, atol=1e-15)
    for axis, angle in ((east, 90.0), (north, 0.0), (position_angle_vector(*place, 37.0), 37.0)):
        step = here.directional_offset_by(angle * u.deg, 1e-4 * u.deg).cartesian.xyz.value - towards
        np.testing.assert_allclose(axis, step / np.linalg.norm(step), atol=2e-6)


@pytest.mark.parametrize(("frame", "to"), [("icrs", "galactic"), ("galactic", "icrs")])
def test_frames(frame, to):
    lon, lat = np.transpose(PLACES)
    there = sky(lon, lat, frame).transform_to(to).spherical
    found = convert_lonlat(lon, lat, frame, to)
    np.testing.assert_allclose((found[0] - there.lon.deg + 180) % 360 - 180, 0, atol=1e-10)
    np.testing.assert_allclose(found[1], there.lat.deg, atol=1e-10)
    vectors = sky(lon, lat, frame).cartesian.xyz.value.T @ frame_rotation(frame, to).T
    np.testing.assert_allclose(vectors, sky(lon, lat, frame).transform_to(to).cartesian.xyz.value.T, atol=1e-12)
    same = convert_lonlat(lon, lat, frame, frame)
    np.testing.assert_array_equal(same, (lon, lat))


@pytest.mark.parametrize("place", PLACES[1:])
def test_north_of_another_frame(place):
    here = sky(*place)
    step = here.directional_offset_by(0 * u.deg, 1e-3 * u.deg)
    expected = here.galactic.position_angle(step.galactic).deg
    found = position_angle_of_north(*place, "icrs", "galactic")
    assert (found - expected + 180) % 360 - 180 == pytest.approx(0, abs=1e-4)
    assert position_angle_of_north(*place, "icrs", "icrs") == 0.0


def test_coordinates_along_an_axis():
    centre = sky(50.0, 30.0)
    turn, arc = np.array([40.0, 130.0, 220.0, 75.0]), np.array([3.0, 20.0, 0.5, 7.0])
    there = centre.directional_offset_by(turn * u.deg, arc * u.deg)
    vectors = np.vstack([there.cartesian.xyz.value.T, centre.cartesian.xyz.value])
    axis = position_angle_vector(50.0, 30.0, 40.0)
    along, across = major_offsets(vectors, centre.cartesian.xyz.value, axis)
    np.testing.assert_allclose(along, np.r_[arc * np.cos(np.radians(turn - 40)), 0], atol=1e-9)
    # across grows to the other side of the axis: centre x axis
    np.testing.assert_allclose(across, np.r_[-arc * np.sin(np.radians(turn - 40)), 0], atol=1e-9)


@pytest.mark.parametrize("place", PLACES)
def test_the_plane_is_the_projection_zea(place):
    """FITS calls it zenithal equal-area; there longitudes grow to the left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = ["RA---ZEA", "DEC--ZEA"], place, [1, 1], [1, 1]
    plane = EqualAreaPlane(*place)
    x, y = np.array([0.0, 3.0, -20.0, 5.0, 80.0]), np.array([0.0, -1.0, 7.0, 60.0, -10.0])
    lon, lat = wcs.wcs_pix2world(x, y, 0)
    vectors = unit_vectors(lon, lat)
    np.testing.assert_allclose(plane.unproject(x, y), vectors, atol=1e-12)
    np.testing.assert_allclose(plane.project(vectors), (x, y), atol=1e-10)
    np.testing.assert_allclose(plane.to_plane(lon, lat), (x, y), atol=1e-10)
    found = plane.to_sky(x, y)
    np.testing.assert_allclose(unit_vectors(*found), vectors, atol=1e-12)


def test_far_ends_of_the_plane():
    """The opposite direction and what lies outside of the disc: numbers, not NaN."""
    plane = EqualAreaPlane(0.0, 0.0)
    assert np.isfinite(plane.project(np.array([-1.0, 0.0, 0.0]))).all()
    assert np.isfinite(plane.unproject(200.0, 0.0)).all()


@pytest.mark.parametrize("radii", [5, 20, 21, 60])
def test_nodes_of_a_gaussian(radii):
    """Moments of arcs along and across the axis."""
    lon, lat, sigma = 40.0, -50.0, 0.5
    centre = unit_vectors(lon, lat)
    axis = position_angle_vector(lon, lat, 30.0)
    for minor in (None, sigma**2, 0.2**2, 0.0):
        vectors, weight = gaussian_nodes(centre, sigma**2, radii, 16, minor, axis)
        assert vectors.shape == (16 * radii, 3)
        assert weight.sum() == pytest.approx(1, rel=1e-12)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-12)
        along, across = major_offsets(vectors, centre, axis)
        precision = 1e-6 if radii <= 20 else 2 / radii
        assert weight @ along**2 == pytest.approx(sigma**2, rel=precision)
        assert weight @ across**2 == pytest.approx(sigma**2 if minor is None else minor, rel=precision, abs=1e-12)
        assert abs(weight @ (along * across)) < 1e-9
        if radii <= 20:
            assert weight @ along**4 == pytest.approx(3 * sigma**4, rel=1e-5)
        share = weight[np.hypot(along, across) < sigma * np.sqrt(2 * np.log(2))].sum()
        if minor in (None, sigma**2) and radii > 20:
            assert share == pytest.approx(0.5, abs=0.6 / radii)


def test_nodes_are_spread_over_all_azimuths():
    vectors, weight = gaussian_nodes(unit_vectors(0.0, 0.0), 1.0, 1, 4)
    lon, lat = lonlat_from_vectors(vectors)
    np.testing.assert_allclose(np.sort(np.degrees(np.arctan2(lat, lon))), [-135, -45, 45, 135], atol=0.1)
    np.testing.assert_allclose(weight, 0.25)
    # Gauss-Laguerre with one node: t = 1, so that r = sqrt(2) sigma
    np.testing.assert_allclose(np.hypot(lon, lat), np.sqrt(2), rtol=1e-3)


def test_nodes_of_a_point():
    vectors, weight = gaussian_nodes(unit_vectors(3.0, 4.0), 0.0, 12, 16)
    np.testing.assert_array_equal(vectors, [unit_vectors(3.0, 4.0)])
    assert weight.tolist() == [1.0]


def test_single_directions():
    assert scalar_direction(sky(350.0, 10.0, "galactic"), "here") == ("galactic", pytest.approx(-10.0), 10.0)
    assert abs(scalar_direction(sky(180.0, 10.0), "here")[1]) == 180.0
    assert sky_frame("icrs").name == "icrs"
    assert sky_frame("galactic").name == "galactic"
    with pytest.raises(RegionError, match="frame must be one of"):
        sky_frame("fk5")
    with pytest.raises(RegionError, match="not finite"):
        scalar_direction(sky(10.0, np.nan), "here")


# -------------------------------------------------------------------------------------------------------------- cells


def test_lattice_covers_the_square_evenly():
    x, y = lattice()
    assert len(x) == len(np.unique(x)) == len(np.unique(np.round(y, 12))) == 610
    for values in (x, y):
        np.testing.assert_allclose(np.sort(values), (np.arange(610) + 0.5) / 610, atol=1e-12)
    for a, b in ((0.3, 0.7), (0.5, 0.2), (0.9, 0.35)):
        assert np.mean((x < a) & (y < b)) == pytest.approx(a * b, abs=4e-3)


BASIS = tangent_basis(30.0, 50.0)


@pytest.mark.parametrize(
    ("half", "step", "n"), [((3.0, 1.0), 0.5, (12, 4)), ((3.0, 2.0), 0.7, (9, 6)), ((1.0, 0.1), 0.9, (4, 4))]
)
def test_cells_of_a_box(half, step, n):
    cells = BoxCells(BASIS, *half, step)
    lon, lat = cells.edges
    assert (len(lon) - 1, len(lat) - 1) == n
    np.testing.assert_allclose(lon[[0, -1]], (-half[0], half[0]))
    np.testing.assert_allclose(lat[[0, -1]], (-half[1], half[1]))
    expected = 2 * np.radians(half[0]) * 2 * np.sin(np.radians(half[1]))
    assert cells.solid_angle.sum() == pytest.approx(expected, rel=1e-12)
    # cell by cell, the quadrilateral between its corners
    index = np.arange(n[0] * n[1])
    at = {
        (a, b): cells.points(index, np.full(len(index), a), np.full(len(index), b))
        for a in (0.0, 1.0)
        for b in (0.0, 1.0)
    }
    area = 0.5 * np.linalg.norm(np.cross(at[1, 1] - at[0, 0], at[0, 1] - at[1, 0]), axis=1)
    np.testing.assert_allclose(area, cells.solid_angle, rtol=1e-3)
    here = lonlat_from_vectors(at[0, 0] @ BASIS.T)
    np.testing.assert_allclose(here[0], np.tile(lon[:-1], n[1]), atol=1e-12)
    np.testing.assert_allclose(here[1], np.repeat(lat[:-1], n[0]), atol=1e-12)
    half_way = lonlat_from_vectors(cells.points(index, np.full(len(index), 0.25), np.full(len(index), 0.5)) @ BASIS.T)
    np.testing.assert_allclose(half_way[0], np.tile(lon[:-1] + 0.25 * np.diff(lon), n[1]), atol=1e-12)
    middle = np.degrees(np.arcsin(0.5 * (np.sin(np.radians(lat[1:])) + np.sin(np.radians(lat[:-1])))))
    np.testing.assert_allclose(half_way[1], np.repeat(middle, n[0]), atol=1e-12)


@pytest.mark.parametrize(("radius", "step", "rings", "turns"), [(2.0, 0.5, 4, 26), (3.0, 0.4, 8, 48), (0.1, 0.5, 4, 8)])
def test_cells_of_rings(radius, step, rings, turns):
    cells = RingCells(BASIS, radius, step)
    n = rings * turns
    assert len(cells.solid_angle) == n
    assert cells.solid_angle.sum() == pytest.approx(2 * np.pi * (1 - np.cos(np.radians(radius))), rel=1e-12)
    edges = np.cos(np.radians(np.linspace(0, radius, rings + 1)))
    np.testing.assert_allclose(cells.solid_angle, np.repeat(-np.diff(edges), turns) * 2 * np.pi / turns, rtol=1e-12)
    index = np.arange(n)
    for share_u, share_w in ((0.0, 0.0), (0.3, 0.6), (1.0, 1.0)):
        points = cells.points(index, np.full(n, share_u), np.full(n, share_w)) @ BASIS.T
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-12)
        height = np.repeat(edges[:-1] + share_w * np.diff(edges), turns)
        np.testing.assert_allclose(points[:, 0], height, atol=1e-14)
        turn = np.tile((np.arange(turns) + share_u) * 2 * np.pi / turns, rings)
        across = np.sqrt(1 - np.minimum(height, 1) ** 2)
        np.testing.assert_allclose(
            points[:, 1:], np.column_stack([across * np.cos(turn), across * np.sin(turn)]), atol=1e-9
        )
