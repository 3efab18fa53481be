"""`FluxPointsData`: published fluxes as observations of a model, where events and counts are not at hand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import spectrum_values
from pymc_gamma.keywords import check_keywords
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.flux_points.measured import MeasuredFluxes, energies, measured_fluxes
from pymc_gamma.model.flux_points.statistics import STATISTICS
from pymc_gamma.model.poisson import checked_norm
from pymc_gamma.model.spectra import FLUX, conditions_of
from pymc_gamma.model.spectral import check_conditions, value_at_start
from pymc_gamma.model.systematics import Systematic
from pymc_gamma.model.systematics.base import prefixed, with_systematics
from pymc_gamma.tensors import with_unit

__all__ = ["FluxPointsData"]

IRFS = frozenset({"aeff", "edisp"})
"""What was taken out of fluxes, with uncertainties that remain."""


class FluxPointsData:
    r"""Flux points as data: measured fluxes at energies, compared with a spectrum there.

    Call it in a model. Fluxes :math:`x_i` at :math:`E_i` are compared with those of the spectrum,
    :math:`\mu_i = \phi(E_i)`, by one of gammapy's statistics,

    .. math::

        \text{chi2} \quad & x_i \sim \mathcal N(\mu_i, \sigma_i) \\
        \text{distrib} \quad & p(x_i | \mu_i) = \sqrt{\tfrac 2 \pi}\, \frac{1}{\sigma^-_i + \sigma^+_i}\,
            \exp\Big[-\frac{(x_i - \mu_i)^2}{2 \sigma_i^2}\Big], \quad
            \sigma_i = \begin{cases} \sigma^+_i & \mu_i \ge x_i \\ \sigma^-_i & \mu_i < x_i \end{cases} \\
        \text{profile} \quad & \log L = -\tfrac 12 \sum_i \Delta S_i(\mu_i / \phi^0_i),

    with one standard deviation :math:`\sigma`, downwards and upwards :math:`\sigma^\mp`, and a scan of the statistic
    :math:`\Delta S` over factors on the reference flux :math:`\phi^0`. Of an upper limit :math:`U` without a flux it is
    known that what was measured lies below,

    .. math:: P(x_i < U_i | \mu_i) = \Phi\big((U_i - \mu_i) / \sigma_i\big), \qquad \sigma_i = U_i / z,

    where :math:`z` are the standard deviations of the limit, 2 for 95 %.

    Parameters
    ----------
    name : str
        Name of the variable of the fluxes, and beginning of the names of all others.
    points : FluxPoints, gammapy FluxPoints or FluxPointsDataset, astropy Table or path
        The points, or their ECSV or FITS file. Of a data set or its file the points in ``mask_safe`` and ``mask_fit``.
    spectrum : callable
        From true energies in TeV to a PyTensor vector in TeV-1 cm-2 s-1, such as `PowerLaw`; or a model of gammapy.
        Pass the same one to other distributions of the model.
    norm : tensor_like, optional
        Factor on the flux.
    systematics : sequence of Systematic, optional
        Uncertainties of the instrument that the points have in common, such as `EnergyScale` and `EffectiveAreaNorm`;
        their variables are called ``"<name>_energy_scale"``.
    statistic : {"chi2", "distrib", "profile"}, optional
        ``"chi2"``: normal, with symmetric errors; upper limits are left out. ``"distrib"``: asymmetric errors, and
        limits. ``"profile"``: scans of the likelihood. By default that of a `FluxPointsDataset`; of other points the
        profile if they have scans, else ``"distrib"``.
    mask : array_like of bool, optional
        Points to use, shape (n,), besides their masks.
    expected_flux : bool
        Whether to add the fluxes of the model at the energies of all points, ``"<name>_flux"``, as a deterministic.

    Returns
    -------
    TensorVariable
        The fluxes, in TeV-1 cm-2 s-1; without any, the limits.

    Raises
    ------
    TypeError
        If the points are of another class.
    DataFileError
        If a file cannot be read.
    EventError
        If the points have other axes than the energy, or a mask has another shape.
    ModelError
        If no point is left, an error or limit is not positive, a scan is missing or ends too early; if a name is taken
        in the model; if the spectrum is no function of the energy, negative or not finite at the initial point of the
        model, or a systematic has no effect.

    Warns
    -----
    PymcGammaWarning
        If points are left out that the masks have not.

    Notes
    -----
    gammapy's statistic of a limit is :math:`2 \log [\mathrm{erfc}(1 - \mu / U) / \mathrm{erfc}(1)]`, which stays below
    5.1 however far above the limit a model is, and is no probability. With ``"distrib"``, points with a flux and its
    errors are compared by these, though they may be quoted as limits too: they say more.

    A spectrum is taken at the energy of the point: that which a table or file of differential fluxes says, ``e_ref``,
    else the geometric middle of the band. gammapy always takes the middle where it knows the band.
    The variables are ordinary ones of PyMC: `pymc.sample_posterior_predictive` draws them (not those of profiles), and
    `pymc.compute_log_likelihood` gives a value for each point. Limits are a variable of their own, ``"<name>_limits"``.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import pymc as pm
    >>> import pymc_gamma as pmg
    >>> from astropy.table import Table
    >>> flux = [3e-11, 5e-12, 8e-13] * u.Unit("TeV-1 cm-2 s-1")
    >>> points = Table({"e_ref": [1, 2, 4] * u.TeV, "dnde": flux, "dnde_err": 0.1 * flux}, meta={"SED_TYPE": "dnde"})
    >>> with pm.Model() as model:
    ...     spectrum = pmg.PowerLaw(index=pm.Normal("index", 2.5, 0.5), amplitude=3e-11)
    ...     fluxes = pmg.FluxPointsData("published", points, spectrum=spectrum)
    >>> [one.name for one in model.observed_RVs]
    ['published']
    """

    def __new__(
        cls,
        name: str,
        points: Any,
        *,
        spectrum: Any,
        norm: Any = None,
        systematics: Sequence[Systematic] = (),
        statistic: str | None = None,
        mask: ArrayLike | None = None,
        expected_flux: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Add the fluxes to the model on the context stack."""
        known = ("name", "points", "spectrum", "norm", "systematics", "statistic", "mask", "expected_flux")
        check_keywords(cls.__name__, kwargs, known)
        name = text(name, "name")
        model = pm.modelcontext(None)
        if statistic is not None:
            text(statistic, "statistic", tuple(STATISTICS))
        _check_name(name, model)
        label = f"{name}: points"
        measured = _masked(name, measured_fluxes(label, points, statistic), mask)
        compared = STATISTICS[measured.statistic]
        used = compared.usable(label, measured)
        if not used.any():
            raise ModelError(
                f"{label}: none of {len(measured.energy)} can be used, at {energies(measured.energy, measured.mask)} "
                "after masks; they need dnde and its errors, a limit (statistic='distrib') or a scan ('profile')."
                if measured.mask.any()
                else f"{label}: none of {len(measured.energy)} can be used: all are masked."
            )
        component = ModelComponent(name, _Unfolded(name, measured.energy[used]), IRFS, free=True, separate=True)
        if not callable(spectrum):
            raise ModelError(
                f"{name}: the spectrum must be a function of the energy such as pmg.PowerLaw(...), got "
                f"{type(spectrum).__name__}."
            )
        component = component.with_spectrum(spectrum)
        if norm is not None:
            component = component.times(checked_norm(name, name, norm, [name]))
        given = prefixed(name, systematics)
        [seen] = with_systematics(name, given, [component], [name], component.energy_range, model)
        check_conditions(name, component, model)
        flux = _flux(seen, measured.energy)
        _check_flux(name, measured.energy, flux, used, model)
        flux = _impossible_where_unknown(flux, seen)
        if expected_flux:
            dims = f"{name}_flux_energy"
            model.add_coord(dims, measured.energy)
            flux = pm.Deterministic(f"{name}_flux", with_unit(flux, FLUX), dims=dims)
        return compared.observe(name, measured, used, flux)


