"""Picture of a mixture tree."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pymc_gamma.model.mixture_tree import MixtureTree

__all__ = ["draw_tree"]


def draw_tree(tree: MixtureTree, labels: Mapping[str, str], ax: Any) -> Any:
    """See :meth:`pymc_gamma.MixtureTree.plot`."""
    if ax is None:
        import matplotlib.pyplot as plt

        depth = max(level for level, _ in _positions(tree).values())
        _, ax = plt.subplots(figsize=(2.0 + 2.2 * depth, 1.0 + 0.6 * len(tree.leaves)), layout="constrained")
    positions = _positions(tree)
    for node, children in tree.nodes.items():
        x, y = positions[node]
        for child in children:
            x_child, y_child = positions[child]
            middle = (x + x_child) / 2
            ax.plot([x, middle, middle, x_child], [y, y, y_child, y_child], color="0.6", lw=1.2, zorder=1)
    for node, (x, y) in positions.items():
        is_leaf = node not in tree.nodes
        ax.annotate(
            labels.get(node, node),
            (x, y),
            ha="center",
            va="center",
            bbox={"boxstyle": "round,pad=0.4", "fc": "white" if is_leaf else "0.92", "ec": "0.4"},
            zorder=2,
        )
    ax.margins(0.2)
    ax.set_axis_off()
    return ax


def _positions(tree: MixtureTree) -> dict[str, tuple[float, float]]:
    """Depth and height of each node: leaves evenly spaced, nodes midway between their children."""
    positions: dict[str, tuple[float, float]] = {}

    def place(node: str, depth: int) -> float:
        if node in tree.nodes:
            height = float(np.mean([place(child, depth + 1) for child in tree.nodes[node]]))
        else:
            height = -float(tree.leaves.index(node))
        positions[node] = (float(depth), height)
        return height

    place(tree.name, 0)
    return positions
