"""Galactic diffuse emission: normalisation, template, cover."""

import os
import pickle
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from pymc_gamma import datasets
from pymc_gamma.errors import DataFileError, SkyModelError
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.sky import GalacticDiffuse
from pymc_gamma.sky.template import GridTemplate, load_template

INTENSITY = "TeV-1 cm-2 s-1 sr-1"


@pytest.fixture(scope="module")
def diffuse():
    return GalacticDiffuse()


@pytest.mark.parametrize(("lon", "lat", "width"), [(0, 0, 6.4), (2, -1, 4.0), (-5, 1, 3.0)])
def test_mean_intensity_over_the_region_is_the_norm(diffuse, region, frame, lon, lat, width):
    roi = region(lon, lat, frame, width * 0.7)
    (part,) = diffuse.parts(roi)
    nodes = roi.quadrature(0.02)
    mean = part.spectrum(np.array([1.0, 10.0])) * (part.shape.brightness(nodes[0], nodes[1]) @ nodes[2])
    np.testing.assert_allclose(mean / roi.solid_angle, [1.36e-8, 1.36e-8 * 10**-2.41], rtol=2e-4)


def test_expected_flux_of_the_quick_start(diffuse, roi):
    (part,) = diffuse.parts(roi)
    energy = np.geomspace(0.1, 100, 2001)
    flux = np.trapezoid(part.spectrum(energy) * energy, np.log(energy))
    expected = 1.36e-8 * roi.solid_angle * (0.1**-1.41 - 100**-1.41) / 1.41
    assert flux == pytest.approx(expected, rel=1e-4)
    assert expected == pytest.approx(3.091e-9, rel=1e-3)


def test_shape_is_that_of_the_fermi_model(diffuse, roi):
    """The plane is brighter than the corners, and the centre than the plane, in units of the mean."""
    (part,) = diffuse.parts(roi)
    brightness = part.shape.brightness(np.array([0.0, 3.0, 0.0, -3.0]), np.array([0.0, 0.0, 3.0, 3.0]))
    mean = 1 / roi.solid_angle
    np.testing.assert_allclose(brightness / mean, [4.965, 2.947, 0.5185, 0.3732], rtol=1e-3)
    assert part.shape.feature == pytest.approx(0.0625)
    assert np.isinf(part.shape.radius)
    assert not part.shape.unit_integral


def test_same_sky_in_both_frames(diffuse, region):
    galactic, icrs = region(frame="galactic", width=4.0), region(frame="icrs", width=4.0)
    directions = SkyCoord([0.3, -1.2], [0.1, 0.9], unit="deg", frame="galactic")
    one = diffuse.parts(galactic)[0].shape.brightness(directions.l.deg, directions.b.deg)
    other = diffuse.parts(icrs)[0].shape.brightness(directions.icrs.ra.deg, directions.icrs.dec.deg)
    # The regions are turned against each other, so the means differ; ratios do not.
    assert one[0] / one[1] == pytest.approx(other[0] / other[1], rel=1e-9)


def test_margin_continues_the_edge(diffuse, roi):
    (part,) = diffuse.parts(roi)
    edge = part.shape.brightness(np.array([1.0]), np.array([3.875]))
    np.testing.assert_array_equal(part.shape.brightness(np.array([1.0, 1.0]), np.array([3.9, 4.4])), [*edge, *edge])


def test_region_outside_the_template(diffuse, region):
    for roi in (region(width=9.0), region(lon=30.0), region(lat=3.0, frame="icrs")):
        with pytest.raises(SkyModelError, match=r"'diffuse'.*outside the template.*template=.*gll_iem_v06"):
            diffuse.parts(roi)


def test_own_power_law_and_its_units(roi):
    diffuse = GalacticDiffuse(norm=2e-5 / u.GeV / u.m**2 / u.s / u.sr, index=2.0, reference=500 * u.GeV)
    value = diffuse.parts(roi)[0].spectrum(np.array([0.5, 1.0])) / roi.solid_angle
    np.testing.assert_allclose(value, [2e-6, 0.5e-6])
    with pytest.raises(TypeError, match="norm"):
        GalacticDiffuse(norm=1e-8)
    with pytest.raises(u.UnitConversionError, match="norm"):
        GalacticDiffuse(norm=1e-8 / u.TeV / u.cm**2 / u.s)
    with pytest.raises(ValueError, match="index must be finite"):
        GalacticDiffuse(index=np.nan)


