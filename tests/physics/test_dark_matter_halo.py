"""A halo of dark matter through the response, against quadratures that know its line-of-sight integrals alone."""

import astropy.units as u
import numpy as np
import pytest
from oracle import Oracle
from scipy import stats
from setups import direction, pdf_integral, pointing, quick_start_irfs, region

import pymc_gamma as pmg
from pymc_gamma import darkmatter as dm
from pymc_gamma.errors import SkyModelError
from pymc_gamma.geometry import separation_deg, tangent_basis, unit_vectors

PROFILES = {
    "nfw": dm.NFW(),
    "einasto": dm.Einasto(),
    "burkert": dm.Burkert(),
    "moore": dm.Moore(),
    "isothermal": dm.Isothermal(),
    "steep": dm.GeneralisedNFW(1.35),
    "cored": dm.NFW(r_c=0.3 * u.kpc),
    "zhao": dm.Zhao(alpha=0.7, beta=3.5, gamma=0.6),
}
BINS = 120


def annihilation(**kwargs):
    return dm.Annihilation(2 * u.TeV, 3e-26 * u.cm**3 / u.s, channels={"W": 0.7, "tau": 0.3}, **kwargs)


def decay():
    return dm.Decay(4 * u.TeV, 1e27 * u.s, channels="b")


def halo(profile, spectrum=None):
    return dm.DarkMatterHalo(profile, annihilation() if spectrum is None else spectrum)


def observations():
    return [pointing(0.7, 0.4), pointing(-0.5, -0.9, hours=20)]


@pytest.fixture(scope="module")
def disc():
    """A circular region, of which probabilities are known in closed form."""
    return pmg.RegionOfInterest(center=direction(0, 0), radius=2.5 * u.deg, energy=(0.2, 20) * u.TeV)


def fixed_response(profile, roi, spectrum=None):
    return pmg.fold(halo(profile, spectrum), observations(), roi, energy_true=BINS)


def brightness(profile, power=2):
    unit = {2: "TeV2 cm-5 sr-1", 1: "TeV cm-2 sr-1"}[power]
    function = {2: profile.dj_domega, 1: profile.dd_domega}[power]
    return lambda angle: function(angle * u.deg).to_value(unit)


def inner(profile, power, radius):
    """Integral of the brightness times the radius within a small one, in deg, where it is a power law."""
    first, second = brightness(profile, power)(np.array([radius, 1.01 * radius]))
    return first * np.radians(radius) ** 2 / (2 + np.log(second / first) / np.log(1.01))


def expected_counts(profile, response, spectrum, power=2):
    """Photons of each direction and energy, with the area there, and the probabilities to be kept."""
    irfs, roi = quick_start_irfs(), response.roi
    oracle = Oracle(response.observations[0], roi, response.energy_true_edges)
    edges = np.geomspace(*response.energy_true_edges[[0, -1]], 251)
    energy, width = np.sqrt(edges[1:] * edges[:-1]), np.diff(edges)
    flux = spectrum(energy).eval() * width
    # in the logarithm of the radius, and around the edge as fine as the PSF
    bounds = np.concatenate([np.geomspace(1e-7, 0.8 * roi.radius, 30), np.linspace(0.8, 1.25, 12)[1:] * roi.radius])
    node, share = np.polynomial.legendre.leggauss(6)
    half = 0.5 * np.diff(bounds)[:, None]
    radius = (0.5 * (bounds[1:] + bounds[:-1])[:, None] + half * node).ravel()
    turns = np.arange(12) * np.pi / 6
    ring = brightness(profile, power)(radius) * np.sin(np.radians(radius)) * np.radians(half * share).ravel()
    ring[0] += inner(profile, power, bounds[0])
    ring *= 2 * np.pi / len(turns)
    local = np.stack(
        np.broadcast_arrays(
            np.cos(np.radians(radius))[:, None],
            np.sin(np.radians(radius))[:, None] * np.cos(turns),
            np.sin(np.radians(radius))[:, None] * np.sin(turns),
        ),
        -1,
    )
    vectors = local @ tangent_basis(0.0, 0.0)
    found = []
    migra = irfs.edisp.migra
    for one in response.observations:
        offset = separation_deg(vectors, one.axis_vector("galactic"))
        total = 0.0
        for e, photons in zip(energy, flux, strict=True):
            here, at = offset, np.full(offset.shape, e)
            inside = 0.0
            for g in range(len(oracle.sigmas)):
                sigma, share = oracle.psf(g, at, here)
                inside = inside + share * stats.ncx2.cdf((roi.radius / sigma) ** 2, 2, (radius[:, None] / sigma) ** 2)
            # the dispersion is linear between offsets, so is its integral
            fine = np.linspace(migra[0], migra[-1], 40 * (len(migra) - 1) + 1)
            seen = (fine * e >= roi.energy_min) & (fine * e <= roi.energy_max)
            nodes = irfs.edisp.offset
            kept = np.array(
                [(oracle.dispersion(fine * e, np.full(len(fine), e), o) * e * seen).sum() for o in nodes]
            ) * (fine[1] - fine[0])
            probability = np.interp(np.clip(here, nodes[0], nodes[-1]), nodes, kept)
            total += photons * float((oracle.area(e, here) * inside * probability * ring[:, None]).sum())
        found.append(total * one.livetime_s)
    return np.array(found)


