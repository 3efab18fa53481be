"""The response: columns of a sky model, their acceptance, and the simulator that goes with them."""

from pymc_gamma.response.build import fold
from pymc_gamma.response.response import Response

__all__ = ["Response", "fold"]
