"""Pictures: their numbers, not their looks."""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from scipy import stats

from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.events import Events
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.plotting import SkyCells, plot_corner, plot_counts, plot_ppc
from pymc_gamma.plotting.counts import significance
from pymc_gamma.plotting.expected import (
    energy_edges,
    energy_probability,
    expected_counts,
    replicated_counts,
)
from pymc_gamma.plotting.samples import component_draws, posterior_draws, resample

NAMES = ("narrow", "wide")
TRUTH = np.array([0.3, 0.7])


class SeparableResponse:
    """Power laws in energy times Gaussians in longitude and latitude, truncated to the region."""

    component_names = NAMES
    reco = ("energy", "lon", "lat")
    index, sigma, counts = (1.4, 1.8), (0.4, 4.0), (1e4, 5e5)

    def __init__(self, frame="galactic", lon=0.0, lat=0.0):
        centre = SkyCoord(lon * u.deg, lat * u.deg, frame=frame)
        self.roi = RegionOfInterest(center=centre, width=6 * u.deg, energy=(0.1, 100) * u.TeV)

    def _share(self, name, component, edges):
        if name == "energy":
            low, high = self.roi.energy_min, self.roi.energy_max
            cumulative = np.clip(edges, low, high) ** -self.index[component]
        else:
            middle = getattr(self.roi, name)
            low, high = middle - 3, middle + 3
            cumulative = stats.norm.cdf(np.clip(edges, low, high), middle, self.sigma[component])
        return np.diff(cumulative) / (cumulative[-1] - cumulative[0])

    def npred(self, energy=None, lon=None, lat=None, *, step=0.05, observation=None):
        assert observation is None
        axes = {"energy": energy, "lat": lat, "lon": lon}
        axes = {name: edges.value for name, edges in axes.items() if edges is not None}
        arrays = []
        for component in range(2):
            array = np.array(self.counts[component])
            for name, edges in axes.items():
                array = array[..., None] * self._share(name, component, edges)
            arrays.append(array)
        return xr.DataArray(np.array(arrays), dims=("component", *axes))

    def simulate(self, weights, n, rng):
        which = rng.choice(2, n, p=weights)
        index, sigma = np.array(self.index)[which], np.array(self.sigma)[which]
        energy = 0.1 * (1 - rng.random(n) * (1 - 1e-3**index)) ** (-1 / index)
        lon, lat = (stats.truncnorm.rvs(-3 / sigma, 3 / sigma, 0, sigma, random_state=rng) for _ in range(2))
        return Events(energy * u.TeV, (lon + self.roi.lon) * u.deg, (lat + self.roi.lat) * u.deg, frame=self.roi.frame)


def posterior(rng, draws=300, truth=TRUTH, names=NAMES, concentration=4000):
    values = rng.dirichlet(concentration * np.asarray(truth), (2, draws))
    dataset = xr.Dataset({"fraction": (("chain", "draw", "component"), values)}, coords={"component": list(names)})
    return xr.DataTree.from_dict({"posterior": dataset})


@pytest.fixture
def response():
    return SeparableResponse()


def test_draws_have_labels_and_owners(rng):
    dataset = posterior(rng)["posterior"].to_dataset().assign(scale=(("chain", "draw"), np.ones((2, 300))))
    draws = posterior_draws(dataset)
    assert draws.values.shape == (600, 3)
    assert draws.labels == ("fraction\nnarrow", "fraction\nwide", "scale")
    np.testing.assert_array_equal(draws.values[300], [*dataset["fraction"].values[1, 0], 1.0])


