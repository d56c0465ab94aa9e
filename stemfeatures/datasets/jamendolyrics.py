"""JamendoLyrics: songs with the time of every word, for lyrics alignment (Stoller et al. 2019, Durand et al. 2023).

::

    JamendoLyrics.csv                      Filepath, Artist, Title, Genre, LicenseType, Language ...
    mp3/<name>.mp3
    lyrics/<name>.words.txt                a word a line
    annotations/words/<name>.csv           word_start, word_end, line_end (nan inside a line)
    annotations/lines/<name>.csv           start_time, end_time, lyrics_line

The first version of 20 English songs (tag ``original``) has ``annotations/<name>.wordonset.txt`` instead, the start of
each word; ends are NaN there, and the artist is the part of the name before ``_-_``. Published figures differ between
the two versions: say which.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import MIXTURE
from ..errors import CatalogError
from .annotations import Annotations, Lyrics, Segment
from .multitrack import MultiTrack, MultitrackDataset, find_audio, read_audio, read_numbers
from .registry import register_dataset

METADATA = "JamendoLyrics.csv"


@dataclass(frozen=True)
class JamendoLyricsTrack(MultiTrack):
    """One song. There are no stems."""

    name: str
    dataset: str
    root: Path
    artist: str | None = None
    language: str | None = None
    licence: str | None = None

    @property
    def stem_names(self) -> tuple[str, ...]:
        return ()

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        if stem != MIXTURE:
            raise KeyError(stem)
        path = find_audio(self.root / "mp3", self.name)
        if path is None:
            raise CatalogError("no such audio", source=str(self.root / "mp3" / f"{self.name}.mp3"))
        return read_audio(path)

    def annotations(self) -> Annotations:
        words, of_words = self._words()
        path = self.root / "annotations" / "lines" / f"{self.name}.csv"
        lines = _read_lines(path) if path.is_file() else of_words
        return Annotations(lyrics=Lyrics(words, lines, self.language))

    def _words(self) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
        """The words, and the lines as the words state their ends."""
        text = self.root / "lyrics" / f"{self.name}.words.txt"
        if not text.is_file():
            raise CatalogError("no such list of words", source=str(text))
        labels = [line.strip() for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
        path = self.root / "annotations" / "words" / f"{self.name}.csv"
        if path.is_file():
            rows = [[_seconds(row, key, path) for key in ("word_start", "word_end", "line_end")] for row in _rows(path)]
        else:
            path = self.root / "annotations" / f"{self.name}.wordonset.txt"
            if not path.is_file():
                raise CatalogError(
                    "neither words/*.csv nor *.wordonset.txt for it", source=f"{path.parent}/{self.name}"
                )
            rows = [[start, np.nan, np.nan] for (start,) in read_numbers(path, separator=None, columns=1)]
        if len(rows) != len(labels):
            raise CatalogError(f"{len(rows)} times for the {len(labels)} words of {text.name}", source=str(path))
        words = tuple(Segment(start, end, label) for (start, end, _), label in zip(rows, labels))
        lines, first = [], 0
        for i, (_, _, line_end) in enumerate(rows):
            if np.isfinite(line_end):
                line = " ".join(word.label for word in words[first : i + 1])
                lines.append(Segment(words[first].start_s, line_end, line))
                first = i + 1
        return words, tuple(lines)


@register_dataset("jamendolyrics")
def jamendolyrics(root: str | Path) -> MultitrackDataset:
    """The songs of ``JamendoLyrics.csv``, or without one those that have audio; sorted by name.

    Raises CatalogError if there are none, or the table lacks a column.
    """
    root = Path(root).expanduser()
    table = root / METADATA
    tracks = []
    if table.is_file():
        for row in _rows(table):
            if not row.get("Filepath"):
                raise CatalogError("a row without Filepath", source=str(table))
            name = Path(row["Filepath"]).stem
            columns = [row.get(key) or None for key in ("Artist", "Language", "LicenseType")]
            tracks.append(JamendoLyricsTrack(name, "jamendolyrics", root, *columns))
    elif (root / "mp3").is_dir():
        for path in (root / "mp3").iterdir():
            artist = path.stem.partition("_-_")[0].replace("_", " ")
            tracks.append(JamendoLyricsTrack(path.stem, "jamendolyrics", root, artist, "English"))
    if not tracks:
        raise CatalogError(f"no songs: neither {METADATA} nor mp3/ lists any", source=str(root))
    return MultitrackDataset("jamendolyrics", sorted(tracks, key=lambda track: track.name))


def _read_lines(path: Path) -> tuple[Segment, ...]:
    return tuple(
        Segment(_seconds(row, "start_time", path), _seconds(row, "end_time", path), row["lyrics_line"] or "")
        for row in _rows(path)
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _seconds(row: dict[str, str], column: str, path: Path) -> float:
    try:
        return float(row[column])
    except (KeyError, TypeError, ValueError):
        raise CatalogError(f"no number in column {column!r} of {row}", source=str(path)) from None
