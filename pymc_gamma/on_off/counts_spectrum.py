"""`CountsSpectrum`: events of an ON region in channels of energy, those of an OFF region, and the response."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.time import Time
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import checked, integer, number, path, text
from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.errors import DataFileError, EventError, warn_user
from pymc_gamma.instrument.time_bins import intervals
from pymc_gamma.on_off.channels import Channels
from pymc_gamma.on_off.checks import checked_alpha, checked_edges, checked_exposure, checked_range, shaped
from pymc_gamma.on_off.gammapy_dataset import read_dataset
from pymc_gamma.on_off.grouping import begins_of_groups, joined_groups
from pymc_gamma.on_off.nodes import SpectrumNodes
from pymc_gamma.on_off.ogip import read_ogip
from pymc_gamma.pictures import picture
from pymc_gamma.units import numbers, scalar_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CountsSpectrum"]

SAME_ENERGY = 1e-6
"""Relative difference of an energy and an edge within which they are the same."""


class CountsSpectrum:
    r"""Counts of an ON and an OFF region in channels of reconstructed energy, with effective area and dispersion.

    Expected ON counts in channel :math:`c` are :math:`\sum_e X_e R_{ec} \int_e \phi\,\mathrm{d}E + \alpha_c b_c`, with
    the exposure :math:`X` and the probability :math:`R` to be reconstructed in the channel, and :math:`b_c` expected
    OFF counts.

    Parameters
    ----------
    name : str
        Of the data set.
    counts : array_like
        ON counts, whole numbers, shape (n,); plain, or in ``ct``.
    energy : `~astropy.units.Quantity`
        Edges of the channels, shape (n + 1,).
    energy_true : `~astropy.units.Quantity`
        Edges of the bins of true energy, shape (m + 1,).
    exposure : `~astropy.units.Quantity`
        Effective area times livetime in these bins, shape (m,).
    edisp : array_like
        Probability to be reconstructed in each channel, shape (m, n).
    counts_off : array_like, optional
        OFF counts, shape (n,). Without them there is no background.
    alpha : array_like, optional
        Ratio of the exposures of ON and OFF, a number or one for each channel; with ``counts_off``.
    mask : array_like of bool, optional
        Channels to use, shape (n,); all by default.
    livetime : `~astropy.units.Quantity`, optional
        For light curves, and for the record.
    good_time : `~astropy.time.Time`, optional
        When the data were taken, as `Observation` has it; for light curves.
    grouping : array_like of int, optional
        1 where a group of channels begins, -1 where it goes on, 0 in a channel of no group, as files have it, shape
        (n,); for :meth:`grouped`.

    Raises
    ------
    EventError
        If counts are negative or not whole, alpha is not positive in a channel that is used, edges do not increase,
        shapes do not fit, probabilities add up to more than 1, no channel is used, or groups are marked otherwise.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import pymc_gamma as pmg
    >>> edges = np.geomspace(1, 10, 4) * u.TeV
    >>> spectrum = pmg.CountsSpectrum(
    ...     "toy",
    ...     [12, 5, 2],
    ...     energy=edges,
    ...     energy_true=edges,
    ...     exposure=np.full(3, 1e13) * u.Unit("cm2 s"),
    ...     edisp=np.eye(3),
    ...     counts_off=[8, 3, 0],
    ...     alpha=0.25,
    ... )
    >>> spectrum.excess.values
    array([10.  ,  4.25,  2.  ])
    """

    @checked(name=text)
    def __init__(
        self,
        name: str,
        counts: ArrayLike,
        *,
        energy: u.Quantity,
        energy_true: u.Quantity,
        exposure: u.Quantity,
        edisp: ArrayLike,
        counts_off: ArrayLike | None = None,
        alpha: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        livetime: u.Quantity | None = None,
        grouping: ArrayLike | None = None,
        good_time: Time | None = None,
    ) -> None:
        self.name = name
        self.good_time_s = None if good_time is None else intervals(good_time)
        edges = checked_edges(name, energy, "energy")
        n = len(edges) - 1
        edges_true = checked_edges(name, energy_true, "energy_true")
        m = len(edges_true) - 1
        on = _counts(name, counts, "counts", n)
        off = None if counts_off is None else _counts(name, counts_off, "counts_off", n)
        used = np.ones(n, bool) if mask is None else np.asarray(mask)
        if used.dtype != bool or used.shape != (n,):
            raise EventError(f"{name!r}: mask must be {n} times True or False, one for each channel.")
        ratio = None
        if (off is None) != (alpha is None):
            raise EventError(f"{name!r}: counts_off and alpha, the ratio of the exposures, go together; give both.")
        if alpha is not None:
            ratio = checked_alpha(name, alpha, used, "channel")
        if not used.any():
            raise EventError(f"{name!r}: no channel is used (mask is False in all {n}).")
        response = shaped(name, numbers(edisp, f"{name}: edisp"), "edisp", (m, n))
        if (response < 0).any() or response.sum(axis=1).max(initial=0) > 1.01:
            raise EventError(
                f"{name!r}: edisp must hold probabilities, which add up to at most 1 for each true energy; they are "
                f"{response.min():.4g} at least and add up to {response.sum(axis=1).max():.4g} at most."
            )
        seen = checked_exposure(name, exposure, m)
        self._edges, self._edges_true, self._exposure, self._edisp = edges, edges_true, seen, response
        self._channels = Channels(on, off, ratio, used)
        self.livetime: u.Quantity | None = None
        if livetime is not None:
            self.livetime = number(scalar_value(livetime, "s", f"{name}: livetime"), f"{name}: livetime", low=0) * u.s
        self.grouping: IntArray | None = None
        if grouping is not None:
            self.grouping = shaped(name, numbers(grouping, f"{name}: grouping"), "grouping", (n,)).astype(np.int64)
            if not np.isin(self.grouping, (-1, 0, 1)).all():
                raise EventError(
                    f"{name!r}: grouping must be 1, where a group of channels begins, -1, where it goes on, or 0."
                )
        if off is not None and not off[used].any():
            warn_user(
                f"{name!r}: the OFF region holds no event in the {int(used.sum())} channels that are used: what is "
                "known of the background is that, and its prior."
            )

    @classmethod
    @checked(filename=path)
    def read(
        cls, filename: str | os.PathLike[str], *, energy_range: u.Quantity | None = None, name: str | None = None
    ) -> Self:
        """Read a PHA file of the OGIP format, with the ARF, RMF and background files that it names.

        Parameters
        ----------
        filename : path-like
            The PHA file.
        energy_range : `~astropy.units.Quantity`, optional
            Use channels that lie in it alone.
        name : str, optional
            Of the data set; that of the observation by default.

        Raises
        ------
        DataFileError
            If a file is missing or damaged, or they do not belong together.

        Notes
        -----
        Channels of quality other than 0, in the file or that of the background, are not used. Groups of the file are
        not made; see :meth:`grouped`.

        Examples
        --------
        >>> crab = pmg.CountsSpectrum.read("pha_obs23523.fits", energy_range=(0.66, 30) * u.TeV)  # doctest: +SKIP
        """
        found = read_ogip(filename)
        try:
            spectrum = cls(
                found.name if name is None else name,
                found.counts,
                energy=found.energy * u.TeV,
                energy_true=found.energy_true * u.TeV,
                exposure=found.exposure * u.Unit("cm2 s"),
                edisp=found.edisp,
                counts_off=found.counts_off,
                alpha=found.alpha,
                mask=found.good,
                livetime=found.livetime * u.s,
                grouping=found.grouping,
            )
        except EventError as error:
            raise DataFileError(f"{filename}: {error}") from error
        return spectrum if energy_range is None else spectrum.select(energy_range)

    @classmethod
    def from_gammapy(cls, dataset: Any) -> Self:
        """From a gammapy `SpectrumDatasetOnOff`, with the channels in its ``mask_safe`` and ``mask_fit``.

        A `SpectrumDataset` without background will do, too: all its counts are of the source.

        Raises
        ------
        TypeError
            If it is something else.
        EventError
            If it lacks counts or exposure, has a PSF, or a background that no OFF counts measure.

        Examples
        --------
        >>> spectrum = pmg.CountsSpectrum.from_gammapy(dataset)  # doctest: +SKIP
        """
        return cls(**read_dataset(dataset))

    def __repr__(self) -> str:
        on, off = int(self._channels.counts[self.mask].sum()), self._channels.counts_off
        low, high = self.energy_range.to_value("TeV")
        behind = "no OFF" if off is None else f"{int(off[self.mask].sum())} OFF"
        return (
            f"CountsSpectrum({self.name!r}, {int(self.mask.sum())} of {len(self.mask)} channels, "
            f"{low:.3g} to {high:.3g} TeV, {on} ON, {behind})"
        )

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def energy(self) -> u.Quantity:
        """Edges of the channels, shape (n + 1,)."""
        return self._edges * u.TeV

    @property
    def energy_true(self) -> u.Quantity:
        """Edges of the bins of true energy, shape (m + 1,)."""
        return self._edges_true * u.TeV

    @property
    def exposure(self) -> u.Quantity:
        """Effective area times livetime, shape (m,)."""
        return self._exposure * u.Unit("cm2 s")

    @property
    def edisp(self) -> FloatArray:
        """Probability to be reconstructed in each channel, shape (m, n)."""
        return self._edisp

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Channels that are used, shape (n,)."""
        return self._channels.mask

    @property
    def energy_range(self) -> u.Quantity:
        """Lowest and highest edge of the channels that are used."""
        used = np.flatnonzero(self.mask)
        return self._edges[[used[0], used[-1] + 1]] * u.TeV

    @property
    def counts(self) -> xr.DataArray:
        """ON counts in the channels that are used; dim ``energy``, in TeV."""
        return self._array(self._channels.counts, "counts")

    @property
    def counts_off(self) -> xr.DataArray:
        """OFF counts in the channels that are used.

        Raises
        ------
        EventError
            If there is no OFF region.
        """
        return self._array(self._of_off(self._channels.counts_off), "counts_off")

    @property
    def alpha(self) -> xr.DataArray:
        """Ratio of the exposures of ON and OFF in the channels that are used.

        Raises
        ------
        EventError
            If there is no OFF region.
        """
        return self._array(self._of_off(self._channels.alpha), "alpha")

    @property
    def has_off(self) -> bool:
        """Whether there is an OFF region."""
        return self._channels.counts_off is not None

    @property
    def excess(self) -> xr.DataArray:
        """ON counts less those of the background, in the channels that are used."""
        return (self.counts - self.alpha * self.counts_off if self.has_off else self.counts).rename("excess")

    def _of_off(self, values: FloatArray | None) -> FloatArray:
        if values is None:
            raise EventError(f"{self.name!r} has no OFF region.")
        return values

    def _array(self, values: FloatArray, name: str) -> xr.DataArray:
        return self._of_used(values[self.mask], name)

    def _of_used(self, values: FloatArray, name: str) -> xr.DataArray:
        return xr.DataArray(values, {"energy": self.channel_energy}, ("energy",), name=name)

    @property
    def channel_energy(self) -> FloatArray:
        """Geometric mean of the edges of the channels that are used, in TeV."""
        return np.sqrt(self._edges[1:] * self._edges[:-1])[self.mask]

    def nodes(self) -> SpectrumNodes:
        """Energies at which a spectrum is asked for, and the linear map from there to expected counts."""
        return SpectrumNodes.of(self._edges_true, self._exposure, self._edisp[:, self.mask])

    def npred(self, spectrum: Any) -> xr.DataArray:
        """Expected counts of a source in the channels that are used.

        Parameters
        ----------
        spectrum : callable
            A function of the energy in TeV to TeV-1 cm-2 s-1, such as `PowerLaw` with numbers as parameters, or a model
            of gammapy.

        Raises
        ------
        ModelError
            If it is no function of the energy alone, has random variables as parameters, or returns anything but a
            number for each energy.

        Examples
        --------
        >>> counts = spectrum.npred(pmg.PowerLaw(index=2.4, amplitude=3e-11))  # doctest: +SKIP
        """
        return self._of_used(self.nodes().expected(spectrum, self.name), "npred")

    def select(self, energy_range: u.Quantity) -> Self:
        """With those channels alone used that lie in a range of energies, both edges included.

        Raises
        ------
        EventError
            If none does.

        Examples
        --------
        >>> narrower = spectrum.select((1, 10) * u.TeV)  # doctest: +SKIP
        """
        low, high = checked_range(energy_range, EventError)
        within = (self._edges[:-1] >= low * (1 - SAME_ENERGY)) & (self._edges[1:] <= high * (1 + SAME_ENERGY))
        mask = self.mask & within
        if not mask.any():
            raise EventError(
                f"{self.name!r}: no channel that is used lies from {low:.4g} to {high:.4g} TeV; they reach from "
                f"{self.energy_range[0].value:.4g} to {self.energy_range[1].value:.4g} TeV."
            )
        return self._with(replace(self._channels, mask=mask), self._edges, self._edisp, self.grouping)

    def grouped(self, n: int | None = None, *, min_counts: float | None = None, min_off: float | None = None) -> Self:
        """With neighbouring channels that are used joined: as the file says, so many each, or until they hold enough.

        Parameters
        ----------
        n : int, optional
            Channels in a group.
        min_counts, min_off : float, optional
            ON and OFF counts that a group holds at least; what is left over goes to the last group.

        Raises
        ------
        EventError
            If nothing is given and the file has no groups, or alpha differs within a group.

        Examples
        --------
        >>> coarser = spectrum.grouped(4)  # doctest: +SKIP
        """
        if n is not None and (min_counts is not None or min_off is not None):
            raise EventError(f"{self.name!r}: give n, or numbers of counts.")
        begins = begins_of_groups(
            self.name,
            self._channels,
            self.grouping,
            None if n is None else integer(n, "n", low=1),
            *(None if one is None else number(one, "counts of a group", low=0) for one in (min_counts, min_off)),
        )
        return self._with(*joined_groups(self.name, self._channels, self._edges, self._edisp, begins), None)

    def _with(self, channels: Channels, edges: FloatArray, edisp: FloatArray, grouping: IntArray | None) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._channels, made._edges, made._edisp, made.grouping = channels, edges, edisp, grouping
        return made

    def peek(self, *, fig: "Figure | None" = None) -> "Figure":
        """Plot counts and background in channels, and the exposure.

        Parameters
        ----------
        fig : matplotlib.figure.Figure, optional
            Where to draw.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        figure: Figure = picture("peek_counts")(self, fig=fig)
        return figure


def _counts(name: str, values: Any, what: str, n: int) -> FloatArray:
    if isinstance(values, u.Quantity) and values.unit == u.ct:  # not dimensionless for astropy
        values = values / u.ct
    counts = shaped(name, numbers(values, f"{name}: {what}", finite=False), what, (n,))
    bad = ~(np.isfinite(counts) & (counts >= 0) & (counts == np.round(counts)))
    if bad.any():
        c = int(bad.argmax())
        raise EventError(
            f"{name!r}: {what} must be whole numbers from 0 on; channel {c} holds {counts[c]:g} (and "
            f"{int(bad.sum())} of {n} are not)."
        )
    return counts
