r"""What a sky component is to the layers that fold and simulate it.

A component is a sum of parts, each separable in true energy and direction,

.. math:: \phi(E, \Omega) = \sum_p \phi_p(E)\, S_p(\Omega),

in TeV-1 cm-2 s-1 sr-1, with :math:`\phi_p` in TeV-1 cm-2 s-1 and :math:`S_p` in sr-1. For a source
:math:`S_p` integrates to one over the sphere, so :math:`\phi_p` is its total flux. Three kinds of :math:`S_p`
suffice, because three kinds of numerics treat them: a point (no integral), a Gaussian, round or elongated (closed
form), and any other brightness (numerical convolution).

Directions are longitude and latitude in degrees in the frame of the region of interest.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np

from pymc_gamma.arguments import checked, kind
from pymc_gamma.arrays import FloatArray
from pymc_gamma.datasets.citation import Citation
from pymc_gamma.errors import SkyModelError
from pymc_gamma.pictures import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pymc_gamma.geometry import RegionOfInterest
    from pymc_gamma.instrument.irfs.core import Background

__all__ = [
    "Brightness",
    "Cells",
    "Shape",
    "SkyComponent",
    "SkyGaussian",
    "SkyPart",
    "SkyPoint",
    "Spectrum",
    "TemplateShape",
    "check_unique_names",
    "renamed",
]

#: ``(lon, lat)`` in degrees -> sr-1, arrays of one shape.
Brightness = Callable[[FloatArray, FloatArray], FloatArray]
#: Direction (3,), radius in degrees, spacing in degrees -> unit vectors (n, 3) of points about that far apart which
#: cover at least this disc, and their brightness times solid angle (n,).
Cells = Callable[[FloatArray, float, float], tuple[FloatArray, FloatArray]]
#: True energy in TeV -> TeV-1 cm-2 s-1, of the same shape.
Spectrum = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class SkyPoint:
    """A point source.

    Parameters
    ----------
    lon, lat : float
        Position in degrees, in the frame of the region of interest.
    """

    lon: float
    lat: float
    model: ClassVar[str] = "PointSpatialModel"
    """Name of gammapy's class."""

    @property
    def parameters(self) -> dict[str, float]:
        """Parameters of that but the position: there are none."""
        return {}


@dataclass(frozen=True)
class SkyGaussian:
    r"""A round or elongated Gaussian of unit integral.

    .. math:: S = \frac{1}{2\pi ab}\, e^{-u^2/2a^2 - w^2/2b^2}, \qquad a = \sigma,\quad b = \sigma\sqrt{1 - e^2},

    The coordinate :math:`u` runs along the major axis, :math:`w` across it. The parameters are gammapy's.

    Parameters
    ----------
    lon, lat : float
        Centre in degrees, in the frame of the region of interest.
    sigma : float
        Standard deviation along the major axis in degrees; along both axes where ``e`` is 0.
    e : float
        Eccentricity, 0 (round) to 1 (a line).
    phi : float
        Position angle of the major axis in degrees, counted from north to east.

    Raises
    ------
    SkyModelError
        If ``e`` lies outside 0 to 1, or ``phi`` is not finite.

    Examples
    --------
    >>> round(SkyGaussian(0.0, 0.0, sigma=0.5, e=0.8, phi=30.0).minor, 6)
    0.3
    """

    lon: float
    lat: float
    sigma: float
    e: float = 0.0
    phi: float = 0.0
    model: ClassVar[str] = "GaussianSpatialModel"
    """Name of gammapy's class."""

    def __post_init__(self) -> None:
        if not 0 <= self.e <= 1:
            raise SkyModelError(f"A Gaussian needs an eccentricity e between 0 and 1, got {self.e!r}.")
        if not np.isfinite(self.phi):
            raise SkyModelError(f"A Gaussian needs a finite position angle phi, got {self.phi!r} deg.")

    @property
    def parameters(self) -> dict[str, float]:
        """Parameters of gammapy's class but the position."""
        return {"sigma": self.sigma, "e": self.e, "phi": self.phi}

    @property
    def minor(self) -> float:
        """Standard deviation along the minor axis in degrees."""
        return float(self.sigma * np.sqrt((1 - self.e) * (1 + self.e)))


@dataclass(frozen=True)
class TemplateShape:
    """Any other brightness.

    Parameters
    ----------
    lon, lat : float
        Centre in degrees, in the frame of the region of interest.
    radius : float
        Radius in degrees outside which the brightness is zero (or negligible); ``inf`` when it fills the sky.
    brightness : callable
        ``(lon, lat)`` in degrees to sr-1.
    unit_integral : bool
        Whether it integrates to one over the sphere, so that pixels which hold all of it may be renormalised.
    feature : float
        Smallest angular scale in degrees that has to be resolved.
    cells : callable, optional
        The brightness as points with a flux each, for a map whose flux must be kept: see `Cells`. It is then drawn from
        these, not from ``brightness``.
    unresolved : float
        How much the brightness changes from one cell of a map to the next, relative to itself.
    model : str
        Name of gammapy's class, if it is a parametric one.
    sizes : tuple of (str, float)
        Its parameters but the position, angles in degrees.
    """

    lon: float
    lat: float
    radius: float
    brightness: Brightness
    unit_integral: bool
    feature: float
    cells: Cells | None = None
    unresolved: float = 0.0
    model: str = ""
    sizes: tuple[tuple[str, float], ...] = ()

    @property
    def parameters(self) -> dict[str, float]:
        """Parameters of gammapy's class but the position."""
        return dict(self.sizes)