class _Unfolded:
    """What systematics ask of a response, for fluxes: one that sees all energies alike."""

    def __init__(self, name: str, energy: FloatArray) -> None:
        self.coords = {"observation": [name]}
        self.energy_true = np.array([energy.min(), max(energy.max(), energy.min() * 1.001)])

    def mean_exposure(self, component: str, energy: FloatArray) -> FloatArray:
        """Ones, shape (1, n)."""
        return np.ones((1, len(energy)))


def _flux(component: ModelComponent, energy: FloatArray) -> Variable:
    """Fluxes of a component at energies in TeV, shape (n,)."""
    name = component.name
    flux = pt.as_tensor_variable(spectrum_values(component.spectrum, energy, FLUX, name)).astype("float64")
    for factor in component.factors:
        flux = flux * factor(energy)
    shape = flux.type.shape
    rows = shape[:-1]
    if len(rows) > 1 or any(n not in (None, 1) for n in rows) or (shape and shape[-1] not in (None, 1, len(energy))):
        raise ModelError(
            f"{name}: the spectrum must have one value for each energy it is called with, shape ({len(energy)},), got "
            f"{flux.type}."
        )
    flux = (flux[0] if rows else flux) * pt.ones(len(energy))
    if component.norm is not None:
        flux = flux * component.norm
    return flux


def _impossible_where_unknown(flux: Variable, component: ModelComponent) -> Variable:
    """Infinite fluxes, which no data fit, where a spectrum is not known."""
    known = pt.all([pt.all(~pt.isnan(flux)), *(fulfilled for fulfilled, _ in conditions_of(component.spectrum))])
    return pt.switch(known, flux, np.inf)


def _masked(name: str, points: MeasuredFluxes, mask: ArrayLike | None) -> MeasuredFluxes:
    if mask is None:
        return points
    given = np.asarray(mask)
    if given.dtype != bool or given.shape != points.mask.shape:
        raise ModelError(f"{name}: mask must be {len(points.mask)} times True or False, one for each point.")
    return replace(points, mask=points.mask & given)


def _check_name(name: str, model: pm.Model) -> None:
    if "/" in name:
        raise ModelError(f"{name!r} cannot be the name of a variable: names in PyMC hold no '/'.")
    if model.name_for(name) in model.named_vars or model.name_for(f"{name}_limits") in model.named_vars:
        raise ModelError(
            f"{name}: two variables of the model would be called {name!r}. Give each data set a name of its own."
        )


def _check_flux(name: str, energy: FloatArray, flux: Variable, used: Any, model: pm.Model) -> None:
    """Raise a ModelError unless fluxes are finite and not negative where sampling starts."""
    values = value_at_start(flux, model)
    bad = used & ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        i = int(bad.argmax())
        raise ModelError(
            f"{name}: the spectrum is {values[i]:g} {FLUX} at {energy[i]:.4g} TeV (and at {int(bad.sum())} of "
            f"{int(used.sum())} energies) for the initial values of the parameters; it must be finite and not "
            "negative. Check its parameters and their priors."
        )
