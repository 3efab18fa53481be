"""Products of factors and bands: against dense matrices, with derivatives of second order, in all back ends."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from pymc_gamma.ops.factored import RowsDot, RowsPull, factored_density

N_EVENTS, N_WIDTHS, N_NODES = 7, 5, 20


@pytest.fixture
def tables():
    rng = np.random.default_rng(1)
    event = np.repeat([0, 1, 3, 4, 6], [1, 3, 2, 1, 2])
    length = rng.integers(1, 8, len(event))
    pointer = np.concatenate([[0], np.cumsum(length)])
    column = rng.integers(0, N_NODES - 8, len(event))
    factors = rng.uniform(-0.2, 1, (len(event), N_WIDTHS)).astype(np.float32)
    return factors, rng.uniform(0, 1, pointer[-1]).astype(np.float32), pointer, column, event


def dense(tables):
    """The bilinear form of each event, shape (N_EVENTS, N_WIDTHS, N_NODES)."""
    factors, values, pointer, column, event = tables
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
        RowsDot()(np.ones(5), np.ones(20), own[0].astype(float), *own[1:])
    with pytest.raises(TypeError, match="one dimension"):
        RowsPull()(np.ones((5, 1)), np.ones(9), np.ones(20), *own)
