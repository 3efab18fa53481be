"""`OnOffCounts`: ON and OFF events as observations of a model, in channels or one by one."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import is_several, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import photons_of, spectrum_values
from pymc_gamma.keywords import check_keywords, keywords_of
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.on_off.backgrounds import OffBackground
from pymc_gamma.model.on_off.measured import MeasuredBackground
from pymc_gamma.model.on_off.measurement import Measurement, measurement_of
from pymc_gamma.model.on_off.source import BACKGROUND, RegionSource, row_of
from pymc_gamma.model.poisson import checked_norm
from pymc_gamma.model.spectra import conditions_of
from pymc_gamma.model.spectral import check_conditions, value_at_start
from pymc_gamma.model.systematics import Systematic
from pymc_gamma.model.systematics.base import prefixed, with_systematics
from pymc_gamma.on_off import CountsSpectrum, OnOffEvents
from pymc_gamma.on_off.nodes import FLUX, SpectrumNodes

__all__ = ["OnOffCounts"]

IRFS = frozenset({"aeff", "edisp"})
"""What photons of an ON region pass: containment is in the effective area."""


class OnOffCounts:
    r"""Counts of ON and OFF regions: a source with a spectrum, on a background that the OFF region measures.

    Call it in a model. For channels :math:`c` of one data set

    .. math::

        n_c \sim \mathrm{Poisson}\Big(\sum_e R_{ce} X_e \int_e \phi(E)\,\mathrm{d}E + \alpha_c b_c\Big), \qquad
        m_c \sim \mathrm{Poisson}(b_c),

    with exposure :math:`X`, redistribution :math:`R`, and a background :math:`b` of free shape (`MeasuredBackground`).
    Events that are given one by one are those of a Poisson process with rates :math:`s(E') + \alpha b(E')` and
    :math:`b(E')`.

    Parameters
    ----------
    name : str
        Name of the variable of the ON events, and beginning of the names of all others. With several data sets the
        variables are called ``"<name>_<data set>"``.
    data : CountsSpectrum, OnOffEvents or sequence of these
        Observed counts in channels, or events, with their response. Several share the systematics, and have backgrounds
        of their own.
    spectrum : callable
        From true energies in TeV to a PyTensor vector in TeV-1 cm-2 s-1, such as `PowerLaw`; or a model of gammapy.
        Pass the same one to the distributions of several instruments.
    norm : tensor_like, optional
        Factor on the flux, a number or one for each data set.
    systematics : sequence of Systematic, optional
        Uncertainties of the instrument, such as `EnergyScale`; their variables are called ``"<name>_energy_scale"``.
    background : OffBackground, optional
        What is assumed of the background: `MeasuredBackground` by default; `FlatBackground`, `ProfiledBackground`.
    component : str
        What the source is called by `flux_points`, `light_curve` and `significance`; give it the name that it has in
        the event mixtures of the same model.
    expected_counts : bool
        Whether to add the expected counts of the source, ``"<name>_signal"``, as a deterministic: in the channels, or
        all of them where events are given one by one.

    Returns
    -------
    TensorVariable or dict of str to TensorVariable
        The ON counts, or energies of the ON events in TeV, with NaN in rows that hold none; by name of the data set if
        there are several.

    Raises
    ------
    ModelError
        If two data sets have one name, or a name is taken in the model; if a background is given, and no OFF counts, or
        no OFF counts, and events where none are expected; if the spectrum is no function of the energy, negative or not
        finite at the initial point of the model or zero where the data sets see anything, or a systematic has no
        effect.

    Notes
    -----
    These are ordinary variables of PyMC: `pymc.sample_posterior_predictive` draws them, and
    `pymc.compute_log_likelihood` gives a value for each channel or event, of ON and of OFF. Events share the expected
    number of all equally with the rows that hold none, as in an `ExtendedEventMixture`.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import pymc as pm
    >>> import pymc_gamma as pmg
    >>> edges = np.geomspace(1, 10, 4) * u.TeV
    >>> data = pmg.CountsSpectrum(
    ...     "run 1",
    ...     [12, 5, 2],
    ...     energy=edges,
    ...     energy_true=edges,
    ...     exposure=np.full(3, 1e13) * u.Unit("cm2 s"),
    ...     edisp=np.eye(3),
    ...     counts_off=[8, 3, 1],
    ...     alpha=0.25,
    ... )
    >>> with pm.Model() as model:
    ...     amplitude = pm.LogNormal("amplitude", np.log(1e-12), 2)
    ...     spectrum = pmg.PowerLaw(index=2.5, amplitude=amplitude)
    ...     counts = pmg.OnOffCounts("magic", data, spectrum=spectrum)
    >>> [one.name for one in model.observed_RVs]
    ['magic_off', 'magic']
    """

    def __new__(
        cls,
        name: str,
        data: CountsSpectrum | OnOffEvents | Sequence[CountsSpectrum | OnOffEvents],
        *,
        spectrum: Any,
        norm: Any = None,
        systematics: Sequence[Systematic] = (),
        background: OffBackground | type[OffBackground] | None = None,
        component: str = "source",
        expected_counts: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Add the counts to the model on the context stack."""
        check_keywords(cls.__name__, kwargs, keywords_of(cls.__new__))
        name, label = text(name, "name"), text(component, f"{name}: component")
        model = pm.modelcontext(None)
        every, several = _checked_data(name, data), is_several(data)
        _check_names(name, every, several=several, model=model)
        off = _checked_background(name, background)
        if background is not None and not any(one.has_off for one in every):
            raise ModelError(
                f"{name}: {[one.name for one in every]} have no OFF counts, which background= is about; give the data "
                "those and alpha=, or leave background= out: then all counts are the source's."
            )
        if label == BACKGROUND:
            raise ModelError(f"{name}: {BACKGROUND!r} is the name of the background; give component= another one.")
        emitted = ModelComponent(label, _Response(every), IRFS, free=True, separate=True)
        emitted = emitted.with_spectrum(_checked(name, spectrum))
        if norm is not None:
            emitted = emitted.times(checked_norm(name, label, norm, emitted.response.coords["observation"]))
        labels, energy = emitted.response.coords["observation"], emitted.energy_range
        [seen] = with_systematics(name, prefixed(name, systematics), [emitted], labels, energy, model)
        check_conditions(name, emitted, model)
        signals = [_signal(seen, k, one.nodes, len(every)) for k, one in enumerate(every)]
        _check_signals(name, every, signals, model)
        made = {}
        for k, (one, signal) in enumerate(zip(every, signals, strict=True)):
            own = f"{name}_{one.name}" if several else name
            dims = one.add_coords(own, model)
            if expected_counts:
                one.signal_of(f"{own}_signal", signal, dims)
            source = partial(RegionSource, emitted, k, len(every), one, signal)
            if one.has_off:
                made[one.name] = off.observe(own, one, signal, source, dims)
            else:
                made[one.name] = one.observe_on(own, source(None), signal, None, dims)
        return made if several else made[every[0].name]


