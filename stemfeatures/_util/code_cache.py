"""Compiled code on disk that any number of processes fill at a time, on any file system, without a lock.

Numba numbers the files of a function and keeps the numbers in an index, which it reads, changes and writes while others
do the same. Of two processes that compile other signatures of one function at a time both may take one number: then the
index names the code of another signature, and who calls it crashes. Here the name of a file comes from all that its
code depends on, also the constants that its module has from others. There is no index, nobody writes where another
signature is read, and who compiles what is being compiled elsewhere writes the same.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from .files import replacing

logger = logging.getLogger(__name__)


class CodeCache(FunctionCache):
    """What a compiled function of numba loads its code from, and saves it to.

    Code that cannot be kept, on a full disk or one that is not written to, is used by this process all the same.

    Parameters
    ----------
    function : callable
        What is compiled; its arguments are numbers and arrays.

    Raises
    ------
    RuntimeError
        There is no folder to keep it in.
    """

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        locator = self._impl.locator
        stamp = locator.get_source_stamp()
        files = CodeFiles(
            Path(locator.get_cache_path()), self._impl.filename_base, lambda: (stamp, *_frozen(function, set()))
        )
        self._cache_file = files  # type: ignore[assignment]

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code of a signature."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            logger.info("compiled code is not kept: %s", error)


class CodeFiles:
    """The code of one function, a file a signature.

    Parameters
    ----------
    folder : Path
        Where they lie.
    name : str
        What their names begin with.
    stamp : Callable[[], object]
        Tells the source and what it reads; called once, when all that is declared beside the function is there.
    """

    def __init__(self, folder: Path, name: str, stamp: Callable[[], object]) -> None:
        self._folder, self._name, self._stamp = folder, name, stamp

    @cached_property
    def _source(self) -> str:
        return _digest(self._stamp())

    def path(self, key: object) -> Path:
        """The file of a signature on a processor, of this source and release of numba."""
        return self._folder / f"{self._name}.{self._source}.{_digest((numba.__version__, key))}.nbc"

    def load(self, key: object) -> Any:
        """What was saved; None where nothing was, or what is there cannot be read."""
        path = self.path(key)
        try:
            found, data = pickle.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except Exception as error:  # what unpickling the rest of a file raises is anything
            logger.info("%s: compiling anew: %s", path, error)
            return None
        return data if found == key else None

    def save(self, key: object, data: object) -> None:
        """Save, and delete what earlier sources left; raises OSError."""
        with replacing(self.path(key)) as path:
            path.write_bytes(dumps((key, data)))
        for other in self._folder.glob(f"{self._name}.*.nbc"):
            if not other.name.startswith(f"{self._name}.{self._source}."):
                other.unlink(missing_ok=True)

    def flush(self) -> None:
        """Delete all of this source."""
        for path in self._folder.glob(f"{self._name}.{self._source}.*.nbc"):
            path.unlink(missing_ok=True)


def _frozen(function: FunctionType, seen: set[FunctionType]) -> Iterator[object]:
    """The values of its module that numba compiles into a function, and the compiled functions that it calls."""
    seen.add(function)
    for name in sorted(set(_names(function.__code__))):
        value = function.__globals__.get(name)
        if isinstance(value, Dispatcher):
            called = value.py_func
            if called not in seen:
                yield name, called.__code__.co_code, [c for c in called.__code__.co_consts if _is_plain(c)]
                yield from _frozen(called, seen)
        elif isinstance(value, np.ndarray):
            yield name, value.dtype, value.shape, value.tobytes()
        elif _is_plain(value):
            yield name, value


def _names(code: CodeType) -> Iterator[str]:
    """Global names in a function and in those that are defined in it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | complex | str | bytes | np.generic)


def _digest(of: object) -> str:
    return hashlib.sha256(repr(of).encode()).hexdigest()[:16]
