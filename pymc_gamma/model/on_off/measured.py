r"""A background of free shape that an OFF region measures.

The expected OFF counts at reconstructed energy :math:`E` are

.. math:: b(E) = \sum_h \beta_h\, h(\ln E)\, (E / E_h)^{-\gamma} ,

with hat functions :math:`h` of the logarithm of the energy around nodes :math:`E_h`, positive :math:`\beta_h`, and the
index :math:`\gamma` that a background has about. Both regions are observed, each by its own Poisson term,

.. math:: \log L = \sum_c \log \mathrm{Poisson}(n_c | s_c + \alpha_c b_c) + \log \mathrm{Poisson}(m_c | b_c) ,

so that nothing is profiled, and channels with few OFF events learn from their neighbours; events that are observed one
by one have the rates at their energies in place of sums over channels. The prior of the shape is a
random walk: the logarithm of :math:`\beta` changes from node to node by a number of Student's distribution with three
degrees of freedom, whose width goes with the root of their distance. Its tails let a background rise by orders of
magnitude above a threshold. Nodes lie closer together where OFF events are many.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import number
from pymc_gamma.arrays import FloatArray
from pymc_gamma.model.on_off.backgrounds import OffBackground, SourceOf
from pymc_gamma.model.on_off.measurement import Measurement, measurement_of

__all__ = ["MeasuredBackground"]

LEVEL_WIDTH = 3.0
"""Width of the prior of the logarithm of the level, around that of the OFF counts: nothing is known but those."""
TAILS = 3.0
"""Degrees of freedom of the distribution of steps."""


@dataclass(frozen=True)
class MeasuredBackground(OffBackground):
    """A background of smooth, free shape, which OFF counts measure.

    Parameters
    ----------
    nodes_per_decade : float
        Nodes of the shape in a decade of energy, at least.
    events_per_node : float
        OFF events between two nodes from which on they may lie closer together, down to the width of a channel.
    step : float
        Width of the prior of the change of its logarithm between nodes of that distance: how free the shape is.
    index : float
        Power law that the prior is centred on.

    Raises
    ------
    ValueError
        If one is not positive.

    Examples
    --------
    >>> MeasuredBackground(nodes_per_decade=2)
    MeasuredBackground(nodes_per_decade=2.0, events_per_node=10.0, step=0.5, index=2.7)
    """

    nodes_per_decade: float = 3.0
    events_per_node: float = 10.0
    step: float = 0.5
    index: float = 2.7

    def __post_init__(self) -> None:
        for what in ("nodes_per_decade", "events_per_node", "step"):
            value = number(getattr(self, what), f"MeasuredBackground({what}=...)", low=0)
            object.__setattr__(self, what, value)
        object.__setattr__(self, "index", number(self.index, "MeasuredBackground(index=...)"))

    def nodes(self, data: Any) -> FloatArray:
        """Energies of the nodes in TeV, shape (n_nodes,), for data of a kind that `OnOffCounts` takes."""
        return self._nodes(measurement_of(data))

    def _nodes(self, data: Measurement) -> FloatArray:
        edges, off = data.histogram_off
        last = len(off) - 1
        widest = 10 ** (1 / self.nodes_per_decade)
        nodes, events = [edges[0]], 0.0
        for c in range(last):
            events += off[c]
            if events >= self.events_per_node or edges[c + 2] > nodes[-1] * widest:
                nodes.append(edges[c + 1])
                events = 0.0
        if len(nodes) > 1 and events + off[last] < self.events_per_node and edges[last + 1] <= nodes[-2] * widest:
            nodes.pop()
        nodes.append(edges[last + 1])
        # a channel may be wider than nodes lie apart
        return np.concatenate(
            [
                *(
                    np.geomspace(low, high, max(math.ceil(math.log(high / low) / math.log(widest) - 1e-9), 1) + 1)[:-1]
                    for low, high in pairwise(nodes)
                ),
                nodes[-1:],
            ]
        )

    def _rates(self, nodes: FloatArray, energy: FloatArray) -> FloatArray:
        """Rates of OFF events per TeV for a coefficient of one of each node, shape (n_nodes, n)."""
        log = np.log(energy)
        hats = np.array([np.interp(log, np.log(nodes), one) for one in np.eye(len(nodes))])
        return np.asarray(hats * np.exp(-self.index * (log - np.log(nodes)[:, None])))

    def observe(self, name: str, data: Measurement, signal: Variable, source: SourceOf, dims: str) -> Variable:
        """ON events, and OFF events ``"<name>_off"``; of these per TeV at the nodes are ``"<name>_background"``."""
        model = pm.modelcontext(None)
        nodes, n_off = self._nodes(data), float(data.histogram_off.counts.sum())
        shapes = data.rows_of(lambda energy: self._rates(nodes, energy), nodes)
        numbers = data.expected_off(shapes)
        node_dim, step_dim = f"{name}_background_energy", f"{name}_background_step"
        model.add_coord(node_dim, nodes)
        model.add_coord(step_dim, nodes[1:])
        # what the power law of the prior expects, for as many events as there are, and half a one
        scale = (nodes / nodes[0]) ** -self.index
        typical = scale * (n_off + 0.5) / (numbers @ scale)
        level = pm.Normal(f"{name}_background_level", 0.0, LEVEL_WIDTH)
        steps = pm.StudentT(f"{name}_background_steps", nu=TAILS, dims=step_dim)
        width = self.step * np.sqrt(np.diff(np.log10(nodes)) * self.nodes_per_decade)
        walk = pt.concatenate([pt.zeros(1), pt.cumsum(width * steps)])
        # around the node that lies in the middle of the events: level and steps are then nearly independent
        share = numbers * typical
        coefficient = pm.Deterministic(
            f"{name}_background", typical * pt.exp(level + walk - pt.dot(share / share.sum(), walk)), dims=node_dim
        )
        off = pt.dot(shapes, coefficient)
        data.observe_off(f"{name}_off", off, dims)
        on = data.alpha * off
        return data.observe_on(name, source(on), signal, on, dims)
