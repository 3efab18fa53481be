"""Compiled kernels, and the one key under which they are cached.

Numba compiles what a kernel calls and the constants it reads into the kernel, but when it looks for machine code of an
earlier process it compares only the file that holds the kernel. After an edit of another file it would run what was
compiled before. Kernels are therefore kept in a folder whose name is a hash of *all* their sources, and of the versions
of what compiles them: the files that use this module, found by reading the package, and the files of the package that
these import, and so on. PyTensor's own cache of compiled graphs takes the same hash, see :func:`cache_version`.

Folders are looked for in this order, the first one in which files can be written is used: the folder named by
``NUMBA_CACHE_DIR``, ``__pycache__`` of the package, the user's cache folder. Without one the kernels are compiled in
each process, and a warning says so. The four folders used last are kept.

Should a source change while a process runs, what is in its memory may be of either version: it then neither reads
nor writes machine code. The same holds if Python runs another version than that in the file: it takes the compiled
``.pyc`` of an earlier source that had the same size and the same second (``cp -p``, ``rsync -t``).
"""

import functools
import hashlib
import importlib.util
import marshal
import os
import re
import secrets
import shutil
import site
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import numba as nb
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _Cache, _CacheLocator
from numba.core.dispatcher import Dispatcher

from pymc_gamma.errors import warn_user

__all__ = ["cache_version", "kernel"]

