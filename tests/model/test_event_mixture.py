"""`EventMixture` as a user meets it: values, data in all forms, predictive draws, samplers, bad input."""

import arviz as az
import cloudpickle
import numpy as np
import pymc as pm
import pytensor
import pytest
from pymc.model.transform.conditioning import remove_value_transforms
from scipy import stats
from toy import DisjointResponse, ToyEvents, ToyResponse

from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.model import EventMixture, MixtureResponse, observe_events
from pymc_gamma.ops import LogMatVec, LogMatVecSum

N_EVENTS = 600
TRUTH = np.array([1 / 6, 1 / 3, 1 / 2])

pytestmark = [
    pytest.mark.filterwarnings("ignore:jax.*:DeprecationWarning"),
]


@pytest.fixture
def response():
    return ToyResponse()


@pytest.fixture
def rows(response, rng):
    return response.simulate_rows(TRUTH, N_EVENTS, rng)


def mixture_model(response, alpha=None, **kwargs):
    with pm.Model(coords=response.coords) as model:
        k = len(response.component_names)
        fraction = pm.Dirichlet("fraction", a=np.ones(k) if alpha is None else alpha, dims="component")
        EventMixture("events", fraction, response=response, **kwargs)
    return model


def mixture_of(response, rows):
    """A mixture in the model on the context stack."""
    fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
    return EventMixture("events", fraction, response=response, observed=rows)


def events_logp(model):
    """log L(fraction), as a function."""
    return unconstrained_logp(model, lambda free: [free["events"]])


def unconstrained_logp(model, choose=lambda free: None):
    """log-probability of chosen variables as a function of the fractions themselves."""
    free = remove_value_transforms(model)
    function = free.compile_logp(vars=choose(free), jacobian=False)
    return lambda fraction: function({"fraction": np.asarray(fraction)})


def log_likelihood(response, rows, fraction, multiplicity=1.0):
    return np.sum(multiplicity * np.log(response.component_pdf(rows) @ fraction))


def test_toy_satisfies_the_protocol(response):
    assert isinstance(response, MixtureResponse)


@pytest.mark.parametrize("form", ["array", "events", "data"])
def test_value_for_every_form_of_data(response, rows, form):
    observed = {"array": lambda: rows, "events": lambda: ToyEvents(rows)}.get(form)
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
        data = observed() if observed else pm.Data("data", rows)
        EventMixture("events", fraction, response=response, observed=data)
    f = np.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(events_logp(model)(fraction=f), log_likelihood(response, rows, f), rtol=1e-10)
    assert model.named_vars_to_dims["events"] == ("event", "reco")
    assert model.dim_lengths["event"].eval() == N_EVENTS


def test_only_ratios_of_fractions_matter(response, rows):
    with pm.Model() as model:
        fraction = pm.HalfNormal("fraction", shape=3)
        EventMixture("events", fraction, response=response, observed=rows)
    logp = events_logp(model)
    f = np.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(logp(fraction=7 * f), logp(fraction=f), rtol=1e-12)


def test_multiplicity_is_repetition(response, rows, rng):
    counts = rng.integers(0, 4, N_EVENTS).astype(float)
    weighted = mixture_model(response, observed=ToyEvents(rows, counts))
    repeated = mixture_model(response, observed=np.repeat(rows, counts.astype(int), axis=0))
    f = np.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(events_logp(weighted)(fraction=f), events_logp(repeated)(fraction=f), rtol=1e-12)
    assert weighted.named_vars_to_dims["events"] == ("event", "events_reco")
    assert weighted.coords["events_reco"] == ("energy", "lon", "lat", "multiplicity")
    with pytest.raises(NotImplementedError, match=r"response\.simulate"):
        pm.draw(weighted["events"])


def test_one_fused_pass_in_the_samplers_function(response, rows):
    function = mixture_model(response, observed=rows).logp_dlogp_function(ravel_inputs=True)._pytensor_function
    family = [n.op for n in function.maker.fgraph.toposort() if type(n.op).__name__.startswith("LogMatVec")]
    assert len(family) == 1
    assert isinstance(family[0], LogMatVecSum)


