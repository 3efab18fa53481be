"""Pictures of events, models and posteriors.

Every function returns a `matplotlib.figure.Figure` and accepts one to draw in.
"""

from pymc_gamma.plotting.corner import plot_corner
from pymc_gamma.plotting.counts import plot_counts
from pymc_gamma.plotting.counts_spectrum import plot_counts_spectrum
from pymc_gamma.plotting.expected import SkyCells
from pymc_gamma.plotting.limits import plot_limits
from pymc_gamma.plotting.ppc import plot_ppc
from pymc_gamma.plotting.radial_profile import plot_radial_profile
from pymc_gamma.plotting.residuals import plot_residuals
from pymc_gamma.plotting.sensitivity import plot_sensitivity
from pymc_gamma.plotting.spectrum import plot_spectrum

__all__ = [
    "SkyCells",
    "plot_corner",
    "plot_counts",
    "plot_counts_spectrum",
    "plot_limits",
    "plot_ppc",
    "plot_radial_profile",
    "plot_residuals",
    "plot_sensitivity",
    "plot_spectrum",
]
