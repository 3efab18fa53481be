r"""Scans: what a model needs of a component that was folded for the nodes of a grid.

The density of such a component at an event is known at nodes :math:`g`, over the total acceptance :math:`C` of the
nominal one,

.. math:: r_{ig} = \lambda_g(x_i) / C ,

the scale of the other columns, and its expected counts in each observation; a model interpolates the logarithms of both
(:mod:`pymc_gamma.ops.scan_tables`).
"""

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from pymc_gamma.arrays import FloatArray
from pymc_gamma.events.rows import EventRows
from pymc_gamma.response.densities import densities
from pymc_gamma.response.folds import Fold
from pymc_gamma.threads import run_parallel

__all__ = ["ScannedComponent"]


class ScannedComponent:
    """A component at the nodes of one parameter, or of two.

    Parameters
    ----------
    fold : Fold
        Components and observations.
    name : str
        Name of the component.

    Attributes
    ----------
    name : str
        Name of the component.
    grid : dict
        Nodes of each parameter, in its unit.
    units : dict
        The unit of each parameter, or None.
    exact : bool
        Whether the response can fold the component at other values than the nodes; not after it was loaded.
    """

    def __init__(self, fold: Fold, name: str) -> None:
        self._fold, self._nodes = fold, fold.scan(name)
        self.name, self.exact = name, self._nodes.scanned is not None
        self.grid, self.units = dict(self._nodes.grid), dict(self._nodes.units)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes of each parameter."""
        return self._nodes.shape

    @cached_property
    def acceptance(self) -> xr.DataArray:
        """Expected counts at the nodes, dims (one for each parameter, observation)."""
        counts = self._fold.node_counts(self.name).reshape(*self.shape, -1)
        coords = {**self.grid, "observation": list(self._fold.observation_labels)}
        found = xr.DataArray(counts, coords, (*self.grid, "observation"), name="acceptance", attrs={"units": "counts"})
        for parameter, unit in self.units.items():
            found.coords[parameter].attrs |= {} if unit is None else {"units": unit}
        return found

    def number(self, parameter: str, value: Any) -> float:
        """A value of a parameter in its unit, from a number or a quantity; a ModelError if it is outside the nodes."""
        return self._nodes.number(parameter, value)

    def flux(self, energy: FloatArray) -> FloatArray:
        """Spectra at the nodes, summed over parts, TeV-1 cm-2 s-1 at true energies in TeV (n,); shape (n_nodes, n)."""
        fold = self._fold
        nodes = [Fold((one,), fold.folded, fold.roi, fold.energy_true_edges) for one in self._nodes.components]
        return np.array([one.nominal_flux(self.name, energy) for one in nodes])

    def log_densities(self, rows: FloatArray) -> FloatArray:
        """Logarithms of the densities of event rows at the nodes, TeV-1 sr-1 over the acceptance of the nominal one.

        Parameters
        ----------
        rows : numpy.ndarray
            As for :meth:`pymc_gamma.Response.component_pdf`.

        Returns
        -------
        numpy.ndarray
            Shape (N, *nodes); -inf where there is none.

        Raises
        ------
        EventError
            If a row is not finite or outside the domain of its observation.
        """
        events = EventRows.from_array(np.asarray(rows, float), self._fold.reco)
        found = run_parallel(
            lambda component: densities(self._fold.alone(component), events)[:, 0], self._nodes.components
        )
        total = float(self._fold.counts[self._fold.index(self.name)].sum())
        with np.errstate(divide="ignore"):
            logs = np.log(np.stack(found, axis=1) / total)
        return logs.reshape(len(events), *self.shape)
