r"""The marginal posterior of one parameter, without sampling.

With the parameter :math:`y` and the others, :math:`z`, on the real lines that samplers see,

.. math:: \log p(y) \simeq \log p(y, \hat z(y)) - \tfrac12 \log \det\big(-\partial^2_z \log p\big)_{\hat z(y)}

(Tierney and Kadane 1986, JASA 81, 82): exact where the others are Gaussian given the parameter, as norms and spectra of
many events are, whatever the shape of the posterior of the parameter itself. It is tabulated along :math:`y` until it
has fallen by a factor of 1e5, and interpolated.
"""

from collections.abc import Callable

import numpy as np
import pymc as pm
import pytensor
from numpy.typing import NDArray
from pytensor.graph.traversal import ancestors
from scipy.interpolate import CubicSpline

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.ascent import ascend
from pymc_gamma.inference.posterior import known_name

__all__ = ["MarginalPosterior"]

DROP = np.log(1e5)
"""How far the logarithm falls on either side of the part that is tabulated."""
STEP = 0.4
"""Distance of points in standard deviations."""
LARGEST_STEP = 4.0
MOST_POINTS = 400
DIFFERENCE = 1e-3
"""Step of differences of gradients in standard deviations."""
CONVERGED = 1e-7
"""Newton decrement below which a maximum is found."""
NEAR = 1e-3
"""Standard deviations from the joint maximum within which it is found."""
MOST_STEPS, STEPS_OF_A_METRIC = 100, 5
"""Steps to a maximum, and how many of them share second derivatives."""
N_FINE = 4001

LogPosterior = Callable[[FloatArray], tuple[float, FloatArray]]


