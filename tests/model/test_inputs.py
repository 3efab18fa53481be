"""What a model is given: each input acts, or is refused with what was expected and what to do."""

import astropy.units as u
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from astropy.utils.masked import Masked
from setups import pointing, region, source
from toy import ToyEvents, ToyResponse

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.model.systematics import Systematic

ROI = {"width": 1.6, "energy": (0.5, 100)}


def sky():
    return [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]


@pytest.fixture(scope="module")
def fixed():
    return pmg.fold(sky(), pointing(hours=1), region(**ROI))


@pytest.fixture(scope="module")
def free():
    return pmg.fold(sky(), pointing(hours=1), region(**ROI), free_spectrum=["crab", "ccr"])


@pytest.fixture(scope="module")
def two_runs():
    runs = [pointing(hours=1), pointing(lon=0.4, hours=0.5)]
    return pmg.fold(sky(), runs, region(**ROI), free_spectrum=["ccr"])


@pytest.fixture(scope="module")
def events(fixed):
    return fixed.simulate(rng=1)


def poisson(response, events, coords=None, **kwargs):
    """Log-likelihood of a Poisson process."""
    with pm.Model(coords=response.coords if coords is None else coords) as model:
        kwargs = {key: value() if key != "spectra" and callable(value) else value for key, value in kwargs.items()}
        pmg.ExtendedEventMixture("events", response=response, observed=events, **kwargs)
    return float(model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")(model.initial_point()))


def exact(response, events, norms):
    """The same from densities and acceptances, with norms of the components."""
    return np.log(response.density(events) @ norms).sum() - response.acceptance.values @ norms


def shift(response, events, norms):
    return exact(response, events, np.array(norms)) - exact(response, events, np.ones(len(norms)))


class TestKeywords:
    @pytest.mark.parametrize(
        ("keyword", "near"),
        [
            ("systematic", "systematics"),
            ("norm", "norms"),
            ("spectrum", "spectra"),
            ("integrated_fluxes", "integrated_flux"),
            ("max_event", "max_events"),
            ("observe", "observed"),
            ("initvals", "initval"),
        ],
    )
    def test_poisson(self, fixed, events, keyword, near):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'. Did you mean '{near}'?"):
            poisson(fixed, events, **{keyword: None})

    @pytest.mark.parametrize("keyword", ["shape", "size", "dtype"])
    def test_rows_are_told_by_max_events(self, fixed, events, keyword):
        with pytest.raises(TypeError, match=f"'{keyword}'.*max_events"):
            poisson(fixed, events, **{keyword: (3, 3)})

    @pytest.mark.parametrize(("keyword", "near"), [("nevents", "n_events"), ("fractions", "fraction"), ("dim", "dims")])
    def test_mixture(self, keyword, near):
        message = f"unexpected keyword argument '{keyword}'. Did you mean '{near}'?"
        with pm.Model(), pytest.raises(TypeError, match=message):
            pmg.EventMixture("e", np.ones(3), response=ToyResponse(), n_events=5, **{keyword: None})

    @pytest.mark.parametrize("keyword", ["norms", "dtype"])
    def test_what_a_mixture_does_not_take_is_listed(self, keyword):
        with pm.Model(), pytest.raises(TypeError, match=f"'{keyword}'. It takes name, fraction, response, spectra"):
            pmg.EventMixture("e", np.ones(3), response=ToyResponse(), n_events=5, **{keyword: None})

    @pytest.mark.parametrize("keyword", ["nevents", "initval", "norms"])
    def test_dist(self, keyword):
        with pytest.raises(TypeError, match=rf"EventMixture\.dist\(\) got an unexpected keyword argument '{keyword}'"):
            pmg.EventMixture.dist(np.ones(3), response=ToyResponse(), n_events=5, **{keyword: None})

    def test_what_pymc_takes_goes_on(self, fixed, events):
        toy = ToyResponse()
        rows = toy.simulate_rows(np.ones(3), 6, np.random.default_rng(1))
        with pm.Model(coords={"event": range(6), "reco": toy.reco}) as model:
            pmg.EventMixture("a", np.ones(3), response=toy, dims=("event", "reco"))
            pmg.EventMixture("b", np.ones(3), response=toy, shape=(6, 3), initval=rows)
            pmg.EventMixture("c", np.ones(3), response=toy, observed=rows, total_size=12)
            pmg.EventMixture("d", np.ones(3), response=toy, n_events=6, transform=None, default_transform=None)
        assert [model[name].shape.eval().tolist() for name in "abcd"] == [[6, 3]] * 4
        np.testing.assert_array_equal(model.initial_point()["b"], rows)
        c = [float(model.compile_logp(vars=[model["c"]], mode="FAST_COMPILE")(model.initial_point()))]
        assert c[0] == pytest.approx(2 * np.log(toy.component_pdf(rows).mean(axis=1)).sum(), rel=1e-10)
        assert np.isfinite(poisson(fixed, events, total_size=None, initval=None, transform=None, dims=None))
        drawn = pm.draw(pmg.EventMixture.dist(np.ones(3), response=toy, shape=(4, 3)), random_seed=1)
        assert drawn.shape == (4, 3)


class TestSystematics:
    CASES = (
        (pmg.EffectiveAreaNorm, {"value": 1.3}),
        (pmg.EffectiveAreaShape, {"knots": [0.5, 5, 50] * u.TeV, "value": [0.1, 0.2, 0.3]}),
        (pmg.EnergyScale, {"value": 1.1}),
        (pmg.PSFScale, {"value": 1.1}),
        (pmg.BackgroundNorm, {"value": 1.2}),
        (pmg.BackgroundTilt, {"value": 0.2}),
    )

    @pytest.mark.parametrize(("kind", "parameters"), CASES)
    def test_a_subclass_acts_like_its_base(self, free, events, kind, parameters):
        class Own(kind):
            """A systematic of a user's own."""

        class Further(Own):
            """And one of that."""

        nominal = poisson(free, events)
        logs = [poisson(free, events, systematics=[one(**parameters)]) for one in (kind, Own, Further)]
        assert logs[0] == logs[1] == logs[2]
        assert abs(logs[0] - nominal) > 1

    def test_every_kind_is_among_these(self):
        ours = {kind for kind in Systematic.__subclasses__() if kind.__module__.startswith("pymc_gamma.")}
        assert {kind for kind, _ in self.CASES} == ours

    def test_a_prior_of_ones_own(self, fixed, events):
        class Gamma(pmg.EffectiveAreaNorm):
            variable = "aeff"

            def prior(self, n_observations, energy):
                return pm.Gamma(self.variable, mu=1.5, sigma=self.sigma)

        with pm.Model(coords=fixed.coords) as model:
            pmg.ExtendedEventMixture("events", response=fixed, observed=events, systematics=Gamma(sigma=0.2))
        assert [one.name for one in model.free_RVs] == ["aeff"]
        logp = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")({"aeff_log__": np.log(1.5)})
        assert float(logp) - poisson(fixed, events) == pytest.approx(shift(fixed, events, [1.5, 1]), abs=1e-6)

    def test_what_has_no_effect_is_refused(self, fixed, events):
        class Idle(Systematic):
            variable = "idle"

            def prior(self, n_observations, energy):
                return pm.Normal(self.variable)

            def act(self, component, value):
                return component

        class Unknown(Systematic):
            variable = "unknown"

            def prior(self, n_observations, energy):
                return pm.Normal(self.variable)

        with pytest.raises(ModelError, match=r"Idle would have no effect on \['crab', 'ccr'\]"):
            poisson(fixed, events, systematics=[Idle()])
        with pytest.raises(TypeError, match="abstract method 'act'"):
            Unknown()
        background = pmg.fold(pmg.CosmicRayBackground(), pointing(hours=1), region(**ROI))
        alone = pmg.fold(sky()[:1], pointing(hours=1), region(**ROI))
        for response, one in ((background, pmg.EffectiveAreaNorm()), (alone, pmg.BackgroundNorm())):
            with pytest.raises(ModelError, match=f"{type(one).__name__} would have no effect.*; leave it out"):
                poisson(response, response.simulate(rng=1), systematics=[one])

    def test_two_of_a_kind(self, fixed, events):
        class Own(pmg.EffectiveAreaNorm):
            pass

        class Both(pmg.EffectiveAreaNorm, pmg.BackgroundNorm):
            pass

        for given in ([Own(), pmg.EffectiveAreaNorm()], [Own(), Own()], [pmg.EffectiveAreaNorm, Own(value=1.0)]):
            with pytest.raises(ModelError, match="EffectiveAreaNorm twice"):
                poisson(fixed, events, systematics=given)
        with pytest.raises(ModelError, match="Both is EffectiveAreaNorm and BackgroundNorm at once"):
            poisson(fixed, events, systematics=[Both()])

    @pytest.mark.parametrize("given", ["EnergyScale", [3], {"a": 1}, 3, [None], [pm.Normal], object()])
    def test_other_objects(self, fixed, events, given):
        with pytest.raises(ModelError, match=r"systematics must be (a list of )?objects such as pmg.EnergyScale\(\)"):
            poisson(fixed, events, systematics=given)

    @pytest.mark.parametrize("given", [None, (), [], iter(())])
    def test_none(self, fixed, events, given):
        assert poisson(fixed, events, systematics=given) == poisson(fixed, events)

    @pytest.mark.parametrize(
        ("parameters", "error"),
        [
            ({"value": np.nan}, ValueError),
            ({"value": 1 * u.kg}, u.UnitConversionError),
            ({"value": "x"}, TypeError),
            ({"sigma": [0.1, 0.2]}, ValueError),
            ({"sigma": 0.1 * u.TeV}, u.UnitConversionError),
            ({"sigma": np.nan}, ValueError),
        ],
    )
    def test_bad_numbers(self, parameters, error):
        (name,) = parameters
        with pytest.raises(error, match=rf"EffectiveAreaNorm\({name}=...\)"):
            pmg.EffectiveAreaNorm(**parameters)

    def test_one_for_each_observation(self, fixed, two_runs, events):
        one = poisson(fixed, events, systematics=[pmg.EffectiveAreaNorm(value=1.3), pmg.BackgroundNorm(value=1.2)])
        vectors = [pmg.EffectiveAreaNorm(value=[1.3]), pmg.BackgroundNorm(value=pd.Series([1.2]))]
        assert poisson(fixed, events, systematics=vectors) == one
        events = two_runs.simulate(rng=1)
        plain = poisson(two_runs, events, systematics=[pmg.BackgroundNorm(value=[1.2, 0.8])])
        labelled = pmg.BackgroundNorm(
            value=xr.DataArray([0.8, 1.2], dims="observation", coords={"observation": [1, 0]})
        )
        assert poisson(two_runs, events, systematics=[labelled]) == plain
        areas = poisson(two_runs, events, systematics=[pmg.EffectiveAreaNorm(value=[1.0, 2.0])])
        assert areas == pytest.approx(poisson(two_runs, events, norms={"crab": [1.0, 2.0]}), rel=1e-14)
        with pytest.raises(
            ModelError, match=r"EffectiveAreaNorm\(value=...\) must be a single number or a vector of 2"
        ):
            poisson(two_runs, events, systematics=[pmg.EffectiveAreaNorm(value=[1.0, 2.0, 3.0])])
        with pytest.raises(ModelError, match=r"missing \['0'\], unknown \['2'\]"):
            poisson(two_runs, events, systematics=[pmg.BackgroundNorm(value=pd.Series([1.0, 2.0], index=[1, 2]))])


class TestNorms:
    def test_labels(self, fixed, events):
        wanted = shift(fixed, events, [2, 0.5])
        nominal = poisson(fixed, events)
        for norms in (
            [2, 0.5],
            {"ccr": 0.5, "crab": 2.0},
            pd.Series({"ccr": 0.5, "crab": 2.0}),
            xr.DataArray([0.5, 2.0], dims="component", coords={"component": ["ccr", "crab"]}),
        ):
            assert poisson(fixed, events, norms=norms) - nominal == pytest.approx(wanted, abs=1e-6)

    def test_dims_of_a_variable(self, fixed, two_runs, events):
        coords = {**fixed.coords, "kind": ["ccr", "crab"]}

        def norms(dim):
            return pm.Deterministic("norm", pm.math.constant([0.5, 2.0]), dims=dim)

        found = poisson(fixed, events, coords, norms=lambda: norms("kind")) - poisson(fixed, events)
        assert found == pytest.approx(shift(fixed, events, [2, 0.5]), abs=1e-6)
        with pytest.raises(ModelError, match=r"missing \['crab', 'ccr'\], unknown \['0', '1'\]"):
            poisson(two_runs, two_runs.simulate(rng=1), norms=lambda: norms("observation"))

    @pytest.mark.parametrize(
        ("norms", "error", "message"),
        [
            ({"crb": 1.0}, ModelError, r"norms are given for \['crb'\]"),
            ({"crab": np.nan}, ModelError, "norm of 'crab' must be finite"),
            ({"crab": 2 * u.kg}, u.UnitConversionError, "norm of 'crab'"),
            ({"crab": -1.0}, ModelError, "norm of 'crab' must be finite and not negative"),
            ({"crab": "x"}, TypeError, "norm of 'crab' must be numbers"),
            ([1, 2, 3], ModelError, "one entry for each of"),
            ("crab", TypeError, "norms must be numbers"),
            (pd.Series({"crab": 1.0}), ModelError, r"missing \['ccr'\]"),
            (pd.Series({"crab": 1.0, "x": 1.0}), ModelError, r"missing \['ccr'\], unknown \['x'\]"),
        ],
    )
    def test_bad(self, fixed, events, norms, error, message):
        with pytest.raises(error, match=message):
            poisson(fixed, events, norms=norms)

    def test_a_vector_of_one_is_that_of_one_observation(self, fixed, free, events):
        two = poisson(fixed, events, norms={"crab": 2.0, "ccr": 1.5})
        assert poisson(fixed, events, norms={"crab": [2.0], "ccr": pd.Series([1.5])}) == two
        nominal = poisson(fixed, events)
        found = poisson(fixed, events, norms=lambda: {"crab": pm.Data("norm", [2.0], dims="observation")}) - nominal
        assert found == pytest.approx(shift(fixed, events, [2, 1]), abs=1e-6)
        rows = [poisson(free, events, spectra={"ccr": pmg.PowerLawNorm(norm=norm)}) for norm in (2.0, [2.0])]
        assert rows[0] == rows[1]

    def test_vectors_of_a_background(self, two_runs):
        events = two_runs.simulate(rng=1)
        as_shape = poisson(two_runs, events, spectra={"ccr": pmg.PowerLawNorm(norm=[1.0, 2.0])})
        assert poisson(two_runs, events, norms={"ccr": [1.0, 2.0]}) == pytest.approx(as_shape, rel=1e-13)

    def test_vectors_of_a_source(self, two_runs):
        """As a response, and an ExtendedEventMixture, for each observation."""
        events = two_runs.simulate(rng=1)
        found = poisson(two_runs, events, norms={"crab": [1.0, 2.0]})
        factor = pmg.PowerLawNorm(norm=[1.0, 2.0])
        free = pmg.fold(sky(), two_runs.observations, region(**ROI), free_spectrum=["crab"])
        spectra = {"crab": lambda energy: 1e-12 * factor(energy)}
        assert np.isfinite(poisson(free, events, spectra=spectra))
        parts = [pmg.fold(sky(), one, region(**ROI)) for one in two_runs.observations]
        lists = [events[events.observation == k].with_observation(0) for k in range(2)]
        nominal = sum(poisson(response, own) for response, own in zip(parts, lists, strict=True))
        apart = nominal + shift(parts[1], lists[1], [2, 1])
        # columns of one number for each observation are stored in single precision
        assert found == pytest.approx(apart, abs=1e-3)


class TestListsOfEvents:
    F = np.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])

    @pytest.fixture
    def lists(self, rng):
        toy = ToyResponse()
        return [ToyEvents(toy.simulate_rows(np.ones(3), n, rng)) for n in (40, 25)]

    @staticmethod
    def logp(fraction, observed):
        with pm.Model(coords=ToyResponse().coords) as model:
            pmg.EventMixture("events", fraction, response=ToyResponse(), observed=observed)
        return float(model.compile_logp(mode="FAST_COMPILE")({}))

    def exact(self, lists):
        pdf = ToyResponse().component_pdf
        return sum(
            one.multiplicity @ np.log(pdf(one.rows) @ fraction) for one, fraction in zip(lists, self.F, strict=True)
        )

    def test_one_for_each_vector_of_fractions(self, lists, rng):
        weighted = ToyEvents(lists[1].rows, rng.integers(1, 4, 25))
        for given in (lists, lists[::-1], [lists[0]] * 2, [lists[0], weighted]):
            for observed in (given, tuple(given)):
                assert self.logp(self.F, observed) == pytest.approx(self.exact(given), rel=1e-10)
        assert self.logp(self.F, [one.rows for one in lists]) == pytest.approx(self.exact(lists), rel=1e-10)
        with pm.Model() as model:
            fraction = pm.Dirichlet("fraction", np.ones((2, 3)))
            pmg.EventMixture("events", fraction, response=ToyResponse(), observed=lists)
        gradient = model.compile_dlogp(mode="FAST_COMPILE")(model.initial_point())
        assert np.isfinite(gradient).all()

    def test_labelled_fractions(self, lists):
        named = xr.DataArray(
            self.F[:, ::-1].T, dims=("component", "field"), coords={"component": ["cosmic", "diffuse", "source"]}
        )
        assert self.logp(named, lists) == pytest.approx(self.exact(lists), rel=1e-10)

    def test_a_list_of_one(self, lists, fixed, events):
        assert self.logp(self.F[0], lists[:1]) == self.logp(self.F[0], lists[0])
        assert poisson(fixed, [events]) == poisson(fixed, events)

    def test_numbers_that_do_not_match(self, lists, fixed, events):
        for fraction, observed, message in (
            (self.F[0], lists, r"holds 2 lists of events.* one vector .*fractions of shape \(2, 3\)"),
            (self.F, [*lists, lists[0]], r"holds 3 lists of events.* 2 vectors .*fractions of shape \(3, 3\)"),
            (self.F, lists[0], r"holds one list of events.* 2 vectors .*fractions of shape \(3,\)"),
            (self.F[0], np.stack([lists[0].rows] * 2), "holds 2 lists of events"),
        ):
            with pytest.raises(ModelError, match=message):
                self.logp(fraction, observed)
        with pytest.raises(ModelError, match=r"ExtendedEventMixture has one. Join those"):
            poisson(fixed, [events, events])

    @pytest.mark.parametrize("observed", [lambda ev: [ev], lambda ev: (ev,), lambda ev: [[ev]]])
    def test_a_list_of_one_for_a_model_that_exists(self, lists, fixed, events, observed):
        with pm.Model() as model:
            pmg.EventMixture("events", self.F[0], response=ToyResponse(), n_events=7)
        found = pmg.observe_events(model, observed(lists[0])).compile_logp(mode="FAST_COMPILE")({})
        assert found == self.logp(self.F[0], lists[0])
        with pm.Model() as model:
            pmg.ExtendedEventMixture("events", response=fixed)
        found = pmg.observe_events(model, observed(events)).compile_logp(mode="FAST_COMPILE")({})
        assert found == pytest.approx(poisson(fixed, events), rel=1e-12)
        with pytest.raises(ModelError, match=r"holds 2 lists of events.*Join those"):
            pmg.observe_events(model, [events, events])

    def test_a_batch_for_a_model_that_exists(self, lists):
        with pm.Model() as model:
            pmg.EventMixture("events", self.F, response=ToyResponse(), n_events=len(lists[0].rows))
        same = [lists[0], ToyEvents(lists[0].rows[::-1] * [1, -1, 1])]
        for observed in (same, np.stack([one.rows for one in same])):
            found = pmg.observe_events(model, observed).compile_logp(mode="FAST_COMPILE")({})
            assert found == pytest.approx(self.exact(same), rel=1e-10)
        with pytest.raises(ModelError, match=r"holds 3 lists of events.* 2 vectors"):
            pmg.observe_events(model, [lists[0]] * 3)
        with pytest.raises(ModelError, match="holds one list of events"):
            pmg.observe_events(model, lists[0])
        with pytest.raises(ModelError, match=r"made for 40 events.* these are 25"):
            pmg.observe_events(model, lists[1:] * 2)

    def test_a_batch_of_two_axes(self, lists):
        fraction = np.stack([self.F, self.F[::-1]])
        plain = [[one.rows.tolist() for one in row] for row in (lists, lists)]
        swapped = self.logp(fraction, [lists, lists[::-1]])
        assert swapped == pytest.approx(2 * self.exact(lists), rel=1e-10)
        for observed in ([lists, lists], (tuple(lists), lists), plain):
            second = sum(
                one.multiplicity @ np.log(ToyResponse().component_pdf(one.rows) @ own)
                for one, own in zip(lists, self.F[::-1], strict=True)
            )
            assert self.logp(fraction, observed) == pytest.approx(self.exact(lists) + second, rel=1e-10)
        for observed, message in (
            ([lists, lists[0]], "must make a batch.*got rows of 2, one list"),
            ([lists, lists[:1]], "must make a batch.*got rows of 2, 1"),
            ([lists, lists, lists], r"holds 3 x 2 lists of events.* 2 x 2 vectors"),
        ):
            with pytest.raises(ModelError, match=message):
                self.logp(fraction, observed)

    def test_bad_lists(self, lists):
        with pytest.raises(EventError, match="empty"):
            self.logp(self.F, [lists[0], ToyEvents(np.empty((0, 3)))])
        with pytest.raises(EventError, match="must be Events, or an array of rows"):
            self.logp(self.F, [lists[0], "events.fits"])

    def test_rows_with_names(self, lists):
        rows = pd.DataFrame(lists[0].rows, columns=["energy", "lon", "lat"])
        wanted = self.logp(self.F[0], lists[0])
        for given in (rows, rows[["lat", "energy", "lon"]], xr.DataArray(rows, dims=("event", "reco")).T):
            assert self.logp(self.F[0], given) == wanted
        with pytest.raises(ModelError, match=r"observed events .*missing \['lon'\], unknown \['glon'\]"):
            self.logp(self.F[0], rows.rename(columns={"lon": "glon"}))


