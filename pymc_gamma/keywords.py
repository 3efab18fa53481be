"""Keywords that a callable passes on, checked before anything else is done with them."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

__all__ = ["check_keywords", "keywords_of"]


def keywords_of(*functions: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the arguments of functions that can be given by keyword."""
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [
        name
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in named and name not in {"self", "cls"}
    ]
    return tuple(dict.fromkeys(found))


def check_keywords(function: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse keywords that nobody will read.

    Parameters
    ----------
    function : str
        Name of the callable, for the message.
    given : mapping
        What it was called with.
    known : iterable of str
        Keywords that it reads, or passes on to what does.

    Raises
    ------
    TypeError
        If one is not known; names it, and the nearest that is.

    Examples
    --------
    >>> check_keywords("fold", {"free_spectra": []}, ["pixel", "free_spectrum"])
    Traceback (most recent call last):
    TypeError: fold() got an unexpected keyword argument 'free_spectra'. Did you mean 'free_spectrum'?
    """
    names = list(dict.fromkeys(known))
    for keyword in given:
        if keyword not in names:
            near = get_close_matches(keyword, names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It takes {', '.join(names)}."
            raise TypeError(f"{function}() got an unexpected keyword argument {keyword!r}. {hint}")
