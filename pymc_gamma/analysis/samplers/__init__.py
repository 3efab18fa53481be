"""Samplers of analysis files, one file for each.

To add one derive a class from `Sampler` with its name; nothing else names it but the import here.
"""

from pymc_gamma.analysis.samplers.base import Sampler
from pymc_gamma.analysis.samplers.nested import Nested
from pymc_gamma.analysis.samplers.nuts import Nuts
from pymc_gamma.analysis.samplers.smc import Smc

__all__ = ["Nested", "Nuts", "Sampler", "Smc"]
