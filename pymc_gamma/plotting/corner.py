"""Corner plots: one- and two-dimensional marginal distributions of a posterior, by `corner`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import checked, kind, texts
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.scales import Scale
from pymc_gamma.plotting.labels import scales_of, truth_in_unit
from pymc_gamma.plotting.samples import PosteriorDraws, posterior_draws
from pymc_gamma.plotting.style import PALETTE
from pymc_gamma.units import numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_corner"]

Posterior = xr.DataTree | xr.Dataset

_TRUTH_COLOR = "0.2"
# Contents of the 1- and 2-sigma ellipses of a two-dimensional Gaussian.
_LEVELS = (1 - np.exp(-0.5), 1 - np.exp(-2.0))
_RANGE = 0.999


@checked(idata=kind("DataTree", "Dataset", "dict"), var_names=texts)
def plot_corner(
    idata: Posterior | Mapping[str, Posterior],
    var_names: Sequence[str] | None = None,
    *,
    truths: Mapping[str, ArrayLike] | None = None,
    units: Mapping[str, Any] | None = None,
    weights: ArrayLike | Mapping[str, ArrayLike] | None = None,
    fig: "Figure | None" = None,
) -> "Figure":
    """Draw the one- and two-dimensional marginal distributions of a posterior, with the truth if known.

    Parameters
    ----------
    idata : `xarray.DataTree`, `xarray.Dataset` or mapping of them
        A posterior, or several to be drawn over each other: ``{"NUTS": idata, "nested": nested}``.
    var_names : sequence of str, optional
        Variables to show. Default: all of the (first) posterior.
    truths : mapping, optional
        True values by variable, ``{"fraction": [1/6, 1/3, 1/2]}``, in the order of its coordinate. Quantities are
        converted to the unit of the variable.
    units : mapping, optional
        Unit of the draws by variable, ``{"amplitude": "cm-2 s-1 TeV-1"}``, for the labels. Default:
        ``attrs["units"]`` of the variables of the posterior. Numbers as small as 1e-12 or as large as 1e6 are shown
        in a power of ten, which stands before the unit.
    weights : array_like or mapping, optional
        One weight per draw, for the output of a nested sampler that is not resampled; with several posteriors
        a mapping by their names.
    fig : `~matplotlib.figure.Figure`, optional
        Figure to draw in.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Contours hold 39 % and 86 % (1 and 2 sigma). With one posterior the titles give the median and the
        16 % and 84 % quantiles.

    Raises
    ------
    ModelError
        If a variable is missing, or a truth or a unit does not fit its variable.
    astropy.units.UnitConversionError
        If the unit of a truth does not fit that of its variable.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> draws = np.random.default_rng(0).dirichlet([30, 60, 90], (4, 500))
    >>> posterior = xr.Dataset({"fraction": (("chain", "draw", "component"), draws)})
    >>> figure = plot_corner(posterior, truths={"fraction": [1 / 6, 1 / 3, 1 / 2]})
    >>> len(figure.axes)
    9
    """
    runs = _named_runs(idata)
    draws = {name: posterior_draws(run, var_names) for name, run in runs.items()}
    first = next(iter(draws.values()))
    for name, other in draws.items():
        if other.owners != first.owners:
            raise ModelError(
                f"The run {name!r} has other variables than the first; choose common ones with var_names=."
            )
    scales = scales_of(draws, units)
    factors = np.array([scale.factor for scale in scales])
    true_values = _flatten_truths(truths, first, scales)
    draws = {name: replace(run, values=run.values / factors) for name, run in draws.items()}
    run_weights = {
        name: _density_weights(run, _weights_of(name, weights, several=len(runs) > 1)) for name, run in draws.items()
    }
    ranges = _ranges(draws, run_weights, true_values)

    import corner
    import matplotlib.pyplot as plt

    n = len(first.labels)
    labels = [
        scale.label(label.replace("\n", " ") if n == 1 else label)
        for label, scale in zip(first.labels, scales, strict=True)
    ]
    if fig is None:
        fig = plt.figure(figsize=(2.3 * n + 0.7, 2.3 * n + 0.7) if n > 1 else (4.4, 4.4))
    for (name, run), color in zip(draws.items(), _cycle(len(draws)), strict=True):
        corner.corner(
            run.values,
            fig=fig,
            labels=labels,
            weights=run_weights[name],
            range=ranges,
            bins=40,
            smooth=1.0,
            smooth1d=0.7,
            levels=_LEVELS,
            color=color,
            # corner fails on the truth of a single scalar
            truths=true_values if n > 1 else None,
            truth_color=_TRUTH_COLOR,
            plot_datapoints=False,
            plot_density=False,
            fill_contours=len(draws) == 1,
            max_n_ticks=4,
            quiet=True,
        )
    if n == 1 and true_values is not None and true_values[0] is not None:
        fig.axes[0].axvline(true_values[0], color=_TRUTH_COLOR)
    # room for titles of two lines
    fig.subplots_adjust(top=1 - 0.48 / fig.get_figheight())
    if len(draws) == 1:
        _add_titles(fig, next(iter(draws.values())), scales, next(iter(run_weights.values())))
    _legend(fig, list(draws), true_values is not None)
    return fig


def _named_runs(idata: Any) -> dict[str, Posterior]:
    # A Dataset and a DataTree are mappings themselves.
    if isinstance(idata, Mapping) and not isinstance(idata, xr.Dataset | xr.DataTree):
        if not idata:
            raise ModelError("There is no posterior to draw: the mapping is empty.")
        return {str(name): run for name, run in idata.items()}
    return {"": idata}


def _cycle(n: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(n)]


def _weights_of(name: str, weights: Any, *, several: bool) -> NDArray[np.float64] | None:
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        found = weights.get(name)
        return None if found is None else np.asarray(found, dtype=np.float64).ravel()
    if several:
        raise ModelError("With several posteriors, weights must be a mapping by their names.")
    return numbers(weights, "weights").ravel()


def _density_weights(run: PosteriorDraws, weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Weights that sum to 1, so that histograms of runs of different length have the same area."""
    n = len(run.values)
    if weights is None:
        return np.full(n, 1.0 / n)
    if weights.shape != (n,) or not np.all(weights >= 0) or not weights.sum() > 0:
        raise ModelError(f"weights must be {n} non-negative numbers, one per draw, got shape {weights.shape}.")
    return weights / weights.sum()