@pytest.mark.parametrize("name", PROFILES)
def test_expected_counts(name, disc):
    response = fixed_response(PROFILES[name], disc)
    expected = expected_counts(PROFILES[name], response, annihilation())
    np.testing.assert_allclose(response.acceptance_by_observation.values[0], expected, rtol=2e-3)


def test_expected_counts_of_decay(disc):
    response = fixed_response(dm.NFW(), disc, decay())
    expected = expected_counts(dm.NFW(), response, decay(), 1)
    np.testing.assert_allclose(response.acceptance_by_observation.values[0], expected, rtol=2e-3)


EVENTS = np.array(
    [
        [0.3, 0.02, -0.03],
        [1.1, 0.0, 0.01],
        [1.2, 0.3, 0.2],
        [0.8, -1.1, 0.9],
        [1.4, 1.9, -1.2],
        [0.5, -2.3, 0.4],
    ]
)


def density_at(profile, oracle, row, spectrum, power):
    """Around the centre for events near it, around the event otherwise."""
    shine, basis = brightness(profile, power), tangent_basis(0.0, 0.0)
    event, centre = unit_vectors(row[1], row[2]), unit_vectors(0.0, 0.0)
    away = float(separation_deg(event, centre))

    def photons(energy):
        return spectrum(energy).eval(mode="FAST_COMPILE")

    def around(width):
        if away > 7 * width + 0.15:
            return oracle._polar(tangent_basis(row[1], row[2]), width)[:2]
        radius, h = np.linspace(np.log(1e-6), np.log(away + 7 * width), 160, retstep=True)
        radius = np.exp(radius)[:, None]
        turn = np.arctan2(*(tangent_basis(0.0, 0.0)[[2, 1]] @ event)) + np.arange(64) * np.pi / 32
        r = np.radians(radius)
        local = np.stack(np.broadcast_arrays(np.cos(r), np.sin(r) * np.cos(turn), np.sin(r) * np.sin(turn)), -1)
        solid = np.sin(r) * r * h * np.pi / 32
        solid[0] = inner(profile, power, radius[0, 0]) * np.pi / 32 / shine(radius[0, 0]) + 0.5 * solid[0]
        return local @ basis, np.broadcast_to(solid, local.shape[:-1])

    return oracle._integrate(row[0], event, lambda vectors: shine(separation_deg(vectors, centre)), photons, around)


@pytest.mark.parametrize("name", ["nfw", "einasto", "burkert", "steep", "cored"])
def test_densities(name, disc):
    profile, spectrum = PROFILES[name], annihilation()
    response = pmg.fold(halo(profile), observations()[0], disc, energy_true=BINS)
    oracle = Oracle(response.observations[0], disc, response.energy_true_edges, n_energy=240)
    expected = np.array([density_at(profile, oracle, row, spectrum, 2) for row in EVENTS])
    found = response.component_pdf(EVENTS)[:, 0] * float(response.acceptance[0])
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_densities_integrate_to_the_expected_counts():
    """Of a pointing away from the centre, with the centre at the edge of the region."""
    roi = region(2.0, 0.5, width=4.0, energy=(0.5, 20.0))
    response = pmg.fold(halo(dm.Einasto()), pointing(1.5, 0.0), roi, energy_true=BINS)
    assert pdf_integral(response, "dm", step=0.04) == pytest.approx(1, abs=3e-3)