Shape = SkyPoint | SkyGaussian | TemplateShape


@dataclass(frozen=True)
class SkyPart:
    """One separable part of a component: ``spectrum(energy_true) * shape``.

    Parameters
    ----------
    name : str
        Name of the part, for messages and labels.
    shape : SkyPoint, SkyGaussian or TemplateShape
        Where it shines, in sr-1.
    spectrum : callable
        True energy in TeV to TeV-1 cm-2 s-1.
    """

    name: str
    shape: Shape
    spectrum: Spectrum


class SkyComponent(ABC):
    """Base class of everything that emits.

    Parameters
    ----------
    name : str
        Name of the component; it becomes a coordinate of the model's ``component`` dimension.
    citations : iterable of Citation, optional
        What a publication that uses the component should cite.
    """

    #: True for a component given by the instrument in reconstructed coordinates, hence without sky parts.
    instrumental: ClassVar[bool] = False
    #: What gives its rate then, instead of the IRFs of each observation.
    bkg: "Background | None" = None

    def __init__(self, name: str, citations: Iterable[Citation] = ()) -> None:
        if not isinstance(name, str) or not name.strip():
            raise SkyModelError(f"A sky component needs a non-empty name, got {name!r}.")
        self._name = name
        self._citations = tuple(citations)

    @property
    def name(self) -> str:
        """Name of the component."""
        return self._name

    @property
    def citations(self) -> tuple[Citation, ...]:
        """What to cite."""
        return self._citations

    @abstractmethod
    def parts(self, roi: "RegionOfInterest", margin_deg: float = 0.8) -> tuple[SkyPart, ...]:
        """Separable parts that shine into a region of interest.

        Parameters
        ----------
        roi : RegionOfInterest
            Region of interest; its frame is the frame of the shapes.
        margin_deg : float
            Sources are kept when they reach within this many degrees of the region, by extent.

        Returns
        -------
        tuple of SkyPart
            Empty when nothing is near.
        """

    @checked(roi=kind("RegionOfInterest"))
    def peek(
        self,
        roi: "RegionOfInterest | None" = None,
        *,
        energy_true: u.Quantity = 1 * u.TeV,
        max_labels: int = 12,
        fig: "Figure | None" = None,
    ) -> "Figure":
        """Plot the brightness at one energy, and the spectrum of all of it.

        Points are drawn as Gaussians two pixels wide. The spectrum of a source is that of the whole source, of an
        unbounded component that of the region.

        Parameters
        ----------
        roi : RegionOfInterest, optional
            What to show. Default: 6.4 deg around the Galactic centre, or around the source.
        energy_true : `~astropy.units.Quantity`
            True energy of the map.
        max_labels : int
            Name that many sources, the brightest first.
        fig : matplotlib.figure.Figure, optional
            Where to draw.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.

        Raises
        ------
        SkyModelError
            If nothing of the component reaches into the region.
        """
        shown = self._default_roi() if roi is None else roi
        figure: Figure = picture("peek_component")(self, shown, energy_true=energy_true, max_labels=max_labels, fig=fig)
        return figure

    def _default_roi(self) -> "RegionOfInterest":
        """Region that `peek` shows when it is given none."""
        from astropy.coordinates import SkyCoord

        from pymc_gamma.geometry import RegionOfInterest

        return RegionOfInterest(
            center=SkyCoord(0.0, 0.0, unit="deg", frame="galactic"),
            width=6.4 * u.deg,
            energy=(0.1, 100) * u.TeV,
        )

    def __repr__(self) -> str:
        """Class and name."""
        return f"{type(self).__name__}(name={self.name!r})"


def renamed[C: SkyComponent](component: C, name: str) -> C:
    """The same component under another name; the one given keeps its own.

    Examples
    --------
    >>> from pymc_gamma.sky import CosmicRayBackground
    >>> renamed(CosmicRayBackground(), "hadrons")
    CosmicRayBackground(name='hadrons')
    """
    other = copy.copy(component)
    other._name = name
    return other


def check_unique_names[C](components: Iterable[C], kinds: tuple[Any, ...] = (SkyComponent,)) -> tuple[C, ...]:
    """Components as a tuple, after checking that there are some and that their names differ.

    Parameters
    ----------
    components : iterable of SkyComponent
        Components of one model.
    kinds : tuple of type
        Which classes count as components; others must have a name as well.

    Returns
    -------
    tuple of SkyComponent
        The same, in order.

    Raises
    ------
    SkyModelError
        If there is none, if one is not a `SkyComponent`, or if two share a name.

    Examples
    --------
    >>> from pymc_gamma.sky import CosmicRayBackground
    >>> check_unique_names([CosmicRayBackground()])
    (CosmicRayBackground(name='ccr'),)
    """
    result: tuple[Any, ...] = tuple(components)
    if not result:
        raise SkyModelError("A model needs at least one sky component, got none.")
    seen: set[str] = set()
    for component in result:
        if not isinstance(component, kinds):
            raise SkyModelError(
                f"{component!r} is not a sky component; wrap a gammapy model with `SkySource.from_gammapy(model)`."
            )
        if component.name in seen:
            raise SkyModelError(f"Two sky components are named {component.name!r}; give each its own name.")
        seen.add(component.name)
    return result
