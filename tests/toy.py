"""An analytic response: power laws in energy times round Gaussians, truncated to a region, everything known exactly."""

import numpy as np
from scipy.special import erf

from pymc_gamma.errors import EventError

E_MIN, E_MAX, HALF_WIDTH = 0.1, 100.0, 3.2


class ToyResponse:
    """Components with densities E^-index exp(-r^2 / 2 sigma^2) over 0.1-100 TeV and |lon|, |lat| < 3.2."""

    def __init__(self, index=(2.0, 2.4, 2.8), sigma=(0.3, 1.0, 5.0), names=("source", "diffuse", "cosmic")):
        self.index = np.asarray(index, dtype=float)
        self.sigma = np.asarray(sigma, dtype=float)
        self.component_names = tuple(names)
        self.reco = ("energy", "lon", "lat")
        self.coords = {"component": list(names), "reco": list(self.reco)}
        self.n_pdf_calls = 0
        self.n_simulate_calls = 0

    def event_rows(self, events):
        rows = events.to_rows(self.reco)
        return rows if np.all(events.multiplicity == 1) else np.column_stack([rows, events.multiplicity])

    def component_pdf(self, rows):
        self.n_pdf_calls += 1
        energy, lon, lat = np.asarray(rows, dtype=float).T
        bad = ~((energy >= E_MIN) & (energy <= E_MAX) & (abs(lon) <= HALF_WIDTH) & (abs(lat) <= HALF_WIDTH))
        if bad.any():
            raise EventError(f"{bad.sum()} events outside the region of interest, first rows {np.flatnonzero(bad)[:5]}")
        a, s = 1 - self.index, self.sigma
        spectrum = energy[:, None] ** -self.index * a / (E_MAX**a - E_MIN**a)
        norm = np.sqrt(2 * np.pi) * s * erf(HALF_WIDTH / s / np.sqrt(2))
        return spectrum * np.exp(-0.5 * (lon**2 + lat**2)[:, None] / s**2) / norm**2

    def simulate_rows(self, weights, n, rng):
        self.n_simulate_calls += 1
        weights = np.asarray(weights, dtype=float)
        k = rng.choice(len(weights), size=n, p=weights / weights.sum())
        a = 1 - self.index[k]
        low, high = E_MIN**a, E_MAX**a
        rows = np.empty((n, 3))
        rows[:, 0] = (low + rng.random(n) * (high - low)) ** (1 / a)
        for column in (1, 2):
            todo = np.arange(n)
            while todo.size:
                x = rng.normal(0, self.sigma[k[todo]])
                rows[todo, column] = x
                todo = todo[abs(x) > HALF_WIDTH]
        return rows


class DisjointResponse:
    """Two components that share no event: one at negative, one at positive longitude."""

    component_names = ("west", "east")
    reco = ("energy", "lon", "lat")
    coords = {"component": ["west", "east"], "reco": ["energy", "lon", "lat"]}  # noqa: RUF012

    def event_rows(self, events):
        rows = events.to_rows(self.reco)
        return rows if np.all(events.multiplicity == 1) else np.column_stack([rows, events.multiplicity])

    def component_pdf(self, rows):
        east = np.asarray(rows)[:, 1] > 0
        return np.column_stack([~east, east]).astype(float) * 0.25

    def simulate_rows(self, weights, n, rng):
        weights = np.asarray(weights, dtype=float)
        sign = np.where(rng.random(n) < weights[1] / weights.sum(), 1.0, -1.0)
        return np.column_stack([np.ones(n), sign * rng.uniform(0.01, 1, n), rng.uniform(-1, 1, n)])


class ToyEvents:
    """Events as the distribution sees them."""

    def __init__(self, rows, multiplicity=None):
        self.rows = np.asarray(rows, dtype=float)
        self.multiplicity = np.ones(len(self.rows)) if multiplicity is None else np.asarray(multiplicity, dtype=float)

    def to_rows(self, reco):
        assert tuple(reco) == ("energy", "lon", "lat")
        return self.rows
