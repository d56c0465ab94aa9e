"""Standard streams that are closed, or lead to nobody: a night of work does not end by what it says."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class _Unheard:
    """A stream whose reader may leave, and whose disk may be full: what cannot be written is lost, no more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As files do; all of the text counts as written."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As files do."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_streams() -> None:
    """To be called before anything else is opened.

    Opens standard streams that whoever started this program has closed, as a file of ours, or of a process that we
    start, would get the number of one, and what is printed with it; and makes standard error one that never fails, and
    standard output, too, where it is a terminal, which may be closed.
    """
    for number in range(3):  # all of them first, as each file takes the lowest number that is free
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - until the program ends
    for name in ("stderr", "stdout"):
        stream: TextIO = getattr(sys, name)
        if name == "stderr" or stream.isatty():
            atexit.register(_let_go, stream)
            setattr(sys, name, _Unheard(stream))


def _let_go(stream: TextIO) -> None:
    """What a stream cannot take would make the interpreter end with an exit code of its own."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
