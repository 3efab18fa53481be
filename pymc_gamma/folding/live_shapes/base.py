"""What a live shape is: parameters of the user, as the numbers that the kernels take.

To add a shape, write one file: a subclass of :class:`LiveShape` with the parameters of the user, and with what a
*family* of shapes, whose kernels exist, takes instead of them. Expressions must be plain arithmetic, so that they serve
for numbers and for variables of a model alike. A profile that depends on the distance alone needs no kernel of its own;
see :mod:`pymc_gamma.folding.live_shapes.radial`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar, Self

import astropy.units as u
import numpy as np
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.tensors import described, with_unit
from pymc_gamma.units import numbers

__all__ = ["REACH", "Family", "Limits", "LiveShape", "class_of_model", "is_number", "model_names", "shape_of_model"]

Limits = dict[str, tuple[float, float]]
"""Range in which each parameter is valid."""
REACH = 0.3
"""How far in deg a position may be from the reference."""
_MODELS: dict[str, type["LiveShape"]] = {}


class Family(ABC):
    """Numerics that several shapes share: how a brightness and the PSF look together.

    Attributes
    ----------
    density : callable
        Kernel ``(theta, rho, tables, out)``, see `pymc_gamma.folding.live_kernels.gaussian_density`.
    counts : callable
        Kernel ``(theta, tables, out)``, see `pymc_gamma.folding.live_counts_kernels.gaussian_counts`.
    profile : numpy.ndarray
        Table that the kernel reads, two-dimensional; empty where it needs none.
    n_own : int
        Number of parameters, where it is fixed.
    n_sizes : int
        Sizes between which expected counts are interpolated.
    """

    density: Callable[..., None]
    counts: Callable[..., None]
    profile: FloatArray
    n_own: int
    n_sizes: int

    @abstractmethod
    def seen(
        self, own: FloatArray, across: FloatArray, along: FloatArray, variance: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The source convolved with Gaussians, at points.

        Parameters
        ----------
        own : numpy.ndarray
            Parameters of the family.
        across, along : numpy.ndarray
            Coordinates in deg on the axes of the source, shape (N,).
        variance : numpy.ndarray
            Of the Gaussians, deg2, shape (M,).

        Returns
        -------
        tuple of numpy.ndarray
            Logarithm of the brightness in deg-2, and coordinates of the posterior mean of the true direction, (N, M).
        """

    @abstractmethod
    def turn(self, own: FloatArray) -> float:
        """Position angle in rad of the second axis of the source, from north to east."""

    @abstractmethod
    def widest(self, own: FloatArray, variance: float) -> float:
        """Distance in deg beyond which the source, convolved with a Gaussian, is negligible."""

    def expression(self, xp: Any, own: Any, pointing: Any, event: Any, fields: Any, rung: Any) -> Any:
        """What the kernel computes for a rung, in elementary functions of numpy or another namespace ``xp``.

        Back ends that compile and differentiate for themselves use it.

        Parameters
        ----------
        xp : module
            With ``exp``, ``sqrt``, ``sin`` and ``cos``.
        own : tuple
            Scale of the PSF, and parameters of the family.
        pointing, event : tuple
            The source as seen from the pointing, and the event as seen from the source, east and north in deg.
        fields : tuple
            Squared offset of the reference, and changes with it: of widths, of curvature, of rates.
        rung : tuple
            Width in deg2, and gathered K and K'.

        Returns
        -------
        array
            Contribution to the density in TeV-1 sr-1.
        """
        raise NotImplementedError(f"{type(self).__name__} has no form for this back end; use the default one (numba).")

    def count_points(self, xp: Any, own: Any, north: Any, east: Any, nodes: Any) -> Any:
        """Which images the counts kernel adds up, as :meth:`expression` does for densities.

        Parameters
        ----------
        xp : module
            Namespace.
        own : tuple
            Parameters of the family, shape (n_observations, 1) each.
        north, east : tuple
            Their components at the source on the axes of the plane, shape (n_observations, 1) each.
        nodes : tuple
            Nodes and weights of the standard normal, tensors of known length (n_nodes,) each.

        Returns
        -------
        tuple of array
            Distances from the source in deg, east and north, size and amplitude, shape (n_observations, n_points) each.
        """
        raise NotImplementedError(f"{type(self).__name__} has no form for this back end; use the default one (numba).")

    def blur(self, own: FloatArray) -> float:
        """Variance in deg2 below which differences between widths of the PSF do not matter."""
        return 0.0

    @abstractmethod
    def extent(self, own: FloatArray) -> float:
        """Distance in deg from the centre within which nearly all of the source lies."""

    @abstractmethod
    def transform(self, wave: FloatArray, size: float) -> FloatArray:
        """Fourier transform of the round brightness of a size, at wave numbers in rad / deg; 1 at zero."""

    def __reduce__(self) -> tuple[Any, ...]:
        # PyTensor makes keys of what is pickled: tables must not be part of them
        return type(self), ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class LiveShape(ABC):
    """A brightness of unit integral whose parameters may be numbers or variables of a model.

    Subclasses are frozen dataclasses; the names, units and definitions of their fields are gammapy's, positions in the
    frame of the region of interest. ``extents`` names those with which a shape grows, ``model`` the class of gammapy
    that it is the same as.
    """

    family: ClassVar[Family]
    extents: ClassVar[tuple[str, ...]]
    model: ClassVar[str] = ""
    lon_0: Any
    lat_0: Any

    def __init_subclass__(cls) -> None:
        if cls.model:
            _MODELS[cls.model] = cls

    @classmethod
    def of(cls, lon: float, lat: float, parameters: Mapping[str, float]) -> Self | None:
        """The shape of a model of gammapy, from its parameters (angles in deg); None where they are beyond it."""
        return cls(lon, lat, **parameters)  # type: ignore[call-arg]

    def spatial_model(self, frame: str) -> Any:
        """The model of gammapy, for a shape of numbers in the frame of the region."""
        from gammapy.modeling import models

        quantities = {name: value * u.Unit(self.unit(name)) for name, value in self.parameters.items()}
        return getattr(models, self.model)(frame=frame, **quantities)

    @property
    @abstractmethod
    def own(self) -> tuple[Any, ...]:
        """What the family takes of it besides the position."""

    @abstractmethod
    def limits(self) -> Limits:
        """Ranges around a shape of numbers, taken as the reference, in which tables made for it are valid.

        Those of the position follow from the reach of the tables and are not here.
        """

    @abstractmethod
    def sizes(self, limits: Limits) -> tuple[float, float, float]:
        """Smallest and largest size of the family within limits, and the scale of its logarithm, 0 for a linear one."""

    def elongated(self, limits: Limits) -> bool:
        """Whether the shape may be elongated."""
        return False

    def largest(self, limits: Limits) -> "LiveShape":
        """The shape within limits that reaches furthest."""
        return replace(self, **{name: limits[name][1] for name in self.extents})  # type: ignore[type-var]

    def unit(self, name: str) -> str:
        """Unit of a parameter: degrees, but for an eccentricity."""
        return "" if name == "e" else "deg"

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]

    def theta(self, psf_scale: Any = 1.0) -> tuple[Any, ...]:
        """Row of parameters as the kernels take it: lon, lat (deg), scale of the PSF, and those of the family."""
        return (self.lon_0, self.lat_0, psf_scale, *self.own)

    def check(self) -> None:
        """Make numbers of quantities, and raise SkyModelError if a number has no meaning.

        Raises
        ------
        TypeError
            If a parameter is neither a number nor a variable.
        SkyModelError
            If a number is not finite, or a latitude beyond a pole.
        """
        for name, value in self.parameters.items():
            own = f"{type(self).__name__}: {name}"
            if isinstance(value, Variable):
                if getattr(value.type, "ndim", 0):
                    given = f"{value.name!r} of {value.type}" if value.name else f"{value.type}"
                    raise TypeError(
                        f"{own} must be one number or variable, got {given}; pass a single entry, such as "
                        f"{value.name or 'variable'}[0]."
                    )
                with_unit(described(value, f"{name} of {type(self).__name__}"), self.unit(name))
                continue
            number = numbers(value, own, self.unit(name), finite=False)
            if number.ndim:
                raise TypeError(f"{own} must be one number or variable, got {value!r}.")
            if not np.isfinite(number):
                raise SkyModelError(f"{own} must be finite, got {value!r}.")
            object.__setattr__(self, name, float(number))
        if is_number(self.lat_0) and abs(self.lat_0) > 90:
            raise SkyModelError(f"{type(self).__name__}: lat_0 must lie within -90 and 90 deg, got {self.lat_0!r}.")

    def check_family(self, reference: "LiveShape") -> None:
        """Raise SkyModelError unless tables made for another shape serve for this one."""
        if self.family != reference.family:
            raise SkyModelError(
                f"{type(self).__name__} is of another family than {type(reference).__name__}, for which the tables "
                "were made; make them with a reference of the shape of the model."
            )

    def differs(self, reference: "LiveShape") -> tuple[str, ...]:
        """Names of the parameters that are no numbers, or other ones than those of a reference of the same class."""
        own = self.parameters.items()
        return tuple(k for k, value in own if not (is_number(value) and value == reference.parameters[k]))

    def furthest(self, limits: Limits) -> float:
        """Distance in deg from the reference to where the shape may shine, within limits."""
        return REACH + self.family.extent(np.array(self.largest(limits).own, float))

    def _refuse(self, name: str, needed: str) -> SkyModelError:
        return SkyModelError(f"{type(self).__name__} needs {name} {needed}, got {getattr(self, name)!r}.")


def is_number(value: Any) -> bool:
    """Whether a parameter is a number, rather than a variable of a model."""
    return isinstance(value, int | float | np.number)


def model_names() -> list[str]:
    """Names of gammapy's models that a live shape is the same as."""
    return sorted(_MODELS)


def class_of_model(model: str) -> type[LiveShape]:
    """The live shape that is the same as a model of gammapy; a KeyError if there is none."""
    return _MODELS[model]


def shape_of_model(model: str, lon: float, lat: float, parameters: Mapping[str, float]) -> LiveShape | None:
    """The live shape of a model of gammapy, None if there is none.

    Parameters
    ----------
    model : str
        Name of gammapy's class.
    lon, lat : float
        Position in deg.
    parameters : mapping
        Its other parameters, angles in deg.
    """
    return None if model not in _MODELS else _MODELS[model].of(lon, lat, parameters)
