r"""Columns of a sky model under one or several observations.

.. math:: D_{ik} = \lambda_k(x_i) \;[\mathrm{TeV^{-1}\,sr^{-1}}], \qquad
          c_k = \sum_{\rm obs} \int_{\rm ROI} \lambda_{k,\rm obs}(x)\,\mathrm{d}E\,\mathrm{d}\Omega ,

the expected counts density of component :math:`k` at event :math:`i` (under the observation the event belongs to)
and its total over all observations, for the nominal fluxes. The model uses :math:`p_{ik} = D_{ik}/c_k`.

A component of free spectrum also keeps its true-energy axis, :math:`\lambda_k(x_i) = \sum_n A_{in}\,\rho_n`
(:mod:`pymc_gamma.folding.free`), so that a model can give it any spectrum.

The same object runs forwards: :meth:`Response.simulate` picks a component with probability proportional to its
weight, an observation and a source of it with probability proportional to their share of :math:`c_k`, draws a true
photon and passes it through the response.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import checked, number, path, plain
from pymc_gamma.datasets import Citation
from pymc_gamma.errors import ModelError
from pymc_gamma.response.draws import Draws

__all__ = ["Response"]

FloatArray = NDArray[np.float64]


class Response(Draws):
    """Densities, acceptances and simulation of sky components; made by :func:`pymc_gamma.fold`.

    Parameters
    ----------
    components : sequence of CompiledComponent
        Mixture components.
    observations : sequence of Observation
        Pointings.
    roi : RegionOfInterest
        Region of interest.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.
    citations : sequence of Citation
        What to cite.
    free_spectrum : sequence of str
        Names of the components whose spectrum is free.

    Attributes
    ----------
    component_names : tuple of str
        Names, in the order of the columns.
    observations : tuple of Observation
        Pointings, in the order of the events' ``observation`` index.
    roi : RegionOfInterest
        Region of interest.
    energy_true_edges : numpy.ndarray
        TeV.
    reco : tuple of str
        Columns of an event row: energy (TeV), lon, lat (deg), and observation where there are several.
    free_spectrum : tuple of str
        Names of the components whose spectrum is free, in the order of the components.
    """

    @checked(step=partial(number, low=0))
    def npred(
        self,
        energy: Any = None,
        lon: Any = None,
        lat: Any = None,
        *,
        step: float = 0.05,
        observation: int | str | None = None,
        spectra: Mapping[str, Any] | None = None,
        norms: Mapping[str, float] | None = None,
    ) -> xr.DataArray:
        """Expected counts of each component, in bins, at its nominal flux or at that of given spectra.

        Parameters
        ----------
        energy, lon, lat : array_like or `~astropy.units.Quantity`, optional
            Bin edges (TeV; degrees in the frame of the region). An axis left out is integrated over the region.
            Bins are cut at the region. Give ``lon`` and ``lat`` together; longitudes may be counted in any turn (-1 to
            1, or 359 to 361), but not over more than one.
        step : float
            Largest spacing in deg of the points at which a spatial bin is sampled.
        observation : int or str, optional
            One observation only, by its index or its name; default all.
        spectra, norms : mapping, optional
            Other fluxes than the nominal ones, see :meth:`with_spectra`.

        Returns
        -------
        xarray.DataArray
            Dims (component[, energy][, lat, lon]); coordinates are bin centres.
        """
        from pymc_gamma.response.npred import npred

        response = self if spectra is None and norms is None else self.with_spectra(spectra, norms)
        return npred(response, energy, lon, lat, step, observation)

    @checked("lon", "lat", lon=plain("deg", None), lat=plain("deg", None), energy=plain("TeV", None))
    def surface_density(
        self, lon: ArrayLike, lat: ArrayLike, energy: ArrayLike, *, observation: int | str | None = None
    ) -> FloatArray:
        """Expected counts per solid angle of each component at its nominal flux, in bins of energy.

        Parameters
        ----------
        lon, lat : array_like
            Directions in degrees in the frame of the region, shape (n,).
        energy : array_like
            Edges of bins of reconstructed energy in TeV; bins are cut at the region.
        observation : int or str, optional
            One observation only, by its index or its name; default the sum over all.

        Returns
        -------
        numpy.ndarray
            sr-1, shape (component, bin, n); zero outside the region.
        """
        from pymc_gamma.response.surface import surface_density

        return surface_density(self, lon, lat, np.asarray(energy, float), observation)

    def citations(self) -> tuple[Citation, ...]:
        """What a paper that uses this response should cite."""
        return self._citations

    def fingerprint(self) -> dict[str, str]:
        """Hash of each input: IRFs and pointing of each observation, region, energy bins, components."""
        from pymc_gamma.response.storage import fingerprint

        return fingerprint(self)

    @checked(path=path)
    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the response to a zarr store, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            Directory of the store.
        overwrite : bool
            Replace an existing store.

        Raises
        ------
        FileExistsError
            If it exists and ``overwrite`` is false, or is a folder that is no zarr store.
        OSError
            If it cannot be written, on a full disk for instance; a store that was there is unchanged.
        ModelError
            If the residual background is not that of the IRFs, or its regions have more corners than a store can hold.
        """
        from pymc_gamma.response.storage import save

        if not self._background_is_nominal:
            raise ModelError(
                "the residual background of this response was changed by with_spectra, which a store does not "
                "hold; save "
                "the response it was made from, and change it again after loading."
            )
        save(self, path, overwrite=overwrite)

    @classmethod
    @checked(path=path)
    def load(cls, path: str | Path) -> "Response":
        """Read a response written by :meth:`save`; the sky models that made it are not needed.

        Nothing in a store is run, and only arrays of the kind that :meth:`save` writes are read, so that a store of
        unknown origin can do no harm.

        Raises
        ------
        DataFileError
            If there is no response at ``path``, it cannot be read, or its content does not match its hashes.
        ResponseMismatchError
            If it was written in another format.
        """
        from pymc_gamma.response.storage import load

        return load(path)
