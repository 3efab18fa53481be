r"""Sensitivity: the smallest flux of a source that an observation would detect, band by band.

With :math:`S_c` events of the source and :math:`B_c` of all else expected in cell *c* of a band, Asimov data of *s*
times the flux have the test statistic

.. math:: \mathrm{TS}(s) = 2 \sum_c \Big[(s S_c + B_c) \log\Big(1 + \frac{s S_c}{B_c}\Big) - s S_c\Big]

against no source (Cowan et al. 2011), the typical one, where what else shines is known. For small fluxes it is
:math:`(s \sum_c S_c)^2 / B_{\rm eff}` with the background that the source competes with,

.. math:: B_{\rm eff} = \frac{(\sum_c S_c)^2}{\sum_c S_c^2 / B_c} .
"""

from functools import partial
from itertools import pairwise
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from scipy.optimize import brentq

from pymc_gamma.arguments import checked, energy_edges, integer, kind, number, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError, RegionError
from pymc_gamma.events import Events
from pymc_gamma.inference.flux_data import N_ENERGIES, Spectrum
from pymc_gamma.inference.flux_points import reference_of
from pymc_gamma.inference.flux_table import SED_UNITS
from pymc_gamma.units import scalar_value

__all__ = ["sensitivity"]

_ROUNDING = 1e-12


def optional_pixel(value: Any, name: str) -> Any:
    """A positive width in deg, or None."""
    if value is None:
        return None
    if not scalar_value(value, "deg", name) > 0:
        raise ValueError(f"{name} must be positive, got {value}.")
    return value


@checked(
    response=kind("Response"),
    edges=energy_edges,
    component=text,
    n_sigma=partial(number, low=0.1, high=100.0),
    least_events=partial(number, low=0.0),
    least_share=partial(number, low=0.0, high=1.0),
    pixel=optional_pixel,
    bins=partial(integer, low=1),
)
def sensitivity(
    response: Any,
    edges: Any,
    component: str,
    spectrum: Any = None,
    *,
    n_sigma: float = 5.0,
    least_events: float = 10.0,
    least_share: float = 0.05,
    pixel: u.Quantity | None = 0.05 * u.deg,
    bins: int = 4,
) -> QTable:
    """Smallest flux of a source that is detected in each band of energy.

    A flux is detected if its Asimov data have a square root of TS of ``n_sigma``, if at least ``least_events`` events
    are expected of it, and if these are at least ``least_share`` of the background that it competes with. All other
    components are known, with their nominal fluxes.

    Parameters
    ----------
    response : Response
        With the source, and what else shines.
    edges : `~astropy.units.Quantity`
        Edges of the bands of reconstructed energy, shape (n + 1,), within those of the region.
    component : str
        The source. Its spectrum has its nominal shape in each band.
    spectrum : callable, optional
        Another spectrum of it, if that is free: as for :meth:`Response.simulate`.
    n_sigma : float
        Square root of TS.
    least_events : float
        Number of events.
    least_share : float
        Share of the background: a systematic uncertainty that no exposure reduces.
    pixel : `~astropy.units.Quantity`, optional
        Width of the cells on the sky; narrow against the PSF it is the sensitivity of an unbinned analysis. None:
        events are counted in the region as a whole.
    bins : int
        Cells in energy in each band.

    Returns
    -------
    astropy.table.QTable
        For each band ``e_ref``, ``e_min``, ``e_max``, the fluxes ``dnde`` and ``e2dnde`` (at ``e_ref``), ``flux`` and
        ``eflux`` (integrated), ``excess`` and ``background``, the events of the source and those it competes with, and
        ``criterion``, what decides: ``"significance"``, ``"gamma"`` (events) or ``"bkg"`` (share of the background).

    Raises
    ------
    ModelError
        If there is no such component of the sky, or nothing is expected from it in a band.
    RegionError
        If edges lie outside of the region's energies.

    See Also
    --------
    plot_sensitivity : picture of one or several.

    Notes
    -----
    The criteria are those of gammapy's ``SensitivityEstimator``, which counts in a region, with a background that is
    measured.

    Examples
    --------
    >>> table = pmg.sensitivity(response, np.geomspace(0.1, 100, 13) * u.TeV, "crab")  # doctest: +SKIP
    >>> table["e_ref", "e2dnde", "criterion"]  # doctest: +SKIP
    """
    if component not in response.component_names:
        raise ModelError(f"no component {component!r}; there are {response.component_names}.")
    if component in response.instrumental:
        raise ModelError(f"{component!r} is a residual background, which has no flux.")
    if spectrum is not None:
        response = response.with_spectra({component: spectrum})
    roi = response.roi
    if edges[0] < roi.energy_min * (1 - 1e-9) or edges[-1] > roi.energy_max * (1 + 1e-9):
        raise RegionError(
            f"the edges {edges[0]:g}-{edges[-1]:g} TeV reach outside of the energies of the region, "
            f"{roi.energy_min:g}-{roi.energy_max:g} TeV."
        )
    rows = []
    for low, high in pairwise(map(float, edges)):
        told = f"{component!r} at {low:.4g}-{high:.4g} TeV"
        source, background = _counts(response, component, (low, high), bins, pixel)
        expected = float(source.sum())
        if not expected > 0:
            raise ModelError(f"nothing is expected of {told}; leave this band out.")
        competing = _competing(source, background)
        factors = {
            "significance": _factor(source, background, n_sigma),
            "gamma": least_events / expected,
            "bkg": least_share * competing / expected,
        }
        criterion = max(factors, key=factors.__getitem__)
        factor = factors[criterion]
        energy = np.geomspace(low, high, N_ENERGIES)
        dnde = response.nominal_flux(component, np.clip(energy, *response.energy_true[[0, -1]]))
        reference = reference_of(Spectrum(energy, np.asarray(dnde)[None, None]), told)
        row: dict[str, Any] = {"e_ref": np.sqrt(low * high) * u.TeV, "e_min": low * u.TeV, "e_max": high * u.TeV}
        row |= {sed: factor * value * u.Unit(SED_UNITS[sed]) for sed, value in reference.items()}
        rows.append(row | {"excess": factor * expected, "background": competing, "criterion": criterion})
    return QTable(rows)


