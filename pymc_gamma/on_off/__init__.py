"""Counts spectra: events of an ON region counted in channels of energy, with the response that goes with them."""

from pymc_gamma.on_off.counts_spectrum import CountsSpectrum

__all__ = ["CountsSpectrum"]
