"""Lines, endpoints and other narrow spectra, fixed and free: counts, densities, draws and warnings."""

import warnings

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from oracle import Oracle
from scipy import stats
from setups import P_VALUE, pointing, region

import pymc_gamma as pmg
from pymc_gamma.errors import PymcGammaWarning
from pymc_gamma.folding.nodes import at_bins, sharpened, spectrum_nodes, split_bins, tabulate

PLACE = (0.1, -0.05)
RANGE = (0.05, 199.0)
AMPLITUDE = 1e-12
STEP = 0.0069
"""Spacing of the nodes in log E by default."""
LINES = [(width, mean * np.exp(shift * STEP)) for width, mean, shift in (
    (0.01, 0.3, 0.0), (0.01, 1.0, 0.3), (0.01, 1.0, 0.5), (0.01, 10.0, 0.8), (0.02, 1.03, 0.0), (0.02, 12.0, 0.4),
    (0.05, 0.5, 0.2), (0.05, 3.0, 0.6), (0.1, 1.0, 0.0), (0.3, 2.0, 0.0),
)]  # fmt: skip


def roi():
    return region(radius=1.0)


def line(width, mean, energy, maths=np):
    sigma = width * mean
    return AMPLITUDE * maths.exp(-0.5 * ((energy - mean) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)


def component(model):
    from gammapy.modeling.models import PointSpatialModel

    return pmg.SkySource(
        "x", PointSpatialModel(lon_0=PLACE[0] * u.deg, lat_0=PLACE[1] * u.deg, frame="galactic"), model
    )


def gaussian(width, mean):
    from gammapy.modeling.models import GaussianSpectralModel

    return GaussianSpectralModel(
        amplitude=AMPLITUDE * u.Unit("cm-2 s-1"), mean=mean * u.TeV, sigma=width * mean * u.TeV
    )


def box(low, high):
    """Constant between two energies, as dark matter that decays through an intermediate state has it."""
    from gammapy.modeling import Parameter
    from gammapy.modeling.models import SpectralModel

    class Box(SpectralModel):
        amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1")

        @staticmethod
        def evaluate(energy, amplitude):
            return amplitude * ((energy > low * u.TeV) & (energy < high * u.TeV))

    return Box()


def expected_counts(flux, low, high):
    """Exposure times flux; all of it is reconstructed in the region."""
    energy = np.linspace(low, high, 3001)
    exposure = [pointing().exposure(e, *PLACE, "galactic") for e in energy]
    return np.trapezoid(flux(energy) * exposure, energy)


def rows_near(mean, width):
    energy = mean * np.exp(np.linspace(-0.15, 0.15, 13) * (1 + 10 * width))
    return np.column_stack([energy, np.full(13, PLACE[0] + 0.02), np.full(13, PLACE[1] - 0.01)])


def brute_force(model, rows, n_energy=3000):
    """Densities, and which of them are not far from the line."""
    density = Oracle(pointing(), roi(), RANGE, n_energy=n_energy).component(component(model), rows)
    return density, density > 0.1 * density.max()


@pytest.fixture(scope="module")
def free():
    from gammapy.modeling.models import PowerLawSpectralModel

    return pmg.fold(component(PowerLawSpectralModel()), pointing(), roi(), free_spectrum="x")


def density_of(response, rows):
    """Expected counts density of the first component at event rows, TeV-1 sr-1."""
    return response.component_pdf(rows)[:, 0] * float(response.acceptance[0])


@pytest.mark.parametrize(("width", "mean"), LINES)
def test_lines(free, width, mean):
    """0.5 % in counts, 1 % in densities: folded, given as values and as a function, and inside a model."""
    rows = rows_near(mean, width)
    density, near = brute_force(gaussian(width, mean), rows)
    counts = expected_counts(lambda e: line(width, mean, e), mean * max(1 - 6 * width, 0.03), mean * (1 + 6 * width))
    fixed = pmg.fold(component(gaussian(width, mean)), pointing(), roi())
    values = free.with_spectra({"x": line(width, mean, free.energy_true)})
    function = free.with_spectra({"x": lambda energy: line(width, mean, energy)})
    for response in (fixed, values, function):
        assert float(response.acceptance.sum()) == pytest.approx(counts, rel=5e-3)
        np.testing.assert_allclose(density_of(response, rows)[near], density[near], rtol=1e-2)
    found, total = model_density(free, lambda e: line(width, mean, e, pt), rows)
    assert total == pytest.approx(counts, rel=5e-3)
    np.testing.assert_allclose(found[near], density[near], rtol=1e-2)
    assert np.all(found > 0)


def model_density(response, spectrum, rows):
    """Densities and expected counts of a Poisson model whose spectrum depends on a variable."""
    with pm.Model(coords=response.coords) as model:
        factor = pm.Normal("factor", 1.0, 0.01)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            spectra={"x": lambda energy: spectrum(energy * factor)},
            observed=rows,
            expected_counts=True,
        )
    start = model.initial_point()
    (pointwise,) = model.logp(vars=[model["events"]], sum=False)
    (counts,) = model.replace_rvs_by_values([model["events_expected_counts"]])
    evaluate = model.compile_fn([pointwise, counts], inputs=model.value_vars, mode="FAST_COMPILE")
    logp, counts = evaluate(start)
    return np.exp(logp[: len(rows)] + counts.sum() / len(logp)), float(counts.sum())


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 0.9])
def test_endpoints(free, shift):
    high = 3.0 * np.exp(shift * STEP)
    counts = expected_counts(lambda e: np.full(len(e), AMPLITUDE), 0.5, high)
    assert float(pmg.fold(component(box(0.5, high)), pointing(), roi()).acceptance.sum()) == pytest.approx(
        counts, rel=2e-3
    )
    flux = {"x": lambda energy: AMPLITUDE * ((energy > 0.5) & (energy < high))}
    assert float(free.with_spectra(flux).acceptance.sum()) == pytest.approx(counts, rel=2e-3)
    step = model_density(free, lambda e: AMPLITUDE * pt.switch((e > 0.5) & (e < high), 1.0, 0.0), rows_near(2, 0.1))[1]
    assert step == pytest.approx(counts, rel=5e-3)


