"""The sources of the H.E.S.S. Galactic plane survey."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from pymc_gamma.analysis.components.base import Component, Surroundings
from pymc_gamma.analysis.section import FilePath

__all__ = ["Hgps"]


class Hgps(Component):
    """Sources of the H.E.S.S. Galactic plane survey, `HGPSCatalog`."""

    kind: ClassVar[str] = "hgps"
    summary: ClassVar[str] = "Sources of the H.E.S.S. Galactic plane survey (`HGPSCatalog`)."

    name: str = Field(default="hgps", description="Name of the component.")
    path: FilePath | None = Field(default=None, description="The official catalogue; the bundled table by default.")
    sources: list[str] | None = Field(default=None, description="These alone.")
    exclude: list[str] = Field(default=[], description="All but these.")

    def sky(self, around: Surroundings) -> Any:
        """The catalogue."""
        import pymc_gamma as pmg

        path = None if self.path is None else around.path(self.path)
        return pmg.HGPSCatalog(self.name, path, sources=self.sources, exclude=self.exclude)

    def files(self, around: Surroundings) -> Iterator[Path]:
        """The official catalogue."""
        if self.path is not None:
            yield around.path(self.path)
