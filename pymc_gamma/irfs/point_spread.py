r"""The point spread function of a gammapy IRF as a normalised sum of Gaussians.

Real files need (each repair is reported):

* normalisation to 1 over the sphere from widths and amplitude *ratios* (the SCALE column of the files is off by
  1e-5 and more), cells without a fit (scale = 0) filled from the nearest valid one;
* a tabulated or King PSF described by a mixture of Gaussians whose widths are fixed multiples of the
  68 % containment radius, with non-negative least-squares weights.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from pymc_gamma.errors import IRFError
from pymc_gamma.irfs.core import PointSpread
from pymc_gamma.irfs.reading import Axis, extend_to_edges, nearest_valid, read_axis, refuse_point_like, require

__all__ = ["point_spread"]

FloatArray = NDArray[np.float64]

MIXTURE_RATIOS = (0.4, 0.6, 0.8, 1.0, 1.3, 1.8, 2.7)
"""Widths of the Gaussians that describe a tabulated PSF, in units of sigma = r68 / 1.5096; 1 is the Gaussian itself."""


def point_spread(tables: Mapping[str, Any], name: str, repairs: list[str]) -> PointSpread:
    """Clean PSF as a normalised sum of Gaussians."""
    psf = require(tables, "psf", "point spread function", name)
    refuse_point_like(psf, "point spread function", name)
    energy, offset = read_axis(psf, "energy_true", "TeV"), read_axis(psf, "offset", "deg")
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
    nearest = nearest_valid(valid, np.log(energy.centers), offset.centers)
    sigma, weight = sigma[:, *nearest], weight[:, *nearest]
    used = (weight > 1e-6).any(axis=(1, 2))
    for g in np.flatnonzero(used):
        # a Gaussian that is absent from a cell has no width there; give it one, so that neighbours can be interpolated
        present = (weight[g] > 0) & (sigma[g] > 0)
        sigma[g] = sigma[g][nearest_valid(present, np.log(energy.centers), offset.centers)]
    nodes = offset.centers
    tables_out = []
    for table in (sigma[used], weight[used]):
        nodes, extended = extend_to_edges(offset.centers, offset.edges, table, axis=2)
        tables_out.append(np.maximum(extended, 0.5 * table.min(axis=(1, 2), keepdims=True)))
    weight = tables_out[1] / tables_out[1].sum(axis=0)
    return PointSpread(energy.centers, nodes, tables_out[0], weight, error)


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


def _fit_gaussians(psf: Any, energy: Axis, offset: Axis) -> tuple[FloatArray, FloatArray, NDArray[np.bool_], float]:
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
