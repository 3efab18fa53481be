"""Sources folded anew, for comparison with live ones."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.modeling.models import GaussianSpatialModel, PointSpatialModel, PowerLawSpectralModel
from setups import quick_start_irfs

import pymc_gamma as pmg
from pymc_gamma.folding.live import LiveSource
from pymc_gamma.folding.live_shapes import DiskShape, GaussianShape, PointShape, ShellShape
from pymc_gamma.geometry import tangent_basis, unit_vectors

ENERGY = (0.5, 20.0)
BINS = 40
LIVETIMES = (20.0, 8.0)


@cache
def mixed_irfs():
    """The PSF as a sum of three Gaussians."""
    irfs = quick_start_irfs()
    psf = irfs.psf
    sigma = np.concatenate([psf.sigma * factor for factor in (0.8, 1.4, 2.6)])
    weight = np.concatenate([psf.weight * share for share in (0.72, 0.22, 0.06)])
    return replace(irfs, psf=replace(psf, sigma=sigma, weight=weight), name=irfs.name + "-mixed")


@cache
def wider_irfs(factor):
    """A PSF that is wider by a factor."""
    irfs = quick_start_irfs()
    return replace(irfs, psf=replace(irfs.psf, sigma=irfs.psf.sigma * factor), name=f"{irfs.name}-{factor}")


def sky_source(shape):
    position = {"lon_0": shape.lon_0 * u.deg, "lat_0": shape.lat_0 * u.deg, "frame": "galactic"}
    if isinstance(shape, PointShape) or shape.sigma == 0:
        spatial = PointSpatialModel(**position)
    else:
        spatial = GaussianSpatialModel(sigma=shape.sigma * u.deg, e=shape.e, phi=shape.phi * u.deg, **position)
    amplitude = u.Quantity(3e-12, "TeV-1 cm-2 s-1")
    return pmg.SkySource("source", spatial, PowerLawSpectralModel(index=2.3, amplitude=amplitude, reference="1 TeV"))


class Scene:
    """Events of a source under some observations, and the source live and folded anew."""

    def __init__(self, shape, pointings=((0.5, 0.3),), centre=(0.0, 0.0), width=2.0, irfs=None, seed=1, n_events=700):
        each = irfs or (quick_start_irfs(),) * len(pointings)
        self.observations = [
            pmg.Observation(
                one, pointing=SkyCoord(*at, unit="deg", frame="galactic"), livetime=hours * u.h, name=str(k)
            )
            for k, (one, at, hours) in enumerate(zip(each, pointings, LIVETIMES, strict=False))
        ]
        middle = SkyCoord(*centre, unit="deg", frame="galactic")
        self.roi = pmg.RegionOfInterest(center=middle, width=width * u.deg, energy=ENERGY * u.TeV)
        self.shape = shape
        response = self.response(shape)
        events = response.simulate(rng=seed)
        rows = response.event_rows(events)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:n_events])
        self.rows = rows[chosen]
        self.energy, self.observation = rows[chosen, 0], np.zeros(len(chosen), np.int64)
        if len(self.observations) > 1:
            self.observation = rows[chosen, 3].astype(np.int64)
        self.vectors = unit_vectors(rows[chosen, 1], rows[chosen, 2])

    def response(self, shape, observations=None, **options):
        with_observations = self.observations if observations is None else observations
        return pmg.fold([sky_source(shape)], with_observations, self.roi, energy_true=BINS, **options)

    def live(self, **options):
        response = self.response(self.shape)
        spectrum = response.components[0].part_fluxes()[0]
        return LiveSource(self.shape, response._fold.folded, response.energy_true_edges, spectrum, **options)

    def tables(self, source):
        return source.tables(self.vectors, self.energy, self.observation)

    def refolded(self, shape, coefficients, observations=None):
        """Density of a free spectrum, and expected counts per coefficient (n_observations, n)."""
        observations = self.observations if observations is None else observations
        response = self.response(shape, observations, free_spectrum="source")
        bands = response.spectral_bands(self.rows, smooth=["source"])
        density = np.zeros(len(self.rows))
        for i, first in enumerate(bands.column[:, 0]):
            values = bands.values[bands.pointer[i] : bands.pointer[i + 1]]
            density[i] = values @ coefficients[first : first + len(values)]
        counts = [self.response(shape, [one], free_spectrum="source") for one in observations]
        total = response.free_components[0].smooth.acceptance.sum()
        return density * total, np.array([one.free_components[0].smooth.acceptance[0] for one in counts])


def moved(shape, lon=0.0, lat=0.0, **changes):
    position = {"lon_0": shape.lon_0 + lon, "lat_0": shape.lat_0 + lat}
    return replace(shape, **position, **changes)


def rms(found, expected, floor=1e-4):
    """Of relative differences, where densities are not negligible."""
    used = expected > floor * expected.max()
    return np.sqrt(np.mean((found[used] / expected[used] - 1) ** 2))


def points_of(shape, brightness, n_radii=28, n_azimuths=80):
    """Points of a round source, and their shares, from its brightness in deg-2."""
    basis = tangent_basis(shape.lon_0, shape.lat_0)
    node, weight = np.polynomial.legendre.leggauss(n_radii)
    edges = sorted({0.0, *shape.own[1::2]})
    vectors, shares = [], []
    for low, high in pairwise(edges):
        angle = 0.5 * np.pi * (node + 1)  # the roots of a shell end in the edges
        radius = low + 0.5 * (high - low) * (1 - np.cos(angle))
        ring = 0.25 * np.pi * weight * (high - low) * np.sin(angle) * radius * 2 * np.pi / n_azimuths
        for k, r in enumerate(radius):
            azimuth = 2 * np.pi * (np.arange(n_azimuths) + 0.5 * (k % 2)) / n_azimuths
            arc = np.radians(r)
            outward = np.cos(azimuth)[:, None] * basis[1] + np.sin(azimuth)[:, None] * basis[2]
            vectors.append(np.cos(arc) * basis[0] + np.sin(arc) * outward)
            shares.append(np.full(n_azimuths, brightness(r) * ring[k]))
    return np.concatenate(vectors), np.concatenate(shares)


def disc_brightness(shape):
    return lambda r: float(r < shape.r_0) / (np.pi * shape.r_0**2)


def shell_brightness(shape):
    inner, outer = shape.radius, shape.radius + shape.width

    def brightness(r):
        roots = [np.sqrt(max(edge**2 - r**2, 0.0)) for edge in (outer, inner)]
        return 3 * (roots[0] - roots[1]) / (2 * np.pi * (outer**3 - inner**3))

    return brightness


ROUND = {
    "disc": (DiskShape(0.2, -0.1, 0.3), {"r_0": 0.32}, disc_brightness),
    "shell": (ShellShape(0.2, -0.1, 0.2, 0.1), {"radius": 0.21, "width": 0.08}, shell_brightness),
}


__all__ = [
    "ROUND",
    "GaussianShape",
    "PointShape",
    "Scene",
    "mixed_irfs",
    "moved",
    "points_of",
    "rms",
    "sky_source",
    "wider_irfs",
]
