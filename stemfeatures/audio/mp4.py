"""The length of the audio tracks of an MP4 file, as its boxes state it (ISO/IEC 14496-12).

An AAC encoder puts its delay before the music and fills the last packet up behind it. The file says so: in an edit
list, in the duration of the last packet, or in Apple's ``iTunSMPB`` tag. Releases of ffmpeg differ in what they make of
this: 5.1 drops the delay, and whole packets behind the end, but gives the filling of the last one as if it were music;
later ones drop that too where there is an edit list. So the length is read here, and :mod:`.ffmpeg_decoder` cuts what
exceeds it. mutagen, which reads the tag, knows no edit lists, and ffmpeg prints hundredths of a second of the longest
stream.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from .source import Source, open_source

_LARGEST_MOOV = 1 << 26
_LARGEST_FRAME = 4096  # samples; what the figures of an iTunSMPB tag may be apart from the track they are in
_NO_MEDIA = -1  # the media time of an edit that shows nothing: the track starts later than the file
_ITUNSMPB = re.compile(rb"iTunSMPB.{4}data.{8}\s*[0-9A-F]+ ([0-9A-F]+) ([0-9A-F]+) ([0-9A-F]+)", re.DOTALL)


@dataclass(frozen=True)
class Mp4Audio:
    """The length of one audio track.

    Attributes
    ----------
    timescale : int
        Units a second, of the durations here; for AAC the sample rate of its core.
    duration : int or None
        What is to be heard of the track; None when the boxes do not say (fragmented files, several edits).
    """

    timescale: int
    duration: int | None

    @property
    def duration_s(self) -> float | None:
        """The same in seconds."""
        return None if self.duration is None else self.duration / self.timescale


def mp4_audio(source: Source) -> tuple[Mp4Audio, ...]:
    """Audio tracks of an MP4 file in the order of the file.

    Parameters
    ----------
    source : Path or Piece
        Any file.

    Returns
    -------
    tuple of Mp4Audio
        Empty for other files, and where the boxes are damaged or cut off.

    Raises
    ------
    OSError
        The file cannot be opened.
    """
    with open_source(source) as file:
        moov = _read_moov(file)
    if moov is None:
        return ()
    try:
        return _audio_tracks(moov)
    except (struct.error, IndexError, KeyError, ZeroDivisionError):
        return ()


class _Track(NamedTuple):
    timescale: int
    media_duration: int
    edits: tuple[tuple[int, int], ...]  # (duration in units of the movie, media time)


def _read_moov(file: BinaryIO) -> bytes | None:
    at = 0
    while len(head := file.read(16)) >= 8:
        size, kind = struct.unpack_from(">I4s", head)
        header = 8
        if size == 1 and len(head) == 16:
            size, header = struct.unpack_from(">Q", head, 8)[0], 16
        if kind == b"moov" and header < size <= _LARGEST_MOOV:
            file.seek(at + header)
            data = file.read(size - header)
            return data if len(data) == size - header else None
        if size < header or not kind.isascii():
            return None
        at += size
        file.seek(at)
    return None


def _audio_tracks(moov: bytes) -> tuple[Mp4Audio, ...]:
    boxes = list(_boxes(moov))
    movie_timescale = _times(dict(boxes)[b"mvhd"])[0]
    fragmented = any(kind == b"mvex" for kind, _ in boxes)
    tracks = [track for kind, data in boxes if kind == b"trak" and (track := _audio_track(data)) is not None]
    durations = [_duration(track, movie_timescale) for track in tracks]
    if len(tracks) == 1 and not tracks[0].edits and (stated := _itunsmpb(moov, tracks[0])) is not None:
        durations = [stated]
    return tuple(
        Mp4Audio(track.timescale, None if fragmented else duration) for track, duration in zip(tracks, durations)
    )


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _audio_track(trak: bytes) -> _Track | None:
    """The track of a ``trak`` box, None if it is no audio."""
    boxes = dict(_boxes(trak))
    media = dict(_boxes(boxes[b"mdia"]))
    if media[b"hdlr"][8:12] != b"soun":
        return None
    edits = dict(_boxes(boxes.get(b"edts", b""))).get(b"elst")
    return _Track(*_times(media[b"mdhd"]), () if edits is None else tuple(_edits(edits)))


def _times(header: bytes) -> tuple[int, int]:
    """Timescale and duration of an ``mvhd`` or ``mdhd`` box."""
    return struct.unpack_from(">IQ", header, 20) if header[0] else struct.unpack_from(">II", header, 12)


def _edits(elst: bytes) -> Iterator[tuple[int, int]]:
    count = struct.unpack_from(">I", elst, 4)[0]
    form = struct.Struct(">Qqi" if elst[0] else ">Iii")
    for k in range(min(count, len(elst) // form.size)):
        duration, media_time, _rate = form.unpack_from(elst, 8 + k * form.size)
        yield duration, media_time


def _duration(track: _Track, movie_timescale: int) -> int | None:
    """What is to be heard of a track, in its own units; None where several pieces of it are."""
    shown = [edit for edit in track.edits if edit[1] != _NO_MEDIA]
    if not track.edits:
        return track.media_duration
    if len(shown) != 1:
        return None
    duration, media_time = shown[0]
    left = max(track.media_duration - media_time, 0)
    # The duration of an edit is rounded to units of the movie, often milliseconds; 0 means up to the end.
    unit = track.timescale / movie_timescale
    return left if not duration or duration * unit > left - unit else round(duration * unit)


def _itunsmpb(moov: bytes, track: _Track) -> int | None:
    """Samples without delay and filling by the tag of Apple's encoders; None where it is not there or does not fit."""
    match = _ITUNSMPB.search(moov)
    if match is None:
        return None
    delay, filling, n_samples = (int(digits, 16) for digits in match.groups())
    fits = abs(delay + n_samples + filling - track.media_duration) <= _LARGEST_FRAME
    return n_samples if fits else None
