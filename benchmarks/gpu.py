"""The likelihood on a GPU, through its forms for JAX: time, bandwidth, agreement with numba, and sampling.

Run ``python -m benchmarks.gpu``; where JAX sees no GPU it says so and stops. ``--without-gpu`` measures the forms for
JAX on the processor all the same, ``--sizes 1e5 1e6`` fewer events, ``--no-sampling`` leaves out the samplers. Events
are synthetic, what computes with them is not: the Ops of the package inside a `pm.Model`, as samplers get them.

A *call* is one value and gradient asked for from Python; *in a loop* the same inside of one compiled loop on the
device, as NumPyro runs it; *of 4 chains* the same for four points at once, per point. Bytes are those of fixed
components in the precision that is named and of free spectra in float32, read once.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
# else JAX writes the numbers of tables into the text of its programs
os.environ.setdefault("JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS", "1")

import contextlib
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray
from scipy.special import ndtr

import pymc_gamma as pmg
from benchmarks._timing import best_time
from pymc_gamma.model.table import EventTable, TableArrays
from pymc_gamma.ops import kernels, log_matvec_sum
from pymc_gamma.ops.hats import hat_map
from pymc_gamma.ops.layout import EventArrays, Tiles

N_FIXED, N_NODES = 5, 157
LIMIT_OF_FREE = 10_000_000
"""More events of a free spectrum have more numbers than the machine that prepares them has memory for."""
LIMIT_OF_PROCESSOR = 10_000_000


class Problem(NamedTuple):
    """A model of events, its table, and a point of its parameters."""

    name: str
    model: pm.Model
    arrays: TableArrays
    coefficients: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    point: NDArray[np.float64]


def random_table(n_events: int) -> NDArray[np.float64]:
    """Densities of fixed components: between a tenth of the largest of an event and all of it."""
    return 0.1 + 0.9 * np.random.default_rng(n_events).random((n_events, N_FIXED))


class FreeSpectrum:
    """Four fixed components and one of free spectrum, whose nodes reach 41 energies around their own each.

    Events have an energy, in units of nodes and within ``REGION``, and a place between 0 and 1.
    """

    REGION, SIGMA, REACH = (20.0, 137.0), 6.0, 20
    energy = np.geomspace(0.05, 200, N_NODES)
    slope = np.array([0.02, 0.04, 0.06, 0.08])

    def __init__(self, n_events: int) -> None:
        rng = np.random.default_rng(n_events)
        low, high = self.REGION
        kind = rng.integers(0, N_FIXED, n_events)
        node = np.arange(N_NODES)
        self.inside = ndtr((high - node) / self.SIGMA) - ndtr((low - node) / self.SIGMA)
        true = self.energy**-1.5 * np.exp(-0.05 * self.energy)
        # what falls out of the region is drawn again
        self.x = rng.choice(N_NODES, n_events, p=true / true.sum()) + rng.normal(0, self.SIGMA, n_events)
        while (out := np.flatnonzero((self.x < low) | (self.x >= high))).size:
            self.x[out] = rng.choice(N_NODES, out.size, p=true / true.sum()) + rng.normal(0, self.SIGMA, out.size)
        fixed = np.flatnonzero(kind < N_FIXED - 1)
        s = self.slope[kind[fixed]]
        self.x[fixed] = low - np.log1p(rng.random(fixed.size) * np.expm1(-s * (high - low))) / s
        self.y = rng.random(n_events)
        while fixed.size:
            fixed = fixed[rng.random(fixed.size) * 1.9 > self.place(self.y[fixed], kind[fixed])]
            self.y[fixed] = rng.random(fixed.size)

    @staticmethod
    def place(y: NDArray[np.float64], k: Any) -> NDArray[np.float64]:
        """Density of places of a fixed component."""
        return 1 + 0.9 * np.cos(2 * np.pi * (k + 1) * y)

    def table(self) -> TableArrays:
        """Densities of the fixed components, and bands of the free one."""
        low, high = self.REGION
        norm = self.slope / -np.expm1(-self.slope * (high - low))
        columns = [
            norm[k] * np.exp(-self.slope[k] * (self.x - low)) * self.place(self.y, k) for k in range(N_FIXED - 1)
        ]
        first = np.round(self.x).astype(np.int64) - self.REACH
        begin, end = np.maximum(first, 0), np.minimum(first + 2 * self.REACH + 1, N_NODES)
        pointer = np.concatenate([[0], np.cumsum(end - begin)])
        values = np.empty(pointer[-1], np.float32)
        for part in np.array_split(np.arange(len(self.x)), max(1, len(self.x) // 100_000)):
            here = slice(pointer[part[0]], pointer[part[-1] + 1])
            length = (end - begin)[part]
            node = np.arange(here.start, here.stop) - np.repeat(pointer[part] - begin[part], length)
            z = (node - np.repeat(self.x[part], length)) / self.SIGMA
            values[here] = np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * self.SIGMA)
        bands = values, pointer, (begin + N_FIXED - 1)[:, None]
        return TableArrays.build(np.column_stack(columns), bands=bands)

    def coefficients(self, fraction: Any, index: Any, cutoff: Any) -> Any:
        """Those of all columns, for which densities are normalised."""
        flux = self.energy**-index * pt.exp(-cutoff * self.energy)
        nodes = hat_map(flux, flux, self.energy**2.5, np.array([0, N_NODES])) / self.energy**1.5
        return pt.concatenate([fraction[:-1], fraction[-1] * nodes / pt.dot(self.inside, nodes)])


def problem(name: str, n_events: int) -> Problem:
    """Fixed components, or one of them of free index and cut-off."""
    free = FreeSpectrum(n_events) if name == "free spectrum" else None
    arrays = free.table() if free else TableArrays.build(random_table(n_events))
    with pm.Model() as model:
        v = pm.Dirichlet("fraction", np.ones(N_FIXED))
        if free:
            v = free.coefficients(v, pm.Normal("index", 2.5, 0.3), pm.HalfNormal("lambda_", 0.1))
        pm.Potential("events", log_matvec_sum(*EventTable(arrays).inputs, v))
    function = pytensor.function(model.value_vars, model.replace_rvs_by_values([v])[0], mode="FAST_COMPILE")
    sizes = [N_FIXED - 1, *([1, 1] if free else [])]
    point = np.concatenate([np.linspace(-0.2, 0.2, N_FIXED - 1), [2.45, -3.0] if free else []])

    def coefficients(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return function(*split(x, sizes))

    return Problem(name, model, arrays, coefficients, point)


def split(x: Any, sizes: list[int]) -> list[Any]:
    """The values of the model's variables, vector and scalars."""
    return [x[: sizes[0]], *(x[sizes[0] + k] for k in range(len(sizes) - 1))]


