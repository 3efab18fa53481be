"""Free position and extension: coverage, the precision that the information in the events allows, and a shell.

As in `test_coverage.py`, true parameters are drawn from the prior, and posteriors are importance samples around their
maximum. The information of the source on its position is computed without live shapes, from the response folded anew on
either side.
"""

import time

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from gammapy.modeling.models import PowerLawSpectralModel, ShellSpatialModel
from laplace import compiled, summit
from scipy import stats
from setups import P_VALUE, direction, pointing, region, source
from test_real_data import store

import pymc_gamma as pmg

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning"),
]

DATA_SETS = 100
DRAWS = 400
LEAST_EFFECTIVE = 100
FREEDOM = 5
LEVELS = (0.68, 0.95)
LON, LAT, SIGMA, INDEX, AMPLITUDE = 0.3, -0.2, 0.1, 2.3, 6e-12
WIDTH = 0.02


def gaussian_response():
    sky = [source("msh", LON, LAT, sigma=SIGMA, index=INDEX, amplitude=AMPLITUDE), pmg.CosmicRayBackground()]
    return pmg.fold(
        sky,
        pointing(hours=2),
        region(width=1.4, energy=(0.5, 100)),
        energy_true=75,
        free_spectrum=["msh"],
        free_shape=["msh"],
    )


def gaussian_model(response, **events):
    """Position, extension, index, amplitude and norm of the background."""
    with pm.Model() as model:
        offset = pm.Normal("offset", 0, 1, shape=2)
        lon, lat = LON + WIDTH * offset[0], LAT + WIDTH * offset[1]
        sigma = SIGMA * pm.LogNormal("sigma", 0.0, 0.2)
        index = pm.Normal("index", INDEX, 0.2)
        amplitude = pm.LogNormal("amplitude", np.log(AMPLITUDE), 0.3)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            shapes={"msh": pmg.GaussianShape(lon, lat, sigma)},
            spectra={"msh": pmg.PowerLaw(index=index, amplitude=amplitude)},
            norms={"ccr": pm.LogNormal("norm", 0.0, 0.1)},
            **events,
        )
    return model


class Refit:
    """A model compiled once, and fitted to one list of events after another."""

    def __init__(self, build, response, events):
        self.n_rows = max(map(len, events))
        self.data = pytensor.shared(self.padded(events[0]), "data")
        self.function, start = compiled(build(response, observed=self.data), mode=None)
        self.names = list(start)
        self.start = np.concatenate([np.ravel(value) for value in start.values()])

    def padded(self, rows):
        return np.concatenate([rows, np.full((self.n_rows - len(rows), rows.shape[1]), np.nan)])

    def summit(self, rows):
        self.data.set_value(self.padded(rows))
        return summit(self.function, self.start)


def predictive(model, n):
    """Parameters from the prior, one row for each data set, and events."""
    with model:
        draws = pm.sample_prior_predictive(n, random_seed=1, compile_kwargs={"mode": "FAST_COMPILE"})["prior"]
    columns = []
    for rv in model.free_RVs:
        if rv.name != "events":
            value, transform = draws[rv.name].values[0].reshape(n, -1), model.rvs_to_transforms[rv]
            columns.append(value if transform is None else np.log(value))
    return np.concatenate(columns, axis=1), [rows[np.isfinite(rows[:, 0])] for rows in draws["events"].values[0]]


def test_intervals_cover_position_extension_and_spectrum():
    response = gaussian_response()
    began = time.process_time()
    truth, events = predictive(gaussian_model(response), DATA_SETS)
    refit = Refit(gaussian_model, response, events)
    rng = np.random.default_rng(3)
    below, effective, pulls = np.empty_like(truth), np.empty(DATA_SETS), np.empty_like(truth)
    for d in range(DATA_SETS):
        best = refit.summit(events[d])
        proposal = stats.multivariate_t(best.x, best.covariance, df=FREEDOM, seed=rng)
        draws = proposal.rvs(DRAWS)
        log_weight = np.array([float(refit.function(x)[0]) for x in draws]) - proposal.logpdf(draws)
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        below[d], effective[d] = (weight[:, None] * (draws < truth[d])).sum(axis=0), 1 / np.sum(weight**2)
        pulls[d] = (best.x - truth[d]) / np.sqrt(np.diag(best.covariance))
    print(
        f"{np.mean([*map(len, events)]):.0f} events; effective draws {effective.min():.0f} to {effective.max():.0f} of "
        f"{DRAWS}; {time.process_time() - began:.0f} s of CPU"
    )
    assert effective.min() > LEAST_EFFECTIVE
    failures = []
    for name, column, pull in zip(("lon", "lat", "sigma", "index", "amplitude", "norm"), below.T, pulls.T, strict=True):
        p = stats.kstest(column, "uniform").pvalue
        line = f"  {name:10s} rank: mean {column.mean():.3f}, uniform: p = {p:.3f}"
        line += f"; pulls {pull.mean():+.2f} +- {pull.std():.2f}"
        good = p > P_VALUE
        for level in LEVELS:
            low, high = stats.binom.interval(0.999, DATA_SETS, level)
            count = int(np.sum(np.abs(column - 0.5) < level / 2))
            line += f"; {level:.0%}: {count} of {DATA_SETS} (band {low:.0f} to {high:.0f})"
            good &= low <= count <= high
        print(line)
        failures += [] if good else [line]
    assert not failures


