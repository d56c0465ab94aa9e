"""Which column of a manifest names the files, whatever people call it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stemfeatures.errors import CatalogError

from .types import ID_COLUMN, PATH_COLUMNS, printable

#: ``file_name``, ``Audio Path``, ``audioFilename``, ``abs_path``, ``wav``: what is written where none of
#: :data:`PATH_COLUMNS` is there. An ``url`` may be a page about the track, so that it must say that it is of audio.
_LIKELY = re.compile(
    r"(?:audio|sound|song|music|track|wav|mp3|flac)?(?:file)?(?:path|name|file|filename|filepath)"
    r"|(?:abs|absolute|full|local|relative|rel|src|source)(?:file)?(?:path|file|filename)"
    r"|(?:audio|sound|wav|mp3|flac)(?:file)?(?:ur[il])?|pathto(?:audio|file|audiofile)|filelocation"
)
#: Names of tracks, not of their files.
_TITLES = {"name", "songname", "trackname", "musicname", "soundname"}


def path_column(columns: Iterable[object], origin: str) -> str:
    """The column that names the files.

    Parameters
    ----------
    columns : iterable of str
        The names of all columns.
    origin : str
        What messages call the manifest.

    Returns
    -------
    str
        The first of ``PATH_COLUMNS`` that is there, in any case; else the only one that is called alike.

    Raises
    ------
    CatalogError
        There is none, or there are several that may be meant.

    Examples
    --------
    >>> path_column(["id", "Audio Filename", "length"], "songs.csv")
    'Audio Filename'
    """
    names = [str(column) for column in columns]
    found = _candidates(names)
    if not found:
        have = ", ".join(names) or "none"
        raise CatalogError(
            f"no column names the files: one of {', '.join(PATH_COLUMNS)} is needed; the columns are: {have}",
            source=printable(origin),
        )
    if len(found) > 1:
        several = f"{', '.join(found[:-1])} and {found[-1]}"
        raise CatalogError(
            f"the columns {several} may all name the files: call the one that does {PATH_COLUMNS[0]}",
            source=printable(origin),
        )
    return found[0]


def special_columns(columns: Iterable[object]) -> frozenset[str]:
    """Columns that name tracks or files: they stay as they are written.

    Examples
    --------
    >>> sorted(special_columns(["track_id", "file_name", "bpm"]))
    ['file_name', 'track_id']
    """
    names, known = [str(column) for column in columns], {*PATH_COLUMNS, ID_COLUMN}
    return frozenset([*(name for name in names if name.strip().lower() in known), *_candidates(names)])


def _candidates(columns: list[str]) -> list[str]:
    """The column of the files; several where nothing tells them apart."""
    lower = {column.strip().lower(): column for column in reversed(columns)}
    if (known := next((lower[name] for name in PATH_COLUMNS if name in lower), None)) is not None:
        return [known]
    plain = {column: re.sub(r"[\s_.-]", "", column).lower() for column in columns}
    return [column for column, name in plain.items() if _LIKELY.fullmatch(name) and name not in _TITLES]
