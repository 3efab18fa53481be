"""A component whose parameters have no closed form: one component for each node of a grid.

What cannot be folded with parameters left free (the radius of a shell, the angle of a template, a profile) is folded
once for each value of a grid, and the densities are interpolated between these (:mod:`pymc_gamma.ops.scan_tables`).
This is the description of such a grid; :func:`pymc_gamma.fold` folds it.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arguments import ascending, checked, integer, kind, mapping, path
from pymc_gamma.errors import SkyModelError
from pymc_gamma.files import user_path
from pymc_gamma.keywords import check_keywords
from pymc_gamma.sky.component import SkyComponent, renamed
from pymc_gamma.units import numbers, to_value

if TYPE_CHECKING:
    from pymc_gamma.geometry import RegionOfInterest

__all__ = ["Scanned"]

_FLUX_ENERGIES = 30
"""Energies at which the flux of a component is looked at."""


class Scanned:
    """A component at the nodes of one parameter, or of two, for a model in which these are variables.

    Pass it to `fold` among the components, and the values of the parameters to
    ``EventMixture(..., scan={"radius": radius})``.

    Parameters
    ----------
    name : str
        Name of the component, in the model and in the response.
    factory : callable
        Makes the component: called with one value of each parameter, by keyword. Its own name does not matter.
    nodes : mapping
        For each parameter, by name, its nodes: two or more numbers or a quantity, ascending. One parameter or two.
    checkpoint_folder : path-like, optional
        Keep each node here, in a file of its own, as soon as it is folded (made if missing, one folder for each scan).
        A run that was killed, or whose factory failed, is then repeated: `fold` reads the nodes that are there, and
        calls the factory for the others. Nodes may be added to the grid later. See Notes.

    Attributes
    ----------
    grid : dict
        For each parameter its nodes as plain numbers, in the unit that they were given in: what the parameter is in a
        model.
    units : dict
        For each parameter this unit, or None for numbers without one.
    checkpoint_folder : pathlib.Path or None
        Where nodes are kept.

    Raises
    ------
    SkyModelError
        If there are no nodes, or those of more than two parameters; if the factory does not take the parameters, fails
        at the first nodes, or makes something else than a component of the sky.
    ValueError
        If nodes are not ascending, or fewer than two.
    TypeError
        If they are no numbers, or the factory cannot be called.

    Notes
    -----
    The factory is called at the first node when this is made, to see whether it works, unless ``checkpoint_folder``
    has nodes; `fold` then calls it once for each node, one after the other, while earlier ones are compiled in threads.

    A file in ``checkpoint_folder`` holds what the factory has made, as arrays (spectrum, brightness). It says for which
    name, parameters, units, region of interest, true-energy bins, pixels and reach of the PSF. These must be those of
    the `fold` that reads it, else the folder is refused; of observations and IRFs matters what the last three depend
    on. **What the factory does is not compared**: after changing it, or anything that it uses, delete the folder.

    Examples
    --------
    >>> from gammapy.modeling.models import PowerLawSpectralModel, ShellSpatialModel
    >>> from pymc_gamma.sky import SkySource
    >>> def shell(radius):
    ...     place = {"lon_0": "347.3 deg", "lat_0": "-0.5 deg", "frame": "galactic"}
    ...     spatial = ShellSpatialModel(radius=radius, width="0.1 deg", **place)
    ...     return SkySource("shell", spatial, PowerLawSpectralModel())
    >>> scanned = Scanned("rxj", shell, nodes={"radius": [0.2, 0.3, 0.4] * u.deg})
    >>> scanned, len(scanned), scanned.label(1), scanned.component(1)
    (Scanned(name='rxj', radius=3 nodes), 3, 'radius = 0.3 deg', SkySource(name='rxj'))
    """

    @checked(nodes=mapping, checkpoint_folder=path)
    def __init__(
        self,
        name: str,
        factory: Callable[..., SkyComponent],
        nodes: Mapping[str, Any],
        *,
        checkpoint_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise SkyModelError(f"Scanned needs a non-empty name, got {name!r}.")
        if not callable(factory):
            raise TypeError(f"Scanned {name!r}: factory must make a component when it is called, got {factory!r}.")
        if len(nodes) not in (1, 2):
            raise SkyModelError(f"Scanned {name!r}: one or two parameters can be scanned, got nodes of {list(nodes)}.")
        self._name, self._factory = name, factory
        self.grid: dict[str, NDArray[np.float64]] = {}
        self.units: dict[str, str | None] = {}
        for parameter, values in nodes.items():
            if not isinstance(parameter, str) or not parameter.isidentifier():
                raise SkyModelError(f"Scanned {name!r}: nodes must be those of named parameters, got {parameter!r}.")
            what = f"Scanned {name!r}: nodes of {parameter!r}"
            listed = isinstance(values, list | tuple) and len(values) > 0
            unit = getattr(values[0] if listed else values, "unit", None)
            if unit is not None:
                every = [to_value(one, str(unit), what) for one in (values if listed else [values])]
                values = every if listed else every[0]
            self.grid[parameter] = ascending(values, what)
            self.units[parameter] = None if unit is None else str(unit)
        self.checkpoint_folder = None if checkpoint_folder is None else user_path(checkpoint_folder)
        self._check_keywords()
        self._kind: type | None = None
        if self.checkpoint_folder is None or not any(self.checkpoint_folder.glob("*.npz")):
            self.component(0)

    @property
    def name(self) -> str:
        """Name of the component."""
        return self._name

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes of each parameter."""
        return tuple(len(values) for values in self.grid.values())

    def __len__(self) -> int:
        """Number of components: one for each node, or pair of nodes."""
        return int(np.prod(self.shape))

    def values(self, index: int) -> dict[str, Any]:
        """Values of the parameters at a node, as the factory takes them: quantities if the nodes are.

        Parameters
        ----------
        index : int
            Which node, 0 to ``len(self) - 1``; with two parameters the second runs fastest.

        Returns
        -------
        dict

        Raises
        ------
        IndexError
            If there is no such node.
        """
        number = integer(index, "index")
        if number >= len(self):
            raise IndexError(f"{self!r} has {len(self)} nodes, so none of index {number}.")
        places = np.unravel_index(number, self.shape)
        found: dict[str, Any] = {}
        for (parameter, values), place in zip(self.grid.items(), places, strict=True):
            unit = self.units[parameter]
            found[parameter] = float(values[place]) if unit is None else u.Quantity(values[place], unit)
        return found

    def label(self, index: int) -> str:
        """Values of the parameters at a node in words, for messages and progress; ``index`` as of :meth:`values`."""
        return ", ".join(f"{parameter} = {value:.6g}" for parameter, value in self.values(index).items())

    @checked(roi=kind("RegionOfInterest"))
    def component(self, index: int, roi: "RegionOfInterest | None" = None) -> SkyComponent:
        """Component at a node, with the name of this object.

        Parameters
        ----------
        index : int
            Which node, see :meth:`values`.
        roi : RegionOfInterest, optional
            Look at its flux in this region of interest, as :meth:`check` does.

        Returns
        -------
        SkyComponent

        Raises
        ------
        SkyModelError
            If the factory fails, or makes something else than at the first node; if the flux is refused.
        IndexError
            If there is no such node.
        """
        made = self._checked_kind(self._made_with(self.values(index), self.label(index)), self.label(index))
        if roi is not None:
            self._check_flux(made, index, roi)
        return made

    def at(self, **values: Any) -> SkyComponent:
        """Component at any values of the parameters, with the name of this object.

        Parameters
        ----------
        **values
            One number for each parameter in the unit of its nodes, or a quantity.

        Returns
        -------
        SkyComponent

        Raises
        ------
        SkyModelError
            If a parameter is missing, or the factory fails.
        TypeError
            If a parameter is unknown, or a value is no single number.
        astropy.units.UnitConversionError
            If it has another unit than the nodes.

        Examples
        --------
        >>> scanned.at(radius=0.25 * u.deg)  # doctest: +SKIP
        SkySource(name='rxj')
        """
        check_keywords("Scanned.at", values, self.grid)
        if len(values) < len(self.grid):
            raise SkyModelError(f"{self!r} takes a value for each of {list(self.grid)}, got {list(values)}.")
        found: dict[str, Any] = {}
        for parameter, unit in self.units.items():
            what, value = f"Scanned {self._name!r}: {parameter!r}", values[parameter]
            plain = unit is None or not isinstance(value, u.Quantity)
            single = numbers(value, what) if plain else to_value(value, str(unit), what)
            if single.ndim:
                raise TypeError(f"{what} must be a single number, got an array of shape {single.shape}.")
            found[parameter] = float(single) if unit is None else u.Quantity(float(single), unit)
        told = ", ".join(f"{parameter} = {value:.6g}" for parameter, value in found.items())
        return self._checked_kind(self._made_with(found, told), told)

    def components(self) -> Iterator[SkyComponent]:
        """Components at all nodes, one after the other."""
        return (self.component(index) for index in range(len(self)))

    @checked(roi=kind("RegionOfInterest"))
    def check(self, roi: "RegionOfInterest") -> None:
        """Make the components of all nodes, and look at their flux in a region of interest.

        Parameters
        ----------
        roi : RegionOfInterest
            Region of interest.

        Raises
        ------
        SkyModelError
            If a component cannot be made, none of it reaches into the region, or its flux is not finite or negative;
            the message says at which node.
        """
        for index in range(len(self)):
            self.component(index, roi)

    def __repr__(self) -> str:
        """Name, and how many nodes each parameter has."""
        told = ", ".join(f"{parameter}={len(values)} nodes" for parameter, values in self.grid.items())
        return f"Scanned(name={self._name!r}, {told})"

    def _check_flux(self, component: SkyComponent, index: int, roi: "RegionOfInterest") -> None:
        where, energy = self._at(index), np.geomspace(roi.energy_min, roi.energy_max, _FLUX_ENERGIES)
        parts = component.parts(roi)
        if not parts:
            raise SkyModelError(f"{where} nothing of it reaches into the region; leave out such nodes.")
        for part in parts:
            try:
                flux = np.asarray(part.spectrum(energy))
            except SkyModelError as error:
                raise SkyModelError(f"{where} {error}") from error
            if not np.all(np.isfinite(flux) & (flux >= 0)):
                raise SkyModelError(f"{where} the flux of {part.name!r} is not finite or negative.")

    def _at(self, index: int) -> str:
        return f"Scanned {self._name!r}, {self.label(index)}:"

    def _made_with(self, values: Mapping[str, Any], told: str) -> SkyComponent:
        where = f"Scanned {self._name!r}, {told}:"
        try:
            made = self._factory(**values)
        except Exception as error:
            raise SkyModelError(f"{where} the factory failed: {type(error).__name__}: {error}") from error
        if not isinstance(made, SkyComponent) or made.instrumental:
            raise SkyModelError(f"{where} the factory must make a component of the sky, got {made!r}.")
        return made

    def _checked_kind(self, made: SkyComponent, told: str) -> SkyComponent:
        """What was made, with the name of this object."""
        self._kind = self._kind or type(made)
        if type(made) is not self._kind:
            raise SkyModelError(
                f"Scanned {self._name!r}, {told}: the factory made {made!r}, at another node a "
                f"{self._kind.__name__}; it must make components of one kind."
            )
        return renamed(made, self._name)

    def _check_keywords(self) -> None:
        try:
            signature = inspect.signature(self._factory)
        except (TypeError, ValueError):  # Python does not know: the first call tells
            return
        try:
            signature.bind(**dict.fromkeys(self.grid))
        except TypeError as error:
            given = ", ".join(f"{parameter}=..." for parameter in self.grid)
            raise SkyModelError(
                f"Scanned {self._name!r}: the factory is called with {given}, but takes {signature}: {error}."
            ) from error