def _counts(
    response: Any, component: str, energy: tuple[float, float], bins: int, pixel: u.Quantity | None
) -> tuple[FloatArray, FloatArray]:
    """Expected events of a component and of all others in the cells of a band in which there are any of it."""
    if pixel is None:
        found = [_in_region(response, component, one) for one in pairwise(np.geomspace(*energy, bins + 1))]
        counts = np.array([one for one in found if one[0] > 0]).reshape(-1, 2)
        return counts[:, 0], counts[:, 1]
    band = response.in_energy_range(energy * u.TeV)
    if component not in band.component_names:
        return np.zeros(0), np.zeros(0)
    others = {name: 0.0 for name in band.component_names if name != component}
    every = band.asimov(energy=bins, pixel=pixel)
    own = band.asimov(energy=bins, pixel=pixel, norms=others)
    _, of_every, of_own = np.intersect1d(_places(every), _places(own), return_indices=True)
    source = own.multiplicity[of_own]
    # to the rounding of the sum nothing is left where there is nothing else
    background = every.multiplicity[of_every] - source
    return source, np.where(background > _ROUNDING * source, background, 0.0)


def _in_region(response: Any, component: str, energy: tuple[float, float]) -> tuple[float, float]:
    """Expected events of a component and of all others in a bin of energy."""
    band = response.in_energy_range(energy * u.TeV)
    counts = dict(zip(band.component_names, band.acceptance.values, strict=True))
    own = float(counts.pop(component, 0.0))
    return own, float(sum(counts.values()))


def _places(events: Events) -> Any:
    """What tells cells apart, one entry for each."""
    columns = (events.energy.value, events.lon.value, events.lat.value, events.observation.astype(float))
    table = np.ascontiguousarray(np.column_stack(columns))
    return table.view([("", table.dtype)] * table.shape[1]).ravel()


def _competing(source: FloatArray, background: FloatArray) -> float:
    """Background events that a faint source competes with."""
    with np.errstate(divide="ignore"):  # with none anywhere it competes with none
        return float(source.sum() ** 2 / np.sum(source**2 / background))


def _factor(source: FloatArray, background: FloatArray, n_sigma: float) -> float:
    """Factor on the flux of a source whose Asimov data have that square root of TS."""
    if np.any(background == 0):  # one event there is proof
        return 0.0

    def test_statistic(log_factor: float) -> float:
        signal = np.exp(log_factor) * source
        return float(2 * np.sum((signal + background) * np.log1p(signal / background) - signal)) - n_sigma**2

    start = np.log(n_sigma / np.sqrt(np.sum(source**2 / background)))  # where it is Gaussian: a lower bound
    return float(np.exp(brentq(test_statistic, start - 1, start + 60, xtol=1e-10)))
