"""Residual background tables: their edges, their empty cells, and how they lie on the sky.

Compared with formulas, brute-force sums over the field of view, textbook spherical trigonometry and gammapy.
"""

import dataclasses
import gzip
import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time
from gammapy.data import GTI, FixedPointingInfo, observatory_locations
from gammapy.data import Observation as Run
from gammapy.irf import Background2D, Background3D, FoVAlignment, load_irf_dict_from_file
from gammapy.maps import MapAxis, WcsGeom

import pymc_gamma as pmg
from pymc_gamma.errors import IRFError, PymcGammaWarning
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.instrument.dl3 import field_orientation
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.instrument.irfs.background import asymmetry, background

NAME = "prod5-south-20deg-50h"
UNIT = "s-1 TeV-1 sr-1"
ENERGY = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", 10, name="energy")
SQUARE = np.linspace(-3, 3, 13)
CRAB = SkyCoord(83.63 * u.deg, 22.01 * u.deg)
AXES = {
    "equal": (SQUARE, SQUARE),
    "single": ([-3, 3], [-3, 3]),
    "one wide": ([-3, 3], SQUARE),
    "wide outer": ([-4, -1, 0, 1, 4], [-4, -1, 0, 1, 4]),
    "asymmetric": (np.linspace(-3, 3, 13), np.linspace(-3, 2, 11)),
    "one-sided": ([0.5, 1, 3], [-2, -1.5, -1.2]),
    "unequal": ([-2.4, -2.2, -0.4, 1.6, 1.8], [-0.2, 0, 0.8, 3.6]),
}
OFFSETS = {"single": [0, 3], "unequal": [0, 0.5, 1.5, 3, 5], "ring": [1, 2, 2.2], "equal": np.linspace(0, 2.6, 14)}


def axis(name, edges):
    return MapAxis.from_edges(edges, unit="deg", name=name)


def centres(edges):
    edges = np.asarray(edges, float)
    return 0.5 * (edges[1:] + edges[:-1])


def two(offset, data=None):
    data = np.ones((10, len(offset) - 1)) if data is None else data
    return Background2D(axes=[ENERGY, axis("offset", offset)], data=data, unit=UNIT)


def three(lon, lat, data=None, **more):
    data = np.ones((10, len(lon) - 1, len(lat) - 1)) if data is None else data
    return Background3D(axes=[ENERGY, axis("fov_lon", lon), axis("fov_lat", lat)], data=data, unit=UNIT, **more)


def read(table):
    """Clean background of a gammapy one, and what was said of it."""
    repairs = []
    return background({"bkg": table}, "test", repairs), repairs


def rate(bkg, lon, lat, energy=3.0):
    lon, lat, energy = np.broadcast_arrays(np.atleast_1d(lon).astype(float), lat, energy)
    return bkg.rate_at(unit_vectors(lon, lat), np.log(energy), np.eye(3))


def power_law(lon=SQUARE, lat=SQUARE):
    """A rate whose logarithm is linear along every axis, on bin centres."""
    e, x, y = np.meshgrid(ENERGY.center.to_value("TeV"), centres(lon), centres(lat), indexing="ij")
    return 5 * e**-2.7 * np.exp(0.3 * x - 0.2 * y)


def tilted(lon=0.0, lat=0.0):
    """A flat rate with gradients per degree."""
    x, y = np.meshgrid(centres(SQUARE), centres(SQUARE), indexing="ij")
    return np.broadcast_to(20 * (1 + lon * x + lat * y), (10, 12, 12)).copy()


def gammapy_tables():
    return dict(load_irf_dict_from_file(pmg.datasets.path(NAME)))


def altaz_run(start="2024-01-10T20:00", data=None, *, livetime=20 * u.min, site="magic", bkg=None, obs_id=1):
    table = three(SQUARE, SQUARE, tilted(0.1, 0.2) if data is None else data, fov_alignment=FoVAlignment.ALTAZ)
    return Run.create(
        pointing=FixedPointingInfo(fixed_icrs=CRAB),
        livetime=livetime,
        irfs={**gammapy_tables(), "bkg": table if bkg is None else bkg},
        location=None if site is None else observatory_locations[site],
        reference_time=Time(start),
        obs_id=obs_id,
    )


def observation_of(run):
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        return pmg.Observation.from_gammapy(run)


