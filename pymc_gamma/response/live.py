r"""Components of free position and extension: what a model needs to know of them.

The density of such a component at an event, per unit coefficient of its spectrum, is

.. math:: r_{in}(\theta) / C, \qquad C = \sum_n C_n ,

with the total acceptance :math:`C` of the component as it was folded: the same scale as that of
:meth:`pymc_gamma.Response.spectral_bands`, or of :meth:`pymc_gamma.Response.component_pdf` for a fixed spectrum, which
has one coefficient, 1. The numerics are those of :mod:`pymc_gamma.folding.live`.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pytensor.tensor as pt

from pymc_gamma.errors import ModelError, SkyModelError
from pymc_gamma.events.rows import EventRows
from pymc_gamma.folding.energies import AtEnergies, InRanges
from pymc_gamma.folding.free import FreeColumns
from pymc_gamma.folding.live import LivePoints, LiveSource, LiveTables
from pymc_gamma.folding.live_counts import LiveCounts, live_counts
from pymc_gamma.folding.live_shapes import Limits, LiveShape, is_number
from pymc_gamma.geometry import separation_deg, unit_vectors
from pymc_gamma.labelled import as_mapping
from pymc_gamma.response.checks import check_rows
from pymc_gamma.response.densities import densities, over_cells
from pymc_gamma.response.folds import Fold
from pymc_gamma.units import numbers

__all__ = ["LiveComponent", "check_position", "shapes_of"]

_ROUNDING = 1e-9
BRIGHT = 1e-3
"""Share of the largest density above which errors count."""


class LiveComponent:
    """A component whose position and extension are left to a model.

    Parameters
    ----------
    fold : Fold
        Components and observations.
    name : str
        Name of the component.
    spectrum : FreeColumns or None
        Columns of its spectrum; None for a fixed one.
    smooth : bool
        Whether coefficients are those of the few nodes of smooth spectra.
    free : collection of str, optional
        Names of the parameters that vary; all unless given. Others stay as they were folded, which saves tables.
    widest_psf : float
        Largest factor on the width of the PSF, if that varies too.

    Attributes
    ----------
    name : str
        Name of the component.
    reference : LiveShape
        Position and extension that it was folded with: the point around which tables are made.
    limits : dict
        Range of each parameter but the position in which tables are valid.
    reach : float
        Distance in deg from the position of the reference within which tables are valid.
    total : float
        Expected counts that densities and counts are over.
    """

    def __init__(
        self,
        fold: Fold,
        name: str,
        spectrum: FreeColumns | None,
        smooth: bool = True,
        free: Collection[str] | None = None,
        widest_psf: float = 1.0,
    ) -> None:
        component = fold.components[fold.index(name)]
        if component.shape is None or not component.is_free:
            named = [one.name for one in fold.components if one.is_free]
            raise ModelError(
                f"the component {name!r} was folded with a fixed shape; those of free shape are {named}. Fold with "
                f"free_shape=[{name!r}]."
            )
        self.name, self._fold = name, fold
        edges = fold.folded[0].tables.energy_edges if spectrum is None else fold.energy_true_edges
        self._spectrum = None if smooth else spectrum

        def source(shape: LiveShape, smooth: bool) -> LiveSource:
            return LiveSource(
                shape,
                fold.folded,
                edges,
                component.part_fluxes()[0],
                free_spectrum=spectrum is not None,
                smooth=smooth,
                free=free,
                widest_psf=widest_psf,
            )

        self._on_few = source(component.shape, True)
        self.source = self._on_few if self._spectrum is None else source(component.shape, False)
        self.total = float(fold.counts[fold.index(name)].sum())
        if spectrum is not None:
            whole = spectrum.component
            assert whole.smooth is not None
            self.total = float((whole.smooth if smooth else whole).acceptance.sum())

    @property
    def reference(self) -> LiveShape:
        """Position and extension that the component was folded with."""
        return self.source.shape

    @property
    def limits(self) -> Limits:
        """Range of each parameter but the position in which tables are valid."""
        return self.source.limits

    @property
    def reach(self) -> float:
        """Distance in deg from the position of the reference within which tables are valid."""
        return self.source.reach

    @cached_property
    def counts(self) -> LiveCounts:
        """Expected counts per unit coefficient, over the total: what :func:`pymc_gamma.ops.live_counts` reads."""
        found = live_counts(self._on_few)
        basis = found.arrays.basis
        if self._spectrum is not None:
            # the ratio to the reference is smooth in energy: that of few nodes serves for all
            before = found.per_coefficient(self.reference)
            ratio = basis / np.where(before > 0, before, np.inf)[:, None, None]
            few, every = np.log(self._on_few.energy_edges), np.log(self._spectrum.component.energy)
            ratio = np.apply_along_axis(lambda one: np.interp(every, few, one), -1, ratio)
            basis = ratio * self._spectrum.acceptances()[:, None, None]
        return LiveCounts(found.arrays._replace(basis=basis / self.total), self.source)

    def tables(self, rows: Any) -> LiveTables:
        """Densities of events, over the total: what :func:`pymc_gamma.ops.live_density` reads.

        Parameters
        ----------
        rows : EventRows or array_like
            As for `Response.component_pdf`; densities are averaged over cells.

        Raises
        ------
        EventError
            If a row is not finite or outside the domain of its observation.
        """
        fold = self._fold
        events = rows if isinstance(rows, EventRows) else EventRows.from_array(np.asarray(rows, float), fold.reco)
        if events.cells is None:
            check_rows(events, fold.domains)
            points = [
                LivePoints.of_events(o, events.vectors[mine], AtEnergies(events.energy[mine]), mine)
                for o, mine in events.by_observation()
            ]
        else:
            points = [
                LivePoints(
                    group.observation,
                    unit_vectors(group.nodes.lon, group.nodes.lat),
                    InRanges(group.ranges, np.repeat(group.which, np.diff(group.nodes.first))),
                    np.repeat(group.rows, np.diff(group.nodes.first)),
                    group.nodes.weight,
                )
                for group in over_cells(fold, events)
            ]
        return self.source.at(points, len(events)).scaled(1 / self.total)

    def release(self) -> None:
        """Drop the responses that tables are made from, which are large; they are made again."""
        self.source.release()
        self._on_few.release()

    def check(self, shape: Any) -> LiveShape:
        """A shape as it was given, if this component can have it.

        Raises
        ------
        TypeError
            If it is no shape.
        SkyModelError
            If it is another shape than the component was folded with, or one of its numbers is outside the limits.
        """
        expected = type(self.reference).__name__
        if not isinstance(shape, LiveShape):
            raise TypeError(f"the shape of {self.name!r} must be a {expected}, got {type(shape).__name__}.")
        if type(shape) is not type(self.reference):
            raise SkyModelError(
                f"the component {self.name!r} was folded as {self.reference}; its shape must be a {expected}, got "
                f"{type(shape).__name__}. Fold it with a spatial model of that kind ({type(shape).model})."
            )
        folded = self.reference.parameters
        for name, (low, high) in self.limits.items():
            value = shape.parameters[name]
            if is_number(value) and not low - _ROUNDING <= value <= high + _ROUNDING:
                raise SkyModelError(
                    f"the shape of {self.name!r}: {name} = {value:g} is outside {low:g} to {high:g}, the range around "
                    f"{folded[name]:g}, with which it was folded. Fold it with a {name} nearer to that."
                )
        if is_number(shape.lon_0) and is_number(shape.lat_0):
            check_position(self.name, shape, self._fold)
            away = float(separation_deg(unit_vectors(shape.lon_0, shape.lat_0), self.source.basis[0]))
            if away > self.reach:
                raise SkyModelError(
                    f"the shape of {self.name!r}: the position is {away:.3g} deg from ({folded['lon_0']:g}, "
                    f"{folded['lat_0']:g}) deg, where it was folded, further than {self.reach:g} deg. Fold it nearer "
                    "to that."
                )
        return shape

    def expansion_error(self, rows: Any, shape: LiveShape) -> float:
        """How wrong densities are at a shape of numbers: they are exact at the reference, and less so far from it.

        Parameters
        ----------
        rows : EventRows or array_like
            Events, as for :meth:`tables`.
        shape : LiveShape
            Of numbers: the mode of a posterior, say.

        Returns
        -------
        float
            Root mean square of the relative differences from the component folded there, for its nominal spectrum, over
            events at which it is bright (a thousandth of its largest density). Of a disc or a shell, which is folded
            on a grid, a per cent is that of the grid.
        """
        fold = self._fold
        events = rows if isinstance(rows, EventRows) else EventRows.from_array(np.asarray(rows, float), fold.reco)
        k = fold.index(self.name)
        moved, tables = fold.with_shapes({self.name: self.check(shape)}), self.tables(events)
        expected, before = (densities(one, events, [k])[:, 0] for one in (moved, fold))
        found, at_reference = (tables.density(one, self.source.nominal) for one in (shape, self.reference))
        # bins of true energy differ between the two ways, in the same way at the reference
        bright = (expected > BRIGHT * expected.max(initial=0)) & (before > 0) & (at_reference > 0)
        if not bright.any():
            return 0.0
        change = found[bright] / at_reference[bright] / (expected[bright] / before[bright])
        return float(np.sqrt(np.mean((change - 1) ** 2)))

    def valid(self, shape: LiveShape) -> Any:
        """Whether the parameters lie where tables are valid, a PyTensor scalar."""
        rad = np.pi / 180
        lon, lat = pt.as_tensor_variable(shape.lon_0) * rad, pt.as_tensor_variable(shape.lat_0) * rad
        lon_0, lat_0 = self.source.lon * rad, self.source.lat * rad
        half = pt.sin((lat - lat_0) / 2) ** 2 + pt.cos(lat) * np.cos(lat_0) * pt.sin((lon - lon_0) / 2) ** 2
        inside = pt.le(half, np.sin(self.reach * rad / 2) ** 2) & pt.le(abs(lat), np.pi / 2)
        for name, (low, high) in self.limits.items():
            value = shape.parameters[name]
            if not is_number(value):  # of a range without limits, infinity is no part
                smallest, largest = np.nextafter(-np.inf, 0.0), np.nextafter(np.inf, 0.0)
                inside &= pt.ge(value, max(low, smallest)) & pt.le(value, min(high, largest))
        return inside


def check_position(name: str, shape: LiveShape, fold: Fold) -> None:
    """Raise SkyModelError if a position of numbers is not on the sphere, or outside the region."""
    lon, lat = float(shape.lon_0), float(shape.lat_0)
    if abs(lat) > 90 or not fold.roi.contains(np.array([lon]), np.array([lat]))[0]:
        raise SkyModelError(
            f"the shape of {name!r}: the position ({lon:g}, {lat:g}) deg is outside the region {fold.roi!r}, in its "
            f"frame ({fold.roi.frame})."
        )


def shapes_of(fold: Fold, shapes: Any) -> dict[str, Any]:
    """Shapes of numbers of components of free shape, from shapes or mappings of (some of) their parameters.

    Raises
    ------
    ModelError
        If a name is not that of a component of free shape, or of a parameter.
    SkyModelError
        If numbers have no meaning, or a position is outside the region.
    """
    free = {one.name: one for one in fold.components if one.is_free}
    found: dict[str, Any] = {}
    for name, given in as_mapping(shapes, tuple(free), "shapes", "components of free shape").items():
        reference = free[name].shape
        if reference is None:
            found[name] = free[name].own_shape(given)
            continue
        values = given.parameters if isinstance(given, LiveShape) else given
        if isinstance(given, LiveShape) and type(given) is not type(reference):
            raise SkyModelError(
                f"the component {name!r} was folded as {reference}; its shape must be a {type(reference).__name__}, "
                f"got {type(given).__name__}."
            )
        named = as_mapping(values, tuple(reference.parameters), f"the shape of {name!r}", "parameters")
        own = {}
        for key, value in named.items():
            number = np.squeeze(numbers(value, f"{key} of {name!r}", reference.unit(key)))
            if number.ndim:
                raise ModelError(f"{key} of {name!r} must be one number, got {value!r}.")
            own[key] = float(number)
        found[name] = replace(reference, **own)  # type: ignore[type-var]
        check_position(name, found[name], fold)
    return found
