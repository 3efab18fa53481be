"""The ``pymc-gamma`` command.

Nothing heavy is imported before it is needed, so that ``pymc-gamma --help`` answers at once.

Exit codes: 0 success, 1 the work failed, 2 the command was wrong (bad argument, results already there), 130
interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction

from pymc_gamma import __version__

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
        return _quickstart(parser, arguments)
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
    return parser


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
        sys.stderr.write(f"{parser.prog} quickstart: error: {error}\n")
        return _USAGE_ERROR

    import matplotlib

    matplotlib.use("Agg")  # pictures go to files; no screen is needed
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
        sys.stderr.write(f"{parser.prog} quickstart: error: {error}\n")
        return _FAILURE
    return 0


if __name__ == "__main__":
    sys.exit(main())
