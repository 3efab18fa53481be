"""The residual background of a gammapy IRF on clean nodes of reconstructed energy and field of view."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pymc_gamma.errors import IRFError
from pymc_gamma.irfs.core import Background
from pymc_gamma.irfs.reading import at_least_two, read_axis, read_values

__all__ = ["background"]


def background(tables: Mapping[str, Any], name: str, repairs: list[str]) -> Background | None:
    """Clean residual background, or None if there is none."""
    bkg = tables.get("bkg")
    if bkg is None:
        return None
    rate = read_values(bkg, "s-1 TeV-1 sr-1", "background", name)
    energy = read_axis(bkg, "energy", "TeV")
    if np.any(rate < 0):
        repairs.append(f"background: {int((rate < 0).sum())} negative cells set to 0")
        rate = np.maximum(rate, 0)
    if not np.any(rate > 0):
        raise IRFError(f"IRFs {name}: the background is zero everywhere.")
    limits = (float(energy.edges[0]), float(energy.edges[-1]))
    energies, rate = at_least_two(energy, rate, axis_number=0)
    if "offset" in bkg.axes.names:
        offsets, rate = at_least_two(read_axis(bkg, "offset", "deg"), rate, axis_number=1)
        return Background(energies, offsets, np.zeros(1), rate[:, :, None], True, limits)
    alignment = str(getattr(bkg, "fov_alignment", "RADEC")).rsplit(".", 1)[-1]
    mirrored = alignment == "REVERSE_LON_RADEC"  # of old H.E.S.S. files, whose longitude grows towards the east
    if alignment != "RADEC" and not mirrored:
        spread = np.abs(rate - rate[:, ::-1]).sum() / rate.sum()
        repairs.append(
            f"background: aligned with {alignment}, used as if aligned with RADEC (its left-right asymmetry is "
            f"{spread:.1%})"
        )
    lon, rate = at_least_two(read_axis(bkg, "fov_lon", "deg"), rate, axis_number=1)
    lat, rate = at_least_two(read_axis(bkg, "fov_lat", "deg"), rate, axis_number=2)
    if mirrored:
        lon, rate = -lon[::-1], rate[:, ::-1].copy()
    return Background(energies, lon, lat, rate, False, limits)
