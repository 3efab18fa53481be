r"""The point spread function of a gammapy IRF as a normalised sum of Gaussians.

Three kinds are read:

* Gaussians (``PSF_3GAUSS``): widths and amplitude *ratios*, normalised to 1 over the sphere. The ``SCALE`` column is
  not used; in files of CTAO it is not the normalisation. A cell without a fit (``SCALE`` = 0) is filled from the
  nearest valid one.
* Tables (``PSF_TABLE``): a value is the mean density in a ring of the axis ``rad``, so the containment at its edges is

  .. math:: C(r_k) = \sum_{j<k} v_j\, 2\pi (\cos r_j - \cos r_{j+1}) ,

  normalised to 1 at the last edge (gammapy's ``PSF3D.containment`` is the same at the edges).
* King profiles (``PSF_KING``): :math:`C(r) = 1 - (1 + r^2/2\gamma\sigma^2)^{1-\gamma}`, which for small :math:`\gamma`
  has a tail that no radius ends. It is fitted out to the radius of 99.5 % containment, at most 4 deg; what lies beyond
  goes to the widest Gaussians, and how much that is is reported.

Tables and King profiles become mixtures of Gaussians (:mod:`pymc_gamma.instrument.irfs.gaussian_mixture`). How well
these agree in containment is kept for every energy and offset; :func:`poor_fit` puts into words where they do not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.units import UnitsError
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import IRFError
from pymc_gamma.instrument.irfs.core import EffectiveArea, PointSpread
from pymc_gamma.instrument.irfs.gaussian_mixture import R68, fit_mixture, radius_of, widths_for
from pymc_gamma.instrument.irfs.reading import (
    Cells,
    extend_to_edges,
    nearest_valid,
    read_axis,
    read_values,
    refuse_point_like,
    require,
)

__all__ = ["point_spread", "poor_fit"]

Mask = NDArray[np.bool_]

WHAT = "point spread function"
PLAUSIBLE_WIDTH = (0.003, 1.0)
"""Degrees; range of the median, over energies and offsets, of the width."""
HALF_WIDTH = float(np.sqrt(2 * np.log(2)))
"""Half width at half maximum of a Gaussian in standard deviations."""
BISECTIONS = 30
FAR_TAIL = 10.0
"""Ratio to the width of the core from which a Gaussian is not part of it."""
WIDEST = 10.0
"""Degrees; largest width of a cell."""
LARGEST_AMPLITUDE = 1e6
"""Height of a Gaussian over that of the first one; a core a thousand times narrower than the first has this."""
NORMALISATION_TOLERANCE = 0.01
PLAUSIBLE_INTEGRAL = (0.1, 10.0)
"""Range of the median integral of a table over its axis of separations."""
SPECTRAL_INDEX = 2.5
SEEN = 0.01
"""Energies count where the effective area is more than this share of its largest value at the offset."""
POOR_CELL, POOR_MEAN, POOR_SHARE = 0.02, 0.01, 0.02
"""Differences in containment, of a cell and in the mean over photons, that are too large, and the share of such cells
from which there is a warning: tables have single noisy cells at their highest energies."""
ABSENT = 0.005
"""Gaussians whose weight is nowhere larger, where the instrument sees something, are tried without."""
KING_CONTAINMENT, KING_REACH = 0.995, 4.0
KING_RADII = 200
MISSING = 0.005
"""Containment beyond the radii of a fit from which it is reported."""


def point_spread(tables: Mapping[str, Any], name: str, repairs: list[str], aeff: EffectiveArea) -> PointSpread:
    """Clean PSF as a normalised sum of Gaussians."""
    psf = require(tables, "psf", WHAT, name)
    refuse_point_like(psf, WHAT, name)
    energy, offset = read_axis(psf, "energy_true", "TeV", WHAT, name), read_axis(psf, "offset", "deg", WHAT, name)
    log_energy = np.log(energy.centers)
    area = _area(aeff, energy.centers, offset.centers)
    parameters = tuple(getattr(psf, "required_parameters", ()))
    error = None
    if "sigma_1" in parameters:
        sigma, weight, valid = _gaussians(psf, name, repairs)
        core, half, width = _core_width(sigma, weight), _width_of_half(sigma, weight), (weight * sigma).sum(axis=0)
    else:
        if "rad" in psf.axes.names:
            radius, containment, valid = _tabulated(psf, name, repairs)
        elif {"sigma", "gamma"} <= set(parameters):
            radius, containment, valid = _king(psf, name, repairs)
        else:
            raise IRFError(
                f"IRFs {name}: the {WHAT} is a {type(psf).__name__}; expected Gaussians (PSF_3GAUSS), a table "
                "(PSF_TABLE) or King profiles (PSF_KING)."
            )
        _require_valid(valid, name)
        sigma, weight, error = _mixture(radius, containment, valid, area)
        # the Gaussians below are multiples of this width: where it is not that of the core, they cannot describe it
        width = np.ones(valid.shape)
        width[valid] = radius_of(0.68, radius, containment[valid]) / R68
        core = half = width
        repairs.append(f"{WHAT}: {type(psf).__name__} described by {len(sigma)} Gaussians")
    _require_valid(valid, name)
    cells = Cells.of(psf, ("energy_true", "offset"))
    _check_widths(core, half, width, valid, cells, name)
    if error is None:
        _report_tail(sigma, weight, core, valid, cells, repairs)
    if not valid.all():
        repairs.append(
            f"{WHAT}: {int((~valid).sum())} of {valid.size} (energy_true, offset) cells are invalid, "
            f"the first at {cells.describe(~valid)}; filled from the nearest one"
        )
    nearest = nearest_valid(valid, log_energy, offset.centers)
    sigma, weight = sigma[:, *nearest], weight[:, *nearest]
    used = (weight > 1e-6).any(axis=(1, 2))
    for g in np.flatnonzero(used):
        # a Gaussian that is absent from a cell has no width there; give it one, so that neighbours can be interpolated
        present = (weight[g] > 0) & (sigma[g] > 0)
        if error is None and not present.all():
            sigma[g] = sigma[g][nearest_valid(present, log_energy, offset.centers)]
    nodes = offset.centers
    tables_out = []
    for table in (sigma[used], weight[used]):
        nodes, extended = extend_to_edges(offset.centers, offset.span, table, axis=2)
        tables_out.append(np.maximum(extended, 0.5 * table.min(axis=(1, 2), keepdims=True)))
    weight = tables_out[1] / tables_out[1].sum(axis=0)
    share = None
    if error is not None:
        error, share = _on_nodes(error, area, valid, log_energy, offset.centers, nodes)
    return PointSpread(
        energy.centers,
        nodes,
        tables_out[0],
        weight,
        offset_max=np.inf if offset.single else offset.span[1],
        energy_range=energy.span,
        containment_error=error,
        photon_share=share,
    )


def poor_fit(psf: PointSpread) -> str | None:
    """What to say where the Gaussians do not describe the PSF of the file well; None where they do."""
    error, share = psf.containment_error, psf.photon_share
    if error is None or share is None:
        return None
    density = share * (psf.energy ** (SPECTRAL_INDEX - 1) / _steps(np.log(psf.energy)))[:, None]
    seen = density > SEEN * density.max(axis=0, keepdims=True)
    poor = seen & (np.nan_to_num(error) > POOR_CELL)
    if poor.sum() <= POOR_SHARE * seen.sum() and psf.fit_error <= POOR_MEAN:
        return None
    text = (
        f"{WHAT}: the Gaussians that stand for it differ from the containment of the file by {psf.fit_error:.1%} in "
        "the mean over detected photons"
    )
    if poor.any():
        energies, offsets = psf.energy[poor.any(axis=1)], psf.offset[poor.any(axis=0)]
        worst = np.unravel_index(int(np.where(poor, error, 0).argmax()), error.shape)
        text += (
            f" and by more than {POOR_CELL:.0%} in {int(poor.sum())} of {int(seen.sum())} cells where the "
            f"instrument sees something, energy_true {_span(energies)} TeV, offset {_span(offsets)} deg "
            f"(at most {error[worst]:.1%}, at {psf.energy[worst[0]]:.3g} TeV, {psf.offset[worst[1]]:.3g} deg)"
        )
    return f"{text}. The counts of a point source inside a radius are wrong by as much, and extensions are biased."


def _span(values: FloatArray) -> str:
    return f"{values[0]:.3g}" if len(values) == 1 else f"{values[0]:.3g} to {values[-1]:.3g}"


def _area(aeff: EffectiveArea, energy: FloatArray, offset: FloatArray) -> FloatArray:
    """Effective area at the cells of the PSF, shape (n_energy, n_offset), zero beyond its axes."""
    log_nodes, log_energy = np.log(aeff.energy), np.log(energy)
    by_energy = np.stack([np.interp(log_energy, log_nodes, column, 0.0, 0.0) for column in aeff.values.T], axis=1)
    return np.maximum(np.stack([np.interp(offset, aeff.offset, row, right=0.0) for row in by_energy]), 0.0)


def _steps(log_energy: FloatArray) -> FloatArray:
    return np.gradient(log_energy) if len(log_energy) > 1 else np.ones(1)


def _on_nodes(
    error: FloatArray, area: FloatArray, valid: Mask, log_energy: FloatArray, offset: FloatArray, nodes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Errors, and shares of the photons, on the nodes of the PSF; its ends have the errors of their neighbours."""
    photons = np.where(valid, area, 0) * (np.exp(-(SPECTRAL_INDEX - 1) * log_energy) * _steps(log_energy))[:, None]
    if not photons.sum() > 0:
        photons = valid.astype(float)
    nearest = np.abs(nodes[:, None] - offset).argmin(axis=1)
    given = np.isin(nodes, offset) if len(offset) > 1 else np.arange(len(nodes)) == 0
    return error[:, nearest], np.where(given, photons[:, nearest], 0) / photons.sum()


