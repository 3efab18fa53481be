"""Instruments and skies at the edge of what is usual, each of which once gave a wrong or no answer."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError, RegionError, SkyModelError
from pymc_gamma.instrument.irfs import PointSpread
from pymc_gamma.sky import SkyComponent, SkyGaussian, SkyPart, SkyPoint, TemplateShape


class Shape(SkyComponent):
    """One source of any shape with a power law."""

    def __init__(self, *shapes, name="source"):
        super().__init__(name)
        self.shapes = shapes

    def parts(self, roi, margin_deg=0.8):
        return tuple(SkyPart(f"part {k}", shape, lambda e: 1e-12 * e**-2.3) for k, shape in enumerate(self.shapes))


def small_region(observation, **size):
    return pmg.RegionOfInterest(observation.pointing, energy=(0.5, 50) * u.TeV, **(size or {"width": 3 * u.deg}))


def with_psf(observation, sigma, weight):
    psf = observation.irfs.psf
    irfs = dataclasses.replace(observation.irfs, psf=PointSpread(psf.energy, psf.offset, sigma, weight))
    return pmg.Observation(irfs, observation.pointing, livetime=50 * u.h)


def test_a_source_too_far_to_simulate_says_so(observation):
    roi = pmg.RegionOfInterest(observation.pointing, width=3 * u.deg, energy=(0.1, 50) * u.TeV)
    response = pmg.fold([Shape(SkyPoint(2.0, 0.0)), pmg.CosmicRayBackground()], observation, roi)
    with pytest.raises(SkyModelError, match="reconstructed in"):
        response.simulate([1, 0], 50, rng=1)


@pytest.mark.parametrize(
    ("sigma", "lon", "size"),
    [
        (1.0, 0.0, {"radius": 0.1 * u.deg}),
        (0.3, 1.0, {"radius": 0.3 * u.deg}),
        (2.0, 3.0, {"width": 2 * u.deg}),
        (1.0, 0.2, {"radius": 0.2 * u.deg}),
    ],
)
def test_a_gaussian_wide_against_the_region(observation, sigma, lon, size):
    roi = small_region(observation, **size)
    gaussian = pmg.fold(Shape(SkyGaussian(lon, 0.0, sigma)), observation, roi)

    def brightness(x, y):
        r = pmg.geometry.separation_deg(pmg.geometry.unit_vectors(x, y), pmg.geometry.unit_vectors(lon, 0.0))
        return np.exp(-0.5 * (r / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)

    template = pmg.fold(Shape(TemplateShape(lon, 0.0, np.inf, brightness, False, 0.02)), observation, roi)
    assert float(gaussian.acceptance[0]) == pytest.approx(float(template.acceptance[0]), rel=2e-3)


def test_a_gaussian_of_the_psf_that_is_absent_in_some_cells(observation):
    from gammapy.irf import load_irf_dict_from_file

    from pymc_gamma import datasets

    tables = load_irf_dict_from_file(datasets.path("prod5-south-20deg-50h"))
    psf = tables["psf"]
    half = psf.data.shape[0] // 2
    for name, value in {"sigma_2": 0.3, "ampl_2": 0.05}.items():
        psf.data[name][:half] = 0
        psf.data[name][half:] = value
    with pytest.warns(pmg.errors.PymcGammaWarning):
        irfs = pmg.load_irfs(tables)
    assert (irfs.psf.sigma > 0).all()
    broad = pmg.Observation(irfs, observation.pointing, livetime=50 * u.h)
    response = pmg.fold(Shape(SkyPoint(0.2, 0.0)), broad, small_region(observation))
    events = response.simulate([1], 500, rng=1)
    assert np.isfinite(response.density(events)).all()


def test_a_wide_psf_spills_from_farther_away(observation):
    psf = observation.irfs.psf
    wide = with_psf(observation, np.full_like(psf.sigma, 0.6), psf.weight)
    roi = small_region(observation)

    def disk(x, y):
        return np.where(np.hypot(x - 0.5, y) < 0.3, 1 / (np.pi * np.radians(0.3) ** 2), 0.0)

    response = pmg.fold(Shape(TemplateShape(0.5, 0.0, 0.3, disk, True, 0.05)), wide, roi)
    density = response.density(response.simulate([1], 3000, rng=2))
    assert (density > 0).all()


def test_a_background_with_a_single_bin(observation):
    bkg = observation.irfs.bkg
    from pymc_gamma.instrument.irfs import Background

    flat = Background(
        bkg.energy[[0, -1]],
        np.array([0.0, 6.0]),
        np.zeros(1),
        np.full((2, 2, 1), 1e-3),
        True,
        (0.01, 200.0),
        np.array([0.0, 6.0]),
        np.array([-90.0, 90.0]),
        np.ones((1, 1), bool),
    )
    irfs = dataclasses.replace(observation.irfs, bkg=flat)
    roi = small_region(observation)
    response = pmg.fold(pmg.CosmicRayBackground(), pmg.Observation(irfs, observation.pointing, livetime=1 * u.h), roi)
    assert float(response.acceptance[0]) == pytest.approx(1e-3 * 3600 * 49.5 * roi.solid_angle, rel=1e-6)


def test_a_background_given_for_fewer_energies_than_the_region(observation):
    irfs = dataclasses.replace(
        observation.irfs, bkg=dataclasses.replace(observation.irfs.bkg, energy_range=(0.01, 3.2))
    )
    short = pmg.Observation(irfs, observation.pointing, livetime=1 * u.h)
    with pytest.raises(RegionError, match=r"exceeds that of the IRFs .* background, 0.01\d*-3.2 TeV"):
        pmg.fold(pmg.CosmicRayBackground(), short, small_region(observation))


def test_sources_that_only_one_pointing_sees(observation):
    irfs = observation.irfs
    pointings = [
        pmg.Observation(irfs, SkyCoord(lon * u.deg, 0 * u.deg, frame="galactic"), livetime=5 * u.h) for lon in (-5, 5)
    ]
    roi = pmg.RegionOfInterest(observation.pointing, width=(14, 3) * u.deg, energy=(0.5, 50) * u.TeV)
    response = pmg.fold(Shape(SkyPoint(-6.0, 0.0), SkyPoint(6.0, 0.0)), pointings, roi)
    for k, side in enumerate((-1, 1)):
        photons = response.simulate_true("source", 200, observation=k, rng=1)
        assert (np.sign(photons.lon_true) == side).all()
    events = response.simulate([1], 400, rng=2)
    assert (np.sign(events.lon.value) == np.where(events.observation == 0, -1, 1)).all()
    with pytest.raises(EventError, match="no observation 7"):
        response.simulate_true("source", 1, observation=7)


def test_binned_events_of_any_pixel_can_be_fitted(observation):
    roi = small_region(observation, radius=1 * u.deg)
    response = pmg.fold([Shape(SkyPoint(0.3, 0.0)), pmg.CosmicRayBackground()], observation, roi)
    events = response.simulate([1, 3], 3000, rng=3)
    cells = events.binned(energy=20, pixel=0.07 * u.deg)
    assert cells.n_total == 3000
    assert len(cells) < 3000
    rows = response.event_rows(cells)
    assert rows.shape == (len(cells), 10)  # the multiplicities and the edges come along
    assert np.isfinite(response.density(cells)).all()


def test_weights_without_a_number_of_events(response):
    with pytest.raises(ModelError, match="n_events"):
        response.simulate([1, 2, 3])


def test_true_energies_must_hold_the_reconstructed_ones(observation, components, roi):
    with pytest.raises(RegionError, match="must hold the range"):
        pmg.fold(components[1], observation, roi, energy_true=np.geomspace(1, 50, 60) * u.TeV)


def test_an_offset_range_that_is_no_multiple_of_the_step(observation):
    from pymc_gamma.folding.tables import interpolate_area

    aeff = observation.irfs.aeff
    short = dataclasses.replace(aeff, offset=np.array([0.0, 2.25]), values=aeff.values[:, :2])
    area, step = interpolate_area(dataclasses.replace(observation.irfs, aeff=short), np.array([1.0]))
    assert (area.shape[1] - 1) * step == pytest.approx(2.25)
