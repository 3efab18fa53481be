"""Nested sampling, which gives the evidence too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from pymc_gamma.analysis.samplers.base import Sampler

__all__ = ["Nested"]


class Nested(Sampler):
    """Nested sampling by `sample_nested`."""

    sampler: ClassVar[str] = "nested"
    label: ClassVar[str] = "nested sampling"
    summary: ClassVar[str] = "Nested sampling with dynesty, and the evidence (`sample_nested`)."
    title: ClassVar[str] = "sample the evidence"

    nlive: int = Field(default=500, ge=2, description="Live points (`nested`).")
    dlogz: float = Field(default=0.5, gt=0, description="Stop when the log evidence may grow by less (`nested`).")

    def run(self, model: Any, *, seed: int, n_jobs: int, advance: Callable[[], None], checkpoint: Path | None) -> Any:
        """See `Sampler`."""
        import pymc_gamma as pmg

        options: dict[str, Any] = {}
        if checkpoint is not None:
            options = {"checkpoint_file": checkpoint, "resume": checkpoint.exists()}
        return pmg.sample_nested(
            model, nlive=self.nlive, dlogz=self.dlogz, random_seed=seed, progressbar=False, **options
        )
