"""ON and OFF events one by one, against sums and integrals written out."""

from functools import partial
from itertools import pairwise

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from astropy.time import Time
from scipy import integrate, stats
from setups import quick_start_irfs

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError, PymcGammaWarning, RegionError
from pymc_gamma.model.on_off.event_energies import RegionEvents
from pymc_gamma.on_off.region_response import _dispersion, _exposure, reconstructed_nodes, region_response

TRUE = np.geomspace(0.4, 40, 121)
NODES = np.geomspace(0.8, 20, 301)
MIDDLE = np.sqrt(TRUE[1:] * TRUE[:-1])
AREA = 1e12 * MIDDLE**0.5
AMPLITUDE, INDEX = 2e-11, 2.3
LOW, HIGH = NODES[[0, -1]]


def dispersion(energy):
    """Probability per TeV at reconstructed energies for the bins of true energy."""
    return stats.lognorm.pdf(np.asarray(energy), s=0.2, scale=MIDDLE[:, None])


def photons(amplitude=AMPLITUDE, index=INDEX):
    """Photons of a power law in the bins of true energy."""
    return amplitude / (index - 1) * (TRUE[:-1] ** (1 - index) - TRUE[1:] ** (1 - index))


def rate(energy):
    """Expected ON events of the source per TeV."""
    return (photons() * AREA) @ dispersion(energy)


def between(function, low, high):
    """Integral over energies in TeV."""
    fine = np.geomspace(low, high, 4001)
    return integrate.trapezoid(function(fine), fine)


def background(energy, n=150):
    return n * 1.7 * energy**-2.7 / (LOW**-1.7 - HIGH**-1.7)


def drawn(seed=0, *, n_off=150, alpha=0.2, norm=1.0):
    """Energies of ON and OFF events, by inversion of cumulative rates on a fine grid."""
    rng = np.random.default_rng(seed)
    fine = np.geomspace(LOW, HIGH, 5001)
    out = []
    for rates in (norm * rate(fine) + alpha * background(fine, n_off), background(fine, n_off)):
        below = integrate.cumulative_trapezoid(rates, fine, initial=0)
        out.append(np.interp(rng.random(rng.poisson(below[-1])) * below[-1], below, fine))
    return out


def data(name="run", seed=0, **changes):
    on, off = drawn(seed)
    given = {
        "energy": on * u.TeV,
        "nodes": NODES * u.TeV,
        "energy_true": TRUE * u.TeV,
        "exposure": AREA * u.Unit("cm2 s"),
        "edisp": dispersion(NODES) * u.Unit("TeV-1"),
        "energy_off": off * u.TeV,
        "alpha": 0.2,
        "livetime": 1 * u.h,
        "good_time": Time("2025-03-01T22:00:00") + [0, 1] * u.h,
    } | changes
    return pmg.OnOffEvents(name, given.pop("energy"), **given)


def model_of(*sets, **given):
    with pm.Model() as model:
        amplitude = pm.LogNormal("amplitude", np.log(AMPLITUDE), 1.0)
        spectrum = given.pop("spectrum", pmg.PowerLaw(index=INDEX, amplitude=amplitude))
        pmg.OnOffCounts("on", sets[0] if len(sets) == 1 else list(sets), spectrum=spectrum, **given)
    return model


def value(model, name, **point):
    """A deterministic at a point."""
    (expression,) = model.replace_rvs_by_values([model[name]])
    function = model.compile_fn(expression, inputs=model.value_vars, on_unused_input="ignore")
    return np.asarray(function({**model.initial_point(), **{k: np.asarray(v) for k, v in point.items()}}))


def log_probability(model, name, **point):
    given = {**model.initial_point(), **{k: np.asarray(v) for k, v in point.items()}}
    logp = model.logp(vars=[model[name]], sum=False)
    return np.asarray(model.compile_fn(logp, inputs=model.value_vars, on_unused_input="ignore")(given)[0])


