"""Picture of the variables of a model and of what depends on what."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Node", "draw_model"]

_WIDTH, _HEIGHT = 1.75, 1.05
"""Inches from node to node, along a row and between rows."""
_HALF, _ASIDE = 0.24, 0.35
"""Inches from the middle of a node to its edge, and between which the heads of arrows lie."""
_SWEEPS = 8
_LONGEST = 22
_FACES = {"free": "white", "observed": "0.82", "deterministic": "white", "data": "0.93", "potential": "white"}
_SHAPES = {"free": "round,pad=0.5", "observed": "round,pad=0.5"}


class Node(NamedTuple):
    """A variable of a model.

    Attributes
    ----------
    kind : {"free", "observed", "deterministic", "data", "potential"}
        What it is.
    label : str
        What it is called, and how it is distributed; lines.
    parents : collection of str
        Names of the variables that it depends on.
    """

    kind: str
    label: str
    parents: Sequence[str]


def draw_model(nodes: Mapping[str, Node]) -> "Figure":
    """Draw the variables of a model from top to bottom, each below those that it depends on.

    Parameters
    ----------
    nodes : mapping of str to Node
        Variables by name.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Random variables are round, observed ones grey, deterministic ones angular with a dashed edge.
    """
    import matplotlib.pyplot as plt

    rows = _ordered(nodes)
    places = {}
    for height, row in enumerate(rows):
        for k, name in enumerate(row):
            places[name] = ((k - 0.5 * (len(row) - 1)) * _WIDTH, -height * _HEIGHT)
    widest = max(len(row) for row in rows)
    size = (max(widest * _WIDTH, 2.4), len(rows) * _HEIGHT + 0.3)
    figure = plt.figure(figsize=size, layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-size[0] / 2, size[0] / 2), ylim=(0.5 - len(rows) * _HEIGHT - 0.15, 0.65))
    ax.set_axis_off()
    for name, (x, y) in places.items():
        _draw_node(ax, nodes[name], x, y)
    for name, node in nodes.items():
        for parent in node.parents:
            _draw_arrow(ax, places[parent], places[name])
    return figure


def _ordered(nodes: Mapping[str, Node]) -> list[list[str]]:
    """Names by row: below all parents; in a row near the mean of their neighbours, so that few arrows cross."""
    depth: dict[str, int] = {}

    def below(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((below(parent) for parent in nodes[name].parents), default=-1)
        return depth[name]

    for name in nodes:
        below(name)
    children: dict[str, list[str]] = {name: [] for name in nodes}
    for name, node in nodes.items():
        for parent in node.parents:
            children[parent].append(name)
    # what others are made of stands just above them
    for name in sorted(nodes, key=lambda one: -depth[one]):
        if children[name]:
            depth[name] = min(depth[child] for child in children[name]) - 1
    rows: list[list[str]] = [[] for _ in range(1 + max(depth.values()))]
    for name in nodes:
        rows[depth[name]].append(name)
    for sweep in range(_SWEEPS):
        at = {name: k - 0.5 * (len(row) - 1) for row in rows for k, name in enumerate(row)}
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = {
                name: float(np.mean([at[one] for one in (*nodes[name].parents, *children[name])] or [at[name]]))
                for name in row
            }
            row.sort(key=wanted.__getitem__)
            at |= {name: k - 0.5 * (len(row) - 1) for k, name in enumerate(row)}
    return rows


def _draw_node(ax: "Axes", node: Node, x: float, y: float) -> None:
    lines = [line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…" for line in node.label.split("\n")]
    ax.text(
        x,
        y,
        "\n".join(lines),
        ha="center",
        va="center",
        fontsize=8.5,
        zorder=3,
        parse_math=False,
        bbox={
            "boxstyle": _SHAPES.get(node.kind, "square,pad=0.45"),
            "facecolor": _FACES[node.kind],
            "edgecolor": "0.35",
            "linestyle": "-" if node.kind in _SHAPES or node.kind == "data" else "--",
        },
    )


def _draw_arrow(ax: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": "0.45", "lw": 1.0, "shrinkA": 0, "shrinkB": 0}
    if end[1] < start[1] - 1.5 * _HEIGHT:  # around the rows between
        style["connectionstyle"] = f"arc3,rad={0.2 if end[0] >= start[0] else -0.2}"
    aside = float(np.clip(0.12 * (start[0] - end[0]), -_ASIDE, _ASIDE))  # heads of several arrows beside each other
    ax.annotate("", (end[0] + aside, end[1] + _HALF), (start[0], start[1] - _HALF), arrowprops=style, zorder=2)