def _require_valid(valid: Mask, name: str) -> None:
    if not valid.any():
        raise IRFError(f"IRFs {name}: the {WHAT} has no valid cell.")


def _core_width(sigma: FloatArray, weight: FloatArray) -> FloatArray:
    """Half width at half of the central brightness, as a standard deviation; 0 in cells without a fit."""
    present = (weight > 0) & (sigma > 0)
    safe = np.where(present, sigma, 1.0)
    brightness = np.where(present, weight, 0.0) / safe**2
    half = 0.5 * brightness.sum(axis=0)
    low, high = np.zeros(sigma.shape[1:]), np.where(present, sigma, 0.0).max(axis=0) * HALF_WIDTH
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        above = (brightness * np.exp(-0.5 * (middle / safe) ** 2)).sum(axis=0) > half
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(0.5 * (low + high) / HALF_WIDTH)


def _width_of_half(sigma: FloatArray, weight: FloatArray) -> FloatArray:
    """Width up to which the Gaussians hold half of the photons."""
    order = np.argsort(sigma, axis=0)
    held = np.cumsum(np.take_along_axis(weight, order, 0), axis=0)
    first = (held < 0.5 * held[-1]).sum(axis=0)
    return np.asarray(np.take_along_axis(np.take_along_axis(sigma, order, 0), first[None], 0)[0])


