"""ffmpeg, as a process that writes samples into a pipe.

A process and not its libraries (PyAV): a decoder that hangs in a broken file can be killed, one that crashes or eats
the memory takes nobody along, and the program that a distribution keeps up to date is used where there is one.
"""

from __future__ import annotations

import math
import os
import re
import selectors
import shutil
import signal
import struct
import subprocess
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

import numpy as np

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from .._util.clock import awake_s
from .deadline import within
from .decoder import AudioInfo, DecoderTimeout, Refusal, is_lossless, too_much_cpu
from .ffmpeg_log import FfmpegLog
from .flac import understated_length
from .mp4 import mp4_audio
from .mpeg import Recount, inspect_mpeg
from .ogg import inspect_ogg
from .source import Piece, Source, n_bytes, path_of
from .stated import read_stated

_AU_HEADER = struct.Struct(">4s5I")
_AU_FLOAT = 6
_READ_BYTES = 1 << 18
_POLL_S = 1.0
_SMALLEST_GAP_S = 0.015  # less than any frame that may be lost, more than the rounding of time stamps
_LARGEST_FRAME = 8192  # samples; by what a decoder may exceed the length that the boxes of an MP4 file state
_SMALLEST_LOSS_S, _LARGEST_LOSS_S = 0.01, 0.5  # what is told of an MP3; beyond the second it is truncated
_SMALLEST_OFFSET_S = 0.1  # streams that start together are as far apart as the delays of their encoders

#: How ffmpeg shows the sample entries of protected MP4: of Apple, of MPEG's common encryption, and of Audible.
_ENCRYPTED = re.compile(r"\((drms|enca|aavd) / 0x")

