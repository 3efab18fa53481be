"""Systematics of a user's own: what a class must say, what it may return, and several objects of one class."""

from dataclasses import dataclass

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from setups import pointing, region, source
from test_scans import scanned

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError

ROI = {"width": 1.6, "energy": (0.5, 100)}
RUNS = {1: [pointing(hours=1)], 2: [pointing(hours=1), pointing(lon=0.4, hours=0.5)]}


def sky():
    return [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]


@pytest.fixture(scope="module")
def responses():
    return {n: pmg.fold(sky(), runs, region(**ROI), free_spectrum=["crab", "ccr"]) for n, runs in RUNS.items()}


class Own(pmg.Systematic):
    """The least that a class needs."""

    variable = "own"

    def prior(self, n_observations, energy):
        return pm.Normal(self.variable, 0.0, 1.0)

    def act(self, component, value):
        return component.times(pt.exp(value))


@dataclass(frozen=True, eq=False)
class FluxError(pmg.Systematic):
    """A factor on the flux of one component; the name of the variable is that of the object."""

    component: str = ""
    variable: str = "flux_error"

    def prior(self, n_observations, energy):
        return pm.LogNormal(self.variable, 0.0, self.sigma)

    def act(self, component, value):
        return component.times(value) if component.name == self.component else component


def build(response, *systematics, mixture=False, **options):
    events = response.simulate(rng=1)
    with pm.Model(coords=response.coords) as model:
        options = {"response": response, "observed": events, "systematics": list(systematics), **options}
        if mixture:
            pmg.EventMixture("events", pm.Dirichlet("fraction", np.ones(2), dims="component"), **options)
        else:
            pmg.ExtendedEventMixture("events", **options)
    return model


