"""Nodes of the reconstructed energy, between which rates times the energy are linear in its logarithm."""

from functools import cached_property

import numpy as np

from pymc_gamma.arrays import FloatArray

__all__ = ["EnergyGrid"]


class EnergyGrid:
    """Nodes at which rates are given.

    Parameters
    ----------
    energy : numpy.ndarray
        TeV, increasing, shape (n,).
    """

    def __init__(self, energy: FloatArray) -> None:
        self.energy = energy

    @cached_property
    def weights(self) -> FloatArray:
        """Weights of rates per TeV at the nodes in their integral, TeV, shape (n,)."""
        return self.weights_between(self.energy[0], self.energy[-1])

    def weights_between(self, low: float, high: float) -> FloatArray:
        """Weights of rates per TeV at the nodes in their integral between two energies in TeV, shape (n,)."""
        log, a, b = np.log(self.energy), np.log(low), np.log(high)
        left, right = np.clip(log[:-1], a, b), np.clip(log[1:], a, b)
        width = right - left
        to_right = np.where(width > 0, (0.5 * (left + right) - log[:-1]) / np.diff(log), 0.0)
        out = np.zeros(len(self.energy))
        out[:-1] += width * (1 - to_right)
        out[1:] += width * to_right
        return out * self.energy

    def rates_at(self, rates: FloatArray, energy: FloatArray) -> FloatArray:
        """Rates per TeV at energies in TeV, of those at the nodes."""
        return np.asarray(np.interp(np.log(energy), np.log(self.energy), rates * self.energy) / energy)

    def draw(self, rng: np.random.Generator, rates: FloatArray) -> FloatArray:
        """Energies in TeV of the events of a Poisson process with rates per TeV at the nodes, in ascending order."""
        log, scaled = np.log(self.energy), rates * self.energy
        left, right = scaled[:-1], scaled[1:]
        n = rng.poisson(0.5 * (left + right) * np.diff(log))
        k = np.repeat(np.arange(len(n)), n)
        # where the area below a line from left to right is a share of that below all of it
        share, a, b = rng.random(len(k)), left[k], right[k]
        part = share * (a + b) / (a + np.sqrt(a * a + share * (b * b - a * a)))
        return np.sort(np.exp(log[k] + part * np.diff(log)[k]))