def test_pointwise_log_likelihood_and_loo(response, rows, seed):
    model = mixture_model(response, observed=rows)
    draws = np.random.default_rng(seed).dirichlet(200 * TRUTH, size=(2, 50))
    idata = az.from_dict({"posterior": {"fraction": draws}}, coords=response.coords, dims={"fraction": ["component"]})
    pm.compute_log_likelihood(idata, model=model, progressbar=False)
    found = idata["log_likelihood"]["events"]
    assert found.dims == ("chain", "draw", "event")
    expected = np.log(np.einsum("nk,cdk->cdn", response.component_pdf(rows), draws))
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)
    loo = az.loo(idata)
    assert np.isfinite(loo.elpd)


def test_disjoint_components_give_a_dirichlet_posterior(rng, seed):
    """Each event tells its component: the posterior is Dirichlet(alpha + counts) exactly."""
    response, alpha = DisjointResponse(), np.array([2.0, 3.0])
    rows = response.simulate_rows([0.3, 0.7], 200, rng)
    counts = np.array([np.sum(rows[:, 1] < 0), np.sum(rows[:, 1] > 0)])
    model = mixture_model(response, alpha, observed=rows)
    logp = unconstrained_logp(model)
    exact = stats.dirichlet(alpha + counts)
    grid = [np.array([x, 1 - x]) for x in (0.01, 0.2, 0.5, 0.9, 0.999)]
    found = np.array([logp(fraction=f) for f in grid])
    expected = np.array([exact.logpdf(f) for f in grid])
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-10, atol=1e-8)
    with model:
        idata = pm.sample(
            1000, tune=500, chains=2, random_seed=seed, progressbar=False, quiet=True, nuts_sampler="pymc"
        )
    summary = az.summary(idata, var_names="fraction", round_to="none")
    z = (summary["mean"] - exact.mean()) / summary["mcse_mean"]
    assert np.all(np.abs(z) < 4)
    np.testing.assert_allclose(summary["sd"], np.sqrt(exact.var()), rtol=0.15)


