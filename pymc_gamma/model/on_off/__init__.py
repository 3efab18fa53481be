"""Events of ON and OFF regions in a model: what is observed, and what is assumed of the background."""

from pymc_gamma.model.on_off import channels, event_energies  # kinds of data that register themselves
from pymc_gamma.model.on_off.backgrounds import FlatBackground, OffBackground, ProfiledBackground
from pymc_gamma.model.on_off.measured import MeasuredBackground
from pymc_gamma.model.on_off.on_off_counts import OnOffCounts

__all__ = [
    "FlatBackground",
    "MeasuredBackground",
    "OffBackground",
    "OnOffCounts",
    "ProfiledBackground",
    "channels",
    "event_energies",
]
