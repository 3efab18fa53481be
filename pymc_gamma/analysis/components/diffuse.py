"""Galactic diffuse emission."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import astropy.units as u
from pydantic import Field

from pymc_gamma.analysis.components.base import Component, Surroundings
from pymc_gamma.analysis.section import Energy, FilePath, Told, checked_by, quantity_in
from pymc_gamma.analysis.spectra import SpectrumField

__all__ = ["Diffuse"]

INTENSITY = "TeV-1 cm-2 s-1 sr-1"


Intensity = Annotated[u.Quantity, checked_by(lambda value: quantity_in(value, INTENSITY)), Told("intensity")]


class Diffuse(Component):
    """Galactic diffuse emission, `GalacticDiffuse`."""

    kind: ClassVar[str] = "diffuse"
    summary: ClassVar[str] = "Galactic diffuse emission (`GalacticDiffuse`)."

    name: str = Field(default="diffuse", description="Name of the component.")
    intensity: Intensity | None = Field(
        default=None, description="Mean intensity over the region at the reference energy."
    )
    index: float | None = Field(default=None, description="Photon index.")
    reference: Energy = Field(default=1 * u.TeV, description="Reference energy.")
    template: FilePath | None = Field(
        default=None, description="Map of relative brightness; the bundled one by default."
    )
    spectrum_: SpectrumField | None = Field(
        default=None,
        alias="spectrum",
        description="Spectrum with parameters instead, of the flux from the region.",
    )

    def sky(self, around: Surroundings) -> Any:
        """With its fixed spectrum, or where priors are centred."""
        import pymc_gamma as pmg

        template = None if self.template is None else around.path(self.template)
        if self.spectrum_ is not None:
            return pmg.GalacticDiffuse(self.name, template=template, spectral=self.spectrum_.nominal(around.scope))
        return pmg.GalacticDiffuse(
            self.name, norm=self.intensity, index=self.index, reference=self.reference, template=template
        )

    def frees_spectrum(self, around: Surroundings) -> bool:
        """Whether a parameter of the spectrum is free."""
        return self.spectrum_ is not None and bool(self.spectrum_.is_free)

    def spectrum(self, around: Surroundings) -> Any:
        """Its spectrum, if that is free."""
        free = self.spectrum_ is not None and self.spectrum_.is_free
        return self.spectrum_.build(around.scope, self.name) if self.spectrum_ is not None and free else None

    def files(self, around: Surroundings) -> Iterator[Path]:
        """Its map."""
        if self.template is not None:
            yield around.path(self.template)
