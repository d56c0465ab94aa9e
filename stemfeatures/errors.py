"""Errors that say which file and which stage failed.

Every error the library raises for bad *data* derives from :class:`StemfeaturesError`, so that a batch can turn it
into a row of the ``errors`` table; programming errors stay ordinary Python exceptions.
"""

from __future__ import annotations

import re
from typing import Self

_SURROGATE = re.compile("[\ud800-\udfff]")
#: How ``repr``, and with it the errors of the system, write a byte of a name that is not UTF-8.
_WRITTEN = re.compile(r"(?<!\\)((?:\\\\)*)\\udc([89a-f][0-9a-f])")


def printable_text(text: str) -> str:
    r"""A text that can be printed and stored as UTF-8.

    Parameters
    ----------
    text : str
        May hold names of files as Python gives them, in which surrogates stand for bytes that are not UTF-8.

    Returns
    -------
    str
        The same, with such bytes as ``\xff`` and the like; surrogates that stand for no byte become ``\ud800``.
    """
    return text if text.isascii() else _SURROGATE.sub(_escaped, text)


def printable_message(text: str) -> str:
    r"""The same of a message, in which names may stand in quotes, as ``repr`` writes them: ``\udcff`` is ``\xff``, too.

    Parameters
    ----------
    text : str
        A message.

    Returns
    -------
    str
        The same, with each name spelt as :func:`printable_text` spells it.
    """
    return _WRITTEN.sub(r"\1\\x\2", printable_text(text))


def _escaped(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class StemfeaturesError(Exception):
    """Base class.

    Parameters
    ----------
    message : str
        What is wrong.
    source : str, optional
        The file; None for arrays.
    stage : str, optional
        The step that failed; default: that of the class.

    Attributes
    ----------
    message, source, stage
        The same.
    """

    stage = "unknown"

    def __init__(self, message: str, *, source: str | None = None, stage: str | None = None) -> None:
        super().__init__(message)
        self.message = printable_message(message)
        self.source = None if source is None else printable_text(source)
        if stage is not None:
            self.stage = stage

    def about(self, source: str) -> Self:
        """The same error, of a file.

        Parameters
        ----------
        source : str
            The file.

        Returns
        -------
        StemfeaturesError
            This one, if it named no file so far or the same; a copy that names it, if it named another.

        Examples
        --------
        >>> str(SeparationError("the network's masks are not finite").about("song.wav"))
        "song.wav: the network's masks are not finite [separate]"
        """
        source = printable_text(source)
        named = self if self.source in (None, source) else self._copied()
        named.source = source
        return named

    def read_through(self, copy: str, source: str) -> Self:
        """The error of a file of which a copy was read.

        Parameters
        ----------
        copy : str
            What this error calls it.
        source : str
            The file.

        Returns
        -------
        StemfeaturesError
            Another one, whose message calls it so, and which names it where this one named the copy or no file.

        Examples
        --------
        >>> str(DecodeError("/tmp/copy: bad header", source="/tmp/copy").read_through("/tmp/copy", "song.wav"))
        'song.wav: song.wav: bad header [decode]'
        """
        named = self._copied()
        copy, source = printable_text(copy), printable_text(source)
        named.message = self.message.replace(copy, source)
        named.args = (named.message,)
        if self.source in (None, copy):
            named.source = source
        return named

    def _copied(self) -> Self:
        # By hand: where tblib's pickling is installed, as Dask does, copy.copy lets both share their attributes.
        made = type(self).__new__(type(self), *self.args)
        vars(made).update(vars(self))
        made.__cause__, made.__traceback__ = self.__cause__, self.__traceback__
        return made

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        return f"{where}{self.message} [{self.stage}]"


class AudioError(StemfeaturesError):
    """The audio cannot be used."""

    stage = "decode"


class DecodeError(AudioError):
    """No decoder could read the file; the message holds what each of them said."""


class EmptyAudioError(AudioError):
    """The file decodes to no samples at all."""


class NonFiniteAudioError(AudioError):
    """The samples hold NaN or infinity."""


class ModelError(StemfeaturesError):
    """A checkpoint is missing, unknown or damaged."""

    stage = "model"


class CatalogError(StemfeaturesError):
    """A catalogue (manifest, folder, glob) cannot be read or is inconsistent."""

    stage = "catalog"


class DatasetError(StemfeaturesError):
    """A features directory cannot be read or written."""

    stage = "tables"


class BusyDatasetError(DatasetError):
    """Another writer is at work in a features directory."""


class ChangedDatasetError(DatasetError):
    """A features directory is not as it was when a run was planned."""


class LostPartError(DatasetError):
    """A committed part file is missing, or not as it was written; ``stemfeatures check`` tells and repairs."""


class UnreachableError(DatasetError):
    """A file of a dataset cannot be looked at now, as where a store is down; it may be whole all the same."""


class LostOutputError(DatasetError):
    """What a run has written is gone before it was committed: the directory was deleted, or its disk taken away."""


class SeparationError(StemfeaturesError):
    """The network gave values that cannot be used."""

    stage = "separate"


class EvaluationError(StemfeaturesError):
    """An estimator failed on a track with known truth, or answered something malformed."""

    stage = "evaluate"


class TrainingError(StemfeaturesError):
    """A training run cannot start or go on as asked: data are missing, or on both sides of a test."""

    stage = "train"


class WorkerError(StemfeaturesError):
    """A worker process died, or could not be started."""

    stage = "workers"


class ClusterError(StemfeaturesError):
    """A Dask cluster cannot be started or reached, or lacks what a run needs."""

    stage = "cluster"


class LostSchedulerError(ClusterError):
    """The scheduler has gone in the middle of a run; what was finished is committed."""
