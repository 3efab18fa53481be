"""A smooth instrument, of which everything is known by one-dimensional integrals.

The response of a real instrument is made of histograms of simulated events, whose noise hides errors of a per mille.
"""

import astropy.units as u
import numpy as np
import pytest
from gammapy.modeling.models import GaussianSpatialModel, PowerLawSpectralModel
from oracle import Oracle
from scipy.integrate import cumulative_trapezoid
from scipy.special import ndtr
from scipy.stats import ncx2
from setups import direction, pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.folding.tables import IN_BIN_INDEX
from pymc_gamma.instrument.irfs.core import Background, EffectiveArea, EnergyDispersion, IRFs, PointSpread

PLACE = (0.3, -0.2)
ROWS = np.array([[energy, PLACE[0] + shift, PLACE[1]] for energy in (0.3, 1.0, 3.0, 10.0) for shift in (0.0, 0.1, 0.2)])
RATE = 2.0  # of the background at 1 TeV, s-1 TeV-1 sr-1; it falls as E^-3


def smooth_irfs(factor=1.0):
    energy, offset, migra = np.geomspace(0.05, 200, 241), np.array([0.0, 2.0, 4.0, 6.0]), np.linspace(0.2, 2.2, 401)
    area = factor * 1e10 * energy**1.2 / (1 + energy / 2)
    density = np.exp(-0.5 * (np.log(migra) / 0.15) ** 2)
    density /= np.trapezoid(density, migra)
    sigma = np.broadcast_to(0.1 * energy[:, None] ** -0.3, (1, len(energy), len(offset))).copy()
    background = Background(
        energy=energy,
        fov_lon=np.array([0.0, 8.0]),
        fov_lat=np.zeros(1),
        rate=factor * RATE * np.ones((1, 2, 1)) * energy[:, None, None] ** -3.0,
        radial=True,
        energy_range=(0.05, 200.0),
        fov_lon_edges=np.array([0.0, 4.0, 8.0]),
        fov_lat_edges=np.array([-1.0, 1.0]),
        covered=np.ones((2, 1), bool),
    )
    return IRFs(
        "smooth",
        EffectiveArea(energy, offset, np.repeat(area[:, None], len(offset), axis=1)),
        EnergyDispersion(energy, offset, migra, np.tile(density, (len(energy), len(offset), 1))),
        PointSpread(energy, offset, sigma, np.ones_like(sigma)),
        background,
    )


def detected(observation, roi, energy):
    """Effective area (cm2) times the share of the photons that are measured within the range of energies."""
    irfs = observation.irfs
    cumulative = cumulative_trapezoid(irfs.edisp.density[0, 0], irfs.edisp.migra, initial=0)
    below = [np.interp(limit / energy, irfs.edisp.migra, cumulative) for limit in (roi.energy_max, roi.energy_min)]
    share = below[0] - below[1]
    return np.interp(np.log(energy), np.log(irfs.aeff.energy), irfs.aeff.values[:, 0]) * share, share


@pytest.fixture(scope="module")
def response():
    observation = pointing(irfs=smooth_irfs())
    return pmg.fold(source("s", *PLACE), observation, region(width=6.0), free_spectrum="s", energy_true=60)


def test_densities_are_those_of_brute_force(response):
    """For the reference spectrum, whose coefficients are all one; the finer binning alone is wrong by up to 1.8e-4."""
    acceptance = response.free_components[0].smooth.acceptance.sum()
    bands = response.spectral_bands(ROWS, ("s",))
    found = acceptance * np.add.reduceat(bands.values.astype(float), bands.pointer[:-1])
    oracle = Oracle(response.observations[0], response.roi, response.energy_true_edges, n_energy=20_000)
    expected = [oracle.point(*row, PLACE, lambda energy: energy**-IN_BIN_INDEX) for row in ROWS]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    fixed, again = response.column_densities(ROWS, ("s",))
    assert fixed.shape == (len(ROWS), 0)
    np.testing.assert_array_equal(again.values, bands.values)


def test_acceptances_are_integrals_under_the_hats(response):
    """Of the nodes whose photons are all measured in the range; the finer binning alone is wrong by up to 2.5e-5."""
    smooth, observation = response.free_components[0].smooth, response.observations[0]
    energy = np.geomspace(*smooth.energy[[0, -1]], 200_001)
    seen, share = detected(observation, response.roi, energy)
    rate = observation.livetime_s * seen * energy**-IN_BIN_INDEX
    position = np.interp(np.log(energy), np.log(smooth.energy), np.arange(len(smooth.energy)))
    hats = [np.maximum(1 - np.abs(position - n), 0) for n in range(len(smooth.energy))]
    inner = [n for n, hat in enumerate(hats) if np.all(share[hat > 0] > 1 - 1e-9)]
    expected = [np.trapezoid(rate * hats[n], energy) for n in inner]
    np.testing.assert_allclose(smooth.acceptance[0][inner], expected, rtol=3e-6)
    assert len(inner) > 30


FACTORS = (1.0, 0.5, 1.0, 0.5)


