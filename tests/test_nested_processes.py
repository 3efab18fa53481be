"""Nested sampling in several processes, and runs that are killed and resumed."""

import concurrent.futures
import multiprocessing
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import astropy.units as u
import dynesty
import dynesty.pool
import numpy as np
import pymc as pm
import pytest
from toy import ToyResponse

from pymc_gamma.errors import DataFileError, ModelError
from pymc_gamma.inference.nested import NestedProblem, sample_nested
from pymc_gamma.inference.nested.functions import Store, load_problem
from pymc_gamma.model import EventMixture

# other tests of this process may have loaded JAX; the workers run no JAX
pytestmark = pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")

OPTIONS = {"nlive": 60, "dlogz": 1.0, "random_seed": 3, "progressbar": False}
RESPONSE = ToyResponse()
ROWS = RESPONSE.simulate_rows([1, 2, 3], 60, np.random.default_rng(1))


def mixture(rows=ROWS, alpha=1.0):
    with pm.Model(coords=RESPONSE.coords) as model:
        fraction = pm.Dirichlet("fraction", a=alpha * np.ones(3), dims="component")
        pm.Deterministic("ratio", fraction[0] / fraction.sum())
        EventMixture("events", fraction, response=RESPONSE, observed=rows)
    return model


def fork_pool():
    return multiprocessing.get_context("fork").Pool(2)


def spawn_pool():
    return multiprocessing.get_context("spawn").Pool(2)


def executor():
    return concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))


def threads():
    return ThreadPool(2)


def same(a, b):
    """Equal but for the last bits: a kernel compiled anew is inlined where one from the cache is called."""
    assert a.attrs["log_evidence"] == pytest.approx(b.attrs["log_evidence"], rel=1e-12)
    assert a.attrs["ncall"] == b.attrs["ncall"]
    for group in ("posterior", "nested"):
        for name in a[group].data_vars:
            np.testing.assert_allclose(a[group][name].values, b[group][name].values, rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def in_threads():
    """A run with two workers: what the pools of processes must find too."""
    with threads() as pool:
        return sample_nested(mixture(), pool=pool, **OPTIONS)


@pytest.mark.parametrize("make", [fork_pool, executor, pytest.param(spawn_pool, marks=pytest.mark.slow)])
def test_pools_give_the_same_draws(make, in_threads):
    with make() as pool:
        result = sample_nested(mixture(), pool=pool, **OPTIONS)
    same(result, in_threads)
    alone = sample_nested(mixture(), **OPTIONS)
    error = np.hypot(alone.attrs["log_evidence_err"], result.attrs["log_evidence_err"])
    assert abs(alone.attrs["log_evidence"] - result.attrs["log_evidence"]) < 4 * error


@pytest.mark.slow
def test_pool_of_dynesty_by_hand():
    """Its processes are spawned: they know no more than what is sent."""
    problem = NestedProblem(mixture())
    with dynesty.pool.Pool(2, problem.log_likelihood, problem.prior_transform) as pool:
        sampler = dynesty.NestedSampler(
            pool.loglike, pool.prior_transform, problem.n_dim, nlive=60, pool=pool, rstate=np.random.default_rng(1)
        )
        sampler.run_nested(dlogz=1.0, print_progress=False)
    alone = sample_nested(mixture(), **OPTIONS).attrs
    error = np.hypot(alone["log_evidence_err"], sampler.results.logzerr[-1])
    assert abs(alone["log_evidence"] - sampler.results.logz[-1]) < 4 * error


def test_functions_survive_pickling_without_compiled_code():
    problem = NestedProblem(mixture())
    point = np.array([0.2, 0.3])
    expected = problem.log_likelihood(point)
    again = pickle.loads(pickle.dumps(problem.log_likelihood))
    assert again.problem is not problem
    assert again(point) == expected
    # a process compiles a problem once
    assert pickle.loads(pickle.dumps(problem.prior_transform)).problem is again.problem
    assert load_problem(problem.token, None) is again.problem


def test_tasks_of_a_pool_are_small():
    """Workers are sent the name of a file, not the events, with every task."""
    sizes = []

    class Counting:
        size = 2

        def map(self, function, tasks):
            sizes.append(len(pickle.dumps(function)) + max(len(pickle.dumps(task)) for task in tasks))
            return map(function, tasks)

    rows = RESPONSE.simulate_rows([1, 2, 3], 5000, np.random.default_rng(1))
    sample_nested(mixture(rows), pool=Counting(), **OPTIONS)
    assert max(sizes) < 20_000 < rows.nbytes


def test_unusable_pools():
    class Unknown:
        def map(self, function, tasks):
            return map(function, tasks)

    with pytest.raises(ModelError, match="queue_size"):
        sample_nested(mixture(), pool=Unknown(), **OPTIONS)
    assert sample_nested(mixture(), pool=Unknown(), queue_size=2, **OPTIONS).attrs["ncall"] > 0
    with pytest.raises(ModelError, match="map method"):
        sample_nested(mixture(), pool=4, **OPTIONS)


def test_a_worker_that_does_not_see_the_file(tmp_path):
    problem = NestedProblem(mixture())
    problem.store = Store(path=str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="TMPDIR"):
        pickle.loads(pickle.dumps(problem.log_likelihood))


def test_models_that_cannot_be_pickled():
    with pm.Model() as model:
        x = pm.Normal("x")
        pm.Normal("y", x, 1, observed=0.0)
    problem = NestedProblem(model)
    problem.model.lock = threading.Lock()
    with pytest.raises(ModelError, match="cannot be pickled"):
        pickle.dumps(problem.log_likelihood)


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import numpy as np
import pymc_gamma.inference.nested.functions as functions
from test_nested_processes import OPTIONS, mixture, sample_nested
call = functions.ProblemFunction.__call__

def slow(self, x):
    time.sleep(0.002)
    return call(self, x)

functions.ProblemFunction.__call__ = slow
sample_nested(mixture(), checkpoint_file={path!r}, checkpoint_every=0.05, resume={resume}, **OPTIONS)
"""


def run_and_kill(path, resume):
    """Start a run in a process of its own, and kill it after some checkpoints more."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    script = SCRIPT.format(tests=str(Path(__file__).parent), path=str(path), resume=resume)
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    changes, end = 0, time.monotonic() + 300
    while changes < 4 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
        now = path.stat().st_mtime_ns if path.exists() else before
        changes, before = changes + (now != before), now
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path):
    path = tmp_path / "run.checkpoint"
    run_and_kill(path, resume=False)
    run_and_kill(path, resume=True)
    result = sample_nested(mixture(), checkpoint_file=path, resume=True, **OPTIONS)
    same(result, sample_nested(mixture(), **OPTIONS))
    # and once it has ended, what is stored is the result
    same(sample_nested(mixture(), checkpoint_file=path, resume=True, **OPTIONS), result)
    with pytest.raises(ModelError, match="has ended, at dlogz=1"):
        sample_nested(mixture(), checkpoint_file=path, resume=True, **{**OPTIONS, "dlogz": 0.1})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "run"
    sample_nested(mixture(), checkpoint_file=path, **OPTIONS)
    return path


