"""The likelihood, its samplers and its competitors: how long, in one run, on this machine.

Run ``python benchmarks/likelihood.py``; ``--no-sampling`` leaves out the slow part. All forms of the same model are
compiled by PyMC into one function for value and gradient, and take turns on the clock.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
import warnings
from pathlib import Path

import arviz as az
import numba as nb
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmarks._timing import Figures, interleaved_times
from pymc_gamma.inference.nested import sample_nested
from pymc_gamma.model import EventMixture
from pymc_gamma.model.table import TableArrays
from pymc_gamma.ops import kernels
from pymc_gamma.ops.layout import EventArrays

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from toy import ToyResponse

N_EVENTS = 4500
TRUTH = np.array([1 / 6, 1 / 3, 1 / 2])


@nb.njit(fastmath=True)
def read(flat):
    total = 0.0
    for i in range(flat.size):
        total += flat[i]
    return total


def ours(fraction, response, rows):
    EventMixture("events", fraction, response=response, observed=rows)


def with_pm_mixture(fraction, response, rows):
    """One categorical mixture of fixed log-densities, the natural way to say it with `pymc.Mixture`."""
    log_pdf = np.log(response.component_pdf(rows))

    def component(k):
        return pm.CustomDist.dist(log_pdf[:, k], logp=lambda value, own: own + 0 * value, shape=len(rows))

    components = [component(k) for k in range(len(response.component_names))]
    pm.Mixture("events", w=fraction, comp_dists=components, observed=np.zeros(len(rows)))


def with_logsumexp(fraction, response, rows):
    log_pdf = pt.as_tensor(np.log(response.component_pdf(rows)))

    def logp(value, fraction):
        return pt.logsumexp(pt.log(fraction) + log_pdf, axis=-1)

    pm.CustomDist("events", fraction, logp=logp, signature="(k)->()", observed=np.zeros(len(rows)))


def with_log_of_product(fraction, response, rows):
    pdf = response.component_pdf(rows)
    scale = pdf.max(axis=1)
    table = pt.as_tensor(np.ascontiguousarray((pdf / scale[:, None]).T))
    pm.Potential("events", pt.log(fraction @ table).sum() + np.log(scale).sum())


def compiled(build, response, rows):
    """PyMC's function for value and gradient, called as samplers call it."""
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
        build(fraction, response, rows)
    wrapper = model.logp_dlogp_function(ravel_inputs=True)
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    function.trust_input = True
    point = np.array([-0.2, 0.1])
    return lambda: function(point)


def likelihood_forms(figures: Figures, response: ToyResponse, rows: NDArray[np.float64]) -> None:
    forms = {
        "EventMixture": ours,
        "pm.Mixture": with_pm_mixture,
        "CustomDist logsumexp": with_logsumexp,
        "log(w @ S)": with_log_of_product,
    }
    functions = {name: compiled(build, response, rows) for name, build in forms.items()}
    values = {name: float(function()[0]) for name, function in functions.items()}
    for name, value in values.items():
        if not np.isclose(value, values["EventMixture"], rtol=1e-9):
            raise AssertionError(f"{name} computes another model: {values}")
    times = interleaved_times(functions)
    own = times.pop("EventMixture")
    figures.add("log L + gradient in PyMC, 4500 x 3", "<= 20 us", f"{own * 1e6:.1f} us", own <= 20e-6)
    for (name, other), target in zip(times.items(), (15, 20, 2), strict=True):
        ratio = other / own
        figures.add(f"  faster than {name}", f">= {target} x", f"{ratio:.1f} x ({other * 1e6:.0f} us)", ratio >= target)


