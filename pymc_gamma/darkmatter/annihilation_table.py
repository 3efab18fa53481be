r"""Cross-sections of a model of dark matter as tables over its parameters.

A table holds partial cross-sections :math:`\sigma v_c` on a grid of a mass and perhaps couplings. The logarithm of
their sum, and their shares, are interpolated (:mod:`pymc_gamma.darkmatter.parameter_grid`). Shares are brought to a
sum of one.
"""

import csv
import gzip
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import array, checked, mapping, path, texts
from pymc_gamma.arrays import FloatArray
from pymc_gamma.darkmatter.channels import channel
from pymc_gamma.darkmatter.pair_table import PairTable
from pymc_gamma.darkmatter.parameter_grid import NEGLIGIBLE, Fractions, Grid, checked_axes
from pymc_gamma.darkmatter.spectra import Annihilation
from pymc_gamma.darkmatter.tables import GammaTable, gamma_table
from pymc_gamma.errors import DataFileError

__all__ = ["AnnihilationTable"]

MASS = "mass"
FINAL_STATES = {
    **{"e+e-": "e", "mu+mu-": "mu", "tau+tau-": "tau", "nuenue": "nu_e", "numunumu": "nu_mu", "nutaunutau": "nu_tau"},
    **{"uu": "q", "dd": "q", "ss": "q", "cc": "c", "bb": "b", "tt": "t", "gg": "g"},
    **{"W+W-": "W", "ZZ": "Z", "HH": "h", "gammagamma": "gamma", "Zgamma": "Zgamma"},
}
"""Channels by their names in the tables of darkSUSY and Di Mauro."""
OF_THE_SINGLET = ("lahS",)
"""Parameters of the tables of darkSUSY and Di Mauro besides the mass."""
UNITS = {"[GeV]": 1e-3, "[TeV]": 1.0}


