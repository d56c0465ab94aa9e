"""Calls of other packages, of which output and folder of the process are kept free.

What they print is no result, which standard output is for. Where they change the folder, relative paths would mean
others from then on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_thread = threading.local()
_lock = threading.Lock()


class _ByThread:
    """Standard output, but standard error for threads that are in such a call: one that hangs must not keep it."""

    def __init__(self, stdout: Any) -> None:
        self.stdout = stdout
        self.calls = 0

    def write(self, text: str) -> int:
        """To one of the two."""
        written: int = (sys.stderr if getattr(_thread, "calls", 0) else self.stdout).write(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stdout, name)


@contextmanager
def aside() -> Iterator[None]:
    """What is printed by this thread goes to standard error, and the folder is the same afterwards.

    Examples
    --------
    >>> with aside():
    ...     print("42 % of some model")
    """
    try:
        folder = os.getcwd()
    except OSError:
        folder = ""
    with _lock:
        if not isinstance(sys.stdout, _ByThread):
            sys.stdout = _ByThread(sys.stdout)
        output = sys.stdout
        output.calls += 1
    _thread.calls = getattr(_thread, "calls", 0) + 1
    try:
        yield
    finally:
        _thread.calls -= 1
        with _lock:
            output.calls -= 1
            if not output.calls and sys.stdout is output:
                sys.stdout = output.stdout
        if folder:
            with suppress(OSError):
                os.chdir(folder)