def test_expected_events_are_the_integral():
    total = between(rate, LOW, HIGH)
    np.testing.assert_allclose(data().npred(pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE)), total, rtol=1e-4)


def test_channels_have_the_events_and_their_expectation():
    one = data(acceptance_off=NODES**-0.3, alpha=np.linspace(0.1, 0.3, len(NODES)))
    edges = np.array([0.9, 1.5, 3.0, 7.7, 18.0])
    binned = one.binned(edges * u.TeV)
    np.testing.assert_array_equal(binned.counts.values, np.histogram(one.energy.value, edges)[0])
    np.testing.assert_array_equal(binned.counts_off.values, np.histogram(one.energy_off.value, edges)[0])
    law = pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE)
    expected = [between(rate, *pair) for pair in pairwise(edges)]
    np.testing.assert_allclose(binned.npred(law).values, expected, rtol=2e-4)
    for c, (low, high) in enumerate(pairwise(edges)):
        fine = np.linspace(low, high, 2000)
        weight = fine ** (-0.3 - 2.7)  # of a background
        alpha = np.average(np.interp(np.log(fine), np.log(NODES), np.linspace(0.1, 0.3, len(NODES))), weights=weight)
        np.testing.assert_allclose(binned.alpha.values[c], alpha, rtol=1e-3)
    assert binned.livetime == 1 * u.h
    with pytest.raises(EventError, match=r"channels from 0\.5 to 18 TeV reach beyond"):
        one.binned([0.5, 18] * u.TeV)


def test_the_likelihood_is_that_of_two_poisson_processes():
    one = data()
    model = model_of(one)
    measured = pmg.MeasuredBackground()
    nodes = measured.nodes(one)
    rng = np.random.default_rng(1)
    steps, level = rng.normal(size=len(nodes) - 1), 0.2
    point = {"on_background_steps": steps, "on_background_level": level, "amplitude_log__": np.log(AMPLITUDE)}
    beta = value(model, "on_background", **point)

    def off_rate(energy):
        hats = np.array([np.interp(np.log(energy), np.log(nodes), one) for one in np.eye(len(nodes))])
        return (beta[:, None] * hats * (energy / nodes[:, None]) ** -2.7).sum(axis=0)

    def on_rate(energy):
        return rate(energy) + 0.2 * off_rate(np.atleast_1d(energy))

    fine = np.geomspace(LOW, HIGH, 20_001)
    for name, rates, energies in (("on", on_rate, one.energy.value), ("on_off", off_rate, one.energy_off.value)):
        each = log_probability(model, name, **point)
        expected = np.log(rates(energies)).sum() - integrate.trapezoid(rates(fine), fine)
        assert abs(each.sum() - expected) < 0.01
        n = len(energies)
        held = each[:n] - each[n:].mean()
        np.testing.assert_allclose(held, np.log(rates(energies)), atol=3e-3)
        np.testing.assert_allclose(each[n:], -integrate.trapezoid(rates(fine), fine) / len(each), rtol=1e-3)


def test_energies_beyond_the_nodes_are_impossible():
    one = data()
    rates = rate(NODES) + background(NODES)
    variable = RegionEvents.dist([rates], grid=one.grid, n_rows=3)
    found = pm.logp(variable, pt.constant([1.0, 0.5, np.nan])).eval()
    assert np.isfinite(found[[0, 2]]).all()
    assert found[1] == -np.inf
    assert pm.logp(variable, pt.constant([30.0, 1.0, 2.0])).eval()[0] == -np.inf


