"""Elongated Gaussians against brute force, and against their own limits: round, a line, another frame."""

import astropy.units as u
import numpy as np
import pytest
from gammapy.maps import WcsGeom, WcsNDMap
from gammapy.modeling.models import GaussianSpatialModel, PowerLawSpectralModel, TemplateSpatialModel
from oracle import Oracle
from setups import assert_close_to_brute_force, column, only, pdf_integral, pointing, region, simulated_acceptance

import pymc_gamma as pmg
from pymc_gamma.geometry import convert_lonlat, unit_vectors

SHAPES = {
    "nearly round": (0.3, 0.5, 20),
    "long": (0.25, 0.93, -35),
    "needle": (0.4, 0.999, 100),
    "long and far": (0.25, 0.93, 70),
    "long across the edge": (0.5, 0.93, 10),
}
PLACES = {"long and far": (-2.2, 2.1), "long across the edge": (1.0, 3.1)}


def elongated(name, lon, lat, sigma, e, phi, frame="galactic"):
    where = {"lon_0": lon * u.deg, "lat_0": lat * u.deg, "frame": frame}
    shape = GaussianSpatialModel(sigma=sigma * u.deg, e=e, phi=phi * u.deg, **where)
    return pmg.SkySource(name, shape, PowerLawSpectralModel(index=2.2, amplitude="1e-11 TeV-1 cm-2 s-1"))


