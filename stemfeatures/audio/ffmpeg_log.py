"""What ffmpeg writes to its log: the streams of the input, which of them it decodes, and complaints."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

_LINES = 400
_LINE_CHARS = 500
#: Which component complains, and of which file.
_BEFORE = re.compile(r"^(\[[^\]]*\] )*((subfile,.*?,,:)?file:.*: )?")
_TIME = r"(\d+):(\d\d):(\d\d(?:\.\d+)?)"


@dataclass
class InputStream:
    """One stream of the input.

    Attributes
    ----------
    kind : str
        ``Audio``, ``Video``, ``Subtitle``, ...
    text : str
        How ffmpeg describes it.
    duration_s : float or None
        Its tag ``DURATION``, which programs that write Matroska leave there.
    """

    kind: str
    text: str
    duration_s: float | None = None

    @property
    def is_picture(self) -> bool:
        """Whether it is the cover of an album, which has no duration."""
        return "(attached pic)" in self.text


class FfmpegLog:
    """The log of one run, fed in pieces of any size; the run is to have ``-loglevel level+info`` or more.

    Parameters
    ----------
    stream : int or None
        Audio stream that was asked for, if any.

    Attributes
    ----------
    described : bool
        Whether the description of the input is complete.
    container : str
        First name of the format; "" when not known.
    duration_s : float or None
        Of the whole file.
    begin_s : float
        Time stamp of its first frame, which ffmpeg takes for zero.
    estimated : bool
        Whether that duration is an estimate from the bit rate.
    guessed : bool
        Whether nothing but the suffix speaks for the format.
    streams : dict of int to InputStream
        By their number in the file.
    selected : int or None
        Number of the stream that is decoded.
    start_s : float or None
        Time of its first frame, from the start of the file on.
    n_silent : int
        Samples of silence put in for what could not be decoded.
    """

    def __init__(self, stream: int | None = None) -> None:
        self._stream = stream
        self.described = self.estimated = self.guessed = False
        self.container = ""
        self.duration_s: float | None = None
        self.begin_s = 0.0
        self.streams: dict[int, InputStream] = {}
        self.selected: int | None = None
        self.start_s: float | None = None
        self.n_silent = 0
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take further bytes of the log."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LINE_CHARS:]
        for raw in lines:
            line = raw[:_LINE_CHARS].decode("utf-8", "replace").rstrip()
            self._take(re.sub(r" @ 0x[0-9a-f]+", "", line))

    def complaints(self) -> str:
        """The first distinct complaints, without ffmpeg's notes on which of its components complains."""
        found = [line for line in self._lines if re.search(r"\[(error|fatal|panic)\]", line)]
        found = found or [line for line in self._lines if line and not re.search(r"\[(info|verbose|warning)\]", line)]
        if any("matches no streams" in line or "does not contain any stream" in line for line in found):
            return "the file has no audio stream" + ("" if self._stream is None else f" {self._stream}")
        if any("Format not on whitelist" in line for line in found):
            return "not a format that audio is read from; playlists are not followed"
        return " | ".join(list(dict.fromkeys(_BEFORE.sub("", line) for line in found))[:3])

    @property
    def audio_streams(self) -> list[int]:
        """Numbers of the audio streams, in the order of the file."""
        return [number for number, stream in self.streams.items() if stream.kind == "Audio"]

    def _take(self, line: str) -> None:
        if "[verbose]" in line:
            added = re.search(r"adding (\d+) audio samples of silence", line)
            self.n_silent += int(added[1]) if added else 0
            return
        self._lines.append(line)
        text = re.sub(r"^(\[[^\]]*\] )*\[info\] ?", "", line)
        # Several threads may write into one line.
        if re.search(r"Output #\d", line):
            self.described = True
        if match := re.search(r"n: *0 pts: *-?\d+ pts_time: *(-?\d+(?:\.\d+)?)", line):
            self.start_s = float(match[1])
        if "Estimating duration from bitrate" in line:
            self.estimated = True
        elif "low score of 1," in line:
            self.guessed = True  # by the suffix alone: data that is no audio decodes to noise
        elif not self.described:
            self._take_input(text)

    def _take_input(self, text: str) -> None:
        if not self.container and (match := re.match(r"Input #0, ([^,]+)", text)):
            self.container = match[1]
        elif self.duration_s is None and (match := re.match(rf"  Duration: {_TIME}", text)):
            self.duration_s = _seconds(match)
            begin = re.search(r", start: (-?\d+\.\d+)", text)
            self.begin_s = float(begin[1]) if begin else 0.0
        elif match := re.match(r"  +Stream #0:(\d+).*?: ([A-Z][a-z]+): (.+)", text):
            self.streams.setdefault(int(match[1]), InputStream(match[2], match[3]))
        elif self.streams and (match := re.match(rf" +DURATION +: {_TIME}", text)):
            last = next(reversed(self.streams.values()))
            last.duration_s = _seconds(match) if last.duration_s is None else last.duration_s
        elif match := re.match(r"  Stream #0:(\d+) -> #\d", text):
            self.selected = int(match[1])


def _seconds(time: re.Match[str]) -> float:
    return int(time[1]) * 3600 + int(time[2]) * 60 + float(time[3])
