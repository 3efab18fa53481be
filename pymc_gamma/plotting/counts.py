r"""Counts maps: events, model, and the significance of their difference.

The significance of a cell with *n* events where :math:`\mu` are expected is the signed root of the
likelihood ratio (Li & Ma 1983 for a known background; Cash 1979),
:math:`\mathrm{sign}(n-\mu)\sqrt{2\,[\,n\ln(n/\mu) - n + \mu\,]}`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from pymc_gamma.arguments import checked, integer, kind, offering, plain
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError
from pymc_gamma.events import Events
from pymc_gamma.events.predictive import bin_predictive
from pymc_gamma.plotting.expected import SkyCells, expected_counts
from pymc_gamma.plotting.prediction import choose_observation, in_domain, needs_draws, nothing_in
from pymc_gamma.plotting.samples import component_draws

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["default_cells", "mean_counts", "plot_counts", "significance"]

_EVENTS_PER_CELL = 8
_CELLS = (8, 80)
_LIMIT = 5.0


def significance(counts: ArrayLike, expected: ArrayLike) -> FloatArray:
    r"""Signed significance of counts against a known expectation, in standard deviations.

    Parameters
    ----------
    counts, expected : array_like
        Same shape; where nothing is expected the result is NaN.

    Returns
    -------
    numpy.ndarray
        Same shape.

    Examples
    --------
    >>> significance([100.0, 120.0, 0.0], [100.0, 100.0, 2.0]).round(2) + 0.0
    array([ 0.  ,  1.94, -2.  ])
    """
    n, mu = np.broadcast_arrays(np.asarray(counts, dtype=np.float64), np.asarray(expected, dtype=np.float64))
    result = np.full(n.shape, np.nan)
    known = mu > 0
    n, mu = n[known], mu[known]
    with_events = np.maximum(n, np.finfo(float).tiny)
    deviance = np.where(n > 0, n * np.log(with_events / mu), 0.0) - n + mu
    result[known] = np.sign(n - mu) * np.sqrt(2 * np.maximum(deviance, 0.0))
    return result


def _cells(value: Any, name: str) -> Any:
    return value if isinstance(value, SkyCells) else integer(value, name, low=1)


def default_cells(events: Events) -> int:
    """Cells along each side of a map with about eight events in each."""
    return int(np.clip(np.sqrt(events.n_total / _EVENTS_PER_CELL), *_CELLS))


def mean_counts(
    idata: xr.DataTree | xr.Dataset,
    response: Any,
    sky: SkyCells,
    n_events: float,
    var_name: str,
    group: str,
    predictive: str | None,
    weights: ArrayLike | None,
) -> FloatArray:
    """Posterior mean of the expected counts of cells, shape of these; see :func:`plot_counts` for the arguments."""
    average = None if weights is None else np.ravel(np.asarray(weights))
    if needs_draws(idata, response, var_name=var_name, group=group, predictive=predictive):
        lists = bin_predictive(idata, response, sky.bins, var_name=predictive, group=group, observation=sky.observation)
        return np.asarray(np.average(lists.values.reshape(-1, *sky.bins.shape), axis=0, weights=average))
    draws = component_draws(idata, var_name, [str(name) for name in response.component_names])
    mean = np.average(draws, axis=0, weights=average)
    return np.asarray(expected_counts(mean[None], sky.probability, n_events)[0].sum(axis=0))


@checked(
    events=kind("Events"),
    response=offering("component_names", "roi"),
    idata=kind("DataTree", "Dataset"),
    weights=plain(),
    cells=_cells,
)
def plot_counts(
    events: Events,
    response: Any,
    idata: xr.DataTree | xr.Dataset,
    *,
    observation: int | str | None = None,
    var_name: str = "fraction",
    group: str = "posterior_predictive",
    predictive: str | None = None,
    cells: int | SkyCells | None = None,
    weights: ArrayLike | None = None,
    fig: "Figure | None" = None,
) -> "Figure":
    """Draw maps of the events, the posterior mean of the model, and the significance of the residuals.

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
        Group of the predictive draws, whose mean is the model where fractions do not fix the counts (free spectra).
    predictive : str, optional
        Name of the event variable among them; the draws are then used in any case.
    cells : int or SkyCells, optional
        Cells along each side, or those of another picture. Default: about eight events in each.
    weights : array_like, optional
        One weight per draw, for a nested run that is not resampled.
    fig : `~matplotlib.figure.Figure`, optional
        Figure to draw in.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Three maps; the first two share their colour scale. Within 20 deg of a pole of the frame the axes are offsets
        from the centre of the region.

    Raises
    ------
    EventError
        If there is no such observation, if there are no events.
    ModelError
        If the posterior does not fit the response, or predictive draws are needed and missing.
    """
    events = in_domain(events, response)
    n_events = events.n_total
    events, index, title = choose_observation(events, response, observation)
    if len(events) == 0:
        raise EventError(f"There are no events to draw: {nothing_in(title)}.")
    import matplotlib.pyplot as plt
    from matplotlib.colors import PowerNorm

    sky = cells
    if not isinstance(sky, SkyCells):
        sky = SkyCells.from_response(response, sky or default_cells(events), index)
    sky = sky.of_observation(response, index)
    lon, lat = sky.lon, sky.lat
    counts = sky.bins.count_events(events)
    model = mean_counts(idata, response, sky, n_events, var_name, group, predictive, weights)

    if fig is None:
        fig = plt.figure(figsize=(14.5, 4.5), layout="constrained")
    axes = fig.subplots(1, 3, sharex=True, sharey=True)
    # A square root between linear and logarithmic: sources and background show in one picture.
    scale = PowerNorm(0.5, vmin=0.0, vmax=max(counts.max(), model.max()))
    panels = (
        ("Events", counts, {"norm": scale, "cmap": "inferno"}),
        ("Model, posterior mean", np.where(model > 0, model, np.nan), {"norm": scale, "cmap": "inferno"}),
        ("Residual", significance(counts, model), {"vmin": -_LIMIT, "vmax": _LIMIT, "cmap": "RdBu_r"}),
    )
    meshes = []
    for ax, (name, image, colours) in zip(axes, panels, strict=True):
        meshes.append(ax.pcolormesh(lon, lat, image, rasterized=True, **colours))
        sky.sky.label_axes(ax)
        ax.set_title(name)
        ax.label_outer()
    if title is not None:
        fig.suptitle(title, fontsize=10)
    fig.colorbar(meshes[1], ax=axes[:2], label=f"events per ({lat[1] - lat[0]:.2g} deg)$^2$ cell")
    fig.colorbar(meshes[2], ax=axes[2], label="significance [σ]", extend="both")
    return fig
