"""Exact corners of the likelihood: fractions of zero and nearly so, columns that differ by hundreds in logarithms."""

import importlib.util
from typing import ClassVar

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from scipy.special import logsumexp
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.bands import Bands
from pymc_gamma.model import EventMixture, intensity
from pymc_gamma.model.build import build_intensity, model_components
from pymc_gamma.model.fixed_number import FixedNumber
from pymc_gamma.model.intensity import _scale_for_single_precision
from pymc_gamma.model.table import EventTable
from pymc_gamma.ops import banded_log_matvec

BACK_ENDS = ["NUMBA", "FAST_COMPILE"]
if importlib.util.find_spec("jax"):
    BACK_ENDS.append("JAX")

FRACTIONS = [[0.0, 1.0], [1.0, 0.0], [1e-200, 1.0], [1.0, 1e-200], [1e-200, 1e-200], [0.3, 0.7]]


class WideResponse:
    """Two components whose densities differ by up to 1e480 at an event, which is its logarithm."""

    component_names = ("narrow", "wide")
    reco = ("x",)
    coords: ClassVar = {"component": ["narrow", "wide"], "reco": ["x"]}

    def component_pdf(self, rows):
        x = rows[:, 0]
        return np.column_stack([10.0**-x, 10.0**x])

    def event_rows(self, events):
        return np.asarray(events)

    def simulate_rows(self, weights, n, rng):
        return rng.uniform(-1, 1, (n, 1))


def exact(logs, fraction, multiplicity):
    """Value per event, and its gradient in the fractions, of likelihoods that depend on ratios of fractions only."""
    f = np.asarray(fraction)
    with np.errstate(divide="ignore"):
        total = logsumexp(logs + np.log(f), axis=-1)
    ratio = np.exp(np.minimum(logs - total[..., None], 600))
    return multiplicity * (total - np.log(f.sum())), (multiplicity[..., None] * (ratio - 1 / f.sum())).sum(axis=-2)


def compare(function, logs, multiplicity):
    for f in FRACTIONS:
        each, gradient = function(np.array(f))
        expected, slope = exact(logs, f, multiplicity)
        np.testing.assert_allclose(each, expected, rtol=1e-12, atol=1e-12)
        assert np.isfinite(gradient).all()
        # in the logarithms of fractions, as samplers see them
        gradient = np.asarray(gradient)
        np.testing.assert_allclose(gradient * f, slope * f, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_own_table(mode, weighted):
    logs = np.array([[0.0, -800.0], [-740.0, 0.0], [0.0, -740.0], [-1.0, -2.0], [-5000.0, -1e5]])
    multiplicity = np.array([1.0, 2.0, 3.0, 1.0, 4.0]) if weighted else np.ones(5)
    f = pt.vector("f", shape=(2,))
    with pm.Model() as model:
        events = EventMixture("events", f, log_likelihood=logs, multiplicity=multiplicity if weighted else None)
    each = pm.logp(events, model.rvs_to_values[events])
    function = pytensor.function([f], [each, pytensor.grad(each.sum(), f)], mode=mode)
    compare(function, logs, multiplicity)


def test_the_sum_that_samplers_run():
    """0 and -800 with fractions (0, 1): the fused form, through PyMC."""
    with pm.Model() as model:
        share = pm.Uniform("share", 0, 1, default_transform=None)
        EventMixture("events", pt.stack([share, 1 - share]), log_likelihood=[[0.0, -800.0]] * 600)
    logp = model.compile_logp()
    np.testing.assert_allclose(logp({"share": 0.0}), -800 * 600, rtol=1e-13)
    slope = model.compile_dlogp()({"share": 0.0})
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(logp({"share": 1e-200}), 600 * np.log(1e-200), rtol=1e-13)
    np.testing.assert_allclose(model.compile_dlogp()({"share": 1e-200}), 600 * 1e200, rtol=1e-9)


ROWS = np.array([[-120.0], [120.0], [150.0], [-240.0], [240.0], [0.1]])
LOGS = np.log(10.0) * np.column_stack([-ROWS[:, 0], ROWS[:, 0]])


@pytest.mark.parametrize("kind", ["constant", "live"])
@pytest.mark.parametrize("weighted", [False, True])
def test_response(kind, weighted):
    multiplicity = np.array([1.0, 2.0, 3.0, 1.0, 4.0, 1.0]) if weighted else np.ones(6)
    rows = np.column_stack([ROWS, multiplicity]) if weighted else ROWS
    f = pt.vector("f", shape=(2,))
    with pm.Model() as model:
        observed = pm.Data("rows", rows) if kind == "live" else rows
        events = EventMixture("events", f, response=WideResponse(), observed=observed)
    each = pm.logp(events, model.rvs_to_values[events])
    compare(pytensor.function([f], [each, pytensor.grad(each.sum(), f)]), LOGS, multiplicity)
    if kind == "live":
        with model:
            pm.set_data({"rows": rows[::-1]})
        fewer = pytensor.function([f], [each, pytensor.grad(each.sum(), f)])
        compare(fewer, LOGS[::-1], multiplicity[::-1])


def test_batches_of_fractions():
    f = pt.matrix("f", shape=(2, 2))
    with pm.Model() as model:
        events = EventMixture("events", f, response=WideResponse(), observed=np.stack([ROWS, ROWS[::-1]]))
    each = pm.logp(events, model.rvs_to_values[events])
    function = pytensor.function([f], [each, pytensor.grad(each.sum(), f)])
    f = np.array([[0.0, 1.0], [1e-200, 1.0]])
    found, gradient = function(f)
    for k, logs in enumerate((LOGS, LOGS[::-1])):
        expected, slope = exact(logs, f[k], np.ones(6))
        np.testing.assert_allclose(found[k], expected, rtol=1e-12)
        np.testing.assert_allclose(gradient[k] * f[k], slope * f[k], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "fraction", [[0.0, 0.0], [-0.1, 1.1], [np.nan, 1.0], [np.inf, 1.0], pt.stack([0.0, pt.constant(0.0)])]
)
def test_constant_fractions_that_are_none(fraction):
    with pm.Model(), pytest.raises(ModelError, match=r"events: the fractions of .* positive sum"):
        EventMixture("events", fraction, response=WideResponse(), n_events=5)
    with pm.Model(), pytest.raises(ModelError, match=r"events: the fractions of .* positive sum"):
        EventMixture("events", fraction, log_likelihood=np.zeros((3, 2)))


def test_all_fractions_zero_under_a_sampler():
    """Impossible, not NaN, and gradients that may be multiplied by zero."""
    with pm.Model() as model:
        scale = pm.Uniform("scale", 0, 1, default_transform=None)
        EventMixture("events", scale * np.array([0.25, 0.75]), log_likelihood=[[0.0, -800.0], [0.0, -1.0]])
    assert model.compile_logp()({"scale": 0.0}) == -np.inf
    assert np.isfinite(model.compile_dlogp()({"scale": 0.0})).all()
    np.testing.assert_allclose(model.compile_dlogp()({"scale": 0.5}), 0, atol=1e-9)


def test_free_spectra_keep_what_single_precision_holds(monkeypatch):
    """Events where the source is fainter than the background by more than the range of single precision.

    Such bands are left out, but where blocks bring theirs.
    """
    monkeypatch.setattr(intensity, "without_negligible", lambda bands, *_: bands)
    response = pmg.fold(
        [source("one", 0.0, 0.0), pmg.CosmicRayBackground()], pointing(), region(width=2.0), free_spectrum=["one"]
    )
    lon, energy = np.meshgrid(np.linspace(0.2, 0.9, 150), [0.3, 1.0, 5.0, 20.0])
    rows = np.column_stack([energy.ravel(), lon.ravel(), np.zeros(lon.size)])
    components = model_components("events", response, {"one": pmg.PowerLaw()}, {}, ())
    columns, _ = build_intensity("events", FixedNumber, components, None, needs_norms=False)
    _, bands = response.column_densities(rows, columns.smooth)
    rows_of = np.repeat(np.arange(len(rows)), np.diff(bands.pointer))
    exact = np.bincount(rows_of, bands.values.astype(float), minlength=len(rows))
    arrays = columns.arrays(rows)
    v = np.concatenate([np.zeros(columns.n_columns), np.ones(columns.n_flux)])
    found = pytensor.function([], banded_log_matvec(*EventTable(arrays).inputs, v))()
    faint = (exact > 0) & (exact < 1e-36)
    assert faint.any()
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found, np.log(exact), rtol=1e-6)


