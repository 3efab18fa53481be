import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time, TimeDelta

import pymc_gamma as pmg

POINTING = SkyCoord(83.63 * u.deg, 22.01 * u.deg, frame="icrs")


@pytest.fixture(scope="module")
def irfs():
    return pmg.load_irfs("prod5-south-20deg-50h")


def test_exposure_is_gammapys(irfs):
    from gammapy.irf import load_irf_dict_from_file

    from pymc_gamma import datasets

    observation = pmg.Observation(irfs, pointing=POINTING, livetime=10 * u.h)
    place = POINTING.directional_offset_by(30 * u.deg, 1.3 * u.deg)
    aeff = load_irf_dict_from_file(datasets.path("prod5-south-20deg-50h"))["aeff"]
    theirs = aeff.evaluate(energy_true=2 * u.TeV, offset=1.3 * u.deg).to_value("cm2") * 36000
    assert observation.exposure(2.0, place.ra.deg, place.dec.deg, "icrs") == pytest.approx(theirs, rel=1e-5)
    galactic = place.galactic
    assert observation.exposure(2.0, galactic.l.deg, galactic.b.deg, "galactic") == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_field_of_view_is_gammapys(irfs, frame):
    from gammapy.utils.coordinates import FoVICRSFrame

    observation = pmg.Observation(irfs, pointing=POINTING, livetime=10 * u.h)
    place = POINTING.directional_offset_by([10, 100, 250] * u.deg, 2 * u.deg)
    theirs = place.transform_to(FoVICRSFrame(origin=POINTING))
    here = place.transform_to(frame).spherical
    vectors = pmg.geometry.unit_vectors(here.lon.deg, here.lat.deg) @ observation.fov_basis(frame).T
    lon, lat = pmg.geometry.lonlat_from_vectors(vectors)
    assert np.allclose(lon, theirs.fov_lon.wrap_at(180 * u.deg).deg, atol=1e-8)
    assert np.allclose(lat, theirs.fov_lat.deg, atol=1e-8)


def test_round_trip_and_picture(irfs):
    observation = pmg.Observation(irfs, pointing=POINTING, livetime=10 * u.h, ontime=11 * u.h, name="run 1")
    again = pmg.Observation.from_dict(observation.to_dict(), irfs)
    assert again.to_dict() == observation.to_dict()
    roi = pmg.RegionOfInterest(POINTING, width=3 * u.deg, energy=(0.1, 10) * u.TeV)
    assert "exposure" in observation.peek(roi).axes[0].get_title()


def test_times_as_astropy_gives_them(irfs):
    start = Time("2020-01-01T00:00:00", scale="utc")
    livetime, ontime = TimeDelta(5 * u.h), Time("2020-01-01T06:00:00", scale="utc") - start
    observation = pmg.Observation(irfs, pointing=POINTING, livetime=livetime, ontime=ontime)
    assert observation.livetime_s == pytest.approx(18000, rel=1e-12)
    assert observation.ontime_s == pytest.approx(21600, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"irfs": "prod5"}, TypeError, "load_irfs"),
        ({"livetime": 50}, TypeError, "livetime must be an astropy Quantity"),
        ({"livetime": 50 * u.TeV}, u.UnitConversionError, "livetime"),
        ({"livetime": TimeDelta(0, format="sec")}, ValueError, "0 < livetime"),
        ({"livetime": 0 * u.h}, ValueError, "0 < livetime"),
        ({"livetime": np.nan * u.h}, ValueError, "0 < livetime"),
        ({"livetime": 5 * u.h, "ontime": 4 * u.h}, ValueError, "livetime <= ontime"),
        ({"pointing": POINTING.transform_to("fk5")}, ValueError, "pointing.galactic"),
    ],
)
def test_bad_observations_name_the_culprit(irfs, change, error, message):
    good = {"irfs": irfs, "pointing": POINTING, "livetime": 50 * u.h}
    with pytest.raises(error, match=message):
        pmg.Observation(**{**good, **change})
