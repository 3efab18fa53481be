"""Picture of the residual background of an observation."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import IRFError
from pymc_gamma.geometry import RegionOfInterest, unit_vectors
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.plotting.sky_axes import draw_map, draw_outline, draw_sed, sed_axes, sky_axes
from pymc_gamma.sky.component import SkyComponent
from pymc_gamma.units import scalar_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["peek_background"]

N_ENERGIES = 200


def peek_background(
    component: SkyComponent,
    roi: RegionOfInterest,
    observation: Observation,
    *,
    energy: u.Quantity = 1 * u.TeV,
    fig: "Figure | None" = None,
) -> "Figure":
    """See :meth:`pymc_gamma.CosmicRayBackground.peek`."""
    value = scalar_value(energy, "TeV", "energy")
    rate = _background_rate(observation, roi.frame)
    picture, sky, (lon, lat, inside, _) = sky_axes(roi, fig)
    image = np.zeros(lon.shape)
    image[inside] = rate(np.full(int(inside.sum()), value), lon[inside], lat[inside])
    draw_map(sky, image, r"rate [s$^{-1}$ TeV$^{-1}$ sr$^{-1}$]")
    draw_outline(sky, roi)
    sky.set_title(f"{component.name} at {value:g} TeV")

    energies = np.geomspace(roi.energy_min, roi.energy_max, N_ENERGIES)
    nodes = roi.quadrature(max(roi.radius / 25, 0.02))
    total = np.array([rate(np.full(nodes[0].size, e), nodes[0], nodes[1]) @ nodes[2] for e in energies])
    axes = sed_axes(picture, energies, total)
    draw_sed(axes, energies, total, color="C0", linewidth=2, label=component.name)
    axes.set(xlabel="reconstructed energy $E$ [TeV]", ylabel=r"$E^2\,\mathrm{d}\dot N/\mathrm{d}E$ [TeV s$^{-1}$]")
    axes.legend(frameon=False)
    return picture


def _background_rate(
    observation: Observation, frame: str
) -> Callable[[FloatArray, FloatArray, FloatArray], FloatArray]:
    bkg = observation.irfs.bkg
    if bkg is None:
        raise IRFError(f"The IRFs {observation.irfs.name!r} have no background.")
    basis = observation.background_basis(frame)

    def rate(energy: FloatArray, lon: FloatArray, lat: FloatArray) -> FloatArray:
        return bkg.rate_at(unit_vectors(lon, lat), np.log(energy), basis)

    return rate