#: Formats that hold their own samples. Playlists and the like (hls, dash, concat, imf, sdp ...) would make ffmpeg open
#: other files, or the network, for a file that is called ``song.mp3``.
_FORMATS = (
    "aa aac aax ac3 ac4 act adx aea afc aiff aix amr amrnb amrwb apac apc ape asf asf_o au avi avr boa brstm caf "
    "dsf dss dts dtshd dv eac3 epaf flac flv gsm gxf hca hcom iamf iff ilbc ircam kux kvag lc3 libgme "
    "libopenmpt live_flv loas lvf matroska mca mlp mmf mov mp3 mpc mpc8 mpeg mpegts msf mtaf musx mxf nistsphere "
    "nsp nsv nut ogg oma osq paf pvf qcp qoa redspark rka rm rpl rsd rso sbc sds sdx shn sln sol sox spdif svag "
    "svs tak thp truehd tta vag voc vpk vqf w64 wady wav wavarc webm wsaud wsd wtv wv wve xa xvag xwma"
)


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
    read from ffmpeg's log but what the file states of itself. One selector serves both pipes; no pipe can fill up
    unread while the other is waited for.

    Where ``damaged`` (or where Ogg pages are missing) the time is kept: silence takes the place of what cannot be
    decoded, as far as the container has time stamps (all but MP3 and ADTS), and of what a checksum shows to be wrong.

    Parameters
    ----------
    source : Path or Piece
        A regular file, or a piece of one.
    limit_s : float
        Seconds that the caller may be kept waiting in all.
    cpu_limit_s : float
        Seconds of CPU that the process may take.
    damaged : bool
        Whether damage has been found.
    stream : int or None
        Which of the audio streams, counted from 0; None for the one that is marked as default, of several the one with
        the most channels.

    Raises
    ------
    Refusal
        It cannot be decoded.
    DecoderTimeout
        It takes too long.
    """

    name = "ffmpeg"

    def __init__(
        self,
        source: Source,
        limit_s: float,
        *,
        cpu_limit_s: float = math.inf,
        damaged: bool = False,
        stream: int | None = None,
    ) -> None:
        if resource is None:
            raise Refusal("not driven on this system, whose pipes cannot be waited for together")
        executable = ffmpeg_path()
        if executable is None:
            raise Refusal("not found on the PATH, and the imageio-ffmpeg package is not installed")
        self.failure: str | None = None
        self.message = self._damage = ""
        self._limit_s = self._left_s = limit_s
        self._pcm = bytearray()
        self._log = FfmpegLog(stream)
        self._n_given = 0
        self._n_expected: int | None = None
        self._ogg, self._mpeg = within(limit_s, lambda: (inspect_ogg(source), inspect_mpeg(source)))
        self._recount = self._mpeg.recount
        # In joined streams the time starts anew.
        damaged = damaged or (self._ogg.damaged is not None and self._ogg.joined is None)
        self._cpu_limit_s = cpu_limit_s
        self._start(_command(executable, source, damaged=damaged, stream=stream, recount=self._recount))
        try:
            sample_rate, channels = self._read_header()
            self.info = self._describe(source, executable, sample_rate, channels)
        except BaseException:
            self.close()
            raise

    def read(self, n_frames: int) -> np.ndarray:
        frame_bytes = 4 * self.info.channels
        # What may be filling behind the music is held back until the end shows whether it is.
        held = _LARGEST_FRAME if self._n_expected is not None else 0
        self._pump(lambda: len(self._pcm) >= (n_frames + held) * frame_bytes)
        if not self._selector.get_map():
            self._cut_filling(frame_bytes)
        n_frames = min(n_frames, len(self._pcm) // frame_bytes)
        samples = np.frombuffer(self._pcm, ">f4", n_frames * self.info.channels).astype(np.float32)
        del self._pcm[: n_frames * frame_bytes]
        self._n_given += n_frames
        if not self._selector.get_map() and len(self._pcm) < frame_bytes:
            self._conclude()
        return samples.reshape(n_frames, self.info.channels)

    def close(self) -> None:
        self._finalizer()

    def _start(self, command: list[str]) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # one group to kill, wrapper scripts included; Ctrl-C is ours to handle
            )
        except OSError as error:
            raise Refusal(f"{command[0]}: {error.strerror}") from error
        _limit_cpu(self._process.pid, self._cpu_limit_s)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout, self._stderr = self._process.stdout, self._process.stderr
        self._selector = selectors.DefaultSelector()
        for pipe in (self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)
        self._finalizer = weakref.finalize(self, _end, self._process, self._selector)

    def _pump(self, enough: Callable[[], bool]) -> None:
        """Serve both pipes until ``enough()`` or both have ended."""
        while not enough() and self._selector.get_map():
            started = awake_s()
            ready = self._selector.select(min(max(self._left_s, 0.0), _POLL_S))
            self._left_s -= awake_s() - started
            if not ready:
                if self._left_s > 0:
                    continue
                self.close()
                complaints = self._log.complaints()
                raise DecoderTimeout(f"no answer within {self._limit_s:g} s, killed; {complaints}".rstrip("; "))
            for key, _ in ready:
                data = os.read(key.fd, _READ_BYTES)
                if not data:
                    self._selector.unregister(key.fileobj)
                if key.fileobj is self._stdout:
                    self._pcm += data
                else:
                    self._log.feed(data)

    def _read_header(self) -> tuple[int, int]:
        log = self._log
        self._pump(lambda: len(self._pcm) >= _AU_HEADER.size)
        if len(self._pcm) >= _AU_HEADER.size:
            magic, offset, _size, encoding, sample_rate, channels = _AU_HEADER.unpack_from(self._pcm)
            if magic != b".snd" or encoding != _AU_FLOAT or not channels or not sample_rate:
                raise Refusal("the program on the PATH that is called ffmpeg does not write AU audio")
            self._pump(
                lambda: (
                    len(self._pcm) >= offset
                    and (log.described or len(self._pcm) > 1 << 24)
                    and (log.start_s is not None or len(self._pcm) > 1 << 20)
                )
            )
            del self._pcm[:offset]
            self._refuse_guess()
            self._refuse_encrypted()
            return sample_rate, channels
        self._conclude()
        self._refuse_guess()
        self._refuse_encrypted()
        raise Refusal(self.failure or log.complaints() or "no samples")

    def _refuse_guess(self) -> None:
        if self._log.guessed:
            raise Refusal("nothing but the suffix of the file says that this is audio")

    def _refuse_encrypted(self) -> None:
        """What cannot be decoded, or is noise; ffmpeg tries all the same, and tells of damage."""
        log = self._log
        number = log.selected if log.selected in log.streams else next(iter(log.audio_streams), None)
        if number is not None and _ENCRYPTED.search(log.streams[number].text):
            raise Refusal("its audio is encrypted (DRM): only players that have the key decode it")

    def _describe(self, source: Source, executable: str, sample_rate: int, channels: int) -> AudioInfo:
        log = self._log
        number = log.selected if log.selected in log.streams else next(iter(log.audio_streams), None)
        text = "" if number is None else log.streams[number].text
        codec = re.sub(r"^(pcm_[suf]\d+)[lb]e$", r"\1", re.split(r"[ ,]", text)[0])
        container = {"mov": "mp4", "": "unknown"}.get(log.container, log.container)
        # The cover of an album is a stream too, but has no time.
        n_others = sum(k != number and not stream.is_picture for k, stream in log.streams.items())
        self.cut = self._ogg.cut
        duration, exact = None, False
        said = within(self._limit_s, lambda: read_stated(source, container))
        if said is not None and n_bytes(source) < said.n_bytes:
            self.cut = "the file has fewer bytes than its header states"
            duration, exact = said.duration_s, said.duration_s is not None
        elif not self.cut:
            duration, exact = self._declared(source, container, number, n_others, sample_rate)
        if not exact and self._mpeg.lost_s >= _SMALLEST_LOSS_S:
            self._damage = f"{self._mpeg.lost_s:.2f} s of damaged frames are lost"
            if self._mpeg.lost_s > _LARGEST_LOSS_S:
                self.cut, self._damage = self._damage, ""
        bit_rate = None
        if duration and exact:
            stated = re.search(r", (\d+) kb/s", text)
            bit_rate = int(stated[1]) * 1000 if stated else round(n_bytes(source) * 8 / duration)
        return AudioInfo(
            path=path_of(source),
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
            start_offset_s=max(log.start_s or 0.0, 0.0) if n_others else 0.0,
            stream=log.audio_streams.index(number) if number in log.audio_streams else 0,
            n_streams=max(len(log.audio_streams), 1),
        )

    def _declared(
        self, source: Source, container: str, number: int | None, n_others: int, sample_rate: int
    ) -> tuple[float | None, bool]:
        """Length that the file states of the stream, in seconds, and whether that is more than an estimate."""
        log = self._log
        if container == "mp4" and number is not None:
            tracks = within(self._limit_s, lambda: mp4_audio(source))
            if len(tracks) == len(log.audio_streams):
                track = tracks[log.audio_streams.index(number)]
                if track.duration is not None:
                    self._n_expected = round(track.duration * sample_rate / track.timescale)
                    return track.duration_s, True
        if self._recount is not None:
            self._n_expected = self._recount.n_samples
            return None, False
        if container == "flac" and within(self._limit_s, lambda: understated_length(source)):
            return None, False
        if container == "avi" and within(self._limit_s, lambda: read_stated(source, container)) is None:
            return None, False
        if container == "matroska" and not n_others and log.duration_s is not None:
            # It counts up to the end of the last frame, wherever the first one begins.
            return max(log.duration_s - max(log.begin_s, 0.0), 0.0), not log.estimated
        if not n_others:
            return log.duration_s, log.duration_s is not None and not log.estimated
        # The length of a film is not that of its sound. Programs count a late start into the tag, or they do not.
        own = log.streams[number].duration_s if number is not None else None
        late = (log.start_s or 0.0) > _SMALLEST_OFFSET_S
        return (log.duration_s if own is None else own), own is not None and not late

    def _cut_filling(self, frame_bytes: int) -> None:
        """Drop what exceeds the stated length, where it is no more than a frame of the codec can be."""
        if self._n_expected is not None:
            surplus = self._n_given + len(self._pcm) // frame_bytes - self._n_expected
            if 0 < surplus <= _LARGEST_FRAME:
                del self._pcm[max(self._n_expected - self._n_given, 0) * frame_bytes :]

    def _conclude(self) -> None:
        """Both pipes have ended: wait for the exit status."""
        try:
            status = self._process.wait(timeout=max(self._left_s, 1.0))
        except subprocess.TimeoutExpired:
            self.close()
            raise DecoderTimeout(f"no end within {self._limit_s:g} s, killed") from None
        n_silent = self._log.n_silent
        silence = f"{n_silent / self.info.sample_rate:.2f} s became silence" if n_silent else ""
        self.message = "; ".join(filter(None, (self._ogg.damaged, self._damage, silence, self._log.complaints())))
        if status in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
            raise DecoderTimeout(too_much_cpu(self._cpu_limit_s))
        if status:
            self.failure = self.message or f"exit status {status}"


def _command(
    executable: str, source: Source, *, damaged: bool, stream: int | None, recount: Recount | None
) -> list[str]:
    level = "repeat+level+verbose" if damaged else "level+info"
    command = [executable, "-hide_banner", "-nostdin", "-nostats", "-loglevel", level, "-threads", "1"]
    protocols = "file,subfile" if isinstance(source, Piece) else "file"
    command += ["-protocol_whitelist", protocols, "-format_whitelist", _FORMATS.replace(" ", ",")]
    command += ["-err_detect", "crccheck+explode"] if damaged else []
    # Behind a header that is not to be believed; else the padding is cut off where it says that the end is.
    command += ["-skip_initial_bytes", str(recount.first_frame)] if recount else []
    # A path like any other, also with commas or colons in it: nothing behind the first ",,:" is an option.
    part = f"subfile,,start,{source.start},end,{source.end},,:" if isinstance(source, Piece) else ""
    command += ["-i", part.encode() + b"file:" + os.fsencode(path_of(source).absolute())]  # type: ignore[list-item]
    # Without a map ffmpeg takes the stream that is marked as default, then the one with the most channels.
    streams = ([] if stream is None else ["-map", f"0:a:{stream}"]) + ["-vn", "-sn", "-dn"]
    # A first output for the log alone: the time of the first frame.
    command += [*streams, "-af", "atrim=end_sample=1,ashowinfo", "-f", "null", "-"]
    command += streams
    command += ["-af", f"aresample=async=1:min_hard_comp={_SMALLEST_GAP_S}"] if damaged else []
    command += ["-af", f"atrim=start_sample={recount.n_delay}"] if recount else []
    return [*command, "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]


def _limit_cpu(pid: int, limit_s: float) -> None:
    """Let the kernel end a process that takes more seconds of CPU; no more than a few lines of ffmpeg have run."""
    if resource is not None and math.isfinite(limit_s) and hasattr(resource, "prlimit"):
        seconds = max(1, math.ceil(limit_s))
        with suppress(OSError, ValueError):  # it has ended already, or we may not: then the limit of time remains
            resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds + 5))


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
