r"""Maps of the significance of residuals, and their distribution.

Around each cell the events within a radius, *n*, are compared with the expectation of the posterior there, :math:`\mu`:
the signed root of the likelihood ratio of counts with a known expectation,
:math:`\mathrm{sign}(n-\mu)\sqrt{2\,[\,n\ln(n/\mu) - n + \mu\,]}` (Cash 1979; Li & Ma 1983, equation 17, where the
background is measured infinitely well). If the model is right and :math:`\mu` is not small, values follow a Gaussian of
mean 0 and width 1.
"""

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import stats
from scipy.signal import fftconvolve

from pymc_gamma.arguments import checked, kind, offering, plain, quantity
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError
from pymc_gamma.events import Events
from pymc_gamma.plotting.counts import mean_counts, significance
from pymc_gamma.plotting.expected import SkyCells
from pymc_gamma.plotting.prediction import choose_observation, in_domain, nothing_in
from pymc_gamma.plotting.style import PALETTE
from pymc_gamma.units import scalar_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_residuals", "within_radius"]

CELLS_PER_RADIUS = 4
MOST_CELLS = 300
LEAST_EXPECTED = 1.0
"""Expected events within the radius below which a significance means little."""
_LIMIT = 5.0


@checked(
    events=kind("Events"),
    response=offering("component_names", "roi"),
    idata=kind("DataTree", "Dataset"),
    radius=quantity("deg"),
    weights=plain(),
)
def plot_residuals(
    events: Events,
    response: Any,
    idata: xr.DataTree | xr.Dataset,
    *,
    radius: u.Quantity = 0.1 * u.deg,
    observation: int | str | None = None,
    var_name: str = "fraction",
    group: str = "posterior_predictive",
    predictive: str | None = None,
    weights: ArrayLike | None = None,
    fig: "Figure | None" = None,
) -> "Figure":
    """Draw a map of the significance of residuals within a radius, and the distribution of its values.

    Parameters
    ----------
    events : Events
        What was observed.
    response : Response
        The response of the model.
    idata : `xarray.DataTree` or `xarray.Dataset`
        Posterior, with predictive draws where fractions do not fix the counts (free spectra). Their mean is the
        expectation, so take some hundreds of them.
    radius : `~astropy.units.Quantity`
        Within which events are counted, as wide as the PSF for point sources. Cells are a quarter of it, or as wide as
        300 of them cover the region with.
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
    fig : `~matplotlib.figure.Figure`, optional
        Figure to draw in.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The map, and the histogram of its values beside the Gaussian of mean 0 and width 1. Values of cells that are
        nearer to each other than twice the radius are not independent.

    Raises
    ------
    EventError
        If there is no such observation, if there are no events, or nowhere as much as one event is expected within the
        radius.
    ModelError
        If the posterior does not fit the response, or predictive draws are needed and missing.

    See Also
    --------
    plot_counts : maps of events, model and residuals in cells.
    """
    import matplotlib.pyplot as plt

    size = scalar_value(radius, "deg", "radius")
    if not size > 0:
        raise ValueError(f"radius must be positive, got {radius}.")
    events = in_domain(events, response)
    n_events = events.n_total
    events, index, title = choose_observation(events, response, observation)
    if len(events) == 0:
        raise EventError(f"There are no events to draw: {nothing_in(title)}.")
    half = float(max(response.roi.half_extent))
    sky = SkyCells.from_response(response, int(np.clip(2 * half * CELLS_PER_RADIUS / size, 8, MOST_CELLS)), index)
    counts = sky.bins.count_events(events)
    model = mean_counts(idata, response, sky, n_events, var_name, group, predictive, weights)
    n, expected = (within_radius(one, sky, size) for one in (counts, model))
    values = significance(n, np.where((model > 0) & (expected >= LEAST_EXPECTED), expected, 0.0))
    if np.isnan(values).all():
        raise EventError(
            f"nowhere is as much as one event expected within {size:g} deg (at most {expected.max():.2g}); take a "
            "larger radius."
        )
    fig = plt.figure(figsize=(11, 4.6), layout="constrained") if fig is None else fig
    left, right = fig.subplots(1, 2, width_ratios=[1.25, 1])
    mesh = left.pcolormesh(sky.lon, sky.lat, values, vmin=-_LIMIT, vmax=_LIMIT, cmap="RdBu_r", rasterized=True)
    sky.sky.label_axes(left)
    left.set_title(f"residuals within {size:g} deg")
    fig.colorbar(mesh, ax=left, label=r"$\pm\sqrt{\mathrm{TS}}$ of counts, known expectation [$\sigma$]", extend="both")
    _draw_distribution(right, values[np.isfinite(values)])
    if title is not None:
        fig.suptitle(title, fontsize=10)
    return fig


def within_radius(image: FloatArray, sky: SkyCells, radius: float) -> FloatArray:
    """Sums of the cells (lat, lon) of an image whose middles are within a radius in deg of the middle of each."""
    shrink = 1.0 if sky.sky.polar else float(np.cos(np.radians(sky.sky.lat)))
    steps = float(sky.lat[1] - sky.lat[0]), float(sky.lon[1] - sky.lon[0]) * shrink
    reach = [int(radius / step) for step in steps]
    y, x = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    disc = (np.hypot(y * steps[0], x * steps[1]) <= radius * (1 + 1e-9)).astype(float)
    found = fftconvolve(image, disc, mode="same")
    return np.where(found > 1e-9 * max(float(image.sum()), 1e-300), found, 0.0)


def _draw_distribution(ax: Any, values: FloatArray) -> None:
    """Histogram of significances, with the Gaussian that they should follow."""
    edge = max(_LIMIT, float(np.abs(values).max())) + 0.25
    edges = np.arange(-np.ceil(4 * edge) / 4, np.ceil(4 * edge) / 4 + 0.25, 0.25)
    told = f"mean {values.mean():+.2f}, width {values.std():.2f}"
    ax.hist(values, edges, density=True, histtype="stepfilled", color=PALETTE[0], alpha=0.5, label=told)
    x = np.linspace(edges[0], edges[-1], 400)
    ax.plot(x, stats.norm.pdf(x), color="black", linewidth=1.2, label="mean 0, width 1")
    ax.set(yscale="log", ylim=(0.3 / max(len(values), 10), 1.0), xlabel=r"significance [$\sigma$]", ylabel="density")
    ax.legend(framealpha=0.85, edgecolor="none", fontsize=9)
