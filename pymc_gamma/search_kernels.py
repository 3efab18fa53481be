"""Where a number lies between ascending nodes, for compiled kernels.

`numpy.searchsorted` does the same, but each kernel that calls it takes half a second longer to compile.
"""

from pymc_gamma.compilation import kernel

__all__ = ["count_below", "interval"]


@kernel(inline="always")
def count_below(nodes, x, last):
    """Number of the first ``last`` ascending nodes that are at most ``x``."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        if nodes[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(inline="always")
def interval(nodes, x):
    """Index of the interval between ascending nodes that holds ``x``, and where in it, 0 to 1; clipped to the ends.

    Zero and zero for a single node.
    """
    n = len(nodes)
    if n == 1:
        return 0, 0.0
    k = min(max(count_below(nodes, x, n) - 1, 0), n - 2)
    return k, min(max((x - nodes[k]) / (nodes[k + 1] - nodes[k]), 0.0), 1.0)
