r"""Expressions of a model at the draws of its posterior.

A spectrum of a model is a PyTensor expression :math:`\phi(E; \theta)` of random variables and deterministics. For
each draw :math:`\theta_s` of a posterior, which knows those variables by name, its values :math:`\phi(E; \theta_s)`
follow from the expression alone: neither the model nor its likelihood is needed. The expression is cut at the first
variables, seen from its result, that the posterior holds.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import astropy.units as u
import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pymc.logprob.abstract import MeasurableOp
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.arguments import checked, integer, kind
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.posterior import SAMPLE_DIMS, posterior_dataset
from pymc_gamma.model.spectra import FLUX
from pymc_gamma.units import to_value

__all__ = ["expression_draws", "spectrum_draws"]


# The graphs are small and called a thousand times: compiling them to machine code would take longer than running them.
_MODE = "FAST_COMPILE"


@checked(idata=kind("DataTree", "Dataset"), max_draws=partial(integer, low=1))
def spectrum_draws(
    idata: xr.DataTree | xr.Dataset,
    spectrum: Callable[[Any], Any],
    energy: u.Quantity,
    *,
    max_draws: int | None = None,
) -> xr.DataArray:
    """Differential flux of a spectrum at the draws of a posterior.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        With a ``posterior`` group, or that group itself.
    spectrum : callable
        Function of the true energy in TeV to a PyTensor vector in TeV-1 cm-2 s-1, such as
        :class:`~pymc_gamma.PowerLaw`, with parameters that are variables of the sampled model. A variable is found in
        the posterior by its name. Variables computed from others are recomputed if the posterior lacks them.
    energy : `~astropy.units.Quantity`
        True energies, shape (n,).
    max_draws : int, optional
        Thin the draws evenly to about this number in total. Default: all.

    Returns
    -------
    xarray.DataArray
        TeV-1 cm-2 s-1, dims (chain, draw, energy); the coordinate ``energy`` is in TeV. Both have ``attrs["units"]``.

    Raises
    ------
    ModelError
        If the spectrum depends on a variable that the posterior does not hold, or gives other than one number per
        energy.
    TypeError
        If ``energy`` has no unit, or ``spectrum`` is no function.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import pymc as pm
    >>> import xarray as xr
    >>> from pymc_gamma.model.spectra import PowerLaw
    >>> with pm.Model():
    ...     index = pm.Normal("index", 2, 1)
    >>> posterior = xr.Dataset({"index": (("chain", "draw"), [[1.0, 2.0, 3.0]])})
    >>> flux = spectrum_draws(posterior, PowerLaw(index=index, amplitude=1e-12), [1, 10] * u.TeV)
    >>> flux.dims, flux.attrs["units"]
    (('chain', 'draw', 'energy'), 'TeV-1 cm-2 s-1')
    >>> flux.values[0, :, 1].round(17).tolist()
    [1e-13, 1e-14, 1e-15]
    """
    posterior = posterior_dataset(idata)
    if not callable(spectrum):
        raise TypeError(f"a spectrum must be a function of the energy in TeV, got {type(spectrum).__name__}.")
    nodes = np.atleast_1d(to_value(energy, "TeV", "energy"))
    if nodes.ndim != 1 or not np.all((nodes > 0) & np.isfinite(nodes)):
        raise ValueError(f"energy must be a vector of positive energies, got {energy}.")
    result = pt.as_tensor_variable(spectrum(nodes))
    inputs = _variables_in(result, posterior, "the spectrum")
    dims = _sample_dims(posterior)
    if max_draws is not None:
        total = int(np.prod([posterior.sizes[dim] for dim in dims]))
        posterior = posterior.isel({dims[-1]: slice(None, None, max(1, -(-total // max_draws)))})
    shape = tuple(posterior.sizes[dim] for dim in dims)
    columns = [_samples(posterior[str(variable.name)], dims, shape) for variable in inputs]
    values = _evaluate(result, inputs, columns, int(np.prod(shape)))
    if values.shape[1:] != nodes.shape:
        raise ModelError(
            f"the spectrum must give one number for each of {len(nodes)} energies, its shape is {values.shape[1:]}."
        )
    coords: dict[str, Any] = {dim: posterior.coords[dim].values for dim in dims if dim in posterior.coords}
    coords["energy"] = ("energy", nodes, {"units": "TeV"})
    return xr.DataArray(
        values.reshape(*shape, len(nodes)), coords, (*dims, "energy"), name="dnde", attrs={"units": FLUX}
    )


def expression_draws(idata: xr.DataTree | xr.Dataset, expression: Variable, what: str) -> FloatArray:
    """Values of an expression of a model at all draws of a posterior, shape (n_draws, ...).

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        With a ``posterior`` group, or that group itself.
    expression : TensorVariable
        Of variables of the sampled model.
    what : str
        What it is, for messages.

    Raises
    ------
    ModelError
        If it depends on a variable that the posterior does not hold.
    """
    posterior = posterior_dataset(idata)
    inputs, dims = _variables_in(expression, posterior, what), _sample_dims(posterior)
    shape = tuple(posterior.sizes[dim] for dim in dims)
    columns = [_samples(posterior[str(variable.name)], dims, shape) for variable in inputs]
    return _evaluate(expression, inputs, columns, int(np.prod(shape)))


def _sample_dims(posterior: xr.Dataset) -> list[str]:
    dims = [dim for dim in SAMPLE_DIMS if dim in posterior.dims]
    if not dims:
        raise ModelError(f"the posterior has dims {tuple(posterior.dims)}, none of them chain or draw.")
    return dims


def _variables_in(result: Variable, posterior: xr.Dataset, of: str) -> list[Variable]:
    """Variables of the graph that the posterior holds, nearest to the result; an error if one is missing."""
    found: list[Variable] = []
    todo, seen = [result], {result}
    while todo:
        variable = todo.pop()
        if isinstance(variable, Constant | SharedVariable):
            continue
        if variable.name in posterior.data_vars:
            found.append(variable)
            continue
        if variable.owner is None or isinstance(variable.owner.op, MeasurableOp):
            what = f"the variable {variable.name!r}" if variable.name else f"an unnamed variable ({variable})"
            raise ModelError(
                f"{of} depends on {what}, which the posterior does not hold; it has "
                f"{', '.join(map(repr, posterior.data_vars)) or 'none'}. Build {of} from variables of the "
                "model that was sampled."
            )
        for parent in variable.owner.inputs:
            if parent not in seen:
                seen.add(parent)
                todo.append(parent)
    return found


def _samples(array: xr.DataArray, dims: list[str], shape: tuple[int, ...]) -> FloatArray:
    """Values with the draws in front, shape (sample, ...)."""
    ordered = array.transpose(*dims, ...)
    return np.asarray(ordered.values).reshape(int(np.prod(shape)), *ordered.shape[len(dims) :])


def _evaluate(result: Variable, inputs: list[Variable], columns: list[FloatArray], n: int) -> FloatArray:
    """Values of an expression for each row of the columns."""
    # Draws come as floats; the graph of an integer variable wants integers.
    arguments = [variable.clone(name=f"draw of {variable.name}") for variable in inputs]
    function = pytensor.function(
        arguments, result, givens=dict(zip(inputs, arguments, strict=True)), mode=_MODE, on_unused_input="ignore"
    )
    if not inputs:
        return np.repeat(np.asarray(function(), dtype=np.float64)[None], n, axis=0)
    cast = [np.asarray(c, dtype=v.type.dtype) for c, v in zip(columns, inputs, strict=True)]
    return np.array([function(*(column[i] for column in cast)) for i in range(n)], dtype=np.float64)