@pytest.fixture(scope="module")
def irfs():
    return pmg.load_irfs(NAME)


# Edges


@pytest.mark.parametrize(("lon", "lat"), AXES.values(), ids=AXES)
def test_total_of_a_flat_box(lon, lat):
    bkg, repairs = read(three(lon, lat))
    assert repairs == []
    # fine cells that the edges do not cut; far beyond the box
    step = 0.02
    x = np.arange(-5, 5, step) + step / 2
    x, y = (side.ravel() for side in np.meshgrid(x, x))
    solid_angle = np.radians(step) * (np.sin(np.radians(y + step / 2)) - np.sin(np.radians(y - step / 2)))
    energy = np.geomspace(0.05, 200, 400)
    profile = np.array([rate(bkg, 0.5 * (lon[0] + lon[-1]), 0.5 * (lat[0] + lat[-1]), e)[0] for e in energy])
    assert np.array_equal(profile, ((energy >= 0.1) & (energy <= 100)).astype(float))
    expected = np.radians(lon[-1] - lon[0]) * np.diff(np.sin(np.radians([lat[0], lat[-1]])))[0]
    assert rate(bkg, x, y) @ solid_angle == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("offset", OFFSETS.values(), ids=OFFSETS)
def test_total_of_a_flat_disk(offset):
    bkg, repairs = read(two(offset))
    assert repairs == []
    edges = np.linspace(0, 7, 7001)
    solid_angle = -2 * np.pi * np.diff(np.cos(np.radians(edges)))
    r, azimuth = centres(edges), np.radians(50)
    vectors = np.stack([np.cos(np.radians(r)), *(np.sin(np.radians(r)) * [[np.cos(azimuth)], [np.sin(azimuth)]])], -1)
    found = bkg.rate_at(vectors, np.full(len(r), 1.0), np.eye(3)) @ solid_angle
    expected = 2 * np.pi * (np.cos(np.radians(offset[0])) - np.cos(np.radians(offset[-1])))
    assert found == pytest.approx(expected, rel=1e-3)


def test_total_of_a_response(irfs):
    bkg, _ = read(three(SQUARE, np.linspace(-3, 2, 11)))
    observation = pmg.Observation(dataclasses.replace(irfs, bkg=bkg), CRAB, livetime=1 * u.h, ontime=2 * u.h)
    roi = pmg.RegionOfInterest(CRAB, width=6.4 * u.deg, energy=(0.2, 50) * u.TeV)
    with pytest.warns(PymcGammaWarning, match=r"% of RegionOfInterest.* background table"):
        total = float(pmg.fold(pmg.CosmicRayBackground(), observation, roi).acceptance[0])
    solid_angle = np.radians(6) * (np.sin(np.radians(3)) + np.sin(np.radians(2)))
    assert total == pytest.approx(7200 * 49.8 * solid_angle, rel=1e-3)


@pytest.mark.parametrize("table", [three(*AXES["wide outer"]), two(OFFSETS["unequal"])], ids=["box", "disk"])
def test_constant_up_to_the_outermost_edge(table):
    bkg, _ = read(table)
    edge = float(bkg.fov_lon_edges[-1])
    inside, outside = edge * (1 - 1e-12), edge * (1 + 1e-12)
    assert rate(bkg, [0, 0.9 * edge, inside], 0.0) == pytest.approx([1, 1, 1], rel=1e-12)
    assert rate(bkg, outside, 0.0)[0] == 0


@pytest.mark.parametrize("table", [three(*AXES["unequal"]), two(OFFSETS["ring"])], ids=["box", "disk"])
def test_coverage_is_where_there_is_a_rate(table):
    data = table.data.copy()
    data[:, 1] = 0  # a strip that is empty at every energy
    table.data = data
    bkg, repairs = read(table)
    rng = np.random.default_rng(3)
    edges = np.concatenate([bkg.fov_lon_edges, bkg.fov_lat_edges])
    at = np.concatenate([np.nextafter(edges, -99), edges, np.nextafter(edges, 99), rng.uniform(-4, 4, 200)])
    x, y = (side.ravel() for side in np.meshgrid(at, at))
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    vectors = unit_vectors(x, y) @ frame
    covered = bkg.covers(vectors, frame)
    assert covered.dtype == bool
    assert np.array_equal(covered, bkg.rate_at(vectors, np.full(len(x), 1.0), frame) > 0)
    both = [bkg.rate_at(vectors, np.full(len(x), at), frame) for at in (1.0, 2.0)]
    assert np.array_equal(bkg.spectra_at(vectors, np.array([1.0, 2.0]), frame), both)
    assert 0.05 < covered.mean() < 0.9
    assert "empty at every energy" in repairs[0]
    assert bkg.covers(np.empty((0, 3)), frame).shape == (0,)


