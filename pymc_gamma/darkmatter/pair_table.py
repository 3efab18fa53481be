r"""Annihilation of dark matter of several kinds of particles, with semi-annihilation, from a table over their masses.

Where particles of masses :math:`m_1, m_2, \dots` share the density, a pair :math:`ab` annihilates at rest with the
energy :math:`m_a + m_b`. With the shares :math:`r_{ab,c}` of the annihilations, which sum to one,

.. math:: \phi(E) = \frac{\langle\sigma v\rangle J}{4\pi k} \sum_{ab,\,c} \frac{r_{ab,c}}{m_a m_b}
    \frac{\mathrm{d}N_{ab,c}}{\mathrm{d}E} .

* A pair of particles of the Standard Model comes out as from dark matter of the mass :math:`(m_a + m_b)/2`.
* In **semi-annihilation**, :math:`a b \to h\,d`, a dark particle :math:`d` remains. The Higgs boson has the energy
  :math:`E_h = (s + m_h^2 - m_d^2) / 2\sqrt s`, :math:`\sqrt s = m_a + m_b`, and gives half of the photons of a pair
  from dark matter of that mass.

The names of states are those of micrOMEGAs: ``x1X2`` are a particle of the first kind and an antiparticle of the
second, ``hx2`` a Higgs boson and a particle of the second kind. Of ``AW+W-`` the pair of W is taken at the energy of
the whole, and the photon left out, of which there is no table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any, ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import array, checked, mapping, path
from pymc_gamma.arrays import FloatArray
from pymc_gamma.darkmatter.channels import HIGGS_MASS, channel
from pymc_gamma.darkmatter.parameter_grid import NEGLIGIBLE, Fractions, Grid, checked_axes
from pymc_gamma.darkmatter.spectra import Annihilation
from pymc_gamma.darkmatter.tables import GammaTable, gamma_table
from pymc_gamma.errors import DataFileError
from pymc_gamma.flux import Photons
from pymc_gamma.model.spectra import Spectrum
from pymc_gamma.units import to_value

__all__ = ["PairAnnihilation", "PairTable"]

FINAL_STATES = {
    **{"lL": "tau", "mM": "mu", "uU": "q", "dD": "q", "sS": "q", "cC": "c", "bB": "b", "tT": "t", "GG": "g"},
    **{"W+W-": "W", "ZZ": "Z", "hh": "h", "AA": "gamma", "AW+W-": "W"},
}
"""Channels by their names in tables of micrOMEGAs."""


@dataclass(frozen=True, eq=False)
class PairAnnihilation(Spectrum):
    """Annihilation of pairs of several kinds: the sum of that of each pair.

    Parameters
    ----------
    terms : tuple of Annihilation
        Those of the pairs.
    sigmav : float or TensorVariable
        Velocity-averaged cross-section of all of them, cm3 s-1.
    table : GammaTable or None
        Spectra, if they are not those of PPPC 4 DM ID.
    """

    terms: tuple[Annihilation, ...]
    sigmav: Any
    table: GammaTable | None = None
    units: ClassVar[Mapping[str, str]] = Annihilation.units
    density_power: ClassVar[int] = Annihilation.density_power

    @cached_property
    def _sum(self) -> Spectrum:
        return reduce(add, self.terms)

    @property
    def free(self) -> tuple[str, ...]:
        """Names of what is variables."""
        return tuple(dict.fromkeys(name for one in self.terms for name in one.free))

    @property
    def density_factor(self) -> str | None:
        """Name of the J factor, if one was given."""
        return self.terms[0].density_factor

    @property
    def conditions(self) -> tuple[tuple[Variable, str], ...]:
        """Those of all terms."""
        return self._sum.conditions

    def photons(self, edges: FloatArray) -> Photons:
        """Photons of all terms."""
        found = self._sum.photons(edges)
        assert found is not None
        return found

    def evaluate(self, energy: Variable) -> Variable:
        """Flux of all terms."""
        return self._sum.evaluate(energy)


class PairTable:
    """Shares of the annihilations of dark matter of several kinds, as a function of the masses of these.

    Parameters
    ----------
    axes : mapping of str to array_like
        Masses of each kind, ascending, TeV or a quantity: the first is that of ``x1``, the second that of ``x2``.
    shares : mapping of str to mapping of str to array_like
        For each initial state, such as ``"x1X1"``, the share of each final state on the grid of the masses: a pair by
        its name in micrOMEGAs (``"W+W-"``, ``"bB"``) or by its channel (``"W"``, ``"b"``), or a Higgs boson with what
        remains (``"hx2"``). They are brought to a sum of one.

    Attributes
    ----------
    parameters : tuple of str
        Names of the masses.
    axes : dict
        Their values, TeV.
    states : tuple of (str, str)
        Initial and final states with a share of more than 1e-6 anywhere; final ones by channels.

    Raises
    ------
    ValueError
        If a state is unknown, or shares are negative, all zero somewhere, or of another shape.

    Examples
    --------
    >>> masses, ones = [1.0, 2.0], np.ones((2, 2))
    >>> table = PairTable({"m1": masses, "m2": masses}, {"x1X1": {"W+W-": 0.8 * ones}, "x1x1": {"hx2": 0.2 * ones}})
    >>> table.fractions(m1=1.5, m2=1.5)
    {('x1X1', 'W'): 0.8, ('x1x1', 'hx2'): 0.2}
    """

    @checked(axes=mapping, shares=mapping)
    def __init__(self, axes: Mapping[str, Any], shares: Mapping[str, Any]) -> None:
        self.axes = checked_axes(axes, tuple(map(str, axes)), "PairTable")
        self.parameters = tuple(self.axes)
        shape = tuple(map(len, self.axes.values()))
        found: dict[tuple[str, str], FloatArray] = {}
        for initial, of_final in shares.items():
            _pair(initial, len(self.parameters))
            for final, values in mapping(of_final, f"PairTable(shares={{{initial!r}: ...}})").items():
                label = f"PairTable(shares={{{initial!r}: {{{final!r}: ...}}}})"
                state = (str(initial), _final(str(final), len(self.parameters), label))
                own = array(values, label, shape)
                if np.any(own < 0):
                    raise ValueError(f"{label} must not be negative, got {own.min():g}.")
                found[state] = found.get(state, np.zeros(shape)) + own
        total = np.sum(list(found.values()), axis=0) if found else np.zeros(shape)
        if not np.all(total > 0):
            raise ValueError("PairTable(shares=...): there must be a share above zero everywhere.")
        kept = {state: np.where(own > NEGLIGIBLE * total, own, 0.0) for state, own in found.items()}
        self.states = tuple(state for state, own in kept.items() if own.any())
        values = np.stack([kept[state] for state in self.states], axis=-1)
        self._grid = Grid(self.axes, values / values.sum(axis=-1, keepdims=True), self.parameters, "PairTable")

    @classmethod
    @checked(file=path)
    def read(cls, file: Any) -> "PairTable":
        """Read a table of micrOMEGAs for two kinds of particles in HDF5.

        Such as the data sets ``z5-101x101`` and ``z5-11x11`` of the Z5 model (Belanger et al. 2020, JHEP 09, 030,
        arXiv:2006.14922).

        Parameters
        ----------
        file : str or path-like
            With masses ``mdm1`` and ``mdm2`` in GeV, a grid of points in any order, names of states, and the shares in
            a data set for each of them.

        Raises
        ------
        DataFileError
            If it is not such a file, or points are missing in the grid of masses.
        """
        import h5py  # type: ignore[import-untyped]

        try:
            with h5py.File(file) as held:
                names = {
                    kind: [one.decode() for one in held[f"{kind}_state_options"][:]] for kind in ("initial", "final")
                }
                masses = [np.asarray(held[name][:], float) / 1e3 for name in ("mdm1", "mdm2")]
                shares = {
                    initial: {final: np.asarray(held[initial][final][:], float) for final in names["final"]}
                    for initial in names["initial"]
                }
            axes = [np.unique(one) for one in masses]
            places = tuple(np.searchsorted(axis, one) for axis, one in zip(axes, masses, strict=True))
            filled = np.zeros(tuple(map(len, axes)), int)
            np.add.at(filled, places, 1)
            if not filled.size or np.any(filled != 1):
                raise ValueError(f"its points are no grid of masses, each once; {int((filled == 0).sum())} are missing")
            gridded: dict[str, dict[str, FloatArray]] = {}
            for initial, of_final in shares.items():
                gridded[initial] = {}
                for final, own in of_final.items():
                    gridded[initial][final] = np.empty(filled.shape)
                    gridded[initial][final][places] = own
            return cls(dict(zip(("mdm1", "mdm2"), axes, strict=True)), gridded)
        except (OSError, KeyError, AttributeError, IndexError, ValueError, TypeError) as error:
            raise DataFileError(f"{file} is no table of two kinds of dark matter: {error}") from error

    def fractions(self, **masses: Any) -> dict[tuple[str, str], Any]:
        """Shares of initial and final states, which sum to one.

        Parameters
        ----------
        **masses : float, Quantity or TensorVariable
            Each of :attr:`parameters`, TeV.

        Raises
        ------
        ValueError
            If a mass is missing, unknown, or a number outside the table.
        """
        return self._shares(self._grid.checked(masses, "fractions"))

    def annihilation(
        self,
        *,
        sigmav: Any,
        k: float = 4.0,
        j_factor: Any = 1.0,
        table: GammaTable | None = None,
        **masses: Any,
    ) -> "PairAnnihilation":
        """The spectrum of gamma rays for masses.

        Parameters
        ----------
        sigmav : float, Quantity or TensorVariable
            Velocity-averaged cross-section of all annihilations together, cm3 s-1.
        k, j_factor, table
            As for `darkmatter.Annihilation`; particles with antiparticles have ``k=4``.
        **masses : float, Quantity or TensorVariable
            Each of :attr:`parameters`, TeV.

        Raises
        ------
        ValueError
            If a mass is missing, unknown, or a number outside the table, or there is no spectrum of a final state at
            such a mass.

        Examples
        --------
        >>> table = PairTable({"m1": [1.0, 2.0], "m2": [1.0, 2.0]}, {"x1X2": {"bB": [[1.0, 1.0]] * 2}})
        >>> table.annihilation(sigmav=3e-26, j_factor=1e15, m1=1.2, m2=1.8)([0.1]).eval().round(14).tolist()
        [6.04e-12]
        """
        given = self._grid.checked(masses, "annihilation")
        shares, gammas = self._shares(given), gamma_table() if table is None else table
        known = self._grid.conditions(given)
        terms: list[Annihilation] = []
        sigmav = (
            to_value(sigmav, "cm3 s-1", "PairTable.annihilation(sigmav=...)") if hasattr(sigmav, "unit") else sigmav
        )
        for initial, remains in dict.fromkeys((start, _remains(final)) for start, final in self.states):
            first, second = (list(given.values())[i] for i in _pair(initial, len(given)))
            held = {f: one for (start, f), one in shares.items() if start == initial and _remains(f) == remains}
            energy, number = first + second, 1.0
            mass = energy / 2
            if remains:
                dark = list(given.values())[remains - 1]
                mass, number = (energy**2 + HIGGS_MASS**2 - dark**2) / (2 * energy), 0.5
                held = {"h": sum(held.values())}
            total = sum(held.values())
            if isinstance(total, Variable):
                parts = _over_sum(held, total, min(gammas.channels, key=gammas.first_mass))
                total = pt.switch(total > NEGLIGIBLE, total, 0.0)
            elif total > NEGLIGIBLE:
                parts = {name: share / total for name, share in held.items()}
            else:
                continue
            strength = number * total * mass**2 / (first * second)
            channels = Fractions(parts, known)
            terms.append(Annihilation(mass, sigmav * strength, channels, k=k, j_factor=j_factor, table=table))
        return PairAnnihilation(tuple(terms), sigmav, table)

    def _shares(self, given: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
        varies = any(isinstance(one, Variable) for one in given.values())
        xp = pt if varies else np
        shares = xp.maximum(self._grid.at(given), 0.0)
        shares = shares / xp.sum(shares)
        return {state: shares[i] if varies else float(shares[i]) for i, state in enumerate(self.states)}


def _over_sum(shares: Mapping[str, Any], total: Variable, instead: str) -> dict[str, Any]:
    """Shares over their sum; where there is nothing, all of a channel that is known for any mass."""
    there = total > NEGLIGIBLE
    parts = {name: pt.switch(there, one / pt.maximum(total, NEGLIGIBLE), 0.0) for name, one in shares.items()}
    parts[instead] = parts.get(instead, 0.0) + pt.switch(there, 0.0, 1.0)
    return parts


def _remains(final: str) -> int:
    """Number of the kind of particle that remains in a final state such as ``hx2``; 0 where none does."""
    return int(final[2:]) if final.startswith("hx") else 0


def _pair(initial: Any, n_kinds: int) -> tuple[int, int]:
    """Which kinds an initial state such as ``x1X2`` is made of."""
    name = str(initial)
    if (
        len(name) == 4
        and name[0::2].lower() == "xx"
        and all(one.isdigit() and 1 <= int(one) <= n_kinds for one in name[1::2])
    ):
        return int(name[1]) - 1, int(name[3]) - 1
    raise ValueError(
        f"PairTable: an initial state must be two of the {n_kinds} kinds of particles, such as 'x1X1', got {name!r}."
    )


def _final(name: str, n_kinds: int, label: str) -> str:
    """A final state by its channel, or ``hx2`` where a particle of the second kind remains."""
    if name[:2].lower() == "hx" and name[2:].isdigit():
        if 1 <= int(name[2:]) <= n_kinds:
            return f"hx{name[2:]}"
        raise ValueError(f"{label}: there are {n_kinds} kinds of particles.")
    return channel(FINAL_STATES.get(name, name), gamma_table(), label).name
