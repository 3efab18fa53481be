"""Trees of mixtures: structure, priors, fractions, counts, drawing, bad input."""

import numpy as np
import pymc as pm
import pytest
from scipy import stats

from pymc_gamma.errors import ModelError
from pymc_gamma.model.mixture_tree import MixtureTree

SPEC = {"signal": ["dm"], "background": {"cosmic": ["ccr"], "gamma": ["diffuse", "hgps"]}}
SHARES = {"mixture": [0.1, 0.9], "background": [0.8, 0.2], "gamma": [0.25, 0.75]}
FLAT = {"dm": 0.1, "ccr": 0.72, "diffuse": 0.045, "hgps": 0.135}


def test_structure():
    tree = MixtureTree(SPEC)
    assert tree.leaves == ("dm", "ccr", "diffuse", "hgps")
    assert tree.nodes["background"] == ("cosmic", "gamma")
    assert eval(repr(tree)).nodes == tree.nodes


@pytest.mark.parametrize("spec", [["a", "b"], {"a": None, "b": None}, [{"a": None}, "b"]])
def test_forms_of_the_same_tree(spec):
    tree = MixtureTree(spec)
    assert tree.leaves == ("a", "b")
    assert tree.nodes == {"mixture": ("a", "b")}


def test_flatten():
    tree = MixtureTree(SPEC)
    np.testing.assert_allclose(tree.flatten(SHARES), list(FLAT.values()))
    order = ["hgps", "dm", "diffuse", "ccr"]
    np.testing.assert_allclose(tree.flatten(SHARES, order), [FLAT[name] for name in order])


def test_flatten_many_draws(rng):
    tree = MixtureTree(SPEC)
    shares = {node: rng.dirichlet([1, 1], size=(4, 7)) for node in SHARES}
    flat = tree.flatten(shares)
    assert flat.shape == (4, 7, 4)
    np.testing.assert_allclose(flat.sum(axis=-1), 1)
    np.testing.assert_allclose(flat[2, 3], tree.flatten({node: s[2, 3] for node, s in shares.items()}))


def test_fractions_in_a_model(seed):
    tree = MixtureTree(SPEC)
    order = ["hgps", "dm", "diffuse", "ccr"]
    with pm.Model(coords={"component": order}) as model:
        tree.fractions(concentration={"background": [4.0, 2.0], "gamma": 3.0})
        idata = pm.sample_prior_predictive(400, random_seed=seed)
    prior = idata["prior"]
    assert prior["fraction"].dims == ("chain", "draw", "component")
    assert set(prior.data_vars) == {"fraction", "mixture", "background", "gamma"}
    assert list(prior["gamma"]["gamma_child"].values) == ["diffuse", "hgps"]
    assert model.named_vars_to_dims["background"] == ("background_child",)
    shares = {node: prior[node].values[0] for node in SHARES}
    np.testing.assert_allclose(prior["fraction"].values[0], tree.flatten(shares, order))
    for share, exact in (("mixture", (1, 1)), ("background", (4, 2)), ("gamma", (3, 3))):
        assert stats.kstest(prior[share].values[0, :, 0], stats.beta(*exact).cdf).pvalue > 1e-3


def test_a_node_with_one_child_needs_no_prior():
    with pm.Model() as model:
        fraction = MixtureTree({"only": {"below": ["leaf"]}}).fractions()
    assert model.free_RVs == []
    np.testing.assert_allclose(fraction.eval(), [1.0])
    assert model.coords["component"] == ("leaf",)


def test_order_without_coords():
    with pm.Model() as model:
        MixtureTree(SPEC).fractions("f", dims="leaf", components=["ccr", "dm", "hgps", "diffuse"])
    assert model.coords["leaf"] == ("ccr", "dm", "hgps", "diffuse")
    with pm.Model() as model:
        MixtureTree(SPEC).fractions(dims=None)
    assert "component" not in model.coords


def test_counts(rng):
    tree = MixtureTree(SPEC)
    np.testing.assert_allclose(tree.counts(1000, SHARES), 1000 * np.array(list(FLAT.values())))
    drawn = tree.counts(1000, SHARES, rng=rng)
    assert drawn.sum() == 1000
    expected = 1000 * np.array(list(FLAT.values()))
    assert np.sum((drawn - expected) ** 2 / expected) < stats.chi2(3).ppf(0.999)


def test_plot():
    ax = MixtureTree(SPEC).plot(labels={"dm": "dark matter"})
    texts = {text.get_text() for text in ax.texts}
    assert texts == {
        "mixture",
        "signal",
        "dark matter",
        "background",
        "cosmic",
        "ccr",
        "gamma",
        "diffuse",
        "hgps",
    }
    assert len(ax.lines) == 8
    assert MixtureTree(["a", "b"]).plot(ax=ax) is ax


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ({}, "'mixture' of the mixture tree has no children"),
        ({"a": []}, "'a' of the mixture tree has no children"),
        ({"a": ["x"], "b": ["x"]}, r"more than once: \['x'\]"),
        ({"a": ["x"], "x": None}, "more than once"),
        ({"a": {"a": ["x"]}}, "'a' occurs more than once"),
        ({"mixture": ["x"]}, "'mixture' occurs more than once"),
        ("dm", "list of names or a mapping"),
        ([3], "must be a name or a mapping, got 3"),
        ({"a": 3}, "node 'a'"),
    ],
)
def test_bad_specifications(spec, match):
    with pytest.raises(ModelError, match=match):
        MixtureTree(spec)


@pytest.mark.parametrize(
    ("components", "match"),
    [
        (["dm", "ccr", "diffuse"], r"in the tree only: \['hgps'\]"),
        (["dm", "ccr", "diffuse", "hgps", "crab"], r"missing from the tree: \['crab'\]"),
        (["dm", "dm", "ccr", "diffuse", "hgps"], "must be the components"),
    ],
)
def test_components_that_are_not_the_leaves(components, match):
    with pytest.raises(ModelError, match=match):
        MixtureTree(SPEC).flatten(SHARES, components)
    if len(set(components)) == len(components):
        with pm.Model(coords={"component": components}), pytest.raises(ModelError, match=match):
            MixtureTree(SPEC).fractions()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"gamma": [0.2, 0.2]}, "'gamma' must not be negative and must sum to one"),
        ({"gamma": [-0.2, 1.2]}, "must not be negative"),
        ({"gamma": [0.2, 0.2, 0.6]}, "'gamma' has the children"),
        ({"cosmic": [1.0]}, r"unknown \['cosmic'\]"),
    ],
)
def test_bad_shares(change, match):
    with pytest.raises(ModelError, match=match):
        MixtureTree(SPEC).flatten(SHARES | change)


def test_missing_shares():
    with pytest.raises(ModelError, match=r"missing \['background', 'gamma'\]"):
        MixtureTree(SPEC).flatten({"mixture": [0.5, 0.5]})


@pytest.mark.parametrize(
    ("concentration", "match"),
    [
        ({"dark": [1, 1]}, r"given for \['dark'\]"),
        ({"gamma": [1, 1, 1]}, "'gamma' must be one positive number"),
        ({"gamma": [1, 0]}, "'gamma' must be one positive number"),
    ],
)
def test_bad_concentrations(concentration, match):
    with pm.Model(), pytest.raises(ModelError, match=match):
        MixtureTree(SPEC).fractions(concentration=concentration)