def test_between_centres_as_gammapy():
    """Axes of the backgrounds of the public H.E.S.S. runs, with a threshold that rises away from the axis."""
    energy = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", 20, name="energy")
    sides = [axis(name, np.linspace(-2.5, 2.5, 51)) for name in ("fov_lon", "fov_lat")]
    rng = np.random.default_rng(1)
    data = power_law_like(energy, sides) * np.exp(0.3 * rng.normal(size=(20, 50, 50)))
    table = Background3D(axes=[energy, *sides], data=data, unit=UNIT)
    bkg, repairs = read(table)
    assert "filled" in " ".join(repairs)
    e = np.exp(rng.uniform(np.log(1), np.log(80), 4000))
    x, y = rng.uniform(-2.45, 2.45, (2, 4000))
    theirs = table.evaluate(energy=e * u.TeV, fov_lon=x * u.deg, fov_lat=y * u.deg).to_value(UNIT)
    assert rate(bkg, x, y, e) == pytest.approx(theirs, rel=1e-9)


def power_law_like(energy, sides):
    e, x, y = np.meshgrid(energy.center.value, *(side.center.value for side in sides), indexing="ij")
    steep = e**-3 * np.exp(-0.5 * (x**2 + y**2) / 1.5**2) * (1 + 0.05 * x)
    return np.where(e < 0.15 * (1 + 0.3 * np.hypot(x, y)), 0, steep)


# Empty cells


def test_an_empty_cell_is_interpolated_and_reported():
    data = power_law()
    data[6, 5, 7] = 0
    bkg, repairs = read(three(SQUARE, SQUARE, data))
    assert bkg.rate == pytest.approx(power_law(), rel=1e-9)
    (repair,) = repairs
    assert repair.startswith(
        "background: 1 empty cells of 1440 filled from their neighbours, at 8.91 TeV, fov_lon -0.25"
    )
    assert repair.endswith("fov_lat 0.75 deg")


@pytest.mark.parametrize(
    "where",
    [
        (slice(4, 6), slice(3, 6), slice(3, 5)),
        (slice(6, 7), slice(None), slice(None)),  # an energy
        (slice(6, 8), slice(0, 12), slice(5, 6)),
        (slice(0, 3), slice(0, 2), slice(0, 2)),  # below a threshold, at a corner
        (slice(8, 10), slice(9, 12), slice(4, 9)),  # nothing measured at high energies
        (slice(0, 1), slice(0, 7), slice(None)),
    ],
)
def test_regions_of_empty_cells_follow_the_table(where):
    data = power_law()
    data[where] = 0
    bkg, repairs = read(three(SQUARE, SQUARE, data))
    share = (data[where[0]] > 0).mean(axis=(1, 2)).min()
    # where most of an energy is empty the fill is lowered on purpose
    expected = power_law()[where] * (1 if share >= 0.5 or share == 0 else 2 * share)
    assert bkg.rate[where] == pytest.approx(expected, rel=1e-9)
    assert bkg.rate[data > 0] == pytest.approx(data[data > 0], rel=0)
    assert f"{(data == 0).sum()} empty cells of 1440" in repairs[0]


def test_radial_tables_are_filled_too():
    e, r = np.meshgrid(ENERGY.center.value, centres(OFFSETS["equal"]), indexing="ij")
    data = e**-2.7 * np.exp(-r)
    holes = data.copy()
    holes[3, 4] = holes[0, 10:] = 0
    bkg, repairs = read(two(OFFSETS["equal"], holes))
    assert bkg.rate[..., 0] == pytest.approx(data, rel=1e-9)
    assert "4 empty cells of 130 filled from their neighbours" in repairs[0]
    assert "offset 0.9 to 2.5 deg" in repairs[0]


