"""What a file's own tags say of the music: ID3, Vorbis comments, MP4 atoms, RIFF and the like, read by tinytag."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

#: Longest text that is kept; what is longer is cut.
MAX_TEXT = 500
#: Bounds of what is a gain or a peak at all; beyond them a tag is taken for broken.
MAX_GAIN_DB = 60.0
MAX_PEAK = 100.0

#: What dates are called, the first that has a year counting: of this release, and of the first one (ID3, Vorbis).
DATES = ("year", "tdrl", "releasedate", "tdor", "originaldate", "tory", "originalyear")
#: What stands between several artists.
BETWEEN = "; "
#: R128_TRACK_GAIN (RFC 7845, 5.2.1) is in 1/256 dB, to -23 LUFS; ReplayGain 2.0 is to -18 LUFS.
R128_STEPS, R128_TO_REPLAYGAIN_DB = 256, 5.0

#: Alone, or followed by the digits of a month and a day.
_YEAR = re.compile(r"(?<!\d)(1[4-9]\d\d|20\d\d)(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])?)?(?!\d)")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}\d{7}")
_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+))\s*(?:dB)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Tags:
    """Tags of one file; None for what it does not state, or not in a form that can be read.

    Attributes
    ----------
    title, artist, album, album_artist, genre : str or None
        Without control characters, white space in single blanks, at most 500 characters; several artists with
        semicolons between them, of others the first.
    year : int or None
        First year from 1400 to 2099 of its date, or else of those of its release and of its first release.
    isrc : str or None
        International standard recording code, twelve characters.
    has_lyrics : bool
        Whether it holds lyrics.
    track_gain_db, album_gain_db : float or None
        ReplayGain in dB; of Opus files also from R128 gains.
    track_peak : float or None
        ReplayGain's peak, full scale = 1.
    """

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    album_artist: str | None = None
    genre: str | None = None
    year: int | None = None
    isrc: str | None = None
    has_lyrics: bool = False
    track_gain_db: float | None = None
    album_gain_db: float | None = None
    track_peak: float | None = None


def read_tags(path: str | Path) -> Tags:
    """Tags of a file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Tags
        Empty where there are none, and where they cannot be read: broken tags are no reason to lose a track.

    Examples
    --------
    >>> read_tags("song.wav").artist is None
    True
    """
    import tinytag

    try:
        tag = tinytag.TinyTag.get(path, duration=False, image=False)
        stated = {name: values for name, values in tag.as_dict().items() if isinstance(values, list) and values}
    except Exception as error:  # a parser of broken files may fail in any way
        log.debug("%s: no tags: %s: %s", path, type(error).__name__, error)
        return Tags()
    return tags_of({str(name).lower(): _one(str(name).lower(), values) for name, values in stated.items()})


def _one(name: str, values: Sequence[object]) -> object:
    """What counts of the values of a name: of artists all, each once."""
    if name not in ("artist", "albumartist"):
        return values[0]
    return BETWEEN.join(dict.fromkeys(text for text in map(_text, values) if text))


def tags_of(values: Mapping[str, object]) -> Tags:
    """Tags from raw values.

    Parameters
    ----------
    values : mapping
        By tinytag's names in lower case, such as ``albumartist`` or ``replaygain_track_gain``.

    Returns
    -------
    Tags
        What of them can be read.

    Examples
    --------
    >>> tags_of({"title": "Río\\0 ", "year": "rel. 2009-03", "replaygain_track_gain": "-7.25 dB"})
    Tags(title='Río', artist=None, album=None, album_artist=None, genre=None, year=2009, isrc=None, has_lyrics=False, \
track_gain_db=-7.25, album_gain_db=None, track_peak=None)
    """
    year = next(filter(None, (_YEAR.search(str(values.get(name, ""))) for name in DATES)), None)
    isrc = re.sub(r"[\s-]", "", str(values.get("isrc", ""))).upper()
    return Tags(
        title=_text(values.get("title")),
        artist=_text(values.get("artist")),
        album=_text(values.get("album")),
        album_artist=_text(values.get("albumartist")),
        genre=_text(values.get("genre")),
        year=int(year[1]) if year else None,
        isrc=isrc if _ISRC.fullmatch(isrc) else None,
        has_lyrics=any(_text(values.get(name)) for name in ("lyrics", "unsyncedlyrics", "uslt")),
        track_gain_db=_gain_db(values, "track"),
        album_gain_db=_gain_db(values, "album"),
        track_peak=_number(values.get("replaygain_track_peak"), 0.0, MAX_PEAK),
    )


def _text(value: object) -> str | None:
    """``value`` without control, unassigned and half characters, white space in single blanks; None for nothing."""
    if value is None:
        return None
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") else c for c in str(value))
    return " ".join(kept[: 4 * MAX_TEXT].split())[:MAX_TEXT].rstrip() or None


def _gain_db(values: Mapping[str, object], of: str) -> float | None:
    """Gain of the track or the album by either of its names."""
    stated = _number(values.get(f"replaygain_{of}_gain"), -MAX_GAIN_DB, MAX_GAIN_DB)
    low, high = ((limit - R128_TO_REPLAYGAIN_DB) * R128_STEPS for limit in (-MAX_GAIN_DB, MAX_GAIN_DB))
    steps = _number(values.get(f"r128_{of}_gain"), low, high)
    return steps / R128_STEPS + R128_TO_REPLAYGAIN_DB if stated is None and steps is not None else stated


def _number(value: object, low: float, high: float) -> float | None:
    found = _NUMBER.fullmatch(str(value))
    number = float(found[1].replace(",", ".")) if found else None
    return number if number is not None and low <= number <= high else None
