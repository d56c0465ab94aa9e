"""Where libsndfile breaks off in the middle of a file, ffmpeg goes on.

Not ffmpeg alone: libsndfile is faster and exact in the formats it reads whole, and no library joins two decoders.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .decoder import AudioInfo, Decoder, Refusal
from .ffmpeg_decoder import FfmpegDecoder
from .source import Piece, Source

#: A file is truncated when it decodes to less than it declares by more than this. libsndfile counts samples; the
#: containers ffmpeg reads state a duration of all their streams, encoder delay included; and every damaged place of
#: an MP3 costs a few frames.
TRUNCATION_TOLERANCE_S = {"soundfile": 0.1, "ffmpeg": 0.5, "soundfile+ffmpeg": 0.5}

_TAIL_S = 0.5  # of what was handed out is compared; longer than what decoders make of a damaged place
_REACH_S = 0.25  # how far apart the decoders may be: a few frames that one of them lost just before it broke off
_PIECES = 10
_DIFFERENCE = 0.3  # of the level; two decoders of the same frames differ by a thousandth of this
_SILENCE = 1e-3
_SKIP_FRAMES = 1 << 16


def missing_s(info: AudioInfo, n_samples: int) -> float:
    """Seconds by which a file decoded to less than it declares; 0 where it declares no length or an estimate."""
    if info.declared_duration_s is None or not info.declared_exact:
        return 0.0
    return max(info.declared_duration_s - n_samples / info.sample_rate, 0.0)


def losses(decoder: Decoder, n_samples: int) -> list[str]:
    """What a decoder that has come to its end after ``n_samples`` lost; empty where that is less than the tolerance."""
    info = decoder.info
    missing = missing_s(info, n_samples)
    if not (decoder.failure or decoder.cut or missing > TRUNCATION_TOLERANCE_S[info.decoder]):
        return []
    length = f"{n_samples / info.sample_rate:.2f} s decoded"
    if missing > 0:
        length += f" of {info.declared_duration_s:.2f} s declared"
    return [length, *([decoder.cut] if decoder.cut else [])]


class ContinuedDecoder:
    """A decoder (libsndfile), and from where it breaks off ffmpeg, which decodes from the start up to that place.

    Two decoders of one file agree in sample 0. Damage can set them apart, so the last half second handed out is
    looked for around the same place in what ffmpeg gives. When it is not found there, when ffmpeg gives no more or
    something else (sample rate, channels), the end stays where it was, and the failure says why.

    ``name``, ``info``, ``failure`` and ``message`` change when ffmpeg takes over. It reads no further than the
    declared length, as libsndfile does.
    """

    def __init__(
        self, first: Decoder, limit_s: float, *, cpu_limit_s: float = math.inf, source: Source | None = None
    ) -> None:
        self._source = first.info.path if source is None else source
        self.name, self.info, self.cut = first.name, first.info, first.cut
        self.failure: str | None = None
        self.message = ""
        self._first = first
        self._second: FfmpegDecoder | None = None
        self._limit_s, self._cpu_limit_s = limit_s, cpu_limit_s
        self._n = 0
        self._seam = ""
        self._tail = self._rest = np.zeros((0, self.info.channels), np.float32)

    def read(self, n_frames: int) -> np.ndarray:
        if self._second is not None:
            return self._read_on(n_frames)
        block = self._first.read(n_frames)
        self._n += len(block)
        n_tail = round(_TAIL_S * self.info.sample_rate)
        self._tail = np.concatenate([self._tail, block[-n_tail:]])[-n_tail:]
        if len(block) == n_frames:
            return block
        self.failure, self.message = self._first.failure, self._first.message
        short = missing_s(self.info, self._n) > TRUNCATION_TOLERANCE_S[self.name]
        # A file that breaks off before its first sample is given to ffmpeg instead; a piece of one has no other reader.
        if (self._n or isinstance(self._source, Piece)) and (self.failure or self.cut or short):
            self._take_over()
        return block if self._second is None else np.concatenate([block, self._read_on(n_frames - len(block))])

    def close(self) -> None:
        self._first.close()
        if self._second is not None:
            self._second.close()

    def _take_over(self) -> None:
        second = None
        try:
            second = FfmpegDecoder(self._source, self._limit_s, cpu_limit_s=self._cpu_limit_s, damaged=True)
            self._rest, lag = self._find_place(second)
        except (Refusal, OSError) as error:
            if second is not None:
                second.close()
            why = f"{FfmpegDecoder.name}: {error}"
            if self.failure:
                self.failure = f"{self.failure}; {why}"
            else:
                self.message = "; ".join(filter(None, (self.message, why)))
            return
        except BaseException:
            if second is not None:
                second.close()
            raise
        self._second = second
        reason = self.failure or self.message or "less than declared"
        self._seam = f"{self.name} broke off after {self._n / self.info.sample_rate:.2f} s ({reason}), ffmpeg went on"
        self._seam += f" {lag:+d} samples away" if lag else ""
        self.name = f"{self.name}+{second.name}"
        version = f"{self.info.decoder_version}+{second.info.decoder_version}"
        self.info = replace(self.info, decoder=self.name, decoder_version=version)

    def _find_place(self, second: FfmpegDecoder) -> tuple[np.ndarray, int]:
        """What ``second`` has read behind the last sample handed out, and how many samples later it has it."""
        rate, channels = second.info.sample_rate, second.info.channels
        if (rate, channels) != (self.info.sample_rate, self.info.channels):
            raise Refusal(f"decodes {channels} channels at {rate} Hz")
        reach = round(_REACH_S * rate)
        begin = self._n - len(self._tail)
        skip = max(begin - reach, 0)
        at = begin - skip
        while skip > 0 and (n := len(second.read(min(skip, _SKIP_FRAMES)))):
            skip -= n
        window = second.read(at + len(self._tail) + reach)
        if len(window) <= at + len(self._tail):
            raise Refusal("gives no more")
        found = _find(self._tail, window, at)
        if found is None:
            raise Refusal("what it gives does not fit")
        return window[found + len(self._tail) :], found - at

    def _read_on(self, n_frames: int) -> np.ndarray:
        assert self._second is not None
        info = self.info
        left = n_frames
        if info.declared_duration_s is not None and info.declared_exact:
            left = max(round(info.declared_duration_s * info.sample_rate) - self._n, 0)
        wanted = min(n_frames, left + 1)  # one more than is left, to reach the end and have what ffmpeg reports there
        block, self._rest = self._rest[:wanted], self._rest[wanted:]
        if len(block) < wanted:
            block = np.concatenate([block, self._second.read(wanted - len(block))])
        block = block[:left]
        self._n += len(block)
        if len(block) < n_frames:
            lost = missing_s(info, self._n)
            reports = (self._seam, f"{lost:.2f} s are lost" if lost >= 0.01 else "", self._second.message)
            self.message = "; ".join(filter(None, reports))
            self.failure = self.message if self._second.failure else None
        return block


def _find(tail: np.ndarray, window: np.ndarray, at: int) -> int | None:
    """Where ``tail`` begins in ``window``: ``at`` if it can be, else where they correlate best; None if they do not."""
    n = len(tail)
    if _same(tail, window[at : at + n]):
        return at
    size = 1 << (len(window) + n).bit_length()
    product, energy = np.zeros(len(window) - n), np.zeros(len(window) - n)
    for channel in range(window.shape[1]):
        # What decoders make of damage may be far over full scale.
        x, y = (np.clip(samples[:, channel].astype(np.float64), -1, 1) for samples in (tail, window))
        product += np.fft.irfft(np.fft.rfft(y, size) * np.conj(np.fft.rfft(x, size)), size)[: len(product)]
        total = np.concatenate([[0.0], np.cumsum(y**2)])
        energy += (total[n:] - total[:-n])[:-1]
    found = int(np.argmax(product / np.sqrt(energy + _SILENCE**2 * n)))
    return found if _same(tail, window[found : found + n]) else None


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether most of the pieces that are not silent are alike in both; not all, as damage may reach into some."""
    alike = sounding = 0
    for a, b in zip(np.array_split(x, _PIECES), np.array_split(y, _PIECES)):
        level = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
        if level > _SILENCE * np.sqrt(a.size):
            sounding += 1
            alike += bool(np.linalg.norm(a - b) <= _DIFFERENCE * level)
    return 2 * alike >= sounding
