"""Bundled data, other people's data on demand, and what to cite for each.

>>> from pymc_gamma import datasets
>>> datasets.fetch("prod5-south-20deg-50h").name
'prod5-south-20deg-50h.fits.gz'
"""

from pymc_gamma.datasets.access import (
    MIRROR_VARIABLE,
    available,
    cache_folder,
    citation,
    fetch,
    info,
    names,
    path,
)
from pymc_gamma.datasets.citation import Citation
from pymc_gamma.datasets.registry import REGISTRY, Archive, Dataset

__all__ = [
    "MIRROR_VARIABLE",
    "REGISTRY",
    "Archive",
    "Citation",
    "Dataset",
    "available",
    "cache_folder",
    "citation",
    "fetch",
    "info",
    "names",
    "path",
]
