"""The effective area of a gammapy IRF on clean nodes: logarithmic in energy, extended to the ends of its axes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pymc_gamma.errors import IRFError
from pymc_gamma.instrument.irfs.core import EffectiveArea
from pymc_gamma.instrument.irfs.reading import (
    Cells,
    extend_to_edges,
    read_axis,
    read_values,
    require,
)

__all__ = ["effective_area"]

WHAT = "effective area"
NOISE = 0.01
"""Negative values down to this share of the largest area are set to 0: smoothed tables have them below threshold."""


def effective_area(tables: Mapping[str, Any], name: str, repairs: list[str]) -> EffectiveArea:
    """Clean effective area in cm2 on extended nodes."""
    aeff = require(tables, "aeff", WHAT, name)
    energy, offset = read_axis(aeff, "energy_true", "TeV", WHAT, name), read_axis(aeff, "offset", "deg", WHAT, name)
    values = read_values(aeff, "cm2", WHAT, name)
    negative = values < 0
    if negative.any():
        worst = values == values.min()
        text = f"{int(negative.sum())} negative values, the largest at {Cells.of(aeff).describe(worst, values)} cm2"
        if values.min() < -NOISE * values.max():
            raise IRFError(f"IRFs {name}: the {WHAT} has {text}; an area cannot be negative.")
        repairs.append(f"{WHAT}: {text}, set to 0")
        values = np.maximum(values, 0.0)
    if not np.any(values > 0):
        raise IRFError(f"IRFs {name}: the {WHAT} is zero everywhere.")
    if offset.single:
        raise IRFError(
            f"IRFs {name}: the {WHAT} is given at one offset only, {offset.centers[0]:g} deg (THETA_LO = THETA_HI), "
            "so it is not known how far the field of view reaches; give edges of a bin, or several offsets."
        )
    log_energy, values = extend_to_edges(np.log(energy.centers), np.log(energy.span), values, axis=0)
    nodes, values = extend_to_edges(offset.centers, offset.span, values, axis=1)
    return EffectiveArea(np.exp(log_energy), nodes, values)
