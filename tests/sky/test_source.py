"""Sources made of gammapy models: values, frames, units, bad models."""

import pickle

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from gammapy.maps import Map, MapAxis
from gammapy.modeling.models import (
    ConstantSpatialModel,
    ConstantTemporalModel,
    DiskSpatialModel,
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    GeneralizedGaussianSpatialModel,
    LogParabolaSpectralModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    Shell2SpatialModel,
    ShellSpatialModel,
    SkyModel,
    TemplateSpatialModel,
)

from pymc_gamma.errors import SkyModelError
from pymc_gamma.sky import SkyGaussian, SkyPoint, SkySource, TemplateShape

ENERGY = np.geomspace(0.05, 200, 30)
HERE = {"lon_0": "1 deg", "lat_0": "0.5 deg", "frame": "galactic"}

EXTENDED = {
    "disk": DiskSpatialModel(r_0="0.5 deg", edge_width=0.1, **HERE),
    "elliptic disk": DiskSpatialModel(r_0="0.5 deg", e=0.7, phi="50 deg", edge_width=0.1, **HERE),
    "shell": ShellSpatialModel(radius="0.4 deg", width="0.2 deg", **HERE),
    "shell2": Shell2SpatialModel(r_0="0.6 deg", eta=0.3, **HERE),
    "generalised Gaussian": GeneralizedGaussianSpatialModel(r_0="0.2 deg", eta=0.6, e=0.3, **HERE),
}


def polar_integral(shape, brightness, radius, n_radius=1500, n_angle=120):
    """Integral of a brightness over a disc around its centre."""
    from pymc_gamma.geometry import lonlat_from_vectors, tangent_basis

    r = (np.arange(n_radius) + 0.5) / n_radius * np.radians(radius)
    turn = (np.arange(n_angle) + 0.5) / n_angle * 2 * np.pi
    local = np.stack(
        np.broadcast_arrays(np.cos(r)[:, None], np.sin(r)[:, None] * np.cos(turn), np.sin(r)[:, None] * np.sin(turn)),
        axis=-1,
    )
    lon, lat = lonlat_from_vectors(local @ tangent_basis(shape.lon, shape.lat))
    ring = np.sin(r) * np.radians(radius) / n_radius * 2 * np.pi / n_angle
    return float((brightness(lon, lat).sum(axis=1) * ring).sum())


def cube(normalised=False):
    axis = MapAxis.from_energy_bounds("0.05 TeV", "50 TeV", nbin=8, name="energy_true")
    unit = "" if normalised else "TeV-1 cm-2 s-1 sr-1"
    result = Map.create(width=3, binsz=0.1, frame="galactic", skydir=(1, 0.5), axes=[axis], unit=unit, dtype=float)
    coords = result.geom.get_coord()
    # It shrinks with energy.
    sigma2 = 0.2 * coords["energy_true"].to_value("TeV") ** -0.1
    r2 = ((coords.lon.to_value("deg") - 1 + 180) % 360 - 180) ** 2 + (coords.lat.to_value("deg") - 0.5) ** 2
    result.data = 1e-12 * coords["energy_true"].to_value("TeV") ** -2.3 * np.exp(-0.5 * r2 / sigma2) / sigma2
    return result


