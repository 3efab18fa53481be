"""Posteriors as datasets: out of a tree or a dataset, with equal weights."""

from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from pymc_gamma.errors import ModelError

__all__ = ["SAMPLE_DIMS", "posterior_dataset", "resample_dataset"]

#: Dims over which draws are counted, as far as a posterior has them.
SAMPLE_DIMS: Final = ("chain", "draw", "sample")


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