@pytest.mark.parametrize("high", [3.0, 3.01])
def test_density_at_an_endpoint(high):
    rows = rows_near(3.0, 0.05)
    density, near = brute_force(box(0.5, high), rows, n_energy=30_000)
    response = pmg.fold(component(box(0.5, high)), pointing(), roi())
    np.testing.assert_allclose(density_of(response, rows)[near], density[near], rtol=1e-2)


def test_super_exponential_cutoff(free):
    """A spectrum that is smooth until its parameters make it a step: looked at where sampling starts."""
    from gammapy.modeling.models import ExpCutoffPowerLawSpectralModel

    model = ExpCutoffPowerLawSpectralModel(index=1.0, amplitude="1e-12 TeV-1 cm-2 s-1", lambda_=0.5 / u.TeV, alpha=25)
    rows = rows_near(2.0, 0.05)
    density, near = brute_force(model, rows)
    fixed = pmg.fold(component(model), pointing(), roi())
    np.testing.assert_allclose(density_of(fixed, rows)[near], density[near], rtol=1e-2)
    with pm.Model(coords=free.coords) as pymc_model:
        alpha = pm.Normal("alpha", 25.0, 1.0)
        spectrum = pmg.ExpCutoffPowerLaw(index=1.0, amplitude=1e-12, lambda_=0.5, alpha=alpha)
        events = pmg.ExtendedEventMixture("events", response=free, spectra={"x": spectrum}, observed=rows)
    assert events.owner.op.source.smooth == ()
    assert np.isfinite(pymc_model.compile_logp()(pymc_model.initial_point()))


def test_smooth_spectra_stay_on_few_nodes(free):
    """Classes say so; numbers are looked at; of a function of variables nothing is known."""
    rows = rows_near(1.0, 0.1)
    table = [1e-11, 1e-13, 0.0] * u.Unit("TeV-1 cm-2 s-1")
    template = pmg.TemplateSpectrum([1, 10, 10.1] * u.TeV, table)
    for build, smooth in (
        (lambda index: pmg.PowerLaw(index=index) + 0.3 * pmg.LogParabola(alpha=index), ("x",)),
        (lambda index: lambda energy: energy**-2.0, ("x",)),
        (lambda index: lambda energy: line(0.02, 1.0, energy), ()),
        (lambda index: lambda energy: energy**-index, ()),
        (lambda index: pmg.PowerLaw(index=index) + template, ()),
    ):
        with pm.Model(coords=free.coords):
            spectrum = build(pm.Normal("index", 2.0, 0.1))
            events = pmg.EventMixture("events", [1.0], response=free, spectra={"x": spectrum}, observed=rows)
        assert events.owner.op.source.smooth == smooth


