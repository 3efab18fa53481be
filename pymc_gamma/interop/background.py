r"""Background models of gammapy, one per dataset, as one residual background with a norm and a tilt per observation.

``FoVBackgroundModel`` scales the background of one dataset by :math:`n_o\,(E/E_0)^{-t_o}` in reconstructed energy. Here
the background is one component whose norm and tilt are vectors over the observations :math:`o`. With one reference
energy for all, :math:`n_o (E/E_o)^{-t_o} = n_o (E_o/E_0)^{t_o} (E/E_0)^{-t_o}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.errors import SkyModelError
from pymc_gamma.interop.priors import Role

__all__ = ["BACKGROUND", "BackgroundModels", "datasets_of"]

BACKGROUND = "ccr"
"""Name of the residual background among the components."""


def datasets_of(model: Any, wanted: Sequence[str] | None, datasets: Sequence[str]) -> tuple[int, ...]:
    """Indices of the observations that a gammapy model is assigned to.

    A dataset name may be that of an observation, or ``obs-`` followed by it. Where there is one dataset name and one
    observation, or names of none of the observations appear (a stacked dataset), the model is for all of them.

    Raises
    ------
    SkyModelError
        If only some of the names are known.
    """
    if wanted is None:
        return tuple(range(len(datasets)))
    found = [_place(name, datasets) for name in wanted]
    known = tuple(place for place in found if place is not None)
    if len(known) < len(found):
        if known or len(found) > 1:
            raise SkyModelError(
                f"The model {model.name!r} is for the datasets {list(wanted)}, but the observations are "
                f"{list(datasets)}; pass their dataset names in order, `datasets=[...]`."
            )
        return tuple(range(len(datasets)))
    return known


def _place(name: str, datasets: Sequence[str]) -> int | None:
    for k, dataset in enumerate(datasets):
        if name in (dataset, f"obs-{dataset}", f"obs_{dataset}"):
            return k
    return None


@dataclass(frozen=True)
class BackgroundModels:
    """The background models of an analysis.

    Parameters
    ----------
    models : tuple of gammapy.modeling.models.FoVBackgroundModel
        At most one for each observation.
    datasets : tuple of str
        Names of the observations.

    Raises
    ------
    SkyModelError
        If a model is not a power-law norm, has a spatial part, or an observation has two.
    """

    models: tuple[Any, ...]
    datasets: tuple[str, ...]

    def __post_init__(self) -> None:
        owner: dict[int, str] = {}
        for model in self.models:
            if type(model.spectral_model).__name__ != "PowerLawNormSpectralModel":
                raise SkyModelError(
                    f"The background model {model.name!r} has the spectrum {type(model.spectral_model).__name__}, "
                    "which has no counterpart here; use a PowerLawNormSpectralModel."
                )
            if model.spatial_model is not None:
                raise SkyModelError(
                    f"The background model {model.name!r} has a spatial part, which has no counterpart here; set it to "
                    "None."
                )
            if not model.spectral_model.reference.frozen:
                raise SkyModelError(
                    f"The parameter 'reference' of the background model {model.name!r} is free; freeze it "
                    f"(`models[{model.name!r}].spectral_model.reference.frozen = True`)."
                )
            for place in self._places(model):
                if place in owner:
                    raise SkyModelError(
                        f"The observation {self.datasets[place]!r} has two background models, {owner[place]!r} and "
                        f"{model.name!r}; if each is for one observation, pass the dataset names of the observations "
                        "in order, `datasets=[...]`."
                    )
                owner[place] = model.name

    def _places(self, model: Any) -> tuple[int, ...]:
        return datasets_of(model, model.datasets_names, self.datasets)

    @property
    def roles(self) -> dict[Any, Role]:
        """Role of each free parameter."""
        roles: dict[Any, Role] = {}
        for model in self.models:
            spectral = model.spectral_model
            for parameter, role in ((spectral.norm, Role.SCALE), (spectral.tilt, Role.REAL)):
                if not parameter.frozen:
                    roles[parameter] = role
        return roles

    @property
    def common(self) -> bool:
        """Whether all observations have one norm and no tilt, so that the shape of the background is fixed."""
        norms = {id(model.spectral_model.norm) for model in self.models}
        covered = sum(len(self._places(model)) for model in self.models)
        tilted = any(not (m.spectral_model.tilt.frozen and m.spectral_model.tilt.value == 0) for m in self.models)
        return not self.models or (not tilted and len(norms) == 1 and covered == len(self.datasets))

    def norm(self, variables: Mapping[Any, Variable]) -> Any:
        """Factor common to all observations, where :attr:`common` holds."""
        if not self.models:
            return 1.0
        return _value(self.models[0].spectral_model.norm, variables)

    def vectors(self, variables: Mapping[Any, Variable]) -> tuple[Any, Any, float]:
        """Norm and tilt of each observation, shape (n_observations,), and the reference energy in TeV."""
        norms: list[Any] = [1.0] * len(self.datasets)
        tilts: list[Any] = [0.0] * len(self.datasets)
        reference = float(self.models[0].spectral_model.reference.quantity.to_value("TeV"))
        for model in self.models:
            spectral = model.spectral_model
            tilt = _value(spectral.tilt, variables)
            ratio = float(spectral.reference.quantity.to_value("TeV")) / reference
            norm = _value(spectral.norm, variables)
            if ratio != 1:
                norm = norm * pt.exp(pt.as_tensor_variable(tilt) * np.log(ratio))
            for place in self._places(model):
                norms[place], tilts[place] = norm, tilt
        return _stack(norms), _stack(tilts), reference


def _value(parameter: Any, variables: Mapping[Any, Variable]) -> Any:
    return variables.get(parameter, float(parameter.value))


def _stack(values: Sequence[Any]) -> Variable:
    return pt.stack([pt.as_tensor_variable(value).astype("float64") for value in values])
