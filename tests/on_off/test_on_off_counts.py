"""Counts of ON and OFF regions in models, against sums and integrals written out."""

import itertools

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from ogip_files import toy
from scipy import integrate, stats

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError

INDEX, AMPLITUDE = 2.4, 2e-11


def data(name="run", seed=0, **changes):
    true, reco, area, matrix, on, off = toy(seed)
    given = {"counts_off": off, "alpha": np.linspace(0.2, 0.3, 8)} | changes
    return pmg.CountsSpectrum(
        name,
        given.pop("counts", on),
        energy=reco * u.TeV,
        energy_true=true * u.TeV,
        exposure=area * 1000 * u.Unit("cm2 s"),
        edisp=given.pop("edisp", matrix),
        **given,
    )


def model_of(*sets, background=None, **given):
    with pm.Model() as model:
        amplitude = pm.LogNormal("amplitude", np.log(AMPLITUDE), 1.0)
        spectrum = given.pop("spectrum", pmg.PowerLaw(index=INDEX, amplitude=amplitude))
        made = sets[0] if len(sets) == 1 else list(sets)
        pmg.OnOffCounts("on", made, spectrum=spectrum, background=background, **given)
    return model


def log_probability(model, *names, **point):
    given = {**model.initial_point(), **{k: np.asarray(v) for k, v in point.items()}}
    return [
        np.asarray(one)
        for one in model.compile_fn(
            model.logp(vars=[model[name] for name in names], sum=False),
            inputs=model.value_vars,
            on_unused_input="ignore",
        )(given)
    ]


def test_a_measured_background_has_two_poisson_terms():
    one = data()
    model = model_of(one)
    rng = np.random.default_rng(3)
    background = pmg.MeasuredBackground()
    n = len(background.nodes(one))
    steps, level = rng.normal(size=n - 1), 0.3
    point = {"on_background_steps": steps, "on_background_level": level, "amplitude_log__": np.log(AMPLITUDE)}
    on, off = log_probability(model, "on", "on_off", **point)
    [beta] = model.compile_fn(
        model.replace_rvs_by_values([model["on_background"]]), inputs=model.value_vars, on_unused_input="ignore"
    )({**model.initial_point(), **point})
    signal = one.npred(pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE)).values
    nodes = background.nodes(one)

    def rate(energy):
        hats = [np.interp(np.log(energy), np.log(nodes), unit) for unit in np.eye(n)]
        return sum(b * h * (energy / e) ** -2.7 for b, h, e in zip(beta, hats, nodes, strict=True))

    edges = one.energy.to_value("TeV")
    expected = np.array(
        [
            integrate.quad(rate, low, high, points=[e for e in nodes if low < e < high] or None, epsrel=1e-9)[0]
            for low, high in itertools.pairwise(edges)
        ]
    )
    np.testing.assert_allclose(off, stats.poisson.logpmf(one.counts_off, expected), rtol=1e-7)
    np.testing.assert_allclose(on, stats.poisson.logpmf(one.counts, signal + one.alpha * expected), rtol=1e-7)


def test_nodes_follow_the_events():
    """Where OFF events are many nodes lie at the edges of channels, elsewhere a third of a decade apart."""
    background = pmg.MeasuredBackground(nodes_per_decade=3, events_per_node=10)
    many = background.nodes(data(counts_off=[50] * 8))
    np.testing.assert_allclose(many, data().energy.value)
    few = background.nodes(data(counts_off=[1] + [0] * 7))
    assert np.all(np.diff(np.log10(few)) < 1 / 3 + 1e-9)
    assert len(few) == 5  # 1.33 decades in pairs of channels, which are 0.166 decades wide
    assert few[[0, -1]] == pytest.approx(data().energy.value[[0, -1]])


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (4, 0), (7, 5), (30, 12)])
def test_a_flat_background_is_the_integral_over_it(counts):
    n, m = counts
    one = data(counts=[n] * 8, counts_off=[m] * 7 + [1])
    [found] = log_probability(model_of(one, background=pmg.FlatBackground()), "on", amplitude_log__=np.log(AMPLITUDE))
    signal = one.npred(pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE)).values
    for c in range(7):
        alpha = float(one.alpha[c])
        value, _ = integrate.quad(
            lambda b, c=c, alpha=alpha: stats.poisson.pmf(n, signal[c] + alpha * b) * stats.gamma.pdf(b, m + 1),
            0,
            m + 60,
            epsabs=0,
            epsrel=1e-10,
            limit=200,
        )
        assert found[c] == pytest.approx(np.log(value), rel=1e-8)


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (4, 0), (7, 5), (30, 12)])
def test_a_profiled_background_is_wstat(counts):
    from gammapy.stats import wstat

    n, m = counts
    one = data(counts=[n] * 8, counts_off=[m] * 7 + [1])
    for amplitude in (1e-14, AMPLITUDE, 1e-9):
        [found] = log_probability(
            model_of(one, background=pmg.ProfiledBackground), "on", amplitude_log__=np.log(amplitude)
        )
        signal = one.npred(pmg.PowerLaw(index=INDEX, amplitude=amplitude)).values
        expected = wstat(one.counts.values, one.counts_off.values, one.alpha.values, signal)
        np.testing.assert_allclose(-2 * found, expected, rtol=1e-6, atol=1e-9)


