"""Scans in models: against components folded anew between the nodes, and everything that is refused."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from gammapy.modeling.models import PowerLawSpectralModel, ShellSpatialModel
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, ResponseMismatchError, SkyModelError

NODES = np.linspace(0.15, 0.25, 13)
BETWEEN = (0.1537, 0.1875, 0.2104, 0.2499)
"""Near the edges, half-way between nodes, and anywhere."""
AMPLITUDE = 2e-11


def gaussian(sigma, lon=0.1 * u.deg):
    return source("a gaussian", lon.to_value("deg"), 0.05, sigma=sigma.to_value("deg"), amplitude=AMPLITUDE)


def shell(radius):
    spatial = ShellSpatialModel(lon_0="0.1 deg", lat_0="0.05 deg", radius=radius, width="0.3 deg", frame="galactic")
    return pmg.SkySource("a shell", spatial, PowerLawSpectralModel(amplitude=f"{AMPLITUDE} TeV-1 cm-2 s-1"))


def scanned(name="rxj", nodes=NODES * u.deg, factory=gaussian):
    return pmg.Scanned(name, factory, nodes={"sigma": nodes})


def folded(*components, observations=None, **options):
    observations = pointing(hours=5) if observations is None else observations
    sky = [*components, pmg.CosmicRayBackground()]
    return pmg.fold(sky, observations, region(width=2.4, energy=(1.0, 50.0)), progressbar=False, **options)


@pytest.fixture(scope="module")
def response():
    return folded(scanned())


@pytest.fixture(scope="module")
def events(response):
    """4500 of them, of a width of 0.2 deg."""
    return response.simulate({"rxj": 0.4, "ccr": 0.6}, 4500, rng=1)


@pytest.fixture(scope="module")
def two_runs():
    return folded(scanned(), observations=[pointing(0.3, 0.0, hours=2), pointing(-0.5, 0.2, hours=4)])


def mixture(response, events, scan=None, **options):
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", np.ones(len(response.component_names)), dims="component")
        pmg.EventMixture("events", fraction, response=response, scan=scan, observed=events, **options)
    return model


def mixture_with_prior(response, events, low=0.15, high=0.25, **options):
    with pm.Model(coords=response.coords) as model:
        sigma = pm.Uniform("sigma", low, high, default_transform=None, initval=0.21)
        fraction = pm.Dirichlet("fraction", np.ones(len(response.component_names)), dims="component")
        pmg.EventMixture("events", fraction, response=response, scan={"sigma": sigma}, observed=events, **options)
    return model


def poisson(response, events, scan=None, norms=None, **options):
    with pm.Model(coords=response.coords) as model:
        norms = {"rxj": pm.LogNormal("norm", 0, 1, default_transform=None)} if norms is None else norms
        pmg.ExtendedEventMixture("events", response=response, scan=scan, norms=norms, observed=events, **options)
    return model


def poisson_with_prior(response, events, low=0.15, high=0.25, **options):
    with pm.Model(coords=response.coords) as model:
        sigma = pm.Uniform("sigma", low, high, default_transform=None, initval=0.21)
        norm = pm.LogNormal("norm", 0, 1, default_transform=None)
        pmg.ExtendedEventMixture(
            "events", response=response, scan={"sigma": sigma}, norms={"rxj": norm}, observed=events, **options
        )
    return model


def log_likelihood(model):
    """A function of values that replace those of the initial point; others are ignored."""
    function, start = model.compile_logp(vars=[model["events"]]), model.initial_point()

    def at(**values):
        return float(function({key: np.asarray(values.get(key, value), float) for key, value in start.items()}))

    return at


def folded_anew(build, response, events, at, **values):
    frozen = response.at_scan(dict.fromkeys(response.scans, at))
    assert not frozen.scans
    return log_likelihood(build(frozen, events))(**values)


@pytest.mark.parametrize(("with_prior", "without"), [(mixture_with_prior, mixture), (poisson_with_prior, poisson)])
def test_between_nodes_as_folded_anew(response, events, with_prior, without):
    found = log_likelihood(with_prior(response, events))
    values = {"norm": 1.1, "fraction_simplex__": [-0.3]}
    for sigma in BETWEEN:
        expected = folded_anew(without, response, events, {"sigma": sigma}, **values)
        assert found(sigma=sigma, **values) == pytest.approx(expected, abs=0.01)
    at_node = folded_anew(without, response, events, {"sigma": NODES[3]}, **values)
    assert found(sigma=NODES[3], **values) == pytest.approx(at_node, abs=1e-6)


@pytest.mark.parametrize("with_prior", [mixture_with_prior, poisson_with_prior])
def test_impossible_without_a_value(response, events, with_prior):
    """What is no number leaves the nodes: -inf, never NaN."""
    found = log_likelihood(with_prior(response, events))
    for value in (np.nan, np.inf, -np.inf, 0.0, -0.2, 1e300):
        assert found(sigma=value) == -np.inf, value


@pytest.mark.parametrize("with_prior", [mixture_with_prior, poisson_with_prior])
def test_gradients(response, events, with_prior):
    model = with_prior(response, events)
    gradient, value, start = model.compile_dlogp(), model.compile_logp(), model.initial_point()
    names = [one.name for one in model.value_vars]
    for sigma in BETWEEN[:3]:
        point = {**start, "sigma": np.asarray(sigma)}
        found = dict(zip(names, gradient(point), strict=True))
        for name in names:
            step = 1e-5
            low, high = ({**point, name: point[name] + sign * step} for sign in (-1, 1))
            numeric = (value(high) - value(low)) / (2 * step)
            assert found[name] == pytest.approx(numeric, rel=1e-5, abs=1e-4)


def test_the_posterior_is_that_of_components_folded_anew(response, events):
    """Mean and width of the posterior of one parameter, on a grid of values that are no nodes."""
    sigma = np.linspace(0.188, 0.212, 13)
    found = log_likelihood(mixture_with_prior(response, events))
    fraction = {"fraction_simplex__": [np.log(0.4 / 0.6) / 2]}
    curves = [
        [found(sigma=value, **fraction) for value in sigma],
        [folded_anew(mixture, response, events, {"sigma": value}, **fraction) for value in sigma],
    ]
    moments = []
    for curve in curves:
        weight = np.exp(np.array(curve) - max(curve))
        mean = weight @ sigma / weight.sum()
        moments.append((mean, np.sqrt(weight @ (sigma - mean) ** 2 / weight.sum())))
    (mean, width), (exact, exact_width) = moments
    assert abs(exact - 0.2) < 4 * exact_width
    assert abs(mean - exact) < 0.01 * exact_width
    assert width == pytest.approx(exact_width, rel=0.01)


@pytest.mark.parametrize("with_prior", [mixture_with_prior, poisson_with_prior])
def test_events_are_impossible_outside_the_nodes(response, events, with_prior):
    found = log_likelihood(with_prior(response, events, low=0.05, high=0.4))
    assert np.isfinite([found(sigma=0.15), found(sigma=0.25)]).all()
    assert found(sigma=0.1499) == found(sigma=0.2501) == -np.inf


def test_numbers_and_quantities(response, events):
    values = [0.19, 0.19 * u.deg, 11.4 * u.arcmin]
    found = [log_likelihood(mixture(response, events, {"sigma": value}))() for value in values]
    np.testing.assert_allclose(found, found[0], rtol=1e-13)


def test_two_parameters():
    lon = np.linspace(0.05, 0.15, 7) * u.deg
    grid = {"sigma": np.linspace(0.16, 0.24, 7) * u.deg, "lon": lon}
    response = folded(pmg.Scanned("rxj", gaussian, nodes=grid))
    events = response.simulate({"rxj": 0.4, "ccr": 0.6}, 2000, rng=2)
    assert response.scans["rxj"].acceptance.dims == ("sigma", "lon", "observation")
    with pm.Model(coords=response.coords) as model:
        sigma, x = (
            pm.Uniform(name, 0, 1, default_transform=None, initval=v) for name, v in (("sigma", 0.2), ("lon", 0.1))
        )
        # the order is that of the names, not of the mapping
        pmg.EventMixture("events", [0.4, 0.6], response=response, scan={"lon": x, "sigma": sigma}, observed=events)
    found = log_likelihood(model)
    for at in ({"sigma": 0.1655, "lon": 0.1421}, {"sigma": 0.2266, "lon": 0.0913}):
        anew = response.at_scan({"rxj": at})
        with pm.Model(coords=anew.coords) as fixed:
            pmg.EventMixture("events", [0.4, 0.6], response=anew, observed=events)
        assert found(**at) == pytest.approx(log_likelihood(fixed)(), abs=0.01)


def test_components_share_a_parameter():
    far = scanned("vela", factory=lambda sigma: gaussian(sigma, lon=-0.6 * u.deg))
    response = folded(scanned(), far)
    events = response.simulate([0.3, 0.3, 0.4], 1500, rng=3)
    found = log_likelihood(mixture_with_prior(response, events))
    expected = folded_anew(mixture, response, events, {"sigma": 0.1823})
    assert found(sigma=0.1823) == pytest.approx(expected, abs=0.01)
    only_one = response.at_scan({"rxj": {"sigma": 0.1823}})
    assert list(only_one.scans) == ["vela"]
    assert log_likelihood(mixture_with_prior(only_one, events))(sigma=0.1823) == pytest.approx(expected, abs=0.01)


def test_a_shared_parameter_has_one_unit(events):
    minutes = scanned("vela", (NODES * u.deg).to(u.arcmin), lambda sigma: gaussian(sigma, lon=-0.6 * u.deg))
    response = folded(scanned(), minutes)
    with pytest.raises(ModelError, match="one value serves all; give them in one unit"):
        mixture(response, events, {"sigma": 0.2})
    assert np.isfinite(log_likelihood(mixture(response, events, {"sigma": 0.2 * u.deg}))())


def test_norms_of_observations(two_runs):
    events = two_runs.simulate(n_events=1500, rng=4)
    norms = np.array([0.7, 1.4])
    with pm.Model(coords=two_runs.coords) as model:
        sigma = pm.Uniform("sigma", 0.15, 0.25, default_transform=None, initval=0.21)
        scan, each = {"sigma": sigma}, {"rxj": norms}
        pmg.ExtendedEventMixture("events", response=two_runs, scan=scan, norms=each, observed=events)
    expected = folded_anew(
        lambda anew, of: poisson(anew, of, norms={"rxj": norms}), two_runs, events, {"sigma": 0.1823}
    )
    assert log_likelihood(model)(sigma=0.1823) == pytest.approx(expected, abs=0.01)


def test_several_observations_in_a_mixture(two_runs):
    events = two_runs.simulate(n_events=1500, rng=4)
    expected = folded_anew(mixture, two_runs, events, {"sigma": 0.1823})
    assert log_likelihood(mixture_with_prior(two_runs, events))(sigma=0.1823) == pytest.approx(expected, abs=0.01)


def test_integrated_fluxes_are_those_between_the_nodes():
    """The index of the spectrum is scanned: its flux in a range of energies is that of a power law."""

    def steep(index):
        return source("a source", 0.1, 0.05, index=float(index), amplitude=AMPLITUDE)

    response = folded(pmg.Scanned("rxj", steep, nodes={"index": np.linspace(2.0, 3.0, 6)}))
    with pm.Model(coords=response.coords) as model:
        pmg.ExtendedEventMixture(
            "events", response=response, scan={"index": 2.33}, norms={"rxj": 2.0}, integrated_flux=[1, 10] * u.TeV
        )
    expected = 2 * AMPLITUDE * (1 - 10**-1.33) / 1.33
    assert float(model["events_flux"].eval()[0]) == pytest.approx(expected, rel=1e-4)


def test_a_single_component_that_is_a_scan():
    response = pmg.fold(scanned(), pointing(hours=1), region(width=2.4, energy=(1.0, 50.0)), progressbar=False)
    events = response.simulate(n_events=300, rng=5)
    found = log_likelihood(mixture_with_prior(response, events))
    assert found(sigma=0.1823) == pytest.approx(folded_anew(mixture, response, events, {"sigma": 0.1823}), abs=0.01)


def test_events_of_pymc_data_and_with_multiplicities(response, events):
    binned = events.binned(energy=np.geomspace(1, 50, 6) * u.TeV, pixel=0.1 * u.deg)
    expected = folded_anew(mixture, response, binned, {"sigma": 0.1823})
    assert log_likelihood(mixture_with_prior(response, binned))(sigma=0.1823) == pytest.approx(expected, abs=0.01)
    with pm.Model(coords=response.coords) as model:
        sigma = pm.Uniform("sigma", 0.15, 0.25, default_transform=None, initval=0.21)
        rows = pm.Data("rows", response.event_rows(events))
        pmg.EventMixture("events", [0.4, 0.6], response=response, scan={"sigma": sigma}, observed=rows)
    constant = mixture_with_prior(response, events)
    assert log_likelihood(model)(sigma=0.1823) == pytest.approx(
        log_likelihood(constant)(sigma=0.1823, fraction_simplex__=[np.log(0.4 / 0.6) / 2]), rel=1e-12
    )


def test_jax(response, events):
    pytest.importorskip("jax")
    model = poisson_with_prior(response, events)
    point = model.initial_point()
    assert float(model.compile_logp(mode="JAX")(point)) == pytest.approx(float(model.compile_logp()(point)), rel=1e-12)
    np.testing.assert_allclose(model.compile_dlogp(mode="JAX")(point), model.compile_dlogp()(point), rtol=1e-9)


# ------------------------------------------------------------------------------------------------------------- draws


def spread(response, events):
    """Mean squared distance in deg2 of events from the source."""
    _, lon, lat = events.to_rows(("energy", "lon", "lat")).T
    lon = (lon + 180) % 360 - 180
    return float(np.mean((lon - 0.1) ** 2 + (lat - 0.05) ** 2))


def test_draws_are_of_the_component_folded_anew(response):
    with pm.Model(coords=response.coords) as model:
        sigma = pm.Uniform("sigma", 0.15, 0.25)
        pmg.EventMixture("events", [1.0, 0.0], response=response, scan={"sigma": sigma}, n_events=4000)
    rows = [pm.draw(pm.do(model, {"sigma": value})["events"], random_seed=1) for value in (0.156, 0.245)]
    for value, drawn in zip((0.156, 0.245), rows, strict=True):
        anew = response.at_scan({"rxj": {"sigma": value}}).simulate([1.0, 0.0], 4000, rng=2)
        found = spread(response, pmg.Events.from_rows(drawn, response.reco, frame="galactic"))
        # squared distances of a two-dimensional Gaussian vary as much as they are large
        assert found == pytest.approx(spread(response, anew), rel=4 * np.sqrt(2 / 4000))
    assert spread(response, pmg.Events.from_rows(rows[0], response.reco, frame="galactic")) < 0.07
    assert spread(response, pmg.Events.from_rows(rows[1], response.reco, frame="galactic")) > 0.09


def test_numbers_of_drawn_events(response):
    with pm.Model(coords=response.coords) as model:
        sigma = pm.Uniform("sigma", 0.15, 0.25)
        pmg.ExtendedEventMixture("events", response=response, scan={"sigma": sigma}, expected_counts=True)
    fixed = pm.do(model, {"sigma": 0.1823})
    drawn = pm.draw(fixed["events"], draws=5, random_seed=1)
    expected = response.at_scan({"rxj": {"sigma": 0.1823}}).acceptance
    n = np.sum(~np.isnan(drawn[..., 0]), axis=1)
    assert abs(n.mean() - float(expected.sum())) < 4 * np.sqrt(float(expected.sum()) / 5)
    np.testing.assert_allclose(fixed["events_expected_counts"].eval(), expected, rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------- response


def test_what_a_response_says_of_its_scans(response):
    scan = response.scans["rxj"]
    np.testing.assert_array_equal(scan.grid["sigma"], NODES)
    assert (scan.units, scan.shape, scan.exact) == ({"sigma": "deg"}, (13,), True)
    assert "scan of sigma" in repr(response)
    # elsewhere it is at its middle node
    assert float(scan.acceptance[6, 0]) == pytest.approx(float(response.acceptance[0]), rel=1e-12)
    for k in (0, 12):
        anew = response.at_scan({"rxj": {"sigma": NODES[k]}})
        assert float(scan.acceptance[k, 0]) == pytest.approx(float(anew.acceptance[0]), rel=1e-9)


def test_a_component_at_a_value_is_as_if_folded_there(response, events):
    alone = folded(gaussian(0.1823 * u.deg))
    anew = response.at_scan({"rxj": {"sigma": 0.1823 * u.deg}})
    rows = response.event_rows(events)
    np.testing.assert_allclose(anew.component_pdf(rows), alone.component_pdf(rows), rtol=1e-6)
    np.testing.assert_allclose(anew.acceptance, alone.acceptance, rtol=1e-9)


def test_saved_and_loaded(response, events, tmp_path):
    response.save(tmp_path / "store")
    loaded = pmg.Response.load(tmp_path / "store")
    assert loaded.fingerprint() == response.fingerprint()
    assert (loaded.scans["rxj"].units, loaded.scans["rxj"].exact) == ({"sigma": "deg"}, False)
    found = [log_likelihood(mixture_with_prior(one, events))(sigma=0.1823) for one in (response, loaded)]
    assert found[0] == found[1]
    # there is no factory: the nearest node
    nearest = loaded.at_scan({"rxj": {"sigma": 0.1823}})
    node = response.at_scan({"rxj": {"sigma": NODES[4]}})
    np.testing.assert_allclose(nearest.acceptance, node.acceptance, rtol=1e-9)
    folded(scanned(), path=tmp_path / "store")
    with pytest.raises(ResponseMismatchError, match="scan of 'rxj'"):
        folded(scanned(nodes=np.linspace(0.15, 0.25, 15) * u.deg), path=tmp_path / "store")


def test_scans_stay_in_other_responses(response, events):
    twice = response.with_spectra(norms={"rxj": 2.0})
    np.testing.assert_allclose(twice.scans["rxj"].acceptance, 2 * response.scans["rxj"].acceptance)
    values = {"rxj": {"sigma": 0.1823}}
    np.testing.assert_allclose(
        twice.at_scan(values).acceptance, response.at_scan(values).acceptance * np.array([2, 1]), rtol=1e-9
    )
    longer = response.refold(pointing(hours=10))
    np.testing.assert_allclose(longer.scans["rxj"].acceptance, 2 * response.scans["rxj"].acceptance, rtol=1e-6)


def test_the_error_of_the_nodes(response, events):
    """As a response with every second node has it."""
    coarse = folded(scanned(nodes=NODES[::2] * u.deg))
    weights = {"rxj": 0.4, "ccr": 0.6}
    error = pmg.scan_error(response, events, weights)["rxj"]
    assert error.dims == ("sigma",)
    fractions = {"fraction_simplex__": [np.log(0.4 / 0.6) / 2]}
    fine, rough = (log_likelihood(mixture_with_prior(one, events)) for one in (response, coarse))
    for k in (1, 5, 11):
        expected = rough(sigma=NODES[k], **fractions) - fine(sigma=NODES[k], **fractions)
        assert float(error[k]) == pytest.approx(expected, abs=2e-6)
    np.testing.assert_array_equal(error != 0, np.arange(13) % 2 == 1)


def test_templates_are_smooth_in_their_parameters():
    """Those of the nodes are drawn on pixels as fine as the PSF."""
    radius = pmg.Scanned("rxj", shell, nodes={"radius": np.linspace(0.3, 0.4, 11) * u.deg})
    response = folded(radius)
    events = response.simulate({"rxj": 0.4, "ccr": 0.6}, 1500, rng=6)
    assert float(abs(pmg.scan_error(response, events)["rxj"][2:-2]).max()) < 0.1
    with pm.Model(coords=response.coords) as model:
        value = pm.Uniform("radius", 0.3, 0.4, default_transform=None)
        pmg.EventMixture("events", [0.4, 0.6], response=response, scan={"radius": value}, observed=events)
    anew = response.at_scan({"rxj": {"radius": 0.3451}})
    with pm.Model(coords=anew.coords) as fixed:
        pmg.EventMixture("events", [0.4, 0.6], response=anew, observed=events)
    assert log_likelihood(model)(radius=0.3451) == pytest.approx(log_likelihood(fixed)(), abs=0.05)


# ------------------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize("build", [mixture, poisson])
@pytest.mark.parametrize(
    ("scan", "error", "told"),
    [
        (None, ModelError, r"\['rxj'\] are scans, and no value is given for \['sigma'\]; pass scan="),
        ({}, ModelError, "no value is given"),
        ({"radius": 0.2}, ModelError, r"given for \['radius'\], but the scanned parameters are \('sigma',\)"),
        ({"sigma": 0.2, "radius": 0.2}, ModelError, r"given for \['radius'\]"),
        ({"sigma": 0.3}, ModelError, "'sigma' of 'rxj' is 0.3 deg, outside its nodes, 0.15 to 0.25 deg"),
        ({"sigma": 0.2 * u.TeV}, u.UnitConversionError, "deg"),
        ({"sigma": [0.2, 0.2]}, TypeError, "single number"),
        ({"sigma": "wide"}, TypeError, "must be numbers"),
        (0.2, ModelError, "must be a mapping"),
    ],
)
def test_bad_values(response, events, build, scan, error, told):
    with pytest.raises(error, match=told):
        build(response, events, scan)


def test_bad_variables(response, events):
    with pm.Model():
        start = pm.Uniform("sigma", 0.1, 0.5, initval=0.4)
        with pytest.raises(ModelError, match=r"where sampling starts, 'sigma' of 'rxj' is 0.4 deg, outside its nodes"):
            pmg.EventMixture("events", [0.5, 0.5], response=response, scan={"sigma": start}, observed=events)
        vector = pm.Normal("vector", shape=2)
        with pytest.raises(ModelError, match="must be a single number"):
            pmg.EventMixture("events", [0.5, 0.5], response=response, scan={"sigma": vector}, observed=events)


def test_values_for_what_is_no_scan(events):
    fixed = folded(gaussian(0.2 * u.deg))
    with pytest.raises(ModelError, match=r"no component is a scan; fold one as pymc_gamma.Scanned"):
        mixture(fixed, events, {"sigma": 0.2})
    with pytest.raises(ModelError, match="no component of the response is a scan"):
        pmg.scan_error(fixed, events)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"ccr": {"sigma": 0.2}}, "'ccr' is not a scan"),
        ({"rxj": {}}, "is a scan of .*give a value for each"),
        ({"rxj": {"radius": 0.2}}, "give a value for each"),
        ({"rxj": {"sigma": 0.26}}, "outside its nodes"),
    ],
)
def test_bad_places(response, values, told):
    with pytest.raises(ModelError, match=told):
        response.at_scan(values)


def test_what_a_scan_cannot_be_as_well(response, events):
    with pytest.raises(ModelError, match=r"\['rxj'\] are scans and cannot have a free spectrum too; scan the param"):
        folded(scanned(), free_spectrum=["rxj"])
    with pytest.raises(ModelError, match="cannot have a free spectrum"):
        response.refold(free_spectrum=["rxj"])
    with pytest.raises(SkyModelError, match="cannot have a free shape too"):
        folded(scanned(), free_shape=["rxj"])
    with pytest.raises(ModelError, match="the PSF of 'rxj', which is a scan of"):
        poisson(response, events, {"sigma": 0.2}, systematics=[pmg.PSFScale()])


def test_bad_nodes():
    for nodes in ([0.2, 0.1], [0.2, 0.2], [0.2]):
        with pytest.raises(ValueError, match="ascending"):
            scanned(nodes=nodes * u.deg)
    with pytest.raises(SkyModelError, match=r"sigma = 0.15 deg: nothing of it reaches"):
        folded(scanned(factory=lambda sigma: gaussian(sigma, lon=20 * u.deg)))
    with pytest.raises(SkyModelError, match=r"are named .rxj."):
        folded(scanned(), gaussian(0.2 * u.deg), scanned())


def test_values_of_a_scan():
    made = scanned().at(sigma=0.2)
    assert made.name == "rxj"
    with pytest.raises(SkyModelError, match="takes a value for each"):
        scanned().at()
    with pytest.raises(TypeError, match="unexpected keyword argument 'radius'"):
        scanned().at(radius=1)
    with pytest.raises(TypeError, match="single number"):
        scanned().at(sigma=[0.2, 0.3])
    with pytest.raises(SkyModelError, match=r"sigma = 0.3 deg: the factory failed"):
        scanned(factory=lambda sigma: {0.15: gaussian}[round(sigma.value, 2)](sigma)).at(sigma=0.3)