_PACKAGE = Path(__file__).parent
_INSTALLED = (
    *{sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    site.getusersitepackages() + os.sep,
    str(Path(nb.__file__).parent),
)
"""What may call a kernel on behalf of a user: numba, PyTensor, PyMC, whatever is installed."""
_PREFIX = "kernels-"
_KEPT = 4
_IMPORT = re.compile(
    rb"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\((?:[^)#]|#[^\n]*)*\)|[^\n]*)|^[ \t]*import[ \t]+([^\n]*)",
    re.MULTILINE,
)
_COMMENT = re.compile(rb"#[^\n]*")
_NAME = re.compile(rb"[\w.]+")
_SELF = b"compilation"


def kernel(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Compile a function with numba, without Python objects and without the interpreter lock.

    Parameters
    ----------
    function : callable, optional
        What to compile; without it, a decorator with these options is returned.
    **options
        Options of :func:`numba.njit`, but not ``cache``: machine code is always cached, see
        :mod:`pymc_gamma.compilation`.

    Returns
    -------
    callable
        The compiled function.

    Examples
    --------
    >>> from pymc_gamma.compilation import kernel
    >>> @kernel(error_model="numpy")
    ... def half(x):
    ...     return x / 2
    >>> half(3.0)
    1.5
    """
    if function is None:
        return functools.partial(kernel, **options)
    # said even if it is False: else numba takes it from whatever calls the kernel first, and PyTensor rearranges sums
    compiled = nb.njit(nogil=True, **{"fastmath": False, **options})(function)
    if isinstance(compiled, Dispatcher):  # not under NUMBA_DISABLE_JIT
        compiled._cache = _KernelCache(function)  # type: ignore[attr-defined]
    return compiled


def cache_version() -> int:
    """Number that changes with the sources of kernels: for PyTensor's cache of what it compiles around them.

    Returns
    -------
    int
        Below 2**48; another one at each call after a source changed while this process ran.

    Examples
    --------
    >>> from pymc_gamma.compilation import cache_version
    >>> cache_version() == cache_version()
    True
    """
    return secrets.randbits(48) if _sources.changed() else int(_sources.key[:12], 16)


class _Sources:
    """The files that kernels are compiled from, as they were when this process read them.

    Parameters
    ----------
    package : pathlib.Path
        Folder of the package.
    """

    def __init__(self, package: Path) -> None:
        self._package = package
        self._stamps: dict[Path, tuple[int, ...] | None] = {}
        content: dict[Path, bytes] = {}
        for path in sorted(package.rglob("*.py")):
            stamp = _stamp(path)
            content[path] = path.read_bytes()
            self._stamps[path] = stamp
        to_read = [path for path, source in content.items() if _SELF in source and self._uses_this_module(path, source)]
        found: set[Path] = set()
        while to_read:
            path = to_read.pop()
            if path not in found:
                found.add(path)
                to_read += [other for other in self._imported(path, content[path]) if other in content]
        self.paths = tuple(sorted(found))
        self._stamps = {path: self._stamps[path] for path in self.paths}
        versions = (nb.__version__, llvmlite.__version__, np.__version__, sys.version, sys.implementation.cache_tag)
        digest = hashlib.blake2b(repr(versions).encode(), digest_size=16)
        for path in self.paths:
            digest.update(f"{path.relative_to(package).as_posix()} {len(content[path])}\n".encode())
            digest.update(content[path])
        self.key = digest.hexdigest()
        self.outdated = tuple(path for path in self.paths if _is_outdated(path, content[path]))

    def changed(self) -> bool:
        """Whether what runs may be another version than what the key was made from."""
        return bool(self.outdated) or any(_stamp(path) != stamp for path, stamp in self._stamps.items())

    def _uses_this_module(self, path: Path, source: bytes) -> bool:
        return any(other.stem == _SELF.decode() for other in self._imported(path, source))

    def _imported(self, path: Path, source: bytes) -> Iterator[Path]:
        """Files that a source may import from this package; some of them may not exist."""
        name = self._package.name
        for dots, module, names, modules in _IMPORT.findall(source):
            if dots:
                base = path.parents[len(dots) - 1]
                parts = module.decode().split(".") if module else []
            elif module:
                base, (first, *parts) = self._package, module.decode().split(".")
                if first != name:
                    continue
            else:
                for one in _NAME.findall(modules):
                    first, *parts = one.decode().split(".")
                    if first == name and parts:
                        yield from _files(self._package.joinpath(*parts))
                continue
            origin = base.joinpath(*parts)
            for one in _NAME.findall(_COMMENT.sub(b"", names)):
                # a name that a package gives is one of its modules, or comes from its __init__
                yield from _files(origin / one.decode()) if origin.is_dir() else ()
            yield from _files(origin)


def _files(module: Path) -> Iterator[Path]:
    """Files that a module may be."""
    yield module.with_name(f"{module.name}.py")
    yield module / "__init__.py"


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with a file, even if its content and time of modification are put back."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ctime_ns, status.st_ino


def _is_outdated(path: Path, source: bytes) -> bool:
    """Whether Python would run code that is not that of the source: a ``.pyc`` of the same size and second."""
    try:
        code = Path(importlib.util.cache_from_source(str(path))).read_bytes()
        modified = int(path.stat().st_mtime)
    except (OSError, NotImplementedError):  # there is none
        return False
    flags, time, size = (int.from_bytes(code[k : k + 4], "little") for k in (4, 8, 12))
    fits = (time, size) == (modified & 0xFFFFFFFF, len(source) & 0xFFFFFFFF)
    if code[:4] != importlib.util.MAGIC_NUMBER or not (fits if flags == 0 else flags == 1):  # 3: compares the content
        return False
    try:
        return bool(marshal.loads(code[16:]) != compile(source, path, "exec", dont_inherit=True))
    except (EOFError, ValueError, TypeError, SyntaxError):  # Python refuses to run it
        return False


_sources = _Sources(_PACKAGE)


def _places() -> Iterator[Path]:
    """Where folders of machine code may be, the best first."""
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR).expanduser() / _PACKAGE.name
    yield _PACKAGE / "__pycache__"
    from platformdirs import user_cache_path

    yield user_cache_path(_PACKAGE.name)


@functools.cache
def _folder() -> Path | None:
    """The folder of machine code, made if it is not there; none if files can be written nowhere."""
    if _sources.outdated:
        names = ", ".join(importlib.util.cache_from_source(str(path)) for path in _sources.outdated)
        _warn(
            "Python runs an older version of the source, which had the same size and second",
            f"remove {names}, or touch the source.",
        )
        return None
    reason: OSError | None = None
    for place in _places():
        folder = place / f"{_PREFIX}{_sources.key}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            os.utime(folder)  # used now, see _remove_old
        except OSError as error:
            reason = error
        else:
            _remove_old(place)
            return folder
    _warn(str(reason))
    return None


def _remove_old(place: Path) -> None:
    """Remove all folders of machine code but those used last."""
    used: dict[Path, int] = {}
    for folder in place.glob(f"{_PREFIX}*"):
        stamp = _stamp(folder)
        if stamp is not None:  # another process may have removed it
            used[folder] = stamp[0]
    for folder in sorted(used, key=lambda folder: used[folder], reverse=True)[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _warn(
    reason: str, advice: str = "name a folder that can be written to in the environment variable NUMBA_CACHE_DIR."
) -> None:
    warn_user(
        f"compiled code cannot be kept for the next process ({reason}), which will take a minute to compile it again; "
        f"{advice}",
        called_from=_INSTALLED,
    )


class _Locator(_CacheLocator):
    """Says to numba where the machine code of a kernel is."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._py_file = function.__code__.co_filename
        self._line = function.__code__.co_firstlineno
        self._folder = folder

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return _sources.key

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Implementation(CompileResultCacheImpl):
    """Names of the files of a kernel."""

    def __init__(self, function: Callable[..., Any]) -> None:
        folder = _folder()
        assert folder is not None
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function, folder)
        name = f"{function.__module__}.{function.__qualname__}"
        self._filename_base = self.get_filename_base(name, getattr(sys, "abiflags", ""))


class _FunctionCache(FunctionCache):
    _impl_class = _Implementation


class _KernelCache(_Cache):
    """Numba's cache of a function, in the folder of the sources; looked for when the function is first called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._enabled = True
        self._opened: FunctionCache | None = None

    def _files(self) -> FunctionCache | None:
        if self._opened is None and _folder() is not None:
            self._opened = _FunctionCache(self._function)
        return self._opened

    @property
    def cache_path(self) -> str | None:
        files = self._files()
        return None if files is None else str(files.cache_path)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        files = self._files()
        if not self._enabled or files is None or _sources.changed():
            return None
        try:
            return files.load_overload(sig, target_context)
        except Exception:  # a damaged file can fail in any way; the kernel is compiled and written anew
            self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        files = self._files()
        if not self._enabled or files is None or _sources.changed():
            return
        try:
            files.save_overload(sig, data)
        except OSError as error:
            _warn(str(error))

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        files = self._files()
        if files is not None:
            try:
                files.flush()
            except OSError as error:
                _warn(str(error))
