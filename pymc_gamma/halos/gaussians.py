r"""The brightness of a halo as a sum of Gaussians on the sphere, with widths that no parameter changes.

A function that is *completely monotone* in :math:`r^2` is a mixture of Gaussians with positive weights (Bernstein 1929,
Acta Math. 52, 1). Powers of the profiles here are: with :math:`p` as in :mod:`pymc_gamma.halos.factors`,

.. math:: \rho^p(r) = \int_0^\infty q(\tau)\,e^{-\tau r^2}\,\mathrm d\ln\tau,\qquad q \ge 0 .

On a line of sight :math:`r^2 = (R - s)^2 + R s\,c`, where :math:`c = 2\,(1 - \cos\psi)` is the square of the chord. So
the brightness is a mixture in :math:`c`, for all separations, of :math:`e^{-\lambda c}`: of Gaussians on the sphere
(von Mises and Fisher) of the width :math:`\sigma = (2\lambda)^{-1/2}`. With :math:`\lambda = \tau R s` and
:math:`s = R\,e^v`,

.. math:: \frac{\mathrm dJ}{\mathrm d\Omega} = \int_0^\infty w(\lambda)\,e^{-\lambda c}\,\mathrm d\ln\lambda,\qquad
   w(\lambda) = R \int_{-\infty}^\infty e^{v - 4\lambda\sinh^2(v/2)}\,q\big(\lambda\,e^{-v}/R^2\big)\,\mathrm dv .

The integral over :math:`\ln\lambda` is a sum over widths in geometric progression, which converges exponentially in the
inverse of their spacing, as its integrand is analytic; that over :math:`v` a sum with positive weights. So the weights
of the Gaussians are a *fixed matrix without negative entries*, applied to values of :math:`q`, and smooth in the
parameters of the profile. What is narrower than the first width becomes a part of that and of a point, such that flux
and mean square width are kept; what is wider than the last a part of that and of an isotropic term.

The mixture :math:`q` is the inverse Laplace transform of :math:`\rho^p` as a function of :math:`r^2`, by the contour of
Talbot with the parameters of Weideman 2006, SIAM Journal on Numerical Analysis 44, 2342: with nodes :math:`z_j`,

.. math:: q(\tau) = \mathrm{Re} \sum_j a_j\,\rho^p\big(\sqrt{z_j/\tau}\big) ,

where a core is the exact factor :math:`e^{-\tau r_c^2}`. Weights add up to the J factor of the whole sky.
"""

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike

from pymc_gamma.arguments import checked, integer, kind, plain
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.halos.factors import FLAT, circle_integrals
from pymc_gamma.keywords import check_keywords
from pymc_gamma.units import numbers

if TYPE_CHECKING:
    from pymc_gamma.halos.density import Profile

__all__ = ["GAUSSIAN_WIDTHS", "gaussian_density", "gaussian_weights", "region_shares"]

RATIO = 1.4
"""Of neighbouring widths: with it sums are within 3e-5 of integrals for profiles that turn as slowly as those here."""

FIRST, N_WIDTHS = 0.008, 31
"""The narrowest width in degrees, and their number."""

GAUSSIAN_WIDTHS: FloatArray = np.array([0.0, *(FIRST * RATIO ** np.arange(N_WIDTHS)), np.inf])
"""Widths in degrees of the Gaussians of :func:`gaussian_weights`: 0 is a point, infinity the same everywhere."""

N_NARROWER = 8
"""Widths below the first that are looked at; what is narrower still is a power law."""

N_WIDER = 16
"""Widths above the last that are looked at."""

N_TALBOT = 12
"""Nodes of the contour, half of them above the axis."""

WIDE = 0.3
"""From this width in rad on, sums over v are on the lattice of the widths."""

_CM_PER_KPC = u.kpc.to(u.cm)


class _Design(NamedTuple):
    """What of the weights depends on no profile.

    Attributes
    ----------
    log_tau : numpy.ndarray
        Logarithm of tau R^2, shape (m,).
    matrix : numpy.ndarray
        Weights over R for q at these, in sr, shape (n_widths + 2, m).
    last : numpy.ndarray
        Row of the narrowest Gaussian that was looked at, shape (m,).
    log_z, phase : numpy.ndarray
        Half the logarithm of the modulus and half the phase of the nodes of the contour, shape (N_TALBOT / 2,).
    size, turn : numpy.ndarray
        Modulus and phase of the weights of the contour.
    """

    log_tau: FloatArray
    matrix: FloatArray
    last: FloatArray
    log_z: FloatArray
    phase: FloatArray
    size: FloatArray
    turn: FloatArray


