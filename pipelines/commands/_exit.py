"""How a command ends."""

from __future__ import annotations

import logging
from pathlib import Path

from stemfeatures.errors import StemfeaturesError

from ._text import visible

log = logging.getLogger(__name__)

DONE = 0
UNEXPECTED = 1
USAGE = 2
SOME_FAILED = 3
INTERRUPTED = 130

#: What the numbers mean, for ``--help`` and docs/cli.md.
EXIT_CODES = {
    DONE: "all done",
    UNEXPECTED: "unexpected error",
    USAGE: "what was asked for cannot be done: bad arguments, no such catalogue, unknown model",
    SOME_FAILED: "done, but some inputs failed or problems were found",
    INTERRUPTED: "interrupted (Ctrl-C)",
}


class UsageError(Exception):
    """What was asked for cannot be done as asked: one line to standard error, exit code 2."""


def failure(path: Path, error: Exception) -> str:
    """One line on why one input of several failed; the traceback of an unexpected error is logged with ``-v``."""
    if isinstance(error, StemfeaturesError):
        return visible(f"failed: {' '.join(str(error).split())}")
    log.info("%s", path, exc_info=error)
    return visible(f"failed: {path}: unexpected {type(error).__name__}: {error}")