def test_checkpoints_hold_no_events(checkpoint):
    with pytest.raises(ModelError, match="resume it with sample_nested"):
        pickle.loads(checkpoint.read_bytes())


def test_checkpoints_are_not_overwritten(checkpoint):
    content = checkpoint.read_bytes()
    with pytest.raises(FileExistsError, match="resume=True"):
        sample_nested(mixture(), checkpoint_file=checkpoint, **OPTIONS)
    assert checkpoint.read_bytes() == content


def other_names():
    with pm.Model() as model:
        x = pm.Normal("x", shape=2)
        pm.Normal("y", x, 1, observed=[0.0, 0.0])
    return model


@pytest.mark.parametrize(
    ("model", "changed", "message"),
    [
        (other_names, {}, r"another model: its parameters are \['fraction"),
        (lambda: mixture(ROWS[:-1]), {}, "another likelihood"),
        (lambda: mixture(np.add(ROWS, [1e-6, 0, 0])), {}, "another likelihood"),
        (lambda: mixture(alpha=1.1), {}, "another prior"),
        (mixture, {"nlive": 61}, "nlive: 60 then, 61 now"),
        (mixture, {"bound": "single"}, "bound: None then, 'single' now"),
    ],
)
def test_checkpoints_of_other_runs(checkpoint, model, changed, message):
    with pytest.raises(ModelError, match=message):
        sample_nested(model(), checkpoint_file=checkpoint, resume=True, **{**OPTIONS, **changed})


