"""Forms for JAX on a GPU, which compute anywhere: all Ops against NumPy, and what becomes of tables."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from kernel_inputs import events_of
from pytensor.graph.basic import Constant
from test_added import KINDS, N_EVENTS, Table, expected, nodes, point, symbols
from test_rare import DEEP, check, logs_of_events
from test_rare import ops as ops_of

import pymc_gamma as pmg
from pymc_gamma.errors import PymcGammaWarning
from pymc_gamma.model.table import EventTable, TableArrays
from pymc_gamma.ops import device, kernels, log_matvec_sum, row_forms

jax = pytest.importorskip("jax")


@pytest.fixture
def as_on_gpu(monkeypatch):
    monkeypatch.setattr(row_forms, "on_processor", lambda: False)


def constants(function):
    """Arrays that a function brings along."""
    nodes = function.maker.fgraph.apply_nodes
    return {id(one.data): one.data for node in nodes for one in node.inputs if isinstance(one, Constant)}.values()


@pytest.mark.usefixtures("as_on_gpu")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_all_ops(rng, kind, weighted):
    table = Table(rng, kind, weighted=weighted)
    vectors = symbols(table)
    outputs = [output for node in nodes(table, vectors) for output in node.outputs]
    function = pytensor.function(vectors, outputs, mode="JAX", on_unused_input="ignore")
    values = point(rng, table)
    for found, wanted in zip(function(*values), expected(table, *values), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("as_on_gpu")
def test_events_kept_as_logarithms(rng):
    logs = logs_of_events(rng, N_EVENTS)
    counts = rng.integers(0, 4, N_EVENTS).astype(float)
    offset = rng.normal(size=N_EVENTS)
    arrays = TableArrays.build(np.exp(logs), counts, offset, log_densities=logs)
    assert len(arrays.log_rows) >= len(DEEP)
    variables, outputs = ops_of(EventTable(arrays).inputs, banded=False, n=3, n_events=N_EVENTS)
    function = pytensor.function(variables, outputs, mode="JAX", on_unused_input="ignore")
    v, weight, direction = np.array([0.2, 0.3, 0.5]), rng.normal(size=N_EVENTS), rng.normal(size=3)
    found = [np.asarray(one) for one in function(v, weight, direction)]
    hessian = check(found, logs, counts, offset, v, weight, direction)
    np.testing.assert_allclose(found[5], hessian, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("on_gpu", [True, False])
@pytest.mark.parametrize("kind", ["columns", "both"])
def test_what_samplers_differentiate(rng, monkeypatch, kind, on_gpu):
    """PyMC makes constants of tables for NumPyro, and JAX differentiates what it is given."""
    from pymc.sampling.jax import get_jaxified_logp

    monkeypatch.setattr(row_forms, "on_processor", lambda: not on_gpu)
    table = Table(rng, kind, weighted=False)
    with pm.Model() as model:
        v = pm.Flat("v", shape=table.n_columns)
        pm.Potential("events", log_matvec_sum(*table.inputs, v))
    at = rng.uniform(0.1, 1, table.n_columns)
    value, gradient = jax.value_and_grad(get_jaxified_logp(model))([at])
    wanted, slope = kernels.fused(events_of(table.arrays), table.tiles, at, None)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    np.testing.assert_allclose(gradient[0], slope, rtol=1e-10)


@pytest.mark.usefixtures("as_on_gpu")
def test_single_precision_is_of_the_table_alone(rng):
    table = Table(rng, "columns")
    v = pt.vector("v", shape=(table.n_columns,))
    outputs = [log_matvec_sum(*table.inputs, v)]
    outputs.append(pt.grad(outputs[0], v))
    exact = pytensor.function([v], outputs, mode="JAX")
    with pmg.single_precision_tables():
        single = pytensor.function([v], outputs, mode="JAX")
    (kept,) = [array for array in constants(single) if array.ndim == 3]
    assert kept.dtype == np.float32
    assert not any(array.ndim == 3 for array in constants(exact))
    at = rng.uniform(0.1, 1, table.n_columns)
    rounded = table.full.astype(np.float32).astype(float)
    counts = table.multiplicity
    np.testing.assert_allclose(single(at)[0], counts @ (np.log(rounded @ at) + table.offset), rtol=1e-13)
    np.testing.assert_allclose(single(at)[1], rounded.T @ (counts / (rounded @ at)), rtol=1e-13)
    np.testing.assert_allclose(exact(at)[0], counts @ (np.log(table.full @ at) + table.offset), rtol=1e-13)
    assert abs(float(single(at)[0]) - float(exact(at)[0])) < 6e-8 * np.sqrt(counts @ counts)


@pytest.mark.usefixtures("as_on_gpu")
def test_tiles_stay_in_single_precision_and_are_there_once(rng):
    table = Table(rng, "both")
    v = pt.vector("v", shape=(table.n_columns,))
    value = log_matvec_sum(*table.inputs, v)
    function = pytensor.function([v], [value, pt.grad(value, v)], mode="JAX")
    tables = [array for array in constants(function) if array.ndim == 3]
    assert {array.dtype for array in tables} == {np.dtype(np.float32)}
    numbers = np.concatenate([array.ravel() for array in tables])
    np.testing.assert_array_equal(
        np.sort(numbers[numbers != 0]), np.sort(table.tiles.numbers[table.tiles.numbers != 0])
    )


def test_device_of_functions_that_are_compiled(monkeypatch):
    assert device.on_processor() == (jax.default_backend() == "cpu")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not device.on_processor()
    with jax.default_device(jax.devices("cpu")[0]):
        assert device.on_processor()


def test_sums_in_single_precision_are_warned_of(rng):
    table = Table(rng, "columns")
    v = pt.dvector("v")
    with pytensor.config.change_flags(floatX="float32"), pytest.warns(PymcGammaWarning, match="single precision"):
        pytensor.function([v], log_matvec_sum(*table.inputs, v), mode="JAX")
