"""Audio files as streams of blocks, opened by the decoder that reads them best; see :mod:`stemfeatures.audio`."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soxr

from ..errors import DecodeError, EmptyAudioError, NonFiniteAudioError
from .continuation import TRUNCATION_TOLERANCE_S, ContinuedDecoder, missing_s
from .decoder import AudioInfo, Decoder, DecoderTimeout, Refusal
from .ffmpeg_decoder import FfmpegDecoder, ffmpeg_path, ffmpeg_version
from .identity import file_sha256
from .resampling import StreamResampler
from .soundfile_decoder import SoundfileDecoder

log = logging.getLogger(__name__)


# Beyond these a header lies; the block size keeps what is left within 256 MB.
_MAX_SAMPLE_RATE = 1_000_000
_MAX_CHANNELS = 255
_MAX_BLOCK_VALUES = 1 << 26

_DECODERS: tuple[type[SoundfileDecoder] | type[FfmpegDecoder], ...] = (SoundfileDecoder, FfmpegDecoder)


class AudioStream:
    """The samples of one file in order, as float32 blocks of shape ``(channels, n)``; made by :func:`open_audio`.

    An iterator and a context manager. Memory is a few blocks, whatever the length of the file.

    Attributes
    ----------
    info : what the file says of itself, and which decoder reads it. The decoder becomes ``"soundfile+ffmpeg"`` when
        libsndfile breaks off on the way and ffmpeg goes on: look there after the last block.
    n_samples : samples per channel handed out so far; all of them after the last block.
    decoded_duration_s : the same in seconds.
    status : None until the last block was handed out, then ``"ok"``, or ``"truncated"`` when the file ends before its
        declared length or the last decoder broke off. A merely estimated length (``info.declared_exact`` is False) is
        no evidence and is not compared. Damage inside does not matter as long as it costs less than half a second.
    message : why the status is ``"truncated"``, or what the decoders complained of on the way; else ``""``.
    """

    def __init__(self, decoder: Decoder, first_block: np.ndarray, block_frames: int) -> None:
        self.n_samples = 0
        self.status: str | None = None
        self.message = ""
        self._decoder = decoder
        self._first: np.ndarray | None = first_block
        self._block_frames = block_frames
        self._sha256: str | None = None
        self._closed = False

    @property
    def info(self) -> AudioInfo:
        return self._decoder.info

    @property
    def decoded_duration_s(self) -> float:
        return self.n_samples / self.info.sample_rate

    @property
    def sha256(self) -> str:
        """Digest of the file's bytes, as of :func:`file_sha256`; read on first use."""
        if self._sha256 is None:
            self._sha256 = file_sha256(self.info.path)
        return self._sha256

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        if self._closed:
            raise StopIteration
        block = self._first
        self._first = None
        if block is None:
            block = self._read()
        if not len(block):
            self._conclude()
            raise StopIteration
        if not np.isfinite(block).all():
            self.close()
            sample, channel = np.argwhere(~np.isfinite(block))[0]
            at = self.n_samples + int(sample)
            raise NonFiniteAudioError(
                f"sample {at} ({at / self.info.sample_rate:.3f} s) of channel {channel} is {block[sample, channel]}",
                source=_shown(self.info.path),
            )
        self.n_samples += len(block)
        if len(block) < self._block_frames:
            self._conclude()
        return np.ascontiguousarray(block.T)

    def close(self) -> None:
        """Free the decoder. Called at the end of the file and of a ``with`` block."""
        if not self._closed:
            self._closed = True
            self._first = None
            self._decoder.close()

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _read(self) -> np.ndarray:
        try:
            return self._decoder.read(self._block_frames)
        except DecoderTimeout as error:
            self.close()
            raise DecodeError(
                f"{self._decoder.name} after {self.decoded_duration_s:.1f} s of audio: {error}",
                source=_shown(self.info.path),
            ) from error

    def _conclude(self) -> None:
        self.close()
        self.message = self._decoder.failure or self._decoder.message
        missing = missing_s(self.info, self.n_samples)
        cut = self._decoder.cut
        if self._decoder.failure or cut or missing > TRUNCATION_TOLERANCE_S[self.info.decoder]:
            self.status = "truncated"
            length = f"{self.decoded_duration_s:.2f} s decoded"
            if missing > 0:
                length += f" of {self.info.declared_duration_s:.2f} s declared"
            self.message = "; ".join(filter(None, (length, cut, self.message)))
        else:
            self.status = "ok"


