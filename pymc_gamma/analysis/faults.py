"""Errors of what an analysis file asks for, with the line that asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymc_gamma.analysis.document import Document, Place, told_path
from pymc_gamma.errors import AnalysisFileError

__all__ = ["at"]


@contextmanager
def at(document: Document, place: Place) -> Iterator[None]:
    """Say of errors where in the file they come from.

    Parameters
    ----------
    document : Document
        The file.
    place : tuple
        Keys and indices.

    Raises
    ------
    AnalysisFileError
        In place of an error of a value, with file, line and key.
    """
    try:
        yield
    except AnalysisFileError:
        raise
    except (ValueError, TypeError, KeyError, LookupError) as error:
        told = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        key = f"{told_path(place)}: " if place else ""
        where = f"{document.where(place)}: " if place else f"{document.source}: "
        raise AnalysisFileError(f"{where}{key}{told}") from error
