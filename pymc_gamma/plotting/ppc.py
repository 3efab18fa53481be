"""Posterior predictive check: binned events against what the posterior predicts, per component."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from pymc_gamma.arguments import checked, integer, kind, offering, plain, seed
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError
from pymc_gamma.events import Events
from pymc_gamma.events.histogram import Bins
from pymc_gamma.plotting.expected import (
    SkyCells,
    energy_edges,
    energy_probability,
)
from pymc_gamma.plotting.prediction import choose_observation, in_domain, nothing_in, predict
from pymc_gamma.plotting.style import BANDS, component_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_ppc"]

_AXES = ("energy", "lon", "lat")


@checked(
    events=kind("Events"),
    response=offering("component_names", "roi"),
    idata=kind("DataTree", "Dataset"),
    weights=plain(),
    bins=partial(integer, low=1),
    random_seed=seed,
)
def plot_ppc(
    events: Events,
    response: Any,
    idata: xr.DataTree | xr.Dataset,
    *,
    observation: int | str | None = None,
    var_name: str = "fraction",
    group: str = "posterior_predictive",
    predictive: str | None = None,
    axes: Sequence[str] = ("energy", "lon", "lat"),
    bins: int = 30,
    sky: SkyCells | None = None,
    weights: ArrayLike | None = None,
    random_seed: int = 0,
    fig: "Figure | None" = None,
) -> "Figure":
    """Draw binned events, the posterior predictive band, the expectation of each component, and residuals.

    Parameters
    ----------
    events : Events
        What was observed.
    response : Response
        The response of the model.
    idata : `xarray.DataTree` or `xarray.Dataset`
        Posterior.
    observation : int or str, optional
        Only one observation, by its index in the response or by its name. Default: all together.
    var_name : str
        Variable with the fraction of each component.
    group : str
        Group of the predictive draws, from which bands come where fractions do not fix the counts (free spectra).
    predictive : str, optional
        Name of the event variable among them; the draws are then used in any case.
    axes : sequence of {"energy", "lon", "lat"}
        Which distributions to show, one column each.
    bins : int
        Bins per axis.
    sky : SkyCells, optional
        Cells of the sky shared with another picture; their number then replaces ``bins`` for longitude and
        latitude.
    weights : array_like, optional
        One weight per draw, for a nested run that is not resampled.
    random_seed : int
        Seed of the replicated counts.
    fig : `~matplotlib.figure.Figure`, optional
        Figure to draw in.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Upper row: data with the 68 % and 95 % bands of replicated counts (grey) and of the expectation of
        each component (coloured, where fractions fix it). Lower row: data minus median, in standard deviations
        of the replicated counts.

    Raises
    ------
    EventError
        If there is no such observation, if there are no events.
    ModelError
        If the posterior does not fit the response, or predictive draws are needed and missing.
    ValueError
        If an axis is unknown.
    """
    unknown = [name for name in axes if name not in _AXES]
    if unknown or not axes:
        raise ValueError(f"axes must be some of {_AXES}, got {tuple(axes)}.")
    events = in_domain(events, response)
    n_events = events.n_total
    events, index, title = choose_observation(events, response, observation)
    if len(events) == 0:
        raise EventError(f"There are no events to compare with: {nothing_in(title)}.")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(random_seed)
    names = [str(name) for name in response.component_names]
    if sky is None and {"lon", "lat"} & set(axes):
        sky = SkyCells.from_response(response, bins, index)
    if sky is not None:
        sky = sky.of_observation(response, index)
    marginals = _marginals(response, axes, bins, sky, index)
    labels = {"energy": "Reconstructed energy [TeV]"}
    if sky is not None:
        labels |= dict(zip(("lon", "lat"), sky.sky.labels, strict=True))

    if fig is None:
        fig = plt.figure(figsize=(4.6 * len(axes) + 0.6, 5.0), layout="constrained")
    grid = fig.subplots(2, len(axes), squeeze=False, sharex="col", sharey="row", height_ratios=(3, 1))
    tallest = 1.0
    for column, name in enumerate(axes):
        along, probability = marginals[name]
        edges = along.edges[name]
        predicted = predict(
            idata, response, along, n_events, probability=probability, observation=index,
            var_name=var_name, group=group, predictive=predictive, weights=weights, rng=rng,
        )  # fmt: skip
        expected, replicated = predicted.expected, predicted.replicated
        counts = along.count_events(events)
        tallest = max(tallest, float(counts.max()), float(replicated.max()))
        upper, lower = grid[0, column], grid[1, column]
        _draw_counts(upper, edges, counts, expected, replicated, names)
        _draw_residuals(lower, edges, counts, replicated)
        lower.set_xlabel(labels[name])
        if name == "energy":
            lower.set_xscale("log")
            lower.xaxis.set_major_formatter("{x:g}")
        else:
            lower.set_xlim(edges[0], edges[-1])
        if name == "lon":
            lower.invert_xaxis()
    grid[0, 0].set(ylabel="Events per bin", yscale="log")
    grid[0, 0].set_ylim(0.5, 3 * tallest)
    grid[1, 0].set(ylabel="Residual [σ]", ylim=(-4.2, 4.2))
    if title is not None:
        grid[0, 0].set_title(title, fontsize=10)  # a title of the figure would lie under the legend
    handles, names = grid[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return fig


def _marginals(
    response: Any, axes: Sequence[str], bins: int, sky: SkyCells | None, observation: int | None
) -> dict[str, tuple[Bins, FloatArray]]:
    """Bins of each axis and their probability, the latter of shape ``(component, bin)``."""
    marginals = {}
    if "energy" in axes:
        edges = energy_edges(response.roi, bins)
        marginals["energy"] = (Bins(response.roi.frame, energy=edges), energy_probability(response, edges, observation))
    if sky is not None:
        frame = sky.sky.frame
        marginals["lon"] = (Bins(frame, lon=sky.lon, sky=sky.sky), sky.probability.sum(axis=1))
        marginals["lat"] = (Bins(frame, lat=sky.lat, sky=sky.sky), sky.probability.sum(axis=2))
    return marginals


def _draw_counts(
    ax: "Axes",
    edges: FloatArray,
    counts: FloatArray,
    expected: FloatArray | None,
    replicated: FloatArray,
    names: Sequence[str],
) -> None:
    for index, name in enumerate(names if expected is not None else ()):
        assert expected is not None
        color = component_color(index)
        for low, high, alpha in BANDS:
            lower, upper = np.percentile(expected[:, index], [low, high], axis=0)
            ax.stairs(upper, edges, baseline=lower, fill=True, color=color, alpha=alpha, linewidth=0)
        ax.stairs(
            np.median(expected[:, index], axis=0),
            edges,
            baseline=None,
            color=color,
            linewidth=1.4,
            label=name,
        )
    for low, high, alpha in BANDS:
        lower, upper = np.percentile(replicated, [low, high], axis=0)
        # A step at 0 counts has no place on a logarithmic axis: start it just below 1.
        ax.stairs(
            np.maximum(upper, 0.1), edges, baseline=np.maximum(lower, 0.1), fill=True, color="0.5",
            alpha=alpha, linewidth=0, label=f"prediction, {high - low:.0f} %",
        )  # fmt: skip
    seen = counts > 0
    ax.plot(_centres(ax, edges)[seen], counts[seen], "o", color="black", markersize=3.2, label="events")
    ax.grid(alpha=0.2)


def _draw_residuals(ax: "Axes", edges: FloatArray, counts: FloatArray, replicated: FloatArray) -> None:
    spread = replicated.std(axis=0)
    known = spread > 0
    residual = np.zeros_like(counts)
    residual[known] = (counts - np.mean(replicated, axis=0))[known] / spread[known]
    for half_width, alpha in ((2.0, 0.2), (1.0, 0.3)):
        ax.axhspan(-half_width, half_width, color="0.5", alpha=alpha, linewidth=0)
    ax.axhline(0.0, color="black", linewidth=0.8)
    ax.plot(_centres(ax, edges)[known], np.clip(residual, -4, 4)[known], "o", color="black", markersize=3.2)
    ax.grid(alpha=0.2)


def _centres(ax: "Axes", edges: FloatArray) -> FloatArray:
    logarithmic = edges[0] > 0 and edges[-1] / edges[0] > 5
    return np.asarray(np.sqrt(edges[1:] * edges[:-1]) if logarithmic else 0.5 * (edges[1:] + edges[:-1]))
