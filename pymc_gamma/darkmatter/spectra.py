r"""Gamma-ray spectra of dark matter that annihilates or decays.

For self-conjugate particles (:math:`k = 2`; 4 for Dirac particles) of mass :math:`m`,

.. math::

    \text{annihilation} \quad & \phi(E) = \frac{\langle\sigma v\rangle J}{4\pi k\, m^2}
        \sum_c f_c \frac{\mathrm{d}N_c}{\mathrm{d}E}(E; m) , \\
    \text{decay} \quad & \phi(E) = \frac{D}{4\pi\, m\, \tau} \sum_c f_c \frac{\mathrm{d}N_c}{\mathrm{d}E}(E; m/2) ,

with the factors :math:`J = \int \rho^2` and :math:`D = \int \rho` of the sky, branching fractions :math:`f_c` that sum
to one, and spectra per annihilation from PPPC 4 DM ID (Cirelli et al. 2011, JCAP 03, 051, arXiv:1012.4515) with
electroweak corrections (Ciafaloni et al. 2011, JCAP 03, 019, arXiv:1009.0224); see
:mod:`pymc_gamma.darkmatter.tables`.

A spectrum ends at the mass, often with a step, and may have lines. In a model it meets the nodes of a response as
:class:`~pymc_gamma.flux.Photons`: integrals up to the endpoint wherever it lies, and lines in their place. As
a function of the energy a line is a triangle in :math:`\ln E` as wide as two steps of these nodes, 0.7 % each.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors

from pymc_gamma.arguments import checked, number, quantity
from pymc_gamma.arrays import FloatArray
from pymc_gamma.darkmatter.channels import Channel, channel
from pymc_gamma.darkmatter.tables import GammaTable, gamma_table
from pymc_gamma.flux import Photons
from pymc_gamma.folding.nodes import NODE_STEP
from pymc_gamma.labelled import has_labels, read_labelled
from pymc_gamma.model.own_table import coords_of_last_dim
from pymc_gamma.model.spectra import ParametricSpectrum, conditions_of
from pymc_gamma.tensors import joined, unit_of
from pymc_gamma.units import numbers, to_value

__all__ = ["Annihilation", "Decay", "dnde"]

PER_INTERVAL = 2
"""Gauss-Legendre nodes in an interval between nodes of a response, 0.7 % wide."""
SUM_TOLERANCE = 1e-6
_DENSITY_FACTORS = {1: "d_factor", 2: "j_factor"}
"""By the power of the density."""


@dataclass(frozen=True, eq=False)
class Yield:
    """Gamma rays per annihilation into a mixture of channels: the same for NumPy and PyTensor.

    Parameters
    ----------
    table : GammaTable
        Spectra.
    fractions : tuple of (Channel, float or TensorVariable)
        Channels and their branching fractions.
    conditions : tuple of (TensorVariable, str)
        What parameters of the fractions must fulfil, and what to tell if not.
    """

    table: GammaTable
    fractions: tuple[tuple[Channel, Any], ...]
    conditions: tuple[tuple[Variable, str], ...] = ()

    def lines(self, mass: Any, xp: Any) -> list[tuple[Any, Any]]:
        """Energy in TeV and photons of each line."""
        found: dict[float, Any] = {}
        for one, fraction in self.fractions:
            for line in one.lines:
                found[line.boson] = found.get(line.boson, 0.0) + fraction * line.share
        energies = {boson: mass - boson**2 / (4 * mass) if boson else mass for boson in found}
        log = xp.log if isinstance(mass, Variable) else np.log
        return [(energies[boson], share * self.table.line(log(energies[boson]), xp)) for boson, share in found.items()]

    def continua(self, mass: Any, lowest: float, xp: Any) -> list[tuple[Any, Any]]:
        """Endpoint in TeV, and mixture of spectra, of all parts with that endpoint."""
        groups: dict[float, dict[str, Any]] = {}
        for one, fraction in self.fractions:
            for part in one.parts:
                own = groups.setdefault(part.shift, {})
                own[part.column] = own.get(part.column, 0.0) + fraction * part.share
        result = []
        for shift, weights in groups.items():
            end = mass + shift / mass if shift else mass
            values = list(weights.values())
            vector = np.array(values) if xp is np else pt.stack([pt.as_tensor_variable(v) for v in values])
            log_end = xp.log(end) if isinstance(end, Variable) else np.log(end)
            result.append((end, self.table.mixed(tuple(weights), vector, log_end, lowest, xp)))
        return result

    def dnde(self, mass: Any, energy: Any, lowest: float, xp: Any) -> Any:
        """Photons per TeV at energies in TeV, of their shape."""
        log_energy = xp.log(energy)
        total = 0.0
        for end, mixed in self.continua(mass, lowest, xp):
            total = total + mixed.at(log_energy - xp.log(end), xp) / (energy * math.log(10))
        for end, photons in self.lines(mass, xp):
            distance = xp.abs(log_energy - xp.log(end)) / NODE_STEP
            total = total + photons * xp.maximum(1 - distance, 0) / (NODE_STEP * energy)
        return total

    def photons(self, mass: Any, edges: FloatArray) -> Photons:
        """Photons per annihilation at points in the intervals between edges in TeV."""
        x, weight = np.polynomial.legendre.leggauss(PER_INTERVAL)
        above, share = pt.constant(0.5 * (x + 1)), pt.constant(0.5 * weight / math.log(10))
        low, high = np.log(edges)[:-1, None], np.log(edges)[1:, None]
        energy, number_of = [], []
        for end, mixed in self.continua(mass, float(edges[0]), pt):
            log_end = pt.log(end)
            covered = pt.clip(log_end - low, 0.0, high - low)  # up to the endpoint
            at = low + covered * above
            energy.append(pt.exp(at))
            number_of.append(mixed.at(at - log_end, pt) * covered * share)
        for end, photons in self.lines(mass, pt):
            within = (pt.log(end) >= low) & (pt.log(end) < high)
            energy.append(pt.clip(end, edges[:-1, None], edges[1:, None]))
            number_of.append(pt.switch(within, photons, 0.0))
        return Photons(pt.concatenate(energy, axis=-1), pt.concatenate(number_of, axis=-1))


@checked(mass=quantity("TeV"), energy=quantity("TeV"))
def dnde(mass: Any, channel: Any, energy: Any, table: GammaTable | None = None) -> u.Quantity:
    """Gamma rays per annihilation and energy.

    Parameters
    ----------
    mass : Quantity
        Mass of the dark matter; half of it for decay.
    channel : str or mapping of str to float
        What it annihilates into: a channel, or branching fractions that sum to one. A line is 1.4 % wide here.
    energy : Quantity
        Energies, of any shape.
    table : GammaTable, optional
        Other spectra than those of PPPC 4 DM ID.

    Returns
    -------
    Quantity
        Photons per energy (TeV-1), of the shape of the energies; 0 above the mass.

    Raises
    ------
    ValueError
        If a channel is unknown, or not in the table for this mass; if fractions do not sum to one.
    TypeError
        If something has no unit.
    astropy.units.UnitConversionError
        If a unit is wrong.

    Examples
    --------
    >>> import astropy.units as u
    >>> from pymc_gamma import darkmatter
    >>> darkmatter.dnde(1 * u.TeV, "W", [0.1, 0.5] * u.TeV).round(2)
    <Quantity [10.59,  0.09] 1 / TeV>
    """
    value = to_value(mass, "TeV", "dnde: mass")
    if value.ndim:
        raise TypeError(f"dnde: mass must be a single quantity, got an array of shape {value.shape}.")
    at = to_value(energy, "TeV", "dnde: energy")
    if np.any(at <= 0):
        raise ValueError(f"dnde: energy must be positive, got {at.min():g} TeV.")
    found = _yield(channel, table, "dnde")
    if any(isinstance(fraction, Variable) for _, fraction in found.fractions):
        raise TypeError("dnde: branching fractions must be numbers; `Annihilation` takes variables.")
    _check_mass(float(value), found, "dnde: mass")
    lowest = float(at.min()) if at.size else 0.0
    return np.asarray(found.dnde(float(value), at, lowest, np)) / u.TeV


class _DarkMatterSpectrum(ParametricSpectrum):
    """What annihilation and decay share."""

    mass: Any
    channels: Any
    table: GammaTable | None
    _yield: Yield
    per_pair: ClassVar[float]
    """Energy of a pair over that of two particles of the mass."""
    density_power: ClassVar[int]
    """Power of the density that the rate goes with."""

    def __post_init__(self) -> None:
        factor, label = _DENSITY_FACTORS[self.density_power], type(self).__name__
        object.__setattr__(self, factor, _in_unit(getattr(self, factor), self.units[factor], f"{label}({factor}=...)"))
        super().__post_init__()
        if getattr(getattr(self.mass, "type", None), "ndim", 0):
            raise TypeError(f"{label}(mass=...) must be a single number, got {self.mass.type}.")
        for name in self.units:
            value = getattr(self, name)
            positive = name == "lifetime"
            if not isinstance(value, Variable) and not (np.isfinite(value) and (value > 0 if positive else value >= 0)):
                wanted = "positive" if positive else "not negative"
                raise ValueError(f"{label}({name}=...) must be finite and {wanted}, got {value:g}.")
        object.__setattr__(self, "_yield", _yield(self.channels, self.table, f"{label}(channels=...)"))
        if not isinstance(self.mass, Variable):
            _check_mass(self.mass * self.per_pair, self._yield, f"{label}(mass=...)", self.per_pair)

    @property
    def smooth(self) -> bool:
        """It ends at the mass, or has lines."""
        return False

    @property
    def scale(self) -> Variable:
        """Annihilations or decays over 4 pi, cm-2 s-1."""
        raise NotImplementedError

    @property
    def fractions(self) -> tuple[Any, ...]:
        """Branching fractions: numbers or variables."""
        return tuple(fraction for _, fraction in self._yield.fractions)

    @property
    def free(self) -> tuple[str, ...]:
        """Names of what is variables."""
        found = [one for one in self.units if isinstance(getattr(self, one), Variable)]
        return (*found, *(["channels"] if any(isinstance(value, Variable) for value in self.fractions) else []))

    @property
    def density_factor(self) -> str | None:
        """Name of the J or D factor, if one was given: any but 1."""
        name = _DENSITY_FACTORS[self.density_power]
        value = getattr(self, name)
        return None if not isinstance(value, Variable) and value == 1 else name

    @property
    def conditions(self) -> tuple[tuple[Variable, str], ...]:
        """That the table has the channels at the mass, and their fractions sum to one."""
        mass, found = pt.as_tensor_variable(self.mass), list(self._yield.conditions)
        label, factor = type(self).__name__, self.per_pair
        for one, fraction in self._yield.fractions:
            first, last = (
                edge / factor for edge in (one.first_mass(self._yield.table), one.last_mass(self._yield.table))
            )
            inside = (mass >= first * (1 - 1e-12)) & (mass <= last * (1 + 1e-12))
            absent = pt.eq(pt.as_tensor_variable(fraction), 0)
            found.append(
                (
                    inside | absent,
                    f"{label}: the table has the channel {one.name!r} for masses from {first:g} to {last:g} TeV; give "
                    "the mass a prior within that range and an initial value (initval=) in it.",
                )
            )
        fractions = [pt.as_tensor_variable(fraction) for _, fraction in self._yield.fractions]
        if any(isinstance(fraction, Variable) for _, fraction in self._yield.fractions):
            total = pt.abs(pt.sum(pt.stack(fractions)) - 1) < SUM_TOLERANCE
            positive = pt.all(pt.stack(fractions) >= 0)
            found.append((total & positive, f"{label}: branching fractions must not be negative, and sum to one."))
        return tuple(found)

    def photons(self, edges: FloatArray) -> Photons:
        """The spectrum as photons at points in intervals of energy."""
        found = self._yield.photons(self._inside * self.per_pair, edges)
        scale = pt.as_tensor_variable(self.scale)
        return found._replace(flux=found.flux * (scale[:, None, None] if scale.type.ndim else scale))

    def evaluate(self, energy: Variable) -> Variable:
        """Flux at energies in TeV; a line is 1.4 % wide."""
        data = getattr(energy, "data", None)
        lowest = float(np.min(data)) if data is not None and np.size(data) and np.min(data) > 0 else 0.0
        return self.scale * self._yield.dnde(self._inside * self.per_pair, energy, lowest, pt)

    @property
    def _inside(self) -> Any:
        """The mass, or the nearest at which there is a table: so that nothing is NaN where conditions are not met."""
        if not isinstance(self.mass, Variable):
            return self.mass
        ends = self._yield.table.mass[[0, -1]] / self.per_pair
        smallest = max([ends[0], *(2 * line.boson for one, _ in self._yield.fractions for line in one.lines)])
        return pt.clip(self.mass.astype("float64"), smallest, ends[1])


@dataclass(frozen=True, eq=False)
class Annihilation(_DarkMatterSpectrum):
    r"""Annihilation of dark matter.

    .. math:: \phi(E) = \frac{\langle\sigma v\rangle J}{4\pi k\, m^2} \sum_c f_c \frac{\mathrm{d}N_c}{\mathrm{d}E}(E; m)

    Parameters
    ----------
    mass : float, Quantity or TensorVariable
        Mass of the particle, TeV.
    sigmav : float, Quantity or TensorVariable
        Velocity-averaged cross-section, cm3 s-1.
    channels : str, mapping of str to number or TensorVariable, or TensorVariable
        Branching fractions by channel, which sum to one; a channel alone; or a vector, such as a Dirichlet variable,
        whose coordinates are channels. A channel is a pair of particles: ``"W"``, ``"Z"``, ``"h"``, ``"t"``, ``"b"``,
        ``"tau"``, ``"mu"``, ``"gamma"`` (a line), ``"Zgamma"``, ...; all are ``gamma_table().channels``, with
        ``"Zgamma"`` and ``"hgamma"``.
    k : float
        2 for particles that are their own antiparticles, 4 for Dirac particles.
    j_factor : float, Quantity or TensorVariable
        Integral of the squared density along the lines of sight over the source. A plain number is in TeV2 cm-5, 1e6
        times smaller than in GeV2 cm-5; what `Profile.j_factor` returns knows its unit. Left out for a
        `DarkMatterHalo`, which has its own.
    table : GammaTable, optional
        Other spectra than those of PPPC 4 DM ID.

    Raises
    ------
    ValueError
        If a channel is unknown, or not in the table for a mass that is a number; if fractions do not sum to one.
        Also if a J factor was computed from a variable in another unit, such as twice what `Profile.j_factor` returned,
        because the result has no unit.
    TypeError
        If a parameter is not a single number.
    astropy.units.UnitConversionError
        If a parameter has the wrong unit.

    Notes
    -----
    Events are impossible, log-likelihoods are :math:`-\infty`, at masses for which the table has not all channels of
    positive fraction; at the initial point of a model that is an error.

    Examples
    --------
    >>> import astropy.units as u
    >>> from pymc_gamma import darkmatter
    >>> spectrum = darkmatter.Annihilation(
    ...     mass=1 * u.TeV,
    ...     sigmav=3e-26 * u.cm**3 / u.s,
    ...     channels={"W": 0.6, "b": 0.4},
    ...     j_factor=1e21 * u.GeV**2 / u.cm**5,
    ... )
    >>> spectrum([0.1, 0.5]).eval().round(14).tolist()
    [1.3e-11, 7e-14]
    """

    mass: Any
    sigmav: Any
    channels: Any
    k: float = 2.0
    j_factor: Any = 1.0
    table: GammaTable | None = None
    units: ClassVar[Mapping[str, str]] = {"mass": "TeV", "sigmav": "cm3 s-1", "j_factor": "TeV2 cm-5"}
    per_pair: ClassVar[float] = 1.0
    density_power: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "k", number(self.k, "Annihilation(k=...)", low=0))

    @property
    def scale(self) -> Variable:
        """Annihilations over 4 pi, cm-2 s-1."""
        return self.sigmav * self.j_factor / (4 * np.pi * self.k * self._inside**2)


@dataclass(frozen=True, eq=False)
class Decay(_DarkMatterSpectrum):
    r"""Decay of dark matter.

    .. math:: \phi(E) = \frac{D}{4\pi\, m\, \tau} \sum_c f_c \frac{\mathrm{d}N_c}{\mathrm{d}E}(E; m/2)

    Parameters
    ----------
    mass : float, Quantity or TensorVariable
        Mass of the particle, TeV.
    lifetime : float, Quantity or TensorVariable
        Mean lifetime, s.
    channels : str, mapping of str to number or TensorVariable, or TensorVariable
        Branching fractions by channel, which sum to one; a channel alone; or a vector, such as a Dirichlet variable,
        whose coordinates are channels.
    d_factor : float, Quantity or TensorVariable
        Integral of the density along the lines of sight over the source. A plain number is in TeV cm-2, 1e3 times
        smaller than in GeV cm-2; what `Profile.d_factor` returns knows its unit. Left out for a `DarkMatterHalo`, which
        has its own.
    table : GammaTable, optional
        Other spectra than those of PPPC 4 DM ID.

    Raises
    ------
    ValueError
        If a channel is unknown, or not in the table for half of a mass that is a number; if fractions do not sum to
        one.
    TypeError
        If a parameter is not a single number.
    astropy.units.UnitConversionError
        If a parameter has the wrong unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> from pymc_gamma import darkmatter
    >>> spectrum = darkmatter.Decay(2 * u.TeV, 1e26 * u.s, channels="b", d_factor=1e18 * u.GeV / u.cm**2)
    >>> spectrum([0.1]).eval().round(14).tolist()
    [4.51e-12]
    """

    mass: Any
    lifetime: Any
    channels: Any
    d_factor: Any = 1.0
    table: GammaTable | None = None
    units: ClassVar[Mapping[str, str]] = {"mass": "TeV", "lifetime": "s", "d_factor": "TeV cm-2"}
    per_pair: ClassVar[float] = 0.5
    density_power: ClassVar[int] = 1

    @property
    def scale(self) -> Variable:
        """Decays over 4 pi, cm-2 s-1."""
        return self.d_factor / (4 * np.pi * self._inside * self.lifetime)


def _in_unit(value: Any, unit: str, label: str) -> Any:
    """A variable whose unit was noted, as `Profile.j_factor` does, in another unit; anything else as it is.

    Raises
    ------
    ValueError
        If it is an expression of a variable that had such a unit in which it is not: the unit is lost.
    """
    if not isinstance(value, Variable):
        return value
    noted = unit_of(value)
    if noted is not None:
        return value if noted == unit else value * u.Unit(noted).to(unit)
    for one in ancestors([value]):
        lost = unit_of(one)
        if lost is not None and lost != unit and u.Unit(lost).is_equivalent(unit):
            raise ValueError(
                f"{label} is an expression of a J or D factor in {lost}, and has lost its unit; numbers are taken in "
                f"{unit}. Pass what Profile.{label.partition('(')[2].partition('=')[0]} returned, and multiply the "
                "spectrum instead: factor * Annihilation(...)."
            )
    return value


def _check_mass(pair: float, found: Yield, label: str, factor: float = 1.0) -> None:
    """Raise a ValueError if a table lacks a channel of positive fraction at a mass in TeV."""
    for one, fraction in found.fractions:
        first, last = one.first_mass(found.table), one.last_mass(found.table)
        outside = not first * (1 - 1e-12) <= pair <= last * (1 + 1e-12)
        if outside and (isinstance(fraction, Variable) or fraction > 0):
            raise ValueError(
                f"{label}: the table has the channel {one.name!r} for masses from {first / factor:g} to "
                f"{last / factor:g} TeV, got {pair / factor:g} TeV."
            )


def _yield(channels: Any, table: Any, label: str) -> Yield:
    """Channels with their fractions, checked."""
    if table is None:
        table = gamma_table()
    elif not isinstance(table, GammaTable):
        raise TypeError(f"{label}: table must be a GammaTable, got {type(table).__name__}.")
    if isinstance(channels, str):
        return Yield(table, ((channel(channels, table, label), 1.0),))
    if not isinstance(channels, Mapping):
        channels = _by_label(channels, label)
    fractions = []
    for name, value in channels.items():
        value = joined(value, f"{label}: the fraction of {name!r}")
        if not isinstance(value, Variable):
            value = number(value, f"{label}: the fraction of {name!r}", low=-np.inf)
            if not 0 <= value <= 1 + SUM_TOLERANCE:
                raise ValueError(f"{label}: the fraction of {name!r} must lie between 0 and 1, got {value:g}.")
        elif value.type.ndim:
            raise TypeError(f"{label}: the fraction of {name!r} must be a single number, got {value.type}.")
        fractions.append((channel(name, table, label), value))
    total = sum(value for _, value in fractions if not isinstance(value, Variable))
    if not fractions or (
        abs(total - 1) > SUM_TOLERANCE and not any(isinstance(value, Variable) for _, value in fractions)
    ):
        raise ValueError(f"{label}: branching fractions must sum to one, got a sum of {total:g}.")
    return Yield(table, tuple(fractions), conditions_of(channels))


def _by_label(channels: Any, label: str) -> dict[str, Any]:
    """A vector of fractions by the names of its coordinates."""
    if has_labels(channels) and not isinstance(channels, Variable):
        given = read_labelled(channels, label)
        labels, values = given.labels[-1], numbers(given.values, label)
    elif isinstance(channels, Variable) and channels.type.ndim == 1:
        model = pm.modelcontext(None) if pm.Model.get_context(error_if_none=False) is not None else None
        labels, values = None if model is None else coords_of_last_dim(model, channels), channels
    else:
        raise TypeError(
            f"{label} must be the name of a channel, a mapping from channels to fractions, or a vector with channels "
            f"as coordinates, got {type(channels).__name__}."
        )
    if labels is None:
        raise ValueError(
            f"{label}: a vector of fractions needs channels as coordinates, as in pm.Dirichlet(..., dims='channel') "
            "of pm.Model(coords={'channel': ['W', 'b']}); or pass a mapping from channels to fractions."
        )
    return {str(name): values[k] for k, name in enumerate(labels)}
