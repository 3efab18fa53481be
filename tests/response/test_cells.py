"""Densities averaged over cells, against sums over many points of each cell."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.optimize import minimize
from scipy.stats import qmc
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError
from pymc_gamma.events.rows import EventRows
from pymc_gamma.folding.energies import InRanges
from pymc_gamma.folding.engine import density as density_at
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.response.densities import over_cells

CELL = ("energy_min", "energy_max", "lon_min", "lon_max", "lat_min", "lat_max")


def sky():
    return [
        source("point", 0.31, -0.17, index=2.4),
        source("extended", -0.4, 0.3, sigma=0.15, index=2.0),
        pmg.GalacticDiffuse(),
        pmg.CosmicRayBackground(),
    ]


@pytest.fixture(scope="module")
def response():
    return pmg.fold(sky(), pointing(hours=5), region(width=2.0, energy=(0.3, 30.0)), free_spectrum=["point", "ccr"])


@pytest.fixture(scope="module")
def circle():
    observations = [pointing(hours=5), pointing(lon=0.7, hours=3)]
    return pmg.fold(sky()[::3], observations, region(radius=0.6, energy=(0.3, 30.0)))


def cell(lon, lat, width, energy=(1.0, 1.3)):
    return [*energy, lon - width / 2, lon + width / 2, lat - width / 2, lat + width / 2]


def rows_of(cells, *columns):
    """Rows whose events are somewhere in their cells."""
    cells = np.asarray(cells, float)
    means = [np.sqrt(cells[:, 0] * cells[:, 1]), cells[:, 2:4].mean(axis=1), cells[:, 4:].mean(axis=1)]
    return np.column_stack([*means, *(np.full(len(cells), c) for c in columns), cells])


def points_of(edges, power):
    """2^power points (n, 3) that fill a cell evenly, and their measure.

    Random enough along the energy, too: there densities are noisy, as the histograms of the dispersion are.
    """
    edges = np.asarray(edges)
    points = edges[::2] + qmc.Sobol(3, scramble=True, rng=1).random_base2(power) * (edges[1::2] - edges[::2])
    return points, np.cos(np.radians(points[:, 2]))


def brute_force(response, edges, power):
    """Average over the part of a cell in the region, and the points."""
    points, weight = points_of(edges, power)
    kept = response.roi.contains(points[:, 1], points[:, 2])
    return np.average(response.component_pdf(points[kept]), axis=0, weights=weight[kept]), points[kept], weight[kept]


@pytest.mark.parametrize(
    "edges",
    [
        cell(0.31, -0.17, 0.02),  # narrow, on the source
        cell(0.31, -0.17, 0.1),
        cell(0.31, -0.17, 0.4),  # the source in the middle, between the first nodes
        cell(0.31, -0.17, 0.4, (20.0, 24.0)),  # where the PSF is narrowest
        cell(0.36, -0.17, 0.1),  # the source on a side
        cell(0.51, 0.03, 0.4),  # in a corner
        cell(0.53, -0.17, 0.4),  # just outside
        cell(0.51, -0.37, 0.38, (0.5, 5.0)),
        cell(0.0, 0.0, 1.0, (2.0, 3.0)),  # everything in one cell
        cell(-0.4, 0.3, 0.3),
        cell(0.7, 0.7, 0.1, (3.0, 3.3)),  # nothing near
    ],
)
def test_average_over_a_cell(response, edges):
    found = response.component_pdf(rows_of([edges]))[0]
    expected, *_ = brute_force(response, edges, 16)
    np.testing.assert_allclose(found, expected, rtol=3e-3, atol=2e-4 * expected.max())


def test_the_mean_position_does_not_matter(response):
    edges = cell(0.3, -0.2, 0.2)
    rows = rows_of([edges, edges])
    rows[1, :3] = 1.29, 0.21, -0.11
    one, other = response.component_pdf(rows)
    np.testing.assert_array_equal(one, other)


def test_cells_without_extent_are_events(response):
    events = response.simulate(rng=1)[:50]
    rows = events.to_rows()
    cells = events.to_rows((*response.reco, *CELL))
    np.testing.assert_allclose(response.component_pdf(cells), response.component_pdf(rows), rtol=1e-6)
    fixed, bands = response.column_densities(cells)
    expected_fixed, expected = response.column_densities(rows)
    np.testing.assert_allclose(fixed, expected_fixed, rtol=1e-6)
    of_points = dense(expected, response)
    np.testing.assert_allclose(dense(bands, response), of_points, rtol=1e-5, atol=1e-7 * of_points.max())


def dense(bands, response):
    """Bands as a full table (N, components, nodes), zero outside of them."""
    n, k = bands.column.shape
    full = np.zeros((n, k, max(one.size for one in response.free_components)))
    for i in range(n * k):
        values = bands.values[bands.pointer[i] : bands.pointer[i + 1]]
        first = bands.column.flat[i]
        full.reshape(n * k, -1)[i, first : first + len(values)] = values
    return full


@pytest.mark.parametrize("edges", [cell(0.31, -0.17, 0.3), cell(0.5, -0.1, 0.2, (1.0, 2.5)), cell(0.2, 0.3, 0.01)])
def test_bands_are_averages_too(response, edges):
    fixed, bands = response.column_densities(rows_of([edges, cell(0.0, 0.0, 0.1)]))
    expected, grid, weight = brute_force(response, edges, 13)
    np.testing.assert_allclose(fixed[0], expected[[1, 2]], rtol=3e-3, atol=2e-4 * expected.max())
    of_points = np.average(dense(response.spectral_bands(grid), response), axis=0, weights=weight)
    found = dense(bands, response)[0]
    for j, one in enumerate(response.free_components):
        for slope in (0.0, -0.5):
            factor = np.resize(one.energy, one.size) ** slope
            value, right = (table[j, : one.size] @ factor for table in (found, of_points))
            assert value == pytest.approx(right, rel=4e-3)


def test_one_node_stands_for_the_mean_of_four():
    """What is averaged over the nodes has the average of the density: 1e-4 of a halo's events are its significance."""
    wide = source("wide", 0.0, 0.0, sigma=2.0)
    response = pmg.fold([wide], pointing(hours=5), region(width=6.0, energy=(0.3, 30.0)))
    fold = response._fold
    cells = [cell(x, y, 0.05) for x in (-2.5, 0.1, 1.3) for y in (-1.1, 0.4, 2.2)]
    [group] = over_cells(fold, EventRows.from_array(rows_of(cells), response.reco))
    nodes, values = group.nodes, np.empty((len(group.nodes.lon), 1))
    energies = InRanges(group.ranges, np.repeat(group.which, np.diff(nodes.first)))
    density_at(fold.folded[0], fold.components, unit_vectors(nodes.lon, nodes.lat), energies, values)
    assert np.diff(nodes.first).min() == 1
    averages = np.add.reduceat(nodes.weight * values[:, 0], nodes.first[:-1])
    np.testing.assert_allclose(averages, nodes.density[:, 0], rtol=1e-9)


