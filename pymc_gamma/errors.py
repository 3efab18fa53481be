"""Exception types, and the one warning and how it is issued.

Each is a :class:`PymcGammaError` and so a ``ValueError``, which keeps code working that catches the built-in type; the
subclass says which kind of input was at fault.
"""

import warnings
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
    "warn_user",
]

_PACKAGE = (str(Path(__file__).parent),)


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