@pytest.mark.parametrize("bad", [[np.nan, 0.5, 0.5], [-0.5, 1, 0.5], [0, 0, 0], [1, 1] * u.kg, "abc", [1, 1], 1.0])
def test_fractions(bad):
    with pm.Model(), pytest.raises((ModelError, TypeError, ValueError, u.UnitConversionError), match="fractions"):
        pmg.EventMixture("e", bad, response=ToyResponse(), n_events=5)


@pytest.fixture(scope="module", params=["", "a", "ab"], ids=["fixed", "one free", "free"])
def pair(request):
    components = [sky()[0], pmg.CosmicRayBackground("a"), pmg.CosmicRayBackground("b")]
    runs = [pointing(hours=0.5), pointing(lon=0.4, hours=0.3)]
    return pmg.fold(components, runs, region(**ROI), free_spectrum=list(request.param))


class TestTwoBackgrounds:
    """Each has a table of its own: what scales one leaves the other."""

    def test_norms(self, pair, tmp_path):
        events = pair.simulate(rng=1)
        density, edges = pair.density(events), [0.5, 5, 100]
        pair.save(tmp_path / "pair")
        for response in (pair, pmg.Response.load(tmp_path / "pair")):
            scaled = response.with_spectra(norms={"a": 3.0})
            np.testing.assert_allclose(scaled.acceptance, pair.acceptance * [1, 3, 1], rtol=1e-12)
            np.testing.assert_allclose(scaled.density(events), density * [1, 3, 1], rtol=1e-10)
            ratio = scaled.npred(edges * u.TeV).values[1:] / pair.npred(edges * u.TeV).values[1:]
            np.testing.assert_allclose(ratio, [[3, 3], [1, 1]], rtol=1e-12)
            again = scaled.with_spectra(norms={"b": 0.5})
            np.testing.assert_allclose(again.acceptance, pair.acceptance * [1, 3, 0.5], rtol=1e-12)
            cells = events.binned(energy=8, pixel=0.4 * u.deg)
            np.testing.assert_allclose(scaled.density(cells), response.density(cells) * [1, 3, 1], rtol=1e-8)
            n, mean = len(scaled.simulate(rng=2)), float(scaled.acceptance.sum())
            assert abs(n - mean) < 4 * np.sqrt(mean)

    def test_in_a_model(self, pair):
        events = pair.simulate(rng=1)
        nominal = poisson(pair, events)
        wanted = shift(pair, events, [1, 3, 1])
        assert poisson(pair, events, norms={"a": 3.0}) - nominal == pytest.approx(wanted, abs=0.01)
        assert poisson(pair.with_spectra(norms={"a": 3.0}), events) - nominal == pytest.approx(wanted, abs=0.01)

    def test_shape_of_one(self, pair):
        if "a" not in pair.free_spectrum:
            pytest.skip("fixed")
        events = pair.simulate(rng=1)
        tilted = pair.with_spectra({"a": pmg.PowerLawNorm(tilt=0.5, norm=2.0)})
        energy = events.energy.to_value("TeV")
        ratio = tilted.density(events) / np.maximum(pair.density(events), 1e-300)
        np.testing.assert_allclose(ratio[:, 1], 2 * energy**-0.5, rtol=0.01)
        np.testing.assert_allclose(ratio[:, 2], 1, rtol=1e-12)
        np.testing.assert_allclose(tilted.acceptance[2], pair.acceptance[2], rtol=1e-12)
        cells = events.binned(energy=40, pixel=0.4 * u.deg)
        of_cells = tilted.density(cells)[:, 1:] / pair.density(cells)[:, 1:]
        np.testing.assert_allclose(of_cells[:, 0], 2 * cells.energy.to_value("TeV") ** -0.5, rtol=0.05)
        np.testing.assert_allclose(of_cells[:, 1], 1, rtol=1e-12)

    def test_factors_of_one_multiply(self, pair):
        """A factor on the rate of a response is one on the rate that it has, however it came to have it."""
        if "a" not in pair.free_spectrum:
            pytest.skip("fixed")
        first, second = pmg.PowerLawNorm(tilt=0.5, norm=2.0), pmg.PowerLawNorm(tilt=-0.3, norm=3.0)
        tilted = pair.with_spectra({"a": first})
        twice = tilted.with_spectra({"a": second})
        events = pair.simulate(rng=1)
        ratio = twice.density(events)[:, 1] / pair.density(events)[:, 1]
        np.testing.assert_allclose(ratio, 6 * events.energy.to_value("TeV") ** -0.2, rtol=0.02)
        values = tilted.spectra_values({"a": second})
        expected = sum(of[1].sum() for of in tilted.expected_parts(values))
        np.testing.assert_allclose(float(twice.acceptance[1]), expected, rtol=3e-3)


