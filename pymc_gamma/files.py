"""Files and folders that appear whole or not at all.

A result is written to a temporary name beside its destination and takes its place at the end in one step
(:mod:`pymc_gamma.workspace`), so a reader never meets half of it, an interrupted or killed run leaves the old one
alone, and the next run removes what a killed one left. A link stays a link: what it points to is replaced. A replaced
file keeps its permissions.
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pymc_gamma.errors import DataFileError, FolderInUseError
from pymc_gamma.locks import Lock, holder
from pymc_gamma.workspace import Workspace, clean, is_being_replaced

__all__ = [
    "LOCK_NAME",
    "atomic_path",
    "locked_folder",
    "refuse_full_disk",
    "refuse_overwrite",
    "refuse_unwritable",
    "restore",
    "user_path",
]

LOCK_NAME = ".pymc-gamma.lock"
"""File in a folder of results while a run works on them."""

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_PATIENCE_S = 2.0


def user_path(path: str | os.PathLike[str]) -> Path:
    """Path of a file as a user gives it, with ``~`` for the home folder.

    Raises
    ------
    DataFileError
        If no file can have that name: it holds a character that the system does not allow, or the home folder of a
        user who is not known.

    Examples
    --------
    >>> user_path("~/events.fits") == Path.home() / "events.fits"
    True
    """
    try:
        found = Path(path).expanduser()
        if b"\0" in os.fsencode(found):
            raise ValueError("embedded null character")
    except (RuntimeError, ValueError) as error:
        raise DataFileError(f"{path!r} cannot be the name of a file ({error}); check the path.") from error
    return found


def refuse_overwrite(path: str | os.PathLike[str], *, overwrite: bool = False, hint: str = "overwrite=True") -> None:
    """Raise ``FileExistsError`` if ``path`` exists and may not be replaced.

    Parameters
    ----------
    path : path-like
        File or directory about to be written.
    overwrite : bool
        Whether the caller allows it.
    hint : str
        How the user of the caller says so, for the message.

    Raises
    ------
    FileExistsError
        If ``path`` exists and ``overwrite`` is false.

    Examples
    --------
    >>> refuse_overwrite("no-such-file.fits")
    """
    if not overwrite and user_path(path).exists():
        raise _exists(path, hint)


def refuse_full_disk(path: str | os.PathLike[str], size: int) -> None:
    """Raise ``OSError`` if there is no room for a file, before any work is done for it.

    Parameters
    ----------
    path : path-like
        File or folder about to be written.
    size : int
        Bytes that it needs at least.

    Raises
    ------
    OSError
        If the disk has less; ``errno`` is ``ENOSPC``.

    Examples
    --------
    >>> refuse_full_disk("new/events.fits", 1)
    """
    folder = _destination(path)
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        told = f"{os.strerror(errno.ENOSPC)}: {size / 1e6:.3g} MB are needed and {free / 1e6:.3g} MB are free"
        raise OSError(errno.ENOSPC, f"{told}; nothing was changed", str(path))


def refuse_unwritable(path: str | os.PathLike[str]) -> None:
    """Raise ``OSError`` if a file cannot be written, before any work is done for it; makes missing folders.

    For files that another library writes; :func:`atomic_path` looks by itself.

    Parameters
    ----------
    path : path-like
        File about to be written.

    Raises
    ------
    OSError
        If it is a folder, or its folder cannot be made or written; names ``path``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     refuse_unwritable(folder)
    Traceback (most recent call last):
        ...
    IsADirectoryError: [Errno 21] is a folder, and a file was to be written; choose another name: ...
    """
    destination = _destination(path)
    if destination.is_dir():
        told = "is a folder, and a file was to be written; choose another name"
        raise OSError(errno.EISDIR, told, str(path))
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=destination.parent):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextmanager
def atomic_path(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    owned: Collection[str] | None = None,
    hint: str = "overwrite=True",
) -> Iterator[Path]:
    """Temporary path that takes the place of ``path`` when the block ends without an error.

    Works for files and for directories (zarr stores). The temporary path has the same name in another folder, because
    writers choose the format or the compression from its suffixes. What killed writers of ``path`` left is removed
    first.

    Parameters
    ----------
    path : path-like
        Destination, with ``~`` for the home folder. Missing parent directories are made. A link stays; its target is
        replaced.
    overwrite : bool
        Replace an existing destination.
    owned : collection of str, optional
        For a folder that may hold files of the user too: the names in it that are written here. They are replaced
        together, and the others stay. Then ``overwrite`` is about these names.
    hint : str
        How the user of the caller allows to overwrite, for the message.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    FileExistsError
        If ``path`` exists and ``overwrite`` is false; checked before anything is written.
    OSError
        If the disk is full, read-only or broken, or the place may not be written; names ``path``, which is as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "answer.txt") as temporary:
    ...         _ = temporary.write_text("42")
    ...     (Path(folder) / "answer.txt").read_text()
    '42'
    """
    destination = _destination(path)
    clean(destination, owned)
    if owned is None:
        refuse_overwrite(path, overwrite=overwrite, hint=hint)
    try:
        workspace = Workspace.make(destination, owned)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield workspace.new
        _commit(workspace, path, overwrite=overwrite, hint=hint)
    except Exception as error:
        reason = _reason_of_the_disk(error)
        if reason is None:
            raise
        raise _cannot_write(path, reason) from error
    finally:
        workspace.close()


def _commit(workspace: Workspace, path: str | os.PathLike[str], *, overwrite: bool, hint: str) -> None:
    try:
        workspace.commit(overwrite=overwrite)
    except FileExistsError as error:  # it has appeared while we were writing
        raise _exists(path, hint) from error
    except (IsADirectoryError, NotADirectoryError) as error:
        kinds = ("folder", "file") if isinstance(error, IsADirectoryError) else ("file", "folder")
        told = "is a {}, and a {} was to be written; it is left as it is, choose another name".format(*kinds)
        raise OSError(error.errno, told, str(path)) from error


def restore(path: str | os.PathLike[str], owned: Collection[str] | None = None) -> None:
    """Complete what killed writers of a folder began; to be called before ``path`` is read or looked at.

    Parameters
    ----------
    path : path-like
        A folder that :func:`atomic_path` writes.
    owned : collection of str, optional
        The names that are written in it, as there.

    Examples
    --------
    >>> restore("no-such-store.zarr")
    """
    destination = _destination(path)
    if owned is not None:
        clean(destination, owned)
        return
    end = time.monotonic() + _PATIENCE_S
    while is_being_replaced(destination) and time.monotonic() < end:
        clean(destination)
        time.sleep(0.01)  # a writer that lives is between two renames


@contextmanager
def locked_folder(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other runs from writing into a folder, from the start of the work to its end.

    Parameters
    ----------
    path : path-like
        The folder, made if missing, and removed at the end if it was made and is empty.

    Raises
    ------
    FolderInUseError
        If another run works on it; says which process. One that was killed does not count.
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked_folder(folder), locked_folder(folder):
    ...     pass
    Traceback (most recent call last):
        ...
    pymc_gamma.errors.FolderInUseError: another run is writing into ... (process ... on ... since ...); ...
    """
    folder = _destination(path)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock.take(folder / LOCK_NAME)
    except OSError as error:
        raise _cannot_write(path, error) from error
    if lock is None:
        raise FolderInUseError(
            f"another run is writing into {path} ({holder(folder / LOCK_NAME)}); wait for its end, or choose another "
            f"folder. If there is no such run, delete {folder / LOCK_NAME}."
        )
    try:
        yield
    finally:
        lock.release()
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _destination(path: str | os.PathLike[str]) -> Path:
    """Where a path leads: absolute and without links."""
    return Path(os.path.realpath(user_path(path)))


def _exists(path: str | os.PathLike[str], hint: str) -> FileExistsError:
    return FileExistsError(f"{path} exists and is left as it is; choose another name or pass {hint} to replace it.")


def _reason_of_the_disk(error: BaseException | None) -> OSError | None:
    """The error of a full or broken disk behind another; astropy passes on its text alone."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            return error
        error = error.__cause__ or error.__context__
    return None


def _cannot_write(path: str | os.PathLike[str], error: OSError) -> OSError:
    if error.errno is None:
        return error
    told = f"cannot be written: {os.strerror(error.errno)}; what was there is unchanged"
    return OSError(error.errno, told, str(path))