def test_scales_neither_lose_nor_overflow():
    values = np.array([1.0, 1e-42, 3e-45, 1e20, 1e-40, 0.5], np.float32)
    bands = Bands(values, np.array([0, 2, 3, 5, 6]), np.zeros((4, 1), np.int64))
    scale = np.array([1e6, 1e6, 1e20, 2.0])
    reduced = _scale_for_single_precision(scale, bands)
    numbers = (values / reduced[[0, 0, 1, 2, 2, 3]]).astype(np.float32)
    assert np.isfinite(numbers).all()
    np.testing.assert_allclose(numbers * reduced[[0, 0, 1, 2, 2, 3]], values.astype(float), rtol=1e-6)
    assert reduced[3] == 2.0


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        ((1e-150, 1e-150), np.log(0.5 * (1 + np.exp(-1.0)))),
        ((1e-320, 1e-320), -np.inf),
        ((1e-200, 0.0), 0.0),
        ((-0.5, 1.5), -np.inf),
        ((np.nan, 1.0), np.nan),
    ],
)
def test_extreme_fractions_under_a_sampler(fraction, expected):
    """Only ratios count; a negative fraction is impossible, and NaN stays NaN."""
    with pm.Model() as model:
        f = pm.Flat("f", shape=2, initval=[0.5, 0.5])
        EventMixture("e", f, log_likelihood=np.array([[0.0, -1.0]]))
    assert model.compile_logp()({"f": np.array(fraction)}) == pytest.approx(expected, rel=1e-12, nan_ok=True)
    gradient = model.compile_dlogp()({"f": np.array(fraction)})
    assert np.isnan(expected) or np.isfinite(gradient).all() or min(fraction) < 1e-300


def test_priors_are_not_drawn_from_when_a_mixture_is_made():
    """Nor must they be such that they can be."""
    with pm.Model() as model:
        f = pm.HalfFlat("f", shape=2, initval=[0.5, 0.5])
        EventMixture("e", f, log_likelihood=np.zeros((3, 2)))
    assert np.isfinite(model.compile_logp()(model.initial_point()))
