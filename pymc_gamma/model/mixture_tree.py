r"""Nested mixtures: a tree whose nodes split their share of the events between their children.

The fraction of a leaf is the product of the shares on the way to it. Written for the leaf *l* below nodes
:math:`n_0` (the root), :math:`n_1, \dots, n_d`,

.. math::

    f_l = \prod_{j=0}^{d} s_{n_j, c_j}, \qquad s_n \sim \mathrm{Dirichlet}(\alpha_n),

where :math:`c_j` is the child of :math:`n_j` that leads to *l*. The shares of a node answer questions such as
"which part of the background is cosmic rays", and can be given priors one by one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import checked, generator, integer, mapping, text, texts
from pymc_gamma.errors import ModelError
from pymc_gamma.labelled import aligned
from pymc_gamma.pictures import picture
from pymc_gamma.units import numbers

__all__ = ["MixtureTree"]

type Spec = Mapping[str, Any] | Sequence[Any]


class MixtureTree:
    """A tree of mixtures.

    Parameters
    ----------
    spec : mapping or sequence
        A mapping names the children and gives their own children (a mapping, a sequence, or None for a leaf); in a
        sequence, strings are leaves and mappings hold named nodes.
    name : str
        Name of the root; its shares are the variable of this name.

    Raises
    ------
    ModelError
        If a node is empty, a name occurs twice, or an entry is neither a string, a sequence nor a mapping.

    Examples
    --------
    >>> tree = MixtureTree({"signal": ["dm"], "background": {"cosmic": ["ccr"], "gamma": ["diffuse", "hgps"]}})
    >>> tree.leaves
    ('dm', 'ccr', 'diffuse', 'hgps')
    >>> tree.nodes
    {'mixture': ('signal', 'background'), 'signal': ('dm',), 'background': ('cosmic', 'gamma'), 'cosmic': ('ccr',), \
'gamma': ('diffuse', 'hgps')}
    """

    @checked(name=text)
    def __init__(self, spec: Spec, name: str = "mixture") -> None:
        self.name = name
        self.nodes: dict[str, tuple[str, ...]] = {}
        """Children of each node, from the root downwards."""
        leaves: list[str] = []
        self._add(name, spec, leaves)
        self.leaves: tuple[str, ...] = tuple(leaves)
        """Names of the leaves, from left to right."""
        names = [*self.nodes, *leaves]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ModelError(f"names in a mixture tree must be unique, these occur more than once: {twice}.")

    def _add(self, node: str, spec: Any, leaves: list[str]) -> None:
        if node in self.nodes:
            raise ModelError(f"names in a mixture tree must be unique, {node!r} occurs more than once.")
        children = list(_children(node, spec))
        if not children:
            raise ModelError(f"node {node!r} of the mixture tree has no children.")
        self.nodes[node] = tuple(child for child, _ in children)
        for child, below in children:
            if below is None:
                leaves.append(child)
            else:
                self._add(child, below, leaves)

    def __repr__(self) -> str:
        return f"MixtureTree({self._as_spec(self.name)!r}, name={self.name!r})"

    def _as_spec(self, node: str) -> dict[str, Any]:
        return {child: self._as_spec(child) if child in self.nodes else None for child in self.nodes[node]}

    @checked(name=text, dims=text, components=texts, concentration=mapping)
    def fractions(
        self,
        name: str = "fraction",
        *,
        dims: str | None = "component",
        components: Sequence[str] | None = None,
        concentration: Mapping[str, ArrayLike] | None = None,
    ) -> Any:
        """Fractions of the leaves in the model on the context stack, with a Dirichlet prior at each node.

        Each node with several children becomes a variable of the node's name, whose dim has that name followed by
        ``_child``.

        Parameters
        ----------
        name : str
            Name of the flat vector of fractions.
        dims : str, optional
            Dim of that vector; made from the components if the model does not have it.
        components : sequence of str, optional
            Order of the leaves; the coordinate of ``dims`` in the model by default, else the order of `leaves`.
        concentration : mapping of str to array_like, optional
            Dirichlet concentrations for some of the nodes, one per child; ones (a uniform prior) for the others.

        Returns
        -------
        TensorVariable, shape (n_leaves,)
            Sums to one.

        Raises
        ------
        ModelError
            If leaves and components differ, or a concentration does not fit its node.

        Examples
        --------
        >>> import pymc as pm
        >>> tree = MixtureTree({"dm": None, "background": ["diffuse", "ccr"]})
        >>> with pm.Model(coords={"component": ["diffuse", "ccr", "dm"]}) as model:
        ...     fraction = tree.fractions(concentration={"background": [2.0, 5.0]})
        >>> [variable.name for variable in model.unobserved_RVs]
        ['mixture', 'background', 'fraction']
        """
        model = pm.modelcontext(None)
        if components is None:
            components = model.coords.get(dims) if dims else None
        order = self._order(components)
        alphas = self._concentrations(concentration or {})
        shares: dict[str, Any] = {}
        for node, children in self.nodes.items():
            if len(children) > 1:
                dim = f"{node}_child"
                model.add_coord(dim, children)
                shares[node] = pm.Dirichlet(node, a=alphas[node], dims=dim)
        if dims and dims not in model.coords:
            model.add_coord(dims, [self.leaves[i] for i in order])
        flat = pt.stack([self._product(leaf, shares) for leaf in self.leaves])
        return pm.Deterministic(name, flat[list(order)], dims=dims)

    @checked(shares=mapping, components=texts)
    def flatten(self, shares: Mapping[str, ArrayLike], components: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Fractions of the leaves from the shares of the nodes, as numbers.

        Parameters
        ----------
        shares : mapping of str to array_like of shape (..., n_children)
            Shares of each node with several children.
        components : sequence of str, optional
            Order of the leaves; that of `leaves` by default.

        Returns
        -------
        ndarray, shape (..., n_leaves)
            The fractions.

        Raises
        ------
        ModelError
            If a node is missing or unknown, or shares are not a division of one.

        Examples
        --------
        >>> tree = MixtureTree({"dm": None, "background": ["diffuse", "ccr"]})
        >>> tree.flatten({"mixture": [0.2, 0.8], "background": [0.25, 0.75]}).round(3).tolist()
        [0.2, 0.2, 0.6]
        """
        order = self._order(components)
        needed = {node for node, children in self.nodes.items() if len(children) > 1}
        if set(shares) != needed:
            raise ModelError(
                f"shares are needed for the nodes {sorted(needed)}; missing {sorted(needed - set(shares))}, "
                f"unknown {sorted(set(shares) - needed)}."
            )
        values = {
            node: numbers(
                aligned(value, {f"{node}_child": self.nodes[node]}, f"the shares of {node!r}"), f"shares[{node!r}]"
            )
            for node, value in shares.items()
        }
        for node, value in values.items():
            n_children = len(self.nodes[node])
            if value.ndim == 0 or value.shape[-1] != n_children:
                raise ModelError(
                    f"node {node!r} has the children {self.nodes[node]}, got shares of shape {value.shape}."
                )
            if np.any(value < 0) or not np.allclose(value.sum(axis=-1), 1.0, atol=1e-6):
                raise ModelError(
                    f"the shares of node {node!r} must not be negative and must sum to one, got {value.tolist()}."
                )
        flat = np.broadcast_arrays(*(self._product(leaf, values) for leaf in self.leaves))
        return np.stack([np.asarray(flat[i], dtype=np.float64) for i in order], axis=-1)

    @checked(n_events=integer, shares=mapping, components=texts, rng=generator)
    def counts(
        self,
        n_events: int,
        shares: Mapping[str, ArrayLike],
        *,
        components: Sequence[str] | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> NDArray[np.float64]:
        """Events of each leaf: expected numbers, or a multinomial draw if ``rng`` is given.

        Parameters
        ----------
        n_events : int
            Number of events in total.
        shares : mapping of str to array_like
            As for `flatten`.
        components : sequence of str, optional
            Order of the leaves.
        rng : numpy.random.Generator or int, optional
            Source of randomness.

        Returns
        -------
        ndarray, shape (..., n_leaves)
            Numbers of events.

        Examples
        --------
        >>> tree = MixtureTree(["source", "background"])
        >>> tree.counts(4500, {"mixture": [0.2, 0.8]}).tolist()
        [900.0, 3600.0]
        """
        fractions = self.flatten(shares, components)
        if rng is None:
            return n_events * fractions
        probabilities = fractions / fractions.sum(axis=-1, keepdims=True)
        return np.random.default_rng(rng).multinomial(n_events, probabilities).astype(np.float64)

    @checked(labels=mapping)
    def plot(self, *, labels: Mapping[str, str] | None = None, ax: Any = None) -> Any:
        """Draw the tree.

        Parameters
        ----------
        labels : mapping of str to str, optional
            What to write at some of the nodes and leaves instead of their names.
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes if not given.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Examples
        --------
        >>> ax = MixtureTree({"signal": ["dm"], "background": ["diffuse", "ccr"]}).plot()
        """
        return picture("draw_tree")(self, labels or {}, ax)

    def _product(self, leaf: str, shares: Mapping[str, Any]) -> Any:
        """Product of the shares on the way from the root to a leaf."""
        product: Any = 1.0
        child = leaf
        while child != self.name:
            parent = next(node for node, children in self.nodes.items() if child in children)
            if parent in shares:
                product = product * shares[parent][..., self.nodes[parent].index(child)]
            child = parent
        return product

    def _order(self, components: Sequence[str] | None) -> tuple[int, ...]:
        """Position in `leaves` of each component."""
        if components is None:
            return tuple(range(len(self.leaves)))
        names = [str(component) for component in components]
        missing = [name for name in names if name not in self.leaves]
        extra = [leaf for leaf in self.leaves if leaf not in names]
        if missing or extra or len(names) != len(self.leaves):
            raise ModelError(
                f"the leaves of the mixture tree must be the components {names}; missing from the tree: {missing}, "
                f"in the tree only: {extra}."
            )
        return tuple(self.leaves.index(name) for name in names)

    def _concentrations(self, given: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
        unknown = sorted(set(given) - set(self.nodes))
        if unknown:
            raise ModelError(f"concentration is given for {unknown}, but the nodes of the tree are {list(self.nodes)}.")
        alphas = {}
        for node, children in self.nodes.items():
            label = f"the concentration of node {node!r}"
            alpha = numbers(aligned(given.get(node, 1.0), {f"{node}_child": children}, label), label)
            if alpha.ndim == 0:
                alpha = np.full(len(children), alpha)
            if alpha.shape != (len(children),) or not np.all(alpha > 0):
                raise ModelError(
                    f"concentration of node {node!r} must be one positive number for each of {children}, "
                    f"got {alpha.tolist()}."
                )
            alphas[node] = alpha
        return alphas


def _children(node: str, spec: Any) -> Iterator[tuple[str, Any]]:
    """Names of the children of a node, each with its own specification (None for a leaf)."""
    if isinstance(spec, Mapping):
        yield from ((str(name), below) for name, below in spec.items())
    elif isinstance(spec, Sequence) and not isinstance(spec, str):
        for entry in spec:
            if isinstance(entry, str):
                yield entry, None
            elif isinstance(entry, Mapping):
                yield from ((str(name), below) for name, below in entry.items())
            else:
                raise ModelError(f"node {node!r}: an entry must be a name or a mapping, got {entry!r}.")
    else:
        raise ModelError(f"node {node!r}: its spec must be a list of names or a mapping, got {spec!r}.")