def test_far_from_the_centre():
    """Where only wide Gaussians shine, on the sphere."""
    roi = region(40.0, 20.0, width=3.0, energy=(0.5, 5.0))
    response = pmg.fold(halo(dm.NFW()), pointing(40.0, 20.0), roi, energy_true=BINS)
    oracle = Oracle(response.observations[0], roi, response.energy_true_edges, n_energy=120)
    centre = unit_vectors(0.0, 0.0)
    events = np.array([[0.8, 40.3, 20.5], [1.1, 39.0, 19.2]])
    expected = [
        oracle.extended(
            *row,
            lambda lon, lat: brightness(dm.NFW())(separation_deg(unit_vectors(lon, lat), centre)),
            lambda energy: annihilation()(energy).eval(mode="FAST_COMPILE"),
        )
        for row in events
    ]
    found = response.component_pdf(events)[:, 0] * float(response.acceptance[0])
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.fixture(scope="module")
def response():
    components = [halo(dm.GeneralisedNFW(1.1)), pmg.CosmicRayBackground()]
    return pmg.fold(components, pointing(0.5, 0.3), region(width=4.0), energy_true=60)


class TestComponent:
    def test_events_follow_the_density(self, response):
        events = response.simulate({"dm": 1}, 20_000, rng=1)
        away = separation_deg(unit_vectors(events.lon, events.lat), unit_vectors(0.0, 0.0))
        edges = np.array([0.0, 0.03, 0.1, 0.3, 1.0, 1.9])
        counts = np.histogram(away, edges)[0]
        shares = response.surface_density  # per solid angle, integrated over rings below
        radius = np.geomspace(1e-4, 1.9, 401)
        middle, width = np.sqrt(radius[1:] * radius[:-1]), np.diff(np.cos(np.radians(radius)))
        turn = np.arange(16) * np.pi / 8
        lon, lat = (middle[:, None] * one for one in (np.cos(turn), np.sin(turn)))
        density = shares(lon.ravel(), lat.ravel(), np.array([0.1, 100.0]))[0, 0].reshape(lon.shape).mean(axis=1)
        ring = np.add.reduceat(density * -width * 2 * np.pi, np.searchsorted(middle, edges[:-1]))
        expected = ring / float(response.acceptance[0]) * len(events)
        pull = (counts - expected) / np.sqrt(expected)
        assert np.all(np.abs(pull) < 4), pull

    def test_cross_section_is_physical(self, response):
        """Counts are those of a source with the J factor of the region, roughly where the area is flat."""
        twice = dm.DarkMatterHalo(
            dm.GeneralisedNFW(1.1, rho_local=0.6 * u.GeV / u.cm**3),
            dm.Annihilation(2 * u.TeV, 6e-26 * u.cm**3 / u.s, channels={"W": 0.7, "tau": 0.3}),
        )
        other = pmg.fold(twice, pointing(0.5, 0.3), region(width=4.0), energy_true=60)
        assert float(other.acceptance[0]) == pytest.approx(8 * float(response.acceptance[0]), rel=1e-9)

    def test_stored_and_loaded(self, response, tmp_path):
        response.save(tmp_path / "store")
        loaded = pmg.Response.load(tmp_path / "store")
        np.testing.assert_array_equal(loaded.acceptance, response.acceptance)
        events = response.simulate({"dm": 1}, 20, rng=2)
        np.testing.assert_array_equal(loaded.density(events), response.density(events))
        assert loaded.fingerprint() == response.fingerprint()
        assert any("PPPC" in one.text for one in response.citations())

    def test_observations_split_counts(self, disc):
        both = pmg.fold(halo(dm.NFW()), observations(), disc, energy_true=60)
        alone = [pmg.fold(halo(dm.NFW()), one, disc, energy_true=60) for one in observations()]
        expected = [float(one.acceptance[0]) for one in alone]
        np.testing.assert_allclose(both.acceptance_by_observation[0], expected, rtol=1e-9)

    def test_map(self):
        axes = halo(dm.NFW()).peek(region(width=4.0)).axes
        assert axes[0].get_title() == "dm at 1 TeV"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: halo(dm.GeneralisedNFW(1.5)), r"J factor is infinite without a core, got gamma=1\.5"),
        (lambda: halo(dm.Zhao(alpha=0.3)), "alpha from 0.5"),
        (lambda: halo(dm.NFW(), annihilation(j_factor=1e21 * u.GeV**2 / u.cm**5)), "has a j_factor, but that follows"),
        (
            lambda: halo(dm.NFW(), dm.Decay(4 * u.TeV, 1e27 * u.s, channels="b", d_factor=2.0)),
            "has a d_factor",
        ),
    ],
)
def test_refused(make, match):
    with pytest.raises(SkyModelError, match=match):
        make()


def test_wrong_spectrum():
    with pytest.raises(TypeError, match="must be an Annihilation or a Decay, or that of a PairTable, got PowerLaw"):
        halo(dm.NFW(), pmg.PowerLaw())