@pytest.mark.parametrize("n", [1, 3, 4])
def test_every_observation_counts(n):
    """Expected counts of a source and of the background, of fixed and of free spectrum, by observation."""
    irfs = {factor: smooth_irfs(factor) for factor in set(FACTORS[:n])}
    observations = [
        pmg.Observation(irfs[factor], direction(0.3 * k, -0.2), livetime=(10 + 5 * k) * u.h)
        for k, factor in enumerate(FACTORS[:n])
    ]
    sky = [source("s", *PLACE), pmg.CosmicRayBackground()]
    roi = region(width=6.0)
    response = pmg.fold(sky, observations, roi, free_spectrum=["s", "ccr"], energy_true=60)
    energy = np.geomspace(0.05, 200, 200_001)
    rate = 1e-12 * energy**-2.2
    from_source = [one.livetime_s * np.trapezoid(detected(one, roi, energy)[0] * rate, energy) for one in observations]
    powers = [(roi.energy_min**-2 - roi.energy_max**-2) / 2 * factor for factor in FACTORS[:n]]
    from_background = [
        RATE * power * roi.solid_angle * one.ontime_s for power, one in zip(powers, observations, strict=True)
    ]
    found = response.acceptance_by_observation
    np.testing.assert_allclose(found.sel(component="s"), from_source, rtol=2e-4)
    np.testing.assert_allclose(found.sel(component="ccr"), from_background, rtol=1e-6)
    np.testing.assert_allclose(response.acceptance, [sum(from_source), sum(from_background)], rtol=2e-4)
    free, background = response.free_components
    for one in (free, free.smooth):
        expected = 1e-12 * one.energy**-2.2
        assert one.acceptance[0] @ one.coefficients(expected) == pytest.approx(sum(from_source), rel=2e-4)
    np.testing.assert_allclose(background.acceptance.sum(axis=1), from_background, rtol=1e-6)
    parts = response.expected_parts([1e-12 * free.energy**-2.2, np.ones_like(background.energy)])
    np.testing.assert_allclose([of[0].sum() for of in parts], from_source, rtol=2e-4)
    np.testing.assert_allclose([of[1].sum() for of in parts], from_background, rtol=1e-6)


@pytest.mark.parametrize(
    ("distance", "sigma"), [(0.0, 0.0), (0.9, 0.0), (1.05, 0.0), (0.0, 0.3), (0.9, 0.3), (1.3, 0.4)]
)
def test_sources_at_the_edge_of_a_circle(distance, sigma):
    """What is reconstructed inside: PSF and source are Gaussians. The lowest true energies count like all others."""
    observation, roi = pointing(irfs=smooth_irfs()), region(radius=1.0, energy=(1.0, 30.0))
    response = pmg.fold(
        [source("s", 0.0, distance, sigma=sigma), source("inside", 0.0, 0.1)],
        observation,
        roi,
        energy_true=np.geomspace(1.0, 60.0, 41) * u.TeV,
    )
    energy = np.geomspace(1.0, 60.0, 20_001)
    rate = observation.livetime_s * detected(observation, roi, energy)[0] * 1e-12 * energy**-2.2
    variance = (0.1 * energy**-0.3) ** 2 + sigma**2
    share = ncx2.cdf(1 / variance, 2, max(distance, 1e-6) ** 2 / variance)
    assert float(response.acceptance[0]) == pytest.approx(np.trapezoid(rate * share, energy), rel=2e-3)


@pytest.mark.parametrize(
    ("place", "sigma", "e"), [((0.2, 0.9), 0.15, 0.9), ((0.9, -0.3), 0.4, 0.9), ((1.1, 1.0), 0.4, 1.0)]
)
@pytest.mark.parametrize("angle", [0.0, 90.0])
def test_elongated_sources_at_the_edge_of_a_square(place, sigma, e, angle):
    """Along and across its sides the integrals are one-dimensional."""
    shape = GaussianSpatialModel(
        lon_0=place[0] * u.deg, lat_0=place[1] * u.deg, sigma=sigma * u.deg, e=e, phi=angle * u.deg, frame="galactic"
    )
    spectrum = PowerLawSpectralModel(index=2.2, amplitude=1e-12 * u.Unit("TeV-1 cm-2 s-1"))
    observation, roi = pointing(irfs=smooth_irfs()), region(width=2.0, energy=(1.0, 30.0))
    response = pmg.fold(
        pmg.SkySource("s", shape, spectrum), observation, roi, energy_true=np.geomspace(1.0, 60.0, 41) * u.TeV
    )
    energy = np.geomspace(1.0, 60.0, 20_001)
    rate = observation.livetime_s * detected(observation, roi, energy)[0] * 1e-12 * energy**-2.2
    minor = sigma * np.sqrt(1 - e**2)
    share = 1.0
    for at, own in zip(place, (minor, sigma) if angle == 0 else (sigma, minor), strict=True):
        width = np.hypot(0.1 * energy**-0.3, own)
        share = share * (ndtr((1 - at) / width) - ndtr((-1 - at) / width))
    assert float(response.acceptance[0]) == pytest.approx(np.trapezoid(rate * share, energy), rel=3e-3)
