r"""Densities of dark matter around the Galactic centre.

Each is a function of :math:`x = r/r_s`, scaled to the density :math:`\rho_\odot` at the distance :math:`R` of the Sun,

.. math:: \rho(r) = \rho_\odot\,\frac{f(x)}{f(x_\odot)},\qquad r \to \sqrt{r^2 + r_c^2} ,

the latter with a core of the radius :math:`r_c`. Forms and default values are those of Cirelli et al. 2011, JCAP 03,
051 (arXiv:1012.4515), equation 2 and figure 1; the form with three slopes is that of Zhao 1996, MNRAS 278, 488.

A form is written for complex :math:`x`, as the logarithm of its modulus and its phase: for real radii (phase 0) this is
the density; elsewhere it is what :mod:`pymc_gamma.darkmatter.gaussians` needs. It takes numbers and tensors.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, override

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arguments import checked, number, plain, quantity
from pymc_gamma.arrays import FloatArray
from pymc_gamma.darkmatter.factors import region_integral, sight_integral
from pymc_gamma.errors import SkyModelError
from pymc_gamma.pictures import picture
from pymc_gamma.units import scalar_value, to_value

if TYPE_CHECKING:
    from pymc_gamma.geometry import RegionOfInterest

__all__ = ["NFW", "Burkert", "Einasto", "GeneralisedNFW", "Isothermal", "Moore", "Profile", "Zhao"]

RHO_LOCAL = 0.3 * u.GeV / u.cm**3
DISTANCE = 8.33 * u.kpc
NO_CORE = 0.0 * u.kpc

_CM_PER_KPC = u.kpc.to(u.cm)


def log1p_exp(log_x: Any, phase: Any, xp: Any = np) -> tuple[Any, Any]:
    """Logarithm of the modulus, and the phase, of 1 + x for a complex x that is given by the same.

    Parameters
    ----------
    log_x, phase : numpy.ndarray or TensorVariable
        Of x, with a phase between -pi and pi.
    xp : module
        `numpy` or `pytensor.tensor`, as they are one or the other.
    """
    top = xp.maximum(log_x, 0.0)
    one, x = xp.exp(-top), xp.exp(log_x - top)
    real, imaginary = one + x * xp.cos(phase), x * xp.sin(phase)
    return top + 0.5 * xp.log(real**2 + imaginary**2), xp.arctan2(imaginary, real)


class Profile(ABC):
    """Density of dark matter as a function of the distance from the Galactic centre.

    Attributes
    ----------
    parameters : dict
        Values of the parameters of the form; lengths in kpc.
    rho_local : float
        Density at the Sun in GeV cm-3.
    radius_sun : float
        Distance of the Galactic centre in kpc.
    scale, core : float
        Scale radius and radius of the core in kpc.
    """

    gammapy_name: ClassVar[str] = ""
    """Class of :mod:`gammapy.astro.darkmatter` that has the same form, if there is one."""

    slopes: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters of the form that may be chosen, beside the lengths."""

    def __init__(
        self, r_s: u.Quantity, r_c: u.Quantity, rho_local: u.Quantity, distance: u.Quantity, **shape: float
    ) -> None:
        self.scale = self._positive(r_s, "kpc", "r_s")
        self.core = self._positive(r_c, "kpc", "r_c", zero=True)
        self.rho_local = self._positive(rho_local, "GeV cm-3", "rho_local")
        self.radius_sun = self._positive(distance, "kpc", "distance")
        self.parameters = {"r_s": self.scale, "r_c": self.core, **shape}

    def _positive(self, value: u.Quantity, unit: str, name: str, *, zero: bool = False) -> float:
        found = scalar_value(value, unit, f"{type(self).__name__}: {name}")
        if not np.isfinite(found) or found < 0 or (found == 0 and not zero):
            wanted = "at least 0" if zero else "positive"
            raise SkyModelError(f"{type(self).__name__}: {name} must be finite and {wanted}, got {value}.")
        return found

    def __repr__(self) -> str:
        shape = "".join(f"{name}={self.parameters[name]:g}, " for name in self.slopes)
        core = f"r_c={self.core:g} kpc, " if self.core else ""
        return (
            f"{type(self).__name__}({shape}r_s={self.scale:g} kpc, {core}rho_local={self.rho_local:g} GeV / cm3, "
            f"distance={self.radius_sun:g} kpc)"
        )

    @staticmethod
    @abstractmethod
    def form(log_x: Any, phase: Any, parameters: Mapping[str, Any], xp: Any = np) -> tuple[Any, Any]:
        """Logarithm of the modulus, and the phase, of the form at a complex x that is given by the same.

        Parameters
        ----------
        log_x, phase : numpy.ndarray or TensorVariable
            Of x, with a phase between -pi/2 and pi/2.
        parameters : mapping
            Numbers or variables for what :attr:`parameters` names.
        xp : module
            `numpy` or `pytensor.tensor`, as they are one or the other.
        """

    @property
    @abstractmethod
    def outer_slope(self) -> float:
        """Power by which the density falls far away."""

    @property
    def cusp(self) -> float:
        """Power by which the form rises towards the centre; 0 if it does not, or as no power."""
        return 0.0

    @property
    def inner_slope(self) -> float:
        """Power by which the density rises towards the centre, where a core ends it."""
        return 0.0 if self.core else self.cusp

    @property
    def turn(self) -> float:
        """Change in the logarithm of the radius over which the form turns from one slope to the next."""
        return 1.0

    def value(self, radius: FloatArray) -> FloatArray:
        """Density in GeV cm-3 at distances from the centre in kpc, not both zero and in a cusp."""
        log_x = np.log(np.maximum(np.hypot(radius, self.core), np.finfo(float).tiny) / self.scale)
        log_sun = np.log(np.hypot(self.radius_sun, self.core) / self.scale)
        shape, sun = (self.form(place, 0.0, self.parameters)[0] for place in (log_x, log_sun))
        return np.asarray(self.rho_local * np.exp(shape - sun))

    @checked(radius=quantity("kpc"))
    def density(self, radius: u.Quantity) -> u.Quantity:
        """Density at distances from the Galactic centre.

        Parameters
        ----------
        radius : `~astropy.units.Quantity`
            Distances, of any shape.

        Returns
        -------
        `~astropy.units.Quantity`
            GeV cm-3, of the same shape.

        Raises
        ------
        SkyModelError
            If a distance is negative, or 0 in a cusp, where the density is infinite.

        Examples
        --------
        >>> import astropy.units as u
        >>> NFW().density([8.33, 1] * u.kpc).round(3)
        <Quantity [0.3  , 4.148] GeV / cm3>
        """
        r = to_value(radius, "kpc", "radius")
        if np.any(r < 0):
            raise SkyModelError(f"radius must be at least 0, got {np.min(r):g} kpc.")
        if self.inner_slope > 0 and np.any(r == 0):
            raise SkyModelError(
                f"radius must not be 0, where the density of {self!r} is infinite; give the profile a core, r_c, or "
                "ask at a positive radius."
            )
        return self.value(r) * u.Unit("GeV cm-3")

    def _sight(self, separation: u.Quantity, power: int) -> FloatArray:
        angle = to_value(separation, "rad", "separation")
        if np.any((angle < 0) | (angle > np.pi * (1 + 1e-12))):
            raise SkyModelError("separation must be an angle from 0 to 180 deg.")
        return sight_integral(self, np.minimum(angle, np.pi), power) * _CM_PER_KPC

    @checked(separation=quantity("deg"))
    def dj_domega(self, separation: u.Quantity) -> u.Quantity:
        """J factor of annihilation per solid angle: the square of the density, integrated along lines of sight.

        Parameters
        ----------
        separation : `~astropy.units.Quantity`
            Angles from the Galactic centre, of any shape, from 0 to 180 deg.

        Returns
        -------
        `~astropy.units.Quantity`
            GeV2 cm-5 sr-1, of the same shape.

        Raises
        ------
        SkyModelError
            If it is infinite: at 0 for a density that rises as r^-1/2 or steeper.

        Examples
        --------
        >>> import astropy.units as u
        >>> NFW().dj_domega([1, 10] * u.deg).to(u.Unit("1e22 GeV2 cm-5 sr-1")).round(2)
        <Quantity [124.94,   8.42] 1e+22 GeV2 / (sr cm5)>
        """
        return self._sight(separation, 2) * u.Unit("GeV2 cm-5 sr-1")

    @checked(separation=quantity("deg"))
    def dd_domega(self, separation: u.Quantity) -> u.Quantity:
        """D factor of decay per solid angle: the density, integrated along lines of sight to infinity.

        Parameters
        ----------
        separation : `~astropy.units.Quantity`
            Angles from the Galactic centre, of any shape, from 0 to 180 deg.

        Returns
        -------
        `~astropy.units.Quantity`
            GeV cm-2 sr-1, of the same shape.

        Raises
        ------
        SkyModelError
            If it is infinite: at 0 for a density that rises as 1/r or steeper.

        Examples
        --------
        >>> import astropy.units as u
        >>> Einasto().dd_domega([0, 10] * u.deg).to(u.Unit("1e22 GeV cm-2 sr-1")).round(2)
        <Quantity [20.66,  7.05] 1e+22 GeV / (sr cm2)>
        """
        return self._sight(separation, 1) * u.Unit("GeV cm-2 sr-1")

    def j_factor(self, region: "RegionOfInterest | Any") -> u.Quantity:
        """J factor of annihilation in a region: the square of the density, integrated over lines of sight and sky.

        Parameters
        ----------
        region : RegionOfInterest, regions.SkyRegion, path or gammapy map
            Where: a region of interest without what it excludes, a sky region of the package `regions`, a DS9 file that
            holds one, or a mask map of gammapy, which is True inside.

        Returns
        -------
        `~astropy.units.Quantity`
            GeV2 cm-5, accurate to 1e-4.

        Raises
        ------
        SkyModelError
            If it is infinite: with the Galactic centre in the region, for a density that rises as r^-3/2 or steeper.
        RegionError
            If it is no region, or an empty one.

        Examples
        --------
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> from regions import CircleSkyRegion
        >>> disc = CircleSkyRegion(SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic"), 1 * u.deg)
        >>> f"{NFW().j_factor(disc):.4g}"
        '2.475e+21 GeV2 / cm5'
        """
        return region_integral(self, region, 2) * _CM_PER_KPC * u.Unit("GeV2 cm-5")

    def d_factor(self, region: "RegionOfInterest | Any") -> u.Quantity:
        """D factor of decay in a region: the density, integrated over lines of sight to infinity and sky.

        Parameters
        ----------
        region : RegionOfInterest, regions.SkyRegion, path or gammapy map
            As for :meth:`j_factor`.

        Returns
        -------
        `~astropy.units.Quantity`
            GeV cm-2, accurate to 1e-4.

        Raises
        ------
        SkyModelError
            If it is infinite.
        RegionError
            If it is no region, or an empty one.

        Examples
        --------
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> from regions import CircleSkyRegion
        >>> disc = CircleSkyRegion(SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic"), 1 * u.deg)
        >>> f"{NFW().d_factor(disc):.4g}"
        '1.329e+20 GeV / cm2'
        """
        return region_integral(self, region, 1) * _CM_PER_KPC * u.Unit("GeV cm-2")

    @checked(figsize=plain("", 2))
    def peek(self, figsize: tuple[float, float] = (12.0, 4.5)) -> NDArray[Any]:
        """Show the density, and J and D factors per solid angle.

        Parameters
        ----------
        figsize : tuple of float
            Size in inches.

        Returns
        -------
        numpy.ndarray
            The two `~matplotlib.axes.Axes`.
        """
        axes: NDArray[Any] = picture("peek_profile")(self, figsize)
        return axes

    @staticmethod
    def from_gammapy(profile: Any, distance: u.Quantity = DISTANCE, r_c: u.Quantity = NO_CORE) -> "Profile":
        """The same density as a profile of gammapy.

        Parameters
        ----------
        profile : gammapy.astro.darkmatter.DMProfile
            With its parameters, the scale density included.
        distance : `~astropy.units.Quantity`
            Of the Galactic centre.
        r_c : `~astropy.units.Quantity`
            Radius of a core; the density at the Sun stays that of the profile without it.

        Returns
        -------
        Profile

        Raises
        ------
        TypeError
            If it is no such profile.

        Examples
        --------
        >>> from gammapy.astro.darkmatter import EinastoProfile
        >>> Profile.from_gammapy(EinastoProfile(rho_s="0.033 GeV cm-3"))
        Einasto(alpha=0.17, r_s=28.44 kpc, rho_local=0.302774 GeV / cm3, distance=8.33 kpc)
        """
        kinds = {kind.gammapy_name: kind for kind in (NFW, Einasto, Burkert, Moore, Isothermal, Zhao)}
        known = [kinds[base.__name__] for base in type(profile).__mro__ if base.__name__ in kinds]
        if not known:
            raise TypeError(f"profile must be one of gammapy's {', '.join(kinds)}, got {type(profile).__name__}.")
        values = {parameter.name: parameter.quantity for parameter in profile.parameters}
        values.pop("rho_s")
        shape = {name: value if name == "r_s" else float(value) for name, value in values.items()}
        local = profile(u.Quantity(distance))
        return known[0](**shape, r_c=r_c, rho_local=local, distance=distance)  # type: ignore[abstract]


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
    def cusp(self) -> float:
        return self.parameters["gamma"]

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
        Density at the Sun.
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
