"""Positions and extensions in analysis files: a spatial model of gammapy by its name, and its parameters by theirs.

::

    spatial: {type: GaussianSpatialModel, lon_0: 83.63 deg, lat_0: 22.01 deg, sigma: {prior: Uniform, lower: 0.05 deg,
      upper: 0.2 deg}, frame: icrs}

With a prior the position or the extension is left to the model; the source is folded where the prior is centred.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pymc_gamma.analysis.document import nearest
from pymc_gamma.analysis.parameters import Scope
from pymc_gamma.analysis.section import Told, checked_by, refuse
from pymc_gamma.analysis.spectra import read_parameters

__all__ = ["Spatial", "SpatialField"]


@dataclass(frozen=True)
class Spatial:
    """A spatial model.

    Parameters
    ----------
    kind : str
        Class of gammapy.
    parameters : dict
        By name.
    options : dict
        Other keys: ``frame``, and ``filename`` and ``normalize`` of a template.
    """

    kind: str
    parameters: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_free(self) -> bool:
        """Whether a parameter is a variable."""
        return any(one.is_free for one in self.parameters.values())

    def model(self, scope: Scope, folder: Path) -> Any:
        """As a model of gammapy, where its priors are centred."""
        cls = _spatial_class(self.kind)
        values = {}
        for key, one in self.parameters.items():
            unit = str(cls.default_parameters[key].unit)
            values[key] = one.reference(scope, unit) * cls.default_parameters[key].unit
        options = dict(self.options)
        if "filename" in options:
            path = folder / options.pop("filename")
            if not path.is_file():
                raise ValueError(f"there is no map {str(path)!r}")
            return cls.read(str(path), normalize=bool(options.get("normalize", True)))
        return cls(**values, **options)

    def check_frame(self, name: str, frame: str) -> None:
        """Raise a ValueError if directions are free in another frame than that of the region."""
        turned = [key for key in ("lon_0", "lat_0", "phi") if key in self.parameters and self.parameters[key].is_free]
        own = str(self.options.get("frame", "icrs"))
        if turned and own != frame:
            raise ValueError(
                f"{', '.join(turned)} of {name!r} are free in the frame {own}, and the region is in {frame}; give both "
                "in one frame"
            )

    def variables(self, scope: Scope, name: str) -> dict[str, Any]:
        """Free parameters as variables of the PyMC model of the context, named ``<name>.spatial.<parameter>``."""
        cls = _spatial_class(self.kind)
        values = {}
        for key, one in self.parameters.items():
            if one.is_free:
                unit = "deg" if str(cls.default_parameters[key].unit) else ""
                values[key] = one.tensor(scope, f"{name}.spatial.{key}", unit)
        return values

    def files(self, folder: Path) -> Iterator[Path]:
        """Its map."""
        if "filename" in self.options:
            yield folder / self.options["filename"]


def _spatial_class(kind: Any) -> Any:
    from gammapy.modeling.models import SPATIAL_MODEL_REGISTRY

    try:
        return SPATIAL_MODEL_REGISTRY.get_cls(kind)
    except KeyError:
        names = [cls.__name__ for cls in SPATIAL_MODEL_REGISTRY]
        raise refuse(f"gammapy has no spatial model {kind!r}; {nearest(kind, names)}", ("type",)) from None


def _read(value: Any) -> Spatial:
    if isinstance(value, Spatial):
        return value
    if not isinstance(value, dict) or "type" not in value:
        raise refuse(
            f"has a type and parameters, such as {{type: PointSpatialModel, lon_0: 1 deg, ...}}; got {value!r}"
        )
    cls = _spatial_class(value["type"])
    template = cls.__name__ == "TemplateSpatialModel"
    allowed = ("filename", "normalize") if template else ("frame",)
    options = {key: value[key] for key in allowed if key in value}
    if options.get("frame", "icrs") not in ("icrs", "galactic"):
        raise refuse(f"there is no frame {options['frame']!r}; expected icrs or galactic", ("frame",))
    if template and not isinstance(options.get("filename"), str):
        raise refuse("a template has a filename")
    names = {one.name: one.unit for one in cls.default_parameters}
    rest = {key: one for key, one in value.items() if key not in ("type", *allowed)}
    units = {**names, **dict.fromkeys(allowed, "")}
    return Spatial(cls.__name__, read_parameters(rest, units, cls.__name__), options)


SpatialField = Annotated[Any, checked_by(_read), Told("spatial model")]
"""A spatial model of gammapy."""
