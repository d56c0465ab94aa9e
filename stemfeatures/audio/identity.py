"""The identity of audio: the digest of its file's bytes."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from .._util.files import open_regular


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, read in pieces.

    Parameters
    ----------
    path : str or path-like
        A regular file.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    OSError
        It cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def audio_identity(source: str | os.PathLike[str] | np.ndarray, sample_rate: int | None = None) -> str:
    """The key under which results for this audio are kept.

    For a file it is :func:`file_sha256`. For samples it is the SHA-256 of their shape, rate and float32 values,
    which is another one than that of any file they may come from.

    Parameters
    ----------
    source : str, path-like or numpy.ndarray
        A file, or samples of any shape.
    sample_rate : int or None
        Hz, of samples.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    ValueError
        Samples without a ``sample_rate``.
    OSError
        The file cannot be read.
    """
    if not isinstance(source, np.ndarray):
        return file_sha256(source)
    if sample_rate is None:
        raise ValueError("the identity of samples needs their sample_rate")
    digest = hashlib.sha256(f"{source.shape} {sample_rate} ".encode())
    digest.update(np.ascontiguousarray(source, "<f4").data)
    return digest.hexdigest()
