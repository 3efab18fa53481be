"""Settings and yardsticks that the physics tests and the slow validation share.

The setting is that of the quick start: 50 h on the Galactic centre, 6.4 deg x 6.4 deg, 0.1-100 TeV.
"""

from functools import cache
from itertools import pairwise

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from oracle import Oracle
from scipy import stats

import pymc_gamma as pmg
from pymc_gamma.folding.energies import AtEnergies
from pymc_gamma.folding.engine import density
from pymc_gamma.folding.sources import CompiledSources
from pymc_gamma.geometry import lonlat_from_vectors, separation_deg, tangent_basis, unit_vectors

QUICK_START = "prod5-south-20deg-50h"
P_VALUE = 1e-3
"""Tests of distributions fail below it: 99.9 %."""


def direction(lon, lat, frame="galactic"):
    return SkyCoord(lon * u.deg, lat * u.deg, frame=frame)


@cache
def quick_start_irfs():
    return pmg.load_irfs(QUICK_START)


def pointing(lon=0.0, lat=0.0, frame="galactic", hours=50.0, irfs=None):
    irfs = quick_start_irfs() if irfs is None else irfs
    return pmg.Observation(irfs, pointing=direction(lon, lat, frame), livetime=hours * u.h)


def region(lon=0.0, lat=0.0, frame="galactic", energy=(0.1, 100.0), **size):
    size = {key: value * u.deg for key, value in (size or {"width": 6.4}).items()}
    return pmg.RegionOfInterest(center=direction(lon, lat, frame), energy=energy * u.TeV, **size)


def source(name, lon, lat, sigma=0.0, index=2.2, amplitude=1e-12, frame="galactic"):
    """A point source, or a Gaussian of width ``sigma`` deg, with a power law (TeV-1 cm-2 s-1 at 1 TeV)."""
    from gammapy.modeling.models import GaussianSpatialModel, PointSpatialModel, PowerLawSpectralModel

    where = {"lon_0": lon * u.deg, "lat_0": lat * u.deg, "frame": frame}
    spatial = GaussianSpatialModel(sigma=sigma * u.deg, **where) if sigma else PointSpatialModel(**where)
    spectral = PowerLawSpectralModel(index=index, amplitude=amplitude * u.Unit("TeV-1 cm-2 s-1"), reference=1 * u.TeV)
    return pmg.SkySource(name, spatial, spectral)


def edge_sources():
    """Sources far off axis and across the edge of the region."""
    return [
        source("far point", 2.6, -1.9, index=2.4),
        source("far gaussian", -2.3, 2.2, sigma=0.25, index=2.0),
        source("edge point", 3.17, 0.6, index=2.6),
        source("outside point", 3.25, -1.0, index=2.2),
        source("edge gaussian", 0.9, 3.15, sigma=0.4, index=2.3),
    ]


def quick_start_components():
    return [pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()]


@cache
def quick_start_response():
    """The components of the quick start and the sources at the edges, one pointing."""
    return pmg.fold([*quick_start_components(), *edge_sources()], pointing(), region())


def column(response, name):
    return response.component_names.index(name)


def only(response, name):
    """Weights that pick one component."""
    return np.eye(len(response.component_names))[column(response, name)]


def energy_nodes(edges, per_decade=30):
    """Nodes and weights (TeV) of an integral over energy, and the bin of each: Gauss-Legendre in log E."""
    node, weight = np.polynomial.legendre.leggauss(2)
    where, measure, which = [], [], []
    for k, (low, high) in enumerate(pairwise(np.log(edges))):
        panels = max(1, int(np.ceil((high - low) / np.log(10) * per_decade / 2)))
        bounds = np.linspace(low, high, panels + 1)
        half = 0.5 * np.diff(bounds)[:, None]
        x = np.exp(0.5 * (bounds[1:] + bounds[:-1])[:, None] + half * node).ravel()
        where.append(x)
        measure.append((half * weight).ravel() * x)
        which.append(np.full(len(x), k))
    return np.concatenate(where), np.concatenate(measure), np.concatenate(which)


def compact_shape(response, name, margin=0.9):
    """Centre and radius (deg) beyond which a component of analytic sources is dark; None for others."""
    component = response.components[column(response, name)]
    analytic = component.analytic if isinstance(component, CompiledSources) else None
    if analytic is None or len(analytic.names) > 1:
        return None
    return analytic.vectors[0], margin + 6 * float(np.sqrt(analytic.variance[0]))


def rings(response, radius_edges, step):
    """Directions (deg), solid angles (sr) and ring of a polar grid around the pointing, cut at the region."""
    axis = response.observations[0].axis_vector(response.roi.frame)
    radii, ring = [], []
    for k, (low, high) in enumerate(pairwise(radius_edges)):
        bounds = np.linspace(low, high, int(np.ceil((high - low) / step - 1e-9)) + 1)
        radii.append(np.stack([bounds[:-1], bounds[1:]]))
        ring.append(np.full(len(bounds) - 1, k))
    radii, ring = np.radians(np.concatenate(radii, axis=1)), np.concatenate(ring)
    turns = np.maximum(16, np.ceil(2 * np.pi * np.sin(radii[1]) / np.radians(step)).astype(int))
    solid = np.repeat(2 * np.pi * -np.diff(np.cos(radii), axis=0)[0] / turns, turns)
    angle = np.concatenate([(np.arange(n) + 0.5) * 2 * np.pi / n for n in turns])
    middle = np.repeat(radii.mean(axis=0), turns)
    basis = tangent_basis(*map(float, lonlat_from_vectors(axis)))
    local = np.stack([np.cos(middle), np.sin(middle) * np.cos(angle), np.sin(middle) * np.sin(angle)], -1)
    vectors = local @ basis
    inside = response.roi.contains_vectors(vectors)
    lon, lat = lonlat_from_vectors(vectors[inside])
    return lon, lat, solid[inside], np.repeat(ring, turns)[inside]


