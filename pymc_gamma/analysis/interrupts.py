"""Ctrl-C that ends a job wherever it comes, and says what is there."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["interruptible"]


class _Interruption(BaseException):
    """Ctrl-C, by a name that samplers do not catch: PyMC would end a chain early and go on with the next."""


@contextmanager
def interruptible(tell: Callable[[], str]) -> Iterator[None]:
    """End at Ctrl-C wherever it comes, and say in the message of ``KeyboardInterrupt`` what is there.

    Parameters
    ----------
    tell : callable
        Says it.
    """

    def interrupt(*_: object) -> None:
        raise _Interruption

    is_main = threading.current_thread() is threading.main_thread()
    own = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if own:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except (_Interruption, KeyboardInterrupt):
        raise KeyboardInterrupt(tell()) from None
    finally:
        if own:
            signal.signal(signal.SIGINT, signal.default_int_handler)
