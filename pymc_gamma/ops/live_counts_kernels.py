"""What the Ops of live counts run, compiled or called."""

import numpy as np

from pymc_gamma.compilation import kernel
from pymc_gamma.ops.live_density_kernels import STEP

__all__ = ["curvature", "parted", "pull", "push", "room"]


@kernel
def room(theta, tables):  # type: ignore[no-untyped-def]
    """For counts and their derivatives."""
    return np.empty((theta.shape[0], 1 + theta.shape[1], tables.basis.shape[3]), theta.dtype)


@kernel
def parted(out):  # type: ignore[no-untyped-def]
    """Counts, and their derivatives."""
    return out[:, 0].copy(), out[:, 1:].copy()


@kernel
def pull(weight, derivatives):  # type: ignore[no-untyped-def]
    """Cotangent of the parameters."""
    out = np.zeros(derivatives.shape[:2])
    for o in range(out.shape[0]):
        for k in range(out.shape[1]):
            for n in range(weight.shape[1]):
                out[o, k] += weight[o, n] * derivatives[o, k, n]
    return out


@kernel
def push(along, derivatives):  # type: ignore[no-untyped-def]
    """Derivatives of the counts along a direction."""
    out = np.zeros((derivatives.shape[0], derivatives.shape[2]))
    for o in range(derivatives.shape[0]):
        for k in range(derivatives.shape[1]):
            for n in range(derivatives.shape[2]):
                out[o, n] += along[o, k] * derivatives[o, k, n]
    return out


@kernel
def curvature(weight, out):  # type: ignore[no-untyped-def]
    """Hessian product from derivatives at complex parameters."""
    return pull(weight, out[:, 1:].imag) / STEP
