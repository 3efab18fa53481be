"""Tables of the instrument response: what is made for some offsets alone, and averages over the PSF."""

import numpy as np
import pytest
from scipy.stats import norm
from setups import pointing, quick_start_irfs, region, source

import pymc_gamma as pmg
from pymc_gamma.folding.compile import Field, compile_component
from pymc_gamma.folding.tables import build_tables
from pymc_gamma.threads import run_parallel

EDGES = tuple(np.geomspace(0.2, 50, 40).tolist())
SPAN = (0.5, 20.0)


@pytest.fixture(scope="module")
def full():
    return build_tables(quick_start_irfs(), EDGES, SPAN)


@pytest.mark.parametrize("offsets", [(0.0, 0.0), (0.7, 0.7), (0.5, 2.2), (4.0, 99.0), (99.0, 99.0), (np.inf, 0.0)])
def test_dispersion_for_some_offsets(full, offsets):
    some = build_tables(quick_start_irfs(), EDGES, SPAN, offsets)
    kept = np.isin(full.edisp_offset, some.edisp_offset)
    np.testing.assert_array_equal(some.edisp, full.edisp[kept])
    np.testing.assert_array_equal(some.aeff, full.aeff)
    span = full.edisp_offset[[0, -1]]
    for offset in np.clip(offsets, *span) if offsets[0] <= offsets[1] else ():
        below, above = (full.edisp_offset[full.edisp_offset <= offset], full.edisp_offset[full.edisp_offset >= offset])
        assert {below.max(), above.min()} <= set(some.edisp_offset)


def test_offsets_at_which_components_shine():
    roi, axis = region(radius=1.0, energy=SPAN), pointing(lon=1.0).axis_vector("galactic")
    field = Field(roi, np.array(EDGES), pixel=0.05, margin=1.0)
    point, wide = (compile_component(source("s", 0.5, 0.0, sigma=sigma), field) for sigma in (0.0, 0.1))
    assert point.offsets(axis) == pytest.approx((0.5, 0.5))
    low, high = wide.offsets(axis)
    assert low == 0.0
    assert high > 0.5 + 8 * 0.1
    cloud = compile_component(pmg.GalacticDiffuse(), field)
    assert cloud.offsets(axis) == (0.0, np.inf)


def test_effective_area_over_the_psf(full):
    """Against a mean over many directions around an event, of what comes from there with the PSF of that place."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 400_000))
    nodes = np.arange(len(full.aeff)) * full.offset_step
    for o, e in ((0, 3), (20, 0), (51, 20), (80, 35)):
        variance = full.variance[0, o, e]
        from_there = np.hypot(nodes[o] + np.sqrt(variance) * x, np.sqrt(variance) * y)
        area, own, share = (
            np.interp(from_there, nodes, table[:, e]) for table in (full.aeff, full.variance[0], full.weight[0])
        )
        ratio = norm.pdf(np.hypot(x, y) * np.sqrt(variance / own)) / norm.pdf(np.hypot(x, y)) * variance / own
        values = area * share / full.weight[0, o, e] * ratio
        expected, error = values.mean(), values.std() / np.sqrt(len(x))
        assert full.aeff_smooth[0, o, e] == pytest.approx(expected, abs=4 * error + 2e-4 * expected)


def test_tasks_that_work_in_parallel_themselves():
    found = run_parallel(lambda i: run_parallel(lambda j: 10 * i + j, range(3)), range(4))
    assert found == [[10 * i + j for j in range(3)] for i in range(4)]