def test_power_law_is_the_same_on_all_nodes(free, rng):
    """A function of which nothing is known gives the likelihood of the class that is known to be smooth."""
    rows = free.simulate_rows([1], 500, rng)
    found = []
    for build in (lambda i: pmg.PowerLaw(index=i), lambda i: lambda e: 1e-12 * e**-i):
        with pm.Model(coords=free.coords) as model:
            spectrum = build(pm.Normal("index", 2.2, 0.3))
            pmg.ExtendedEventMixture("events", response=free, spectra={"x": spectrum}, observed=rows)
        logp = model.logp(vars=[model["events"]])
        outputs = model.compile_fn([logp, *pt.grad(logp, model.value_vars)], mode="FAST_COMPILE")
        found.append([float(one) for one in outputs({"index": np.array(2.35)})])
    assert found[1][0] == pytest.approx(found[0][0], abs=0.05)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-3)


def test_gradient_and_jax(free):
    """The position of a line, with a second component on few nodes in the same vector."""
    from setups import source

    both = pmg.fold(
        [component(gaussian(0.1, 1.0)), source("y", -0.2, 0.1)], pointing(), roi(), free_spectrum=["x", "y"]
    )
    rows = rows_near(1.0, 0.05)
    with pm.Model(coords=both.coords) as model:
        mean = pm.Normal("mean", 1.0, 0.1)
        index = pm.Normal("index", 2.0, 0.1)
        spectra = {"x": lambda e: line(0.03, 1.0, e / mean, pt) / mean, "y": pmg.PowerLaw(index=index)}
        pmg.EventMixture("events", [0.6, 0.4], response=both, spectra=spectra, observed=rows)
    assert model["events"].owner.op.source.smooth == ("y",)
    logp, inputs = model.logp(), model.value_vars
    outputs = [logp, *pt.grad(logp, inputs)]
    value = pytensor.function(inputs, outputs)
    at, step = np.array([1.02, 2.1]), 1e-5
    found = [float(one) for one in value(*at)]
    numeric = [(float(value(*(at + d))[0]) - float(value(*(at - d))[0])) / (2 * step) for d in step * np.eye(2)]
    np.testing.assert_allclose(found[1:], numeric, rtol=1e-4)
    pytest.importorskip("jax")
    np.testing.assert_allclose([float(one) for one in pytensor.function(inputs, outputs, mode="JAX")(*at)], found, 1e-7)


def test_draws_follow_the_line(free, rng):
    """Photons have the energies of the line, events its density, and their number is the acceptance."""
    width, mean = 0.01, 1.003
    response = free.with_spectra({"x": line(width, mean, free.energy_true)})
    photons = response.simulate_true("x", 20_000, rng=rng)
    assert stats.kstest(photons.energy_true, stats.norm(mean, width * mean).cdf).pvalue > P_VALUE
    energy = response.simulate_rows([1], 20_000, rng)[:, 0]
    edges = mean * np.linspace(0.7, 1.3, 25)
    share = response.npred(energy=edges * u.TeV).values[0] / float(response.acceptance.sum())
    counts, _ = np.histogram(energy, edges)
    inside = share * len(energy) > 20
    chi2 = np.sum((counts - share * len(energy))[inside] ** 2 / (share * len(energy))[inside])
    assert stats.chi2(inside.sum()).sf(chi2) > P_VALUE
    drawn = free.simulate_rows([1], 5000, rng, [line(width, mean, free.energy_true)])[:, 0]
    assert stats.ks_2samp(drawn, energy).pvalue > P_VALUE


