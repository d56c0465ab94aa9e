"""Why tracks could not be extracted, in words: what a row of table ``errors`` comes down to."""

from __future__ import annotations

#: Reasons by what the message of an error says; the first that fits counts.
_BY_MESSAGE = (
    ("empty file (0 bytes)", ("the file is empty (0 bytes)",)),
    (
        "no such file",
        (
            "no such file",
            "No such file or directory",
            "the link leads nowhere",
            "there is no such object",
            "there is no such bucket",
        ),
    ),
    (
        "not allowed to read",
        ("Permission denied", "Operation not permitted", "the store denies access", "there are no credentials"),
    ),
    ("no regular file", ("is not a regular file", "is no regular file", "is a folder", "is a directory")),
    ("not on this machine", ("mount or download the files",)),
    ("the row names no file", ("the row names no file",)),
    ("longer than is allowed", ("max_duration_s",)),
    ("more channels than are allowed", ("max_channels",)),
    ("too low a sample rate", ("a sample rate of",)),
    ("larger than the cache (--cache-size)", ("larger than what is kept on this machine",)),
    ("no audio in the file", ("nothing but the suffix of the file says", "no audio stream", "any stream")),
)
#: Reasons by the type of the error, where the message says no more.
_BY_TYPE = {
    "EmptyAudioError": "no samples in the file",
    "NonFiniteAudioError": "NaN or infinity among the samples",
    "TrackTimeout": "time limit",
    "FetchError": "not given by its store",
    "WorkerCrash": "crashed its worker",
    "MemoryLimit": "more memory than a worker has",
    "DecodeError": "broken or unknown audio",
    "zero_bytes": "empty file (0 bytes)",
    "missing": "no such file",
    "unreadable": "broken or unknown audio",
}


def failure_reason(stage: str, error_type: str, message: str) -> str:
    """What a failure comes down to: an empty file is no broken one.

    Parameters
    ----------
    stage, error_type, message : str
        As in table ``errors``.

    Returns
    -------
    str
        A few words, the same for failures of one kind.

    Examples
    --------
    >>> failure_reason("decode", "DecodeError", "the file is empty (0 bytes)")
    'empty file (0 bytes)'
    >>> failure_reason("describe", "ZeroDivisionError", "division by zero")
    'describe: ZeroDivisionError'
    """
    for reason, signs in _BY_MESSAGE:
        if any(sign in message for sign in signs):
            return reason
    return _BY_TYPE.get(error_type, f"{stage}: {error_type}")
