r"""Sampling events of sky sources through the instrument response.

One photon at a time: a true energy and direction from flux times effective area, then a reconstructed energy from the
energy dispersion and a reconstructed direction from the PSF. What falls outside the domain of selection
is drawn again, so the events follow :math:`\lambda(E', \Omega') / c`: the model that is
fitted is the model that is simulated.
"""

import math
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from scipy.interpolate import CubicSpline

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.nodes import spectrum_nodes
from pymc_gamma.folding.sources import CompiledSources
from pymc_gamma.folding.tables import interpolate_area
from pymc_gamma.geometry import (
    lonlat_from_vectors,
    separation_deg,
    sky_frame,
    tangent_basis,
)
from pymc_gamma.instrument.domain import Domain
from pymc_gamma.pictures import picture
from pymc_gamma.simulation import kernels
from pymc_gamma.simulation.simulator import Sampler, make_sampler
from pymc_gamma.sums import weighted_sum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SourceSampler", "TrueEvents"]


MIN_BATCH, MAX_BATCH = 64, 1_000_000
BETWEEN = 3
"""Intervals of proposed energies between two nodes of a spectrum."""
MIN_EFFICIENCY = 1e-6
"""Share of detected photons that must end up in the region for it to be worth drawing them one by one."""


@dataclass(frozen=True)
class TrueEvents:
    """Photons that passed the effective area, before reconstruction.

    Attributes
    ----------
    energy_true : numpy.ndarray
        TeV, shape (N,).
    lon_true, lat_true : numpy.ndarray
        Degrees, in ``frame``.
    frame : str
        ``"galactic"`` or ``"icrs"``.
    """

    energy_true: FloatArray
    lon_true: FloatArray
    lat_true: FloatArray
    frame: str

    def __len__(self) -> int:
        return len(self.energy_true)

    def __add__(self, other: "TrueEvents") -> "TrueEvents":
        if not isinstance(other, TrueEvents):
            return NotImplemented
        if self.frame != other.frame:
            raise ValueError(f"cannot concatenate photons in the frames {self.frame} and {other.frame}.")
        columns = ("energy_true", "lon_true", "lat_true")
        joined = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in columns}
        return TrueEvents(frame=self.frame, **joined)

    @property
    def coords(self) -> SkyCoord:
        """True directions."""
        return SkyCoord(self.lon_true * u.deg, self.lat_true * u.deg, frame=sky_frame(self.frame))

    def peek(self, *, count_scaling: str = "sqrt", fig: "Figure | None" = None) -> "Figure":
        """Plot the true directions and the spectrum of the true energies.

        Parameters
        ----------
        count_scaling : {"sqrt", "log", "linear"}
            Colour scale of the map. Point sources fill one cell each; ``"log"`` shows what is extended beside them.
        fig : matplotlib.figure.Figure, optional
            Where to draw.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        figure: Figure = picture("peek_photons")(self, count_scaling=count_scaling, fig=fig)
        return figure


def _between_nodes(component: CompiledSources) -> CompiledSources:
    """The component with spectra on a grid a few times finer than the nodes: the proposals are straight between points.

    Straight between the nodes themselves they would make a line of 1 % wider by 4 %.
    """
    fluxes = component.part_fluxes()
    n = fluxes.shape[1]
    fine = np.arange((n - 1) * BETWEEN + 1) / BETWEEN
    return component.with_fluxes(np.maximum(CubicSpline(np.arange(n), fluxes, axis=1)(fine), 0))


class SourceSampler:
    """Sampler of one component for one observation.

    Parameters
    ----------
    component : CompiledSources
        Sky component.
    domain : Domain
        What is kept of an observation.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV; photons are drawn over their whole range.
    part_counts : numpy.ndarray
        Expected counts in the domain of each analytic source, then each template.
    """

    def __init__(
        self,
        component: CompiledSources,
        domain: Domain,
        energy_edges: FloatArray,
        part_counts: FloatArray,
    ) -> None:
        assert domain.observation is not None
        self.component, self.domain = _between_nodes(component), domain
        self.observation, self.roi = domain.observation, domain.roi
        self.axis = self.observation.axis_vector(self.roi.frame)
        log_nodes = np.log(spectrum_nodes(energy_edges))
        self._log_nodes = np.linspace(log_nodes[0], log_nodes[-1], (len(log_nodes) - 1) * BETWEEN + 1)
        self._counts = np.asarray(part_counts, float)
        self._area, self._step = interpolate_area(self.observation.irfs, np.exp(self._log_nodes))
        self._proposals: dict[int, tuple[Any, ...]] = {}
        self._rates: dict[int, float] = {}

    def with_component(self, component: CompiledSources, folded: FoldedObservation, part_counts: FloatArray) -> Self:
        """A sampler of the same component with other spectra, which shares all that does not depend on them."""
        _ = self._response
        other = copy(self)
        other.component = _between_nodes(component)
        other._counts = np.asarray(part_counts, float)
        other._proposals, other._rates = {}, {}
        return other

    def with_psf_scale(self, scale: float, part_counts: FloatArray) -> Self:
        """A sampler whose PSF is wider by a factor."""
        *before, sigma, weight = self._response
        other = copy(self)
        other._counts = np.asarray(part_counts, float)
        other.__dict__["_response"] = (*before, sigma * scale, weight)
        return other

    def sample(self, rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        """Reconstructed events inside the domain: energies in TeV (n,) and unit vectors (n, 3)."""
        energy, directions = np.empty(n), np.empty((n, 3))
        filled = 0
        if n == 0:
            return energy, directions
        for part, count in enumerate(rng.multinomial(n, self._counts / self._counts.sum())):
            if count:
                rows = slice(filled, filled + count)
                energy[rows], directions[rows] = self._accepted(rng, part, int(count))
                filled += count
        return energy, directions

    def sample_true(self, rng: np.random.Generator, n: int) -> TrueEvents:
        """Photons that pass the effective area, whether or not they end up in the region."""
        rates = np.array([self._passing_rate(part) for part in range(len(self._counts))])
        if not rates.sum() > 0:
            raise SkyModelError(f"component {self.component.name!r} is not seen by {self.observation!r}.")
        logs, vectors = [], []
        for part, count in enumerate(rng.multinomial(n, rates / rates.sum())):
            if count == 0:
                continue
            log_energy, directions = np.empty(count), np.empty((count, 3))
            kernels.sample_true(rng, *self._proposal(part), log_energy, directions)
            logs.append(log_energy)
            vectors.append(directions)
        order = rng.permutation(n)
        lon, lat = lonlat_from_vectors(np.concatenate(vectors)[order])
        return TrueEvents(np.exp(np.concatenate(logs)[order]), lon, lat, self.roi.frame)

    def reconstruct(
        self, rng: np.random.Generator, log_energy: FloatArray, vectors: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Reconstructed energies in TeV and unit vectors of photons, wherever they end up."""
        energy, directions = np.empty(len(log_energy)), np.empty((len(log_energy), 3))
        kernels.reconstruct(rng, log_energy, vectors, self.axis, *self._response, energy, directions)
        return energy, directions

    @cached_property
    def _response(self) -> tuple[Any, ...]:
        edisp, psf = self.observation.irfs.edisp, self.observation.irfs.point_spread
        cdf = np.cumsum(edisp.density, axis=2)
        cdf /= cdf[..., -1:]
        step = edisp.migra[1] - edisp.migra[0]
        return (
            np.log(edisp.energy), edisp.offset, cdf, edisp.migra[0], step,
            np.log(psf.energy), psf.offset, psf.sigma, psf.weight,
        )  # fmt: skip

    def _accepted(self, rng: np.random.Generator, part: int, n: int) -> tuple[FloatArray, FloatArray]:
        energies, vectors, have = [], [], 0
        proposal = self._proposal(part)
        passing = self._passing_rate(part) * self.observation.livetime_s
        efficiency = self._counts[part] / passing
        if efficiency < MIN_EFFICIENCY:
            raise SkyModelError(
                f"component {self.component.name!r}: only {efficiency:.1g} of the photons of part {part} that the "
                f"telescopes detect are reconstructed in {self.roi!r} and kept of {self.observation!r}; leave it "
                "out, or enlarge the region."
            )
        while have < n:
            batch = min(MIN_BATCH + int(1.05 * (n - have) / efficiency), MAX_BATCH)
            log_energy, directions = np.empty(batch), np.empty((batch, 3))
            kernels.sample_true(rng, *proposal, log_energy, directions)
            energy, directions = self.reconstruct(rng, log_energy, directions)
            keep = self.domain.contains(directions, energy)
            energies.append(energy[keep])
            vectors.append(directions[keep])
            have += len(energies[-1])
        return np.concatenate(energies)[:n], np.concatenate(vectors)[:n]

    def _passing_rate(self, part: int) -> float:
        """Photons of a part that pass the effective area, per second; kept, because every draw asks for it."""
        if part in self._rates:
            return self._rates[part]
        flux, vectors, weight = self._sky_nodes(part)
        offset = separation_deg(vectors, self.axis) / self._step
        n = self._area.shape[1]
        left = np.minimum(offset.astype(int), n - 2)
        share = np.where(offset <= n - 1, weight, 0.0)
        fraction = offset - left
        # the share of the brightness at each offset node, for areas that are linear between them
        at_node = np.bincount(left, share * (1 - fraction), n) + np.bincount(left + 1, share * fraction, n)
        rate = np.trapezoid(flux * np.exp(self._log_nodes) * weighted_sum(self._area, at_node), self._log_nodes)
        self._rates[part] = float(rate)
        return self._rates[part]

    def _sky_nodes(self, part: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Flux on the spectrum nodes, and quadrature nodes and weights of the brightness of a part."""
        analytic, templates = self.component.analytic, self.component.templates
        sources = 0 if analytic is None else len(analytic.variance)
        if analytic is None or part >= sources:
            template = templates[part - sources]
            return template.flux, *template.raster.nodes()
        return analytic.flux[part], *analytic.nodes(part, 64, 64)

    def _proposal(self, part: int) -> tuple[Any, ...]:
        """Arguments of the kernel for one part."""
        if part in self._proposals:
            return self._proposals[part]
        analytic, templates = self.component.analytic, self.component.templates
        sources = 0 if analytic is None else len(analytic.variance)
        empty, major_axis, minor = np.ones(1), np.zeros(3), 0.0
        grid: tuple[Any, ...] = (np.zeros(1, np.int64), empty, np.zeros(1, np.int64), np.eye(3), 1, 0.0, 1.0)
        if analytic is not None and part < sources:
            centre, major_axis = analytic.vectors[part], np.ascontiguousarray(analytic.major_axis[part])
            sigma, minor = math.sqrt(analytic.variance[part]), math.sqrt(analytic.minor_variance[part])
            kind = kernels.GAUSSIAN if sigma > 0 else kernels.POINT
            flux = analytic.flux[part]
            middle = float(np.degrees(2 * np.arcsin(min(1.0, np.linalg.norm(centre - self.axis) / 2))))
            reach = (middle - 6.5 * sigma, middle + 6.5 * sigma)
        else:
            raster = templates[part - sources].raster
            flux, kind, sigma = templates[part - sources].flux, kernels.TEMPLATE, 0.0
            flat = np.flatnonzero(raster.values)
            cdf = np.cumsum(raster.values.ravel()[flat])
            cdf /= cdf[-1]
            centre = self.axis
            offsets = np.degrees(2 * np.arcsin(np.linalg.norm(raster.nodes()[0] - self.axis, axis=1) / 2))
            reach = (offsets.min() - 2 * raster.pixel, offsets.max() + 2 * raster.pixel)
            basis = tangent_basis(raster.plane.lon, raster.plane.lat)
            guide = kernels.guide_table(cdf, len(cdf))
            grid = (flat, cdf, guide, basis, len(raster.values), raster.origin, raster.pixel)
        nodes = np.arange(self._area.shape[1]) * self._step
        if kind == kernels.POINT:
            highest = np.array([np.interp(reach[0], nodes, row, right=0.0) for row in self._area])
        else:
            near = (nodes > reach[0] - self._step) & (nodes < reach[1] + self._step)
            highest = self._area[:, near].max(axis=1) if near.any() else np.zeros(len(self._area))
        pdf = flux * np.exp(self._log_nodes) * highest
        segments = 0.5 * (pdf[1:] + pdf[:-1])
        total = float(segments.sum())
        if not total > 0:
            raise SkyModelError(
                f"component {self.component.name!r}: nothing of part {part} is seen by {self.observation!r}."
            )
        energy_cdf = np.cumsum(segments) / total
        energy_guide = kernels.guide_table(energy_cdf, len(energy_cdf))
        self._proposals[part] = (
            self._log_nodes, pdf, energy_cdf, energy_guide, self._area, highest, self._step, self.axis,
            kind, np.ascontiguousarray(centre), major_axis, sigma, minor, *grid,
        )  # fmt: skip
        return self._proposals[part]


@make_sampler.register
def _(
    component: CompiledSources, folded: FoldedObservation, energy_edges: FloatArray, part_counts: FloatArray
) -> Sampler:
    return SourceSampler(component, folded.domain, energy_edges, part_counts)
