"""Kernels of the fold on small tables, against SciPy's interpolators and astropy's angles.

The tests hold for compiled kernels and, with NUMBA_DISABLE_JIT=1, for the same in plain Python: `make mutants`.
"""

from itertools import product

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import angular_separation, offset_by, position_angle
from scipy.integrate import quad
from scipy.interpolate import BarycentricInterpolator, BSpline, RegularGridInterpolator, make_interp_spline
from scipy.ndimage import map_coordinates

from pymc_gamma.folding import kernels
from pymc_gamma.geometry import position_angle_vector, unit_vectors

STEP = 0.5
OFFSET = np.arange(9) * STEP
ROWS, BINS = 4, 3


def interpolate(table, offset):
    """A table (n_o, ...) at an offset, linear, constant beyond the last node."""
    return np.apply_along_axis(lambda column: np.interp(offset, OFFSET, column), 0, table)


class Instrument:
    """Smooth tables of a small instrument: two Gaussians, three bins, four rows of energy."""

    def __init__(self, rng, n_dispersion=3):
        n_g, n_o = 2, len(OFFSET)
        bend = 1 + 0.1 * OFFSET[:, None] + 0.03 * OFFSET[:, None] ** 2
        self.aeff = (5 - bend) * rng.uniform(1, 2, BINS)
        self.variance = rng.uniform(0.02, 0.04, (n_g, 1, BINS)) * bend * np.array([1, 3])[:, None, None]
        self.aeff_smooth = self.aeff * rng.uniform(0.8, 0.95, (n_g, n_o, BINS))
        self.weight = rng.uniform(0.3, 0.7, (n_g, n_o, BINS))
        self.widest = self.variance.max(axis=(0, 1))
        self.edisp_offset = np.array([0.4, 1.1, 2.6])[:n_dispersion]
        self.edisp = rng.uniform(0.5, 1.5, (n_dispersion, ROWS, BINS)).astype(np.float32)

    def dispersion(self, offset, row, fraction):
        """Bilinear, constant beyond the outermost offsets, (n_e,)."""
        rows = self.edisp[:, row] * (1 - fraction) + self.edisp[:, row + 1] * fraction
        return np.array([np.interp(offset, self.edisp_offset, rows[:, e]) for e in range(BINS)])

    def slope(self, g, offset):
        """Change of the variance with the offset in the cell that holds it."""
        k = min(int(offset / STEP), len(OFFSET) - 2)
        return (self.variance[g, k + 1] - self.variance[g, k]) / STEP


class Events:
    """Events around a direction, with their places on the grid of energies; two have a band of fewer bins."""

    def __init__(self, rng, lon, lat):
        self.lon, self.lat = np.asarray(lon, float), np.asarray(lat, float)
        n = len(self.lon)
        self.vectors = unit_vectors(self.lon, self.lat)
        self.row = rng.integers(0, ROWS - 1, n)
        self.fraction = rng.random(n)
        self.start, self.stop = np.zeros(n, np.int64), np.full(n, BINS)
        self.start[0], self.start[-1], self.stop[-1] = 1, 1, 2

    @property
    def place(self):
        return self.row, self.fraction, self.start, self.stop

    def bands(self, dense):
        """What a kernel adds to its bands, from the same for all bins (n, n_e)."""
        out = np.zeros((len(self.row), BINS))
        for i, (a, b) in enumerate(zip(self.start, self.stop, strict=True)):
            out[i, : b - a] = dense[i, a:b]
        return out


@pytest.fixture(params=[1, 3])
def instrument(request, rng):
    return Instrument(rng, request.param)


AXIS = (10.3, 20.4)
"""Pointing, in degrees."""


def separation(a, b):
    return np.degrees(angular_separation(*map(np.radians, (*a, *b))))


def moved(place, turn, arc):
    """Longitude and latitude in degrees at an arc in degrees from a place, in the direction of a position angle."""
    there = offset_by(*map(np.radians, (*place, turn, arc)))
    return tuple(u.Quantity(one, "rad").to_value("deg") for one in there)


def near(rng, place, width, n):
    """Directions around a place, and one that nothing reaches."""
    turn, reach = rng.uniform(0, 360, n), width * rng.uniform(0.1, 1.0, n)
    lon, lat = moved(place, turn, reach)
    return np.r_[lon, lon[0]], np.r_[lat, -60.0]


def chord_angle(a, b):
    """Angle in degrees between two vectors, from the distance of their ends."""
    return np.degrees(2 * np.arcsin(np.linalg.norm(a - b) / 2))


def gaussian_reference(instrument, events, source, variance, flux):
    """Documentation of the module, written out: posterior mean and variance of the true direction, event by event."""
    axis, s = unit_vectors(*AXIS), unit_vectors(*source)
    out = np.zeros((len(events.row), BINS))
    for i, e in product(range(len(out)), range(BINS)):
        x = events.vectors[i]
        r = separation(source, (events.lon[i], events.lat[i]))
        if r**2 > kernels.REACH * (variance + instrument.widest[e]):
            continue
        for g in range(2):
            v0 = interpolate(instrument.variance[g], separation(source, AXIS))[e]
            f = variance / (variance + v0)

            def offset(share, s=s, x=x):
                return chord_angle(s + share * (x - s), axis)

            o = offset(f)
            if o > OFFSET[-1]:
                continue
            v = interpolate(instrument.variance[g], o)[e] if variance > 0 else v0
            away = np.degrees(np.diff([np.linalg.norm(s + q * (x - s) - axis) for q in (f - 1e-5, f + 1e-5)])[0]) / 2e-5
            widening = -f * (1 - f) * away * instrument.slope(g, o)[e] / v
            area = interpolate(instrument.aeff, o)[e]
            if variance > 0:
                area += f * (interpolate(instrument.aeff_smooth[g], o)[e] - area)
            density = np.exp(widening - 0.5 * r**2 / (variance + v)) / (2 * np.pi * np.radians(1) ** 2 * (variance + v))
            spread = instrument.dispersion(o, events.row[i], events.fraction[i])[e]
            out[i, e] += flux[e] * interpolate(instrument.weight[g], o)[e] * density * area * spread
    return out


