"""The same numbers, to the last bit, whatever the number of threads and cores."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

from pymc_gamma import threads
from pymc_gamma.sums import weighted_sum

# Large enough for BLAS to divide what is left to it, and for all loops over chunks to have several.
SCRIPT = """
import hashlib, json, sys
blas, cores = int(sys.argv[1]), int(sys.argv[2])
import numpy as np, scipy.linalg, threadpoolctl
threadpoolctl.threadpool_limits(blas)
from pymc_gamma import threads
threads.cpu_count = lambda: cores
import astropy.units as u
from astropy.coordinates import SkyCoord
import pymc as pm, pymc_gamma as pmg
from pymc_gamma.model.table import TableArrays

found = {"threads": [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]}
def note(name, *values):
    digest = hashlib.blake2b(digest_size=8)
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    found[name] = digest.hexdigest()

centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
irfs = pmg.load_irfs("prod5-south-20deg-50h")
runs = [
    pmg.Observation(irfs, SkyCoord(lon * u.deg, 0 * u.deg, frame="galactic"), livetime=10 * u.h) for lon in (-0.5, 0.5)
]
roi = pmg.RegionOfInterest(centre, width=4 * u.deg, energy=(0.3, 50) * u.TeV)
sky = [pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()]
fixed = pmg.fold(sky, runs, roi)
free = pmg.fold(sky, runs, roi, free_spectrum=["hgps", "ccr"])
note("acceptances", fixed.acceptance_by_observation, free.acceptance_by_observation)
note("free acceptances", *(one.acceptance for one in free.free_components))
note("predicted", fixed.npred(energy=np.geomspace(0.3, 50, 7) * u.TeV), free.npred())
events = fixed.simulate([1, 2, 3], 6000, rng=1)
note("events", events.to_rows(fixed.reco))
rows = events.to_rows(fixed.reco)
note("densities", fixed.density(events))
note("columns", fixed.component_pdf(rows))
for smooth in ((), ("hgps",)):
    bands = free.spectral_bands(rows, smooth)
    note(f"bands {len(smooth)}", bands.values, bands.pointer, bands.column)
cells = events.binned(8, pixel=0.5 * u.deg)
note("cells", fixed.component_pdf(cells.to_rows(fixed.reco)))
many = np.linspace(0.5, 2, 50_000)
note("table", *TableArrays.build(many[:, None], None, np.log(many))[:5])
with pm.Model(coords=fixed.coords) as model:
    fraction = pm.Dirichlet("fraction", np.ones(3), dims="component")
    pmg.EventMixture("events", fraction, response=fixed, observed=events)
start = model.initial_point()
note("log-likelihood", model.compile_logp()(start))
note("gradient", model.compile_dlogp()(start))
print(json.dumps(found))
"""


def start(number):
    """Process with a number of threads of BLAS and of cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(number)}
    command = [sys.executable, "-c", SCRIPT, str(number), str(number)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_same_numbers_with_any_number_of_threads():
    processes = {number: start(number) for number in (1, 2, 7)}
    found = {number: json.loads(process.communicate()[0]) for number, process in processes.items()}
    assert {number: set(one.pop("threads")) for number, one in found.items()} == {1: {1}, 2: {2}, 7: {7}}
    assert found[2] == found[1]
    assert found[7] == found[1]


def test_sums_of_products_take_no_blas(rng):
    values, weight = rng.normal(size=(3, 100_000)), rng.normal(size=100_000)
    exact = [float(np.sum(row.astype(np.longdouble) * weight)) for row in values]
    np.testing.assert_allclose(weighted_sum(values, weight), exact, rtol=1e-10, atol=1e-10)
    sums = []
    for number in (1, 2, 7):
        with threadpoolctl.threadpool_limits(number):
            sums.append((weighted_sum(values, weight), weighted_sum(values[0], weight)))
    for both in sums[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(both, sums[0], strict=True))


def test_pieces_depend_on_the_number_of_items_alone(monkeypatch):
    sizes = []
    for cores in (1, 2, 7):
        monkeypatch.setattr(threads, "cpu_count", lambda cores=cores: cores)
        sizes.append([threads.piece_size(n, 8192) for n in (0, 1, 4500, 10**5, 10**6)])
    assert sizes[0] == sizes[1] == sizes[2]
    assert max(sizes[0]) == 8192


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_results_are_in_order(cores, monkeypatch):
    monkeypatch.setattr(threads, "cpu_count", lambda: cores)
    assert threads.run_parallel(lambda k: threads.run_parallel(lambda j: 10 * k + j, range(3)), range(5)) == [
        [10 * k + j for j in range(3)] for k in range(5)
    ]


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_items_are_made_by_the_caller_while_others_are_worked_on(cores, monkeypatch):
    monkeypatch.setattr(threads, "cpu_count", lambda: cores)
    made_by, done = [], []

    def items():
        for k in range(20):
            made_by.append(threading.current_thread())
            yield k

    def task(k):
        done.append(k)
        return k**2

    assert threads.run_as_made(task, items()) == [k**2 for k in range(20)]
    assert set(made_by) == {threading.current_thread()}
    assert sorted(done) == list(range(20))
    assert threads.run_as_made(task, []) == []


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_what_was_begun_ends_when_an_item_cannot_be_made(cores, monkeypatch):
    monkeypatch.setattr(threads, "cpu_count", lambda: cores)
    done = []

    def items():
        yield from range(7)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        threads.run_as_made(done.append, items())
    assert sorted(done) == list(range(7))


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_no_more_are_made_after_a_task_failed(cores, monkeypatch):
    monkeypatch.setattr(threads, "cpu_count", lambda: cores)
    failed, made = threading.Event(), []

    def items():
        for k in range(100_000):
            if k > 4:
                failed.wait()
                time.sleep(0.001)
            made.append(k)
            yield k

    def task(k):
        if k == 1:
            failed.set()
            raise OSError("one fails")

    with pytest.raises(OSError, match="one fails"):
        threads.run_as_made(task, items())
    assert len(made) < 100_000


def test_compiling_in_threads_leaves_the_configuration():
    """PyTensor changes its configuration while it compiles; threads that do so side by side leave it as it was."""
    import pytensor
    import pytensor.tensor as pt

    from pymc_gamma.tensors import value_of

    names = ("mode", "linker", "traceback__limit")
    before = {name: getattr(pytensor.config, name) for name in names}
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)  # threads change as often as can be
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda n: float(value_of(pt.exp(pt.zeros(n)).sum())), range(1, 33)))
        after = {name: getattr(pytensor.config, name) for name in names}
    finally:
        sys.setswitchinterval(interval)
        for name, value in before.items():  # for the tests that follow
            setattr(pytensor.config, name, value)
    assert found == list(range(1, 33))
    assert after == before
