"""Residual backgrounds that are not those of the IRFs: a table of a user, several at once."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from setups import pointing, quick_start_irfs, region

import pymc_gamma as pmg
from pymc_gamma.errors import IRFError

ROI = {"width": 2.0, "energy": (0.5, 50)}


def bkg():
    return quick_start_irfs().bkg


def tilted(power):
    """The background of the IRFs times a power of the energy."""
    own = bkg()
    return replace(own, rate=own.rate * own.energy[:, None, None] ** power)


def test_that_of_the_irfs_given_by_hand_changes_nothing():
    plain = pmg.fold(pmg.CosmicRayBackground(), pointing(hours=1), region(**ROI))
    given = pmg.fold(pmg.CosmicRayBackground(bkg=bkg()), pointing(hours=1), region(**ROI))
    events = plain.simulate(n_events=500, weights=[1.0], rng=1)
    np.testing.assert_array_equal(given.density(events), plain.density(events))
    np.testing.assert_array_equal(given.acceptance, plain.acceptance)


def test_two_at_once_have_their_own_spectra_and_norms():
    both = [pmg.CosmicRayBackground(), pmg.CosmicRayBackground("electrons", bkg=tilted(-1.0))]
    response = pmg.fold(both, pointing(hours=1), region(**ROI))
    events = response.simulate(rng=2)
    density = response.density(events)
    np.testing.assert_allclose(density[:, 1] / density[:, 0], 1 / events.energy.to_value("TeV"), rtol=0.03)
    with pm.Model(coords=response.coords) as model:
        pmg.ExtendedEventMixture("events", response=response, norms={"electrons": 0.5}, observed=events)
    found = float(model.compile_logp(mode="FAST_COMPILE")({}))
    norms = np.array([1.0, 0.5])
    assert found == pytest.approx(np.log(density @ norms).sum() - response.acceptance.values @ norms, rel=1e-12)


def test_draws_follow_the_table():
    response = pmg.fold(pmg.CosmicRayBackground("own", bkg=tilted(1.0)), pointing(hours=1), region(**ROI))
    energy = response.simulate([1.0], 20000, rng=3).energy.to_value("TeV")
    edges = np.geomspace(0.5, 50, 6)
    counts, _ = np.histogram(energy, edges)
    expected = response.npred(energy=edges * u.TeV).values[0]
    expected *= 20000 / expected.sum()
    assert np.sum((counts - expected) ** 2 / expected) < 25  # chi-square of 5 bins


def test_observations_without_a_background_may_take_it():
    irfs = quick_start_irfs()
    without = pmg.IRFs("without", irfs.aeff, irfs.edisp, irfs.psf, None)
    run = pointing(hours=1).with_irfs(without)
    with pytest.raises(IRFError, match="without a background"):
        pmg.fold(pmg.CosmicRayBackground(), run, region(**ROI))
    response = pmg.fold(pmg.CosmicRayBackground(bkg=irfs.bkg), run, region(**ROI))
    plain = pmg.fold(pmg.CosmicRayBackground(), pointing(hours=1), region(**ROI))
    np.testing.assert_allclose(response.acceptance, plain.acceptance, rtol=1e-12)


def test_a_free_shape_of_it():
    response = pmg.fold(
        pmg.CosmicRayBackground(bkg=tilted(-0.5)), pointing(hours=1), region(**ROI), free_spectrum=["ccr"]
    )
    events = response.simulate(rng=4)
    with pm.Model(coords=response.coords) as model:
        pmg.ExtendedEventMixture(
            "events", response=response, spectra={"ccr": pmg.PowerLawNorm(norm=2.0)}, observed=events
        )
    found = float(model.compile_logp(mode="FAST_COMPILE")({}))
    exact = np.log(2 * response.density(events)[:, 0]).sum() - 2 * float(response.acceptance.sum())
    assert found == pytest.approx(exact, abs=1e-2)


def test_it_is_kept_in_stores(tmp_path):
    response = pmg.fold(pmg.CosmicRayBackground(bkg=tilted(-0.5)), pointing(hours=1), region(**ROI))
    response.save(tmp_path / "own.zarr")
    again = pmg.Response.load(tmp_path / "own.zarr")
    events = response.simulate(rng=5)
    np.testing.assert_array_equal(again.density(events), response.density(events))
    plain = pmg.fold(pmg.CosmicRayBackground(), pointing(hours=1), region(**ROI))
    assert plain.fingerprint() != response.fingerprint()


def test_tables_of_gammapy():
    from gammapy.irf import Background2D
    from gammapy.maps import MapAxis

    energy = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=12, name="energy")
    offset = MapAxis.from_bounds(0, 5, nbin=10, unit="deg", name="offset")
    rate = 1e-3 * np.ones((12, 10)) * energy.center.to_value("TeV")[:, None] ** -2.7
    table = Background2D(axes=[energy, offset], data=rate, unit="s-1 TeV-1 sr-1")
    response = pmg.fold(pmg.CosmicRayBackground(bkg=table), pointing(hours=1), region(**ROI))
    exact = 1e-3 * 3600 * (0.5**-1.7 - 50**-1.7) / 1.7 * 4 * np.radians(1) ** 2
    assert float(response.acceptance.sum()) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("given", [3, "bkg", np.ones(3), {"bkg": 1}])
def test_other_objects_are_refused(given):
    with pytest.raises(TypeError, match="bkg of the background 'ccr' must be a Background2D or Background3D"):
        pmg.CosmicRayBackground(bkg=given)


def test_a_table_that_does_not_reach_is_refused():
    own = bkg()
    short = replace(own, energy_range=(1.0, 20.0))
    with pytest.raises(IRFError, match=r"known from 1 to 20 TeV, and events are kept from 0.5 to 50 TeV"):
        pmg.fold(pmg.CosmicRayBackground(bkg=short), pointing(hours=1), region(**ROI))
    covered = own.covered.copy()
    covered[len(covered) // 2 :] = False
    with pytest.raises(IRFError, match=r"not known in \d+\.\d% of the field"):
        pmg.fold(pmg.CosmicRayBackground(bkg=replace(own, covered=covered)), pointing(hours=1), region(**ROI))
