"""A component of a response as a model sees it: what spectra, norms and systematics make of it.

It is immutable: each method returns another one. Blocks are made from it (:mod:`pymc_gamma.model.blocks`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.tensors import only_entry

__all__ = ["FixedSpectrumError", "ModelComponent", "PSFScaling", "flux_scale"]

Spectrum = Callable[[Any], Any]


class FixedSpectrumError(ModelError):
    """A spectrum was to change that was folded as a fixed one."""


def flux_scale(response: Any, name: str, shape: Any = None) -> Any:
    """What the spectrum of a component is multiplied with to be a flux, TeV-1 cm-2 s-1.

    Parameters
    ----------
    response : PoissonResponse
        The response.
    name : str
        Name of the component; that of a scan has none.
    shape : LiveShape, Profile or mapping, optional
        What a model gives it.
    """
    compiled = next((one for one in response.components if one.name == name), None)
    return 1.0 if compiled is None else compiled.flux_scale(response.roi, shape)


class PSFScaling(NamedTuple):
    """Range of a factor on the width of the PSF.

    Attributes
    ----------
    span : tuple of float
        The smallest and the largest.
    nodes : int
        For how many factors densities are evaluated.
    """

    span: tuple[float, float]
    nodes: int


@dataclass(frozen=True, eq=False)
class ModelComponent:
    """A component of a response as a model sees it.

    Attributes
    ----------
    name : str
        Name of the component.
    response : PoissonResponse
        The response.
    irfs : frozenset of str
        IRFs that it came through: ``aeff``, ``edisp`` and ``psf``, or ``bkg``.
    free : bool
        Whether its spectrum is free.
    spectrum : callable, optional
        Spectrum, as a function of the energy; that of the response if not given.
    factors : tuple of callable
        Factors on the spectrum.
    norm : TensorVariable, optional
        Factor on its flux, a number or one for each observation, shape (n_observations,); 1 if not given.
    psf_scale : TensorVariable, optional
        Factor on the width of the PSF.
    psf_scaling : PSFScaling, optional
        Range of that factor, and how finely it is followed.
    shape : LiveShape, Profile or mapping, optional
        Position and extension, if they are free; the profile of a halo, or parameters of it.
    scan : mapping of str to TensorVariable or Marginal, optional
        Values of the parameters of a scan.
    separate : bool
        Whether a spectrum of its own for each observation costs nothing, as where these share no columns.
    """

    name: str
    response: Any
    irfs: frozenset[str]
    free: bool = False
    spectrum: Spectrum | None = None
    factors: tuple[Spectrum, ...] = ()
    norm: Variable | None = None
    psf_scale: Variable | None = None
    psf_scaling: PSFScaling | None = None
    shape: Any = None
    scan: Mapping[str, Any] | None = None
    separate: bool = False

    @property
    def energy_range(self) -> FloatArray:
        """Range of the true energy in TeV, shape (2,)."""
        return np.asarray(self.response.energy_true[[0, -1]])

    @property
    def n_observations(self) -> int:
        """Number of observations."""
        return len(self.response.coords["observation"])

    def times(self, factor: Any) -> Self:
        """With a factor on its flux: a number, or one for each observation.

        Raises
        ------
        ModelError
            If it is something else.
        """
        if callable(factor) and not isinstance(factor, Variable):
            raise ModelError(
                f"{self.name!r}: times() takes a number or variable; a factor that depends on the energy goes into "
                "with_factor()."
            )
        factor, n = pt.as_tensor_variable(factor).astype("float64"), self.n_observations
        if factor.type.ndim > 1 or (factor.type.ndim and factor.type.shape[0] not in (None, n)):
            raise ModelError(
                f"{self.name!r}: times() takes a number, or a vector with one for each of {n} observation(s), got "
                f"{factor.type}."
            )
        if factor.type.ndim:
            factor = only_entry(factor) if n == 1 else pt.specify_shape(factor, (n,))
        return replace(self, norm=factor if self.norm is None else self.norm * factor)

    def with_factor(self, factor: Spectrum) -> Self:
        """With a factor on its spectrum, a function of the energy in TeV.

        Raises
        ------
        FixedSpectrumError
            If its spectrum is fixed.
        ModelError
            If the factor is no function.
        """
        self.check_free()
        if not callable(factor):
            raise ModelError(
                f"{self.name!r}: with_factor() takes a function of the energy in TeV; a number or variable goes into "
                f"times(), got {factor!r}."
            )
        return replace(self, factors=(*self.factors, factor))

    def with_spectrum(self, spectrum: Spectrum | None) -> Self:
        """With another spectrum, a function of the energy in TeV.

        Raises
        ------
        FixedSpectrumError
            If its spectrum is fixed.
        """
        self.check_free()
        return replace(self, spectrum=spectrum)

    def with_psf_scale(self, scale: Variable, scaling: PSFScaling) -> Self:
        """With a factor on the width of the PSF."""
        if self.scan is not None:
            raise ModelError(
                f"the PSF of {self.name!r}, which is a scan of {list(self.scan)}, cannot be scaled; leave that "
                "systematic out."
            )
        if self.psf_scale is not None:
            raise ModelError(f"the PSF of {self.name!r} is scaled twice; combine the two in one variable.")
        return replace(self, psf_scale=scale, psf_scaling=scaling)

    def check_free(self) -> None:
        """Raise a FixedSpectrumError unless the spectrum is free."""
        if not self.free:
            raise FixedSpectrumError(f"{self.name!r} was folded with a fixed spectrum.")
