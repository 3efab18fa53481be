"""Sensitivity: against gammapy's for counts in a region, and against fits of Asimov data; bad input."""

from functools import cache

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from gammapy.data import FixedPointingInfo
from gammapy.data import Observation as GammapyObservation
from gammapy.datasets import SpectrumDataset, SpectrumDatasetOnOff
from gammapy.estimators import SensitivityEstimator
from gammapy.irf import load_irf_dict_from_file
from gammapy.makers import SpectrumDatasetMaker
from gammapy.maps import MapAxis, RegionGeom
from gammapy.modeling.models import PowerLawSpectralModel
from gammapy.stats import CashCountsStatistic
from regions import CircleSkyRegion
from setups import QUICK_START, direction, pointing, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, RegionError

EDGES = np.geomspace(0.1, 50, 10) * u.TeV
PLACE = direction(0.5, 0.5)


@cache
def response(radius, free=()):
    sky = [source("crab", 0.5, 0.5, index=2.0, amplitude=1e-12), pmg.CosmicRayBackground()]
    roi = pmg.RegionOfInterest(PLACE, radius=radius * u.deg, energy=(0.1, 50) * u.TeV)
    return pmg.fold(sky, pointing(hours=5), roi, free_spectrum=free)


@cache
def counted():
    return pmg.sensitivity(response(0.1), EDGES, "crab", pixel=None, bins=1)


def test_counts_in_a_region_against_gammapy():
    irfs = load_irf_dict_from_file(pmg.datasets.path(QUICK_START))
    run = GammapyObservation.create(
        pointing=FixedPointingInfo(fixed_icrs=direction(0, 0).icrs), livetime=5 * u.h, irfs=irfs
    )
    axis = MapAxis.from_energy_edges(EDGES)
    geom = RegionGeom.create(CircleSkyRegion(PLACE, 0.1 * u.deg), axes=[axis], binsz_wcs="0.005 deg")
    true = MapAxis.from_energy_bounds("0.02 TeV", "200 TeV", 200, name="energy_true")
    maker = SpectrumDatasetMaker(selection=["exposure", "edisp", "background"], containment_correction=True)
    dataset = maker.run(SpectrumDataset.create(geom, energy_axis_true=true), run)
    known = SpectrumDatasetOnOff.from_spectrum_dataset(dataset=dataset, acceptance=1, acceptance_off=1e6)
    theirs = SensitivityEstimator(spectral_model=PowerLawSpectralModel(index=2)).run(known)
    ratio = (counted()["e2dnde"] / theirs["e2dnde"].quantity).to_value("")
    print("e2dnde over gammapy's:", ratio.round(4), "required within 3 %")
    assert np.abs(ratio - 1).max() < 0.03
    assert list(counted()["criterion"]) == list(theirs["criterion"])
    # with our background, the excess that gammapy finds
    cash = CashCountsStatistic(n_on=counted()["background"], mu_bkg=np.array(counted()["background"]))
    limited = counted()["criterion"] == "significance"
    np.testing.assert_allclose(counted()["excess"][limited], cash.n_sig_matching_significance(5)[limited], rtol=1e-4)
    assert (counted()["excess"][~limited] == 10).all()


def test_criteria():
    table = pmg.sensitivity(response(0.1), EDGES[:3], "crab", pixel=None, bins=1, n_sigma=0.2, least_events=1)
    assert list(table["criterion"]) == ["bkg", "bkg"]
    np.testing.assert_allclose(table["excess"], 0.05 * table["background"])
    twice = pmg.sensitivity(
        response(0.1), EDGES[:3], "crab", pixel=None, bins=1, n_sigma=0.2, least_events=1, least_share=0.1
    )
    for sed in ("dnde", "e2dnde", "flux", "eflux"):
        np.testing.assert_allclose(twice[sed] / table[sed], 2)


