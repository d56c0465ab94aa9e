"""Files of libsndfile that are read forward only."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
import soundfile

from .riff import WavPieces
from .source import ByteRanges


class ForwardFile(soundfile.SoundFile):
    """A sound file that is only read forward: soundfile seeks after every read of a seekable file."""

    _n_read = 0

    def seekable(self) -> bool:
        return False

    def read_on(self, n_frames: int) -> np.ndarray:
        """Up to ``n_frames`` more, shape (n, channels), float32."""
        # Behind the last frame of FLAC that is stated there may be tags, in which libsndfile looks for another one.
        wanted = min(n_frames, self.frames - self._n_read) if self.format == "FLAC" else n_frames
        block = self.read(wanted, dtype="float32", always_2d=True)
        self._n_read += len(block)
        return block


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
