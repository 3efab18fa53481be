"""The population of examples/: it builds, and what it is fitted to is what was simulated."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from laplace import fit
from pymc.model.transform.conditioning import remove_value_transforms

EXAMPLE = Path(__file__).parents[1] / "examples" / "hierarchical.py"
COVERED = 3.8
"""Standard deviations: 99.9 % for nine sources."""


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def log_likelihood(model, point):
    free = remove_value_transforms(model)
    return float(free.compile_logp(vars=[free["events"]], jacobian=False, mode="FAST_COMPILE")(point))


def test_each_source_for_itself_is_covered(example):
    fitted = fit(example["population"](pooled=False))
    pulls = (fitted.value["index"] - example["true_index"]) / fitted.sd["index"]
    assert np.all(np.abs(pulls) < COVERED)
    pulls = (fitted.value["amplitude_log__"] - np.log(example["true_amplitude"])) / fitted.sd["amplitude_log__"]
    assert np.all(np.abs(pulls) < COVERED)


def test_pooling_is_another_prior_of_the_same_indices(example):
    mu, tau = 2.4, 0.2
    common = {"amplitude": example["true_amplitude"], "background": np.array(1.0)}
    offset = (example["true_index"] - mu) / tau
    pooled = {"mu": np.array(mu), "tau": np.array(tau), "offset": offset} | common
    separate = {"index": example["true_index"]} | common
    values = [
        log_likelihood(example["population"](pooled=True), pooled),
        log_likelihood(example["population"](pooled=False), separate),
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    off = separate | {"index": example["true_index"] + 0.5}
    assert log_likelihood(example["population"](pooled=False), off) < values[1] - 50