class TestResponse:
    def test_weights_and_norms_by_name(self, fixed):
        swapped = pd.Series({"ccr": 3.0, "crab": 1.0})
        rows = [fixed.simulate(w, 20, rng=1).to_rows() for w in ({"crab": 1, "ccr": 3}, swapped, swapped.to_xarray())]
        np.testing.assert_array_equal(rows[0], rows[1])
        labelled = xr.DataArray(swapped, dims="component")
        np.testing.assert_array_equal(rows[0], fixed.simulate(labelled, 20, rng=1).to_rows())
        ratio = fixed.with_spectra(norms=swapped).acceptance / fixed.acceptance
        np.testing.assert_allclose(ratio, [1, 3])
        np.testing.assert_allclose(fixed.npred(norms=labelled) / fixed.npred(), [1, 3])

    @pytest.mark.parametrize("bad", [[1, np.nan], [[1, 1]], [1, 2] * u.kg, "crab", [1, 2, 3], pd.Series({"crab": 1.0})])
    def test_bad_weights(self, fixed, bad):
        with pytest.raises((ModelError, TypeError, ValueError, u.UnitConversionError), match="weights"):
            fixed.simulate(bad, 10)

    def test_observations_are_coords(self, fixed, two_runs):
        assert fixed.coords["observation"] == [0]
        assert two_runs.coords["observation"] == [0, 1]
        assert two_runs.coords["observation"] == two_runs.acceptance_by_observation["observation"].values.tolist()
        events = two_runs.simulate(rng=1)
        with pm.Model(coords=two_runs.coords) as model:
            norm = pm.LogNormal("norm", 0.0, 0.1, dims="observation")
            pmg.ExtendedEventMixture(
                "events",
                response=two_runs,
                observed=events,
                spectra={"ccr": pmg.PowerLawNorm(norm=norm)},
                systematics=[pmg.BackgroundTilt()],
            )
        assert model.named_vars_to_dims["background_tilt"] == ("observation",)
        assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point()))


