r"""Priors as functions of the unit cube.

Nested samplers draw from the unit cube. The transform :math:`\theta = T(u)` that turns the uniform distribution
into the prior follows from the model: variables are visited in the order in which they depend on each other, each
through the inverse of its cumulative distribution given the ones before it,

.. math::

    \theta_j = F_j^{-1}(u_j \mid \theta_{<j}),

and a Dirichlet with concentrations :math:`\alpha` by breaking a stick,

.. math::

    v_k = F^{-1}_{\mathrm{Beta}(\alpha_k,\, \sum_{j>k} \alpha_j)}(u_k), \qquad
    f_k = v_k \prod_{j<k} (1 - v_j),

which takes one coordinate less than there are fractions (Devroye 1986, section XI.4). The transform is
deterministic and its Jacobian is the prior; nothing is rejected and no prior density is evaluated.

A variable has as many parameters as coordinates of the cube: those of a Dirichlet are all its fractions but the last,
which is what they leave of one.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, NamedTuple

import pytensor.tensor as pt
from pymc.distributions.truncated import TruncatedRV
from pymc.logprob.basic import icdf, logcdf
from pytensor.graph.basic import Variable
from pytensor.graph.op import Op
from pytensor.tensor.random.basic import DirichletRV, MvNormalRV

from pymc_gamma.errors import ModelError

__all__ = ["CubePrior", "cube_prior"]

type Shape = tuple[int, ...]


def _same(value: Variable) -> Variable:
    return value


class CubePrior(NamedTuple):
    """How a variable hangs on coordinates of the unit cube.

    Attributes
    ----------
    shape : tuple of int
        Shape of its coordinates, and of its parameters.
    value : callable
        From uniform coordinates to the variable.
    completed : callable
        From its parameters to the variable.
    """

    shape: Shape
    value: Callable[[Variable], Variable]
    completed: Callable[[Variable], Variable] = _same


def cube_prior(rv: Variable, shape: Shape) -> CubePrior:
    """How a variable of known shape hangs on coordinates of the unit cube.

    Raises
    ------
    ModelError
        If its distribution has no inverse that is known.
    """
    try:
        prior = _cube_prior(rv.owner.op, rv, shape)
        prior.value(pt.as_tensor_variable(0.5 * pt.ones(prior.shape)))
    except (NotImplementedError, RuntimeError) as error:
        kind = getattr(rv.owner.op, "_print_name", (str(rv.owner.op),))[0]
        raise ModelError(
            f"nested sampling needs the inverse cumulative distribution of {rv.name!r}, and there is none for "
            f"{kind!r}. Write the prior with a distribution that has one (Uniform, Normal, LogNormal, HalfNormal, "
            "TruncatedNormal, Truncated, Gamma, Beta, Exponential, StudentT, Cauchy, MvNormal, Dirichlet, ...), for "
            "example by a non-centred parametrisation and pm.Deterministic; or sample the model with pm.sample."
        ) from error
    return prior


@singledispatch
def _cube_prior(op: Op, rv: Variable, shape: Shape) -> CubePrior:
    return CubePrior(shape, lambda u: icdf(rv, u, warn_rvs=False))


@_cube_prior.register
def _dirichlet(op: DirichletRV, rv: Variable, shape: Shape) -> CubePrior:
    concentration = pt.broadcast_to(rv.owner.inputs[-1], shape)

    def completed(first: Variable) -> Variable:
        rest = 1.0 - first.sum(axis=-1, keepdims=True)
        # beyond rounding, fractions that sum to more than one are no point of the prior
        rest = pt.switch(pt.lt(rest, -1e-9), float("nan"), pt.maximum(rest, 0.0))
        return pt.concatenate([first, rest], axis=-1)

    return CubePrior((*shape[:-1], shape[-1] - 1), lambda u: _break_stick(concentration, u, shape[-1]), completed)


@_cube_prior.register
def _mv_normal(op: MvNormalRV, rv: Variable, shape: Shape) -> CubePrior:
    mean, covariance = rv.owner.inputs[-2:]

    def value(u: Variable) -> Variable:
        normal = pt.sqrt(2.0) * pt.erfinv(2.0 * u - 1.0)
        scale = pt.linalg.cholesky(covariance)
        return pt.broadcast_to(mean, shape) + (scale @ normal[..., None])[..., 0]

    return CubePrior(shape, value)


@_cube_prior.register
def _truncated(op: TruncatedRV, rv: Variable, shape: Shape) -> CubePrior:
    *inputs, lower, upper = rv.owner.inputs
    base: Any = op.base_rv_op.make_node(*inputs).default_output()

    def value(u: Variable) -> Variable:
        low, high = pt.exp(logcdf(base, lower, warn_rvs=False)), pt.exp(logcdf(base, upper, warn_rvs=False))
        return pt.clip(icdf(base, low + u * (high - low), warn_rvs=False), lower, upper)

    return CubePrior(shape, value)


def _break_stick(concentration: Variable, u: Variable, n: int) -> Variable:
    """Dirichlet fractions (..., n) from the unit cube (..., n - 1)."""
    remaining: Variable = pt.ones(u.shape[:-1])
    fractions = []
    for k in range(n - 1):
        rest = concentration[..., k + 1 :].sum(axis=-1)
        share = pt.betaincinv(concentration[..., k], rest, u[..., k])
        fractions.append(remaining * share)
        remaining = remaining * (1.0 - share)
    return pt.stack([*fractions, remaining], axis=-1)