def test_gradients_are_differences():
    model = model_of(data())
    fn, gradient = model.compile_logp(), model.compile_dlogp()
    point = model.initial_point()
    found = gradient(point)
    step, at = 1e-5, 0
    for name, value in point.items():
        for k in range(np.size(value)):
            sides = []
            for sign in (1, -1):
                moved = {key: np.array(v, float) for key, v in point.items()}
                moved[name].reshape(-1)[k] += sign * step
                sides.append(fn(moved))
            np.testing.assert_allclose(found[at], (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-4)
            at += 1


def test_many_channels_are_like_events():
    one = data()
    channels = np.geomspace(LOW * 1.0001, HIGH * 0.9999, 121) * u.TeV
    single, binned = (pmg.best_fit(model_of(made)) for made in (one, one.binned(channels)))
    difference = abs(float(np.log(single.value.amplitude / binned.value.amplitude)))
    assert difference < 0.1 * float(single.sd.amplitude / single.value.amplitude)
    np.testing.assert_allclose(single.sd.amplitude, binned.sd.amplitude, rtol=0.03)


def test_draws_are_those_of_the_rates(seed):
    one = data()
    with pm.Model() as model:
        pmg.OnOffCounts("on", one, spectrum=pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE))
    fixed = pm.do(
        model, {"on_background_level": 0.0, "on_background_steps": np.zeros(len(model.coords["on_background_step"]))}
    )
    with pytensor.config.change_flags(on_opt_error="raise"):
        draws = pm.draw([fixed["on"], fixed["on_off"]], draws=200, random_seed=seed)
    fine = np.geomspace(LOW, HIGH, 5001)
    n_off = len(one.energy_off)
    for rows, rates in zip(
        draws, (rate(fine) + 0.2 * background(fine, n_off + 0.5), background(fine, n_off + 0.5)), strict=True
    ):
        held = np.isfinite(rows)
        assert (np.diff(held.astype(int), axis=1) <= 0).all(), "energies first, then rows without events"
        below = integrate.cumulative_trapezoid(rates, fine, initial=0)
        n = held.sum(axis=1)
        assert stats.norm.sf(abs(n.sum() - 200 * below[-1]) / np.sqrt(200 * below[-1])) > 1e-4
        assert 0.7 < n.var() / below[-1] < 1.4
        cumulative = partial(np.interp, xp=fine, fp=below / below[-1])
        assert stats.kstest(rows[held], cumulative).pvalue > 1e-4


def test_predictive_draws_and_pointwise_likelihoods():
    model = model_of(data("a"), data("b", seed=1))
    with model:
        with pytest.raises(ModelError, match=r"a draw has \d+ events.*OnOffEvents\.binned"):
            pm.sample_prior_predictive(50, random_seed=1)
        idata = pm.sample(
            draws=10, tune=20, chains=1, cores=1, progressbar=False, random_seed=1, compute_convergence_checks=False
        )
        predictive = pm.sample_posterior_predictive(idata, progressbar=False, random_seed=2)
        pointwise = pm.compute_log_likelihood(idata, progressbar=False)
    assert predictive.posterior_predictive["on_a"].shape == (1, 10, int(model.dim_lengths["on_a_event"].eval()))
    assert set(predictive.posterior_predictive.data_vars) == {"on_a", "on_a_off", "on_b", "on_b_off"}
    assert set(pointwise.log_likelihood.data_vars) == {"on_a", "on_a_off", "on_b", "on_b_off"}
    assert all(np.isfinite(one).all() for one in pointwise.log_likelihood.data_vars.values())


def test_pictures_of_a_model_take_no_draw():
    with pm.Model() as model:
        norm = pm.LogNormal("norm", 20.0, 1.0)  # draws have more events than the variable has rows
        pmg.OnOffCounts("on", data(), spectrum=pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE * np.exp(-20)), norm=norm)
    picture = pm.model_to_mermaid(model)
    assert "on_event" in picture
    assert "on_off_event" in picture
    assert tuple(pm.draw(model["on"].shape)) == model["on"].type.shape


def test_the_amplitude_is_found_in_both_kinds_of_data():
    sets = [data("events", seed=3), data("channels", seed=4).binned(np.geomspace(0.9, 19, 13) * u.TeV)]
    best = pmg.best_fit(model_of(*sets))
    assert abs(float((best.value.amplitude - AMPLITUDE) / best.sd.amplitude)) < 3.5
    one = pmg.best_fit(model_of(sets[0]))
    ratio = float(best.sd.amplitude / best.value.amplitude) / float(one.sd.amplitude / one.value.amplitude)
    assert ratio < 0.85, "two data sets instead of one"


