"""The ``pymc-gamma`` command.

Nothing heavy is imported before it is needed, so that ``pymc-gamma --help`` answers at once.

Exit codes: 0 success, 1 the work failed, 2 the command was wrong (bad argument, results already there), 130
interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymc_gamma import __version__

if TYPE_CHECKING:
    from pymc_gamma.analysis.analysis import Analysis

__all__ = ["main"]

PROGRAM = "pymc-gamma"
_USAGE_ERROR, _FAILURE, _INTERRUPTED = 2, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code.
    """
    try:
        parser = _parser()
        arguments = parser.parse_args(argv)
        if arguments.command is None:
            parser.print_help()
            return _USAGE_ERROR
        return int(arguments.run(parser, arguments))
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"\n{PROGRAM}: interrupted; {str(stop) or 'nothing was written'}\n")
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Event-by-event Bayesian inference for gamma-ray astronomy, with PyMC."
    )
    parser.add_argument("--version", action="version", version=f"pymc-gamma {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    quickstart = commands.add_parser(
        "quickstart",
        help="simulate a CTAO observation of the Galactic centre and infer what it is made of",
        description="Simulate a CTAO observation of the Galactic centre and infer what it is made of. "
        "Writes events.fits, posterior.nc, corner.png, counts.png and ppc.png.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    quickstart.add_argument("--events", type=int, default=4500, metavar="N", help="number of events")
    quickstart.add_argument("--seed", type=int, default=1, metavar="S", help="seed of everything random")
    quickstart.add_argument("--output", default="quickstart", metavar="DIR", help="folder for the results")
    quickstart.add_argument(
        "--fractions",
        type=_fractions,
        default="1/6,1/3,1/2",
        metavar="A,B,C",
        help="true fractions of diffuse emission, catalogued sources and cosmic rays",
    )
    quickstart.add_argument("--force", action="store_true", help="replace results that are already there")
    quickstart.set_defaults(run=_quickstart)
    _add_init(commands)
    _add_analysis(
        commands, "check", _check, "look at an analysis file, and at all that can be looked at before the work"
    )
    run = _add_analysis(commands, "run", _run, "run an analysis file: fold, read or simulate events, sample, predict")
    run.add_argument("--force", action="store_true", help="run all stages, also those that are up to date")
    run.add_argument("--dry-run", action="store_true", help="say which stages would run, and why")
    _add_analysis(commands, "report", _report, "write the report of what an analysis has made so far")
    return parser


def _add_init(commands: Any) -> None:
    init = commands.add_parser(
        "init",
        help="write an analysis file to start from",
        description="Write an analysis file to start from. --list says which there are.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    init.add_argument("file", nargs="?", default="analysis.yaml", metavar="FILE", help="file to write")
    init.add_argument("--template", default="quickstart", metavar="NAME", help="which one")
    init.add_argument("--list", action="store_true", help="list them")
    init.add_argument("--force", action="store_true", help="replace a file that is already there")
    init.set_defaults(run=_init)


def _add_analysis(commands: Any, name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
    """A command for an analysis file."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("file", metavar="FILE", help="analysis file, in YAML")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the file, for example fit.draws=2000; may be given several times",
    )
    command.add_argument("--output", metavar="DIR", help="folder for the results, instead of general.outdir")
    command.add_argument("--seed", type=int, metavar="S", help="seed of everything random, instead of general.seed")
    command.set_defaults(run=run)
    return command


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(Fraction(part.strip())) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of numbers; write for example 1/6,1/3,1/2 or 0.2,0.3,0.5"
        ) from None


def _quickstart(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from pymc_gamma.analysis.quickstart import Interface, check_arguments, check_output, quickstart
    from pymc_gamma.errors import FolderInUseError
    from pymc_gamma.files import locked_folder

    interface = Interface(output="--output", overwrite="--force")
    try:
        check_arguments(arguments.events, arguments.fractions, arguments.seed)
        folder = check_output(arguments.output, overwrite=arguments.force, interface=interface)
        with suppress(FolderInUseError), locked_folder(folder):
            pass  # where it cannot be made, that is said before the work
    except (ValueError, OSError) as error:
        return _refused(parser, "quickstart", error)

    _draw_into_files()
    try:
        quickstart(
            arguments.events,
            arguments.fractions,
            seed=arguments.seed,
            output=arguments.output,
            overwrite=arguments.force,
            interface=interface,
        )
    except (ValueError, OSError) as error:
        _refused(parser, "quickstart", error)
        return _FAILURE
    return 0


def _init(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from pymc_gamma.analysis.templates import template, template_names
    from pymc_gamma.files import atomic_path, refuse_overwrite

    if arguments.list:
        sys.stdout.write("".join(f"{name}\n" for name in template_names()))
        return 0
    try:
        text = template(arguments.template)
        refuse_overwrite(arguments.file, overwrite=arguments.force, hint="--force")
        with atomic_path(arguments.file, overwrite=arguments.force, hint="--force") as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (ValueError, OSError) as error:
        return _refused(parser, "init", error)
    sys.stdout.write(f"{arguments.file} is written; look at it, then: {PROGRAM} run {arguments.file}\n")
    return 0


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    try:
        analysis = _read(arguments)
        notes = analysis.check()
    except (ValueError, OSError) as error:
        return _refused(parser, "check", error)
    sys.stdout.write("".join(f"note: {one}\n" for one in notes))
    sys.stdout.write(f"{arguments.file}: no fault found\n")
    return 0


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    try:
        analysis = _read(arguments)
        states = analysis.states(force=arguments.force)
    except (ValueError, OSError) as error:
        return _refused(parser, "run", error)
    if arguments.dry_run:
        for name, state in states.items():
            sys.stdout.write(f"{name}: {'would not run' if state.is_current else 'would run'}, {state.why}\n")
        return 0
    _draw_into_files()
    try:
        analysis.run(force=arguments.force)
    except (ValueError, TypeError, OSError) as error:
        _refused(parser, "run", error)
        return _FAILURE
    sys.stdout.write(f"Results are in {analysis.output}\n")
    return 0


def _report(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    try:
        analysis = _read(arguments)
    except (ValueError, OSError) as error:
        return _refused(parser, "report", error)
    _draw_into_files()
    try:
        path = analysis.report()
    except (ValueError, TypeError, OSError) as error:
        _refused(parser, "report", error)
        return _FAILURE
    sys.stdout.write(f"{path}\n")
    return 0


def _read(arguments: argparse.Namespace) -> "Analysis":
    from pymc_gamma.analysis.analysis import Analysis

    _plain_warnings()
    changes = list(arguments.set)
    if arguments.seed is not None:
        changes.append(f"general.seed={arguments.seed}")
    return Analysis.read(Path(arguments.file), set=changes, output=arguments.output)


def _refused(parser: argparse.ArgumentParser, command: str, error: Exception) -> int:
    sys.stderr.write(f"{parser.prog} {command}: error: {error}\n")
    return _USAGE_ERROR


def _plain_warnings() -> None:
    """Warnings as sentences, without the line of code that they come from."""
    import warnings

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        sys.stderr.write(f"warning: {message}\n")

    warnings.showwarning = show


def _draw_into_files() -> None:
    """Pictures go to files; no screen is needed."""
    import matplotlib

    matplotlib.use("Agg")


if __name__ == "__main__":
    sys.exit(main())