class TestListsOfVariables:
    """Where a vector is wanted, a list may hold random variables: it says the same as their stack."""

    @staticmethod
    def logp(make):
        """Log-likelihood of a model with two parameters, at b = 0.25 and a = 2."""
        with pm.Model() as model:
            make(pm.Beta("b", 1, 1), pm.HalfNormal("a", 1))
        likelihood = model.logp(vars=model.observed_RVs)
        function = model.compile_fn(likelihood, inputs=model.value_vars, mode="FAST_COMPILE", on_unused_input="ignore")
        return float(function({"b_logodds__": np.log(0.25 / 0.75), "a_log__": np.log(2.0)}))

    @pytest.mark.parametrize(
        "fraction",
        [
            lambda b: [b, 1 - b],
            lambda b: (b, 1 - b),
            lambda b: np.array([b, 1 - b], dtype=object),
            lambda b: pd.Series([1 - b, b], index=["ccr", "crab"]),
        ],
    )
    def test_fractions(self, fixed, events, fraction):
        value = self.logp(lambda b, a: pmg.EventMixture("e", fraction(b), response=fixed, observed=events))
        density = fixed.density(events) / fixed.acceptance.values
        assert value == pytest.approx(np.log(density @ [0.25, 0.75]).sum(), rel=1e-9)

    def test_fractions_of_a_table(self):
        table = np.random.default_rng(1).normal(size=(6, 2))
        value = self.logp(lambda b, a: pmg.EventMixture("e", [b, 0.75], log_likelihood=table))
        assert value == pytest.approx(np.log(np.exp(table) @ [0.25, 0.75]).sum(), rel=1e-9)

    def test_a_batch_of_fractions(self):
        with pm.Model():
            b = pm.Beta("b", 1, 1)
            rows = pmg.EventMixture.dist(
                [[b, 1 - b], [0.5, 0.5]], response=ToyResponse((2.0, 2.4), (0.3, 1.0), ("source", "cosmic")), n_events=5
            )
        assert rows.type.shape[:2] == (2, 5)

    @pytest.mark.parametrize(
        ("norms", "expected"),
        [
            (lambda a: [a, 1.0], [2, 1]),
            (lambda a: [a, 2 * a], [2, 4]),
            (lambda a: {"crab": [a]}, [2, 1]),
            (lambda a: pd.Series({"ccr": a, "crab": 3.0}), [3, 2]),
            (lambda a: xr.DataArray(np.array([a, 3.0], dtype=object), {"component": ["ccr", "crab"]}), [3, 2]),
        ],
    )
    def test_norms(self, fixed, events, norms, expected):
        value = self.logp(lambda b, a: pmg.ExtendedEventMixture("e", response=fixed, observed=events, norms=norms(a)))
        one = poisson(fixed, events)
        assert value - one == pytest.approx(shift(fixed, events, expected), rel=1e-8)

    @pytest.mark.parametrize(
        "background",
        [
            lambda a: {"systematics": [pmg.BackgroundNorm(value=[a, 1.5])]},
            lambda a: {"spectra": {"ccr": pmg.PowerLawNorm(norm=[a, 1.5])}},
            lambda a: {"spectra": {"ccr": pmg.PowerLawNorm(norm=pd.Series([1.5, 2.0], index=[1, 0]))}},
            lambda a: {"spectra": {"ccr": pmg.PowerLawNorm(norm=xr.DataArray([2.0, 1.5], dims="observation"))}},
        ],
    )
    def test_a_background_in_each_observation(self, two_runs, background):
        seen = two_runs.simulate(rng=1)

        def of(given):
            return self.logp(lambda b, a: pmg.ExtendedEventMixture("e", response=two_runs, observed=seen, **given(a)))

        wanted = of(lambda a: {"spectra": {"ccr": pmg.PowerLawNorm(norm=np.array([2.0, 1.5]))}})
        assert of(background) == pytest.approx(wanted, rel=1e-12)
        assert wanted != pytest.approx(of(lambda a: {}), abs=1)

    def test_what_does_not_fit(self, fixed, events):
        with pm.Model(coords=fixed.coords):
            a = pm.HalfNormal("a")
            for norms, message in (
                ([a, -1.0], "norms must be at least 0"),
                ([a, np.nan], "norms must be finite"),
                ([a, "2"], "norms must be numbers"),
                ([a, [a, a]], "norms must have entries of one shape"),
                ([a, 1 * u.TeV], "norms must be convertible|norms must be a number without unit"),
            ):
                with pytest.raises((TypeError, ValueError), match=message):
                    pmg.ExtendedEventMixture("e", response=fixed, observed=events, norms=norms)
            with pytest.raises(ModelError, match="one entry for each"):
                pmg.ExtendedEventMixture("e", response=fixed, observed=events, norms=[a, a, a])


