r"""Log densities at the nodes of a scan, and the cubic between them.

Of each event *i* the logarithm of a density is known at nodes :math:`x_g` of one parameter, or of two. Between
neighbouring nodes it is the cubic that has its values and slopes at both (Hermite's; of two parameters the product of
such cubics), so that the density

.. math:: r_i(x) = \exp\Big(\sum_{g,d} w_{gd}(x)\, T_{gdi}\Big)

is positive and has a continuous gradient: samplers see no kinks. The logarithm of a density is nearly quadratic in most
parameters, which the cubic reproduces exactly; its error is :math:`h^4 \partial^4 \log p/384` at a spacing *h*.

Slopes at nodes come from the polynomial through seven nodes, so that the error at the edges is no larger. Where
densities drop to zero, or nearly so, from one node to the next, such a polynomial swings by orders of magnitude. A
slope *s* is therefore kept only if on both sides

.. math:: \min(0, \Delta) - c \le s h \le \max(0, \Delta) + c, \qquad c = 4,

with :math:`\Delta` the difference of the two values: without *c* the cubic would be monotone between its nodes (Fritsch
& Carlson 1980, SIAM Journal on Numerical Analysis 17, 238), with it the density goes beyond its larger neighbour by
:math:`e^{8c/27} = 3.3` at most. Logarithms that bend by less than 8 from one step to the next fulfil this; of a
Gaussian, these are steps of less than 2.8 standard deviations. Otherwise the polynomial through three nodes is tried,
and after that the smaller of the two quotients of differences is taken, 0 where they have different signs. The mixed
derivative of a table of two parameters is found in the same way, from the slopes along the first.

Zero density is :math:`e^{-750}` of the unit: this is 0 in floating point, and tiny between a node without density
and one with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arguments import ascending
from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.errors import ModelError
from pymc_gamma.ops.scan_kernels import combination
from pymc_gamma.sums import weighted_sum

__all__ = ["LOG_ZERO", "ScanTables", "grid_error"]

LOG_ZERO = -750.0
"""Logarithm that stands for zero: its exponential is 0 in floating point, unlike -inf it can be interpolated."""
_SWING = 4.0
"""By how much a slope times a spacing may exceed the difference of the values."""
_WIDTH = 7
"""Nodes of the polynomials that give the slopes."""


@dataclass(frozen=True, eq=False)
class ScanTables:
    r"""Values and slopes of log densities at the nodes of one or two parameters.

    Make it with :meth:`build`.

    Attributes
    ----------
    nodes : tuple of ndarray
        Nodes of each parameter, ascending.
    table : ndarray, shape (n_nodes * 2**n_axes, N)
        Rows of numbers, one per event. Nodes follow each other, those of the second parameter fastest; each has the
        logarithms of the densities and their slopes along the first parameter, and with two parameters also those along
        the second, and the mixed derivatives.

    Examples
    --------
    >>> import numpy as np
    >>> sigma = np.linspace(1.0, 2.0, 11)
    >>> distance = np.array([0.5, 1.0, 3.0])
    >>> log_density = -0.5 * (distance[:, None] / sigma) ** 2 - 2 * np.log(sigma)
    >>> tables = ScanTables.build(sigma, log_density)
    >>> bool(np.allclose(tables.log_values(1.33), -0.5 * (distance / 1.33) ** 2 - 2 * np.log(1.33), atol=1e-4))
    True
    """

    nodes: tuple[_Floats, ...]
    table: _Floats

    @classmethod
    def build(cls, nodes: Any, log_density: Any, log_scale: Any = 0.0) -> Self:
        """Tables from log densities at nodes.

        Parameters
        ----------
        nodes : array_like or sequence of two array_like
            Nodes of the parameter, two or more, ascending; or of two parameters.
        log_density : array_like, shape (N, G1) or (N, G1, G2)
            Logarithms of the densities of events, or of expected counts of observations; -inf where there are none.
        log_scale : array_like, shape () or (N,)
            Logarithm of the unit that they are wanted in: densities come out divided by its exponential.

        Returns
        -------
        ScanTables

        Raises
        ------
        ValueError
            If the nodes are not ascending, or fewer than two.
        ModelError
            If there are more than two parameters, or log densities that do not fit the nodes, or are NaN or +inf.
        """
        axes = _axes(nodes)
        values = _scaled(axes, log_density, log_scale)
        columns = np.moveaxis(values, 0, -1)  # nodes first: what is read at a time is then contiguous
        first = _slopes(axes[0], columns)
        if len(axes) == 1:
            return cls(axes, _rows([columns, first]))
        second = np.swapaxes(_slopes(axes[1], np.swapaxes(columns, 0, 1)), 0, 1)
        reach = _reach(axes[0])[:, None, None]
        mixed = np.swapaxes(_slopes(axes[1], np.swapaxes(first * reach, 0, 1)), 0, 1) / reach
        return cls(axes, _rows([columns, first, second, mixed]))

    @property
    def n_axes(self) -> int:
        """How many parameters are scanned."""
        return len(self.nodes)

    @property
    def padded_nodes(self) -> tuple[_Floats, _Floats]:
        """Nodes of two parameters, of the second none if there is but one: as the kernels take them."""
        return (self.nodes[0], self.nodes[1] if self.n_axes == 2 else np.empty(0))

    def log_values(self, *x: float) -> _Floats:
        """Logarithms of the densities at values of the parameters, shape (N,); of the nearest edge outside.

        Those of events without density there are large negative numbers, :data:`LOG_ZERO` between nodes that have none.
        """
        rows, weights = combination(*self.padded_nodes, np.array(x, dtype=float))
        return weighted_sum(self.table[rows].T, weights[0, 0])


def grid_error(
    nodes: Any, log_density: Any, multiplicity: Any = None, log_rest: Any = None
) -> tuple[_Floats, NDArray[np.bool_]]:
    r"""Change of log L at nodes if every second one is left out: whether a grid is fine enough.

    The error of the cubics goes with the fourth power of the spacing: that of the grid itself is about a sixteenth of
    what is found here, as long as this is small.

    Parameters
    ----------
    nodes : array_like or sequence of two array_like
        Nodes of the parameter, or of two parameters.
    log_density : array_like, shape (N, G1) or (N, G1, G2)
        Logarithms of the densities of events at all nodes.
    multiplicity : array_like, shape (N,), optional
        How many events each row stands for; ones if not given.
    log_rest : array_like, shape (N,), optional
        Logarithm of the density of everything else that shines: with it the change is that of
        :math:`\sum_i m_i \log(r_i + e^{\mathrm{rest}_i})`, in which events that others explain do not count.

    Returns
    -------
    change : ndarray, shape (G1,) or (G1, G2)
        Log L between the nodes that were kept, minus that of the table; 0 at those kept. Densities below
        :math:`e^{-750}` of the largest of their event count as this.
    left_out : ndarray of bool
        Nodes that were left out: every second one, but not the last.

    Raises
    ------
    ModelError
        If no axis has the three nodes that this takes, or the log densities do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(1.0, 2.0, 7)
    >>> change, left_out = grid_error(x, -np.log(x)[None])
    >>> change.round(5).tolist()
    [0.0, 0.00076, 0.0, -0.00037, 0.0, 0.00053, 0.0]
    >>> left_out.tolist()
    [False, True, False, True, False, True, False]
    """
    axes = _axes(nodes)
    if all(len(axis) < 3 for axis in axes):
        raise ModelError("the error of a grid needs three nodes or more: one to leave out, and its neighbours.")
    logs = _log_densities(axes, log_density)
    top = np.max(logs.reshape(len(logs), -1), axis=1)
    top[np.isneginf(top)] = 0.0
    exact = _scaled(axes, logs, top)
    kept = [np.unique([*range(0, len(axis), 2), len(axis) - 1]) if len(axis) > 2 else np.arange(2) for axis in axes]
    coarse = ScanTables.build(
        [axis[own] for axis, own in zip(axes, kept, strict=True)],
        exact[np.ix_(np.arange(len(exact)), *kept)],
    )
    counts = np.ones(len(exact)) if multiplicity is None else np.asarray(multiplicity, float)
    rest = np.full(len(exact), -np.inf) if log_rest is None else np.asarray(log_rest, float) - top
    if counts.shape != (len(exact),) or rest.shape != (len(exact),):
        raise ModelError(f"multiplicity and log_rest must have one entry for each of {len(exact)} events.")
    shape = tuple(len(axis) for axis in axes)
    left_out = np.ones(shape, dtype=bool)
    left_out[np.ix_(*kept)] = False
    change = np.zeros(shape)
    for place in zip(*np.nonzero(left_out), strict=True):
        found = coarse.log_values(*[axis[k] for axis, k in zip(axes, place, strict=True)])
        difference = np.logaddexp(rest, found) - np.logaddexp(rest, exact[(slice(None), *place)])
        change[place] = weighted_sum(difference, counts)
    return change, left_out


def _axes(nodes: Any) -> tuple[_Floats, ...]:
    """Nodes of each parameter."""
    several = isinstance(nodes, Sequence) and len(nodes) > 0 and np.ndim(nodes[0]) > 0
    axes = tuple(ascending(axis, "nodes of a scan") for axis in (nodes if several else [nodes]))
    if len(axes) > 2:
        raise ModelError(f"a scan has one or two parameters, got nodes of {len(axes)}.")
    return axes


def _log_densities(axes: tuple[_Floats, ...], log_density: Any) -> _Floats:
    """Log densities (N, G1) or (N, G1, G2)."""
    values = np.asarray(log_density, dtype=float)
    shape = tuple(len(axis) for axis in axes)
    if values.ndim != 1 + len(shape) or values.shape[1:] != shape:
        wanted = ", ".join(str(n) for n in shape)
        raise ModelError(f"log densities at nodes must have the shape (events, {wanted}), got {values.shape}.")
    wrong = np.isnan(values) | np.isposinf(values)
    if np.any(wrong):
        event = int(np.argmax(wrong.reshape(len(values), -1).any(axis=1)))
        raise ModelError(f"log densities at nodes must be numbers or -inf; those of event {event} hold NaN or inf.")
    return values


def _scaled(axes: tuple[_Floats, ...], log_density: Any, log_scale: Any) -> _Floats:
    """Log densities in a unit, not less than what stands for zero."""
    values = _log_densities(axes, log_density)
    scale = np.asarray(log_scale, dtype=float)
    if scale.shape not in ((), (len(values),)) or not np.all(np.isfinite(scale)):
        raise ModelError(
            f"the scales of log densities must be finite, one of each of {len(values)} events, got the shape "
            f"{scale.shape}."
        )
    return np.maximum(values - scale.reshape(-1, *[1] * len(axes)), LOG_ZERO)


def _rows(parts: Sequence[_Floats]) -> _Floats:
    """Values and derivatives (nodes ..., N), one below the other at each node."""
    stacked = np.stack(parts, axis=-2)
    return np.ascontiguousarray(stacked.reshape(-1, stacked.shape[-1]))


def _stencils(nodes: _Floats, width: int) -> tuple[NDArray[np.int64], _Floats]:
    """For each node the nearest ones and the weights of their values in the slope of the polynomial through them."""
    n, width = len(nodes), min(width, len(nodes))
    first = np.clip(np.arange(n) - width // 2, 0, n - width)
    places = first[:, None] + np.arange(width)
    weights = np.zeros((n, width))
    for k in range(n):
        x = nodes[places[k]] - nodes[k]
        scale = np.max(np.abs(x))
        powers = np.vander(x / scale, width, increasing=True).T
        weights[k] = np.linalg.solve(powers, np.eye(width)[1]) / scale
    return places, weights


def _differentiated(values: _Floats, places: NDArray[np.int64], weights: _Floats) -> _Floats:
    """Slopes along the first axis."""
    out = np.zeros(values.shape)
    for k in range(places.shape[1]):
        out += weights[:, k].reshape(-1, *[1] * (values.ndim - 1)) * values[places[:, k]]
    return out


def _slopes(nodes: _Floats, values: _Floats) -> _Floats:
    """Slopes along the first axis."""
    step = np.diff(nodes).reshape(-1, *[1] * (values.ndim - 1))
    change = np.diff(values, axis=0)
    quotient = change / step
    before = np.concatenate([quotient[:1], quotient])
    after = np.concatenate([quotient, quotient[-1:]])
    slope = np.where(before * after > 0, np.where(np.abs(before) < np.abs(after), before, after), 0.0)
    low, high = np.minimum(0.0, change) - _SWING, np.maximum(0.0, change) + _SWING
    for width in (3, _WIDTH):
        found = _differentiated(values, *_stencils(nodes, width))
        kept = np.ones(values.shape, dtype=bool)
        for own in (slice(None, -1), slice(1, None)):
            kept[own] &= (low <= found[own] * step) & (found[own] * step <= high)
        slope = np.where(kept, found, slope)
    return slope


def _reach(nodes: _Floats) -> _Floats:
    """Larger of the spacings beside each node."""
    step = np.diff(nodes)
    return np.maximum(np.append(step, 0.0), np.append(0.0, step))
