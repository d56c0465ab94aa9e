"""The two decoders behind :mod:`stemfeatures.audio`: libsndfile in this process, ffmpeg as a subprocess.

Both read strictly forward (a seek can hang in a damaged FLAC and is inexact in MP3), hold one block at a time, and
give up when they have kept the caller waiting for longer than ``limit_s`` in all.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import struct
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import numpy as np
import soundfile

from .containers import OggLook, doubtful_mp3_length, look_at_ogg, starts_as_mp3


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself, and which decoder reads it.

    Attributes
    ----------
    path : the file.
    sample_rate : Hz.
    channels : number of channels.
    declared_duration_s : length the header states, in seconds; None when it states none.
    declared_exact : False when that length is only an estimate from the bit rate (MP3 without Xing header, ADTS).
    codec : lower case, ffmpeg's names without byte order: ``pcm_s16, pcm_f32, flac, mp3, vorbis, opus, aac, alac``...
    container : lower case: ``wav, flac, ogg, mp3, mp4, aiff, matroska``...
    bit_rate : bits per second as the stream states it, else file size over declared duration; None when the duration
        is not declared or an estimate.
    lossless : whether the codec keeps every bit; None when not known.
    decoder, decoder_version : ``"soundfile"``, ``"ffmpeg"``, or ``"soundfile+ffmpeg"`` where the one went on when the
        other broke off; and the version, or both joined alike.
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


class Refusal(Exception):
    """A decoder cannot read the file; the text is what it said."""


class DecoderTimeout(Refusal):
    """A decoder kept the caller waiting for too long."""


class Decoder(Protocol):
    """``read(n)`` gives (k, channels) float32, fewer than ``n`` only at the end; then ``failure`` tells of a break-off.

    ``message`` holds complaints that did not stop the decoder, ``cut`` the signs that the container is incomplete.
    """

    name: str
    info: AudioInfo
    failure: str | None
    message: str
    cut: str | None

    def read(self, n_frames: int) -> np.ndarray: ...

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------- soundfile

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
_LOSSLESS = re.compile(r"pcm_[suf]\d+|flac|alac|wavpack|ape|tta|tak|truehd|mlp|wmalossless|mp4als|shorten")
_LOSSY = re.compile(
    r"pcm_(mu|a)law|mp[123]|aac.*|vorbis|opus|e?ac3|wma(v\d|pro|voice)|.*adpcm.*|gsm.*|amr.*|speex|dts|cook"
)
_STEP_FRAMES = 8192  # what is lost when libsndfile breaks off; small enough for at most 0.2 s at 44.1 kHz
# libsndfile's log of a cut off file; the RIFF line of a plain WAV also counts tags behind the samples, so it is left.
_WRONG_SIZE = re.compile(r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFFF000  # sox and ffmpeg write this and more into the header of a pipe, where the size is not known


def is_lossless(codec: str) -> bool | None:
    """Whether ``codec`` keeps every bit; None when not known."""
    if _LOSSLESS.fullmatch(codec):
        return True
    return False if _LOSSY.fullmatch(codec) else None


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


# ------------------------------------------------------------------------------------------------------- ffmpeg

_AU_HEADER = struct.Struct(">4s5I")
_AU_FLOAT = 6
_LOG_LINES = 400
_LOG_LINE_CHARS = 500
_READ_BYTES = 1 << 18
_SMALLEST_GAP_S = 0.015  # less than any frame that may be lost, more than the rounding of time stamps


def ffmpeg_path() -> str | None:
    """The ffmpeg on the PATH, else the one the imageio-ffmpeg wheel carries, else None."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


