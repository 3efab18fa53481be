"""Dark matter: gamma-ray spectra of its annihilation and decay.

>>> import astropy.units as u
>>> from pymc_gamma import darkmatter
>>> float(darkmatter.dnde(1 * u.TeV, "tau", 0.5 * u.TeV).round(2).value)
0.48
"""

from pymc_gamma.darkmatter.annihilation_table import AnnihilationTable
from pymc_gamma.darkmatter.spectra import Annihilation, Decay, dnde
from pymc_gamma.darkmatter.tables import GammaTable, gamma_table

__all__ = ["Annihilation", "AnnihilationTable", "Decay", "GammaTable", "dnde", "gamma_table"]
