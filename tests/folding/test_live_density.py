"""Densities of a source of free shape against the source folded anew, and against sums of points."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from live_scene import ROUND, GaussianShape, PointShape, Scene, mixed_irfs, moved, points_of, rms, wider_irfs
from scipy import special

from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.energies import AtEnergies
from pymc_gamma.folding.engine import density
from pymc_gamma.folding.live import LiveSource
from pymc_gamma.folding.live_counts import live_counts
from pymc_gamma.folding.live_kernels import LANES
from pymc_gamma.folding.live_shapes import DiskShape, LiveShape, RadialFamily
from pymc_gamma.folding.parts import Analytic
from pymc_gamma.folding.sources import CompiledSources
from pymc_gamma.geometry import unit_vectors

SCENES = {
    "point": {"shape": PointShape(0.2, -0.1)},
    "elongated": {"shape": GaussianShape(0.2, -0.1, 0.1, 0.5, 30.0)},
    "point, PSF of three Gaussians": {"shape": PointShape(0.2, -0.1), "irfs": (mixed_irfs(),)},
    "round, PSF of three Gaussians": {"shape": GaussianShape(0.2, -0.1, 0.1), "irfs": (mixed_irfs(),)},
    "at the edge of the region": {"shape": GaussianShape(0.95, 0.0, 0.1)},
    "larger than half the region": {"shape": GaussianShape(0.8, 0.5, 0.4, 0.7, 60.0)},
    "at high latitude": {
        "shape": GaussianShape(120.5, 80.2, 0.1, 0.5, 30.0),
        "pointings": ((121.0, 79.8),),
        "centre": (120.0, 80.0),
    },
    "at longitude 0": {"shape": GaussianShape(359.998, 0.1, 0.1), "pointings": ((359.6, 0.3),)},
    "two observations": {
        "shape": GaussianShape(0.2, -0.1, 0.1, 0.5, 30.0),
        "pointings": ((0.5, 0.3), (359.5, -0.4)),
        "irfs": (wider_irfs(1.0), mixed_irfs()),
    },
}


@pytest.fixture(scope="module", params=SCENES, ids=str)
def scene(request):
    made = Scene(**SCENES[request.param])
    source = made.live()
    return made, source, made.tables(source)


def test_at_the_reference(scene):
    scene, source, tables = scene
    expected, _ = scene.refolded(scene.shape, source.nominal)
    assert rms(tables.density(scene.shape, source.nominal), expected) < 1e-4


def test_three_posterior_widths_away(scene):
    # a thousand events measure the position of a source of 0.05 deg to 0.0016 deg, and its width to 3 %
    scene, source, tables = scene
    shape = moved(scene.shape, lon=0.005 / np.cos(np.radians(scene.shape.lat_0)), lat=-0.004)
    if isinstance(shape, GaussianShape):
        shape = replace(shape, sigma=1.1 * shape.sigma, e=0.6, phi=-10.0)
    expected, _ = scene.refolded(shape, source.nominal)
    assert rms(tables.density(shape, source.nominal), expected) < 1e-3


def test_other_spectrum(scene):
    scene, source, tables = scene
    coefficients = source.nominal * (source.energy_edges / 2.0) ** -0.4
    expected, _ = scene.refolded(scene.shape, coefficients)
    assert rms(tables.density(scene.shape, coefficients), expected) < 2e-4


@pytest.fixture(scope="module")
def elongated():
    scene = Scene(**SCENES["elongated"])
    source = scene.live()
    return scene, source, scene.tables(source)


def test_fixed_spectrum(elongated):
    scene, _, _ = elongated
    source = scene.live(free_spectrum=False)
    tables = scene.tables(source)
    assert source.n_coefficients == 1
    for shape in (scene.shape, moved(scene.shape, lon=0.004, sigma=0.11)):
        response = scene.response(shape)
        expected = np.empty((len(scene.energy), 1))
        density(response._fold.folded[0], response.components, scene.vectors, AtEnergies(scene.energy), expected)
        assert rms(tables.density(shape, np.ones(1)), expected[:, 0]) < 2e-4


def test_coefficients_of_each_observation():
    scene = Scene(**SCENES["two observations"])
    source = scene.live()
    tables = scene.tables(source)
    both = tables.density(scene.shape, source.nominal)
    norms = np.array([2.0, 0.5])
    found = tables.density(scene.shape, norms[:, None] * source.nominal)
    np.testing.assert_allclose(found, both * norms[scene.observation], rtol=1e-12)
    assert np.all(both > 0)


def test_near_the_edge_of_the_field_of_view():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*beyond the largest offset")
        scene = Scene(GaussianShape(0.2, 0.1, 0.1), pointings=((5.2, 0.3),))
        source = scene.live()
        tables = scene.tables(source)
        for lon in (0.0, 0.005):
            shape = moved(scene.shape, lon=lon)
            expected, _ = scene.refolded(shape, source.nominal)
            # the effective area falls to zero within a few tenths of a degree
            assert rms(tables.density(shape, source.nominal), expected) < 3e-3


def test_extension_to_zero(elongated):
    scene, source, tables = elongated
    point = PointShape(scene.shape.lon_0, scene.shape.lat_0)
    expected, _ = scene.refolded(point, source.nominal)
    found = [tables.density(replace(scene.shape, sigma=sigma), source.nominal) for sigma in (0.0, 1e-4)]
    np.testing.assert_allclose(*found, rtol=1e-2, atol=1e-4 * expected.max())
    # far from the reference, where a point has next to nothing left, only what can be seen counts
    assert np.abs(found[0] - expected).max() < 3e-3 * expected.max()


def test_eccentricity_to_zero(elongated):
    scene, source, tables = elongated
    none, little = (tables.density(replace(scene.shape, e=e), source.nominal) for e in (0.0, 1e-5))
    np.testing.assert_allclose(little, none, rtol=1e-6)
    turned = tables.density(replace(scene.shape, e=0.0, phi=77.0), source.nominal)
    np.testing.assert_allclose(turned, none, rtol=1e-12)


def test_position_angle_counts_from_north_to_east(elongated):
    _, source, _ = elongated
    at = GaussianShape(0.2, -0.1, 0.3, 0.95, 90.0)  # along the longitude
    vectors = unit_vectors([0.4, 0.2], [-0.1, 0.1])
    tables = source.tables(vectors, np.array([2.0, 2.0]))
    along, across = tables.density(at, source.nominal)
    assert along > 5 * across


def test_scale_of_the_psf():
    scene = Scene(PointShape(0.2, -0.1))
    source = scene.live()
    tables = scene.tables(source)
    wider = Scene(PointShape(0.2, -0.1), irfs=(wider_irfs(1.04),))
    expected, _ = scene.refolded(scene.shape, source.nominal, wider.observations)
    assert rms(tables.density(scene.shape, source.nominal, psf_scale=1.04), expected) < 5e-4


def test_events_out_of_reach(elongated):
    scene, source, tables = elongated
    far = unit_vectors([0.2, 3.0], [-0.1, 2.5])
    both = source.tables(far, np.array([1.0, 1.0]))
    density = both.density(scene.shape, source.nominal)
    assert density[0] > 0
    assert density[1] == 0
    assert both.near.tolist() == [0]
    none = source.tables(far[1:], np.array([1.0]))
    assert none.density(scene.shape, source.nominal).tolist() == [0.0]
    assert source.tables(far[:0], np.empty(0)).density(scene.shape, source.nominal).shape == (0,)
    assert len(tables.near) == tables.n_events


def test_order_of_events_does_not_matter(elongated):
    scene, source, tables = elongated
    order = np.random.default_rng(3).permutation(len(scene.energy))
    shuffled = source.tables(scene.vectors[order], scene.energy[order])
    expected = tables.density(scene.shape, source.nominal)[order]
    np.testing.assert_allclose(shuffled.density(scene.shape, source.nominal), expected, rtol=1e-6)


def test_lanes_that_are_not_used(elongated):
    scene, source, _ = elongated
    n = LANES + 1
    whole = source.tables(scene.vectors[:n], scene.energy[:n]).density(scene.shape, source.nominal)
    single = [
        source.tables(scene.vectors[k : k + 1], scene.energy[k : k + 1]).density(scene.shape, source.nominal)[0]
        for k in range(n)
    ]
    np.testing.assert_allclose(whole, single, rtol=1e-5)


def sum_of_points(folded, shape, brightness, spectrum, scene):
    vectors, share = points_of(shape, brightness(shape))
    assert share.sum() == pytest.approx(1, abs=1e-6)
    n = len(share)
    analytic = Analytic(("",) * n, vectors, np.zeros(n), np.zeros(n), np.zeros((n, 3)), share[:, None] * spectrum)
    out = np.empty((len(scene.energy), 1))
    density(folded, [CompiledSources("points", analytic)], scene.vectors, AtEnergies(scene.energy), out)
    return out[:, 0]


@pytest.mark.parametrize("name", ROUND)
def test_discs_and_shells_against_points(name):
    shape, changes, brightness = ROUND[name]
    scene = Scene(GaussianShape(0.2, -0.1, 0.15), n_events=150)
    scene.shape = shape
    response = scene.response(GaussianShape(0.2, -0.1, 0.15))
    spectrum = response.components[0].part_fluxes()[0]
    source = LiveSource(shape, response._fold.folded, response.energy_true_edges, spectrum, free_spectrum=False)
    tables = scene.tables(source)
    for other in (shape, moved(shape, lon=0.005, lat=0.004, **changes)):
        expected = sum_of_points(response._fold.folded[0], other, brightness, spectrum, scene)
        found = tables.density(other, np.ones(1))
        assert np.median(np.abs(found / expected - 1)) < 3e-4
        assert np.abs(found - expected).max() < 4e-3 * expected.max()


def test_errors(elongated):
    scene, source, tables = elongated
    with pytest.raises(SkyModelError, match="DiskShape is of another family than GaussianShape"):
        tables.density(DiskShape(0.2, -0.1, 0.1), source.nominal)
    with pytest.raises(SkyModelError, match="reach of more than 0 deg"):
        scene.live(reach=0.0)
    with pytest.raises(SkyModelError, match=r"no parameters \['r_0'\]"):
        scene.live(free=["r_0"])


class ParabolicFamily(RadialFamily):
    """A user's own profile, (2 / pi) (1 - r^2)."""

    def brightness(self, y):
        return 2 * y**2 / np.pi

    def transform(self, wave, size):
        x = np.maximum(wave * size, 1e-3)
        return 8 * special.jv(2, x) / x**2