def _report_tail(
    sigma: FloatArray, weight: FloatArray, core: FloatArray, valid: Mask, cells: Cells, repairs: list[str]
) -> None:
    """Tell where most photons are in a tail whose width would not be plausible for the core."""
    far = np.where(sigma > FAR_TAIL * core, weight, 0.0).sum(axis=0)
    outside = valid & (far > 0.5) & ((weight * sigma).sum(axis=0) > PLAUSIBLE_WIDTH[1])
    if outside.any():
        repairs.append(
            f"{WHAT}: more than half of the photons are not in the core but in Gaussians more than {FAR_TAIL:g} times "
            f"wider, in {int(outside.sum())} of {int(valid.sum())} cells, the first at {cells.describe(outside, far)} "
            "of them; used as it is, check SIGMA and AMPL of the wide ones"
        )


def _check_widths(core: FloatArray, half: FloatArray, width: FloatArray, valid: Mask, cells: Cells, name: str) -> None:
    """Refuse a core that is too wide, or half of the photons too narrow: tails may be wide, peaks narrow."""
    widest, narrowest = float(np.median(core[valid])), float(np.median(half[valid]))
    if widest >= PLAUSIBLE_WIDTH[1] or narrowest <= PLAUSIBLE_WIDTH[0]:
        typical = widest if widest >= PLAUSIBLE_WIDTH[1] else narrowest
        raise IRFError(
            f"IRFs {name}: the {WHAT} is {typical:.3g} deg wide (standard deviation of a Gaussian, median over "
            f"energies and offsets), expected {PLAUSIBLE_WIDTH[0]:g} to {PLAUSIBLE_WIDTH[1]:g} deg; check the "
            "unit of its widths or of its axis rad (radians?)."
        )
    too_wide = valid & (width > WIDEST)
    if too_wide.any():
        raise IRFError(
            f"IRFs {name}: the {WHAT} is wider than {WIDEST:g} deg in {int(too_wide.sum())} cells, the first at "
            f"{cells.describe(too_wide, width)} deg."
        )


