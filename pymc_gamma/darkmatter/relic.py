"""The annihilation cross-section of a thermal relic: what dark matter needs that froze out in the early Universe."""

from typing import Any

import astropy.units as u
import numpy as np

from pymc_gamma.arguments import checked, quantity
from pymc_gamma.units import to_value

__all__ = ["CANONICAL_CROSS_SECTION", "thermal_cross_section"]

CANONICAL_CROSS_SECTION = 2.2e-26
"""cm3 s-1, for masses above 10 GeV."""

# Steigman, Dasgupta and Beacom 2012, Phys. Rev. D 86, 023506 (arXiv:1204.3622): self-conjugate particles,
# annihilation in the s-wave, Omega h^2 = 0.11. Masses in GeV, four per decade; 1e-26 cm3 s-1.
_MASS = np.r_[10 ** np.linspace(-1, 4, 21), 1e5]
_SIGMAV = np.array(
    [4.8, 4.9, 5.1, 5.0, 4.7, 4.5, 3.9, 2.8, 2.5, 2.3, 2.2, 2.2, 2.2, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3, 2.4, 2.4]
)


@checked(mass=quantity("TeV"))
def thermal_cross_section(mass: Any) -> u.Quantity:
    """Cross-section of dark matter whose abundance today is that of a thermal relic.

    Parameters
    ----------
    mass : Quantity
        Masses from 0.1 GeV to 100 TeV, of any shape.

    Returns
    -------
    Quantity
        Velocity-averaged annihilation cross-section in cm3 s-1, of the shape of the masses: of particles that are their
        own antiparticles and annihilate in the s-wave. Twice as much for Dirac particles.

    Raises
    ------
    ValueError
        If a mass is outside of the table.

    References
    ----------
    Steigman, Dasgupta and Beacom 2012, Phys. Rev. D 86, 023506 (arXiv:1204.3622).

    Examples
    --------
    >>> import astropy.units as u
    >>> thermal_cross_section([0.001, 1] * u.TeV)
    <Quantity [4.7e-26, 2.3e-26] cm3 / s>
    """
    value = to_value(mass, "TeV", "thermal_cross_section: mass") * 1e3
    outside = ~((value >= _MASS[0] * (1 - 1e-9)) & (value <= _MASS[-1] * (1 + 1e-9)))
    if np.any(outside):
        worst = np.ravel(value)[np.ravel(outside)][0] / 1e3
        raise ValueError(f"thermal_cross_section: mass must be within 0.0001 and 100 TeV, got {worst:g} TeV.")
    return np.interp(np.log(value), np.log(_MASS), _SIGMAV) * 1e-26 * u.cm**3 / u.s
