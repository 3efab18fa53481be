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
    wrapper = model.logp_dlogp_function(ravel_inputs=True, mode="FAST_COMPILE")
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    start = model.initial_point()
    sizes = [np.size(start[name]) for name in start]
    x = np.concatenate([np.ravel(value) for value in start.values()])

    def objective(x):
        value, gradient = function(x)
        return -float(value), -np.asarray(gradient)

    scale = np.ones_like(x)
    for _ in range(3):  # rescaled by the curvature, BFGS converges to rounding
        found = optimize.minimize(lambda z, s=scale: _scaled(objective, z, s), x / scale, jac=True, method="BFGS")
        x = found.x * scale
        covariance = np.linalg.inv(_hessian(objective, x, scale))
        scale = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    sd = np.sqrt(np.diag(covariance))
    split = np.cumsum(sizes)[:-1]
    values = dict(zip(start, np.split(x, split), strict=True))
    return Fit(values, dict(zip(start, np.split(sd, split), strict=True)), -objective(x)[0])


def _scaled(objective, z, scale):
    value, gradient = objective(z * scale)
    return value, gradient * scale


def _hessian(objective, x, scale):
    step = 1e-3 * scale
    columns = [
        (objective(x + step[i] * e)[1] - objective(x - step[i] * e)[1]) / (2 * step[i])
        for i, e in enumerate(np.eye(len(x)))
    ]
    hessian = np.array(columns)
    return 0.5 * (hessian + hessian.T)
