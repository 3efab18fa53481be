r"""Spectral energy distributions: posterior bands of :math:`E^p\,\mathrm{d}N/\mathrm{d}E`.

At each energy the band of level :math:`q` holds the central share :math:`q` of the posterior draws of the flux: it is
a pointwise credible interval, not one of the whole curve.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from pymc_gamma.arguments import checked, integer, kind, mapping, number, plain, seed, texts
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.posterior import posterior_dataset, resample_dataset
from pymc_gamma.plotting.flux_points import FluxPointArrays, draw_points, read_flux_points
from pymc_gamma.plotting.style import component_color
from pymc_gamma.tensors import value_of
from pymc_gamma.units import to_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_spectrum"]

_FLUX = u.Unit("TeV-1 cm-2 s-1")
_POINTS_PER_DECADE = 30
_MAX_DRAWS = 1000
# Orders of magnitude shown below the highest curve.
_DECADES = 4.0
_TRUTH_STYLE = (0, (5, 2))


@checked(
    idata=kind("DataTree", "Dataset"),
    spectra=mapping,
    energy_power=number,
    levels=plain("", None),
    components=texts,
    weights=plain(),
    max_draws=partial(integer, low=1),
    random_seed=seed,
)
def plot_spectrum(
    idata: xr.DataTree | xr.Dataset,
    spectra: Mapping[str, Callable[[Any], Any]],
    *,
    energy: u.Quantity | None = None,
    energy_power: float = 2.0,
    unit: str | u.UnitBase | None = None,
    levels: Sequence[float] = (0.68, 0.95),
    flux_points: Any = None,
    truths: Mapping[str, Any] | None = None,
    components: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    max_draws: int = _MAX_DRAWS,
    random_seed: int = 0,
    fig: "Figure | None" = None,
) -> "Figure":
    r"""Draw posterior bands of the spectra of components, :math:`E^2\,\mathrm{d}N/\mathrm{d}E` by default.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        Posterior, of any sampler.
    spectra : mapping of str to callable
        Spectrum of each component to be shown, as given to the model: a function of the true energy in TeV to a
        PyTensor vector in TeV-1 cm-2 s-1. Its variables are found in the posterior by their names.
    energy : `~astropy.units.Quantity`, optional
        Range (minimum, maximum) of true energy, or more energies at which to evaluate. Default: 0.1 to 100 TeV.
    energy_power : float
        The flux is multiplied by this power of the energy.
    unit : str or `~astropy.units.Unit`, optional
        Unit of the vertical axis, for example ``"erg cm-2 s-1"``. Default: in TeV, cm and s.
    levels : sequence of float
        Shares of the draws that the nested bands hold.
    flux_points : optional
        `gammapy.estimators.FluxPoints` or an astropy table (``e_ref``, ``dnde``, and as far as there are
        ``dnde_err``, ``dnde_errn`` and ``dnde_errp``, ``dnde_ul``, ``is_ul``, ``e_min``, ``e_max``), or a mapping of
        them by component.
    truths : mapping, optional
        True spectra by component, drawn dashed: functions as in ``spectra`` with numbers for parameters, or
        gammapy spectral or sky models.
    components : sequence of str, optional
        All components in the order of the response (``response.component_names``), so that their colours are
        those of the other pictures. Default: the coordinate ``component`` of the posterior if there is one, else
        the order of ``spectra`` and ``truths``.
    weights : array_like, optional
        One weight per draw, for a nested run that is not resampled.
    max_draws : int
        Thin the draws to about this number.
    random_seed : int
        Seed of the resampling by ``weights``.
    fig : `~matplotlib.figure.Figure`, optional
        Figure to draw in.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Median and bands of each component.

    Raises
    ------
    ModelError
        If a spectrum depends on a variable that the posterior does not hold, or is nowhere positive.
    astropy.units.UnitConversionError
        If ``unit`` does not fit the power of the energy.
    ValueError
        If levels are not between 0 and 1, or energies not positive.

    See Also
    --------
    pymc_gamma.spectrum_draws : the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> import xarray as xr
    >>> from pymc_gamma.model.spectra import PowerLaw
    >>> with pm.Model():
    ...     index = pm.Normal("index", 2, 1)
    >>> posterior = xr.Dataset({"index": (("chain", "draw"), np.random.default_rng(0).normal(2.4, 0.1, (2, 100)))})
    >>> figure = plot_spectrum(posterior, {"crab": PowerLaw(index=index)}, truths={"crab": PowerLaw(index=2.4)})
    >>> figure.axes[0].get_ylabel()
    '$E^{2}\\,\\mathrm{d}N/\\mathrm{d}E$ [$\\mathrm{TeV\\,s^{-1}\\,cm^{-2}}$]'
    """
    if not spectra:
        raise ModelError("There is no spectrum to draw: the mapping is empty.")
    if not len(levels) or not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels must be shares between 0 and 1, got {tuple(levels)}.")
    nodes = _energies(energy)
    shown = _shown_unit(unit, energy_power)
    scale = nodes**energy_power * float((_FLUX * u.TeV**energy_power).to(shown))
    posterior = posterior_dataset(idata)
    if weights is not None:
        posterior = resample_dataset(posterior, weights, max_draws, np.random.default_rng(random_seed))
    sed = {name: _draws(posterior, name, spectrum, nodes, max_draws) * scale for name, spectrum in spectra.items()}
    true = {name: _true_flux(name, spectrum, nodes) * scale for name, spectrum in (truths or {}).items()}
    points = {
        name: (read, read.energy**energy_power * float((_FLUX * u.TeV**energy_power).to(shown)))
        for name, read in _points_by_component(flux_points).items()
    }
    colors = _colors(posterior, [*spectra, *true, *(name for name in points if name)], components)

    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(6.8, 4.8), layout="constrained") if fig is None else fig
    ax = fig.subplots()
    _frame(ax, nodes, sed, true, points)
    for name, draws in sed.items():
        _draw_bands(ax, nodes, draws, levels, colors[name], name)
    for name, curve in true.items():
        ax.plot(nodes, curve, color=_darker(colors[name]), linestyle=_TRUTH_STYLE, linewidth=1.6, zorder=3)
    for name, (read, factor) in points.items():
        draw_points(ax, read, factor, _darker(colors[name]) if name else "black")
    _legend(ax, levels, truths=bool(true), points=bool(points))
    power = f"{energy_power:g}"
    flux = r"\mathrm{d}N/\mathrm{d}E"
    label = f"$E^{{{power}}}\\,{flux}$" if energy_power else f"${flux}$"
    ax.set(xlabel="Energy $E$ [TeV]", ylabel=f"{label} [{shown.to_string('latex_inline')}]")
    return fig


def _energies(energy: u.Quantity | None) -> FloatArray:
    given = np.array([0.1, 100.0]) if energy is None else to_value(energy, "TeV", "energy")
    if given.ndim != 1 or len(given) < 2 or not (given[0] > 0 and np.all(np.diff(given) > 0)):
        raise ValueError(f"energy must be a range or increasing positive energies, got {energy}.")
    if len(given) > 2:
        return given
    n = max(20, int(np.ceil(_POINTS_PER_DECADE * np.log10(given[1] / given[0])))) + 1
    return np.asarray(np.geomspace(given[0], given[1], n))


def _shown_unit(unit: str | u.UnitBase | None, power: float) -> u.UnitBase:
    natural = _FLUX * u.TeV**power
    if unit is None:
        return u.Unit(natural)
    wanted = u.Unit(unit)
    if not wanted.is_equivalent(natural):
        raise u.UnitConversionError(f"unit must be '{natural}' for energy_power={power:g} or alike, got '{wanted}'.")
    return wanted


def _draws(
    posterior: xr.Dataset, name: str, spectrum: Callable[[Any], Any], nodes: FloatArray, max_draws: int
) -> FloatArray:
    from pymc_gamma.inference.evaluate import spectrum_draws
    from pymc_gamma.model.spectra import PowerLawNorm

    if isinstance(spectrum, PowerLawNorm):
        raise ModelError(f"The spectrum of {name!r} is a factor without units, not a flux; leave it out.")
    try:
        draws = spectrum_draws(posterior, spectrum, nodes * u.TeV, max_draws=max_draws)
    except ModelError as error:
        raise ModelError(f"The spectrum of {name!r} cannot be drawn: {error}") from error
    values = np.asarray(draws.values).reshape(-1, len(nodes))
    if not np.any(values > 0):
        raise ModelError(f"The spectrum of {name!r} is nowhere positive.")
    return values


def _true_flux(name: str, spectrum: Any, nodes: FloatArray) -> FloatArray:
    """Flux of a spectrum without variables, or of a gammapy model."""
    model = getattr(spectrum, "spectral_model", spectrum)
    if not callable(model):
        raise TypeError(f"truths[{name!r}] must be a spectrum, got {type(spectrum).__name__}.")
    # The functions of gammapy take and give quantities.
    flux = model(nodes * u.TeV) if hasattr(model, "evaluate_error") else model(nodes)
    if isinstance(flux, u.Quantity):
        flux = to_value(flux, "TeV-1 cm-2 s-1", f"truths[{name!r}]")
    elif hasattr(flux, "eval"):
        flux = _without_variables(name, flux)
    return np.broadcast_to(np.asarray(flux, dtype=np.float64), nodes.shape)


def _without_variables(name: str, flux: Any) -> Any:
    from pytensor.compile.sharedvalue import SharedVariable
    from pytensor.graph.basic import Constant
    from pytensor.graph.traversal import ancestors

    free = {v.name or str(v) for v in ancestors([flux]) if v.owner is None and not isinstance(v, Constant)}
    random = {v.name for v in ancestors([flux]) if isinstance(v, SharedVariable)}
    if free or random:
        raise ModelError(
            f"truths[{name!r}] depends on the variables {sorted(filter(None, free | random))}; give it numbers."
        )
    return value_of(flux)


def _points_by_component(flux_points: Any) -> dict[str, FluxPointArrays]:
    if flux_points is None:
        return {}
    if isinstance(flux_points, Mapping):
        return {str(name): read_flux_points(points) for name, points in flux_points.items()}
    return {"": read_flux_points(flux_points)}


def _colors(posterior: xr.Dataset, shown: Sequence[str], components: Sequence[str] | None) -> dict[str, str]:
    known = list(components or [])
    if components is None and "component" in posterior.coords:
        known = [str(name) for name in posterior.coords["component"].values]
    order = list(dict.fromkeys([*known, *shown]))
    return {name: component_color(order.index(name)) for name in shown}


def _draw_bands(
    ax: "Axes", nodes: FloatArray, draws: FloatArray, levels: Sequence[float], color: str, name: str
) -> None:
    for level, alpha in zip(sorted(levels, reverse=True), _opacities(len(levels)), strict=True):
        low, high = np.quantile(draws, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
        ax.fill_between(nodes, low, high, color=color, alpha=alpha, linewidth=0)
    ax.plot(nodes, np.median(draws, axis=0), color=color, linewidth=1.6, label=name)


def _opacities(n: int) -> FloatArray:
    """From the widest band to the narrowest."""
    return np.linspace(0.22, 0.42, n) if n > 1 else np.array([0.35])


def _frame(
    ax: "Axes",
    nodes: FloatArray,
    sed: Mapping[str, FloatArray],
    true: Mapping[str, FloatArray],
    points: Mapping[str, tuple[FluxPointArrays, FloatArray]],
) -> None:
    """Logarithmic axes that show the curves where they are bright, whatever becomes of their faint ends."""
    medians = [np.quantile(draws, [0.16, 0.84], axis=0) for draws in sed.values()]
    drawn = [*medians, *true.values(), *(read.flux * factor for read, factor in points.values())]
    values = np.concatenate([np.ravel(values) for values in drawn])
    values = values[np.isfinite(values) & (values > 0)]
    top = float(values.max())
    # A component far below the brightest still shows its own peak.
    peaks = [float(np.max(curve)) for curve in (*(median[1] for median in medians), *true.values())]
    bottom = max(float(values.min()), min(min(peaks), top) / 10**_DECADES)
    ax.set(xscale="log", yscale="log", xlim=(nodes[0], nodes[-1]), ylim=(bottom / 2, top * 2.5))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.25)


def _legend(ax: "Axes", levels: Sequence[float], *, truths: bool, points: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles, _ = ax.get_legend_handles_labels()
    # Bands lie over each other: the narrow ones are as dark as their sum.
    alphas = 1 - np.cumprod(1 - _opacities(len(levels)))
    handles += [
        Patch(color="0.3", alpha=float(alpha), linewidth=0, label=f"{100 * level:g} %")
        for level, alpha in sorted(zip(sorted(levels, reverse=True), alphas, strict=True))
    ]
    if truths:
        handles.append(Line2D([], [], color="0.2", linestyle=_TRUTH_STYLE, label="truth"))
    if points:
        handles.append(Line2D([], [], color="black", marker="o", markersize=4, linestyle="none", label="flux points"))
    ax.legend(handles=handles, frameon=False, fontsize=9)


def _darker(color: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.6 * channel for channel in to_rgb(color))
