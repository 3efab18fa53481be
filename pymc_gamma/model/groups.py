"""What is given for several components at once: a vector with an entry, or a spectrum with a row, for each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import Photons, photons_of
from pymc_gamma.labelled import aligned
from pymc_gamma.model.spectra import conditions_of, is_smooth
from pymc_gamma.tensors import joined
from pymc_gamma.units import numbers

__all__ = ["GroupMember", "SpectrumGroup", "entries", "one_by_one", "together"]


class SpectrumGroup:
    """Spectra of several components as one function of the energy: one expression instead of twenty.

    Parameters
    ----------
    names : tuple of str
        Names of the components.
    spectrum : callable
        From energies in TeV (n,) to fluxes (len(names), n), or (n,) if all are the same.
    """

    def __init__(self, names: tuple[str, ...], spectrum: Callable[[Any], Any]) -> None:
        self.names, self.spectrum = names, spectrum
        self._known: dict[bytes, Variable] = {}

    def rows(self, energy: Any) -> Variable:
        """Fluxes of all components, shape (len(names), n); one expression for the same energies."""
        if isinstance(energy, Variable):
            return self._evaluated(energy)
        key = np.asarray(energy, float).tobytes()
        if key not in self._known:
            self._known[key] = self._evaluated(energy)
        return self._known[key]

    def _evaluated(self, energy: Any) -> Variable:
        flux = pt.as_tensor_variable(self.spectrum(energy))
        shape = (len(self.names), *pt.as_tensor_variable(energy).type.shape)
        if flux.type.ndim == 1:
            return pt.broadcast_to(flux, shape)
        if flux.type.ndim != 2 or flux.type.shape[0] not in (None, shape[0]):
            raise ModelError(
                f"the spectrum of {self.names} must have one row for each of them: parameters of it that are "
                f"vectors must have {len(self.names)} entries, got fluxes of {flux.type}."
            )
        return pt.specify_shape(flux, shape)

    def members(self) -> dict[str, "GroupMember"]:
        """The spectrum of each component."""
        return {name: GroupMember(self, k) for k, name in enumerate(self.names)}


@dataclass(frozen=True, eq=False)
class GroupMember:
    """The spectrum of one component of a group."""

    group: SpectrumGroup
    index: int

    @property
    def smooth(self) -> bool:
        """Whether those of the group are."""
        return is_smooth(self.group.spectrum)

    @property
    def conditions(self) -> tuple[tuple[Variable, str], ...]:
        """What parameters of the group must fulfil."""
        return conditions_of(self.group.spectrum)

    def photons(self, edges: FloatArray) -> Photons | None:
        """Photons of this component in intervals of energy, if those of the group are known."""
        found = photons_of(self.group.spectrum, edges)
        if found is None or found.flux.type.ndim < 3:
            return found
        return found._replace(flux=pt.specify_shape(found.flux, (len(self.group.names), None, None))[self.index])

    def __call__(self, energy: Any) -> Variable:
        """Flux of this component."""
        return self.group.rows(energy)[self.index]


def one_by_one(what: str, given: Any, split: Callable[[tuple[str, ...], Any], Mapping[str, Any]]) -> Any:
    """A mapping whose keys may be tuples of names, with an entry for each name.

    Parameters
    ----------
    what : str
        What is given, for messages.
    given : mapping or object
        What the user gave; if it is no mapping, it comes back as it is.
    split : callable
        From a tuple of names and what is given for them to a mapping.

    Raises
    ------
    ModelError
        If a name is there twice.
    """
    if not isinstance(given, Mapping):
        return given
    found: dict[Any, Any] = {}
    for key, value in given.items():
        own = split(key, value) if isinstance(key, tuple) else {key: value}
        twice = [name for name in own if name in found]
        if twice or (isinstance(key, tuple) and len(set(key)) < len(key)):
            raise ModelError(f"{what} are given more than once for {twice or list(key)}.")
        found |= own
    return found


def entries(what: str, names: tuple[str, ...], given: Any) -> dict[str, Any]:
    """Entries of a vector for several components."""
    vector = joined(aligned(given, {"component": names}, what), what)
    values = vector if isinstance(vector, Variable) else numbers(vector, what, finite=False)
    shape = values.type.shape if isinstance(values, Variable) else values.shape
    if len(shape) != 1 or shape[0] not in (None, len(names)):
        raise ModelError(f"{what} of {names} must be a vector with one entry for each of them, got shape {shape}.")
    return {name: values[k] for k, name in enumerate(names)}


def together(members: Sequence[Any], energy: FloatArray) -> Variable | None:
    """Rows of neighbouring members of a group in one expression; None if they are not of one group."""
    first = members[0]
    if len(members) < 2 or not all(isinstance(one, GroupMember) and one.group is first.group for one in members):
        return None
    index = [one.index for one in members]
    rows = first.group.rows(energy)
    return rows if index == list(range(len(first.group.names))) else rows[np.array(index)]
