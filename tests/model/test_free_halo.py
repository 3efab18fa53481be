"""Halos whose profile is free, alone and with their spectrum: against halos folded with each profile."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from laplace import fit
from pymc.model.transform.conditioning import remove_value_transforms
from setups import pointing, region

import pymc_gamma as pmg
from pymc_gamma import darkmatter as dm
from pymc_gamma.errors import ModelError, PymcGammaError, PymcGammaWarning, SkyModelError
from pymc_gamma.folding import free_halo
from pymc_gamma.geometry import separation_deg, unit_vectors
from pymc_gamma.tensors import units_of

MASS = 1.13
"""TeV: not one of the table, where its derivative jumps."""
SLOPES = (0.3, 0.9, 1.25, 1.45)
CCR = 2e-3
"""Norm of the background: so that the halo shows."""


def annihilation(mass=MASS, sigmav=3e-25):
    return dm.Annihilation(mass, sigmav, channels={"W": 0.6, "tau": 0.4})


def sky(profile):
    return [dm.DarkMatterHalo(profile, annihilation()), pmg.CosmicRayBackground()]


def folded(profile, observations, **kwargs):
    return pmg.fold(sky(profile), observations, region(width=3.0, energy=(0.3, 30.0)), energy_true=50, **kwargs)


@pytest.fixture(scope="module")
def runs():
    return [pointing(0.6, 0.2, hours=10), pointing(-0.4, -0.3, hours=5)]


@pytest.fixture(scope="module")
def fixed(runs):
    """Of fixed spectrum and free profile."""
    return folded(dm.GeneralisedNFW(1.0), runs, free_shape=["dm"])


@pytest.fixture(scope="module")
def free(runs):
    """Of both free."""
    return folded(dm.GeneralisedNFW(1.0), runs, free_shape=["dm"], free_spectrum=["dm"])


@pytest.fixture(scope="module")
def steep(runs):
    """Nothing of these is free but the spectrum; by slope."""
    return {slope: folded(dm.GeneralisedNFW(slope), runs, free_spectrum=["dm"]) for slope in SLOPES}


@pytest.fixture(scope="module")
def events(fixed):
    """Many of them near the centre."""
    return fixed.simulate({"dm": 0.4, "ccr": 0.6}, 600, shapes={"dm": {"gamma": 1.2}}, rng=3)


def model_of(response, events, shape, spectrum=None, norms=None, **kwargs):
    with pm.Model(coords=response.coords) as model:
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            observed=events,
            shapes=None if shape is None else {"dm": shape},
            spectra=None if spectrum is None else {"dm": spectrum},
            norms={"ccr": CCR} if norms is None else norms,
            **kwargs,
        )
    return model


def logp(model, **point):
    plain = remove_value_transforms(model)
    return float(plain.compile_logp(jacobian=False, mode="FAST_COMPILE")({k: np.asarray(v) for k, v in point.items()}))


def slope_variable(**kwargs):
    return pm.Uniform("gamma", 0.0, 1.6, initval=1.1, **kwargs)


class TestFixedSpectrum:
    @pytest.mark.parametrize("slope", SLOPES)
    def test_likelihood(self, fixed, steep, events, slope):
        found = logp(model_of(fixed, events, {"gamma": pt.constant(slope)}))
        expected = logp(model_of(steep[slope].refold(free_spectrum=[]), events, None))
        assert found == pytest.approx(expected, abs=1e-6)

    def test_norms_of_observations(self, fixed, steep, events):
        norms = {"dm": [0.5, 2.0], "ccr": CCR}
        found = logp(model_of(fixed, events, {"gamma": pt.constant(0.9)}, norms=norms))
        expected = logp(model_of(steep[0.9].refold(free_spectrum=[]), events, None, norms=norms))
        assert found == pytest.approx(expected, abs=1e-3)

    def test_mixture(self, fixed, steep, events):
        def of(response, **kwargs):
            with pm.Model(coords=response.coords) as model:
                pmg.EventMixture("events", [0.4, 0.6], response=response, observed=events, **kwargs)
            return logp(model)

        found = of(fixed, shapes={"dm": {"gamma": pt.constant(1.25)}})
        assert found == pytest.approx(of(steep[1.25].refold(free_spectrum=[])), abs=1e-6)

    def test_another_profile(self, fixed, runs, events):
        expected = logp(model_of(folded(dm.Einasto(), runs), events, None))
        assert logp(model_of(fixed, events, dm.Einasto())) == pytest.approx(expected, abs=1e-6)
        shape = {"gamma": pt.constant(1.1), "r_s": 15 * u.kpc, "r_c": pt.constant(0.2)}
        profile = dm.GeneralisedNFW(1.1, 15 * u.kpc, r_c=0.2 * u.kpc)
        expected = logp(model_of(folded(profile, runs), events, None))
        assert logp(model_of(fixed, events, shape)) == pytest.approx(expected, abs=1e-6)

    def test_units(self, fixed, events):
        with pm.Model(coords=fixed.coords):
            free = {name: pm.Uniform(name, 0.1, 1.4) for name in ("gamma", "r_s", "r_c")}
            pmg.ExtendedEventMixture("events", response=fixed, observed=events, shapes={"dm": free})
        assert units_of(free) == {"gamma": "", "r_s": "kpc", "r_c": "kpc"}

    def test_cells(self, fixed, steep, events):
        cells = events.binned(6, pixel=0.25 * u.deg)
        found = logp(model_of(fixed, cells, {"gamma": pt.constant(1.25)}))
        expected = logp(model_of(steep[1.25].refold(free_spectrum=[]), cells, None))
        assert found == pytest.approx(expected, abs=0.05)

    def test_infinite_j_factor_is_impossible(self, fixed, events):
        with pm.Model(coords=fixed.coords) as model:
            gamma = slope_variable()
            pmg.ExtendedEventMixture("events", response=fixed, observed=events, shapes={"dm": {"gamma": gamma}})
        function = model.compile_logp(jacobian=False)
        transform = model.rvs_to_transforms[gamma]

        def at(value):
            return function({"gamma_interval__": transform.forward(np.array(value), *gamma.owner.inputs).eval()})

        assert np.isfinite(at(1.49))
        assert at(1.55) == -np.inf

    def test_infinite_j_factor_where_sampling_starts(self, fixed, events):
        with pm.Model(coords=fixed.coords):
            gamma = pm.Uniform("gamma", 0.0, 2.0, initval=1.6)
            with pytest.raises(ModelError, match=r"gamma from 0 to below 1\.5.*gamma=1\.6"):
                pmg.ExtendedEventMixture("events", response=fixed, observed=events, shapes={"dm": {"gamma": gamma}})


class TestFreeSpectrum:
    @pytest.mark.parametrize("slope", SLOPES)
    def test_likelihood(self, free, steep, events, slope):
        found = logp(model_of(free, events, {"gamma": pt.constant(slope)}, annihilation()))
        expected = logp(model_of(steep[slope], events, None, annihilation()))
        # expected counts are right to 3e-5: up to 190 000 here, for 600 events
        counts = float(steep[slope].acceptance.sel(component="dm"))
        assert found == pytest.approx(expected, abs=0.02 + 3e-5 * counts)

    def test_densities(self, free):
        """Products of few widths stand for all widths, for lines and endpoints, in flat and steep profiles."""
        rows = free.event_rows(free.simulate({"dm": 0.7, "ccr": 0.3}, 60, rng=1))
        source = free.halo_source("dm", smooth=False)
        made = source.factored(rows)
        nodes = free.free_components[0]
        for profile in (dm.NFW(), dm.GeneralisedNFW(1.45), dm.Burkert(), dm.NFW(r_c=1 * u.kpc)):
            other = free.with_shapes({"dm": profile})
            bands = other.spectral_bands(rows)
            weights = dm.gaussian_weights(profile) * 1e-6 / source.unit
            total = other.free_components[0].acceptance.sum() / nodes.acceptance.sum()
            for rho in (np.ones(len(nodes.energy)), np.where(nodes.energy < MASS, nodes.energy, 0.0)):
                expected = [
                    bands.values[a:b] @ rho[k : k + b - a]
                    for a, b, k in zip(bands.pointer[:-1], bands.pointer[1:], bands.column[:, 0], strict=True)
                ]
                own = made.bands
                each = [
                    own.values[a:b] @ rho[k : k + b - a]
                    for a, b, k in zip(own.pointer[:-1], own.pointer[1:], own.column[:, 0], strict=True)
                ]
                found = np.bincount(made.event, (made.factors @ weights) * each, len(rows))
                expected = np.array(expected) * total
                bright = expected > 1e-3 * expected.max()
                np.testing.assert_allclose(found[bright], expected[bright], rtol=1e-4)
                assert np.sqrt(np.mean((found[bright] / expected[bright] - 1) ** 2)) < 3e-5

    def test_smooth_spectrum(self, free, steep, events):
        spectrum = pmg.PowerLaw(2.2, 1e-27)
        found = logp(model_of(free, events, {"gamma": pt.constant(0.9)}, spectrum))
        assert found == pytest.approx(logp(model_of(steep[0.9], events, None, spectrum)), abs=0.02)

    def test_gradient(self, free, events):
        with pm.Model(coords=free.coords) as model:
            gamma = slope_variable()
            mass = pm.LogNormal("mass", np.log(MASS), 0.1)
            size = pm.Normal("size", -24.5, 1.0)
            pmg.ExtendedEventMixture(
                "events",
                response=free,
                observed=events,
                shapes={"dm": {"gamma": gamma}},
                spectra={"dm": annihilation(mass, 10**size)},
                norms={"ccr": CCR},
            )
        value, gradient = model.compile_logp(), model.compile_dlogp()
        point = {key: np.array(one) for key, one in model.initial_point().items()}
        found = gradient(point)
        for k, name in enumerate(point):
            ends = []
            for step in (-1e-5, 1e-5):
                ends.append(value({**point, name: point[name] + step}))
            assert found[k] == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-4, abs=1e-2), name

    def test_jax(self, free, events):
        pytest.importorskip("jax")
        with pm.Model(coords=free.coords) as model:
            shapes = {"dm": {"gamma": pm.Normal("gamma", 1.1, 0.1)}}
            pmg.ExtendedEventMixture(
                "events",
                response=free,
                observed=events,
                shapes=shapes,
                spectra={"dm": annihilation()},
                norms={"ccr": CCR},
            )
        point = model.initial_point()
        for make in (model.compile_logp, model.compile_dlogp):
            np.testing.assert_allclose(make(mode="JAX")(point), make()(point), rtol=1e-8)

    def test_much_memory_is_told_before_it_is_used(self, free, events, monkeypatch):
        monkeypatch.setattr(free_halo, "MUCH", 1000)
        source = free.halo_source("dm", smooth=False)
        with pytest.warns(PymcGammaWarning, match="will take about .* MB for .* events.* fixed spectrum"):
            made = source.factored(free.event_rows(events[:50]))
        assert set(made.event) == set(range(50))

    def test_wrong_spectra(self, free, events):
        with pytest.raises(ModelError, match="one of decay"):
            model_of(free, events, {"gamma": 1.0}, dm.Decay(2.0, 1e26, channels="b"))
        with pytest.raises(ModelError, match="has a j_factor, but that follows"):
            model_of(free, events, {"gamma": 1.0}, dm.Annihilation(1.0, 3e-26, channels="W", j_factor=2.0))
        with pytest.raises(SkyModelError, match="has a j_factor"):
            free.npred(spectra={"dm": dm.Annihilation(1.0, 3e-26, channels="W", j_factor=2.0)})


class TestResponse:
    def test_other_profiles(self, fixed, steep):
        for slope in SLOPES:
            found = fixed.with_shapes({"dm": {"gamma": slope}}).acceptance
            np.testing.assert_allclose(found, steep[slope].acceptance, rtol=1e-9)
        assert float(fixed.npred(shapes={"dm": {"gamma": 0.3}}).sel(component="dm")) == pytest.approx(
            float(steep[0.3].acceptance[0]), rel=1e-6
        )

    def test_draws_follow(self, fixed):
        with pm.Model(coords=fixed.coords):
            gamma = pm.Uniform("gamma", 0.8, 1.1)
            drawn = pmg.ExtendedEventMixture(
                "events", response=fixed, shapes={"dm": {"gamma": gamma}}, norms={"ccr": 0.0}, max_events=20_000
            )
            slopes, rows = pm.draw([gamma, drawn], draws=4, random_seed=1)
        for slope, one in zip(slopes, rows, strict=True):
            seen = one[~np.isnan(one[:, 0])]
            other = fixed.with_shapes({"dm": {"gamma": float(slope)}})
            expected = float(other.acceptance[0])
            assert abs(len(seen) - expected) < 5 * np.sqrt(expected)
            away = separation_deg(unit_vectors(seen[:, 1], seen[:, 2]), unit_vectors(0.0, 0.0))
            grid = np.linspace(-0.3, 0.3, 61)
            inside = other.npred(lon=grid * u.deg, lat=grid * u.deg, step=0.01 * u.deg).sel(component="dm")
            mask = np.hypot(inside.lon, inside.lat) < 0.25
            share = float(inside.where(mask).sum())
            assert abs(np.sum(away < 0.25) - share) < 5 * np.sqrt(share)

    def test_store(self, free, tmp_path):
        free.save(tmp_path / "store")
        loaded = pmg.Response.load(tmp_path / "store")
        assert loaded.free_shape == ("dm",)
        other = [one.with_shapes({"dm": {"gamma": 1.3}}).acceptance for one in (loaded, free)]
        np.testing.assert_allclose(*other, rtol=1e-12)

    def test_integrated_flux_is_that_of_the_region(self, fixed, events):
        model = model_of(
            fixed, events, {"gamma": pt.constant(1.25)}, norms={"dm": 2.0, "ccr": CCR}, integrated_flux=[0.5, 1] * u.TeV
        )
        found = float(model["events_flux"].eval()[0])
        energy = np.geomspace(0.5, 1, 400)
        per_j = np.trapezoid(annihilation()(energy).eval(), energy)
        factor = dm.GeneralisedNFW(1.25).j_factor(fixed.roi).to_value("TeV2 cm-5")
        assert found == pytest.approx(2 * per_j * factor, rel=1e-3)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ({"slope": 1.2}, "slope"),
            ({"gamma": 1.6}, "gamma from 0 to below 1.5"),
            ({"gamma": [1.0, 1.1]}, "gamma.* must be (a single number|single numbers)"),
            ({"r_s": -3.0}, "r_s"),
            (dm.GeneralisedNFW(1.7), "gamma from 0 to below 1.5"),
        ],
    )
    def test_bad_profiles(self, fixed, events, shape, message):
        with pytest.raises((PymcGammaError, TypeError), match=message):
            fixed.with_shapes({"dm": shape})
        with pytest.raises((PymcGammaError, TypeError), match=message):
            logp(model_of(fixed, events, shape))

    def test_left_out(self, fixed, events):
        with pytest.raises(ModelError, match=r'pass shapes=\{"dm": \{"gamma": \.\.\.\}\}'):
            model_of(fixed, events, None)

    def test_a_scale_of_the_psf_is_refused(self, fixed, events):
        with pytest.raises(ModelError, match="halo of free profile, cannot be scaled"):
            model_of(fixed, events, {"gamma": 1.0}, systematics=[pmg.PSFScale(0.05)])

    def test_a_norm_of_the_area(self, fixed, events):
        scaled = model_of(fixed, events, {"gamma": 1.25}, systematics=[pmg.EffectiveAreaNorm(0.1, value=1.1)])
        plain = model_of(fixed, events, {"gamma": 1.25}, norms={"dm": 1.1, "ccr": CCR})
        assert logp(scaled) == pytest.approx(logp(plain), rel=1e-9)


def test_j_factor_of_variables():
    gamma = pt.dscalar("gamma")
    roi = region(1.0, 0.5, width=3.0)
    value = dm.GeneralisedNFW(1.0).j_factor(roi, gamma=gamma)
    for slope in (0.3, 1.0, 1.3):
        expected = dm.GeneralisedNFW(slope).j_factor(roi).value
        assert float(value.eval({gamma: slope})) == pytest.approx(expected, rel=2e-4)
    assert dm.NFW().d_factor(roi, r_s=20 * u.kpc) == dm.NFW(20 * u.kpc).d_factor(roi)


def test_slope_and_cross_section_are_recovered(free):
    truth = {"gamma": 1.15, "log10_sigmav": -25.2, "log_mass": np.log(MASS)}
    true = annihilation(MASS, 10 ** truth["log10_sigmav"])
    there = free.with_shapes({"dm": {"gamma": truth["gamma"]}}).with_spectra({"dm": true}, {"ccr": CCR})
    events = there.simulate(rng=5)
    assert 300 < float(there.acceptance[0]) < 10_000
    with pm.Model(coords=free.coords) as model:
        gamma = pm.Normal("gamma", 1.0, 0.5)
        size = pm.Normal("log10_sigmav", -25.0, 1.0)
        mass = pm.Normal("log_mass", 0.0, 0.5)
        pmg.ExtendedEventMixture(
            "events",
            response=free,
            observed=events,
            shapes={"dm": {"gamma": gamma}},
            spectra={"dm": annihilation(pt.exp(mass), 10**size)},
            norms={"ccr": CCR},
        )
    found = fit(model)
    for name, value in truth.items():
        assert 0 < found.sd[name].item() < 0.1, name
        assert abs(found.value[name].item() - value) < 4 * found.sd[name].item(), name


def test_a_scan_of_masses(runs, events):
    """A halo is a component like others."""

    def at(mass):
        return dm.DarkMatterHalo(dm.NFW(), annihilation(float(mass)))

    components = [pmg.Scanned("dm", at, nodes={"mass": [0.9, 1.0, 1.13]}), pmg.CosmicRayBackground()]
    roi = region(width=3.0, energy=(0.3, 30.0))
    scanned = pmg.fold(components, runs, roi, energy_true=50, progressbar=False)
    alone = pmg.fold(at(1.13), runs, roi, energy_true=50)
    assert float(scanned.at_scan({"dm": {"mass": 1.13}}).acceptance[0]) == pytest.approx(
        float(alone.acceptance[0]), rel=1e-3
    )
