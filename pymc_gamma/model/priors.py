"""Priors of numbers of awkward size, with their units."""

from typing import Any

import numpy as np
import pymc as pm
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import text
from pymc_gamma.errors import ModelError
from pymc_gamma.model.spectra import FLUX
from pymc_gamma.tensors import with_unit
from pymc_gamma.units import numbers, scalar_value

__all__ = ["amplitude"]


def amplitude(name: str, median: Any, factor: float = 10.0) -> Variable:
    r"""Amplitude of a spectrum with a log-normal prior, said by its median and by how many times it may be wrong.

    With the median :math:`m` and the factor :math:`f` the logarithm is normal, :math:`\ln A \sim \mathcal N(\ln m,
    \ln^2 f)`: 68 % of the prior lie between :math:`m/f` and :math:`m f`. Samplers start near the median; the mean, at
    which PyMC starts a ``LogNormal``, is 14 times as large for a factor of ten.

    Parameters
    ----------
    name : str
        Its name.
    median : `~astropy.units.Quantity`
        A positive differential flux, such as ``3e-11 * u.Unit("TeV-1 cm-2 s-1")``.
    factor : float
        One standard deviation of the logarithm, larger than 1.

    Returns
    -------
    TensorVariable
        In TeV-1 cm-2 s-1, as spectra take it.

    Raises
    ------
    ModelError
        If the median is not positive, or the factor not larger than 1.
    astropy.units.UnitConversionError
        If the median is not a differential flux.

    Examples
    --------
    >>> import astropy.units as u
    >>> with pm.Model() as model:
    ...     flux = amplitude("flux", 3e-15 * u.Unit("GeV-1 cm-2 s-1"), factor=3)
    >>> model.free_RVs
    [flux]
    """
    name = text(name, "name")
    value = scalar_value(median, FLUX, f"{name}: median")
    times = numbers(factor, f"{name}: factor")
    if not (np.isfinite(value) and value > 0):
        raise ModelError(f"{name}: the median must be a positive flux, got {median}.")
    if times.ndim or not times > 1:
        raise ModelError(f"{name}: the factor must be one number larger than 1, got {factor!r}.")
    return with_unit(pm.LogNormal(name, np.log(value), np.log(float(times)), initval=value), FLUX)
