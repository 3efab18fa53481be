r"""Instrument response functions (IRFs) as clean arrays.

The expected rate of reconstructed events of a sky brightness :math:`\phi(E,\Omega)` is

.. math:: \lambda(E',\Omega') = \int A(E, o)\, R(E'\mid E, o)\, P(\Omega'\mid \Omega, E, o)\,
          \phi(E,\Omega)\,\mathrm{d}E\,\mathrm{d}\Omega ,

with effective area :math:`A`, energy dispersion :math:`R`, point spread function :math:`P` and offset :math:`o` from
the pointing. The residual background is given directly in reconstructed coordinates. Every table is a set of nodes
with multilinear interpolation between them, the convention of gammapy: logarithmic in energy, linear in offset,
linear extrapolation from the outermost bin centres to the bin edges, zero beyond
(GADF, https://gamma-astro-data-formats.readthedocs.io).

A point-like response is that of photons of one point source, of which the events within a distance of it are kept: it
has no point spread function (:mod:`pymc_gamma.instrument.irfs.rad_max`).

Files are read by :mod:`pymc_gamma.instrument.irfs.load`; a module for each table checks and repairs what is in it.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arguments import checked, instance, mapping, number, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import IRFError
from pymc_gamma.instrument.irfs.rad_max import RadMax
from pymc_gamma.pictures import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ALIGNMENTS", "Background", "EffectiveArea", "EnergyDispersion", "IRFs", "PointSpread"]

ALIGNMENTS = ("RADEC", "ALTAZ")
"""Orientations of a field of view: its latitude grows towards the celestial north or towards the zenith."""

EDGE_ROUNDING = 1e-6
"""Relative width by which an energy may exceed the outermost edge: files store edges in single precision."""

TINY_RATE = 1e-60
"""Stands for a rate of zero, which has no logarithm to interpolate; far below one event in any observation."""


@dataclass(frozen=True)
class EffectiveArea:
    """Effective area on nodes of true energy and offset.

    Attributes
    ----------
    energy : numpy.ndarray
        Nodes of true energy in TeV, shape (n_energy,).
    offset : numpy.ndarray
        Nodes of offset in deg, shape (n_offset,).
    values : numpy.ndarray
        cm2, shape (n_energy, n_offset). Extrapolated to the edges it may be negative there: interpolate
        first, then clip at zero, as gammapy does.
    """

    energy: FloatArray
    offset: FloatArray
    values: FloatArray


@dataclass(frozen=True)
class EnergyDispersion:
    r"""Probability density of the migration :math:`\mu = E'/E`, normalised to :math:`\int p\,\mathrm{d}\mu = 1`.

    Attributes
    ----------
    energy, offset : numpy.ndarray
        Nodes in TeV (n_energy,) and deg (n_offset,). Constant beyond the outermost nodes.
    migra : numpy.ndarray
        Equidistant nodes of the migration, shape (n_migra,).
    density : numpy.ndarray
        Shape (n_energy, n_offset, n_migra).
    offset_max : float
        Largest offset in deg at which the file gives it: the outermost edge, or node; inf where the file says nothing.
    energy_range : tuple of float
        Range of true energy in TeV in which the file gives it.
    """

    energy: FloatArray
    offset: FloatArray
    migra: FloatArray
    density: FloatArray
    offset_max: float = math.inf
    energy_range: tuple[float, float] = (0.0, math.inf)


@dataclass(frozen=True)
class PointSpread:
    r"""Sum of Gaussians :math:`\sum_g w_g \exp(-r^2/2\sigma_g^2)/(2\pi\sigma_g^2)` with :math:`\sum_g w_g = 1`.

    Attributes
    ----------
    energy, offset : numpy.ndarray
        Nodes in TeV (n_energy,) and deg (n_offset,).
    sigma : numpy.ndarray
        Widths in deg, shape (n_gauss, n_energy, n_offset).
    weight : numpy.ndarray
        Weights, same shape.
    offset_max : float
        Largest offset in deg at which the file gives it: the outermost edge, or node; inf where the file says nothing.
    energy_range : tuple of float
        Range of true energy in TeV in which the file gives it.
    containment_error : numpy.ndarray or None
        Largest difference over the radius between the containment of the PSF of the file and of these Gaussians, shape
        (n_energy, n_offset); NaN in cells that were filled from a neighbour. None where the file holds Gaussians.
    photon_share : numpy.ndarray or None
        Share of the detected photons of a spectrum :math:`E^{-2.5}` in each cell (effective area times spectrum times
        the distance of the nodes in energy), the same shape; cells without a fit have none, the rest sums to 1.
    """

    energy: FloatArray
    offset: FloatArray
    sigma: FloatArray
    weight: FloatArray
    offset_max: float = math.inf
    energy_range: tuple[float, float] = (0.0, math.inf)
    containment_error: FloatArray | None = None
    photon_share: FloatArray | None = None

    @property
    def fit_error(self) -> float:
        """Mean of :attr:`containment_error` over the detected photons; 0 where the file itself holds Gaussians."""
        if self.containment_error is None or self.photon_share is None:
            return 0.0
        return float(np.nansum(self.containment_error * self.photon_share))

    def containment(self, radius: FloatArray) -> FloatArray:
        """Share of the photons within radii.

        Parameters
        ----------
        radius : numpy.ndarray
            Degrees, shape (n,), or one for each cell, shape (n, n_energy, n_offset).

        Returns
        -------
        numpy.ndarray
            Shape (n, n_energy, n_offset).
        """
        radius = np.asarray(radius, float)
        if radius.ndim == 1:
            radius = radius[:, None, None]
        # term by term: all radii times all Gaussians would be large
        shares = (w * -np.expm1(-0.5 * (radius / s) ** 2) for w, s in zip(self.weight, self.sigma, strict=True))
        return np.asarray(sum(shares))

    def containment_radius(self, fraction: float) -> FloatArray:
        """Radius in deg that holds a share of the photons, shape (n_energy, n_offset); by bisection to 1e-9 of it."""
        low = np.zeros(self.sigma.shape[1:])
        high = self.sigma.max(axis=0) * math.sqrt(-2 * math.log1p(-fraction))
        for _ in range(30):
            middle = 0.5 * (low + high)
            below = self.containment(middle[None])[0] < fraction
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(0.5 * (low + high))

    def arrays(self) -> dict[str, FloatArray]:
        """The table as arrays by name; enough to rebuild it (see :meth:`from_arrays`)."""
        tables = {
            "psf_energy": self.energy,
            "psf_offset": self.offset,
            "psf_sigma": self.sigma,
            "psf_weight": self.weight,
            "psf_reach": np.array([self.offset_max, *self.energy_range]),
        }
        if self.containment_error is not None and self.photon_share is not None:
            tables |= {"psf_containment_error": self.containment_error, "psf_photon_share": self.photon_share}
        return tables

    @classmethod
    def from_arrays(cls, tables: Mapping[str, FloatArray]) -> "PointSpread":
        """Inverse of :meth:`arrays`."""
        return cls(
            energy=tables["psf_energy"],
            offset=tables["psf_offset"],
            sigma=tables["psf_sigma"],
            weight=tables["psf_weight"],
            containment_error=tables.get("psf_containment_error"),
            photon_share=tables.get("psf_photon_share"),
            **_reach(tables["psf_reach"]),
        )

    def __repr__(self) -> str:
        low, high = self.energy[[0, -1]]
        fit = "" if self.containment_error is None else f", containment right within {self.fit_error:.1%} on average"
        return (
            f"PointSpread({len(self.sigma)} Gaussian(s), energy_true {low:.3g}-{high:.3g} TeV, "
            f"offset {self.offset[0]:g}-{self.offset[-1]:g} deg{fit})"
        )


@dataclass(frozen=True)
class Background:
    """Residual background rate in reconstructed energy and field-of-view coordinates.

    The rate is given in the bins of the file: from edge to edge in energy, and on the sky in the covered bins. Between
    the centres of bins it is interpolated, from the outermost centres to the edges it is constant, elsewhere it is
    zero.

    Attributes
    ----------
    energy : numpy.ndarray
        Nodes of reconstructed energy in TeV.
    fov_lon, fov_lat : numpy.ndarray
        Nodes in deg. A radial background has its offsets in ``fov_lon`` and one node, 0, in ``fov_lat``.
    rate : numpy.ndarray
        s-1 TeV-1 sr-1, positive, shape (n_energy, n_lon, n_lat), interpolated in the logarithm.
    radial : bool
        Whether the rate depends on the offset only.
    energy_range : tuple of float
        Edges of the energy axis in TeV; the rate is zero beyond.
    fov_lon_edges, fov_lat_edges : numpy.ndarray
        Ascending edges of the bins in deg, n_lon_bins + 1 and n_lat_bins + 1 of them.
    covered : numpy.ndarray
        Whether the background is known in a bin, shape (n_lon_bins, n_lat_bins).
    alignment : str
        One of :data:`ALIGNMENTS`: what ``fov_lat`` points to, celestial north or the zenith.

    Raises
    ------
    ValueError
        If the shapes do not match, or the alignment is unknown.
    """

    energy: FloatArray
    fov_lon: FloatArray
    fov_lat: FloatArray
    rate: FloatArray
    radial: bool
    energy_range: tuple[float, float]
    fov_lon_edges: FloatArray
    fov_lat_edges: FloatArray
    covered: NDArray[np.bool_]
    alignment: str = "RADEC"

    def __post_init__(self) -> None:
        bins = (len(self.fov_lon_edges) - 1, len(self.fov_lat_edges) - 1)
        nodes = (len(self.energy), len(self.fov_lon), len(self.fov_lat))
        if self.rate.shape != nodes or self.covered.shape != bins:
            raise ValueError(
                f"a background on nodes {nodes} and bins {bins} needs rate and covered of these shapes, got "
                f"{self.rate.shape} and {self.covered.shape}."
            )
        if self.alignment not in ALIGNMENTS:
            raise ValueError(f"alignment must be one of {ALIGNMENTS}, got {self.alignment!r}.")

    def arrays(self) -> dict[str, FloatArray]:
        """The table as arrays by name; enough to rebuild it (see :meth:`from_arrays`)."""
        return {
            "bkg_energy": self.energy,
            "bkg_fov_lon": self.fov_lon,
            "bkg_fov_lat": self.fov_lat,
            "bkg_rate": self.rate,
            "bkg_radial": np.array([float(self.radial)]),
            "bkg_energy_range": np.array(self.energy_range),
            "bkg_fov_lon_edges": self.fov_lon_edges,
            "bkg_fov_lat_edges": self.fov_lat_edges,
            "bkg_covered": np.asarray(self.covered, float),
            "bkg_alignment": np.array([float(ALIGNMENTS.index(self.alignment))]),
        }

    @classmethod
    def from_arrays(cls, tables: Mapping[str, FloatArray]) -> "Background":
        """Inverse of :meth:`arrays`."""
        low, high = tables["bkg_energy_range"]
        return cls(
            energy=tables["bkg_energy"],
            fov_lon=tables["bkg_fov_lon"],
            fov_lat=tables["bkg_fov_lat"],
            rate=tables["bkg_rate"],
            radial=bool(tables["bkg_radial"][0]),
            energy_range=(float(low), float(high)),
            fov_lon_edges=tables["bkg_fov_lon_edges"],
            fov_lat_edges=tables["bkg_fov_lat_edges"],
            covered=tables["bkg_covered"] > 0,
            alignment=ALIGNMENTS[int(tables["bkg_alignment"][0])],
        )

    def covers(self, vectors: FloatArray, basis: FloatArray) -> NDArray[np.bool_]:
        """Whether the background is known at directions; where it is, :meth:`rate_at` is positive.

        Parameters
        ----------
        vectors : numpy.ndarray
            Unit vectors, shape (n, 3).
        basis : numpy.ndarray
            Rotation matrix (3, 3) from the frame of the vectors into the field of view of the background
            (:meth:`Observation.background_basis <pymc_gamma.Observation.background_basis>`).

        Returns
        -------
        numpy.ndarray
            Shape (n,); the outermost edges are inside.
        """
        return self._positions(vectors, basis)[2]

    def rate_at(self, vectors: FloatArray, log_energy: FloatArray, basis: FloatArray) -> FloatArray:
        """Rate at directions and energies.

        Parameters
        ----------
        vectors : numpy.ndarray
            Unit vectors, shape (n, 3).
        log_energy : numpy.ndarray
            Natural logarithms of the reconstructed energy in TeV, shape (n,).
        basis : numpy.ndarray
            As for :meth:`covers`.

        Returns
        -------
        numpy.ndarray
            s-1 TeV-1 sr-1, shape (n,); zero where the background is not known.
        """
        return self._rates(self._positions(vectors, basis), log_energy)

    def spectra_at(self, vectors: FloatArray, log_energy: FloatArray, basis: FloatArray) -> FloatArray:
        """As :meth:`rate_at`, at each of m energies in each of n directions; shape (m, n)."""
        positions = self._positions(vectors, basis)
        return np.stack([self._rates(positions, np.full(len(vectors), x)) for x in log_energy])

    def _rates(self, positions: tuple[FloatArray, FloatArray, NDArray[np.bool_]], log_energy: FloatArray) -> FloatArray:
        from pymc_gamma.instrument.irfs import kernels

        out = np.empty(len(log_energy))
        kernels.background_rate(
            *positions,
            log_energy,
            self._log_range,
            np.log(self.energy),
            self.fov_lon,
            self.fov_lat,
            self._log_rate,
            out,
        )
        return out

    def _positions(self, vectors: FloatArray, basis: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Field-of-view longitudes and latitudes in deg, and whether they are covered."""
        from pymc_gamma.instrument.irfs import kernels

        n = len(vectors)
        lon, lat, inside = np.empty(n), np.empty(n), np.empty(n, bool)
        kernels.field_positions(
            np.ascontiguousarray(vectors, dtype=np.float64),
            np.ascontiguousarray(basis, dtype=np.float64),
            self.fov_lon_edges,
            self.fov_lat_edges,
            self.covered,
            self.radial,
            lon,
            lat,
            inside,
        )
        return lon, lat, inside

    @cached_property
    def _log_rate(self) -> FloatArray:
        return np.log(np.maximum(self.rate, TINY_RATE))

    @cached_property
    def _log_range(self) -> FloatArray:
        low, high = self.energy_range
        return np.log([low * (1 - EDGE_ROUNDING), high * (1 + EDGE_ROUNDING)])


