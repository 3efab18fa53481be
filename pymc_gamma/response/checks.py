"""Checks that a response makes: of the rows it is asked about, and of what its observations can see."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import EventError, RegionError
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.observation import Observation

__all__ = ["check_coverage", "check_rows"]

FloatArray = NDArray[np.float64]


def check_rows(rows: FloatArray, reco: Sequence[str], roi: RegionOfInterest, n_observations: int) -> None:
    """Raise EventError unless every event row is finite, in the region and of a known observation."""
    if rows.ndim != 2 or rows.shape[1] != len(reco):
        raise EventError(f"event rows must have shape (N, {len(reco)}) = {reco}, got {rows.shape}.")
    finite = np.isfinite(rows).all(axis=1)
    problems = {"not finite": ~finite}
    checked = np.where(finite[:, None], rows, 0.0)
    energy = checked[:, 0]
    # edges are inclusive up to rounding: bins and files store them in single precision
    problems["outside the energy range"] = ~(
        (energy >= roi.energy_min * (1 - 1e-9)) & (energy <= roi.energy_max * (1 + 1e-9))
    )
    problems["outside the region"] = ~roi.contains(checked[:, 1], checked[:, 2])
    if len(reco) > 3:
        problems[f"of an unknown observation (there are {n_observations})"] = ~np.isin(
            checked[:, 3], np.arange(n_observations)
        )
    for what, bad in problems.items():
        if bad.any():
            first = np.flatnonzero(bad)[:5]
            raise EventError(
                f"{int(bad.sum())} of {len(rows)} events are {what}, first rows {first.tolist()}: "
                f"{dict(zip(reco, rows[first[0]].tolist(), strict=True))}; the region is {roi!r}. "
                "Use events.select(roi), which reports what it leaves out."
            )


def check_coverage(observations: Sequence[Observation], roi: RegionOfInterest) -> None:
    """Every part of the region must be seen by an observation and each must see a part, in reconstructed energy too."""
    lon, lat, _ = roi.quadrature(max(roi.radius / 40, 0.02))
    seen = np.zeros(len(lon), bool)
    for k, observation in enumerate(observations):
        offset = observation.offset(lon, lat, roi.frame)
        sees = offset <= observation.irfs.offset_max
        if not sees.any():
            raise RegionError(
                f"the observation {observation.name or k!r} does not see the region: it points "
                f"{float(observation.offset(roi.lon, roi.lat, roi.frame)):.2f} deg from the centre, its response "
                f"reaches {observation.irfs.offset_max:g} deg and the region {roi.radius:.2f} deg. Leave it out."
            )
        seen |= sees
    if not seen.all():
        worst = int((~seen).argmax())
        raise RegionError(
            f"{1 - seen.mean():.1%} of the region lies outside the field of view of every observation (for example "
            f"{roi.frame} lon={lon[worst]:.2f} lat={lat[worst]:.2f} deg); the IRFs reach offsets of "
            f"{observations[0].irfs.offset_max:g} deg. Use a smaller region or more pointings."
        )
    for observation in observations:
        low, high = observation.irfs.energy_true_range
        if not (low <= roi.energy_min and roi.energy_max <= high):
            raise RegionError(
                f"energy range {roi.energy_min:g}-{roi.energy_max:g} TeV exceeds that of the IRFs "
                f"{observation.irfs.name}: {low:.4g}-{high:.4g} TeV."
            )
