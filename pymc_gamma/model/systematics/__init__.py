r"""Instrument systematics as priors, one file each.

What an instrument does not know about itself becomes a random variable of the model, with a prior that says how well it
is known. Pass any of these to ``ExtendedEventMixture(..., systematics=[...])`` or to ``EventMixture``; each adds its
variable, under its own name, and the posterior says what the data had to say about it:

======================  =====================  ===================================================================
class                   variable               what it does
======================  =====================  ===================================================================
`EffectiveAreaNorm`     ``aeff_norm``          factor on the effective area, hence on all sky fluxes
`EffectiveAreaShape`    ``aeff_shape``         logarithm of that factor at a few true energies, a cubic spline between
`EnergyScale`           ``energy_scale``       factor on the energies that the response assumes for gamma rays
`PSFScale`              ``psf_scale``          factor on the width of the PSF
`BackgroundNorm`        ``background_norm``    factor on the residual background, in each observation
`BackgroundTilt`        ``background_tilt``    index of a power law in reconstructed energy on it, in each observation
======================  =====================  ===================================================================

Factors are 1 and tilts 0 for the nominal response. Instead of the default prior, give any PyTensor variable (or number)
as ``value``. One of your own derives from `Systematic`.
"""

from pymc_gamma.model.systematics.background_norm import BackgroundNorm
from pymc_gamma.model.systematics.background_tilt import BackgroundTilt
from pymc_gamma.model.systematics.base import Systematic
from pymc_gamma.model.systematics.effective_area_norm import EffectiveAreaNorm
from pymc_gamma.model.systematics.effective_area_shape import EffectiveAreaShape
from pymc_gamma.model.systematics.energy_scale import EnergyScale
from pymc_gamma.model.systematics.psf_scale import PSFScale

__all__ = [
    "BackgroundNorm",
    "BackgroundTilt",
    "EffectiveAreaNorm",
    "EffectiveAreaShape",
    "EnergyScale",
    "PSFScale",
    "Systematic",
]