def with_numba(one: Problem) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """PyMC's function of value and gradient; and its kernel in a thread of each core at once."""
    wrapper = one.model.logp_dlogp_function(ravel_inputs=True)
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    function.trust_input = True
    n = len(EventArrays._fields)
    events = EventArrays(*one.arrays.inputs[:n])
    tiles = Tiles(*one.arrays.inputs[n:]) if one.arrays.tiles else None
    v = one.coefficients(one.point)
    cores = os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores)

    def everywhere() -> None:
        for future in [pool.submit(kernels.fused, events, tiles, v, None) for _ in range(cores)]:
            future.result()

    return lambda: function(one.point), everywhere


class Compiled(NamedTuple):
    """What JAX made of a model on a device."""

    call: Callable[[], Any]
    loop: Callable[[], Any]
    chains: Callable[[], Any]
    n_bytes: int
    seconds: float


REPEATS, CHAINS = 20, 4


def with_jax(one: Problem, device: Any, single: bool) -> Compiled:
    """The function that PyMC hands to NumPyro, differentiated and compiled."""
    import jax
    from pymc.sampling.jax import get_jaxified_logp

    started = time.perf_counter()
    sizes = [N_FIXED - 1, *[1] * (len(one.point) - N_FIXED + 1)]
    precision = pmg.single_precision_tables() if single else contextlib.nullcontext()
    with jax.default_device(device), precision:
        logp = get_jaxified_logp(one.model)
        function = jax.value_and_grad(lambda x: logp(split(x, sizes)))
        compiled = jax.jit(function)
        x = jax.device_put(one.point, device)

        def step(_: Any, state: Any) -> Any:
            x, total = state
            value, gradient = function(x)
            return x + 0 * gradient, total + value

        looped = jax.jit(lambda x: jax.lax.fori_loop(0, REPEATS, step, (x, 0.0)))
        many = jax.jit(jax.vmap(function))
        points = jax.device_put(np.tile(one.point, (CHAINS, 1)), device)
        jax.block_until_ready(compiled(x))
    seconds = time.perf_counter() - started

    def there(f: Callable[..., Any], x: Any) -> Callable[[], Any]:
        def run() -> Any:
            with jax.default_device(device):
                return jax.block_until_ready(f(x))

        return run

    return Compiled(there(compiled, x), there(looped, x), there(many, points), table_bytes(one, single), seconds)


def table_bytes(one: Problem, single: bool) -> int:
    """Bytes of a table, tiles as they are packed for numba."""
    dense = one.arrays.table.nbytes // (2 if single else 1)
    return dense + (one.arrays.tiles[0].nbytes if one.arrays.tiles else 0)


def copy_bandwidth(device: Any, n: int) -> float:
    """Bytes read and written a second by a copy of float32 numbers."""
    import jax

    with jax.default_device(device):
        x = jax.device_put(np.ones(n, np.float32), device)
        copy = jax.jit(lambda x: x + 1)
        return 8 * n / best_time(lambda: jax.block_until_ready(copy(x)), 0.5)


