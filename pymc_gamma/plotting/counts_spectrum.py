"""Counts spectrum: events per bin of energy, what the posterior predicts, and the residuals."""

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike

from pymc_gamma.arguments import checked, direction, kind, offering, plain, seed
from pymc_gamma.errors import EventError
from pymc_gamma.events import Events
from pymc_gamma.events.histogram import Bins
from pymc_gamma.plotting.expected import energy_edges
from pymc_gamma.plotting.panels import draw_counts, draw_residuals
from pymc_gamma.plotting.prediction import choose_observation, in_domain, nothing_in, predict
from pymc_gamma.units import scalar_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_counts_spectrum"]

_FLOOR = 0.2


@checked(
    events=kind("Events"),
    response=offering("component_names", "roi"),
    idata=kind("DataTree", "Dataset"),
    weights=plain(),
    center=direction,
    random_seed=seed,
)
def plot_counts_spectrum(
    events: Events,
    response: Any,
    idata: xr.DataTree | xr.Dataset,
    *,
    energy: int | u.Quantity = 25,
    center: SkyCoord | None = None,
    radius: u.Quantity | None = None,
    observation: int | str | None = None,
    var_name: str = "fraction",
    group: str = "posterior_predictive",
    predictive: str | None = None,
    weights: ArrayLike | None = None,
    random_seed: int = 0,
    fig: "Figure | None" = None,
) -> "Figure":
    r"""Draw the counts per bin of energy with what the posterior predicts, and the residuals below.

    For a mixture of components of fixed spectrum the prediction follows from the fractions, and the components are
    shown too. For any other model (free spectra, random number of events, systematics) it is made of simulated event
    lists: ``pm.sample_posterior_predictive(idata, extend_inferencedata=True)``.

    Parameters
    ----------
    events : Events
        What was observed.
    response : Response
        The response of the model.
    idata : `xarray.DataTree` or `xarray.Dataset`
        Posterior, with or without predictive draws.
    energy : int or `~astropy.units.Quantity`
        Number of logarithmic bins over the energies of the region, or their edges.
    center, radius : `~astropy.coordinates.SkyCoord` and `~astropy.units.Quantity`, optional
        Only events this close to a direction; default the whole region.
    observation : int or str, optional
        Only one observation, by its index in the response or by its name. Default: all together.
    var_name : str
        Variable with the fraction of each component.
    group : str
        Group of the predictive draws.
    predictive : str, optional
        Name of the event variable among them; the draws are then used in any case.
    weights : array_like, optional
        One weight per draw, for a nested run that is not resampled.
    random_seed : int
        Seed of replicated counts.
    fig : `~matplotlib.figure.Figure`, optional
        Figure to draw in.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Above: counts with 68 % error bars, posterior mean (dark line), 68 % and 95 % predictive bands (grey). Below:
        :math:`(n - \mu)/\sqrt{\mu}` with the same bands, :math:`\mu` the posterior mean.

    Raises
    ------
    EventError
        If there is no such observation, if there are no events, or edges do not increase.
    ModelError
        If predictive draws are needed and there are none.
    """
    events = in_domain(events, response)
    n_events = events.n_total
    events, index, title = choose_observation(events, response, observation)
    if len(events) == 0:
        raise EventError(f"There are no events to draw: {nothing_in(title)}.")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(random_seed)
    edges = energy_edges(response.roi, energy) * u.TeV if isinstance(energy, int) else energy
    around = None if radius is None else scalar_value(radius, "deg", "radius")
    rings = None if around is None else [0.0, around] * u.deg
    bins = Bins.from_quantities(response.roi.frame, edges, center=center, radius=rings)
    predicted = predict(
        idata, response, bins, n_events, observation=index,
        var_name=var_name, group=group, predictive=predictive, weights=weights, rng=rng,
    )  # fmt: skip
    counts = bins.count_events(events)
    if around is not None:
        counts, predicted = counts[:, 0], predicted.along(np.s_[..., 0])
    nodes = bins.edges["energy"]
    centres = bins.coords["energy"][1]

    fig = plt.figure(figsize=(6.4, 5.4), layout="constrained") if fig is None else fig
    upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    draw_counts(upper, nodes, centres, counts, predicted, list(response.component_names), floor=_FLOOR)
    draw_residuals(lower, nodes, centres, counts, predicted)
    upper.set(yscale="log", ylabel="Events per bin")
    tallest = max(counts.max(), predicted.replicated.max(), 1.0)
    upper.set_ylim(1.5 * _FLOOR, 2.5 * tallest)
    upper.legend(frameon=False, fontsize=9)
    told = [] if title is None else [title]
    if around is not None and bins.center is not None:
        told.append(f"within {around:g} deg of ({bins.center[0]:.4g}, {bins.center[1]:.4g}) deg")
    if told:
        upper.set_title(", ".join(told), fontsize=10)
    lower.set(xscale="log", xlabel="Reconstructed energy [TeV]", xlim=(nodes[0], nodes[-1]))
    lower.xaxis.set_major_formatter("{x:g}")
    return fig
