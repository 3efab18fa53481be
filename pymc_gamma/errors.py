"""Exception types, and the one warning and how it is issued.

Each is a :class:`PymcGammaError` and so a ``ValueError``, which keeps code working that catches the built-in type; the
subclass says which kind of input was at fault.
"""

import warnings
from collections.abc import Hashable, Iterable
from pathlib import Path

__all__ = [
    "AnalysisFileError",
    "DataFileError",
    "EventError",
    "FolderInUseError",
    "IRFError",
    "ModelError",
    "PymcGammaError",
    "PymcGammaWarning",
    "RegionError",
    "ResponseMismatchError",
    "SkyModelError",
    "untold",
    "warn_user",
]

_PACKAGE = (str(Path(__file__).parent),)
_told: set[Hashable] = set()


class PymcGammaError(ValueError):
    """Any input that this package refuses."""


class AnalysisFileError(PymcGammaError):
    """An analysis file with unknown keys, wrong values or missing files; says in which line."""


class DataFileError(PymcGammaError):
    """A data file is missing, truncated or not what it should be."""


class FolderInUseError(PymcGammaError):
    """Another run is writing its results into the same folder."""


class IRFError(PymcGammaError):
    """Instrument response functions that cannot be used."""


class RegionError(PymcGammaError):
    """A region of interest that does not fit the instrument or the frame."""


class EventError(PymcGammaError):
    """Events with invalid values, or that no component of the response can produce."""


class SkyModelError(PymcGammaError):
    """A sky component that cannot be folded: bad spectrum, bad morphology, unknown name."""


class ModelError(PymcGammaError):
    """A statistical model that does not fit its response (number of fractions, missing spectra, ...)."""


class ResponseMismatchError(PymcGammaError):
    """A stored response that was made from other inputs, or by another version."""


class PymcGammaWarning(UserWarning):
    """Something was repaired or left out; the message says what and where."""


def warn_user(message: str, *, called_from: tuple[str, ...] = ()) -> None:
    """Issue a :class:`PymcGammaWarning` at the line outside of this package that called it.

    Folders in ``called_from`` count as inside: those of a package that calls back.
    """
    warnings.warn(message, PymcGammaWarning, skip_file_prefixes=(*_PACKAGE, *called_from))


def untold[FactT: Hashable](facts: Iterable[FactT], message: str) -> list[FactT]:
    """Facts of which a warning has not spoken yet in this process; they count as told then.

    Python shows a warning once for each line that causes it, and forgets that whenever a filter of :mod:`warnings`
    changes, as it does in gammapy and astropy all the time: what was found in a file would be shown at every reading.
    Where the filters ask for all warnings, or for errors, or say something of single modules, all facts are returned.

    Parameters
    ----------
    facts : iterable of hashable
        What there is to tell.
    message : str
        A message that tells it, for the filters.

    Returns
    -------
    list
        In their order, each once.

    Examples
    --------
    >>> with warnings.catch_warnings(action="default"):
    ...     untold(["a cell is empty"], "a cell is empty"), untold(["a cell is empty"], "a cell is empty")
    (['a cell is empty'], [])
    """
    distinct = list(dict.fromkeys(facts))
    if _action(message) not in {"default", "module", "once"}:
        return distinct
    fresh = [fact for fact in distinct if fact not in _told]
    _told.update(fresh)
    return fresh


def _action(message: str) -> str:
    """What the filters do with a warning of this package; "always" where that depends on the module."""
    for action, text, category, module, _ in warnings.filters:
        if issubclass(PymcGammaWarning, category) and (text is None or text.match(message)):  # type: ignore[attr-defined]
            return action if module is None else "always"
    return "default"
