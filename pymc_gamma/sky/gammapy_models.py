r"""From gammapy's spatial and spectral models to sky parts.

A point and a Gaussian keep their analytic shape. A template is taken cell by cell (:mod:`pymc_gamma.sky.maps`): the
interpolation that gammapy would use between the cells does not keep the flux. Every other model is evaluated by
gammapy.

An energy-dependent template :math:`T(E, \Omega)` on energies :math:`E_n` becomes one part per energy,

.. math:: T(E, \Omega) \approx \sum_n h_n(\ln E)\; a(E)\; \frac{T(E_n, \Omega)}{a(E_n)},
          \qquad a(E_n) = \int T(E_n, \Omega)\,d\Omega,

with hat functions :math:`h_n`, and :math:`a` a power law between its values: exact at the template's
energies, the *shape* linear in :math:`\ln E` in between. Like gammapy's, it is zero beyond the outermost
energies.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import PymcGammaWarning, SkyModelError
from pymc_gamma.geometry import FRAMES
from pymc_gamma.sky.component import SkyGaussian, SkyPart, SkyPoint, Spectrum, TemplateShape
from pymc_gamma.sky.maps import MapBrightness, MapGeometry
from pymc_gamma.sky.spectra import FLUX_UNIT, GammapySpectrum
from pymc_gamma.sums import weighted_sum

if TYPE_CHECKING:
    from astropy.units import UnitBase

__all__ = ["GammapyBrightness", "HatSpectrum", "convert_model"]

INTENSITY_UNIT = FLUX_UNIT / u.sr

#: A template nearer to its map than this many degrees is not moved.
SHIFT_DEG = 1e-9
#: Angular scale in degrees that resolves a brightness without structure.
SMOOTH_FEATURE_DEG = 1.0


@dataclass(frozen=True)
class GammapyBrightness:
    """Brightness of a gammapy spatial model.

    Parameters
    ----------
    name : str
        Name of the source, for messages.
    model : gammapy.modeling.models.SpatialModel
        The model.
    unit : astropy.units.Unit
        Unit in which its values are returned.
    """

    name: str
    model: Any
    unit: "UnitBase"

    def __call__(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        """Brightness at directions in degrees, in the frame of the model."""
        shape = np.shape(lon)
        # Some models index their values, so hand over arrays of one dimension.
        directions = (np.ravel(lon) * u.deg, np.ravel(lat) * u.deg)
        values = u.Quantity(self.model(*directions)).to_value(self.unit)
        values = np.broadcast_to(values, directions[0].shape).reshape(shape)
        if not np.all(np.isfinite(values) & (values >= 0)):
            k = int(np.argmin(np.isfinite(values) & (values >= 0)))
            raise SkyModelError(
                f"The morphology of {self.name!r} ({type(self.model).__name__}) is {values.ravel()[k]:g} at "
                f"({np.ravel(lon)[k]:g}, {np.ravel(lat)[k]:g}) deg in its own frame; a brightness must be "
                "finite and not negative."
            )
        return values


@dataclass(frozen=True)
class HatSpectrum:
    """Spectrum of one energy of an energy-dependent template.

    Parameters
    ----------
    spectrum : callable
        What multiplies the template.
    log_energy, log_integral : tuple of float
        Logarithms of the template's energies (TeV) and of its integrals over the sphere at them.
    node : int
        Which energy.
    """

    spectrum: Spectrum
    log_energy: tuple[float, ...]
    log_integral: tuple[float, ...]
    node: int

    def __call__(self, energy_true: FloatArray) -> FloatArray:
        """Differential flux in TeV-1 cm-2 s-1 at true energies in TeV."""
        energy = np.asarray(energy_true, dtype=np.float64)
        x = np.log(energy)
        nodes = np.array(self.log_energy)
        # Energies read from a file may be rounded to single precision.
        inside = (x >= nodes[0] - 1e-6) & (x <= nodes[-1] + 1e-6)
        hat = np.interp(x, nodes, np.arange(nodes.size) == self.node)
        result = np.zeros(energy.shape)
        lit = inside & (hat > 0)
        if lit.any():
            integral = np.exp(np.interp(x[lit], nodes, self.log_integral))
            result[lit] = hat[lit] * integral * self.spectrum(energy[lit])
        return result


def convert_model(name: str, spatial: Any, spectral: Any) -> tuple[str, tuple[SkyPart, ...]]:
    """Sky parts of a gammapy spatial and a spectral model.

    Parameters
    ----------
    name : str
        Name of the source.
    spatial : gammapy.modeling.models.SpatialModel
        Morphology.
    spectral : gammapy.modeling.models.SpectralModel
        Spectrum.

    Returns
    -------
    frame : str
        ``"galactic"`` or ``"icrs"``, the frame of the shapes.
    parts : tuple of SkyPart
        One part; for an energy-dependent template one per energy.

    Raises
    ------
    SkyModelError
        If either is not a gammapy model, the frame is another, the model has a dependence that cannot be
        separated, or the product has not the unit of an intensity.
    """
    from gammapy.modeling.models import (
        GaussianSpatialModel,
        PointSpatialModel,
        SpatialModel,
        SpectralModel,
        TemplateSpatialModel,
    )

    for what, model, kind in (("spatial", spatial, SpatialModel), ("spectral", spectral, SpectralModel)):
        if not isinstance(model, kind):
            raise SkyModelError(
                f"The {what} model of {name!r} must be a gammapy {kind.__name__}, got {model!r}. "
                "Instances are needed, not classes."
            )
    frame = str(spatial.frame)
    if frame not in FRAMES:
        raise SkyModelError(f"The spatial model of {name!r} is in the frame {frame!r}; use one of {FRAMES}.")
    if isinstance(spatial, PointSpatialModel):
        shape = SkyPoint(*_position(spatial, frame))
        return frame, (SkyPart(name, shape, GammapySpectrum(name, spectral)),)
    if isinstance(spatial, GaussianSpatialModel):
        sigma, phi = (float(parameter.quantity.to_value("deg")) for parameter in (spatial.sigma, spatial.phi))
        gaussian = SkyGaussian(*_position(spatial, frame), sigma, float(spatial.e.value), phi)
        return frame, (SkyPart(name, gaussian, GammapySpectrum(name, spectral)),)
    if isinstance(spatial, TemplateSpatialModel):
        return frame, _map_parts(name, spatial, spectral)
    if not spatial.is_energy_dependent:
        return frame, (_template_part(name, spatial, spectral, frame),)
    raise SkyModelError(
        f"The spatial model of {name!r} ({type(spatial).__name__}) depends on energy in a way that cannot be "
        "separated; evaluate it into a map with an energy_true axis and use a TemplateSpatialModel."
    )


def _position(spatial: Any, frame: str) -> tuple[float, float]:
    direction = spatial.position.transform_to(frame).spherical
    return float(direction.lon.deg), float(direction.lat.deg)


def _units(name: str, spatial_unit: "UnitBase", spectral: Any) -> tuple["UnitBase", "UnitBase"]:
    """Units of shape and spectrum: sr-1 and a flux if the model allows it, else as near as it does."""
    shape_unit = u.Unit("sr-1") if spatial_unit.is_equivalent("sr-1") else spatial_unit
    spectral_unit = u.Quantity(spectral(np.array([1.0]) * u.TeV)).unit
    if not (shape_unit * spectral_unit).is_equivalent(INTENSITY_UNIT):
        raise SkyModelError(
            f"The spatial model of {name!r} is in '{spatial_unit}' and its spectrum in '{spectral_unit}'; "
            f"their product must be convertible to '{INTENSITY_UNIT}'."
        )
    return shape_unit, INTENSITY_UNIT / shape_unit


def _template_part(name: str, spatial: Any, spectral: Any, frame: str) -> SkyPart:
    value = u.Quantity(spatial(np.array([0.0]) * u.deg, np.array([0.0]) * u.deg))
    shape_unit, flux_unit = _units(name, value.unit, spectral)
    radius = spatial.evaluation_radius
    shape = TemplateShape(
        *((0.0, 0.0) if spatial.position is None else _position(spatial, frame)),
        radius=np.inf if radius is None else _template_radius(radius),
        brightness=GammapyBrightness(name, spatial, shape_unit),
        unit_integral=_has_unit_integral(spatial),
        feature=_feature(spatial),
        model=type(spatial).__name__,
        sizes=_sizes(spatial),
    )
    return SkyPart(name, shape, GammapySpectrum(name, spectral, flux_unit))


def _sizes(spatial: Any) -> tuple[tuple[str, float], ...]:
    """Parameters of a model but the position; angles in degrees."""
    values = {p.name: p.quantity for p in spatial.parameters if p.name not in ("lon_0", "lat_0")}
    return tuple((k, float(q.to_value("deg") if q.unit.is_equivalent("deg") else q.value)) for k, q in values.items())


def _has_unit_integral(spatial: Any) -> bool:
    from gammapy.modeling.models import (
        DiskSpatialModel,
        GaussianSpatialModel,
        GeneralizedGaussianSpatialModel,
        Shell2SpatialModel,
        ShellSpatialModel,
    )

    normalised = (
        DiskSpatialModel,
        GaussianSpatialModel,
        GeneralizedGaussianSpatialModel,
        Shell2SpatialModel,
        ShellSpatialModel,
    )
    return isinstance(spatial, normalised)


def _template_radius(radius: u.Quantity) -> float:
    reach = float(radius.to_value("deg"))
    return np.inf if reach >= 180 else reach


def _feature(spatial: Any) -> float:
    smallest = spatial.evaluation_bin_size_min
    return SMOOTH_FEATURE_DEG if smallest is None else float(smallest.to_value("deg"))


def _map_parts(name: str, spatial: Any, spectral: Any) -> tuple[SkyPart, ...]:
    """One part for an image, one for each energy of a cube that is not zero there."""
    template, frame = spatial.map, str(spatial.frame)
    names = template.geom.axes.names
    if names not in ([], ["energy_true"]):
        raise SkyModelError(
            f"The template of {name!r} has the axes {names}; expected an image, or a cube with an energy_true axis."
        )
    shape_unit, flux_unit = _units(name, template.unit, spectral)
    spectrum = GammapySpectrum(name, spectral, flux_unit)
    here, centre = spatial.position.transform_to(frame).spherical, template.geom.center_skydir.spherical
    shift = (float((here.lon - centre.lon).wrap_at("180d").deg), float((here.lat - centre.lat).deg))
    geometry = MapGeometry(template.geom.to_image(), shift if max(np.abs(shift)) > SHIFT_DEG else (0.0, 0.0))
    values = _valid_cells(name, template.quantity.to_value(shape_unit), geometry)
    flux = weighted_sum(values, geometry.solid_angle)
    lit = flux > 0
    if not lit.any():
        raise SkyModelError(f"The template of {name!r} is zero everywhere.")
    scale = 1 / np.where(lit, flux, 1.0)
    # one plane and one set of points serve all energies
    total = MapBrightness(geometry, weighted_sum(values.T, scale))
    extent, unresolved = total.extent(), total.unresolved()

    def shape(n: int, factor: float, *, unit_integral: bool) -> TemplateShape:
        brightness = MapBrightness(geometry, values[n], factor)
        return TemplateShape(
            *extent,
            brightness,
            unit_integral=unit_integral,
            feature=geometry.pixel,
            cells=brightness.cells,
            unresolved=unresolved,
        )

    if not names:
        factor = scale[0] if spatial.normalize else 1.0
        return (SkyPart(name, shape(0, float(factor), unit_integral=bool(spatial.normalize)), spectrum),)
    if not lit.all():
        warnings.warn(
            f"The template of {name!r} is zero at {int((~lit).sum())} of {lit.size} energies; it is taken as "
            "zero there.",
            stacklevel=4,
        )
    energy = template.geom.axes["energy_true"].center.to_value("TeV")
    # At a dark energy the hats of the neighbours end in zero; any finite number serves as its integral.
    integral = np.ones(len(flux)) if spatial.normalize else flux
    log_integral = np.interp(np.log(energy), np.log(energy[lit]), np.log(integral[lit]))
    return tuple(
        SkyPart(
            f"{name}@{energy[n]:.4g} TeV",
            shape(int(n), float(scale[n]), unit_integral=True),
            HatSpectrum(spectrum, tuple(np.log(energy)), tuple(log_integral), int(n)),
        )
        for n in np.flatnonzero(lit)
    )


def _valid_cells(name: str, values: Any, geometry: MapGeometry) -> FloatArray:
    """Values (n_energy, n) with cells that are not finite or negative set to zero, and a warning that counts them."""
    cells = np.array(values, dtype=np.float64).reshape(-1, geometry.size)
    # outside the projection there is no sky: what stands there is nobody's business
    seen = np.broadcast_to(geometry.on_the_sky, cells.shape)
    missing, negative = ~np.isfinite(cells), cells < 0
    found = [
        f"{int((bad & seen).sum())} {what}"
        for bad, what in ((missing, "not finite"), (negative, "negative"))
        if (bad & seen).any()
    ]
    cells[missing | negative] = 0.0
    if not cells.any() and missing.any():
        raise SkyModelError(
            f"The template of {name!r} has no cell with a finite value that is not zero. With normalize=True gammapy "
            "divides by the sum of all cells, so one NaN spoils them all: fill those before the model is made."
        )
    if found:
        warnings.warn(
            f"The template of {name!r}: of {int(seen.sum())} cells {' and '.join(found)}; they are taken as zero.",
            PymcGammaWarning,
            stacklevel=5,
        )
    return cells
