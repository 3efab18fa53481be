"""PyMC distributions over gamma-ray events."""

from pymc_gamma.model import halo  # registers its blocks
from pymc_gamma.model.event_mixture import EventMixture, observe_events
from pymc_gamma.model.extended import ExtendedEventMixture
from pymc_gamma.model.protocol import EventList, MixtureResponse
from pymc_gamma.model.table import EventTable, TableArrays

__all__ = [
    "EventList",
    "EventMixture",
    "EventTable",
    "ExtendedEventMixture",
    "MixtureResponse",
    "TableArrays",
    "halo",
    "observe_events",
]