def add_gaussians(instrument, events, sources, variances, flux, out):
    kernels.add_gaussians(
        events.vectors,
        *events.place,
        instrument.edisp,
        instrument.edisp_offset,
        unit_vectors(*AXIS),
        unit_vectors(*np.transpose(sources)),
        np.asarray(variances, float),
        flux,
        instrument.aeff,
        instrument.aeff_smooth,
        instrument.variance,
        instrument.widest,
        instrument.weight,
        STEP,
        out,
    )
    return out


PLACES = {
    "on axis": (10.3, 20.4001),
    "off axis": (11.2, 19.6),
    "at the edge": (14.2, 21.2),
    "beyond the edge": (10.3, 24.6),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sigma", [0.0, 0.15, 0.6])
def test_points_and_gaussians(instrument, rng, place, sigma):
    source = PLACES[place]
    events = Events(rng, *near(rng, source, 3 * np.hypot(sigma, 0.3), 12))
    flux = rng.uniform(1, 2, (1, BINS))
    before = rng.random((len(events.row), BINS))
    found = add_gaussians(instrument, events, [source], [sigma**2], flux, before.copy())
    expected = gaussian_reference(instrument, events, source, sigma**2, flux[0])
    np.testing.assert_allclose(found - before, events.bands(expected), rtol=2e-6, atol=1e-12)
    if place != "beyond the edge":
        assert (expected > 0).all(axis=1).sum() >= 4
    assert (expected[-1] == 0).all()


def test_sources_add_up_and_those_far_outside_do_not_count(instrument, rng):
    events = Events(rng, *near(rng, PLACES["off axis"], 0.6, 8))
    flux = rng.uniform(1, 2, (3, BINS))
    sources, variances = [PLACES["off axis"], PLACES["on axis"], (10.3, 20.4 + OFFSET[-1] + 3)], [0.04, 0.0, 0.16]
    found = add_gaussians(instrument, events, sources, variances, flux, np.zeros((len(events.row), BINS)))
    expected = sum(
        gaussian_reference(instrument, events, *one) for one in list(zip(sources, variances, flux, strict=True))[:2]
    )
    np.testing.assert_allclose(found, events.bands(expected), rtol=2e-6)


def test_a_gaussian_whose_middle_is_outside_shines_into_the_field(instrument, rng):
    source, variance = (AXIS[0], AXIS[1] + OFFSET[-1] + 0.3), 0.09
    events = Events(rng, *near(rng, (AXIS[0], AXIS[1] + OFFSET[-1] - 0.4), 0.3, 8))
    flux = np.ones((1, BINS))
    found = add_gaussians(instrument, events, [source], [variance], flux, np.zeros((len(events.row), BINS)))
    expected = events.bands(gaussian_reference(instrument, events, source, variance, flux[0]))
    assert (expected[:, 0] > 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("elongated", [False, True])
def test_photons_of_one_gaussian_of_the_psf_may_come_from_where_there_is_no_dispersion(rng, elongated):
    """The narrow one places them nearer to the event, at offsets without any; the wide one still counts."""
    instrument = Instrument(rng, 3)
    instrument.edisp[:2] = 0
    source, variance = (AXIS[0], AXIS[1] + 1.5), 0.09
    events = Events(rng, *np.transpose([(AXIS[0], AXIS[1] + 0.9 + 0.1 * k) for k in range(5)]))
    flux, out = np.ones((1, BINS)), np.zeros((5, BINS))
    if elongated:
        add_elongated(instrument, events, source, variance, variance, 20.0, flux, out)
        expected = elongated_reference(instrument, events, source, np.full(2, variance), 20.0, flux[0])
    else:
        add_gaussians(instrument, events, [source], [variance], flux, out)
        expected = gaussian_reference(instrument, events, source, variance, flux[0])
    np.testing.assert_allclose(out, events.bands(expected), rtol=1e-3, atol=1e-12)
    assert (out > 0).any()


def brute_force(events, i, brightness, nodes, variance_at, area_at):
    """Integral over true directions of brightness x effective area x PSF, for one event."""
    lon, lat, solid = nodes
    o = separation((lon, lat), tuple(np.broadcast_to(one, np.shape(lon)) for one in AXIS))
    r = separation((lon, lat), tuple(np.broadcast_to(one[i], np.shape(lon)) for one in (events.lon, events.lat)))
    v = variance_at(o)
    psf = np.exp(-0.5 * r**2 / v) / (2 * np.pi * np.radians(1) ** 2 * v)
    return float(np.sum(brightness * area_at(o) * psf * solid))


def sky_nodes(source, sigma, n=241, reach=5.5):
    """Nodes in degrees and solid angles of a square grid of arcs around a source."""
    t = np.linspace(-reach, reach, n) * sigma
    x, y = np.meshgrid(t, t)
    arc = np.radians(np.hypot(x, y))
    return (
        *moved(source, np.degrees(np.arctan2(x, y)), np.degrees(arc)),
        np.radians(t[1] - t[0]) ** 2 * np.sinc(arc / np.pi),
        x,
        y,
    )


@pytest.mark.parametrize("elongation", [0.0, 0.9])
def test_a_psf_that_widens_with_the_offset(elongation, rng):
    """Its gradient over a Gaussian source: against an integral over the sky, at which each photon has its own PSF.

    Without the term of first order densities a width from the source are wrong by 5 %.
    """
    source, sigma = (AXIS[0], AXIS[1] + 1.3), 0.2
    minor = sigma * np.sqrt(1 - elongation**2)
    steep = Instrument(rng, 1)
    steep.aeff[:], steep.weight[:], steep.edisp[:] = 1.0, 0.5, 1.0
    steep.aeff_smooth = np.ones_like(steep.variance)
    steep.variance[:] = (0.02 + 0.02 * OFFSET)[:, None]
    steep.widest[:] = steep.variance.max()
    events = Events(rng, *np.transpose([(AXIS[0], AXIS[1] + 1.3 + y) for y in (-0.4, -0.25, 0.0, 0.25, 0.4)]))
    events.start[:], events.stop[:] = 0, BINS
    flux, out = np.ones((1, BINS)), np.zeros((len(events.row), BINS))
    if elongation:
        add_elongated(steep, events, source, sigma**2, minor**2, 0.0, flux, out)
    else:
        add_gaussians(steep, events, [source], [sigma**2], flux, out)
    lon, lat, solid, x, y = sky_nodes(source, sigma)
    norm = 2 * np.pi * np.radians(sigma) * np.radians(minor)
    brightness = np.exp(-0.5 * ((y / sigma) ** 2 + (x / minor) ** 2)) / norm
    for i in range(len(out)):
        expected = brute_force(events, i, brightness, (lon, lat, solid), lambda o: 0.02 + 0.02 * o, np.ones_like)
        assert out[i, 0] == pytest.approx(expected, rel=4e-3)


# ------------------------------------------------------------------------------------------------ elongated Gaussians


def add_elongated(instrument, events, source, variance, minor_variance, angle, flux, out):
    kernels.add_elongated(
        events.vectors,
        *events.place,
        instrument.edisp,
        instrument.edisp_offset,
        unit_vectors(*AXIS),
        unit_vectors(*source)[None],
        position_angle_vector(*source, angle)[None],
        np.array([variance]),
        np.array([minor_variance]),
        flux,
        instrument.aeff,
        instrument.aeff_smooth,
        instrument.variance,
        instrument.widest,
        instrument.weight,
        STEP,
        out,
    )
    return out


def elongated_reference(instrument, events, source, variances, angle, flux):
    """As for round ones, along and across the major axis, with astropy's angles."""
    origin = np.radians(source)

    def offset(along, across):
        return separation(moved(source, angle - np.degrees(np.arctan2(across, along)), np.hypot(along, across)), AXIS)

    out = np.zeros((len(events.row), BINS))
    for i, e in product(range(len(out)), range(BINS)):
        here = np.radians([events.lon[i], events.lat[i]])
        r = np.degrees(angular_separation(*origin, *here))
        turn = np.radians(angle) - float(position_angle(*origin, *here).rad)
        arcs = np.array([r * np.cos(turn), r * np.sin(turn)])
        if np.sum(arcs**2 / (variances + instrument.widest[e])) > kernels.REACH:
            continue
        for g in range(2):
            table = instrument.variance[g]
            share = variances / (variances + interpolate(table, min(separation(source, AXIS), OFFSET[-1]))[e])
            mean = share * arcs
            o = offset(*mean)
            if o > OFFSET[-1]:
                continue
            v = interpolate(table, o)[e]
            h = 1e-4
            outward = np.array(
                [
                    (offset(mean[0] + h, mean[1]) - offset(mean[0] - h, mean[1])) / (2 * h),
                    (offset(mean[0], mean[1] + h) - offset(mean[0], mean[1] - h)) / (2 * h),
                ]
            )
            widening = -np.sum(share * (1 - share) * arcs * outward) * instrument.slope(g, o)[e] / v
            area = interpolate(instrument.aeff, o)[e]
            along = share @ outward**2
            across = share.sum() - along
            k = min(int(o / STEP), len(OFFSET) - 2)
            turning = 0.5 * v * (instrument.aeff[k + 1, e] - instrument.aeff[k, e]) / STEP / (STEP * (k + 0.5))
            radial = interpolate(instrument.aeff_smooth[g], o)[e] - area - turning
            area = max(area + along * radial + across * turning, 0.0)
            spread = instrument.dispersion(o, events.row[i], events.fraction[i])[e]
            density = np.exp(widening - 0.5 * np.sum(arcs**2 / (variances + v)))
            density /= 2 * np.pi * np.radians(1) ** 2 * np.sqrt(np.prod(variances + v))
            out[i, e] += flux[e] * interpolate(instrument.weight[g], o)[e] * density * area * spread
    return out


@pytest.mark.parametrize("place", ["off axis", "at the edge", "beyond the edge"])
@pytest.mark.parametrize(("major", "minor", "angle"), [(0.5, 0.2, 30.0), (0.3, 0.0, -70.0), (0.4, 0.4, 10.0)])
def test_elongated_gaussians(instrument, rng, place, major, minor, angle):
    source = PLACES[place]
    events = Events(rng, *near(rng, source, 2.5 * np.hypot(major, 0.2), 14))
    flux = rng.uniform(1, 2, (1, BINS))
    before = rng.random((len(events.row), BINS))
    found = add_elongated(instrument, events, source, major**2, minor**2, angle, flux, before.copy())
    expected = elongated_reference(instrument, events, source, np.array([major, minor]) ** 2, angle, flux[0])
    np.testing.assert_allclose(found - before, events.bands(expected), rtol=1e-3, atol=1e-12)
    if place != "beyond the edge":
        assert (expected > 0).all(axis=1).sum() >= 4


def test_arcs_of_an_elongated_gaussian(rng):
    """A wide one under a response that is the same everywhere: the Gaussian itself, of exact arcs and angles."""
    flat = Instrument(rng, 1)
    flat.aeff[:], flat.weight[:], flat.edisp[:], flat.variance[:] = 1.0, 0.5, 1.0, 0.05
    flat.aeff_smooth, flat.widest = np.ones_like(flat.variance), np.full(BINS, 0.05)
    source, sides, angle = (AXIS[0], AXIS[1] + 0.5), np.array([1.5, 1.0]), 25.0
    events = Events(rng, *near(rng, source, 3.3, 12))
    out = add_elongated(flat, events, source, *sides**2, angle, np.ones((1, BINS)), np.zeros((13, BINS)))
    here = (np.radians(events.lon), np.radians(events.lat))
    r = np.degrees(angular_separation(*np.radians(source), *here))
    turn = position_angle(*np.radians(source), *here).rad - np.radians(angle)
    variance = sides**2 + 0.05
    density = np.exp(-0.5 * ((r * np.cos(turn)) ** 2 / variance[0] + (r * np.sin(turn)) ** 2 / variance[1]))
    density /= 2 * np.pi * np.radians(1) ** 2 * np.sqrt(np.prod(variance))
    np.testing.assert_allclose(out, events.bands(density[:, None] * np.ones(BINS)), rtol=1e-5, atol=1e-12)


def test_an_elongated_gaussian_far_outside_does_not_count(instrument, rng):
    source = (AXIS[0], AXIS[1] + OFFSET[-1] + 3.0)
    events = Events(rng, *near(rng, source, 0.3, 4))
    assert not add_elongated(instrument, events, source, 0.16, 0.04, 0.0, np.ones((1, BINS)), np.zeros((5, BINS))).any()


@pytest.mark.parametrize(("along", "across"), [(0.0, 0.0), (2.0, -1.0), (-4.0, 3.0), (0.5, 6.0)])
def test_offset_along_arcs(along, across):
    source, angle = (12.0, 22.0), 35.0
    s, axis = unit_vectors(*source), unit_vectors(*AXIS)
    major = position_angle_vector(*source, angle)
    minor = np.cross(s, major)
    c0 = np.sum((s - axis) ** 2)
    found = kernels._offset_along(c0, axis @ major, axis @ minor, np.radians(along), np.radians(across))
    there = moved(source, angle - np.degrees(np.arctan2(across, along)), np.hypot(along, across))
    assert found == pytest.approx(separation(there, AXIS), abs=2e-6)


@pytest.mark.parametrize(("angle", "precision"), [(0.0, 0), (1e-5, 1e-9), (0.3, 1e-9), (3.0, 1e-9), (13.0, 1e-7)])
def test_angles_of_chords(angle, precision):
    chord2 = (2 * np.sin(np.radians(angle) / 2)) ** 2
    assert kernels._angle_deg(chord2) == pytest.approx(angle, rel=precision, abs=1e-12)


# ------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("offset", [0.0, 0.4, 0.41, 0.7, 1.1, 1.2, 2.0, 2.6, 9.0])
def test_dispersion_is_bilinear(instrument, offset):
    for row, fraction in ((0, 0.3), (2, 0.0), (1, 1.0)):
        found = [
            kernels._dispersion(instrument.edisp, instrument.edisp_offset, offset, row, fraction, e)
            for e in range(BINS)
        ]
        np.testing.assert_allclose(found, instrument.dispersion(offset, row, fraction), rtol=1e-6)


def test_dispersion_at_nodes_that_are_not_equidistant(rng):
    """The first guess of the interval is then too far on either side."""
    dense_below = np.array([0.0, 0.1, 0.2, 0.3, 4.0, 7.0, 7.2, 7.3])
    for nodes in (dense_below, 7.3 - dense_below[::-1], np.array([0.0, 5.0, 5.1, 5.2, 5.3, 5.4])):
        table = rng.random((len(nodes), 2, 1)).astype(np.float32)
        expected = RegularGridInterpolator((nodes,), table[:, 0, 0].astype(float))
        for offset in (*nodes, *(0.5 * (nodes[1:] + nodes[:-1])), *(nodes[:-1] + 0.1 * np.diff(nodes))):
            found = kernels._dispersion(table, nodes, offset, 0, 0.0, 0)
            assert found == pytest.approx(float(expected([offset])[0]), rel=1e-6)


@pytest.mark.parametrize("position", [0.0, 0.4, 3.0, 7.9, 8.0, 11.0])
def test_linear_tables(instrument, position):
    found = [kernels._linear(instrument.aeff, position, e) for e in range(BINS)]
    np.testing.assert_allclose(found, interpolate(instrument.aeff, position * STEP), rtol=1e-13)


def test_places_on_the_grid_of_energies():
    nodes = np.linspace(-1.0, 2.0, 7)
    log_energy = np.array([-1.2, -1.0, -0.9, 0.25, 0.5, 1.999, 2.0, 2.3])
    start, stop = np.arange(7), np.arange(7) + 20
    n = len(log_energy)
    row, fraction = np.empty(n, np.int64), np.empty(n)
    found = np.empty(n, np.int64), np.empty(n, np.int64)
    kernels.locate_bands(log_energy, nodes[0], 0.5, start, stop, row, fraction, *found)
    np.testing.assert_array_equal(row, [0, 0, 0, 2, 3, 5, 5, 5])
    np.testing.assert_allclose(fraction, [0, 0, 0.2, 0.5, 0, 0.998, 1, 1], atol=1e-12)
    np.testing.assert_array_equal(found[0], start[row])
    np.testing.assert_array_equal(found[1], stop[row])


@pytest.mark.parametrize("n", [4, 5, 7])
def test_smoothing_over_the_psf(instrument, n):
    node, weight = np.polynomial.hermite_e.hermegauss(n)
    weight /= weight.sum()
    variance = np.concatenate([instrument.variance, 40 * instrument.variance[:1]])  # reaches beyond the field of view
    share = np.concatenate([instrument.weight, instrument.weight[:1]])
    share[1, :, 0] = 0.0  # of a Gaussian that is not there
    out = np.empty_like(variance)
    kernels.smooth_over_psf(instrument.aeff, variance, share, STEP, node, weight, out)
    for g, o, e in np.ndindex(out.shape):
        here, there = variance[g, o, e], share[g, o, e]
        distance2 = node[:, None] ** 2 + node**2
        radius = np.hypot(OFFSET[o] + np.sqrt(here) * node[:, None], np.sqrt(here) * node)
        values = np.interp(radius, OFFSET, instrument.aeff[:, e])
        if there > 0:
            # what comes from there has the Gaussian and the share of that place
            ratio = here / np.interp(radius, OFFSET, variance[g, :, e])
            values = values * ratio * np.exp(distance2 * (1 - ratio) / 2)
            values = values * np.interp(radius, OFFSET, share[g, :, e]) / there
        assert out[g, o, e] == pytest.approx(weight @ values @ weight, rel=1e-5)


# --------------------------------------------------------------------------------------------------------- dispersion


def migration_density(row, migra, mu):
    """Linear between nodes, half a bin beyond the outermost still their value, zero elsewhere."""
    step = migra[1] - migra[0]
    inside = (mu >= migra[0] - step / 2) & (mu <= migra[-1] + step / 2) & (mu > 0)
    return np.where(inside, np.interp(mu, migra, row), 0.0)


def average_dispersion(edges, weight, log_nodes, density, migra, energy):
    out = np.full((len(energy), len(edges)), 0.0)
    kernels.average_dispersion(edges, weight, log_nodes, density, migra[0], migra[1] - migra[0], energy, out)
    return out


@pytest.mark.parametrize("shape", ["spiky", "to both ends", "one node", "first nodes", "void", "void at first"])
def test_average_dispersion(rng, shape):
    migra = 0.1 + 0.1 * np.arange(20)
    log_nodes = np.log(np.geomspace(0.5, 20, 4))
    density = np.zeros((4, 20))
    part = {"to both ends": slice(0, 20), "one node": slice(9, 10), "first nodes": slice(0, 4)}.get(shape, slice(5, 14))
    if shape != "void":
        density[:, part] = rng.random((4, 20))[:, part] + (shape != "spiky")
    if shape == "void at first":
        density[:2] = 0
    if shape == "spiky":
        density[:, 8] = 0
    n_bins, n_sub = 5, 4
    bounds = np.geomspace(0.8, 6.0, n_bins * n_sub + 1)
    edges = np.stack([bounds[e * n_sub : (e + 1) * n_sub + 1] for e in range(n_bins)])
    weight = rng.uniform(0.1, 0.4, (n_bins, n_sub))
    energy = np.geomspace(0.05, 14.0, 2500 if shape == "to both ends" else 60)
    found = average_dispersion(edges, weight, log_nodes, density, migra, energy)
    expected = np.zeros_like(found)
    for e, s in product(range(n_bins), range(n_sub)):
        low, high = edges[e, s], edges[e, s + 1]
        middle = 0.5 * np.log(low * high)
        row = np.array([np.interp(middle, log_nodes, density[:, m]) for m in range(20)])
        at = np.linspace(low, high, 401)
        at = 0.5 * (at[1:] + at[:-1])
        values = migration_density(row, migra, energy[:, None] / at)
        # the mean of p(E'/E) E_middle / E^2, the share of the migrations between those of the edges
        expected[:, e] += weight[e, s] * (values * np.sqrt(low * high) / at**2).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * max(expected.max(), 1e-300))
    assert (expected > 0).any() == (shape != "void")


@pytest.mark.parametrize("q", [-3.0, -0.5, -0.2, 0.0, 0.3, 1.0, 2.7, 3.0, 3.2, 3.5, 9.0])
def test_cumulative_densities(q):
    row = np.array([1.0, 3.0, 0.0, 2.0])
    integral = np.array([0.0, 2.0, 3.5, 4.5])
    sign, low, high = (1, 0, q) if q > 0 else (-1, q, 0)
    expected = (
        sign
        * quad(
            lambda x: float(migration_density(row, np.arange(4.0) + 10, x + 10)), low, high, limit=200, points=range(4)
        )[0]
    )
    assert kernels._cumulative(row, integral, q) == pytest.approx(expected, abs=1e-6)


# ------------------------------------------------------------------------------------------------------------ splines


def test_spline_weights():
    """Against SciPy's B-spline of third order, and its derivative."""
    basis = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)
    for t in (0.0, 0.25, 0.7, 0.999):
        weight, slope = np.empty(4), np.empty(4)
        kernels._spline_weights(t, weight, slope)
        at = t - np.arange(-1.0, 3.0)
        inside = np.abs(at) < 2
        np.testing.assert_allclose(weight, np.where(inside, np.nan_to_num(basis(at)), 0), atol=1e-12)
        np.testing.assert_allclose(slope, np.where(inside, np.nan_to_num(basis.derivative()(at)), 0), atol=1e-12)