def pdf_in_bins(response, name, energy_edges, radius_edges, step=0.05, per_decade=30, observation=0):
    """Integral of the density of a component over bins of energy and radius from the pointing."""
    nodes = rings(response, radius_edges, step)
    shape = (len(energy_edges) - 1, len(radius_edges) - 1)
    return _integrate(response, name, nodes, shape, energy_nodes(energy_edges, per_decade), observation)


def pdf_integral(response, name, step=0.05, per_decade=30, observation=0):
    """Integral of the density of a component over the region, in one observation."""
    lon, lat, solid = response.roi.quadrature(step)
    nodes = lon, lat, solid, np.zeros(len(lon), int)
    span = np.array([response.roi.energy_min, response.roi.energy_max])
    return float(_integrate(response, name, nodes, (1, 1), energy_nodes(span, per_decade), observation)[0, 0])


def _integrate(response, name, nodes, shape, energies, observation):
    """Sum the density of one column over directions, by ring, and energies, by bin."""
    lon, lat, solid, ring = nodes
    vectors = unit_vectors(lon, lat)
    compact = compact_shape(response, name)
    if compact is not None:
        near = separation_deg(vectors, compact[0]) < compact[1]
        vectors, solid, ring = vectors[near], solid[near], ring[near]
    k = column(response, name)
    # one column only: the others would cost as much again
    component, folded = response.components[k], response._fold.folded[observation]
    result, out = np.zeros(shape), np.empty((len(vectors), 1))
    for energy, width, b in zip(*energies, strict=True):
        density(folded, (component,), vectors, AtEnergies(np.full(len(vectors), energy)), out)
        result[b] += width * np.bincount(ring, weights=out[:, 0] * solid, minlength=shape[1])
    return result / float(response.acceptance[k])


def chi_square(counts, expected):
    """Pearson's statistic, degrees of freedom and p-value, bins with few expected counts put together."""
    counts, expected = counts.ravel(), expected.ravel() * counts.sum() / expected.sum()
    few = expected < 10
    counts = np.r_[counts[~few], counts[few].sum()] if few.any() else counts
    expected = np.r_[expected[~few], expected[few].sum()] if few.any() else expected
    keep = expected > 0
    assert counts[~keep].sum() == 0, "events where none are expected"
    statistic = float(np.sum((counts[keep] - expected[keep]) ** 2 / expected[keep]))
    freedom = int(keep.sum()) - 1
    return statistic, freedom, float(stats.chi2.sf(statistic, freedom))


def count_in_bins(response, rows, energy_edges, radius_edges):
    """Events per bin of energy and radius from the pointing."""
    axis = response.observations[0].axis_vector(response.roi.frame)
    radius = separation_deg(unit_vectors(rows[:, 1], rows[:, 2]), axis)
    return np.histogram2d(rows[:, 0], radius, bins=[energy_edges, radius_edges])[0]


def relative_errors(values, truth):
    """Median and 95th percentile of |value / truth - 1|."""
    error = np.abs(np.asarray(values) / np.asarray(truth) - 1)
    return float(np.median(error)), float(np.quantile(error, 0.95))


def simulated_acceptance(response, component, n, rng, observation=0, batch=500_000, detected=None):
    """Expected counts of a component of one part, from a simulation: detected photons times the share accepted.

    Returns the counts and their standard deviation. Nothing of the fold is used, except the pixels of a template,
    which are the sky that is simulated. ``detected`` may be given by the caller.
    """
    name, roi = component.name, response.roi
    if detected is None:
        (part,) = component.parts(roi)
        oracle = Oracle(response.observations[observation], roi, response.energy_true_edges)
        templates = response.components[column(response, name)].templates
        detected = oracle.detections(part, *(templates[0].raster.nodes() if templates else ()))
    kept = 0
    for first in range(0, n, batch):
        photons = response.simulate_true(name, min(batch, n - first), observation=observation, rng=rng)
        events = response.reconstruct(photons, observation=observation, rng=rng)
        energy, lon, lat = (np.asarray(column) for column in events.to_rows().T)
        inside = (energy >= roi.energy_min) & (energy <= roi.energy_max)
        kept += int(np.count_nonzero(inside & roi.contains(lon, lat)))
    share = kept / n
    return detected * share, detected * np.sqrt(share * (1 - share) / n)


def assert_close_to_brute_force(values, truth):
    """Median within 1e-3; and no more events beyond 1e-2 than if 5 % were, at 99.9 %: for a handful of events."""
    error = np.abs(np.asarray(values) / np.asarray(truth) - 1)
    assert np.median(error) < 1e-3
    assert np.sum(error > 1e-2) <= stats.binom.isf(P_VALUE, len(error), 0.05)