@dataclass(frozen=True, eq=False)
class IRFs:
    """One set of instrument response functions.

    Made by :func:`load_irfs`. Compared by identity; :meth:`fingerprint` compares content.

    Attributes
    ----------
    name : str
        Name of the data set, or the file it came from.
    aeff, edisp : EffectiveArea, EnergyDispersion
        Effective area and energy dispersion: of all photons, or of those within :attr:`rad_max` of a point source.
    psf : PointSpread or None
        Point spread function; None in a point-like response.
    bkg : Background or None
        Residual background, if the file has one.
    repairs : tuple of str
        What was put right at load.
    citation : str or None
        What to cite, for bundled data.
    rad_max : RadMax or None
        Of a point-like response: within which distance of the source events count; None where the file does not say.
    """

    name: str
    aeff: EffectiveArea
    edisp: EnergyDispersion
    psf: PointSpread | None
    bkg: Background | None
    repairs: tuple[str, ...] = ()
    citations: tuple[Any, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    rad_max: RadMax | None = None

    def __post_init__(self) -> None:
        text(self.name, "IRFs: name")
        instance(self.aeff, EffectiveArea, "IRFs: aeff")
        instance(self.edisp, EnergyDispersion, "IRFs: edisp")
        for what, table, kind in (
            ("psf", self.psf, PointSpread), ("bkg", self.bkg, Background), ("rad_max", self.rad_max, RadMax)
        ):  # fmt: skip
            if table is not None:
                instance(table, kind, f"IRFs: {what}")

    def __repr__(self) -> str:
        lo, hi = self.energy_true_range
        kind = "point-like, " if self.is_point_like else ""
        return (
            f"IRFs({self.name!r}, {kind}energy_true=({lo:.3g}, {hi:.3g}) TeV, offset<={self.offset_max:g} deg, "
            f"background={'no' if self.bkg is None else 'yes'}, repairs={len(self.repairs)})"
        )

    @property
    def is_point_like(self) -> bool:
        """Whether the response is that of events near one point source, without a point spread function."""
        return self.psf is None

    @property
    def point_spread(self) -> PointSpread:
        """The point spread function.

        Raises
        ------
        IRFError
            If the response is point-like.
        """
        if self.psf is None:
            raise IRFError(
                f"IRFs {self.name} are point-like: they hold for events within a fixed distance of one point source, "
                "and have no point spread function, which a model of the sky is folded with. Count events in ON and "
                "OFF regions instead: pmg.OnOffEvents.extract(observation, events, position)."
            )
        return self.psf

    @property
    def offset_max(self) -> float:
        """Largest offset in deg at which effective area, energy dispersion and PSF are all given.

        The outermost edge where an axis has bins, the outermost node where it has nodes (``THETA_LO`` equal to
        ``THETA_HI``, as in the files of H.E.S.S.).
        """
        of_psf = math.inf if self.psf is None else self.psf.offset_max
        return min(float(self.aeff.offset[-1]), self.edisp.offset_max, of_psf)

    @property
    def energy_true_range(self) -> tuple[float, float]:
        """Range of true energy in TeV in which effective area, energy dispersion and PSF are all given."""
        low, high = float(self.aeff.energy[0]), float(self.aeff.energy[-1])
        for table in (self.edisp, self.psf):
            if table is not None:
                low, high = max(low, table.energy_range[0]), min(high, table.energy_range[1])
        return low, high

    def arrays(self) -> dict[str, FloatArray]:
        """All tables, flat, by name; enough to rebuild the IRFs (see :meth:`from_arrays`)."""
        tables: dict[str, FloatArray] = {
            "aeff_energy": self.aeff.energy,
            "aeff_offset": self.aeff.offset,
            "aeff_values": self.aeff.values,
            "edisp_energy": self.edisp.energy,
            "edisp_offset": self.edisp.offset,
            "edisp_migra": self.edisp.migra,
            "edisp_density": self.edisp.density,
            "edisp_reach": np.array([self.edisp.offset_max, *self.edisp.energy_range]),
        }
        for table in (self.psf, self.bkg, self.rad_max):
            if table is not None:
                tables |= table.arrays()
        return tables

    @classmethod
    @checked(tables=mapping, name=text)
    def from_arrays(cls, tables: Mapping[str, FloatArray], name: str, repairs: tuple[str, ...] = ()) -> "IRFs":
        """Inverse of :meth:`arrays`."""
        bkg = Background.from_arrays(tables) if "bkg_energy" in tables else None
        return cls(
            name=name,
            aeff=EffectiveArea(*(tables[f"aeff_{key}"] for key in ("energy", "offset", "values"))),
            edisp=EnergyDispersion(
                energy=tables["edisp_energy"],
                offset=tables["edisp_offset"],
                migra=tables["edisp_migra"],
                density=tables["edisp_density"],
                **_reach(tables["edisp_reach"]),
            ),
            psf=PointSpread.from_arrays(tables) if "psf_energy" in tables else None,
            bkg=bkg,
            repairs=repairs,
            rad_max=RadMax.from_arrays(tables) if "rad_max_energy" in tables else None,
        )

    @checked(energy_scale=partial(number, low=0), psf_scale=partial(number, low=0))
    def distorted(self, *, energy_scale: float = 1.0, psf_scale: float = 1.0) -> "IRFs":
        """The response of an instrument that is off by factors: what systematic uncertainties are made of.

        Parameters
        ----------
        energy_scale : float
            Factor on the reconstructed energies of gamma rays.
        psf_scale : float
            Factor on the width of the PSF.

        Returns
        -------
        IRFs
            The background is left as it is: it was measured in reconstructed energies.

        Raises
        ------
        ValueError
            If a factor is not positive and finite.
        """
        for name, value in (("energy_scale", energy_scale), ("psf_scale", psf_scale)):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, 1 for the nominal response, got {value}.")
        edisp, psf = self.edisp, self.psf
        migra, density = edisp.migra * energy_scale, edisp.density / energy_scale
        return replace(
            self,
            name=f"{self.name}, energy scale {energy_scale:g}, PSF scale {psf_scale:g}",
            edisp=replace(edisp, migra=migra, density=density),
            psf=None if psf is None else replace(psf, sigma=psf.sigma * psf_scale),
        )

    def fingerprint(self) -> str:
        """Hash of the content of all tables."""
        digest = hashlib.blake2b(digest_size=16)
        for key, table in self.arrays().items():
            digest.update(f"{key}{table.shape}".encode())
            digest.update(np.ascontiguousarray(table, dtype=np.float64).tobytes())
        return digest.hexdigest()

    def peek(self, *, fig: "Figure | None" = None) -> "Figure":
        """Plot the effective area, energy dispersion, PSF and background.

        Parameters
        ----------
        fig : matplotlib.figure.Figure, optional
            Where to draw.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        figure: Figure = picture("peek_irfs")(self, fig=fig)
        return figure


def _reach(stored: FloatArray) -> dict[str, Any]:
    """How far a table goes, as its class takes it."""
    offset_max, low, high = map(float, stored)
    return {"offset_max": offset_max, "energy_range": (low, high)}