def test_cubic_through_four_nodes(rng):
    values = rng.random(7)
    for at in (0.0, 0.4, 1.0, 2.3, 3.9, 5.5, 6.0):
        k = min(max(int(at) - 1, 0), 3)
        expected = BarycentricInterpolator(np.arange(k, k + 4), values[k : k + 4])(at)
        assert kernels._cubic(values, at) == pytest.approx(float(expected), rel=1e-12)


class Plane:
    """A ladder of positive images with B-spline coefficients on a grid of 0.25 deg around (0, 0)."""

    def __init__(self, rng, n=24, rungs=7):
        self.pixel, self.origin = 0.25, -0.25 * (n - 1) / 2 + 0.05
        at = self.origin + self.pixel * np.arange(n)
        x, y = np.meshgrid(at, at)
        self.rung_step = np.log(1.6)
        variance = 0.1 * 1.6 ** np.arange(rungs)
        images = [
            np.exp(-0.5 * ((x - 0.3) ** 2 + (y + 0.2) ** 2) / (0.2 + v)) / (0.2 + v) + 0.2 + 0.02 * x for v in variance
        ]
        self.coefficients = np.stack(images, axis=-1).astype(np.float32)

    def at(self, x, y, order=(0, 0)):
        """Values of the rungs, or their derivatives with respect to pixels along y and x, by finite differences."""
        place = np.array([(y - self.origin) / self.pixel, (x - self.origin) / self.pixel])
        h = 1e-3

        def values(where):
            return np.array(
                [
                    map_coordinates(self.coefficients[..., j].astype(float), where[:, None], order=3, prefilter=False)[
                        0
                    ]
                    for j in range(self.coefficients.shape[2])
                ]
            )

        if not any(order):
            return values(place)
        step = h * np.array(order)
        return (values(place + step) - values(place - step)) / (2 * h)