SKY = {name: elongated(name, *PLACES.get(name, (0.4, -0.2)), *shape) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def response():
    return pmg.fold(list(SKY.values()), pointing(), region(energy=(0.2, 50.0)))


@pytest.fixture(scope="module")
def oracle(response):
    return Oracle(response.observations[0], response.roi, response.energy_true_edges, n_energy=400)


@pytest.mark.parametrize("name", SHAPES)
def test_density_is_that_of_brute_force(response, oracle, name, rng):
    rows = response.simulate_rows(only(response, name), 10, rng)
    k = column(response, name)
    density = response.component_pdf(rows)[:, k] * float(response.acceptance[k])
    assert_close_to_brute_force(density, oracle.component(SKY[name], rows))


@pytest.mark.parametrize("name", SHAPES)
def test_acceptance_is_the_simulated_one(response, name, rng):
    (part,) = SKY[name].parts(response.roi)
    nodes, share = grid(part.shape)
    oracle = Oracle(response.observations[0], response.roi, response.energy_true_edges)
    detected = oracle.detections(type(part)(part.name, None, part.spectrum), nodes, share)
    counts, error = simulated_acceptance(response, SKY[name], 200_000, rng, detected=detected)
    assert abs(float(response.acceptance[column(response, name)]) - counts) < 4 * error


def grid(shape, n=121):
    """Unit vectors and shares of the flux, by astropy's offsets."""
    from astropy.coordinates import offset_by

    t = np.linspace(-6, 6, n)
    x, y = (q.ravel() for q in np.meshgrid(t, t))
    along, across = shape.sigma * x, shape.sigma * np.sqrt(1 - shape.e**2) * y
    turn = shape.phi + np.degrees(np.arctan2(across, along))
    lon, lat = offset_by(*np.radians([shape.lon, shape.lat]), np.radians(turn), np.radians(np.hypot(along, across)))
    share = np.exp(-0.5 * (x**2 + y**2))
    return unit_vectors(
        u.Quantity(lon, "rad").to_value("deg"), u.Quantity(lat, "rad").to_value("deg")
    ), share / share.sum()


@pytest.mark.parametrize("name", ["long", "needle"])
def test_density_integrates_to_one(response, name):
    assert abs(pdf_integral(response, name, 0.04, per_decade=60) - 1) < 1e-3


def test_simulated_photons_have_its_widths_and_angle(response, rng):
    photons = response.simulate_true("long", 40_000, rng=rng)
    # the effective area is flat to a per mille over it
    x, y = (photons.lon_true - 0.4) * np.cos(np.radians(-0.2)), photons.lat_true + 0.2
    covariance = np.cov(x, y)
    sigma, e, phi = SHAPES["long"]
    major = np.array([np.sin(np.radians(phi)), np.cos(np.radians(phi))])
    minor = np.array([major[1], -major[0]])
    assert major @ covariance @ major == pytest.approx(sigma**2, rel=0.03)
    assert minor @ covariance @ minor == pytest.approx(sigma**2 * (1 - e**2), rel=0.03)
    assert abs(major @ covariance @ minor) < 4 * sigma**2 * np.sqrt((1 - e**2) / 40_000)


def test_limits_are_reached_smoothly(rng):
    """Hardly elongated is round; a line is the limit of needles."""
    where = (0.5, 0.3)
    sky = [elongated(f"e={e}", *where, 0.3, e, 50) for e in (0.0, 1e-4, 1.0, 1 - 1e-9)]
    response = pmg.fold(sky, pointing(), region(energy=(0.2, 50.0)))
    rows = response.simulate_rows([1, 1, 1, 1], 400, rng)
    pdf = response.component_pdf(rows)
    np.testing.assert_allclose(pdf[:, 1], pdf[:, 0], rtol=2e-4)
    near = pdf[:, 3] > 1e-6 * pdf[:, 3].max()
    np.testing.assert_allclose(pdf[near, 2], pdf[near, 3], rtol=1e-3)
    np.testing.assert_allclose(response.acceptance[[1, 3]], response.acceptance[[0, 2]], rtol=1e-5)


def test_it_does_not_depend_on_the_frame(rng):
    lon, lat = (float(x) for x in convert_lonlat(150.0, 60.0, "icrs", "galactic"))
    source = elongated("s", 150.3, 59.9, 0.3, 0.95, 30, "icrs")
    observation = pointing(150.0, 60.0, "icrs")
    by_frame = [
        pmg.fold(source, observation, region(*where, frame=frame, energy=(0.3, 30.0), radius=1.5))
        for where, frame in (((150.0, 60.0), "icrs"), ((lon, lat), "galactic"))
    ]
    np.testing.assert_allclose(by_frame[0].acceptance, by_frame[1].acceptance, rtol=1e-5)
    events = by_frame[0].simulate([1], 200, rng=rng)
    pdf = [response.component_pdf(events.to_frame(response.roi.frame).to_rows())[:, 0] for response in by_frame]
    np.testing.assert_allclose(pdf[0], pdf[1], rtol=1e-6)


def test_it_is_stored(tmp_path, rng):
    response = pmg.fold(SKY["long"], pointing(), region(width=2.0, energy=(0.5, 20.0)))
    response.save(tmp_path / "r")
    again = pmg.Response.load(tmp_path / "r")
    rows = response.simulate_rows([1], 50, rng)
    np.testing.assert_array_equal(response.component_pdf(rows), again.component_pdf(rows))
    drawn = [one.simulate_rows([1], 20, np.random.default_rng(5)) for one in (response, again)]
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(("step", "tolerance"), [(0.02, 0.003), (0.05, 0.01)])
@pytest.mark.parametrize("width", [0.8, 2.4])
def test_a_template_of_a_source_counts_like_the_source(step, tolerance, width, rng):
    roi, observation = region(radius=0.7, energy=(0.6, 30.0)), pointing(0.4, 0.2)
    shape = GaussianSpatialModel(lon_0=0.02 * u.deg, lat_0=0 * u.deg, sigma=0.1 * u.deg, frame="galactic")
    spectrum = PowerLawSpectralModel(index=2.2, amplitude="6e-12 TeV-1 cm-2 s-1")
    sky = WcsNDMap(WcsGeom.create(skydir=(0, 0), width=width, binsz=step, frame="galactic"), unit="sr-1")
    sky.data = shape.evaluate_geom(sky.geom).to_value("sr-1")
    components = [pmg.SkySource("shape", shape, spectrum), pmg.SkySource("map", TemplateSpatialModel(sky), spectrum)]
    response = pmg.fold(components, observation, roi)
    assert float(response.acceptance[1]) == pytest.approx(float(response.acceptance[0]), rel=1e-3)
    pdf = response.component_pdf(response.simulate_rows([1, 0], 300, rng))
    assert np.median(np.abs(pdf[:, 1] / pdf[:, 0] - 1)) < tolerance


def test_a_map_coarser_than_the_psf_gets_a_warning():
    roi, observation = region(radius=0.7, energy=(0.6, 30.0)), pointing()
    sky = WcsNDMap(WcsGeom.create(skydir=(0, 0), width=0.9, binsz=0.15, frame="galactic"), unit="sr-1")
    sky.data[3, 2] = 1.0
    source = pmg.SkySource("map", TemplateSpatialModel(sky), PowerLawSpectralModel())
    with pytest.warns(pmg.errors.PymcGammaWarning, match=r"'map' has cells of 0.15 deg, wider than the narrowest PSF"):
        pmg.fold(source, observation, roi)
    sky.data[...] = 1.0
    pmg.fold(pmg.SkySource("map", TemplateSpatialModel(sky), PowerLawSpectralModel()), observation, roi)