def test_what_little_was_measured_is_not_multiplied():
    """Cells with at most one event each: filled with the rate of an event, every cell would have one."""
    rng = np.random.default_rng(5)
    data = power_law()
    sparse = (rng.random((12, 12)) < 0.1) * data[9] * 10
    data[9] = sparse
    bkg, _ = read(three(SQUARE, SQUARE, data))
    assert (bkg.rate > 0).all()
    assert sparse.sum() < bkg.rate[9].sum() < 4 * sparse.sum()


def test_positions_and_outermost_energies_without_anything_are_not_covered():
    data = power_law()
    data[:2] = data[9:] = 0
    data[:, :3, :2] = 0
    bkg, repairs = read(three(SQUARE, SQUARE, data))
    assert bkg.energy_range == pytest.approx(ENERGY.edges.value[[2, 9]])
    assert rate(bkg, 0, 0, [0.39, 0.4, 50.1, 50.2]) == pytest.approx(
        [0, *(5 * bkg.energy[[0, -1]] ** -2.7), 0], rel=0.1
    )
    x, y = [-2.9, -1.51, -1.49, -2.9, 0], [-2.9, -2.01, -2.9, -1.99, 0]
    assert list(rate(bkg, x, y, 1.0) > 0) == [False, False, True, True, True]
    # beside what is not covered the rate is that of the nearest bins, not drawn to zero
    assert rate(bkg, -1.49, -2.75, 1.0) == pytest.approx(rate(bkg, -1.25, -2.75, 1.0), rel=1e-9)
    assert "3 of 10 energy bins" in repairs[0]
    assert "0.3981-50.12 TeV" in repairs[0]
    assert "6 of 144 positions (fov_lon -2.75 to -1.75 deg, fov_lat -2.75 to -2.25 deg)" in repairs[1]
    assert len(repairs) == 2


def test_bundled_tables_are_positive_where_covered(irfs):
    bkg = irfs.bkg
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-6.2, 6.2, (2, 20_000))
    e = np.exp(rng.uniform(*np.log(bkg.energy_range), 20_000))
    covered = bkg.covers(unit_vectors(x, y), np.eye(3))
    assert np.array_equal(covered, rate(bkg, x, y, e) > 0)
    # the raw table: what a bin holds at no energy is not covered
    raw = gammapy_tables()["bkg"]
    column, row = (np.floor((side + 6) / 0.2).astype(int) for side in (x, y))
    on = (np.abs(x) < 6) & (np.abs(y) < 6)
    given = np.zeros(len(x), bool)
    given[on] = (raw.data > 0).any(axis=0)[column[on], row[on]]
    assert np.array_equal(covered, given)
    assert any("772 of 3600 positions" in repair for repair in irfs.repairs)


def test_negative_and_missing_values():
    data = power_law()
    data[2, 3, 4] = -1
    bkg, repairs = read(three(SQUARE, SQUARE, data))
    assert bkg.rate == pytest.approx(power_law(), rel=1e-9)
    assert "1 negative cells taken as empty" in repairs[0]
    data[2, 3, 4] = np.nan
    with pytest.raises(IRFError, match="1 values that are not finite"):
        read(three(SQUARE, SQUARE, data))
    with pytest.raises(IRFError, match="zero everywhere"):
        read(three(SQUARE, SQUARE, np.zeros_like(data)))


# Alignment


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        # mean of |0.1 x| over -3 < x < 3, and of |0.1 (x + y)| / sqrt 2 over the square
        ({"lon": 0.1}, 0.15),
        ({"lat": -0.1}, 0.15),
        ({"lon": 0.1 / np.sqrt(2), "lat": 0.1 / np.sqrt(2)}, 0.2 / np.sqrt(2)),
        ({}, 0.0),
    ],
)
def test_asymmetry_in_any_direction(gradient, expected):
    bkg, repairs = read(three(SQUARE, SQUARE, tilted(**gradient), fov_alignment=FoVAlignment.ALTAZ))
    assert bkg.alignment == "ALTAZ"
    assert asymmetry(bkg) == pytest.approx(expected, rel=0.05, abs=1e-9)
    said = " ".join(repairs)
    assert ("FOVALIGN=ALTAZ" in said) is bool(gradient)
    assert (f"{asymmetry(bkg):.1%}" in said) is bool(gradient)


