"""Maximum of a posterior and its curvature: what a test needs of a fit, in a second instead of a minute."""

from typing import NamedTuple

import numpy as np
from scipy import optimize


class Fit(NamedTuple):
    """Estimates and standard deviations of the unconstrained parameters, by name ("index", "amplitude_log__")."""

    value: dict[str, np.ndarray]
    sd: dict[str, np.ndarray]
    log_posterior: float


def fit(model) -> Fit:
    function, start = compiled(model)
    sizes = [np.size(value) for value in start.values()]
    best = summit(function, np.concatenate([np.ravel(value) for value in start.values()]))
    split, sd = np.cumsum(sizes)[:-1], np.sqrt(np.diag(best.covariance))
    values = dict(zip(start, np.split(best.x, split), strict=True))
    return Fit(values, dict(zip(start, np.split(sd, split), strict=True)), best.log_posterior)


def compiled(model, mode="FAST_COMPILE"):
    """Log-posterior and gradient as a function of the vector of unconstrained parameters, and where to start."""
    wrapper = model.logp_dlogp_function(ravel_inputs=True, mode=mode)
    wrapper.set_extra_values({})
    return wrapper._pytensor_function, model.initial_point()


class Summit(NamedTuple):
    """Where a log-posterior is largest, and the Gaussian of the same curvature."""

    x: np.ndarray
    covariance: np.ndarray
    log_posterior: float


def summit(function, x, step=1e-3):
    """Maximum, and curvature from differences of the gradient over ``step`` standard deviations."""

    def objective(x):
        value, gradient = function(x)
        return -float(value), -np.asarray(gradient)

    scale = np.ones_like(x)
    for _ in range(3):  # rescaled by the curvature, BFGS converges to rounding
        found = optimize.minimize(lambda z, s=scale: _scaled(objective, z, s), x / scale, jac=True, method="BFGS")
        x = found.x * scale
        covariance = np.linalg.inv(_hessian(objective, x, step * scale))
        scale = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    return Summit(x, covariance, -objective(x)[0])


def _scaled(objective, z, scale):
    value, gradient = objective(z * scale)
    return value, gradient * scale


def _hessian(objective, x, step):
    columns = [
        (objective(x + step[i] * e)[1] - objective(x - step[i] * e)[1]) / (2 * step[i])
        for i, e in enumerate(np.eye(len(x)))
    ]
    hessian = np.array(columns)
    return 0.5 * (hessian + hessian.T)
