r"""Checks and repairs of gammapy IRFs on their way into clean arrays.

What real files need (each repair is reported):

* energy dispersion normalised to :math:`\int p\,\mathrm{d}\mu = 1` for every energy and offset. CTAO prod5 files hold
  matrices whose *sum* over migra is 1, so their integral is 0.01; prod3b files are not normalised at all.
* columns of the dispersion without a single simulated event, filled from the nearest one that has some;
* PSF normalised to 1 over the sphere from widths and amplitude *ratios* (the SCALE column of the files is off by
  1e-5 and more), cells without a fit (scale = 0) filled from the nearest valid one;
* a tabulated or King PSF described by a mixture of Gaussians whose widths are fixed multiples of the
  68 % containment radius, with non-negative least-squares weights.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from pymc_gamma.errors import IRFError
from pymc_gamma.irfs.core import Background, EffectiveArea, EnergyDispersion, PointSpread

__all__ = ["background", "effective_area", "energy_dispersion", "point_spread"]

FloatArray = NDArray[np.float64]

NORMALISATION_TOLERANCE = 1e-3
MIXTURE_RATIOS = (0.4, 0.6, 0.8, 1.0, 1.3, 1.8, 2.7)
"""Widths of the Gaussians that describe a tabulated PSF, in units of sigma = r68 / 1.5096; 1 is the Gaussian itself."""


def effective_area(tables: Mapping[str, Any], name: str) -> EffectiveArea:
    """Clean effective area in cm2 on extended nodes."""
    aeff = _require(tables, "aeff", "effective area", name)
    _full_enclosure(aeff, "effective area", name)
    values = _values(aeff, "cm2", "effective area", name)
    energy, offset = _axis(aeff, "energy_true", "TeV"), _axis(aeff, "offset", "deg")
    if not np.any(values > 0):
        raise IRFError(f"IRFs {name}: the effective area is zero everywhere.")
    log_energy, values = _extend(np.log(energy.centers), np.log(energy.edges), values, axis=0)
    nodes, values = _extend(offset.centers, offset.edges, values, axis=1)
    return EffectiveArea(np.exp(log_energy), nodes, values)


def energy_dispersion(tables: Mapping[str, Any], name: str, repairs: list[str]) -> EnergyDispersion:
    """Clean energy dispersion, normalised for every true energy and offset."""
    edisp = _require(tables, "edisp", "energy dispersion", name)
    _full_enclosure(edisp, "energy dispersion", name)
    density = np.moveaxis(_values(edisp, "", "energy dispersion", name), 1, 2)  # (energy, offset, migra)
    energy, offset = _axis(edisp, "energy_true", "TeV"), _axis(edisp, "offset", "deg")
    migra = _axis(edisp, "migra", "")
    if not np.allclose(np.diff(migra.edges), np.diff(migra.edges)[0], rtol=1e-3):
        fine = np.linspace(migra.edges[0], migra.edges[-1], 2 * len(migra.centers) + 1)
        middle = 0.5 * (fine[1:] + fine[:-1])
        density = np.apply_along_axis(lambda row: np.interp(middle, migra.centers, row), 2, density)
        migra = _Axis(middle, fine)
        repairs.append("energy dispersion: axis migra resampled to equidistant nodes")
    step = migra.edges[1] - migra.edges[0]
    integral = density.sum(axis=2) * step
    filled = integral > 0
    if not filled.any():
        raise IRFError(f"IRFs {name}: the energy dispersion is empty.")
    worst = float(np.abs(integral[filled] - 1).max())
    if worst > NORMALISATION_TOLERANCE:
        span = f"{integral[filled].min():.3g} to {integral[filled].max():.3g}"
        repairs.append(f"energy dispersion: integrals over the axis migra were {span}, normalised to 1")
    if not filled.all():
        repairs.append(
            f"energy dispersion: {int((~filled).sum())} of {filled.size} (energy_true, offset) columns are empty, "
            "filled from the nearest one"
        )
    density = density / np.where(filled, integral, 1)[..., None]
    density = density[_nearest_valid(filled, np.log(energy.centers), offset.centers)]
    return EnergyDispersion(energy.centers, offset.centers, migra.centers, np.ascontiguousarray(density))


def point_spread(tables: Mapping[str, Any], name: str, repairs: list[str]) -> PointSpread:
    """Clean PSF as a normalised sum of Gaussians."""
    psf = _require(tables, "psf", "point spread function", name)
    _full_enclosure(psf, "point spread function", name)
    energy, offset = _axis(psf, "energy_true", "TeV"), _axis(psf, "offset", "deg")
    error = 0.0
    if "sigma_1" in getattr(psf, "required_parameters", ()):
        sigma, weight, valid = _gaussians(psf)
    else:
        sigma, weight, valid, error = _fit_gaussians(psf, energy, offset)
        repairs.append(
            f"point spread function: {type(psf).__name__} described by {len(sigma)} Gaussians, "
            f"containment right within {error:.2g}"
        )
    if not valid.any():
        raise IRFError(f"IRFs {name}: the point spread function has no valid cell.")
    if not valid.all():
        repairs.append(
            f"point spread function: {int((~valid).sum())} of {valid.size} (energy_true, offset) cells are invalid, "
            "filled from the nearest one"
        )
    nearest = _nearest_valid(valid, np.log(energy.centers), offset.centers)
    sigma, weight = sigma[:, *nearest], weight[:, *nearest]
    used = (weight > 1e-6).any(axis=(1, 2))
    for g in np.flatnonzero(used):
        # a Gaussian that is absent from a cell has no width there; give it one, so that neighbours can be interpolated
        present = (weight[g] > 0) & (sigma[g] > 0)
        sigma[g] = sigma[g][_nearest_valid(present, np.log(energy.centers), offset.centers)]
    nodes = offset.centers
    tables_out = []
    for table in (sigma[used], weight[used]):
        nodes, extended = _extend(offset.centers, offset.edges, table, axis=2)
        tables_out.append(np.maximum(extended, 0.5 * table.min(axis=(1, 2), keepdims=True)))
    weight = tables_out[1] / tables_out[1].sum(axis=0)
    return PointSpread(energy.centers, nodes, tables_out[0], weight, error)


def background(tables: Mapping[str, Any], name: str, repairs: list[str]) -> Background | None:
    """Clean residual background, or None if there is none."""
    bkg = tables.get("bkg")
    if bkg is None:
        return None
    rate = _values(bkg, "s-1 TeV-1 sr-1", "background", name)
    energy = _axis(bkg, "energy", "TeV")
    if np.any(rate < 0):
        repairs.append(f"background: {int((rate < 0).sum())} negative cells set to 0")
        rate = np.maximum(rate, 0)
    if not np.any(rate > 0):
        raise IRFError(f"IRFs {name}: the background is zero everywhere.")
    limits = (float(energy.edges[0]), float(energy.edges[-1]))
    energies, rate = _at_least_two(energy, rate, axis_number=0)
    if "offset" in bkg.axes.names:
        offsets, rate = _at_least_two(_axis(bkg, "offset", "deg"), rate, axis_number=1)
        return Background(energies, offsets, np.zeros(1), rate[:, :, None], True, limits)
    alignment = str(getattr(bkg, "fov_alignment", "RADEC")).rsplit(".", 1)[-1]
    mirrored = alignment == "REVERSE_LON_RADEC"  # of old H.E.S.S. files, whose longitude grows towards the east
    if alignment != "RADEC" and not mirrored:
        spread = np.abs(rate - rate[:, ::-1]).sum() / rate.sum()
        repairs.append(
            f"background: aligned with {alignment}, used as if aligned with RADEC (its left-right asymmetry is "
            f"{spread:.1%})"
        )
    lon, rate = _at_least_two(_axis(bkg, "fov_lon", "deg"), rate, axis_number=1)
    lat, rate = _at_least_two(_axis(bkg, "fov_lat", "deg"), rate, axis_number=2)
    if mirrored:
        lon, rate = -lon[::-1], rate[:, ::-1].copy()
    return Background(energies, lon, lat, rate, False, limits)


def _require(tables: Mapping[str, Any], key: str, what: str, name: str) -> Any:
    """The table ``key``, or an error that says which IRFs lack it."""
    if tables.get(key) is None:
        raise IRFError(f"IRFs {name} have no {what} ({key!r}); present: {sorted(tables)}.")
    return tables[key]


class _Axis:
    """Bin centres and edges as plain floats."""

    def __init__(self, centers: FloatArray, edges: FloatArray) -> None:
        self.centers, self.edges = centers, edges


def _axis(irf: Any, axis: str, unit: str) -> _Axis:
    found = irf.axes[axis]
    centers = np.asarray(found.center.to_value(unit), float)
    edges = np.asarray(found.edges.to_value(unit), float)
    return _Axis(centers, edges)


def _values(irf: Any, unit: str, what: str, name: str) -> FloatArray:
    try:
        values = np.array(irf.quantity.to_value(unit), dtype=np.float64)
    except Exception as error:
        raise IRFError(f"IRFs {name}: the {what} is in '{irf.unit}', expected {unit or 'no unit'}.") from error
    bad = ~np.isfinite(values)
    if bad.any():
        raise IRFError(f"IRFs {name}: the {what} has {int(bad.sum())} values that are not finite.")
    return values


def _full_enclosure(irf: Any, what: str, name: str) -> None:
    if getattr(irf, "is_pointlike", False):
        raise IRFError(f"IRFs {name}: the {what} is point-like; full-enclosure IRFs are needed to fold a sky model.")


def _extend(centers: FloatArray, edges: FloatArray, table: FloatArray, axis: int) -> tuple[FloatArray, FloatArray]:
    """Add nodes at the outer edges by linear extrapolation (gammapy's rule), unless centres are the edges."""
    table = np.moveaxis(table, axis, -1)
    nodes = centers
    if len(centers) == 1:
        return edges[[0, -1]], np.moveaxis(np.repeat(table, 2, axis=-1), -1, axis)
    if len(centers) > 1 and edges[0] < centers[0]:
        slope = (table[..., 1] - table[..., 0]) / (centers[1] - centers[0])
        table = np.concatenate([(table[..., 0] + slope * (edges[0] - centers[0]))[..., None], table], axis=-1)
        nodes = np.r_[edges[0], nodes]
    if len(centers) > 1 and edges[-1] > centers[-1]:
        slope = (table[..., -1] - table[..., -2]) / (centers[-1] - centers[-2])
        table = np.concatenate([table, (table[..., -1] + slope * (edges[-1] - centers[-1]))[..., None]], axis=-1)
        nodes = np.r_[nodes, edges[-1]]
    return nodes, np.moveaxis(table, -1, axis)


def _at_least_two(axis: _Axis, table: FloatArray, *, axis_number: int) -> tuple[FloatArray, FloatArray]:
    """Nodes of an axis, its edges where there is one bin only: interpolation needs two."""
    if len(axis.centers) > 1:
        return axis.centers, table
    return axis.edges[[0, -1]], np.repeat(table, 2, axis=axis_number)


def _nearest_valid(valid: NDArray[np.bool_], log_energy: FloatArray, offset: FloatArray) -> tuple[Any, Any]:
    """Indices of the nearest valid cell; one e-fold of energy counts as much as one degree."""
    steps = [float(np.mean(np.diff(axis))) if len(axis) > 1 else 1.0 for axis in (log_energy, offset)]
    index = ndimage.distance_transform_edt(~valid, sampling=steps, return_distances=False, return_indices=True)
    return index[0], index[1]


def _gaussians(psf: Any) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Widths (deg), weights and validity of gammapy's three-Gauss PSF; weights from amplitude ratios."""
    parameters = psf.quantity
    sigma = np.stack([np.nan_to_num(parameters[f"sigma_{g}"].to_value("deg")) for g in (1, 2, 3)]).astype(float)
    amplitude = np.stack(
        [np.ones_like(sigma[0]), *(np.nan_to_num(parameters[f"ampl_{g}"].value) for g in (2, 3))]
    ).astype(float)
    valid = (np.nan_to_num(parameters["scale"].value) > 0) & (sigma[0] > 0)
    weight = np.maximum(amplitude, 0) * sigma**2
    return sigma, weight / np.where(valid, weight.sum(axis=0), 1), valid


def _fit_gaussians(psf: Any, energy: _Axis, offset: _Axis) -> tuple[FloatArray, FloatArray, NDArray[np.bool_], float]:
    """Describe a PSF given as a function of separation by a mixture of Gaussians of fixed relative widths."""
    import astropy.units as u

    shape = (len(energy.centers), len(offset.centers))
    sigma = np.ones((len(MIXTURE_RATIOS), *shape))
    weight = np.zeros_like(sigma)
    valid = np.zeros(shape, bool)
    error = 0.0
    rad_max = float(psf.axes["rad"].edges[-1].to_value("deg")) if "rad" in psf.axes.names else 2.0
    radius = np.r_[0.0, np.geomspace(rad_max / 2000, rad_max, 400)]
    for i, j in np.ndindex(*shape):
        profile = np.asarray(
            psf.evaluate(
                energy_true=energy.centers[i] * u.TeV, offset=offset.centers[j] * u.deg, rad=radius * u.deg
            ).to_value("sr-1"),
            float,
        ).ravel()
        containment = np.r_[0.0, np.cumsum(np.diff(radius**2) * 0.25 * (profile[1:] + profile[:-1])) * 2 * np.pi]
        if not (np.all(np.isfinite(containment)) and containment[-1] > 0):
            continue
        containment /= containment[-1]
        unit = np.interp(0.68, containment, radius) / 1.5096
        widths = np.array(MIXTURE_RATIOS) * unit
        basis = 1 - np.exp(-0.5 * (radius[:, None] / widths) ** 2)
        solution, _ = optimize.nnls(np.vstack([basis, 100 * np.ones(len(widths))]), np.r_[containment, 100.0])
        solution /= solution.sum()
        error = max(error, float(np.abs(basis @ solution - containment).max()))
        sigma[:, i, j], weight[:, i, j], valid[i, j] = widths, solution, True
    return sigma, weight, valid, error