def test_a_quadrupole_is_an_asymmetry_too():
    x, y = np.meshgrid(centres(SQUARE), centres(SQUARE), indexing="ij")
    bkg, _ = read(three(SQUARE, SQUARE, np.broadcast_to(1 + 0.05 * (x**2 - y**2), (10, 12, 12)).copy()))
    inner, cosine = np.hypot(x, y) < 3, np.abs(x**2 - y**2)
    assert asymmetry(bkg) > 0.5 * 0.05 * cosine[inner].mean()


@pytest.fixture
def file_without(tmp_path):
    """The bundled IRFs as a file without FOVALIGN, or with another, and with a gradient upwards."""

    def write(alignment=None, gradient=0.1):
        path = tmp_path / "irf.fits"
        path.write_bytes(gzip.decompress(pmg.datasets.path(NAME).read_bytes()))
        with fits.open(path, mode="update") as file:
            hdu = file["BACKGROUND"]
            del hdu.header["FOVALIGN"]
            if alignment is not None:
                hdu.header["FOVALIGN"] = alignment
            fov_lat = 0.5 * (hdu.data["DETY_LO"][0] + hdu.data["DETY_HI"][0])
            # the file has the axes in the order lon, lat, energy
            hdu.data["BKG"][0] *= (1 + gradient * fov_lat)[None, :, None]
        return path

    return write


def test_a_file_that_does_not_say_how_it_is_aligned(file_without):
    with pytest.warns(PymcGammaWarning, match=r"does not say how it is aligned \(FOVALIGN\), taken as RADEC") as told:
        tilted_irfs = pmg.load_irfs(file_without())
    assert len(told) == 1
    assert tilted_irfs.bkg.alignment == "RADEC"
    for alignment, gradient in ((None, 0.0), ("RADEC", 0.1)):
        with pytest.warns(PymcGammaWarning) as told:
            pmg.load_irfs(file_without(alignment, gradient))
        assert "FOVALIGN" not in str(told[0].message)


def test_unknown_alignments(file_without):
    with pytest.raises(IRFError, match=r"irf\.fits: the alignment .* 'SIDEWAYS'"):
        pmg.load_irfs(file_without("SIDEWAYS"))

    class Sideways(Background3D):
        fov_alignment = "SIDEWAYS"

    table = three(SQUARE, SQUARE)
    with pytest.raises(IRFError, match="aligned with 'SIDEWAYS'"):
        read(Sideways(table.axes, data=table.data, unit=UNIT))

    class Lost(Run):
        @property
        def bkg(self):
            return FoVAlignment("SIDEWAYS")

    lost = altaz_run()
    lost.__class__ = Lost
    with pytest.raises(IRFError, match="observation 1: the alignment of its bkg"):
        pmg.Observation.from_gammapy(lost)


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
@pytest.mark.parametrize("start", ["2024-01-10T20:00", "2024-01-10T23:30", "2024-01-11T03:00"])
def test_field_of_view_turns_as_gammapys(start, frame):
    run = altaz_run(start, livetime=30 * u.s)
    observation = observation_of(run)
    places = CRAB.directional_offset_by([10, 100, 250] * u.deg, 2 * u.deg)
    theirs = places.transform_to(run.get_fov_frame(run.tmid, FoVAlignment.ALTAZ))
    here = places.transform_to(frame).spherical
    vectors = unit_vectors(here.lon.deg, here.lat.deg) @ observation.background_basis(frame).T
    lon, lat = pmg.geometry.lonlat_from_vectors(vectors)
    assert lon == pytest.approx(theirs.fov_lon.wrap_at(180 * u.deg).deg, abs=2e-3)
    assert lat == pytest.approx(theirs.fov_lat.deg, abs=2e-3)


