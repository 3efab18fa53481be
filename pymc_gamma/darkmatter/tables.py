r"""Tables of gamma-ray spectra per annihilation, and their interpolation in mass and energy.

A table holds :math:`T = \mathrm{d}N/\mathrm{d}\log_{10} x`, :math:`x = E/m`, for masses :math:`m` and channels. Between
masses :math:`T` is linear in :math:`\ln m` at fixed :math:`x`. In :math:`x` it is a cubic spline of :math:`\ln T` up to
0.8, and a monotone cubic of :math:`T` from there to the endpoint (and where :math:`T` has zeros). That curve is
evaluated once on a grid in :math:`\ln x`, eight times as fine as the table, and followed by monotone cubics between its
nodes: so values are linear in the table, the sum over channels comes before the interpolation, and the same few
operations serve NumPy and PyTensor, with derivatives in mass and energy.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pytensor
from pytensor.graph.basic import Variable
from scipy.interpolate import CubicSpline, PchipInterpolator

from pymc_gamma.arguments import array, ascending, checked, mapping, path, plain, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.datasets import path as dataset_path
from pymc_gamma.errors import DataFileError
from pymc_gamma.labelled import as_mapping

__all__ = ["GammaTable", "Mixed", "gamma_table"]

DATASET = "pppc4dmid-gammas"
FINER = 8
"""Steps of the fine grid in one of a table."""
LOG_END = -0.1
"""log10 x from which on T itself is interpolated, not its logarithm."""
LOG_LINE = -0.14
"""log10 x above which the table of photon pairs holds the line, smeared, instead of the continuum."""
ROUNDING = 1e-9
"""Of logarithms, at both ends of a spectrum."""
GEV = 1e-3
COLUMNS = {
    r"\[Mu]": "mu",
    r"\[Tau]": "tau",
    r"\[Gamma]": "gamma",
    r"\[Nu]": "nu_",
}
"""How the file of PPPC 4 DM ID spells names of channels."""
BINNED = re.compile(r"dNd(?:Log10)?x\[\s*(\w+)\s*\]")
"""Name of a channel in a file of CosmiXs."""
BINNED_NAMES = {"a": "gamma", "H": "h", "nue": "nu_e", "numu": "nu_mu", "nutau": "nu_tau", "HZ": "hZ"}
"""Channels by these names."""
LIGHT_QUARKS = ("u", "d", "s")


@dataclass(frozen=True, eq=False)
class Mixed:
    """The spectrum of a mixture of channels at one mass: values and slopes on the fine grid.

    Attributes
    ----------
    nodes : numpy.ndarray or TensorVariable
        dN/dlog10 x at the nodes, then slopes times the spacing; shape (2 n,).
    first, step : float
        First node in ln x, and spacing.
    size : int
        Number of nodes.
    """

    nodes: Any
    first: float
    step: float
    size: int

    def at(self, log_x: Any, xp: Any) -> Any:
        """dN/dlog10 x at ln x, of the same shape; zero above the endpoint and below the table."""
        place = (log_x - self.first) / self.step
        left = xp.clip(xp.floor(place), 0, self.size - 2).astype("int64")
        s = place - left
        low, high = self.nodes[left], self.nodes[left + 1]
        slope_low, slope_high = self.nodes[left + self.size], self.nodes[left + self.size + 1]
        rise = high - low
        value = low + s * (
            slope_low + s * ((3 * rise - 2 * slope_low - slope_high) + s * (slope_low + slope_high - 2 * rise))
        )
        return xp.where((log_x <= ROUNDING) & (place >= -ROUNDING), value, 0.0)


class GammaTable:
    r"""Gamma rays per annihilation, :math:`\mathrm{d}N/\mathrm{d}\log_{10} x` for masses, energies and channels.

    Parameters
    ----------
    mass : array_like, shape (n_masses,)
        Masses of the dark matter, GeV, ascending.
    log10_x : array_like, shape (n_x,)
        Logarithm of the energy over the mass, equidistant, ending with 0.
    spectra : mapping of str to array_like, shape (n_masses, n_x)
        Spectrum of each channel; zero at masses below its first.

    Attributes
    ----------
    mass : numpy.ndarray
        Masses, TeV.
    log10_x : numpy.ndarray
        Logarithm of the energy over the mass.
    channels : tuple of str
        Names of the channels.

    Raises
    ------
    ValueError
        If axes are not ascending, or spectra are negative, not finite or of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> table = GammaTable([100, 1000], np.linspace(-3, 0, 61), {"b": np.ones((2, 61))})
    >>> table.channels
    ('b',)
    """

    @checked(mass=plain("GeV", None), log10_x=plain("", None), spectra=mapping)
    def __init__(self, mass: Any, log10_x: Any, spectra: Mapping[str, Any]) -> None:
        self.mass = ascending(mass, "GammaTable(mass=...)") * GEV
        self.log10_x = ascending(log10_x, "GammaTable(log10_x=...)", least=8)
        steps = np.diff(self.log10_x)
        if self.mass[0] <= 0 or abs(self.log10_x[-1]) > 1e-9 or np.ptp(steps) > 1e-6:
            raise ValueError(
                "GammaTable: masses must be positive and log10_x equidistant up to 0, got masses from "
                f"{self.mass[0]:g} TeV and log10_x from {self.log10_x[0]:g} to {self.log10_x[-1]:g}."
            )
        given = as_mapping(spectra, list(spectra), "GammaTable(spectra=...)", "channels")
        self.channels = tuple(str(one) for one in given)
        self._values = {}
        for channel, values in given.items():
            name = f"GammaTable(spectra={{{channel!r}: ...}})"
            own = array(values, name, (len(self.mass), len(self.log10_x)))
            if np.any(own < 0) or not own.any(axis=1)[-1]:
                raise ValueError(f"{name} must not be negative, nor zero at the largest mass.")
            self._values[str(channel)] = own
        self._fine: dict[str, FloatArray] = {}

    @classmethod
    @checked(file=path)
    def read(cls, file: Any) -> "GammaTable":
        """Read a file in the format of PPPC 4 DM ID or CosmiXs: names, then mass, log10 x and dN/dlog10 x by channel.

        CosmiXs (Arina et al. 2024, JCAP 03, 035, arXiv:2312.01153) has averages over bins of log10 x. They are taken at
        the centres; between these and at the endpoint values are added. Light quarks ``q`` are the mean of its three,
        and what is made of a photon and a boson is made of its other channels, lines included.

        Parameters
        ----------
        file : str or path-like
            ``AtProduction_gammas.dat`` or ``AtProduction-Gamma.dat``, or the compact copy that this package brings
            (``.npz``).

        Raises
        ------
        DataFileError
            If it is not such a file.

        Examples
        --------
        >>> from pymc_gamma import datasets
        >>> len(GammaTable.read(datasets.path("pppc4dmid-gammas")).channels)
        28
        """
        file = Path(file)
        try:
            if file.suffix == ".npz":
                with np.load(file) as held:
                    mass, log10_x, values, names = (held[key] for key in ("mass", "log10_x", "dndlog10x", "channels"))
                return cls(mass, log10_x, dict(zip(names.tolist(), values.astype(float), strict=True)))
            head, *lines = file.read_text(encoding="utf-8").splitlines() or [""]
            if not any(line.strip() for line in lines):
                raise ValueError("it has no rows")
            names, rows = BINNED.findall(head) or head.split()[2:], np.loadtxt(lines, ndmin=2)
            mass, log10_x = np.unique(rows[:, 0]), np.unique(rows[:, 1])
            rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
            values = rows[:, 2:].reshape(len(mass), len(log10_x), len(names))
            spectra = {_spelled(one): values[:, :, k] for k, one in enumerate(names)}
            if BINNED.search(head):
                log10_x, spectra = _from_bins(log10_x, spectra)
            return cls(mass, np.round(log10_x, 6), spectra)
        except (OSError, EOFError, KeyError, ValueError, IndexError, BadZipFile) as error:
            raise DataFileError(
                f"{file} is no table of gamma-ray spectra as PPPC 4 DM ID and CosmiXs have them (a line of names, then "
                f"mass, log10 x and spectra in rows): {error}"
            ) from error

    def values(self, channel: str) -> FloatArray:
        """dN/dlog10 x of a channel as tabulated, shape (n_masses, n_x).

        Parameters
        ----------
        channel : str
            One of :attr:`channels`.

        Raises
        ------
        ValueError
            If it is none of these.
        """
        return self._values[text(channel, "GammaTable.values: channel", self.channels)].copy()

    def first_mass(self, channel: str) -> float:
        """Smallest mass at which a channel is tabulated, TeV.

        Parameters
        ----------
        channel : str
            One of :attr:`channels`.

        Raises
        ------
        ValueError
            If it is none of these.
        """
        channel = text(channel, "GammaTable.first_mass: channel", self.channels)
        return float(self.mass[self._values[channel].any(axis=1).argmax()])

    @property
    def line_yield(self) -> FloatArray:
        """Photons in the line of ``gamma`` for each mass.

        Two, less what electroweak showers take: as the table has it in its last bin.
        """
        last = self._values["gamma"][:, -1]
        return np.asarray(2 * last / last.max())

    def line(self, log_mass: Any, xp: Any) -> Any:
        """Photons in the line of ``gamma`` at a mass."""
        i, t = self._between(log_mass, xp if isinstance(log_mass, Variable) else np)
        photons = self.line_yield if xp is np else xp.constant(self.line_yield)
        return photons[i] * (1 - t) + photons[i + 1] * t

    def mixed(self, channels: Sequence[str], weights: Any, log_mass: Any, lowest: float, xp: Any) -> Mixed:
        """The spectrum of a mixture of channels.

        Parameters
        ----------
        channels : sequence of str
            Names.
        weights : numpy.ndarray or TensorVariable, shape (len(channels),)
            Weight of each.
        log_mass : float or TensorVariable
            Logarithm of the mass in TeV; outside the table the spectrum at its end.
        lowest : float
            Energy in TeV above which it is wanted.
        xp : module
            ``numpy`` or ``pytensor.tensor``.
        """
        rows, first = self._rows(tuple(channels), lowest)
        varies = isinstance(log_mass, Variable)
        i, t = self._between(log_mass, xp if varies else np)
        # shared, not constant: numba keeps no compiled function that holds constants of a megabyte
        held = pytensor.shared(rows, name="dndlog10x", borrow=True) if varies else rows
        nodes = xp.dot(weights, held[i] * (1 - t) + held[i + 1] * t)
        return Mixed(nodes, first, self._step, rows.shape[-1] // 2)

    @property
    def _step(self) -> float:
        return float(self.log10_x[1] - self.log10_x[0]) * math.log(10) / FINER

    def _between(self, log_mass: Any, xp: Any) -> tuple[Any, Any]:
        """Tabulated mass below one, and how far it is on the way to the next."""
        logs = np.log(self.mass)
        nodes, widths = (logs, np.diff(logs)) if xp is np else (xp.constant(logs), xp.constant(np.diff(logs)))
        i = xp.clip(xp.searchsorted(nodes, log_mass, side="right") - 1, 0, len(logs) - 2)
        return i, xp.clip((log_mass - nodes[i]) / widths[i], 0.0, 1.0)

    def _rows(self, channels: tuple[str, ...], lowest: float) -> tuple[FloatArray, float]:
        """Values and slopes on the fine grid for all masses and some channels, and where the grid begins."""
        every = np.stack([self._on_fine_grid(one) for one in channels], axis=1)
        start = math.log(10) * self.log10_x[0]
        skip = int((math.log(lowest / self.mass[-1]) - start) / self._step) - 1 if lowest > 0 else 0
        skip = min(max(skip, 0), every.shape[-2] - 2)
        rows = every[..., skip:, :]
        return np.concatenate([rows[..., 0], rows[..., 1]], axis=-1), start + skip * self._step

    def _on_fine_grid(self, channel: str) -> FloatArray:
        """Values and slopes (times the spacing) of a channel on the fine grid, shape (n_masses, n_fine, 2)."""
        if channel not in self._fine:
            values = self._values[channel].copy()
            if channel == "gamma":
                line = self.log10_x > LOG_LINE
                values[:, line] = values[:, ~line][:, -1:] * np.linspace(1, 0, line.sum() + 1)[1:]
            place = np.arange(len(self.log10_x))
            fine = np.arange((len(place) - 1) * FINER + 1) / FINER
            found = np.maximum(PchipInterpolator(place, values, axis=1)(fine), 0)
            end = np.searchsorted(self.log10_x, LOG_END - 1e-9)
            for row, own in zip(found, values, strict=True):
                zero = np.flatnonzero(own[: end + 1] == 0)
                begin = zero[-1] + 1 if len(zero) else 0
                if end - begin >= 4:
                    part = slice(begin * FINER, end * FINER + 1)
                    spline = CubicSpline(place[begin : end + 1], np.log(own[begin : end + 1]))
                    row[part] = np.exp(spline(fine[part]))
            slopes = PchipInterpolator(np.arange(len(fine)), found, axis=1).derivative()(np.arange(len(fine)))
            self._fine[channel] = np.stack([found, slopes], axis=-1)
        return self._fine[channel]


@lru_cache(maxsize=1)
def gamma_table() -> GammaTable:
    """The table of PPPC 4 DM ID with electroweak corrections that this package brings, read when it is first used."""
    return GammaTable.read(dataset_path(DATASET))


def _from_bins(log10_x: FloatArray, spectra: Mapping[str, FloatArray]) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Averages over bins up to 0, given at their centres, as values at these, half-way between, and at the endpoint."""
    step = np.diff(log10_x).mean()
    if abs(log10_x[-1] + 0.5 * step) > 1e-6:
        raise ValueError(f"its bins end at log10 x = {log10_x[-1] + 0.5 * step:g} instead of 0")
    at = log10_x[0] + 0.5 * step * np.arange(2 * len(log10_x))
    found = {}
    for name, values in spectra.items():
        if name == "aZ":
            continue  # has a line in a bin: `Zgamma` is made of a line and of other channels
        finer = np.empty((len(values), len(at)))
        finer[:, :-1] = PchipInterpolator(log10_x, values, axis=1)(at[:-1])
        finer[:, ::2] = values
        finer[:, -1] = np.maximum(1.5 * values[:, -1] - 0.5 * values[:, -2], 0)
        found[name] = np.maximum(finer, 0)
    if set(LIGHT_QUARKS) <= found.keys():
        found["q"] = np.mean([found[name] for name in LIGHT_QUARKS], axis=0)
    return at, {name: one for name, one in found.items() if name not in LIGHT_QUARKS}


def _spelled(name: str) -> str:
    """Name of a channel, from that in the file."""
    name = BINNED_NAMES.get(name, name)
    for spelled, plain_name in COLUMNS.items():
        name = name.replace(spelled, plain_name)
    return name