def test_systematics_and_norms_of_events():
    with pm.Model() as model:
        scale = pm.Normal("scale", 1.0, 0.1)
        pmg.OnOffCounts(
            "on",
            [data("a"), data("b", seed=1)],
            spectrum=pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE),
            norm=[1.0, 2.0],
            systematics=[pmg.EnergyScale(value=scale, shift_area=True), pmg.EffectiveAreaNorm(0.1)],
            expected_counts=True,
        )
    a, b = (value(model, f"on_{name}_signal") for name in "ab")
    np.testing.assert_allclose(b, 2 * a, rtol=1e-9)
    # energies, area and all, that are larger by 10 %: those of photons of a flux that is shifted
    np.testing.assert_allclose(value(model, "on_a_signal", scale=1.1), 1.1 ** (INDEX - 1) * a, rtol=1e-3)


def test_a_line_moves_with_the_mass():
    """Also within bins of the true energy: a posterior of the mass has no steps."""
    irfs = quick_start_irfs()
    grid = reconstructed_nodes(0.5, 20.0)
    offset, radius, livetime = 0.7, 0.2, 3600.0
    found = region_response(irfs, offset, radius, livetime, grid, "run")
    given = {"livetime": 1 * u.h, "good_time_s": None, "energy_off": None, "alpha": None, "acceptance_off": None}
    one = pmg.OnOffEvents._of_response(
        name="run", energy=np.array([2.0]), grid=grid, nodes=found.nodes, exposure=found.exposure, **given
    )
    both = pmg.OnOffEvents.stack([one, one], "both")
    masses = np.geomspace(2.0, 2.2, 12)
    for data_set, times in ((one, 1), (both, 2)):
        mean, number = [], []
        for mass in masses:
            spectrum = pmg.darkmatter.Annihilation(mass=mass, sigmav=1e-26, channels="gamma", j_factor=1e20)
            rates = data_set.nodes().expected(spectrum, "line") * data_set.grid.weights
            rates[grid < 1.0] = 0  # photons of the shower, below the line
            mean.append(np.average(grid, weights=rates))
            number.append(rates.sum())
        # the response at the mass itself
        density = np.array([_dispersion(irfs.edisp, np.array([m]), offset, grid)[0] for m in masses])
        area = np.array([_exposure(irfs, np.array([m]), offset, radius)[0] for m in masses])
        high = density * data_set.grid.weights * (grid >= 1.0)
        expected = high @ grid / high.sum(axis=1)
        np.testing.assert_allclose(mean, expected, rtol=3e-3)
        # electroweak corrections leave 96 % of the two photons in the line
        flux = 0.955 * 2 * 1e-26 * 1e20 / (8 * np.pi * masses**2)
        np.testing.assert_allclose(number, times * flux * area * livetime * high.sum(axis=1), rtol=4e-3)
    with pm.Model() as model:
        mass = pm.Uniform("mass", 1.0, 5.0, initval=2.1)
        spectrum = pmg.darkmatter.Annihilation(mass=mass, sigmav=1e-26, channels="gamma", j_factor=1e20)
        pmg.OnOffCounts("on", one, spectrum=spectrum)
    logp = model.compile_logp(vars=[model["on"]])
    values = [float(logp({"mass_interval__": np.log((m - 1) / (5 - m))})) for m in masses]
    assert len(np.unique(values)) == len(values)
    assert np.ptp(np.diff(values, n=2)) < 0.1 * np.ptp(values)


