"""Instrument response functions: reading, checking, repairing, looking at them."""

from pymc_gamma.instrument.irfs.core import Background, EffectiveArea, EnergyDispersion, IRFs, PointSpread
from pymc_gamma.instrument.irfs.load import load_irfs
from pymc_gamma.instrument.irfs.rad_max import RadMax

__all__ = ["Background", "EffectiveArea", "EnergyDispersion", "IRFs", "PointSpread", "RadMax", "load_irfs"]
