r"""Sources on the sky, folded: everything that photons pass the whole response from.

The density is

.. math:: \lambda(E', \Omega') = t \sum_e \phi(E_e)\, R_e(E'\mid o)\, M_e(\Omega') ,

where :math:`M_e` is the brightness times effective area convolved with the PSF. Expected counts,

.. math:: c = t \sum_e \phi(E_e) \int S(\Omega)\, A_e(o)\, P_e(\mathrm{domain}\mid\Omega)\, p_e(o)\,\mathrm{d}\Omega ,

are integrated over the *true* sky, where they need no convolution of the source: :math:`P_e` is the probability to be
reconstructed inside the domain of selection on the sky (:mod:`pymc_gamma.folding.containment`) and :math:`p_e` inside
its energy range. So they do not share the approximations of the densities and check them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding import kernels
from pymc_gamma.folding.energies import Place
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.live_shapes import LiveShape, class_of_model
from pymc_gamma.folding.parts import Analytic, Template
from pymc_gamma.folding.photons import PhotonComponent
from pymc_gamma.folding.raster import SPILL_MARGIN, Raster
from pymc_gamma.folding.tables import interpolate_area
from pymc_gamma.geometry import EqualAreaPlane, separation_deg
from pymc_gamma.sums import weighted_sum

__all__ = ["CompiledSources"]

GAUSSIAN_REACH = 9.0
"""Beyond as many widths nothing of a Gaussian source is evaluated, neither at events nor in integrals."""
NO_TABLE = np.empty((0, 0, 0))
_ANALYTIC_ARRAYS = ("vectors", "variance", "minor_variance", "major_axis", "flux")


@dataclass(frozen=True, eq=False)
class CompiledSources(PhotonComponent):
    """Point and Gaussian sources, and templates.

    Attributes
    ----------
    analytic : Analytic, optional
        Those in closed form.
    templates : tuple of Template
        The others.
    form : LiveShape, optional
        Position and extension of a single source of a known shape.
    free : bool
        Whether they are left to a model: the response is then prepared for other ones.
    """

    kind: ClassVar[str] = "sources"
    analytic: Analytic | None = None
    templates: tuple[Template, ...] = field(default=())
    form: LiveShape | None = None
    free: bool = False

    @property
    def n_parts(self) -> int:
        """Number of sources and templates."""
        return (0 if self.analytic is None else len(self.analytic.flux)) + len(self.templates)

    @property
    def shape(self) -> LiveShape | None:
        """Position and extension, of a single source that may leave them to a model."""
        return self.form

    @property
    def is_free(self) -> bool:
        """Whether its position and extension are left to a model."""
        return self.free

    def freed(self) -> "CompiledSources":
        """The component with its position and extension left to a model."""
        return super().freed() if self.form is None else replace(self, free=True)

    def with_fluxes(self, fluxes: FloatArray) -> "CompiledSources":
        """The component with other spectra for its parts, shape (n_parts, n_nodes)."""
        n = 0 if self.analytic is None else len(self.analytic.flux)
        return replace(
            self,
            analytic=None if self.analytic is None else replace(self.analytic, flux=fluxes[:n]),
            templates=tuple(replace(t, flux=flux) for t, flux in zip(self.templates, fluxes[n:], strict=True)),
        )

    def part_fluxes(self) -> FloatArray:
        """Spectra of all parts on the spectrum nodes, TeV-1 cm-2 s-1, shape (n_parts, n_nodes)."""
        analytic = [] if self.analytic is None else list(self.analytic.flux)
        return np.stack([*analytic, *(template.flux for template in self.templates)])

    def spectra(self) -> list[FloatArray]:
        """Spectra on the nodes that the bins of true energy must resolve.

        Sources are looked at one by one. Templates may be slices of a cube, whose spectra are hats that add up to
        something smooth: their sum is.
        """
        analytic = [] if self.analytic is None else list(self.analytic.flux)
        return [*analytic, *([np.sum([one.flux for one in self.templates], axis=0)] if self.templates else [])]

    def rasters(self) -> dict[str, Raster]:
        """Brightness of the templates, by their names."""
        return {template.name: template.raster for template in self.templates}

    def peaks(self) -> tuple[FloatArray, FloatArray]:
        """Positions of the point and Gaussian sources, and their variances along the minor axis in deg2."""
        return super().peaks() if self.analytic is None else (self.analytic.vectors, self.analytic.minor_variance)

    def offsets(self, axis: FloatArray) -> tuple[float, float]:
        """Range in deg of the offsets from a pointing (a unit vector) at which it shines."""
        if self.templates or self.analytic is None:
            return 0.0, math.inf
        centre, reach = separation_deg(self.analytic.vectors, axis), GAUSSIAN_REACH * np.sqrt(self.analytic.variance)
        if self.form is not None and self.free:
            reach = np.maximum(reach, self.form.furthest(self.form.limits()))
        return max(float((centre - reach).min()), 0.0), float((centre + reach).max())

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a store keeps of it."""
        meta: dict[str, Any] = {
            "name": self.name,
            "sources": [] if self.analytic is None else list(self.analytic.names),
            "templates": [
                {
                    "name": template.name,
                    "lon": template.raster.plane.lon,
                    "lat": template.raster.plane.lat,
                    "pixel": template.raster.pixel,
                }
                for template in self.templates
            ],
        }
        if self.form is not None:
            meta["shape"] = {"model": self.form.model, "parameters": self.form.parameters}
        arrays: dict[str, NDArray[Any]] = {}
        if self.analytic is not None:
            arrays |= {f"sources_{key}": getattr(self.analytic, key) for key in _ANALYTIC_ARRAYS}
        for k, template in enumerate(self.templates):
            arrays |= {f"template_{k}_values": template.raster.values, f"template_{k}_flux": template.flux}
        return meta, arrays

    @classmethod
    def from_arrays(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "CompiledSources":
        """The component from a store."""
        analytic = None
        if meta["sources"]:
            analytic = Analytic(tuple(meta["sources"]), **{key: arrays[f"sources_{key}"] for key in _ANALYTIC_ARRAYS})
        templates = tuple(
            Template(
                data["name"],
                Raster(EqualAreaPlane(data["lon"], data["lat"]), data["pixel"], arrays[f"template_{k}_values"]),
                arrays[f"template_{k}_flux"],
            )
            for k, data in enumerate(meta["templates"])
        )
        form = meta.get("shape")
        return cls(meta["name"], analytic, templates, None if form is None else _stored_shape(**form))

    def add_bands(
        self,
        folded: FoldedObservation,
        vectors: FloatArray,
        place: Place,
        dispersion: NDArray[Any],
        out: FloatArray,
    ) -> None:
        """Add the component to bands of true energy, for its spectra; see `PhotonComponent.add_bands`."""
        tables, livetime, axis = folded.tables, folded.observation.livetime_s, folded.axis
        analytic = self.analytic
        if analytic is not None:
            flux = folded.at_bins(analytic.flux) * livetime
            events = (vectors, *place, dispersion, tables.edisp_offset, axis)
            smooth = tables.aeff_smooth if analytic.variance.any() else NO_TABLE
            response = (tables.aeff, smooth, tables.variance, tables.widest, tables.weight)
            round_, long = ~analytic.elongated, analytic.elongated
            if round_.any():
                kernels.add_gaussians(
                    *events,
                    analytic.vectors[round_],
                    analytic.variance[round_],
                    flux[round_],
                    *response,
                    tables.offset_step,
                    out,
                )
            if long.any():
                kernels.add_elongated(
                    *events,
                    analytic.vectors[long],
                    analytic.major_axis[long],
                    analytic.variance[long],
                    analytic.minor_variance[long],
                    flux[long],
                    *response,
                    tables.offset_step,
                    out,
                )
        for template in self.templates:
            ladder, raster = folded.ladders[self.name, template.name], template.raster
            x, y = raster.plane.project(vectors)
            axis_x, axis_y = raster.plane.project(axis)
            kernels.add_template(
                x,
                y,
                separation_deg(vectors, axis),
                *place,
                dispersion,
                tables.edisp_offset,
                float(axis_x),
                float(axis_y),
                ladder.coefficients,
                raster.origin,
                raster.pixel,
                ladder.positions(tables.variance),
                ladder.step,
                folded.at_bins(template.flux) * livetime,
                tables.aeff,
                tables.aeff_smooth,
                tables.variance,
                tables.weight,
                tables.offset_step,
                out,
            )

    def part_exposure(self, folded: FoldedObservation, energy: FloatArray) -> FloatArray:
        """Exposure in cm2 s of each part, averaged over its brightness, at true energies in TeV, (n_parts, n)."""
        area, step = interpolate_area(folded.observation.irfs, energy)
        n = 0 if self.analytic is None else len(self.analytic.variance)
        nodes = [self.analytic.nodes(p, 12, 16) for p in range(n) if self.analytic is not None]
        nodes += [template.raster.nodes() for template in self.templates]
        out = []
        for vectors, weight in nodes:
            position = separation_deg(vectors, folded.axis) / step
            seen = position <= area.shape[1] - 1
            left = np.minimum(position.astype(int), area.shape[1] - 2)
            fraction = position - left
            of_node = np.bincount(left[seen], (weight * (1 - fraction))[seen], area.shape[1])
            of_node += np.bincount(left[seen] + 1, (weight * fraction)[seen], area.shape[1])
            out.append(folded.observation.livetime_s * weighted_sum(area, of_node) / weight.sum())
        return np.stack(out)

    def true_sky(self, folded: FoldedObservation) -> list[FloatArray]:
        """Integrals of the response over the true sky, of the sources and the templates."""
        n = 0 if self.analytic is None else len(self.analytic.variance)
        nodes = [_source_nodes(self.analytic, p, folded) for p in range(n) if self.analytic is not None]
        nodes += [template.raster.nodes() for template in self.templates]
        return [folded.true_sky(*one) for one in nodes]


def _stored_shape(model: str, parameters: Mapping[str, float]) -> LiveShape:
    shape = class_of_model(model)(**{name: float(value) for name, value in parameters.items()})
    if shape.differs(shape):  # what is no number
        raise ValueError(f"the parameters {dict(parameters)} are not those of a {model}")
    return shape


def _source_nodes(analytic: Analytic, p: int, folded: FoldedObservation) -> tuple[FloatArray, FloatArray]:
    """Quadrature nodes on the true sky of a point or Gaussian source.

    Far more where the source straddles an edge of the domain: the integrand falls off within the PSF there.
    """
    roi = folded.roi
    centre, variance = analytic.vectors[p], analytic.variance[p]
    if variance == 0:
        return centre[None], np.ones(1)
    sigma = np.sqrt(variance)
    if folded.mask.is_whole(centre, 5 * sigma + 0.5):
        return analytic.nodes(p, 12, 16)
    size = min(roi.half_extent)
    if sigma < 0.2 * size:
        return analytic.nodes(p, 64, 64)
    # the region sees a part of the source: nodes around the region, not around the source
    spill = max(SPILL_MARGIN, 5 * math.sqrt(folded.tables.variance_range[1]))
    half = roi.radius + spill
    step = min(0.05, sigma / 6, size / 8)
    if analytic.elongated[p]:
        return _elongated_nodes(analytic, p, roi.basis[0], half, step)
    grid = np.arange(-half, half + step, step)
    x, y = np.meshgrid(grid, grid)
    vectors = roi.plane.unproject(x.ravel(), y.ravel())
    separation = separation_deg(vectors, centre)
    density = np.exp(-0.5 * separation**2 / variance) / (2 * np.pi * variance)
    seen = separation < 7 * sigma
    return np.ascontiguousarray(vectors[seen]), density[seen] * step**2


def _elongated_nodes(
    analytic: Analytic, p: int, middle: FloatArray, half: float, step: float
) -> tuple[FloatArray, FloatArray]:
    """Quadrature nodes of an elongated Gaussian within ``half`` deg of a direction: a grid along its axes."""
    centre, major_axis = analytic.vectors[p], analytic.major_axis[p]
    grids, profiles = [], []
    for variance in (analytic.variance[p], analytic.minor_variance[p]):
        sigma = np.sqrt(variance)
        width = min(step, 0.5 * sigma)
        # a line has one node across
        grid = np.arange(-np.ceil(7 * sigma / width), np.ceil(7 * sigma / width) + 1) * width if sigma else np.zeros(1)
        profile = np.exp(-0.5 * grid**2 / variance) if sigma else np.ones(1)
        grids.append(grid)
        profiles.append(profile / profile.sum())
    u, w = (np.radians(axis.ravel()) for axis in np.meshgrid(*grids))
    arc = np.hypot(u, w)
    local = np.stack([np.cos(arc), np.sinc(arc / np.pi) * u, np.sinc(arc / np.pi) * w], axis=-1)
    vectors = local @ np.stack([centre, major_axis, np.cross(centre, major_axis)])
    weight = np.outer(profiles[1], profiles[0]).ravel()
    seen = separation_deg(vectors, middle) < half
    return np.ascontiguousarray(vectors[seen]), weight[seen]
