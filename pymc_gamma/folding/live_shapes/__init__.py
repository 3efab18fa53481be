"""Shapes whose position and extension are left to the model, one file for each kind."""

from pymc_gamma.folding.live_shapes.base import (
    REACH,
    Family,
    Limits,
    LiveShape,
    class_of_model,
    is_number,
    model_names,
    shape_of_model,
)
from pymc_gamma.folding.live_shapes.disk import DiskShape
from pymc_gamma.folding.live_shapes.gaussian import GaussianShape, PointShape
from pymc_gamma.folding.live_shapes.radial import RadialFamily
from pymc_gamma.folding.live_shapes.shell import ShellShape

__all__ = [
    "REACH",
    "DiskShape",
    "Family",
    "GaussianShape",
    "Limits",
    "LiveShape",
    "PointShape",
    "RadialFamily",
    "ShellShape",
    "class_of_model",
    "is_number",
    "model_names",
    "shape_of_model",
]
