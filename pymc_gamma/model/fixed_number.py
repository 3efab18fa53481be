"""The intensity of a fixed number of events: fractions of components instead of expected counts."""

from typing import Any

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.model.intensity import Intensity

__all__ = ["FixedNumber"]


class FixedNumber(Intensity):
    """The intensity of a fixed number of events, up to a factor."""

    @property
    def signature(self) -> str:
        """Fractions, and the parameters of the intensity."""
        rest = super().signature
        return f"(k),{rest}" if rest else "(k)"

    def draw(self, n: int, rng: np.random.Generator, *parameters: FloatArray) -> FloatArray:
        """``n`` events for parameters without batch axes."""
        weights, *rest = parameters
        given = self.drawn(self.parameters(rest), rng)
        if given.norms is None and not given.thetas:
            return self.simulate(weights, n, rng, self.spectra(given.flux))
        parts = self.expected_parts(given)
        expected = np.array([[of[k].sum() for of in parts] for k in range(self.n_components)])
        without = [name for k, name in enumerate(self.component_names) if weights[k] > 0 and not expected[k].any()]
        if without:
            raise ModelError(f"no events are expected from {without} in the region; none of them can be drawn.")
        share = expected / np.maximum(expected.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        share[~expected.any(axis=1), 0] = 1.0  # drawn from never, but a distribution all the same
        counts = rng.multinomial(rng.multinomial(n, weights / weights.sum()), share)
        drawn = self.response.draw_rows(counts, rng, self.spectra(given.flux), parts, **self.frozen(given))
        return np.asarray(drawn, dtype=np.float64)

    def simulate(
        self, weights: FloatArray, n: int, rng: np.random.Generator, spectra: list[Any] | None = None
    ) -> FloatArray:
        """Events drawn through the response, with given spectra or the nominal ones."""
        given = () if spectra is None else (spectra,)  # a response without free spectra need not know of any
        return np.asarray(self.response.simulate_rows(weights, n, rng, *given), dtype=np.float64)