@lru_cache(maxsize=8)
def ffmpeg_version(executable: str) -> str:
    """The version as the program states it, or ``"unknown"``."""
    try:
        banner = subprocess.run(
            [executable, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    match = re.match(rb"ffmpeg version (\S+)", banner)
    return match[1].decode("ascii", "replace") if match else "unknown"


class FfmpegDecoder:
    """ffmpeg in a subprocess: everything libsndfile does not read, m4a and AAC above all.

    The samples come as an AU stream, whose 24 byte header states sample rate and channels, so that nothing has to be
    read off ffmpeg's words but the declared length and the codec. One selector serves both pipes; no pipe can fill
    up unread while the other is waited for.

    Where ``damaged`` (or where Ogg pages are missing) the time is kept: silence takes the place of what cannot be
    decoded, as far as the container has time stamps (all but MP3 and ADTS), and of what a checksum shows to be wrong.
    """

    name = "ffmpeg"

    def __init__(self, path: Path, limit_s: float, *, damaged: bool = False) -> None:
        executable = ffmpeg_path()
        if executable is None:
            raise Refusal("not found on the PATH, and the imageio-ffmpeg package is not installed")
        self.failure: str | None = None
        self.message = ""
        self._limit_s = self._left_s = limit_s
        self._pcm = bytearray()
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._log_rest = b""
        self._input: dict[str, str] = {}
        self._described = False
        self._n_silent = 0
        self._ogg = look_at_ogg(path)
        # In joined streams the time starts anew.
        damaged = damaged or (self._ogg.damaged is not None and self._ogg.joined is None)
        level = "repeat+level+verbose" if damaged else "level+info"
        command = [executable, "-hide_banner", "-nostdin", "-nostats", "-loglevel", level, "-threads", "1"]
        # A playlist in disguise must not make ffmpeg open anything but files.
        command += ["-protocol_whitelist", "file"]
        command += ["-err_detect", "crccheck+explode"] if damaged else []
        command += ["-i", b"file:" + os.fsencode(path.absolute())]  # type: ignore[list-item]
        command += ["-map", "0:a:0", "-vn", "-sn", "-dn"]
        command += ["-af", f"aresample=async=1:min_hard_comp={_SMALLEST_GAP_S}"] if damaged else []
        command += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # one group to kill, wrapper scripts included; Ctrl-C is ours to handle
            )
        except OSError as error:
            raise Refusal(f"{executable}: {error.strerror}") from error
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout, self._stderr = self._process.stdout, self._process.stderr
        self._selector = selectors.DefaultSelector()
        for pipe in (self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)
        self._finalizer = weakref.finalize(self, _end, self._process, self._selector)
        try:
            sample_rate, channels = self._read_header()
            self.info = self._describe(path, executable, sample_rate, channels)
        except BaseException:
            self.close()
            raise

    def read(self, n_frames: int) -> np.ndarray:
        frame_bytes = 4 * self.info.channels
        self._pump(lambda: len(self._pcm) >= n_frames * frame_bytes)
        n_frames = min(n_frames, len(self._pcm) // frame_bytes)
        samples = np.frombuffer(self._pcm, ">f4", n_frames * self.info.channels).astype(np.float32)
        del self._pcm[: n_frames * frame_bytes]
        if not self._selector.get_map() and len(self._pcm) < frame_bytes:
            self._conclude()
        return samples.reshape(n_frames, self.info.channels)

    def close(self) -> None:
        self._finalizer()

    def _pump(self, enough: Callable[[], bool]) -> None:
        """Serve both pipes until ``enough()`` or both have ended."""
        while not enough() and self._selector.get_map():
            started = time.monotonic()
            ready = self._selector.select(max(self._left_s, 0.0))
            self._left_s -= time.monotonic() - started
            if not ready:
                self.close()
                raise DecoderTimeout(f"no answer within {self._limit_s:g} s, killed; {self._words()}".rstrip("; "))
            for key, _ in ready:
                data = os.read(key.fd, _READ_BYTES)
                if not data:
                    self._selector.unregister(key.fileobj)
                if key.fileobj is self._stdout:
                    self._pcm += data
                else:
                    self._hear(data)

    def _hear(self, data: bytes) -> None:
        *lines, self._log_rest = (self._log_rest + data).split(b"\n")
        self._log_rest = self._log_rest[-_LOG_LINE_CHARS:]
        for raw in lines:
            line = raw[:_LOG_LINE_CHARS].decode("utf-8", "replace").rstrip()
            line = re.sub(r" @ 0x[0-9a-f]+", "", line)
            if "[verbose]" in line:
                added = re.search(r"adding (\d+) audio samples of silence", line)
                self._n_silent += int(added[1]) if added else 0
                continue
            self._log.append(line)
            text = re.sub(r"^(\[[^\]]*\] )*\[info\] ?", "", line)
            if text.startswith("Output #"):
                self._described = True
            elif "Estimating duration from bitrate" in line:
                self._input["estimated"] = "yes"
            elif "low score of 1," in line:
                self._input["guessed"] = "yes"  # by the suffix alone: data that is no audio decodes to noise
            elif not self._described:
                self._hear_input(text)

    def _hear_input(self, text: str) -> None:
        for key, pattern in (
            ("container", r"Input #0, ([^,]+)"),
            ("duration", r"  Duration: (\d+:\d\d:\d\d\.\d+)"),
            ("stream", r" +Stream #0:\d+.*?: Audio: (.+)"),
        ):
            if key not in self._input and (match := re.match(pattern, text)):
                self._input[key] = match[1]

    def _read_header(self) -> tuple[int, int]:
        self._pump(lambda: len(self._pcm) >= _AU_HEADER.size)
        if len(self._pcm) >= _AU_HEADER.size:
            magic, offset, _size, encoding, sample_rate, channels = _AU_HEADER.unpack_from(self._pcm)
            if magic != b".snd" or encoding != _AU_FLOAT or not channels or not sample_rate:
                raise Refusal("the program on the PATH that is called ffmpeg does not write AU audio")
            self._pump(lambda: len(self._pcm) >= offset and (self._described or len(self._pcm) > 1 << 24))
            del self._pcm[:offset]
            self._refuse_guess()
            return sample_rate, channels
        self._conclude()
        self._refuse_guess()
        raise Refusal(self.failure or self._words() or "no samples")

    def _refuse_guess(self) -> None:
        if "guessed" in self._input:
            raise Refusal("nothing but the suffix of the file says that this is audio")

    def _describe(self, path: Path, executable: str, sample_rate: int, channels: int) -> AudioInfo:
        stream = self._input.get("stream", "")
        codec = re.split(r"[ ,]", stream)[0]
        codec = re.sub(r"^(pcm_[suf]\d+)[lb]e$", r"\1", codec)
        container = {"mov": "mp4", "": "unknown"}.get(name := self._input.get("container", ""), name)
        duration = None
        if "duration" in self._input:
            hours, minutes, seconds = self._input["duration"].split(":")
            duration = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        self.cut = self._ogg.cut
        if self.cut:
            duration = None
        exact = duration is not None and "estimated" not in self._input
        bit_rate = None
        if duration and exact:
            stated = re.search(r", (\d+) kb/s", stream)
            bit_rate = int(stated[1]) * 1000 if stated else round(path.stat().st_size * 8 / duration)
        return AudioInfo(
            path=path,
            sample_rate=sample_rate,
            channels=channels,
            declared_duration_s=duration,
            declared_exact=exact,
            codec=codec,
            container=container,
            bit_rate=bit_rate,
            lossless=is_lossless(codec),
            decoder=self.name,
            decoder_version=ffmpeg_version(executable),
        )

    def _conclude(self) -> None:
        """Both pipes have ended: wait for the exit status."""
        try:
            status = self._process.wait(timeout=max(self._left_s, 1.0))
        except subprocess.TimeoutExpired:
            self.close()
            raise DecoderTimeout(f"no end within {self._limit_s:g} s, killed") from None
        silence = f"{self._n_silent / self.info.sample_rate:.2f} s became silence" if self._n_silent else ""
        self.message = "; ".join(filter(None, (self._ogg.damaged, silence, self._words())))
        if status:
            self.failure = self.message or f"exit status {status}"

    def _words(self) -> str:
        """The first distinct complaints, without ffmpeg's notes on which of its parts complains."""
        said = [line for line in self._log if re.search(r"\[(error|fatal|panic)\]", line)]
        said = said or [line for line in self._log if line and not re.search(r"\[(info|verbose|warning)\]", line)]
        if any("matches no streams" in line for line in said):
            return "the file has no audio stream"
        return " | ".join(list(dict.fromkeys(re.sub(r"^(\[[^\]]*\] )*", "", line) for line in said))[:3])


def _end(process: subprocess.Popen, selector: selectors.BaseSelector) -> None:
    selector.close()
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5.0)
