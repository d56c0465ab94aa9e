"""Files that were joined end to end, read as one sound.

That is what a radio stream is cut to, or what ``cat`` joins. libsndfile and ffmpeg read the first alone, and recent
releases of ffmpeg decode the others of an Ogg file with the tables of the first, to noise; so each is opened as the
file that it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from .._util.clock import awake_s
from .continuation import losses
from .decoder import AudioInfo, Decoder, DecoderTimeout, Refusal
from .soundfile_decoder import SoundfileDecoder
from .source import Piece

_MOST_TOLD = 8


class ChainedDecoder:
    """The pieces of a file, one behind the other; what is lost in any of them is told in ``cut`` and ``message``.

    A piece that cannot be read is left out. One of another sample rate or number of channels ends the sound.

    Parameters
    ----------
    path : Path
        The file.
    starts : tuple of int
        Where its pieces begin, in bytes.
    size : int
        Bytes of the file.
    limit_s : float
        Seconds that the caller may be kept waiting in all.
    opener : callable
        Opens a piece by the decoder that reads it; its second argument is the time that is left, in seconds.

    Raises
    ------
    Refusal
        No piece can be read.
    """

    def __init__(
        self,
        path: Path,
        starts: tuple[int, ...],
        size: int,
        limit_s: float,
        opener: Callable[[Piece, float], Decoder],
    ) -> None:
        self._pieces = [Piece(path, start, end) for start, end in zip(starts, (*starts[1:], size))]
        self._n_pieces = len(self._pieces)
        self._open, self._limit_s, self._left_s = opener, limit_s, limit_s
        self._losses: list[str] = []
        self._messages: list[str] = []
        self._n = 0  # samples of the piece that is read
        first = self._next()
        if first is None:
            raise Refusal(_told(self._losses))
        self._current: Decoder | None = first
        self.info = replace(first.info, declared_duration_s=None, declared_exact=False, bit_rate=None)
        self.failure: str | None = None

    @property
    def name(self) -> str:
        """Of the decoders that read the pieces."""
        return self.info.decoder

    @property
    def cut(self) -> str | None:
        """What is lost so far."""
        return _told(self._losses) or None

    @property
    def message(self) -> str:
        """What decoders complained of so far."""
        return _told(self._messages)

    def read(self, n_frames: int) -> np.ndarray:
        blocks, n_left = [np.zeros((0, self.info.channels), np.float32)], n_frames
        while self._current is not None and n_left:
            started = awake_s()
            block = self._current.read(n_left)
            self._left_s -= awake_s() - started
            self._n += len(block)
            blocks.append(block)
            if len(block) < n_left:
                self._leave()
            n_left -= len(block)
        return np.concatenate(blocks)

    def close(self) -> None:
        if self._current is not None:
            self._current.close()

    def _place(self) -> str:
        return f"part {self._n_pieces - len(self._pieces)} of {self._n_pieces}"

    def _leave(self) -> None:
        """Note how the piece ended, and open the next."""
        assert self._current is not None
        last, place = self._current, self._place()
        last.close()
        lost = losses(last, self._n)
        for found, into in ((lost, self._losses), ([last.failure or last.message], self._messages)):
            into += [f"{place}: {text}" for text in found if text]
        self.info = _with_decoders_of(self.info, last.info)
        self._current = None
        self._current = self._next()
        self._n = 0
        if self._current is not None:
            self._refuse_others(self._current)

    def _refuse_others(self, opened: Decoder) -> None:
        info = opened.info
        if (info.channels, info.sample_rate) == (self.info.channels, self.info.sample_rate):
            return
        opened.close()
        self._current = None
        length = f", {info.declared_duration_s:.2f} s," if info.declared_duration_s is not None else ""
        others = " and all behind it are" if self._pieces else " is"
        self._losses.append(
            f"{self._place()}{length} has {info.channels} channels at {info.sample_rate} Hz: it{others} not read"
        )

    def _next(self) -> Decoder | None:
        """The next piece that can be opened; DecoderTimeout when the time is over."""
        while self._pieces:
            if self._left_s <= 0:
                raise DecoderTimeout(f"no end within {self._limit_s:g} s")
            piece = self._pieces.pop(0)
            started = awake_s()
            try:
                return self._open(piece, self._left_s)
            except DecoderTimeout:
                raise
            except (Refusal, OSError) as error:
                self._losses.append(f"{self._place()} cannot be read ({error})")
            finally:
                self._left_s -= awake_s() - started
        return None


def _told(texts: list[str]) -> str:
    """The first of many texts, and how many more there are."""
    more = [f"{len(texts) - _MOST_TOLD} more"] if len(texts) > _MOST_TOLD else []
    return "; ".join([*texts[:_MOST_TOLD], *more])


def _with_decoders_of(info: AudioInfo, other: AudioInfo) -> AudioInfo:
    """``info``, read by the decoders of both."""
    if other.decoder in info.decoder:
        return info
    if info.decoder in other.decoder:
        return replace(info, decoder=other.decoder, decoder_version=other.decoder_version)
    first, second = sorted((info, other), key=lambda one: one.decoder != SoundfileDecoder.name)
    return replace(
        info,
        decoder=f"{first.decoder}+{second.decoder}",
        decoder_version=f"{first.decoder_version}+{second.decoder_version}",
    )