def test_component_draws_follow_the_order_of_the_response(rng):
    tree = posterior(rng)
    swapped = component_draws(tree, "fraction", ["wide", "narrow"])
    np.testing.assert_array_equal(swapped[:, ::-1], component_draws(tree, "fraction", NAMES))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda tree: posterior_draws(tree, ["norm"]), r"no variable 'norm'.*'fraction'"),
        (lambda tree: component_draws(tree, "flux", NAMES), r"no variable 'flux'.*var_name="),
        (
            lambda tree: component_draws(tree, "fraction", ["a", "b"]),
            r"about the components \['narrow', 'wide'\]",
        ),
        (
            lambda tree: component_draws(tree["posterior"].to_dataset().drop_vars("component"), "fraction", "abc"),
            "3 components",
        ),
        (lambda tree: posterior_draws(xr.DataTree()), "no group 'posterior'"),
    ],
)
def test_draws_that_do_not_fit_are_named(rng, call, names):
    with pytest.raises(ModelError, match=names):
        call(posterior(rng))


def test_resampling_follows_the_weights(rng):
    values = np.repeat([[0.0], [1.0]], 5000, axis=0)
    weights = np.repeat([1.0, 3.0], 5000)
    mean = resample(values, weights, 4000, rng).mean()
    assert abs(mean - 0.75) < 3.3 * np.sqrt(0.75 * 0.25 / 4000)
    assert len(resample(values, None, 100, rng)) == 100
    assert resample(values, None, 20000, rng) is values
    with pytest.raises(ValueError, match="one per draw"):
        resample(values, weights[:-1], 10, rng)


def test_probabilities_sum_to_one(response):
    edges = energy_edges(response.roi, 20)
    assert edges[0] == 0.1
    assert edges[-1] == pytest.approx(100)
    np.testing.assert_allclose(energy_probability(response, edges).sum(axis=1), 1)
    sky = SkyCells.from_response(response, 12)
    assert sky.probability.shape == (2, 12, 12)
    np.testing.assert_allclose(sky.probability.sum(axis=(1, 2)), 1)


@pytest.mark.parametrize(("frame", "lon", "lat"), [("galactic", 0, 0), ("icrs", 180, 0), ("icrs", 83, 60)])
def test_cells_cover_the_region(frame, lon, lat, rng):
    response = SeparableResponse(frame, lon, lat)
    sky = SkyCells.from_response(response, 10)
    inside_lon, inside_lat = response.roi.from_offset(rng.uniform(-3, 3, 500), rng.uniform(-3, 3, 500))
    around = (inside_lon - response.roi.lon + 180) % 360 - 180 + response.roi.lon
    assert np.all((around >= sky.lon[0]) & (around <= sky.lon[-1]))
    assert np.all((inside_lat >= sky.lat[0]) & (inside_lat <= sky.lat[-1]))


def test_expected_counts_against_simulation(response, rng):
    n = 200_000
    edges = energy_edges(response.roi, 10)
    expected = expected_counts(TRUTH[None], energy_probability(response, edges), n)[0].sum(axis=0)
    assert expected.sum() == pytest.approx(n)
    counts, _ = np.histogram(response.simulate(TRUTH, n, rng).energy.value, edges)
    kept = expected > 10
    chi2 = np.sum((counts[kept] - expected[kept]) ** 2 / expected[kept])
    assert stats.chi2.sf(chi2, kept.sum() - 1) > 1e-3
    with pytest.raises(ModelError, match="3 fractions do not fit 2"):
        expected_counts(np.ones((1, 3)), energy_probability(response, edges), n)


def test_replicated_counts_are_binomial(rng):
    total = np.full((20_000, 1), 30.0)
    counts = replicated_counts(total, 100, rng)
    assert abs(counts.mean() - 30) < 3.3 * np.sqrt(21 / 20_000)
    assert counts.var() == pytest.approx(21, rel=0.05)


def test_significance():
    np.testing.assert_allclose(significance([10.0, 0.0], [10.0, 8.0]), [0.0, -4.0])
    # For many counts it is the difference in standard deviations.
    assert significance(1e6 + 2000.0, 1e6) == pytest.approx(2.0, abs=2e-3)
    assert np.isnan(significance([1.0], [0.0]))[0]


def test_corner_shows_draws_and_truth(rng):
    figure = plot_corner(posterior(rng), truths={"fraction": TRUTH})
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title().startswith("narrow\n")
    assert figure.axes[0].get_xlim()[0] < 0.3 < figure.axes[0].get_xlim()[1]


