"""An analysis file in Python: read it, check it, run it."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pymc_gamma.analysis.document import Document
from pymc_gamma.analysis.foresight import notes
from pymc_gamma.analysis.interrupts import interruptible
from pymc_gamma.analysis.outcomes import REPORT_FILE
from pymc_gamma.analysis.pipeline import stages_of
from pymc_gamma.analysis.plan import Plan
from pymc_gamma.analysis.progress import Bars, quiet_pymc
from pymc_gamma.analysis.schema import AnalysisConfig
from pymc_gamma.analysis.stages import Job, State
from pymc_gamma.arguments import instance, texts
from pymc_gamma.arguments import path as checked_path
from pymc_gamma.arguments import text as checked_text
from pymc_gamma.errors import AnalysisFileError
from pymc_gamma.files import locked_folder, user_path

if TYPE_CHECKING:
    import xarray as xr

    from pymc_gamma.events import Events
    from pymc_gamma.response import Response

__all__ = ["Analysis"]

CHECKPOINTS = ".checkpoints"
"""Folder among the results for samplers that were interrupted."""


class Analysis:
    """An analysis as a file says it.

    Made by :meth:`read`. Its stages (fold, read or simulate events, sample, predict, report) are kept in a folder each,
    and repeated when what they depend on changes.

    Parameters
    ----------
    document : Document
        Content of a file.

    Attributes
    ----------
    config : AnalysisConfig
        What it says.
    document : Document
        Where.

    Examples
    --------
    >>> from pymc_gamma.analysis.templates import template
    >>> analysis = Analysis.from_yaml(template("quickstart"))
    >>> analysis.config.simulate.n_events
    4500
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.config = AnalysisConfig.from_document(document)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, set: Sequence[str] = (), output: Any = None) -> "Analysis":
        """Read an analysis file.

        Parameters
        ----------
        path : path-like
            The file.
        set : sequence of str
            Changes of single values: ``"fit.draws=2000"``.
        output : path-like, optional
            Folder for the results, instead of ``general.outdir``.

        Returns
        -------
        Analysis

        Raises
        ------
        AnalysisFileError
            If the file is missing, no YAML, or has unknown keys or wrong values; says which, with their lines.
        """
        document = Document.read(checked_path(path, "path"))
        return cls._changed(document, set, output)

    @classmethod
    def from_yaml(cls, text: str, *, set: Sequence[str] = (), output: Any = None) -> "Analysis":
        """An analysis from text in YAML; relative paths start from the folder of the process.

        Parameters
        ----------
        text : str
            What a file would hold.
        set : sequence of str
            Changes of single values.
        output : path-like, optional
            Folder for the results.

        Returns
        -------
        Analysis

        Raises
        ------
        AnalysisFileError
            As for :meth:`read`.
        """
        return cls._changed(Document.parse(checked_text(text, "text")), set, output)

    @classmethod
    def _changed(cls, document: Document, changes: Sequence[str], output: Any) -> "Analysis":
        for one in texts(changes, "set"):
            document.set(one)
        if output is not None:
            folder = user_path(checked_path(output, "output"))
            document.set(f"general.outdir={json.dumps(str(Path.cwd() / folder))}")
        return cls(document)

    @property
    def output(self) -> Path:
        """Folder of the results."""
        return self.document.folder / self.config.general.outdir

    @property
    def source(self) -> str:
        """The file as it was written."""
        return self.document.text

    def check(self) -> list[str]:
        """Look at all that can be looked at before the work: observations, region, components, priors, true values.

        Returns
        -------
        list of str
            What is no fault, and may still not be meant: variables that simulated events have no value of, priors that
            reach where events are impossible (a mass for which there is no spectrum, a cusp with an infinite J factor).

        Raises
        ------
        AnalysisFileError
            If something is not there, or cannot be made; says which line asks for it.
        """
        self._refuse_file()
        with self._plan(Console(quiet=True)) as plan:
            plan.check_files()
            if self.config.of_tables:
                plan.modelling.build_of_tables()
                return []
            _ = plan.observing.roi, plan.observing.observations, plan.modelling.sky
            return list(notes(plan.modelling))

    def states(self, *, force: bool = False) -> dict[str, State]:
        """What a run would do: for each stage whether it has to run, and why.

        Parameters
        ----------
        force : bool
            As for :meth:`run`.

        Returns
        -------
        dict
            By name of the stage, in order.

        Raises
        ------
        AnalysisFileError
            If a file that the analysis asks for is missing.
        NotADirectoryError
            If the results would lie in a file.
        """
        self._refuse_file()
        with self._plan(Console(quiet=True)) as plan:
            return Job(stages_of(plan), self.output, force=force).states()

    def run(self, *, force: bool = False, console: Console | None = None) -> "Analysis":
        """Run the stages that have to be.

        Parameters
        ----------
        force : bool
            Run all of them.
        console : `rich.console.Console`, optional
            Where to show progress; ``Console(quiet=True)`` for silence.

        Returns
        -------
        Analysis
            This object.

        Raises
        ------
        AnalysisFileError
            If what the file asks for cannot be made; says in which line.
        FolderInUseError
            If another run is at work for the same folder.
        OSError
            If the results cannot be written.
        KeyboardInterrupt
            If it is interrupted; the message says what is complete.
        """
        return self._work(console, force=force)

    def report(self, *, console: Console | None = None) -> Path:
        """Write the report of what is there, also of a run that failed half-way.

        Parameters
        ----------
        console : `rich.console.Console`, optional
            Where to show progress.

        Returns
        -------
        pathlib.Path
            The page.

        Raises
        ------
        AnalysisFileError
            If the file says that there shall be none (``results.report: false``).
        FolderInUseError
            If another run is at work for the same folder.
        OSError
            If it cannot be written.
        """
        if not self.config.results.report:
            raise AnalysisFileError(
                f"{self.document.where(('results', 'report'))}: results.report is false; set it to true for a report."
            )
        self._work(console, only="report")
        return self.output / "report" / REPORT_FILE

    def _work(self, console: Console | None, *, force: bool = False, only: str | None = None) -> "Analysis":
        folder = self.output
        self._refuse_file()
        console = Console() if console is None else instance(console, Console, "console")
        self._log()
        job: list[Job] = []
        with interruptible(lambda: self._told_interrupted(job)), locked_folder(folder):
            with Bars(console) as bars, quiet_pymc():
                with bars.run("import libraries"):
                    import pymc  # noqa: F401

                    import pymc_gamma as pmg

                    _ = pmg.fold
                plan = Plan(self.config, self.document, bars, folder / CHECKPOINTS)
                job.append(Job(stages_of(plan), folder, force=force))
                job[0].restore()
                job[0].run(bars, only)
            if only is None:
                _remove(folder / CHECKPOINTS)
        self._job = job[0]
        return self

    @property
    def response(self) -> "Response":
        """The response."""
        return self._value("fold")

    @property
    def events(self) -> "Events":
        """The events."""
        return self._value("events").selected.events

    @property
    def truth(self) -> dict[str, Any]:
        """Values that events were simulated with; empty for real ones."""
        return dict(self._value("events").truth)

    @property
    def posterior(self) -> "xr.DataTree":
        """The posterior of the first sampler."""
        return self._value(self.config.fit.samplers[0].sampler)

    @property
    def posteriors(self) -> "dict[str, xr.DataTree]":
        """The posterior by each sampler, by its name."""
        return {one.sampler: self._value(one.sampler) for one in self.config.fit.samplers}

    @property
    def model(self) -> Any:
        """The PyMC model of the events."""
        with self._plan(Console(quiet=True)) as plan:
            if self.config.of_tables:
                return plan.modelling.build_of_tables().model
            return plan.modelling.build(self.response, self.events).model

    def _value(self, name: str) -> Any:
        found = self._job.found(name)
        if found is None:
            raise AnalysisFileError(f"the stage {name!r} has not run yet; call run() first.")
        return found

    @cached_property
    def _job(self) -> Job:
        with self._plan(Console(quiet=True)) as plan:
            return Job(stages_of(plan), self.output)

    def _refuse_file(self) -> None:
        """Raise an error if the results would lie in a file."""
        if self.output.exists() and not self.output.is_dir():
            raise NotADirectoryError(
                f"the results go into a folder, and {self.output} is a file; give a folder by general.outdir or "
                "--output."
            )

    @contextmanager
    def _plan(self, console: Console) -> Any:
        with Bars(console) as bars, quiet_pymc():
            yield Plan(self.config, self.document, bars)

    def _log(self) -> None:
        log = self.config.general.log
        if log is None:
            return
        options: dict[str, Any] = {"level": log.level.upper(), "format": log.format, "datefmt": log.datefmt}
        if log.filename is not None:
            options |= {"filename": self.document.folder / log.filename, "filemode": log.filemode}
        logging.basicConfig(**{key: value for key, value in options.items() if value is not None})

    def _told_interrupted(self, job: list[Job]) -> str:
        complete = job[0].complete() if job else []
        if not complete:
            return f"nothing was completed in {self.output}; the next run begins anew"
        return f"{', '.join(complete)} in {self.output} complete; the next run goes on from there"


def _remove(folder: Path) -> None:
    """Remove checkpoints that are needed no more."""
    if folder.is_dir():
        for one in folder.iterdir():
            with suppress(OSError):
                one.unlink()
        with suppress(OSError):
            folder.rmdir()
