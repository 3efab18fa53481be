"""A source: a spatial model of gammapy with a spectrum."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from pymc_gamma.analysis.components.base import Component, Surroundings
from pymc_gamma.analysis.shapes import SpatialField
from pymc_gamma.analysis.spectra import SpectrumField

__all__ = ["Source"]


class Source(Component):
    """A source of the sky."""

    kind: ClassVar[str] = "source"
    summary: ClassVar[str] = "A source: a spatial model of gammapy with a spectrum of this package."

    spatial: SpatialField = Field(description="Spatial model of gammapy: `type`, parameters by name, `frame`.")
    spectrum_: SpectrumField = Field(alias="spectrum", description="Spectrum: `type` and parameters by name.")

    def sky(self, around: Surroundings) -> Any:
        """A source where its priors are centred."""
        import pymc_gamma as pmg

        spatial = self.spatial.model(around.scope, around.folder)
        return pmg.SkySource(self.name, spatial, self.spectrum_.nominal(around.scope))

    def frees_spectrum(self, around: Surroundings) -> bool:
        """Whether a parameter of the spectrum is free."""
        return bool(self.spectrum_.is_free)

    def frees_shape(self, around: Surroundings) -> bool:
        """Whether position or extension is free."""
        return bool(self.spatial.is_free)

    def spectrum(self, around: Surroundings) -> Any:
        """Its spectrum, if that is free."""
        return self.spectrum_.build(around.scope, self.name) if self.frees_spectrum(around) else None

    def shape_parameters(self, around: Surroundings) -> dict[str, Any]:
        """Its position and extension, as far as they are free."""
        return self.spatial.variables(around.scope, self.name)

    def shape(self, around: Surroundings, response: Any) -> Any:
        """Its position and extension, if they are free."""
        if not self.frees_shape(around):
            return None
        (folded,) = (one.shape for one in response.components if one.name == self.name)
        self.spatial.check_frame(self.name, response.roi.frame)
        return type(folded)(**{**folded.parameters, **self.shape_parameters(around)})

    def files(self, around: Surroundings) -> Iterator[Path]:
        """Its map."""
        return self.spatial.files(around.folder)