def _parameter(psf: Any, key: str, unit: str, name: str) -> FloatArray:
    """One parameter of a parametric PSF as plain floats."""
    try:
        return np.array(psf.quantity[key].to_value(unit), dtype=np.float64)
    except UnitsError as error:
        raise IRFError(
            f"IRFs {name}: column {key.upper()} of the {WHAT} is in '{psf.unit[key]}', expected {unit or 'no unit'}."
        ) from error


def _refuse_negative(psf: Any, key: str, values: FloatArray, present: Mask, name: str) -> None:
    bad = present & (values < 0)
    if bad.any():
        cells = Cells.of(psf, ("energy_true", "offset"))
        raise IRFError(
            f"IRFs {name}: column {key.upper()} of the {WHAT} has {int(bad.sum())} negative widths, the first at "
            f"{cells.describe(bad, values)}."
        )


def _gaussians(psf: Any, name: str, repairs: list[str]) -> tuple[FloatArray, FloatArray, Mask]:
    """Widths (deg), weights and validity of gammapy's three-Gauss PSF; weights from amplitude ratios."""
    scale = _parameter(psf, "scale", "sr-1", name)
    sigma = np.stack([_parameter(psf, f"sigma_{g}", "deg", name) for g in (1, 2, 3)])
    amplitude = np.stack([np.ones_like(scale), *(_parameter(psf, f"ampl_{g}", "", name) for g in (2, 3))])
    fitted = np.isfinite(scale) & (scale > 0)
    if np.any(fitted & (amplitude < 0)):
        g = 2 + int(not np.any(fitted & (amplitude[1] < 0)))
        bad = fitted & (amplitude[g - 1] < 0)
        repairs.append(
            f"{WHAT}: {int((fitted & (amplitude < 0)).sum())} negative amplitudes set to 0, the first in AMPL_{g} at "
            f"{Cells.of(psf, ('energy_true', 'offset')).describe(bad, amplitude[g - 1])}"
        )
    if np.any(too_large := fitted & (amplitude > LARGEST_AMPLITUDE)):
        g = 1 + int(np.argwhere(too_large)[0][0])
        place = Cells.of(psf, ("energy_true", "offset")).describe(too_large[g - 1], amplitude[g - 1])
        raise IRFError(
            f"IRFs {name}: AMPL_{g} of the {WHAT}, the height of a Gaussian over that of the first, is more than "
            f"{LARGEST_AMPLITUDE:g} in {int(too_large.sum())} cells, the first at {place}."
        )
    # gammapy puts 1 deg where a file has 0; a file that has 1 deg itself has it everywhere
    placed = fitted & (sigma[0] == 1.0)
    if not placed[fitted].all():
        fitted &= ~placed
    present = fitted & (amplitude != 0)
    for g in (1, 2, 3):
        _refuse_negative(psf, f"sigma_{g}", np.nan_to_num(sigma[g - 1]), present[g - 1], name)
    # a value that is not finite spoils its cell, unless it belongs to a Gaussian that is absent
    finite = np.isfinite(amplitude) & (np.isfinite(sigma) | (amplitude == 0))
    valid = fitted & finite.all(axis=0) & (np.nan_to_num(sigma[0]) > 0)
    sigma = np.where(np.isfinite(sigma), sigma, 0.0)
    weight = np.where(valid, np.nan_to_num(np.maximum(amplitude, 0)) * sigma**2, 0.0)
    return sigma, weight / np.where(valid, weight.sum(axis=0), 1), valid


