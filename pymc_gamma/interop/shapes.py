"""Free positions and extensions of gammapy's spatial models, and the range in which they may lie.

A component of free shape is folded around the values of its model (`fold(..., free_shape=...)`); tables are valid near
them. The range in which they are truncates the priors, those of gammapy as well, so that random starts lie inside.
"""

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from pytensor.graph.basic import Variable

from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.live_shapes import REACH, LiveShape, model_names, shape_of_model
from pymc_gamma.interop.priors import Role
from pymc_gamma.interop.spectra import free_parameters

__all__ = ["FreeShape"]

LARGEST_LATITUDE = 89.0
"""Beyond it in deg, longitudes are no good parameters."""


class FreeShape:
    """A spatial model of which some parameters are free.

    Parameters
    ----------
    name : str
        Name of the source.
    spatial : gammapy.modeling.models.SpatialModel
        The model.

    Attributes
    ----------
    reference : LiveShape
        The shape with the values of the model, in its own frame.
    free : dict
        Name in the shape to each free parameter.

    Raises
    ------
    SkyModelError
        If a free parameter cannot vary, or the model is too near to a pole; names source, model and parameter.
    """

    def __init__(self, name: str, spatial: Any) -> None:
        self.name, self.spatial = name, spatial
        free = {parameter.name: parameter for parameter in free_parameters(self.spatial)}
        kind = type(self.spatial).__name__
        values = {p.name: p.quantity for p in self.spatial.parameters}
        sizes = {k: float(q.value) if q.unit == "" else float(q.to_value("deg")) for k, q in values.items()}
        reference = None
        if kind in model_names():
            reference = shape_of_model(kind, sizes.pop("lon_0"), sizes.pop("lat_0"), sizes)
        known = () if reference is None else tuple(reference.parameters)
        for parameter in free:
            if parameter not in known:
                raise SkyModelError(
                    f"The parameter {parameter!r} of the spatial model {kind} of {self.name!r} is free, but cannot "
                    f"vary here. Freeze it (`models[{self.name!r}].spatial_model.{parameter}.frozen = True`); what may "
                    f"be free are positions and extensions of {', '.join(model_names())} (a disc of e = 0 and a sharp "
                    "edge)."
                )
        assert reference is not None
        if "lon_0" in free and abs(reference.lat_0) + REACH > LARGEST_LATITUDE:
            raise SkyModelError(
                f"The parameter 'lon_0' of {self.name!r} is free at the latitude {reference.lat_0:g} deg, too near to "
                "a pole; give the model, and the region, in another frame (icrs or galactic)."
            )
        self.reference: LiveShape = reference
        self.free: dict[str, Any] = free

    @property
    def roles(self) -> dict[Any, Role]:
        """Role of each free parameter."""
        found = {}
        for name, parameter in self.free.items():
            role = Role.POSITION if name in ("lon_0", "lat_0") else Role.EXTENSION
            found[parameter] = Role.ANGLE if np.isinf(self._range(name)).any() else role
        return found

    @property
    def limits(self) -> dict[Any, tuple[float, float]]:
        """Range of each free parameter in its own unit."""
        found = {}
        for name, parameter in self.free.items():
            (low, high), factor = self._range(name), self._factor(name)
            found[parameter] = (low / factor, high / factor)
        return found

    def shape(self, variables: Mapping[Any, Variable], folded: LiveShape, frame: str) -> LiveShape:
        """The shape of a model with variables.

        Parameters
        ----------
        variables : mapping
            gammapy parameter to its variable.
        folded : LiveShape
            The component as it was folded, in the frame of the region: what is not free stays as it is there.
        frame : str
            Frame of the region.

        Raises
        ------
        SkyModelError
            If a position or a position angle is free in another frame.
        """
        turned = [name for name in ("lon_0", "lat_0", "phi") if name in self.free]
        if turned and str(self.spatial.frame) != frame:
            raise SkyModelError(
                f"The parameters {turned} of {self.name!r} are free in the frame {str(self.spatial.frame)!r}, and the "
                f"region is in {frame!r}; give the region in the frame of the model, `RegionOfInterest(center."
                f"{self.spatial.frame}, ...)`."
            )
        values = {name: variables[one] * self._factor(name) for name, one in self.free.items()}
        return type(folded)(**{**folded.parameters, **values})

    def _range(self, name: str) -> tuple[float, float]:
        """Range of a parameter of the shape."""
        if name == "lon_0":
            reach = REACH / float(np.cos(np.radians(self.reference.lat_0)))
            return self.reference.lon_0 - reach, self.reference.lon_0 + reach
        if name == "lat_0":
            return self.reference.lat_0 - REACH, self.reference.lat_0 + REACH
        return self.reference.limits()[name]

    def _factor(self, name: str) -> float:
        """The unit of the parameter in that of the shape."""
        unit = self.free[name].unit
        return 1.0 if unit == "" else float(u.Unit(unit).to("deg"))