def _flatten_truths(
    truths: Mapping[str, ArrayLike] | None, draws: PosteriorDraws, scales: Sequence[Scale]
) -> list[float | None] | None:
    """True value of each scalar on its scale; None where it is not known."""
    if truths is None:
        return None
    names = {name for name, _ in draws.owners}
    if not isinstance(truths, Mapping):
        raise ModelError(f"truths must map names to values, as {{'fraction': [0.2, 0.3, 0.5]}} does; got {truths!r}.")
    unknown = [name for name in truths if name not in names]
    if unknown:
        raise ModelError(f"truths names {', '.join(map(repr, unknown))}; the picture shows {sorted(names)}.")
    flat: list[float | None] = []
    for name in dict.fromkeys(name for name, _ in draws.owners):
        own = [scale for (owner, _), scale in zip(draws.owners, scales, strict=True) if owner == name]
        if name not in truths:
            flat += [None] * len(own)
            continue
        values = truth_in_unit(name, truths[name], own[0].unit)
        if len(values) != len(own):
            raise ModelError(f"truths[{name!r}] has {len(values)} values, the variable {len(own)}.")
        flat += [float(value / scale.factor) for value, scale in zip(values, own, strict=True)]
    return flat


def _ranges(
    draws: Mapping[str, PosteriorDraws],
    weights: Mapping[str, NDArray[np.float64]],
    truths: Sequence[float | None] | None,
) -> list[tuple[float, float]]:
    """Range of each scalar that holds nearly all draws of all runs, and the truth."""
    import corner

    tail = 0.5 * (1 - _RANGE)
    ranges = []
    for column in range(len(next(iter(draws.values())).labels)):
        ends = [
            corner.quantile(run.values[:, column], [tail, 1 - tail], weights=weights[name])
            for name, run in draws.items()
        ]
        low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
        truth = None if truths is None else truths[column]
        if truth is not None:
            low, high = min(low, truth), max(high, truth)
        margin = 0.05 * (high - low) or 0.5
        ranges.append((low - margin, high + margin))
    return ranges


def _add_titles(fig: "Figure", run: PosteriorDraws, scales: Sequence[Scale], weights: NDArray[np.float64]) -> None:
    """Name, median and 68 % interval over each panel of the diagonal, in two lines.

    The titles of corner are one line, which overlaps with its neighbours when a name is long.
    """
    import corner

    n = len(run.labels)
    for column, label in enumerate(run.labels):
        low, middle, high = corner.quantile(run.values[:, column], [0.16, 0.5, 0.84], weights=weights)
        digits = int(np.clip(1 - np.floor(np.log10(high - low)), 0, 6)) if high > low else 3
        numbers = f"${middle:.{digits}f}_{{-{middle - low:.{digits}f}}}^{{+{high - middle:.{digits}f}}}$"
        name = label.split("\n")[-1]
        if scales[column].exponent:
            numbers += f" × 1e{scales[column].exponent}"
        fig.axes[column * (n + 1)].set_title(f"{name}\n{numbers}", fontsize=10)


def _legend(fig: "Figure", names: Sequence[str], with_truths: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, label=name) for name, color in zip(names, _cycle(len(names)), strict=True) if name
    ]
    if with_truths:
        handles.append(Line2D([], [], color=_TRUTH_COLOR, marker="s", markersize=4, label="truth"))
    if handles and len(fig.axes) > 1:
        fig.legend(handles=handles, loc="upper right", frameon=False)
    elif handles:
        # there is no free corner above the diagonal: make one above the histogram
        (ax,) = fig.axes
        ax.set_ylim(top=1.3 * ax.get_ylim()[1])
        ax.legend(handles=handles, loc="upper right", frameon=False, fontsize=9)