def test_warnings_say_which_energies_resolve_a_line(free):
    with pytest.warns(
        PymcGammaWarning, match=r"'x': the spectrum has a feature .* fold with energy_true=(\d+)"
    ) as caught:
        coarse = pmg.fold(component(gaussian(0.002, 1.002)), pointing(), roi())
    counts = expected_counts(lambda e: line(0.002, 1.002, e), 0.99, 1.015)
    assert float(coarse.acceptance.sum()) == pytest.approx(counts, rel=5e-3)
    bins = int(str(caught[0].message).split("energy_true=")[1].split()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine = pmg.folding.nodes.spectrum_nodes(np.geomspace(*RANGE, bins + 1))
        values = line(0.002, 1.002, fine)
        pmg.folding.nodes.warn_unresolved(values, np.geomspace(*RANGE, bins + 1), "line")
    spike = np.zeros(len(free.energy_true))
    spike[500] = 1.0
    with pytest.warns(PymcGammaWarning, match="the spectrum of 'x' has a feature at .* TeV that is narrower"):
        free.with_spectra({"x": spike})
    spectrum = {"x": lambda e: line(0.001, pt.as_tensor_variable(1.0), e, pt)}
    with pytest.warns(PymcGammaWarning, match="'x' has a feature"), pm.Model():
        pmg.EventMixture("events", [1.0], response=free, spectra=spectrum, observed=rows_near(1, 0.01))


def test_nominal_flux_of_a_line(free):
    response = free.with_spectra({"x": line(0.01, 1.0, free.energy_true)})
    energy = np.linspace(0.9, 1.1, 4001)
    assert np.trapezoid(response.nominal_flux("x", energy), energy) == pytest.approx(AMPLITUDE, rel=5e-3)


def test_integrated_flux_of_a_line(free):
    with pm.Model(coords=free.coords) as model:
        mean = pm.Normal("mean", 1.0, 0.1)
        pmg.ExtendedEventMixture(
            "events",
            response=free,
            spectra={"x": lambda e: line(0.01, mean, e, pt)},
            observed=rows_near(1, 0.01),
            integrated_flux=[0.5, 2] * u.TeV,
        )
    assert float(pm.draw(pm.do(model, {"mean": 1.003})["events_flux"])[0]) == pytest.approx(AMPLITUDE, rel=1e-3)


def test_nodes_and_bins(rng):
    """Bins of any width hold the integral of a spectrum times a response, up to the fourth order."""
    edges = np.geomspace(*RANGE, 151)
    nodes = spectrum_nodes(edges)
    assert len(nodes) == 1201
    np.testing.assert_allclose(nodes[::8], edges)
    smooth = tabulate(lambda e: e**-2.3 * np.exp(-e / 20), edges, "smooth")
    np.testing.assert_array_equal(smooth, nodes**-2.3 * np.exp(-nodes / 20))
    assert len(split_bins([smooth], edges)) == 151
    fine = np.geomspace(*RANGE, 200_001)
    for width in (0.01, 0.04, 0.15, 0.5):
        flux = line(width, 2.0, nodes) + 1e-14 * nodes**-2
        split = split_bins([flux], edges)
        assert (len(split) > 151) == (width < 0.5)
        response = np.exp(-0.5 * (np.log(fine / 2.1) / 0.08) ** 2)
        true = np.trapezoid((line(width, 2.0, fine) + 1e-14 * fine**-2) * response, fine)
        which = np.clip(np.searchsorted(split, fine) - 1, 0, len(split) - 2)
        step = np.gradient(fine)
        centre = np.sqrt(split[1:] * split[:-1])
        in_bins = np.bincount(which, response * (fine / centre[which]) ** -2.5 * step, len(centre))
        assert at_bins(flux, split) @ in_bins == pytest.approx(true, rel=2e-3)


def test_sharpened_columns():
    """Not negative, of the same sum, and for a straight line of values the same density."""
    columns = np.zeros((3, 40))
    columns[0, 10:25] = np.linspace(1, 3, 15)
    columns[1, 5:30] = np.exp(-0.5 * ((np.arange(25) - 12) / 3) ** 2)
    found = sharpened(columns)
    assert np.all(found >= 0)
    np.testing.assert_allclose(found.sum(axis=1), columns.sum(axis=1), rtol=1e-12)
    straight = 5 + 0.1 * np.arange(40)
    np.testing.assert_allclose(found @ straight, columns @ straight, rtol=1e-3)
    assert not found[2].any()
