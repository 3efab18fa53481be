"""Models of gammapy as PyMC models, and posteriors as models of gammapy."""

from pymc_gamma.interop.build import from_gammapy
from pymc_gamma.interop.models import GammapyTranslation
from pymc_gamma.interop.results import to_gammapy

__all__ = ["GammapyTranslation", "from_gammapy", "to_gammapy"]
