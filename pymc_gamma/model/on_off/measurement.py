r"""What a model needs of ON and OFF data, whatever kind they are of.

The source and the background enter both regions linearly: in *rows*, which are expected counts in channels or rates at
nodes of the reconstructed energy. With the rows :math:`s` of the source and :math:`b` of the OFF region, those of the
ON region are :math:`s + \alpha b`; numbers of events are :math:`\sum_r w_r (s_r + \alpha_r b_r)` with weights
:math:`w`.

A kind of data takes part by a :class:`Measurement` of its own, registered with :func:`measurement_of`; a kind of
background (:class:`~pymc_gamma.OffBackground`) works on that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.model.parts import FluxPart
from pymc_gamma.on_off.nodes import SpectrumNodes

__all__ = ["Histogram", "Measurement", "RegionIntensity", "measurement_of", "share_of"]


class Histogram(NamedTuple):
    """OFF events in bins that join, in which nothing is left out.

    Attributes
    ----------
    edges : numpy.ndarray
        TeV, shape (n + 1,).
    counts : numpy.ndarray
        Shape (n,).
    """

    edges: FloatArray
    counts: FloatArray


class RegionIntensity(ABC):
    """What an ON region is made of: the source, and the background."""

    component_names: tuple[str, ...]


class Measurement(ABC):
    """ON and OFF data of one set.

    Parameters
    ----------
    data : Any
        The data.

    Attributes
    ----------
    name : str
        Of the data set.
    nodes : SpectrumNodes
        The map from a spectrum to the rows.
    weights : numpy.ndarray
        From rows to numbers of events, shape (n_rows,).
    """

    nodes: SpectrumNodes
    weights: FloatArray

    def __init__(self, data: Any) -> None:
        self.data, self.name = data, str(data.name)

    @property
    def has_off(self) -> bool:
        """Whether there is an OFF region."""
        return bool(self.data.has_off)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.weights)

    @property
    @abstractmethod
    def alpha(self) -> FloatArray:
        """Ratio of the acceptances of ON and OFF, shape (n_rows,)."""

    @property
    @abstractmethod
    def histogram_off(self) -> Histogram:
        """OFF events in bins, by which the nodes of a background are placed."""

    @property
    @abstractmethod
    def energy_range(self) -> tuple[float, float]:
        """Reconstructed energies of the data in TeV."""

    @abstractmethod
    def rows_of(self, function: Callable[[FloatArray], FloatArray], cuts: FloatArray) -> FloatArray:
        """Rows of OFF events whose rates are given.

        Parameters
        ----------
        function : callable
            Rates per TeV at reconstructed energies in TeV, from (n,) to (m, n).
        cuts : numpy.ndarray
            Energies between which they are smooth.

        Returns
        -------
        numpy.ndarray
            Shape (n_rows, m).
        """

    @abstractmethod
    def add_coords(self, name: str, model: pm.Model) -> str:
        """Add the dim of the observed variable of that name to a model, and return it."""

    @abstractmethod
    def observe_off(self, name: str, background: Variable, dims: str) -> Variable:
        """Add the observed OFF events to the model on the context stack, for rows of a background."""

    @abstractmethod
    def observe_on(
        self, name: str, source: RegionIntensity, signal: Variable, background: Variable | None, dims: str
    ) -> Variable:
        """Add the observed ON events to the model on the context stack, for rows of the source and of the background.

        The background is that of the ON region; None without one.
        """

    @abstractmethod
    def signal_of(self, name: str, signal: Variable, dims: str) -> Variable:
        """Add what is expected of the source to the model, as a deterministic, and return it."""

    @abstractmethod
    def check_signal(self, name: str, values: FloatArray) -> None:
        """Raise a ModelError if rows of the source at the initial point cannot be, or not together with the data."""

    @abstractmethod
    def flux_part(
        self, signal: Variable, background: Variable | None, value: FloatArray, energy: tuple[float, float]
    ) -> FluxPart:
        """The part of observed ON events in a range of reconstructed energy in TeV."""

    def expected_off(self, rows: FloatArray) -> FloatArray:
        """Numbers of events of rows (n_rows, ...)."""
        return np.asarray(self.weights @ rows)


def share_of(signal: Variable, background: Variable | None) -> Variable:
    """Share of the source in what is expected in the ON region; zero where nothing is."""
    total = signal if background is None else signal + background
    return pt.switch(pt.gt(total, 0), signal / pt.switch(pt.gt(total, 0), total, 1.0), 0.0)


@singledispatch
def measurement_of(data: Any) -> Measurement:
    """The measurement of data.

    Raises
    ------
    TypeError
        If the kind is not known.
    """
    raise TypeError(
        f"data must be CountsSpectrum or OnOffEvents, or several in a list, got {type(data).__name__}; read files by "
        "pmg.CountsSpectrum.read(...), count events of runs by pmg.OnOffEvents.extract(...)."
    )