def test_labels_of_spectra():
    by_run = pd.Series([2.0, 1.0], index=[23523, 23526])
    with pytest.raises(ModelError, match=r"PowerLawNorm\(norm=...\).*observation.*missing \['0', '1'\]"):
        pmg.PowerLawNorm(norm=by_run)
    with pytest.raises(TypeError, match=r"PowerLaw.*must be a number"):
        pmg.PowerLaw(index=by_run)
    energy = [0.1, 10] * u.TeV
    given = pmg.EBLAbsorption(energy, pd.Series([0.5, 1.0], index=[10.0, 0.1]))
    assert given.transmission.tolist() == [1.0, 0.5]
    with pytest.raises(ModelError, match="missing"):
        pmg.EBLAbsorption(energy, pd.Series([0.5, 1.0], index=[10.0, 0.2]))


SYSTEMATICS = [
    pmg.EffectiveAreaNorm,
    pmg.EffectiveAreaShape,
    pmg.EnergyScale,
    pmg.PSFScale,
    pmg.BackgroundNorm,
    pmg.BackgroundTilt,
]


@pytest.mark.parametrize("kind", SYSTEMATICS)
def test_the_checked_sigma_is_the_one_used(kind):
    assert kind(sigma=10 * u.percent).sigma == pytest.approx(0.1)
    assert isinstance(kind(sigma=np.float32(0.125)).sigma, float)
    for sigma in ("0.1", 0.1 + 0j, np.ma.masked, 1 * u.TeV, [0.1, 0.1]):
        with pytest.raises((TypeError, ValueError), match="sigma"):
            kind(sigma=sigma)


