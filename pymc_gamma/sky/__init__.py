"""What shines: components of the sky, their morphology, their spectra, and what to cite for them."""

from pymc_gamma.sky.background import CosmicRayBackground
from pymc_gamma.sky.catalog import HGPSCatalog
from pymc_gamma.sky.component import (
    GaussianShape,
    PointShape,
    SkyComponent,
    SkyPart,
    TemplateShape,
    check_unique_names,
)
from pymc_gamma.sky.diffuse import GalacticDiffuse
from pymc_gamma.sky.source import SkySource

__all__ = [
    "CosmicRayBackground",
    "GalacticDiffuse",
    "GaussianShape",
    "HGPSCatalog",
    "PointShape",
    "SkyComponent",
    "SkyPart",
    "SkySource",
    "TemplateShape",
    "check_unique_names",
]