@dataclass(frozen=True, eq=False)
class ParabolicShape(LiveShape):
    lon_0: float
    lat_0: float
    r_0: float
    family = ParabolicFamily()
    extents = ("r_0",)

    @property
    def own(self):
        return self.r_0 * self.r_0 / 6, self.r_0, 1.0

    def limits(self):
        return {"r_0": (0.5 * self.r_0, 2 * self.r_0)}

    def sizes(self, limits):
        return *limits["r_0"], 0.0


def test_a_shape_of_a_user():
    scene = Scene(GaussianShape(0.9, -0.1, 0.12), n_events=100)
    response = scene.response(scene.shape)
    spectrum, folded = response.components[0].part_fluxes()[0], response._fold.folded[0]
    shape = ParabolicShape(0.9, -0.1, 0.3)
    source = LiveSource(shape, response._fold.folded, response.energy_true_edges, spectrum, free_spectrum=False)
    tables, counts = scene.tables(source), live_counts(source)
    inside = folded.tables.migration(np.array(folded.domain.energy_range))[:, 0]
    for other in (shape, moved(shape, lon=0.004, lat=-0.003, r_0=0.32)):

        def profile(one):
            return lambda r: max(1 - (r / one.r_0) ** 2, 0.0) * 2 / (np.pi * one.r_0**2)

        expected = sum_of_points(folded, other, profile, spectrum, scene)
        found = tables.density(other, np.ones(1))
        assert np.median(np.abs(found / expected - 1)) < 3e-4
        assert np.abs(found - expected).max() < 4e-3 * expected.max()
        seen = folded.true_sky(*points_of(other, profile(other)))
        flux = folded.at_bins(spectrum) * folded.observation.livetime_s
        accepted = np.einsum("je,je,e->", seen, inside, flux)
        assert counts.per_coefficient(other).item() == pytest.approx(accepted, rel=2e-4)