@checked(profile=kind("Profile"), power=partial(integer, low=1))
def gaussian_weights(profile: "Profile", power: int = 2, **parameters: Any) -> Any:
    """J or D factors, over the whole sky, of the Gaussians whose sum is the brightness of a halo.

    Parameters
    ----------
    profile : Profile
        The density.
    power : {2, 1}
        2 for annihilation (J), 1 for decay (D).
    **parameters : float or TensorVariable
        Parameters of the profile that have another value than its own, or are free: ``r_s`` and ``r_c`` in kpc, and
        those that `Profile.slopes` names. The density at the Sun stays. Free ones need priors within their range.

    Returns
    -------
    numpy.ndarray or TensorVariable
        GeV2 cm-5 or GeV cm-2, not negative, shape (33,): of Gaussians with the widths
        `halos.GAUSSIAN_WIDTHS`.

    Raises
    ------
    SkyModelError
        If no sum of Gaussians with positive weights gives this profile, or the J or D factor is infinite.
    TypeError
        If the profile has no such parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_gamma.darkmatter import NFW, GeneralisedNFW
    >>> weights = gaussian_weights(NFW())
    >>> separation = np.array([0.5, 5.0])
    >>> ratio = gaussian_density(separation) @ weights / NFW().dj_domega(separation * u.deg).value
    >>> bool(np.all(abs(ratio - 1) < 2e-5))
    True

    With a free slope:

    >>> import pytensor.tensor as pt
    >>> gamma = pt.dscalar("gamma")
    >>> weights = gaussian_weights(GeneralisedNFW(1.0), gamma=gamma)
    >>> bool(np.allclose(weights.eval({gamma: 1.0}), gaussian_weights(NFW())))
    True
    """
    from pytensor.graph.basic import Variable

    if power not in (1, 2):
        raise SkyModelError(f"power must be 2 (annihilation) or 1 (decay), got {power!r}.")
    check_keywords("gaussian_weights", parameters, ("r_s", "r_c", *profile.slopes))
    values = dict(profile.parameters)
    free = {name: value for name, value in parameters.items() if isinstance(value, Variable)}
    values |= {name: _single(value, name) for name, value in parameters.items() if name not in free}
    profile.check_mixture({name: value for name, value in values.items() if name not in free}, power)
    if not free:
        return _weights(profile, power, values, np)
    import pytensor.tensor as pt

    # of numbers PyTensor would make single precision
    constants = {name: pt.constant(value, dtype="float64") for name, value in values.items() if name not in free}
    return _weights(profile, power, constants | free, pt)


def _single(value: Any, name: str) -> float:
    found = numbers(value, name)
    if found.ndim:
        raise TypeError(f"{name} must be a single number, got an array of shape {found.shape}.")
    return float(found)


def _weights(profile: "Profile", power: int, values: Mapping[str, Any], xp: Any) -> Any:
    design = _design()
    core, sun = values["r_c"] / profile.radius_sun, np.log(profile.radius_sun)
    log_scale = xp.log(values["r_s"])
    log_x = design.log_z - 0.5 * design.log_tau[:, None] + (sun - log_scale)
    modulus, phase = profile.form(log_x, design.phase, values, xp)
    local = profile.form(0.5 * xp.log(1 + core**2) + (sun - log_scale), 0.0, values, xp)[0]
    parts = design.size * xp.exp(power * (modulus - local)) * xp.cos(power * phase + design.turn)
    # of a mixture that ends, the contour leaves rounding of both signs
    q = xp.maximum(parts.sum(axis=-1), 0.0) * xp.exp(-np.exp(design.log_tau) * core**2)
    # q rises as a power of tau; over solid angles its terms fall by this factor from one to the next
    falls = RATIO ** (power * profile.cusp_of(values) - 3)
    tail = (design.last * q).sum() * falls / (1 - falls)
    weights = (design.matrix * q).sum(axis=-1)
    scale = profile.rho_local**power * profile.radius_sun * _CM_PER_KPC
    return scale * xp.concatenate([weights[:1] + tail, weights[1:]])


@checked(separation=plain())
def gaussian_density(separation: ArrayLike) -> FloatArray:
    """Gaussians of the widths `GAUSSIAN_WIDTHS` per solid angle, each with an integral of 1 over the sphere.

    Parameters
    ----------
    separation : array_like
        Angles from the Galactic centre in degrees, positive: at 0 the point is infinite.

    Returns
    -------
    numpy.ndarray
        sr-1, of the shape of ``separation`` with an axis of widths at the end.

    Examples
    --------
    >>> gaussian_density(1.0).shape
    (33,)
    """
    chord = 4 * np.sin(np.radians(np.asarray(separation))[..., None] / 2) ** 2
    rate = 1 / (2 * np.radians(GAUSSIAN_WIDTHS[1:-1]) ** 2)
    middle = np.exp(-rate * chord) / _areas(rate)
    point = np.where(chord > 0, 0.0, np.inf)
    return np.concatenate([point, middle, np.full_like(chord, 1 / (4 * np.pi))], axis=-1)


