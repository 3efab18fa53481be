"""Locks between processes, that end with the process that holds them.

A lock is a file that its holder has locked with ``flock``. The operating system lets go of it when the process ends,
however that ends, so a killed process blocks no one, and a process number that was given to another process since
does not matter. Some network file systems have no ``flock``. There the file says which process made it, on which
machine: it counts as held while that process runs, or, if it is on another machine, for a week.
"""

import errno
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock", "holder"]

_NO_LOCKS_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF}
_PATIENCE_S = 7 * 86400.0


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds; made by :meth:`take`.

    Parameters
    ----------
    path : pathlib.Path
        Its file.
    descriptor : int
        The open file that is locked.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = Lock.take(Path(folder) / "lock")
    ...     print(Lock.take(Path(folder) / "lock"))
    ...     lock.release()
    ...     list(Path(folder).iterdir())
    None
    []
    """

    path: Path
    descriptor: int

    @classmethod
    def take(cls, path: Path, *, sign: bool = True) -> "Lock | None":
        """Lock a file, made if missing.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        sign : bool
            Write into it who holds the lock, which needs space on the disk.

        Returns
        -------
        Lock or None
            None if another process, or another part of this one, holds it.

        Raises
        ------
        OSError
            If the file cannot be made.
        """
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                if not _locked(descriptor):
                    os.close(descriptor)
                    return None
                lock = cls(path, descriptor)
                if lock._is_current():
                    break
                os.close(descriptor)  # its last holder removed the file after we had opened it
            except BaseException:
                with suppress(OSError):
                    os.close(descriptor)
                raise
        if sign:
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _signature().encode(), 0)
            except BaseException:
                lock.release()
                raise
        return lock

    def release(self) -> None:
        """Remove the file and let go of the lock; also if Ctrl-C comes meanwhile."""
        try:
            if self._is_current():
                with suppress(OSError):
                    self.path.unlink()
        finally:
            try:
                if fcntl is not None:
                    with suppress(OSError):
                        fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # also for children that inherited the open file
            finally:
                os.close(self.descriptor)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except OSError:
            return False


def holder(path: Path) -> str:
    """Who holds a lock, in words, as its file says.

    Examples
    --------
    >>> holder(Path("no-such-file"))
    'an unknown process'
    """
    try:
        return path.read_text().strip() or "an unknown process"
    except (OSError, UnicodeError):
        return "an unknown process"


def _signature() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"


def _locked(descriptor: int) -> bool:
    """Whether the open file is locked for us now."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                return False
            if error.errno not in _NO_LOCKS_HERE:
                raise
        else:
            return True
    return not _holder_lives(descriptor)


def _holder_lives(descriptor: int) -> bool:
    """Whether the process that signed a lock runs, as far as one can know without locks of the operating system."""
    words = os.pread(descriptor, 1000, 0).decode(errors="replace").split()
    if len(words) < 4 or not words[1].isdecimal():
        return False
    if words[3] == socket.gethostname() and os.name == "posix":
        try:
            os.kill(int(words[1]), 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # it runs, as another user
        return True
    return time.time() - os.fstat(descriptor).st_mtime < _PATIENCE_S
