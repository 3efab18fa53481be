r"""Forms of the density of dark matter, as functions of :math:`x = r/r_s`; see :mod:`pymc_gamma.halos.density`.

They and their default values are those of Cirelli et al. 2011, JCAP 03, 051 (arXiv:1012.4515), equation 2 and figure 1.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, override

import astropy.units as u
import numpy as np

from pymc_gamma.arguments import checked, number
from pymc_gamma.errors import SkyModelError
from pymc_gamma.halos.density import DISTANCE, NO_CORE, RHO_LOCAL, Profile, log1p_exp

__all__ = ["NFW", "Burkert", "Einasto", "GeneralisedNFW", "Isothermal", "Moore", "Zhao"]


class _DoublePowerLaw(Profile):
    r"""Two power laws, :math:`f = x^{-\gamma}\,(1 + x^{1/\alpha})^{-(\beta - \gamma)\,\alpha}`."""

    def __init__(
        self,
        r_s: u.Quantity,
        r_c: u.Quantity,
        rho_local: u.Quantity,
        distance: u.Quantity,
        *,
        alpha: float,
        beta: float,
        gamma: float,
    ) -> None:
        super().__init__(r_s, r_c, rho_local, distance, alpha=alpha, beta=beta, gamma=gamma)

    @staticmethod
    @override
    def form(log_x: Any, phase: Any, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        alpha, beta, gamma = (parameters[name] for name in ("alpha", "beta", "gamma"))
        modulus, turned = log1p_exp(log_x / alpha, phase / alpha, xp)
        bend = (beta - gamma) * alpha
        return -gamma * log_x - bend * modulus, -gamma * phase - bend * turned

    @property
    @override
    def outer_slope(self) -> float:
        return self.parameters["beta"]

    @property
    @override
    def turn(self) -> float:
        return min(1.0, self.parameters["alpha"])


class NFW(_DoublePowerLaw):
    r"""Profile of Navarro, Frenk and White 1997, ApJ 490, 493: :math:`f = x^{-1}\,(1 + x)^{-2}`.

    Parameters
    ----------
    r_s : `~astropy.units.Quantity`
        Scale radius.
    r_c : `~astropy.units.Quantity`
        Radius of a core.
    rho_local : `~astropy.units.Quantity`
        Density at the Sun, of energy (GeV cm-3) or of mass (Msun kpc-3).
    distance : `~astropy.units.Quantity`
        Of the Galactic centre.

    Raises
    ------
    SkyModelError
        If a parameter is out of range.

    Examples
    --------
    >>> import astropy.units as u
    >>> NFW(rho_local=0.4 * u.GeV / u.cm**3)
    NFW(r_s=24.42 kpc, rho_local=0.4 GeV / cm3, distance=8.33 kpc)
    """

    gammapy_name = "NFWProfile"

    def __init__(
        self,
        r_s: u.Quantity = 24.42 * u.kpc,
        *,
        r_c: u.Quantity = NO_CORE,
        rho_local: u.Quantity = RHO_LOCAL,
        distance: u.Quantity = DISTANCE,
    ) -> None:
        super().__init__(r_s, r_c, rho_local, distance, alpha=1.0, beta=3.0, gamma=1.0)


class GeneralisedNFW(_DoublePowerLaw):
    r"""Profile of Navarro, Frenk and White with another slope: :math:`f = x^{-\gamma}\,(1 + x)^{-(3 - \gamma)}`.

    Parameters
    ----------
    gamma : float
        Power by which the density rises towards the centre, from 0 to below 3.
    r_s : `~astropy.units.Quantity`
        Scale radius.
    r_c : `~astropy.units.Quantity`
        Radius of a core.
    rho_local : `~astropy.units.Quantity`
        Density at the Sun.
    distance : `~astropy.units.Quantity`
        Of the Galactic centre.

    Raises
    ------
    SkyModelError
        If a parameter is out of range.

    Examples
    --------
    >>> GeneralisedNFW(1.25)
    GeneralisedNFW(gamma=1.25, r_s=24.42 kpc, rho_local=0.3 GeV / cm3, distance=8.33 kpc)
    """

    slopes = ("gamma",)

    @checked(gamma=partial(number, low=-np.finfo(float).tiny))
    def __init__(
        self,
        gamma: float,
        r_s: u.Quantity = 24.42 * u.kpc,
        *,
        r_c: u.Quantity = NO_CORE,
        rho_local: u.Quantity = RHO_LOCAL,
        distance: u.Quantity = DISTANCE,
    ) -> None:
        _check_slope(gamma, "GeneralisedNFW")
        super().__init__(r_s, r_c, rho_local, distance, alpha=1.0, beta=3.0, gamma=gamma)


class Moore(_DoublePowerLaw):
    r"""Profile of Diemand, Moore and Stadel 2004, MNRAS 353, 624: :math:`f = x^{-1.16}\,(1 + x)^{-1.84}`.

    Parameters
    ----------
    r_s : `~astropy.units.Quantity`
        Scale radius.
    r_c : `~astropy.units.Quantity`
        Radius of a core.
    rho_local : `~astropy.units.Quantity`
        Density at the Sun.
    distance : `~astropy.units.Quantity`
        Of the Galactic centre.

    Raises
    ------
    SkyModelError
        If a parameter is out of range.

    Examples
    --------
    >>> Moore()
    Moore(r_s=30.28 kpc, rho_local=0.3 GeV / cm3, distance=8.33 kpc)
    """

    gammapy_name = "MooreProfile"

    def __init__(
        self,
        r_s: u.Quantity = 30.28 * u.kpc,
        *,
        r_c: u.Quantity = NO_CORE,
        rho_local: u.Quantity = RHO_LOCAL,
        distance: u.Quantity = DISTANCE,
    ) -> None:
        super().__init__(r_s, r_c, rho_local, distance, alpha=1.0, beta=3.0, gamma=1.16)


class Isothermal(_DoublePowerLaw):
    r"""Isothermal profile of Begeman, Broeils and Sanders 1991, MNRAS 249, 523: :math:`f = (1 + x^2)^{-1}`.

    Parameters
    ----------
    r_s : `~astropy.units.Quantity`
        Scale radius.
    r_c : `~astropy.units.Quantity`
        Radius of a core, beside the one that it has.
    rho_local : `~astropy.units.Quantity`
        Density at the Sun.
    distance : `~astropy.units.Quantity`
        Of the Galactic centre.

    Raises
    ------
    SkyModelError
        If a parameter is out of range.

    Examples
    --------
    >>> Isothermal()
    Isothermal(r_s=4.38 kpc, rho_local=0.3 GeV / cm3, distance=8.33 kpc)
    """

    gammapy_name = "IsothermalProfile"

    def __init__(
        self,
        r_s: u.Quantity = 4.38 * u.kpc,
        *,
        r_c: u.Quantity = NO_CORE,
        rho_local: u.Quantity = RHO_LOCAL,
        distance: u.Quantity = DISTANCE,
    ) -> None:
        super().__init__(r_s, r_c, rho_local, distance, alpha=0.5, beta=2.0, gamma=0.0)


class Zhao(_DoublePowerLaw):
    r"""Profile of Zhao 1996, MNRAS 278, 488: :math:`f = x^{-\gamma}\,(1 + x^{1/\alpha})^{-(\beta - \gamma)\,\alpha}`.

    Parameters
    ----------
    r_s : `~astropy.units.Quantity`
        Scale radius.
    alpha : float
        How gradually the slopes change; larger is smoother. Above 0.05.
    beta : float
        Power by which the density falls far away, above 0.5.
    gamma : float
        Power by which it rises towards the centre, from 0 to below 3.
    r_c : `~astropy.units.Quantity`
        Radius of a core.
    rho_local : `~astropy.units.Quantity`
        Density at the Sun.
    distance : `~astropy.units.Quantity`
        Of the Galactic centre.

    Raises
    ------
    SkyModelError
        If a parameter is out of range.

    Examples
    --------
    >>> Zhao(alpha=0.5, gamma=0.8).outer_slope
    3.0
    """

    gammapy_name = "ZhaoProfile"
    slopes = ("alpha", "beta", "gamma")
    mixture_limits: ClassVar = {"alpha": (0.5, np.inf)}

    @checked(
        alpha=partial(number, low=0.05),
        beta=partial(number, low=0.5),
        gamma=partial(number, low=-np.finfo(float).tiny),
    )
    def __init__(
        self,
        r_s: u.Quantity = 24.42 * u.kpc,
        alpha: float = 1.0,
        beta: float = 3.0,
        gamma: float = 1.0,
        *,
        r_c: u.Quantity = NO_CORE,
        rho_local: u.Quantity = RHO_LOCAL,
        distance: u.Quantity = DISTANCE,
    ) -> None:
        _check_slope(gamma, "Zhao")
        super().__init__(r_s, r_c, rho_local, distance, alpha=alpha, beta=beta, gamma=gamma)


class Einasto(Profile):
    r"""Profile of Einasto 1965, Trudy Astrofiz. Inst. Alma-Ata 5, 87: :math:`f = \exp(-2\,(x^\alpha - 1)/\alpha)`.

    Parameters
    ----------
    r_s : `~astropy.units.Quantity`
        Scale radius, where the density falls as r^-2.
    alpha : float
        How the slope changes with the radius, above 0.01 and at most 2.
    r_c : `~astropy.units.Quantity`
        Radius of a core.
    rho_local : `~astropy.units.Quantity`
        Density at the Sun.
    distance : `~astropy.units.Quantity`
        Of the Galactic centre.

    Raises
    ------
    SkyModelError
        If a parameter is out of range.

    Examples
    --------
    >>> Einasto()
    Einasto(alpha=0.17, r_s=28.44 kpc, rho_local=0.3 GeV / cm3, distance=8.33 kpc)
    """

    gammapy_name = "EinastoProfile"
    slopes = ("alpha",)
    mixture_limits: ClassVar = {"alpha": (0.0, 1.0)}

    @checked(alpha=partial(number, low=0.01, high=2))
    def __init__(
        self,
        r_s: u.Quantity = 28.44 * u.kpc,
        alpha: float = 0.17,
        *,
        r_c: u.Quantity = NO_CORE,
        rho_local: u.Quantity = RHO_LOCAL,
        distance: u.Quantity = DISTANCE,
    ) -> None:
        super().__init__(r_s, r_c, rho_local, distance, alpha=alpha)

    @staticmethod
    @override
    def form(log_x: Any, phase: Any, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        alpha = parameters["alpha"]
        size = 2 / alpha * xp.exp(alpha * log_x)
        return 2 / alpha - size * xp.cos(alpha * phase), -size * xp.sin(alpha * phase)

    @property
    @override
    def outer_slope(self) -> float:
        return np.inf


class Burkert(Profile):
    r"""Profile of Burkert 1995, ApJ 447, L25: :math:`f = (1 + x)^{-1}\,(1 + x^2)^{-1}`.

    Parameters
    ----------
    r_s : `~astropy.units.Quantity`
        Scale radius.
    r_c : `~astropy.units.Quantity`
        Radius of a core, beside the one that it has.
    rho_local : `~astropy.units.Quantity`
        Density at the Sun.
    distance : `~astropy.units.Quantity`
        Of the Galactic centre.

    Raises
    ------
    SkyModelError
        If a parameter is out of range.

    Examples
    --------
    >>> Burkert()
    Burkert(r_s=12.67 kpc, rho_local=0.3 GeV / cm3, distance=8.33 kpc)
    """

    gammapy_name = "BurkertProfile"

    def __init__(
        self,
        r_s: u.Quantity = 12.67 * u.kpc,
        *,
        r_c: u.Quantity = NO_CORE,
        rho_local: u.Quantity = RHO_LOCAL,
        distance: u.Quantity = DISTANCE,
    ) -> None:
        super().__init__(r_s, r_c, rho_local, distance)

    @staticmethod
    @override
    def form(log_x: Any, phase: Any, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        first, second = (log1p_exp(n * log_x, n * phase, xp) for n in (1, 2))
        return -first[0] - second[0], -first[1] - second[1]

    @property
    @override
    def outer_slope(self) -> float:
        return 3.0


def _check_slope(gamma: float, name: str) -> None:
    if gamma >= 3:
        raise SkyModelError(f"{name}: gamma must be below 3, where the mass in the centre is infinite, got {gamma:g}.")
