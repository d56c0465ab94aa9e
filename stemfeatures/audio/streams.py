"""Audio files as streams of blocks, opened by the decoder that reads them best; see :mod:`stemfeatures.audio`."""

from __future__ import annotations

import errno
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soxr

from .._util.files import open_regular, printable_name
from ..errors import DecodeError, EmptyAudioError, NonFiniteAudioError, StemfeaturesError
from .chain import ChainedDecoder
from .continuation import ContinuedDecoder, losses
from .deadline import within
from .decoder import AudioInfo, Decoder, DecoderTimeout, Refusal
from .ffmpeg_decoder import FfmpegDecoder, ffmpeg_path, ffmpeg_version
from .identity import file_sha256
from .limits import MAX_CHANNELS, MAX_CPU_S_PER_MB, MAX_DURATION_S, MIN_SAMPLE_RATE
from .resampling import StreamResampler
from .signals import to_mono
from .soundfile_decoder import Joined, SoundfileDecoder
from .source import Piece, Source

log = logging.getLogger(__name__)

#: Samples beyond this are no audio at full scale 1.0. Mixes in floating point exceed it by some dB, integers that were
#: stored as floats by 40 dB and more.
MAX_PEAK = 32.0
#: Samples beyond this are not analysed: integers of any width that were stored as floats stay below, and the squares of
#: larger ones are near the end of single precision.
MOST_PEAK = 1e15

# Beyond this a header is damaged; the block size keeps what is left within 256 MB.
_MAX_SAMPLE_RATE = 1_000_000
_MOST_CHANNELS = 255
_MAX_BLOCK_VALUES = 1 << 26
_CPU_BASE_S = 60.0

_DECODERS: tuple[type[SoundfileDecoder] | type[FfmpegDecoder], ...] = (SoundfileDecoder, FfmpegDecoder)


def range_message(peak: float) -> str:
    """What is said of samples that reach ``peak`` times full scale, more than :data:`MAX_PEAK`."""
    return f"samples reach {peak:g} times full scale: integers stored as floating point?"


class AudioStream:
    """The samples of one file in order, as float32 blocks of shape ``(channels, n)``; made by :func:`open_audio`.

    An iterator and a context manager. Memory is a few blocks, whatever the length of the file.

    Parameters
    ----------
    decoder : Decoder
        Decodes the file.
    first_block : numpy.ndarray, shape (n, channels)
        What has been read of it.
    block_frames : int
        Samples per channel of a block.
    max_duration_s : float
        Seconds after which the file is given up.

    Attributes
    ----------
    n_samples : int
        Samples per channel handed out so far; all of them after the last block.
    peak : float
        Largest absolute value so far.
    status : str or None
        None until the last block was handed out. Then ``"ok"``; ``"truncated"`` when the file ends before its declared
        length or the last decoder broke off; or ``"out_of_range"`` when samples exceed ``MAX_PEAK``, as they do where
        16 bit integers were stored as floating point: no level of such a file can be trusted. A merely estimated length
        (``info.declared_exact`` is False) is no evidence and is not compared. Damage inside does not matter as long as
        it costs less than half a second.
    message : str
        Why the status is not ``"ok"``, or what the decoders complained of on the way, and which audio stream was
        decoded where there are several; else ``""``.
    """

    def __init__(self, decoder: Decoder, first_block: np.ndarray, block_frames: int, max_duration_s: float) -> None:
        self.n_samples = 0
        self.peak = 0.0
        self.status: str | None = None
        self.message = ""
        self._decoder = decoder
        self._first: np.ndarray | None = first_block
        self._block_frames = block_frames
        self._max_duration_s = max_duration_s
        self._sha256: str | None = None
        self._closed = False

    @property
    def info(self) -> AudioInfo:
        """What the file states, and which decoder reads it.

        The decoder becomes ``"soundfile+ffmpeg"`` when libsndfile breaks off on the way and ffmpeg goes on: look there
        after the last block.
        """
        return self._decoder.info

    @property
    def name(self) -> str:
        """What errors call the file; bytes of it that are not UTF-8 are escaped."""
        return printable_name(self.info.path)

    @property
    def decoded_duration_s(self) -> float:
        """Seconds handed out so far."""
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
                source=self.name,
            )
        self.n_samples += len(block)
        self.peak = max(self.peak, float(block.max()), -float(block.min()))
        if self.decoded_duration_s > self._max_duration_s:
            self.close()
            raise DecodeError(f"longer than max_duration_s = {self._max_duration_s:g} s", source=self.name)
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
        if isinstance(error, StemfeaturesError) and error.source is None:
            error.about(self.name)

    def _read(self) -> np.ndarray:
        try:
            return self._decoder.read(self._block_frames)
        except DecoderTimeout as error:
            self.close()
            raise DecodeError(
                f"{self._decoder.name} after {self.decoded_duration_s:.1f} s of audio: {error}",
                source=self.name,
            ) from error

    def _conclude(self) -> None:
        self.close()
        info, decoder = self.info, self._decoder
        messages = [decoder.failure or decoder.message]
        lost = losses(decoder, self.n_samples)
        self.status = "truncated" if lost else "ok"
        messages = [*lost, *messages]
        if self.peak > MAX_PEAK:
            self.status = "out_of_range"
            messages.insert(0, range_message(self.peak))
        if info.n_streams > 1:
            messages.append(f"audio stream {info.stream} of {info.n_streams}, counted from 0, was decoded")
        self.message = "; ".join(filter(None, messages))


