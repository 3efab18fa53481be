"""PyTensor Ops for the log-likelihood of events: values, gradients and second derivatives in one pass."""

from pymc_gamma.ops import live_lowering, numba_forms, rewrites  # registers the numba forms and the graph rewrites
from pymc_gamma.ops.layout import BLOCK, to_blocks
from pymc_gamma.ops.logmatvec import (
    BAND_INPUTS,
    TABLE_INPUTS,
    LogMatVec,
    LogMatVecHVP,
    LogMatVecJVP,
    LogMatVecSum,
    LogMatVecVJP,
    banded_log_matvec,
    log_matvec,
    log_matvec_sum,
)
from pymc_gamma.ops.tiles import Tiles, to_tiles

__all__ = [
    "BAND_INPUTS",
    "BLOCK",
    "TABLE_INPUTS",
    "LogMatVec",
    "LogMatVecHVP",
    "LogMatVecJVP",
    "LogMatVecSum",
    "LogMatVecVJP",
    "Tiles",
    "banded_log_matvec",
    "live_lowering",
    "log_matvec",
    "log_matvec_sum",
    "numba_forms",
    "rewrites",
    "to_blocks",
    "to_tiles",
]
