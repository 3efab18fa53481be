"""Dark matter: density profiles of the Milky Way, and what they shine with."""

from pymc_gamma.darkmatter.density import Profile
from pymc_gamma.darkmatter.gaussians import gaussian_density, gaussian_weights
from pymc_gamma.darkmatter.profiles import NFW, Burkert, Einasto, GeneralisedNFW, Isothermal, Moore, Zhao

__all__ = [
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
]