class AnnihilationTable:
    """Partial cross-sections of a model of dark matter, as a function of its mass and other parameters.

    Parameters
    ----------
    axes : mapping of str to array_like
        Values of each parameter, positive and ascending; the first is ``mass``, in TeV or a quantity.
    sigmav : mapping of str to array_like
        Velocity-averaged cross-section into each channel (see `darkmatter.Annihilation`), cm3 s-1, on the grid of the
        axes.

    Attributes
    ----------
    parameters : tuple of str
        Names of the parameters.
    axes : dict
        Their values.
    channels : tuple of str
        Channels with a share of more than 1e-6 anywhere.

    Raises
    ------
    ValueError
        If axes are not ascending, a channel is unknown, or cross-sections are negative, all zero somewhere, or of
        another shape.

    Examples
    --------
    >>> import numpy as np
    >>> table = AnnihilationTable({"mass": [0.5, 1.0, 2.0]}, {"W": [2e-26, 1e-26, 1e-26], "b": [0, 1e-26, 3e-26]})
    >>> round(1e26 * table.sigmav(mass=1.0), 6), table.fractions(mass=2.0)
    (2.0, {'W': 0.25, 'b': 0.75})
    """

    @checked(axes=mapping, sigmav=mapping)
    def __init__(self, axes: Mapping[str, Any], sigmav: Mapping[str, Any]) -> None:
        if not axes or next(iter(axes)) != MASS:
            raise ValueError(f"AnnihilationTable(axes=...): the first axis must be {MASS!r}, got {list(axes)}.")
        self.axes = checked_axes(axes, (MASS,), "AnnihilationTable")
        self.parameters = tuple(self.axes)
        shape = tuple(map(len, self.axes.values()))
        found = {}
        for name, values in sigmav.items():
            label = f"AnnihilationTable(sigmav={{{name!r}: ...}})"
            channel(name, gamma_table(), label)
            found[str(name)] = array(values, label, shape, "cm3 s-1")
            if np.any(found[str(name)] < 0):
                raise ValueError(f"{label} must not be negative, got {found[str(name)].min():g}.")
        total = np.sum(list(found.values()), axis=0) if found else np.zeros(shape)
        if not np.all(total > 0):
            raise ValueError("AnnihilationTable(sigmav=...): there must be a cross-section above zero everywhere.")
        shares = {name: np.where(values > NEGLIGIBLE * total, values / total, 0.0) for name, values in found.items()}
        self.channels = tuple(name for name, share in shares.items() if share.any())
        own = np.stack([shares[name] for name in self.channels], axis=-1)
        own /= own.sum(axis=-1, keepdims=True)
        values = np.concatenate([np.log(total)[..., None], own], axis=-1)
        self._grid = Grid(self.axes, values, (MASS,), "AnnihilationTable")

    @classmethod
    @checked(file=path, parameters=texts)
    def read(cls, file: Any, *, parameters: Sequence[str] | None = None) -> "AnnihilationTable | PairTable":
        """Read a table of numbers in columns with a line of names, perhaps compressed by gzip; or one in HDF5.

        Columns are separated by blanks or by commas. One is the mass, with its unit in brackets, such as ``"mS
        [GeV]"``; those named like final states (``W+W-``, ``bb``, ``tau+tau-``) or channels (``W``, ``b``, ``tau``)
        are cross-sections in cm3 s-1. Rows may have any order, and a running number before them.

        Parameters
        ----------
        file : str or path-like
            Such as the tables of darkSUSY and Di Mauro for the scalar singlet, the data sets ``z2-darksusy`` and
            ``z2-dimauro``.
        parameters : sequence of str, optional
            Names of the columns that hold parameters besides the mass. Default: ``lahS``, the coupling of the scalar
            singlet, if there is such a column.

        Returns
        -------
        AnnihilationTable or PairTable
            The latter of a file in HDF5, see `darkmatter.PairTable.read`.

        Raises
        ------
        DataFileError
            If it is not such a file, a column is neither a channel nor one of ``parameters``, rows are missing in the
            grid of parameters, or a final state has no spectrum.
        """
        file = Path(file)
        try:
            content = file.read_bytes()
            if content[:8] == b"\x89HDF\r\n\x1a\n":
                return PairTable.read(file)
            text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8")
            head, *lines = [line for line in text.splitlines() if line.strip()] or [""]
            if not lines:
                raise ValueError("it has no rows")
            return cls(*_on_grid(*_columns(head, lines), parameters))
        except (OSError, EOFError, ValueError) as error:
            raise DataFileError(f"{file} is no table of cross-sections: {error}") from error

    def sigmav(self, **parameters: Any) -> Any:
        """Velocity-averaged cross-section into all channels, cm3 s-1.

        Parameters
        ----------
        **parameters : float, Quantity or TensorVariable
            Each of :attr:`parameters`; the mass in TeV.

        Returns
        -------
        float or TensorVariable
            NaN where variables are outside the table.

        Raises
        ------
        ValueError
            If a parameter is missing, unknown, or a number outside the table.
        """
        given = self._grid.checked(parameters, "sigmav")
        total = self._grid.at(given)[0]
        if not any(isinstance(one, Variable) for one in given.values()):
            return float(np.exp(total))
        inside = pt.all([fulfilled for fulfilled, _ in self._grid.conditions(given)])
        return pt.switch(inside, pt.exp(total), np.nan)

    def fractions(self, **parameters: Any) -> Fractions:
        """Branching fractions by channel, which sum to one: the ``channels`` of `darkmatter.Annihilation`.

        Parameters
        ----------
        **parameters : float, Quantity or TensorVariable
            Each of :attr:`parameters`; the mass in TeV.

        Raises
        ------
        ValueError
            If a parameter is missing, unknown, or a number outside the table.
        """
        given = self._grid.checked(parameters, "fractions")
        varies = any(isinstance(one, Variable) for one in given.values())
        xp = pt if varies else np
        shares = xp.maximum(self._grid.at(given)[1:], 0.0)
        shares = shares / xp.sum(shares)
        found = {name: shares[k] if varies else float(shares[k]) for k, name in enumerate(self.channels)}
        return Fractions(found, self._grid.conditions(given))

    def annihilation(
        self, *, k: float = 2.0, j_factor: Any = 1.0, table: GammaTable | None = None, **parameters: Any
    ) -> Annihilation:
        """The spectrum of gamma rays for parameters of the model.

        Parameters
        ----------
        k, j_factor, table
            As for `darkmatter.Annihilation`.
        **parameters : float, Quantity or TensorVariable
            Each of :attr:`parameters`; the mass in TeV.

        Raises
        ------
        ValueError
            If a parameter is missing, unknown, or a number outside the table, or a channel has no spectrum at the mass.

        Examples
        --------
        >>> table = AnnihilationTable({"mass": [0.5, 1.0, 2.0]}, {"W": [2e-26, 1e-26, 1e-26], "b": [0, 1e-26, 3e-26]})
        >>> table.annihilation(mass=1.0, j_factor=1e15)([0.1]).eval().round(14).tolist()
        [8.72e-12]
        """
        return Annihilation(
            mass=parameters.get(MASS),
            sigmav=self.sigmav(**parameters),
            channels=self.fractions(**parameters),
            k=k,
            j_factor=j_factor,
            table=table,
        )