def test_an_altaz_background_on_the_sky_is_gammapys():
    from gammapy.makers.utils import make_map_background_irf

    run = altaz_run("2024-01-10T23:30")
    geom = WcsGeom.create(skydir=CRAB, width=4, binsz=0.2, axes=[MapAxis.from_energy_edges([1, 10] * u.TeV)])
    theirs = make_map_background_irf(
        run.pointing, 20 * u.min, run.bkg, geom, run.tstart, oversampling=10, location=run.observatory_earth_location
    )
    with pytest.warns(
        PymcGammaWarning, match="it turns by 30 deg during the run; its mean orientation is used"
    ) as told:
        observation = pmg.Observation.from_gammapy(run)
    assert "as if aligned" not in str(told[0].message)
    roi = pmg.RegionOfInterest(CRAB, radius=2 * u.deg, energy=(1, 10) * u.TeV)
    response = pmg.fold(pmg.CosmicRayBackground(), observation, roi)
    place = geom.to_image().get_coord().skycoord
    inside = place.separation(CRAB).deg < 1.9
    ours = response.surface_density(place.ra.deg[inside], place.dec.deg[inside], [1, 10])[0, 0]
    expected = (theirs.data[0] / geom.to_image().solid_angle().value)[inside]
    assert ours.sum() == pytest.approx(expected.sum(), rel=2e-3)
    assert ours == pytest.approx(expected, rel=0.03)  # of what the turn smears in gammapy's
    assert expected.max() > 1.8 * expected.min()
    # used as RADEC it would be far off
    unturned = pmg.Observation(observation.irfs, CRAB, livetime=20 * u.min)
    flat = pmg.fold(pmg.CosmicRayBackground(), unturned, roi).surface_density(
        place.ra.deg[inside], place.dec.deg[inside], [1, 10]
    )[0, 0]
    assert np.abs(flat / expected - 1).max() > 0.2


def position_angle_of_zenith(times, location, direction):
    """Textbook parallactic angle in radians; precession since 2000 is left out (0.4 deg)."""
    days = times.utc.jd - 2451545.0
    rotation = 2 * np.pi * (0.7790572732640 + 1.00273781191135448 * days)
    hour_angle = rotation + location.lon.rad - direction.ra.rad
    dec, latitude = direction.dec.rad, location.lat.rad
    return np.arctan2(np.sin(hour_angle), np.tan(latitude) * np.cos(dec) - np.sin(dec) * np.cos(hour_angle))


def test_orientation_is_the_mean_over_the_good_time():
    run = altaz_run()
    start, stop = [0, 4] * u.h, [0.2, 4.1] * u.h
    reference = Time("2024-01-10T20:00")
    run._gti = GTI.create(start, stop, reference)
    irfs = observation_of(run).irfs
    found = field_orientation(run, irfs)
    location = observatory_locations["magic"]
    times = reference + np.concatenate([np.linspace(0, 0.2, 400), np.linspace(4, 4.1, 200)]) * u.h
    angle = position_angle_of_zenith(times, location, CRAB)
    expected = np.degrees(np.angle(np.exp(1j * angle).mean()))
    assert found.angle.to_value("deg") == pytest.approx(expected, abs=0.7)
    assert np.ptp(np.degrees(angle)) > 60
    # an interval listed twice counts once
    run._gti = GTI.create([0, 0, 4] * u.h, [0.2, 0.2, 4.1] * u.h, reference)
    assert field_orientation(run, irfs).angle.to_value("deg") == pytest.approx(found.angle.to_value("deg"), abs=1e-6)


@pytest.mark.filterwarnings("ignore:.*dubious year")  # of leap seconds that nobody knows yet
def test_orientation_of_future_runs_needs_no_download():
    found = observation_of(altaz_run("2049-01-10T20:00"))
    expected = position_angle_of_zenith(Time("2049-01-10T20:10"), observatory_locations["magic"], CRAB)
    assert found.fov_rotation == pytest.approx(np.degrees(expected), abs=1.0)


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda: altaz_run(site=None), "the observation has no location"),
        (lambda: altaz_run("2024-01-10T10:00"), "its pointing is below the horizon"),
    ],
)
def test_orientations_that_are_not_known(run, reason):
    with pytest.warns(PymcGammaWarning, match=rf"used as if aligned with RADEC.* average over all .*; {reason}"):
        observation = pmg.Observation.from_gammapy(run())
    assert observation.fov_rotation is None
    assert np.array_equal(observation.background_basis("icrs"), observation.fov_basis("icrs"))


def test_orientation_is_not_asked_of_others(irfs):
    for bkg in (gammapy_tables()["bkg"], two([0, 1, 3])):
        assert observation_of(altaz_run(bkg=bkg)).fov_rotation is None
    turned = pmg.Observation(irfs, CRAB, livetime=1 * u.h, fov_rotation=30 * u.deg)
    assert np.array_equal(turned.background_basis("icrs"), turned.fov_basis("icrs"))


