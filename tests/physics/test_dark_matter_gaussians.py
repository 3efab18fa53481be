"""Halos as sums of Gaussians of fixed widths, against their line-of-sight integrals."""

import itertools
from dataclasses import replace

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from scipy.integrate import quad
from scipy.special import ive
from setups import region

from pymc_gamma import darkmatter as dm
from pymc_gamma.errors import SkyModelError
from pymc_gamma.halos.gaussians import GAUSSIAN_WIDTHS, _design
from pymc_gamma.tensors import unit_of

NAMED = [
    dm.NFW(),
    dm.Einasto(),
    dm.Burkert(),
    dm.Moore(),
    dm.Isothermal(),
    dm.GeneralisedNFW(0.0),
    dm.GeneralisedNFW(0.5),
    dm.GeneralisedNFW(1.25),
    dm.GeneralisedNFW(1.45),
    dm.Zhao(alpha=0.5, beta=3, gamma=0.8),
    dm.Zhao(alpha=1.5, beta=4, gamma=1.2),
    dm.NFW(r_c=1 * u.pc),
    dm.NFW(r_c=0.1 * u.kpc),
    dm.NFW(r_c=1 * u.kpc),
    dm.Einasto(10 * u.kpc, r_c=3 * u.kpc),
    dm.NFW(rho_local=0.5 * u.GeV / u.cm**3, distance=8.2 * u.kpc),
]
FARTHER = [
    dm.Einasto(alpha=1.0),
    dm.Einasto(alpha=0.05),
    dm.NFW(5 * u.kpc),
    dm.Burkert(2 * u.kpc),
    dm.Isothermal(1 * u.kpc),
]


def errors(profile, power, separation):
    """Relative errors of the sum."""
    exact = profile.dj_domega(separation * u.deg) if power == 2 else profile.dd_domega(separation * u.deg)
    return np.abs(dm.gaussian_density(separation) @ dm.gaussian_weights(profile, power) / exact.value - 1)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("profile", NAMED, ids=repr)
def test_brightness(profile, power):
    assert errors(profile, power, np.geomspace(0.06, 30, 200)).max() < 3e-5
    assert errors(profile, power, np.linspace(30, 180, 100)).max() < 1e-3


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("profile", FARTHER, ids=repr)
def test_brightness_of_sharper_profiles(profile, power):
    assert errors(profile, power, np.geomspace(0.06, 30, 200)).max() < 2e-4


def smoothed(profile, width, separation):
    """Brightness seen through a Gaussian PSF, by integration over rings."""
    variance = width**2

    def ring(log_angle):
        angle = np.exp(log_angle)
        seen = ive(0, angle * separation / variance) * np.exp(-((angle - separation) ** 2) / (2 * variance)) / variance
        return profile.dj_domega(angle * u.deg).value * angle**2 * seen

    limits = np.log([1e-40, 1e-20, 1e-10, 1e-5, 1e-3, width, *(separation + width * np.array([2, 4, 6, 9]))])
    return sum(
        quad(ring, low, high, epsrel=1e-7, epsabs=0)[0] for low, high in itertools.pairwise(limits) if high > low
    )


@pytest.mark.parametrize("profile", [dm.NFW(), dm.Moore(), dm.GeneralisedNFW(1.4), dm.NFW(r_c=1 * u.pc)], ids=repr)
@pytest.mark.parametrize(("width", "accuracy"), [(0.02, 2e-3), (0.03, 3e-4), (0.05, 5e-5)])
def test_centre_through_a_psf(profile, width, accuracy):
    """What is narrower than the first width matters through its flux and its mean square width alone."""
    weights, narrow = dm.gaussian_weights(profile), GAUSSIAN_WIDTHS < 5
    variance = np.radians(1) ** 2 * (GAUSSIAN_WIDTHS[narrow] ** 2 + width**2)
    for separation in (0.0, 0.03, 0.1, 0.3):
        found = weights[narrow] @ (np.exp(-(np.radians(separation) ** 2) / (2 * variance)) / (2 * np.pi * variance))
        found += weights[~narrow] @ dm.gaussian_density(max(separation, width))[~narrow]
        assert found == pytest.approx(smoothed(profile, width, separation), rel=accuracy)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("profile", NAMED[:8], ids=repr)
