"""Instrument response functions: reading, checking, repairing, looking at them."""

from pymc_gamma.instrument.irfs.core import Background, EffectiveArea, EnergyDispersion, IRFs, PointSpread
from pymc_gamma.instrument.irfs.load import load_irfs

__all__ = ["Background", "EffectiveArea", "EnergyDispersion", "IRFs", "PointSpread", "load_irfs"]
