"""Hamiltonian Monte Carlo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from pymc_gamma.analysis.samplers.base import Sampler

__all__ = ["Nuts"]


class Nuts(Sampler):
    """NUTS by `pymc.sample`."""

    sampler: ClassVar[str] = "nuts"
    label: ClassVar[str] = "NUTS"
    summary: ClassVar[str] = "Hamiltonian Monte Carlo (`pymc.sample`)."

    draws: int = Field(default=1000, ge=1, description="Draws of each chain (`nuts`, `smc`).")
    tune: int = Field(default=1000, ge=0, description="Steps of each chain before, to tune the sampler (`nuts`).")
    chains: int = Field(default=4, ge=1, description="Chains (`nuts`, `smc`).")
    target_accept: float = Field(default=0.8, gt=0, lt=1, description="How often steps shall be accepted (`nuts`).")
    backend: Literal["pymc", "nutpie", "numpyro"] = Field(
        default="pymc",
        description="Whose NUTS (`nuts`): PyMC's, which starts soonest because its compilation is kept, nutpie's, or "
        "NumPyro's (needs JAX).",
    )

    @property
    def total(self) -> int | None:
        """Steps of all chains, if the sampler tells about them."""
        return self.chains * (self.tune + self.draws) if self.backend == "pymc" else None

    def run(self, model: Any, *, seed: int, n_jobs: int, advance: Callable[[], None], checkpoint: Path | None) -> Any:
        """See `Sampler`."""
        import pymc as pm

        options: dict[str, Any] = {"callback": lambda **_: advance()} if self.backend == "pymc" else {}
        return pm.sample(
            model=model,
            draws=self.draws,
            tune=self.tune,
            chains=self.chains,
            cores=n_jobs,
            nuts_sampler=self.backend,
            target_accept=self.target_accept,
            random_seed=seed,
            progressbar=False,
            **options,
        )
