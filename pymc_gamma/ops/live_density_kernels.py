"""What the Ops of live densities run, compiled or called."""

import numpy as np

from pymc_gamma.compilation import kernel
from pymc_gamma.folding import live_kernels

__all__ = ["STEP", "curvature", "pull", "push", "room", "shifted", "values"]

STEP = 1e-30
"""Imaginary step; its square vanishes beside one."""


@kernel
def room(theta, tables):  # type: ignore[no-untyped-def]
    """For densities and their derivatives."""
    n_rows = len(tables.node) * (1 + theta.shape[1]) + 2 * len(tables.rungs)
    return np.empty((n_rows, live_kernels.LANES), theta.dtype)


@kernel
def values(out, theta, tables, n_events):  # type: ignore[no-untyped-def]
    """Densities of all events."""
    density = np.empty(n_events)
    live_kernels.scatter(out, tables, theta.shape[1], density)
    return density


@kernel
def pull(weight, theta, rho, derivatives, tables):  # type: ignore[no-untyped-def]
    """Cotangents of parameters and coefficients."""
    of_theta, of_rho = np.empty(theta.shape), np.empty(rho.shape)
    live_kernels.pull(weight, derivatives, tables, of_theta, of_rho)
    return of_theta, of_rho


@kernel
def push(along_theta, along_rho, derivatives, tables, n_events):  # type: ignore[no-untyped-def]
    """Derivatives of the densities along a direction."""
    density = np.empty(n_events)
    live_kernels.push(along_theta, along_rho, derivatives, tables, density)
    return density


@kernel
def shifted(at, along):  # type: ignore[no-untyped-def]
    """At a complex point."""
    return at + 1j * STEP * along


@kernel
def curvature(weight, theta, rho, out, tables):  # type: ignore[no-untyped-def]
    """Hessian products from derivatives at complex parameters, which are overwritten."""
    live_kernels.pull(weight, out, tables, theta, rho)
    return theta.imag / STEP, rho.imag / STEP
