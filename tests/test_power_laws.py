"""Integrals of power laws between two energies, against quadrature and numbers of many digits."""

from decimal import Decimal, getcontext

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad
from scipy.integrate import quad

from pymc_gamma.power_laws import mean_exponential, mean_exponential_tensor, quantile

GROWTHS = (-700.0, -30.0, -1.0, -1e-3, -1.1e-6, -0.9e-6, -1e-12, 0.0, 1e-12, 0.9e-6, 1.1e-6, 1e-3, 1.0, 30.0, 700.0)


def exact(growth):
    getcontext().prec = 60
    x = Decimal(growth)
    return float((x.exp() - 1) / x) if x else 1.0


def test_mean_to_the_last_digits():
    wanted = [exact(growth) for growth in GROWTHS]
    np.testing.assert_allclose(mean_exponential(np.array(GROWTHS)), wanted, rtol=1e-12)
    x = pt.dvector()
    of_tensor = pytensor.function([x], mean_exponential_tensor(x))(np.array(GROWTHS))
    np.testing.assert_allclose(of_tensor, wanted, rtol=1e-12)


def test_gradient_of_the_mean():
    x = pt.dscalar()
    slope = pytensor.function([x], pytensor.grad(mean_exponential_tensor(x), x))
    assert slope(0.0) == pytest.approx(0.5, rel=1e-9)
    verify_grad(mean_exponential_tensor, [np.array([-3.0, -0.2, 0.5, 4.0])], rng=np.random.default_rng(0))


@pytest.mark.parametrize("index", [-4.0, -2.7, -1.0, -1 + 1e-9, 0.0, 1.5])
def test_integral_and_quantiles(index):
    low, high = 0.3, 7.0
    span = np.log(high / low)
    growth = (index + 1) * span
    integral = low * low**index * span * mean_exponential(growth)
    assert integral == pytest.approx(quad(lambda e: e**index, low, high, epsrel=1e-12)[0], rel=1e-10)
    for share in (0.0, 0.2, 0.9, 1.0):
        energy = low * np.exp(span * quantile(share, growth))
        assert quad(lambda e: e**index, low, energy)[0] == pytest.approx(share * integral, rel=1e-8, abs=1e-14)
