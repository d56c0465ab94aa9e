"""The identity of audio: the digest of its file's bytes."""

from __future__ import annotations

import hashlib
import os

import numpy as np


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hex, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def audio_identity(source: str | os.PathLike[str] | np.ndarray, sample_rate: int | None = None) -> str:
    """The key under which results for this audio are kept: 64 hex digits.

    For a file it is :func:`file_sha256`. For samples it is the SHA-256 of their shape, rate and float32 values,
    which is another one than that of any file they may come from.
    """
    if not isinstance(source, np.ndarray):
        return file_sha256(source)
    if sample_rate is None:
        raise ValueError("the identity of samples needs their sample_rate")
    digest = hashlib.sha256(f"{source.shape} {sample_rate} ".encode())
    digest.update(np.ascontiguousarray(source, "<f4").data)
    return digest.hexdigest()