def test_a_line_passes_the_shape_of_the_effective_area():
    values = np.array([0.1, -0.2, 0.3, 0.0, -0.1])
    knots = np.geomspace(0.5, 30, 5)
    factor = pmg.EffectiveAreaShape(knots=knots * u.TeV).factor(pt.constant(values), knots)
    energy = np.geomspace(0.3, 40, 50)
    symbolic = pt.vector()
    np.testing.assert_allclose(factor(symbolic).eval({symbolic: energy}), factor(energy).eval(), rtol=1e-12)
    with pm.Model() as model:
        mass = pm.Uniform("mass", 1.0, 5.0, initval=2.1)
        spectrum = pmg.darkmatter.Annihilation(mass=mass, sigmav=1e-26, channels="gamma", j_factor=1e20)
        pmg.OnOffCounts("on", data(), spectrum=spectrum, systematics=[pmg.EffectiveAreaShape])
    assert np.isfinite(model.compile_logp()(model.initial_point()))


def test_stacked_events_have_the_sum_of_everything():
    a, b = data("a", alpha=0.2), data("b", seed=1, alpha=0.4, livetime=3 * u.h)
    both = pmg.OnOffEvents.stack([a, b], "both")
    np.testing.assert_array_equal(both.energy.value, np.sort(np.concatenate([a.energy.value, b.energy.value])))
    assert len(both.energy_off) == len(a.energy_off) + len(b.energy_off)
    np.testing.assert_allclose(both.alpha, 4 / (1 / 0.2 + 3 / 0.4), err_msg="ON regions see one background")
    law = pmg.PowerLaw(index=INDEX, amplitude=AMPLITUDE)
    np.testing.assert_allclose(both.npred(law), a.npred(law) + b.npred(law))
    assert both.livetime == 4 * u.h
    assert both.good_time.shape == (2, 2)
    c = data("c", seed=2, alpha=0.5, livetime=2 * u.h)
    np.testing.assert_allclose(
        pmg.OnOffEvents.stack([both, c], "in steps").alpha, pmg.OnOffEvents.stack([a, b, c], "at once").alpha
    )
    assert pmg.OnOffEvents.stack([a], "one").npred(law) == a.npred(law)
    narrow = data("narrow", nodes=NODES[:-1] * u.TeV, edisp=dispersion(NODES[:-1]) * u.Unit("TeV-1"),
                  energy=[1] * u.TeV, energy_off=[1] * u.TeV)  # fmt: skip
    without = data("without", energy_off=None, alpha=None)
    for other, message in (
        (narrow, "one energy_range="),
        (without, "no OFF events"),
        (data("c", livetime=None), "livetime"),
    ):
        with pytest.raises(EventError, match=message):
            pmg.OnOffEvents.stack([a, other], "both")
    assert pmg.OnOffEvents.stack([without, without], "none").has_off is False
    for nothing in ([], a):
        with pytest.raises(EventError, match="at least one in a list"):
            pmg.OnOffEvents.stack(nothing, "both")


def test_no_events_at_all():
    with pytest.warns(PymcGammaWarning, match="the OFF region holds no event"):
        one = data(energy=[] * u.TeV, energy_off=[] * u.TeV)
    model = model_of(one)
    value = model.compile_logp()(model.initial_point())
    assert np.isfinite(value)
    np.testing.assert_allclose(log_probability(model, "on").sum(), -rate_total(model, one), rtol=1e-6)


def rate_total(model, one):
    """Expected ON events at the initial point: of the source, and of half an OFF event."""
    law = pmg.PowerLaw(index=INDEX, amplitude=float(np.exp(model.initial_point()["amplitude_log__"])))
    return one.npred(law) + 0.2 * 0.5


def test_events_without_a_background():
    one = data(energy_off=None, alpha=None, energy=[1, 2, 3] * u.TeV)
    model = model_of(one)
    assert [rv.name for rv in model.observed_RVs] == ["on"]
    with pytest.raises(EventError, match="no OFF region"):
        _ = one.energy_off
    with pytest.raises(ModelError, match="have no OFF counts, which background= is about"):
        model_of(one, background=pmg.MeasuredBackground())
    cut = dispersion(NODES) * (NODES < 2.5)
    far = data(energy_off=None, alpha=None, energy=[1, 2, 3] * u.TeV, edisp=cut * u.Unit("TeV-1"))
    with pytest.raises(ModelError, match="has no OFF events, and an event at 3 TeV, where none are expected"):
        model_of(far)


