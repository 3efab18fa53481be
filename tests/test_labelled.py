"""Arrays of xarray and pandas: what they say of their entries is used, whatever their order, and never ignored."""

import astropy.units as u
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from pytensor import tensor as pt

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.labelled import aligned, as_mapping

COMPONENTS = list("abc")
FRACTION = np.array([0.5, 0.3, 0.2])
N = 12
EVENTS = [f"e{i}" for i in range(N)]


@pytest.fixture(scope="module")
def table():
    return np.log(np.random.default_rng(3).random((N, 3)))


@pytest.fixture(scope="module")
def frame(table):
    return pd.DataFrame(table, columns=COMPONENTS)


@pytest.fixture(scope="module")
def array(table):
    return xr.DataArray(table, dims=("event", "component"), coords={"component": COMPONENTS})


def expected(table, multiplicity=1.0):
    return np.sum(multiplicity * np.log(np.exp(table) @ FRACTION))


def mixture(table, fraction=FRACTION, coords=None, **kwargs):
    """Log-likelihood of the events, and their dims."""
    with pm.Model(coords={"component": COMPONENTS} if coords is None else coords) as model:
        given = fraction() if callable(fraction) else fraction
        own = table() if callable(table) else table
        pmg.EventMixture("e", given, log_likelihood=own, **kwargs)
    logp = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")(model.initial_point())
    return float(logp), model


class TestOwnTable:
    @pytest.mark.parametrize("columns", ["abc", "cab", "bca"])
    def test_columns_are_taken_by_name(self, table, frame, array, columns):
        for given in (frame[list(columns)], array.sel(component=list(columns))):
            assert mixture(given)[0] == pytest.approx(expected(table), rel=1e-12)

    def test_transposed(self, table, frame, array):
        shuffled = array.sel(component=list("cab"))
        for given in (
            shuffled.T,
            shuffled.T.drop_vars("component").isel(component=[1, 2, 0]),  # dims alone, in order
            shuffled.T.rename(component="kind", event="row"),  # labels alone
            frame[list("cab")].T,
            shuffled.T.reset_index("component").assign_coords(name=("component", list("cab"))).drop_vars("component"),
        ):
            assert mixture(given)[0] == pytest.approx(expected(table), rel=1e-12)

    def test_square_tables_are_told_apart_by_dims_and_labels(self, array, frame):
        square = array[:3]
        for given in (square, square.T, frame[:3], frame[:3].T):
            assert mixture(given)[0] == pytest.approx(expected(square.values), rel=1e-12)

    @pytest.mark.parametrize("dim", ["component", "kind"])
    def test_fractions_with_dims(self, table, frame, array, dim):
        def fraction():
            return pm.Dirichlet("f", np.ones(3), dims=dim, initval=FRACTION)

        for given in (table, frame[list("cab")], array.sel(component=list("cab")).T):
            assert mixture(given, fraction, {dim: COMPONENTS})[0] == pytest.approx(expected(table), rel=1e-12)

    def test_labelled_fractions(self, table, frame):
        series = pd.Series(FRACTION, index=COMPONENTS)[list("bca")]
        for coords in ({"component": COMPONENTS}, {}):
            assert mixture(frame[list("cab")], series, coords)[0] == pytest.approx(expected(table), rel=1e-12)
        assert mixture(table, series.to_xarray())[0] == pytest.approx(expected(table), rel=1e-12)

    def test_fractions_of_pymc_dims(self, table, frame):
        import pymc.dims as pmd

        with pm.Model(coords={"component": COMPONENTS, "other": list("cab")}) as model:
            logits = pmd.Normal("x", dims=("component",))
            pmg.EventMixture("e", pmd.math.exp(logits), log_likelihood=frame[list("cab")])
        point = {"x": np.log(FRACTION)}
        logp = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")(point)
        assert float(logp) == pytest.approx(expected(table), rel=1e-12)

    def test_names_come_from_the_table(self, frame):
        model = mixture(frame[list("cab")], coords={})[1]
        assert model.coords["component"] == ("c", "a", "b")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: f[["a", "b"]], r"missing \['c'\], unknown \[\]"),
            (lambda f: f.assign(d=0.0), r"missing \[\], unknown \['d'\]"),
            (lambda f: f.rename(columns={"a": "z"}), r"missing \['a'\], unknown \['z'\]"),
            (lambda f: f[["a", "b", "b"]], r"name \['b'\] more than once"),
            (lambda f: f.astype(str).map(lambda one: one + "?"), "must be numbers"),
            (lambda f: f.to_xarray(), "xarray Dataset"),
            (lambda f: f["a"], "one row per event and one column per component"),
        ],
    )
    def test_labels_that_do_not_match(self, frame, change, message):
        with pytest.raises(ModelError, match=message):
            mixture(change(frame))

    @pytest.mark.parametrize("given", ["table", "frame", "array"])
    def test_empty(self, given, request):
        with pytest.raises(EventError, match="empty"):
            mixture(request.getfixturevalue(given)[:0])

    def test_what_is_masked_is_missing(self, table):
        with pytest.raises(EventError, match="1 of 12 events have NaN in the log_likelihood table: rows 4"):
            mixture(np.ma.masked_where(np.arange(36).reshape(N, 3) == 13, table))


