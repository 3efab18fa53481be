"""Simulation: photons through the instrument response, one by one (numerics under the response)."""

from pymc_gamma.simulation.background import BackgroundSampler
from pymc_gamma.simulation.halo import HaloSampler
from pymc_gamma.simulation.simulator import Sampler, Simulator, make_sampler
from pymc_gamma.simulation.source import SourceSampler, TrueEvents

__all__ = ["BackgroundSampler", "HaloSampler", "Sampler", "Simulator", "SourceSampler", "TrueEvents", "make_sampler"]
