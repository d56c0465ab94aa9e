"""Files of libsndfile that are read forward only: whole ones, and several streams one behind the other in a file.

Such a chain of Ogg or FLAC is what a radio stream is cut to, or what ``cat`` joins. libsndfile reads the first stream
only, and recent releases of ffmpeg decode the others of an Ogg file with the tables of the first, to noise; so each is
given to libsndfile by itself.
"""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO

import numpy as np
import soundfile

from .._util.system import read_at
from .decoder import Refusal
from .riff import WavPieces

_UNKNOWN_FRAMES = (1 << 63) - 1  # of libsndfile


class ForwardFile(soundfile.SoundFile):
    """A sound file that is only read forward: soundfile seeks after every read of a seekable file."""

    def seekable(self) -> bool:
        return False


class ByteRanges(io.RawIOBase):
    """Some bytes of an open file, as a file of their own.

    Parameters
    ----------
    file : BinaryIO
        The open file; its position is left alone.
    ranges : sequence of (int, int)
        First byte, and byte behind the last, of each piece.
    head : bytes
        What is read in front of them.
    """

    def __init__(self, file: BinaryIO, ranges: Sequence[tuple[int, int]], head: bytes = b"") -> None:
        super().__init__()
        self._descriptor, self._ranges, self._head = file.fileno(), ranges, head
        lengths = [len(head), *(end - start for start, end in ranges)]
        self._ends = list(accumulate(lengths))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence]
        self._at = max(offset + base, 0)
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        done = 0  # whole: libsndfile takes what is short for the end
        while done < len(buffer) and (data := self._some(len(buffer) - done)):
            buffer[done : done + len(data)] = data
            done += len(data)
            self._at += len(data)
        return done

    def _some(self, n: int) -> bytes:
        """Up to ``n`` bytes from the position on, of one piece."""
        if self._at >= self._ends[-1]:
            return b""
        if self._at < len(self._head):
            return self._head[self._at : self._at + n]
        k = bisect_right(self._ends, self._at)
        _start, end = self._ranges[k - 1]
        n_left = self._ends[k] - self._at
        return read_at(self._descriptor, min(n, n_left), end - n_left)


class PieceFile(ForwardFile):
    """The samples of a WAV that lie in several places, or elsewhere than its header says.

    Parameters
    ----------
    file : BinaryIO
        The open file.
    pieces : WavPieces
        Where they are.
    """

    def __init__(self, file: BinaryIO, pieces: WavPieces) -> None:
        super().__init__(ByteRanges(file, pieces.ranges, pieces.head))
        #: Why something is missing, if it is.
        self.cut = pieces.cut


class ChainedFile:
    """The streams of an Ogg or FLAC file read as one sound, with what decoding needs of :class:`soundfile.SoundFile`.

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
        self._ranges = [ByteRanges(file, [piece]) for piece in zip(starts, ends)]
        self._open_next()
        self.samplerate, self.channels = self._current.samplerate, self._current.channels
        self.format, self.subtype, self.extra_info = self._current.format, self._current.subtype, ""

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Up to ``frames`` of the current stream, or of the next where it has ended; none behind the last."""
        while not len(block := self._read_current(frames, dtype, always_2d)) and self._ranges:
            self._current.close()
            self._open_next()
            found = self._current.samplerate, self._current.channels
            if found != (self.samplerate, self.channels):
                self._ranges.clear()
                raise Refusal(f"the next stream of this file has {found[1]} channels at {found[0]} Hz")
        return block

    def _open_next(self) -> None:
        self._current = ForwardFile(self._ranges.pop(0))
        # Behind the last frame of FLAC that is stated there may be tags, in which libsndfile looks for another one.
        self._n_left = self._current.frames if self._current.format == "FLAC" else _UNKNOWN_FRAMES

    def _read_current(self, frames: int, dtype: str, always_2d: bool) -> np.ndarray:
        block = self._current.read(min(frames, self._n_left), dtype=dtype, always_2d=always_2d)
        self._n_left -= len(block)
        return block

    def close(self) -> None:
        """Free the decoder; the file stays open."""
        self._current.close()