def test_all_of_the_sky(profile, power):
    def ring(log_angle):
        angle = np.exp(log_angle)
        exact = profile.dj_domega(angle * u.rad) if power == 2 else profile.dd_domega(angle * u.rad)
        return 2 * np.pi * exact.value * np.sin(angle) * angle

    limits = np.log([1e-30, 1e-15, 1e-8, 1e-4, 1e-2, 1, np.pi])
    total = sum(quad(ring, low, high, epsrel=1e-7, epsabs=0)[0] for low, high in itertools.pairwise(limits))
    assert dm.gaussian_weights(profile, power).sum() == pytest.approx(total, rel=3e-4)


def test_never_negative():
    rng = np.random.default_rng(1)
    for _ in range(200):
        own = {"r_s": 10 ** rng.uniform(-0.5, 2), "r_c": 10 ** rng.uniform(-5, 1)}
        shapes = (
            (dm.GeneralisedNFW(1), {"gamma": rng.uniform(0, 1.49)}),
            (dm.Zhao(), {"alpha": rng.uniform(0.5, 3), "beta": rng.uniform(2, 6), "gamma": rng.uniform(0, 1.49)}),
            (dm.Einasto(), {"alpha": rng.uniform(0.03, 1)}),
            (dm.Burkert(), {}),
            (dm.Isothermal(), {}),
        )
        for profile, shape in shapes:
            for power in (1, 2):
                weights = dm.gaussian_weights(profile, power, **own, **shape)
                assert np.all(np.isfinite(weights) & (weights >= 0)), (profile, own, shape)
                assert weights.sum() > 0
    assert np.all(_design().matrix >= 0)


FREE = [
    (dm.GeneralisedNFW(1.0), {"gamma": 1.2, "r_s": 15.0, "r_c": 0.05}),
    (dm.Zhao(), {"alpha": 0.7, "beta": 3.5, "gamma": 0.9, "r_s": 15.0, "r_c": 0.5}),
    (dm.Einasto(), {"alpha": 0.2, "r_s": 15.0, "r_c": 0.05}),
    (dm.Burkert(), {"r_s": 9.0, "r_c": 0.05}),
    (dm.Isothermal(), {"r_s": 3.0, "r_c": 0.05}),
]


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("profile", "values"), FREE, ids=lambda value: type(value).__name__)
def test_free_parameters(profile, values, power):
    lengths = {name: value * u.kpc for name, value in values.items() if name in ("r_s", "r_c")}
    fixed = type(profile)(**lengths, **{name: value for name, value in values.items() if name not in lengths})
    expected = dm.gaussian_weights(fixed, power)
    factors = np.random.default_rng(1).normal(size=len(expected))

    variables = [pt.dscalar(name) for name in values]
    weights = dm.gaussian_weights(profile, power, **dict(zip(values, variables, strict=True)))
    total = (factors * pt.log(weights / expected.max() + 1e-3)).sum()
    function = pytensor.function(variables, [weights, total, *pytensor.grad(total, variables)])
    found, _, *gradient = function(*values.values())
    noise = 1e-12 * expected.max()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=noise)
    np.testing.assert_allclose(dm.gaussian_weights(profile, power, **values), expected, rtol=1e-9, atol=noise)
    for k, (name, value) in enumerate(values.items()):
        here = [one * (1 + np.array([-1e-5, 1e-5]) * (other == name)) for other, one in values.items()]
        low, high = (
            function(*(one[side] if other == name else one[0] for other, one in zip(values, here, strict=True)))[1]
            for side in (0, 1)
        )
        assert gradient[k] == pytest.approx((high - low) / (2e-5 * value), rel=1e-5, abs=1e-7), name


def test_some_are_free():
    gamma = pt.dscalar("gamma")
    weights = dm.gaussian_weights(dm.GeneralisedNFW(0.3, 20 * u.kpc, r_c=0.1 * u.kpc), gamma=gamma, r_s=25.0)
    expected = dm.gaussian_weights(dm.GeneralisedNFW(1.1, 25 * u.kpc, r_c=0.1 * u.kpc))
    np.testing.assert_allclose(weights.eval({gamma: 1.1}), expected, rtol=1e-10)