def test_checkpoints_that_are_none(checkpoint, tmp_path):
    path = tmp_path / "other"
    with pytest.raises(DataFileError, match=r"no checkpoint .*other to resume"):
        sample_nested(mixture(), checkpoint_file=path, resume=True, **OPTIONS)
    with pytest.raises(ModelError, match="checkpoint_file="):
        sample_nested(mixture(), resume=True, **OPTIONS)
    content = checkpoint.read_bytes()
    for bad in (b"", content[: len(content) // 2], b"not a pickle", pickle.dumps({"sampler": 1}), pickle.dumps([])):
        path.write_bytes(bad)
        with pytest.raises(DataFileError, match=r"other is not a checkpoint that can be read"):
            sample_nested(mixture(), checkpoint_file=path, resume=True, **OPTIONS)
    foreign = dynesty.NestedSampler(np.sum, np.copy, 2, nlive=20)
    foreign.save(str(path))
    with pytest.raises(ModelError, match="not written by sample_nested"):
        sample_nested(mixture(), checkpoint_file=path, resume=True, **OPTIONS)


def test_resumed_with_a_pool(tmp_path):
    path = tmp_path / "run"
    with fork_pool() as pool:
        result = sample_nested(mixture(), checkpoint_file=path, pool=pool, **OPTIONS)
    with fork_pool() as pool:
        same(sample_nested(mixture(), checkpoint_file=path, pool=pool, resume=True, **OPTIONS), result)


class TestChecksBeforeSampling:
    """What cannot end well is refused before the likelihood is called once."""

    @pytest.fixture(autouse=True)
    def _no_sampling(self, monkeypatch):
        def run(*args, **kwargs):
            raise AssertionError("sampling has begun")

        monkeypatch.setattr("dynesty.sampler.Sampler.run_nested", run)

    @pytest.mark.parametrize("resume", [False, True])
    def test_places_of_checkpoints(self, tmp_path, resume):
        (tmp_path / "file").touch()
        for place, message in (
            (tmp_path, "is a folder, and a file was to be written"),
            (tmp_path / "file" / "ck.pkl", "cannot be written: (Not a directory|File exists)"),
            ("/proc/no/ck.pkl", "cannot be written"),
        ):
            with pytest.raises(OSError, match=message) as told:
                sample_nested(mixture(), checkpoint_file=place, resume=resume, **OPTIONS)
            assert told.value.filename == str(place)

    @pytest.mark.parametrize("wrong", [3, b"ck.pkl", 1.5, ["ck.pkl"]])
    def test_names_of_checkpoints(self, wrong):
        with pytest.raises(TypeError, match="checkpoint_file must be a string or a path"):
            sample_nested(mixture(), checkpoint_file=wrong, **OPTIONS)

    @pytest.mark.parametrize(
        ("every", "error"),
        [
            ("5", TypeError),
            (None, ValueError),
            ([1, 2], TypeError),
            (np.timedelta64(5, "s"), TypeError),
            (-1, ValueError),
            (0, ValueError),
            (np.nan, ValueError),
            (-1 * u.min, ValueError),
            (1 * u.m, u.UnitConversionError),
        ],
    )
    def test_times_between_checkpoints(self, tmp_path, every, error):
        with pytest.raises(error, match="checkpoint_every must be"):
            sample_nested(mixture(), checkpoint_file=tmp_path / "ck.pkl", checkpoint_every=every, **OPTIONS)

    def test_options_of_dynesty(self):
        for option in ("rstate", "ndim", "loglikelihood", "maxiterr"):
            message = "random_seed=" if option == "rstate" else f"unexpected keyword argument '{option}'"
            with pytest.raises(TypeError, match=message):
                sample_nested(mixture(), **{option: 1}, **OPTIONS)
        with pytest.raises(ModelError, match="give pool= too"):
            sample_nested(mixture(), queue_size=4, **OPTIONS)
        for wrong, error in (("4", TypeError), (2.5, TypeError), (0, ValueError)):
            with ThreadPool(1) as pool, pytest.raises(error, match="queue_size must be"):
                sample_nested(mixture(), pool=pool, queue_size=wrong, **OPTIONS)

    @pytest.mark.parametrize("make", [fork_pool, executor, threads])
    def test_closed_pools(self, make):
        with make() as pool:
            pass
        with pytest.raises(ModelError, match=r"does not run tasks .* is it closed"):
            sample_nested(mixture(), pool=pool, **OPTIONS)

    def test_a_pool_of_dynesty_outside_of_its_block(self):
        problem = NestedProblem(mixture())
        pool = dynesty.pool.Pool(2, problem.log_likelihood, problem.prior_transform)
        with pytest.raises(ModelError, match="inside of its with block"):
            sample_nested(mixture(), pool=pool, **OPTIONS)


def test_missing_folders_of_a_checkpoint_are_made(tmp_path):
    path = tmp_path / "no" / "such" / "ck.pkl"
    sample_nested(mixture(), checkpoint_file=path, checkpoint_every=5 * u.min, **OPTIONS)
    assert path.is_file()
    assert [one.name for one in path.parent.iterdir()] == ["ck.pkl"]
