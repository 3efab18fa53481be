"""What the stages of an analysis share: its file, its observations, its model."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pymc_gamma.analysis.document import Document
from pymc_gamma.analysis.modelling import Built, Modelling
from pymc_gamma.analysis.observing import Observing
from pymc_gamma.analysis.progress import Bars
from pymc_gamma.analysis.schema import AnalysisConfig
from pymc_gamma.analysis.stages import Job

__all__ = ["Plan"]


@dataclass(eq=False)
class Plan:
    """What all stages of an analysis share.

    Parameters
    ----------
    config : AnalysisConfig
        The analysis.
    document : Document
        The file.
    bars : Bars
        What the user sees.
    """

    config: AnalysisConfig
    document: Document
    bars: Bars
    checkpoints: Path | None = None

    @cached_property
    def observing(self) -> Observing:
        """Observations."""
        return Observing(self.config, self.document)

    @cached_property
    def modelling(self) -> Modelling:
        """Model."""
        return Modelling(self.config, self.document, self.observing)

    @cached_property
    def random_names(self) -> list[str]:
        """Stages that draw random numbers."""
        return ["events", *(one.sampler for one in self.config.fit.samplers), "predict"]

    def seed(self, name: str) -> int:
        """Seed of a stage."""
        names = self.random_names
        states = np.random.SeedSequence(self.config.general.seed).generate_state(len(names))
        return int(states[names.index(name)])

    def parts(self, *keys: str) -> dict[str, Any]:
        """What the file says under some keys."""
        return {key: self.document.data.get(key) for key in keys}

    def built(self, job: Job) -> Built:
        """The model of the events, made when it is first needed."""
        if self._built is None:
            with self.bars.run("fold the events"):
                self._built = self.modelling.build(job.value("fold"), job.value("events").selected.events)
        return self._built

    _built: Built | None = field(default=None, init=False)
