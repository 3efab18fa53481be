"""Shapes whose position and extension are left to the model, one file for each kind."""

from pymc_gamma.folding.live_shapes.base import Family, Limits, LiveShape
from pymc_gamma.folding.live_shapes.gaussian import GaussianShape, PointShape

__all__ = ["Family", "GaussianShape", "Limits", "LiveShape", "PointShape"]
