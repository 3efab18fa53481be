"""Products of factors and bands: against dense matrices, with derivatives of second order, in all back ends."""

import importlib.util

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from pymc_gamma.folding.bands import compress
from pymc_gamma.ops.coarse_kernels import coarsened, no_few_nodes, rough_span
from pymc_gamma.ops.factored import RoughSpan, RowsDot, RowsPull, factored_density

N_EVENTS, N_WIDTHS, N_NODES = 7, 5, 20
HAS_JAX = importlib.util.find_spec("jax") is not None


@pytest.fixture
def tables():
    rng = np.random.default_rng(1)
    event = np.repeat([0, 1, 3, 4, 6], [1, 3, 2, 1, 2])
    length = rng.integers(1, 8, len(event))
    pointer = np.concatenate([[0], np.cumsum(length)])
    column = rng.integers(0, N_NODES - 8, len(event))
    factors = rng.uniform(-0.2, 1, (len(event), N_WIDTHS)).astype(np.float32)
    values = rng.uniform(0, 1, pointer[-1]).astype(np.float32)
    return factors, values, pointer, column, *no_few_nodes(len(event)), event


def dense(tables):
    """The bilinear form of each event, shape (N_EVENTS, N_WIDTHS, N_NODES)."""
    factors, values, pointer, column, *_, event = tables
    out = np.zeros((N_EVENTS, N_WIDTHS, N_NODES))
    for r, i in enumerate(event):
        band = np.zeros(N_NODES)
        band[column[r] : column[r] + pointer[r + 1] - pointer[r]] = values[pointer[r] : pointer[r + 1]]
        out[i] += np.outer(factors[r], band)
    return out


@pytest.mark.parametrize("mode", ["NUMBA", "FAST_COMPILE", "JAX"])
def test_values_and_derivatives(tables, mode):
    if mode == "JAX":
        pytest.importorskip("jax")
    rng = np.random.default_rng(2)
    w, v, g = pt.dvector("w"), pt.dvector("v"), rng.normal(size=N_EVENTS)
    at = rng.uniform(0, 1, N_WIDTHS), rng.uniform(0, 1, N_NODES)
    density = factored_density(w, v, [pt.as_tensor_variable(one) for one in tables], pt.constant(N_EVENTS))
    total = (g * density**2).sum()
    first = pt.grad(total, [w, v])
    second = pt.grad((first[0] ** 2).sum() + (first[1] * v).sum(), [w, v])
    found = pytensor.function([w, v], [density, *first, *second], mode=mode)(*at)

    form = dense(tables)
    r = np.einsum("igs,g,s->i", form, *at)
    of_w, of_v = form @ at[1], np.einsum("igs,g->is", form, at[0])
    first_w, first_v = (2 * g * r) @ of_w, (2 * g * r) @ of_v
    ww = np.einsum("i,ig,ih->gh", 2 * g, of_w, of_w)
    vv = np.einsum("i,is,it->st", 2 * g, of_v, of_v)
    wv = np.einsum("i,ig,is->gs", 2 * g, of_w, of_v) + np.einsum("i,igs->gs", 2 * g * r, form)
    expected = [r, first_w, first_v, ww @ (2 * first_w) + wv @ at[1], wv.T @ (2 * first_w) + vv @ at[1] + first_v]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_one_gradient_alone(tables):
    w, v = pt.dvector("w"), pt.dvector("v")
    for one in (w, v):
        assert pt.grad(factored_density(w, v, [*tables], pt.constant(N_EVENTS)).sum(), one).type == one.type


def test_bad_inputs_are_refused(tables):
    *own, _ = tables
    with pytest.raises(TypeError, match="factors must be a float32"):
        RowsDot()(np.ones(5), np.ones(20), [0, 20], own[0].astype(float), *own[1:])
    with pytest.raises(TypeError, match="one dimension"):
        RowsPull()(np.ones((5, 1)), np.ones(9), np.ones(20), [0, 20], *own)


N_MANY = 125
"""Nodes of bands that are summed at few nodes."""
SMOOTH = np.exp(-0.02 * np.arange(N_MANY)) * (1 + 0.3 * np.sin(0.02 * np.arange(N_MANY)))


def ending(end):
    """A spectrum with a step at an end between nodes, which has the share of that node below it."""
    return SMOOTH * np.clip(end - np.arange(N_MANY) + 0.5, 0, 1)


@pytest.fixture(params=[1, 3], ids=["some nodes more", "no nodes more"])
def many(rng, request):
    """Bands of noise, some at the ends, and the tables of a response with as many nodes, or two less."""
    n = N_MANY - (request.param - 1)
    at = np.arange(n)
    centre = np.array([0.0, 10, 30, 50, 55, 60, 65, 100, n - 1])
    dense = np.exp(-0.5 * ((at - centre[:, None]) / 8) ** 2) * rng.uniform(0.5, 1.5, (len(centre), n))
    dense[dense < 1e-4] = 0
    bands = compress(dense[:, None])
    column = bands.column[:, 0]
    few = coarsened(bands.values, bands.pointer, column, n)
    factors = rng.uniform(0, 1, (len(centre), N_WIDTHS)).astype(np.float32)
    return dense, [factors, bands.values, bands.pointer, column, *few]