def test_rotation_by_hand(irfs):
    table, _ = read(three(SQUARE, SQUARE, tilted(lat=0.2), fov_alignment=FoVAlignment.ALTAZ))
    with_tilt = dataclasses.replace(irfs, bkg=table)
    for angle in (0, 90, -40):
        observation = pmg.Observation(with_tilt, CRAB, livetime=1 * u.h, fov_rotation=angle * u.deg)
        # towards the zenith the rate grows
        place = CRAB.directional_offset_by([0, 180] * u.deg + angle * u.deg, 2 * u.deg)
        vectors = unit_vectors(place.ra.deg, place.dec.deg)
        up, down = table.rate_at(vectors, np.zeros(2), observation.background_basis("icrs"))
        assert up / down == pytest.approx(1.4 / 0.6, rel=0.02)
        assert pmg.Observation.from_dict(observation.to_dict(), with_tilt).fov_rotation == angle
    with pytest.raises(ValueError, match="fov_rotation must be a finite angle"):
        pmg.Observation(irfs, CRAB, livetime=1 * u.h, fov_rotation=np.nan * u.deg)
    with pytest.raises(TypeError, match="fov_rotation must be an astropy Quantity"):
        pmg.Observation(irfs, CRAB, livetime=1 * u.h, fov_rotation=30)


def test_pictures_and_draws_turn_too(irfs):
    import matplotlib.pyplot as plt

    table, _ = read(three(SQUARE, SQUARE, tilted(lat=0.3), fov_alignment=FoVAlignment.ALTAZ))
    turned = dataclasses.replace(irfs, bkg=table)
    observation = pmg.Observation(turned, CRAB, livetime=1 * u.h, fov_rotation=90 * u.deg)
    roi = pmg.RegionOfInterest(CRAB, radius=1.5 * u.deg, energy=(1, 10) * u.TeV)
    events = pmg.fold(pmg.CosmicRayBackground(), observation, roi).simulate([1], 4000, rng=1).to_frame("icrs")
    # the zenith is in the east, where longitudes grow; the mean |x| of a disc is 4 r / 3 pi
    east = np.mean(np.asarray(events.lon) % 360 > CRAB.ra.deg)
    assert east == pytest.approx(0.5 + 0.5 * 0.3 * 4 * 1.5 / (3 * np.pi), abs=3.3 * 0.5 / np.sqrt(4000))
    sky, *_ = pmg.CosmicRayBackground().peek(roi, observation).axes
    image = np.asarray(sky.images[0].get_array())
    half = image.shape[1] // 2
    assert image[:, :half].sum() > 1.3 * image[:, half:].sum()  # longitudes grow to the left
    plt.close(sky.figure)


def test_arrays_keep_edges_coverage_and_alignment(irfs):
    data = tilted(lat=0.1)
    data[:, :2, :2] = 0
    bkg, _ = read(three(*AXES["equal"], data, fov_alignment=FoVAlignment.ALTAZ))
    one = dataclasses.replace(irfs, bkg=bkg)
    again = IRFs.from_arrays(one.arrays(), "again")
    assert again.fingerprint() == one.fingerprint()
    assert again.bkg.alignment == "ALTAZ"
    assert np.array_equal(again.bkg.covered, bkg.covered)
    assert np.array_equal(again.bkg.fov_lat_edges, SQUARE)
    straight = dataclasses.replace(one, bkg=dataclasses.replace(bkg, alignment="RADEC"))
    assert straight.fingerprint() != one.fingerprint()
    with pytest.raises(ValueError, match="alignment must be one of"):
        dataclasses.replace(bkg, alignment="SIDEWAYS")
    with pytest.raises(ValueError, match="rate and covered of these shapes"):
        dataclasses.replace(bkg, covered=np.ones((3, 4), bool))


# Backgrounds of several runs and components


