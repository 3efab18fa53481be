r"""Parameters of scans that take the values of their nodes alone: the likelihood is summed over them.

.. math:: L = \sum_g \pi_g L_g

with the prior weights :math:`\pi_g` of the nodes and the likelihood :math:`L_g` of all events at each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.gradient import disconnected_grad
from pytensor.graph.basic import Variable
from pytensor.graph.replace import vectorize_graph

from pymc_gamma.errors import ModelError
from pymc_gamma.ops.scan import marginal_log_likelihood, node_log_probabilities
from pymc_gamma.units import numbers

__all__ = ["Marginal", "Marginalised", "vector_of"]

FloatArray = NDArray[np.float64]


class Marginalised:
    """Value of a parameter of a scan that is unknown, and one of its nodes: the likelihood is summed over them.

    ``EventMixture(..., scan={"channel": pmg.Marginalised()})`` adds the logarithms of the posterior probabilities of
    the nodes to the model, ``"<name>_channel_log_probability"``: averaged (as probabilities) over the draws they are
    the posterior of the parameter. Every evaluation takes as long as one for each node: it is meant for a few nodes.
    Draws of events are at a node drawn from the prior.

    Parameters
    ----------
    prior : array_like, optional
        Prior weight of each node; they need not add up to one. By default all are alike.

    Raises
    ------
    ValueError
        If weights are negative or not finite, or all are zero.
    TypeError
        If they are no numbers.

    Examples
    --------
    >>> Marginalised([1, 1, 2])
    Marginalised(prior=[0.25, 0.25, 0.5])
    """

    def __init__(self, prior: Any = None) -> None:
        self.prior: FloatArray | None = None
        if prior is None:
            return
        weights = numbers(prior, "Marginalised(prior=...)")
        if weights.ndim != 1 or np.any(weights < 0) or not weights.sum() > 0:
            raise ValueError(f"Marginalised(prior=...) must be a list of weights, not negative, got {prior!r}.")
        self.prior = weights / weights.sum()

    def __repr__(self) -> str:
        """As it is made."""
        return f"Marginalised({'' if self.prior is None else f'prior={self.prior.tolist()}'})"


@dataclass(frozen=True, eq=False)
class Marginal:
    """A parameter that is summed over.

    Attributes
    ----------
    parameter : str
        Its name.
    nodes : numpy.ndarray
        Its nodes.
    prior : numpy.ndarray
        Prior weights of these, which add up to one.
    places : tuple of tuple of int
        Where its value is: number of the vector of parameters, and place in it.
    """

    parameter: str
    nodes: FloatArray
    prior: FloatArray
    places: tuple[tuple[int, int], ...] = ()

    @classmethod
    def build(cls, name: str, parameter: str, nodes: FloatArray, value: Marginalised) -> "Marginal":
        """With the prior of the nodes; a ModelError if there are others than these."""
        prior = np.full(len(nodes), 1 / len(nodes)) if value.prior is None else value.prior
        if len(prior) != len(nodes):
            raise ModelError(
                f"{name}: the prior of {parameter!r} has {len(prior)} weights, and there are {len(nodes)} nodes."
            )
        return cls(parameter, nodes, prior)

    @classmethod
    def find(cls, values: Sequence[Mapping[str, Any] | None]) -> "Marginal | None":
        """The one among values of parameters of blocks that have some, None for one whose parameters are no scan."""
        places = [
            (one, (which, place))
            for which, own in enumerate(values)
            for place, one in enumerate((own or {}).values())
            if isinstance(one, cls)
        ]
        return replace(places[0][0], places=tuple(place for _, place in places)) if places else None

    @property
    def log_prior(self) -> FloatArray:
        """Logarithms of the prior weights."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.prior))

    def at_nodes(self, thetas: Sequence[Variable], function: Callable[[tuple[Variable, ...]], Variable]) -> Variable:
        """What a function of vectors of parameters is at each node, shape (n_nodes, ...): one graph for all nodes."""
        own = [pt.as_tensor_variable(theta).astype("float64") for theta in thetas]
        given = {which: pt.vector(shape=own[which].type.shape, dtype="float64") for which, _ in self.places}
        found = function(tuple(given.get(which, theta) for which, theta in enumerate(own)))
        filled = {}
        for which, variable in given.items():
            rows = pt.alloc(own[which], len(self.nodes), own[which].shape[0])
            for k, place in self.places:
                rows = pt.set_subtensor(rows[:, place], self.nodes) if k == which else rows
            filled[variable] = rows
        return vectorize_graph(found, filled)

    def each(self, thetas: Sequence[Variable]) -> list[tuple[Variable, ...]]:
        """Vectors of parameters at each node."""
        found = []
        for node in self.nodes:
            filled = list(thetas)
            for which, place in self.places:
                filled[which] = pt.set_subtensor(filled[which][place], node)
            found.append(tuple(filled))
        return found

    def drawn(self, thetas: Sequence[FloatArray], rng: np.random.Generator) -> tuple[FloatArray, ...]:
        """Vectors of parameters at a node drawn from the prior."""
        node = float(rng.choice(self.nodes, p=self.prior))
        filled = [np.array(theta, float) for theta in thetas]
        for which, place in self.places:
            filled[which][place] = node
        return tuple(filled)

    def shared_out(self, every: Variable) -> Variable:
        """A number for each event from those at each node, (n_nodes, N): they add up to the log of the sum over nodes.

        Events are not independent where a node is unknown: each gets its mean over the nodes that are probable, and an
        equal share of what is left.
        """
        log_prior = pt.constant(self.log_prior)
        total = marginal_log_likelihood(every.T, log_prior)
        weight = pt.exp(node_log_probabilities(every.T, log_prior))[:, None]
        own = disconnected_grad(pt.sum(pt.switch(weight > 0, weight * every, 0.0), axis=0))
        finite = pt.neq(total, -np.inf)
        own = pt.switch(finite, own, 0.0)
        return own + (total - pt.sum(own)) / own.shape[0]

    def add_probabilities(self, name: str, every: Variable) -> None:
        """Deterministic of the posterior probabilities of the nodes, with a dim of them, from (n_nodes, N)."""
        model = pm.modelcontext(None)
        dim = f"{name}_{self.parameter}"
        model.add_coord(dim, self.nodes)
        found = node_log_probabilities(every.T, pt.constant(self.log_prior))
        pm.Deterministic(f"{dim}_log_probability", found, dims=dim)


def vector_of(values: Mapping[str, Any]) -> Variable:
    """Values of the parameters of one component; NaN where one is summed over."""
    return pt.stack([pt.constant(np.nan) if isinstance(one, Marginal) else one for one in values.values()])