def test_gammapy_spectrum(roi):
    from gammapy.modeling.models import (
        PowerLawNormSpectralModel,
        PowerLawSpectralModel,
        TemplateSpectralModel,
    )

    # A flux is that of the region, an intensity the mean over it: the unit decides.
    model = PowerLawSpectralModel(amplitude="3e-10 TeV-1 cm-2 s-1", index=2.7)
    part = GalacticDiffuse(spectral=model).parts(roi)[0]
    assert part.spectrum(np.array([10.0]))[0] == pytest.approx(3e-10 * 10**-2.7, rel=1e-12)
    table = TemplateSpectralModel([0.01, 1000] * u.TeV, [1e-4, 1e-14] * u.Unit(INTENSITY))
    part = GalacticDiffuse(spectral=table).parts(roi)[0]
    assert part.spectrum(np.array([1.0]))[0] == pytest.approx(1e-8 * roi.solid_angle, rel=1e-12)
    with pytest.raises(SkyModelError, match=r"'diffuse'.*expected a unit convertible"):
        GalacticDiffuse(spectral=PowerLawNormSpectralModel())
    with pytest.raises(SkyModelError, match="not both"):
        GalacticDiffuse(spectral=model, index=2.0)


def test_pickles(diffuse, roi):
    part = pickle.loads(pickle.dumps(diffuse.parts(roi)[0]))
    assert part.spectrum(np.array([1.0])) == diffuse.parts(roi)[0].spectrum(np.array([1.0]))
    assert part.shape.brightness(np.array([1.0]), np.array([0.0])) > 0


def test_template_from_a_gammapy_map(region):
    from gammapy.maps import Map

    roi = region(lon=40.0, lat=10.0, width=2.0)
    image = Map.create(skydir=(40, 10), width=6, binsz=0.1, frame="galactic", proj="TAN")
    coords = image.geom.get_coord()
    image.data = 1 + 0.2 * (coords.lat.value - 10) + 0.1 * (coords.lon.value - 40)
    template = load_template(image)
    lon, lat = np.array([40.4, 39.2]), np.array([10.5, 9.1])
    np.testing.assert_allclose(template(lon, lat), 1 + 0.2 * (lat - 10) + 0.1 * (lon - 40), rtol=1e-5)
    (part,) = GalacticDiffuse(template=image).parts(roi)
    nodes = roi.quadrature(0.02)
    assert part.shape.brightness(nodes[0], nodes[1]) @ nodes[2] == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("proj", ["CAR", "AIT"])
def test_all_sky_template_closes_on_itself(proj):
    from gammapy.maps import Map

    image = Map.create(binsz=5 if proj == "CAR" else 2, frame="galactic", proj=proj)
    lat = image.geom.get_coord().lat.value
    image.data = np.where(np.isfinite(lat), 2 + np.sin(np.radians(np.nan_to_num(lat))), np.nan)
    if proj == "CAR":
        template = load_template(image)
        assert template.periodic
        lon = np.array([179.0, -179.5, 180.0, 541.0, 0.0])
        assert template.contains(lon, 0 * lon).all()
        np.testing.assert_allclose(template(lon, 0 * lon + 30), template(0 * lon, 0 * lon + 30))
    else:
        template = load_template(image)
        value = template(np.array([20.0, -100.0]), np.array([40.0, -20.0]))
        np.testing.assert_allclose(value, 2 + np.sin(np.radians([40.0, -20.0])), rtol=5e-3)


def test_healpix_template():
    pytest.importorskip("healpy", reason="gammapy reads HEALPix maps with healpy")
    from gammapy.maps import Map

    image = Map.create(nside=32, map_type="hpx", frame="icrs")
    image.data = 2 + np.sin(np.radians(image.geom.get_coord().lat.value))
    template = load_template(image)
    assert template.frame == "icrs"
    value = template(np.array([10.0, 200.0]), np.array([33.0, -55.0]))
    np.testing.assert_allclose(value, 2 + np.sin(np.radians([33.0, -55.0])), rtol=5e-3)


