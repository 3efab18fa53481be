"""Likelihoods of flux points, by the names gammapy has for its statistics.

Formulae are those of :class:`~pymc_gamma.FluxPointsData`. A quadratic spline runs between the points of a scan, as in
gammapy; beyond them its last parabola goes on, or its last slope, where it bends down.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError, warn_user
from pymc_gamma.model.flux_points.measured import MeasuredFluxes, energies

__all__ = ["STATISTICS", "FluxStatistic"]


class FluxStatistic(ABC):
    """A way to compare fluxes with those of a model."""

    @abstractmethod
    def usable(self, label: str, points: MeasuredFluxes) -> NDArray[np.bool_]:
        """Points it can compare among those that are to be used, shape (n,).

        Raises
        ------
        ModelError
            If what it needs of one is missing, or no number that it can be.
        """

    @abstractmethod
    def observe(self, name: str, points: MeasuredFluxes, used: NDArray[np.bool_], flux: Variable) -> Variable:
        """Add the points that are used to the model on the context stack.

        Parameters
        ----------
        name : str
            Of the variable of the fluxes, and the beginning of the names of all others.
        points : MeasuredFluxes
            All of them, n.
        used : numpy.ndarray of bool
            Those of :meth:`usable` that are used, shape (n,).
        flux : TensorVariable
            Fluxes of the model at their energies in TeV-1 cm-2 s-1, shape (n,).
        """


class Symmetric(FluxStatistic):
    """Normal distributions of one width each."""

    def usable(self, label: str, points: MeasuredFluxes) -> NDArray[np.bool_]:
        """Points that are no limits."""
        limits = points.mask & points.is_limit
        if limits.any():
            _left_out(label, points, limits, "'chi2' leaves upper limits out; 'distrib' and 'profile' do not")
        used = points.mask & ~points.is_limit & np.isfinite(points.dnde)
        _check_errors(label, points, used, points.symmetric())
        return used

    def observe(self, name: str, points: MeasuredFluxes, used: NDArray[np.bool_], flux: Variable) -> Variable:
        """Normal variables."""
        dims = _dims(name, points, used)
        return pm.Normal(name, flux[used], points.symmetric()[used], observed=points.dnde[used], dims=dims)


class Asymmetric(FluxStatistic):
    """Distributions of two half normals, and limits."""

    def usable(self, label: str, points: MeasuredFluxes) -> NDArray[np.bool_]:
        """Points with a flux and its errors, or a limit."""
        down, up = points.sides()
        measured = self._measured(points)
        for error in (down, up):
            _check_errors(label, points, points.mask & measured, error)
        limits = points.mask & ~measured & np.isfinite(points.limit)
        bad = limits & (points.limit <= 0)
        if bad.any():
            raise ModelError(
                f"{label}: upper limits must be positive; they are not at {energies(points.energy, bad)}. Leave these "
                "points out by mask=."
            )
        rest = points.mask & ~measured & ~limits & np.isfinite(points.dnde)
        _check_errors(label, points, rest, points.symmetric())
        return points.mask & measured | limits

    def observe(self, name: str, points: MeasuredFluxes, used: NDArray[np.bool_], flux: Variable) -> Variable:
        """The fluxes, and ``"<name>_limits"``: what was measured below a limit is observed as the limit."""
        measured = used & self._measured(points)
        limits = used & ~measured
        if limits.any():
            limit = points.limit[limits]
            below = pm.Normal.dist(flux[limits], limit / points.n_sigma_limit)
            dims = _dims(f"{name}_limits", points, limits)
            of_limits = pm.Censored(f"{name}_limits", below, lower=limit, upper=None, observed=limit, dims=dims)
            if not measured.any():
                return of_limits
        down, up = (side[measured] for side in points.sides())
        return pm.CustomDist(
            name,
            flux[measured],
            down,
            up,
            logp=_two_sided_logp,
            dist=_two_sided_dist,
            observed=points.dnde[measured],
            dims=_dims(name, points, measured),
        )

    @staticmethod
    def _measured(points: MeasuredFluxes) -> NDArray[np.bool_]:
        down, up = points.sides()
        return np.isfinite(points.dnde) & ~(np.isnan(down) | np.isnan(up))


class Profile(FluxStatistic):
    """The likelihood of each flux as it was scanned; no predictive draws."""

    def usable(self, label: str, points: MeasuredFluxes) -> NDArray[np.bool_]:
        """Points that have a whole scan, which ends where the likelihood falls."""
        if points.profiles is None:
            raise ModelError(
                f"{label} has no scans of the likelihood (stat_scan), which statistic='profile' asks for; use "
                "'distrib', or make the points with selection_optional=['scan'] or 'all'."
            )
        profiles = points.profiles
        if len(profiles.norm) < 3 or not np.all(np.diff(profiles.norm) > 0):
            raise ModelError(f"{label}: the scans must have three factors at least, which increase.")
        whole = np.isfinite(profiles.stat).all(axis=1) & np.isfinite(profiles.reference) & (profiles.reference > 0)
        if (points.mask & ~whole).any():
            _left_out(label, points, points.mask & ~whole, "their scans have gaps")
        used = points.mask & whole
        for i in np.flatnonzero(used):
            *_, slope = _spline(profiles.norm, profiles.stat[i])
            if slope <= 0:
                raise ModelError(
                    f"{label}: the scan at {points.energy[i]:.4g} TeV ends at {profiles.norm[-1]:.4g} times the "
                    "reference flux, before the likelihood falls; scan further, or leave the point out by mask=."
                )
        return used

    def observe(self, name: str, points: MeasuredFluxes, used: NDArray[np.bool_], flux: Variable) -> Variable:
        """A variable whose logarithm of the probability is that of the scans; observed are the best fluxes."""
        profiles = points.profiles
        assert profiles is not None
        stat, reference = profiles.stat[used], profiles.reference[used]
        best = reference * profiles.norm[stat.argmin(axis=1)]
        splines = [_spline(profiles.norm, one) for one in stat]
        knots = splines[0][0]
        pieces = np.stack([one[1] for one in splines])  # (n_used, 3, n_pieces)
        last, slope = (np.array([one[k] for one in splines]) for k in (2, 3))
        bend = np.maximum(pieces[:, 0, -1], 0.0)
        row = np.arange(len(stat))
        low, high = profiles.norm[[0, -1]]
        first, first_slope = pieces[:, 2, 0], pieces[:, 1, 0]
        first_bend = np.maximum(pieces[:, 0, 0], 0.0)

        def logp(value: Variable, flux: Variable) -> Variable:
            norm = flux / reference
            inside = pt.clip(norm, low, high)
            piece = pt.clip(pt.searchsorted(pt.constant(knots), inside) - 1, 0, len(knots) - 2)
            x = inside - pt.constant(knots)[piece]
            a, b, c = (pt.constant(pieces[:, k])[row, piece] for k in range(3))
            above, below = pt.maximum(norm - high, 0.0), pt.minimum(norm - low, 0.0)
            middle = c + x * (b + x * a)
            beyond = pt.switch(above > 0, last + above * (slope + above * bend), middle)
            total = pt.switch(below < 0, first + below * (first_slope + below * first_bend), beyond)
            return pt.switch(pt.isinf(norm), -np.inf, -0.5 * total)

        kind = {"dtype": "float64", "signature": "()->()"}
        dims = _dims(name, points, used)
        return pm.CustomDist(name, flux[used], logp=logp, random=_no_draws, observed=best, dims=dims, **kind)


STATISTICS: Mapping[str, FluxStatistic] = {"chi2": Symmetric(), "distrib": Asymmetric(), "profile": Profile()}
"""Statistics by gammapy's names; to add one, derive a class from `FluxStatistic`."""


