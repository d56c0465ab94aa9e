"""ffmpeg, as a process that writes samples into a pipe."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import struct
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from .containers import look_at_ogg
from .decoder import AudioInfo, DecoderTimeout, Refusal, is_lossless

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