def test_cube_is_integrated_over_energy(region):
    from gammapy.maps import Map, MapAxis

    axis = MapAxis.from_energy_bounds("10 GeV", "1 TeV", nbin=12, name="energy_true")
    cube = Map.create(width=8, binsz=0.5, frame="galactic", proj="CAR", axes=[axis])
    index = 2.0 + 0.1 * cube.geom.to_image().get_coord().lat.value
    energy = axis.center.to_value("TeV")[:, None, None]
    cube.data = energy**-index
    template = load_template(cube)
    expected = (0.1 ** (1 - index) - 0.6 ** (1 - index)) / (index - 1)
    lat = cube.geom.to_image().get_coord().lat.value
    lon = cube.geom.to_image().get_coord().lon.value
    np.testing.assert_allclose(template(lon, lat), expected, rtol=1e-9)


def test_bad_templates(tmp_path):
    from gammapy.maps import Map, MapAxis

    with pytest.raises(DataFileError, match=r"no template file .*nothing\.fits"):
        GalacticDiffuse(template=tmp_path / "nothing.fits")
    broken = tmp_path / "broken.fits"
    broken.write_bytes(b"SIMPLE  = T")
    with pytest.raises(DataFileError, match=r"broken\.fits ends inside the header"):
        GalacticDiffuse(template=broken)
    with pytest.raises(TypeError, match="path or a gammapy Map"):
        GalacticDiffuse(template=3)
    dark = Map.create(width=4, binsz=0.5, frame="galactic", proj="CAR")
    with pytest.raises(SkyModelError, match="zero everywhere"):
        GalacticDiffuse(template=dark)
    dark.data[...] = -1
    with pytest.raises(SkyModelError, match="not negative"):
        GalacticDiffuse(template=dark)
    soft = MapAxis.from_energy_bounds("1 GeV", "50 GeV", nbin=3, name="energy_true")
    with pytest.raises(SkyModelError, match="does not reach the band"):
        GalacticDiffuse(template=Map.create(width=4, binsz=0.5, axes=[soft]))
    time = MapAxis.from_edges([0, 1, 2], unit="s", name="time")
    with pytest.raises(SkyModelError, match="has the axes"):
        GalacticDiffuse(template=Map.create(width=4, binsz=0.5, axes=[time]))


def test_bundled_template_against_the_official_cube():
    mirror = os.environ.get(datasets.MIRROR_VARIABLE)
    found = list(Path(mirror).rglob("gll_iem_v06_gc.fits.gz")) if mirror else []
    if not found:
        pytest.skip(f"needs gll_iem_v06_gc.fits.gz in a folder named by {datasets.MIRROR_VARIABLE}")
    official, bundled = load_template(found[0]), load_template()
    lon, lat = np.meshgrid(np.linspace(-7.4, 7.4, 50), np.linspace(-3.95, 3.85, 40))
    ratio = official(lon, lat) / bundled(lon, lat)
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-6)


def test_dark_region(region):
    values = np.zeros((41, 41))
    values[0] = 1
    template = GridTemplate(-2.0, -2.0, 0.1, 0.1, values, "galactic", "half dark")
    with pytest.raises(SkyModelError, match="zero all over"):
        GalacticDiffuse(template=template).parts(region(lat=1.0, width=1.0))


def test_bilinear_interpolation(rng):
    values = rng.uniform(1, 2, (5, 6))
    template = GridTemplate(358.0, -1.0, 0.5, 0.25, values, "galactic", "random")
    assert template.cover == (357.75, 360.75, -1.125, 0.125)
    np.testing.assert_allclose(template(np.array([-2.0, 0.5]), np.array([-1.0, 0.0])), values[[0, -1], [0, -1]])
    middle = template(np.array([-1.75]), np.array([-0.875]))
    assert middle[0] == pytest.approx(values[:2, :2].mean())
    assert template.contains(np.array([-2.2, -2.3]), np.array([0.0, 0.0])).tolist() == [True, False]


def test_circular_region(diffuse):
    centre = SkyCoord(0, 0, unit="deg", frame="galactic")
    roi = RegionOfInterest(center=centre, radius=2 * u.deg, energy=(0.1, 100) * u.TeV)
    (part,) = diffuse.parts(roi)
    lon, lat, weight = roi.quadrature(0.02)
    assert part.shape.brightness(lon, lat) @ weight == pytest.approx(1, rel=5e-4)