class TestEvents:
    @pytest.fixture
    def labelled(self, frame):
        return frame.set_axis(pd.Index(EVENTS), axis=0)

    def test_rows_are_taken_by_name(self, table, labelled, rng):
        order = rng.permutation(N)
        logp, model = mixture(labelled.iloc[order], coords={"component": COMPONENTS, "event": EVENTS})
        assert logp == pytest.approx(expected(table), rel=1e-12)
        assert model.named_vars_to_dims["e"] == ("event", "component")
        pointwise = model.compile_logp(vars=model.observed_RVs, sum=False, mode="FAST_COMPILE")({})[0]
        np.testing.assert_allclose(pointwise, np.log(np.exp(table) @ FRACTION), rtol=1e-12)

    def test_labels_of_rows_become_coords(self, labelled, rng):
        order = rng.permutation(N)
        model = mixture(labelled.iloc[order])[1]
        assert model.coords["event"] == tuple(np.array(EVENTS)[order])

    def test_rows_that_do_not_match(self, labelled):
        coords = {"component": COMPONENTS, "event": EVENTS}
        with pytest.raises(ModelError, match=r"missing \['e11'\]"):
            mixture(labelled[:-1], coords=coords)
        with pytest.raises(ModelError, match=r"name \['e0'\] more than once"):
            mixture(pd.concat([labelled[:-1], labelled[:1]]), coords=coords)

    def test_multiplicities_follow(self, table, labelled, rng):
        weights = rng.integers(0, 4, N).astype(float)
        series, order = pd.Series(weights, index=EVENTS), rng.permutation(N)
        coords = {"component": COMPONENTS, "event": EVENTS}
        for own, of, where in (
            (labelled.iloc[order], series, coords),
            (labelled.iloc[order], series.iloc[::-1], coords),
            (labelled, series.iloc[order], None),
            (labelled, weights, None),
            (table, weights, None),
        ):
            logp = mixture(own, coords=where, multiplicity=of)[0]
            assert logp == pytest.approx(expected(table, weights), rel=1e-12)
        with pytest.raises(ModelError, match="give multiplicity the same labels"):
            mixture(labelled.iloc[order], coords=coords, multiplicity=weights)


