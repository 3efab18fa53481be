"""Dark matter: gamma-ray spectra of its annihilation and decay, density profiles of the Milky Way, J and D factors.

>>> import astropy.units as u
>>> from pymc_gamma import darkmatter
>>> float(darkmatter.dnde(1 * u.TeV, "tau", 0.5 * u.TeV).round(2).value)
0.48
"""

from pymc_gamma.darkmatter.annihilation_table import AnnihilationTable
from pymc_gamma.darkmatter.counts import cross_section, expected_events
from pymc_gamma.darkmatter.density import Profile
from pymc_gamma.darkmatter.gaussians import gaussian_density, gaussian_weights
from pymc_gamma.darkmatter.profiles import NFW, Burkert, Einasto, GeneralisedNFW, Isothermal, Moore, Zhao
from pymc_gamma.darkmatter.relic import thermal_cross_section
from pymc_gamma.darkmatter.spectra import Annihilation, Decay, dnde
from pymc_gamma.darkmatter.tables import GammaTable, gamma_table

__all__ = [
    "NFW",
    "Annihilation",
    "AnnihilationTable",
    "Burkert",
    "Decay",
    "Einasto",
    "GammaTable",
    "GeneralisedNFW",
    "Isothermal",
    "Moore",
    "Profile",
    "Zhao",
    "cross_section",
    "dnde",
    "expected_events",
    "gamma_table",
    "gaussian_density",
    "gaussian_weights",
    "thermal_cross_section",
]
