"""What functions for JAX run on, and the precision that they keep tables in."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.errors import warn_user

__all__ = ["in_precision", "on_processor", "single_precision_tables", "warn_of_single_sums"]

_SINGLE: ContextVar[bool] = ContextVar("pymc_gamma_single_precision_tables", default=False)


def on_processor() -> bool:
    """Whether JAX is going to run what is compiled now on the processor."""
    try:
        import jax
    except ImportError:
        return True
    device = jax.config.jax_default_device
    return (jax.default_backend() if device is None else getattr(device, "platform", device)) == "cpu"


@contextmanager
def single_precision_tables() -> Iterator[None]:
    """Keep event tables in single precision, in functions that are compiled inside for JAX on a GPU.

    That halves the memory that fixed components take there, and a call on 1e7 events takes two thirds of the time.
    Densities of an event are rounded to 6e-8 of themselves; those below 1e-38 of its largest become zero. Coefficients,
    products and sums stay in double precision, so that log L of N events is wrong by about 2e-8 times the square root
    of N. Columns of free spectra are in single precision anyway. What runs on the processor, numba's functions or
    JAX's, does not change.

    Examples
    --------
    >>> import pymc as pm
    >>> import pymc_gamma as pmg
    >>> with pm.Model() as model:
    ...     fraction = pm.Dirichlet("fraction", [1, 1])
    ...     events = pmg.EventMixture("events", fraction, log_likelihood=[[0.0, -1.0], [-2.0, 0.0]])
    >>> with pmg.single_precision_tables():  # doctest: +SKIP
    ...     idata = pm.sample(nuts_sampler="numpyro")
    """
    token = _SINGLE.set(True)
    try:
        yield
    finally:
        _SINGLE.reset(token)


def in_precision(table: Variable, value: NDArray[Any] | None) -> Variable:
    """A table, or a constant of its value in single precision if that is asked for and the value known."""
    if value is None or not _SINGLE.get():
        return table
    if not hasattr(table.tag, "single"):  # several Ops of a graph share it
        table.tag.single = pt.constant(value.astype(np.float32))
    return table.tag.single


def warn_of_single_sums() -> None:
    """Say it if JAX is told to compute everything in single precision."""
    if pytensor.config.floatX != "float64":
        warn_user(
            f"PyTensor's floatX is {pytensor.config.floatX!r}, with which JAX adds up the log likelihoods of events in "
            "single precision: sums of more than some thousands are noise, and small densities become NaN. Set it to "
            "'float64'; tables in single precision are had by pymc_gamma.single_precision_tables"
        )