def rung_polynomial(values, j, h, degree=3):
    """Value and derivative at h of the polynomial through the rungs from j on."""
    through = make_interp_spline(np.arange(degree + 1.0) + j, values[j : j + degree + 1], k=degree)
    return float(through(h)), float(through(h, 1))


def template_reference(instrument, plane, x, y, offsets, events, axis, height, flux):
    out = np.zeros((len(x), BINS))
    for i, e, g in product(range(len(x)), range(BINS), range(2)):
        o = offsets[i]
        s2, h = (interpolate(one[g], o)[e] for one in (instrument.variance, height))
        n = plane.coefficients.shape[2]
        j = int(np.clip(int(h) - 1, 0, n - 4))
        values, k, degree = plane.at(x[i], y[i]), min(int(h), n - 2), 3
        value, rise = rung_polynomial(values, j, h)
        if value < 0.5 * min(values[k], values[k + 1]):
            j, degree = k, 1
            value, rise = rung_polynomial(values, j, h, degree)
        gradient = np.array(
            [rung_polynomial(plane.at(x[i], y[i], order), j, h, degree)[0] for order in ((0, 1), (1, 0))]
        ) / (plane.pixel * value)
        shift = s2 * gradient
        away = 0.5 * shift @ shift / s2
        share = np.clip(1 + rise / (value * plane.rung_step) - away, 0, 1)
        from_axis = np.array([x[i], y[i]]) - axis
        radius = np.hypot(*from_axis)
        k = min(int(o / STEP), len(OFFSET) - 2)
        slope = (instrument.variance[g, k + 1, e] - instrument.variance[g, k, e]) / STEP
        exponent = np.clip(slope * (shift @ from_axis) / radius / s2 * (away + 2 * share - 1), -1, 1)
        at = max(np.hypot(*(from_axis + shift)) + o - radius, 0)
        if at > OFFSET[-1]:
            continue
        area = interpolate(instrument.aeff, at)[e]
        area += share * (interpolate(instrument.aeff_smooth[g], at)[e] - area)
        spread = instrument.dispersion(at, events.row[i], events.fraction[i])[e]
        out[i, e] += flux[e] * interpolate(instrument.weight[g], at)[e] * value * np.exp(exponent) * area * spread
    return out


