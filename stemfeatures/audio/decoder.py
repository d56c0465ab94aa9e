"""The two decoders behind :mod:`stemfeatures.audio`: libsndfile in this process, ffmpeg as a subprocess.

Both read strictly forward (a seek can hang in a damaged FLAC and is inexact in MP3), hold one block at a time, and
give up when they have kept the caller waiting for longer than ``limit_s`` in all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class AudioInfo:
    """What a file states of itself, and which decoder reads it.

    Attributes
    ----------
    path : Path
        The file.
    sample_rate : int
        Hz.
    channels : int
        Number of channels.
    declared_duration_s : float or None
        Length the header states of the audio, in seconds; None when it states none.
    declared_exact : bool
        False when that length is only an estimate: from the bit rate (MP3 without Xing header, ADTS), or that of the
        film the sound belongs to, where the container states no other.
    codec : str
        Lower case, ffmpeg's names without byte order: ``pcm_s16, pcm_f32, flac, mp3, vorbis, opus, aac, alac``...
    container : str
        Lower case: ``wav, flac, ogg, mp3, mp4, aiff, matroska``...
    bit_rate : int or None
        Bits per second as the stream states it, else file size over declared duration; None when the duration is not
        declared or an estimate.
    lossless : bool or None
        Whether the codec keeps every bit; None when not known.
    decoder : str
        ``"soundfile"``, ``"ffmpeg"``, or ``"soundfile+ffmpeg"`` where the second went on when the first broke off.
    decoder_version : str
        Its version, or both joined alike.
    start_offset_s : float
        Time of the first decoded sample in seconds, from the start of the earliest stream of the file on: more than 0
        where the sound of a film starts late.
    stream : int
        Which of the audio streams is decoded, counted from 0.
    n_streams : int
        Number of audio streams.
    """

    path: Path
    sample_rate: int
    channels: int
    declared_duration_s: float | None
    declared_exact: bool
    codec: str
    container: str
    bit_rate: int | None
    lossless: bool | None
    decoder: str
    decoder_version: str
    start_offset_s: float = 0.0
    stream: int = 0
    n_streams: int = 1


class Refusal(Exception):
    """A decoder cannot read the file; the text is what it said."""


class DecoderTimeout(Refusal):
    """A decoder kept the caller waiting for too long."""


def too_much_cpu(limit_s: float) -> str:
    """What is said of a file that takes more CPU than it may."""
    return f"decoding takes more than {limit_s:.0f} s of CPU, the limit for a file of this size (max_cpu_s_per_mb)"


class Decoder(Protocol):
    """``read(n)`` gives (k, channels) float32, fewer than ``n`` only at the end; then ``failure`` tells of a break-off.

    ``message`` holds complaints that did not stop the decoder, ``cut`` the signs that the container is incomplete.
    """

    @property
    def name(self) -> str: ...

    @property
    def info(self) -> AudioInfo: ...

    @property
    def failure(self) -> str | None: ...

    @property
    def message(self) -> str: ...

    @property
    def cut(self) -> str | None: ...

    def read(self, n_frames: int) -> np.ndarray: ...

    def close(self) -> None: ...


_LOSSLESS = re.compile(r"pcm_[suf]\d+|flac|alac|wavpack|ape|tta|tak|truehd|mlp|wmalossless|mp4als|shorten")
_LOSSY = re.compile(
    r"pcm_(mu|a)law|mp[123]|aac.*|vorbis|opus|e?ac3|wma(v\d|pro|voice)|.*adpcm.*|gsm.*|amr.*|speex|dts|cook"
)


def is_lossless(codec: str) -> bool | None:
    """Whether ``codec`` keeps every bit; None when not known."""
    if _LOSSLESS.fullmatch(codec):
        return True
    return False if _LOSSY.fullmatch(codec) else None
