"""Free position and extension in models: values, gradients, draws, and all that goes with them."""

import astropy.units as u
import cloudpickle
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from laplace import compiled
from setups import direction, region, source
from shape_scene import (
    AMPLITUDE,
    INDEX,
    KINDS,
    LAT,
    LON,
    TOLERANCE,
    beside,
    check_gradient,
    folded,
    logp,
    numbers,
    poisson,
    poisson_value,
    refolded,
    runs,
    start_of,
    tolerance,
    variables,
)

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    kind = request.param
    response = folded(kind, n=2, free_spectrum=["msh"])
    return kind, response, response.simulate(rng=5)


def test_poisson_values_are_those_of_the_source_folded_anew(case):
    kind, response, events = case
    model = poisson(response, kind, events, free=True)
    for shape, spectrum in (start_of(kind), beside(kind)):
        expected = poisson_value(refolded(response, kind, shape, spectrum), events, [1, 1, 1.1])
        assert logp(model, **shape, **spectrum, norm=1.1) == pytest.approx(expected, abs=tolerance(kind))


def test_gradients(case):
    kind, response, events = case
    model = poisson(response, kind, events, free=True)
    shape, spectrum = beside(kind)
    check_gradient(model, numbers(**shape, **spectrum, norm=1.1))


@pytest.mark.parametrize("kind", ["elongated", "shell"])
def test_fixed_spectrum(kind):
    response = folded(kind, n=2)
    events = response.simulate(rng=6)
    model = poisson(response, kind, events, free=False)
    for shape, _ in (start_of(kind), beside(kind)):
        expected = poisson_value(response.with_shapes({"msh": shape}), events, [1, 1, 1.1])
        assert logp(model, **shape, norm=1.1) == pytest.approx(expected, abs=tolerance(kind))
    check_gradient(model, numbers(**beside(kind)[0], norm=1.1))


def mixture(response, kind, events, *, free, fraction=None, **options):
    with pm.Model(coords=response.coords) as model:
        shape = KINDS[kind][0](**variables(start_of(kind)[0]))
        spectra = {"msh": pmg.PowerLaw(index=pm.Flat("index", initval=INDEX))} if free else {}
        if fraction is None:
            fraction = pm.Flat("fraction", initval=np.array([0.3, 0.1, 0.6]), shape=3)
        pmg.EventMixture(
            "events", fraction, response=response, shapes={"msh": shape}, spectra=spectra, observed=events, **options
        )
    return model


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("kind", ["point", "elongated", "disk"])
def test_mixture_values(kind, free):
    response = folded(kind, n=2, free_spectrum=["msh"] if free else [])
    events = response.simulate(rng=7)
    model = mixture(response, kind, events, free=free)
    fraction = np.array([0.35, 0.07, 0.58])
    for shape, spectrum in (start_of(kind), beside(kind)):
        index = {"index": spectrum["index"]} if free else {}
        again = refolded(response, kind, shape, spectrum if free else None)
        expected = np.log(again.component_pdf(again.event_rows(events)) @ fraction).sum()
        assert logp(model, **shape, **index, fraction=fraction) == pytest.approx(expected, abs=tolerance(kind))
    check_gradient(model, numbers(**shape, **index, fraction=fraction))


@pytest.fixture(scope="module")
def one():
    """An elongated source of fixed spectrum under one observation."""
    response = folded("elongated")
    return response, response.simulate(rng=8)


def test_some_parameters_are_numbers(one):
    """Any of them, also other ones than those that were folded."""
    response, events = one
    numbers_of = {"lat_0": LAT - 0.01, "sigma": 0.12, "phi": 35.0}
    with pm.Model() as model:
        free = variables({"lon_0": LON, "e": 0.7})
        shapes = {"msh": pmg.GaussianShape(**free, **numbers_of)}
        pmg.ExtendedEventMixture("events", response=response, shapes=shapes, observed=events)
    expected = poisson_value(response.with_shapes({"msh": {"lon_0": LON, "e": 0.72, **numbers_of}}), events)
    assert logp(model, lon_0=LON, e=0.72) == pytest.approx(expected, abs=TOLERANCE)


def test_a_scale_of_the_psf_together_with_a_free_shape(one):
    response, events = one
    with pm.Model(coords=response.coords) as model:
        shape = pmg.GaussianShape(**variables(start_of("elongated")[0]))
        scale = pm.Flat("scale", initval=1.0)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            shapes={"msh": shape},
            systematics=[pmg.PSFScale(sigma=0.05, value=scale)],
            observed=events,
        )
    shape, _ = beside("elongated")
    for factor in (1.0, 1.04, 0.95):
        expected = poisson_value(response.with_shapes({"msh": shape}).with_systematics(psf_scale=factor), events)
        # the halo is mixed between nine widths of the PSF: 0.02
        assert logp(model, **shape, scale=factor) == pytest.approx(expected, abs=TOLERANCE + 0.02)
    check_gradient(model, numbers(**shape, scale=1.02))


