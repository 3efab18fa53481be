r"""Priors of gammapy parameters as PyMC random variables.

gammapy adds :math:`-2 w \ln p(x)` to its fit statistic for a prior :math:`p` of weight :math:`w`, so the density meant
is :math:`p^w` normalised:

.. math::

    \text{GaussianPrior} \quad & \mathcal N(\mu, \sigma / \sqrt w) \\
    \text{GeneralizedGaussianPrior} \quad & \propto \exp\big(-|(x - \mu) / s|^{1/\eta}\big), \quad
        s = \sqrt 2\, \sigma\, w^{-\eta} \\
    \text{UniformPrior} \quad & \mathcal U(\min, \max) \\
    \text{LogUniformPrior} \quad & \propto x^{-w} \text{ between } \min \text{ and } \max, \quad w = 1 .

(``gammapy.modeling.models.prior`` of gammapy 2.1; :math:`\eta` is 1/2 for a normal, 1 for a Laplace distribution.) The
limits ``min`` and ``max`` of a parameter truncate its prior. A parameter without a prior gets a wide one, by its role:

====================================  ==============================================================
role                                  default prior, with the value :math:`v` of the parameter
====================================  ==============================================================
scale: amplitudes and norms           log-normal, median :math:`v`, :math:`\sigma = \ln 10`
positive: energies, widths            log-normal, median :math:`v`, :math:`\sigma = 1`
real: indices, curvatures, tilts      normal, mean :math:`v`, :math:`\sigma = 1`
position                              normal, mean :math:`v`, :math:`\sigma` = 0.1 deg on the sky
extension: widths, radii, e           uniform within the range of the response around :math:`v`
angle: of the major axis              normal, mean :math:`v`, :math:`\sigma` = 45 deg
====================================  ==============================================================

Positions and extensions keep to the range around their values within which a response of free shape is valid
(:mod:`pymc_gamma.interop.shapes`): it truncates their priors.
Scales and positive parameters are truncated at zero whatever their prior, because a flux must not be negative. A
variable has the unit of its gammapy parameter, and a sampler sees it shifted and scaled to order one.
"""

from enum import Enum
from typing import Any

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import Chain, Interval, Transform, log
from pytensor.tensor.variable import TensorVariable
from scipy import stats

from pymc_gamma.errors import ModelError

__all__ = ["DEFAULT_WIDTH", "Role", "Standardised", "log_uniform", "prior_variable"]


class Role(Enum):
    """What a parameter does, which decides its default prior and whether it may be negative."""

    SCALE = "scale"
    POSITIVE = "positive"
    REAL = "real"
    POSITION = "position"
    EXTENSION = "extension"
    ANGLE = "angle"


DEFAULT_WIDTH = {Role.SCALE: float(np.log(10)), Role.POSITIVE: 1.0, Role.REAL: 1.0}
"""Standard deviation of the default priors: of the logarithm for scales and positive parameters."""


POSITION_SHARE = 1 / 6
"""Width of the default prior of a position over the range in which it may lie."""
ANGLE_WIDTH_DEG = 45.0