@pytest.mark.parametrize("background", [pmg.FlatBackground(), pmg.ProfiledBackground()])
def test_backgrounds_of_channels_are_for_channels(background):
    with pytest.raises(ModelError, match=r"are observed one by one.*OnOffEvents\.binned"):
        model_of(data(), background=background)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"energy": [0.5, 1, 30] * u.TeV}, r"energy must be energies from 0\.8 to 20 TeV.*0\.5 TeV in row 0 \(2 of 3"),
        ({"energy": [np.nan] * u.TeV}, "energy must be"),
        ({"energy_off": [30] * u.TeV}, "energy_off must be"),
        ({"alpha": 0.0}, "alpha must be positive where nodes are used"),
        ({"alpha": None}, "go together"),
        ({"energy_off": None}, "go together"),
        ({"alpha": np.ones(3)}, "alpha must have the shape"),
        ({"acceptance_off": np.zeros(len(NODES))}, "acceptance_off must be positive"),
        ({"acceptance_off": np.ones(3)}, "acceptance_off must have the shape"),
        ({"nodes": NODES[::-1] * u.TeV}, "nodes must be edges that increase"),
        ({"edisp": dispersion(NODES)[:5] * u.Unit("TeV-1")}, "edisp must have the shape"),
        ({"edisp": 9 * dispersion(NODES) * u.Unit("TeV-1")}, "integrals over the nodes are at most 1"),
        ({"exposure": 0 * AREA * u.Unit("cm2 s")}, "not zero everywhere"),
    ],
)
def test_bad_events(given, message):
    with pytest.raises(EventError, match=message):
        data(**given)


def test_units_are_asked_for():
    with pytest.raises(TypeError, match="unit"):
        data(energy=np.ones(3))
    with pytest.raises(u.UnitConversionError):
        data(edisp=dispersion(NODES) * u.TeV)


def test_pictures_of_events():
    figure = data().peek()
    assert [ax.get_title() for ax in figure.axes] == ["run", ""]
    assert "OFF events" in figure.axes[0].get_legend().get_texts()[0].get_text()


def scan(one, energy, norms, law, off_rate):
    """Log likelihood of the ON events of a band for factors on the flux of the source."""
    inside = (one.energy.value >= energy[0]) & (one.energy.value < energy[1])
    at = one.energy.value[inside]
    fine = np.geomspace(*energy, 4001)
    total = integrate.trapezoid(rate(fine), fine)
    return np.array([np.log(norm * law * rate(at) + 0.2 * off_rate(at)).sum() - norm * law * total for norm in norms])


def test_flux_points_are_scans_of_the_likelihood():
    one = data(seed=2)
    with pm.Model() as model:
        amplitude = pm.LogNormal("amplitude", np.log(AMPLITUDE), 1.0)
        law = pmg.PowerLaw(index=INDEX, amplitude=amplitude)
        pmg.OnOffCounts("on", one, spectrum=law, component="crab")
    best = pmg.best_fit(model)
    edges = np.array([1.0, 2.0, 5.0])
    table = pmg.flux_points(model, edges * u.TeV, "crab", best).table
    beta = best.value.on_background.values
    nodes = pmg.MeasuredBackground().nodes(one)

    def off_rate(energy):
        hats = np.array([np.interp(np.log(energy), np.log(nodes), row) for row in np.eye(len(nodes))])
        return (beta[:, None] * hats * (energy / nodes[:, None]) ** -2.7).sum(axis=0)

    factor = float(best.value.amplitude) / AMPLITUDE
    norms = np.linspace(0.01, 3, 3000)
    for row, energy in zip(table, pairwise(edges), strict=True):
        value = scan(one, energy, norms, factor, off_rate)
        dnde = factor * AMPLITUDE * np.sqrt(energy[0] * energy[1]) ** -INDEX
        np.testing.assert_allclose(row["dnde"].value / dnde, norms[value.argmax()], rtol=3e-3)
        assert row["counts"] == ((one.energy.value >= energy[0]) & (one.energy.value < energy[1])).sum()
    with pytest.raises(RegionError, match="outside of the reconstructed energies"):
        pmg.flux_points(model, [0.1, 5] * u.TeV, "crab", best)
    with pytest.raises(ModelError, match="is the background of the region, which has no flux"):
        pmg.flux_points(model, edges * u.TeV, "background", best)


