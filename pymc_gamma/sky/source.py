"""A source with any gammapy spatial and spectral model."""

from collections.abc import Iterable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pymc_gamma.datasets.citation import Citation
from pymc_gamma.errors import SkyModelError
from pymc_gamma.sky.component import SkyComponent, SkyPart
from pymc_gamma.sky.frames import parts_near
from pymc_gamma.sky.gammapy_models import convert_model

if TYPE_CHECKING:
    from pymc_gamma.geometry import RegionOfInterest

__all__ = ["SkySource"]


class SkySource(SkyComponent):
    """A source given by gammapy models.

    The models are copied: later changes to their parameters do not reach the source.

    Parameters
    ----------
    name : str
        Name of the component.
    spatial : gammapy.modeling.models.SpatialModel
        Morphology. A point and a Gaussian, round or elongated, are folded analytically; a template map by the flux
        of its cells, whatever its ``interp_kwargs`` say; everything else by its brightness.
        An energy-dependent template becomes one part per energy, with shapes linear in the logarithm of
        energy between them.
    spectral : gammapy.modeling.models.SpectralModel
        Spectrum; times the morphology it is in units of TeV-1 cm-2 s-1 sr-1.
    citations : iterable of Citation, optional
        What to cite.

    Raises
    ------
    SkyModelError
        If the models cannot be used; the message says which and why. A spectrum that is negative or not
        finite raises when it is evaluated.

    Examples
    --------
    >>> from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel
    >>> position = PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", frame="icrs")
    >>> SkySource("crab", position, PowerLawSpectralModel())
    SkySource(name='crab')
    """

    def __init__(self, name: str, spatial: Any, spectral: Any, citations: Iterable[Citation] = ()) -> None:
        super().__init__(name, citations)
        self._frame, self._parts = convert_model(name, _copy(spatial), _copy(spectral))

    @classmethod
    def from_gammapy(cls, model: Any, name: str | None = None) -> "SkySource":
        """Make a source from a gammapy ``SkyModel``.

        Parameters
        ----------
        model : gammapy.modeling.models.SkyModel
            Model with a spatial and a spectral part.
        name : str, optional
            Name of the component; by default that of the model.

        Returns
        -------
        SkySource
            The source.

        Raises
        ------
        SkyModelError
            If it is not a ``SkyModel``, has no spatial part, or varies in time.

        Examples
        --------
        >>> from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
        >>> SkySource.from_gammapy(SkyModel(PowerLawSpectralModel(), PointSpatialModel(), name="vela"))
        SkySource(name='vela')
        """
        from gammapy.modeling.models import SkyModel

        if not isinstance(model, SkyModel):
            raise SkyModelError(
                f"SkySource.from_gammapy needs a gammapy SkyModel, got {type(model).__name__}; a background "
                "model is not a sky source."
            )
        name = model.name if name is None else name
        if model.spatial_model is None:
            raise SkyModelError(f"The model {name!r} has no spatial model; give it one, a point for example.")
        if model.temporal_model is not None:
            raise SkyModelError(
                f"The model {name!r} varies in time; observations are folded without their dates, so set "
                "`temporal_model=None`."
            )
        return cls(name, model.spatial_model, model.spectral_model)

    def parts(self, roi: "RegionOfInterest", margin_deg: float = 0.8) -> tuple[SkyPart, ...]:
        """Parts of the source, if it reaches into a region of interest; see `SkyComponent.parts`."""
        return parts_near(self._parts, self._frame, roi, margin_deg)

    def _default_roi(self) -> "RegionOfInterest":
        import astropy.units as u
        import numpy as np
        from astropy.coordinates import SkyCoord

        from pymc_gamma.geometry import RegionOfInterest
        from pymc_gamma.sky.frames import extent_deg

        shape = self._parts[0].shape
        extent = extent_deg(shape)
        width = 6.4 if np.isinf(extent) else float(np.clip(1.6 * extent, 1.0, 60.0))
        center = SkyCoord(shape.lon, shape.lat, unit="deg", frame=self._frame)
        return RegionOfInterest(center=center, width=width * u.deg, energy=(0.1, 100) * u.TeV)


def _copy(model: Any) -> Any:
    """Deep copy, except for a template's map, which may be large and is not changed."""
    # Not model.copy(): that of a normalised template divides by the solid angle of its pixels once more.
    sky_map = getattr(model, "map", None)
    return deepcopy(model, {} if sky_map is None else {id(sky_map): sky_map})