def add_template(instrument, plane, x, y, offsets, events, axis, height, flux, out):
    kernels.add_template(
        x,
        y,
        offsets,
        *events.place,
        instrument.edisp,
        instrument.edisp_offset,
        *axis,
        plane.coefficients,
        plane.origin,
        plane.pixel,
        height,
        plane.rung_step,
        flux,
        instrument.aeff,
        instrument.aeff_smooth,
        instrument.variance,
        instrument.weight,
        STEP,
        out,
    )
    return out


def test_templates(instrument, rng):
    plane = Plane(rng)
    x = np.array([0.1, -0.7, 1.4, -1.9, 0.45, 0.3, -1.0])
    y = np.array([0.2, 0.9, -1.2, -1.7, -0.5, -0.2, 0.4])
    axis = (0.6, -0.4)
    offsets = np.hypot(x - axis[0], y - axis[1]) * 1.01
    events = Events(rng, x, y)
    height = rng.uniform(0, 0.9, (2, 1, BINS)) + np.array([0.0, 2.4])[:, None, None] + 0.2 * OFFSET[:, None]
    assert int(height.min()) == 0
    flux = rng.uniform(1, 2, BINS)
    before = rng.random((len(x), BINS))
    found = add_template(instrument, plane, x, y, offsets, events, axis, height, flux, before.copy())
    expected = template_reference(instrument, plane, x, y, offsets, events, axis, height, flux)
    np.testing.assert_allclose(found - before, events.bands(expected), rtol=1e-4)


