"""What shines: components of the sky, their morphology, their spectra, and what to cite for them."""

from pymc_gamma.sky.background import CosmicRayBackground
from pymc_gamma.sky.catalog import HGPSCatalog
from pymc_gamma.sky.component import (
    SkyComponent,
    SkyGaussian,
    SkyPart,
    SkyPoint,
    TemplateShape,
    check_unique_names,
)
from pymc_gamma.sky.diffuse import GalacticDiffuse
from pymc_gamma.sky.scanned import Scanned
from pymc_gamma.sky.source import SkySource

__all__ = [
    "CosmicRayBackground",
    "GalacticDiffuse",
    "HGPSCatalog",
    "Scanned",
    "SkyComponent",
    "SkyGaussian",
    "SkyPart",
    "SkyPoint",
    "SkySource",
    "TemplateShape",
    "check_unique_names",
]
