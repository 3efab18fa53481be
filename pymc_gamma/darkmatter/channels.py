r"""Channels of annihilation: which spectra of a table each is made of, and its lines.

Two photons, or a photon and a boson of mass :math:`M`, come with a line. In annihilation at rest of particles of mass
:math:`m` the photon has the energy :math:`m - M^2/4m`, and the boson :math:`m + M^2/4m`: each fragments as half of a
pair of its kind from dark matter of a mass equal to its energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pymc_gamma.darkmatter.tables import GammaTable

__all__ = ["Channel", "Line", "Part", "channel", "channel_names"]

Z_MASS, HIGGS_MASS = 0.0911880, 0.12520
"""TeV; Particle Data Group, S. Navas et al. (2024), Phys. Rev. D 110, 030001."""


@dataclass(frozen=True)
class Line:
    """Photons of one energy, as many as those of ``gamma`` at a mass equal to it, times a number.

    Attributes
    ----------
    boson : float
        Mass of what recoils, TeV.
    share : float
        Part of the photons of the line of a pair of photons.
    """

    boson: float
    share: float


@dataclass(frozen=True)
class Part:
    """A spectrum of a table, times a number.

    Attributes
    ----------
    column : str
        Channel of the table.
    share : float
        Factor.
    shift : float
        The energy of the particle is that of the dark matter plus ``shift / m``, TeV2.
    """

    column: str
    share: float = 1.0
    shift: float = 0.0

    def energy(self, mass: Any) -> Any:
        """Energy of the particle at a mass, TeV."""
        return mass + self.shift / mass if self.shift else mass


@dataclass(frozen=True)
class Channel:
    """What a pair of dark-matter particles annihilates into.

    Attributes
    ----------
    name : str
        Name.
    parts : tuple of Part
        Spectra of a table.
    lines : tuple of Line
        Lines.
    """

    name: str
    parts: tuple[Part, ...]
    lines: tuple[Line, ...] = ()

    def first_mass(self, table: GammaTable) -> float:
        """Smallest mass at which all its parts are in a table, TeV."""
        return max(_mass_at(table.first_mass(one.column), one.shift) for one in self.parts)

    def last_mass(self, table: GammaTable) -> float:
        """Largest mass at which they are, TeV."""
        return float(min(_mass_at(table.mass[-1], one.shift) for one in self.parts))


_PAIRS = {
    **{"w": "W", "ww": "W", "z": "Z", "zz": "Z", "h": "h", "hh": "h", "bb": "b", "tt": "t", "cc": "c", "gg": "g"},
    **{"ee": "e", "mumu": "mu", "tautau": "tau", "gammagamma": "gamma", "qq": "q"},
}
"""What channels are also called, in small letters and without signs."""

_WITH_BOSON = {"Zgamma": ("Z", Z_MASS), "hgamma": ("h", HIGGS_MASS)}


def channel_names(table: GammaTable) -> tuple[str, ...]:
    """Names of the channels that a table knows."""
    extra = [name for name, (boson, _) in _WITH_BOSON.items() if {boson, "gamma"} <= set(table.channels)]
    return (*table.channels, *extra)


def channel(name: Any, table: GammaTable, what: str) -> Channel:
    """A channel by its name.

    Raises
    ------
    ValueError
        If the table has no such channel.
    """
    known = channel_names(table)
    if name not in known:
        plain = str(name).replace("+", "").replace("-", "")
        own = _PAIRS.get(plain.lower())
        close: Sequence[str] = [own] if own in known else get_close_matches(plain, known, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"{what}: there is no channel {name!r}.{hint} The channels are {', '.join(known)}.")
    if name == "gamma":
        return Channel("gamma", (Part("gamma"),), (Line(0.0, 1.0),))
    if name in table.channels:
        return Channel(str(name), (Part(str(name)),))
    boson, mass = _WITH_BOSON[name]
    parts = (Part(boson, 0.5, mass**2 / 4), Part("gamma", 0.5, -(mass**2) / 4))
    return Channel(str(name), parts, (Line(mass, 0.5),))


def _mass_at(energy: float, shift: float) -> float:
    """Mass of the dark matter at which a particle has an energy: the larger of two."""
    return float(0.5 * (energy + (energy**2 - 4 * shift) ** 0.5)) if energy**2 > 4 * shift else float(2 * shift**0.5)
