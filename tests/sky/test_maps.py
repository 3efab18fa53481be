"""Templates as maps: flux of cells, seams and poles, what lies at the edges of a map."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from gammapy.maps import Map, MapAxis, WcsGeom, WcsNDMap
from gammapy.modeling.models import (
    GaussianSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    TemplateSpatialModel,
)

from pymc_gamma.errors import PymcGammaWarning, SkyModelError
from pymc_gamma.folding.raster import rasterise
from pymc_gamma.geometry import RegionOfInterest, convert_lonlat
from pymc_gamma.sky import SkySource
from pymc_gamma.sky.template import load_template

SPECTRUM = PowerLawSpectralModel()
MARGIN = 0.8


def region(lon, lat, frame, width=2.0):
    return RegionOfInterest(
        SkyCoord(lon * u.deg, lat * u.deg, frame=frame), width=width * u.deg, energy=(0.5, 50) * u.TeV
    )


def part_of(image, roi, normalize=True, spectrum=SPECTRUM):
    (part,) = SkySource("map", TemplateSpatialModel(image, normalize=normalize), spectrum).parts(roi, MARGIN)
    return part


def raster_of(image, roi, normalize=True, pixel=0.05):
    return rasterise(part_of(image, roi, normalize).shape, roi, pixel, MARGIN, "map")


def all_sky(proj, frame, step=1.0, lon=0.0, repeated=False):
    columns = round(360 / step) + repeated
    geom = WcsGeom.create(
        npix=(columns, round(180 / step)), binsz=step, skydir=SkyCoord(lon * u.deg, 0 * u.deg, frame=frame),
        frame=frame, proj=proj,
    )  # fmt: skip
    return WcsNDMap(geom, np.ones(geom.data_shape), unit="sr-1")


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
@pytest.mark.parametrize(
    ("proj", "lon", "repeated"), [("CAR", 0.0, False), ("CAR", 180.0, False), ("CAR", 0.0, True), ("AIT", 0.0, False)]
)
def test_a_constant_sky_has_no_seam(proj, lon, repeated, frame):
    image = all_sky(proj, frame, lon=lon, repeated=repeated)
    places = [(0.0, 10.0), (180.0, 10.0), (179.6, -40.0), (30.0, 89.5), (0.0, -90.0)]
    # at the poles of this projection gammapy's solid angles of cells are wrong, and those are what a map goes by
    for place in places[:3] if proj == "AIT" else places:
        here = convert_lonlat(*place, frame, "galactic")
        roi = region(float(here[0]), float(here[1]), "galactic")
        part = part_of(image, roi, normalize=False)
        assert np.isinf(part.shape.radius)
        raster = rasterise(part.shape, roi, 0.05, MARGIN, "map")
        inside = raster.values[2:-2, 2:-2]
        assert inside.mean() == pytest.approx(1, abs=3e-3)
        # the raster's own unevenness is below what the PSF shows: compare means of 0.25 deg
        n = len(inside) // 5 * 5
        blocks = inside[:n, :n].reshape(n // 5, 5, n // 5, 5).mean(axis=(1, 3))
        np.testing.assert_allclose(blocks, 1, atol=4e-2 if proj == "AIT" else 1e-2)
        if proj == "CAR":
            lon_here, lat_here, _ = roi.quadrature(0.1)
            np.testing.assert_allclose(part.shape.brightness(lon_here, lat_here), 1, rtol=1e-12)


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
@pytest.mark.parametrize("repeated", [False, True])
def test_a_constant_diffuse_template_has_no_seam(frame, repeated):
    template = load_template(all_sky("CAR", frame, lon=0.0, repeated=repeated))
    lon = np.array([-180.0, -179.7, 179.9, 180.0, 540.2, 0.0, 359.9])
    for lat in (-90.0, -89.9, 0.0, 45.0, 90.0):
        np.testing.assert_allclose(template(lon, np.full(len(lon), lat)), 1, rtol=1e-12)
        assert template.contains(lon, np.full(len(lon), lat)).all()


@pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT"])
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
@pytest.mark.parametrize("width", [1.0, 5.0])
def test_the_flux_of_every_cell_is_kept(proj, frame, width, rng):
    """A map of noise around a bright cell, in a region that holds it or sees a part of it."""
    roi = region(121.3, -35.2, "galactic", 2.4)
    centre = roi.center.directional_offset_by(70 * u.deg, 0.4 * u.deg)
    image = WcsNDMap(WcsGeom.create(skydir=centre, width=width, binsz=0.09, frame=frame, proj=proj), unit="sr-1")
    image.data = rng.lognormal(0, 1.5, image.geom.data_shape)
    row, column = (n // 2 for n in image.data.shape)
    image.data[row, column] = 1e5
    solid = image.geom.solid_angle().to_value("sr")
    raster = raster_of(image, roi, normalize=False)
    if width == 1.0:
        assert raster.values.sum() * raster.pixel_sr == pytest.approx(float((image.data * solid).sum()), rel=1e-9)
        normalised = raster_of(image, roi)
        assert normalised.values.sum() * normalised.pixel_sr == pytest.approx(1, rel=1e-9)
    # the bright cell alone: what is within two cells of it
    vectors, flux = raster.nodes()
    x, y = raster.plane.project(vectors)
    where = image.geom.pix_to_coord((column, row))
    there = SkyCoord(*where, frame=frame).galactic
    x0, y0 = raster.plane.to_plane(there.l.deg, there.b.deg)
    near = np.hypot(x - x0, y - y0) < 0.15
    lone = image.data[row, column] * solid[row, column]
    assert lone < flux[near].sum() < 1.01 * lone


@pytest.mark.parametrize(("sigma", "tolerance"), [(0.1, 0.01), (0.2, 0.002)])
def test_a_smooth_source_is_not_widened(sigma, tolerance):
    roi = region(10, 0, "galactic")
    model = GaussianSpatialModel(lon_0=10.02 * u.deg, lat_0=0.01 * u.deg, sigma=sigma * u.deg, frame="galactic")
    image = WcsNDMap(WcsGeom.create(skydir=(10, 0), width=2.4, binsz=0.05, frame="galactic"), unit="sr-1")
    image.data = model.evaluate_geom(image.geom).to_value("sr-1")
    raster = raster_of(image, roi)
    vectors, flux = raster.nodes()
    x, y = raster.plane.project(vectors)
    mean = (x @ flux, y @ flux)
    assert raster.plane.to_sky(*mean)[0] == pytest.approx(10.02, abs=1e-3)
    variance = ((x - mean[0]) ** 2 @ flux, (y - mean[1]) ** 2 @ flux)
    # sharing a flux among the nearest pixels widens by a sixth of the square of a pixel
    assert np.subtract(variance, raster.pixel**2 / 6) == pytest.approx(sigma**2, rel=tolerance)


def test_an_edge_that_cuts_the_source():
    roi = region(10, 0, "galactic", 4.0)
    model = GaussianSpatialModel(lon_0=10.6 * u.deg, lat_0=0 * u.deg, sigma=0.3 * u.deg, frame="galactic")
    image = WcsNDMap(WcsGeom.create(skydir=(10, 0), width=1.2, binsz=0.05, frame="galactic"), unit="sr-1")
    image.data = model.evaluate_geom(image.geom).to_value("sr-1")
    part = part_of(image, roi, normalize=False)
    raster = rasterise(part.shape, roi, 0.05, MARGIN, "map")
    cells = float((image.data * image.geom.solid_angle().to_value("sr")).sum())
    assert raster.values.sum() * raster.pixel_sr == pytest.approx(cells, rel=1e-9)
    lon = np.array([10.55, 10.61, 10.65, 9.35])
    values = part.shape.brightness(lon, np.zeros(4))
    assert values[0] == pytest.approx(model(10.55 * u.deg, 0 * u.deg).to_value("sr-1"), rel=0.01)
    assert (values[1:] == 0).all()


def test_a_moved_template():
    roi = region(10, 0, "galactic", 4.0)
    image = WcsNDMap(WcsGeom.create(skydir=(10, 0), width=0.6, binsz=0.05, frame="galactic"), unit="sr-1")
    image.data[6, 6] = 1
    model = TemplateSpatialModel(image, lon_0="10.7 deg", lat_0="-0.4 deg")
    (part,) = SkySource("map", model, SPECTRUM).parts(roi, MARGIN)
    raster = rasterise(part.shape, roi, 0.05, MARGIN, "map")
    vectors, flux = raster.nodes()
    x, y = raster.plane.project(vectors)
    lit = image.geom.pix_to_coord((6, 6))
    lon, lat = raster.plane.to_sky(x @ flux, y @ flux)
    assert float(lon) == pytest.approx(lit[0].to_value("deg") + 0.7, abs=1e-4)
    assert float(lat) == pytest.approx(lit[1].to_value("deg") - 0.4, abs=1e-4)
    assert part.shape.brightness(np.array([float(lon)]), np.array([float(lat)])) > 0


def test_cells_that_are_no_brightness_are_counted():
    image = WcsNDMap(WcsGeom.create(skydir=(10, 0), width=1, binsz=0.1, frame="galactic"), unit="sr-1")
    image.data += 1
    image.data[0, :3] = np.nan
    image.data[1, :2] = -5
    with pytest.warns(PymcGammaWarning, match="'map': of 100 cells 3 not finite and 2 negative"):
        source = SkySource("map", TemplateSpatialModel(image, normalize=False), SPECTRUM)
    roi = region(10, 0, "galactic", 4.0)
    (part,) = source.parts(roi, MARGIN)
    raster = rasterise(part.shape, roi, 0.05, MARGIN, "map")
    solid = image.geom.solid_angle().to_value("sr")
    valid = image.data > 0
    assert raster.values.sum() * raster.pixel_sr == pytest.approx(float(solid[valid].sum()), rel=1e-9)
    with pytest.raises(SkyModelError, match="one NaN spoils them all"):
        SkySource("map", TemplateSpatialModel(image), SPECTRUM)
    image.data = np.where(np.isnan(image.data), 0, image.data)
    with pytest.warns(PymcGammaWarning, match="2 negative"):
        part = part_of(image, roi)
    raster = rasterise(part.shape, roi, 0.05, MARGIN, "map")
    assert raster.values.sum() * raster.pixel_sr == pytest.approx(1, rel=1e-9)


def test_a_cube_keeps_the_flux_of_its_cells_at_every_energy():
    axis = MapAxis.from_nodes([0.5, 2.0, 10.0], unit="TeV", name="energy_true", interp="log")
    cube = Map.create(width=1, binsz=0.1, frame="icrs", skydir=(50, 20), axes=[axis], unit="TeV-1 cm-2 s-1 sr-1")
    cube.data = np.random.default_rng(3).lognormal(0, 2, cube.data.shape)
    roi = region(50, 20, "icrs", 3.0)
    source = SkySource("cube", TemplateSpatialModel(cube, normalize=False), PowerLawNormSpectralModel())
    parts = source.parts(roi, MARGIN)
    solid = cube.geom.to_image().solid_angle().to_value("sr")
    for n, part in enumerate(parts):
        raster = rasterise(part.shape, roi, 0.05, MARGIN, "cube")
        flux = part.spectrum(axis.center[n : n + 1].to_value("TeV"))[0] * raster.values.sum() * raster.pixel_sr
        assert flux == pytest.approx(float((cube.data[n] * solid).sum()), rel=1e-9)


def test_axes_that_are_not_energy():
    axis = MapAxis.from_edges([0, 1, 2], name="phase")
    cube = Map.create(width=1, binsz=0.1, axes=[axis], unit="sr-1")
    cube.data += 1
    with pytest.raises(SkyModelError, match=r"'map' has the axes \['phase'\]"):
        SkySource("map", TemplateSpatialModel(cube), SPECTRUM)
