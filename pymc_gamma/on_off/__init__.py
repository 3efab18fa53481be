"""Data of an ON region around a source, with the response that goes with them and OFF regions beside it."""

from pymc_gamma.on_off.counts_spectrum import CountsSpectrum
from pymc_gamma.on_off.events import OnOffEvents

__all__ = ["CountsSpectrum", "OnOffEvents"]