class TestSymbolicTable:
    def test_data_of_a_model(self, table):
        coords = {"component": COMPONENTS, "kind": list("cab")}
        for given, dims in (
            (table, None),
            (table, ("event", "component")),
            (table.T, ("component", "event")),
            (table[:, [2, 0, 1]], ("event", "kind")),
        ):
            logp = mixture(lambda given=given, dims=dims: pm.Data("t", given, dims=dims), coords=coords)[0]
            assert logp == pytest.approx(expected(table), rel=1e-12)
        weights = np.arange(N, dtype=float)
        logp = mixture(lambda: pm.Data("t", table - 1) + 1, multiplicity=weights)[0]
        assert logp == pytest.approx(expected(table, weights), rel=1e-12)
        assert mixture(pt.constant(table))[0] == pytest.approx(expected(table), rel=1e-12)

    def test_new_data(self, table):
        model = mixture(lambda: pm.Data("t", table, dims=("event", "component")))[1]
        compiled = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")
        pm.set_data({"t": table[:5] - 1}, model=model)
        assert float(compiled({})) == pytest.approx(expected(table[:5] - 1), rel=1e-12)

    def test_parameters_belong_into_a_potential(self, table):
        with pytest.raises(ModelError, match=r"depends on \['mu'\].*pm\.Potential"):
            mixture(lambda: table + pm.Normal("mu"))
        with pytest.raises(ModelError, match=r"depends on \['mine'\]"):
            mixture(pt.matrix("mine"))
        with pm.Model() as model:  # the remedy
            log_likelihood = pm.Normal("mu") + table
            pm.Potential("events", pt.sum(pt.logsumexp(pt.log(FRACTION) + log_likelihood, axis=1)))
        logp = model.compile_logp(vars=model.potentials, mode="FAST_COMPILE")({"mu": 0.5})
        assert float(logp) == pytest.approx(expected(table + 0.5), rel=1e-12)

    def test_bad_data_are_refused_at_once(self, table):
        with pytest.raises(EventError, match=r"1 of 12 events have \+inf"):
            mixture(lambda: pm.Data("t", np.where(table == table[2, 1], np.inf, table)))
        with pytest.raises(ModelError, match="one column for each"):
            mixture(lambda: pm.Data("t", table[:, :2]))


class TestTree:
    TREE = pmg.MixtureTree({"dm": None, "background": ["diffuse", "ccr"]})

    def test_shares_of_a_posterior(self):
        shares = {
            "mixture": xr.DataArray(
                [[0.8, 0.9], [0.2, 0.1]], dims=("mixture_child", "draw"), coords={"mixture_child": ["background", "dm"]}
            ),
            "background": pd.DataFrame([[0.75, 0.25], [0.5, 0.5]], columns=["ccr", "diffuse"]),
        }
        expected = [[0.2, 0.2, 0.6], [0.1, 0.45, 0.45]]
        np.testing.assert_allclose(self.TREE.flatten(shares), expected, rtol=1e-12)
        with pytest.raises(ModelError, match=r"unknown \['x'\]"):
            self.TREE.flatten({**shares, "background": pd.Series({"ccr": 0.5, "x": 0.5})})

    def test_concentration(self):
        with pm.Model() as model:
            self.TREE.fractions(concentration={"background": pd.Series({"ccr": 5.0, "diffuse": 2.0})})
        assert model["background"].owner.inputs[-1].eval().tolist() == [2, 5]
        with pm.Model(), pytest.raises(ModelError, match=r"missing \['ccr'\]"):
            self.TREE.fractions(concentration={"background": pd.Series({"cr": 5.0, "diffuse": 2.0})})


def test_values_without_labels_are_left_alone():
    for value in ([1.0, 2.0], np.ones(2), 3.0, None):
        assert aligned(value, {"component": ("a", "b")}, "x") is value
    running = pd.Series([1.0, 2.0])  # its index is a running number
    assert aligned(running, {"component": ("a", "b")}, "x").tolist() == [1, 2]
    assert aligned(pd.Series([1.0, 2.0], index=[1, 0]), {"observation": range(2)}, "x").tolist() == [2, 1]


def test_mappings():
    assert as_mapping(None, ("a",), "norms") == {}
    assert as_mapping(pd.Series({"b": 2.0, "a": 1.0}), ("a", "b"), "norms") == {"a": 1, "b": 2}
    spectra = pd.Series({"b": np.sin})
    assert as_mapping(spectra, ("a", "b"), "spectra") == {"b": np.sin}
    with pytest.raises(ModelError, match=r"norms are given for \['c'\]"):
        as_mapping({"c": 1}, ("a",), "norms")
    with pytest.raises(ModelError, match="mapping from names of components, got list"):
        as_mapping([1 * u.m], ("a",), "norms")
    with pytest.raises(ModelError, match="one entry for each"):
        as_mapping(pd.DataFrame(np.ones((2, 2)), columns=list("ab")), ("a", "b"), "norms")