def logp(model, **values):
    point = {name: np.asarray(value, float) for name, value in values.items()}
    return float(model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")(point))


class TestWhatAPriorReturns:
    @pytest.mark.parametrize(
        ("returned", "told"),
        [
            (lambda: pm.Normal("own", 0, 1, shape=5), r"must be a single number, got Vector\(float64, shape=\(5,\)\)"),
            (lambda: pm.Normal("own", 0, 1, shape=(2, 2)), "must be a single number, got Matrix"),
            (lambda: None, "must be the variable that it adds, .* got None"),
            (lambda: 1.0, "must be the variable that it adds, .* got 1.0"),
            (lambda: "own", "must be the variable that it adds"),
        ],
    )
    @pytest.mark.parametrize("n", [1, 2])
    def test_refused(self, responses, n, returned, told):
        class Vector(Own):
            def prior(self, n_observations, energy):
                return returned()

        with pytest.raises(ModelError, match=rf"what Vector\.prior returns {told}"):
            build(responses[n], Vector())

    def test_one_for_each_observation(self, responses):
        class Each(Own):
            def shapes(self, n_observations, energy):
                return [(), (n_observations,)]

            def prior(self, n_observations, energy):
                return pm.Normal("own", 0, 1, shape=n_observations)

        by_hand = {n: build(responses[n], norms=dict.fromkeys(("crab", "ccr"), [1.2, 0.9][:n])) for n in (1, 2)}
        for n, model in by_hand.items():
            assert logp(build(responses[n], Each()), own=np.log([1.2, 0.9][:n])) == pytest.approx(
                logp(model), rel=1e-12
            )

        class Wrong(Each):
            def prior(self, n_observations, energy):
                return pm.Normal("own", 0, 1, shape=3)

        with pytest.raises(ModelError, match=r"what Wrong\.prior returns must be a single number or a vector of 2"):
            build(responses[2], Wrong())

    @pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
    @pytest.mark.parametrize("where", ["prior", "value", "norms"])
    def test_vectors_whose_length_is_not_known(self, responses, where, mode):
        """They are taken for one entry, and fail where they have others: no entry is ignored."""
        length = pytensor.shared(1)

        class Unknown(Own):
            def prior(self, n_observations, energy):
                return pm.Normal("own", 0, 1, size=length[None])

        class Value(Own):
            pass

        with pm.Model():
            value = pm.Normal("own", 0, 1, size=length[None])
            events = responses[1].simulate(rng=1)
            given = {
                "prior": {"systematics": [Value(value=value)]},
                "value": {"systematics": [Value(value=value)]},
                "norms": {"norms": dict.fromkeys(("crab", "ccr"), pt.exp(value))},
            }[where]
            if where != "prior":
                pmg.ExtendedEventMixture("events", response=responses[1], observed=events, **given)
                model = pm.modelcontext(None)
        if where == "prior":
            model = build(responses[1], Unknown())
        function = model.compile_logp(vars=model.observed_RVs, mode=mode)
        expected = logp(build(responses[1], Own()), own=0.2)
        assert float(function({"own": np.array([0.2])})) == pytest.approx(expected, rel=1e-12)
        with pytest.raises((ValueError, AssertionError)):
            function({"own": np.full(5, 0.2)})


class TestWhatActReturns:
    @pytest.mark.parametrize("returned", [None, 1.0, "component", pt.scalar()])
    def test_refused(self, responses, returned):
        class Forgetful(Own):
            def act(self, component, value):
                return returned

        with pytest.raises(ModelError, match=r"Forgetful\.act must return a component, such as .* for 'crab'"):
            build(responses[1], Forgetful())

    @pytest.mark.parametrize(
        ("act", "told"),
        [
            (lambda c, v: c.times(lambda energy: energy), r"'crab': times\(\) takes .* goes into with_factor\(\)"),
            (lambda c, v: c.with_factor(v), r"'crab': with_factor\(\) takes a function .* goes into times\(\)"),
            (lambda c, v: c.with_factor(2.0), r"with_factor\(\) takes a function .*, got 2.0"),
            (
                lambda c, v: c.times([1.0, 2.0, 3.0]),
                r"times\(\) takes a number, or a vector with one for each of . obs",
            ),
            (lambda c, v: c.times(np.ones((1, 2))), r"times\(\) takes a number, or a vector"),
        ],
    )
    @pytest.mark.parametrize("n", [1, 2])
    def test_what_methods_take(self, responses, n, act, told):
        class Wrong(Own):
            def act(self, component, value):
                return act(component, value)

        with pytest.raises(ModelError, match=told):
            build(responses[n], Wrong())

    @pytest.mark.parametrize("mixture", [False, True])
    def test_scans_are_not_told_to_have_a_free_spectrum(self, mixture):
        response = pmg.fold(
            [scanned("ga"), pmg.CosmicRayBackground()], pointing(hours=1), region(**ROI), progressbar=False
        )
        for one in (pmg.EnergyScale(), pmg.EffectiveAreaShape()):
            with pytest.raises(
                ModelError, match=rf"{type(one).__name__} changes spectra, and \['ga'\] are scans"
            ) as told:
                build(response, one, mixture=mixture, scan={"sigma": 0.2})
            assert "free_spectrum" not in str(told.value)
        for argument, given in {"spectra": pmg.PowerLaw(), "shapes": pmg.GaussianShape(0, 0, 0.1)}.items():
            with pytest.raises(ModelError, match=rf"{argument} are given for \['ga'\], which are scans") as told:
                build(response, mixture=mixture, scan={"sigma": 0.2}, **{argument: {"ga": given}})
            assert "fold with" not in str(told.value)


class TestVariables:
    def test_a_class_without_a_name(self, responses):
        class NoName(pmg.Systematic):
            prior, act = Own.prior, Own.act

        for one in (NoName(), NoName):
            with pytest.raises(ModelError, match=r"NoName does not say what its variable is called; give the class"):
                build(responses[1], one)
        assert logp(build(responses[1], NoName(value=0.2))) == logp(build(responses[1], Own()), own=0.2)

        class BadName(NoName):
            variable = 3

        with pytest.raises(ModelError, match="BadName does not say what its variable is called"):
            build(responses[1], BadName())

    def test_several_of_one_class(self, responses):
        own = [FluxError(0.1, component=name, variable=f"error_{name}") for name in ("crab", "ccr")]
        model = build(responses[1], *own)
        assert {one.name for one in model.free_RVs} == {"error_crab", "error_ccr"}
        expected = logp(build(responses[1], norms={"crab": 1.3, "ccr": 0.9}))
        assert logp(model, error_crab_log__=np.log(1.3), error_ccr_log__=np.log(0.9)) == pytest.approx(
            expected, rel=1e-12
        )
        valued = [
            FluxError(component="crab", value=1.3, variable="a"),
            FluxError(component="ccr", value=0.9, variable="b"),
        ]
        assert logp(build(responses[1], *valued)) == pytest.approx(expected, rel=1e-12)

    def test_two_with_one_name(self, responses):
        twice = [FluxError(component="crab"), FluxError(component="ccr")]
        with pytest.raises(ModelError, match=r"FluxError twice .* with the variable 'flux_error'; .* of another name"):
            build(responses[1], *twice)
        with pytest.raises(ModelError, match="the model has a variable 'own' already"):
            build(responses[1], Own(), FluxError(component="crab", variable="own"))