def open_audio(
    path: str | os.PathLike[str],
    *,
    block_s: float = 10.0,
    timeout_s: float | None = None,
    max_duration_s: float = MAX_DURATION_S,
    max_channels: int = MAX_CHANNELS,
    max_cpu_s_per_mb: float = MAX_CPU_S_PER_MB,
    stream: int | None = None,
) -> AudioStream:
    """Open an audio file and decode its first block.

    Parameters
    ----------
    path : str or path-like
        A regular file; its suffix does not matter. Playlists are not followed.
    block_s : float
        Length of the blocks in seconds; the last one is shorter. No block is larger than 256 MB.
    timeout_s : float or None
        Seconds that opening and decoding may keep the caller waiting in all; time the caller spends between the blocks
        does not count. By default one minute, and a second more for every 100 kB of the file.
    max_duration_s : float
        Seconds that a file may last: some hundred kilobytes of a lossless codec can hold days of silence. ``inf`` for
        any length.
    max_channels : int
        Channels that a file may have.
    max_cpu_s_per_mb : float
        Seconds of CPU that decoding may take for each megabyte (1,000,000 bytes) of the file, besides one minute: files
        can be made that keep a decoder busy for hours.
    stream : int or None
        Which audio stream to decode, counted from 0, of a file with several. By default the one that is marked as
        default, of several the one with the most channels, then the first.

    Returns
    -------
    AudioStream
        To be iterated over; close it, or use it in a ``with`` block.

    Raises
    ------
    DecodeError
        There is no such file, or it is not a regular one, or it cannot be read, or no decoder makes sense of it (the
        message holds what both reported), or its rate is below 1000 Hz, or it exceeds one of the limits (also while
        iterating).
    EmptyAudioError
        The file holds no samples.
    NonFiniteAudioError
        A sample is NaN or infinite (while iterating).
    ValueError
        A limit or ``block_s`` is not positive, or ``stream`` is negative.

    Examples
    --------
    >>> with open_audio("song.wav", block_s=1.5) as stream:
    ...     print([block.shape for block in stream], stream.status)
    [(2, 66150), (2, 22050)] ok
    """
    if min(block_s, max_duration_s, max_channels, max_cpu_s_per_mb) <= 0 or (timeout_s is not None and timeout_s <= 0):
        raise ValueError("block_s and all limits must be positive")
    if stream is not None and stream < 0:
        raise ValueError(f"audio streams are counted from 0, got {stream}")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or path-like, got {path!r}")
    if not os.fspath(path):
        raise DecodeError("the name of the file is empty")
    path = Path(path)
    size = _check_file(path, 60.0 if timeout_s is None else timeout_s)
    limit_s = 60.0 + size / 100_000 if timeout_s is None else timeout_s
    cpu_limit_s = _CPU_BASE_S + max_cpu_s_per_mb * size / 1e6
    reports: list[str] = []
    empty = False
    for kind in _DECODERS:
        decoder: Decoder | None = None
        try:
            decoder = _open_decoder(kind, path, limit_s, cpu_limit_s, stream)
            _check_limits(decoder.info, max_duration_s, max_channels)
            block_frames = round(block_s * decoder.info.sample_rate)
            block_frames = max(1, min(block_frames, _MAX_BLOCK_VALUES // decoder.info.channels))
            first = decoder.read(block_frames)
        except (Refusal, OSError) as error:
            reports.append(f"{kind.name}: {str(error).rstrip('.')}")
            if decoder is not None:
                decoder.close()
            continue
        except BaseException:
            if decoder is not None:
                decoder.close()
            raise
        if len(first):
            if stream is None and decoder.info.n_streams > 1:
                log.warning(
                    "%s: %d audio streams; number %d is decoded, counted from 0",
                    printable_name(path), decoder.info.n_streams, decoder.info.stream,
                )  # fmt: skip
            if reports:
                log.debug("%s: decoded by %s (%s)", printable_name(path), kind.name, "; ".join(reports))
            return AudioStream(decoder, first, block_frames, max_duration_s)
        decoder.close()
        empty = empty or decoder.failure is None
        reports.append(f"{kind.name}: {decoder.failure or decoder.message or 'no samples'}")
    if empty:
        raise EmptyAudioError(f"no samples in it ({'; '.join(reports)})", source=printable_name(path))
    raise DecodeError("; ".join(reports), source=printable_name(path))


def probe(path: str | os.PathLike[str], *, timeout_s: float | None = None, stream: int | None = None) -> AudioInfo:
    """What a file states of itself; decodes a tenth of a second to know that it can be.

    Parameters
    ----------
    path : str or path-like
        As in :func:`open_audio`, whose errors are raised.
    timeout_s : float or None
        As there.
    stream : int or None
        As there.

    Returns
    -------
    AudioInfo
        Its length may exceed ``MAX_DURATION_S``.
    """
    with open_audio(path, block_s=0.1, timeout_s=timeout_s, max_duration_s=math.inf, stream=stream) as opened:
        return opened.info


def load(
    path: str | os.PathLike[str],
    *,
    sample_rate: int | None = None,
    mono: bool = False,
    timeout_s: float | None = None,
    max_duration_s: float = MAX_DURATION_S,
    stream: int | None = None,
) -> tuple[np.ndarray, int]:
    """Decode a whole file.

    Mixing and resampling happen block by block, so that memory is about twice that of the result. A truncated file,
    and one whose samples are out of range, is logged as a warning and gives what could be decoded.

    Parameters
    ----------
    path : str or path-like
        As in :func:`open_audio`, whose errors are raised.
    sample_rate : int or None
        Resample to this rate in Hz; None keeps the rate of the file.
    mono : bool
        Give the mean of the channels.
    timeout_s : float or None
        As in :func:`open_audio`.
    max_duration_s : float
        As there.
    stream : int or None
        As there.

    Returns
    -------
    samples : numpy.ndarray, shape (channels, n_samples) or (n_samples,)
        float32 at full scale 1.0.
    sample_rate : int
        Hz.
    """
    with open_audio(path, timeout_s=timeout_s, max_duration_s=max_duration_s, stream=stream) as opened:
        rate = opened.info.sample_rate if sample_rate is None else sample_rate
        resampler = StreamResampler(opened.info.sample_rate, rate)
        pieces = [resampler.process(to_mono(block) if mono else block) for block in opened]
        pieces.append(resampler.flush())
    if opened.status != "ok":
        log.warning("%s: %s: %s", printable_name(opened.info.path), opened.status, opened.message)
    return np.concatenate(pieces, axis=-1), rate


def decoder_versions() -> dict[str, str | None]:
    """Versions of everything that turns bytes into samples.

    Returns
    -------
    dict of str to str or None
        ``soundfile``, ``libsndfile``, ``ffmpeg``, ``ffmpeg_path`` and ``soxr``; both of ffmpeg are None where there is
        none.
    """
    import soundfile

    executable = ffmpeg_path()
    return {
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "ffmpeg": ffmpeg_version(executable) if executable else None,
        "ffmpeg_path": executable,
        "soxr": soxr.__version__,
    }


def _open_decoder(
    kind: type[SoundfileDecoder] | type[FfmpegDecoder],
    path: Path,
    limit_s: float,
    cpu_limit_s: float,
    stream: int | None,
) -> Decoder:
    if issubclass(kind, FfmpegDecoder):
        return kind(path, limit_s, cpu_limit_s=cpu_limit_s, stream=stream)
    if stream:
        raise Refusal("reads the first audio stream only")

    def open_piece(piece: Piece, left_s: float) -> Decoder:
        reports = []
        for kind in _DECODERS:
            try:
                if issubclass(kind, FfmpegDecoder):
                    return kind(piece, left_s, cpu_limit_s=cpu_limit_s)
                return _with_continuation(kind(piece, left_s, cpu_limit_s=cpu_limit_s), piece, left_s, cpu_limit_s)
            except DecoderTimeout:
                raise
            except (Refusal, OSError) as error:
                reports.append(f"{kind.name}: {error}")
        raise Refusal("; ".join(reports))

    try:
        return _with_continuation(kind(path, limit_s, cpu_limit_s=cpu_limit_s), path, limit_s, cpu_limit_s)
    except Joined as found:
        return ChainedDecoder(path, found.starts, path.stat().st_size, limit_s, open_piece)


def _with_continuation(first: SoundfileDecoder, source: Source, limit_s: float, cpu_limit_s: float) -> Decoder:
    if FfmpegDecoder not in _DECODERS or first.is_in_pieces:
        return first
    return ContinuedDecoder(first, limit_s, cpu_limit_s=cpu_limit_s, source=source)


def _check_limits(info: AudioInfo, max_duration_s: float, max_channels: int) -> None:
    if not (info.sample_rate <= _MAX_SAMPLE_RATE and info.channels <= _MOST_CHANNELS):
        raise Refusal(f"{info.channels} channels at {info.sample_rate} Hz: a damaged header")
    source = printable_name(info.path)
    if info.sample_rate < MIN_SAMPLE_RATE:
        message = f"a sample rate of {info.sample_rate} Hz; audio has at least {MIN_SAMPLE_RATE} Hz"
        raise DecodeError(message, source=source)
    if info.channels > max_channels:
        raise DecodeError(f"{info.channels} channels, more than max_channels = {max_channels}", source=source)
    declared_s = info.declared_duration_s
    if declared_s is not None and info.declared_exact and declared_s > max_duration_s:
        message = f"declares {declared_s:.0f} s, longer than max_duration_s = {max_duration_s:g} s"
        raise DecodeError(message, source=source)


def _check_file(path: Path, limit_s: float) -> int:
    """Size in bytes of a regular file that can be read and is not empty."""

    def size_of() -> int:
        with open_regular(path) as file:
            return file.seek(0, 2)

    source = printable_name(path)
    try:
        size = within(limit_s, size_of)
    except DecoderTimeout as error:
        raise DecodeError(f"cannot be opened: {error}", source=source) from error
    except FileNotFoundError as error:
        raise DecodeError("no such file", source=source) from error
    except OSError as error:
        refused = error.errno in (errno.EISDIR, errno.EINVAL)
        raise DecodeError(f"{'' if refused else 'cannot be opened: '}{error.strerror}", source=source) from error
    if not size:
        raise DecodeError("the file is empty (0 bytes)", source=source)
    return size