@pytest.mark.parametrize("n_components", [2, 3])
def test_posterior_against_quadrature(rng, n_components):
    """The model's log-probability, normalised on a grid, against the direct sum over events."""
    names = ("source", "diffuse", "cosmic")[:n_components]
    response = ToyResponse((2.0, 2.4, 2.8)[:n_components], (0.3, 1.0, 5.0)[:n_components], names)
    rows = response.simulate_rows(np.ones(n_components), 150, rng)
    logp = unconstrained_logp(mixture_model(response, observed=rows))
    pdf = response.component_pdf(rows)
    axis = (np.arange(24) + 0.5) / 24
    grid = np.stack(np.meshgrid(*[axis] * (n_components - 1)), -1).reshape(-1, n_components - 1)
    grid = grid[grid.sum(axis=1) < 1]
    grid = np.column_stack([grid, 1 - grid.sum(axis=1)])
    found = np.array([logp(fraction=f) for f in grid])
    direct = np.log(grid @ pdf.T).sum(axis=1)

    def moments(logs):
        weight = np.exp(logs - logs.max())
        return np.concatenate([weight @ grid, weight @ grid**2]) / weight.sum()

    np.testing.assert_allclose(moments(found), moments(direct), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:There are not enough devices:UserWarning")  # numpyro, on one CPU
@pytest.mark.parametrize("sampler", ["nutpie", "pymc", "numpyro"])
def test_samplers(response, rows, sampler, seed):
    pytest.importorskip(sampler)
    model = mixture_model(response, observed=rows)
    with model:
        idata = pm.sample(
            400,
            tune=400,
            chains=2,
            cores=1,
            random_seed=seed,
            nuts_sampler=sampler,
            progressbar=False,
            quiet=True,
        )
    assert idata["posterior"]["fraction"].dims == ("chain", "draw", "component")
    assert idata["observed_data"]["events"].dims == ("event", "reco")
    axis = (np.arange(60) + 0.5) / 60
    a, b = (x.ravel() for x in np.meshgrid(axis, axis))
    grid = np.column_stack([a, b, 1 - a - b])[a + b < 1]
    logs = np.log(grid @ response.component_pdf(rows).T).sum(axis=1)
    weight = np.exp(logs - logs.max())
    mean = weight @ grid / weight.sum()
    sd = np.sqrt(weight @ grid**2 / weight.sum() - mean**2)
    found = idata["posterior"]["fraction"].mean(("chain", "draw")).values
    np.testing.assert_array_less(np.abs(found - mean), 0.3 * sd + 0.002)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PyMC's own, inside find_MAP and find_hessian
def test_map_and_hessian(response, rows):
    model = mixture_model(response, observed=rows)
    free = remove_value_transforms(model)
    f = np.array([0.2, 0.35, 0.45])
    hessian = free.compile_d2logp(vars=[free["fraction"]], negate_output=False)(free.initial_point() | {"fraction": f})
    pdf = response.component_pdf(rows)
    q = pdf / (pdf @ f)[:, None]
    expected = -q.T @ q + N_EVENTS  # log(sum_k f_k) of each event has second derivative -1 / (sum_k f_k)^2
    np.testing.assert_allclose(hessian, expected, rtol=1e-8)
    point = pm.find_MAP(model=model, progressbar=False)
    g = pdf.T @ (1 / (pdf @ point["fraction"]))
    np.testing.assert_allclose(point["fraction"] * (g - N_EVENTS), 0, atol=0.05)  # the likelihood alone: flat prior


class TestPredictive:
    def test_prior(self, response, seed):
        model = mixture_model(response, n_events=400)
        response.n_simulate_calls = 0
        prior = pm.sample_prior_predictive(7, model=model, random_seed=seed)["prior"]["events"]
        assert prior.dims == ("chain", "draw", "event", "reco")
        assert prior.sizes["event"] == 400
        assert list(prior["reco"].values) == ["energy", "lon", "lat"]
        assert response.n_simulate_calls <= 8  # once per draw, not once per event
        again = pm.sample_prior_predictive(7, model=model, random_seed=seed)["prior"]["events"]
        np.testing.assert_array_equal(prior.values, again.values)
        other = pm.sample_prior_predictive(7, model=model, random_seed=seed + 1)["prior"]["events"]
        assert not np.array_equal(prior.values, other.values)

    def test_posterior(self, response, rows, seed):
        model = mixture_model(response, observed=rows)
        draws = np.broadcast_to([0.98, 0.01, 0.01], (1, 4, 3))
        idata = az.from_dict(
            {"posterior": {"fraction": draws}}, dims={"fraction": ["component"]}, coords=response.coords
        )
        predictive = pm.sample_posterior_predictive(idata, model=model, random_seed=seed, progressbar=False)
        events = predictive["posterior_predictive"]["events"]
        assert events.dims == ("chain", "draw", "event", "reco")
        radius = np.hypot(events.sel(reco="lon"), events.sel(reco="lat"))
        assert float((radius < 1).mean()) > 0.95

    def test_draws_follow_the_densities(self, response, rng, seed):
        f = np.array([0.0, 1.0, 0.0])
        rows = pm.draw(EventMixture.dist(f, response=response, n_events=4000), random_seed=seed)
        exact = stats.truncnorm(-3.2, 3.2, scale=1.0)
        assert stats.kstest(rows[:, 1], exact.cdf).pvalue > 1e-3

    def test_batches_of_fractions(self, response, seed):
        f = np.array([[1.0, 0, 0], [0, 0, 1.0]])
        events = EventMixture.dist(f, response=response, n_events=300)
        response.n_simulate_calls = 0
        drawn = pm.draw(events, random_seed=seed)
        assert drawn.shape == (2, 300, 3)
        assert response.n_simulate_calls == 2
        assert np.std(drawn[0, :, 1]) < 0.5 < np.std(drawn[1, :, 1])
        logp = pm.logp(events, drawn).eval()
        expected = [np.log(response.component_pdf(d) @ w) for d, w in zip(drawn, f, strict=True)]
        np.testing.assert_allclose(logp, expected, rtol=1e-10)

    def test_batches_in_a_model(self, response, rng):
        rows = np.stack([response.simulate_rows(TRUTH, 50, rng) for _ in range(2)])
        with pm.Model(coords={**response.coords, "field": ["a", "b"]}) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(3), dims=("field", "component"))
            EventMixture("events", fraction, response=response, observed=rows)
        f = rng.dirichlet(np.ones(3), size=2)
        expected = sum(log_likelihood(response, r, w) for r, w in zip(rows, f, strict=True))
        np.testing.assert_allclose(events_logp(model)(fraction=f), expected, rtol=1e-10)

    def test_support_point_is_a_valid_event(self, response):
        model = mixture_model(response, n_events=3)
        assert np.isfinite(model.compile_logp()(model.initial_point()))


