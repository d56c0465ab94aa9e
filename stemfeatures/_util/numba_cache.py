"""Where compiled functions are kept: ours by :mod:`.code_cache`, librosa's in a cache that one process at a time fills.

Numba writes a vectorised function and its wrapper as two files, each naming symbols of the process that compiled it.
Of two processes that fill a cache at once each may leave one of them, and from then on every process that calls the
function from that cache dies of a segmentation fault (https://github.com/numba/numba/issues/10128).
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache, wraps
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

from .files import cache_folders
from .python_process import python_command
from .system import lock_file, user_id

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])

#: Calls everything in librosa that numba vectorises.
_CALL_ALL = """
import librosa, numpy
y = numpy.random.default_rng(0).standard_normal(22050).astype("float32")
for x in (y, y.astype("float64")):
    librosa.pyin(x, sr=22050, fmin=100, fmax=500), librosa.yin(x, sr=22050, fmin=100, fmax=500)
    librosa.util.localmax(x), librosa.util.localmin(x), librosa.zero_crossings(x)
    librosa.onset.onset_detect(y=x, sr=22050), librosa.beat.beat_track(y=x, sr=22050), librosa.beat.plp(y=x, sr=22050)
"""


def import_librosa() -> Any:
    """The module :mod:`librosa`; see :func:`prepare_numba_cache`."""
    prepare_numba_cache()
    import librosa

    return librosa


def prepare_numba_cache() -> None:
    """Let compiled functions outlive the process, and see that those of librosa are there and whole.

    The first call for a cache takes a minute; where the cache is broken it is emptied. Where numba was imported before
    the first call of this module, its cache is the choice of whoever did that.
    """
    if choose_numba_cache() and (folder_name := os.environ.get("NUMBA_CACHE_DIR")):
        _fill(folder_name)


@cache
def choose_numba_cache() -> bool:
    """Set ``NUMBA_CACHE_DIR`` to the user's cache folder unless it is set; False where numba was imported already.

    Numba's own choice is the folder of the installed library, which is often not writable, and then every process
    compiles anew for up to a minute.
    """
    if "numba" in sys.modules:
        return False
    if "NUMBA_CACHE_DIR" not in os.environ:
        folders = [folder / "numba" for folder in cache_folders()]
        os.environ["NUMBA_CACHE_DIR"] = str(next(filter(_make_writable, folders), None) or _temporary_cache())
    return True


def _make_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _temporary_cache() -> Path:
    """A folder below the temporary one, where others may have put one of that name with code of theirs in it."""
    folder = Path(tempfile.gettempdir()) / f"stemfeatures-{user_id()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == user_id() and not status.st_mode & 0o022
    except OSError:
        ours = False
    if ours:
        return folder
    logger.warning("%s is not ours alone; compiled code is kept for this process only", folder)
    folder = Path(tempfile.mkdtemp(prefix="stemfeatures-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def compiled(**options: Any) -> Callable[[Function], Function]:
    """``numba.njit`` with a cache in that folder, for our own functions, which release the lock of the interpreter.

    Processes may compile at once, see :mod:`.code_cache`.
    """
    choose_numba_cache()
    from numba import njit

    from .code_cache import CodeCache

    def decorate(function: Function) -> Function:
        compiled = njit(nogil=True, **options)(function)
        try:
            compiled._cache = CodeCache(function)
        except RuntimeError as error:
            logger.info("compiled code is kept for this process only: %s", error)
        return cast(Function, compiled)

    return decorate


def load_compiler() -> None:
    """Set up now what numba sets up at the first call of any compiled function, which takes a third of a second.

    Processes that are forked from this one need not.
    """
    compiled()(_nothing)()


def _nothing() -> None:
    pass


def compiled_when_called(**options: Any) -> Callable[[Function], Function]:
    """:func:`compiled`, but numba is not imported before the first call: many import what is declared beside it.

    Other compiled functions cannot call such a one.
    """

    def decorate(function: Function) -> Function:
        @cache
        def code() -> Callable[..., Any]:
            return compiled(**options)(function)

        @wraps(function)
        def call(*arguments: Any) -> Any:
            return code()(*arguments)

        return cast(Function, call)

    return decorate


@cache
def _fill(folder_name: str) -> None:
    spec = find_spec("librosa")
    versions = [sys.version, metadata.version("librosa"), metadata.version("numba"), spec.origin if spec else None]
    versions.append(_processor())  # code is compiled for it, and computers may share a home
    folder = Path(folder_name)
    mark = folder / f".filled-{hashlib.sha256(repr(versions).encode()).hexdigest()[:16]}"
    if mark.exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w") as file:
            lock_file(file)
            if mark.exists():
                return
            logger.info("compiling librosa's functions into %s, once", folder)
            if _call_all() != 0:
                for compiled in folder.glob("*/*.nb[ic]"):
                    compiled.unlink()
                _call_all()
            mark.touch()
    except OSError:  # not writable: then nobody fills it
        return


def _processor() -> str:
    """What this processor is and can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({s for s in lines if s.startswith(("model name", "flags", "CPU part", "Features"))}))


def _call_all() -> int:
    """The exit code of a process that uses the cache."""
    return subprocess.run(python_command(_CALL_ALL), capture_output=True).returncode