class Standardised(Transform):
    """Shift and scale to order one, where samplers start; amplitudes are as small as 1e-12.

    Parameters
    ----------
    location, scale : float
        What is zero then, and what is one.
    """

    name = "standardised"
    ndim_supp = 0

    def __init__(self, location: float, scale: float) -> None:
        self.location, self.scale = location, scale

    def forward(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """Number of order one."""
        return (value - self.location) / self.scale

    def backward(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """Value of the parameter."""
        return self.location + self.scale * value

    def log_jac_det(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """Logarithm of the scale."""
        return pt.full_like(value, np.log(self.scale))


def prior_variable(
    name: str, parameter: Any, role: Role, within: tuple[float, float] = (-np.inf, np.inf)
) -> TensorVariable:
    """Random variable of a free gammapy parameter, in the PyMC model of the context.

    Parameters
    ----------
    name : str
        Name of the variable.
    parameter : gammapy.modeling.Parameter
        The parameter: its value, unit, limits and prior.
    role : Role
        What it does.
    within : tuple of float
        Range in which it may lie, besides its own limits.

    Returns
    -------
    TensorVariable
        Scalar, in the unit of the parameter.

    Raises
    ------
    ModelError
        If the value lies outside the limits, a prior has no counterpart or another unit than the parameter, or there is
        no prior and the value does not say how large the parameter may be. The message names the parameter.

    Examples
    --------
    >>> import pymc as pm
    >>> from gammapy.modeling.models import GaussianPrior, PowerLawSpectralModel
    >>> spectrum = PowerLawSpectralModel(index=2.3)
    >>> spectrum.index.prior = GaussianPrior(mu=2.0, sigma=0.5)
    >>> with pm.Model() as model:
    ...     index = prior_variable("crab.spectral.index", spectrum.index, Role.REAL)
    >>> float(pm.logp(index, 2.5).eval().round(3)), spectrum.index.prior(spectrum.index).round(3)  # at 2.5, at 2.3
    (-0.726, np.float64(0.812))
    """
    own = _limits(parameter, role)
    if role is Role.ANGLE and own[1] - own[0] >= u.deg.to(parameter.unit, 360.0):
        own = (-np.inf, np.inf)  # a full circle limits nothing, and a sampler starts badly in one
    lower, upper = max(own[0], within[0]), min(own[1], within[1])
    value = float(parameter.value)
    if not lower < upper:
        raise ModelError(f"{name}: there is no number between its limits {lower:g} and {upper:g}.")
    if parameter.prior is None:
        if not (lower <= value <= upper if role is Role.EXTENSION else lower < value < upper):
            raise ModelError(f"{name}: its value {value:g} must lie between its limits {lower:g} and {upper:g}.")
        if role is Role.POSITION and (lower, upper) == within:
            # the range is three of these widths: nothing to be truncated, and the plainest form for a sampler
            return _normal(name, value, POSITION_SHARE * (upper - lower), -np.inf, np.inf)
        return _default(name, value, role, lower, upper, parameter.unit)
    kind, weight, hyper = _read_prior(name, parameter)
    if kind == "UniformPrior":
        return pm.Uniform(name, np.float64(lower), np.float64(upper))  # floats may become float32
    if kind == "LogUniformPrior":
        return _log_uniform(name, weight, lower, upper)
    if kind == "GaussianPrior":
        return _normal(name, hyper["mu"], hyper["sigma"] / np.sqrt(weight), lower, upper)
    if kind == "GeneralizedGaussianPrior":
        eta = hyper["eta"]
        width = np.sqrt(2) * hyper["sigma"] * weight**-eta
        if eta == 0.5:
            return _normal(name, hyper["mu"], width / np.sqrt(2), lower, upper)
        return _generalised_normal(name, hyper["mu"], width, 1 / eta, (lower, upper))
    raise ModelError(
        f"{name}: its prior {kind} has no counterpart here; use GaussianPrior, GeneralizedGaussianPrior, UniformPrior "
        "or LogUniformPrior, or set `prior = None` for the default."
    )


def _limits(parameter: Any, role: Role) -> tuple[float, float]:
    """Limits of a parameter; those of a uniform prior are its limits for gammapy too."""
    lower = -np.inf if np.isnan(parameter.min) else float(parameter.min)
    upper = np.inf if np.isnan(parameter.max) else float(parameter.max)
    return (max(lower, 0.0) if role in (Role.SCALE, Role.POSITIVE) else lower), upper


def _read_prior(name: str, parameter: Any) -> tuple[str, float, dict[str, float]]:
    prior = parameter.prior
    hyper = {}
    for one in prior.parameters:
        # gammapy takes the numbers as they are, whatever the unit; a unit that disagrees is a mistake
        if str(one.unit) and one.unit != parameter.unit and one.name != "eta":
            raise ModelError(
                f"{name}: {one.name} of its {type(prior).__name__} is in '{one.unit}', the parameter in "
                f"'{parameter.unit}'; gammapy does not convert between them, so give the prior in '{parameter.unit}'."
            )
        hyper[one.name] = float(one.value)
    weight = float(prior.weight)
    widths = [hyper[key] for key in ("sigma", "eta") if key in hyper]
    if not (np.all(np.isfinite(list(hyper.values()))) and all(width > 0 for width in widths) and 0 < weight < np.inf):
        raise ModelError(
            f"{name}: the {type(prior).__name__} must have finite numbers, positive widths and a positive weight, got "
            f"{hyper} and weight {weight:g}."
        )
    return type(prior).__name__, weight, hyper


# No initial values: a model that has some cannot be transformed (pm.observe, pm.do, nested sampling). The distributions
# are written such that PyMC's own starting point, one unit from a limit, is sensible at the scale of a parameter.


def _default(name: str, value: float, role: Role, lower: float, upper: float, unit: u.UnitBase) -> TensorVariable:
    if role is Role.EXTENSION:
        return pm.Uniform(name, np.float64(lower), np.float64(upper))
    if role is Role.POSITION:
        return _normal(name, value, POSITION_SHARE * (upper - lower), lower, upper)
    width = ANGLE_WIDTH_DEG * u.deg.to(unit) if role is Role.ANGLE else DEFAULT_WIDTH[role]
    if role in (Role.REAL, Role.ANGLE):
        return _normal(name, value, width, lower, upper)
    middle = float(np.log(value))
    if lower == 0 and np.isinf(upper):
        return pm.CustomDist(name, middle, width, dist=_exponential_of_normal, transform=log, class_name="LogNormal")
    with np.errstate(divide="ignore"):
        limits = np.log([lower, upper])
    return pm.CustomDist(
        name,
        middle,
        width,
        *limits,
        dist=lambda mu, sigma, low, high, size: pt.exp(_truncated(mu, sigma, low, high, size)),
        transform=Chain([log, _bounded(*map(float, limits))]),
        class_name="TruncatedLogNormal",
    )


def _normal(name: str, mu: float, sigma: float, lower: float, upper: float) -> TensorVariable:
    if np.isinf(lower) and np.isinf(upper):
        return pm.Normal(name, mu, sigma, transform=Standardised(mu, sigma))
    return pm.CustomDist(
        name,
        np.float64(mu),
        np.float64(sigma),
        np.float64(lower),
        np.float64(upper),
        dist=_truncated,
        transform=_bounded(lower, upper),
        class_name="TruncatedNormal",
    )


def _exponential_of_normal(mu: TensorVariable, sigma: TensorVariable, size: Any) -> TensorVariable:
    """Log-normal that starts at its median: PyMC's starts at the mean, 14 times as large for a width of a decade."""
    return pt.exp(pm.Normal.dist(mu, sigma, size=size))


def _truncated(mu: Any, sigma: Any, lower: Any, upper: Any, size: Any) -> TensorVariable:
    """Truncated normal in units of its own width."""
    unit = pm.TruncatedNormal.dist(0.0, 1.0, lower=(lower - mu) / sigma, upper=(upper - mu) / sigma, size=size)
    return mu + sigma * unit


def _log_uniform(name: str, weight: float, lower: float, upper: float) -> TensorVariable:
    if weight != 1:
        raise ModelError(
            f"{name}: a LogUniformPrior of weight {weight:g} is not uniform in the logarithm; set its weight to 1."
        )
    if not lower > 0 or np.isinf(upper):
        raise ModelError(f"{name}: a LogUniformPrior needs 0 < min < max < inf, got {lower:g} and {upper:g}.")
    return log_uniform(name, lower, upper)


def log_uniform(name: str, lower: float, upper: float) -> TensorVariable:
    """Random variable that is uniform in its logarithm, in the PyMC model of the context.

    Parameters
    ----------
    name : str
        Its name.
    lower, upper : float
        Positive limits.

    Returns
    -------
    TensorVariable

    Examples
    --------
    >>> with pm.Model():
    ...     mass = log_uniform("mass", 1.0, 100.0)
    >>> bool(1 < pm.draw(mass, random_seed=1) < 100)
    True
    """
    return pm.CustomDist(
        name,
        np.float64(lower),  # of plain numbers PyTensor makes float32, and logarithms of these
        np.float64(upper),
        dist=lambda low, high, size: pt.exp(pm.Uniform.dist(pt.log(low), pt.log(high), size=size)),
        transform=Chain([log, Interval(float(np.log(lower)), float(np.log(upper)))]),
        class_name="LogUniform",
    )


def _generalised_normal(
    name: str, mu: float, width: float, power: float, limits: tuple[float, float]
) -> TensorVariable:
    frozen = stats.gennorm(power, loc=mu, scale=width)
    below, above = (float(frozen.cdf(limit)) for limit in limits)
    log_norm = float(frozen.logpdf(mu)) - np.log(above - below)
    lower, upper = limits

    def logp(x: TensorVariable, location: TensorVariable) -> TensorVariable:
        inside = pt.and_(x >= lower, x <= upper)
        return pt.switch(inside, log_norm - (pt.abs(x - location) / width) ** power, -np.inf)

    def random(location: Any, rng: np.random.Generator | None = None, size: Any = None) -> Any:
        generator = np.random.default_rng() if rng is None else rng
        return frozen.ppf(generator.uniform(below, above, size))

    median = float(frozen.ppf(0.5 * (below + above)))
    free = np.isinf(lower) and np.isinf(upper)
    return pm.CustomDist(
        name,
        mu,
        logp=logp,
        random=random,
        support_point=lambda rv, size, location: pt.full_like(location, median),
        transform=Standardised(mu, width) if free else _bounded(lower, upper),
        class_name="GeneralisedNormal",
    )


def _bounded(lower: float, upper: float) -> Transform:
    return Interval(None if np.isinf(lower) else lower, None if np.isinf(upper) else upper)
