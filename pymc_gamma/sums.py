"""Sums of products in an order that depends on their arguments alone.

``a @ b`` hands them to BLAS, which divides long sums among its threads: the last bits then depend on
``OMP_NUM_THREADS`` and on the number of cores, and after them the draws of a sampler. Matrix products whose sums have a
few terms, such as rotations of directions, are not divided.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["weighted_sum"]


def weighted_sum(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the last axis of values times weights.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (..., n).
    weight : numpy.ndarray
        Shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (...), of the unit of the values times that of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> weighted_sum(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, 0.25]))
    array([1. , 2.5])
    """
    return np.asarray(np.einsum("...i,i->...", values, weight))
