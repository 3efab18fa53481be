"""Bands that are left out of the table: which they are, and that log L and its gradient do not notice."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.folding.bands import Bands
from pymc_gamma.model import intensity, negligible
from pymc_gamma.model.negligible import BRIGHTEST, TOLERANCE, without_negligible

PLACES = [(-1.2, -1.1), (1.2, -1.2), (0.1, 0.1), (0.25, 0.1), (-1.0, 1.2), (1.3, 1.0)]
NAMES = tuple(f"S{k}" for k in range(len(PLACES)))
AMPLITUDE = 1e-13


N_NODES = 46


def made_up(rng, n_events=300, n_bands=4):
    """Bands of densities over 24 orders of magnitude, some of them void, and the shares of their nodes."""
    length = rng.choice([0, 8, 16], (n_events, n_bands), p=[0.2, 0.4, 0.4])
    pointer = np.concatenate([[0], np.cumsum(length.ravel())])
    size = 10 ** rng.uniform(-24, 0, (n_events, n_bands))
    values = (rng.uniform(0.5, 1, pointer[-1]) * np.repeat(size.ravel(), length.ravel())).astype(np.float32)
    bands = Bands(values, pointer, rng.integers(0, N_NODES - 16, (n_events, n_bands)))
    return bands, list(rng.dirichlet(np.ones(N_NODES), n_bands))


def of_event(bands, i, k):
    place = i * bands.column.shape[1] + k
    return bands.values[bands.pointer[place] : bands.pointer[place + 1]]


def left_out(bands, found):
    """Events and components whose numbers are no longer there; all others must be as they were."""
    assert found.column is bands.column
    gone = np.zeros(bands.column.shape, bool)
    for i, k in np.ndindex(*bands.column.shape):
        before, after = of_event(bands, i, k), of_event(found, i, k)
        gone[i, k] = len(after) < len(before)
        assert len(after) == 0 if gone[i, k] else np.array_equal(before, after)
    return gone


@pytest.mark.parametrize("chunk", [2**17, 100, 1])
def test_as_many_as_the_tolerance_allows(chunk, rng, monkeypatch):
    """For the worst spectrum, found by trying all: any other is a mean of lines at the nodes."""
    monkeypatch.setattr(negligible, "_CHUNK", chunk)
    (bands, shares), dense = made_up(rng), 10 ** rng.uniform(-3, 0, (300, 2))
    multiplicity = rng.integers(1, 50, 300).astype(float)
    gone = left_out(bands, without_negligible(bands, shares, dense, multiplicity))
    columns = np.zeros((300, 4, N_NODES))
    for i, k in np.ndindex(300, 4):
        own = of_event(bands, i, k)
        columns[i, k, bands.column[i, k] : bands.column[i, k] + len(own)] = own
    every = dense.sum(axis=1) + columns.sum(axis=(1, 2))
    for k in range(4):
        lines = [columns[:, k] @ (line / (line @ shares[k])) for line in np.eye(N_NODES)]
        change = multiplicity * BRIGHTEST * np.max(lines, axis=0) / every
        there = columns[:, k].any(axis=1)
        assert 0 < change[gone[:, k]].sum() <= TOLERANCE
        least_kept = change[there & ~gone[:, k]].min()
        assert change[gone[:, k]].max() <= least_kept
        assert change[gone[:, k]].sum() + least_kept > TOLERANCE
        spectrum = rng.dirichlet(np.full(N_NODES, 0.1))
        density = columns[:, k] @ (spectrum / (spectrum @ shares[k]))
        assert (density <= np.max(lines, axis=0) * (1 + 1e-12)).all()


def test_what_explains_an_event_alone_stays(rng):
    """Whatever its density is: of those that have a density the largest is always there."""
    bands, shares = made_up(rng)
    found = without_negligible(bands, shares, np.zeros((300, 0)), np.ones(300))
    gone = left_out(bands, found)
    assert gone.any()
    for i in range(300):
        own = [of_event(bands, i, k).sum() for k in range(4)]
        if any(own):
            assert not gone[i, np.argmax(own)]


def test_a_single_component_keeps_all(rng):
    bands, shares = made_up(rng, n_bands=1)
    assert without_negligible(bands, shares, np.zeros((300, 0)), np.ones(300)) is bands
    assert without_negligible(bands, shares, np.zeros((300, 2)), np.ones(300)) is bands


def test_nodes_without_acceptance(rng):
    """Of a column that has no share nothing is known: what reaches an event there stays."""
    bands, shares = made_up(rng)
    shares[2][:] = 0
    gone = left_out(bands, without_negligible(bands, shares, np.ones((300, 1)), np.ones(300)))
    assert not gone[:, 2].any()
    assert gone[:, [0, 1, 3]].any(axis=0).all()


@pytest.fixture(scope="module")
def response():
    sky = [source(name, *place, index=2.3, amplitude=AMPLITUDE) for name, place in zip(NAMES, PLACES, strict=True)]
    roi = region(width=3.0, energy=(0.5, 50.0))
    return pmg.fold([*sky, pmg.CosmicRayBackground()], pointing(hours=5), roi, free_spectrum=NAMES)


@pytest.fixture(scope="module")
def events(response):
    return response.simulate({**dict.fromkeys(NAMES, 0.3 / len(NAMES)), "ccr": 0.7}, 3000, rng=1)


def extended(response, events):
    with pm.Model(coords=response.coords) as model:
        amplitude = pm.Flat("amplitude", shape=len(NAMES), initval=np.ones(len(NAMES)))
        index = pm.Flat("index", shape=len(NAMES), initval=np.full(len(NAMES), 2.3))
        spectrum = pmg.PowerLaw(index=index, amplitude=amplitude * AMPLITUDE, reference=1 * u.TeV)
        norms = {"ccr": pm.Flat("norm", initval=1.0)}
        pmg.ExtendedEventMixture("events", response=response, spectra={NAMES: spectrum}, norms=norms, observed=events)
    return model


def mixture(response, events):
    with pm.Model(coords=response.coords) as model:
        weight = pm.Flat("amplitude", shape=len(NAMES), initval=np.ones(len(NAMES)))
        index = pm.Flat("index", shape=len(NAMES), initval=np.full(len(NAMES), 2.3))
        every = pm.math.concatenate([0.01 * weight, pm.Flat("norm", initval=1.0)[None]])
        pmg.EventMixture(
            "events",
            every / every.sum(),
            response=response,
            spectra={NAMES: pmg.PowerLaw(index=index)},
            observed=events,
        )
    return model


def function_of(build, response, events):
    """Log L and its gradient at values of the variables, and the bytes of its tables."""
    model = build(response, events)
    made = model.logp_dlogp_function(ravel_inputs=True)
    made.set_extra_values({})

    def at(**changed):
        point = model.initial_point() | changed
        return made(np.concatenate([np.ravel(point[one.name]) for one in made._grad_vars]))

    size = sum(np.asarray(one.get_value(borrow=True)).nbytes for one in made._pytensor_function.get_shared())
    return at, size


@pytest.mark.parametrize("build", [extended, mixture])
def test_log_likelihood_and_gradient(build, response, events, monkeypatch):
    """Against the table of all bands: nominal fluxes, a source 1000 times as bright, other spectra, less background."""
    ours, size = function_of(build, response, events)
    monkeypatch.setattr(intensity, "without_negligible", lambda bands, *_: bands)
    whole, before = function_of(build, response, events)
    assert size < 0.8 * before
    ones, index = np.ones(len(NAMES)), np.full(len(NAMES), 2.3)
    bright = np.where(np.arange(len(NAMES)) == 2, 1000.0, 1.0)
    for changed in (
        {"amplitude": ones},
        {"amplitude": bright},
        {"amplitude": 1000 * ones},
        {"amplitude": bright, "index": index - 0.8},
        {"amplitude": bright, "index": index + 1.5},
        {"amplitude": 0.001 * bright, "norm": np.array(0.01)},
    ):
        (found, slopes), (expected, true) = ours(**changed), whole(**changed)
        assert found == pytest.approx(expected, abs=1e-3, rel=0)
        scale = np.concatenate([changed.get("amplitude", ones), ones, [1.0]])  # of the logarithms of fluxes
        np.testing.assert_allclose(slopes * scale, true * scale, atol=1e-3, rtol=0)


def test_sources_without_a_background(monkeypatch):
    """Events between two sources: each is explained by the nearer one, however far that is."""
    sky = [source("a", -0.4, 0.0), source("b", 0.4, 0.0)]
    response = pmg.fold(sky, pointing(hours=5), region(width=1.6, energy=(0.5, 50.0)), free_spectrum=["a", "b"])
    lon = np.linspace(-0.75, 0.75, 31)
    events = pmg.Events(np.full(31, 2.0) * u.TeV, lon * u.deg, np.zeros(31) * u.deg, frame="galactic")

    def log_likelihood():
        with pm.Model() as model:
            share = pm.Flat("share", initval=0.5)
            spectra = dict.fromkeys(("a", "b"), pmg.PowerLaw(index=2.5))
            fraction = pm.math.stack([share, 1 - share])
            pmg.EventMixture("events", fraction, response=response, spectra=spectra, observed=events)
        return model.compile_logp(vars=[model["events"]])

    ours, left_out = log_likelihood(), []

    def all_of(bands, *rest):
        left_out.append(len(bands.values) - len(without_negligible(bands, *rest).values))
        return bands

    monkeypatch.setattr(intensity, "without_negligible", all_of)
    whole = log_likelihood()
    assert left_out[0] > 0
    for share in (1e-4, 0.3, 1 - 1e-4):
        expected = float(whole({"share": np.array(share)}))
        assert np.isfinite(expected)
        assert float(ours({"share": np.array(share)})) == pytest.approx(expected, abs=2e-3, rel=0)