def test_the_prior_has_that_width():
    with pm.Model() as model:
        value = pmg.EffectiveAreaNorm(sigma=10 * u.percent).tensor([0], np.array([0.1, 100]))
    logp = model.compile_logp(jacobian=False, mode="FAST_COMPILE")
    assert logp({"aeff_norm_log__": 0.1}) - logp({"aeff_norm_log__": 0.0}) == pytest.approx(-0.5 - 0.1)
    assert value.name == "aeff_norm"


NOT_NUMBERS = ["2", b"2", 2 + 1j, np.datetime64("2020-01-01"), np.timedelta64(1, "s")]


class TestOtherKindsOfValues:
    """Text, times and complex numbers are refused, with the name of the argument."""

    @pytest.mark.parametrize("wrong", NOT_NUMBERS, ids=repr)
    @pytest.mark.parametrize("wrapped", [lambda one: one, np.asarray], ids=["alone", "array"])
    def test_single_numbers(self, fixed, events, wrong, wrapped):
        wrong = wrapped(wrong)
        with pm.Model(coords=fixed.coords), pytest.raises(TypeError, match="norm of 'crab' must be numbers"):
            pmg.ExtendedEventMixture("e", response=fixed, observed=events, norms={"crab": wrong})
        for call, message in (
            (lambda: pmg.EffectiveAreaNorm(value=wrong), r"EffectiveAreaNorm\(value=...\) must be numbers"),
            (lambda: pmg.PowerLaw(index=wrong), r"PowerLaw\(index=...\) must be a number"),
            (lambda: pmg.PowerLawNorm(norm=wrong), r"PowerLawNorm\(norm=...\) must be numbers"),
            (lambda: fixed.with_spectra(norms={"crab": wrong}), "norm of 'crab' must be numbers"),
        ):
            with pytest.raises(TypeError, match=message):
                call()

    @pytest.mark.parametrize("wrong", NOT_NUMBERS, ids=repr)
    @pytest.mark.parametrize("dtype", [None, object])
    def test_vectors(self, fixed, events, wrong, dtype):
        pair = np.array([wrong, wrong], dtype=dtype)
        tree = pmg.MixtureTree(["a", "b"])
        with pm.Model(), pytest.raises(TypeError, match=r"fractions.*must be numbers"):
            pmg.EventMixture("e", pair, response=fixed, observed=events)
        with pytest.raises(TypeError, match="weights must be numbers"):
            fixed.simulate(pair, 10, rng=1)
        with pytest.raises(TypeError, match=r"shares.*must be numbers"):
            tree.flatten({"mixture": pair})
        with pm.Model(), pytest.raises(ModelError, match="fractions must be numbers, got a Series"):
            pmg.EventMixture("e", pd.Series(pair, index=["ccr", "crab"]), response=fixed, observed=events)

    def test_numbers_in_arrays_of_objects_are_numbers(self, fixed, events):
        for norms in ([2, 1.5], [2.0, 3 / 2]):
            value = poisson(fixed, events, norms=np.array(norms, dtype=object), coords={})
            assert value - poisson(fixed, events) == pytest.approx(shift(fixed, events, norms), rel=1e-8)


