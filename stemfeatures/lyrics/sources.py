"""Where the lyrics of a file are: in the catalogue, beside it, or in its tags."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from .synchronised import as_lrc, read_synchronised
from .text import LyricsError, decode_lyrics

log = logging.getLogger(__name__)

#: Files beside the audio, with its name; times of lines are worth more than none.
SUFFIXES = (".lrc", ".txt")
#: Larger files are no lyrics.
MAX_BYTES = 1_000_000
#: What tinytag calls lyrics: ID3's USLT, Vorbis comments, MP4; some writers of ID3 add the language. Those with times
#: (SYLT) are read by :mod:`.synchronised`.
_TAG = re.compile(r"(?:unsynced)?lyrics(?:[-_:][a-z]{2,3})?|uslt")


@dataclass(frozen=True)
class FoundLyrics:
    """Lyrics of a file.

    Attributes
    ----------
    text : str
        As of :func:`.text.parse_lyrics`.
    source : str
        ``catalog``, ``lrc``, ``txt`` or ``tags``.
    """

    text: str
    source: str

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8, hexadecimal."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


def find_lyrics(
    path: str | Path, given: str | None = None, *, folder: str | Path | None = None, tags: bool = True
) -> FoundLyrics | None:
    """Lyrics of an audio file: those given, of a ``.lrc`` or ``.txt`` file beside it that has its name, or of its tags.

    Parameters
    ----------
    path : str | Path
        The audio file.
    given : str | None
        What a catalogue says: the lyrics themselves, or the path of a ``.lrc`` or ``.txt`` file with them.
    folder : str | Path | None
        What a given path is relative to; the folder of the audio by default.
    tags : bool
        Look into the tags.

    Returns
    -------
    FoundLyrics | None
        The first that there are; files that cannot be read are passed over, and said so in the log.
    """
    path = Path(path)
    if given and given.strip():
        if "\n" in given.strip() or not given.strip().lower().endswith(SUFFIXES):
            return FoundLyrics(given, "catalog")
        text = _read(Path(folder or path.parent) / given.strip())
        if text:
            return FoundLyrics(text, "catalog")
    for suffix in SUFFIXES:
        beside = path.with_suffix(suffix)
        if beside.is_file() and (text := _read(beside)):
            return FoundLyrics(text, suffix[1:])
    text = lyrics_in_tags(path) if tags else None
    return FoundLyrics(text, "tags") if text else None


def lyrics_in_tags(path: str | Path) -> str | None:
    """Lyrics in the tags of a file, with times where they have them; None where there are none that can be read."""
    import tinytag

    try:
        timed = as_lrc(read_synchronised(path))
    except OSError as error:
        log.debug("%s: %s", path, error.strerror)
        return None
    if timed.strip():
        return timed[:MAX_BYTES]
    try:
        tag = tinytag.TinyTag.get(path, duration=False, image=False)
        values = {str(name).lower(): value for name, value in tag.as_dict().items()}
    except Exception as error:  # a parser of broken files may fail in any way
        log.debug("%s: no tags: %s: %s", path, type(error).__name__, error)
        return None
    for name, value in values.items():
        found = value[0] if isinstance(value, list) and value else value
        if _TAG.fullmatch(name) and isinstance(found, str) and found.strip():
            return found[:MAX_BYTES]
    return None


def read_lyrics(path: str | Path) -> str:
    """The text of a file of lyrics.

    Parameters
    ----------
    path : str | Path
        Text or ``.lrc``, encoded as :func:`.text.decode_lyrics` reads it.

    Returns
    -------
    str
        For :func:`.text.parse_lyrics`.

    Raises
    ------
    LyricsError
        It is larger than :data:`MAX_BYTES`, or no text; names the file.
    OSError
        It cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        if len(data) > MAX_BYTES:
            raise LyricsError(f"is too large for lyrics: more than {MAX_BYTES:,} bytes")
        return decode_lyrics(data)
    except LyricsError as error:
        raise LyricsError(error.message, source=str(path)) from error


def _read(path: Path) -> str | None:
    try:
        text = read_lyrics(path)
    except LyricsError as error:
        log.warning("%s", error)
        return None
    except OSError as error:
        log.warning("%s: %s", path, error.strerror)
        return None
    return text if text.strip() else None