def test_a_template_is_dark_beyond_its_grid_and_the_field_of_view(instrument, rng):
    plane = Plane(rng)
    n = len(plane.coefficients)
    edge = plane.origin + plane.pixel * np.array([0.9, 1.1, n - 2.1, n - 1.9])
    height = np.full_like(instrument.variance, 1.5)
    lit = []
    for x, y, o in (
        [(e, 0.0, 1.0) for e in edge] + [(0.0, e, 1.0) for e in edge] + [(0, 0, 4.1), (0, 0, 4.0), (0, 0, 3.9)]
    ):
        events = Events(rng, [x], [y])
        arrays = np.array([x], float), np.array([y], float), np.array([o])
        axis = (x + 0.3, y)
        out = add_template(instrument, plane, *arrays, events, axis, height, np.ones(BINS), np.zeros((1, BINS)))
        lit.append(bool(out.any()))
    assert lit == [False, True, True, False] * 2 + [False, True, True]


def test_far_outside_a_template_rungs_are_interpolated_linearly(instrument, rng):
    """Values that change by orders of magnitude from rung to rung; a cubic through them would be negative."""
    plane = Plane(rng)
    n_j = plane.coefficients.shape[2]
    at = plane.origin + plane.pixel * np.arange(len(plane.coefficients))
    slope = 1 + 0.02 * (at + 2 * at[:, None])[..., None] * np.linspace(1, 2, n_j)
    axis, linear = np.array([0.9, 0.3]), 0
    for power in (-3, 3):
        plane.coefficients = (slope * 10.0 ** (np.arange(n_j) * power)).astype(np.float32)
        events = Events(rng, [0.1], [0.2])
        events.start[:], events.stop[:] = 0, BINS
        arrays = np.array([0.1]), np.array([0.2]), np.array([1.0])
        for h in (0.2, 0.6, 1.2, 1.7, 2.5, 3.3, 3.8, 4.2, 4.7):
            height = np.full_like(instrument.variance, h)
            out = np.zeros((1, BINS))
            add_template(instrument, plane, *arrays, events, axis, height, np.ones(BINS), out)
            expected = template_reference(instrument, plane, *arrays, events, axis, height, np.ones(BINS))
            np.testing.assert_allclose(out, expected, rtol=1e-4)
            values, j = plane.at(0.1, 0.2), int(np.clip(int(h) - 1, 0, n_j - 4))
            linear += rung_polynomial(values, j, h)[0] < 0.5 * min(values[int(h)], values[int(h) + 1])
    assert linear >= 6


