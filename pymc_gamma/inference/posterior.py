"""Posteriors as datasets: out of a tree or a dataset, with equal weights or weighted."""

from difflib import get_close_matches
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError

__all__ = [
    "LOG_WEIGHT",
    "SAMPLE_DIMS",
    "equal_weight_indices",
    "known_name",
    "posterior_dataset",
    "resample_dataset",
    "samples_of",
    "weighted_dataset",
]

#: Dims over which draws are counted, as far as a posterior has them.
SAMPLE_DIMS: Final = ("chain", "draw", "sample")
LOG_WEIGHT: Final = "log_weight"
"""Variable with the logarithm of the weight of each draw, normalised, in a group of weighted draws."""


def posterior_dataset(idata: xr.DataTree | xr.Dataset) -> xr.Dataset:
    """Variables of the ``posterior`` group, of a tree that is one, or of a dataset.

    Raises
    ------
    ModelError
        If there is no posterior.
    TypeError
        If it is something else.
    """
    if isinstance(idata, xr.Dataset):
        return idata
    if isinstance(idata, xr.DataTree):
        if "posterior" in idata.children:
            return idata["posterior"].to_dataset()
        if idata.has_data:
            return idata.to_dataset()
        raise ModelError(f"There is no group 'posterior'; the groups are {', '.join(idata.children) or 'none'}.")
    raise TypeError(f"Expected an xarray DataTree or Dataset as idata, got {type(idata).__name__}.")


def resample_dataset(posterior: xr.Dataset, weights: ArrayLike, n: int, rng: np.random.Generator) -> xr.Dataset:
    """Draws of equal weight out of weighted ones, as one chain of ``n``.

    Raises
    ------
    ValueError
        If there is not one non-negative weight per draw.
    """
    dims = [dim for dim in SAMPLE_DIMS if dim in posterior.dims]
    shape = tuple(posterior.sizes[dim] for dim in dims)
    probability = np.asarray(weights, dtype=np.float64).ravel()
    if len(probability) != np.prod(shape) or not np.all(probability >= 0) or not probability.sum() > 0:
        raise ValueError(f"weights must be {np.prod(shape)} non-negative numbers, one per draw.")
    chosen = np.unravel_index(rng.choice(len(probability), n, p=probability / probability.sum()), shape)
    picked = posterior.isel({dim: xr.DataArray(i, dims="_drawn") for dim, i in zip(dims, chosen, strict=True)})
    return picked.drop_vars(dims, errors="ignore").rename(_drawn="draw").expand_dims("chain")


def weighted_dataset(idata: xr.DataTree | xr.Dataset) -> tuple[xr.Dataset, FloatArray | None]:
    """Draws and their weights, which sum to one, shape of the sample dims; None if they have equal ones.

    A group of weighted draws (:data:`LOG_WEIGHT`), which nested sampling and reweighting leave beside the posterior,
    knows more than the draws of equal weight made from it.
    """
    if isinstance(idata, xr.DataTree):
        for group in idata.children.values():
            if LOG_WEIGHT in group.data_vars:
                return _weights(group.to_dataset())
    return _weights(posterior_dataset(idata))


def _weights(draws: xr.Dataset) -> tuple[xr.Dataset, FloatArray | None]:
    if LOG_WEIGHT not in draws.data_vars:
        return draws, None
    log_weight = np.asarray(samples_of(draws[LOG_WEIGHT]), np.float64)
    weight = np.exp(log_weight - log_weight.max())
    return draws, np.asarray(weight / weight.sum())


def samples_of(array: xr.DataArray) -> FloatArray:
    """Values with the draws in front, shape (chain, draw, ...), or with one axis for the sample dims there are.

    Raises
    ------
    ModelError
        If it has no draws.
    """
    dims = [dim for dim in SAMPLE_DIMS if dim in array.dims]
    if not dims:
        raise ModelError(f"{array.name!r} has dims {array.dims}, none of them chain or draw.")
    return np.asarray(array.transpose(*dims, ...).values)


def known_name(name: str, known: list[str], what: str) -> str:
    """A name, if it is known.

    Raises
    ------
    ModelError
        If it is not; names the nearest one that is.
    """
    if name in known:
        return name
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, known)) or 'none'}."
    raise ModelError(f"{what} has no variable {name!r}; {hint}")


def equal_weight_indices(weight: FloatArray, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices that repeat each point in proportion to its weight (systematic resampling), shuffled.

    As many as the Kish effective sample size, so that summaries do not claim more than the run knows.
    """
    n = max(1, int(weight.sum() ** 2 / np.sum(weight**2) * (1 + 1e-12)))
    positions = (np.arange(n) + rng.random()) / n
    cumulative = np.cumsum(weight)
    indices = np.searchsorted(cumulative / cumulative[-1], positions)
    return rng.permutation(indices)
