"""`OnOffEvents`: energies of the events of an ON and an OFF region, one by one, and the response."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from astropy.time import Time
from numpy.typing import ArrayLike

from pymc_gamma.arguments import checked, is_several, number, several, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError, warn_user
from pymc_gamma.instrument.time_bins import intervals
from pymc_gamma.on_off.checks import checked_alpha, checked_edges, checked_exposure, shaped
from pymc_gamma.on_off.counts_spectrum import CountsSpectrum
from pymc_gamma.on_off.grid import EnergyGrid
from pymc_gamma.on_off.nodes import SpectrumNodes
from pymc_gamma.pictures import picture
from pymc_gamma.times import from_seconds
from pymc_gamma.units import numbers, scalar_value, to_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["OnOffEvents"]

ROUNDING = 1e-9
"""Relative, of energies at an end of the range: files store them in single precision."""
SAME_GRID = 1e-9
IN_CHANNEL_INDEX = 2.7
"""Power law of a background, with which its alpha is averaged over a channel."""


class OnOffEvents:
    r"""Energies of the events of an ON and an OFF region, with the effective area and the dispersion of the ON region.

    The expected rate of ON events at reconstructed energy :math:`E'` is

    .. math:: \frac{\mathrm{d}n}{\mathrm{d}E'} = \sum_e X_e\, R_e(E') \int_e \phi\,\mathrm{d}E + \alpha(E')\, b(E') ,

    with the exposure :math:`X`, the density :math:`R` of the dispersion and the rate :math:`b` of OFF events. It is
    given at nodes of the reconstructed energy, from which on both are linear in its logarithm. Made of a run by
    :meth:`extract`.

    Parameters
    ----------
    name : str
        Of the data set.
    energy : `~astropy.units.Quantity`
        Reconstructed energies of the ON events, shape (n_on,).
    nodes : `~astropy.units.Quantity`
        Reconstructed energies at which the rest is given, increasing, shape (n,); the first and the last are the range
        of the events. As fine as what is linear between them has to be, such as 150 in a decade.
    energy_true : `~astropy.units.Quantity`
        Edges of bins of true energy, shape (m + 1,).
    exposure : `~astropy.units.Quantity`
        Effective area times livetime in these bins, shape (m,).
    edisp : `~astropy.units.Quantity`
        Probability per reconstructed energy at the nodes, for true energies in the bins, shape (m, n).
    energy_off : `~astropy.units.Quantity`, optional
        Reconstructed energies of the OFF events, shape (n_off,). Without them there is no background.
    alpha : array_like, optional
        Ratio of the acceptances of ON and OFF, a number or one for each node; with ``energy_off``.
    acceptance_off : array_like, optional
        What the rate of OFF events is proportional to beyond its smooth shape, one for each node: the solid angle of
        regions whose size depends on the energy. Its factor matters to :meth:`stack` alone. Default: one over the mean
        of ``alpha``, as for ON regions that see the same background.
    livetime : `~astropy.units.Quantity`, optional
        For light curves, and for the record.
    good_time : `~astropy.time.Time`, optional
        When the data were taken, as `Observation` has it; for light curves.

    Attributes
    ----------
    grid : EnergyGrid
        The nodes, and integrals over energies.

    Raises
    ------
    EventError
        If energies are not finite or lie outside the nodes, alpha is not positive, edges or nodes do not increase,
        shapes do not fit, or probabilities add up to more than 1.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import pymc_gamma as pmg
    >>> nodes = np.geomspace(1, 10, 151) * u.TeV
    >>> true = np.geomspace(0.3, 30, 101) * u.TeV
    >>> middle = np.sqrt(true[1:] * true[:-1])[:, None]
    >>> resolution = 0.1 * middle
    >>> edisp = np.exp(-0.5 * ((nodes - middle) / resolution) ** 2) / resolution / np.sqrt(2 * np.pi)
    >>> events = pmg.OnOffEvents(
    ...     "toy",
    ...     [1.2, 1.4, 2.2, 5] * u.TeV,
    ...     nodes=nodes,
    ...     energy_true=true,
    ...     exposure=np.full(100, 1e12) * u.Unit("cm2 s"),
    ...     edisp=edisp,
    ...     energy_off=[1.1, 1.9, 3] * u.TeV,
    ...     alpha=0.25,
    ... )
    >>> events
    OnOffEvents('toy', 1 to 10 TeV, 4 ON, 3 OFF)
    >>> round(events.npred(pmg.PowerLaw(index=2.0, amplitude=1e-12)), 3)
    0.9
    """

    @checked(name=text)
    def __init__(
        self,
        name: str,
        energy: u.Quantity,
        *,
        nodes: u.Quantity,
        energy_true: u.Quantity,
        exposure: u.Quantity,
        edisp: u.Quantity,
        energy_off: u.Quantity | None = None,
        alpha: ArrayLike | None = None,
        acceptance_off: ArrayLike | None = None,
        livetime: u.Quantity | None = None,
        good_time: Time | None = None,
    ) -> None:
        grid = checked_edges(name, nodes, "nodes")
        edges = checked_edges(name, energy_true, "energy_true")
        seen = checked_exposure(name, exposure, len(edges) - 1)
        density = shaped(name, to_value(edisp, "TeV-1", f"{name}: edisp"), "edisp", (len(edges) - 1, len(grid)))
        inside = np.trapezoid(density, grid, axis=1)
        if not np.all(np.isfinite(density) & (density >= 0)) or inside.max(initial=0) > 1.05:
            raise EventError(
                f"{name!r}: edisp must hold probabilities per energy, not negative, whose integrals over the nodes are "
                f"at most 1; they reach {inside.max():.4g}."
            )
        self._set(
            name,
            to_value(energy, "TeV", f"{name}: energy"),
            None if energy_off is None else to_value(energy_off, "TeV", f"{name}: energy_off"),
            grid,
            alpha,
            acceptance_off,
            SpectrumNodes.of(edges, seen, density),
            edges,
            seen,
        )
        self.livetime: u.Quantity | None = None
        if livetime is not None:
            self.livetime = number(scalar_value(livetime, "s", f"{name}: livetime"), f"{name}: livetime", low=0) * u.s
        self.good_time_s = None if good_time is None else intervals(good_time)

    @classmethod
    def _of_response(
        cls,
        name: str,
        energy: FloatArray,
        energy_off: FloatArray | None,
        grid: FloatArray,
        alpha: ArrayLike | None,
        acceptance_off: ArrayLike | None,
        nodes: SpectrumNodes,
        exposure: FloatArray,
        livetime: u.Quantity | None,
        good_time_s: FloatArray | None,
    ) -> Self:
        """From a response at nodes of the true energy, whose bins have an exposure for the record."""
        made = object.__new__(cls)
        made._set(name, energy, energy_off, grid, alpha, acceptance_off, nodes, nodes.edges, exposure)
        made.livetime, made.good_time_s = livetime, good_time_s
        return made

    def _set(
        self,
        name: str,
        energy: FloatArray,
        energy_off: FloatArray | None,
        grid: FloatArray,
        alpha: ArrayLike | None,
        acceptance_off: ArrayLike | None,
        nodes: SpectrumNodes,
        edges: FloatArray,
        exposure: FloatArray,
    ) -> None:
        self.name, self.grid, self._nodes = name, EnergyGrid(grid), nodes
        self._edges_true, self._exposure = edges, exposure
        self._on = self._energies(energy, "energy")
        self._off = None if energy_off is None else self._energies(energy_off, "energy_off")
        if (self._off is None) != (alpha is None):
            raise EventError(f"{name!r}: energy_off and alpha, the ratio of the acceptances, go together; give both.")
        everywhere = np.ones(len(grid), bool)
        self._alpha = None if alpha is None else checked_alpha(name, alpha, everywhere, "node")
        self._acceptance_off = np.full(len(grid), 1.0 if self._alpha is None else 1 / self._alpha.mean())
        if acceptance_off is not None:
            self._acceptance_off = shaped(
                name, numbers(acceptance_off, f"{name}: acceptance_off"), "acceptance_off", (len(grid),)
            )
            if not (self._acceptance_off > 0).all():
                raise EventError(f"{name!r}: acceptance_off must be positive at every node.")
        if self._off is not None and not len(self._off):
            warn_user(
                f"{name!r}: the OFF region holds no event from {grid[0]:.3g} to {grid[-1]:.3g} TeV: what is known of "
                "the background is that, and its prior."
            )

    def _energies(self, values: FloatArray, what: str) -> FloatArray:
        energies = np.atleast_1d(np.asarray(values, float))
        low, high = self.grid.energy[[0, -1]]
        bad = ~((energies >= low * (1 - ROUNDING)) & (energies <= high * (1 + ROUNDING)))
        if energies.ndim != 1 or bad.any():
            first = f"{energies[bad][0]:g} TeV in row {int(bad.argmax())}" if energies.ndim == 1 else "a table"
            raise EventError(
                f"{self.name!r}: {what} must be energies from {low:.4g} to {high:.4g} TeV, the range of the nodes; got "
                f"{first} ({int(bad.sum())} of {energies.size} are not). Leave the others out."
            )
        return np.sort(np.clip(energies, low, high))

    @classmethod
    def extract(
        cls,
        observation: Any,
        events: Any,
        region: Any,
        *,
        off: Any = None,
        exclude: Any = (),
        energy_range: u.Quantity | None = None,
    ) -> Any:
        """Count the events of a run, or of several, in an ON region around a source and in OFF regions.

        Parameters
        ----------
        observation : Observation or sequence of Observation
            The runs. With a point-like response the ON region is what that was made for (``RAD_MAX``); with a
            full-enclosure response the share of the photons that the PSF keeps inside is taken into account.
        events : Events
            With the index of the run of each, as :meth:`Events.from_gammapy <pymc_gamma.Events.from_gammapy>` numbers
            them.
        region : `~astropy.coordinates.SkyCoord` or regions.CircleSkyRegion
            The source: its position, or a circle around it. The radius goes without saying where the response has a
            ``RAD_MAX``, and must agree with that.
        off : gammapy.makers.RegionsFinder, regions.SkyRegion or sequence of these regions, optional
            Where the background is measured. A finder of gammapy rotates the ON region around the pointing, with one
            ratio ``alpha`` at all energies; the default is ``ReflectedRegionsFinder()``. Regions, such as an annulus
            around the source (a ring), have the ratio of their acceptances by the background of the response, or by
            their solid angles where it has none.
        exclude : region, path or gammapy map, or a list of them, optional
            Where there are other sources, as `RegionOfInterest` takes them; no OFF event is taken from there.
        energy_range : `~astropy.units.Quantity`, optional
            Range of reconstructed energy. Default: what is safe by the observation and given by its response.

        Returns
        -------
        OnOffEvents or list of OnOffEvents
            One for each run; see :meth:`stack`.

        Raises
        ------
        IRFError
            If a response is point-like, and neither it nor ``region`` says how large the ON region is.
        RegionError
            If the radii disagree, no OFF region fits, one overlaps the ON region, the source lies beyond the offsets of
            the response, or no energy is left; says of which run.

        Warns
        -----
        PymcGammaWarning
            If the acceptance of regions is taken to be their solid angle; if there is no OFF event.

        Examples
        --------
        >>> store = DataStore.from_dir("magic")  # doctest: +SKIP
        >>> runs = pmg.Observation.list_from_gammapy(store)  # doctest: +SKIP
        >>> events = pmg.Events.from_gammapy(store)  # doctest: +SKIP
        >>> crab = SkyCoord(83.633 * u.deg, 22.014 * u.deg)  # doctest: +SKIP
        >>> data = pmg.OnOffEvents.extract(runs, events, crab)  # doctest: +SKIP
        """
        from pymc_gamma.on_off.extraction import extract

        found = extract(observation, events, region, off=off, exclude=exclude, energy_range=energy_range)
        made = [cls._of_response(**one) for one in found]
        return made if not hasattr(observation, "irfs") else made[0]

    @classmethod
    @checked(name=text, events=several("OnOffEvents"))
    def stack(cls, events: "Sequence[OnOffEvents]", name: str) -> Self:
        """Several data sets as one, with the sum of their responses and one background.

        Backgrounds of runs are taken to have one spectrum: events in OFF regions of runs are to each other as livetime
        times acceptance, such as the solid angle of all regions of a run.

        Parameters
        ----------
        events : sequence of OnOffEvents
            Extracted with one ``energy_range=``.
        name : str
            Of the sum.

        Raises
        ------
        EventError
            If there are none, their nodes differ, or some have an OFF region and others do not, or no livetime.

        Examples
        --------
        >>> one = pmg.OnOffEvents.stack(data, "fact")  # doctest: +SKIP
        """
        if not is_several(events) or not len(events):
            raise EventError(f"{name!r}: events must be data sets to stack, at least one in a list, got {events!r}.")
        first = events[0]
        for one in events:
            if not _same(one.grid.energy, first.grid.energy) or not _same(one._nodes.energy, first._nodes.energy):
                raise EventError(
                    f"{first.name!r} and {one.name!r} cannot be stacked: they have other energies; extract them with "
                    "one energy_range= that all runs hold."
                )
            if one.has_off != first.has_off:
                raise EventError(f"{first.name!r} and {one.name!r} cannot be stacked: one of them has no OFF events.")
        nodes = SpectrumNodes.added([one._nodes for one in events])
        livetimes = [one.livetime for one in events if one.livetime is not None]
        livetime = sum(livetimes, 0 * u.s) if len(livetimes) == len(events) else None
        alpha = acceptance = off = None
        if first.has_off:
            if livetime is None:
                raise EventError("data sets with OFF events need a livetime to be stacked.")
            of_off = [t.to_value("s") * one._acceptance_off for t, one in zip(livetimes, events, strict=True)]
            total = np.sum(of_off, axis=0)
            alpha = np.sum([own * one.alpha for own, one in zip(of_off, events, strict=True)], axis=0) / total
            acceptance = total / livetime.to_value("s")
            off = np.concatenate([one.energy_off.value for one in events])
        times = [one.good_time_s for one in events if one.good_time_s is not None]
        return cls._of_response(
            name,
            np.concatenate([one._on for one in events]),
            off,
            first.grid.energy,
            alpha,
            acceptance,
            nodes,
            np.sum([one._exposure for one in events], axis=0),
            livetime,
            np.concatenate(times) if len(times) == len(events) else None,
        )

    def __repr__(self) -> str:
        behind = "no OFF" if self._off is None else f"{len(self._off)} OFF"
        low, high = self.grid.energy[[0, -1]]
        return f"OnOffEvents({self.name!r}, {low:.3g} to {high:.3g} TeV, {len(self._on)} ON, {behind})"

    def __len__(self) -> int:
        return len(self._on)

    @property
    def energy(self) -> u.Quantity:
        """Reconstructed energies of the ON events in ascending order, shape (n_on,)."""
        return self._on * u.TeV

    @property
    def energy_off(self) -> u.Quantity:
        """Reconstructed energies of the OFF events in ascending order, shape (n_off,).

        Raises
        ------
        EventError
            If there is no OFF region.
        """
        return self._of_off(self._off) * u.TeV

    @property
    def alpha(self) -> FloatArray:
        """Ratio of the acceptances of ON and OFF at the nodes, shape (n,); as :attr:`energy_off`."""
        return self._of_off(self._alpha)

    @property
    def acceptance_off(self) -> FloatArray:
        """What the rate of OFF events is proportional to beyond its smooth shape, at the nodes, shape (n,).

        Of :meth:`extract` the solid angle in sr of an ON region over ``alpha``.
        """
        return self._acceptance_off

    @property
    def has_off(self) -> bool:
        """Whether there is an OFF region."""
        return self._off is not None

    @property
    def energy_nodes(self) -> u.Quantity:
        """Reconstructed energies at which the response is given, shape (n,)."""
        return self.grid.energy * u.TeV

    @property
    def energy_range(self) -> u.Quantity:
        """Range of reconstructed energy of the events."""
        return self.grid.energy[[0, -1]] * u.TeV

    @property
    def energy_true(self) -> u.Quantity:
        """Edges of bins of true energy, shape (m + 1,)."""
        return self._edges_true * u.TeV

    @property
    def exposure(self) -> u.Quantity:
        """Effective area times livetime in these bins, shape (m,)."""
        return self._exposure * u.Unit("cm2 s")

    @property
    def good_time(self) -> Time | None:
        """Start and end of the good time intervals, shape ``(interval, 2)``; None if not known."""
        return None if self.good_time_s is None else from_seconds(self.good_time_s)

    def nodes(self) -> SpectrumNodes:
        """Energies at which a spectrum is asked for, and the map to expected events per TeV at the nodes."""
        return self._nodes

    def npred(self, spectrum: Any) -> float:
        """Expected number of events of a source.

        Parameters
        ----------
        spectrum : callable
            A function of the energy in TeV to TeV-1 cm-2 s-1, such as `PowerLaw` with numbers as parameters, or a model
            of gammapy.

        Raises
        ------
        ModelError
            If it is no function of the energy alone, or has random variables as parameters.
        """
        return float(self._nodes.expected(spectrum, self.name) @ self.grid.weights)

    def binned(self, energy: u.Quantity) -> CountsSpectrum:
        """Count the events in channels.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Edges of the channels, within the range of the energies, shape (n + 1,).

        Raises
        ------
        EventError
            If a channel lies outside the range of the energies.

        Examples
        --------
        >>> spectrum = events.binned(np.geomspace(1, 10, 6) * u.TeV)  # doctest: +SKIP
        """
        edges = checked_edges(self.name, energy, "energy")
        low, high = self.grid.energy[[0, -1]]
        if edges[0] < low * (1 - ROUNDING) or edges[-1] > high * (1 + ROUNDING):
            raise EventError(
                f"{self.name!r}: channels from {edges[0]:.4g} to {edges[-1]:.4g} TeV reach beyond the energies of the "
                f"events, {low:.4g} to {high:.4g} TeV; the response says nothing there."
            )
        parts = np.array([self.grid.weights_between(*pair) for pair in pairwise(edges)])
        response = parts @ self._nodes.from_photons
        seen = np.where(self._exposure > 0, self._exposure, 1.0)
        alpha = counts_off = None
        if self._off is not None and self._alpha is not None:
            counts_off = np.histogram(self._off, edges)[0]
            of_off = parts * self._acceptance_off * self.grid.energy**-IN_CHANNEL_INDEX
            alpha = of_off @ self._alpha / of_off.sum(axis=1)
        kept = np.searchsorted(self._edges_true, self._nodes.edges[0] * (1 + ROUNDING), side="right") - 1
        edisp = np.zeros((len(self._exposure), len(edges) - 1))
        of_bins = slice(kept, kept + response.shape[1])
        edisp[of_bins] = (response / seen[of_bins]).T
        return CountsSpectrum(
            self.name,
            np.histogram(self._on, edges)[0],
            energy=edges * u.TeV,
            energy_true=self.energy_true,
            exposure=self.exposure,
            edisp=edisp,
            counts_off=counts_off,
            alpha=alpha,
            livetime=self.livetime,
            good_time=self.good_time,
        )

    def peek(self, *, fig: "Figure | None" = None) -> "Figure":
        """Plot the events in bins, the background, and the exposure.

        Parameters
        ----------
        fig : matplotlib.figure.Figure, optional
            Where to draw.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        figure: Figure = picture("peek_on_off_events")(self, fig=fig)
        return figure

    def _of_off(self, values: FloatArray | None) -> FloatArray:
        if values is None:
            raise EventError(f"{self.name!r} has no OFF region.")
        return values


def _same(a: FloatArray, b: FloatArray) -> bool:
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=SAME_GRID, atol=0))
