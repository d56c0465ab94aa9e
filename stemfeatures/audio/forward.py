"""Files of libsndfile that are read forward only: whole ones, and Ogg files of several streams one behind the other.

Such a chain is what a radio stream is cut to, or what ``cat`` joins. libsndfile reads the first stream only, and recent
releases of ffmpeg decode the others with the tables of the first, to noise; so each is given to libsndfile by itself.
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO

import numpy as np
import soundfile

from .decoder import Refusal


class ForwardFile(soundfile.SoundFile):
    """A sound file that is only read forward: soundfile seeks after every read of a seekable file."""

    def seekable(self) -> bool:
        return False


class ByteRange(io.RawIOBase):
    """Some bytes of an open file, as a file of their own.

    Parameters
    ----------
    file : BinaryIO
        The open file; its position is left alone.
    start : int
        First byte.
    end : int
        Byte behind the last.
    """

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        super().__init__()
        self._descriptor, self._start, self._size, self._at = file.fileno(), start, end - start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence], 0)
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        data = os.pread(self._descriptor, min(len(buffer), max(self._size - self._at, 0)), self._start + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class ChainedFile:
    """The streams of an Ogg file read as one sound, with what decoding needs of :class:`soundfile.SoundFile`.

    Parameters
    ----------
    file : BinaryIO
        The open file.
    starts : tuple of int
        Where its streams begin.

    Raises
    ------
    soundfile.LibsndfileError
        The first stream cannot be read; the others, when it is their turn.
    """

    def __init__(self, file: BinaryIO, starts: tuple[int, ...]) -> None:
        ends = (*starts[1:], os.fstat(file.fileno()).st_size)
        self._ranges = [ByteRange(file, start, end) for start, end in zip(starts, ends)]
        self._current = ForwardFile(self._ranges.pop(0))
        self.samplerate, self.channels = self._current.samplerate, self._current.channels
        self.format, self.subtype, self.extra_info = self._current.format, self._current.subtype, ""

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Up to ``frames`` of the current stream, or of the next where it has ended; none behind the last."""
        while not len(block := self._current.read(frames, dtype=dtype, always_2d=always_2d)) and self._ranges:
            self._current.close()
            self._current = ForwardFile(self._ranges.pop(0))
            found = self._current.samplerate, self._current.channels
            if found != (self.samplerate, self.channels):
                self._ranges.clear()
                raise Refusal(f"the next stream of this Ogg file has {found[1]} channels at {found[0]} Hz")
        return block

    def close(self) -> None:
        """Free the decoder; the file stays open."""
        self._current.close()
