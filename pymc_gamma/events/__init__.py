"""Event lists: reconstructed energies and directions, and how they come in and go out."""

from pymc_gamma.events.cells import Cells
from pymc_gamma.events.container import Events
from pymc_gamma.events.predictive import predictive_counts
from pymc_gamma.events.selection import EventSelection

__all__ = ["Cells", "EventSelection", "Events", "predictive_counts"]
