"""Asimov data: their counts, what fits to them find, and the curvature there."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from laplace import fit
from scipy import stats
from setups import P_VALUE, pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError

PIXEL = 0.1 * u.deg
SPECTRUM = pmg.PowerLaw(index=2.45, amplitude=4e-12)
TRUTH = {"index": 2.45, "amplitude": 4e-12, "norm": 1.2}


def sky():
    return [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]


def fold(observations=None, size=None, **options):
    observations = pointing(hours=3) if observations is None else observations
    roi = region(energy=(0.5, 30.0), **(size or {"width": 1.6}))
    return pmg.fold(sky(), observations, roi, **{"free_spectrum": ["crab"], **options})


@pytest.fixture(scope="module")
def response():
    return fold()


def process(response, events, **more):
    """Index, amplitude and background norm with priors much wider than the likelihood."""
    with pm.Model() as model:
        spectrum = pmg.PowerLaw(
            index=pm.Normal("index", 2.3, 5), amplitude=pm.LogNormal("amplitude", np.log(3e-12), 5, initval=3e-12)
        )
        norms = {"ccr": pm.LogNormal("norm", 0, 5, initval=1.0)}
        pmg.ExtendedEventMixture(
            "events", response=response, spectra={"crab": spectrum}, norms=norms, observed=events, **more
        )
    return model


def pulls(found, truth):
    """Distances of estimates from the truth in standard deviations; amplitudes and norms in their logarithms."""
    distances = {}
    for name, value in truth.items():
        log = f"{name}_log__"
        own, wanted = (log, np.log(value)) if log in found.value else (name, value)
        distances[name] = ((found.value[own] - wanted) / found.sd[own]).item()
    return distances


class TestCounts:
    def test_sums(self, response):
        events = response.asimov(energy=6, pixel=PIXEL, spectra={"crab": SPECTRUM}, norms={"ccr": 1.2})
        expected = response.npred(spectra={"crab": SPECTRUM}, norms={"ccr": 1.2})
        assert events.n_total == pytest.approx(float(expected.sum()), rel=1e-10)
        edges = np.geomspace(0.5, 30, 7)
        wanted = response.npred(edges * u.TeV, spectra={"crab": SPECTRUM}, norms={"ccr": 1.2}).sum("component")
        found = np.histogram(events.energy.value, edges, weights=events.multiplicity)[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-3)

    def test_map(self, response):
        lon, lat = (np.arange(-8, 9) * 0.1 for _ in range(2))
        events = response.asimov(energy=[0.5, 2, 30] * u.TeV, lon=lon * u.deg, lat=lat * u.deg)
        wanted = (
            response.npred([0.5, 2, 30] * u.TeV, lon * u.deg, lat * u.deg, step=0.01 * u.deg).sum("component").values
        )
        columns = events.energy.value, events.lat.value, events.lon.value
        found = np.histogramdd(np.stack(columns, 1), [[0.5, 2, 30], lat, lon], weights=events.multiplicity)[0]
        np.testing.assert_allclose(found, wanted, rtol=5e-3)

    def test_same_cells_as_binned_events(self, response):
        edges = np.geomspace(0.5, 30, 5) * u.TeV
        binned = response.simulate(rng=1).binned(edges, pixel=0.2 * u.deg)
        every = {tuple(row.round(9)) for row in response.asimov(energy=edges, pixel=0.2 * u.deg).cells.edges}
        assert {tuple(row.round(9)) for row in binned.cells.edges} <= every

    def test_weights(self, response):
        events = response.asimov({"crab": 1, "ccr": 3}, 1234.5, energy=5, pixel=PIXEL)
        assert events.n_total == pytest.approx(1234.5, rel=1e-10)
        one, other = (response.asimov(w, 1000, energy=5, pixel=PIXEL) for w in ([1, 0], [0, 1]))
        expected = {tuple(row): 0.0 for row in events.cells.edges}
        for part, share in ((one, 0.25), (other, 0.75)):
            for row, m in zip(part.cells.edges, part.multiplicity, strict=True):
                expected[tuple(row)] += share * m * 1.2345
        np.testing.assert_allclose(events.multiplicity, [expected[tuple(row)] for row in events.cells.edges], rtol=2e-3)

    def test_without_source(self, response):
        """A spectrum of zero, and a norm of zero: the null of a search."""
        dark = pmg.PowerLaw(index=2.0, amplitude=0.0)
        for given in ({"spectra": {"crab": dark}}, {"norms": {"crab": 0.0}}):
            events = response.asimov(energy=5, pixel=PIXEL, **given)
            assert events.n_total == pytest.approx(float(response.acceptance.sel(component="ccr")), rel=1e-10)

    def test_exclusion_and_observations(self):
        """Each observation has cells in its own domain; a cell whose middle is excluded keeps the rest of itself."""
        near = pmg.RegionOfInterest(center=pointing().pointing, radius=0.05 * u.deg, energy=(1, 2) * u.TeV)
        roi = pmg.RegionOfInterest(
            center=pointing().pointing,
            width=1.6 * u.deg,
            energy=(0.5, 30) * u.TeV,
            exclude=[_circle(0.0, 0.0, 0.05), _circle(0.5, 0.5, 0.3)],
        )
        observations = [pointing(hours=2), pointing(lon=0.5, hours=1, irfs=None)]
        response = pmg.fold(sky(), observations, roi)
        edges = np.arange(-9, 10, 2) * 0.1 * u.deg
        events = response.asimov(energy=4, lon=edges, lat=edges, norms={"ccr": [1.0, 2.0]})
        assert events.select(roi, observations).n_total == events.n_total
        counts = response.acceptance_by_observation * [1, 1]
        counts.loc[{"component": "ccr"}] *= [1, 2]
        found = np.bincount(events.observation, events.multiplicity)
        np.testing.assert_allclose(found, counts.sum("component"), rtol=1e-10)
        middle = (np.abs(events.cells.edges[:, 2:] - [-0.1, 0.1, -0.1, 0.1]) < 1e-9).all(axis=1)
        assert middle.sum() == 8
        assert not near.contains(events.lon.value[middle], events.lat.value[middle]).any()


def _circle(lon, lat, radius):
    from regions import CircleSkyRegion
    from setups import direction

    return CircleSkyRegion(direction(lon, lat), radius * u.deg)


class TestFits:
    @pytest.mark.parametrize("observations", [None, [pointing(hours=2), pointing(lon=0.5, hours=1)]])
    @pytest.mark.parametrize("size", [{"width": 1.6}, {"radius": 0.8}])
    def test_values_come_back(self, observations, size):
        response = fold(observations, size)
        events = response.asimov(energy=12, pixel=PIXEL, spectra={"crab": SPECTRUM}, norms={"ccr": 1.2})
        assert max(map(abs, pulls(fit(process(response, events)), TRUTH).values())) < 0.05

    def test_mixture(self, response):
        events = response.asimov([0.3, 0.7], 2000, energy=12, pixel=PIXEL, spectra={"crab": SPECTRUM})
        with pm.Model() as model:
            logit = pm.Normal("logit", 0, 5)
            fraction = pm.math.stack([pm.math.sigmoid(logit), 1 - pm.math.sigmoid(logit)])
            spectra = {"crab": pmg.PowerLaw(index=pm.Normal("index", 2.3, 5))}
            pmg.EventMixture("events", fraction, response=response, spectra=spectra, observed=events)
        truth = {"logit": np.log(0.3 / 0.7), "index": 2.45}
        assert max(map(abs, pulls(fit(model), truth).values())) < 0.05

    def test_shape(self):
        response = fold(free_spectrum=[], free_shape=["crab"])
        shape = pmg.PointShape(0.31, -0.19)
        events = response.asimov(energy=12, pixel=PIXEL, shapes={"crab": shape})
        with pm.Model() as model:
            lon_0, lat_0 = (pm.Normal(name, 0, 10) for name in ("lon_0", "lat_0"))
            place = pmg.PointShape(0.3 + 0.01 * lon_0, -0.2 + 0.01 * lat_0)
            pmg.ExtendedEventMixture("events", response=response, shapes={"crab": place}, observed=events)
        assert max(map(abs, pulls(fit(model), {"lon_0": 1.0, "lat_0": 1.0}).values())) < 0.1

    def test_scan(self):
        def gaussian(sigma):
            return source("crab", 0.3, -0.2, sigma=sigma.to_value("deg"), amplitude=3e-12)

        scanned = pmg.Scanned("crab", gaussian, nodes={"sigma": np.linspace(0.14, 0.26, 13) * u.deg})
        response = pmg.fold([scanned, sky()[1]], pointing(hours=3), region(width=1.6, energy=(0.5, 30.0)))
        events = response.asimov(energy=12, pixel=PIXEL, scan={"crab": {"sigma": 0.2 * u.deg}})
        with pm.Model() as model:
            sigma = 0.2 + 0.01 * pm.Normal("sigma", 0, 5)
            pmg.ExtendedEventMixture("events", response=response, scan={"sigma": sigma}, observed=events)
        assert abs(pulls(fit(model), {"sigma": 0.0})["sigma"]) < 0.1

    def test_curvature_is_the_fisher_matrix(self, response):
        r"""Sums of :math:`\partial_i m_c \partial_j m_c / m_c` over cells, by differences of the counts."""

        def counts(index, log_amplitude, log_norm):
            spectrum = pmg.PowerLaw(index=index, amplitude=np.exp(log_amplitude))
            return response.asimov(energy=12, pixel=PIXEL, spectra={"crab": spectrum}, norms={"ccr": np.exp(log_norm)})

        truth, step = np.array([2.45, np.log(4e-12), np.log(1.2)]), 1e-4
        events = counts(*truth)
        change = [
            (counts(*(truth + step * e)).multiplicity - counts(*(truth - step * e)).multiplicity) / (2 * step)
            for e in np.eye(3)
        ]
        fisher = np.einsum("ic,jc,c->ij", change, change, 1 / events.multiplicity)
        found = fit(process(response, events)).sd
        wanted = np.sqrt(np.diag(np.linalg.inv(fisher)))
        names = ("index", "amplitude_log__", "norm_log__")
        np.testing.assert_allclose([found[name].item() for name in names], wanted, rtol=2e-3)

    def test_curvature_is_the_spread_of_fits(self):
        """Distances of fits to simulated events from the truth follow a normal distribution of these widths."""
        response = fold(size={"width": 1.0})
        given = {"spectra": {"crab": SPECTRUM}, "norms": {"ccr": 1.2}}
        width = fit(process(response, response.asimov(energy=12, pixel=PIXEL, **given))).sd
        varied = response.with_spectra(**given)
        rows, n = [], 40
        for seed in range(n):
            found = fit(process(response, varied.simulate(rng=seed)))
            found = found._replace(sd=width)
            rows.append([*pulls(found, TRUTH).values()])
        square = np.sum(np.array(rows) ** 2, axis=0)
        p = stats.chi2.cdf(square, n)
        assert np.all((p > P_VALUE / 2) & (p < 1 - P_VALUE / 2)), square / n


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({}, EventError, "needs either pixel=, or both lon= and lat="),
            ({"lon": [0, 1] * u.deg}, EventError, "needs either pixel="),
            ({"pixel": 0 * u.deg}, EventError, "pixel must be positive"),
            ({"pixel": 0.1}, TypeError, "pixel"),
            ({"pixel": PIXEL, "energy": 0}, ValueError, "energy must be at least 1"),
            ({"pixel": PIXEL, "energy": [1, 30] * u.TeV}, ModelError, "must cover the whole region and its energies"),
            ({"lon": [0, 1] * u.deg, "lat": [-1, 1] * u.deg}, ModelError, "must cover the whole region"),
            ({"pixel": PIXEL, "weights": [1, 1]}, ModelError, "give both, or neither"),
            ({"pixel": PIXEL, "n_events": 10}, ModelError, "give both, or neither"),
            ({"pixel": PIXEL, "weights": [1, 1], "n_events": 10, "norms": {"ccr": 2}}, ModelError, "leave one out"),
            ({"pixel": PIXEL, "weights": [1, -1], "n_events": 10}, ModelError, "weights must be finite"),
            ({"pixel": PIXEL, "norms": {"crap": 1}}, ModelError, "crab"),
            ({"pixel": PIXEL, "norms": {"crab": [1, 2]}}, ModelError, "norm of 'crab' must be a finite number"),
            ({"pixel": PIXEL, "norms": {"crab": -1}}, ModelError, "norm of 'crab'"),
            ({"pixel": PIXEL, "norms": {"crab": 0, "ccr": 0}}, ModelError, "no event is expected"),
        ],
    )
    def test_refused(self, response, arguments, error, message):
        with pytest.raises(error, match=message):
            response.asimov(**{"energy": 5, **arguments})

    def test_dark_component_of_a_mixture(self, response):
        with pytest.raises(ModelError, match=r"\['crab'\] are zero everywhere"):
            response.asimov(
                [1, 1], 100, energy=5, pixel=PIXEL, spectra={"crab": pmg.PowerLaw(index=2.0, amplitude=0.0)}
            )