def open_audio(path: str | os.PathLike[str], *, block_s: float = 10.0, timeout_s: float | None = None) -> AudioStream:
    """Open an audio file and decode its first block.

    Parameters
    ----------
    path : a regular file; its suffix does not matter.
    block_s : length of the blocks in seconds; the last one is shorter. No block is larger than 256 MB.
    timeout_s : how long a decoder may keep the caller waiting in all, in seconds; time the caller spends between the
        blocks does not count. Default: one minute, and a second more for every 100 kB of the file.

    Raises
    ------
    DecodeError : there is no such file, or it cannot be read, or no decoder makes sense of it (the message has the
        words of both), or the decoder exceeds ``timeout_s`` (also while iterating).
    EmptyAudioError : the file holds no samples.
    NonFiniteAudioError : a sample is NaN or infinite (while iterating).
    """
    if block_s <= 0 or (timeout_s is not None and timeout_s <= 0):
        raise ValueError("block_s and timeout_s must be positive")
    path = Path(path)
    source = _shown(path)
    size = _check_file(path)
    limit_s = 60.0 + size / 100_000 if timeout_s is None else timeout_s
    said = []
    empty = False
    for kind in _DECODERS:
        decoder: Decoder | None = None
        try:
            decoder = kind(path, limit_s)
            if isinstance(decoder, SoundfileDecoder) and FfmpegDecoder in _DECODERS:
                decoder = ContinuedDecoder(decoder, limit_s)
            if not (decoder.info.sample_rate <= _MAX_SAMPLE_RATE and decoder.info.channels <= _MAX_CHANNELS):
                raise Refusal(f"{decoder.info.channels} channels at {decoder.info.sample_rate} Hz: a damaged header")
            block_frames = round(block_s * decoder.info.sample_rate)
            block_frames = max(1, min(block_frames, _MAX_BLOCK_VALUES // decoder.info.channels))
            first = decoder.read(block_frames)
        except (Refusal, OSError) as error:
            said.append(f"{kind.name}: {error}")
            if decoder is not None:
                decoder.close()
            continue
        except BaseException:
            if decoder is not None:
                decoder.close()
            raise
        if len(first):
            if said:
                log.debug("%s: decoded by %s (%s)", source, kind.name, "; ".join(said))
            return AudioStream(decoder, first, block_frames)
        decoder.close()
        empty = empty or decoder.failure is None
        said.append(f"{kind.name}: {decoder.failure or decoder.message or 'no samples'}")
    if empty:
        raise EmptyAudioError(f"no samples in it ({'; '.join(said)})", source=source)
    raise DecodeError("; ".join(said), source=source)


def probe(path: str | os.PathLike[str], *, timeout_s: float | None = None) -> AudioInfo:
    """What a file says of itself; decodes a tenth of a second to know that it can be. Raises as :func:`open_audio`."""
    with open_audio(path, block_s=0.1, timeout_s=timeout_s) as stream:
        return stream.info


def load(
    path: str | os.PathLike[str],
    *,
    sample_rate: int | None = None,
    mono: bool = False,
    timeout_s: float | None = None,
) -> tuple[np.ndarray, int]:
    """Decode a whole file.

    Mixing and resampling happen block by block, so that memory is about twice that of the result. A truncated file
    is logged as a warning and gives what could be decoded.

    Parameters
    ----------
    path, timeout_s : as in :func:`open_audio`, whose errors are raised.
    sample_rate : resample to this rate in Hz; None keeps the rate of the file.
    mono : give the mean of the channels, shape ``(n_samples,)``.

    Returns
    -------
    samples : float32, ``(channels, n_samples)`` or ``(n_samples,)``.
    sample_rate : Hz.
    """
    with open_audio(path, timeout_s=timeout_s) as stream:
        rate = stream.info.sample_rate if sample_rate is None else sample_rate
        resampler = StreamResampler(stream.info.sample_rate, rate)
        parts = [resampler.process(to_mono(block) if mono else block) for block in stream]
        parts.append(resampler.flush())
    if stream.status != "ok":
        log.warning("%s: %s: %s", _shown(stream.info.path), stream.status, stream.message)
    return np.concatenate(parts, axis=-1), rate


def as_signal(y: np.ndarray, sample_rate: int) -> np.ndarray:
    """An array from a user as float32 ``(channels, n_samples)``.

    Accepts real floating point at full scale 1.0 and signed integers, which are scaled by their type's full scale (as
    decoders do); one axis is one channel.

    Raises
    ------
    TypeError
        When it is not a numeric array of such a type, or the rate is not a whole number of Hz.
    ValueError
        When it has more than two axes, more channels than samples (``soundfile.read`` and ``scipy.io.wavfile`` give
        ``(n_samples, channels)``: transpose), or an impossible rate.
    EmptyAudioError, NonFiniteAudioError
        When there are no samples, or NaN or infinity among them.
    """
    if isinstance(sample_rate, bool) or int(sample_rate) != sample_rate:
        raise TypeError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}")
    if sample_rate < 1000:
        raise ValueError(f"sample_rate must be at least 1000 Hz, got {sample_rate}")
    array = np.asarray(y)
    if array.dtype.kind not in "fi":
        raise TypeError(f"samples must be real floating point or signed integers, got {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"expected (n_samples,) or (channels, n_samples), got an array of shape {array.shape}")
    if array.size == 0:
        raise EmptyAudioError("the array holds no samples", stage="input")
    signal = np.atleast_2d(array)
    channels, n_samples = signal.shape
    if channels > n_samples and channels > 8:
        raise ValueError(f"expected (channels, n_samples), got {array.shape}: transpose it")
    if signal.dtype.kind == "i":
        signal = signal / -float(np.iinfo(signal.dtype).min)
    signal = np.ascontiguousarray(signal, dtype=np.float32)
    if not np.isfinite(signal).all():
        raise NonFiniteAudioError("the samples hold NaN or infinity", stage="input")
    return signal


def to_mono(y: np.ndarray) -> np.ndarray:
    """Mean over the channels: ``(..., channels, n_samples)`` to ``(..., n_samples)``; mono passes through.

    All channels weigh the same, however many there are (a 5.1 file's LFE and surrounds too).
    """
    return y if y.ndim == 1 else y.mean(axis=-2, dtype=np.float32)


# --------------------------------------------------------------------------------------------------- resampling


# ----------------------------------------------------------------------------------------- identity, provenance


def decoder_versions() -> dict[str, str | None]:
    """Versions of everything that turns bytes into samples; ``ffmpeg`` is None where there is none."""
    import soundfile

    executable = ffmpeg_path()
    return {
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "ffmpeg": ffmpeg_version(executable) if executable else None,
        "ffmpeg_path": executable,
        "soxr": soxr.__version__,
    }


# ------------------------------------------------------------------------------------------------------- helpers


def _check_file(path: Path) -> int:
    """Size in bytes of a file that can be read and is not empty."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe could wait for ever
            raise DecodeError("is a directory" if stat.S_ISDIR(mode) else "is not a regular file", source=_shown(path))
        with path.open("rb") as file:
            size = file.seek(0, 2)
    except FileNotFoundError as error:
        raise DecodeError("no such file", source=_shown(path)) from error
    except OSError as error:
        raise DecodeError(f"cannot be opened: {error.strerror}", source=_shown(path)) from error
    if not size:
        raise DecodeError("the file is empty (0 bytes)", source=_shown(path))
    return size


def _shown(path: Path) -> str:
    """A name that can be printed and stored, also when its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