def _columns(head: str, lines: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Names of columns, and their numbers, without those that number the rows."""
    separated = "," in head
    names = next(csv.reader([head], skipinitialspace=True)) if separated else shlex.split(head)
    names = [name.strip() for name in names]
    rows = np.loadtxt(lines, ndmin=2, delimiter="," if separated else None)
    if names and not names[0]:
        names = names[1:]
    if rows.shape[1] == len(names) + 1:
        rows = rows[:, 1:]
    if rows.shape[1] != len(names):
        raise ValueError(f"it has {len(names)} names for {rows.shape[1]} columns")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"it has the columns {twice} more than once")
    return names, rows


def _state(name: str) -> str:
    """Channel of a column.

    Raises
    ------
    ValueError
        If it is none; says which is the nearest.
    """
    if name in FINAL_STATES:
        return FINAL_STATES[name]
    try:
        return channel(name, gamma_table(), f"the column {name!r}").name
    except ValueError as error:
        raise ValueError(f"{error} If it is a parameter, say so: parameters=[{name!r}].") from None


def _on_grid(
    names: list[str], rows: FloatArray, parameters: Sequence[str] | None
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Axes, and cross-sections on their grid by channel, from columns of numbers."""
    missing = [name for name in parameters or () if name not in names]
    if missing:
        raise ValueError(f"it has no columns {missing} of parameters=, but {names}")
    given = OF_THE_SINGLET if parameters is None else parameters
    masses = [name for name in names if name.split()[-1] in UNITS]
    if len(masses) != 1:
        raise ValueError(f"one column must be a mass with its unit, such as 'mS [GeV]', got {masses or names}")
    dark = [name for name in names if name.startswith("hadrons")]
    others = [name for name in names if name in given and name not in masses]
    states = {name: _state(name) for name in names if name not in (*masses, *dark, *others)}
    columns = dict(zip(names, rows.T, strict=True))
    columns[masses[0]] = columns[masses[0]] * UNITS[masses[0].split()[-1]]
    keep = columns[masses[0]] >= gamma_table().mass[0]  # there are no spectra below
    columns = {name: values[keep] for name, values in columns.items()}
    for name in dark:
        if columns[name].any():
            raise ValueError(f"there is no spectrum for its final state {name!r}")
    keys = [masses[0], *others]
    axes = [np.unique(columns[name]) for name in keys]
    shape = tuple(map(len, axes))
    places = tuple(np.searchsorted(axis, columns[name]) for name, axis in zip(keys, axes, strict=True))
    filled = np.zeros(shape, int)
    np.add.at(filled, places, 1)
    if not filled.size or np.any(filled != 1):
        raise ValueError(
            f"its rows must be a grid of {keys}, each once; {int((filled == 0).sum())} of {filled.size} are missing, "
            f"and {int((filled > 1).sum())} there more than once"
        )
    sigmav: dict[str, FloatArray] = {}
    for name, own in states.items():
        values = np.empty(shape)
        values[places] = columns[name]
        sigmav[own] = sigmav.get(own, 0.0) + values
    return dict(zip([MASS, *keys[1:]], axes, strict=True)), sigmav
