"""Tables of fluxes: the columns that gamma-ray astronomy publishes, and gammapy's objects of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.table import QTable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.inference.norm_posterior import NormPosterior
from pymc_gamma.pictures import picture

__all__ = ["FluxPoints", "LightCurve"]

SQRT_TS_OF_A_POINT = 2.0
"""Below this square root of TS a flux is given as an upper limit."""
SED_UNITS = {"dnde": "TeV-1 cm-2 s-1", "e2dnde": "TeV cm-2 s-1", "flux": "cm-2 s-1", "eflux": "TeV cm-2 s-1"}
N_SCAN = 101
MOST_PROBABLE = 0.9999
"""Above this probability the tail of a posterior is not known well enough for a limit."""


class FluxPoints:
    """Fluxes of a component in bands of energy; made by :func:`flux_points`.

    Attributes
    ----------
    table : astropy.table.QTable
        A row for each band. ``norm`` is the factor on the reference spectrum (``ref_dnde``, ...) where its posterior is
        largest, ``norm_errn`` and ``norm_errp`` reach to the ends of the shortest interval that holds 68.3 %,
        ``norm_err`` is the standard deviation, ``norm_median`` the median, ``norm_ul`` the upper limit. The same for
        ``dnde``, ``e2dnde``, ``flux`` and ``eflux``. ``ts`` is twice the logarithm of the likelihood at the norm over
        that without the component, ``sqrt_ts`` its root, ``is_ul`` whether that is below 2: such a row is best quoted
        as a limit. ``log_bayes_factor`` is the logarithm of the Bayes factor for the reference flux, as it is, against
        none. ``counts`` are all events of the band, ``npred_excess`` those expected from the component at the
        norm, ``n_effective`` the effective number of draws.
    posterior : xarray.DataArray
        Logarithm of the posterior density of the norm, less the largest, dims (point, value), with the coordinate
        ``norm`` (point, value).
    component : str
        The component.
    reference : tuple of numpy.ndarray
        The reference spectrum: true energies in TeV, TeV-1 cm-2 s-1 there.
    """

    def __init__(
        self,
        table: QTable,
        posteriors: Sequence[NormPosterior],
        component: str,
        reference: tuple[FloatArray, FloatArray],
    ) -> None:
        self.table, self.component, self.reference = table, component, reference
        self._posteriors = tuple(posteriors)
        self.posterior = xr.DataArray(
            np.stack([one.log_density for one in posteriors]),
            {"norm": (("point", "value"), np.stack([one.norm for one in posteriors]))},
            ("point", "value"),
            name="log_density",
        )

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        shown = self.table[self._shown]
        return f"{type(self).__name__} of {self.component!r}\n" + "\n".join(shown.pformat(max_width=-1))

    _shown = ("e_min", "e_max", "dnde", "dnde_errn", "dnde_errp", "dnde_ul", "sqrt_ts", "is_ul", "counts")

    def to_gammapy(self) -> Any:
        """The same as gammapy has it.

        Returns
        -------
        gammapy.estimators.FluxPoints
            Its ``write`` makes ECSV and FITS files (``gadf-sed``). Likelihood profiles go with it; the zero of ``stat``
            is at the best norm.
        """
        from gammapy.estimators import FluxPoints as Theirs

        table = self._plain()
        top = float(np.nanmax(self.posterior.norm.values[self.posterior.values > -10.0]))
        scan = np.linspace(0.0, top, N_SCAN)
        table["norm_scan"] = np.tile(scan, (len(table), 1))
        table["stat_scan"] = np.array([-2 * one.at(scan) for one in self._posteriors])
        return Theirs.from_table(table, sed_type="likelihood", format="gadf-sed", reference_model=self._reference())

    def plot(self, ax: Any = None) -> Any:
        """Draw the points, with the posterior of each flux as a colour behind it and the reference spectrum.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes if not given.

        Returns
        -------
        matplotlib.axes.Axes
        """
        return picture("draw_flux_points")(self, ax)

    def _plain(self) -> Any:
        """Columns that gammapy reads, as a table of numbers with units."""
        from astropy.table import Table

        names = ["e_ref", "e_min", "e_max", "ref_dnde", "ref_flux", "ref_eflux", "ref_e2dnde"]
        names += ["norm", "norm_err", "norm_errn", "norm_errp", "norm_ul"]
        names += ["ts", "sqrt_ts", "stat", "stat_null", "is_ul"]
        table = Table({name: self.table[name] for name in names})
        table["success"] = np.ones(len(table), bool)
        table.meta.update({"SED_TYPE": "likelihood", "UL_CONF": self.table.meta["UL_CONF"], "n_sigma": 1})
        return table

    def _reference(self) -> Any:
        """The reference spectrum, at the energies of all bands."""
        from gammapy.modeling.models import TemplateSpectralModel

        energy, dnde = self.reference
        return TemplateSpectralModel(energy=energy * u.TeV, values=dnde * u.Unit(SED_UNITS["dnde"]))


class LightCurve(FluxPoints):
    """Fluxes of a component in a range of energy by observation or time bin; made by :func:`light_curve`.

    Attributes
    ----------
    table : astropy.table.QTable
        A row for each bin, from ``time_min`` to ``time_max``, with the columns of :class:`FluxPoints`.
    posterior : xarray.DataArray
        As that of :class:`FluxPoints`.
    component : str
        The component.
    """

    _shown = ("time_min", "time_max", "flux", "flux_errn", "flux_errp", "flux_ul", "sqrt_ts", "is_ul", "counts")

    def to_gammapy(self) -> Any:
        """The same as gammapy has it.

        Returns
        -------
        gammapy.estimators.FluxPoints
            With an axis of time; its ``write`` makes ECSV and FITS files (``lightcurve``).
        """
        from astropy.table import Table
        from gammapy.estimators import FluxPoints as Theirs

        plain = self._plain()
        table = Table({"time_min": self.table["time_min"].tt.mjd, "time_max": self.table["time_max"].tt.mjd})
        for name in plain.colnames:
            table[name] = plain[name][:, np.newaxis]
        table.meta.update(plain.meta)
        table.meta.update({"MJDREFI": 0, "MJDREFF": 0.0, "TIMESYS": "tt", "TIMEUNIT": "d"})
        return Theirs.from_table(table, sed_type="likelihood", format="lightcurve", reference_model=self._reference())

    def plot(self, ax: Any = None) -> Any:
        """Draw the light curve.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; new axes if not given.

        Returns
        -------
        matplotlib.axes.Axes
        """
        return picture("draw_light_curve")(self, ax)


def flux_row(
    posterior: NormPosterior, reference: Mapping[str, float], energy: tuple[float, float], probability: float
) -> dict[str, Any]:
    """Columns of one flux.

    Parameters
    ----------
    posterior : NormPosterior
        Of the factor on the reference.
    reference : mapping of str to float
        ``dnde``, ``e2dnde``, ``flux``, ``eflux`` of the reference.
    energy : tuple of float
        The band in TeV.
    probability : float
        Below the upper limit.
    """
    low, high = posterior.interval()
    best = posterior.maximum
    norms = {
        "norm": best,
        "norm_err": posterior.sd,
        "norm_errn": max(best - low, 0.0),
        "norm_errp": max(high - best, 0.0),
        "norm_median": posterior.quantile(0.5),
        "norm_ul": posterior.quantile(probability),
    }
    row: dict[str, Any] = {
        "e_ref": np.sqrt(energy[0] * energy[1]) * u.TeV,
        "e_min": energy[0] * u.TeV,
        "e_max": energy[1] * u.TeV,
    }
    for sed, value in reference.items():
        row[f"ref_{sed}"] = value * u.Unit(SED_UNITS[sed])
    row |= norms
    for sed, value in reference.items():
        for name, norm in norms.items():
            row[name.replace("norm", sed)] = norm * value * u.Unit(SED_UNITS[sed])
    row |= {
        "ts": posterior.ts,
        "sqrt_ts": np.sqrt(posterior.ts),
        "log_bayes_factor": posterior.at_one - posterior.at_zero,
    }
    row |= {"stat": 0.0, "stat_null": posterior.ts, "is_ul": bool(np.sqrt(posterior.ts) < SQRT_TS_OF_A_POINT)}
    return row | {"n_effective": posterior.n_effective}