class TestChangingData:
    def test_set_data(self, response, rows, rng):
        with pm.Model(coords=response.coords) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
            EventMixture("events", fraction, response=response, observed=pm.Data("data", rows))
        compiled = model.compile_logp(vars=[model["events"]])
        f = np.array([0.2, 0.5, 0.3])

        def logp(fraction):
            return compiled({"fraction_simplex__": np.log(f[:-1]) - np.log(f).mean()})

        response.n_pdf_calls = 0
        for _ in range(3):
            np.testing.assert_allclose(logp(fraction=f), log_likelihood(ToyResponse(), rows, f), rtol=1e-10)
        assert response.n_pdf_calls <= 1
        one_changed = rows.copy()
        one_changed[17, 0] *= 1.001
        for new in (response.simulate_rows(TRUTH, 91, rng), one_changed):
            pm.set_data({"data": new}, model=model)
            np.testing.assert_allclose(logp(fraction=f), log_likelihood(ToyResponse(), new, f), rtol=1e-10)
        assert model.dim_lengths["event"].eval() == len(new)

    def test_set_data_with_dims(self, response, rows):
        with pm.Model(coords={**response.coords, "event": np.arange(N_EVENTS)}) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
            data = pm.Data("data", rows, dims=("event", "reco"))
            EventMixture("events", fraction, response=response, observed=data)
        pm.set_data({"data": rows[:10]}, coords={"event": np.arange(10)}, model=model)
        predictive = pm.sample_posterior_predictive(
            az.from_dict({"posterior": {"fraction": TRUTH[None, None]}}), model=model, progressbar=False
        )
        assert predictive["posterior_predictive"]["events"].shape == (1, 1, 10, 3)

    def test_live_data_under_jax(self, response, rows):
        pytest.importorskip("jax")
        from pymc.sampling.jax import get_jaxified_logp

        with pm.Model(coords=response.coords) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
            EventMixture("events", fraction, response=response, observed=pm.Data("data", rows))
        point = model.initial_point()
        found = get_jaxified_logp(model)(list(point.values()))
        np.testing.assert_allclose(found, model.compile_logp()(point), rtol=1e-10)

    def test_observe(self, response, rows):
        simulated = mixture_model(response, n_events=N_EVENTS)
        observed = pm.observe(simulated, {"events": rows})
        f = np.array([0.2, 0.5, 0.3])
        np.testing.assert_allclose(events_logp(observed)(fraction=f), log_likelihood(response, rows, f), rtol=1e-10)

    def test_observe_another_number_of_events(self, response, rows):
        simulated = mixture_model(response, n_events=50)
        for events in (rows, ToyEvents(rows[:20])):
            observed = observe_events(simulated, events)
            n = len(getattr(events, "rows", events))
            f = np.array([0.2, 0.5, 0.3])
            np.testing.assert_allclose(
                events_logp(observed)(fraction=f), log_likelihood(response, rows[:n], f), rtol=1e-10
            )
            assert observed.dim_lengths["event"].eval() == n
        assert simulated.dim_lengths["event"].eval() == 50

    def test_do(self, response, seed):
        model = pm.do(mixture_model(response, n_events=500), {"fraction": np.array([1.0, 0.0, 0.0])})
        events = pm.draw(model["events"], random_seed=seed)
        assert np.std(events[:, 1]) < 0.5

    def test_new_events_never_meet_an_old_table(self, response, rows):
        """Same object, other content."""
        f = np.array([0.2, 0.5, 0.3])
        buffer = rows.copy()
        first = events_logp(mixture_model(response, observed=buffer))(fraction=f)
        buffer[:] = buffer[::-1] * [1.5, 1, 1]
        buffer[:, 0] = np.clip(buffer[:, 0], 0.1, 100)
        second = events_logp(mixture_model(response, observed=buffer))(fraction=f)
        np.testing.assert_allclose(second, log_likelihood(response, buffer, f), rtol=1e-10)
        assert abs(first - second) > 1

    def test_one_table_for_all_graphs_of_a_model(self, response, rows):
        response.n_pdf_calls = 0
        model = mixture_model(response, observed=rows)
        model.logp()
        model.logp(sum=False)
        assert response.n_pdf_calls == 1

    def test_pickle(self, response, rows):
        model = cloudpickle.loads(cloudpickle.dumps(mixture_model(response, observed=rows)))
        point = model.initial_point()
        assert np.isfinite(model.compile_logp()(point))


