"""A density added to the products of a table, of any kind or of no columns: the Op family against NumPy."""

import importlib.util

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from kernel_inputs import events_of
from pytensor.gradient import DisconnectedType, disconnected_type, verify_grad

from pymc_gamma.model.table import EventTable, TableArrays
from pymc_gamma.ops import (
    BLOCK,
    LogMatVec,
    LogMatVecHVP,
    LogMatVecJVP,
    LogMatVecSum,
    LogMatVecVJP,
    kernels,
    log_matvec,
    log_matvec_sum,
)

BACK_ENDS = ["NUMBA", "FAST_COMPILE"]
if importlib.util.find_spec("jax"):
    BACK_ENDS.append("JAX")

N_EVENTS, N_NODES = 2 * BLOCK + 37, 12
FAMILY = (LogMatVec, LogMatVecSum, LogMatVecVJP, LogMatVecJVP, LogMatVecHVP)


class Table:
    """A table of some kind, and the same written out in full in the user's order."""

    def __init__(self, rng, kind, n_events=N_EVENTS, weighted=True):
        n_dense = {"columns": 3, "both": 2, "bands": 0, "nothing": 0}[kind]
        self.banded = kind in ("both", "bands")
        rows = rng.uniform(0.1, 1, (n_events, n_dense))
        bands = ()
        self.full = rows
        if self.banded:
            length = rng.integers(0, 6, n_events)
            column = rng.integers(0, N_NODES - 6, (n_events, 1)) + n_dense
            pointer = np.concatenate([[0], np.cumsum(length)])
            values = rng.uniform(0.1, 1, pointer[-1]).astype(np.float32)
            self.full = np.concatenate([rows, np.zeros((n_events, N_NODES))], axis=1)
            for i in range(n_events):
                self.full[i, column[i, 0] : column[i, 0] + length[i]] = values[pointer[i] : pointer[i + 1]]
            bands = (values, pointer, column)
        self.multiplicity = rng.integers(0, 4, n_events).astype(float) if weighted else np.ones(n_events)
        self.offset = rng.normal(size=n_events)
        self.arrays = TableArrays.build(rows, self.multiplicity, self.offset, bands)
        self.inputs = EventTable(self.arrays).inputs
        self.n_columns = self.full.shape[1]

    @property
    def tiles(self):
        """What the kernels take."""
        return self.arrays.tiles or None


KINDS = ["columns", "both", "bands", "nothing"]


def nodes(table, vectors):
    """All Ops of the family on a table, and their outputs."""
    v, r, g, u, q = vectors
    arguments = {
        LogMatVec: (v, r),
        LogMatVecSum: (v, r),
        LogMatVecVJP: (v, r, g),
        LogMatVecJVP: (v, r, g, u, q),
        LogMatVecHVP: (v, r, g, u, q),
    }
    return [kind(table.banded, added=True).make_node(*table.inputs, *own) for kind, own in arguments.items()]


def symbols(table, n_events=N_EVENTS):
    sizes = {"v": table.n_columns, "r": n_events, "g": n_events, "u": table.n_columns, "q": n_events}
    return [pt.vector(name, shape=(size,)) for name, size in sizes.items()]


def point(rng, table, n_events=N_EVENTS):
    n = table.n_columns
    added = rng.uniform(0.05, 1, n_events)
    return rng.uniform(0.1, 1, n), added, rng.normal(size=n_events), rng.normal(size=n), rng.normal(size=n_events)