def large_tables(figures: Figures) -> None:
    rng = np.random.default_rng(0)
    for n_events, n_columns, target in ((1_000_000, 3, 2.0), (1_000_000, 10, 2.5)):
        arrays = TableArrays.build(rng.random((n_events, n_columns)) + 1e-3)
        events = EventArrays(*arrays.inputs)
        weights, flat, added = rng.dirichlet(np.ones(n_columns)), arrays.table.ravel(), rng.random(n_events)
        times = interleaved_times(
            {
                "read": lambda flat=flat: read(flat),
                "fused": lambda e=events, w=weights: kernels.fused(e, None, w, None),
                "added": lambda e=events, w=weights, r=added: kernels.fused(e, None, w, r),
            }
        )
        ratio = times["fused"] / times["read"]
        figures.add(
            f"the kernel at 1e6 x {n_columns}, over a read of the table",
            f"<= {target} x",
            f"{ratio:.2f} x ({times['fused'] * 1e3:.2f} ms; read {arrays.table.nbytes / times['read'] / 1e9:.0f} GB/s)",
            ratio <= target,
        )
        more = times["added"] / times["fused"]
        figures.add("  with a density added to each event", "", f"{more:.2f} x ({times['added'] * 1e3:.2f} ms)")


def sampling(figures: Figures, response: ToyResponse, rows: NDArray[np.float64]) -> None:
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
        ours(fraction, response, rows)
    import nutpie

    started = time.perf_counter()
    program = nutpie.compile_pymc_model(model)
    compiling = time.perf_counter() - started
    started = time.perf_counter()
    idata = nutpie.sample(program, draws=1000, tune=1000, chains=4, cores=2, seed=1, progress_bar=False)
    seconds = time.perf_counter() - started
    summary = az.summary(idata, var_names="fraction", round_to="none")
    figures.add("4 x (1000 + 1000) draws, sampling only", "<= 5 s", f"{seconds:.2f} s", seconds <= 5)
    figures.add("  compilation before it", "", f"{compiling:.1f} s")
    r_hat, ess = summary["r_hat"].max(), summary["ess_bulk"].min()
    figures.add("  R-hat", "< 1.01", f"{r_hat:.4f}", r_hat < 1.01)
    figures.add("  bulk ESS", "> 1000", f"{ess:.0f}", ess > 1000)

    started = time.perf_counter()
    nested = sample_nested(model, nlive=500, dlogz=0.5, random_seed=1, progressbar=False)
    seconds = time.perf_counter() - started
    figures.add("nested sampling, nlive 500, all included", "<= 10 s", f"{seconds:.1f} s", seconds <= 10)
    exact = exact_evidence(response, rows, idata["posterior"]["fraction"].values.reshape(-1, 3))
    error = nested.attrs["log_evidence_err"]
    pull = (nested.attrs["log_evidence"] - exact) / error
    figures.add(
        "  log-evidence against quadrature",
        "< 3 sigma",
        f"{pull:+.2f} sigma ({nested.attrs['log_evidence']:.2f} +- {error:.2f}, exact {exact:.2f})",
        abs(pull) < 3,
    )
    figures.add("  likelihood calls", "", f"{nested.attrs['ncall']}")


def exact_evidence(response: ToyResponse, rows: NDArray[np.float64], draws: NDArray[np.float64]) -> float:
    """Log-evidence under the uniform Dirichlet by the midpoint rule, ten standard deviations around the posterior."""
    n = 150
    mean, sd = draws[:, :2].mean(axis=0), draws[:, :2].std(axis=0)
    low, high = np.maximum(mean - 10 * sd, 0), np.minimum(mean + 10 * sd, 1)
    axes = [a + (np.arange(n) + 0.5) / n * (b - a) for a, b in zip(low, high, strict=True)]
    x, y = (v.ravel() for v in np.meshgrid(*axes))
    grid = np.column_stack([x, y, 1 - x - y])[x + y < 1]
    pdf = response.component_pdf(rows)
    logs = np.concatenate([np.log(part @ pdf.T).sum(axis=1) for part in np.array_split(grid, 40)])
    return float(logsumexp(logs) + np.log(2 * np.prod((high - low) / n)))  # the uniform density on the simplex is 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-sampling", action="store_true", help="only the compiled functions and the kernels")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)
    response = ToyResponse()
    rows = response.simulate_rows(TRUTH, N_EVENTS, np.random.default_rng(1))
    figures = Figures("Likelihood and inference")
    likelihood_forms(figures, response, rows)
    large_tables(figures)
    if not options.no_sampling:
        sampling(figures, response, rows)
    figures.show()


if __name__ == "__main__":
    main()