@pytest.mark.parametrize("free", [False, True])
def test_norms_of_each_observation(free):
    response = folded("round", n=2, free_spectrum=["msh"] if free else [])
    events = response.simulate(rng=9)
    with pm.Model(coords=response.coords) as model:
        shape = pmg.GaussianShape(**variables(start_of("round")[0]))
        norm = pm.Flat("norm", initval=np.ones(2), dims="observation")
        spectra = {"msh": pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE)} if free else {}
        pmg.ExtendedEventMixture(
            "events", response=response, shapes={"msh": shape}, norms={"msh": norm}, spectra=spectra, observed=events
        )
    shape, values = beside("round")[0], np.array([1.3, 0.7])
    expected = 0.0
    for o, run in enumerate(runs(2)):
        alone = response.refold([run], free_spectrum=[]).with_shapes({"msh": shape})
        mine = events[events.observation == o].with_observation(0)
        expected += poisson_value(alone, mine, [values[o], 1, 1])
    assert logp(model, **shape, norm=values) == pytest.approx(expected, abs=TOLERANCE)
    check_gradient(model, numbers(**shape, norm=values))


def test_events_that_are_replaced(one):
    response, first = one
    second = response.simulate(rng=10)[:-50]
    assert len(first) != len(second)
    at, _ = beside("elongated")
    expected = {
        id(events): logp(poisson(response, "elongated", events, free=False), **at, norm=1.0)
        for events in (first, second)
    }
    with pm.Model(coords={**response.coords, "event": np.arange(len(first))}) as model:
        data = pm.Data("data", response.event_rows(first), dims=("event", "reco"))
        shape = pmg.GaussianShape(**variables(start_of("elongated")[0]))
        pmg.ExtendedEventMixture("events", response=response, shapes={"msh": shape}, observed=data)
    function = model.compile_logp(vars=[model["events"]], jacobian=False, mode="FAST_COMPILE")
    for events in (first, second, first):
        with model:
            pm.set_data({"data": response.event_rows(events)}, coords={"event": np.arange(len(events))})
        assert float(function(numbers(**at))) == pytest.approx(expected[id(events)], rel=1e-12)


@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
def test_tables_that_are_kept_stay_as_they_are(one, mode):
    """Compiled code may compute in the place of what it takes for intermediate results; tables of data are not."""
    response, first = one
    second = response.simulate(rng=10)
    rows = [response.event_rows(events) for events in (first, second)]
    data = pytensor.shared(rows[0], "data")
    with pm.Model() as model:
        shape = pmg.GaussianShape(**variables(start_of("elongated")[0]))
        pmg.ExtendedEventMixture("events", response=response, shapes={"msh": shape}, observed=data)
    function, start = compiled(model, mode)
    x = np.concatenate([np.ravel(value) for value in start.values()])
    values = []
    for k in (0, 0, 1, 0, 1):
        data.set_value(rows[k])
        values.append(float(function(x)[0]))
    assert values == pytest.approx([values[0], values[0], values[2], values[0], values[2]], rel=1e-12)


def normal_prior(response, **events):
    """A source whose position is drawn from a wide prior, for draws."""
    with pm.Model(coords=response.coords) as model:
        lon, lat = pmg.position("msh", direction(LON, LAT), 0.05 * u.deg)
        sigma = pm.Uniform("sigma", 0.08, 0.14)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            shapes={"msh": pmg.GaussianShape(lon, lat, sigma)},
            norms={"msh": 4.0, "halo": 1e-6, "ccr": 1e-6},
            **events,
        )
    return model


@pytest.fixture(scope="module")
def round_source():
    return folded("round")