def expected(table, v, r, g, u, q):
    m, full = table.multiplicity, table.full
    s, t = full @ v + r, full @ u + q
    c = -g * m * t / s**2
    terms = m * (np.log(s) + table.offset)
    return [
        terms,
        terms.sum(),
        full.T @ (m / s),
        m / s,
        full.T @ (g * m / s),
        g * m / s,
        g * m * t / s,
        full.T @ c,
        c,
    ]


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_ops_in_every_back_end(rng, mode, kind):
    table = Table(rng, kind)
    vectors = symbols(table)
    outputs = [output for node in nodes(table, vectors) for output in node.outputs]
    function = pytensor.function(vectors, outputs, mode=mode, on_unused_input="ignore")
    values = point(rng, table)
    for found, wanted, variable in zip(function(*values), expected(table, *values), outputs, strict=True):
        assert np.shape(found) == variable.type.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_events", [1, BLOCK, BLOCK + 1])
def test_single_events_and_full_blocks(rng, kind, n_events):
    """With multiplicity one densities are taken in pairs."""
    table = Table(rng, kind, n_events, weighted=False)
    v, r, *_ = point(rng, table, n_events)
    value, gradient, of_events = kernels.fused(events_of(table.arrays), table.tiles, v, r)
    s = table.full @ v + r
    np.testing.assert_allclose(value, (np.log(s) + table.offset).sum(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, table.full.T @ (1 / s), rtol=1e-12)
    np.testing.assert_allclose(of_events, 1 / s, rtol=1e-12)


@pytest.mark.parametrize("kind", ["columns", "both"])
def test_nothing_added_is_as_if_there_were_no_such_vector(rng, kind):
    table = Table(rng, kind)
    v = rng.uniform(0.1, 1, table.n_columns)
    events = events_of(table.arrays)
    value, gradient, _ = kernels.fused(events, table.tiles, v, np.zeros(N_EVENTS))
    plain = kernels.fused(events, table.tiles, v, None)
    assert value == plain[0]
    np.testing.assert_array_equal(gradient, plain[1])


@pytest.mark.parametrize("kind", ["both", "nothing"])
def test_derivatives_against_finite_differences(rng, kind):
    table = Table(rng, kind, 40)
    v, r, g, *_ = point(rng, table, 40)
    options = {"rng": rng, "mode": "FAST_COMPILE", "eps": 1e-7}

    def applied(kind, output):
        return lambda *vectors: kind(table.banded, added=True).make_node(*table.inputs, *vectors).outputs[output]

    at = [r] if table.n_columns == 0 else [v, r]
    fixed = [v] if table.n_columns == 0 else []

    def of(function):
        return lambda *vectors: function(*fixed, *vectors)

    outputs = {LogMatVec: [0], LogMatVecSum: [0, 1, 2] if table.n_columns else [0, 2]}
    for op, chosen in outputs.items():
        for output in chosen:
            verify_grad(of(applied(op, output)), at, **options)
    for output in [0, 1] if table.n_columns else [1]:
        verify_grad(of(applied(LogMatVecVJP, output)), [*at, g], **options)


def test_the_whole_hessian(rng):
    """All four parts of it, by two derivatives of the sum of the pointwise form."""
    n_events = 11
    table = Table(rng, "both", n_events)
    v, r, *_ = point(rng, table, n_events)
    x = pt.vector("x", shape=(table.n_columns + n_events,))
    total = log_matvec(*table.inputs, x[: table.n_columns], added=x[table.n_columns :]).sum()
    function = pytensor.function([x], pytensor.gradient.hessian(total, x), mode="FAST_COMPILE")
    columns = np.concatenate([table.full, np.eye(n_events)], axis=1)
    ratio = columns / (table.full @ v + r)[:, None]
    wanted = -(table.multiplicity * ratio.T) @ ratio
    np.testing.assert_allclose(function(np.concatenate([v, r])), wanted, rtol=1e-10, atol=1e-12)


def test_pushforward(rng):
    """Along both directions, and along either alone."""
    table = Table(rng, "both")
    v, r, u, q = (pt.vector(name) for name in "vruq")
    each = log_matvec(*table.inputs, v, added=r)
    sums = LogMatVecSum(True, added=True).make_node(*table.inputs, v, r).outputs
    a, b, _, along, along_added = point(rng, table)
    for wrt, direction in (([v, r], [u, q]), ([v], [u]), ([r], [q])):
        outputs = pytensor.gradient.pushforward([each, *sums], wrt, direction, use_op_pushforward=True)
        given = {v: a, r: b, u: along, q: along_added}
        inputs = [v, r, *direction]
        found = pytensor.function(inputs, outputs, mode="FAST_COMPILE")(*map(given.get, inputs))
        one = np.ones(N_EVENTS)
        moved = along if v in wrt else 0 * along, along_added if r in wrt else 0 * one
        *_, slopes, of_columns, of_events = expected(table, a, b, one, *moved)
        for got, wanted in zip(found, [slopes, slopes.sum(), of_columns, of_events], strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


# -------------------------------------------------------------------------------------------------------- rare events


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("banded", [False, True])
def test_rare_events(rng, mode, banded):
    """What is added is one term more in the sums of logarithms: in turn the largest, as large as others, too small."""
    n_events = BLOCK + 9
    logs = rng.uniform(-2, 0, (n_events, 2))
    deep = np.array([[0.0, -800.0], [0.0, -1e4], [0.0, -np.inf], [-3.0, -720.0]])
    logs[-4:] = logs[:4] = deep
    added = rng.uniform(0, 1, n_events)
    small = np.array([1e-295, 4e-300, 3e-291, 5e-301])
    added[-4:] = added[:4] = small
    multiplicity = np.ones(n_events)
    multiplicity[-4:] = multiplicity[:4] = 2.0
    bands, n = (), 2
    full = logs
    if banded:
        values = rng.uniform(0.5, 1, n_events).astype(np.float32)
        bands, n = (values, np.arange(n_events + 1), np.full((n_events, 1), 2)), 3
        full = np.column_stack([logs, np.log(values.astype(float))])
    arrays = TableArrays.build(np.exp(logs), multiplicity, None, bands, logs)
    assert len(arrays.log_rows) == 6
    v = np.array([0.0, 0.6, 2e-300][:n])
    x, r, g, u, q = (pt.vector(shape=(size,)) for size in (n, n_events, n_events, n, n_events))
    table = Table.__new__(Table)
    table.banded, table.inputs = banded, EventTable(arrays).inputs
    outputs = [output for node in nodes(table, (x, r, g, u, q)) for output in node.outputs]
    function = pytensor.function([x, r, g, u, q], outputs, mode=mode, on_unused_input="ignore")
    weight = rng.normal(size=n_events)
    u_, q_ = rng.normal(size=n) * v, rng.normal(size=n_events) * added  # directions in the logarithms
    found = [np.asarray(one) for one in function(v, added, weight, u_, q_)]
    with np.errstate(divide="ignore"):
        terms = np.column_stack([full + np.log(v), np.log(added)])
    log_s = np.logaddexp.reduce(terms, axis=1)
    share = np.exp(terms - log_s[:, None])  # of each term in the density: P v / s, and r / s
    with np.errstate(invalid="ignore"):
        along = share[:, :n] @ np.where(v > 0, u_ / v, 0) + share[:, n] * q_ / added
    own = weight * multiplicity
    for got, wanted in zip(
        [
            found[0],
            found[1],
            found[2] * v,
            found[3] * added,
            found[4] * v,
            found[5] * added,
            found[6],
            found[7] * v,
            found[8] * added,
        ],
        [
            multiplicity * log_s,
            multiplicity @ log_s,
            multiplicity @ share[:, :n],
            multiplicity * share[:, n],
            own @ share[:, :n],
            own * share[:, n],
            own * along,
            -(own * along) @ share[:, :n],
            -own * along * share[:, n],
        ],
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
    assert all(np.isfinite(one).all() for one in found)


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize(("multiplicity", "value"), [(0.0, 0.0), (1.0, -np.inf)])
def test_an_event_of_density_zero(rng, mode, multiplicity, value):
    """Nothing if it does not count; minus infinity, and derivatives that may be multiplied by zero, if it does."""
    rows = np.array([[0.0, 1.0], [0.5, 0.5]])
    table = Table.__new__(Table)
    table.banded = False
    table.inputs = EventTable(TableArrays.build(rows, np.array([multiplicity, 1.0]))).inputs
    vectors = [pt.vector(name, shape=(2,)) for name in "vrguq"]
    outputs = [output for node in nodes(table, vectors) for output in node.outputs]
    function = pytensor.function(vectors, outputs, mode=mode, on_unused_input="ignore")
    found = function(np.array([1.0, 0.0]), np.array([0.0, 0.3]), np.ones(2), np.ones(2), np.ones(2))
    assert found[0][0] == value
    assert found[1] == (value if multiplicity else np.log(0.8))
    for one in found[2:]:
        assert np.isfinite(one).all()
    assert found[3][0] == 0 if multiplicity == 0 else found[3][0] > 1e300
    np.testing.assert_allclose(found[3][1], 1 / 0.8)


@pytest.mark.parametrize("bad", [-5.0, np.nan])
@pytest.mark.parametrize("kind", ["columns", "nothing"])
def test_negative_densities_are_not_numbers(rng, kind, bad):
    table = Table(rng, kind, 30, weighted=False)
    v, r, *_ = point(rng, table, 30)
    r[7] = bad
    each = kernels.pointwise(events_of(table.arrays), None, v, r)
    assert np.flatnonzero(np.isnan(each)).tolist() == [7]
    assert np.isnan(kernels.fused(events_of(table.arrays), None, v, r)[0])


# ---------------------------------------------------------------------------------------------- graphs and connections


@pytest.mark.parametrize("order", ["sum first", "gradient first"])
@pytest.mark.parametrize("kind", ["columns", "both"])
def test_one_pass_over_the_table(rng, order, kind):
    """Sum and both gradients are one fused Op, however the graph was made, and next to other terms."""
    table = Table(rng, kind)
    v, r = pt.vector("v", shape=(table.n_columns,)), pt.vector("r", shape=(N_EVENTS,))
    total = (log_matvec(*table.inputs, v, added=r) - v.sum() / N_EVENTS).sum()
    if order == "sum first":
        total = pytensor.graph.rewrite_graph(total, include=("canonicalize", "stabilize"))
    function = pytensor.function([v, r], [2 * total, *pytensor.grad(2 * total, [v, r])])
    family = [node.op for node in function.maker.fgraph.toposort() if isinstance(node.op, FAMILY)]
    assert family == [LogMatVecSum(table.banded, added=True)]
    a, b, *_ = point(rng, table)
    _, value, gradient, of_events, *_ = expected(table, a, b, b, a, b)
    for found, wanted in zip(function(a, b), [value - a.sum(), gradient - 1, of_events], strict=True):
        np.testing.assert_allclose(found, 2 * wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_known_without_running(rng, kind):
    table = Table(rng, kind)
    vectors = [pt.vector(name) for name in "vrguq"]
    shapes = [output.shape for node in nodes(table, vectors) for output in node.outputs]
    function = pytensor.function(vectors, shapes, on_unused_input="ignore")
    assert not any(isinstance(node.op, FAMILY) for node in function.maker.fgraph.toposort())
    values = point(rng, table)
    wanted = [one.shape for one in map(np.asarray, expected(table, *values))]
    assert [tuple(one) for one in function(*values)] == wanted


@pytest.mark.parametrize("kind", ["columns", "both"])
def test_patterns_say_what_the_outputs_depend_on(rng, kind):
    table = Table(rng, kind, 9)
    values = [one.get_value() for one in table.inputs]
    for node in nodes(table, symbols(table, 9)):
        own = [*values, *point(rng, table, 9)][: len(node.inputs)]
        pattern = node.op.connection_pattern(node)
        assert len(pattern) == len(node.inputs)
        before = performed(node, own)
        for i, value in enumerate(own):
            if value.dtype.kind == "f" and value.size:  # there are no rows of logarithms here
                other = [*own[:i], (value * 1.01 + 0.01).astype(value.dtype), *own[i + 1 :]]
                changed = [not np.array_equal(a, b) for a, b in zip(before, performed(node, other), strict=True)]
                assert pattern[i] == changed, (node.op, i)


def performed(node, values):
    storage = [[None] for _ in node.outputs]
    node.op.perform(node, values, storage)
    return [np.array(one[0]) for one in storage]


@pytest.mark.parametrize("kind", ["columns", "both"])
def test_cotangents_are_void_where_the_pattern_says_so(rng, kind):
    """And only there; of several outputs each alone, and together."""
    table = Table(rng, kind, 9)
    for node in nodes(table, symbols(table, 9))[:3]:
        pattern = np.array(node.op.connection_pattern(node))
        n = len(node.outputs)
        for asked in np.ndindex(*[2] * n):
            cotangents = [o.type() if use else disconnected_type() for o, use in zip(node.outputs, asked, strict=True)]
            found = node.op.pullback(node.inputs, node.outputs, cotangents)
            void = [isinstance(one.type, DisconnectedType) for one in found]
            assert void == (~pattern[:, np.array(asked, bool)].any(axis=1)).tolist()


def test_cotangents_of_all_outputs_add_up(rng):
    """Of the sum and of both gradients at once."""
    table = Table(rng, "columns")
    v, r, _, u, q = symbols(table)
    node = LogMatVecSum(added=True).make_node(*table.inputs, v, r)
    scale = pt.scalar()
    found = node.op.pullback(node.inputs, node.outputs, [scale, u, q])[-2:]
    a, b, _, along, along_added = point(rng, table)
    function = pytensor.function([v, r, scale, u, q], found, mode="FAST_COMPILE")
    one = np.ones(N_EVENTS)
    _, _, gradient, of_events, *_, hessian, hessian_of_events = expected(table, a, b, one, along, along_added)
    for got, wanted in zip(
        function(a, b, 1.7, along, along_added),
        [1.7 * gradient + hessian, 1.7 * of_events + hessian_of_events],
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10)


def test_nothing_flows_forward_from_nothing(rng):
    table = Table(rng, "columns", 9)
    for node in nodes(table, symbols(table, 9))[:2]:
        found = node.op.pushforward(node.inputs, node.outputs, [disconnected_type() for _ in node.inputs])
        assert len(found) == len(node.outputs)
        assert all(isinstance(one.type, DisconnectedType) for one in found)


def test_bad_input(rng):
    table = Table(rng, "columns", 9)
    v, r, g, u, q = point(rng, table, 9)
    events = events_of(table.arrays)
    short = np.ones(8)
    for kernel, vectors in (
        (kernels.fused, (v, short)),
        (kernels.pointwise, (v, short)),
        (kernels.vjp, (v, short, g)),
        (kernels.vjp, (v, r, short)),
        (kernels.pushforward, (v, short, g, u, q)),
        (kernels.pushforward, (v, r, short, u, q)),
        (kernels.pushforward, (v, r, g, u, short)),
        (kernels.hessian_product, (v, short, g, u, q)),
        (kernels.hessian_product, (v, r, short, u, q)),
        (kernels.hessian_product, (v, r, g, u, short)),
    ):
        with pytest.raises(ValueError, match="number of values per event"):
            kernel(events, None, *vectors)
    with pytest.raises(TypeError, match=r"added: .* must be vectors"):
        log_matvec(*table.inputs, v, added=pt.matrix())
    with pytest.raises(TypeError, match=r"vectors \('coefficients', 'added'\)"):
        LogMatVec(added=True)(*table.inputs, v)
    with pytest.raises(Exception, match="event table is data"):
        pytensor.grad(log_matvec_sum(*table.inputs, v, added=r), table.inputs[0])
