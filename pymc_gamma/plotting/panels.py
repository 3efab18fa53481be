r"""Panels that several pictures share: counts in bins with what is predicted, and their residuals.

Error bars of *n* counts are the central 68 % confidence interval of a Poisson mean (Garwood 1936),
:math:`\tfrac12\chi^2_{0.16}(2n)` to :math:`\tfrac12\chi^2_{0.84}(2n+2)`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pymc_gamma.arrays import FloatArray
from pymc_gamma.plotting.prediction import Prediction
from pymc_gamma.plotting.style import BANDS, component_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_counts", "draw_residuals", "poisson_interval"]

_SIGMA = float(stats.norm.sf(1.0))
_GREY = "0.5"
_LIMITS = (3.5, 8.0)


def poisson_interval(counts: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Ends of the central 68 % confidence interval of a Poisson mean, for counts seen.

    Examples
    --------
    >>> low, high = poisson_interval([0, 100])
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([0.0, 90.02], [1.84, 111.03])
    """
    n = np.asarray(counts, dtype=np.float64)
    low = np.where(n > 0, 0.5 * stats.chi2.ppf(_SIGMA, 2 * np.maximum(n, 1)), 0.0)
    return np.asarray(low), np.asarray(0.5 * stats.chi2.isf(_SIGMA, 2 * n + 2))


def draw_counts(
    ax: "Axes",
    edges: FloatArray,
    centres: FloatArray,
    counts: FloatArray,
    prediction: Prediction,
    names: Sequence[str],
    *,
    size: FloatArray | float = 1.0,
    floor: float = 0.0,
) -> None:
    """Draw counts with error bars, the predictive bands, and the bands of the components if they are known.

    Parameters
    ----------
    ax : `~matplotlib.axes.Axes`
        Where.
    edges, centres : numpy.ndarray
        Of the bins along the axis.
    counts : numpy.ndarray
        Events seen in each bin.
    prediction : Prediction
        What the model predicts.
    names : sequence of str
        Components.
    size : numpy.ndarray or float
        Counts are divided by it: 1, or the solid angle of the bins.
    floor : float
        Lowest value drawn, for logarithmic axes.
    """
    if prediction.expected is not None:
        for index, name in enumerate(names):
            _draw_bands(ax, edges, prediction.expected[:, index] / size, floor, component_color(index))
            median = np.median(prediction.expected[:, index], axis=0) / size
            ax.stairs(
                np.maximum(median, floor), edges, baseline=None, color=component_color(index), linewidth=1.4, label=name
            )
    _draw_bands(ax, edges, prediction.replicated / size, floor, _GREY, label="prediction")
    ax.stairs(
        np.maximum(prediction.mean / size, floor), edges, baseline=None, color="0.3", linewidth=1.2, label="model"
    )
    low, high = poisson_interval(counts)
    seen = (counts > 0) | (floor == 0)
    errors = np.array([counts - low, high - counts]) / size
    ax.errorbar(
        centres[seen],
        (counts / size)[seen],
        errors[:, seen],
        fmt="o",
        color="black",
        markersize=3.2,
        elinewidth=0.9,
        label="events",
        zorder=3,
    )
    ax.grid(alpha=0.2)


def draw_residuals(
    ax: "Axes", edges: FloatArray, centres: FloatArray, counts: FloatArray, prediction: Prediction
) -> None:
    r"""Draw :math:`(n - \mu)/\sqrt\mu`, with the predictive intervals on the same scale."""
    mean = prediction.mean
    known = mean > 0
    scale = np.sqrt(np.where(known, mean, 1.0))
    residual = np.where(known, (counts - mean) / scale, np.nan)
    _draw_bands(ax, edges, np.where(known, (prediction.replicated - mean) / scale, 0.0), None, _GREY)
    low, high = poisson_interval(counts)
    errors = np.where(known, np.array([counts - low, high - counts]) / scale, 0.0)
    ax.axhline(0.0, color="0.3", linewidth=1.0)
    ax.errorbar(centres, residual, errors, fmt="o", color="black", markersize=3.2, elinewidth=0.9)
    reach = np.abs(residual) + errors.max(axis=0)
    limit = float(np.clip(1.1 * np.nanmax(reach, initial=0.0), *_LIMITS))
    _mark_beyond(ax, centres, residual, limit)
    ax.set(ylim=(-limit, limit), ylabel="(data - model)\n/ $\\sqrt{\\mathrm{model}}$")
    ax.grid(alpha=0.2)


def _mark_beyond(ax: "Axes", centres: FloatArray, residual: FloatArray, limit: float) -> None:
    """Triangles at the edge for residuals that do not fit the panel."""
    for marker, beyond in (("^", residual > limit), ("v", residual < -limit)):
        if beyond.any():
            edge = np.full(int(beyond.sum()), 0.92 * limit * (1 if marker == "^" else -1))
            ax.plot(centres[beyond], edge, marker, color="black", markersize=5)


def _draw_bands(
    ax: "Axes", edges: FloatArray, draws: FloatArray, floor: float | None, color: Any, label: str | None = None
) -> None:
    for low, high, alpha in BANDS:
        lower, upper = np.percentile(draws, [low, high], axis=0)
        if floor is not None:
            # A step at 0 counts has no place on a logarithmic axis.
            lower, upper = np.maximum(lower, floor), np.maximum(upper, floor)
        name = None if label is None else f"{label}, {high - low:.0f} %"
        ax.stairs(upper, edges, baseline=lower, fill=True, color=color, alpha=alpha, linewidth=0, label=name)
