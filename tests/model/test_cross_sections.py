"""From counts to cross-sections and back, and shares of components as deterministics."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma import darkmatter
from pymc_gamma.errors import ModelError

J_FACTOR = 1e17


@pytest.fixture(scope="module")
def response():
    sky = [source("dm", 0.0, 0.0, sigma=0.15, amplitude=1e-12), pmg.CosmicRayBackground()]
    observations = [pointing(hours=2), pointing(lon=0.3, hours=1)]
    return pmg.fold(sky, observations, region(width=1.2, energy=(0.5, 10.0)), free_spectrum=["dm"])


def spectrum(mass, sigmav, channels="W"):
    return darkmatter.Annihilation(mass, sigmav, channels, j_factor=J_FACTOR)


class TestExpectedEvents:
    @pytest.mark.parametrize("channels", ["W", "gamma", {"b": 0.7, "tau": 0.3}])
    def test_against_npred(self, response, channels):
        given = spectrum(2.0, 3e-26, channels)
        wanted = float(response.npred(spectra={"dm": given}).sel(component="dm"))
        assert float(darkmatter.expected_events(response, "dm", given).eval()) == pytest.approx(wanted, rel=1e-4)

    def test_of_any_spectrum(self, response):
        given = pmg.PowerLaw(index=2.2, amplitude=1e-12)
        wanted = float(response.npred(spectra={"dm": given}).sel(component="dm"))
        assert float(darkmatter.expected_events(response, "dm", given).eval()) == pytest.approx(wanted, rel=1e-3)

    def test_outside_of_the_table(self, response):
        mass = pt.dscalar("mass")
        found = pytensor.function([mass], darkmatter.expected_events(response, "dm", spectrum(mass, 3e-26)))
        assert np.isnan([found(0.08), found(101.0)]).all()
        assert found(0.1) == 0  # below all energies
        assert found(2.0) > 0


class TestCrossSection:
    def test_there_and_back(self, response):
        sigmav, n_events = 4e-26, 5000
        fraction = darkmatter.expected_events(response, "dm", spectrum(1.5, sigmav)) / n_events
        found = darkmatter.cross_section(fraction, n_events, response, "dm", spectrum(1.5, 1e-20))
        assert float(found.eval()) == pytest.approx(sigmav, rel=1e-9, abs=0)

    def test_its_unit(self, response):
        with pm.Model() as model:
            found = darkmatter.cross_section(pm.Beta("fraction", 1, 1), 100, response, "dm", spectrum(1.5, 1e-20))
            pm.Deterministic("sigmav", found)
        draws = xr.Dataset({name: (("chain", "draw"), np.full((1, 2), 0.5)) for name in ("fraction", "sigmav")})
        assert pmg.annotate(draws, model)["sigmav"].attrs["units"] == "cm3 s-1"

    def test_of_draws(self, response):
        found = darkmatter.cross_section([0.1, 0.2], 1000, response, "dm", spectrum(1.5, 1e-26)).eval()
        assert found.shape == (2,)
        assert found[1] == pytest.approx(2 * found[0], rel=1e-9, abs=0)

    def test_as_deterministic_with_a_free_mass(self, response):
        """In a mixture the mass is free, and the cross-section follows from it at each draw."""
        with pm.Model() as model:
            fraction = pm.Dirichlet("fraction", np.ones(2))
            mass = pm.Uniform("mass", 1.0, 5.0)
            given = spectrum(mass, 1e-26)
            pmg.EventMixture("events", fraction, response=response, spectra={"dm": given}, n_events=100)
            pm.Deterministic("sigmav", darkmatter.cross_section(fraction[0], 100, response, "dm", given))
        function = model.compile_fn(model["sigmav"], inputs=[model["fraction"], mass], point_fn=False)
        for m in (1.3, 4.0):
            counts = float(response.npred(spectra={"dm": spectrum(m, 1e-26)}).sel(component="dm"))
            assert float(function([0.25, 0.75], m)) == pytest.approx(0.25 * 100 * 1e-26 / counts, rel=1e-4, abs=0)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"fraction": 1.2}, ModelError, "fraction must be within 0 and 1"),
            ({"fraction": np.nan}, ValueError, "fraction"),
            ({"n_events": -1}, ModelError, "n_events must be within 0 and inf"),
            ({"component": "ccr"}, ModelError, "fixed spectrum"),
            ({"component": "dn"}, ModelError, "dm"),
            ({"spectrum": pmg.PowerLaw()}, TypeError, "spectrum must be"),
            ({"spectrum": spectrum(1.5, 0.0)}, ModelError, "sigmav of the spectrum must be positive"),
        ],
    )
    def test_refused(self, response, change, error, message):
        arguments = {"fraction": 0.1, "n_events": 10, "component": "dm", "spectrum": spectrum(1.5, 1e-26), **change}
        with pytest.raises(error, match=message):
            darkmatter.cross_section(response=response, **arguments)


class TestFractions:
    def test_value(self, response):
        with pm.Model() as model:
            sigmav = pm.HalfNormal("sigmav", 10)
            norm = pm.LogNormal("norm", 0, 0.1)
            pmg.ExtendedEventMixture(
                "events",
                response=response,
                spectra={"dm": spectrum(1.5, 1e-26 * sigmav)},
                norms={"ccr": norm},
                fractions=True,
                expected_counts=True,
            )
        assert model.named_vars_to_dims["events_fractions"] == ("component",)
        outputs = [model["events_fractions"], model["events_expected_counts"]]
        share, counts = model.compile_fn(outputs, inputs=[sigmav, norm], point_fn=False)(3.0, 1.1)
        np.testing.assert_allclose(share, counts / counts.sum(), rtol=1e-12)
        wanted = response.npred(spectra={"dm": spectrum(1.5, 3e-26)}, norms={"ccr": 1.1}).values
        np.testing.assert_allclose(share, wanted / wanted.sum(), rtol=2e-4)


class TestThermalRelic:
    def test_published_numbers(self):
        masses = [1e-4, 1e-3, 0.01, 0.1, 1, 10, 100] * u.TeV
        wanted = [4.8e-26, 4.7e-26, 2.5e-26, 2.2e-26, 2.3e-26, 2.4e-26, 2.4e-26]
        np.testing.assert_allclose(darkmatter.thermal_cross_section(masses).value, wanted, rtol=1e-6)
        assert darkmatter.thermal_cross_section(1 * u.TeV).shape == ()

    @pytest.mark.parametrize("mass", [1e-5, 200])
    def test_outside(self, mass):
        with pytest.raises(ValueError, match=r"within 0.0001 and 100 TeV, got"):
            darkmatter.thermal_cross_section([1, mass] * u.TeV)
