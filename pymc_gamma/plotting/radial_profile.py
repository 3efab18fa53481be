"""Radial profile: events per solid angle against the distance from a direction, and what the posterior predicts."""

from functools import partial
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike

from pymc_gamma.arguments import checked, direction, integer, kind, offering, plain, seed
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError
from pymc_gamma.events import Events
from pymc_gamma.events.histogram import Bins
from pymc_gamma.geometry import separation_deg, unit_vectors
from pymc_gamma.plotting.panels import draw_counts, draw_residuals
from pymc_gamma.plotting.prediction import choose_observation, in_domain, is_kept, nothing_in, predict, ring_nodes
from pymc_gamma.units import to_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_radial_profile"]


DEG2_PER_SR = float(np.degrees(1.0) ** 2)

# Rings of which less than this share lies in the region are left out: their few counts per area say nothing.
_MIN_SHARE = 0.02
_MAX_RADIUS = 1.0
# A profile that falls by more than this is shown on a logarithmic axis.
_STEEP = 30.0
# Lowest value drawn there, in units of the smallest of the model.
_FLOOR = 0.2


@checked(
    center=direction,
    events=kind("Events"),
    response=offering("component_names", "roi"),
    idata=kind("DataTree", "Dataset"),
    weights=plain(),
    bins=partial(integer, low=1),
    random_seed=seed,
)
def plot_radial_profile(
    events: Events,
    response: Any,
    idata: xr.DataTree | xr.Dataset,
    center: SkyCoord,
    *,
    radius: u.Quantity | None = None,
    bins: int = 20,
    squared: bool = False,
    energy: u.Quantity | None = None,
    residuals: bool = True,
    observation: int | str | None = None,
    var_name: str = "fraction",
    group: str = "posterior_predictive",
    predictive: str | None = None,
    weights: ArrayLike | None = None,
    random_seed: int = 0,
    fig: "Figure | None" = None,
) -> "Figure":
    r"""Draw events per solid angle against the distance from a direction, with what the posterior predicts.

    The prediction has the same sources as that of :func:`plot_counts_spectrum`.

    Parameters
    ----------
    events : Events
        What was observed.
    response : Response
        The response of the model.
    idata : `xarray.DataTree` or `xarray.Dataset`
        Posterior, with or without predictive draws.
    center : `~astropy.coordinates.SkyCoord`
        Direction from which distances count, galactic or ICRS or any other frame.
    radius : `~astropy.units.Quantity`, optional
        Largest distance, or the edges of the rings. Default: 1 deg, or less if the region is smaller.
    bins : int
        Number of rings, where ``radius`` gives no edges.
    squared : bool
        Show the squared distance :math:`\theta^2`; rings are then of equal area.
    energy : `~astropy.units.Quantity`, optional
        Range (minimum, maximum) of reconstructed energy. Default: that of the region.
    residuals : bool
        Show them in a second panel.
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
        Events per deg2 with 68 % error bars, posterior mean (dark line) and 68 % and 95 % predictive bands (grey), on a
        logarithmic axis if they vary by more than a factor of 30. Solid angles are those of the part of a ring inside
        the region. Below, :math:`(n - \mu)/\sqrt{\mu}`.

    Raises
    ------
    EventError
        If there is no such observation, if there are no events, or no ring lies in the region.
    ModelError
        If predictive draws are needed and there are none.
    """
    events = in_domain(events, response)
    n_events = events.n_total
    events, index, title = choose_observation(events, response, observation)
    if len(events) == 0:
        raise EventError(f"There are no events to draw: {nothing_in(title)}.")
    import matplotlib.pyplot as plt

    roi = response.roi
    edges = _ring_edges(roi, radius, bins, squared)
    rings = Bins.from_quantities(roi.frame, _range(energy), center=center, radius=edges * u.deg)
    assert rings.center is not None
    vectors, weight, ring = ring_nodes(rings.center, edges)
    inside = is_kept(response, vectors, index)
    whole = np.bincount(ring, weights=weight)
    area = np.bincount(ring, weights=weight * inside)
    kept = area > _MIN_SHARE * whole
    if not kept.any():
        away = float(separation_deg(unit_vectors(*rings.center), unit_vectors(roi.lon, roi.lat)))
        raise EventError(
            f"No ring up to {edges[-1]:g} deg around center lies in the region, whose centre is {away:.3g} deg away."
        )
    predicted = predict(
        idata, response, rings, n_events, observation=index,
        var_name=var_name, group=group, predictive=predictive, weights=weights,
        rng=np.random.default_rng(random_seed),
    )  # fmt: skip
    counts = rings.count_events(events)
    if energy is not None:
        counts, predicted = counts[0], predicted.along(np.s_[..., 0, :])
    # Rings are consecutive; cutting the last ones, beyond the region, keeps the edges contiguous.
    n = int(np.flatnonzero(kept)[-1]) + 1
    counts, predicted, size = (
        counts[:n],
        predicted.along(np.s_[..., :n]),
        np.where(kept, area, np.inf)[:n] * DEG2_PER_SR,
    )
    shown = (edges**2 if squared else edges)[: n + 1]
    centres = 0.5 * (shown[1:] + shown[:-1])

    if fig is None:
        fig = plt.figure(figsize=(6.4, 5.4 if residuals else 4.2), layout="constrained")
    grid = fig.subplots(2 if residuals else 1, 1, sharex=True, squeeze=False, height_ratios=(3, 1)[: 1 + residuals])
    axes = grid[:, 0]
    profile = (predicted.mean / size)[predicted.mean > 0]
    floor = 0.0
    if len(profile) and profile.max() > _STEEP * profile.min():
        floor = _FLOOR * float(profile.min())
        axes[0].set_yscale("log")
    draw_counts(axes[0], shown, centres, counts, predicted, list(response.component_names), size=size, floor=floor)
    axes[0].set(ylabel="Events per deg$^2$")
    if title is not None:
        axes[0].set_title(title, fontsize=10)
    axes[0].set_ylim(bottom=1.5 * floor)
    axes[0].legend(frameon=False, fontsize=9)
    if residuals:
        draw_residuals(axes[1], shown, centres, counts, predicted)
    label = r"Squared distance $\theta^2$ [deg$^2$]" if squared else r"Distance $\theta$ [deg]"
    axes[-1].set(xlabel=label, xlim=(shown[0], shown[-1]))
    return fig


def _ring_edges(roi: Any, radius: u.Quantity | None, bins: int, squared: bool) -> FloatArray:
    values = np.asarray(min(_MAX_RADIUS, roi.radius)) if radius is None else to_value(radius, "deg", "radius")
    if values.ndim:
        return values
    if not values > 0:
        raise EventError(f"radius must be positive, got {values:g} deg.")
    steps = np.linspace(0.0, 1.0, bins + 1)
    return np.asarray(values * (np.sqrt(steps) if squared else steps))


def _range(energy: u.Quantity | None) -> u.Quantity | None:
    if energy is None:
        return None
    if to_value(energy, "TeV", "energy").shape != (2,):
        raise EventError(f"energy must be a range (minimum, maximum), got {energy}.")
    return energy
