"""Where the lyrics of a file are: in the catalogue, beside it, or in its tags."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .._util import objects
from .._util.urls import SCHEMES, Place, Url, is_remote, joined
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
    path: str | Path,
    given: str | None = None,
    *,
    folder: str | Path | None = None,
    tags: bool = True,
    copy: str | Path | None = None,
) -> FoundLyrics | None:
    """Lyrics of an audio file: those given, of a ``.lrc`` or ``.txt`` file beside it that has its name, or of its tags.

    Parameters
    ----------
    path : str | Path
        The audio file, or its address in a store.
    given : str | None
        What a catalogue says: the lyrics themselves, or the path or address of a ``.lrc`` or ``.txt`` file with them.
        An absolute path is of this machine if there is such a file, else of the store that the audio is in.
    folder : str | Path | None
        What a given path is relative to; the folder of the audio by default.
    tags : bool
        Look into the tags.
    copy : str | Path | None
        Where an audio file of a store lies on this machine: its tags are not read without.

    Returns
    -------
    FoundLyrics | None
        The first that there are; files that cannot be read are passed over, and said so in the log.
    """
    if given and given.strip():
        if not _names_file(given.strip()):
            return FoundLyrics(given, "catalog")
        text = _read(_given_place(path, folder, given.strip()))
        if text:
            return FoundLyrics(text, "catalog")
    for suffix, beside in zip(SUFFIXES, lyrics_beside(path)):
        if (isinstance(beside, Url) or beside.is_file()) and (text := _read(beside, expected=False)):
            return FoundLyrics(text, suffix[1:])
    here = copy if isinstance(path, str) and is_remote(path) else path
    text = lyrics_in_tags(here) if tags and here is not None else None
    return FoundLyrics(text, "tags") if text else None


def lyrics_beside(path: str | Path) -> list[Place]:
    """Where lyrics of an audio file are looked for beside it, in the order of :data:`SUFFIXES`.

    Parameters
    ----------
    path : str | Path
        The audio file, or its address in a store.

    Returns
    -------
    list of Path or Url
        None beside files of ``http(s)://``: some servers answer with a page whatever they are asked for.
    """
    if not isinstance(path, str) or not is_remote(path):
        return [Path(path).with_suffix(suffix) for suffix in SUFFIXES]
    address = Url(path).address
    folder, _, name = address.rpartition("/")
    if SCHEMES[Url(path).scheme] == "http" or not name:
        return []
    return [Url(f"{folder}/{PurePosixPath(name).with_suffix(suffix)}") for suffix in SUFFIXES]


def can_be_missed(path: str | Path, given: str | None = None) -> bool:
    """Whether it would be seen that lyrics are gone: the stores that may hold them answer.

    Parameters
    ----------
    path : str | Path
        The audio file, or its address in a store.
    given : str | None
        What a catalogue says.

    Returns
    -------
    bool
        False where a store is away, or denies access: some do so to what is not there.
    """
    places = lyrics_beside(path)
    if given and _names_file(given.strip()):
        places = [_given_place(path, None, given.strip()), *places]
    try:
        for place in places:
            if isinstance(place, Url):
                objects.info(place)
    except objects.StoreError as error:
        log.debug("%s", error)
        return False
    return True


def _names_file(given: str) -> bool:
    """Whether a catalogue names a file of lyrics, rather than say them; addresses may be signed."""
    names = (given, Url(given).name) if is_remote(given) else (given,)
    return "\n" not in given and any(name.lower().endswith(SUFFIXES) for name in names)


def _given_place(path: str | Path, folder: str | Path | None, given: str) -> Place:
    """The file of lyrics that a catalogue names."""
    if is_remote(given):
        return Url(given)
    if folder is None:
        folder = Url(path).parent.address if isinstance(path, str) and is_remote(path) else Path(path).parent
    if not isinstance(folder, str) or not is_remote(folder):
        return Path(folder) / given
    # A catalogue of this machine may have its audio in a store and its lyrics here.
    here = Path(given)
    return here if here.is_absolute() and here.is_file() else Url(joined(folder, given))


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


def read_lyrics(path: str | Path | Url) -> str:
    """The text of a file of lyrics.

    Parameters
    ----------
    path : str | Path | Url
        Text or ``.lrc``, encoded as :func:`.text.decode_lyrics` reads it; of this machine, or of a store.

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
    try:
        return decode_lyrics(_bytes_of(path))
    except LyricsError as error:
        raise LyricsError(error.message, source=str(path)) from error


def _bytes_of(path: str | Path | Url) -> bytes:
    if isinstance(path, Url):
        entry = objects.info(path)
        if entry is None:
            raise objects.NoObjectError("there is no such object", path)
        # Servers of HTTP need not say a size, which is 0 then.
        data = objects.read(path) if entry.size <= MAX_BYTES else None
    else:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    if data is None or len(data) > MAX_BYTES:
        raise LyricsError(f"is too large for lyrics: more than {MAX_BYTES:,} bytes")
    return data


def _read(path: Place, *, expected: bool = True) -> str | None:
    """The text of a file; None where there is none, which is told unless it was not ``expected`` to be there."""
    try:
        text = read_lyrics(path)
    except LyricsError as error:
        log.warning("%s", error)
        return None
    except objects.StoreError as error:
        # A store that does not let us list it denies access to what is not there.
        absent = isinstance(error, (objects.NoObjectError, objects.NoAccessError))
        log.log(logging.DEBUG if absent and not expected else logging.WARNING, "%s", error)
        return None
    except OSError as error:
        log.warning("%s: %s", path, error.strerror)
        return None
    return text if text.strip() else None
