"""Posterior predictive check: binned events against what the posterior predicts, per component."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.errors import EventError
from pymc_gamma.events import Events
from pymc_gamma.plotting.expected import (
    SkyCells,
    energy_edges,
    energy_probability,
    expected_counts,
    replicated_counts,
)
from pymc_gamma.plotting.samples import component_draws, resample
from pymc_gamma.plotting.style import BANDS, component_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_ppc"]

FloatArray = NDArray[np.float64]

_AXES = ("energy", "lon", "lat")
_MAX_DRAWS = 2000


def plot_ppc(
    events: Events,
    response: Any,
    idata: xr.DataTree | xr.Dataset,
    *,
    var_name: str = "fraction",
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
    var_name : str
        Variable with the fraction of each component.
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
        each component (coloured). Lower row: data minus median, in standard deviations of the replicated
        counts.

    Raises
    ------
    EventError
        If there are no events.
    ModelError
        If the posterior does not fit the response.
    ValueError
        If an axis is unknown.
    """
    unknown = [name for name in axes if name not in _AXES]
    if unknown or not axes:
        raise ValueError(f"axes must be some of {_AXES}, got {tuple(axes)}.")
    if len(events) == 0:
        raise EventError("There are no events to compare with: the list is empty.")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(random_seed)
    names = [str(name) for name in response.component_names]
    fractions = resample(component_draws(idata, var_name, names), weights, _MAX_DRAWS, rng)
    if sky is None and {"lon", "lat"} & set(axes):
        sky = SkyCells.from_response(response, bins)
    marginals = _marginals(response, axes, bins, sky)
    labels = {"energy": "Reconstructed energy [TeV]"}
    if sky is not None:
        labels |= dict(zip(("lon", "lat"), sky.sky.labels, strict=True))

    if fig is None:
        fig = plt.figure(figsize=(4.6 * len(axes) + 0.6, 5.0), layout="constrained")
    grid = fig.subplots(2, len(axes), squeeze=False, sharex="col", sharey="row", height_ratios=(3, 1))
    tallest = 1.0
    for column, name in enumerate(axes):
        edges, probability = marginals[name]
        expected = expected_counts(fractions, probability, events.n_total)
        replicated = replicated_counts(expected.sum(axis=1), events.n_total, rng)
        counts = _histogram(events, name, edges, sky)
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
    handles, names = grid[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return fig


def _marginals(
    response: Any, axes: Sequence[str], bins: int, sky: SkyCells | None
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Edges and probability of the bins of each axis, the latter of shape ``(component, bin)``."""
    marginals = {}
    if "energy" in axes:
        edges = energy_edges(response.roi, bins)
        marginals["energy"] = (edges, energy_probability(response, edges))
    if sky is not None:
        marginals["lon"] = (sky.lon, sky.probability.sum(axis=1))
        marginals["lat"] = (sky.lat, sky.probability.sum(axis=2))
    return marginals


def _histogram(events: Events, name: str, edges: FloatArray, sky: SkyCells | None) -> FloatArray:
    values = events.energy.value if sky is None or name == "energy" else sky.coordinates(events)[name == "lat"]
    counts, _ = np.histogram(values, edges, weights=events.multiplicity)
    return np.asarray(counts, dtype=np.float64)


def _draw_counts(
    ax: "Axes",
    edges: FloatArray,
    counts: FloatArray,
    expected: FloatArray,
    replicated: FloatArray,
    names: Sequence[str],
) -> None:
    for index, name in enumerate(names):
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
