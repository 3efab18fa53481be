r"""Tables of the instrument response on the true-energy bins of a fold.

For true-energy bin :math:`e` with centre :math:`E_e` (geometric) a component of spectrum :math:`\phi` contributes
:math:`\phi(E_e)` times the bin-averaged response. Averages inside a bin use :math:`N_{\rm sub}` sub-nodes with weight
:math:`(E/E_e)^{-2.5}`:

.. math:: A_e(o) = \int_e (E/E_e)^{-2.5} A(E, o)\,\mathrm{d}E , \qquad
          R_e(E'\mid o) = A_e^{-1} \int_e (E/E_e)^{-2.5} A(E, o)\,R(E'\mid E, o)\,\mathrm{d}E .

Averaging the dispersion matters: the matrices of CTAO files are histograms of simulated events, and taking
them at bin centres instead changes densities by 2 to 16 %.

The dispersion is stored dense on a fine grid of reconstructed energies; the true-energy bins that can produce a given
reconstructed energy are a band of it, ``band_start[r]`` to ``band_stop[r]``. It is by far the largest table, and it is
made for the offsets alone at which something shines: two of the nodes for a point source.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding import kernels
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.threads import run_parallel

__all__ = ["FoldTables", "build_tables", "interpolate_area"]

IN_BIN_INDEX = 2.5
SUB_NODES, SUB_STEP = 8, 0.0036
"""Parts of a bin over which the response is averaged: at most so many, or as wide in the logarithm of the energy."""
OFFSET_STEP = 0.05
ENERGY_NODES_PER_DECADE = 1000
DISPERSION_OFFSETS_PER_NODE = 2
SMOOTHING_NODES = 11
"""Across kinks of the width of the PSF, which lie at the offsets of the file, as across smooth stretches."""


@dataclass(frozen=True)
class FoldTables:
    """Response of one set of IRFs on one true-energy binning.

    Attributes
    ----------
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV, shape (n_e + 1,).
    offset_step : float
        Spacing in deg of the offset nodes 0, step, 2 step, ...
    aeff : numpy.ndarray
        Bin-integrated effective area, cm2 TeV, shape (n_o, n_e).
    variance : numpy.ndarray
        Variances of the Gaussians of the PSF, deg2, shape (n_g, n_o, n_e).
    weight : numpy.ndarray
        Their weights, shape (n_g, n_o, n_e).
    edisp_offset : numpy.ndarray
        Offsets in deg of the dispersion tables, shape (n_j,); the first and last hold beyond.
    log_energy : tuple of float
        First node and spacing of the natural logarithm of reconstructed energy.
    edisp : numpy.ndarray
        Density in reconstructed energy, TeV-1, float32, shape (n_j, n_r, n_e).
    band_start, band_stop : numpy.ndarray
        Band of true-energy bins of each reconstructed-energy node and the next, shape (n_r,).
    """

    energy_edges: FloatArray
    offset_step: float
    aeff: FloatArray
    variance: FloatArray
    weight: FloatArray
    edisp_offset: FloatArray
    log_energy: tuple[float, float]
    edisp: NDArray[np.float32]
    band_start: NDArray[np.int64]
    band_stop: NDArray[np.int64]

    def with_psf_scale(self, scale: float, span: tuple[float, float]) -> "FoldTables":
        """The response under a PSF of another width, one of those whose factors lie in a range.

        Only the variances are new. Events are evaluated as far from sources as the widest reaches, and ladders serve
        all of them, so that densities differ by the width alone.
        """
        made = replace(self, variance=self.variance * scale**2)
        low, high = self.variance_range
        made.__dict__["widest"] = self.widest * span[1] ** 2
        made.__dict__["variance_range"] = (low * span[0] ** 2, high * span[1] ** 2)
        return made

    @property
    def band_width(self) -> int:
        """Number of true-energy bins of the widest band."""
        return int((self.band_stop - self.band_start).max())

    @cached_property
    def widest(self) -> FloatArray:
        """Largest variance of the PSF in each true-energy bin, deg2, shape (n_e,): events are sought so far."""
        return np.asarray(self.variance.max(axis=(0, 1)))

    @cached_property
    def variance_range(self) -> tuple[float, float]:
        """Smallest and largest variance of the Gaussians of the PSF that have any weight, deg2."""
        present = self.variance[self.weight > 0]
        return float(present.min()), float(present.max())

    @cached_property
    def aeff_smooth(self) -> FloatArray:
        """Effective area for photons of an even sky reconstructed at an offset, cm2 TeV, shape (n_g, n_o, n_e).

        Averaged over each Gaussian of the PSF, of the widths of where the photons come from, and over the share that
        this Gaussian has at the offset itself. Points do not need it: their photons all come from one offset.
        """
        node, weight = np.polynomial.hermite_e.hermegauss(SMOOTHING_NODES)
        out = np.empty_like(self.variance)
        kernels.smooth_over_psf(
            self.aeff, self.variance, self.weight, self.offset_step, node, weight / weight.sum(), out
        )
        return out

    @property
    def energy(self) -> FloatArray:
        """Centres (geometric) of the true-energy bins in TeV."""
        return np.sqrt(self.energy_edges[1:] * self.energy_edges[:-1])

    def migration(self, energy_edges: FloatArray) -> FloatArray:
        """Probability of each bin of reconstructed energy, shape (n_j, n_bins, n_e).

        Integrates the interpolated density exactly as the event densities interpolate it (linear in log E).
        """
        nodes = np.exp(self.log_energy[0] + self.log_energy[1] * np.arange(self.edisp.shape[1]))
        # trapezoids in E between the nodes and the bin edges
        grid = np.unique(np.concatenate([nodes, energy_edges]))
        grid = grid[(grid >= energy_edges[0] * (1 - 1e-12)) & (grid <= energy_edges[-1] * (1 + 1e-12))]
        mid = np.sqrt(grid[1:] * grid[:-1])
        position = (np.log(mid) - self.log_energy[0]) / self.log_energy[1]
        row = np.clip(position.astype(int), 0, len(nodes) - 2)
        fraction = position - row
        which = np.clip(np.searchsorted(energy_edges, mid) - 1, 0, len(energy_edges) - 2)
        width = np.diff(grid)
        # each bin is a short run of rows: a sparse matrix (bins, rows)
        measure = sparse.csr_array(
            (np.r_[(1 - fraction) * width, fraction * width], (np.r_[which, which], np.r_[row, row + 1])),
            shape=(len(energy_edges) - 1, len(nodes)),
        )
        return np.stack([measure @ table for table in self.edisp])


@lru_cache(maxsize=4)
def build_tables(
    irfs: IRFs,
    energy_edges: tuple[float, ...],
    energy_range: tuple[float, float],
    offsets: tuple[float, float] = (0.0, math.inf),
) -> FoldTables:
    """Average one set of IRFs over true-energy bins; the last few results are kept.

    Parameters
    ----------
    irfs : IRFs
        Clean response.
    energy_edges : tuple of float
        Edges of the true-energy bins in TeV.
    energy_range : tuple of float
        Range of reconstructed energy in TeV.
    offsets : tuple of float
        Range in deg of the offsets from which true photons come; only for these the dispersion is right.

    Returns
    -------
    FoldTables
    """
    n_e = len(energy_edges) - 1
    log_edges = np.log(energy_edges)
    centre = np.exp(0.5 * (log_edges[1:] + log_edges[:-1]))[:, None]
    width = np.diff(log_edges)
    n_sub = min(max(math.ceil(width.max() / SUB_STEP), 2), SUB_NODES)
    sub_edges = np.exp(log_edges[:-1, None] + width[:, None] * np.arange(n_sub + 1) / n_sub)
    sub = np.sqrt(sub_edges[:, 1:] * sub_edges[:, :-1])
    measure = np.diff(sub_edges, axis=1) * (sub / centre) ** (-IN_BIN_INDEX)  # dE x in-bin weight

    offset = _offset_nodes(irfs)
    area, step = interpolate_area(irfs, sub.ravel())
    area = area.reshape(n_e, n_sub, len(offset))
    aeff = (area * measure[..., None]).sum(axis=1)

    psf = irfs.point_spread
    # averaged like the dispersion: where the effective area rises steeply a bin is dominated by its upper end
    share = area * measure[..., None]
    total = share.sum(axis=1, keepdims=True)
    share = np.where(total > 0, share / np.where(total > 0, total, 1), 1 / n_sub)

    def average(table: FloatArray, power: int = 1) -> FloatArray:
        fine = _bilinear(psf.energy, psf.offset, table, sub.ravel(), offset).reshape(area.shape)
        return np.asarray((fine**power * share).sum(axis=1))

    weight = np.stack([average(table) for table in psf.weight])
    weight /= weight.sum(axis=0)
    variance = np.stack([average(table, power=2) for table in psf.sigma])

    nodes = round(math.log10(energy_range[1] / energy_range[0]) * ENERGY_NODES_PER_DECADE) + 1
    nodes = max(nodes, 16)
    log_rec = np.linspace(math.log(energy_range[0]), math.log(energy_range[1]), nodes)
    edisp_offset = _between(_dispersion_offsets(irfs), offsets)
    dispersion = _dispersion(irfs, edisp_offset, sub_edges, measure, area, offset, np.exp(log_rec))
    start, stop = _bands(dispersion)
    return FoldTables(
        energy_edges=np.array(energy_edges),
        offset_step=step,
        aeff=np.ascontiguousarray(aeff.T),
        variance=_by_offset(variance),
        weight=_by_offset(weight),
        edisp_offset=edisp_offset,
        log_energy=(float(log_rec[0]), float(log_rec[1] - log_rec[0])),
        edisp=dispersion,
        band_start=start,
        band_stop=stop,
    )


def _by_offset(table: FloatArray) -> FloatArray:
    """(..., n_e, n_o) to (..., n_o, n_e): kernels run along the energies of one offset."""
    return np.ascontiguousarray(np.swapaxes(table, -1, -2))


def interpolate_area(irfs: IRFs, energy: FloatArray) -> tuple[FloatArray, float]:
    """Effective area in cm2 at energies in TeV and equidistant offsets, shape (n, n_o), and their step in deg."""
    aeff = irfs.aeff
    offset = _offset_nodes(irfs)
    area = _bilinear(aeff.energy, aeff.offset, aeff.values, energy, offset, zero_beyond=True)
    return np.maximum(area, 0), float(offset[1])


def _offset_nodes(irfs: IRFs) -> FloatArray:
    """Equidistant offsets from 0 to the edge of the field of view, at most OFFSET_STEP apart."""
    return np.linspace(0, irfs.offset_max, math.ceil(irfs.offset_max / OFFSET_STEP - 1e-9) + 1)


def _dispersion(
    irfs: IRFs,
    nodes: FloatArray,
    edges: FloatArray,
    measure: FloatArray,
    area: FloatArray,
    offset: FloatArray,
    energy: FloatArray,
) -> NDArray[np.float32]:
    """Aeff-weighted, bin-averaged dispersion at offset nodes, one offset per task."""
    edisp = irfs.edisp
    n_e, n_sub = measure.shape
    out = np.zeros((len(nodes), len(energy), n_e), np.float32)

    def one_offset(j: int) -> None:
        position = min(nodes[j] / offset[1], len(offset) - 1.0)
        left = min(int(position), len(offset) - 2)
        fraction = position - left
        weight = measure * (area[..., left] * (1 - fraction) + area[..., left + 1] * fraction)
        total = weight.sum(axis=1, keepdims=True)
        # a bin without effective area keeps a plain average: it is multiplied by zero later
        weight = np.where(total > 0, weight / np.where(total > 0, total, 1), 1 / n_sub)
        left = int(np.clip(np.searchsorted(edisp.offset, nodes[j], side="right") - 1, 0, len(edisp.offset) - 1))
        right = min(left + 1, len(edisp.offset) - 1)
        span = edisp.offset[right] - edisp.offset[left]
        fraction = (nodes[j] - edisp.offset[left]) / span if span > 0 else 0.0
        kernels.average_dispersion(
            edges,
            weight,
            np.log(edisp.energy),
            np.ascontiguousarray(edisp.density[:, left] * (1 - fraction) + edisp.density[:, right] * fraction),
            edisp.migra[0],
            edisp.migra[1] - edisp.migra[0],
            energy,
            out[j],
        )

    run_parallel(one_offset, range(len(nodes)))
    return out


def _dispersion_offsets(irfs: IRFs) -> FloatArray:
    """Offsets at which the dispersion is averaged: those of the file and points between.

    The weights inside a bin follow the effective area of the offset. At the edge of the field of view that
    rises so steeply with energy, and so differently from one offset of the file to the next, that interpolating between
    these would put up to 6 % on densities at the lowest energies.
    """
    nodes = irfs.edisp.offset
    parts = DISPERSION_OFFSETS_PER_NODE
    return np.interp(np.arange((len(nodes) - 1) * parts + 1) / parts, np.arange(len(nodes)), nodes)


def _between(nodes: FloatArray, span: tuple[float, float]) -> FloatArray:
    """Those nodes that linear interpolation within a range needs."""
    first = int(np.clip(np.searchsorted(nodes, span[0], side="right") - 1, 0, len(nodes) - 1))
    last = int(np.clip(np.searchsorted(nodes, span[1], side="left"), first, len(nodes) - 1))
    return nodes[first : last + 1]


def _bands(dispersion: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Common band of true-energy bins of each pair of neighbouring reconstructed-energy nodes."""
    n_e = dispersion.shape[2]
    present = (dispersion > 0).any(axis=0)
    first = np.where(present.any(axis=1), present.argmax(axis=1), n_e - 1)
    last = np.where(present.any(axis=1), n_e - present[:, ::-1].argmax(axis=1), n_e)
    start = np.minimum(first, np.r_[first[1:], first[-1]])
    stop = np.maximum(last, np.r_[last[1:], last[-1]])
    return start.astype(np.int64), stop.astype(np.int64)


def _bilinear(
    energy: FloatArray,
    offset: FloatArray,
    table: FloatArray,
    at_energy: FloatArray,
    at_offset: FloatArray,
    *,
    zero_beyond: bool = False,
) -> FloatArray:
    """Table on (energy, offset) at the outer product of energies and offsets; constant or zero beyond the nodes."""
    log_nodes, log_at = np.log(energy), np.log(at_energy)
    by_offset = np.stack([np.interp(at_offset, offset, row) for row in table])
    position = np.interp(log_at, log_nodes, np.arange(len(energy)))
    below = np.minimum(position.astype(np.int64), max(len(energy) - 2, 0))
    fraction = (position - below)[:, None]
    out = by_offset[below] * (1 - fraction) + by_offset[np.minimum(below + 1, len(energy) - 1)] * fraction
    if zero_beyond:
        outside = (log_at < log_nodes[0] - 1e-12) | (log_at > log_nodes[-1] + 1e-12)
        out[outside] = 0
    return np.asarray(out)
