"""Folding a sky model: the function that makes a response."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pymc_gamma.arguments import checked, is_several, kind, texts
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import IRFError, RegionError, SkyModelError
from pymc_gamma.folding.compile import Field, compile_component
from pymc_gamma.folding.live_shapes import LiveShape
from pymc_gamma.folding.raster import spill_margin
from pymc_gamma.folding.reach import true_energy_range
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.response.checks import check_labels, check_true_energies
from pymc_gamma.response.folds import PIXEL, Fold
from pymc_gamma.response.live import check_position
from pymc_gamma.response.response import Response
from pymc_gamma.response.scan_nodes import compile_nodes
from pymc_gamma.sky import Scanned, SkyComponent, check_unique_names
from pymc_gamma.units import scalar_value, to_value

__all__ = ["fold"]

TRUE_ENERGY_BINS = 150
TRUE_ENERGY_REACH = 2.0
"""By default there are so many bins of true energy in the reconstructed range, extended by this factor at both ends;
and as many more as the tails of the dispersion need (:mod:`pymc_gamma.folding.reach`)."""

LEAST_WEIGHT = 0.01
"""Gaussians of the PSF of smaller weight do not say how far photons spill."""


@checked(free_spectrum=texts, free_shape=texts, progressbar=kind("bool"))
def fold(
    components: SkyComponent | Scanned | Sequence[SkyComponent | Scanned],
    observation: Observation | Sequence[Observation],
    roi: RegionOfInterest,
    *,
    energy_true: Any = None,
    pixel: Any = None,
    free_spectrum: str | Iterable[str] = (),
    free_shape: str | Iterable[str] = (),
    path: str | Path | None = None,
    progressbar: bool = True,
) -> Response:
    """Fold sky components through the instrument response.

    Parameters
    ----------
    components : SkyComponent, Scanned or sequence of these
        What shines, one column each. A :class:`pymc_gamma.Scanned` is folded at all of its nodes, for a parameter of
        the model: ``EventMixture(..., scan={"radius": radius})``.
    observation : Observation or sequence of Observation
        Pointing(s); events carry the index of theirs.
    roi : RegionOfInterest
        Region and energy range of the events.
    energy_true : int or `~astropy.units.Quantity`
        Number of true-energy bins, or their edges. By default the bins reach at least twice beyond the reconstructed
        range at both ends, and as far as events of a steep spectrum are reconstructed in it: for H.E.S.S. a factor of
        up to 5 below the threshold. There are 150 of them in the range extended by 2, and as many more as it takes.
        Spectra are tabulated between them, at energies at most 0.7 % apart (:attr:`Response.energy_true`); bins in
        which a spectrum is narrow are split.
    pixel : `~astropy.units.Quantity`, optional
        Largest pixel of templates, default 0.05 deg.
    free_spectrum : str or iterable of str
        Names of components whose spectrum is left to the model: ``EventMixture(..., spectra={name: ...})``. The
        spectrum then takes the place of the sum of the spectra of the component's parts, which keep their shares of it.
    free_shape : str or iterable of str, optional
        Names of components whose position and extension are left to the model: ``EventMixture(..., shapes={name:
        pymc_gamma.GaussianShape(...)})``. Each must be one source whose spatial model is a point, a Gaussian, a round
        disc or a shell of gammapy. What it is folded with is the point around which the model works: positions within
        0.3 deg, extensions up to about twice those.
    path : str or pathlib.Path, optional
        Zarr store that keeps the response: written when it does not exist; when it does, checked to hold the
        response of the same inputs.
    progressbar : bool
        Show how many nodes of a scan are done, those that were kept by an earlier run included.

    Returns
    -------
    Response

    Raises
    ------
    SkyModelError
        If there is no component, names repeat, a component cannot be folded, or one of free shape is outside the
        region; names the component.
    ModelError
        If two observations have one name; names both.
    RegionError
        If an observation sees nothing of the region, or the energy range is larger than that of the IRFs.
    IRFError
        If a residual background is asked of IRFs that have none; names the observations.
    ResponseMismatchError
        If the response at ``path``, or a node in the folder of a scan, was made from other inputs; names them.
    FolderInUseError
        If another run makes nodes of a scan in its folder.

    Warns
    -----
    PymcGammaWarning
        If a spectrum has features narrower than the energies at which it is tabulated, or a part of the region is seen
        by no observation.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> import pymc_gamma as pmg
    >>> centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    >>> observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=50 * u.h)
    >>> roi = pmg.RegionOfInterest(center=centre, width=2 * u.deg, energy=(0.5, 50) * u.TeV)
    >>> response = pmg.fold([pmg.HGPSCatalog(), pmg.CosmicRayBackground()], observation, roi)
    >>> response.component_names
    ('hgps', 'ccr')
    """
    several: list[Any] = (
        [components] if isinstance(components, SkyComponent | Scanned) else _sequence(components, "components")
    )
    sky = check_unique_names(several, (SkyComponent, Scanned))
    scanned = {one.name: one for one in sky if isinstance(one, Scanned)}
    observations = [observation] if isinstance(observation, Observation) else _sequence(observation, "observation")
    _check(observations, roi)
    free = (free_spectrum,) if isinstance(free_spectrum, str) else tuple(free_spectrum)
    _check_free(sky, free, "free_spectrum")
    live = (free_shape,) if isinstance(free_shape, str) else tuple(free_shape)
    _check_free(sky, live, "free_shape")
    both = [name for name in live if name in scanned]
    if both:
        raise SkyModelError(f"{both} are scans and cannot have a free shape too; leave them out of free_shape.")
    _check_background(sky, observations)
    edges = _energy_edges(energy_true, observations, roi)
    size = PIXEL if pixel is None else scalar_value(pixel, "deg", "pixel")
    if not 0 < size <= 1:
        raise ValueError(f"pixel must be between 0 and 1 deg, got {size} deg.")
    margin = spill_margin(max(_widest(one.irfs, edges[0]) for one in observations))
    sharpest = min(_sharpest(one.irfs, roi) for one in observations)
    field = Field(roi, edges, size, margin, sharpest)
    scans = [compile_nodes(one, field, progressbar=progressbar) for one in scanned.values()]
    nodes = {one.name: one for one in scans}
    compiled = [nodes[one.name].nominal if isinstance(one, Scanned) else compile_component(one, field) for one in sky]
    compiled = [component.freed() if component.name in live else component for component in compiled]
    sources: list[Any] = [*(one.irfs for one in observations), *(nodes.get(one.name, one) for one in sky)]
    citations = dict.fromkeys(citation for source in sources for citation in source.citations)
    made = Fold.make(compiled, observations, roi, edges, scans)
    for component in made.components:
        if component.is_free and component.shape is not None:
            _check_position(component.name, component.shape, made)
    response = Response(made, tuple(citations), free)
    if path is not None:
        response.keep(path)
    return response


def _widest(irfs: IRFs, energy_min: float) -> float:
    """Largest width in deg of a Gaussian of the PSF that matters, above a true energy in TeV."""
    psf = irfs.point_spread
    matters = (psf.weight > LEAST_WEIGHT) & (psf.energy >= min(energy_min, psf.energy[-1]))[:, None]
    return float(psf.sigma[matters].max())


def _sharpest(irfs: IRFs, roi: RegionOfInterest) -> float:
    """Width in degrees of the narrowest PSF: the smallest radius that holds as much as a Gaussian within its width."""
    psf = irfs.point_spread
    used = (psf.energy >= roi.energy_min) & (psf.energy <= roi.energy_max)
    if not used.any():
        used[:] = True
    sigma, weight = psf.sigma[:, used, :, None], psf.weight[:, used, :, None]
    radius = np.geomspace(0.5 * sigma.min(), 3 * sigma.max(), 100)
    inside = (weight * -np.expm1(-0.5 * (radius / sigma) ** 2)).sum(axis=0)
    return float(radius[(inside >= 1 - math.exp(-0.5)).argmax(axis=-1)].min())


def _sequence(value: Any, name: str) -> list[Any]:
    if not is_several(value):
        raise TypeError(f"{name} must be one or several, in a list; got {type(value).__name__}.")
    return list(value)


def _check(observations: Sequence[Any], roi: Any) -> None:
    if not observations:
        raise RegionError("no observation to fold with; give at least one Observation.")
    for observation in observations:
        if not isinstance(observation, Observation):
            raise TypeError(f"observations must be Observation objects, got {type(observation).__name__}.")
        _ = observation.irfs.point_spread  # an error that says what to do where there is none
    check_labels(observations)
    if not isinstance(roi, RegionOfInterest):
        raise TypeError(f"roi must be a RegionOfInterest, got {type(roi).__name__}.")


def _check_free(sky: Sequence[SkyComponent | Scanned], free: Sequence[Any], argument: str) -> None:
    names = [component.name for component in sky]
    unknown = [name for name in free if name not in names]
    if unknown:
        raise SkyModelError(f"{argument} names {unknown}, but the components are {names}.")


def _check_position(name: str, shape: LiveShape, fold: Fold) -> None:
    try:
        check_position(name, shape, fold)
    except SkyModelError as error:
        raise SkyModelError(f"{error} Leave it out of free_shape, or fold a region that holds it.") from None


def _check_background(sky: Sequence[SkyComponent | Scanned], observations: Sequence[Observation]) -> None:
    asking = [one.name for one in sky if isinstance(one, SkyComponent) and one.instrumental and one.bkg is None]
    without = [
        one.name or f"number {k} ({one.irfs.name})" for k, one in enumerate(observations) if one.irfs.bkg is None
    ]
    if asking and without:
        raise IRFError(
            f"the component {asking[0]!r} is the residual background, and {len(without)} of {len(observations)} "
            f"observations have IRFs without a background table (bkg): {without}. Leave these observations out, give "
            "them IRFs with a background (`observation.with_irfs(...)`), or leave the component out."
        )


def _reach(observations: Sequence[Observation], roi: RegionOfInterest) -> tuple[float, float]:
    """Range of true energies in TeV that is reconstructed in the region, at least a factor of 2 beyond its energies."""
    first, last = roi.energy_min / TRUE_ENERGY_REACH, roi.energy_max * TRUE_ENERGY_REACH
    furthest: dict[IRFs, float] = {}
    for one in observations:
        offset = min(float(one.offset(roi.lon, roi.lat, roi.frame)) + roi.radius, one.offset_max)
        furthest[one.irfs] = max(furthest.get(one.irfs, 0.0), offset)
    for irfs, offset in furthest.items():
        low, high = true_energy_range(irfs, (roi.energy_min, roi.energy_max), offset)
        first, last = min(first, low), max(last, high)
    return first, last


def _energy_edges(energy_true: Any, observations: Sequence[Observation], roi: RegionOfInterest) -> FloatArray:
    if energy_true is None or isinstance(energy_true, int | np.integer):
        low = max(obs.irfs.energy_true_range[0] for obs in observations)
        high = min(obs.irfs.energy_true_range[1] for obs in observations)
        first, last = _reach(observations, roi)
        first, last = max(first, low), min(last, high)
    if energy_true is None:
        step = math.log(TRUE_ENERGY_REACH**2 * roi.energy_max / roi.energy_min) / TRUE_ENERGY_BINS
        return np.geomspace(first, last, max(math.ceil(math.log(last / first) / step - 1e-9), 10) + 1)
    if isinstance(energy_true, int | np.integer):
        if energy_true < 10:
            raise ValueError(f"energy_true must be at least 10 bins, got {energy_true}.")
        return np.geomspace(first, last, int(energy_true) + 1)
    edges = np.atleast_1d(to_value(energy_true, "TeV", "energy_true"))
    ascending = edges.ndim == 1 and len(edges) > 2 and np.all(np.diff(edges) > 0) and edges[0] > 0
    if not ascending:
        raise ValueError(f"energy_true must be at least 3 ascending positive bin edges, got {edges} TeV.")
    check_true_energies(edges, observations)
    if edges[0] > roi.energy_min or edges[-1] < roi.energy_max:
        raise RegionError(
            f"energy_true {edges[0]:g}-{edges[-1]:g} TeV must hold the range of reconstructed energy, "
            f"{roi.energy_min:g}-{roi.energy_max:g} TeV, and should exceed it on both sides."
        )
    steps = np.diff(np.log(edges))
    if not math.isclose(steps.min(), steps.max(), rel_tol=1e-3):
        raise ValueError("energy_true must be equidistant in log energy (use numpy.geomspace).")
    return np.geomspace(edges[0], edges[-1], len(edges))
