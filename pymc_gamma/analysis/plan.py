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

    def check_files(self) -> None:
        """Raise an error for files that are missing."""
        if not self.config.of_tables:
            self.observing.check_files()
        self.modelling.check_files()

    def seed(self, name: str) -> int:
        """Seed of a stage."""
        names = self.random_names
        states = np.random.SeedSequence(self.config.general.seed).generate_state(len(names))
        return int(states[names.index(name)])

    @property
    def sources(self) -> tuple[str, ...]:
        """Stages that the model is made of."""
        return () if self.config.of_tables else ("fold", "events")

    def parts(self, *keys: str) -> dict[str, Any]:
        """What the file says under some keys."""
        return {key: self.document.data.get(key) for key in keys}

    def built(self, job: Job) -> Built:
        """The model of the events, made when it is first needed."""
        if self._built is None and self.config.of_tables:
            with self.bars.run("read the tables"):
                self._built = self.modelling.build_of_tables()
        elif self._built is None:
            with self.bars.run("fold the events"):
                self._built = self.modelling.build(job.value("fold"), job.value("events").selected.events)
        assert self._built is not None
        return self._built

    _built: Built | None = field(default=None, init=False)
