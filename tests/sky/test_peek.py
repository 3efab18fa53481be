"""Pictures run, show what they should, and refuse when there is nothing to show."""

import astropy.units as u
import numpy as np
import pytest

from pymc_gamma.errors import SkyModelError
from pymc_gamma.plotting.peek_component import _spread, part_flux
from pymc_gamma.sky import CosmicRayBackground, GalacticDiffuse, HGPSCatalog, SkySource


def axes_of(figure):
    """Map and spectrum, without the colour bar."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def test_diffuse(roi):
    sky, spectrum = axes_of(GalacticDiffuse().peek(roi))
    image = sky.images[0].get_array()
    assert image.max() > 10 * image.min() > 0
    assert sky.get_title() == "diffuse at 1 TeV"
    assert "TeV cm" in spectrum.get_ylabel()
    energy, sed = spectrum.lines[0].get_data()
    np.testing.assert_allclose(sed, 1.36e-8 * roi.solid_angle * energy**-0.41, rtol=1e-3)


def test_catalogue_names_its_sources(roi):
    sky, spectrum = axes_of(HGPSCatalog().peek(roi, max_labels=3, energy_true=500 * u.GeV))
    assert sky.get_title() == "hgps at 0.5 TeV"
    assert {text.get_text() for text in sky.texts} == {"HESS J1745-290", "HESS J1745-303", "HESS J1746-308"}
    assert spectrum.get_legend() is not None


def test_longitude_grows_to_the_left(roi, region):
    for place in (roi, region(frame="icrs")):
        sky, _ = axes_of(GalacticDiffuse().peek(region(frame=place.frame, width=4.0)))
        lon = sky.wcs.pixel_to_world_values([10.0, 300.0], [160.0, 160.0])[0]
        assert (lon[0] - lon[1]) % 360 < 180


def test_default_region_and_source():
    from gammapy.modeling.models import GaussianSpatialModel, PowerLawSpectralModel

    model = GaussianSpatialModel(lon_0="83 deg", lat_0="22 deg", sigma="0.1 deg", frame="icrs")
    sky, _ = axes_of(SkySource("crab", model, PowerLawSpectralModel()).peek())
    image = sky.images[0].get_array()
    brightest = np.unravel_index(image.argmax(), image.shape)
    lon, lat = sky.wcs.pixel_to_world_values(brightest[1], brightest[0])
    np.testing.assert_allclose([lon, lat], [83, 22], atol=0.02)
    assert axes_of(HGPSCatalog().peek())[0].images


def test_circle_and_wide_region():
    from astropy.coordinates import SkyCoord

    from pymc_gamma.geometry import RegionOfInterest

    centre = SkyCoord(347, 0, unit="deg", frame="galactic")
    circle = RegionOfInterest(center=centre, radius=3 * u.deg, energy=(0.1, 100) * u.TeV)
    wide = RegionOfInterest(center=centre, width=(14, 5) * u.deg, energy=(0.1, 100) * u.TeV)
    assert axes_of(HGPSCatalog().peek(circle))[0].images[0].get_array().shape == (320, 320)
    assert axes_of(HGPSCatalog().peek(wide))[0].images[0].get_array().shape == (192, 320)


def test_nothing_to_show(region):
    with pytest.raises(SkyModelError, match="'hgps' does not shine into"):
        HGPSCatalog().peek(region(lon=120, lat=60))


def test_flux_of_an_unbounded_part_is_that_of_the_region(roi):
    from gammapy.modeling.models import ConstantSpatialModel, PowerLawSpectralModel

    (part,) = SkySource("iso", ConstantSpatialModel(), PowerLawSpectralModel()).parts(roi)
    assert part_flux(part, roi)(np.array([1.0]))[0] == pytest.approx(1e-12 * roi.solid_angle)


def test_background_needs_an_observation(roi):
    with pytest.raises(TypeError, match="observation="):
        CosmicRayBackground().peek(roi)


def test_background(roi):
    from pymc_gamma.instrument.irfs import load_irfs
    from pymc_gamma.instrument.observation import Observation

    observation = Observation(load_irfs("prod5-south-20deg-50h"), roi.center, 50 * u.h)
    sky, spectrum = axes_of(CosmicRayBackground().peek(observation=observation))
    image = sky.images[0].get_array()
    middle = image[160, 160]
    assert middle == pytest.approx(image.max(), rel=0.1)
    energy, sed = spectrum.lines[0].get_data()
    counts = np.trapezoid(sed / energy, np.log(energy)) * observation.ontime_s
    assert counts == pytest.approx(6.04e6, rel=0.02)


def test_labels_are_spread_and_stay_inside():
    columns = _spread([5, 100, 101, 102, 319], 320)
    assert np.all(np.diff(columns) >= 13 - 1e-9)
    assert columns[0] > 0
    assert columns[-1] < 320
    assert _spread([], 320) == []
    assert len(_spread([1.0] * 60, 320)) == 60
    assert max(_spread([1.0] * 60, 320)) < 320