class TestMasks:
    """What is masked is not there: refused, where it is not left out with a warning as for events."""

    MASKED = Masked(5 * u.h, mask=True)

    def test_quantities(self):
        observation = pointing(hours=1)
        pair = Masked([0.5, 50] * u.TeV, mask=[False, True])
        flux = Masked([1.0, 1.0] * u.Unit("TeV-1 cm-2 s-1"), mask=[False, True])
        for call, name in (
            (
                lambda: pmg.Observation(observation.irfs, pointing=observation.pointing, livetime=self.MASKED),
                "livetime",
            ),
            (
                lambda: pmg.Observation(
                    observation.irfs, pointing=observation.pointing, livetime=1 * u.h, energy_range=pair
                ),
                "energy_range",
            ),
            (lambda: pmg.RegionOfInterest(center=observation.pointing, width=2 * u.deg, energy=pair), "energy"),
            (lambda: pmg.TemplateSpectrum(pair, flux.unmasked), "energy"),
            (lambda: pmg.TemplateSpectrum(pair.unmasked, flux), "values"),
            (lambda: pmg.PowerLaw(amplitude=flux[1]), "amplitude"),
            (lambda: pmg.PowerLaw(reference=pair[1]), "reference"),
            (lambda: pmg.EffectiveAreaShape(knots=pair), "knots"),
        ):
            with pytest.raises(ValueError, match=f"{name}.*masked"):
                call()

    def test_plain_numbers(self):
        pair = np.ma.array([1.0, 0.5], mask=[False, True])
        for call, name in (
            (lambda: pmg.PowerLaw(index=np.ma.masked), "index"),
            (lambda: pmg.PowerLawNorm(norm=pair), "norm"),
            (lambda: pmg.PowerLawNorm(norm=[1.0, np.ma.masked]), "norm"),
            (lambda: pmg.EBLAbsorption([0.1, 10] * u.TeV, pair), "transmission"),
            (lambda: pmg.BackgroundNorm(value=Masked(np.ones(2), mask=[False, True])), "value"),
            (lambda: pmg.MixtureTree(["a", "b"]).flatten({"mixture": pair}), "shares"),
        ):
            with pytest.raises(ValueError, match=f"{name}.*finite, got masked"):
                call()

    def test_a_range_of_energy(self, fixed, events):
        span = Masked([1, 10] * u.TeV, mask=[False, True])
        with pm.Model(coords=fixed.coords), pytest.raises(ValueError, match=r"integrated_flux.*masked"):
            pmg.ExtendedEventMixture("e", response=fixed, observed=events, integrated_flux=span)

    def test_nothing_masked(self):
        assert pmg.PowerLaw(reference=Masked(2 * u.TeV, mask=False)).reference == 2
        assert pmg.PowerLaw(index=np.ma.array(2.5)).index == 2.5


