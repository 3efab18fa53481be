r"""What a posterior predicts for bins, from simulated event lists or from the fractions of components.

A mixture of components of fixed spectrum predicts :math:`\mu_{kb} = N f_k\, n_{kb}/c_k` counts, see
:mod:`pymc_gamma.plotting.expected`, around which replicated counts are binomial. For any other model, draws of the
posterior predictive distribution hold whole event lists, which are counted in bins.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.events import Events
from pymc_gamma.events.histogram import Bins
from pymc_gamma.events.predictive import bin_predictive
from pymc_gamma.geometry import lonlat_from_vectors, tangent_basis
from pymc_gamma.inference.posterior import posterior_dataset
from pymc_gamma.plotting.expected import expected_counts, replicated_counts
from pymc_gamma.plotting.samples import component_draws, resample

__all__ = [
    "Prediction",
    "bin_probability",
    "choose_observation",
    "in_domain",
    "is_kept",
    "needs_draws",
    "nothing_in",
    "predict",
    "ring_nodes",
]

_MAX_DRAWS = 2000
# Spacing [deg] of the nodes of integrals over rings: half the width of the sharpest PSF, unless the rings are so large
# that there would be too many.
_STEP = 0.01
_MAX_STRIPS = 150
_MIN_AZIMUTHS = 24


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted counts in bins.

    Parameters
    ----------
    replicated : numpy.ndarray
        Counts of replicated data, shape ``(sample, *bins)``.
    expected : numpy.ndarray, optional
        Expected counts of each component, shape ``(sample, component, *bins)``, where they are known.
    """

    replicated: FloatArray
    expected: FloatArray | None = None

    @property
    def mean(self) -> FloatArray:
        """Posterior mean of the expected counts, of the shape of the bins."""
        if self.expected is None:
            return np.asarray(self.replicated.mean(axis=0))
        return np.asarray(self.expected.sum(axis=1).mean(axis=0))

    def along(self, bins: Any) -> "Prediction":
        """The bins of an index expression, such as ``np.s_[..., 0]`` or ``np.s_[..., :10]``."""
        expected = None if self.expected is None else self.expected[bins]
        return Prediction(self.replicated[bins], expected)


def in_domain(events: Events, response: Any) -> Events:
    """The events that a response expects: those in the domains of its observations; a warning counts the others."""
    observations = getattr(response, "observations", None)
    if observations is None or not hasattr(response, "domains"):
        return events
    selection = events.selection(response.roi, observations)
    selection.warn()
    return events if selection.n_outside == 0 else events[selection.inside]


def is_kept(response: Any, vectors: FloatArray, observation: int | None) -> NDArray[np.bool_]:
    """Whether one observation, or any, keeps events at unit vectors (n, 3)."""
    domains = getattr(response, "domains", None)
    if domains is None:
        return np.asarray(response.roi.contains_vectors(vectors))
    chosen = domains if observation is None else [domains[observation]]
    return np.any([domain.contains_sky(vectors) for domain in chosen], axis=0)


def choose_observation(
    events: Events, response: Any, observation: int | str | None
) -> tuple[Events, int | None, str | None]:
    """Events of an observation, its index and its name for the title; all events and None without a choice.

    Raises
    ------
    EventError
        If there is no such observation.
    """
    if observation is None:
        return events, None, None
    index = response.observation_index(observation)
    return events[events.observation == index], index, f"observation {response.observations[index].name or index}"


def nothing_in(title: str | None) -> str:
    """Why a picture has no events to show."""
    return "the list is empty" if title is None else f"{title} has none"


def predict(
    idata: xr.DataTree | xr.Dataset,
    response: Any,
    bins: Bins,
    n_events: float,
    *,
    var_name: str,
    group: str,
    predictive: str | None,
    weights: ArrayLike | None,
    rng: np.random.Generator,
    probability: FloatArray | None = None,
    observation: int | None = None,
) -> Prediction:
    """Predicted counts in bins, from fractions where they are enough, else from predictive draws.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        Posterior, with or without predictive draws.
    response : Response
        The response of the model.
    bins : Bins
        Bins.
    n_events : float
        Number of events observed, in all observations; the predictive draws have their own.
    var_name : str
        Variable with the fraction of each component.
    group : str
        Group of the predictive draws.
    predictive : str, optional
        Name of the event variable among them; the draws are then used in any case.
    weights : array_like, optional
        One weight per draw.
    rng : numpy.random.Generator
        For replicated counts.
    probability : numpy.ndarray, optional
        Of :func:`bin_probability`, if it is known already.
    observation : int, optional
        Index of the only observation to predict.

    Raises
    ------
    ModelError
        If fractions are not enough and there are no predictive draws.
    """
    if needs_draws(idata, response, var_name=var_name, group=group, predictive=predictive):
        counts = bin_predictive(idata, response, bins, var_name=predictive, group=group, observation=observation)
        lists = counts.values.reshape(-1, *bins.shape)
        return Prediction(resample(lists, weights, _MAX_DRAWS, rng))
    names = [str(name) for name in response.component_names]
    fractions = resample(component_draws(idata, var_name, names), weights, _MAX_DRAWS, rng)
    shares = bin_probability(response, bins, observation) if probability is None else probability
    expected = expected_counts(fractions, shares, n_events)
    return Prediction(replicated_counts(expected.sum(axis=1), n_events, rng), expected)