class TestOwnTable:
    @pytest.fixture
    def table(self, rng):
        table = rng.normal(-5000, 30, (300, 2))  # exp() of it is zero
        table[3, 0] = -np.inf
        return table

    @staticmethod
    def model(table, **kwargs):
        with pm.Model(coords={"component": ["a", "b"]}) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
            EventMixture("events", fraction, log_likelihood=table, **kwargs)
        return model

    @pytest.mark.parametrize("weighted", [False, True])
    def test_value(self, table, weighted, rng):
        counts = rng.integers(0, 3, len(table)).astype(float) if weighted else None
        model = self.model(table, multiplicity=counts)
        f = np.array([0.3, 0.7])
        each = np.logaddexp.reduce(table + np.log(f), axis=1)
        expected = np.sum(each if counts is None else counts * each)
        np.testing.assert_allclose(events_logp(model)(fraction=f), expected, rtol=1e-10)

    def test_impossible_row_of_multiplicity_zero(self, table):
        table[7] = -np.inf
        counts = np.ones(len(table))
        counts[7] = 0
        model = self.model(table, multiplicity=counts)
        gradient = model.compile_dlogp()(model.initial_point())
        assert np.isfinite(gradient).all()

    def test_dims_and_pointwise_values(self, table):
        model = self.model(table)
        assert model.named_vars_to_dims["events"] == ("event", "component")
        logp = model.compile_logp(vars=[model["events"]], sum=False)(model.initial_point())
        np.testing.assert_allclose(logp[0], np.logaddexp.reduce(table + np.log(0.5), axis=1), rtol=1e-10)

    def test_without_coords(self, table):
        with pm.Model() as model:
            EventMixture("events", pm.Dirichlet("f", a=np.ones(2)), log_likelihood=table)
        assert np.isfinite(model.compile_logp()(model.initial_point()))

    def test_predictive_draws_say_why_not(self, table):
        with pytest.raises(NotImplementedError, match="cannot draw events"):
            pm.draw(self.model(table)["events"])

    @pytest.mark.parametrize(
        ("change", "error", "match"),
        [
            (lambda t: t[:, :1], ModelError, "one column for each of the 2"),
            (lambda t: t[:, 0], ModelError, r"one column per component, got shape \(300,\)"),
            (lambda t: np.where(np.arange(300)[:, None] == 5, np.nan, t), EventError, "NaN.*rows 5"),
            (lambda t: np.where(np.arange(300)[:, None] == 5, np.inf, t), EventError, r"\+inf.*rows 5"),
            (
                lambda t: np.where(np.arange(300)[:, None] == 5, -np.inf, t),
                EventError,
                "1 of 300 events.*rows 5",
            ),
            (lambda t: t[:0], EventError, "empty"),
        ],
    )
    def test_bad_tables(self, table, change, error, match):
        with pytest.raises(error, match=match):
            self.model(change(table))

    def test_bad_multiplicity(self, table):
        with pytest.raises(ModelError, match="one entry per row"):
            self.model(table, multiplicity=np.ones(3))
        with pytest.raises(EventError, match=r"negative or not finite.*rows 0"):
            self.model(table, multiplicity=-np.ones(300))

    def test_excludes_a_response(self, table, response):
        with pytest.raises(ModelError, match="pass it alone"):
            self.model(table, response=response)


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda r: np.where(np.arange(N_EVENTS)[:, None] == 4, np.nan, r), "contain NaN.*rows 4"),
            (lambda r: r * np.array([-1, 1, 1]), "outside the region"),
            (lambda r: r + np.array([0, 10, 0]), "outside the region"),
            (lambda r: r[:, :2], "must have the columns"),
            (lambda r: r[:0], "empty"),
            (lambda r: np.column_stack([r, -np.ones(N_EVENTS)]), "negative or not finite"),
        ],
    )
    def test_events(self, response, rows, change, match):
        with pytest.raises(EventError, match=match):
            mixture_model(response, observed=change(rows)).logp()

    def test_event_that_no_component_can_produce(self, rows):
        class Holey(ToyResponse):
            def component_pdf(self, rows):
                pdf = super().component_pdf(rows)
                pdf[[3, 8]] = 0
                return pdf

        with pytest.raises(EventError, match=r"2 of 600 events have zero density.*rows 3, 8.*remove them"):
            mixture_model(Holey(), observed=rows).logp()

    def test_response_with_negative_density(self, rows):
        class Negative(ToyResponse):
            def component_pdf(self, rows):
                return super().component_pdf(rows) - 1.0

        with pytest.raises(EventError, match="negative or non-finite density"):
            mixture_model(Negative(), observed=rows).logp()

    def test_response_with_the_wrong_shape(self, rows):
        class Flat(ToyResponse):
            def component_pdf(self, rows):
                return super().component_pdf(rows)[:, 0]

        with pytest.raises(EventError, match="returned shape"):
            mixture_model(Flat(), observed=rows).logp()

    def test_number_of_fractions(self, response, rows):
        with pm.Model(), pytest.raises(ModelError, match=r"2 entries.*3 components.*source"):
            EventMixture("events", pm.Dirichlet("f", a=np.ones(2)), response=response, observed=rows)

    @pytest.mark.parametrize(
        ("names", "match"),
        [
            (["source", "diffuse", "dark"], r"missing \['cosmic'\], unknown \['dark'\]"),
            (["diffuse", "source", "cosmic"], "differ in order"),
        ],
    )
    def test_names_of_components(self, response, rows, names, match):
        with pm.Model(coords={"component": names}), pytest.raises(ModelError, match=match):
            mixture_of(response, rows)

    def test_scalar_fraction(self, response, rows):
        with pm.Model(), pytest.raises(ModelError, match="must be a vector"):
            EventMixture("events", pm.Beta("f", 1, 1), response=response, observed=rows)

    def test_arguments_that_contradict_each_other(self, response, rows):
        with pytest.raises(ModelError, match="either observed or n_events"):
            mixture_model(response, observed=rows, n_events=3)
        with pytest.raises(ModelError, match="how many events"):
            mixture_model(response)
        with pytest.raises(ModelError, match="multiplicity goes with log_likelihood"):
            mixture_model(response, observed=rows, multiplicity=np.ones(N_EVENTS))
        with pm.Model(), pytest.raises(ModelError, match="pass a response"):
            EventMixture("events", np.ones(3) / 3, observed=rows)
        with pm.Model(), pytest.raises(TypeError, match="component_pdf"):
            EventMixture("events", np.ones(3) / 3, response=object(), observed=rows)
        with pytest.raises(ModelError, match="at least 1"):
            EventMixture.dist(np.ones(3) / 3, response=response, n_events=0)

    def test_negative_fractions_cannot_be_drawn_from(self, response):
        with pytest.raises(ModelError, match="not negative"):
            pm.draw(EventMixture.dist([-0.5, 1.0, 0.5], response=response, n_events=3))

    def test_observe_events(self, response, rows, rng):
        simulated = mixture_model(response, n_events=50)
        with pytest.raises(ModelError, match="must be one of the EventMixture variables"):
            observe_events(simulated, rows, name="fraction")
        with pytest.raises(ModelError, match="these have multiplicities"):
            observe_events(simulated, ToyEvents(rows, 2 * np.ones(N_EVENTS)))
        with pytest.raises(EventError, match="empty"):
            observe_events(simulated, rows[:0])


def test_two_mixtures_in_one_model(response, rows, rng):
    """Two data sets with shared fractions, each with its own dim of events."""
    other = response.simulate_rows(TRUTH, 70, rng)
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
        EventMixture("first", fraction, response=response, observed=rows)
        EventMixture("second", fraction, response=response, observed=other)
    assert model.named_vars_to_dims["second"] == ("second_event", "reco")
    f = np.array([0.2, 0.5, 0.3])
    found = unconstrained_logp(model, lambda free: free.observed_RVs)(f)
    np.testing.assert_allclose(found, log_likelihood(response, np.vstack([rows, other]), f), rtol=1e-10)


def test_no_per_event_op_when_only_the_sum_is_needed(response, rows):
    model = mixture_model(response, observed=rows)
    function = pytensor.function(model.value_vars, model.logp())
    assert not any(isinstance(n.op, LogMatVec) for n in function.maker.fgraph.toposort())
