"""Energy dispersions as observatories write them, against the moments of the histograms in the file."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from gammapy.irf import EnergyDispersion2D, load_irf_dict_from_file
from gammapy.maps import MapAxis
from scipy.stats import norm

import pymc_gamma as pmg
from pymc_gamma import datasets
from pymc_gamma.errors import IRFError, PymcGammaWarning
from pymc_gamma.folding.tables import build_tables
from pymc_gamma.simulation import kernels

NAME = "prod5-south-20deg-50h"
N_ENERGY = 12
UNEVEN = np.r_[0, 0.2, np.linspace(0.25, 0.9, 20), np.linspace(0.91, 1.1, 40), np.geomspace(1.13, 9, 25)]
AXES = {
    "logarithmic": (0.2, np.geomspace(0.2, 5, 201)),
    "logarithmic, narrow": (0.1, np.geomspace(0.2, 5, 201)),
    "coarse": (0.05, np.linspace(0.2, 5, 31)),
    "coarse, logarithmic": (0.05, np.geomspace(0.1, 10, 31)),
    "wide": (0.05, np.geomspace(0.01, 100, 401)),
    "uneven": (0.12, UNEVEN),
    "one bin": (0.05, np.array([0.5, 1.5])),
    "fine": (0.15, np.linspace(0, 3, 301)),
}


@pytest.fixture(scope="module")
def prod5():
    return dict(load_irf_dict_from_file(datasets.path(NAME)))


def dispersion(edges, columns, offsets=(0, 3, 6)):
    """A gammapy dispersion with the columns (n_energy, n_migra) at every offset."""
    axes = [
        MapAxis.from_energy_edges(np.geomspace(0.05, 200, len(columns) + 1) * u.TeV, name="energy_true"),
        MapAxis.from_edges(edges, name="migra"),
        MapAxis.from_edges(offsets, unit="deg", name="offset"),
    ]
    data = np.repeat(np.asarray(columns, float)[:, :, None], len(offsets) - 1, axis=2)
    return EnergyDispersion2D(axes=axes, data=data)


def gaussian(edges, sigma, mean=1.0):
    content = np.diff(norm.cdf(edges, mean, sigma))
    return content / content.sum()


def histogram_moments(content, edges):
    """Mean and standard deviation, uniform inside each bin."""
    content = content / content.sum()
    mean = (content * 0.5 * (edges[1:] + edges[:-1])).sum()
    second = (content * (edges[1:] ** 3 - edges[:-1] ** 3) / 3 / np.diff(edges)).sum()
    return mean, np.sqrt(second - mean**2)


def moments_as_used(edisp, row, column=0):
    """Of the density that is linear between the nodes: brute-force quadrature."""
    step = edisp.migra[1] - edisp.migra[0]
    nodes = np.r_[edisp.migra[0] - step, edisp.migra, edisp.migra[-1] + step]
    fine = np.linspace(nodes[0], nodes[-1], 20 * len(nodes))
    density = np.interp(fine, nodes, np.r_[0, edisp.density[row, column], 0])
    density /= np.trapezoid(density, fine)
    mean = np.trapezoid(density * fine, fine)
    return mean, np.sqrt(np.trapezoid(density * (fine - mean) ** 2, fine))


def load(prod5, edisp, expected=PymcGammaWarning):
    with pytest.warns(expected):
        return pmg.load_irfs({**prod5, "edisp": edisp})


def quiet(tables):
    with warnings.catch_warnings(action="ignore"):
        return pmg.load_irfs(tables)


@pytest.mark.parametrize("convention", ["probability", "density"])
@pytest.mark.parametrize("case", AXES)
def test_mean_and_width_are_those_of_the_histogram(prod5, case, convention):
    sigma, edges = AXES[case]
    content = gaussian(edges, sigma)
    values = content if convention == "probability" else content / np.diff(edges)
    irfs = load(prod5, dispersion(edges, [values] * N_ENERGY))
    mean, width = histogram_moments(content, edges)
    found_mean, found_width = moments_as_used(irfs.edisp, 5)
    assert found_mean == pytest.approx(mean, abs=1e-3)
    assert found_width == pytest.approx(width, rel=0.01)
    # neither the nodes alone, without what interpolation adds
    step = irfs.edisp.migra[1] - irfs.edisp.migra[0]
    row = irfs.edisp.density[5, 0]
    mean_of_nodes = (row * irfs.edisp.migra).sum() * step
    assert mean_of_nodes == pytest.approx(mean, abs=1e-3)
    assert np.sqrt((row * (irfs.edisp.migra - mean) ** 2).sum() * step) == pytest.approx(width, rel=0.01)
    assert row.sum() * step == pytest.approx(1, rel=1e-9)
    assert irfs.edisp.density.nbytes < 20e6
    uneven = not np.allclose(np.diff(edges), np.diff(edges)[0])
    assert any("probabilities" in line for line in irfs.repairs) == (uneven and convention == "probability")


def test_resolution_that_depends_on_energy(prod5):
    """Narrow at high energies, wide and biased at low ones: one step for all must suit the narrowest."""
    edges = np.geomspace(0.05, 20, 241)
    sigma, mean = np.linspace(0.4, 0.06, N_ENERGY), np.linspace(2.5, 0.98, N_ENERGY)
    columns = [gaussian(edges, s, m) for s, m in zip(sigma, mean, strict=True)]
    irfs = load(prod5, dispersion(edges, columns))
    for row, content in enumerate(columns):
        want_mean, want_width = histogram_moments(content, edges)
        found_mean, found_width = moments_as_used(irfs.edisp, row)
        assert found_mean == pytest.approx(want_mean, abs=1e-3)
        assert found_width == pytest.approx(want_width, rel=0.01)


def test_unnormalised_tables_are_read_as_a_density(prod5):
    edges = np.geomspace(0.2, 5, 201)
    content = gaussian(edges, 0.2)
    irfs = load(prod5, dispersion(edges, [37.0 * content / np.diff(edges)] * N_ENERGY))
    assert moments_as_used(irfs.edisp, 5) == pytest.approx(histogram_moments(content, edges), rel=3e-3)
    assert any("not normalised, read as a density" in line for line in irfs.repairs)


def test_a_far_tail_is_kept(prod5):
    """One part in a thousand at ten times the energy carries a third of the variance."""
    edges = np.geomspace(0.1, 20, 301)
    content = gaussian(edges, 0.15)
    content[int(np.searchsorted(edges, 10.0))] += 1e-3
    irfs = load(prod5, dispersion(edges, [content] * N_ENERGY))
    mean, width = histogram_moments(content, edges)
    assert moments_as_used(irfs.edisp, 3) == (pytest.approx(mean, abs=1e-3), pytest.approx(width, rel=0.01))


# outliers: a few events, evenly over the axis, that make the standard deviation but not the resolution

OUTLIERS = {
    "wide, logarithmic": (0.06, 0.01, np.geomspace(0.05, 20, 301)),
    "wide, many": (0.06, 0.05, np.geomspace(0.05, 20, 301)),
    "logarithmic": (0.10, 0.02, np.geomspace(0.05, 10, 201)),
    "logarithmic, few": (0.10, 0.005, np.geomspace(0.2, 5, 101)),
    "equidistant": (0.08, 0.02, np.linspace(0, 5, 126)),
    "equidistant, fine": (0.05, 0.03, np.linspace(0, 10, 1001)),
    "coarse": (0.05, 0.01, np.linspace(0.2, 5, 31)),
    "very wide": (0.05, 0.02, np.geomspace(0.01, 100, 401)),
    "a peak in a plateau": (0.03, 0.45, np.geomspace(0.05, 6, 301)),
    "uneven": (0.08, 0.01, UNEVEN),
}


def with_outliers(edges, sigma, share, mean=1.0):
    return (1 - share) * gaussian(edges, sigma, mean) + share * np.diff(edges) / (edges[-1] - edges[0])


def cumulative_as_used(edisp, row):
    """Fine grid, and the integral of the density that is linear between the nodes up to each of its points."""
    step = edisp.migra[1] - edisp.migra[0]
    nodes = np.r_[edisp.migra[0] - step, edisp.migra, edisp.migra[-1] + step]
    fine = np.linspace(nodes[0], nodes[-1], 20 * len(nodes))
    density = np.interp(fine, nodes, np.r_[0, edisp.density[row, 0], 0])
    return fine, np.r_[0, np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(fine))]


def half_width(x, cumulative, share):
    return 0.5 * np.subtract(*np.interp([0.5 + share / 2, 0.5 - share / 2], cumulative, x))


def assert_as_the_histogram(edisp, row, edges, content):
    """Mean, standard deviation, widths at 68 % and 95 %, and the cumulative distribution."""
    cumulative = np.r_[0, np.cumsum(content)]
    fine, used = cumulative_as_used(edisp, row)
    for share in (0.68, 0.95):
        right = half_width(edges, cumulative, share)
        assert half_width(fine, used, share) == pytest.approx(right, rel=0.01)
    assert np.abs(used - np.interp(fine, edges, cumulative)).max() < 0.01
    mean, width = histogram_moments(content, edges)
    assert moments_as_used(edisp, row) == (pytest.approx(mean, abs=1e-3), pytest.approx(width, rel=0.01))


@pytest.mark.parametrize("case", OUTLIERS)
def test_outliers_do_not_widen_the_core(prod5, case):
    sigma, share, edges = OUTLIERS[case]
    content = with_outliers(edges, sigma, share)
    irfs = quiet({**prod5, "edisp": dispersion(edges, [content / np.diff(edges)] * N_ENERGY)})
    assert_as_the_histogram(irfs.edisp, 5, edges, content)
    # events of a line within 12 % of its energy
    fine, used = cumulative_as_used(irfs.edisp, 5)
    inside = np.subtract(*np.interp([1.12, 0.88], edges, np.r_[0, np.cumsum(content)]))
    assert np.subtract(*np.interp([1.12, 0.88], fine, used)) == pytest.approx(inside, abs=0.006)
    assert not any("times as large" in line for line in irfs.repairs)


def test_outliers_where_the_resolution_depends_on_energy(prod5):
    edges = np.geomspace(0.05, 20, 301)
    sigma, mean = np.geomspace(0.4, 0.06, N_ENERGY), np.linspace(2, 0.98, N_ENERGY)
    columns = [with_outliers(edges, s, 0.01, m) for s, m in zip(sigma, mean, strict=True)]
    irfs = quiet({**prod5, "edisp": dispersion(edges, [c / np.diff(edges) for c in columns])})
    for row in (0, 4, 8, 11):
        assert_as_the_histogram(irfs.edisp, row, edges, columns[row])


def test_where_no_more_nodes_fit_it_is_told_by_how_much(prod5):
    """The core is a fifth of the step of the nodes."""
    edges = np.geomspace(0.01, 1000, 2001)
    content = with_outliers(edges, 0.01, 0.002)
    irfs = quiet({**prod5, "edisp": dispersion(edges, [content / np.diff(edges)] * N_ENERGY)})
    line = next(line for line in irfs.repairs if "times as large" in line)
    told = float(line.split("up to ")[1].split(" times")[0])
    fine, used = cumulative_as_used(irfs.edisp, 5)
    right = half_width(edges, np.r_[0, np.cumsum(content)], 0.68)
    assert told == pytest.approx(half_width(fine, used, 0.68) / right, rel=0.05)
    assert told > 3
    assert irfs.edisp.density.nbytes < 40e6


@pytest.mark.parametrize("where", [[0], [30], [95], range(20, 26), range(20, 50), range(96)])
def test_columns_of_a_few_events_do_not_decide(prod5, where, rng):
    """A spike of one bin is narrower than any resolution; nodes that resolved it would be thousands."""
    edges = np.geomspace(0.2, 5, 1001)
    columns = [gaussian(edges, 0.15)] * 96
    for k in where:
        columns[k] = np.histogram(rng.normal(1, 0.15, 1 if len(where) < 96 else 10), edges)[0]
    columns = [column / column.sum() / np.diff(edges) for column in columns]
    edisp = quiet({**prod5, "edisp": dispersion(edges, columns)}).edisp
    assert len(edisp.migra) < 500
    if len(where) < 96:
        assert_as_the_histogram(edisp, 70, edges, gaussian(edges, 0.15))


@pytest.mark.parametrize("least", [1, 10])
def test_equidistant_bins_of_noisy_tables_stay(prod5, least, rng):
    """As simulated: fewer and fewer events towards one end."""
    edges = np.linspace(0, 3, 301)
    columns = [np.histogram(rng.normal(1, 0.15, int(n)), edges)[0] for n in np.geomspace(least, 1e5, 96)]
    edisp = quiet({**prod5, "edisp": dispersion(edges, [c / c.sum() / 0.01 for c in columns])}).edisp
    np.testing.assert_allclose(edisp.migra, 0.5 * (edges[1:] + edges[:-1]), rtol=1e-12)
    np.testing.assert_allclose(edisp.density[60, 0], columns[60] / columns[60].sum() / 0.01, rtol=1e-9)


def test_the_fold_and_the_simulator_see_these_moments(prod5, rng):
    sigma, edges = AXES["coarse"]
    content = gaussian(edges, sigma)
    irfs = load(prod5, dispersion(edges, [content] * N_ENERGY))
    mean, width = histogram_moments(content, edges)
    # fold: a true-energy bin so narrow that it adds nothing
    true_edges = tuple(np.geomspace(0.9995, 1.0005, 4))
    tables = build_tables(irfs, true_edges, (0.3, 3.0))
    energy = np.exp(tables.log_energy[0] + tables.log_energy[1] * np.arange(tables.edisp.shape[1]))
    density = tables.edisp[0, :, 1].astype(float)
    total = np.trapezoid(density, energy)
    found = np.trapezoid(density * energy, energy) / total
    spread = np.sqrt(np.trapezoid(density * (energy - found) ** 2, energy) / total)
    assert (total, found, spread) == (
        pytest.approx(1, abs=2e-3),
        pytest.approx(mean, abs=1e-3),
        pytest.approx(width, rel=0.01),
    )
    # simulator
    n = 200_000
    cdf = np.cumsum(irfs.edisp.density, axis=2)
    measured, directions = np.empty(n), np.empty((n, 3))
    axis = np.array([1.0, 0.0, 0.0])
    step = irfs.edisp.migra[1] - irfs.edisp.migra[0]
    kernels.reconstruct(
        rng, np.zeros(n), np.tile(axis, (n, 1)), axis, np.log(irfs.edisp.energy), irfs.edisp.offset,
        cdf / cdf[..., -1:], irfs.edisp.migra[0], step, np.log(irfs.psf.energy), irfs.psf.offset,
        irfs.psf.sigma, irfs.psf.weight, measured, directions,
    )  # fmt: skip
    assert measured.mean() == pytest.approx(mean, abs=4 * width / np.sqrt(n))
    assert measured.std() == pytest.approx(width, rel=0.01 + 4 / np.sqrt(2 * n))


def test_uniform_axes_that_are_fine_enough_stay_as_they_are(prod5):
    irfs = pmg.load_irfs(NAME)
    raw = np.moveaxis(np.asarray(prod5["edisp"].data, float), 1, 2)
    assert np.allclose(irfs.edisp.migra, prod5["edisp"].axes["migra"].center.value, rtol=1e-12)
    filled = raw.sum(axis=2) > 0
    step = irfs.edisp.migra[1] - irfs.edisp.migra[0]
    np.testing.assert_allclose(
        irfs.edisp.density[filled] * step, raw[filled] / raw[filled].sum(axis=1)[:, None], rtol=1e-9
    )


def test_one_bin_of_energy_and_one_node_of_offset_fold(prod5):
    """The least a table can hold: the same dispersion, and PSF, everywhere."""
    edges = np.linspace(0, 3, 301)
    content = gaussian(edges, 0.15)
    single = EnergyDispersion2D(
        axes=[
            MapAxis.from_energy_edges([0.0126, 199] * u.TeV, name="energy_true"),
            MapAxis.from_edges(edges, name="migra"),
            MapAxis.from_nodes([0.5], unit="deg", name="offset"),
        ],
        data=content[None, :, None],
    )
    irfs = load(prod5, single)
    many = load(prod5, dispersion(edges, [content] * N_ENERGY, offsets=(0, 1, 6)))
    true_edges = tuple(np.geomspace(0.5, 5, 31))
    one, other = (build_tables(both, true_edges, (0.5, 5.0)) for both in (irfs, many))
    np.testing.assert_allclose(one.edisp[0], other.edisp[0], rtol=1e-5, atol=1e-9)
    assert irfs.offset_max == 6


def test_negative_cells_are_cut_and_counted(prod5):
    edges = np.linspace(0, 3, 301)
    content = gaussian(edges, 0.15)
    data = dispersion(edges, [content] * N_ENERGY)
    data.data = data.data.copy()
    data.data[4, 200, 1] = data.data[7, 10, 0] = -0.2
    irfs = load(prod5, data)
    line = next(line for line in irfs.repairs if "negative" in line)
    assert "2 negative cells set to 0" in line
    assert "migra=2.005: -0.2" in line
    assert irfs.edisp.density.min() >= 0
    assert moments_as_used(irfs.edisp, 4, 1) == pytest.approx(histogram_moments(content, edges), rel=1e-2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_columns_with_holes_are_filled_from_a_neighbour(prod5, value):
    edges = np.linspace(0, 3, 301)
    data = dispersion(edges, [gaussian(edges, 0.15)] * N_ENERGY)
    data.data = data.data.copy()
    data.data[4, 100, 1] = value
    data.data[6, :, 0] = 0
    irfs = load(prod5, data)
    text = " ".join(irfs.repairs)
    assert "1 of 24 (energy_true, offset) columns hold values that are not finite" in text
    assert f"energy_true={data.axes['energy_true'].center[4].value:.4g} TeV, offset=4.5 deg" in text
    assert "1 of 24 (energy_true, offset) columns are empty" in text
    np.testing.assert_allclose(irfs.edisp.density[4, 1], irfs.edisp.density[0, 0], rtol=1e-9)
    np.testing.assert_allclose(irfs.edisp.density[6, 0], irfs.edisp.density[0, 0], rtol=1e-9)


def test_dispersions_that_cannot_be_are_refused(prod5):
    edges = np.linspace(0, 3, 301)
    empty = dispersion(edges, np.zeros((N_ENERGY, 300)))
    holes = dispersion(edges, np.full((N_ENERGY, 300), np.nan))
    far = dispersion(edges * 30, [gaussian(edges, 0.15)] * N_ENERGY)
    for bad, message in ((empty, "dispersion is empty"), (holes, "dispersion is empty"), (far, "median migration")):
        with pytest.raises(IRFError, match=message):
            pmg.load_irfs({**prod5, "edisp": bad})
