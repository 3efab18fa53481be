"""Checks that a response makes: of the rows it is asked about, and of what its observations can see."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError, ModelError, RegionError, warn_user
from pymc_gamma.events.rows import EventRows
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.instrument.domain import Domain
from pymc_gamma.instrument.observation import Observation

__all__ = ["check_coverage", "check_labels", "check_rows", "check_true_energies", "warn_unexplained"]

NO_BACKGROUND = 1e-4
"""Density of the background at an event, over its mean at that energy, below which nothing of it is there."""


def check_rows(rows: EventRows, domains: Sequence[Domain]) -> None:
    """Raise EventError unless every event row is finite, of a known observation and in the domain of that."""
    finite = np.ones(len(rows), bool)
    for column in (rows.energy, rows.lon, rows.lat, rows.observation):
        finite &= np.isfinite(column)
    if not finite.all():
        raise _error({"not finite": ~finite}, rows, domains[0].roi)
    unknown = ~np.isin(rows.observation, np.arange(len(domains)))
    if unknown.any():
        raise _error({f"of an unknown observation (there are {len(domains)})": unknown}, rows, domains[0].roi)
    outside: dict[str, NDArray[np.bool_]] = {}
    for o, mine in rows.by_observation():
        own = rows.take(mine)
        for reason, bad in domains[o].reasons(own.vectors, own.energy).items():
            outside.setdefault(reason, np.zeros(len(rows), bool))[mine[bad]] = True
    if outside:
        raise _error(outside, rows, domains[0].roi)


def _error(problems: Mapping[str, NDArray[np.bool_]], rows: EventRows, roi: RegionOfInterest) -> EventError:
    told = []
    for what, bad in problems.items():
        first = np.flatnonzero(bad)[:5]
        example = rows.describe(int(first[0]))
        told.append(f"{int(bad.sum())} of {len(rows)} events are {what}, first rows {first.tolist()}: {example}")
    advice = "Use events.select(roi, observations), which takes them out and counts them by reason."
    if np.any(list(problems.values()), axis=0).all():
        advice = f"All of them are: are they in the frame of the region, {roi.frame}? {advice}"
    return EventError(f"{'; '.join(told)}; the region is {roi!r}. {advice}")


def warn_unexplained(rows: EventRows, contrast: FloatArray, domains: Sequence[Domain]) -> None:
    """Warn of events at which the background is all but zero: whatever the model says, a source explains them.

    Parameters
    ----------
    rows : EventRows
        The events.
    contrast : numpy.ndarray
        Density of the background at each, over its mean at that energy.
    domains : sequence of Domain
        One for each observation.
    """
    found = np.flatnonzero(contrast < NO_BACKGROUND)
    if len(found) == 0:
        return
    told = []
    for row in found[:5].tolist():
        domain = domains[int(rows.observation[row])]
        assert domain.observation is not None
        offset = float(domain.observation.offset(rows.lon[row], rows.lat[row], domain.roi.frame))
        told.append(f"row {row} ({rows.energy[row]:.4g} TeV, {offset:.3g} deg off axis)")
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    warn_user(
        f"{len(found)} of {len(rows)} events lie where the model has all but no background: {', '.join(told)}{more}. A "
        "source has to explain them; is the background right there? Smaller offsets or energies may be needed."
    )


def check_true_energies(edges: FloatArray, observations: Sequence[Observation]) -> None:
    """Raise RegionError if bins of true energy (edges in TeV) reach beyond the IRFs of an observation."""
    low = max(one.irfs.energy_true_range[0] for one in observations)
    high = min(one.irfs.energy_true_range[1] for one in observations)
    if edges[0] < low * (1 - 1e-6) or edges[-1] > high * (1 + 1e-6):
        raise RegionError(
            f"energy_true {edges[0]:g}-{edges[-1]:g} TeV exceeds the range of the IRFs, {low:.4g}-{high:.4g} TeV."
        )


def check_labels(observations: Sequence[Observation]) -> None:
    """Raise ModelError if observations with names share a label: the name, or the index of one without a name."""
    if not any(one.name and not one.is_numbered for one in observations):
        return
    labels: dict[str, int] = {}
    for k, one in enumerate(observations):
        label = one.name or str(k)
        if label in labels:
            pair = labels[label], k
            bare = [j for j in pair if not observations[j].name]
            why = f"number {bare[0]} has no name, so its index is its label" if bare else "both have that name"
            raise ModelError(
                f"observations {pair[0]} and {pair[1]} have the same label {label!r}: {why}. Give each a name of its "
                "own, with Observation(..., name=...) or observation.name = ...; those of gammapy are named by obs_id."
            )
        labels[label] = k


def check_coverage(domains: Sequence[Domain]) -> None:
    """Each observation must keep a part of the region; a warning says how much of it none can see."""
    roi = domains[0].roi
    cells = roi.cells(max(roi.radius / 40, 0.02))
    half = np.full(len(cells.solid_angle), 0.5)
    vectors = cells.points(np.arange(len(half)), half, half)
    inside = roi.contains_vectors(vectors)
    weight, vectors = cells.solid_angle[inside], vectors[inside]
    seen = np.zeros(len(vectors), bool)
    for k, domain in enumerate(domains):
        covered = domain.is_covered(vectors)
        observation = domain.observation
        assert observation is not None
        if not covered.any():
            raise RegionError(
                f"the observation {observation.name or k!r} does not see the region: it points "
                f"{float(observation.offset(roi.lon, roi.lat, roi.frame)):.2f} deg from the centre, it keeps offsets "
                f"up to {domain.offset_max:g} deg and the region reaches {roi.radius:.2f} deg. Leave it out."
            )
        seen |= domain.is_given(vectors)
    if not seen.all():
        lost = float(weight[~seen].sum() / weight.sum())
        warn_user(
            f"{lost:.1%} of {roi!r} lies beyond the largest offset of the response or the background table of every "
            "observation: no event and no expected count is there. Use a smaller region or more pointings if that is "
            "not meant."
        )
    low, high = min(one.energy_range[0] for one in domains), max(one.energy_range[1] for one in domains)
    if low > roi.energy_min * (1 + 1e-6) or high < roi.energy_max * (1 - 1e-6):
        _check_energies(domains)


def _check_energies(domains: Sequence[Domain]) -> None:
    """Energies that an observation may use by its own limits, but that its IRFs do not give."""
    for domain in domains:
        (low, high), given = domain.asked, domain.given
        if domain.observation is not None and (low < given[0] * (1 - 1e-6) or high > given[1] * (1 + 1e-6)):
            raise RegionError(
                f"energy range {low:g}-{high:g} TeV exceeds that of the IRFs {domain.observation.irfs.name} and their "
                f"background, {given[0]:.4g}-{given[1]:.4g} TeV; reduce the energy range."
            )