def test_light_curves_have_a_bin_for_each_data_set():
    start = Time("2025-03-01T22:00:00")
    sets = [data(name, seed=k, good_time=start + [k, k + 1] * u.h) for k, name in enumerate("ab")]
    model = model_of(*sets)
    best = pmg.best_fit(model)
    curve = pmg.light_curve(model, [1, 10] * u.TeV, "source", best)
    assert list(curve.table["observations"]) == ["a", "b"]
    flux = float(best.value.amplitude) / (INDEX - 1) * (1 - 10 ** (1 - INDEX))
    assert np.all(np.abs(curve.table["flux"].value / flux - 1) < 0.3)
    unknown = model_of(data(good_time=None))
    with pytest.raises(ModelError, match="run has no good time"):
        pmg.light_curve(unknown, [1, 10] * u.TeV, "source", pmg.best_fit(unknown))


def li_ma(n_on, n_off, alpha):
    """Square of equation 17 of Li & Ma 1983, ApJ 272, 317."""
    total = n_on + n_off
    return 2 * (n_on * np.log((1 + alpha) / alpha * n_on / total) + n_off * np.log((1 + alpha) * n_off / total))


def test_the_significance_of_one_channel_is_that_of_li_and_ma():
    n_on, n_off, alpha = 25, 60, 0.2
    one = pmg.CountsSpectrum(
        "run", [n_on], energy=[1, 10] * u.TeV, energy_true=[1, 10] * u.TeV, exposure=[1e12] * u.Unit("cm2 s"),
        edisp=[[1.0]], counts_off=[n_off], alpha=alpha,
    )  # fmt: skip
    with pm.Model() as model:
        log_amplitude = pm.Normal("log_amplitude", np.log(1e-11), 100.0)
        law = pmg.PowerLaw(index=2.0, amplitude=pm.math.exp(log_amplitude))
        pmg.OnOffCounts("on", one, spectrum=law, background=pmg.ProfiledBackground())
    found = pmg.significance(model, "source")
    assert found.n_parameters == 1
    np.testing.assert_allclose(found.ts, li_ma(n_on, n_off, alpha), rtol=1e-3)
    with pytest.raises(ModelError, match="integrated out or profiled here"):
        pmg.flux_points(model, [1, 10] * u.TeV, "source", found.best)
    with pytest.raises(ModelError, match="a model without it says nothing"):
        pmg.significance(model, "background")


def test_flux_points_of_channels_are_those_of_events():
    one = data(seed=5)
    edges = np.geomspace(1, 16, 41)
    bands = edges[::10] * u.TeV
    tables = []
    for made in (one, one.binned(edges * u.TeV)):
        model = model_of(made)
        tables.append(pmg.flux_points(model, bands, "source", pmg.best_fit(model)).table)
    for a, b in zip(*tables, strict=True):
        assert abs((a["dnde"] - b["dnde"]) / b["dnde_err"]) < 0.25
        assert a["counts"] == b["counts"]
    with pytest.raises(ModelError, match="choose edges among those of the channels"):
        pmg.flux_points(model, [1.05, 16] * u.TeV, "source", pmg.best_fit(model))


def test_names_of_components():
    with pytest.raises(ModelError, match="is the name of the background"):
        model_of(data(), component="background")
    with pytest.raises(ModelError, match="the model has no component 'crab'; it has"):
        pmg.significance(model_of(data()), "crab")
