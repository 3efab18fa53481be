"""Expected counts of a source of free shape against the acceptance of the source folded anew."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from live_scene import ROUND, GaussianShape, PointShape, Scene, mixed_irfs, moved, points_of, wider_irfs

from pymc_gamma.folding.live import LiveSource
from pymc_gamma.folding.live_counts import live_counts
from pymc_gamma.folding.live_shapes import DiskShape, ShellShape

SCENES = {
    "point": {"shape": PointShape(0.2, -0.1)},
    "point at the edge of the region": {"shape": PointShape(0.93, -0.1)},
    "elongated": {"shape": GaussianShape(0.2, -0.1, 0.1, 0.5, 30.0)},
    "at the edge of the region": {"shape": GaussianShape(0.9, 0.1, 0.1, 0.5, 30.0), "irfs": (mixed_irfs(),)},
    "larger than half the region": {"shape": GaussianShape(0.8, 0.5, 0.4, 0.7, 60.0)},
    "at high latitude": {
        "shape": GaussianShape(122.5, 80.8, 0.1, 0.5, 30.0),
        "pointings": ((121.0, 79.8),),
        "centre": (120.0, 80.0),
    },
    "at longitude 0": {"shape": GaussianShape(359.998, 0.1, 0.1), "pointings": ((359.6, 0.3),)},
    "two observations": {
        "shape": GaussianShape(0.85, -0.1, 0.1, 0.5, 30.0),
        "pointings": ((0.5, 0.3), (359.5, -0.4)),
        "irfs": (wider_irfs(1.0), mixed_irfs()),
    },
}


@pytest.fixture(scope="module", params=SCENES, ids=str)
def scene(request):
    made = Scene(**SCENES[request.param])
    source = made.live()
    return made, source, live_counts(source)


def check(scene, source, counts, shape, tolerance):
    _, expected = scene.refolded(shape, source.nominal)
    found = counts.per_coefficient(shape)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found @ source.nominal, expected @ source.nominal, rtol=tolerance)
    share = expected * source.nominal / (expected @ source.nominal)[:, None]
    used = share > 1e-3
    np.testing.assert_allclose(found[used], expected[used], rtol=20 * tolerance)


def test_at_the_reference(scene):
    check(*scene, scene[0].shape, 1e-4)


def test_elsewhere(scene):
    made, source, counts = scene
    shape = moved(made.shape, lon=-0.05 / np.cos(np.radians(made.shape.lat_0)), lat=0.04)
    if isinstance(shape, GaussianShape):
        shape = replace(shape, sigma=1.3 * shape.sigma, e=0.8, phi=-20.0)
    # the quadrature of the acceptance is good to 1.3e-4 where an elongated source meets an edge
    check(made, source, counts, shape, 2e-4)


def test_extension_to_zero():
    scene = Scene(SCENES["at the edge of the region"]["shape"])
    source = scene.live()
    counts = live_counts(source)
    check(scene, source, counts, replace(scene.shape, sigma=0.0), 3e-4)
    none, little = (counts.per_coefficient(replace(scene.shape, e=e)) for e in (0.0, 1e-4))
    np.testing.assert_allclose(little, none, rtol=1e-6, atol=1e-9 * none.max())


def test_fixed_spectrum_and_fixed_extension():
    scene = Scene(SCENES["at the edge of the region"]["shape"])
    source = scene.live(free_spectrum=False, free=["lon_0", "lat_0"])
    assert source.limits == {"sigma": (0.1, 0.1), "e": (0.5, 0.5), "phi": (30.0, 30.0)}
    counts = live_counts(source)
    assert counts.arrays.images.shape[3] == 1
    for shape in (scene.shape, moved(scene.shape, lon=0.03, lat=-0.02)):
        expected = float(scene.response(shape).acceptance[0])
        assert counts.per_coefficient(shape).item() == pytest.approx(expected, rel=2e-4)


def test_round_sources_need_no_nodes_along_an_axis():
    scene = Scene(GaussianShape(0.9, 0.1, 0.1))
    source = scene.live(free=["lon_0", "lat_0", "sigma"])
    counts = live_counts(source)
    assert counts.arrays.nodes.shape == (2, 1)
    check(scene, source, counts, moved(scene.shape, lon=0.02, sigma=0.13), 1e-4)


def test_scale_of_the_psf():
    scene = Scene(PointShape(0.97, -0.1))
    source = scene.live()
    counts = live_counts(source)
    for scale in (0.95, 1.06):
        wider = Scene(PointShape(0.97, -0.1), irfs=(wider_irfs(scale),))
        _, expected = scene.refolded(scene.shape, source.nominal, wider.observations)
        found = counts.per_coefficient(scene.shape, psf_scale=scale)
        np.testing.assert_allclose(found @ source.nominal, expected @ source.nominal, rtol=5e-4)


def test_near_the_edge_of_the_field_of_view():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*beyond the largest offset")
        scene = Scene(GaussianShape(0.2, 0.1, 0.1), pointings=((5.2, 0.3),))
        source = scene.live()
        check(scene, source, live_counts(source), moved(scene.shape, lon=0.01), 3e-4)


@pytest.mark.parametrize(
    ("shape", "other"),
    [
        (DiskShape(0.8, -0.1, 0.3), DiskShape(0.82, -0.08, 0.35)),
        (ShellShape(0.8, -0.1, 0.2, 0.1), ShellShape(0.82, -0.08, 0.23, 0.05)),
    ],
    ids=["disc", "shell"],
)
def test_discs_and_shells_against_points(shape, other):
    brightness = next(make for kind, _, make in ROUND.values() if isinstance(shape, type(kind)))
    scene = Scene(GaussianShape(0.8, -0.1, 0.15), n_events=1)
    response = scene.response(scene.shape)
    spectrum = response.components[0].part_fluxes()[0]
    source = LiveSource(shape, response._fold.folded, response.energy_true_edges, spectrum, free_spectrum=False)
    counts = live_counts(source)
    folded = response._fold.folded[0]
    inside = folded.tables.migration(np.array(folded.domain.energy_range))[:, 0]
    for one in (shape, other):
        vectors, share = points_of(one, brightness(one), n_radii=40, n_azimuths=120)
        seen = folded.true_sky(vectors, share)
        flux = folded.at_bins(spectrum) * folded.observation.livetime_s
        expected = np.einsum("je,je,e->", seen, inside, flux)
        assert counts.per_coefficient(one).item() == pytest.approx(expected, rel=2e-4)
