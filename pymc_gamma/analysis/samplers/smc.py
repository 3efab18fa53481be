"""Sequential Monte Carlo, which gives the evidence too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from pymc_gamma.analysis.samplers.base import Sampler

__all__ = ["Smc"]


class Smc(Sampler):
    """Sequential Monte Carlo by `pymc.sample_smc`."""

    sampler: ClassVar[str] = "smc"
    label: ClassVar[str] = "SMC"
    summary: ClassVar[str] = "Sequential Monte Carlo, and the evidence (`pymc.sample_smc`)."

    draws: int = Field(default=1000, ge=1, description="Draws of each chain (`nuts`, `smc`).")
    chains: int = Field(default=4, ge=1, description="Chains (`nuts`, `smc`).")

    def run(self, model: Any, *, seed: int, n_jobs: int, advance: Callable[[], None], checkpoint: Path | None) -> Any:
        """See `Sampler`."""
        import pymc as pm

        return pm.sample_smc(
            draws=self.draws, chains=self.chains, cores=n_jobs, model=model, random_seed=seed, progressbar=False
        )
