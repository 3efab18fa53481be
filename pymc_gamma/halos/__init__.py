"""Density profiles of dark matter, their J and D factors, and halos as sums of Gaussians."""

from pymc_gamma.halos.density import Profile
from pymc_gamma.halos.gaussians import GAUSSIAN_WIDTHS, gaussian_density, gaussian_weights, region_shares
from pymc_gamma.halos.profiles import NFW, Burkert, Einasto, GeneralisedNFW, Isothermal, Moore, Zhao

__all__ = [
    "GAUSSIAN_WIDTHS",
    "NFW",
    "Burkert",
    "Einasto",
    "GeneralisedNFW",
    "Isothermal",
    "Moore",
    "Profile",
    "Zhao",
    "gaussian_density",
    "gaussian_weights",
    "region_shares",
]
