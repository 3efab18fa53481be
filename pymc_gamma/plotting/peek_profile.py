"""Picture of a density of dark matter, and of its J and D factors per solid angle."""

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pymc_gamma.halos.density import Profile

__all__ = ["peek_profile"]

N_PLACES = 200


def peek_profile(profile: "Profile", *, fig: "Figure | None" = None) -> "Figure":
    """See :meth:`pymc_gamma.darkmatter.Profile.peek`."""
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(12.0, 4.5), layout="constrained") if fig is None else fig
    axes = fig.subplots(1, 2)
    radius = np.geomspace(1e-3, 100, N_PLACES) * u.kpc
    axes[0].plot(radius, profile.density(radius))
    axes[0].axvline(profile.radius_sun, color="0.6", linewidth=1)
    axes[0].annotate(
        "Sun", (profile.radius_sun, 0.97), xycoords=("data", "axes fraction"), ha="right", va="top", rotation=90
    )
    axes[0].set(xlabel="distance from the Galactic centre [kpc]", ylabel=r"density $\rho$ [GeV cm$^{-3}$]")
    separation = np.geomspace(1e-2, 180, N_PLACES) * u.deg
    axes[1].plot(separation, profile.dj_domega(separation), color="C0")
    axes[1].set(xlabel="separation from the Galactic centre [deg]")
    axes[1].set_ylabel(r"$\mathrm{d}J/\mathrm{d}\Omega$ [GeV$^2$ cm$^{-5}$ sr$^{-1}$]", color="C0")
    decay = axes[1].twinx()
    decay.plot(separation, profile.dd_domega(separation), color="C1", linestyle="--")
    decay.set_ylabel(r"$\mathrm{d}D/\mathrm{d}\Omega$ [GeV cm$^{-2}$ sr$^{-1}$]", color="C1")
    for one in (*axes, decay):
        one.set(xscale="log", yscale="log")
    fig.suptitle(repr(profile))
    return fig