def test_runs_without_a_background_table_are_named(irfs):
    from gammapy.modeling import models as gp

    blind = dataclasses.replace(irfs, bkg=None)
    runs = [
        pmg.Observation(one, CRAB, livetime=1 * u.h, name=name)
        for name, one in (("run 1", irfs), ("run 2", blind), ("run 3", irfs), ("run 4", blind))
    ]
    roi = pmg.RegionOfInterest(CRAB, radius=0.5 * u.deg, energy=(1, 10) * u.TeV)
    with pytest.raises(IRFError, match=r"2 of 4 observations have .* \(bkg\): \['run 2', 'run 4'\]"):
        pmg.fold(pmg.CosmicRayBackground("cosmic"), runs, roi)
    spatial = gp.PointSpatialModel(lon_0=CRAB.ra, lat_0=CRAB.dec, frame="icrs")
    spatial.freeze()
    crab = gp.SkyModel(gp.PowerLawSpectralModel(), spatial, name="crab")
    with pytest.raises(IRFError, match=r"2 of 4 observations have no background table: \['run 2', 'run 4'\].*Leave"):
        pmg.from_gammapy([crab], runs, roi, max_events=100)
    # none has one: there is no background to drop
    model = pmg.from_gammapy([crab], [runs[1], runs[3]], roi, max_events=100)
    assert list(model.coords["component"]) == ["crab"]


def test_two_background_components_have_their_own_norms(irfs):
    observation = pmg.Observation(irfs, CRAB, livetime=1 * u.h)
    roi = pmg.RegionOfInterest(CRAB, radius=0.5 * u.deg, energy=(1, 10) * u.TeV)
    pair = pmg.fold([pmg.CosmicRayBackground("a"), pmg.CosmicRayBackground("b")], observation, roi, free_spectrum=["b"])
    nominal = pair.acceptance.values
    scaled = pair.with_spectra(norms={"a": 3.0})
    assert scaled.acceptance.values == pytest.approx([3 * nominal[0], nominal[1]])
    assert scaled.npred().values == pytest.approx([3 * nominal[0], nominal[1]])
    events = pair.simulate([1, 1], 10, rng=1)
    assert scaled.density(events) == pytest.approx(pair.density(events) * [3, 1])
    shaped = pair.with_spectra({"b": lambda energy: 2.0 + 0 * energy}, norms={"a": 3.0})
    assert shaped.acceptance.values == pytest.approx([3 * nominal[0], 2 * nominal[1]])
    again = shaped.with_systematics(psf_scale=1.1)
    assert again.acceptance.values == pytest.approx([3 * nominal[0], 2 * nominal[1]])
    assert pair.acceptance.values == pytest.approx(nominal)


# Real tables


def hess_files():
    folder = Path(os.environ.get("PYMC_GAMMA_DATA", "")) / "hess-dl3-dr1" / "data"
    files = sorted(folder.glob("hess_dl3_dr1_obs_id_*.fits.gz")) if os.environ.get("PYMC_GAMMA_DATA") else []
    if not files:
        pytest.skip("needs hess-dl3-dr1 (doi:10.5281/zenodo.1421099) in the folder PYMC_GAMMA_DATA")
    return files


@pytest.mark.slow
def test_hess_backgrounds_are_gammapys_and_positive():
    rng = np.random.default_rng(1)
    for path in hess_files():
        table = Background3D.read(path, hdu="BKG")
        bkg, _ = read(table)
        # where no cell between which gammapy interpolates is empty
        raw = table.quantity.to_value(UNIT)
        e = np.exp(rng.uniform(np.log(0.8), np.log(60), 3000))
        x, y = rng.uniform(-2.45, 2.45, (2, 3000))
        theirs = table.evaluate(energy=e * u.TeV, fov_lon=x * u.deg, fov_lat=y * u.deg).to_value(UNIT)
        low = [np.searchsorted(side.center.value, at) - 1 for side, at in zip(table.axes, (e, x, y), strict=True)]
        corners = [raw[low[0] + i, low[1] + j, low[2] + k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        full = np.all(np.array(corners) > 0, axis=0)
        assert full.mean() > 0.9
        assert rate(bkg, x, y, e)[full] == pytest.approx(theirs[full], rel=1e-6)
        at = np.exp(rng.uniform(*np.log(bkg.energy_range), 3000))
        assert (rate(bkg, x, y, at) > 0).all()
        # what is filled in is nothing to speak of
        width = np.diff(table.axes["energy"].edges.to_value("TeV"))[-len(bkg.energy) :]
        original = (raw[-len(bkg.energy) :].sum(axis=(1, 2)) * width).sum()
        assert (bkg.rate.sum(axis=(1, 2)) * width).sum() == pytest.approx(original, rel=1e-4)
