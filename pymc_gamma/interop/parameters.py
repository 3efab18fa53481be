"""Names of gammapy parameters, the same for variables of a model and for the way back.

A parameter has gammapy's unique name: model, kind and parameter, such as ``crab.spectral.index``. A parameter shared by
several models is one variable, with the first of its names.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

from pymc_gamma.errors import ModelError
from pymc_gamma.interop.model_file import read_model_file

__all__ = ["copy_models", "free_names", "read_models"]


def read_models(models: Any) -> Any:
    """Models of a container, one model, a list of models or a YAML file.

    Raises
    ------
    TypeError
        If it is none of these.
    ModelError
        If there is no model in it.
    DataFileError, ModelError
        If a file of models cannot be read, see :mod:`pymc_gamma.interop.model_file`.
    """
    from gammapy.modeling.models import Models
    from gammapy.modeling.models.core import DatasetModels, ModelBase

    if isinstance(models, str | Path):
        models = read_model_file(models)
    if isinstance(models, ModelBase):
        models = [models]
    if not isinstance(models, DatasetModels | list | tuple) or not all(isinstance(one, ModelBase) for one in models):
        raise TypeError(
            "models must be gammapy Models, a list of gammapy models or the path of their YAML file, got "
            f"{type(models).__name__}."
        )
    if len(models) == 0:
        raise ModelError("models is empty; give at least one gammapy SkyModel.")
    return models if isinstance(models, DatasetModels) else Models(list(models))


def free_names(models: Any) -> dict[Any, str]:
    """Free parameters of gammapy ``Models`` and their names, each parameter once.

    Raises
    ------
    ModelError
        If a name cannot be that of a variable.

    Examples
    --------
    >>> from gammapy.modeling.models import Models, PowerLawSpectralModel, SkyModel
    >>> models = Models([SkyModel(PowerLawSpectralModel(), name="crab")])
    >>> list(free_names(models).values())
    ['crab.spectral.index', 'crab.spectral.amplitude']
    """
    names: dict[Any, str] = {}
    for parameter, name in zip(models.parameters, models.parameters_unique_names, strict=True):
        if not parameter.frozen:
            names.setdefault(parameter, name)
    for name in names.values():
        if "/" in name or "::" in name:
            raise ModelError(f"{name!r} cannot be the name of a variable: rename the model, without '/' and '::'.")
    return names


def copy_models(models: Any) -> Any:
    """Deep copy of gammapy ``Models`` that keeps links, and shares the maps of templates, which may be large."""
    # Not models.copy(): it divides a normalised template by the solid angle of its pixels once more.
    memo: dict[int, Any] = {}
    for model in models:
        sky_map = getattr(getattr(model, "spatial_model", None), "map", None)
        if sky_map is not None:
            memo[id(sky_map)] = sky_map
    return deepcopy(models, memo)