class MarginalPosterior:
    """Marginal posterior of a free variable of a model, of one number.

    Parameters
    ----------
    model : pymc.Model
        Its free variables are continuous.
    name : str
        Name of the variable.

    Raises
    ------
    ModelError
        If there is no such variable, it is not of one number, or a variable is discrete.
    """

    def __init__(self, model: pm.Model, name: str) -> None:
        free = {rv.name: rv for rv in model.free_RVs}
        rv = free[known_name(name, list(free), f"the model has other free variables than {name!r}, it")]
        if model.discrete_value_vars:
            raise ModelError(
                f"{[one.name for one in model.discrete_value_vars]} are discrete; pass limit= that samples the model."
            )
        value = model.rvs_to_values[rv]
        start = model.initial_point()
        if np.size(start[value.name]) != 1:
            raise ModelError(f"{name!r} has the shape {np.shape(start[value.name])}; a limit is of a single number.")
        wrapper = model.logp_dlogp_function(ravel_inputs=True)
        wrapper.set_extra_values({})
        self._function = wrapper._pytensor_function
        self.start = np.concatenate([np.ravel(one) for one in start.values()]).astype(float)
        sizes = np.cumsum([0, *(np.size(one) for one in start.values())])
        self._place = int(sizes[list(start).index(value.name)])
        self._others = np.delete(np.arange(len(self.start)), self._place)
        self._best: FloatArray | None = None
        self._scale = np.ones_like(self.start)
        self._metric: FloatArray | None = None
        transform = model.rvs_to_transforms[rv]
        expression = value if transform is None else transform.backward(value, *rv.owner.inputs)
        if {*model.free_RVs} & {*ancestors([expression])}:
            raise ModelError(f"the range of {name!r} depends on other variables; pass limit= that samples the model.")
        self._backward = pytensor.function([value], expression, mode="FAST_COMPILE")

    def quantile(self, probability: float) -> float:
        """Value below which the variable lies with a probability.

        Raises
        ------
        ModelError
            If no maximum is found.
        """
        y, log_p = self.table()
        fine = np.linspace(y[0], y[-1], N_FINE)
        density = np.exp(CubicSpline(y, log_p)(fine))
        cumulative = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
        at = np.interp(probability, cumulative / cumulative[-1], fine)
        return float(np.ravel(self._backward(np.asarray(at).reshape(self._shape)))[0])

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(1 for _ in range(self._backward.maker.fgraph.inputs[0].type.ndim))

    def table(self) -> tuple[FloatArray, FloatArray]:
        """The variable on the real line, ascending, and the logarithm of its marginal density less the largest."""
        x = self._maximum()
        step = STEP * np.sqrt(np.linalg.inv(self._curvature(x, self._scale))[self._place, self._place])
        middle = (x[self._place], *self._marginal(x[self._place], x[self._others]))
        sides: list[list[tuple[float, float]]] = []
        largest = middle[1]
        for sign in (-1, 1):
            y, last, z, width = middle[0], middle[1], middle[2], step
            self._metric = None
            points: list[tuple[float, float]] = []
            while largest - last < DROP:
                if len(points) > MOST_POINTS:
                    raise ModelError("the posterior of the variable has no end; give it a proper prior.")
                y += sign * width
                last, z = self._marginal(y, z)
                points.append((y, last))
                largest = max(largest, last)
                change = abs(last - (points[-2][1] if len(points) > 1 else middle[1]))
                width = min(width * 1.3, LARGEST_STEP * step) if change < 0.3 else width
                width = width / 1.5 if change > 2 else width
            sides.append(points)
        every = [*reversed(sides[0]), middle[:2], *sides[1]]
        table = np.array(every)
        return table[:, 0], table[:, 1] - largest

    def _maximum(self) -> FloatArray:
        """Where the joint posterior is largest; from where it was last time."""
        for start in (self._best, self.start):
            if start is None:
                continue
            summit = ascend(self._function, start, tolerance=NEAR, max_steps=MOST_STEPS)
            if summit.concave and summit.distance < NEAR:
                self._best, self._metric = summit.x, None
                self._scale = np.sqrt(np.diag(np.linalg.inv(summit.curvature)))
                return summit.x
            self._best = None  # other events: from the start again
        raise ModelError("no maximum of the posterior was found; pass limit= that samples the model.")

    def _curvature(self, x: FloatArray, scale: FloatArray, which: NDArray[np.intp] | None = None) -> FloatArray:
        """Second derivatives of minus the log-posterior, of some of the parameters, by differences of gradients."""
        which = np.arange(len(x)) if which is None else which
        rows = []
        for i in which:
            step = np.zeros_like(x)
            step[i] = DIFFERENCE * scale[i]
            above, below = (np.asarray(self._function(x + sign * step)[1]) for sign in (1, -1))
            rows.append((below - above)[which] / (2 * step[i]))
        curvature = np.array(rows).reshape(len(which), len(which))
        return 0.5 * (curvature + curvature.T)

    def _marginal(self, y: float, z: FloatArray) -> tuple[float, FloatArray]:
        """Logarithm of the marginal density at a value of the variable, and the others where they fit best."""
        x = np.empty(len(self.start))
        x[self._place], x[self._others] = y, z
        if not len(z):
            return float(self._function(x)[0]), z
        value, gradient = self._function(x)
        curvature = self._metric  # of a neighbour: good enough to converge with
        for n in range(MOST_STEPS):
            if curvature is None or n % STEPS_OF_A_METRIC == STEPS_OF_A_METRIC - 1:
                curvature = self._definite(x)
            slope = np.asarray(gradient)[self._others]
            move = np.linalg.solve(curvature, slope)
            if abs(slope @ move) < CONVERGED:
                self._metric = self._definite(x)
                return float(value) - 0.5 * float(np.linalg.slogdet(self._metric)[1]), x[self._others].copy()
            for _ in range(30):  # halved until it is higher
                trial = x.copy()
                trial[self._others] += move
                higher = self._function(trial)
                if float(higher[0]) >= float(value) - CONVERGED:
                    break
                move = move / 2
            x, (value, gradient) = trial, higher
        raise ModelError("the other variables have no maximum given the variable; pass limit= that samples the model.")

    def _definite(self, x: FloatArray) -> FloatArray:
        """Curvature of the other variables, with eigenvalues made positive where it has none of a maximum."""
        curvature = self._curvature(x, self._scale, self._others)
        values, vectors = np.linalg.eigh(curvature)
        if values[0] > 0:
            return curvature
        return np.asarray(vectors * np.maximum(np.abs(values), 1e-8 * np.abs(values).max()) @ vectors.T)
