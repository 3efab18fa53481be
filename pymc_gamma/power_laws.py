r"""Integrals of what is a power law between two energies.

With :math:`f(E) = f_0 (E/E_0)^s` between :math:`E_0` and :math:`E_1`, :math:`\ell = \ln(E_1/E_0)` and
:math:`g = (s + 1)\,\ell = \ln\frac{E_1 f_1}{E_0 f_0}`,

.. math:: \int_{E_0}^{E_1} f\,dE = E_0 f_0\,\ell\;\frac{e^g - 1}{g} ,

where the last factor, the mean of :math:`e^x` over :math:`0 < x < g`, is 1 at an index of :math:`s = -1`. The share
:math:`u` of the integral lies below :math:`E_0\,e^{\ell\,q}` with :math:`q = \ln(1 + u\,(e^g - 1)) / g`.
"""

from typing import Any

import numpy as np

from pymc_gamma.arrays import FloatArray

__all__ = ["mean_exponential", "mean_exponential_tensor", "quantile"]

#: Below it a second term of the series does for the mean: the third is 2e-13.
_SMALL = 1e-6


def mean_exponential(growth: FloatArray) -> FloatArray:
    """Mean of the exponential function between 0 and numbers.

    Examples
    --------
    >>> 3 * np.log(2) * mean_exponential(np.log(4 / 1))  # of E from 1 to 2, three times
    np.float64(4.5)
    """
    small = np.abs(growth) < _SMALL
    safe = np.where(small, 1.0, growth)
    return np.where(small, 1.0 + growth / 2, np.expm1(safe) / safe)[()]


def mean_exponential_tensor(growth: Any) -> Any:
    """The same for a tensor."""
    import pytensor.tensor as pt

    small = pt.abs(growth) < _SMALL
    safe = pt.switch(small, 1.0, growth)
    return pt.switch(small, 1.0 + growth / 2, pt.expm1(safe) / safe)


def quantile(share: FloatArray, growth: FloatArray) -> FloatArray:
    """Where a share of the integral is reached, as a part of the logarithm of the ratio of the energies.

    Examples
    --------
    >>> 4 ** quantile(0.5, 0.0)  # half of the integral of 1 / E between 1 and 4
    np.float64(2.0)
    """
    small = np.abs(growth) < _SMALL
    safe = np.where(small, 1.0, growth)
    return np.where(small, share, np.log1p(share * np.expm1(safe)) / safe)[()]
