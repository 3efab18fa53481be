"""Dark matter: gamma-ray spectra of its annihilation and decay, density profiles of the Milky Way, J and D factors.

>>> import astropy.units as u
>>> from pymc_gamma import darkmatter
>>> float(darkmatter.dnde(1 * u.TeV, "tau", 0.5 * u.TeV).round(2).value)
0.48
"""

from pymc_gamma.darkmatter.annihilation_table import AnnihilationTable
from pymc_gamma.darkmatter.counts import cross_section, expected_events
from pymc_gamma.darkmatter.halo import DarkMatterHalo
from pymc_gamma.darkmatter.pair_table import PairTable
from pymc_gamma.darkmatter.relic import thermal_cross_section
from pymc_gamma.darkmatter.spectra import Annihilation, Decay, dnde
from pymc_gamma.darkmatter.tables import GammaTable, gamma_table
from pymc_gamma.halos import (
    NFW,
    Burkert,
    Einasto,
    GeneralisedNFW,
    Isothermal,
    Moore,
    Profile,
    Zhao,
    gaussian_density,
    gaussian_weights,
)

__all__ = [
    "NFW",
    "Annihilation",
    "AnnihilationTable",
    "Burkert",
    "DarkMatterHalo",
    "Decay",
    "Einasto",
    "GammaTable",
    "GeneralisedNFW",
    "Isothermal",
    "Moore",
    "PairTable",
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
