"""How a lower room names a picture of a higher one: by name, and found when it is drawn.

Objects offer their pictures as methods (``events.peek()``), while the pictures lie in `pymc_gamma.plotting`, above all
that they show. An import that points up would close a circle; instead a method asks for the picture here. Nothing else
in the package names what lies above it.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["picture"]


def picture(name: str) -> Callable[..., Any]:
    """The function of this name, out of the module of `pymc_gamma.plotting` that bears it.

    Examples
    --------
    >>> picture("peek_events").__module__
    'pymc_gamma.plotting.peek_events'
    """
    function: Callable[..., Any] = getattr(import_module(f"pymc_gamma.plotting.{name}"), name)
    return function
