"""Components of analysis files, one file for each kind.

To add one derive a class from `Component` with its ``kind``; nothing else names it but the import here.
"""

from pymc_gamma.analysis.components.base import Component, Surroundings
from pymc_gamma.analysis.components.ccr import CosmicRays
from pymc_gamma.analysis.components.dark_matter import DarkMatter, DarkMatterConfig
from pymc_gamma.analysis.components.diffuse import Diffuse
from pymc_gamma.analysis.components.hgps import Hgps
from pymc_gamma.analysis.components.scanned import Scan
from pymc_gamma.analysis.components.source import Source
from pymc_gamma.analysis.components.tables import Table

__all__ = [
    "Component",
    "CosmicRays",
    "DarkMatter",
    "DarkMatterConfig",
    "Diffuse",
    "Hgps",
    "Scan",
    "Source",
    "Surroundings",
    "Table",
]