def needs_draws(
    idata: xr.DataTree | xr.Dataset, response: Any, *, var_name: str, group: str, predictive: str | None
) -> bool:
    """Whether counts have to come from predictive draws, because fractions do not fix them or on request.

    Raises
    ------
    ModelError
        If they have to and there are none.
    """
    here = group in idata.children if isinstance(idata, xr.DataTree) else _holds_events(idata)
    free = tuple(getattr(response, "free_spectrum", ()))
    if predictive is None and not free and (_has_posterior(idata, var_name) or not here):
        return False
    if not here:
        why = "they are asked for with predictive="
        if free:
            why = f"the spectra of {', '.join(map(repr, free))} are free, and fractions alone do not fix the counts"
        raise ModelError(
            f"This picture needs simulated events in the group {group!r}: {why}. "
            "Draw them with pm.sample_posterior_predictive(idata, extend_inferencedata=True)."
        )
    return True


def bin_probability(response: Any, bins: Bins, observation: int | None = None) -> FloatArray:
    """Probability of each bin of energy and radius for an event of each component, shape ``(component, *bins)``.

    With an observation: that an event of all observations is in the bin and was taken in this one. Cells of the sky
    have theirs in :class:`SkyCells`.
    """
    if bins.radius is not None:
        counts = _ring_counts(response, bins, observation)
    else:
        energy = None if bins.energy is None else bins.energy * u.TeV
        counts = np.asarray(response.npred(energy=energy, observation=observation).values, dtype=np.float64)
    total = np.asarray(response.npred().values, dtype=np.float64)
    return np.asarray(counts / total.reshape(-1, *[1] * (counts.ndim - 1)))


def ring_nodes(center: tuple[float, float], radius: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
    """Nodes of integrals over rings around a direction.

    Parameters
    ----------
    center : tuple of float
        Longitude and latitude [deg].
    radius : numpy.ndarray
        Edges of the rings [deg].

    Returns
    -------
    vectors : numpy.ndarray
        Unit vectors, shape ``(n, 3)``.
    weight : numpy.ndarray
        Solid angle of each node [sr], shape ``(n,)``.
    ring : numpy.ndarray
        Ring of each node, shape ``(n,)``.
    """
    step = max(_STEP, float(radius[-1]) / _MAX_STRIPS)
    towards = tangent_basis(*center)
    vectors, weights, rings = [], [], []
    for k, (low, high) in enumerate(pairwise(radius)):
        strips = np.radians(np.linspace(low, high, math.ceil((high - low) / step - 1e-9) + 1))
        for inner, outer in pairwise(np.cos(strips)):
            # The circle that halves the area of its strip.
            height = 0.5 * (inner + outer)
            across = math.sqrt(1 - height**2)
            n = max(_MIN_AZIMUTHS, math.ceil(360 * across / step))
            turn = (np.arange(n) + 0.5) * 2 * np.pi / n
            local = np.stack([np.full(n, height), across * np.cos(turn), across * np.sin(turn)], axis=-1)
            vectors.append(local @ towards)
            weights.append(np.full(n, (inner - outer) * 2 * np.pi / n))
            rings.append(np.full(n, k))
    return np.concatenate(vectors), np.concatenate(weights), np.concatenate(rings)


def _ring_counts(response: Any, bins: Bins, observation: int | None) -> FloatArray:
    """Expected counts at the nominal fluxes, shape ``(component[, energy], ring)``."""
    assert bins.radius is not None
    assert bins.center is not None
    vectors, weight, ring = ring_nodes(bins.center, bins.radius)
    roi = response.roi
    edges = np.array([roi.energy_min, roi.energy_max]) if bins.energy is None else bins.energy
    density = response.surface_density(*lonlat_from_vectors(vectors), edges, observation=observation) * weight
    counts = np.stack([density[..., ring == k].sum(axis=-1) for k in range(len(bins.radius) - 1)], axis=-1)
    return np.asarray(counts[:, 0] if bins.energy is None else counts)


def _has_posterior(idata: xr.DataTree | xr.Dataset, var_name: str) -> bool:
    if isinstance(idata, xr.DataTree) and "posterior" not in idata.children and not idata.has_data:
        return False
    return var_name in posterior_dataset(idata).data_vars


def _holds_events(dataset: xr.Dataset) -> bool:
    return any("reco" in array.dims for array in dataset.data_vars.values())
