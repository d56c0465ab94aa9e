"""libsndfile, in this process: wav, flac, ogg, opus, mp3, aiff and more."""

from __future__ import annotations

import math
import re
from typing import BinaryIO

import numpy as np
import soundfile

from .aiff import aiff_links
from .deadline import DeadlineThread
from .decoder import AudioInfo, DecoderTimeout, Refusal, is_lossless, too_much_cpu
from .flac import flac_links, understated_length
from .forward import ForwardFile, PieceFile
from .mpeg import starts_as_mpeg_audio, unreliable_length
from .ogg import OggReport, inspect_ogg
from .riff import UNKNOWN_SIZE, wav_layout
from .source import Piece, Source, n_bytes, open_source, path_of

_CODECS = {
    "PCM_S8": "pcm_s8",
    "PCM_U8": "pcm_u8",
    "PCM_16": "pcm_s16",
    "PCM_24": "pcm_s24",
    "PCM_32": "pcm_s32",
    "FLOAT": "pcm_f32",
    "DOUBLE": "pcm_f64",
    "ULAW": "pcm_mulaw",
    "ALAW": "pcm_alaw",
    "MPEG_LAYER_I": "mp1",
    "MPEG_LAYER_II": "mp2",
    "MPEG_LAYER_III": "mp3",
    "ALAC_16": "alac",
    "ALAC_20": "alac",
    "ALAC_24": "alac",
    "ALAC_32": "alac",
}

_STEP_FRAMES = 8192  # what is lost when libsndfile breaks off; small enough for at most 0.2 s at 44.1 kHz
# libsndfile's log of a cut off file; the RIFF line of a plain WAV also counts tags behind the samples, so it is left.
_WRONG_SIZE = re.compile(r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)


class Joined(Refusal):
    """Several files stand one behind the other in this one, which are to be read one after the other.

    Attributes
    ----------
    starts : tuple of int
        Where they begin, in bytes.
    """

    def __init__(self, starts: tuple[int, ...]) -> None:
        super().__init__(f"{len(starts)} files were joined in this one")
        self.starts = starts


class SoundfileDecoder:
    """libsndfile: wav, flac, ogg, opus, mp3, aiff and more; raises :class:`Joined` where they are several."""

    name = "soundfile"

    def __init__(self, source: Source, limit_s: float, *, cpu_limit_s: float = math.inf) -> None:
        self._cpu_limit_s = cpu_limit_s
        self.failure: str | None = None
        self.message = ""
        self._thread = DeadlineThread(limit_s)
        try:
            self._raw, self._file, ogg = self._thread(lambda: _open(source))
        except soundfile.LibsndfileError as error:
            raise Refusal(_error_text(error)) from None
        finally:
            if not hasattr(self, "_file"):
                self._thread.stop()
        self._channel_order = list(ogg.channel_order)
        try:
            file = self._file
            self.cut = ogg.cut or (file.cut if isinstance(file, PieceFile) else None)
            #: Whether its samples are in several pieces, of which ffmpeg reads one alone.
            self.is_in_pieces = isinstance(file, PieceFile)
            self.info = self._thread(lambda: _describe(source, file, ogg))
        except BaseException:
            self.close()
            raise

    def read(self, n_frames: int) -> np.ndarray:
        if self.failure is not None:
            return np.zeros((0, self.info.channels), np.float32)
        file = self._file
        if self._thread.cpu_s > self._cpu_limit_s:
            raise DecoderTimeout(too_much_cpu(self._cpu_limit_s))
        block, self.failure = self._thread(lambda: _read_soundfile(file, n_frames))
        return block[:, self._channel_order] if self._channel_order else block

    def close(self) -> None:
        raw, file = self._raw, self._file
        self._thread.stop(lambda: (file.close(), raw.close()))


def _open(source: Source) -> tuple[BinaryIO, ForwardFile, OggReport]:
    # Asked before libsndfile opens the file, as libmpg123 would print its own doubts to standard error.
    if starts_as_mpeg_audio(source) and (reason := unreliable_length(source)):
        raise Refusal(reason)
    ogg, wav = inspect_ogg(source), wav_layout(source)
    if not isinstance(source, Piece):
        starts = ogg.links or wav.starts or flac_links(source) or aiff_links(source)
        if starts:
            raise Joined(starts)
    if reason := understated_length(source):
        raise Refusal(reason)
    raw = open_source(source)
    try:
        if wav.pieces is not None:
            return raw, PieceFile(raw, wav.pieces), ogg
        # By descriptor: any name works, and libsndfile cannot guess a headerless format from the suffix.
        return raw, ForwardFile(raw) if isinstance(source, Piece) else ForwardFile(raw.fileno(), closefd=False), ogg
    except BaseException:
        raw.close()
        raise


def _read_soundfile(file: ForwardFile, n_frames: int) -> tuple[np.ndarray, str | None]:
    block = np.empty((n_frames, file.channels), np.float32)
    done = 0
    failure = None
    while done < n_frames:
        try:
            some = file.read_on(min(_STEP_FRAMES, n_frames - done))
        except soundfile.LibsndfileError as error:
            failure = _error_text(error)
            break
        if not len(some):
            break
        block[done : done + len(some)] = some
        done += len(some)
    return block[:done], failure


def _describe(source: Source, file: ForwardFile, ogg: OggReport) -> AudioInfo:
    """Raises Refusal where libsndfile would stop before the end or lose the time."""
    container = file.format.lower()
    codec = "flac" if container == "flac" else _CODECS.get(file.subtype, file.subtype.lower())
    # Those that start as MPEG audio were asked when they were opened, which reads them to their end.
    if codec in ("mp1", "mp2", "mp3") and not starts_as_mpeg_audio(source) and (reason := unreliable_length(source)):
        raise Refusal(reason)
    if reason := (ogg.joined or ogg.damaged or ogg.early):
        raise Refusal(reason)
    duration = None
    if not ogg.cut:
        duration = _declared_frames(file, container) / file.samplerate
    size = n_bytes(source)
    return AudioInfo(
        path=path_of(source),
        sample_rate=file.samplerate,
        channels=file.channels,
        declared_duration_s=duration,
        declared_exact=duration is not None,
        codec=codec,
        container="wav" if container == "wavex" else container,
        bit_rate=round(size * 8 / duration) if duration else None,
        lossless=is_lossless(codec),
        decoder=SoundfileDecoder.name,
        decoder_version=soundfile_version(),
    )


def _declared_frames(file: ForwardFile, container: str) -> float:
    if file.frames >= 1 << 62:
        raise Refusal("the length is not stated")
    largest = float("inf") if container in ("rf64", "w64") else UNKNOWN_SIZE
    frames = float(file.frames)
    for stated, actual in _WRONG_SIZE.findall(file.extra_info):
        # libsndfile has trimmed the length to the bytes that are there; the header knows how many there were.
        if 0 < int(actual) < int(stated) < largest:
            frames = file.frames * (int(stated) / int(actual))
    return frames


def _error_text(error: soundfile.LibsndfileError) -> str:
    return error.error_string.strip() or f"libsndfile error {error.code}"


def soundfile_version() -> str:
    """``"0.13.1 (libsndfile 1.2.2)"``."""
    return f"{soundfile.__version__} (libsndfile {soundfile.__libsndfile_version__})"