def test_a_fit_to_asimov_data_has_the_significance():
    """The source alone has a free norm; cells of the same widths."""
    band = (1.0, 3.0) * u.TeV
    row = pmg.sensitivity(response(0.5), band, "crab", pixel=0.05 * u.deg, bins=3)[0]
    assert row["criterion"] == "significance"
    part = response(0.5).in_energy_range(band)
    factor = row["excess"] / float(part.acceptance.sel(component="crab"))
    cells = part.asimov(energy=3, pixel=0.05 * u.deg, norms={"crab": factor})
    with pm.Model(coords=part.coords) as model:
        norm = pm.Uniform("norm", 0, 10)
        pmg.ExtendedEventMixture("events", response=part, norms={"crab": norm}, observed=cells)
    found = pmg.significance(model, "crab")
    assert found.best.value["norm"] == pytest.approx(factor, rel=1e-3)
    assert found.sqrt_ts == pytest.approx(5, rel=2e-3)
    # and the fluxes are those of the norm
    np.testing.assert_allclose(row["e2dnde"].to_value("TeV cm-2 s-1"), factor * 1e-12, rtol=1e-4)
    np.testing.assert_allclose(row["flux"].value, factor * 1e-12 * (1 / 1.0 - 1 / 3.0), rtol=1e-4)


def test_finer_cells_see_fainter_sources():
    fluxes = [
        pmg.sensitivity(response(0.5), (1.0, 3.0) * u.TeV, "crab", pixel=pixel)["flux"][0].value
        for pixel in (None, 0.2 * u.deg, 0.05 * u.deg)
    ]
    assert fluxes[0] > 1.2 * fluxes[1] > 1.2 * fluxes[2]


def test_another_spectrum():
    free = response(0.1, ("crab",))
    steep = pmg.sensitivity(free, EDGES[:4], "crab", pmg.PowerLaw(index=3.0, amplitude=1e-12), pixel=None, bins=1)
    np.testing.assert_allclose(steep["excess"], counted()["excess"][:3], rtol=1e-6)
    assert not np.allclose(steep["dnde"] / counted()["dnde"][:3], 1, rtol=1e-3)


def test_without_background_events_decide():
    alone = pmg.fold(source("crab", 0.5, 0.5), pointing(hours=5), response(0.1).roi)
    table = pmg.sensitivity(alone, EDGES[:3], "crab", pixel=None)
    assert list(table["criterion"]) == ["gamma", "gamma"]
    assert (table["background"] == 0).all()
    np.testing.assert_allclose(table["excess"], 10)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"component": "crap"}, ModelError, "no component 'crap'"),
        ({"component": "ccr"}, ModelError, "residual background, which has no flux"),
        ({"edges": [0.01, 1] * u.TeV}, RegionError, "outside of the energies of the region, 0.1-50 TeV"),
        ({"edges": [1, 2]}, TypeError, "edges"),
        ({"pixel": -1 * u.deg}, ValueError, "pixel must be positive"),
        ({"spectrum": pmg.PowerLaw(index=2, amplitude=1e-12)}, ModelError, "crab"),
    ],
)
def test_bad_input(changes, error, message):
    with pytest.raises(error, match=message):
        pmg.sensitivity(**{"response": response(0.1), "edges": EDGES, "component": "crab"} | changes)


def test_pictures_say_what_decides():
    twice = counted().copy()
    twice["e2dnde"] *= 2
    ax = pmg.plot_sensitivity({"5 h": counted(), "worse": twice})
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["5 h", "worse"]
    names = {"significance": "by significance", "gamma": "by number of events", "bkg": "by share of background"}
    assert set(labels[2:]) == {names[one] for one in set(counted()["criterion"])}
    lines = [segment for one in ax.collections for segment in one.get_segments()]
    assert len(lines) == 2 * len(counted())
    np.testing.assert_allclose(
        [one[0, 1] for one in lines[: len(counted())]], counted()["e2dnde"].to_value("erg cm-2 s-1")
    )
    assert pmg.plot_sensitivity(counted(), ax=ax) is ax


def test_pictures_of_something_else():
    with pytest.raises(TypeError, match=r"tables must be what pmg\.sensitivity returns"):
        pmg.plot_sensitivity([1, 2])
    with pytest.raises(ModelError, match="tables is empty"):
        pmg.plot_sensitivity({})
    with pytest.raises(ModelError, match=r"5 h has no columns \['criterion'\]"):
        pmg.plot_sensitivity({"5 h": counted()["e_min", "e_max", "e_ref", "e2dnde"]})