def test_point(region, frame):
    spectral = ExpCutoffPowerLawSpectralModel(lambda_="0.1 TeV-1")
    source = SkySource("crab", PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", frame="icrs"), spectral)
    (part,) = source.parts(region(184.55, -5.78, frame))
    assert isinstance(part.shape, SkyPoint)
    position = SkyCoord(part.shape.lon, part.shape.lat, unit="deg", frame=frame)
    assert position.separation(SkyCoord(83.63, 22.01, unit="deg")).deg < 1e-9
    expected = spectral(ENERGY * u.TeV).to_value("TeV-1 cm-2 s-1")
    np.testing.assert_allclose(part.spectrum(ENERGY), expected, rtol=1e-10)
    assert source.parts(region(0, 0, frame)) == ()


def test_round_gaussian_keeps_its_closed_form(region, frame):
    model = GaussianSpatialModel(sigma="15 arcmin", **HERE)
    (part,) = SkySource("g", model, PowerLawSpectralModel()).parts(region(frame=frame))
    assert isinstance(part.shape, SkyGaussian)
    assert part.shape.sigma == pytest.approx(0.25, abs=1e-12)
    ours = 1 / (2 * np.pi * np.radians(part.shape.sigma) ** 2)
    assert ours == pytest.approx(model(1 * u.deg, 0.5 * u.deg).to_value("sr-1"), rel=1e-5)


@pytest.mark.parametrize("phi", [0, 30, 90, -140])
def test_elongated_gaussian_keeps_its_closed_form(phi, region, frame):
    model = GaussianSpatialModel(sigma="0.3 deg", e=0.8, phi=f"{phi} deg", **HERE)
    (part,) = SkySource("g", model, PowerLawSpectralModel()).parts(region(frame=frame))
    shape = part.shape
    assert isinstance(shape, SkyGaussian)
    assert (shape.sigma, shape.minor) == pytest.approx((0.3, 0.18))
    # in either frame it lies on the sky as gammapy's: compared where gammapy's definition by chords is the same
    directions = SkyCoord([0.9, 1.0, 1.1, 0.95], [0.45, 0.62, 0.48, 0.4], unit="deg", frame="galactic")
    centre = SkyCoord(shape.lon, shape.lat, unit="deg", frame=frame)
    here = directions.transform_to(frame)
    turn = centre.position_angle(here).rad - np.radians(shape.phi)
    r = centre.separation(here).deg
    ours = np.exp(-0.5 * ((r * np.cos(turn) / 0.3) ** 2 + (r * np.sin(turn) / 0.18) ** 2))
    ours /= 2 * np.pi * np.radians(0.3) * np.radians(0.18)
    np.testing.assert_allclose(ours, model(directions.l, directions.b).to_value("sr-1"), rtol=1e-4)


@pytest.mark.parametrize(
    ("e", "phi", "message"), [(1.1, 0, "eccentricity"), (np.nan, 0, "eccentricity"), (0.5, np.inf, "phi")]
)
def test_shapes_that_are_no_ellipses(e, phi, message):
    with pytest.raises(SkyModelError, match=message):
        SkyGaussian(0, 0, 0.1, e, phi)


@pytest.mark.parametrize("name", EXTENDED)
def test_extended_models_are_gammapys(name, region, frame):
    model = EXTENDED[name]
    (part,) = SkySource(name, model, PowerLawSpectralModel()).parts(region(frame=frame))
    shape = part.shape
    assert isinstance(shape, TemplateShape)
    assert shape.unit_integral
    assert shape.radius == pytest.approx(model.evaluation_radius.to_value("deg"))
    assert 0 < shape.feature <= shape.radius
    directions = SkyCoord([0.7, 1.0, 1.3, 1.55], [0.4, 0.6, 0.9, 0.5], unit="deg", frame="galactic")
    expected = model(directions.l, directions.b).to_value("sr-1")
    here = directions.transform_to(frame).spherical
    np.testing.assert_allclose(shape.brightness(here.lon.deg, here.lat.deg), expected, rtol=1e-9)
    # gammapy normalises on the plane; the sphere is smaller by less than the radius squared.
    assert polar_integral(shape, shape.brightness, 1.02 * shape.radius) == pytest.approx(1, abs=3e-3)


def test_shapes_of_arrays_are_kept(roi):
    (part,) = SkySource("disk", EXTENDED["disk"], PowerLawSpectralModel()).parts(roi)
    lon, lat = np.meshgrid(np.linspace(0, 2, 5), np.linspace(0, 1, 4))
    assert part.shape.brightness(lon, lat).shape == (4, 5)
    assert part.spectrum(ENERGY.reshape(5, 6)).shape == (5, 6)
    (constant,) = SkySource("iso", ConstantSpatialModel(), PowerLawSpectralModel()).parts(roi)
    np.testing.assert_array_equal(constant.shape.brightness(lon, lat), np.ones((4, 5)))


def test_constant_fills_the_sky(roi, region):
    source = SkySource("iso", ConstantSpatialModel(value="0.5 sr-1"), PowerLawSpectralModel())
    for place in (roi, region(120, -60, "icrs")):
        (part,) = source.parts(place)
        assert np.isinf(part.shape.radius)
        assert not part.shape.unit_integral
        assert (part.shape.lon, part.shape.lat) == (place.lon, place.lat)
        assert part.shape.brightness(np.array([place.lon]), np.array([place.lat])) == 0.5


def test_template_image(region, frame):
    image = cube().sum_over_axes(keepdims=False)
    model = TemplateSpatialModel(image)
    (part,) = SkySource("map", model, PowerLawSpectralModel()).parts(region(frame=frame))
    assert part.shape.unit_integral
    assert part.shape.feature == pytest.approx(0.1)
    cells = image.geom.get_coord().skycoord[12:18:2, 13]
    expected = model(cells.l, cells.b).to_value("sr-1")
    here = cells.transform_to(frame).spherical
    np.testing.assert_allclose(part.shape.brightness(here.lon.deg, here.lat.deg), expected, rtol=1e-9)
    far = SkyCoord(-2, 0.5, unit="deg", frame="galactic").transform_to(frame).spherical
    assert part.shape.brightness(np.array([far.lon.deg]), np.array([far.lat.deg])) == 0


@pytest.mark.parametrize("normalised", [True, False])
def test_template_cube_is_exact_at_its_energies(normalised, roi):
    template = cube()
    model = TemplateSpatialModel(template, normalize=normalised)
    spectral = PowerLawSpectralModel() if normalised else PowerLawNormSpectralModel(norm=2, tilt=0.1)
    parts = SkySource("cube", model, spectral).parts(roi)
    nodes = template.geom.axes["energy_true"].center.to_value("TeV")
    assert len(parts) == nodes.size
    cells = template.geom.to_image().get_coord()
    lon, lat = (cells[axis].to_value("deg")[[12, 14, 17], [10, 15, 17]] for axis in ("lon", "lat"))
    for energy in nodes:
        ours = sum(p.spectrum(np.array([energy])) * p.shape.brightness(lon, lat) for p in parts)
        gammapys = model(lon * u.deg, lat * u.deg, energy * u.TeV) * spectral(energy * u.TeV)
        np.testing.assert_allclose(ours, gammapys.to_value("TeV-1 cm-2 s-1 sr-1"), rtol=1e-9)
    # Between them: the shape is linear in ln E where gammapy's is a power law.
    between = np.sqrt(nodes[1:] * nodes[:-1])
    for energy in between:
        ours = sum(p.spectrum(np.array([energy])) * p.shape.brightness(lon, lat) for p in parts)
        gammapys = model(lon * u.deg, lat * u.deg, energy * u.TeV) * spectral(energy * u.TeV)
        np.testing.assert_allclose(ours, gammapys.to_value("TeV-1 cm-2 s-1 sr-1"), rtol=0.02)
    outside = np.array([nodes[0] * 0.9, nodes[-1] * 1.1])
    assert all((p.spectrum(outside) == 0).all() for p in parts)
    assert all(p.shape.unit_integral for p in parts)
    shape = parts[0].shape
    assert polar_integral(shape, shape.brightness, shape.radius, 400) == pytest.approx(1, abs=2e-2)


def test_dark_energies_of_a_cube_are_reported(roi):
    template = cube()
    template.data[2] = 0
    with pytest.warns(UserWarning, match="'cube' is zero at 1 of 8 energies"):
        source = SkySource("cube", TemplateSpatialModel(template, normalize=False), PowerLawNormSpectralModel())
    parts = source.parts(roi)
    energy = template.geom.axes["energy_true"].center.to_value("TeV")
    assert len(parts) == 7
    assert all(p.spectrum(energy[2:3]) == 0 for p in parts)


def test_from_gammapy():
    model = SkyModel(PowerLawSpectralModel(), PointSpatialModel(), name="vela")
    assert SkySource.from_gammapy(model).name == "vela"
    assert SkySource.from_gammapy(model, name="other").name == "other"


def test_later_changes_of_the_model_do_not_matter(roi):
    spectral = PowerLawSpectralModel(amplitude="1e-12 TeV-1 cm-2 s-1")
    spatial = GeneralizedGaussianSpatialModel(r_0="0.3 deg", eta=0.5, **HERE)
    (part,) = SkySource("s", spatial, spectral).parts(roi)
    before = part.shape.brightness(np.array([1.0]), np.array([0.5]))
    spectral.amplitude.value = 7
    spatial.r_0.value = 1
    assert part.spectrum(np.array([1.0]))[0] == pytest.approx(1e-12)
    assert part.shape.brightness(np.array([1.0]), np.array([0.5])) == before


def test_pickles(region):
    (part,) = SkySource("disk", EXTENDED["disk"], PowerLawSpectralModel()).parts(region(frame="icrs"))
    copy = pickle.loads(pickle.dumps(part))
    np.testing.assert_allclose(copy.spectrum(ENERGY), part.spectrum(ENERGY))


class TestBadModels:
    def test_not_models(self):
        with pytest.raises(SkyModelError, match="spatial model of 'x' must be a gammapy SpatialModel"):
            SkySource("x", "point", PowerLawSpectralModel())
        with pytest.raises(SkyModelError, match=r"spectral model of 'x'.*Instances"):
            SkySource("x", PointSpatialModel(), PowerLawSpectralModel)
        with pytest.raises(SkyModelError, match="needs a gammapy SkyModel"):
            SkySource.from_gammapy(FoVBackgroundModel(dataset_name="d"))
        with pytest.raises(SkyModelError, match="'s' has no spatial model"):
            SkySource.from_gammapy(SkyModel(PowerLawSpectralModel(), name="s"))

    def test_names(self):
        with pytest.raises(SkyModelError, match="non-empty name"):
            SkySource("", PointSpatialModel(), PowerLawSpectralModel())

    def test_time_dependence(self):
        model = SkyModel(
            PowerLawSpectralModel(), PointSpatialModel(), temporal_model=ConstantTemporalModel(), name="burst"
        )
        with pytest.raises(SkyModelError, match="'burst' varies in time"):
            SkySource.from_gammapy(model)

    def test_units(self):
        with pytest.raises(SkyModelError, match=r"spectrum of 'p' \(PowerLawNorm.*expected a unit convertible"):
            SkySource("p", PointSpatialModel(), PowerLawNormSpectralModel())
        with pytest.raises(SkyModelError, match=r"'iso' is in '1 / sr'.*product must be convertible"):
            SkySource("iso", ConstantSpatialModel(), PowerLawNormSpectralModel())

    def test_frame(self):
        model = PointSpatialModel(frame="fk5")
        with pytest.raises(SkyModelError, match="'p' is in the frame 'fk5'"):
            SkySource("p", model, PowerLawSpectralModel())

    def test_negative_spectrum_names_source_and_energy(self, roi):
        spectral = PowerLawSpectralModel(amplitude="-1e-13 TeV-1 cm-2 s-1")
        (part,) = SkySource("odd", PointSpatialModel(**HERE), spectral).parts(roi)
        with pytest.raises(SkyModelError, match=r"spectrum of 'odd' is -1e-13 at 1 TeV \(2 of 2 energies\)"):
            part.spectrum(np.array([1.0, 2.0]))

    def test_nan_spectrum_names_source_and_energy(self, roi):
        spectral = LogParabolaSpectralModel()
        spectral.alpha.value = np.nan
        (part,) = SkySource("odd", PointSpatialModel(**HERE), spectral).parts(roi)
        with pytest.raises(SkyModelError, match=r"spectrum of 'odd' is nan at 0.05 TeV"):
            part.spectrum(ENERGY)

    def test_extent_that_is_no_number(self, roi):
        model = ShellSpatialModel(**HERE)
        model.radius.value = np.nan
        with pytest.raises(SkyModelError, match=r"source 'odd'.*radius of nan deg"):
            SkySource("odd", model, PowerLawSpectralModel()).parts(roi)

    def test_negative_brightness(self, roi):
        (part,) = SkySource("odd", ConstantSpatialModel(value="-2 sr-1"), PowerLawSpectralModel()).parts(roi)
        with pytest.raises(SkyModelError, match=r"morphology of 'odd' \(ConstantSpatialModel\) is -2"):
            part.shape.brightness(np.array([1.0]), np.array([0.5]))

    def test_empty_cube(self):
        template = cube()
        template.data[...] = 0
        with pytest.raises(SkyModelError, match="'dark' is zero everywhere"):
            SkySource("dark", TemplateSpatialModel(template, normalize=False), PowerLawNormSpectralModel())
