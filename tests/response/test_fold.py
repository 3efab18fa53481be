import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg
from pymc_gamma.errors import IRFError, PymcGammaWarning, RegionError, SkyModelError
from pymc_gamma.sky import SkyComponent, SkyPart, SkyPoint


class Source(SkyComponent):
    """One point source with a spectrum of choice."""

    def __init__(self, name="source", spectrum=lambda energy: 1e-12 * energy**-2.5, lon=0.5):
        super().__init__(name)
        self.spectrum, self.lon = spectrum, lon

    def parts(self, roi, margin_deg=0.8):
        return (SkyPart("only", SkyPoint(self.lon, 0.0), self.spectrum),)


def test_more_energy_bins_change_little(observation, roi):
    source = Source()
    coarse, fine = (pmg.fold(source, observation, roi, energy_true=bins) for bins in (150, 450))
    assert np.allclose(coarse.acceptance, fine.acceptance, rtol=3e-4)
    events = coarse.simulate([1.0], 200, rng=1)
    change = np.log(coarse.component_pdf(events.to_rows()) / fine.component_pdf(events.to_rows()))
    assert np.median(np.abs(change)) < 5e-4
    assert abs(change.mean()) < 1e-3


def test_energy_bins_may_be_given(observation, roi):
    edges = np.geomspace(0.05, 150, 121) * u.TeV
    response = pmg.fold(Source(), observation, roi, energy_true=edges)
    assert np.allclose(response.energy_true_edges, edges.value)


def test_a_source_just_outside_spills_in(observation, roi):
    inside, outside = (pmg.fold(Source(lon=lon), observation, roi) for lon in (3.0, 3.25))
    share = float(outside.acceptance[0] / inside.acceptance[0])
    assert 0.1 < share < 0.5


def test_a_far_source_gives_an_error(observation, roi):
    with pytest.raises(SkyModelError, match=r"no events expected from \['source'\]"):
        pmg.fold(Source(lon=9.0), observation, roi)


@pytest.mark.parametrize(
    ("spectrum", "message"),
    [
        (lambda energy: -(energy**-2.0), "it must be finite and >= 0"),
        (lambda energy: np.where(energy < 1, energy, np.nan), "is nan"),
        (lambda energy: 0 * energy, "zero at every energy"),
        (lambda energy: np.ones(3), "shape"),
    ],
)
def test_a_bad_spectrum_names_component_and_part(observation, roi, spectrum, message):
    with pytest.raises(SkyModelError, match=message) as error:
        pmg.fold(Source("crab", spectrum), observation, roi)
    assert "'crab'" in str(error.value)
    assert "'only'" in str(error.value)


def test_bad_lists_of_components(observation, roi):
    with pytest.raises(SkyModelError, match="at least one sky component"):
        pmg.fold([], observation, roi)
    with pytest.raises(SkyModelError, match="named 'source'"):
        pmg.fold([Source(), Source()], observation, roi)
    with pytest.raises(SkyModelError, match="SkySource"):
        pmg.fold(["crab"], observation, roi)
    with pytest.raises(TypeError, match="Observation"):
        pmg.fold(Source(), ["run 1"], roi)
    with pytest.raises(RegionError, match="no observation"):
        pmg.fold(Source(), [], roi)
    with pytest.raises(TypeError, match="RegionOfInterest"):
        pmg.fold(Source(), observation, "everywhere")


def test_a_region_larger_than_the_irfs(observation):
    roi = pmg.RegionOfInterest(observation.pointing, width=9 * u.deg, energy=(0.1, 100) * u.TeV)
    with pytest.warns(PymcGammaWarning, match=r"% of RegionOfInterest.* beyond the largest offset of the response"):
        seen = float(pmg.fold(Source(), observation, roi).acceptance[0])
    # nothing is lost: the source is where the observation sees it
    smaller = pmg.RegionOfInterest(observation.pointing, radius=4.5 * u.deg, energy=(0.1, 100) * u.TeV)
    assert seen == pytest.approx(float(pmg.fold(Source(), observation, smaller).acceptance[0]), rel=1e-3)
    # two pointings that cover it together are fine
    irfs = observation.irfs
    both = [
        pmg.Observation(irfs, SkyCoord(lon * u.deg, 0 * u.deg, frame="galactic"), livetime=5 * u.h)
        for lon in (-2.5, 2.5)
    ]
    assert float(pmg.fold(Source(), both, roi).acceptance[0]) > 0


def test_an_energy_range_larger_than_the_irfs(observation):
    roi = pmg.RegionOfInterest(observation.pointing, width=2 * u.deg, energy=(0.001, 100) * u.TeV)
    with pytest.raises(RegionError, match=r"energy range 0\.001-100 TeV exceeds"):
        pmg.fold(Source(), observation, roi)


@pytest.mark.parametrize(
    ("energy_true", "message"),
    [
        (5, "at least 10 bins"),
        ([1, 2, 2, 3] * u.TeV, "ascending"),
        ([0.05, 1, 150] * u.TeV, "equidistant"),
        (np.geomspace(1e-3, 100, 50) * u.TeV, "exceeds the range of the IRFs"),
    ],
)
def test_bad_energy_bins(observation, roi, energy_true, message):
    with pytest.raises(ValueError, match=message):
        pmg.fold(Source(), observation, roi, energy_true=energy_true)


def test_background_of_irfs_that_have_none(observation, roi):
    import dataclasses

    irfs = dataclasses.replace(observation.irfs, bkg=None, name="no-bkg.fits")
    blind = pmg.Observation(irfs, observation.pointing, livetime=50 * u.h)
    with pytest.raises(IRFError, match=r"without a background table .*no-bkg\.fits"):
        pmg.fold(pmg.CosmicRayBackground(), blind, roi)
    assert float(pmg.fold(Source(), blind, roi).acceptance[0]) > 0


def test_an_observation_that_sees_nothing(observation, roi):
    away = pmg.Observation(observation.irfs, SkyCoord(100 * u.deg, 50 * u.deg, frame="galactic"), 1 * u.h, name="run 7")
    with pytest.raises(RegionError, match="'run 7' does not see the region"):
        pmg.fold(Source(), [observation, away], roi)
