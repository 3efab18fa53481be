"""What a sampler of an analysis file is: keys of the section `fit`, and a run."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from pymc_gamma.analysis.section import Section

__all__ = ["Sampler"]


class Sampler(Section):
    """A way to sample a posterior.

    To add one derive a class with its name, ``sampler``, and its keys; they become keys of the section `fit`.
    """

    sampler: ClassVar[str]
    label: ClassVar[str]
    """In legends."""
    summary: ClassVar[str]
    title: ClassVar[str] = "sample the posterior"
    """What the progress shows."""

    @property
    def total(self) -> int | None:
        """Steps that it tells about, for a bar; None if it does not."""
        return None

    @abstractmethod
    def run(self, model: Any, *, seed: int, n_jobs: int, advance: Callable[[], None], checkpoint: Path | None) -> Any:
        """Sample.

        Parameters
        ----------
        model : pymc.Model
            The model.
        seed : int
            Seed.
        n_jobs : int
            Processes.
        advance : callable
            To be called after each step.
        checkpoint : pathlib.Path, optional
            File where an interrupted run may be kept, and found again.

        Returns
        -------
        xarray.DataTree
            With a group ``posterior``.
        """
