"""UltraStar karaoke songs: a text file with notes, syllables and a tempo, beside the audio.

::

    #TITLE:...  #ARTIST:...  #LANGUAGE:...
    #BPM:277,4            a "beat" of the file is a quarter of one of these: 15 / BPM seconds
    #GAP:12500            milliseconds from the start of the audio to beat 0
    #MP3:song.mp3         or #AUDIO; #VOCALS and #INSTRUMENTAL name stems
    : 0 4 7 Hel           start, length, pitch (0 = C4), syllable; a leading blank begins a word
    * 4 4 7 lo            golden: a note like any other
    F 8 2 0  you          freestyle: words, no pitch; R and G: rap
    : 10 6 5 ~            ~ holds the syllable on another pitch
    - 18                  end of a line; in relative files (#RELATIVE:YES) also where the next line's beats start from
    P2                    what follows is sung by the second voice of a duet; P3: by both
    E                     end

Fans make these by ear, with a pitch that is often an octave off and times good to some 50 ms: fit for training and for
alignment, not for a benchmark. ``VIDEOGAP``, ``START`` and ``END`` do not concern the audio's clock and are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from .._util.folders import folders_below
from ..constants import MIXTURE
from ..errors import CatalogError
from .annotations import Annotations, Lyrics, Segment, make_notes
from .multitrack import MultiTrack, MultitrackDataset, read_audio
from .registry import register_dataset

MIDI_OF_PITCH_0 = 60
#: Makers tap along and games forgive it: words stand 50 to 100 ms before they are heard.
LEAD_S = 0.075
_NOTE = re.compile(r"([:*FRG])\s*(-?\d+)\s+(\d+)\s+(-?\d+)(?: (.*))?$")
_UNPITCHED = "FRG"


@dataclass
class UltrastarSong:
    """A parsed song file: its header, keys in upper case, and what is sung.

    ``voices`` are the voices that sing, from 0; duets have 0 and 1.
    """

    header: dict[str, str]
    annotations: Annotations
    voices: tuple[int, ...]


@dataclass
class _Syllable:
    start_s: float
    end_s: float
    text: str
    midi: float | None
    begins_word: bool


@dataclass
class _Voice:
    """The lines of one voice, and where its relative beats start from."""

    lines: list[list[_Syllable]] = field(default_factory=lambda: [[]])
    base: float = 0.0


def parse_ultrastar(data: bytes | str, *, source: str | None = None) -> UltrastarSong:
    """Parse a song file.

    Parameters
    ----------
    data : str or bytes
        Its text or its bytes; these are read as ``#ENCODING`` says, else as UTF-8 if they are, else as cp1252.
    source : str or None
        What errors call it.

    Returns
    -------
    UltrastarSong
        Header and annotations.

    Raises
    ------
    CatalogError
        With the line, for a header without ``#BPM`` or a note that cannot be read.
    """
    text = data if isinstance(data, str) else _decode(data)
    header: dict[str, str] = {}
    voices: dict[int, _Voice] = {}
    singing: tuple[int, ...] = (0,)
    clock: _Clock | None = None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.lstrip("\ufeff").rstrip("\r\n")
        if not line.strip():
            continue
        where = f"line {number}: {line!r}"
        try:
            if line.startswith("#"):
                key, _, value = line[1:].partition(":")
                header.setdefault(key.strip().upper(), value.strip())
                continue
            clock = clock or _Clock(header)
            kind = line.lstrip()[0]
            if kind == "E":
                break
            if kind == "P":
                part = int(line.strip()[1:])
                singing = (0, 1) if part == 3 else (part - 1,)
                if min(singing) < 0:
                    raise ValueError("voices count from 1")
            elif kind == "B":
                beat, bpm = line.split()[1:3]
                clock.change(_number(beat), _number(bpm))
            elif kind == "-":
                beats = [_number(cell) for cell in line.replace("-", " ", 1).split()]
                for voice in singing:
                    place = voices.setdefault(voice, _Voice())
                    place.lines.append([])
                    if clock.relative and beats:
                        place.base += beats[-1]
            else:
                match = _NOTE.match(line.lstrip())
                if match is None:
                    raise ValueError("not a note")
                for voice in singing:
                    _add_note(voices.setdefault(voice, _Voice()), match, clock)
        except ValueError as error:
            raise CatalogError(f"{where}: {error}", source=source) from error
    if clock is None or not any(any(voice.lines) for voice in voices.values()):
        raise CatalogError("no notes in it", source=source)
    return UltrastarSong(header, _annotations(voices, header), tuple(sorted(voices)))


class _Clock:
    """Beats of the file to seconds."""

    def __init__(self, header: dict[str, str]) -> None:
        if "BPM" not in header:
            raise ValueError("notes before a #BPM")
        bpm = _number(header["BPM"])
        self.relative = header.get("RELATIVE", "").upper() in ("YES", "TRUE", "1")
        # (beat, seconds, seconds a beat) of each stretch of constant tempo
        self._stretches = [(0.0, _number(header.get("GAP") or "0") / 1000.0, self._beat_s(bpm))]

    @staticmethod
    def _beat_s(bpm: float) -> float:
        if not bpm > 0:
            raise ValueError(f"a tempo of {bpm:g}")
        return 15.0 / bpm

    def change(self, beat: float, bpm: float) -> None:
        self._stretches.append((beat, self.seconds(beat), self._beat_s(bpm)))

    def seconds(self, beat: float) -> float:
        start, start_s, beat_s = next((s for s in reversed(self._stretches[1:]) if beat >= s[0]), self._stretches[0])
        return start_s + (beat - start) * beat_s


def _add_note(voice: _Voice, match: re.Match[str], clock: _Clock) -> None:
    kind, beat, length, pitch, text = match.groups()
    text = text or ""
    start = int(beat) + (voice.base if clock.relative else 0.0)
    line = voice.lines[-1]
    before = line[-1].text if line else " "
    voice.lines[-1].append(
        _Syllable(
            clock.seconds(start),
            clock.seconds(start + int(length)),
            text,
            None if kind in _UNPITCHED else float(MIDI_OF_PITCH_0 + int(pitch)),
            text.startswith(" ") or before.endswith(" "),
        )
    )


def _annotations(voices: dict[int, _Voice], header: dict[str, str]) -> Annotations:
    notes: list[tuple[float, float, float, int]] = []
    words: list[Segment] = []
    lines: list[Segment] = []
    for index, voice in voices.items():
        for line in filter(None, voice.lines):
            notes += [(s.start_s, s.end_s, s.midi, index) for s in line if s.midi is not None]
            of_line = _words(line)
            if of_line:
                words += of_line
                lines.append(Segment(of_line[0].start_s, of_line[-1].end_s, " ".join(word.label for word in of_line)))
    # What both sing is written once.
    words, lines = (sorted(dict.fromkeys(segments), key=lambda s: s.start_s) for segments in (words, lines))
    start, end, midi, voice_of = np.array(notes, np.float64).reshape(-1, 4).T
    return Annotations(
        notes={"vocals": make_notes(start, end, midi, voice_of)} if notes else {},
        lyrics=Lyrics(tuple(words), tuple(lines), header.get("LANGUAGE") or None),
    )


def _words(line: list[_Syllable]) -> list[Segment]:
    words: list[Segment] = []
    for syllable in line:
        text = syllable.text.strip().replace("~", "")
        if words and (not syllable.begins_word or not text):
            words[-1] = Segment(words[-1].start_s, syllable.end_s, words[-1].label + text)
        elif text:
            words.append(Segment(syllable.start_s, syllable.end_s, text))
    return words


def _number(cell: str) -> float:
    return float(cell.strip().replace(",", "."))


def _decode(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig", "replace")
    stated = re.search(rb"^#ENCODING:\s*(\S+)", data, re.MULTILINE | re.IGNORECASE)
    name = stated[1].decode("ascii", "replace").upper() if stated else ""
    if name in ("CP1250", "CP1252"):
        return data.decode(name, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


@dataclass(frozen=True)
class UltrastarTrack(MultiTrack):
    """One song file and its audio."""

    lyrics_lead_s = LEAD_S

    name: str
    dataset: str
    path: Path

    @cached_property
    def song(self) -> UltrastarSong:
        """The parsed file. Raises CatalogError."""
        return parse_ultrastar(self.path.read_bytes(), source=str(self.path))

    @property
    def artist(self) -> str | None:  # type: ignore[override]
        return self.song.header.get("ARTIST") or None

    @property
    def stem_names(self) -> tuple[str, ...]:
        return tuple(stem for stem in ("vocals", "accompaniment") if self._file(stem) is not None)

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        path = self._file(stem)
        if path is not None:
            return read_audio(path)
        if stem == MIXTURE:
            raise CatalogError("the file of #AUDIO or #MP3 is not there", source=str(self.path))
        raise KeyError(stem)

    def annotations(self) -> Annotations:
        return self.song.annotations

    def source(self, stem: str = MIXTURE) -> str:
        return str(self._file(stem) or self.path)

    def _file(self, stem: str) -> Path | None:
        keys = {MIXTURE: ("AUDIO", "MP3"), "vocals": ("VOCALS",), "accompaniment": ("INSTRUMENTAL",)}.get(stem, ())
        for key in keys:
            name = self.song.header.get(key)
            if name and (path := self.path.parent / name.replace("\\", "/")).is_file():
                return path
        return None


@register_dataset("ultrastar")
def ultrastar(root: str | Path) -> MultitrackDataset:
    """Every song file at any depth under ``root``: text files whose first line is a ``#`` header.

    Linked folders are followed. Songs without audio are listed too, for their notes and words; asking for their audio
    raises CatalogError.

    Raises CatalogError if there are none. A broken song raises when it is asked for anything.
    """
    root = Path(root).expanduser()
    tracks = [
        UltrastarTrack(path.relative_to(root).with_suffix("").as_posix(), root.resolve().name, path)
        for path in sorted(folder / name for folder, names in folders_below(root) for name in names)
        if path.suffix == ".txt" and path.is_file() and _is_song(path)
    ]
    if not tracks:
        raise CatalogError("no UltraStar song files (*.txt with #BPM) under it", source=str(root))
    return MultitrackDataset("ultrastar", tracks)


def _is_song(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(8192)
    return head.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"#") and re.search(rb"^#BPM:", head, re.M | re.I) is not None
