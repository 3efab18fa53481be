"""Probabilities to be reconstructed in a domain, against those of Gaussians over circles and rectangles."""

import numpy as np
import pytest
from scipy.interpolate import BarycentricInterpolator, BSpline
from scipy.ndimage import map_coordinates
from scipy.special import ndtr
from scipy.stats import ncx2
from setups import region

from pymc_gamma.folding.containment import (
    MAX_PIXELS,
    PARTS,
    PIXEL,
    Containment,
    DomainMask,
    _spline_integral,
    _spline_means,
    containment,
)
from pymc_gamma.geometry import unit_vectors


def draw(margin=0.8, **size):
    roi = region(**size)
    return roi, DomainMask.draw(roi, roi.contains_vectors, margin)


def probability(inside, x, y, variance):
    """As the kernel of the acceptances has it: cubic in position, and in the logarithms of variance and value."""
    mask = inside.mask
    place = np.array([[(y - mask.origin) / mask.pixel], [(x - mask.origin) / mask.pixel]])
    rungs = [
        map_coordinates(inside.coefficients[..., r].astype(float), place, order=3, prefilter=False)[0]
        for r in range(inside.coefficients.shape[2])
    ]
    u = float(inside.positions(np.array(variance)))
    k = int(np.clip(int(u) - 1, 0, len(rungs) - 4))
    return float(np.exp(BarycentricInterpolator(np.arange(k, k + 4), np.log(np.maximum(rungs[k : k + 4], 1e-12)))(u)))


VARIANCES = (0.05**2, 0.06**2, 0.11**2, 0.2**2)


@pytest.mark.parametrize("distance", [0.0, 0.5, 0.85, 0.95, 1.0, 1.07, 1.2, 1.5])
def test_circles(distance):
    _, mask = draw(radius=1.0)
    inside = Containment(mask, (VARIANCES[0], VARIANCES[-1]))
    for variance in VARIANCES:
        expected = float(ncx2.cdf(1 / variance, 2, distance**2 / variance)) if distance else 1 - np.exp(-0.5 / variance)
        for turn in (0.0, 0.4, 2.3):
            found = probability(inside, distance * np.cos(turn), distance * np.sin(turn), variance)
            assert found == pytest.approx(expected, abs=3e-4, rel=1e-3 if expected > 1e-3 else 1)


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.0])
def test_a_wide_psf(distance):
    """Its Gaussian reaches beyond the usual margin."""
    variance = 0.5**2
    _, mask = draw(radius=1.0, margin=2.9)
    inside = Containment(mask, (0.3**2, variance))
    expected = float(ncx2.cdf(1 / variance, 2, max(distance, 1e-6) ** 2 / variance))
    assert probability(inside, distance, 0.0, variance) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("distance", [0.0, 1.0, 1.15])
def test_a_wide_psf_does_not_come_back_from_the_other_side(distance):
    """The picture ends soon after the domain, and is repeated as far away as the widest Gaussian reaches."""
    variance = 0.5**2
    _, mask = draw(radius=1.0, margin=0.2)
    inside = Containment(mask, (0.1**2, variance))
    expected = float(ncx2.cdf(1 / variance, 2, max(distance, 1e-6) ** 2 / variance))
    for x, y in ((distance, 0.0), (0.0, -distance)):
        assert probability(inside, x, y, variance) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 0.3), (1.45, -0.4), (-1.5, 0.5), (1.6, 0.55), (-0.3, -0.75)])
def test_rectangles(place):
    for turn in (1, -1):  # lying and upright
        _, mask = draw(width=[3.0, 1.0][::turn])
        inside = Containment(mask, (VARIANCES[0], VARIANCES[-1]))
        for variance in VARIANCES:
            sides = [
                ndtr((half - at) / np.sqrt(variance)) - ndtr((-half - at) / np.sqrt(variance))
                for half, at in zip((1.5, 0.5), place, strict=True)
            ]
            assert probability(inside, *place[::turn], variance) == pytest.approx(np.prod(sides), abs=1e-3)


def test_a_domain_is_drawn_to_scale():
    """Its area, where its middle is, and what lies beyond its edge."""
    roi, mask = draw(radius=1.0)
    n = len(mask.share)
    assert mask.share.shape == (n, n)
    assert mask.pixel <= min(PIXEL, roi.radius / 25)
    assert n * mask.pixel >= 2 * (1.01 + 0.8)
    assert n * mask.pixel < 2 * (1.01 + 0.8) + 2 * mask.pixel
    area = mask.share.sum() * np.radians(mask.pixel) ** 2
    assert area == pytest.approx(roi.solid_angle, rel=2e-4)
    at = mask.origin + mask.pixel * np.arange(n)
    assert at[0] == pytest.approx(-at[-1])
    r = np.hypot(at, at[:, None])
    np.testing.assert_allclose(mask.share[r < 1 - 4 * mask.pixel], 1, atol=1e-5)
    assert not mask.share[r > 1 + 4 * mask.pixel].any()
    assert mask.share.min() >= 0
    assert mask.variance == pytest.approx(mask.pixel**2 * (1 / 3 + 1 / 12 / PARTS**2))


