"""Upper limits on a cross-section against the mass of dark matter, with what to expect of data without a signal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import xarray as xr

from pymc_gamma.arguments import checked, kind, quantity
from pymc_gamma.arrays import FloatArray
from pymc_gamma.darkmatter.relic import CANONICAL_CROSS_SECTION, thermal_cross_section
from pymc_gamma.errors import ModelError
from pymc_gamma.plotting.style import PALETTE
from pymc_gamma.units import numbers, to_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_limits"]

_CROSS_SECTION = u.Unit("cm3 s-1")
_BAND_COLORS = ("#F0E442", "#009E73")
_RELIC_MASSES = (1e-4, 100.0)


@checked(masses=quantity("TeV"), expected=kind("Dataset", "NoneType"), thermal_relic=kind("bool"))
def plot_limits(
    masses: Any,
    limits: Any = None,
    *,
    expected: xr.Dataset | None = None,
    unit: Any = None,
    thermal_relic: bool = True,
    fig: "Figure | None" = None,
) -> "Figure":
    r"""Draw upper limits on a cross-section against mass.

    Parameters
    ----------
    masses : `~astropy.units.Quantity`
        Masses of the limits, shape (n,).
    limits : array_like, Quantity, or mapping of str to these, optional
        Limits, shape (n,); several by what to call them. Those of :func:`~pymc_gamma.upper_limit` keep their unit.
    expected : `xarray.Dataset`, optional
        Result of :func:`~pymc_gamma.expected_limits`: bands that hold 68 % and 95 % of the limits of data without a
        signal, and the limit of Asimov data, or the median of simulations where there are none.
    unit : str, `~astropy.units.Unit` or `~astropy.units.Quantity`
        Of limits without one, and of those expected: ``1e-26 * u.cm**3 / u.s`` where a model has its cross-section in
        these. It must be said where the thermal relic is drawn too; else cm3 s-1 by default.
    thermal_relic : bool
        Whether to draw the cross-section of a thermal relic, as a function of mass and the usual 2.2e-26 cm3 s-1, if
        the unit is one of cross-sections.
    fig : `~matplotlib.figure.Figure`, optional
        Figure to draw in.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Logarithmic axes: mass in TeV and :math:`\\langle\\sigma v\\rangle` in cm3 s-1, or the lifetime in s.

    Raises
    ------
    ModelError
        If there is nothing to draw, there is not one limit for each mass, one is not positive, or limits with a
        coordinate ``mass`` that has a unit are of other masses; if limits have no unit, and the thermal relic is drawn.
    astropy.units.UnitConversionError
        If a unit is neither that of a cross-section nor that of a time.

    Examples
    --------
    >>> import astropy.units as u
    >>> figure = plot_limits([0.5, 1, 2] * u.TeV, [3e-27, 2e-27, 4e-27] * u.cm**3 / u.s)
    >>> figure.axes[0].get_xscale()
    'log'
    """
    import matplotlib.pyplot as plt

    given = limits if isinstance(limits, Mapping) else {} if limits is None else {"limit": limits}
    if not given and expected is None:
        raise ModelError("there is nothing to draw; pass limits=, or expected= of expected_limits().")
    scale, target = _unit("cm3 s-1" if unit is None else unit)
    if unit is None and thermal_relic:
        bare = [f"limits of {name!r}" for name, value in given.items() if not _has_unit(value)]
        bare += [] if expected is None else ["those expected"]
        if bare:
            raise ModelError(
                f"{', '.join(bare)} have no unit, and the cross-section of a thermal relic has: say it, for example "
                "unit='cm3 s-1', or leave the relic out, thermal_relic=False."
            )
    x = np.atleast_1d(to_value(masses, "TeV", "masses"))
    if x.ndim != 1 or not len(x) or not np.all((x > 0) & np.isfinite(x)):
        raise ModelError(f"masses must be a vector of positive masses, got {masses}.")
    drawn = {str(name): _values(value, f"limits of {name!r}", x, scale, target) for name, value in given.items()}
    fig = plt.figure(figsize=(6.4, 4.6), layout="constrained") if fig is None else fig
    ax = fig.subplots()
    shown = [*drawn.values()]
    if expected is not None:
        shown.append(_draw_expected(ax, expected, scale))
    order = np.argsort(x)
    for k, (name, values) in enumerate(drawn.items()):
        color = "black" if k == 0 else PALETTE[k % len(PALETTE)]
        ax.plot(x[order], values[order], color=color, marker="o", markersize=3.5, linewidth=1.4, label=name, zorder=4)
    span = x if expected is None else np.concatenate([x, expected["mass"].values])
    edges = (span.min(), span.max()) if len(np.unique(span)) > 1 else (span.min() / 2, span.max() * 2)
    if thermal_relic and target == _CROSS_SECTION:
        _draw_relic(ax, edges)
    every = np.concatenate([one[np.isfinite(one)] for one in shown])
    relic = [CANONICAL_CROSS_SECTION] if thermal_relic and target == _CROSS_SECTION else []
    ax.set(xscale="log", yscale="log", xlim=edges, ylim=(min([*every, *relic]) / 2, max([*every, *relic]) * 2))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(_few_labels(edges))
    ax.set_xlabel("dark-matter mass [TeV]")
    ax.set_ylabel(
        r"upper limit on $\langle\sigma v\rangle$ [cm$^3$ s$^{-1}$]" if target == _CROSS_SECTION else "lifetime [s]"
    )
    ax.grid(alpha=0.25)
    ax.legend(framealpha=0.85, edgecolor="none", fontsize=9)
    return fig


def _unit(unit: Any) -> tuple[float, u.UnitBase]:
    """Factor from numbers to the unit of the axis, and that unit."""
    try:
        one = 1 * u.Unit(unit)
    except (TypeError, ValueError) as error:
        raise ModelError(f"unit must be a unit of cross-sections or times, got {unit!r}: {error}") from None
    for target in (_CROSS_SECTION, u.s):
        if one.unit.is_equivalent(target):
            return float(one.to_value(target)), target
    raise u.UnitConversionError(f"unit must be that of a cross-section (cm3 s-1) or of a time (s), got {unit}.")


def _has_unit(limits: Any) -> bool:
    return isinstance(limits, u.Quantity) or bool(getattr(limits, "attrs", {}).get("units"))


def _values(limits: Any, name: str, masses: FloatArray, scale: float, target: u.UnitBase) -> FloatArray:
    if isinstance(limits, u.Quantity):
        values = np.atleast_1d(to_value(limits, str(target), name))
    elif isinstance(limits, xr.DataArray) and limits.attrs.get("units"):
        values = np.atleast_1d(to_value(limits.values * u.Unit(limits.attrs["units"]), str(target), name))
    else:
        plain = limits.values if isinstance(limits, xr.DataArray) else limits
        values = np.atleast_1d(numbers(plain, name)) * scale
    if values.shape != masses.shape:
        raise ModelError(f"{name} have the shape {values.shape}, and there are {len(masses)} masses.")
    own = limits.coords.get("mass") if isinstance(limits, xr.DataArray) else None
    if own is not None and own.attrs.get("units"):
        at = to_value(np.atleast_1d(own.values) * u.Unit(own.attrs["units"]), "TeV", f"masses of {name}")
        if not np.allclose(at, masses, atol=0):
            raise ModelError(f"{name} are those of masses of {at.tolist()} TeV, and masses are {masses.tolist()} TeV.")
    if not np.all(values > 0):
        raise ModelError(f"{name} must be positive, got {values.min():g}.")
    return np.asarray(values, float)


def _draw_expected(ax: "Axes", expected: xr.Dataset, scale: float) -> FloatArray:
    """Bands and typical limit; returns what is to be seen."""
    missing = [name for name in ("quantiles", "mass") if name not in expected]
    if missing:
        raise ModelError(f"expected has no {missing}; it must be the result of expected_limits().")
    order = np.argsort(expected["mass"].values)
    mass = expected["mass"].values[order]
    quantiles = expected["quantiles"].values[order] * scale
    typical = expected["asimov"].values[order] * scale if "asimov" in expected else quantiles[:, 2]
    if np.isfinite(quantiles).any():
        for low, high, color, label in ((0, 4, _BAND_COLORS[0], "95 %"), (1, 3, _BAND_COLORS[1], "68 %")):
            band = quantiles[:, low], quantiles[:, high]
            ax.fill_between(mass, *band, color=color, alpha=0.6, linewidth=0, label=f"{label} expected")
    label = "expected (Asimov data)" if "asimov" in expected else "median expected"
    ax.plot(mass, typical, color="black", linestyle="--", linewidth=1.2, label=label, zorder=3)
    return np.concatenate([typical, quantiles.ravel()])


def _draw_relic(ax: "Axes", edges: tuple[float, float]) -> None:
    low, high = np.clip(edges, *_RELIC_MASSES)
    mass = np.geomspace(low, high, 100)
    style: dict[str, Any] = {"color": "0.35", "linewidth": 1.2}
    curve = thermal_cross_section(mass * u.TeV).value
    ax.plot(mass, curve, **style, linestyle="-.", label="thermal relic (Steigman et al. 2012)")
    ax.axhline(CANONICAL_CROSS_SECTION, **style, linestyle=":", label=r"$2.2\times10^{-26}$ cm$^3$ s$^{-1}$")


def _few_labels(edges: tuple[float, float]) -> Any:
    """Labels at 2 and 5 of each decade, where there are few decades."""
    from matplotlib.ticker import FuncFormatter

    few = edges[1] < 30 * edges[0]

    def label(x: float, _: Any) -> str:
        leading = x / 10 ** np.floor(np.log10(x) + 1e-9)
        return f"{x:g}" if few and min(abs(leading - 2), abs(leading - 5)) < 1e-6 else ""

    return FuncFormatter(label)