class _Response:
    """What systematics ask of a response, for the data sets of one instrument."""

    components = ()

    def __init__(self, data: Sequence[Measurement]) -> None:
        self._data = data
        self.coords = {"observation": [one.name for one in data]}
        edges = [one.nodes.edges for one in data]
        self.energy_true = np.array([min(one[0] for one in edges), max(one[-1] for one in edges)])

    def mean_exposure(self, component: str, energy: FloatArray) -> FloatArray:
        """Exposures in cm2 s at true energies in TeV, shape (n_observations, n): straight between bins in log-log."""
        out = []
        for one in self._data:
            edges, exposure = one.data.energy_true.to_value("TeV"), one.data.exposure.to_value("cm2 s")
            lit = exposure > 0
            middle = np.log(np.sqrt(edges[1:] * edges[:-1]))[lit]
            values = np.exp(np.interp(np.log(energy), middle, np.log(exposure[lit])))
            out.append(np.where((energy < edges[:-1][lit][0]) | (energy > edges[1:][lit][-1]), 0.0, values))
        return np.array(out)


def _signal(component: ModelComponent, k: int, nodes: SpectrumNodes, n: int) -> Variable:
    """Rows of the source in the k-th of n data sets."""
    spectrum = component.spectrum
    each = getattr(spectrum, "each", ())  # a spectrum that systematics make another one in each data set
    spectrum = each[k] if each else spectrum
    photons = photons_of(spectrum, nodes.edges)
    if photons is not None:
        for factor in component.factors:
            photons = photons.times(factor)
        flux = row_of(component.name, photons.flux, k, n, (*nodes.edges[1:].shape, None))
        counts = pt.dot(_table(nodes.photon_table, k), nodes.photon_vector(photons.energy, flux))
    else:
        values = pt.as_tensor_variable(spectrum_values(spectrum, nodes.energy, FLUX, component.name)).astype("float64")
        own = row_of(component.name, values, k, n, nodes.energy.shape)
        for factor in component.factors:
            own = own * row_of(component.name, pt.as_tensor_variable(factor(nodes.energy)), k, n, nodes.energy.shape)
        counts = pt.dot(_table(nodes.matrix, k), own * pt.ones(len(nodes.energy)))
    if component.norm is not None:
        counts = counts * (component.norm if component.norm.type.ndim == 0 else component.norm[k])
    conditions = conditions_of(component.spectrum)
    # a distribution takes events for impossible where their expected number is not known
    return pt.switch(pt.all([fulfilled for fulfilled, _ in conditions]), counts, np.nan) if conditions else counts


