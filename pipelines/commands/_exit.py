"""How a command ends."""

from __future__ import annotations

import logging

from stemfeatures._util.urls import Place
from stemfeatures.errors import (
    AudioError,
    BusyDatasetError,
    CatalogError,
    ClusterError,
    DatasetError,
    EvaluationError,
    LostOutputError,
    LostPartError,
    ModelError,
    SeparationError,
    StemfeaturesError,
    TrainingError,
    UnreachableError,
)

from ._text import visible

log = logging.getLogger(__name__)

DONE = 0
UNEXPECTED = 1
USAGE = 2
SOME_FAILED = 3
STORAGE = 4
BUSY = 5
CLUSTER = 6
DAMAGED = 7
INTERRUPTED = 130

#: What the numbers mean, for ``--help`` and docs/cli.md.
EXIT_CODES = {
    DONE: "all done",
    UNEXPECTED: "unexpected error",
    USAGE: "what was asked for cannot be done: bad arguments, no such catalogue, unknown model",
    SOME_FAILED: "some inputs failed (audio that cannot be read or analysed, be it one file or one of many), or "
    "problems were found; all else is done",
    STORAGE: "cannot read or write: full disk, no permission, lost mount",
    BUSY: "another writer is at work in the features directory",
    CLUSTER: "the Dask scheduler cannot be reached, was lost, or has no usable workers",
    DAMAGED: "the features directory has lost files: stemfeatures check",
    INTERRUPTED: "interrupted (Ctrl-C)",
}


def exit_code(error: StemfeaturesError) -> int:
    """How a command ends that raised ``error``."""
    codes = {
        BusyDatasetError: BUSY,
        LostPartError: DAMAGED,
        LostOutputError: STORAGE,
        UnreachableError: STORAGE,
        ClusterError: CLUSTER,
        AudioError: SOME_FAILED,
        SeparationError: SOME_FAILED,
    }
    for kind, code in codes.items():
        if isinstance(error, kind):
            return code
    cause: BaseException | None = error
    while isinstance(error, DatasetError) and cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            return STORAGE
        cause = cause.__cause__
    if isinstance(error, EvaluationError):  # of a track, or of what was asked for
        return USAGE if error.__cause__ is None else SOME_FAILED
    usual = (CatalogError, ModelError, DatasetError, TrainingError)
    return USAGE if isinstance(error, usual) else UNEXPECTED


class UsageError(Exception):
    """What was asked for cannot be done as asked: one line to standard error, exit code 2."""


def failure(path: Place, error: Exception) -> str:
    """One line on why one input of several failed; the traceback of an unexpected error is logged with ``-v``."""
    if isinstance(error, StemfeaturesError):
        return visible(f"failed: {' '.join(str(error).split())}")
    log.info("%s", path, exc_info=error)
    return visible(f"failed: {path}: unexpected {type(error).__name__}: {error}")