def test_the_mean_place_and_the_widths_of_a_domain():
    """A small rectangle off the middle: what the picture adds to its variance is said by the mask."""
    roi = region(radius=1.0)
    middle, half = (0.31, -0.23), (0.2, 0.1)

    def contains(vectors):
        x, y = roi.plane.project(vectors)
        return (np.abs(x - middle[0]) <= half[0]) & (np.abs(y - middle[1]) <= half[1])

    mask = DomainMask.draw(roi, contains, 0.5)
    at = mask.origin + mask.pixel * np.arange(len(mask.share))
    for axis in (0, 1):
        weight = mask.share.sum(axis=axis)  # rows run along y
        weight /= weight.sum()
        mean = weight @ at
        assert mean == pytest.approx(middle[axis], abs=5e-5)
        assert weight @ (at - mean) ** 2 == pytest.approx(half[axis] ** 2 / 3 + mask.variance, rel=2e-3)


def test_pixels_follow_the_size_of_the_region():
    for radius, expected in ((0.1, 0.1 / 25), (1.0, PIXEL)):
        _, mask = draw(radius=radius, margin=0.2)
        assert mask.pixel == pytest.approx(expected)
    _, wide = draw(radius=30.0, margin=1.0)
    assert wide.pixel == pytest.approx(2 * (30.3 + 1) / MAX_PIXELS)
    assert len(wide.share) == pytest.approx(MAX_PIXELS, abs=1)


def test_whole_discs():
    _, mask = draw(radius=1.0)
    for distance, radius, expected in ((0.0, 0.9, True), (0.0, 1.1, False), (0.5, 0.4, True), (0.5, 0.6, False)):
        for angle in (0.0, 90.0, 180.0, 270.0, 45.0):
            vector = unit_vectors(distance * np.cos(np.radians(angle)), distance * np.sin(np.radians(angle)))
            assert mask.is_whole(vector, radius) == expected
    everything = DomainMask(mask.plane, mask.pixel, np.ones_like(mask.share))
    edge = -mask.origin
    assert everything.is_whole(unit_vectors(0.0, 0.0), edge - 0.01)
    assert not everything.is_whole(unit_vectors(0.0, 0.0), edge + 0.01)
    assert not everything.is_whole(unit_vectors(0.5, 0.0), edge - 0.4)
    assert not everything.is_whole(unit_vectors(0.0, -0.5), edge - 0.4)


def test_equal_masks():
    _, one = draw(radius=1.0)
    _, same = draw(radius=1.0)
    _, other = draw(radius=1.0, margin=0.9)
    changed = DomainMask(one.plane, one.pixel, np.where(one.share > 0.5, one.share, 0))
    assert one.same_as(same)
    assert not one.same_as(other)
    assert not one.same_as(changed)
    assert containment(one, (0.01, 0.02)) is containment(one, (0.01, 0.02))


def test_means_under_a_spline():
    basis = BSpline.basis_element(np.arange(-2.0, 3.0))
    for x in (-1.9, -1.0, -0.3, 0.0, 0.5, 1.0, 1.7):
        assert float(_spline_integral(np.array(x))) == pytest.approx(float(basis.integrate(-2, x)), abs=1e-12)
    n = 9
    matrix = _spline_means(n).toarray()
    assert matrix.shape == (n, n * PARTS)
    part = (np.arange(n * PARTS) + 0.5) / PARTS - 0.5  # middle of each, in pixels
    expected = [
        [
            float(basis.integrate(max(p - i - 0.5 / PARTS, -2), min(p - i + 0.5 / PARTS, 2))) if abs(p - i) < 2 else 0
            for p in part
        ]
        for i in range(n)
    ]
    np.testing.assert_allclose(matrix, expected, atol=1e-7)


@pytest.mark.parametrize("span", [(0.01, 0.01), (0.01, 0.0134), (0.01, 0.05)])
def test_rungs(span):
    """They enclose the range by one at each end, no further apart than their ratio."""
    _, mask = draw(radius=0.5)
    inside = Containment(mask, span)
    n = inside.coefficients.shape[2]
    first, step = inside.log_variance
    assert 0 < step <= np.log(1.35) + 1e-12
    assert n >= 4
    assert first == pytest.approx(np.log(span[0]) - step)
    assert first + (n - 2) * step == pytest.approx(max(np.log(span[1]), np.log(span[0]) + 1e-3))
    np.testing.assert_allclose(inside.positions(np.exp(first + step * np.array([0, 1, 2.5]))), [0, 1, 2.5], atol=1e-9)
    assert inside.positions(np.zeros(1))[0] < -100