def _tabulated(psf: Any, name: str, repairs: list[str]) -> tuple[FloatArray, FloatArray, Mask]:
    """Radii (deg), containment (n_energy, n_offset, n_radius) and validity of a table."""
    rad = read_axis(psf, "rad", "deg", WHAT, name)
    values = read_values(psf, "sr-1", WHAT, name, finite=False)
    valid = np.isfinite(values).all(axis=2)
    values = np.where(valid[..., None], values, 0.0)
    if np.any(values < 0):
        repairs.append(
            f"{WHAT}: {int((values < 0).sum())} negative values set to 0, the first at "
            f"{Cells.of(psf).describe(values < 0, values)}"
        )
        values = np.maximum(values, 0.0)
    radius = rad.edges.copy()
    if radius[0] > 0:
        repairs.append(f"{WHAT}: axis rad starts at {radius[0]:g} deg, its first values used down to 0")
        radius[0] = 0.0
    solid_angle = -2 * np.pi * np.diff(np.cos(np.radians(radius)))
    containment = np.concatenate([np.zeros((*valid.shape, 1)), np.cumsum(values * solid_angle, axis=2)], axis=2)
    total = containment[..., -1]
    valid &= total > 0
    _require_valid(valid, name)
    typical = float(np.median(total[valid]))
    if not PLAUSIBLE_INTEGRAL[0] < typical < PLAUSIBLE_INTEGRAL[1]:
        raise IRFError(
            f"IRFs {name}: the {WHAT} has an integral of {typical:.3g} over its axis rad, 0 to {radius[-1]:.3g} deg, "
            f"in the median over energies and offsets, expected 1; check the units of its values ({psf.unit}) "
            "and of the axis."
        )
    if abs(typical - 1) > NORMALISATION_TOLERANCE:
        repairs.append(
            f"{WHAT}: integrals over the axis rad were {total[valid].min():.3g} to {total[valid].max():.3g}, in the "
            f"median {typical:.3g}; normalised to 1"
        )
    return radius, containment / np.where(valid, total, 1)[..., None], valid


def _king(psf: Any, name: str, repairs: list[str]) -> tuple[FloatArray, FloatArray, Mask]:
    """Radii (deg), containment (n_energy, n_offset, n_radius) and validity of King profiles."""
    sigma, gamma = _parameter(psf, "sigma", "deg", name), _parameter(psf, "gamma", "", name)
    fitted = np.isfinite(sigma) & np.isfinite(gamma) & (gamma > 1)
    _refuse_negative(psf, "sigma", np.nan_to_num(sigma), fitted, name)
    valid = fitted & (sigma > 0)
    _require_valid(valid, name)
    sigma, gamma = np.where(valid, sigma, 1.0), np.where(valid, gamma, 2.0)
    scale = 2 * gamma * sigma**2
    wanted = np.sqrt(scale * ((1 - KING_CONTAINMENT) ** (1 / (1 - gamma)) - 1))
    reach = min(float(wanted[valid].max()), KING_REACH)
    first = 0.05 * float(sigma[valid].min())
    radius = np.r_[0.0, np.geomspace(first, reach, KING_RADII)]
    containment = 1 - (1 + radius**2 / scale[..., None]) ** (1 - gamma[..., None])
    beyond = np.where(valid, 1 - containment[..., -1], 0.0)
    if beyond.max() > 2 * MISSING:
        where = Cells.of(psf, ("energy_true", "offset")).describe(beyond == beyond.max())
        repairs.append(
            f"{WHAT}: the King profiles have up to {beyond.max():.1%} of their containment beyond {reach:.2g} deg (at "
            f"{where}); put into the widest Gaussian, {0.5 * reach:.2g} deg"
        )
    return radius, containment, valid


def _mixture(
    radius: FloatArray, containment: FloatArray, valid: Mask, area: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Widths and weights (n_gauss, n_energy, n_offset), and errors of the containment (n_energy, n_offset)."""
    seen = (area > SEEN * area.max(axis=0))[valid]
    given = containment[valid]
    widths = widths_for(radius, given, seen)
    weights, errors = fit_mixture(radius, given, widths)
    counted = seen if seen.any() else np.ones(len(seen), bool)
    present = (weights[:, counted] > ABSENT).any(axis=1)
    if not present.all():
        fewer, fewer_errors = fit_mixture(radius, given, widths[present])
        if (fewer_errors[counted] < np.maximum(errors[counted] + 5e-4, 1.1 * errors[counted])).all():
            widths, weights, errors = widths[present], fewer, fewer_errors
    sigma, weight = np.ones((len(widths), *valid.shape)), np.zeros((len(widths), *valid.shape))
    error = np.full(valid.shape, np.nan)
    sigma[:, valid], weight[:, valid], error[valid] = widths, weights, errors
    return sigma, weight, error