@pytest.mark.parametrize("wrong", ["2", 2 + 1j], ids=repr)
def test_observed_rows_and_spectra_are_numbers(free, fixed, events, wrong):
    rows = np.full((3, 3), wrong)
    with pm.Model(), pytest.raises(EventError, match="observed events must be Events, or an array of rows"):
        pmg.EventMixture("e", [0.5, 0.5], response=fixed, observed=rows)
    with pytest.raises(ModelError, match="spectrum of 'crab' must return numbers or a tensor"):
        poisson(free, events, spectra={"crab": lambda energy: np.full(len(energy), wrong)})
    with pytest.raises(ModelError, match="spectrum of 'crab' must return numbers or a tensor"):
        free.with_spectra({"crab": lambda energy: np.full(len(energy), wrong)})


def test_masked_rows_and_spectra(free, fixed, events):
    rows = np.ma.array(fixed.event_rows(events), copy=True)
    rows[2, 0] = np.ma.masked
    with pm.Model(), pytest.raises(EventError, match="contain NaN: rows 2"):
        pmg.EventMixture("e", [0.5, 0.5], response=fixed, observed=rows)
    with pytest.raises(ModelError, match="crab"):
        free.with_spectra({"crab": lambda energy: np.ma.masked_greater(1e-12 * energy**-2, 1e-14)})


def test_a_labelled_scale_of_the_psf():
    with pytest.raises(ValueError, match="within three sigma"):
        pmg.PSFScale(value=pd.Series([5.0]))


class TestOwnTables:
    TABLE = np.log([[0.2, 0.5], [0.4, 0.1]])

    @pytest.mark.parametrize(
        ("table", "error"),
        [
            (TABLE * u.TeV, u.UnitConversionError),
            (TABLE.astype(str), ModelError),
            (TABLE.astype(str).astype(object), ModelError),
            (TABLE + 1j, ModelError),
            (pd.DataFrame(TABLE.astype(str)), ModelError),
            (pd.DataFrame(TABLE + 1j), ModelError),
        ],
    )
    def test_tables(self, table, error):
        with pm.Model(), pytest.raises(error, match="log_likelihood must be"):
            pmg.EventMixture("e", [0.5, 0.5], log_likelihood=table)

    @pytest.mark.parametrize(
        ("multiplicity", "error"),
        [
            (np.ones(2) * u.s, u.UnitConversionError),
            (["1", "1"], TypeError),
            (np.ones(2) + 0j, TypeError),
            ((1 for _ in range(2)), TypeError),
            (pd.Series(["1", "1"]), ModelError),
        ],
    )
    def test_multiplicities(self, multiplicity, error):
        with pm.Model(), pytest.raises(error, match="multiplicity must be"):
            pmg.EventMixture("e", [0.5, 0.5], log_likelihood=self.TABLE, multiplicity=multiplicity)

    @pytest.mark.parametrize("fraction", [np.full((2, 2), 0.5), np.full((3, 2), 0.5)])
    def test_a_batch_of_fractions(self, fraction):
        with pm.Model(), pytest.raises(ModelError, match="make one EventMixture for each table"):
            pmg.EventMixture("e", fraction, log_likelihood=self.TABLE)
