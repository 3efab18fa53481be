"""The response: columns of a sky model, their acceptance, and the simulator that goes with them."""

from pymc_gamma.response.core import Response
from pymc_gamma.response.fold import fold

__all__ = ["Response", "fold"]
