"""What other true-energy bins and pixels would change, per event and in the posterior."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from setups import pointing, quick_start_components, region

import pymc_gamma as pmg

pytestmark = pytest.mark.slow

TRUTH = np.array([1, 2, 3]) / 6
EVENTS = 100_000


@pytest.fixture(scope="module")
def fiducial():
    return fold()


@pytest.fixture(scope="module")
def rows(fiducial):
    return fiducial.simulate_rows(TRUTH, EVENTS, np.random.default_rng(7))


class SmoothDiffuse(pmg.GalacticDiffuse):
    """Says that its template is smooth, so that ``pixel`` is not refined (by default to 0.4 of a template pixel)."""

    def parts(self, roi, margin_deg=0.8):
        (part,) = super().parts(roi, margin_deg)
        return (dataclasses.replace(part, shape=dataclasses.replace(part.shape, feature=10.0)),)


def fold(*, diffuse=pmg.GalacticDiffuse, **kwargs):
    _, *others = quick_start_components()
    return pmg.fold([diffuse(), *others], pointing(), region(), **kwargs)


def shift_in_sigma(before, after, fraction):
    """Distance between the most likely fractions of two tables of densities, in posterior standard deviations.

    One Newton step with the Fisher information, in the metric of that information.
    """

    def score(density):
        return (density[:, :-1] - density[:, -1:]) / (density @ fraction)[:, None]

    s = score(before)
    change = (score(after) - s).sum(axis=0)
    return float(np.sqrt(change @ np.linalg.solve(s.T @ s, change)))


@pytest.mark.parametrize(
    ("label", "other"),
    [
        ("300 true-energy bins", {"energy_true": 300}),
        ("600 true-energy bins", {"energy_true": 600}),
        ("pixels of 0.05 deg", {"diffuse": SmoothDiffuse}),
        ("pixels of 0.0125 deg", {"pixel": 0.0125 * u.deg}),
        ("true energies from 0.03 TeV", {"energy_true": np.geomspace(0.03, 199, 160) * u.TeV}),
    ],
)
def test_other_tables_change_little(fiducial, rows, label, other):
    response = fold(**other)
    before, after = fiducial.component_pdf(rows), response.component_pdf(rows)
    change = np.log(after @ TRUTH) - np.log(before @ TRUTH)
    # far from every source a density may be zero: compare where the component matters
    seen = before > 1e-3 * before.mean(axis=0)
    columns = [float(np.median(np.abs(a[s] / b[s] - 1))) for a, b, s in zip(after.T, before.T, seen.T, strict=True)]
    counts = (response.acceptance / fiducial.acceptance - 1).values
    small = shift_in_sigma(before[:4500], after[:4500], TRUTH)
    large = shift_in_sigma(before, after, TRUTH)
    print(
        f"{label:28s} log L per event {change.mean():+.1e} (rms {change.std():.1e}); densities, median: "
        f"{np.round(columns, 5).tolist()}; acceptances {np.round(counts, 5).tolist()}; "
        f"posterior {small:.3f} sigma at 4500 events, {large:.3f} at {EVENTS}"
    )
    assert abs(change.mean()) < 1e-4
    assert change.std() < 3e-3
    assert small < 0.05
    assert large < 0.25
