"""Dark matter: density profiles of the Milky Way, and what they shine with."""

from pymc_gamma.darkmatter.profiles import NFW, Burkert, Einasto, GeneralisedNFW, Isothermal, Moore, Profile, Zhao

__all__ = ["NFW", "Burkert", "Einasto", "GeneralisedNFW", "Isothermal", "Moore", "Profile", "Zhao"]
