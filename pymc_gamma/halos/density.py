r"""Densities of dark matter around the Galactic centre.

Each is a function of :math:`x = r/r_s`, scaled to the density :math:`\rho_\odot` at the distance :math:`R` of the Sun,

.. math:: \rho(r) = \rho_\odot\,\frac{f(x)}{f(x_\odot)},\qquad r \to \sqrt{r^2 + r_c^2} ,

the latter with a core of the radius :math:`r_c`. Forms and default values are those of Cirelli et al. 2011, JCAP 03,
051 (arXiv:1012.4515), equation 2 and figure 1; the form with three slopes is that of Zhao 1996, MNRAS 278, 488.

A form is written for complex :math:`x`, as the logarithm of its modulus and its phase: for real radii (phase 0) this is
the density; elsewhere it is what :mod:`pymc_gamma.halos.gaussians` needs. It takes numbers and tensors.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import checked, mapping, quantity
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.halos.factors import region_integral, sight_integral
from pymc_gamma.halos.gaussians import gaussian_weights, region_shares
from pymc_gamma.keywords import check_keywords
from pymc_gamma.pictures import picture
from pymc_gamma.tensors import with_unit
from pymc_gamma.units import numbers, scalar_value, to_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pymc_gamma.geometry import RegionOfInterest

__all__ = ["DISTANCE", "NO_CORE", "RHO_LOCAL", "Profile", "log1p_exp"]

RHO_LOCAL = 0.3 * u.GeV / u.cm**3
DISTANCE = 8.33 * u.kpc
NO_CORE = 0.0 * u.kpc

_CM_PER_KPC = u.kpc.to(u.cm)
_FACTOR_UNITS = {1: "GeV cm-2", 2: "GeV2 cm-5"}
"""Of D and J factors, by the power of the density."""


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

    _of_gammapy: ClassVar[dict[str, Callable[..., "Profile"]]] = {}
    _kinds: ClassVar[dict[str, Callable[..., "Profile"]]] = {}

    mixture_limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Where the form is a mixture of Gaussians, completely monotone in the square of the radius."""

    def __init_subclass__(cls) -> None:
        if cls.__dict__.get("gammapy_name"):
            Profile._of_gammapy[cls.gammapy_name] = cls
        Profile._kinds[cls.__name__] = cls

    def __init__(
        self, r_s: u.Quantity, r_c: u.Quantity, rho_local: u.Quantity, distance: u.Quantity, **shape: float
    ) -> None:
        self.scale = self._positive(r_s, "kpc", "r_s")
        self.core = self._positive(r_c, "kpc", "r_c", zero=True)
        self.rho_local = self._positive(rho_local, "GeV cm-3", "rho_local")
        self.radius_sun = self._positive(distance, "kpc", "distance")
        self.parameters = {"r_s": self.scale, "r_c": self.core, **shape}

    def _positive(self, value: u.Quantity, unit: str, name: str, *, zero: bool = False) -> float:
        with u.set_enabled_equivalencies(u.mass_energy()):  # of densities, such as Msun kpc-3
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

    def mixture_conditions(self, values: Mapping[str, Any], power: int) -> list[tuple[Any, str, tuple[str, ...]]]:
        """What parameters must fulfil for the density, or its square, to be a mixture of Gaussians.

        Parameters
        ----------
        values : mapping
            Those that are looked at: numbers, or variables.
        power : int
            2 for annihilation, 1 for decay.

        Returns
        -------
        list of tuple
            Truth values, or tensors of these, what to tell where they are not true, and of which parameters.
        """
        kind, factor = type(self).__name__, "DJ"[power - 1]
        found: list[tuple[Any, str, tuple[str, ...]]] = [
            (
                (values[name] >= low) & (values[name] <= high),
                f"{kind} is a sum of Gaussians with positive weights for {name} from {low:g} to {high:g} only",
                (name,),
            )
            for name, (low, high) in self.mixture_limits.items()
            if name in values
        ]
        if "r_s" in values:
            r_s = values["r_s"]
            found.append(((r_s > 0) & (r_s < np.inf), f"{kind}: r_s must be positive and finite", ("r_s",)))
        if "r_c" in values:
            r_c = values["r_c"]
            found.append(((r_c >= 0) & (r_c < np.inf), f"{kind}: r_c must be at least 0 and finite", ("r_c",)))
        if "gamma" in values:
            gamma = values["gamma"]
            found.append(
                (
                    (gamma >= 0) & (power * gamma < 3),
                    f"{kind} is a sum of Gaussians for a slope gamma from 0 to below {3 / power:g}, where the {factor} "
                    "factor is infinite without a core",
                    ("gamma",),
                )
            )
        if "beta" in values:
            beta = values["beta"]
            found.append(
                (
                    (beta > values.get("gamma", 0.0)) & (power * beta > 1),
                    f"{kind} is a sum of Gaussians if far away it falls faster than r^-{1 / power:g} and than in the "
                    "centre",
                    ("beta", "gamma"),
                )
            )
        return found

    def check_mixture(self, values: Mapping[str, float], power: int) -> None:
        """Refuse parameters with which the density, or its square, is no mixture of Gaussians.

        Parameters
        ----------
        values : mapping
            Those that are numbers.
        power : int
            2 for annihilation, 1 for decay.
        """
        for fulfilled, message, names in self.mixture_conditions(values, power):
            if not fulfilled:
                told = " and ".join(
                    f"{name}={values[name]:g}" + (" kpc" if name in ("r_s", "r_c") else "")
                    for name in names
                    if name in values
                )
                raise SkyModelError(f"{message}, got {told}.")

    def with_parameters(self, **parameters: Any) -> "Profile":
        """The same form with other parameters; the density at the Sun stays.

        Parameters
        ----------
        **parameters : float or `~astropy.units.Quantity`
            ``r_s`` and ``r_c``, in kpc if they are numbers, and those that :attr:`slopes` names.

        Returns
        -------
        Profile

        Raises
        ------
        TypeError
            If there is no such parameter.
        SkyModelError
            If a parameter is out of range.

        Examples
        --------
        >>> import astropy.units as u
        >>> from pymc_gamma.darkmatter import GeneralisedNFW
        >>> GeneralisedNFW(1.0).with_parameters(gamma=1.2, r_s=20 * u.kpc)
        GeneralisedNFW(gamma=1.2, r_s=20 kpc, rho_local=0.3 GeV / cm3, distance=8.33 kpc)
        """
        check_keywords("with_parameters", parameters, ("r_s", "r_c", *self.slopes))
        own = {}
        for name in ("r_s", "r_c", *self.slopes):
            unit = "kpc" if name in ("r_s", "r_c") else ""
            value = np.squeeze(numbers(parameters.get(name, self.parameters[name]), name, unit))
            if value.ndim:
                raise TypeError(f"{name} must be a single number, got {parameters[name]!r}.")
            own[name] = float(value) * u.kpc if unit else float(value)
        scale = {"rho_local": self.rho_local * RHO_LOCAL.unit, "distance": self.radius_sun * u.kpc}
        return Profile._kinds[type(self).__name__](**own, **scale)

    def to_dict(self) -> dict[str, Any]:
        """Name of the class and parameters, in kpc and GeV cm-3; see :meth:`from_dict`."""
        own = {name: float(self.parameters[name]) for name in ("r_s", "r_c", *self.slopes)}
        return {"kind": type(self).__name__, **own, "rho_local": self.rho_local, "distance": self.radius_sun}

    @staticmethod
    @checked(data=mapping)
    def from_dict(data: Mapping[str, Any]) -> "Profile":
        """A profile from what :meth:`to_dict` returned.

        Raises
        ------
        SkyModelError
            If there is no such profile.

        Examples
        --------
        >>> from pymc_gamma.darkmatter import Burkert
        >>> Profile.from_dict(Burkert().to_dict())
        Burkert(r_s=12.67 kpc, rho_local=0.3 GeV / cm3, distance=8.33 kpc)
        """
        units = {"r_s": u.kpc, "r_c": u.kpc, "rho_local": RHO_LOCAL.unit, "distance": u.kpc}
        kind = data.get("kind")
        if kind not in Profile._kinds:
            raise SkyModelError(f"there is no density profile {kind!r}; there are {', '.join(Profile._kinds)}.")
        given = {name: value * units.get(name, 1) for name, value in data.items() if name != "kind"}
        return Profile._kinds[kind](**given)

    @staticmethod
    def cusp_of(parameters: Mapping[str, Any]) -> Any:
        """Power by which the form rises towards the centre; 0 if it does not, or as no power."""
        return parameters.get("gamma", 0.0)

    @property
    def inner_slope(self) -> float:
        """Power by which the density rises towards the centre; a core ends it."""
        return 0.0 if self.core else float(self.cusp_of(self.parameters))

    @property
    def turn(self) -> float:
        """Change in the logarithm of the radius over which the form turns from one slope to the next."""
        return 1.0

    def plain_density(self, radius: FloatArray) -> FloatArray:
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
        >>> from pymc_gamma.darkmatter import NFW
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
        return self.plain_density(r) * u.Unit("GeV cm-3")

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
        >>> from pymc_gamma.darkmatter import NFW
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
        >>> from pymc_gamma.darkmatter import Einasto
        >>> Einasto().dd_domega([0, 10] * u.deg).to(u.Unit("1e22 GeV cm-2 sr-1")).round(2)
        <Quantity [20.66,  7.05] 1e+22 GeV / (sr cm2)>
        """
        return self._sight(separation, 1) * u.Unit("GeV cm-2 sr-1")

    def j_factor(self, region: "RegionOfInterest | Any", **parameters: Any) -> Any:
        """J factor of annihilation in a region: the square of the density, integrated over lines of sight and sky.

        Parameters
        ----------
        region : RegionOfInterest, regions.SkyRegion, path or gammapy map
            Where: a region of interest without what it excludes, a sky region of the package `regions`, a DS9 file that
            holds one, or a mask map of gammapy, which is True inside.
        **parameters : float, Quantity or TensorVariable
            Parameters of the profile that have another value, or are variables of a model:
            ``pm.Deterministic("dm_j_factor", profile.j_factor(roi, gamma=gamma))``.

        Returns
        -------
        `~astropy.units.Quantity` or TensorVariable
            GeV2 cm-5, accurate to 1e-4; a variable if a parameter is one. A spectrum that is given this variable, or
            a deterministic of it, knows its unit; what is computed from it is a number in the unit of the spectrum.

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
        >>> from pymc_gamma.darkmatter import NFW
        >>> f"{NFW().j_factor(disc):.4g}"
        '2.475e+21 GeV2 / cm5'
        """
        if any(isinstance(value, Variable) for value in parameters.values()):
            return self._of_gaussians(region, 2, parameters)
        profile = self.with_parameters(**parameters) if parameters else self
        return region_integral(profile, region, 2) * _CM_PER_KPC * u.Unit(_FACTOR_UNITS[2])

    def d_factor(self, region: "RegionOfInterest | Any", **parameters: Any) -> Any:
        """D factor of decay in a region: the density, integrated over lines of sight to infinity and sky.

        Parameters
        ----------
        region : RegionOfInterest, regions.SkyRegion, path or gammapy map
            As for :meth:`j_factor`.
        **parameters : float, Quantity or TensorVariable
            As for :meth:`j_factor`.

        Returns
        -------
        `~astropy.units.Quantity` or TensorVariable
            GeV cm-2, accurate to 1e-4; a variable if a parameter is one, with its unit as for :meth:`j_factor`.

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
        >>> from pymc_gamma.darkmatter import NFW
        >>> f"{NFW().d_factor(disc):.4g}"
        '1.329e+20 GeV / cm2'
        """
        if any(isinstance(value, Variable) for value in parameters.values()):
            return self._of_gaussians(region, 1, parameters)
        profile = self.with_parameters(**parameters) if parameters else self
        return region_integral(profile, region, 1) * _CM_PER_KPC * u.Unit(_FACTOR_UNITS[1])

    def _of_gaussians(self, region: Any, power: int, parameters: Mapping[str, Any]) -> Any:
        """J or D factor of a region for parameters that are variables."""
        factor = (region_shares(region) * gaussian_weights(self, power, **parameters)).sum()
        return with_unit(factor, _FACTOR_UNITS[power])

    def peek(self, *, fig: "Figure | None" = None) -> "Figure":
        """Plot the density, and J and D factors per solid angle.

        Parameters
        ----------
        fig : matplotlib.figure.Figure, optional
            Where to draw.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        figure: Figure = picture("peek_profile")(self, fig=fig)
        return figure

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
        names = [base.__name__ for base in type(profile).__mro__ if base.__name__ in Profile._of_gammapy]
        if not names:
            known = ", ".join(Profile._of_gammapy)
            raise TypeError(f"profile must be one of gammapy's {known}, got {type(profile).__name__}.")
        there = scalar_value(distance, "kpc", "distance")
        if not 0 < there < np.inf:
            raise SkyModelError(f"distance must be finite and positive, got {distance}.")
        values = {parameter.name: parameter.quantity for parameter in profile.parameters}
        values.pop("rho_s")
        shape = {name: value if name == "r_s" else float(value) for name, value in values.items()}
        local = profile(there * u.kpc)
        return Profile._of_gammapy[names[0]](**shape, r_c=r_c, rho_local=local, distance=distance)
