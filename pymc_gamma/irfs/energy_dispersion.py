r"""The energy dispersion of a gammapy IRF, normalised.

Real files need (each repair is reported):

* normalisation to :math:`\int p\,\mathrm{d}\mu = 1` for every energy and offset. CTAO prod5 files hold
  matrices whose *sum* over migra is 1, so their integral is 0.01; prod3b files are not normalised at all;
* columns without a single simulated event filled from the nearest one that has some.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pymc_gamma.errors import IRFError
from pymc_gamma.irfs.core import EnergyDispersion
from pymc_gamma.irfs.reading import Axis, nearest_valid, read_axis, read_values, refuse_point_like, require

__all__ = ["energy_dispersion"]

NORMALISATION_TOLERANCE = 1e-3


def energy_dispersion(tables: Mapping[str, Any], name: str, repairs: list[str]) -> EnergyDispersion:
    """Clean energy dispersion, normalised for every true energy and offset."""
    edisp = require(tables, "edisp", "energy dispersion", name)
    refuse_point_like(edisp, "energy dispersion", name)
    density = np.moveaxis(read_values(edisp, "", "energy dispersion", name), 1, 2)  # (energy, offset, migra)
    energy, offset = read_axis(edisp, "energy_true", "TeV"), read_axis(edisp, "offset", "deg")
    migra = read_axis(edisp, "migra", "")
    if not np.allclose(np.diff(migra.edges), np.diff(migra.edges)[0], rtol=1e-3):
        fine = np.linspace(migra.edges[0], migra.edges[-1], 2 * len(migra.centers) + 1)
        middle = 0.5 * (fine[1:] + fine[:-1])
        density = np.apply_along_axis(lambda row: np.interp(middle, migra.centers, row), 2, density)
        migra = Axis(middle, fine)
        repairs.append("energy dispersion: axis migra resampled to equidistant nodes")
    step = migra.edges[1] - migra.edges[0]
    integral = density.sum(axis=2) * step
    filled = integral > 0
    if not filled.any():
        raise IRFError(f"IRFs {name}: the energy dispersion is empty.")
    worst = float(np.abs(integral[filled] - 1).max())
    if worst > NORMALISATION_TOLERANCE:
        span = f"{integral[filled].min():.3g} to {integral[filled].max():.3g}"
        repairs.append(f"energy dispersion: integrals over the axis migra were {span}, normalised to 1")
    if not filled.all():
        repairs.append(
            f"energy dispersion: {int((~filled).sum())} of {filled.size} (energy_true, offset) columns are empty, "
            "filled from the nearest one"
        )
    density = density / np.where(filled, integral, 1)[..., None]
    density = density[nearest_valid(filled, np.log(energy.centers), offset.centers)]
    return EnergyDispersion(energy.centers, offset.centers, migra.centers, np.ascontiguousarray(density))
