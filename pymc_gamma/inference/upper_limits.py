r"""Upper limits: quantiles of a posterior, with the error that a finite number of draws leaves.

The error of a quantile :math:`q_p` of draws with an effective number :math:`n` is half of the distance between the
quantiles of those probabilities that a Beta distribution of :math:`np + 1` and :math:`n(1 - p) + 1` puts at 16 % and
84 % (Vehtari et al. 2021, Bayesian Analysis 16, 667).
"""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from pymc_gamma.arguments import checked, kind, number, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.posterior import SAMPLE_DIMS, known_name, samples_of, weighted_dataset

__all__ = ["upper_limit"]


@checked(idata=kind("DataTree", "Dataset"), var_name=text, probability=partial(number, low=0.0, high=1.0))
def upper_limit(idata: xr.DataTree | xr.Dataset, var_name: str, probability: float = 0.95) -> xr.DataArray:
    """Value below which a variable lies with a given posterior probability.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        With a ``posterior`` group, or that group itself. Weighted draws (``log_weight``, of
        :func:`~pymc_gamma.sample_nested` and :func:`~pymc_gamma.reweight`) are used where there are some.
    var_name : str
        Name of the variable, such as ``"sigmav"``.
    probability : float
        Posterior probability below the limit.

    Returns
    -------
    xarray.DataArray
        The limits, with the dims and the unit of the variable. The coordinate ``mcse`` is their Monte Carlo standard
        error, ``attrs["probability"]`` the probability.

    Raises
    ------
    ModelError
        If there is no such variable (names the nearest one), no draw, or a draw is not a number.

    See Also
    --------
    expected_limits : what to expect of data without a signal.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> draws = np.random.default_rng(1).exponential(size=(4, 1000))
    >>> limit = upper_limit(xr.Dataset({"sigmav": (("chain", "draw"), draws)}), "sigmav", 0.95)
    >>> bool(abs(limit - 3.0) < 0.2), bool(0.02 < limit.mcse < 0.2)
    (True, True)
    """
    draws, weight = weighted_dataset(idata)
    array = draws[known_name(var_name, [str(name) for name in draws.data_vars], "the posterior")]
    dims = [dim for dim in SAMPLE_DIMS if dim in array.dims]
    values = samples_of(array)
    rest = values.shape[len(dims) :]
    n_chains = values.shape[0] if len(dims) > 1 else 1
    columns = values.reshape(n_chains, -1, int(np.prod(rest)))
    if not columns.shape[1]:
        raise ModelError(f"the posterior holds no draws of {var_name!r}.")
    if columns.dtype.kind not in "biuf" or not np.isfinite(columns).all():
        raise ModelError(f"draws of {var_name!r} must be finite numbers to have a limit.")
    found = np.array([_quantile(columns[..., j], weight, probability) for j in range(columns.shape[-1])])
    limits, errors = found.reshape(*rest, 2)[..., 0], found.reshape(*rest, 2)[..., 1]
    names = [dim for dim in array.dims if dim not in dims]
    coords: dict[Any, Any] = {dim: array.coords[dim] for dim in names if dim in array.coords}
    attrs = {"probability": probability, **{key: array.attrs[key] for key in ("units",) if key in array.attrs}}
    return xr.DataArray(limits, {**coords, "mcse": (names, errors)}, names, name=var_name, attrs=attrs)


def _quantile(draws: FloatArray, weight: FloatArray | None, probability: float) -> tuple[float, float]:
    """A quantile of draws (chain, draw), and its Monte Carlo standard error."""
    values = np.asarray(draws, float).ravel()
    order = np.argsort(values, kind="stable")
    values = values[order]
    share = np.full(len(values), 1 / len(values)) if weight is None else weight.ravel()[order]
    values, share = values[share > 0], share[share > 0]
    middle = np.cumsum(share) - 0.5 * share
    at = np.interp(probability, middle, values)
    if weight is None:
        n = _effective(np.asarray(draws <= at, float))
    else:  # of independent draws: from the variance of the weighted share below
        below = values <= at
        n = float(below @ share * (1 - below @ share) / max(np.sum((share * (below - below @ share)) ** 2), 1e-300))
        n = n if n > 0 else float(1 / np.sum(share**2))
    ends = stats.beta.ppf(stats.norm.cdf([-1.0, 1.0]), n * probability + 1, n * (1 - probability) + 1)
    limit, low, high = np.interp([probability, *ends], middle, values)
    return float(limit), float(0.5 * (high - low))


def _effective(below: FloatArray) -> float:
    """Effective number of draws (chain, draw) of whether a variable is below its limit."""
    from arviz_stats.base.array import array_stats

    if below.shape[1] < 4 or np.ptp(below) == 0:
        return float(below.size)
    found = float(array_stats.ess(below, chain_axis=0, draw_axis=1, method="mean"))
    return found if np.isfinite(found) else float(below.size)
