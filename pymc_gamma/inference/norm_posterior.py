r"""The posterior of a factor on a flux, on a grid.

The prior of the factor is flat above zero. With draws :math:`\theta_d` of the other parameters from a posterior in
which the factor was 1, the posterior in which it is free as well is

.. math:: p(n) \propto \sum_d \frac{L(n; \theta_d)}{L(1; \theta_d)} ,

in which each draw has the weight :math:`w_d = \int L(n; \theta_d)\,dn / L(1; \theta_d)` that the factor's freedom gives
it. One draw is a conditional posterior: that at the best fit, for one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import logsumexp

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError

__all__ = ["NormPosterior"]

DROP = 14.0
"""How far the logarithm falls at the ends of the grid."""
FLOOR = 60.0
"""Below the largest the logarithm is held there: it may be minus infinity where there is no other component."""
N_GRID, N_FINE = 81, 4001
LARGEST = 1e12
FEW = 50
ONE_SIGMA = 0.6826894921370859
MOST_ROUNDS = 40


@dataclass(frozen=True, eq=False)
class NormPosterior:
    """Posterior of a factor, which is not negative.

    Attributes
    ----------
    norm : numpy.ndarray
        Values of the factor, ascending, equidistant.
    log_density : numpy.ndarray
        Logarithm of its posterior density there, less the largest.
    at_zero : float
        The same at zero.
    at_one : float
        The same at one.
    n_effective : float
        Effective number of the draws that it is averaged over.
    """

    norm: FloatArray
    log_density: FloatArray
    at_zero: float
    at_one: float
    n_effective: float

    @classmethod
    def tabulate(cls, log_likelihood: Callable[[FloatArray, int], FloatArray], n_draws: int = 1) -> "NormPosterior":
        """From the logarithm of the likelihood over that of a factor of 1.

        Parameters
        ----------
        log_likelihood : callable
            Function of factors (n,) and a number *k* to an array (n_draws / k, n), of every *k*-th draw.
        n_draws : int
            Number of draws.

        Raises
        ------
        ModelError
            If it has no maximum.
        """
        few = max(1, n_draws // FEW)  # enough to find where it is
        grid = np.concatenate([[0.0], np.geomspace(1e-4, LARGEST, 97)])
        for _ in range(MOST_ROUNDS):
            every = log_likelihood(grid, few)
            values = _average(every)
            most = int(np.argmax(values))
            inside = np.flatnonzero(values > values[most] - DROP)
            first, last = max(inside[0] - 1, 0), inside[-1] + 1
            if last == len(grid):
                if grid[-1] >= LARGEST:
                    break
                grid = np.linspace(grid[0], 2 * grid[-1], N_GRID)
            elif last - first < N_GRID // 2 or len(grid) > N_GRID:
                grid = np.linspace(grid[first], grid[last], N_GRID)
            elif few > 1:
                few = 1
            else:
                share = logsumexp(every, axis=1)
                weight = np.exp(share - share.max())
                fine = np.linspace(grid[0], grid[-1], N_FINE)
                log_density = CubicSpline(grid, np.maximum(values - values[most], -FLOOR))(fine)
                top = log_density.max()
                at_zero, at_one = (_average(log_likelihood(np.array([0.0, 1.0]), 1)) - values[most] - top).tolist()
                n_effective = float(weight.sum() ** 2 / np.sum(weight**2))
                return cls(fine, np.asarray(log_density - top), at_zero, at_one, n_effective)
        raise ModelError("the likelihood of a flux has no maximum: no events are expected for any of its values.")

    @property
    def maximum(self) -> float:
        """Where the density is largest."""
        return float(self.norm[np.argmax(self.log_density)])

    @property
    def mean(self) -> float:
        """Its mean."""
        return float(np.sum(self.norm * self._mass))

    @property
    def sd(self) -> float:
        """Its standard deviation."""
        return float(np.sqrt(np.sum((self.norm - self.mean) ** 2 * self._mass)))

    def quantile(self, probability: float) -> float:
        """Value below which it lies with a probability."""
        steps = 0.5 * (np.exp(self.log_density[1:]) + np.exp(self.log_density[:-1]))
        cumulative = np.concatenate([[0.0], np.cumsum(steps)])
        return float(np.interp(probability, cumulative / cumulative[-1], self.norm))

    def interval(self, probability: float = ONE_SIGMA) -> tuple[float, float]:
        """The shortest interval that holds a probability."""
        order = np.argsort(-self.log_density, kind="stable")
        n = int(np.searchsorted(np.cumsum(self._mass[order]), probability)) + 1
        inside = self.norm[order[:n]]
        return float(inside.min()), float(inside.max())

    @property
    def ts(self) -> float:
        """Twice the logarithm of the largest density over that at zero."""
        return 2 * max(-self.at_zero, 0.0) + 0.0

    def at(self, norm: FloatArray) -> FloatArray:
        """Logarithm of the density at other values, less the largest; not lower than the grid knows it."""
        return np.asarray(np.interp(norm, self.norm, self.log_density, right=-DROP))

    @property
    def _mass(self) -> FloatArray:
        density = np.exp(self.log_density)
        density[[0, -1]] *= 0.5
        return np.asarray(density / density.sum())


def _average(every: FloatArray) -> FloatArray:
    """Logarithm of the mean over draws."""
    return np.asarray(logsumexp(every, axis=0) - np.log(len(every)))
