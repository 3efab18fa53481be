r"""From counts to cross-sections and back.

The events of dark matter are proportional to its cross-section: with :math:`\Lambda` expected for
:math:`\langle\sigma v\rangle_0`, a fraction :math:`f` of :math:`N` events is that of

.. math:: \langle\sigma v\rangle = f\, N\, \frac{\langle\sigma v\rangle_0}{\Lambda} .
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import checked, kind, text
from pymc_gamma.darkmatter.pair_table import PairAnnihilation
from pymc_gamma.darkmatter.spectra import Annihilation
from pymc_gamma.errors import ModelError
from pymc_gamma.model.build import build_intensity, model_components
from pymc_gamma.model.component import Spectrum
from pymc_gamma.model.poisson import PoissonSource
from pymc_gamma.tensors import joined, with_unit
from pymc_gamma.units import numbers

__all__ = ["cross_section", "expected_events"]


@checked(response=kind("Response"), component=text)
def expected_events(
    response: Any, component: str, spectrum: Spectrum, *, shapes: Mapping[str, Any] | None = None
) -> Variable:
    """Events expected of a component of free spectrum, over all observations.

    Parameters
    ----------
    response : Response
        From `fold`.
    component : str
        Name of a component that was folded with ``free_spectrum``.
    spectrum : callable
        Its spectrum, such as :class:`~pymc_gamma.darkmatter.Annihilation`, of numbers or variables.
    shapes : mapping, optional
        Positions and extensions of components of free shape, as for :class:`~pymc_gamma.EventMixture`.

    Returns
    -------
    TensorVariable
        A number; ``.eval()`` it if the spectrum is one of numbers. NaN where variables are outside of a table.

    Raises
    ------
    ModelError
        If the component is unknown, or its spectrum is not free.

    Examples
    --------
    >>> darkmatter.expected_events(response, "dm", darkmatter.Annihilation(1.0, 3e-26, "b", j_factor=j)).eval()
    ... # doctest: +SKIP
    """
    model = pm.Model.get_context(error_if_none=False)
    if not callable(spectrum):
        raise TypeError(f"spectrum must be a function of the energy in TeV, got {type(spectrum).__name__}.")
    components = model_components("expected_events", response, {component: spectrum}, {}, (), shapes, None, model)
    own = [one for one in components if one.name == component]
    source, parameters = build_intensity("expected_events", PoissonSource, own, model, needs_norms=True)
    return source.weighted(parameters).known_counts[0]


@checked(response=kind("Response"), component=text)
def cross_section(
    fraction: Any,
    n_events: Any,
    response: Any,
    component: str,
    spectrum: Annihilation | PairAnnihilation,
    *,
    shapes: Mapping[str, Any] | None = None,
) -> Variable:
    r"""Cross-section that a fraction of the events of a mixture stands for.

    Parameters
    ----------
    fraction : tensor_like
        Fraction of the events that are of dark matter, such as ``fraction[0]`` of a Dirichlet variable.
    n_events : tensor_like
        Number of events of the mixture: how many were observed, or a variable around it.
    response : Response
        From `fold`.
    component : str
        Name of the component.
    spectrum : Annihilation
        The spectrum of the mixture, or what `PairTable.annihilation` returns. Its ``sigmav``, which cancels in a
        mixture, may be any positive number.
    shapes : mapping, optional
        Positions and extensions of components of free shape, as for :class:`~pymc_gamma.EventMixture`.

    Returns
    -------
    TensorVariable
        cm3 s-1, of the shape of the fraction.

    Raises
    ------
    TypeError
        If the spectrum is not one of annihilation.
    ModelError
        If its ``sigmav`` is not positive, a fraction is not within 0 and 1, or a number of events is negative; if
        the component is unknown, or its spectrum is not free.

    See Also
    --------
    expected_events : the way back: divided by the number of events it is the fraction of a cross-section.

    Notes
    -----
    The number of events of a mixture is no datum of its likelihood. Its own uncertainty, a share of
    :math:`1/\sqrt{N}`, is that of all components together, and is left out where ``n_events`` is a number.

    Examples
    --------
    >>> with model:  # doctest: +SKIP
    ...     pm.Deterministic("sigmav", darkmatter.cross_section(fraction[0], 4500, response, "dm", spectrum))
    """
    if not isinstance(spectrum, Annihilation | PairAnnihilation):
        raise TypeError(f"spectrum must be an Annihilation, or that of a PairTable, got {type(spectrum).__name__}.")
    reference = spectrum.sigmav
    if not isinstance(reference, Variable) and not reference > 0:
        raise ModelError("the sigmav of the spectrum must be positive, so that events are expected of it.")
    share, n = _checked(fraction, "fraction", 1.0), _checked(n_events, "n_events", np.inf)
    counts = expected_events(response, component, spectrum, shapes=shapes)
    return with_unit(share * n * pt.as_tensor_variable(reference) / counts, spectrum.units["sigmav"])


def _checked(value: Any, name: str, highest: float) -> Variable:
    given = joined(value, name)
    if not isinstance(given, Variable):
        given = numbers(given, name)
        if np.any((given < 0) | (given > highest)):
            raise ModelError(f"{name} must be within 0 and {highest:g}, got {given.tolist()}.")
    return pt.as_tensor_variable(given)