# --------------------------------------------------------------------------------------------- integrals over the sky


@pytest.mark.parametrize("n_j", [1, 2, 3])
def test_integral_over_the_true_sky(rng, n_j):
    instrument = Instrument(rng, n_j)
    n, rungs = 20, 6
    pixel, origin = 0.25, -2.3
    at = origin + pixel * np.arange(n)
    px, py = np.meshgrid(at, at)
    # a domain with a soft edge: one inside, nothing far outside
    mask = np.stack([1 / (1 + np.exp((np.hypot(px, py) - 1.2) * (9 - r))) for r in range(rungs)], -1).astype(np.float32)
    mask[np.hypot(px, py) < 0.95] = 1
    mask[np.hypot(px, py) > 2.1] = 0
    mask[..., -1] += 0.01 * ((np.hypot(px, py) > 2.1) & (px < 0))  # the widest PSF alone reaches far, to one side
    x = np.r_[rng.uniform(-1.6, 1.6, 30), 0.01, 0.02, -5.0, 5.0, 0.3, 0.3, 0.3, 1.9, -1.75]
    y = np.r_[rng.uniform(-1.6, 1.6, 30), 0.0, 0.03, 0.0, 0.0, -5.0, 5.0, 0.1, 1.9, 1.75]
    offset = np.r_[rng.uniform(0, 3.9, 30), 0.2, 4.01, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    brightness = np.r_[rng.uniform(0.5, 1, 34), 1.0, 1.0, 0.0, 1.0, 1.0]
    place = rng.uniform(0.2, 3.6, (2, len(OFFSET), BINS))
    place[..., 0] *= 0.2
    place[..., 1] += 1.3
    instrument.weight[0, :, 2] = 0
    instrument.weight[1] = 1 - instrument.weight[0]
    instrument.aeff[:, 1] -= 1.1 * instrument.aeff[-2, 1]  # negative at the largest offsets
    assert (instrument.aeff[:, 1] < 0).any()
    out = np.zeros((n_j, BINS))
    for first, last in ((0, 2), (2, 3)):
        kernels.true_sky_integral(
            x, y, offset, brightness, mask, origin, pixel, place, instrument.aeff, instrument.weight, STEP,
            instrument.edisp_offset, first, last, out,
        )  # fmt: skip
    expected = np.zeros((n_j, BINS))
    for q in range(len(x)):
        where = np.array([(y[q] - origin) / pixel, (x[q] - origin) / pixel])
        if offset[q] > OFFSET[-1] or np.any(np.floor(where) < 1) or np.any(np.floor(where) > n - 3):
            continue
        inside = np.array(
            [map_coordinates(mask[..., r].astype(float), where[:, None], order=3, prefilter=False)[0] for r in range(6)]
        )
        if inside.max() < 1e-7:
            continue
        log_inside = np.log(np.maximum(inside, 1e-9))
        j = int(np.clip(np.searchsorted(instrument.edisp_offset, offset[q]) - 1, 0, max(n_j - 2, 0)))
        span = instrument.edisp_offset[min(j + 1, n_j - 1)] - instrument.edisp_offset[j]
        s = np.clip((offset[q] - instrument.edisp_offset[j]) / span, 0, 1) if span else 0.0
        for e in range(BINS):
            area = interpolate(instrument.aeff, offset[q])[e]
            if area <= 0:
                continue
            total = 0.0
            for g in range(2):
                u = interpolate(place[g], offset[q])[e]
                k = int(np.clip(int(u) - 1, 0, 2))
                log_p = float(BarycentricInterpolator(np.arange(k, k + 4), log_inside[k : k + 4])(u))
                total += interpolate(instrument.weight[g], offset[q])[e] * np.exp(min(log_p, 0.0))
            expected[j, e] += brightness[q] * area * total * (1 - s)
            expected[min(j + 1, n_j - 1), e] += brightness[q] * area * total * s
    np.testing.assert_allclose(out, expected, rtol=2e-5)


def test_the_sky_is_integrated_as_far_as_the_picture_of_the_domain_reaches(rng):
    """Where all four splines of either axis lie on it, up to the largest offset."""
    instrument = Instrument(rng, 1)
    n, pixel, origin = 9, 0.5, -2.0
    mask = np.ones((n, n, 4), np.float32)
    at = origin + pixel * np.array([0.5, 0.99, 1.01, n - 2.01, n - 1.99, n - 1.5, n - 0.5])
    expected = [False, False, True, True, False, False, False]
    places = [(x, 0.1, 1.0) for x in at] + [(0.1, y, 1.0) for y in at] + [(0.1, 0.1, o) for o in (3.9, 4.0, 4.01)]
    lit = []
    for x, y, o in places:
        out = np.zeros((1, BINS))
        kernels.true_sky_integral(
            *(np.array([one]) for one in (x, y, o, 1.0)), mask, origin, pixel, np.full((2, len(OFFSET), BINS), 1.5),
            instrument.aeff, instrument.weight, STEP, instrument.edisp_offset, 0, BINS, out,
        )  # fmt: skip
        lit.append(bool(out.any()))
    assert lit == [*expected, *expected, True, True, False]


# -------------------------------------------------------------------------------------------------------------- bands


def test_hats_take_what_lies_under_them(rng):
    per_bin, n_nodes = 4, 4
    n_bins = per_bin * (n_nodes - 1)
    band = rng.random((2, n_bins))
    start, stop = np.array([0, 3]), np.array([n_bins, 9])
    out = np.zeros((2, n_nodes))
    kernels.gather_hats(band, start, stop, per_bin, out)
    middle = (np.arange(n_bins) + 0.5) / per_bin
    hats = np.maximum(1 - np.abs(middle[:, None] - np.arange(n_nodes)), 0)
    expected = [band[i, : stop[i] - start[i]] @ hats[start[i] : stop[i]] for i in range(2)]
    np.testing.assert_allclose(out, expected, rtol=1e-13)


@pytest.mark.parametrize("multiple", [1, 4])
def test_extents_of_bands(multiple):
    rows = np.zeros((7, 10))
    rows[0, 2:5] = [1.0, 0.0, 2.0]
    rows[1, 9] = 1.0
    rows[2, 0] = 1.0
    rows[3] = 1.0
    rows[5, 3:6] = [1e-3, 1.0, 1e-7]  # ends below the cut are left out
    rows[6, 4:9] = 1.0
    start, length = np.full(7, -1), np.full(7, -1)
    kernels.band_extents(rows, 1e-5, multiple, start, length)
    if multiple == 1:
        assert start.tolist() == [2, 9, 0, 0, 0, 3, 4]
        assert length.tolist() == [3, 1, 1, 10, 0, 2, 5]
    else:
        assert start.tolist() == [2, 6, 0, 0, 0, 3, 2]
        assert length.tolist() == [4, 4, 4, 10, 0, 4, 8]
    pointer = np.concatenate([[0], np.cumsum(length)])
    values = np.full(pointer[-1], np.nan, np.float32)
    kernels.gather_bands(rows, start, pointer, values)
    expected = [rows[i, start[i] : start[i] + length[i]] for i in range(7)]
    np.testing.assert_array_equal(values, np.concatenate(expected).astype(np.float32))


def test_a_row_at_the_cut_is_left_out():
    rows = np.array([[1.0, 0.5, 0.25, 0.0]])
    start, length = np.zeros(1, np.int64), np.zeros(1, np.int64)
    kernels.band_extents(rows, 0.5, 1, start, length)
    assert (start[0], length[0]) == (0, 1)