def test_predictive_draws_of_each_background():
    one = data()
    for background in (None, pmg.FlatBackground()):
        model = model_of(one, background=background, expected_counts=True)
        with model:
            prior = pm.sample_prior_predictive(500, random_seed=1)
        draws = prior.prior_predictive["on"].values
        assert draws.shape == (1, 500, 8)
        if background is not None:
            mean = prior.prior["on_signal"].mean(("chain", "draw")) + one.alpha.values * (one.counts_off.values + 1)
            error = draws.std(axis=(0, 1)) / np.sqrt(500)
            assert np.all(np.abs(draws.mean(axis=(0, 1)) - mean) < 5 * error)


@pytest.mark.filterwarnings("ignore:Numba will use object mode")
def test_a_profile_has_no_predictive_draws():
    with model_of(data(), background=pmg.ProfiledBackground), pytest.raises(ModelError, match="no predictive draws"):
        pm.sample_prior_predictive(2, random_seed=1)


@pytest.mark.parametrize("background", [pmg.MeasuredBackground, pmg.FlatBackground, pmg.ProfiledBackground])
def test_pictures_of_a_model_take_no_draw(background):
    assert "on_channel (8)" in pm.model_to_mermaid(model_of(data(), background=background))


def test_several_data_sets_share_systematics_and_have_names():
    first, second = data("a"), data("b", seed=1)
    model = model_of(first, second, systematics=[pmg.EnergyScale(0.1), pmg.EffectiveAreaNorm])
    names = {one.name for one in model.free_RVs}
    assert {"on_energy_scale", "on_aeff_norm", "on_a_background_level", "on_b_background_level"} <= names
    assert [one.name for one in model.observed_RVs] == ["on_a_off", "on_a", "on_b_off", "on_b"]
    assert model.coords["on_a_channel"] == tuple(first.channel_energy)


def test_two_instruments_have_scales_of_their_own():
    with pm.Model() as model:
        spectrum = pmg.PowerLaw(index=2.4, amplitude=pm.LogNormal("amplitude", np.log(AMPLITUDE), 1.0))
        for name in ("magic", "hess"):
            pmg.OnOffCounts(name, data(), spectrum=spectrum, systematics=[pmg.EnergyScale(0.1)])
    assert {"magic_energy_scale", "hess_energy_scale"} <= set(model.named_vars)


def test_two_instruments_have_knots_of_their_own():
    with pm.Model() as model:
        spectrum = pmg.PowerLaw(index=2.4, amplitude=AMPLITUDE)
        for name, knots in (("a", [1, 10]), ("b", [1, 3, 9])):
            shape = pmg.EffectiveAreaShape(0.1, knots=knots * u.TeV)
            pmg.OnOffCounts(name, data(), spectrum=spectrum, systematics=[shape])
    assert list(model.coords["a_aeff_knot"]) == [1, 10]
    assert list(model.coords["b_aeff_knot"]) == [1, 3, 9]
    assert model.named_vars_to_dims["b_aeff_shape"] == ("b_aeff_knot",)
    assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point()))


def test_knots_that_are_not_those_of_the_model():
    with (
        pm.Model(coords={"on_aeff_knot": [1.0, 2.0]}),
        pytest.raises(ModelError, match="the coordinate 'on_aeff_knot'"),
    ):
        pmg.OnOffCounts(
            "on",
            data(),
            spectrum=pmg.PowerLaw(index=2.4, amplitude=AMPLITUDE),
            systematics=[pmg.EffectiveAreaShape(0.1, knots=[1, 10] * u.TeV)],
        )


@pytest.mark.parametrize("value", [-1, 0.0, [1.1, -0.2], np.array(-2.0)])
def test_energy_scales_are_positive(value):
    with pytest.raises(ValueError, match=r"EnergyScale\(value=\.\.\.\) must be positive"):
        pmg.EnergyScale(value=value)


