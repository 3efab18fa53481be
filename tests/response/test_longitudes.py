"""Longitudes are the same however they are written: across 0/360, across 180, around a pole."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel

import pymc_gamma as pmg
from pymc_gamma.errors import EventError
from pymc_gamma.events.histogram import Bins

LAT = np.linspace(-1.5, 1.5, 16)


def response_at(lon, lat=0.0, frame="galactic"):
    centre = SkyCoord(lon * u.deg, lat * u.deg, frame=frame)
    observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), centre, livetime=5 * u.h)
    roi = pmg.RegionOfInterest(center=centre, width=2.8 * u.deg, energy=(0.3, 50) * u.TeV)
    where = {"lon_0": (lon + 0.2) * u.deg, "lat_0": lat * u.deg, "frame": frame}
    source = pmg.SkySource("p", PointSpatialModel(**where), PowerLawSpectralModel())
    return pmg.fold([source, pmg.CosmicRayBackground()], observation, roi)


@pytest.mark.parametrize("lon", [0.0, 180.0, -179.3, 33.0])
def test_a_cube_is_the_same_in_any_turn(lon):
    response = response_at(lon)
    cubes = [
        response.npred(lon=(np.linspace(-1.5, 1.5, 16) + lon + turn) * u.deg, lat=LAT * u.deg)
        for turn in (-360, 0, 360, 720)
    ]
    for cube in cubes:
        np.testing.assert_allclose(cube.sum(dim=("lat", "lon")), response.acceptance, rtol=1e-5)
        np.testing.assert_allclose(cube.values, cubes[1].values, rtol=1e-6, atol=1e-9 * float(cube.max()))
        peak = cube.sel(component="p").argmax(dim=("lat", "lon"))
        assert int(peak["lon"]) == 8  # the bin from 0.1 to 0.3 deg
    # half of the region: what is in its bins, nothing scaled
    half = response.npred(lon=(np.linspace(0, 1.5, 8) + lon + 360) * u.deg, lat=LAT * u.deg)
    np.testing.assert_allclose(
        half.values.sum(axis=2), response.npred(lon=(np.linspace(0, 1.5, 8) + lon) * u.deg, lat=LAT * u.deg).sum("lon")
    )


def test_a_pole_is_covered_by_all_longitudes():
    response = response_at(40.0, 89.7, "icrs")
    lat = np.r_[np.linspace(87.0, 90.0, 16)]
    for first in (0.0, -180.0, 111.0):
        cube = response.npred(lon=np.linspace(first, first + 360, 25) * u.deg, lat=lat * u.deg)
        np.testing.assert_allclose(cube.sum(dim=("lat", "lon")), response.acceptance, rtol=1e-5)


def test_edges_that_count_directions_twice():
    response = response_at(0.0)
    with pytest.raises(ValueError, match="lon edges span 400 deg"):
        response.npred(lon=np.linspace(-200, 200, 9) * u.deg, lat=LAT * u.deg)
    with pytest.raises(ValueError, match="lat edges must lie within"):
        response.npred(lon=np.linspace(-2, 2, 9) * u.deg, lat=np.linspace(-100, 100, 9) * u.deg)
    lon, lat = np.linspace(0, 361, 5) * u.deg, np.linspace(-2, 2, 5) * u.deg
    with pytest.raises(EventError, match="lon edges span 361 deg"):
        Bins.from_quantities("icrs", lon=lon, lat=lat)
    events = pmg.Events([1.0] * u.TeV, [0.5] * u.deg, [0.0] * u.deg, frame="icrs")
    with pytest.raises(EventError, match="lon edges span 361 deg"):
        events.binned(2, lon=lon, lat=lat)


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_events_are_counted_in_any_turn(turn):
    lon = np.array([358.9, 359.7, 0.2, 1.4, 3.0, 357.0])
    events = pmg.Events(np.ones(6) * u.TeV, lon * u.deg, np.zeros(6) * u.deg, frame="icrs")
    edges = np.array([-1.5, -0.5, 0.5, 1.5]) + turn
    bins = Bins.from_quantities("icrs", lon=edges * u.deg, lat=[-1, 1] * u.deg)
    np.testing.assert_array_equal(bins.count_events(events), [[1, 2, 1]])
    with pytest.warns(pmg.errors.PymcGammaWarning, match="2 of 6 events lie outside"):
        cells = events.binned([0.5, 2] * u.TeV, lon=edges * u.deg, lat=[-1, 1] * u.deg)
    assert sorted(cells.multiplicity.tolist()) == [1, 1, 2]
