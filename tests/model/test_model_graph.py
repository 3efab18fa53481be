"""Pictures of models take no draw of events: simulators may be slow, and their events may be impossible to draw."""

import numpy as np
import pymc as pm
import pytest
from pymc.model_graph import ModelGraph
from setups import pointing, region, source
from toy import ToyResponse

import pymc_gamma as pmg
from pymc_gamma.model import EventMixture
from pymc_gamma.model.random import EventMixtureRV

ROWS = ToyResponse().simulate_rows([1, 2, 3], 50, np.random.default_rng(1))


@pytest.fixture(autouse=True)
def no_draws(monkeypatch):
    """Models are built, and then nothing may be drawn."""

    def armed():
        def refuse(*args, **kwargs):
            raise AssertionError("events were drawn")

        monkeypatch.setattr(EventMixtureRV, "rng_fn", refuse)

    return armed


def mixture(batch=(), **kwargs):
    response = ToyResponse()
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", np.ones((*batch, 3)), dims=None if batch else "component")
        if "rows" in kwargs:
            kwargs["observed"] = pm.Data("rows", kwargs.pop("rows"))
        if "dims" in kwargs:
            model.add_coord("run", np.arange(7))
        EventMixture("events", fraction, response=response, **kwargs)
    return model


MIXTURES = {
    "free": (lambda: mixture(n_events=20), (20, 3)),
    "observed": (lambda: mixture(observed=ROWS), (50, 3)),
    "data": (lambda: mixture(rows=ROWS), (50, 3)),
    "dims": (lambda: mixture(dims=("run", "reco")), (7, 3)),
    "observed later": (lambda: pmg.observe_events(mixture(n_events=20), ROWS), (50, 3)),
    "batch": (lambda: mixture(batch=(2,), n_events=4), (2, 4, 3)),
    "batch observed": (lambda: mixture(batch=(2,), observed=np.stack([ROWS, ROWS])), (2, 50, 3)),
    "single events": (lambda: mixture(n_events=1), (1, 3)),
}


def check(model, shape, armed):
    armed()
    assert "events" in pm.model_to_mermaid(model)
    plates = [plate for plate in ModelGraph(model).get_plates() if "events" in {v.var.name for v in plate.variables}]
    assert [plate.dim_info.lengths for plate in plates] == [shape]
    assert tuple(pm.draw(model["events"].shape)) == shape


@pytest.mark.parametrize("kind", MIXTURES)
def test_event_mixture(kind, no_draws):
    build, shape = MIXTURES[kind]
    check(build(), shape, no_draws)


@pytest.fixture(scope="module")
def response():
    return pmg.fold([source("one", 0.0, 0.0), pmg.CosmicRayBackground()], pointing(hours=0.5), region(width=1.0))


@pytest.mark.parametrize("observed", [False, True])
def test_extended_event_mixture(response, observed, no_draws):
    with pm.Model(coords=response.coords) as model:
        norm = pm.LogNormal("norm", 0, 0.1)
        events = response.simulate(rng=1) if observed else None
        pmg.ExtendedEventMixture("events", response=response, norms={"ccr": norm}, observed=events, max_events=3000)
    check(model, (3000, 3), no_draws)


def test_a_copy_of_a_model_knows_its_shapes(no_draws):
    model = pm.model.fgraph.clone_model(mixture(n_events=20))
    check(model, (20, 3), no_draws)


def test_shapes_follow_the_data(no_draws):
    model = mixture(rows=ROWS)
    with model:
        pm.set_data({"rows": ROWS[:30]}, coords={"event": np.arange(30)})
    check(model, (30, 3), no_draws)
