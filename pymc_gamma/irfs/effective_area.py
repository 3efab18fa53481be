"""The effective area of a gammapy IRF on clean nodes: logarithmic in energy, extended to the edges of its axes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pymc_gamma.errors import IRFError
from pymc_gamma.irfs.core import EffectiveArea
from pymc_gamma.irfs.reading import extend_to_edges, read_axis, read_values, refuse_point_like, require

__all__ = ["effective_area"]


def effective_area(tables: Mapping[str, Any], name: str) -> EffectiveArea:
    """Clean effective area in cm2 on extended nodes."""
    aeff = require(tables, "aeff", "effective area", name)
    refuse_point_like(aeff, "effective area", name)
    values = read_values(aeff, "cm2", "effective area", name)
    energy, offset = read_axis(aeff, "energy_true", "TeV"), read_axis(aeff, "offset", "deg")
    if not np.any(values > 0):
        raise IRFError(f"IRFs {name}: the effective area is zero everywhere.")
    log_energy, values = extend_to_edges(np.log(energy.centers), np.log(energy.edges), values, axis=0)
    nodes, values = extend_to_edges(offset.centers, offset.edges, values, axis=1)
    return EffectiveArea(np.exp(log_energy), nodes, values)
