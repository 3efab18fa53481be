"""Renames that the standard library has not: exchange two names in one step, or take a name only while it is free.

Linux has ``renameat2`` (with ``RENAME_EXCHANGE`` and ``RENAME_NOREPLACE``), macOS ``renamex_np`` (with
``RENAME_SWAP`` and ``RENAME_EXCL``). Neither works on every file system, so both functions here say or do what is
possible without.
"""

import ctypes
import errno
import os
import sys
from pathlib import Path

__all__ = ["exchange", "rename_to_free_name"]

_NOREPLACE, _EXCHANGE = 1, 2
_MACOS_FLAGS = {_NOREPLACE: 4, _EXCHANGE: 2}
_AT_FDCWD = -100
_NOT_POSSIBLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBUSY, errno.EXDEV}


def exchange(one: Path, other: Path) -> bool:
    """Exchange two existing names, files or folders, in one step that no one can see half done.

    Parameters
    ----------
    one, other : pathlib.Path
        Names in one file system.

    Returns
    -------
    bool
        False if this system, or this file system, cannot; then nothing has happened.

    Raises
    ------
    OSError
        If one of them is missing or may not be renamed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one, other = Path(folder) / "one", Path(folder) / "other"
    ...     _ = one.write_text("1"), other.write_text("2")
    ...     done = exchange(one, other)
    ...     one.read_text() == ("2" if done else "1")
    True
    """
    return _rename(one, other, _EXCHANGE)


def rename_to_free_name(source: Path, target: Path) -> None:
    """Rename a file or folder, unless there is one of the new name.

    Where the system cannot do both in one step, a target made in between may be replaced.

    Parameters
    ----------
    source, target : pathlib.Path
        Old and new name, in one file system.

    Raises
    ------
    FileExistsError
        If ``target`` exists.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one, other = Path(folder) / "one", Path(folder) / "other"
    ...     _ = one.write_text("1")
    ...     rename_to_free_name(one, other)
    ...     other.read_text()
    '1'
    """
    if not _rename(source, target, _NOREPLACE):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        source.rename(target)


def _rename(source: Path, target: Path, flag: int) -> bool:
    """Rename with a flag; False where that is not possible."""
    if os.name != "posix":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(source), os.fsencode(target)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(old, new, ctypes.c_uint(_MACOS_FLAGS[flag]))
    elif sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, ctypes.c_uint(flag))
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _NOT_POSSIBLE:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