def test_cells_cut_by_the_region(circle):
    lon = 0.6 * np.cos(np.radians([0.0, 40.0, 90.0, 200.0]))
    lat = 0.6 * np.sin(np.radians([0.0, 40.0, 90.0, 200.0]))
    cells = [cell(x, y, 0.3) for x, y in zip(lon, lat, strict=True)]
    rows = rows_of(cells, 1.0)
    rows[:, 1:3] *= 0.9  # the events are inside
    found = circle.component_pdf(rows)
    for edges, density in zip(cells, found, strict=True):
        grid, weight = points_of(edges, 16)
        kept = circle.roi.contains(grid[:, 1], grid[:, 2])
        of_points = circle.component_pdf(np.column_stack([grid[kept], np.ones(kept.sum())]))
        expected = np.average(of_points, axis=0, weights=weight[kept])
        np.testing.assert_allclose(density, expected, rtol=3e-3, atol=2e-4 * expected.max())


def test_cells_reach_beyond_the_energies(response):
    wide, cut = response.component_pdf(rows_of([cell(0.3, 0.0, 0.2, (10.0, 50.0)), cell(0.3, 0.0, 0.2, (10.0, 30.0))]))
    np.testing.assert_allclose(wide, cut, rtol=1e-12)


def test_each_cell_under_its_own_observation(circle):
    cells = [cell(0.2, -0.1, 0.2), cell(0.2, -0.1, 0.2)]
    rows = rows_of(cells, 0.0)
    rows[1, 3] = 1
    both = circle.component_pdf(rows)
    assert not np.allclose(both[0], both[1], rtol=0.01)
    np.testing.assert_allclose(both[::-1], circle.component_pdf(rows[::-1]), rtol=1e-12)