@pytest.mark.parametrize("background", [pmg.MeasuredBackground(), pmg.FlatBackground(), pmg.ProfiledBackground()])
def test_a_scale_that_is_not_positive_is_impossible(background):
    with pm.Model() as model:
        scale = pm.Normal("scale", 1.0, 1.0)
        spectrum = pmg.PowerLaw(index=2.4, amplitude=AMPLITUDE)
        pmg.OnOffCounts(
            "on", data(), spectrum=spectrum, systematics=[pmg.EnergyScale(value=scale)], background=background
        )
    logp = model.compile_logp()
    assert np.isfinite(logp(model.initial_point()))
    for value in (0.0, -0.5):
        assert logp(model.initial_point() | {"scale": np.array(value)}) == -np.inf


@pytest.mark.parametrize("shift_area", [True, False])
def test_energy_scales_move_the_spectrum(shift_area):
    """Photons are dispersed like those of 1.1 times their energy; the area stays, or goes along."""
    one, scale = data(), 1.1
    model = model_of(
        one,
        systematics=[pmg.EnergyScale(value=scale, shift_area=shift_area)],
        background=pmg.FlatBackground(),
        expected_counts=True,
    )
    [found] = model.compile_fn(
        model.replace_rvs_by_values([model["on_signal"]]), inputs=model.value_vars, on_unused_input="ignore"
    )({**model.initial_point(), "amplitude_log__": np.log(AMPLITUDE)})
    factor = scale ** (INDEX - 1)  # of a power law
    if not shift_area:
        factor *= scale**-0.5  # of an effective area that goes with the root of the energy
    expected = factor * one.npred(pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE)).values
    # the area is a staircase in the file and a smooth curve here; beyond its ends there is none
    inner = slice(2, 6)
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-9 if shift_area else 0.03)


def test_a_norm_for_each_data_set():
    first, second = data("a"), data("b")
    model = model_of(first, second, norm=[1.0, 2.0], expected_counts=True)
    signals = model.compile_fn(
        model.replace_rvs_by_values([model["on_a_signal"], model["on_b_signal"]]),
        inputs=model.value_vars,
        on_unused_input="ignore",
    )(model.initial_point())
    np.testing.assert_allclose(signals[1], 2 * signals[0])


def test_without_off_counts_there_is_no_background():
    model = model_of(data(counts_off=None, alpha=None))
    assert [one.name for one in model.observed_RVs] == ["on"]


def test_the_amplitude_is_found():
    """Counts of a known source; the posterior by best fit and by sampling agree."""
    rng = np.random.default_rng(5)
    truth = pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE)
    one = data()
    background = np.array([40, 30, 20, 12, 8, 4, 2, 1.0])
    on = rng.poisson(one.npred(truth).values + one.alpha.values * background)
    one = data(counts=on, counts_off=rng.poisson(background))
    model = model_of(one)
    best = pmg.best_fit(model)
    assert abs(np.log(float(best.value["amplitude"]) / AMPLITUDE)) < 4 * float(best.sd["amplitude"]) / AMPLITUDE
    with model:
        idata = pm.sample(500, tune=500, chains=2, cores=1, random_seed=1, progressbar=False)
        pm.compute_log_likelihood(idata, progressbar=False)
    drawn = np.log(idata.posterior["amplitude"].values)
    assert drawn.mean() == pytest.approx(np.log(float(best.value["amplitude"])), abs=0.5 * drawn.std())
    assert idata.log_likelihood["on"].dims == ("chain", "draw", "on_channel")
    assert set(idata.log_likelihood) == {"on", "on_off"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spectrum": 3.0}, "must be a function of the energy"),
        ({"spectrum": lambda energy: -(energy**-2)}, "events of the source are expected"),
        ({"spectrum": lambda energy: 0 * energy}, "no event of the source is expected"),
        ({"systematics": [pmg.BackgroundNorm(0.1)]}, "would have no effect"),
        ({"systematics": [pmg.PSFScale(0.1)]}, "would have no effect"),
        ({"norm": [1.0, 2.0, 3.0]}, "must be a single number"),
    ],
)
def test_bad_models(given, message):
    with pytest.raises(ModelError, match=message):
        model_of(data(), **given)


def test_bad_data():
    with pytest.raises(ModelError, match=r"called \['run'\]"):
        model_of(data(), data())
    with pytest.raises(TypeError, match="CountsSpectrum"), pm.Model():
        pmg.OnOffCounts("on", "pha_obs1.fits", spectrum=pmg.PowerLaw(index=2.0, amplitude=1e-11))
    with pytest.raises(ModelError, match="no data set"), pm.Model():
        pmg.OnOffCounts("on", [], spectrum=pmg.PowerLaw(index=2.0, amplitude=1e-11))
    with pytest.raises(TypeError, match="background"):
        model_of(data(), background="flat")
    with pytest.raises(TypeError, match="systematics"), pm.Model():
        pmg.OnOffCounts("on", data(), spectrum=pmg.PowerLaw(index=2.0, amplitude=1e-11), systematic=[])


