"""Kernel of the coefficients of spectra, see :mod:`pymc_gamma.ops.hats`."""

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.compilation import kernel

__all__ = ["hat_map"]


# Without fastmath: LLVM makes two versions of a loop, one for arrays close to each other, and may rearrange sums
# in one of them; the last bits would depend on where in memory the arrays lie.
@kernel(error_model="numpy")
def hat_map(at: _Floats, x: _Floats, scale: _Floats, bounds: NDArray[np.int64], transposed: bool) -> _Floats:
    """The linear map from ratios to coefficients that holds at ``at``, times ``x``; or its transpose.

    Each run of nodes between neighbouring ``bounds`` is a spectrum of its own.
    """
    out = np.empty(len(x))
    if transposed:
        out[:] = 0.0
    for s in range(len(bounds) - 1):
        first, last = bounds[s], bounds[s + 1] - 1
        for i in range(first, last + 1):
            before, here, after = 0.0, 1.0, 0.0
            if first < i < last:
                left, middle, right = at[i - 1] * scale[i - 1], at[i] * scale[i], at[i + 1] * scale[i + 1]
                if middle - (right - 2 * middle + left) / 12 >= middle / 2:
                    before, here, after = -1 / 12, 7 / 6, -1 / 12
                else:
                    here = 0.5
            if not transposed:
                out[i] = here * x[i] * scale[i]
                if before != 0:
                    out[i] += before * x[i - 1] * scale[i - 1] + after * x[i + 1] * scale[i + 1]
            else:
                out[i] += here * x[i] * scale[i]
                if before != 0:
                    out[i - 1] += before * x[i] * scale[i - 1]
                    out[i + 1] += after * x[i] * scale[i + 1]
    return out
