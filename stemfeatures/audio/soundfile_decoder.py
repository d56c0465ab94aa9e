"""libsndfile, in this process."""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import soundfile

from .containers import OggLook, doubtful_mp3_length, look_at_ogg, starts_as_mp3
from .decoder import AudioInfo, DecoderTimeout, Refusal, is_lossless

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


_UNKNOWN_SIZE = 0x7FFFF000  # sox and ffmpeg write this and more into the header of a pipe, where the size is not known


class _Forward(soundfile.SoundFile):
    """A sound file that is only read forward: soundfile seeks after every read of a seekable file."""

    def seekable(self) -> bool:
        return False


class _Clerk:
    """Runs calls in one daemon thread, so that a call into libsndfile that never returns can be given up."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = self._left_s = limit_s
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread = threading.Thread(target=_serve, args=(self._calls, self._answers), daemon=True)
        self._thread.start()
        weakref.finalize(self, self._calls.put, None)

    def __call__(self, call: Callable[[], Any]) -> Any:
        started = time.monotonic()
        self._calls.put(call)
        try:
            value, error = self._answers.get(timeout=max(self._left_s, 0.0))
        except Empty:
            raise DecoderTimeout(f"no answer within {self._limit_s:g} s") from None
        finally:
            self._left_s -= time.monotonic() - started
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame: a cycle that would keep the stream alive
        return value

    def dismiss(self, last_call: Callable[[], Any] | None = None) -> None:
        """End the thread after a last call: its files are closed there, as it may hang in one of them."""
        if last_call is not None:
            self._calls.put(last_call)
        self._calls.put(None)
        if self._left_s > 0:
            self._thread.join(timeout=1.0)


def _serve(calls: SimpleQueue, answers: SimpleQueue) -> None:
    while (call := calls.get()) is not None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))
        del call  # or the thread would keep the file open while it waits


class SoundfileDecoder:
    """libsndfile: wav, flac, ogg, opus, mp3, aiff and more."""

    name = "soundfile"

    def __init__(self, path: Path, limit_s: float) -> None:
        self.failure: str | None = None
        self.message = ""
        # Asked before libsndfile opens the file, as libmpg123 would print its own doubts to standard error.
        if starts_as_mp3(path) and (doubt := doubtful_mp3_length(path)):
            raise Refusal(doubt)
        self._clerk = _Clerk(limit_s)
        try:
            self._raw, self._file = self._clerk(lambda: _open_soundfile(path))
        except soundfile.LibsndfileError as error:
            raise Refusal(_libsndfile_words(error)) from None
        finally:
            if not hasattr(self, "_file"):
                self._clerk.dismiss()
        try:
            ogg = look_at_ogg(path)
            self.cut = ogg.cut
            self.info = _soundfile_info(path, self._file, ogg)
        except BaseException:
            self.close()
            raise

    def read(self, n_frames: int) -> np.ndarray:
        if self.failure is not None:
            return np.zeros((0, self.info.channels), np.float32)
        file = self._file
        block, self.failure = self._clerk(lambda: _read_soundfile(file, n_frames))
        return block

    def close(self) -> None:
        raw, file = self._raw, self._file
        self._clerk.dismiss(lambda: (file.close(), raw.close()))


def _open_soundfile(path: Path) -> tuple[Any, _Forward]:
    # By descriptor: any name works, and libsndfile cannot guess a headerless format from the suffix.
    raw = path.open("rb")
    try:
        return raw, _Forward(raw.fileno(), closefd=False)
    except BaseException:
        raw.close()
        raise


def _read_soundfile(file: _Forward, n_frames: int) -> tuple[np.ndarray, str | None]:
    block = np.empty((n_frames, file.channels), np.float32)
    done = 0
    failure = None
    while done < n_frames:
        try:
            part = file.read(min(_STEP_FRAMES, n_frames - done), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            failure = _libsndfile_words(error)
            break
        if not len(part):
            break
        block[done : done + len(part)] = part
        done += len(part)
    return block[:done], failure


def _soundfile_info(path: Path, file: _Forward, ogg: OggLook) -> AudioInfo:
    """Raises Refusal where libsndfile would stop before the end or lose the time."""
    container = file.format.lower()
    codec = "flac" if container == "flac" else _CODECS.get(file.subtype, file.subtype.lower())
    if codec in ("mp1", "mp2", "mp3") and (doubt := doubtful_mp3_length(path)):
        raise Refusal(doubt)
    if doubt := ogg.joined or ogg.damaged or ogg.early:
        raise Refusal(doubt)
    if file.frames >= 1 << 62:
        raise Refusal("the length is not stated")
    frames = float(file.frames)
    largest = float("inf") if container in ("rf64", "w64") else _UNKNOWN_SIZE
    for stated, actual in _WRONG_SIZE.findall(file.extra_info):
        # libsndfile has trimmed the length to the bytes that are there; the header knows how many there were.
        if 0 < int(actual) < int(stated) < largest:
            frames = file.frames * (int(stated) / int(actual))
    duration = None if ogg.cut else frames / file.samplerate
    size = path.stat().st_size
    return AudioInfo(
        path=path,
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


def _libsndfile_words(error: soundfile.LibsndfileError) -> str:
    return error.error_string.strip() or f"libsndfile error {error.code}"


def soundfile_version() -> str:
    """``"0.13.1 (libsndfile 1.2.2)"``."""
    return f"{soundfile.__version__} (libsndfile {soundfile.__libsndfile_version__})"