def test_position_error_is_that_of_the_information():
    """Standard deviations of the position against the Fisher information of the refolded source."""
    response = gaussian_response()
    times, step = 25, 0.004
    many = response.simulate(
        response.acceptance.values / response.acceptance.values.sum(),
        int(times * response.acceptance.values.sum()),
        rng=5,
    )
    total = response.density(many).sum(axis=1)
    information = []
    for name in ("lon_0", "lat_0"):
        at = response.live_source("msh").reference.parameters[name]
        up, down = (response.with_shapes({"msh": {name: at + sign * step}}).density(many)[:, 0] for sign in (1, -1))
        information.append(np.sum(((up - down) / (2 * step) / total) ** 2) / times)
    expected = 1 / np.sqrt(information)
    events = [response.simulate(rng=100 + k).to_rows(response.reco) for k in range(8)]
    refit = Refit(gaussian_model, response, events)
    # the prior of the position is known exactly
    precision = [np.diag(np.linalg.inv(refit.summit(rows).covariance))[:2] - 1 for rows in events]
    found = WIDTH / np.sqrt(np.mean(precision, axis=0))
    print(f"standard deviation of lon and lat: {found} deg, from the information {expected} deg; required 5 %")
    np.testing.assert_allclose(found, expected, rtol=0.05)


RADIUS, THICKNESS = 0.4, 0.15
SHELL_SETS = 20


def shell_response():
    """Four H.E.S.S. runs of a shell like RX J1713.7-3946, at the pointings of runs on MSH 15-52."""
    runs = pmg.Observation.list_from_gammapy(store().get_observations([20136, 20137, 20151, 20282]))
    centre = direction(228.547, -59.174, "icrs")
    spatial = ShellSpatialModel(
        lon_0=centre.ra, lat_0=centre.dec, radius=RADIUS * u.deg, width=THICKNESS * u.deg, frame="icrs"
    )
    spectral = PowerLawSpectralModel(index=2.1, amplitude=2e-11 * u.Unit("TeV-1 cm-2 s-1"), reference=1 * u.TeV)
    roi = pmg.RegionOfInterest(centre, radius=1.1 * u.deg, energy=(0.8, 30) * u.TeV)
    sky = [pmg.SkySource("rxj", spatial, spectral), pmg.CosmicRayBackground()]
    return pmg.fold(sky, runs, roi, free_shape=["rxj"])


SHELL_UNITS = {"radius": 0.1, "width": 0.25, "norm": 0.1, "background": 0.1}
"""Widths of the priors of logarithms; variables are in these units, in which a fit does not step outside the range."""


def shell_model(response, **events):
    with pm.Model() as model:
        offset = pm.Normal("offset", 0, 1, shape=2)
        lon, lat = 228.547 + 0.05 / np.cos(np.radians(59.174)) * offset[0], -59.174 + 0.05 * offset[1]
        factor = {name: pt.exp(unit * pm.Normal(name, 0, 1)) for name, unit in SHELL_UNITS.items()}
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            shapes={"rxj": pmg.ShellShape(lon, lat, RADIUS * factor["radius"], THICKNESS * factor["width"])},
            norms={"rxj": factor["norm"], "ccr": factor["background"]},
            **events,
        )
    return model


def test_radius_and_width_of_a_shell():
    response = shell_response()
    events = [response.simulate(rng=k).to_rows(response.reco) for k in range(SHELL_SETS)]
    refit = Refit(shell_model, response, events)
    which = [refit.names.index(name) + 1 for name in ("radius", "width")]  # the offset holds two
    pulls, errors = [], []
    for rows in events:
        best = refit.summit(rows)
        covariance = best.covariance[np.ix_(which, which)]
        pulls.append(best.x[which] / np.sqrt(np.diag(covariance)))
        slope = np.array([RADIUS * SHELL_UNITS["radius"], THICKNESS * SHELL_UNITS["width"]])
        errors.append([*slope * np.sqrt(np.diag(covariance)), np.sqrt(slope @ covariance @ slope)])
    radius, width, outer = np.mean(errors, axis=0)
    print(
        f"{np.mean([*map(len, events)]):.0f} events; radius {RADIUS} +- {radius:.4f}, "
        f"width {THICKNESS} +- {width:.4f}, their sum +- {outer:.4f} deg; "
        f"pulls at most {np.abs(pulls).max():.2f}, rms {np.std(pulls, axis=0)}; required 3"
    )
    assert np.abs(pulls).max() < 3
    assert outer < min(radius, width)
