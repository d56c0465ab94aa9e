"""Audio files below folders and behind glob patterns."""

from __future__ import annotations

import errno
import fnmatch
import glob
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from stemfeatures._util.tabular import PARQUET_SUFFIXES, TEXT_SUFFIXES, suffix_of
from stemfeatures.audio.suffixes import AUDIO_SUFFIXES

from .types import printable

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Folders that cannot be looked into are named one by one up to so many.
_MOST_NAMED = 5

# fmt: off
#: Suffixes of what lies beside music and is none; all others are counted as passed over.
COMPANIONS = frozenset({
    ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".svg", ".pdf", ".txt", ".md", ".rtf",
    ".doc", ".docx",
    ".nfo", ".log", ".cue", ".toc", ".m3u", ".m3u8", ".pls", ".xspf", ".lrc", ".srt", ".json", ".xml", ".html", ".htm",
    ".url", ".csv", ".tsv", ".xls", ".xlsx", ".parquet", ".pq", ".yaml", ".yml", ".toml", ".ini", ".db", ".sfv", ".md5",
    ".sha1", ".sha256", ".ffp", ".accurip", ".torrent", ".zip", ".rar", ".7z", ".gz", ".tar", ".mid", ".midi",
    ".jams", ".lab",
    ".py", ".npy", ".npz", ".h5",
})
# fmt: on


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Also of a link that leads to itself, which is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


class _Unread:
    """Tells of folders that cannot be looked into, each once: what lies there is missing in the catalogue."""

    def __init__(self) -> None:
        self.n = 0
        self._told: set[str] = set()

    def __call__(self, folder: str, error: OSError) -> None:
        if (name := os.path.normpath(folder)) in self._told:
            return
        self._told.add(name)
        self.n += 1
        if self.n <= _MOST_NAMED:
            why = error.strerror or str(error)
            log.warning("%s: cannot be looked into, what is in it is left out: %s", printable(folder), why)

    def finish(self) -> None:
        """Tell of those that were not named."""
        if self.n > _MOST_NAMED:
            log.warning("%d more folders cannot be looked into", self.n - _MOST_NAMED)


def _tree(
    folder: str, unread: Callable[[str, OSError], None] = lambda folder, error: None
) -> Iterator[os.DirEntry[str]]:
    """All entries below ``folder``, sorted by path; hidden ones and what cannot be read are left out. ``unread`` is
    told of folders that cannot.

    Links to folders are followed, but each real folder is visited once: links may lead in circles.
    """
    seen: set[tuple[int, int]] = set()

    def is_new(at: str) -> bool:
        try:
            status = os.stat(at)
        except FileNotFoundError:  # it has gone meanwhile
            return False
        except OSError as error:
            unread(at, error)
            return False
        before = len(seen)
        seen.add((status.st_dev, status.st_ino))
        return len(seen) > before

    def visit(at: str) -> Iterator[os.DirEntry[str]]:
        try:
            entries = sorted(os.scandir(at), key=lambda e: os.fsencode(e.name))
        except FileNotFoundError:  # it has gone meanwhile
            return
        except OSError as error:
            unread(at, error)
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                yield entry
            elif is_new(entry.path):
                yield entry
                yield from visit(entry.path)

    if os.path.isdir(folder):
        is_new(folder)
        yield from visit(folder)


def walk(folder: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """Audio files below ``folder``, sorted by path; the others are counted by their suffix."""
    unread = _Unread()
    for entry in _tree(os.fspath(folder), unread):
        if _is_folder(entry):
            continue
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in AUDIO_SUFFIXES:
            yield Path(entry.path)
        elif suffix not in COMPANIONS:
            passed_over[suffix] += 1
    unread.finish()


def manifest_parts(folder: Path) -> list[Path]:
    """The files of a manifest in several files, sorted: all Parquet files below a folder, else all text tables in it;
    none where there is audio."""
    names = []
    for entry in _tree(os.fspath(folder)):
        if _is_folder(entry):
            continue
        if os.path.splitext(entry.name)[1].lower() in AUDIO_SUFFIXES:
            return []
        names.append(entry.path)
    return [Path(name) for name in table_names(names)]


def table_names(names: Sequence[str]) -> list[str]:
    """The names of Parquet files, or of text tables where there are none; :func:`manifest_parts` for other listings."""
    kinds = [suffix_of(name) for name in names]
    for suffixes in (PARQUET_SUFFIXES, TEXT_SUFFIXES):
        if found := [name for name, kind in zip(names, kinds) if kind in suffixes]:
            return found
    return []


def holds_parquet(folder: Path) -> bool:
    """Whether a folder is a manifest of Parquet files."""
    return any(suffix_of(part) in PARQUET_SUFFIXES for part in manifest_parts(folder)[:1])


def expand(pattern: str) -> Iterator[Path]:
    """Files that match; without a suffix in the pattern those with the suffix of an audio file. Each file of each real
    folder once, however many links lead there."""
    chosen = bool(os.path.splitext(pattern)[1])
    path = Path(pattern)
    seen: set[tuple[str, str]] = set()
    unread = _Unread()
    names = set(_matches(path.anchor, path.parts[bool(path.anchor) :], unread))
    unread.finish()
    for name in sorted(names, key=os.fsencode):
        if os.path.isdir(name) or not (chosen or os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES):
            continue
        folder, file = os.path.split(name)
        if (key := (os.path.realpath(folder), file)) not in seen:
            seen.add(key)
            yield Path(name)


def _matches(base: str, parts: Sequence[str], unread: _Unread) -> Iterator[str]:
    """Paths below ``base`` that match the parts of a pattern. ``glob`` alone would follow circles of links, and says
    nothing of folders that it cannot look into."""
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _matches(base, rest or ("*",), unread)
        for entry in _tree(base or os.curdir, unread):
            if _is_folder(entry):
                yield from _matches(entry.path if base else entry.path[2:], rest or ("*",), unread)
    elif glob.has_magic(part):
        names = _asked(os.listdir, base or os.curdir, unread) or ()
        shown = [name for name in names if part.startswith(".") or not name.startswith(".")]
        for name in sorted(fnmatch.filter(shown, part), key=os.fsencode):
            yield from _matches(os.path.join(base, name), rest, unread)
    elif _asked(lambda _: os.lstat(os.path.join(base, part)), base or os.curdir, unread) is not None:
        yield from _matches(os.path.join(base, part), rest, unread)


def _asked(ask: Callable[[str], T], folder: str, unread: _Unread) -> T | None:
    """What the system says of a folder; None where there is none, or where it may not be looked into, which is told."""
    try:
        return ask(folder)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a file that matches like a folder; NUL in a name
        return None
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            unread(folder, error)
        return None


def glob_root(pattern: str) -> Path:
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:fixed]).absolute()
