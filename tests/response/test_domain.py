"""One domain of selection: events, acceptances, draws and expected counts agree on it, whatever its shape."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from regions import (
    CircleAnnulusSkyRegion,
    CircleSkyRegion,
    EllipseSkyRegion,
    PointSkyRegion,
    PolygonSkyRegion,
    RectangleSkyRegion,
    Regions,
)

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, PymcGammaWarning, RegionError
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.instrument.domain import Domain
from pymc_gamma.sky import SkyComponent, SkyGaussian, SkyPart, SkyPoint

CENTRE = SkyCoord(83.6 * u.deg, 22.0 * u.deg)
ENERGY = (0.5, 50) * u.TeV
HOLE = CircleSkyRegion(SkyCoord(84.1 * u.deg, 22.3 * u.deg), 0.35 * u.deg)


class Source(SkyComponent):
    """A point or a Gaussian."""

    def __init__(self, name, shape):
        super().__init__(name)
        self.shape = shape

    def parts(self, roi, margin_deg=0.8):
        return (SkyPart(self.name, self.shape, lambda energy: 1e-11 * energy**-2.3),)


SOURCES = {
    "inside": SkyPoint(83.2, 21.6),
    "on the edge of the hole": SkyPoint(84.1, 22.3 - 0.35),
    "in the hole": SkyGaussian(84.1, 22.3, 0.15),
    "extended, half in the hole": SkyGaussian(83.9, 22.1, 0.25),
    "beyond the largest offset": SkyPoint(83.1, 22.95),
}


def observation(lon, lat, **limits):
    pointing = SkyCoord(lon * u.deg, lat * u.deg)
    return pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing, livetime=5 * u.h, **limits)


OBSERVATIONS = [
    observation(83.6, 21.5, energy_range=(0.9, 30) * u.TeV, offset_max=1.4 * u.deg),
    observation(84.0, 22.4, energy_range=(1.7, 100) * u.TeV),
]
LIMITS = [(0.9, 30.0, 1.4), (1.7, 50.0, 6.0)]


@pytest.fixture(scope="module")
def roi():
    return pmg.RegionOfInterest(CENTRE, radius=1.2 * u.deg, energy=ENERGY, exclude=HOLE)


@pytest.fixture(scope="module")
def response(roi):
    sky = [Source(name, shape) for name, shape in SOURCES.items()]
    return pmg.fold([*sky, pmg.CosmicRayBackground()], OBSERVATIONS, roi)


def kept_by_astropy(events, k):
    """Which events are in the domain of observation k, by separations of astropy."""
    coords, energy = events.coords, events.energy.to_value("TeV")
    low, high, offset_max = LIMITS[k]
    return (
        (coords.separation(CENTRE).deg <= 1.2)
        & (coords.separation(HOLE.center).deg > 0.35)
        & (coords.separation(OBSERVATIONS[k].pointing).deg <= offset_max)
        & (energy >= low)
        & (energy <= high)
    )


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("name", SOURCES)
def test_acceptance_is_the_share_of_photons_that_end_up_in_the_domain(response, name, k):
    n, rng = 300_000, np.random.default_rng(7)
    events = response.reconstruct(response.simulate_true(name, n, observation=k, rng=rng), observation=k, rng=rng)
    share = kept_by_astropy(events, k).sum() / n
    index = response.component_names.index(name)
    passing = response._draws._simulator.samplers[k][index]._passing_rate(0) * OBSERVATIONS[k].livetime_s
    error = np.sqrt(share * (1 - share) / n)
    found = float(response.acceptance_by_observation.sel(component=name)[k]) / passing
    assert abs(found - share) < 4 * error
    assert abs(found - share) < 0.002 * share + 2 * error


def test_background_is_counted_in_the_domain(response):
    for k, one in enumerate(OBSERVATIONS):
        rng = np.random.default_rng(3)
        # brute force: uniform points on a box around the region, energies uniform in the logarithm
        n = 400_000
        lon, lat = 83.6 + 3.2 * (rng.random(n) - 0.5), 22.0 + 2.8 * (rng.random(n) - 0.5)
        x = np.log(0.5) + np.log(100) * rng.random(n)
        events = pmg.Events(np.exp(x) * u.TeV, lon * u.deg, lat * u.deg, frame="icrs")
        kept = kept_by_astropy(events, k)
        rate = one.irfs.bkg.rate_at(unit_vectors(lon[kept], lat[kept]), x[kept], one.fov_basis("icrs"))
        value = rate * np.exp(x[kept]) * np.cos(np.radians(lat[kept])) * one.ontime_s
        volume = np.log(100) * np.radians(3.2) * np.radians(2.8)
        want, error = value.sum() / n * volume, np.sqrt((value**2).sum()) / n * volume
        found = float(response.acceptance_by_observation.sel(component="ccr")[k])
        assert abs(found - want) < 4 * error
        assert error < 0.01 * want


def test_draws_stay_in_the_domain_and_follow_the_acceptance(response):
    events = response.simulate(np.ones(len(response.component_names)), 60_000, rng=11)
    for k in (0, 1):
        mine = events[events.observation == k]
        assert kept_by_astropy(mine, k).all()
        assert len(mine) > 10_000
    background = response.simulate({"ccr": 1}, 20_000, rng=5)
    share = float(response.acceptance_by_observation.sel(component="ccr")[0] / response.acceptance.sel(component="ccr"))
    assert abs((background.observation == 0).sum() - 20_000 * share) < 4 * np.sqrt(20_000 * share * (1 - share))


def test_expected_counts_in_bins_add_up_to_the_acceptance(response):
    edges = np.geomspace(0.5, 50, 25)
    for k in (0, 1):
        want = response.acceptance_by_observation[:, k]
        by_energy = response.npred(energy=edges * u.TeV, observation=k)
        assert np.allclose(by_energy.sum("energy"), want, rtol=1e-7)
        low, high, _ = LIMITS[k]
        beyond = (edges[1:] <= low) | (edges[:-1] >= high)
        assert not by_energy.values[:, beyond].any()
        lon, lat = np.linspace(82, 85.2, 65), np.linspace(20.6, 23.4, 57)
        cube = response.npred(lon=lon * u.deg, lat=lat * u.deg, observation=k)
        assert np.allclose(cube.sum(("lat", "lon")), want, rtol=1e-7)
        # nothing in the middle of the hole
        assert not cube.sel(lon=84.1, lat=22.3, method="nearest").any()


def test_densities_integrate_to_the_acceptance_without_any_help(response):
    # a plain sum over points, whose total is not scaled to anything
    lon, lat, weight = response.roi.quadrature(0.02)
    for name in ("extended, half in the hole", "ccr"):
        index = response.component_names.index(name)
        total = (response.surface_density(lon, lat, np.array([0.5, 50]))[index, 0] * weight).sum()
        assert total == pytest.approx(float(response.acceptance[index]), rel=4e-3)


def test_events_are_selected_by_reason(roi):
    events = pmg.Events(
        [2, 2, 2, 0.7, 1.2, 40, 0.3, 60, 1.2] * u.TeV,
        [83.6, 86, 84.1, 83.6, 83.6, 83.6, 83.6, 83.6, 83.6] * u.deg,
        [22.0, 22, 22.3, 22.0, 22.0, 22.0, 22.0, 22.0, 22.95] * u.deg,
        frame="icrs",
        observation=[0, 0, 0, 0, 1, 0, 1, 1, 0],
    )
    with pytest.warns(PymcGammaWarning, match="8 of 9 events lie outside") as caught:
        kept = events.select(roi, OBSERVATIONS)
    assert len(kept) == 1
    told = str(caught[0].message)
    for reason in (
        "1 outside the region on the sky",
        "1 in an excluded part of the region",
        "1 beyond the largest offset, 1.4 deg",
        "1 below 0.9 TeV, where the observation is not safe",
        "1 below 1.7 TeV, where the observation is not safe",
        "1 above 30 TeV, where the observation is not safe",
        "1 below 0.5 TeV",
        "1 above 50 TeV",
    ):
        assert reason in told
    # without the observations only the region is known
    assert len(events[events.selection(roi).inside]) == 5
    assert len(events[:0].select(roi, OBSERVATIONS)) == 0


def test_events_of_an_unknown_observation_are_refused(roi):
    events = pmg.Events(2 * u.TeV, 83.6 * u.deg, 22 * u.deg, frame="icrs", observation=2)
    with pytest.raises(EventError, match="observation 2, but 2 observation"):
        events.select(roi, OBSERVATIONS)


def test_a_fit_of_events_outside_says_which_and_why(response):
    rows = np.array([[2.0, 83.6, 22.0, 0], [2.0, 84.1, 22.3, 0], [1.0, 83.6, 22.0, 1]])
    with pytest.raises(EventError, match="excluded part of the region, first rows") as caught:
        response.component_pdf(rows)
    assert "1 of 3 events are below 1.7 TeV, where the observation is not safe, first rows [2]" in str(caught.value)


def test_a_wrong_frame_is_suspected_when_nothing_is_left(roi, response):
    events = pmg.Events(
        [2, 3] * u.TeV, [83.6, 83.5] * u.deg, [22.0, 22.1] * u.deg, frame="galactic"
    )  # galactic by default
    with pytest.warns(PymcGammaWarning, match=r"None is left.*frame 'galactic'"):
        events.select(roi)
    with pytest.raises(EventError, match=r"All of them are: are they in the frame of the region, icrs\?"):
        response.density(events)


def test_an_observation_without_energies_or_sky_is_an_error(roi):
    with pytest.raises(RegionError, match=r"no energies are left.*0\.5-50 TeV.*safe at 60-inf TeV"):
        pmg.fold(pmg.CosmicRayBackground(), observation(83.6, 22, energy_range=(60, np.inf) * u.TeV), roi)
    with pytest.raises(RegionError, match="does not see the region"):
        pmg.fold(pmg.CosmicRayBackground(), observation(83.6, 26, offset_max=1 * u.deg), roi)


@pytest.mark.parametrize("limits", [{"energy_range": (3, 1) * u.TeV}, {"offset_max": -1 * u.deg}])
def test_bad_limits_of_an_observation(limits):
    with pytest.raises(ValueError, match=r"energy_range|offset_max"):
        observation(0, 0, **limits)
    with pytest.raises(TypeError, match="energy_range"):
        observation(0, 0, energy_range=(1, 3))


def test_limits_and_exclusions_survive_a_store(response, tmp_path):
    response.save(tmp_path / "store")
    again = pmg.Response.load(tmp_path / "store")
    assert np.array_equal(again.acceptance_by_observation, response.acceptance_by_observation)
    assert repr(again.observations) == repr(response.observations)
    assert "1 excluded" in repr(again.roi)


# shapes


def by_regions(region, lon, lat, frame="icrs"):
    """Membership by the package regions, on the pixels of a map of gammapy."""
    from gammapy.maps import WcsGeom

    geom = WcsGeom.create(skydir=(lon, lat), width=6, binsz=0.02, frame=frame, proj="TAN")
    inside = geom.region_mask([region]).data
    coords = geom.get_coord().skycoord
    return coords, inside


TURNED = 35 * u.deg
SHAPES = [
    CircleSkyRegion(CENTRE, 0.8 * u.deg),
    EllipseSkyRegion(CENTRE, 2 * u.deg, 1 * u.deg, TURNED),
    RectangleSkyRegion(CENTRE, 2 * u.deg, 1 * u.deg, TURNED),
    PolygonSkyRegion(SkyCoord([82.8, 84.5, 83.9, 83.3] * u.deg, [21.2, 21.5, 22.9, 22.1] * u.deg)),
    CircleAnnulusSkyRegion(CENTRE, 0.4 * u.deg, 1 * u.deg),
    EllipseSkyRegion(CENTRE.galactic, 2 * u.deg, 1 * u.deg, TURNED),
    CircleSkyRegion(CENTRE, 0.8 * u.deg) | CircleSkyRegion(HOLE.center, 0.5 * u.deg),
]


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
@pytest.mark.parametrize("region", SHAPES, ids=lambda region: type(region).__name__)
def test_outlines_are_those_of_the_regions_package(region, frame):
    own = "galactic" if getattr(region, "center", CENTRE).frame.name == "galactic" else "icrs"
    here = CENTRE.transform_to(own).spherical
    coords, inside = by_regions(region, here.lon.deg, here.lat.deg, own)
    roi = pmg.RegionOfInterest.from_region(region, energy=ENERGY, frame=frame)
    found = roi.contains(*roi.lonlat(coords))
    # pixels on the edge may differ: the package projects a shape, here it is drawn on the sphere
    assert (found != inside).sum() < 0.004 * inside.sum()
    solid = inside.sum() * np.radians(0.02) ** 2
    assert roi.solid_angle == pytest.approx(solid, rel=0.004)
    lon, lat, weight = roi.quadrature(0.03)
    assert weight.sum() == pytest.approx(roi.solid_angle, rel=2e-3)
    assert roi.offset(lon, lat).max() <= roi.radius + 0.03
    assert pmg.RegionOfInterest.from_dict(roi.to_dict()).to_dict() == roi.to_dict()


def test_exclusions_may_come_from_files_and_maps(tmp_path):
    from gammapy.maps import WcsGeom

    path = tmp_path / "holes.reg"
    Regions([HOLE, CircleSkyRegion(CENTRE.galactic, 0.2 * u.deg)]).write(path, format="ds9")
    geom = WcsGeom.create(skydir=CENTRE, width=4, binsz=0.01, frame="icrs")
    mask = ~geom.region_mask([HOLE, CircleSkyRegion(CENTRE, 0.2 * u.deg)])  # gammapy: False is excluded
    lon, lat = 83.6 + np.linspace(-1.1, 1.1, 101), 22 + np.linspace(-1.1, 1.1, 101)
    lon, lat = np.meshgrid(lon, lat)
    want = (SkyCoord(lon, lat, unit="deg").separation(HOLE.center).deg > 0.35) & (
        SkyCoord(lon, lat, unit="deg").separation(CENTRE).deg > 0.2
    )
    want &= SkyCoord(lon, lat, unit="deg").separation(CENTRE).deg <= 1.2
    for exclude in (path, str(path), mask, [HOLE, CircleSkyRegion(CENTRE, 0.2 * u.deg)]):
        roi = pmg.RegionOfInterest(CENTRE, radius=1.2 * u.deg, energy=ENERGY, exclude=exclude)
        assert (roi.contains(lon, lat) != want).mean() < (0.004 if exclude is mask else 1e-9)
        assert pmg.RegionOfInterest.from_dict(roi.to_dict()).to_dict() == roi.to_dict()
    galactic = pmg.RegionOfInterest(CENTRE.galactic, radius=1.2 * u.deg, energy=ENERGY, exclude=mask)
    found = galactic.contains(*galactic.lonlat(SkyCoord(lon, lat, unit="deg")))
    assert (found != want).mean() < 0.004
    whole = pmg.RegionOfInterest.from_region(mask, energy=ENERGY)
    assert not whole.contains(84.1, 22.3)
    assert whole.contains(83.2, 21.6)


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        (PointSkyRegion(CENTRE), "PointSkyRegion cannot be used"),
        ("nowhere.reg", "there is no region file"),
        (CircleSkyRegion(CENTRE, 3 * u.deg), "exclude leaves nothing"),
        (17, "int cannot be used"),
        (CENTRE, "SkyCoord cannot be used"),
    ],
)
def test_bad_exclusions(exclude, message):
    with pytest.raises(RegionError, match=message):
        pmg.RegionOfInterest(CENTRE, radius=1 * u.deg, energy=ENERGY, exclude=exclude)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("-circle(83.6,22,0.3)", "marked with a minus sign"),
        ("circle(83.6,22,0.1) || circle(83.8,22,0.1)", r"joins shapes with '\|\|'"),
        ("circle(83.6,22,0.1)\npanda(83.6,22,0,90,1,0.1,0.2,1)", "cannot read regions"),
    ],
)
def test_files_whose_shapes_would_be_lost_or_reversed(lines, message, tmp_path):
    path = tmp_path / "holes.reg"
    path.write_text(f"# Region file format: DS9\nicrs\n{lines}\n")
    with pytest.raises(RegionError, match=message):
        pmg.RegionOfInterest(CENTRE, radius=1 * u.deg, energy=ENERGY, exclude=path)


def test_objects_of_negative_regions_are_refused_too(tmp_path):
    path = tmp_path / "holes.reg"
    path.write_text("# Region file format: DS9\nicrs\n-circle(83.6,22,0.3)\n")
    with pytest.raises(RegionError, match="marked with a minus sign"):
        pmg.RegionOfInterest(CENTRE, radius=1 * u.deg, energy=ENERGY, exclude=Regions.read(path, format="ds9"))
    both = pmg.RegionOfInterest(CENTRE, radius=1 * u.deg, energy=ENERGY, exclude=Regions([HOLE]))
    assert not both.contains(84.1, 22.3)
    assert pmg.RegionOfInterest(CENTRE, radius=1 * u.deg, energy=ENERGY, exclude=None).exclude == ()


@pytest.mark.parametrize("lon", [0.0, 83.6, 180.0])
def test_masks_lie_anywhere(lon):
    """A plate-carree map is a plane around (0, 0), which may go on beyond half a turn."""
    from astropy.wcs import WCS
    from gammapy.maps import Map, WcsGeom

    n, step = 121, 0.05
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt, wcs.wcs.crval = ["RA---CAR", "DEC--CAR"], [-step, step], [0.0, 0.0]
    wcs.wcs.crpix = [(n + 1) / 2 + lon / step, (n + 1) / 2]
    x, y = np.meshgrid((np.arange(n) - 60) * -step, (np.arange(n) - 60) * step)
    centre = SkyCoord(lon * u.deg, 0 * u.deg)
    away = SkyCoord((lon + x) * u.deg, y * u.deg).separation(centre).deg
    mask = Map.from_geom(WcsGeom(wcs, (n, n)), data=away > 1)
    roi = pmg.RegionOfInterest(centre, radius=2 * u.deg, energy=ENERGY, exclude=mask)
    x, y = np.meshgrid(np.linspace(-1.9, 1.9, 101), np.linspace(-1.9, 1.9, 101))
    coords = SkyCoord((lon + x) * u.deg, y * u.deg)
    found, away = roi.contains(*roi.lonlat(coords)), coords.separation(centre).deg
    assert not found[away < 0.95].any()
    assert found[(away > 1.05) & (away < 1.9)].all()


def test_bad_outlines(tmp_path):
    both = tmp_path / "two.reg"
    Regions([HOLE, HOLE]).write(both, format="ds9")
    with pytest.raises(RegionError, match="holds 2 regions"):
        pmg.RegionOfInterest.from_region(both, energy=ENERGY)
    (tmp_path / "broken.reg").write_text("circle(")
    with pytest.raises(RegionError, match=r"broken\.reg"):
        pmg.RegionOfInterest.from_region(tmp_path / "broken.reg", energy=ENERGY)
    from gammapy.maps import Map

    with pytest.raises(RegionError, match="this one is empty"):
        pmg.RegionOfInterest.from_region(Map.create(width=2, dtype=bool), energy=ENERGY)
    corners = SkyCoord([0, 1] * u.deg, [0, 1] * u.deg)
    with pytest.raises(RegionError, match="at least three vertices"):
        pmg.RegionOfInterest.from_region(PolygonSkyRegion(corners), energy=ENERGY)


@pytest.mark.parametrize("region", SHAPES[1:5], ids=lambda region: type(region).__name__)
def test_any_outline_can_be_folded_and_simulated(region):
    roi = pmg.RegionOfInterest.from_region(region, energy=ENERGY)
    source = Source("point", SkyPoint(83.6, 22.75))
    response = pmg.fold([source, pmg.CosmicRayBackground()], observation(83.6, 21.8), roi)
    events = response.simulate([1, 1], 4000, rng=2)
    assert Domain(roi, response.observations[0]).contains_sky(unit_vectors(events.lon.value, events.lat.value)).all()
    n, rng = 300_000, np.random.default_rng(1)
    photons = response.reconstruct(response.simulate_true("point", n, rng=rng), rng=rng)
    inside = roi.contains(photons.lon.value, photons.lat.value)
    share = (inside & (photons.energy.value >= 0.5) & (photons.energy.value <= 50)).sum() / n
    passing = response._draws._simulator.samplers[0][0]._passing_rate(0) * response.observations[0].livetime_s
    found = float(response.acceptance[0]) / passing
    assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / n)


def test_events_that_no_background_explains_are_told():
    one = observation(83.6, 21.5)
    bkg = one.irfs.bkg
    rate = bkg.rate.copy()
    hole = np.abs(bkg.fov_lon - 0.9).argmin()
    rate[:, hole - 1 : hole + 2] *= 1e-7
    holed = one.with_irfs(dataclasses.replace(one.irfs, bkg=dataclasses.replace(bkg, rate=rate)))
    roi = pmg.RegionOfInterest(CENTRE, radius=1.2 * u.deg, energy=(0.9, 10) * u.TeV)
    sky = [Source("source", SkyPoint(83.6, 22.0)), pmg.CosmicRayBackground()]
    # longitudes of the field of view grow to the west
    west = one.pointing.directional_offset_by(-90 * u.deg, float(bkg.fov_lon[hole]) * u.deg)
    lon, lat = [west.ra.deg, 83.6], [west.dec.deg, 22.0]
    events = pmg.Events([2, 2] * u.TeV, lon * u.deg, lat * u.deg, frame="icrs")
    for free in ((), ("source", "ccr")):
        whole, response = (pmg.fold(sky, observed, roi, free_spectrum=free) for observed in (one, holed))
        whole.column_densities(whole.event_rows(events))  # no warning, which would be an error
        with pytest.warns(PymcGammaWarning, match=r"1 of 2 events lie where .* no background: row 0 \(2 TeV, 0\.9 deg"):
            response.column_densities(response.event_rows(events))
