r"""A background of free shape that an OFF region measures.

The expected OFF counts at reconstructed energy :math:`E` are

.. math:: b(E) = \sum_h \beta_h\, h(\ln E)\, (E / E_h)^{-\gamma} ,

with hat functions :math:`h` of the logarithm of the energy around nodes :math:`E_h`, positive :math:`\beta_h`, and the
index :math:`\gamma` that a background has about. Both regions are observed, each by its own Poisson term,

.. math:: \log L = \sum_c \log \mathrm{Poisson}(n_c | s_c + \alpha_c b_c) + \log \mathrm{Poisson}(m_c | b_c) ,

so that nothing is profiled, and channels with few OFF events learn from their neighbours. The prior of the shape is a
random walk: the logarithm of :math:`\beta` changes from node to node by a number of Student's distribution with three
degrees of freedom, whose width goes with the root of their distance. Its tails let a background rise by orders of
magnitude above a threshold. Nodes lie closer together where OFF events are many.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import number
from pymc_gamma.arrays import FloatArray
from pymc_gamma.model.on_off.backgrounds import OffBackground
from pymc_gamma.on_off import CountsSpectrum

__all__ = ["MeasuredBackground"]

LEVEL_WIDTH = 3.0
"""Width of the prior of the logarithm of the level, around that of the OFF counts: nothing is known but those."""
TAILS = 3.0
"""Degrees of freedom of the distribution of steps."""
POINTS = 6
"""Gauss-Legendre nodes between two edges."""


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

    def nodes(self, data: CountsSpectrum) -> FloatArray:
        """Energies of the nodes in TeV, shape (n_nodes,)."""
        edges = data.energy.to_value("TeV")
        first, last = (int(np.flatnonzero(data.mask)[k]) for k in (0, -1))
        off = np.zeros(len(data))
        off[data.mask] = data.counts_off.values
        widest = 10 ** (1 / self.nodes_per_decade)
        nodes, events = [edges[first]], 0.0
        for c in range(first, last):
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

    def shapes(self, data: CountsSpectrum) -> FloatArray:
        """OFF counts in the channels for a coefficient of one of each node, in TeV-1, shape (n_channels, n_nodes)."""
        nodes, edges = self.nodes(data), data.energy.to_value("TeV")
        x, weight = np.polynomial.legendre.leggauss(POINTS)
        out = np.zeros((len(edges) - 1, len(nodes)))
        cuts = np.unique(np.concatenate([edges, nodes]))
        cuts = cuts[(cuts >= nodes[0] * (1 - 1e-12)) & (cuts <= nodes[-1] * (1 + 1e-12))]
        log = np.log(cuts)
        for low, high in pairwise(log.tolist()):
            at = 0.5 * (low + high) + 0.5 * (high - low) * x
            channel = int(np.searchsorted(edges, math.exp(0.5 * (low + high)))) - 1
            hats = np.array([np.interp(at, np.log(nodes), one) for one in np.eye(len(nodes))])
            power = np.exp(-self.index * (at - np.log(nodes)[:, None]) + at)
            out[channel] += 0.5 * (high - low) * (hats * power) @ weight
        return out[data.mask]

    def observe(self, name: str, data: CountsSpectrum, signal: Variable, dims: str) -> Variable:
        """ON counts, and ``"<name>_off"``; the OFF counts per TeV at the nodes are ``"<name>_background"``."""
        model = pm.modelcontext(None)
        nodes, shapes = self.nodes(data), self.shapes(data)
        off = data.counts_off.values
        node_dim, step_dim = f"{name}_background_energy", f"{name}_background_step"
        model.add_coord(node_dim, nodes)
        model.add_coord(step_dim, nodes[1:])
        # what the power law of the prior expects, for as many events as there are, and half a one
        scale = (nodes / nodes[0]) ** -self.index
        typical = scale * (off.sum() + 0.5) / (shapes @ scale).sum()
        level = pm.Normal(f"{name}_background_level", 0.0, LEVEL_WIDTH)
        steps = pm.StudentT(f"{name}_background_steps", nu=TAILS, dims=step_dim)
        width = self.step * np.sqrt(np.diff(np.log10(nodes)) * self.nodes_per_decade)
        walk = pt.concatenate([pt.zeros(1), pt.cumsum(width * steps)])
        # around the node that lies in the middle of the events: level and steps are then nearly independent
        share = (shapes * typical).sum(axis=0)
        coefficient = pm.Deterministic(
            f"{name}_background", typical * pt.exp(level + walk - pt.dot(share / share.sum(), walk)), dims=node_dim
        )
        expected = pt.dot(shapes, coefficient)
        pm.Poisson(f"{name}_off", expected, observed=off.astype(np.int64), dims=dims)
        return pm.Poisson(
            name, signal + data.alpha.values * expected, observed=data.counts.values.astype(np.int64), dims=dims
        )