def _spline(norm: FloatArray, stat: FloatArray) -> tuple[FloatArray, FloatArray, float, float]:
    """Knots, coefficients of its parabolas (3, n_pieces), and value and slope at its upper end, of a scan."""
    from scipy.interpolate import PPoly, make_interp_spline

    spline = make_interp_spline(norm, stat, k=2)
    poly = PPoly.from_spline(spline)
    kept = np.diff(poly.x) > 0
    knots = np.append(poly.x[:-1][kept], poly.x[-1])
    end = float(norm[-1])
    return knots, poly.c[:, kept], float(spline(end)), float(spline.derivative()(end))


def _dims(name: str, points: MeasuredFluxes, used: NDArray[np.bool_]) -> str:
    """Dim of the energies of the points that are used."""
    dims = f"{name}_energy"
    pm.modelcontext(None).add_coord(dims, points.energy[used])
    return dims


def _check_errors(label: str, points: MeasuredFluxes, used: NDArray[np.bool_], errors: FloatArray) -> None:
    """Raise a ModelError unless errors are finite and positive where they are used."""
    bad = used & ~(np.isfinite(errors) & (errors > 0))
    if bad.any():
        i = int(bad.argmax())
        raise ModelError(
            f"{label}: errors of fluxes must be finite and positive; that at {points.energy[i]:.4g} TeV is "
            f"{errors[i]:.4g} TeV-1 cm-2 s-1 ({int(bad.sum())} of {int(used.sum())} are not). Leave these points out "
            "by mask=, or give them errors."
        )


def _left_out(label: str, points: MeasuredFluxes, which: NDArray[np.bool_], reason: str) -> None:
    warn_user(f"{label}: {int(which.sum())} points are left out, at {energies(points.energy, which)}: {reason}.")


def _two_sided_logp(value: Variable, flux: Variable, down: Variable, up: Variable) -> Variable:
    width = pt.switch(pt.ge(flux, value), up, down)
    return -0.5 * ((value - flux) / width) ** 2 - pt.log((down + up) * np.sqrt(np.pi / 2))


def _two_sided_dist(flux: Variable, down: Variable, up: Variable, size: Any) -> Variable:
    """Draws below the flux of the model as wide as the error upwards, and the other way round."""
    distance = pt.abs(pm.Normal.dist(0.0, 1.0, size=size if size is not None else flux.shape))
    above = pm.Bernoulli.dist(down / (down + up), size=size if size is not None else flux.shape)
    return flux + pt.switch(pt.eq(above, 1), down, -up) * distance


def _no_draws(*args: Any, **kwargs: Any) -> Any:
    raise ModelError(
        "statistic='profile' has no predictive draws: a scan is the likelihood of the flux, no probability of data. "
        "Use 'distrib' or 'chi2'."
    )