def test_the_core_may_vanish():
    core = pt.dscalar("r_c")
    weights = dm.gaussian_weights(dm.NFW(), r_c=core)
    function = pytensor.function([core], [weights, pytensor.grad(pt.log(weights).sum(), core)])
    values, slope = function(0.0)
    np.testing.assert_allclose(values, dm.gaussian_weights(dm.NFW()), rtol=1e-12)
    assert slope == 0


def test_jax():
    values = {"gamma": 1.2, "r_s": 15.0, "r_c": 0.05}
    variables = {name: pt.dscalar(name) for name in values}
    weights = dm.gaussian_weights(dm.GeneralisedNFW(1.0), **variables)
    function = pytensor.function(list(variables.values()), weights, mode="JAX")
    np.testing.assert_allclose(
        function(*values.values()), dm.gaussian_weights(dm.GeneralisedNFW(1.0), **values), rtol=1e-10
    )


def test_densities_integrate_to_one():
    for k, width in enumerate(GAUSSIAN_WIDTHS[1:], 1):
        ends = sorted({0, *(one for one in width * np.array([1, 3, 9]) if one < 180), 180})

        def ring(angle, k=k):
            return 2 * np.pi * dm.gaussian_density(angle)[k] * np.sin(np.radians(angle)) * np.radians(1)

        total = sum(quad(ring, low, high, epsabs=1e-12)[0] for low, high in itertools.pairwise(ends))
        assert total == pytest.approx(1, rel=1e-8), width


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: dm.gaussian_weights(dm.GeneralisedNFW(1.5)), r"gamma from 0 to below 1\.5"),
        (lambda: dm.gaussian_weights(dm.NFW(), gamma=1.2), "unexpected keyword argument 'gamma'"),
        (lambda: dm.gaussian_weights(dm.GeneralisedNFW(1.0), gamma=1.6), "infinite without a core, got gamma=1.6"),
        (lambda: dm.gaussian_weights(dm.Zhao(alpha=0.3)), r"Zhao is a sum of Gaussians .* alpha from 0\.5"),
        (lambda: dm.gaussian_weights(dm.Einasto(alpha=1.5)), "alpha from 0 to 1 only"),
        (lambda: dm.gaussian_weights(dm.Zhao(beta=0.9, gamma=0.5), 1), "falls faster"),
        (lambda: dm.gaussian_weights(dm.NFW(), r_s=-1.0), "r_s must be positive"),
        (lambda: dm.gaussian_weights(dm.NFW(), 3), "power must be 2"),
    ],
)
def test_refused(make, match):
    with pytest.raises((SkyModelError, TypeError), match=match):
        make()


@pytest.mark.parametrize(
    ("factor", "spectrum"),
    [("j_factor", dm.Annihilation(1.0, 3e-26, "b")), ("d_factor", dm.Decay(2.0, 1e26, "b"))],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_spectrum_knows_the_unit_of_a_factor_that_is_a_variable(factor, spectrum, named):
    """In GeV, where spectra take numbers in TeV: without its unit the flux would be off by powers of a thousand."""
    profile, where = dm.GeneralisedNFW(1.2), region(width=2.0)
    with pm.Model():
        gamma = pm.Uniform("gamma", 0.5, 1.4)
        value = getattr(profile, factor)(where, gamma=gamma)
        value = pm.Deterministic("factor", value) if named else value
        flux = replace(spectrum, **{factor: value})([0.1, 0.5])
    expected = replace(spectrum, **{factor: getattr(profile, factor)(where)})([0.1, 0.5]).eval()
    assert pytensor.function([gamma], flux)(1.2) == pytest.approx(expected, rel=1e-4)
    assert unit_of(value) == {"j_factor": "GeV2 cm-5", "d_factor": "GeV cm-2"}[factor]


def test_decay_of_what_is_too_steep_for_annihilation():
    assert errors(dm.GeneralisedNFW(1.8), 1, np.geomspace(0.06, 10, 50)).max() < 3e-5
