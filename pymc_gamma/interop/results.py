r"""A posterior as gammapy models: values, errors and covariance.

For draws :math:`\theta^{(s)}` of the free parameters the models get the mean (or median), and

.. math:: \Sigma_{jk} = \frac{1}{S - 1} \sum_s (\theta_j^{(s)} - \bar\theta_j)(\theta_k^{(s)} - \bar\theta_k),
          \qquad \text{error}_j = \sqrt{\Sigma_{jj}} .

gammapy then propagates them as it does the result of a fit. That is a Gaussian approximation; bands of a skewed
posterior are better drawn from the draws themselves.
"""

from typing import Any, Literal

import numpy as np

from pymc_gamma.arguments import checked, kind, text
from pymc_gamma.errors import ModelError
from pymc_gamma.interop.parameters import copy_models, free_names, read_models

__all__ = ["to_gammapy"]


@checked(idata=kind("DataTree", "Dataset"), point=text)
def to_gammapy(idata: Any, models: Any, *, point: Literal["mean", "median"] = "mean") -> Any:
    """Write a posterior into a copy of gammapy models.

    Parameters
    ----------
    idata : xarray.DataTree or xarray.Dataset
        What sampling a model of :func:`~pymc_gamma.from_gammapy` returned, or its posterior group.
    models : gammapy.modeling.models.Models, list of models or path
        The models that the PyMC model was made from. They stay as they are.
    point : {"mean", "median"}
        What the values become.

    Returns
    -------
    gammapy.modeling.models.Models
        A copy with values, errors and covariance of the free parameters; frozen ones have no error.

    Raises
    ------
    ModelError
        If a free parameter is not in the posterior, or its draws are not finite numbers; names them.
    ValueError
        If ``point`` is neither of the two.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from gammapy.modeling.models import PowerLawSpectralModel, SkyModel
    >>> import pymc_gamma as pmg
    >>> rng = np.random.default_rng(1)
    >>> draws = {
    ...     "crab.spectral.index": rng.normal(2.5, 0.02, (2, 500)),
    ...     "crab.spectral.amplitude": rng.normal(3e-11, 1e-12, (2, 500)),
    ... }
    >>> posterior = xr.Dataset({name: (("chain", "draw"), values) for name, values in draws.items()})
    >>> models = pmg.to_gammapy(posterior, SkyModel(PowerLawSpectralModel(), name="crab"))
    >>> index = models["crab"].spectral_model.index
    >>> round(index.value, 2), round(index.error, 2)
    (2.5, 0.02)
    """
    if point not in ("mean", "median"):
        raise ValueError(f"point must be 'mean' or 'median', got {point!r}.")
    result = copy_models(read_models(models))
    names = free_names(result)
    draws = _draws(idata, list(names.values()))
    if not names:
        return result
    values = np.mean(draws, axis=1) if point == "mean" else np.median(draws, axis=1)
    covariance = np.atleast_2d(np.cov(draws))
    for parameter, value in zip(names, values, strict=True):
        parameter.value = value
    # a linked parameter has a row for each of its places
    order = {parameter: k for k, parameter in enumerate(names)}
    place = [order.get(parameter) for parameter in result.parameters]
    free = [k for k, one in enumerate(place) if one is not None]
    matrix = np.zeros((len(place), len(place)))
    chosen = [one for one in place if one is not None]
    matrix[np.ix_(free, free)] = covariance[np.ix_(chosen, chosen)]
    result.covariance = matrix
    return result


def _draws(idata: Any, names: list[str]) -> Any:
    """Draws of the parameters, shape (n_names, n_draws)."""
    posterior = idata["posterior"] if "posterior" in getattr(idata, "children", {}) else idata
    missing = [name for name in names if name not in posterior]
    if missing:
        raise ModelError(
            f"the posterior has no {missing}, which the models have free; pass the models that the PyMC model was made "
            f"from. It has {[str(name) for name in posterior]}."
        )
    rows = []
    for name in names:
        draws = np.asarray(posterior[name], dtype=np.float64)
        if posterior[name].dims != ("chain", "draw") or not np.all(np.isfinite(draws)) or draws.size < 2:
            raise ModelError(
                f"{name} must be a finite number for each of at least two draws, got {posterior[name].dims} of shape "
                f"{draws.shape}."
            )
        rows.append(draws.ravel())
    return np.asarray(rows)