def test_events_in_cells_have_densities(response):
    events = response.simulate(rng=2)
    cells = events.binned(10, pixel=0.25 * u.deg)
    density = response.density(cells)
    rows = response.event_rows(cells)
    assert rows.shape == (len(cells), 3 + 1 + 6)
    expected = response.component_pdf(np.delete(rows, 3, axis=1)) * np.asarray(response.acceptance)
    np.testing.assert_allclose(density, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({0: 2.0}, "edges reversed, first rows"),
        ({2: 9.0}, "edges reversed"),
        ({5: np.nan}, "not finite"),
        ({0: -1.0}, "energy that is not positive"),
        ({4: -95.0}, "beyond a pole"),
        ({0: 40.0, 1: 50.0}, "no part of 1 cells is in the region"),
        ({2: 5.0, 3: 5.1}, "no part of 1 cells is in the region"),
    ],
)
def test_impossible_cells(response, change, match):
    rows = rows_of([cell(0.0, 0.0, 0.1)])
    for column, value in change.items():
        rows[0, 3 + column] = value
    rows[0, :3] = rows[0, 3:].reshape(3, 2).mean(axis=1) if np.isfinite(rows).all() else rows[0, :3]
    with pytest.raises(EventError, match=match):
        response.component_pdf(rows)


def test_no_cells_at_all(response):
    assert response.component_pdf(np.empty((0, 9))).shape == (0, 4)
    fixed, bands = response.column_densities(np.empty((0, 9)))
    assert fixed.shape == (0, 2)
    assert bands.column.shape == (0, 2)


def test_cells_in_another_frame(response):
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic").icrs
    events = pmg.Events.from_skycoord([1, 2] * u.TeV, SkyCoord([centre, centre]), frame="icrs")
    with pytest.raises(EventError, match=r"events.to_frame\('galactic'\).binned"):
        response.event_rows(events.binned(2, pixel=0.1 * u.deg))


def fractions(pdf, multiplicity):
    """Best fractions, and the errors that follow from the curvature."""

    def minus_log(x):
        weights = np.exp(np.r_[x, 0.0])
        weights /= weights.sum()
        total = pdf @ weights
        slope = (multiplicity / total) @ pdf * weights
        return -multiplicity @ np.log(total), -(slope - weights * slope.sum())[:-1]

    x = minimize(minus_log, np.zeros(pdf.shape[1] - 1), jac=True, method="BFGS").x
    weights = np.exp(np.r_[x, 0.0]) / np.exp(np.r_[x, 0.0]).sum()
    information = (pdf.T * (multiplicity / (pdf @ weights) ** 2)) @ pdf
    free = np.vstack([np.eye(len(x)), -np.ones(len(x))])
    return weights, np.sqrt(np.diag(free @ np.linalg.inv(free.T @ information @ free) @ free.T))


def test_fractions_do_not_shift(components, observation, roi):
    response = pmg.fold(components, observation, roi)
    events = response.simulate({"diffuse": 1 / 6, "hgps": 1 / 3, "ccr": 1 / 2}, 45000, rng=4)
    unbinned, error = fractions(response.component_pdf(response.event_rows(events)), events.multiplicity)
    edges = np.linspace(-3.2, 3.2, 65) * u.deg
    cells = events.binned(np.geomspace(0.1, 100, 61) * u.TeV, lon=edges, lat=edges)
    rows = np.delete(response.event_rows(cells), 3, axis=1)
    averaged, _ = fractions(response.component_pdf(rows), cells.multiplicity)
    assert np.abs((averaged - unbinned) / error).max() < 0.1
    at_means, _ = fractions(response.component_pdf(rows[:, :3]), cells.multiplicity)
    assert np.abs((at_means - unbinned) / error).max() > 0.4  # what there is to put right
