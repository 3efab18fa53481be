"""Sources whose position and extension are parameters of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from astropy.coordinates import SkyCoord
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import instance, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.live_shapes import LiveShape, is_number
from pymc_gamma.model.blocks import AddedBlock, AddedTables, Block, LinearBlock
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.varied import check_range, in_range
from pymc_gamma.ops.live_counts import live_counts
from pymc_gamma.ops.live_density import LiveDensity, rows_of
from pymc_gamma.ops.live_density import table_types as live_table_types
from pymc_gamma.tensors import described, with_unit
from pymc_gamma.units import scalar_value

__all__ = ["ShapeBlock", "parameters_of", "position", "shape_block", "with_parameters"]


class ShapeBlock(AddedBlock):
    """A component whose position and extension are parameters of a model, and perhaps a scale of the PSF.

    Parameters
    ----------
    live : LiveComponent
        The component around its reference.
    block : Block
        The component as it was folded: its acceptance, and where its spectrum is evaluated.
    shape : LiveShape
        Numbers and variables.
    psf_span : tuple of float, optional
        Range of a factor on the width of the PSF, if that is a parameter too.
    """

    def __init__(self, live: Any, block: Block, shape: LiveShape, psf_span: tuple[float, float] | None) -> None:
        super().__init__(
            block.name,
            block.acceptance,
            block.nodes,
            theta=pt.zeros(0),
            few_nodes=block.few_nodes,
            conditional=block.conditional,
        )
        self._live, self._kind, self._psf_span = live, type(shape), psf_span
        self._numbers = {name: float(value) for name, value in shape.parameters.items() if is_number(value)}
        self._variables = tuple(name for name in shape.parameters if name not in self._numbers)
        self._n_observations = len(live.source.folded)

    def counts(self, theta: Variable | None, u: Variable) -> Variable:
        """Expected counts for coefficients (size,), over the acceptance of the reference."""
        return pt.sum(live_counts(self._row(theta), self._live.counts) * u.reshape((self.n_rows, -1)))

    def valid(self, theta: Variable) -> Variable:
        """Whether position and extension are where tables are valid."""
        inside = self._live.valid(self._shape(theta))
        return inside if self._psf_span is None else inside & in_range(theta[-1], self._psf_span)

    @property
    def known(self) -> FloatArray:
        """The reference."""
        own = self._live.reference.parameters
        return np.array([float(own[name]) for name in self._variables] + [1.0] * (self._psf_span is not None))

    def check_start(self, theta: FloatArray) -> None:
        """See :class:`Block`."""
        self._live.check(self._kind(**{name: float(value) for name, value in self._parameters(theta).items()}))
        if self._psf_span is not None:
            check_range(float(theta[-1]), self._psf_span)

    def tables(self, rows: FloatArray) -> AddedTables:
        """Tables of the events near the reference."""
        made = self._live.tables(rows)
        self._live.release()
        at_reference = made.density(self._live.reference, np.ones(self.size // self.n_rows))
        return AddedTables(tuple(made.arrays), at_reference)

    def table_types(self) -> list[Any]:
        """Types of the variables that hold the tables."""
        return live_table_types()[:-1]  # the number of events is that of the other tables

    def density(self, tables: tuple[Variable, ...], theta: Variable, v: Variable, n_events: Variable) -> Variable:
        """Densities of the events."""
        rho = v.reshape((self.n_rows, self.size // self.n_rows))
        op, n = LiveDensity(self._kind.family), self._n_observations
        return op(rows_of(self._row(theta), n), rows_of(rho, n), *tables, n_events)

    def frozen(self, theta: FloatArray) -> Mapping[str, Any]:
        """Position, extension and scale, for draws."""
        found: dict[str, Any] = {"shapes": {self.name: self._parameters(theta)}}
        if self._psf_span is not None:
            found["psf_scale"] = float(theta[-1])
        return found

    def expected_parts(self, theta: FloatArray, spectra: Sequence[FloatArray] | None, response: Any) -> Any:
        """Expected counts of the parts of all components, by observation."""
        return response.expected_parts(spectra, shapes=self.frozen(theta)["shapes"])

    def _parameters(self, theta: Any) -> dict[str, Any]:
        return {**self._numbers, **{name: theta[j] for j, name in enumerate(self._variables)}}

    def _shape(self, theta: Any) -> LiveShape:
        return self._kind(**self._parameters(theta))

    def _row(self, theta: Any) -> Variable:
        """Parameters as the kernels take them."""
        row = self._shape(theta).theta(1.0 if self._psf_span is None else theta[-1])
        return pt.stack([pt.as_tensor_variable(one).astype("float64") for one in row])


@singledispatch
def shape_block(
    compiled: CompiledComponent, component: ModelComponent, block: LinearBlock, place: int | None
) -> tuple[Block, Variable]:
    """The block of a component of free shape, and its parameters; a class whose shapes are its own registers how.

    Parameters
    ----------
    compiled : CompiledComponent
        The component as it was folded.
    component : ModelComponent
        As the model has it, with its shape.
    block : LinearBlock
        What it is without a free shape.
    place : int or None
        Column of event rows that says to which observation they belong.
    """
    folded: Any = compiled.shape
    # what is no shape, or another, is refused below
    varying = component.shape.differs(folded) if type(component.shape) is type(folded) else ()
    span = None if component.psf_scaling is None else component.psf_scaling.span
    widest = 1.0 if span is None else span[1]
    live = component.response.live_source(component.name, free=varying, widest_psf=widest, smooth=block.few_nodes)
    shape = with_parameters(live.check(component.shape))
    return ShapeBlock(live, block, shape, span), parameters_of(shape, component.psf_scale)


def with_parameters(shape: LiveShape) -> LiveShape:
    """A shape that has at least one parameter: of one of numbers alone, the longitude becomes a constant."""
    if not all(map(is_number, shape.parameters.values())):
        return shape
    return replace(shape, lon_0=pt.constant(float(shape.lon_0)))  # type: ignore[type-var]


def parameters_of(shape: LiveShape, psf_scale: Variable | None) -> Variable:
    """What varies of a shape, in the order in which a :class:`ShapeBlock` takes it."""
    varying = [value for value in shape.parameters.values() if not is_number(value)]
    varying += [] if psf_scale is None else [psf_scale]
    return pt.stack([pt.as_tensor_variable(one).astype("float64") for one in varying])


def position(name: str, center: SkyCoord, sigma: Any) -> tuple[Variable, Variable]:
    """A position with a normal prior around a direction, in a form that samplers start well from.

    What is sampled are offsets in units of ``sigma``, to the east and to the north: random starts then lie within about
    one ``sigma``, where the source has events.

    Parameters
    ----------
    name : str
        Prefix of the variables: ``<name>_offset`` (dims ``<name>_axis``), and the deterministics ``<name>_lon`` and
        ``<name>_lat`` in deg.
    center : `~astropy.coordinates.SkyCoord`
        Mean of the prior, in the frame of the region of interest.
    sigma : `~astropy.units.Quantity`
        Its width on the sky in each direction, an angle below 10 deg.

    Returns
    -------
    tuple of TensorVariable
        Longitude and latitude in deg, in the frame of ``center``.

    Raises
    ------
    ModelError
        If ``center`` is not one direction, ``sigma`` is no positive angle, or the center is at a pole.

    Examples
    --------
    >>> import astropy.units as u
    >>> with pm.Model() as model:
    ...     lon, lat = position("msh", SkyCoord(320.33, -1.19, unit="deg", frame="galactic"), 0.05 * u.deg)
    >>> sorted(model.named_vars)
    ['msh_lat', 'msh_lon', 'msh_offset']
    """
    name = text(name, "name")
    center = instance(center, SkyCoord, "center")
    if not center.isscalar:
        raise ModelError(f"{name}: center must be one direction, got {center.shape}.")
    width = scalar_value(sigma, "deg", "sigma")
    if not 0 < width < 10:
        raise ModelError(f"{name}: sigma must be a positive angle below 10 deg, got {sigma}.")
    lon_0, lat_0 = (float(one.deg) for one in (center.spherical.lon, center.spherical.lat))
    if not np.isfinite([lon_0, lat_0]).all():
        raise ModelError(f"{name}: center must be finite, got {center}.")
    if abs(lat_0) + 5 * width > 89:
        raise ModelError(f"{name}: center is too near to a pole of its frame for a longitude with a normal prior.")
    model = pm.modelcontext(None)
    axis = f"{name}_axis"
    model.add_coord(axis, ["lon", "lat"])
    offset = pm.Normal(f"{name}_offset", 0.0, 1.0, dims=axis)
    with_unit(described(offset, "offset to the east and north in units of the width of the prior"), "")
    lat = pm.Deterministic(f"{name}_lat", lat_0 + width * offset[1])
    lon = pm.Deterministic(f"{name}_lon", lon_0 + width / np.cos(np.radians(lat_0)) * offset[0])
    frame = center.frame.name
    described(lon, f"longitude in the frame {frame}")
    described(lat, f"latitude in the frame {frame}")
    return with_unit(lon, "deg"), with_unit(lat, "deg")
