"""The residual cosmic-ray background."""

from typing import Any, ClassVar

import astropy.units as u
from pydantic import Field

from pymc_gamma.analysis.components.base import Component, Surroundings
from pymc_gamma.analysis.parameters import Fixed, parameter
from pymc_gamma.analysis.section import Energy

__all__ = ["CosmicRays"]


class CosmicRays(Component):
    """Residual cosmic rays, `CosmicRayBackground`, from the response of each observation."""

    kind: ClassVar[str] = "ccr"
    summary: ClassVar[str] = "Residual cosmic rays, as the response of each observation says (`CosmicRayBackground`)."

    name: str = Field(default="ccr", description="Name of the component.")
    norm: parameter() = Field(  # type: ignore[valid-type]
        default=Fixed(1.0),
        description="Factor on the rate; one for each observation with `dims: observation`.",
    )
    tilt: parameter() = Field(  # type: ignore[valid-type]
        default=Fixed(0.0),
        description="Index of a power law in energy on the rate; see the norm.",
    )
    reference: Energy = Field(default=1 * u.TeV, description="Energy at which the tilt changes nothing.")

    def sky(self, around: Surroundings) -> Any:
        """The background of the response."""
        import pymc_gamma as pmg

        return pmg.CosmicRayBackground(self.name)

    def frees_spectrum(self, around: Surroundings) -> bool:
        """Whether its spectrum varies, or its norm from one observation to the other."""
        return self.tilt != Fixed(0.0) or getattr(self.norm, "dims", None) is not None

    def factor(self, around: Surroundings) -> Any:
        """Its norm, where that is not part of the spectrum."""
        return None if self.frees_spectrum(around) else super().factor(around)

    def spectrum(self, around: Surroundings) -> Any:
        """A factor on the rate."""
        import pymc_gamma as pmg

        if not self.frees_spectrum(around):
            return None
        norm = self.norm.tensor(around.scope, f"{self.name}.norm", "")
        tilt = self.tilt.tensor(around.scope, f"{self.name}.tilt", "")
        return pmg.PowerLawNorm(norm=norm, tilt=tilt, reference=self.reference)