def test_impossible_parameters_are_impossible_events():
    """Dark matter below the threshold of its channel has no spectrum."""
    from pymc_gamma import darkmatter

    with pm.Model() as model:
        mass = pm.Uniform("mass", 0.05, 10.0, initval=1.0)
        pmg.OnOffCounts("on", data(), spectrum=darkmatter.Annihilation(mass, 1e-20, "W"))
    logp = model.compile_logp()
    below = model.initial_point()
    below["mass_interval__"] = np.log(0.01 / 9.94)
    assert np.isfinite(logp(model.initial_point()))
    assert logp(below) == -np.inf


@pytest.mark.parametrize("background", [None, pmg.FlatBackground(), pmg.ProfiledBackground()])
@pytest.mark.parametrize("counts", [(0, 0), (5, 0), (0, 3), (5, 3)])
def test_derivatives_where_a_channel_sees_no_source(background, counts):
    """The likelihood of such a channel does not depend on the source, and neither does its derivative get lost."""
    _, _, _, matrix, on, off = toy()
    blind = matrix.copy()
    blind[:, 0] = 0
    on[0], off[0] = counts
    model = model_of(data(counts=on, counts_off=off, edisp=blind), background=background)
    logp, slopes = model.compile_logp(), model.compile_dlogp()
    point = model.initial_point()
    moved = [{**point, "amplitude_log__": point["amplitude_log__"] + step} for step in (1e-5, -1e-5)]
    k = [one.name for one in model.value_vars].index("amplitude_log__")
    where = sum(np.size(point[one.name]) for one in model.value_vars[:k])
    expected = (logp(moved[0]) - logp(moved[1])) / 2e-5
    assert np.isfinite(slopes(point)).all()
    assert slopes(point)[where] == pytest.approx(expected, rel=1e-5)


def test_events_where_none_can_be():
    blind = toy()[3].copy()
    blind[:, 2] = 0
    with pytest.raises(ModelError, match="where none are expected"):
        model_of(data(counts_off=None, alpha=None, edisp=blind))


def test_a_background_that_nothing_measures():
    with pytest.raises(ModelError, match="no OFF counts"):
        model_of(data(counts_off=None, alpha=None), background=pmg.FlatBackground)


def test_sums_that_would_fill_the_memory():
    with pytest.raises(ModelError, match="MeasuredBackground"):
        model_of(data(counts=[10**6] * 8), background=pmg.FlatBackground())


@pytest.mark.parametrize(("names", "taken"), [(("a", "a_off"), "on_a_off"), (("a_off", "a"), "on_a_off")])
def test_names_of_data_sets_that_make_others(names, taken):
    with pytest.raises(ModelError, match=f"called '{taken}'"):
        model_of(*(data(one) for one in names))


def test_names_that_cannot_be():
    with pytest.raises(ModelError, match="no '/'"):
        model_of(data("run 1/2"), data("b"))
    with pm.Model(name="part") as model:
        pmg.OnOffCounts("on", data(), spectrum=pmg.PowerLaw(index=2.0, amplitude=1e-11))
        assert "part::on" in model.named_vars
        with pytest.raises(ModelError, match="called 'on'"):
            pmg.OnOffCounts("on", data(), spectrum=pmg.PowerLaw(index=2.0, amplitude=1e-11))


@pytest.mark.parametrize(
    ("spectrum", "message"),
    [
        (pmg.PowerLaw(index=np.array([2.4, 2.2, 2.0]), amplitude=AMPLITUDE), "for 3 observations, and there are 2"),
        (lambda energy: AMPLITUDE * np.ones((3, len(energy))), "for 3 observations, and there are 2"),
        (lambda energy: [AMPLITUDE, AMPLITUDE], "one value for each energy"),
        (lambda energy: AMPLITUDE * np.ones((1, 2, len(energy))), "one value for each energy"),
    ],
)
def test_spectra_of_other_shapes(spectrum, message):
    with pytest.raises(ModelError, match=message):
        model_of(data("a"), data("b"), spectrum=spectrum)


def test_spectra_of_rows_are_those_of_their_data_sets():
    index = np.array([2.4, 2.0])
    model = model_of(
        data("a"), data("b"), spectrum=pmg.PowerLaw(index=index, amplitude=AMPLITUDE), expected_counts=True
    )
    for name, one in zip("ab", index, strict=True):
        expected = data().npred(pmg.PowerLaw(index=one, amplitude=AMPLITUDE))
        np.testing.assert_allclose(model[f"on_{name}_signal"].eval(), expected, rtol=1e-12)
    with pytest.raises(ModelError, match="for 2 observations, and there is 1 data set"):
        model_of(data(), spectrum=pmg.PowerLaw(index=index, amplitude=AMPLITUDE))
