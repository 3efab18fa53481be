"""Where the next content of a file or folder is written, and how it takes the place of the old.

A writer of ``result`` makes the hidden folder ``.result.TOKEN.part`` beside it::

    .result.TOKEN.part/lock           held while the writer lives
    .result.TOKEN.part/new/result     what is being written
    .result.TOKEN.part/whole/result   the same when everything is written
    .result.TOKEN.part/old/           what is replaced name by name; its existence says that replacing has begun
    .result.TOKEN.part/linked/        files of the user that got a second name in "whole"

A file replaces a file in one rename, and a folder a folder in one exchange (:func:`pymc_gamma.renames.exchange`).
Where the system has no exchange the old names move to ``old`` and then the new ones to their places: at no time are
old and new mixed, and whoever finds such a folder without a living writer completes the second half. A folder without
``old`` is waste. So a process may be killed at any time.

Some folders belong to the user as well (results beside notes). Then the names that are replaced are given, and all
others stay: links to the user's files are made in the new folder before the exchange. What the user saves between the
two, under a new name or over a linked one, moves after it. A folder with something that cannot be linked, as a folder
in it, is replaced name by name, so that nothing of the user is ever out of sight. These workspaces end in ``.set``.
They lie in the folder itself where it cannot be exchanged.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pymc_gamma.locks import Lock
from pymc_gamma.renames import exchange, rename_to_free_name

__all__ = ["Workspace", "clean", "is_being_replaced", "left_behind"]

_LONGEST_NAME = 200
"""Bytes; file systems allow 255, and the names here are longer than that of the destination."""

_WRITERS = 8
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Workspace:
    """The hidden folder of one writer.

    Parameters
    ----------
    folder : pathlib.Path
        Where it is.
    destination : pathlib.Path
        What will be replaced, as an absolute path without links.
    owned : collection of str, optional
        Names in the folder ``destination`` that are replaced; None if all of it is.
    lock : Lock
        That of this writer, or of who cleans up after it.
    """

    folder: Path
    destination: Path
    owned: Collection[str] | None
    lock: Lock

    @classmethod
    def make(cls, destination: Path, owned: Collection[str] | None) -> "Workspace":
        """Make one; parent folders of the destination are made too.

        Raises
        ------
        OSError
            If that is not allowed, or not possible.
        """
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from None
        home = destination.parent if owned is None else _home(destination)
        while True:
            folder = home / f"{_prefix(destination.name)}{secrets.token_hex(4)}{_suffix(owned)}"
            folder.mkdir()
            try:
                lock = Lock.take(folder / "lock")
                if lock is not None:
                    (folder / "new").mkdir()
                    return cls(folder, destination, owned, lock)
            except FileNotFoundError:
                continue  # taken for waste, before it was locked
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

    @property
    def new(self) -> Path:
        """Where to write."""
        return self.folder / "new" / self.destination.name

    @property
    def whole(self) -> Path:
        """What was written; after an exchange, what it has replaced."""
        return self.folder / "whole" / self.destination.name

    @property
    def old(self) -> Path:
        """Where replaced names go, without exchange."""
        return self.folder / "old"

    @property
    def linked(self) -> Path:
        """Files of the user as they were when they were linked."""
        return self.folder / "linked"

    def commit(self, *, overwrite: bool) -> None:
        """Put what was written in its place.

        Raises
        ------
        FileExistsError
            If there is something and ``overwrite`` is false.
        OSError
            If the old is a folder and the new a file or the other way round, or the system does not allow the change.
        """
        _keep_modes(self.destination, self.new)
        _flush_all(self.new)
        self.new.parent.rename(self.whole.parent)
        if self.owned is not None:
            self._commit_names(self.owned, overwrite=overwrite)
        elif not overwrite:
            rename_to_free_name(self.whole, self.destination)
        elif not (self.whole.is_dir() and self.destination.is_dir()):
            self.whole.replace(self.destination)
        elif not exchange(self.whole, self.destination):
            self.old.mkdir()
            self._replace_names()
        _flush(self.destination.parent)

    def _commit_names(self, owned: Collection[str], *, overwrite: bool) -> None:
        self.destination.mkdir(parents=True, exist_ok=True)
        if not overwrite and any(os.path.lexists(self.destination / name) for name in owned):
            raise FileExistsError
        if self._may_exchange() and self._link_others(owned):
            with suppress(OSError):
                shutil.copystat(self.destination, self.whole)
            if exchange(self.whole, self.destination):
                self._bring_back(owned)
                return
        self.old.mkdir()
        self._replace_names()
        _flush(self.destination)

    def _may_exchange(self) -> bool:
        """Whether a new folder may take the place of the old: not in one in which this process works."""
        try:
            here = Path.cwd()
        except OSError:
            return False
        return self.folder.parent == self.destination.parent and not here.is_relative_to(self.destination)

    def _link_others(self, owned: Collection[str]) -> bool:
        """Give the files that are not ours a second name in the new folder; False if there are others than files."""
        self.linked.mkdir()
        return all(
            _link(self.destination, self.linked, name) and _link(self.linked, self.whole, name)
            for name in _others(self.destination, owned)
        )

    def _bring_back(self, owned: Collection[str]) -> None:
        """Move what the user has made or saved since it was linked from the old folder to the one in its place."""
        for name in _others(self.whole, owned):
            old, new, linked = self.whole / name, self.destination / name, self.linked / name
            if _is_same(old, linked) or _is_same(old, new):
                continue
            if _is_same(new, linked) and not old.is_dir():
                old.replace(new)
                continue
            try:
                rename_to_free_name(old, new)
            except FileExistsError:  # saved twice, before the exchange and after it: both stay
                rename_to_free_name(old, new.with_name(f"{name}.{secrets.token_hex(4)}"))

    def _replace_names(self) -> None:
        """Move old names out of the way and new ones in; may be interrupted and called again."""
        source, target = (
            (self.whole.parent, self.destination.parent) if self.owned is None else (self.whole, self.destination)
        )
        names = sorted(one.name for one in source.iterdir() if self.owned is None or one.name in self.owned)
        for name in names:
            if os.path.lexists(target / name):
                (target / name).rename(self.old / f"{secrets.token_hex(4)}-{name}")
        _flush(target)
        for name in names:
            (source / name).rename(target / name)

    def close(self) -> None:
        """Complete what was begun, and remove the folder.

        Raises
        ------
        OSError
            If that is not possible; then the folder stays, for the next writer.
        """
        try:
            if self.old.is_dir():
                self._complete()
            elif self.owned is not None and self.whole.is_dir() and self.destination.is_dir():
                self._bring_back(self.owned)
            for part in ("new", "old", "whole", "linked"):  # "old" and "linked" speak of "whole"
                shutil.rmtree(self.folder / part, ignore_errors=True)
        finally:
            self.lock.release()
        _remove(self.folder)

    def _complete(self) -> None:
        try:
            self.destination.parent.mkdir(parents=True, exist_ok=True)
            self._replace_names()
        except OSError as error:
            told = (
                f"replacing {self.destination} stopped half way ({error}); the old content is in {self.old}, the new "
                f"in {self.whole}, and the next run that writes there completes the change"
            )
            raise OSError(told) from error


def clean(destination: Path, owned: Collection[str] | None = None) -> None:
    """Complete or remove what killed writers of a destination left; leaves alone what belongs to living ones.

    Parameters
    ----------
    destination : pathlib.Path
        What they wrote, as an absolute path without links.
    owned : collection of str, optional
        Names in the folder that they replaced; None if all of it.
    """
    for folder in _workspaces(destination, owned):
        with suppress(OSError):  # a folder that cannot be removed is no reason not to write
            lock = Lock.take(folder / "lock", sign=False)
            if lock is not None:
                Workspace(folder, destination, owned, lock).close()


def left_behind(destination: Path, owned: Collection[str]) -> list[Path]:
    """What writers of names in a folder have left, dead or alive, that may hold something which is not in its place.

    Parameters
    ----------
    destination : pathlib.Path
        An absolute path without links.
    owned : collection of str
        Names in the folder that they replace.
    """
    return [one for one in _workspaces(destination, owned) if (one / "whole").is_dir()]


def is_being_replaced(destination: Path) -> bool:
    """Whether a writer, dead or alive, has moved the old content away and the new not yet to its place.

    Parameters
    ----------
    destination : pathlib.Path
        An absolute path without links.
    """
    return not os.path.lexists(destination) and any((one / "old").is_dir() for one in _workspaces(destination, None))


def _workspaces(destination: Path, owned: Collection[str] | None) -> Iterator[Path]:
    pattern = re.compile(re.escape(_prefix(destination.name)) + r"[0-9a-f]{8}" + re.escape(_suffix(owned)))
    for home in (destination.parent,) if owned is None else (destination.parent, destination):
        with suppress(OSError):  # of a folder that is not there
            yield from [one for one in home.iterdir() if pattern.fullmatch(one.name)]


def _prefix(name: str) -> str:
    encoded = os.fsencode(name)
    return f".{name}." if len(encoded) <= _LONGEST_NAME else f".{hashlib.blake2b(encoded, digest_size=8).hexdigest()}."


def _suffix(owned: Collection[str] | None) -> str:
    return ".part" if owned is None else ".set"


def _home(destination: Path) -> Path:
    """Folder from which a folder can be exchanged; within it where it is mounted or its parent is not ours."""
    parent = destination.parent
    if destination.is_dir() and (
        destination == parent or not os.access(parent, os.W_OK) or destination.stat().st_dev != parent.stat().st_dev
    ):
        return destination
    return parent


def _others(folder: Path, owned: Collection[str]) -> list[str]:
    return [one.name for one in folder.iterdir() if one.name not in owned]


def _remove(folder: Path) -> None:
    """Remove a folder, although a thread of a writer that failed (zarr has several) may still add to it."""
    end = time.monotonic() + _PATIENCE_S
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.02)
        shutil.rmtree(folder, ignore_errors=True)


def _link(source: Path, target: Path, name: str) -> bool:
    """Give a file (no folder) a second name in another folder, if the file system can."""
    try:
        if stat.S_ISDIR((source / name).lstat().st_mode):
            return False
        os.link(source / name, target / name, follow_symlinks=False)
    except (OSError, NotImplementedError):
        return False
    return True


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names exist and are of the same file; links are not followed."""
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except FileNotFoundError:
        return False


def _keep_modes(old: Path, new: Path) -> None:
    """Give files and folders the permissions of those they replace."""
    for path in _tree(new):
        replaced = old / path.relative_to(new)
        if not replaced.is_symlink() and replaced.exists() and replaced.is_dir() == path.is_dir():
            with suppress(OSError):
                shutil.copymode(replaced, path)


def _flush_all(path: Path) -> None:
    """Have the disk hold a file, or a folder with everything in it, before its name says so."""
    with ThreadPoolExecutor(_WRITERS) as pool:  # side by side: the disk writes many as fast as one
        list(pool.map(_flush, _tree(path)))


def _flush(path: Path) -> None:
    with suppress(PermissionError):  # of a mode that its owner may not read
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _tree(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir():
        for root, folders, files in os.walk(path):
            yield from (Path(root, name) for name in (*folders, *files))