def _table(values: FloatArray, k: int) -> Variable:
    """A table as a shared variable: as a constant a large one would be compiled anew in each process."""
    return pytensor.shared(values, name=f"region_{k}", borrow=True, shape=values.shape)


def _checked_data(name: str, data: Any) -> list[Measurement]:
    several = list(data) if is_several(data) and not isinstance(data, Mapping) else [data]
    try:
        every = [measurement_of(one) for one in several]
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    if not every:
        raise ModelError(f"{name}: there is no data set.")
    names = [one.name for one in every]
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise ModelError(
            f"{name}: several data sets are called {twice}; give them names of their own, such as "
            "CountsSpectrum.read(path, name=...)."
        )
    return every


def _check_names(name: str, every: Sequence[Measurement], *, several: bool, model: pm.Model) -> None:
    """Raise a ModelError if variables would have names that cannot be, or that others have."""
    names = [f"{name}_{one.name}" if several else name for one in every]
    for own in names:
        if "/" in own:
            raise ModelError(
                f"{name}: the variable of the ON counts would be called {own!r}, and names in PyMC hold no '/'. Give "
                "the data set another name: CountsSpectrum.read(path, name=...)."
            )
        if model.name_for(own) in model.named_vars or f"{own}_off" in names:
            taken = f"{own}_off" if f"{own}_off" in names else own
            raise ModelError(
                f"{name}: two variables of the model would be called {taken!r}. Give each OnOffCounts and each data "
                "set a name of its own."
            )


def _checked_background(name: str, background: Any) -> OffBackground:
    if background is None:
        return MeasuredBackground()
    made = background() if isinstance(background, type) and issubclass(background, OffBackground) else background
    if not isinstance(made, OffBackground):
        raise TypeError(f"{name}: background must be one such as pmg.MeasuredBackground(), got {background!r}.")
    return made


def _checked(name: str, spectrum: Any) -> Any:
    if not callable(spectrum):
        raise ModelError(
            f"{name}: the spectrum must be a function of the energy such as pmg.PowerLaw(...), got "
            f"{type(spectrum).__name__}."
        )
    return spectrum


def _check_signals(name: str, every: Sequence[Measurement], signals: Sequence[Variable], model: pm.Model) -> None:
    """Raise a ModelError unless the source can shine where sampling starts."""
    values = np.split(value_at_start(pt.concatenate(list(signals)), model), np.cumsum([s.n_rows for s in every])[:-1])
    for one, rows in zip(every, values, strict=True):
        one.check_signal(name, rows)
    if not any(rows.any() for rows in values):
        low, high = (f(one.nodes.edges[i] for one in every) for f, i in ((min, 0), (max, -1)))
        raise ModelError(
            f"{name}: no event of the source is expected for the initial values of the parameters; its spectrum must "
            f"not be zero everywhere in the true energies that the data see, {low:.4g} to {high:.4g} TeV."
        )
