"""Priors said in the field's numbers."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from scipy import stats

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError
from pymc_gamma.tensors import unit_of

FLUX = u.Unit("TeV-1 cm-2 s-1")


def test_an_amplitude_is_log_normal_around_its_median():
    with pm.Model() as model:
        variable = pmg.amplitude("a", 3e-12 * FLUX, factor=2.5)
    at = 3e-12 * np.geomspace(0.1, 10, 7)
    expected = stats.lognorm(np.log(2.5), scale=3e-12).logpdf(at)
    np.testing.assert_allclose([float(pm.logp(variable, x).eval()) for x in at], expected, rtol=1e-10)
    assert float(np.exp(model.initial_point()["a_log__"])) == pytest.approx(3e-12, rel=1e-12)
    draws = pm.draw(variable, 4000, random_seed=1)
    assert stats.kstest(np.log(draws / 3e-12) / np.log(2.5), "norm").pvalue > 1e-3
    assert unit_of(variable) == "TeV-1 cm-2 s-1"


def test_any_unit_of_a_flux():
    with pm.Model() as model:
        pmg.amplitude("a", 3e-9 * u.Unit("GeV-1 m-2 s-1"))
    assert float(np.exp(model.initial_point()["a_log__"])) == pytest.approx(3e-10, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0 * FLUX,), ModelError, "a: the median must be a positive flux"),
        ((np.nan * FLUX,), ModelError, "a: the median must be a positive flux"),
        ((3e-12 * FLUX, 1.0), ModelError, "a: the factor must be one number larger than 1"),
        ((3e-12 * FLUX, [2.0, 3.0]), ModelError, "a: the factor must be one number larger than 1"),
        ((3e-12,), TypeError, "a: median"),
        ((3e-12 * u.Unit("cm-2 s-1"),), u.UnitConversionError, "a: median"),
        (([1e-12, 2e-12] * FLUX,), TypeError, "a: median"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pm.Model(), pytest.raises(error, match=message):
        pmg.amplitude("a", *arguments)
