"""A free spectrum: the likelihood with its true-energy axis against other forms of the same model, in one run.

Run ``python -m benchmarks.spectra``; ``--no-sampling`` leaves out the slow part. The Galactic diffuse emission has a
free spectrum, because unlike a point source it reaches every event; catalogue and background are fixed. All forms are
compiled by PyMC into one function for value and gradient, and take turns on the clock.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from collections.abc import Callable
from typing import Any

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.sparse
import pytensor.tensor as pt
import scipy.sparse
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

import pymc_gamma as pmg
from benchmarks._timing import Figures, interleaved_times
from benchmarks.setting import FRACTIONS, galactic_centre
from pymc_gamma.model.build import build_intensity, model_components
from pymc_gamma.model.fixed_number import FixedNumber
from pymc_gamma.model.intensity import Parameters

SIZES = {4500: 0.25e-3, 100_000: 5e-3}
"""Numbers of events, and the longest time of one call in seconds."""


def spectrum() -> pmg.ExpCutoffPowerLaw:
    index = pm.Normal("index", 2.4, 0.3)
    return pmg.ExpCutoffPowerLaw(index=index, lambda_=pm.HalfNormal("lambda_", 0.1))


def compiled(response: pmg.Response, build: Callable[[Any, Any], None], mode: str | None = None) -> Callable[[], Any]:
    """PyMC's function for value and gradient, called as samplers call it."""
    with pm.Model(coords=response.coords) as model:
        build(pm.Dirichlet("fraction", a=np.ones(3), dims="component"), spectrum())
    wrapper = model.logp_dlogp_function(ravel_inputs=True, **({} if mode is None else {"mode": mode}))
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    function.trust_input = True
    point = np.array([-0.2, 0.1, 2.45, -4.0])
    return lambda: [np.asarray(output) for output in function(point)]  # JAX computes only when the numbers are wanted


def forms(response: pmg.Response, rows: NDArray[np.float64]) -> tuple[dict[str, Callable[[], Any]], int]:
    """The same model in several forms, and the count of numbers that are not zero in the columns of the free one."""
    components = model_components("events", response, {"diffuse": pmg.PowerLaw()}, {}, ())
    source, _ = build_intensity("events", FixedNumber, components, None, needs_norms=False)
    (free,) = source.free
    fixed, _ = response.column_densities(rows)
    values, pointer, column = response.spectral_bands(rows, source.smooth)
    at = np.arange(len(values)) - np.repeat(pointer[:-1] - column[:, 0], np.diff(pointer))
    bands = scipy.sparse.csr_matrix((values.astype(float), at, pointer), (len(rows), free.size))
    bands.eliminate_zeros()
    whole = scipy.sparse.hstack([scipy.sparse.csr_matrix(fixed), bands]).tocsr()

    def coefficients(fraction: Any, shape: Any) -> Any:
        return source.weighted(Parameters(None, shape(free.energy)), fraction).columns

    def ours(fraction: Any, shape: Any) -> None:
        pmg.EventMixture("events", fraction, response=response, spectra={"diffuse": shape}, observed=rows)

    def with_dense(fraction: Any, shape: Any) -> None:
        table = pytensor.shared(whole.toarray(), "table", borrow=True)
        pm.Potential("events", pt.log(table @ coefficients(fraction, shape)).sum())

    def with_sparse(fraction: Any, shape: Any) -> None:
        table = pytensor.sparse.as_sparse_variable(whole)
        product = pytensor.sparse.structured_dot(table, coefficients(fraction, shape)[:, None])
        pm.Potential("events", pt.log(product).sum())

    functions = {
        "EventMixture": compiled(response, ours),
        "PyTensor, dense table": compiled(response, with_dense),
        "PyTensor, sparse table": compiled(response, with_sparse),
        "JAX, dense table": compiled(response, with_dense, "JAX"),
    }
    found = {name: float(function()[0]) for name, function in functions.items()}
    for name, value in found.items():
        if not np.isclose(value, found["EventMixture"], rtol=1e-6):
            raise AssertionError(f"{name} computes another model: {found}")
    return functions, bands.nnz


def likelihood(figures: Figures) -> None:
    components, observation, roi = galactic_centre()
    response = pmg.fold(components, observation, roi, free_spectrum="diffuse")
    for n_events, target in SIZES.items():
        rows = response.event_rows(response.simulate(FRACTIONS, n_events, rng=1))
        functions, count = forms(response, rows)
        times = interleaved_times(functions)
        own = times.pop("EventMixture")
        label = f"log L + gradient in PyMC, {n_events} events, 1 free of 3"
        figures.add(
            label, f"<= {target * 1e3:g} ms", f"{own * 1e3:.3f} ms ({count / n_events:.0f} a row)", own <= target
        )
        least = 3 if n_events >= 100_000 else 1
        for name, other in times.items():
            ratio = other / own
            figures.add(
                f"  faster than {name}", f">= {least} x", f"{ratio:.1f} x ({other * 1e3:.2f} ms)", ratio >= least
            )


def sampling(figures: Figures) -> None:
    """Index and cut-off of a point source over the background."""
    from gammapy.modeling.models import ExpCutoffPowerLawSpectralModel, PointSpatialModel

    _, observation, _ = galactic_centre()
    spatial = PointSpatialModel(lon_0=0.3 * u.deg, lat_0=0.2 * u.deg, frame="galactic")
    source = pmg.SkySource("source", spatial, ExpCutoffPowerLawSpectralModel(index=2.2, lambda_=0.1 / u.TeV))
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    roi = pmg.RegionOfInterest(center=centre, width=2 * u.deg, energy=(0.1, 100) * u.TeV)
    response = pmg.fold([source, pmg.CosmicRayBackground()], observation, roi, free_spectrum="source")
    events = response.simulate([1, 1], 4500, rng=2)
    with pm.Model(coords=response.coords):
        fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, response=response, spectra={"source": spectrum()}, observed=events)
        started = time.perf_counter()
        idata = pm.sample(1000, tune=1000, chains=4, cores=2, random_seed=1, progressbar=False, quiet=True)
        seconds = time.perf_counter() - started
    divergences = int(idata["sample_stats"]["diverging"].sum())
    r_hat = az.summary(idata, round_to="none")["r_hat"].max()
    figures.add(
        "index + cut-off + fraction, 4 x (1000 + 1000), all included", "<= 30 s", f"{seconds:.1f} s", seconds <= 30
    )
    figures.add("  divergences", "0", str(divergences), divergences == 0)
    figures.add("  R-hat", "< 1.01", f"{r_hat:.4f}", r_hat < 1.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-sampling", action="store_true", help="only the compiled functions")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)
    figures = Figures("Free spectra")
    likelihood(figures)
    if not options.no_sampling:
        sampling(figures)
    figures.show()


if __name__ == "__main__":
    main()
