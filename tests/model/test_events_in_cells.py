"""Models of events in cells: values, data that change, draws, bad input."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from pymc.model.transform.conditioning import remove_value_transforms
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError

CELL = ("energy_min", "energy_max", "lon_min", "lon_max", "lat_min", "lat_max")


def fold(**options):
    sky = [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=1), region(width=2.0, energy=(0.5, 100)), **options)


@pytest.fixture(scope="module")
def response():
    return fold()


@pytest.fixture(scope="module")
def free():
    return fold(free_spectrum=["crab", "ccr"])


@pytest.fixture(scope="module")
def cells(response):
    events = response.simulate([1, 1], 1500, rng=4)
    return events.binned(np.geomspace(0.5, 100, 12) * u.TeV, pixel=0.25 * u.deg)


def mixture(response, **kwargs):
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, response=response, **kwargs)
    return model


def process(response, **kwargs):
    with pm.Model(coords=response.coords) as model:
        index = pm.Normal("index", 2.3, 0.3)
        spectra = {"crab": pmg.PowerLaw(index=index, amplitude=3e-12)}
        pmg.ExtendedEventMixture("events", response=response, spectra=spectra, **kwargs)
    return model


def events_logp(model):
    model = remove_value_transforms(model)
    return model.compile_logp(vars=[model["events"]], jacobian=False)


def averages(response, events):
    return response.component_pdf(np.delete(response.event_rows(events), 3, axis=1))


def test_value(response, cells):
    model = mixture(response, observed=cells)
    f = np.array([0.3, 0.7])
    expected = cells.multiplicity @ np.log(averages(response, cells) @ f)
    assert events_logp(model)({"fraction": f}) == pytest.approx(expected, rel=1e-10)
    at_means = cells.multiplicity @ np.log(response.component_pdf(cells.to_rows()) @ f)
    assert abs(expected - at_means) > 1  # otherwise this says nothing
    assert model.coords["events_reco"] == ("energy", "lon", "lat", "multiplicity", *CELL)


def test_value_of_a_poisson_process(free, cells):
    logp = events_logp(process(free, observed=cells))
    for index in (2.0, 2.6):
        crab = source("crab", 0.3, -0.2, index=index, amplitude=3e-12)
        fixed = pmg.fold([crab, pmg.CosmicRayBackground()], pointing(hours=1), free.roi, energy_true=600)
        counts = np.asarray(fixed.acceptance)
        expected = cells.multiplicity @ np.log(averages(fixed, cells) @ counts) - counts.sum()
        assert logp({"index": index}) == pytest.approx(expected, abs=0.05)


def test_cells_among_single_events(response, cells):
    single = response.simulate([1, 1], 40, rng=5)
    joined = mixture(response, observed=cells + single)
    f = np.array([0.3, 0.7])
    apart = sum(events_logp(mixture(response, observed=one))({"fraction": f}) for one in (cells, single))
    assert events_logp(joined)({"fraction": f}) == pytest.approx(apart, rel=1e-7)


def test_data_that_change(response, cells):
    other = response.simulate([1, 2], 800, rng=6).binned(np.geomspace(0.5, 100, 7) * u.TeV, pixel=0.5 * u.deg)
    with pm.Model(coords={**response.coords, "event": np.arange(len(cells))}) as model:
        data = pm.Data("data", response.event_rows(cells))
        fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, response=response, observed=data)
    f = np.array([0.3, 0.7])
    for events in (cells, other):
        with model:
            pm.set_data({"data": response.event_rows(events)})
        logp = events_logp(model)
        expected = events.multiplicity @ np.log(averages(response, events) @ f)
        assert logp({"fraction": f}) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("make", [mixture, process])
def test_observing_other_events(make, response, free, cells):
    """A model of cells takes events with multiplicities and single ones, not the other way round."""
    of = response if make is mixture else free
    single = of.simulate(np.ones(2), 100, rng=7)
    counted = pmg.Events(single.energy, single.lon, single.lat, multiplicity=np.full(100, 2.0), frame="galactic")
    model = make(of, observed=cells)
    start = remove_value_transforms(make(of, observed=single)).initial_point()
    for events in (single, counted, cells):
        observed = events_logp(pmg.observe_events(model, events))(start)
        assert observed == pytest.approx(float(events_logp(make(of, observed=events))(start)), rel=1e-6)
    with pytest.raises(ModelError, match="made for single events and these have multiplicities"):
        pmg.observe_events(make(of, observed=single), cells)
    with pytest.raises(ModelError, match="made for events with multiplicities and these fill cells"):
        pmg.observe_events(make(of, observed=counted), cells)


def test_cells_are_not_drawn(response, cells):
    with pytest.raises(NotImplementedError, match="cannot be drawn row by row"):
        pm.draw(mixture(response, observed=cells)["events"])


@pytest.mark.parametrize("n_columns", [2, 5, 9, 11])
def test_rows_of_no_known_layout(response, n_columns):
    with pytest.raises(EventError, match=f"got {n_columns} columns"):
        mixture(response, observed=np.ones((4, n_columns)))
