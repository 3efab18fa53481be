"""Channels of energy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray

__all__ = ["Channels"]


@dataclass(frozen=True, eq=False)
class Channels:
    """What has one entry for each channel."""

    counts: FloatArray
    counts_off: FloatArray | None
    alpha: FloatArray | None
    mask: NDArray[np.bool_]
