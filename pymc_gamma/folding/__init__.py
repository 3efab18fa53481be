"""Folding: sky components through the instrument response into columns (numerics under the response)."""

# what these modules know, they register
from pymc_gamma.folding import free_background, free_halo, free_sources

__all__ = ["free_background", "free_halo", "free_sources"]
