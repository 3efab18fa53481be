"""One observation prepared for folding: the tables of its response, and its domain of selection drawn on the sky."""

from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding import kernels
from pymc_gamma.folding.background_rate import BackgroundRate
from pymc_gamma.folding.containment import DomainMask, containment
from pymc_gamma.folding.nodes import at_bins
from pymc_gamma.folding.raster import Ladder
from pymc_gamma.folding.tables import FoldTables
from pymc_gamma.geometry import RegionOfInterest, separation_deg
from pymc_gamma.instrument.domain import Domain
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.threads import cpu_count, run_parallel

__all__ = ["FoldedObservation"]


class FoldedObservation:
    """One observation prepared for folding.

    Parameters
    ----------
    index : int
        Number of the observation among those of a response.
    domain : Domain
        What is kept of an observation.
    tables : FoldTables
        Its response on the true-energy bins.
    mask : DomainMask
        The domain on the sky, drawn; observations with the same share one.
    ladders : dict
        Ladder of each template, by component and part name; shared by all observations.
    psf : tuple, optional
        Factor on the width of the PSF that the tables have, and the range of factors; see
        :meth:`pymc_gamma.folding.tables.FoldTables.with_psf_scale`.

    Attributes
    ----------
    observation : Observation
        Pointing and times.
    roi : RegionOfInterest
        Region of interest.
    axis : numpy.ndarray
        Unit vector of the pointing in the frame of the region.
    """

    def __init__(
        self,
        index: int,
        domain: Domain,
        tables: FoldTables,
        mask: DomainMask,
        ladders: dict[tuple[str, str], Ladder],
        psf: tuple[float, tuple[float, float]] | None = None,
    ) -> None:
        assert domain.observation is not None
        self.index, self.domain, self.tables, self.mask, self.ladders = index, domain, tables, mask, ladders
        self.observation: Observation = domain.observation
        self.roi: RegionOfInterest = domain.roi
        self.axis = self.observation.axis_vector(self.roi.frame)
        self._psf = psf
        self._kept: dict[str, Any] = {}

    def on_tables(self, tables: FoldTables) -> "FoldedObservation":
        """The same observation on other true-energy bins of its response."""
        tables = tables if self._psf is None else tables.with_psf_scale(*self._psf)
        return FoldedObservation(self.index, self.domain, tables, self.mask, self.ladders, self._psf)

    def with_psf_scale(
        self, scale: float, span: tuple[float, float], ladders: dict[tuple[str, str], Ladder]
    ) -> "FoldedObservation":
        """The same observation under a PSF of another width, with ladders for a range of widths."""
        tables = self.tables.with_psf_scale(scale, span)
        return FoldedObservation(self.index, self.domain, tables, self.mask, ladders, (scale, span))

    def with_other(self, component: str, ladders: dict[tuple[str, str], Ladder]) -> "FoldedObservation":
        """The same observation for another form of a component, and ladders of all templates with its own."""
        other = copy(self)
        other.ladders = ladders
        other._kept = {name: made for name, made in self._kept.items() if name != component}
        return other

    @cached_property
    def background(self) -> BackgroundRate:
        """Residual background of the IRFs; raises IRFError where they have none."""
        return BackgroundRate(self.domain)

    def kept[T](self, key: str, make: Callable[[], T]) -> T:
        """What was made under a name before, or is made now."""
        if key not in self._kept:
            self._kept[key] = make()
        made: T = self._kept[key]
        return made

    def made(self, key: str) -> Any:
        """What was made under a name before; None if nothing was."""
        return self._kept.get(key)

    def at_bins(self, flux: FloatArray) -> FloatArray:
        """Spectra on the nodes, at the true-energy bins."""
        return np.ascontiguousarray(at_bins(flux, self.tables.energy_edges))

    def true_sky(self, vectors: FloatArray, weight: FloatArray) -> FloatArray:
        """Integral of the response over nodes of the true sky: cm2 TeV, shape (n_j, n_e)."""
        tables, mask = self.tables, self.mask
        inside = containment(mask, tables.variance_range)
        rung = inside.positions(tables.variance)
        x, y = mask.plane.project(vectors)
        offset = separation_deg(vectors, self.axis)
        n_e = tables.aeff.shape[1]
        out = np.zeros((len(tables.edisp_offset), n_e))
        # the sum of a bin is the same in any division of the bins
        bounds = np.linspace(0, n_e, min(n_e, 2 * cpu_count()) + 1).astype(int)

        def some_bins(k: int) -> None:
            kernels.true_sky_integral(
                x,
                y,
                offset,
                weight,
                inside.coefficients,
                mask.origin,
                mask.pixel,
                rung,
                tables.aeff,
                tables.weight,
                tables.offset_step,
                tables.edisp_offset,
                bounds[k],
                bounds[k + 1],
                out,
            )

        run_parallel(some_bins, range(len(bounds) - 1))
        return out
