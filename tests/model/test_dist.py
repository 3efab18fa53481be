"""Events that belong to no model: ``dist`` takes what the distributions take, and says what needs a model."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError


def gaussian(sigma):
    return source("halo", -0.3, 0.2, sigma=sigma.to_value("deg"), amplitude=3e-12)


@pytest.fixture(scope="module")
def response():
    sky = [
        source("free", 0.3, -0.2, sigma=0.1, index=2.3, amplitude=3e-12),
        pmg.Scanned("halo", gaussian, nodes={"sigma": np.linspace(0.1, 0.2, 5) * u.deg}),
        pmg.CosmicRayBackground(),
    ]
    options = {"free_spectrum": ["free"], "free_shape": ["free"], "energy_true": 40}
    return pmg.fold(sky, pointing(hours=2), region(width=1.6, energy=(0.7, 20)), progressbar=False, **options)


def arguments(sigma, scale=0.8):
    """What both distributions take, for a width of the shape and a factor on the effective area."""
    return {
        "spectra": {"free": pmg.PowerLaw(index=2.3, amplitude=3e-12)},
        "shapes": {"free": pmg.GaussianShape(0.3, -0.2, sigma)},
        "scan": {"sigma": 0.15},
        "systematics": [
            pmg.PSFScale(value=1.05),
            pmg.EffectiveAreaShape(knots=[0.1, 100] * u.TeV, value=np.log([scale] * 2)),
        ],
    }


def free_part(response):
    """The same without the scan, of which the PSF cannot be scaled."""
    return pmg.fold(
        [source("free", 0.3, -0.2, sigma=0.1, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()],
        response.observations,
        response.roi,
        free_spectrum=["free"],
        free_shape=["free"],
        energy_true=40,
    )


def counts_by_component(model_arguments, response):
    """Expected counts in a model."""
    with pm.Model(coords=response.coords) as model:
        pmg.ExtendedEventMixture("events", response=response, expected_counts=True, **model_arguments)
    return model["events_expected_counts"].eval()


def test_poisson_draws_what_a_model_expects(response):
    own = free_part(response)
    given = arguments(0.1)
    del given["scan"]
    given["norms"] = {"ccr": 0.5}
    expected = counts_by_component(given, own).sum()
    nominal = counts_by_component({"shapes": given["shapes"]}, own).sum()
    assert expected < 0.7 * nominal
    drawn = pm.draw(pmg.ExtendedEventMixture.dist(response=own, max_events=20_000, **given), 20, random_seed=1)
    assert drawn.shape == (20, 20_000, 3)
    n = (~np.isnan(drawn[..., 0])).sum()
    assert n == pytest.approx(20 * expected, abs=4.5 * np.sqrt(20 * expected))


def test_poisson_takes_scans_and_variables(response):
    sigma = pm.Uniform.dist(0.09, 0.11)
    given = {"shapes": {"free": pmg.GaussianShape(0.3, -0.2, sigma)}, "scan": {"sigma": pm.Uniform.dist(0.1, 0.2)}}
    drawn = pmg.ExtendedEventMixture.dist(
        response=response, norms=[1.0, pm.LogNormal.dist(0, 0.1), 1.0], shape=(9999, 3), **given
    )
    assert drawn.type.ndim == 2
    rows = pm.draw(drawn, 2, random_seed=1)
    assert rows.shape == (2, 9999, 3)
    assert not np.array_equal(rows[0], rows[1], equal_nan=True)


def test_mixture_is_that_of_a_model(response):
    own = free_part(response)
    given = arguments(0.1)
    del given["scan"]
    with pm.Model(coords=own.coords) as model:
        pmg.EventMixture("events", [0.4, 0.6], response=own, n_events=50, **given)
    drawn = pmg.EventMixture.dist([0.4, 0.6], response=own, n_events=50, **given)
    np.testing.assert_array_equal(pm.draw(drawn, random_seed=2), pm.draw(model["events"], random_seed=2))
    # a list of its own in another model
    rows = pm.draw(drawn, random_seed=2)
    found = pm.logp(drawn, rows).eval().sum()
    with pm.Model(coords=own.coords) as model:
        pmg.EventMixture("events", [0.4, 0.6], response=own, observed=rows, **given)
    assert found == pytest.approx(float(model.compile_logp(mode="FAST_COMPILE")({})), rel=1e-12)


@pytest.mark.parametrize("kind", [pmg.EventMixture, pmg.ExtendedEventMixture])
def test_default_priors_need_a_model(response, kind):
    own = free_part(response)
    first, n = ([np.ones(2)], {"n_events": 3}) if kind is pmg.EventMixture else ([], {"max_events": 999})
    given = {key: value for key, value in arguments(0.1).items() if key in ("spectra", "shapes")}
    given |= {"response": own, **n}
    for one in (pmg.PSFScale(), pmg.PSFScale):
        with pytest.raises(ModelError, match=r"PSFScale adds a variable to a model, and there is none here; .*value="):
            kind.dist(*first, systematics=[one], **given)
    with pm.Model() as model, pytest.raises(ModelError, match="there is none here"):
        kind.dist(*first, systematics=[pmg.PSFScale()], **given)
    assert not model.named_vars
    assert kind.dist(*first, systematics=[pmg.PSFScale(value=pm.Uniform.dist(0.9, 1.1))], **given).type.ndim == 2


@pytest.mark.parametrize(
    ("kind", "keywords"),
    [
        (pmg.EventMixture, ["observed", "dims", "log_likelihood", "multiplicity"]),
        (pmg.ExtendedEventMixture, ["observed", "dims", "expected_counts", "integrated_flux"]),
    ],
)
def test_what_needs_a_model_is_told(response, kind, keywords):
    first = [np.ones(3)] if kind is pmg.EventMixture else []
    for keyword in keywords:
        with pytest.raises(
            TypeError, match=rf"{kind.__name__}\.dist\(\) takes no '{keyword}': its events belong to no model"
        ):
            kind.dist(*first, response=response, **{keyword: 1})
    with pytest.raises(TypeError, match=r"dist\(\) got an unexpected keyword argument 'systematic'. Did you mean"):
        kind.dist(*first, response=response, systematic=[])


def test_what_is_missing_or_contradicts(response):
    given = {key: value for key, value in arguments(0.1).items() if key != "systematics"}
    with pytest.raises(ModelError, match=r"ExtendedEventMixture.dist: say how many rows there are: pass max_events="):
        pmg.ExtendedEventMixture.dist(response=response, **given)
    with pytest.raises(ModelError, match=r"max_events must be at least 1, got 0"):
        pmg.ExtendedEventMixture.dist(response=response, max_events=0, **given)
    with pytest.raises(ModelError, match=r"EventMixture.dist: say how many events there are: pass n_events="):
        pmg.EventMixture.dist(np.ones(3), response=response, **given)
    with pytest.raises(TypeError, match="response must come from `fold`"):
        pmg.ExtendedEventMixture.dist(max_events=5)
    with pytest.raises(ModelError, match=r"the response leaves the shape of \['free'\] to the model"):
        pmg.ExtendedEventMixture.dist(response=response, max_events=5)
    with pytest.raises(ModelError, match="norms"):
        pmg.ExtendedEventMixture.dist(response=response, max_events=5, norms={"unknown": 1.0}, **given)
    for kind, first in ((pmg.EventMixture, [np.ones(3)]), (pmg.ExtendedEventMixture, [])):
        with pm.Model():
            fraction = {"fraction": np.ones(3), "n_events": 3} if first else {}
            source = kind("events", response=response, **fraction, **given).owner.op.source
        for more in (given, {"response": response}, {"systematics": [pmg.PSFScale(value=1.0)]}):
            with pytest.raises(ModelError, match="source replaces response and what goes with it"):
                kind.dist(*first, source=source, **more)