def test_corner_includes_a_truth_far_away(rng):
    figure = plot_corner(posterior(rng), truths={"fraction": [0.9, 0.1]})
    assert figure.axes[0].get_xlim()[1] > 0.9


def test_corner_overlays_runs_and_takes_weights(rng):
    nuts, nested = posterior(rng), posterior(rng, draws=100, concentration=40)
    weights = rng.random(200)
    figure = plot_corner({"NUTS": nuts, "nested": nested}, weights={"nested": weights})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["NUTS", "nested"]
    weighted = plot_corner(nested, weights=np.where(np.arange(200) < 100, 1.0, 0.0))
    first = np.quantile(nested["posterior"]["fraction"].values[0, :, 0], 0.5)
    assert f"{first:.2f}" in weighted.axes[0].get_title()


def test_corner_draws_into_a_given_figure(rng):
    figure = plt.figure()
    assert plot_corner(posterior(rng), fig=figure) is figure


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        ({"truths": {"flux": [1]}}, r"truths names 'flux'"),
        ({"truths": {"fraction": [1]}}, r"truths\['fraction'\] has 1 values, the variable 2"),
        ({"var_names": ["flux"]}, "no variable 'flux'"),
        ({"weights": [1.0]}, "weights must be 600"),
    ],
)
def test_corner_names_what_does_not_fit(rng, kwargs, names):
    with pytest.raises(ModelError, match=names):
        plot_corner(posterior(rng), **kwargs)


def scaled_posterior(rng, size=3e-12, **attrs):
    values = rng.normal(size, 0.1 * size, (2, 300))
    return xr.Dataset({"amplitude": (("chain", "draw"), values, attrs), "index": (("chain", "draw"), values / size)})


def test_corner_labels_carry_units_and_powers_of_ten(rng):
    data = scaled_posterior(rng)
    figure = plot_corner(data, units={"amplitude": "cm-2 s-1 TeV-1"}, truths={"amplitude": 3e-12})
    assert figure.axes[2].get_xlabel() == "amplitude\n[1e-12 cm-2 s-1 TeV-1]"
    assert figure.axes[3].get_xlabel() == "index"
    low, high = figure.axes[0].get_xlim()
    assert 1 < low < 3 < high < 5
    median = np.median(data["amplitude"]) * 1e12
    assert f"{median:.2f}" in figure.axes[0].get_title()
    assert figure.axes[0].get_title().endswith("× 1e-12")


@pytest.mark.parametrize("unit", [u.Unit("cm-2 s-1 TeV-1"), "cm-2 s-1 TeV-1"])
def test_corner_takes_units_of_the_posterior_and_converts_truths(rng, unit):
    data = scaled_posterior(rng, units=str(unit))
    truth = 3e-8 * u.Unit("m-2 s-1 TeV-1")
    figure = plot_corner(data, ["amplitude"], truths={"amplitude": truth})
    assert figure.axes[0].get_xlabel().startswith("amplitude\n[1e-12 ")
    assert figure.axes[0].lines[-1].get_xdata()[0] == pytest.approx(3.0)
    assert "TeV" in plot_corner(scaled_posterior(rng), ["amplitude"], units={"amplitude": unit}).axes[0].get_xlabel()


@pytest.mark.parametrize(
    ("size", "label"), [(0.3, "index"), (5e3, "index"), (2e5, "index\n[1e5]"), (2e-4, "index\n[1e-4]"), (0, "index")]
)
def test_powers_of_ten_are_for_extremes(rng, size, label):
    data = xr.Dataset({"index": (("chain", "draw"), size * rng.normal(1, 0.01, (2, 100)))})
    assert plot_corner(data).axes[0].get_xlabel() == label