def test_observed_later(round_source):
    events = round_source.simulate(rng=11)
    later = pmg.observe_events(normal_prior(round_source, max_events=3000), events)
    model = normal_prior(round_source, observed=events)
    point = {"msh_offset": np.array([0.3, -0.4]), "sigma_interval__": np.array(0.2)}
    values = [float(m.compile_logp(mode="FAST_COMPILE")(point)) for m in (later, model)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_drawn_events_follow_the_parameters(round_source, seed):
    model = normal_prior(round_source, max_events=3000)
    with model:
        prior = pm.sample_prior_predictive(6, random_seed=seed, compile_kwargs={"mode": "FAST_COMPILE"})["prior"]
    for d in range(6):
        lon, lat, sigma = (float(prior[name][0, d]) for name in ("msh_lon", "msh_lat", "sigma"))
        rows = prior["events"].values[0, d]
        rows = rows[np.isfinite(rows[:, 0])]
        expected = 4 * float(
            round_source.with_shapes({"msh": {"lon_0": lon, "lat_0": lat, "sigma": sigma}}).acceptance[0]
        )
        assert abs(len(rows) - expected) < 4 * np.sqrt(expected)
        east, north = (rows[:, 1] - lon + 180) % 360 - 180, rows[:, 2] - lat
        error = np.hypot(0.14, 0.06) / np.sqrt(len(rows))
        assert abs(east.mean()) < 4 * error
        assert abs(north.mean()) < 4 * error


def test_models_are_pickled(one):
    response, events = one
    model = poisson(response, "elongated", events, free=False)
    content = cloudpickle.dumps(model)
    at = beside("elongated")[0]
    assert logp(cloudpickle.loads(content), **at, norm=1.0) == pytest.approx(logp(model, **at, norm=1.0), rel=1e-12)


@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")  # of JAX, which other tests import
def test_chains_in_processes_are_those_of_one(round_source):
    """A few steps: machine code just compiled and that loaded differ in last bits, which NUTS amplifies."""
    events = round_source.simulate(rng=12)
    chains = []
    for cores in (1, 2):
        with normal_prior(round_source, observed=events):
            idata = pm.sample(
                3,
                tune=0,
                chains=2,
                cores=cores,
                random_seed=3,
                nuts_sampler="pymc",
                progressbar=False,
                compute_convergence_checks=False,
            )
        chains.append(idata["posterior"]["msh_lon"].values)
    assert len(np.unique(chains[0])) > 2
    np.testing.assert_allclose(*chains, rtol=1e-6)


def test_impossible_outside_the_valid_range(one):
    response, events = one
    model = poisson(response, "elongated", events, free=False)
    at, _ = start_of("elongated")
    inside, outside = (
        {"sigma": (0.001, 0.239), "e": (0.0, 0.97), "lon_0": (LON + 0.29,), "phi": (400.0,)},
        {"sigma": (-0.01, 0.25), "e": (-0.01, 0.99), "lon_0": (LON + 0.31, LON + 180), "lat_0": (LAT - 0.31, 91.0)},
    )
    function = model.compile_logp(vars=[model["events"]], jacobian=False, mode="FAST_COMPILE")
    for finite, values in ((True, inside), (False, outside)):
        for name, several in values.items():
            for value in several:
                found = float(function(numbers(**{**at, name: value}, norm=1.0)))
                assert np.isfinite(found) if finite else found == -np.inf, (name, value, found)


@pytest.mark.parametrize("distribution", ["poisson", "mixture"])
@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
def test_impossible_without_a_value(one, distribution, mode):
    """Where a parameter is infinite or no number, and where a shape has no meaning: -inf, never NaN."""
    response, events = one
    if distribution == "poisson":
        model, more = poisson(response, "elongated", events, free=False), {"norm": 1.0}
    else:
        with pm.Model(coords=response.coords) as model:
            shapes = {"msh": pmg.GaussianShape(**variables(start_of("elongated")[0]))}
            pmg.EventMixture("events", [0.3, 0.1, 0.6], response=response, shapes=shapes, observed=events)
        more = {}
    at, _ = start_of("elongated")
    function = model.compile_logp(vars=[model["events"]], jacobian=False, mode=mode)
    assert np.isfinite(function(numbers(**at, **more)))
    for name in at:
        for value in (np.nan, np.inf, -np.inf):
            assert function(numbers(**{**at, name: value}, **more)) == -np.inf, (name, value)
    for changes in ({"e": 1.1}, {"e": 1.0}, {"e": 1e9}, {"sigma": 1e200}, {"sigma": np.inf, "e": np.nan}):
        assert function(numbers(**{**at, **changes}, **more)) == -np.inf, changes


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_of_numbers_alone(kind):
    """They are one point of the model in which they vary."""
    response = folded(kind)
    events = response.simulate(rng=14)
    values, found = beside(kind)[0], []
    for free in (False, True):
        with pm.Model(coords=response.coords) as model:
            shape = KINDS[kind][0](**(variables(values) if free else values))
            pmg.ExtendedEventMixture("events", response=response, shapes={"msh": shape}, observed=events)
        found.append(logp(model, **(values if free else {})))
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    expected = poisson_value(response.with_shapes({"msh": values}), events)
    assert found[0] == pytest.approx(expected, abs=tolerance(kind))


def test_shapes_under_a_psf_out_of_its_range(one):
    """As for other components: -inf beyond three sigma, and an error at the start."""
    response, events = one
    shapes = {"msh": pmg.GaussianShape(**start_of("elongated")[0])}
    for start in (1.0, 1.2):
        with pm.Model() as model:
            options = {"systematics": [OfShapes(value=pm.Flat("psf", initval=start))], "observed": events}
            if start == 1.0:
                pmg.ExtendedEventMixture("events", response=response, shapes=shapes, **options)
                for value in (1.16, 0.84, 0.0, -1.0, np.nan, np.inf):
                    assert logp(model, psf=value) == -np.inf, value
                assert np.isfinite([logp(model, psf=value) for value in (0.851, 1.0, 1.149)]).all()
                continue
            with pytest.raises(ModelError, match=r"at the initial values .* scale of the PSF is 1.2, outside 0.85"):
                pmg.ExtendedEventMixture("events", response=response, shapes=shapes, **options)


class OfShapes(pmg.PSFScale):
    """The PSF under which sources of free shape are seen."""

    def act(self, component, value):
        return component if component.shape is None else super().act(component, value)


def test_draws_of_shapes_of_numbers_alone(one):
    response, _ = one
    values = beside("elongated")[0]
    shapes = {"msh": pmg.GaussianShape(**values)}
    drawn = pmg.EventMixture.dist([1.0, 0.0, 0.0], response=response, shapes=shapes, n_events=4000)
    lon, lat = pm.draw(drawn, random_seed=1)[:, 1:3].T
    again = response.with_shapes({"msh": values}).simulate([1.0, 0.0, 0.0], 4000, rng=2).to_rows(("lon", "lat"))
    for mine, other in zip((lon, lat), again.T, strict=True):
        assert mine.mean() == pytest.approx(other.mean(), abs=4.5 * np.hypot(mine.std(), other.std()) / np.sqrt(4000))


def test_a_tree_of_mixtures(one):
    response, events = one
    with pm.Model(coords=response.coords) as model:
        tree = pmg.MixtureTree({"signal": ["msh", "halo"], "background": ["ccr"]})
        shape = pmg.GaussianShape(**variables(start_of("elongated")[0]))
        pmg.EventMixture(
            "events",
            tree.fractions(),
            response=response,
            shapes={"msh": shape},
            observed=events,
        )
    shares = {"mixture": np.array([0.4, 0.6]), "signal": np.array([0.8, 0.2])}
    again = response.with_shapes({"msh": beside("elongated")[0]})
    expected = np.log(again.component_pdf(again.event_rows(events)) @ [0.32, 0.08, 0.6]).sum()
    free = [model[name] for name in (*shares, "lon_0", "lat_0", "sigma", "e", "phi")]
    graph = pm.logp(model["events"], model.rvs_to_values[model["events"]]).sum()
    values = {model[name]: value for name, value in {**shares, **numbers(**beside("elongated")[0])}.items()}
    assert set(free) == set(values)
    assert float(graph.eval(values, mode="FAST_COMPILE")) == pytest.approx(expected, abs=TOLERANCE)


def test_sources_with_a_common_prior():
    """Two sources whose extensions are drawn from one population: each parameter acts on its own source."""
    components = [
        source("a", 0.3, -0.1, sigma=0.1, index=INDEX, amplitude=AMPLITUDE),
        source("b", -0.2, 0.2, sigma=0.1, index=INDEX, amplitude=AMPLITUDE),
        pmg.CosmicRayBackground(),
    ]
    response = pmg.fold(components, runs(1), region(width=1.6, energy=(0.7, 20)), energy_true=80, free_shape=["a", "b"])
    events = response.simulate(rng=13)
    with pm.Model() as model:
        typical = pm.Flat("typical", initval=0.0)
        offset = pm.Normal("offset", 0, 1, shape=2)
        sigma = 0.1 * pt.exp(typical + 0.2 * offset)
        shapes = {"a": pmg.GaussianShape(0.3, -0.1, sigma[0]), "b": pmg.GaussianShape(-0.2, 0.2, sigma[1])}
        pmg.ExtendedEventMixture("events", response=response, shapes=shapes, observed=events)
    at = {"typical": 0.1, "offset": np.array([0.3, -0.6])}
    widths = 0.1 * np.exp(0.1 + 0.2 * at["offset"])
    expected = poisson_value(response.with_shapes({"a": {"sigma": widths[0]}, "b": {"sigma": widths[1]}}), events)
    assert logp(model, **at) == pytest.approx(expected, abs=TOLERANCE)
    check_gradient(model, numbers(**at))
