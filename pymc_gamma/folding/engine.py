"""Densities and expected counts of the components of a mixture under one observation: loops in chunks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.component import CompiledComponent, Points
from pymc_gamma.folding.energies import Energies
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.threads import piece_size, run_parallel

__all__ = ["CHUNK", "acceptance", "density", "density_in_bins", "part_acceptance"]

CHUNK = 8192


def density(
    folded: FoldedObservation,
    components: Sequence[CompiledComponent],
    vectors: FloatArray,
    energies: Energies,
    out: FloatArray,
) -> None:
    """Expected counts density of each component at each point.

    Parameters
    ----------
    folded : FoldedObservation
        The observation.
    components : sequence of CompiledComponent
        Mixture components, K of them.
    vectors : numpy.ndarray
        Unit vectors of the reconstructed directions, shape (N, 3).
    energies : Energies
        Reconstructed energies, or ranges over which densities are averaged.
    out : numpy.ndarray
        Filled with TeV-1 sr-1, shape (N, K).
    """
    size = piece_size(len(vectors), CHUNK)
    located = energies.on(folded.tables)

    def one_chunk(first: int) -> None:
        rows = slice(first, first + size)
        points = Points(np.ascontiguousarray(vectors[rows]), energies.take(rows), located(rows))
        for k, component in enumerate(components):
            out[rows, k] = component.density(folded, points)

    for component in components:
        component.prepare(folded)
    run_parallel(one_chunk, range(0, len(vectors), size))


def density_in_bins(
    folded: FoldedObservation, components: Sequence[CompiledComponent], vectors: FloatArray, energy_edges: FloatArray
) -> FloatArray:
    """Expected counts per solid angle of each component, integrated over bins of reconstructed energy.

    Zero outside the domain of selection; bins are cut at its energies.

    Parameters
    ----------
    folded : FoldedObservation
        The observation.
    components : sequence of CompiledComponent
        Mixture components, K of them.
    vectors : numpy.ndarray
        Unit vectors of reconstructed directions, shape (N, 3).
    energy_edges : numpy.ndarray
        Edges of the energy bins in TeV.

    Returns
    -------
    numpy.ndarray
        sr-1, shape (K, n_bins, N).
    """
    kept, used = _bins(folded, energy_edges)
    inside = np.flatnonzero(folded.domain.contains_sky(vectors))
    every = np.zeros((len(components), len(energy_edges) - 1, len(vectors)))
    if len(kept) and len(inside):
        found = _density_in_bins(folded, components, vectors[inside], used)
        every[np.ix_(range(len(components)), kept, inside)] = found
    return every


def _bins(folded: FoldedObservation, energy_edges: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Which bins are not empty after they are cut at the energies of the domain, and their edges."""
    edges = folded.domain.clip(energy_edges)
    kept = np.flatnonzero(np.diff(edges) > 0)
    return kept, edges[np.r_[kept, kept[-1] + 1]] if len(kept) else edges[:1]


def _density_in_bins(
    folded: FoldedObservation, components: Sequence[CompiledComponent], vectors: FloatArray, energy_edges: FloatArray
) -> FloatArray:
    migration = folded.tables.migration(energy_edges)
    # the kernels interpolate between two rows of energy; here the first of them is the bin and the second unused
    rows = np.concatenate([migration, np.zeros_like(migration[:, :1])], axis=1, dtype=np.float32)
    out = np.empty((len(components), migration.shape[1], len(vectors)))

    def one_chunk(first: int) -> None:
        chunk = slice(first, first + CHUNK)
        here = np.ascontiguousarray(vectors[chunk])
        for k, component in enumerate(components):
            out[k, :, chunk] = component.density_in_bins(folded, here, energy_edges, rows)

    for component in components:
        component.prepare(folded)
    run_parallel(one_chunk, range(0, len(vectors), CHUNK))
    return out


def acceptance(folded: FoldedObservation, component: CompiledComponent, energy_edges: FloatArray) -> FloatArray:
    """Expected counts of a component in the domain, per bin of reconstructed energy, shape (n_bins,)."""
    return np.asarray(part_acceptance(folded, component, energy_edges).sum(axis=0))


def part_acceptance(folded: FoldedObservation, component: CompiledComponent, energy_edges: FloatArray) -> FloatArray:
    """As :meth:`acceptance`, for each part of the component, shape (n_parts, n_bins)."""
    kept, used = _bins(folded, energy_edges)
    every = np.zeros((component.n_parts, len(energy_edges) - 1))
    if len(kept):
        every[:, kept] = component.part_acceptance(folded, used)
    return every