def test_corner_runs_share_their_scale(rng):
    figure = plot_corner({"a": scaled_posterior(rng), "b": scaled_posterior(rng, 4e-12)}, ["amplitude"])
    assert figure.axes[0].get_xlabel() == "amplitude\n[1e-12]"
    low, high = figure.axes[0].get_xlim()
    assert low < 3 < 4 < high < 7
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"units": {"flux": "TeV"}}, ModelError, r"units names 'flux'; the picture shows \['amplitude', 'index'\]"),
        ({"truths": {"amplitude": 1 * u.TeV}}, ModelError, r"in TeV.*not known; give it with units="),
        (
            {"truths": {"amplitude": 1 * u.TeV}, "units": {"amplitude": "cm-2 s-1"}},
            u.UnitConversionError,
            "not convertible to",
        ),
        ({"truths": {"amplitude": 1 * u.TeV}, "units": {"amplitude": "events"}}, ModelError, "astropy does not know"),
    ],
)
def test_units_that_do_not_fit(rng, kwargs, error, message):
    with pytest.raises(error, match=message):
        plot_corner(scaled_posterior(rng), **kwargs)


def test_corner_of_runs_that_differ(rng):
    runs = {"a": posterior(rng), "b": posterior(rng, truth=[0.2, 0.3, 0.5], names=["x", "y", "z"])}
    with pytest.raises(ModelError, match="'b' has other variables"):
        plot_corner(runs)
    with pytest.raises(ModelError, match="mapping by their names"):
        plot_corner({"a": runs["a"], "c": runs["a"]}, weights=np.ones(600))
    with pytest.raises(ModelError, match="the mapping is empty"):
        plot_corner({})


def test_ppc_panels(response, rng):
    events = response.simulate(TRUTH, 2000, rng)
    figure = plot_ppc(events, response, posterior(rng), bins=12)
    assert len(figure.axes) == 6
    energy, lon = figure.axes[0], figure.axes[1]
    assert figure.axes[3].get_xlabel() == "Reconstructed energy [TeV]"
    assert lon.xaxis_inverted()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["narrow", "wide", "prediction, 95 %", "prediction, 68 %", "events"]
    (points,) = [line for line in energy.lines if line.get_label() == "events"]
    assert points.get_ydata().sum() == 2000


def test_ppc_sees_a_wrong_model(response, rng):
    events = response.simulate(TRUTH, 5000, rng)

    def worst(truth):
        figure = plot_ppc(events, response, posterior(rng, truth=truth), axes=("lat",), bins=12)
        return np.abs(figure.axes[1].lines[-1].get_ydata()).max()

    assert worst(TRUTH) < 3.9
    assert worst([0.6, 0.4]) == 4.0  # clipped at the edge of the panel


def test_counts_maps_conserve_events(response, rng):
    events = response.simulate(TRUTH, 3000, rng)
    figure = plot_counts(events.to_frame("icrs"), response, posterior(rng), cells=10)
    data, model, residual = (ax.collections[0].get_array() for ax in figure.axes[:3])
    assert data.sum() == 3000
    assert model.sum() == pytest.approx(3000)
    np.testing.assert_allclose(residual.ravel(), significance(data, model).ravel())
    assert figure.axes[0].xaxis_inverted()
    assert figure.get_suptitle() == ""


def test_shared_cells(response, rng):
    sky = SkyCells.from_response(response, 7)
    events = response.simulate(TRUTH, 500, rng)
    assert plot_counts(events, response, posterior(rng), cells=sky).axes[0].collections[0].get_array().shape == (7, 7)
    figure = plot_ppc(events, response, posterior(rng), axes=("lon",), sky=sky)
    assert figure.axes[0].get_xlim() == (sky.lon[-1], sky.lon[0])


def test_pictures_of_nothing_are_refused(response, rng):
    none = Events([] * u.TeV, [] * u.deg, [] * u.deg, frame="galactic")
    for plot in (plot_ppc, plot_counts):
        with pytest.raises(EventError, match="empty"):
            plot(none, response, posterior(rng))
    with pytest.raises(ValueError, match="axes must be some of"):
        plot_ppc(response.simulate(TRUTH, 5, rng), response, posterior(rng), axes=("time",))