MODES = ["NUMBA", "FAST_COMPILE", pytest.param("JAX", marks=pytest.mark.skipif(not HAS_JAX, reason="no JAX"))]


@pytest.mark.parametrize("end", [40.2, 57.0, 63.7, 300.0])
@pytest.mark.parametrize("line", [0, 45, 52])
def test_few_nodes_say_what_many_do(many, end, line):
    dense, tables = many
    v = ending(end)[: dense.shape[1]].copy()
    v[line] += 5.0 * (line > 0)
    lo, hi = rough_span(v)
    assert hi - lo < len(v) / 3
    assert (tables[-1] < lo).any() or lo == hi
    found = RowsDot()(np.ones(N_WIDTHS), v, RoughSpan()(v), *tables)[1].eval()
    np.testing.assert_allclose(found, dense @ v, rtol=1e-4, atol=1e-12)
    assert np.all(found[dense @ v == 0] == 0)


def test_numbers_are_few_where_a_spectrum_is_smooth(many):
    dense, (factors, values, pointer, column, few, *rest) = many
    assert len(few) < len(values) / 2
    v = SMOOTH[: dense.shape[1]]
    lo, hi = rough_span(v)
    assert lo == hi  # so that no number at all nodes is read, but at ends
    inside = (column > 0) & (column + np.diff(pointer) < len(v))
    for one in (np.full_like(values, np.nan), values):
        rows = RowsDot()(np.ones(N_WIDTHS), v, [lo, hi], factors, one, pointer, column, few, *rest)[1].eval()
        np.testing.assert_allclose(rows[inside], (dense @ v)[inside], rtol=1e-5)


def test_noise_is_summed_at_all_nodes(many, rng):
    dense, tables = many
    v = rng.uniform(0, 1, dense.shape[1])
    assert rough_span(v).tolist() == [0, len(v)]
    found = RowsDot()(np.ones(N_WIDTHS), v, RoughSpan()(v), *tables)[1].eval()
    np.testing.assert_allclose(found, dense @ v, rtol=1e-6)


@pytest.mark.parametrize("span", [(0, N_MANY), (45, 70), (60, 60)])
def test_the_pull_is_the_transpose(many, rng, span):
    dense, tables = many
    span = np.minimum(span, dense.shape[1])
    a, v = rng.normal(size=N_WIDTHS), rng.normal(size=dense.shape[1])
    x, y = rng.normal(size=(2, len(dense)))
    first, second = (one.eval() for one in RowsDot()(a, v, span, *tables))
    w, u = (one.eval() for one in RowsPull()(x, y, v, span, *tables))
    np.testing.assert_allclose(first @ x, a @ w)
    np.testing.assert_allclose(second @ y, v @ u)


def test_an_end_has_its_derivative(many):
    dense, tables = many
    end, at = pt.dscalar("end"), np.arange(dense.shape[1])
    v = pt.constant(SMOOTH[: len(at)]) * pt.clip(end - at + 0.5, 0, 1)
    total = factored_density(pt.ones(N_WIDTHS), v, [*tables, np.arange(len(dense))], pt.constant(len(dense))).sum()
    slope = pytensor.function([end], pt.grad(total, end))
    of_rows = tables[0].sum(axis=1, dtype=float)
    for place in (40.2, 57.3, 63.7):
        expected = of_rows @ dense @ (ending(place + 1e-3) - ending(place - 1e-3))[: len(at)] / 2e-3
        np.testing.assert_allclose(slope(place), expected, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("end", [47.3, 57.0, 300.0])
def test_back_ends_agree(many, rng, mode, end):
    dense, tables = many
    w, v, g = pt.dvector("w"), pt.dvector("v"), rng.normal(size=len(dense))
    every = [*tables, np.arange(len(dense))]
    density = factored_density(w, v, [pt.as_tensor_variable(one) for one in every], pt.constant(len(dense)))
    outputs = [RoughSpan()(v), density, *pt.grad((g * density**2).sum(), [w, v])]
    at = rng.uniform(0, 1, N_WIDTHS), ending(end)[: dense.shape[1]]
    for one, other in zip(
        *(pytensor.function([w, v], outputs, mode=mode)(*at) for mode in ("NUMBA", mode)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10 * np.abs(other).max())


def test_spans_of_any_coefficients_agree(rng):
    pytest.importorskip("jax")
    v = pt.dvector("v")
    span = pytensor.function([v], RoughSpan()(v), mode="JAX")
    for n in (40, 61, 62, 123, 124):
        for _ in range(5):
            values = np.exp(-rng.uniform(0, 0.1) * np.arange(n))
            values[rng.integers(0, n, 2)] *= rng.uniform(0.9, 1.1)
            assert span(values).tolist() == rough_span(values).tolist()