def region_shares(region: Any) -> FloatArray:
    """Shares of the Gaussians that lie in a region, shape (33,).

    Parameters
    ----------
    region : RegionOfInterest, regions.SkyRegion, path or gammapy map
        As for :meth:`Profile.j_factor`.
    """
    key = str(region.to_dict()) if isinstance(region, RegionOfInterest) else None
    if key is not None and key in _SHARES:
        return _SHARES[key]
    found = circle_integrals(region, lambda psi: gaussian_density(np.degrees(psi)))
    # the point lies inside if a disc does that is next to nothing
    inside = circle_integrals(region, lambda psi: (psi[:, None] <= FLAT) / (np.pi * FLAT**2))
    found = np.concatenate([np.minimum(inside, 1.0), found[1:]])
    if key is not None:
        _SHARES[key] = found
    return found


_SHARES: dict[str, FloatArray] = {}


def _areas(rate: FloatArray) -> FloatArray:
    """Integrals over the sphere of exp(-rate c)."""
    return np.pi / rate * -np.expm1(-4 * rate)


@cache
def _design() -> _Design:
    step = float(np.log(RATIO))
    order = np.arange(-N_NARROWER, N_WIDTHS + N_WIDER)
    sigma = np.radians(FIRST) * RATIO**order
    rate = 1 / (2 * sigma**2)
    log_tau, rows, entries = [], [], []
    for row in range(len(order)):
        v, weight = _distances(float(rate[row]), float(sigma[row]), step)
        log_tau.append(np.log(rate[row]) - v)
        rows.append(np.full(len(v), row))
        entries.append(weight * 2 * step * (_areas(rate[row]) if order[row] < N_WIDTHS else 1.0))
    # equal nodes of the lattice are one
    every = np.concatenate(log_tau)
    nodes, place = np.unique(np.round(every, 9), return_inverse=True)
    fine = np.zeros((len(order), len(nodes)))
    np.add.at(fine, (np.concatenate(rows), place), np.concatenate(entries))
    matrix = np.zeros((N_WIDTHS + 2, len(nodes)))
    kept = slice(N_NARROWER, N_NARROWER + N_WIDTHS)
    matrix[1:-1] = fine[kept]
    narrow = (sigma[:N_NARROWER] / sigma[N_NARROWER]) ** 2
    matrix[0] = (1 - narrow) @ fine[:N_NARROWER]
    matrix[1] += narrow @ fine[:N_NARROWER]
    wide = rate[kept.stop :] / rate[kept.stop - 1]
    matrix[-2] += wide @ fine[kept.stop :] * _areas(rate[kept.stop - 1])
    matrix[-1] = (1 - wide) @ fine[kept.stop :] * 4 * np.pi
    seen = matrix.max(axis=0) > 0
    contour = _contour()
    return _Design(nodes[seen], matrix[:, seen], fine[0, seen], *contour)


def _contour() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Nodes, by half the logarithm and half the phase, and weights by modulus and phase."""
    theta = (2 * np.arange(N_TALBOT // 2) + 1) * np.pi / N_TALBOT
    bent = 0.6407 * theta
    z = N_TALBOT * (0.5017 * theta / np.tan(bent) - 0.6122 + 0.2645j * theta)
    slope = N_TALBOT * (0.5017 / np.tan(bent) - 0.5017 * bent / np.sin(bent) ** 2 + 0.2645j)
    weight = 2 / N_TALBOT * np.exp(z) * slope / 1j
    return 0.5 * np.log(np.abs(z)), 0.5 * np.angle(z), np.abs(weight), np.angle(weight)


def _distances(rate: float, sigma: float, step: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the integral over v for one width.

    From a width of :data:`WIDE` on a lattice, on which the nodes of all widths coincide; below, where only distances
    near that of the centre matter, Gauss nodes for its weight function.
    """
    end = 2 * np.arcsinh(np.sqrt(20 / rate))
    if sigma >= WIDE:
        lattice = np.asarray(step * np.arange(-int(end / step) - 1, int(end / step) + 2), dtype=np.float64)
        weight = step * np.exp(lattice - 4 * rate * np.sinh(lattice / 2) ** 2)
        seen = weight > 1e-9 * weight.max()
        return lattice[seen], weight[seen]
    v: FloatArray = np.linspace(-end, end, 2001, dtype=np.float64)
    return _gauss_nodes(v, np.exp(v - 4 * rate * np.sinh(v / 2) ** 2) * (v[1] - v[0]), 1 + int(20 * np.sqrt(sigma / 2)))


def _gauss_nodes(x: FloatArray, weight: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """Gauss nodes and weights of a measure on points (Golub and Welsch 1969, Math. Comp. 23, 221)."""
    before, here, beta = np.zeros_like(x), np.full_like(x, weight.sum() ** -0.5), 0.0
    diagonal, beside = [], []
    for _ in range(n):
        alpha = float(weight @ (x * here * here))
        after = (x - alpha) * here - beta * before
        beta = float(np.sqrt(weight @ (after * after)))
        before, here = here, after / beta
        diagonal.append(alpha)
        beside.append(beta)
    off = np.array(beside[:-1])
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    return np.asarray(nodes), np.asarray(vectors[0] ** 2 * weight.sum())
