"""Picture of ON and OFF events: their spectra, and the exposure."""

from typing import TYPE_CHECKING

import numpy as np

from pymc_gamma.on_off import OnOffEvents
from pymc_gamma.plotting.peek_counts import finish, show_exposure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["peek_on_off_events"]

BINS_PER_DECADE = 10


def peek_on_off_events(events: OnOffEvents, *, fig: "Figure | None" = None) -> "Figure":
    """See :meth:`pymc_gamma.OnOffEvents.peek`."""
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(10.5, 4.2), layout="constrained") if fig is None else fig
    counts, exposure = fig.subplots(1, 2)
    low, high = events.energy_range.to_value("TeV")
    edges = np.geomspace(low, high, max(int(np.ceil(BINS_PER_DECADE * np.log10(high / low))), 1) + 1)
    middle = np.sqrt(edges[1:] * edges[:-1])
    on = np.histogram(events.energy.value, edges)[0]
    counts.stairs(on, edges, fill=True, color="C0", alpha=0.25)
    counts.errorbar(middle, on, np.sqrt(on), fmt="o", ms=3.5, color="C0", label=f"{len(events)} ON events")
    if events.has_off:
        off = events.energy_off.value
        weight = np.interp(np.log(off), np.log(events.grid.energy), events.alpha)
        label = rf"background, $\alpha\,\times$ {len(off)} OFF events"
        counts.stairs(np.histogram(off, edges, weights=weight)[0], edges, color="C1", linewidth=1.5, label=label)
    counts.set(ylabel="Events per bin", title=events.name)
    show_exposure(exposure, events, low, high)
    finish(counts, exposure, low, high)
    return fig
