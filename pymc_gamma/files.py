"""Files that appear whole or not at all.

A result is written to a temporary name beside its destination and renamed at the end. On POSIX and NTFS a
rename inside one directory is atomic, so a reader never meets half a file and an interrupted run leaves the
old one alone.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_path", "refuse_overwrite"]


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
    if not overwrite and Path(path).exists():
        raise FileExistsError(f"{path} exists and is left as it is; choose another name or pass {hint} to replace it.")


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Temporary path that takes the name ``path`` when the block ends without an error.

    Works for files and for directories (zarr stores). The temporary name keeps the suffixes of ``path``,
    because writers choose the format or the compression from them.

    Parameters
    ----------
    path : path-like
        Destination. Missing parent directories are made.
    overwrite : bool
        Replace an existing destination.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    FileExistsError
        If ``path`` exists and ``overwrite`` is false; checked before anything is written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "answer.txt") as temporary:
    ...         _ = temporary.write_text("42")
    ...     (Path(folder) / "answer.txt").read_text()
    '42'
    """
    destination = Path(path)
    refuse_overwrite(destination, overwrite=overwrite)
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{secrets.token_hex(4)}-{destination.name}")
    try:
        yield temporary
        # The destination may have appeared while we were writing.
        refuse_overwrite(destination, overwrite=overwrite)
        if destination.is_dir():
            # A directory cannot be replaced in one step: move it aside first.
            aside = destination.with_name(f".{secrets.token_hex(4)}-old-{destination.name}")
            destination.rename(aside)
            temporary.rename(destination)
            shutil.rmtree(aside)
        else:
            temporary.replace(destination)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
