"""PyMC distributions over gamma-ray events."""

from pymc_gamma.distributions.event_mixture import EventMixture, observe_events
from pymc_gamma.distributions.extended import ExtendedEventMixture
from pymc_gamma.distributions.protocol import EventList, MixtureResponse
from pymc_gamma.distributions.table import EventTable, TableArrays

__all__ = [
    "EventList",
    "EventMixture",
    "EventTable",
    "ExtendedEventMixture",
    "MixtureResponse",
    "TableArrays",
    "observe_events",
]
