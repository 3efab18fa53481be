"""What a user sees of a job: its stages, one bar each."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Bars", "quiet_pymc"]


@dataclass(eq=False)
class Bars:
    """Times the stages of a job and shows a bar for the one at work."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> "Bars":
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def run(self, name: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """Time a block; it may call what it gets to advance the bar by one of ``total``."""
        task = self._progress.add_task(name, total=total)
        start = time.perf_counter()
        yield lambda: self._progress.advance(task)
        self.seconds[name] = time.perf_counter() - start
        self._finish(task)

    def tell(self, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(text, highlight=False, markup=False)

    def _finish(self, task: TaskID) -> None:
        self._progress.update(task, total=1, completed=1)


@contextmanager
def quiet_pymc() -> Iterator[None]:
    """Hold back the messages of PyMC below a warning: they would break into the progress bars."""
    logger = logging.getLogger("pymc.sampling")  # not "pymc": importing PyMC sets the level of that one
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
