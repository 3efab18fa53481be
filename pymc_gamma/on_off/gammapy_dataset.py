"""Counts spectra of gammapy."""

from typing import Any

import astropy.units as u
import numpy as np
from astropy.time import Time

from pymc_gamma.errors import EventError

__all__ = ["read_dataset"]

SAME_ENERGY = 1e-6
"""Relative difference of edges within which they are the same."""


def read_dataset(dataset: Any) -> dict[str, Any]:
    """Arguments of a `CountsSpectrum` for a gammapy `SpectrumDatasetOnOff`, or `SpectrumDataset` without background.

    Raises
    ------
    TypeError
        If it is something else.
    EventError
        If it lacks counts or exposure, has a PSF, or a background that no OFF counts measure.
    """
    from gammapy.datasets import SpectrumDataset, SpectrumDatasetOnOff

    if not isinstance(dataset, SpectrumDataset | SpectrumDatasetOnOff):
        raise TypeError(
            f"dataset must be a gammapy SpectrumDatasetOnOff, got {type(dataset).__name__}; observations go "
            "through pmg.from_gammapy."
        )
    name = dataset.name
    known = dataset.background if isinstance(dataset, SpectrumDataset) else None
    if known is not None and np.any(np.nan_to_num(known.data) != 0):
        raise EventError(
            f"the dataset {name!r} is a SpectrumDataset with a background model of {float(known.data.sum()):.4g} "
            "events; give a SpectrumDatasetOnOff, whose OFF counts measure it (SpectrumDatasetOnOff."
            "from_spectrum_dataset)."
        )
    if dataset.psf is not None:
        raise EventError(
            f"the dataset {name!r} has a PSF; put the containment of the ON region into its exposure, and set psf=None."
        )
    for what in ("counts", "exposure"):
        if getattr(dataset, what) is None:
            raise EventError(f"the dataset {name!r} has no {what}.")
    true_axis = dataset.exposure.geom.axes["energy_true"]
    axis = dataset.counts.geom.axes["energy"]
    if dataset.edisp is None:
        if not np.allclose(true_axis.edges.to_value("TeV"), axis.edges.to_value("TeV"), rtol=SAME_ENERGY):
            raise EventError(f"the dataset {name!r} has no edisp, and other true than reconstructed energies.")
        matrix = np.eye(axis.nbin)
    else:
        kernel = dataset.edisp
        if hasattr(kernel, "get_edisp_kernel"):
            kernel = kernel.get_edisp_kernel(energy_axis=axis)
        matrix = np.asarray(kernel.pdf_matrix, float)
    mask = np.ones(axis.nbin, bool)
    for one in (dataset.mask_safe, dataset.mask_fit):
        if one is not None:
            mask &= np.asarray(one.data, bool).ravel()
    has_off = getattr(dataset, "counts_off", None) is not None
    alpha = np.asarray(dataset.alpha.data, float).ravel() if has_off else None
    return {
        "name": name,
        "counts": np.asarray(dataset.counts.data, float).ravel(),
        "energy": axis.edges,
        "energy_true": true_axis.edges,
        "exposure": u.Quantity(dataset.exposure.data.ravel(), dataset.exposure.unit),
        "edisp": matrix,
        "counts_off": np.asarray(dataset.counts_off.data, float).ravel() if has_off else None,
        "alpha": alpha,
        "mask": mask,
        "livetime": (dataset.exposure.meta or {}).get("livetime"),
        "good_time": _good_time(dataset),
    }


def _good_time(dataset: Any) -> Time | None:
    """Start and end of the good time intervals of a gammapy dataset, shape (n, 2)."""
    gti = dataset.gti
    if gti is None or not len(gti.table):
        return None
    start: Time = gti.time_start[:, None]
    return start + (gti.time_stop[:, None] - start) * [0.0, 1.0]