def measure(name: str, n_events: int, devices: dict[str, Any], bandwidth: dict[str, float], seconds: float) -> None:
    """Lines of the table for one model and number of events."""
    started = time.perf_counter()
    one = problem(name, n_events)
    preparing = time.perf_counter() - started
    function, everywhere = with_numba(one)
    value, gradient = (np.asarray(output) for output in function())
    numba = best_time(function, seconds)
    cores = os.cpu_count() or 1
    on_all = best_time(everywhere, seconds) / cores
    print(f"\n{name}, {n_events:.0e} events, {N_FIXED} components (prepared in {preparing:.1f} s), log L = {value:.6g}")
    header = ("", "call", "in a loop", "of 4 chains", "GB/s", "of copy", "x 1 core", "x all", "|d log L|", "|d grad|")
    rows = [header, ("numba, one thread", f"{numba * 1e3:.3f} ms", "", "", "", "", "1.0", "", "", "")]
    rows.append((f"numba, {cores} threads, a point each", f"{on_all * 1e3:.3f} ms", *[""] * 4, f"{numba / on_all:.1f}"))
    for label, device in devices.items():
        for single in (False, True):
            if device.platform == "cpu" and (single or n_events > LIMIT_OF_PROCESSOR):
                continue
            made = with_jax(one, device, single)
            found, slopes = (np.asarray(output) for output in made.call())
            call, loop = best_time(made.call, seconds), best_time(made.loop, seconds) / REPEATS
            chains = best_time(made.chains, seconds) / CHAINS
            rate = made.n_bytes / loop
            rows.append(
                (
                    f"JAX, {label}, table float{32 if single else 64}",
                    f"{call * 1e3:.3f} ms",
                    f"{loop * 1e3:.3f} ms",
                    f"{chains * 1e3:.3f} ms",
                    f"{rate / 1e9:.0f}",
                    f"{rate / bandwidth[label]:.0%}",
                    f"{numba / loop:.1f}",
                    f"{on_all / loop:.1f}",
                    f"{abs(found - value):.1e}",
                    f"{np.abs(slopes - gradient).max():.1e}",
                )
            )
            rows[-1] += (f"compiled in {made.seconds:.1f} s",)
            del made
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(header))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=False)).rstrip(), flush=True)


def sampling(n_events: int) -> None:
    """NumPyro, whose chains run on the device at once, and nutpie, which asks it for one call after the other."""
    import arviz as az

    one = problem("free spectrum", n_events)
    how = {"draws": 500, "tune": 500, "chains": 4, "random_seed": 1, "progressbar": False, "quiet": True}
    samplers: dict[str, dict[str, Any]] = {
        "numpyro": {"nuts_sampler": "numpyro", "nuts": {"chain_method": "vectorized"}}
    }
    if importlib.util.find_spec("nutpie"):
        samplers["nutpie, JAX"] = {"nuts_sampler": "nutpie", "backend": "JAX", "cores": 1}
        samplers["nutpie, numba"] = {"nuts_sampler": "nutpie", "backend": "numba", "cores": 4}
    for label, options in samplers.items():
        started = time.perf_counter()
        with one.model:
            idata = pm.sample(**how, **options)
        seconds = time.perf_counter() - started
        summary = az.summary(idata, round_to="none")
        r_hat, ess = summary["r_hat"].astype(float).max(), summary["ess_bulk"].astype(float).min()
        index = idata["posterior"]["index"]
        print(
            f"{label}: free spectrum, {n_events:.0e} events, 4 x (500 + 500), all included {seconds:.1f} s, "
            f"R-hat {r_hat:.3f}, bulk ESS {ess:.0f}, index {float(index.mean()):.4f} +- {float(index.std()):.4f}",
            flush=True,
        )


def found_devices(without_gpu: bool) -> dict[str, Any]:
    """The processor and the GPU, as JAX knows them; nothing if there is no GPU."""
    if not importlib.util.find_spec("jax"):
        print("JAX is not installed: nothing measured")
        return {}
    import jax

    gpus = [device for device in jax.devices() if device.platform == "gpu"]
    if not gpus and not without_gpu:
        print(f"JAX {jax.__version__} sees no GPU, only {jax.devices()[0]}: nothing measured")
        return {}
    return {"processor": jax.devices("cpu")[0], **{device.device_kind: device for device in gpus[:1]}}


def sized(n_events: list[float]) -> Iterator[tuple[str, int]]:
    for n in map(int, n_events):
        yield "fixed components", n
        if n <= LIMIT_OF_FREE:
            yield "free spectrum", n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e5, 1e6, 1e7, 1e8], help="numbers of events")
    parser.add_argument("--seconds", type=float, default=0.5, help="to measure each form of each model for")
    parser.add_argument("--no-sampling", action="store_true", help="only the compiled functions")
    parser.add_argument("--without-gpu", action="store_true", help="go on where there is none")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    devices = found_devices(options.without_gpu)
    if not devices:
        return
    bandwidth = {
        label: copy_bandwidth(device, 2**26 if device.platform == "cpu" else 2**29) for label, device in devices.items()
    }
    for label, rate in bandwidth.items():
        print(f"{label}: a copy moves {rate / 1e9:.0f} GB/s, read and written")
    for name, n_events in sized(options.sizes):
        measure(name, n_events, devices, bandwidth, options.seconds)
    if not options.no_sampling:
        print()
        sampling(100_000 if len(devices) > 1 else 4_000)


if __name__ == "__main__":
    main()
