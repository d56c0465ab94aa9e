"""What is wrong with a catalogue, before a run."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stemfeatures import audio
from stemfeatures._util import objects
from stemfeatures._util.urls import SCHEMES, Url, is_remote, scheme_of
from stemfeatures.audio import AudioLimits
from stemfeatures.errors import StemfeaturesError

from . import remote
from .read import read_catalog
from .types import (
    ID_COLUMN,
    CatalogSpec,
    Problem,
    ValidationReport,
    declared_durations,
    duplicates,
    printable,
)


def validate_catalog(
    catalog: CatalogSpec,
    *,
    probe: bool = True,
    decode: bool = False,
    content: bool = False,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    n_threads: int = 4,
    limits: AudioLimits | None = None,
    cache_bytes: int = remote.CACHE_BYTES,
) -> ValidationReport:
    """Look for everything that would keep a row from being extracted, without extracting it.

    Parameters
    ----------
    catalog : str, path, sequence of paths, DataFrame or Catalog
        As in :func:`read_catalog`, whose errors are raised.
    probe : bool, optional
        Open every file and decode its first tenth of a second; without it only existence and size are looked at.
    decode : bool, optional
        Decode every file to its end, which alone tells of truncated files and of damage further on.
    content : bool, optional
        Read every file whole, and report those with the same bytes as another.
    limit : int, optional
        Look at the first rows only.
    progress : callable, optional
        Called with ``(rows looked at, rows)``.
    n_threads : int, optional
        Files looked at at a time.
    limits : AudioLimits, optional
        What ``extract`` will be told that a file may be; its defaults, if not given.
    cache_bytes : int, optional
        The largest file of a store that it will be told to take.

    Returns
    -------
    ValidationReport
        All problems, in the order of the rows.
    """
    catalog = read_catalog(catalog, limit=limit)
    frame = catalog.frame
    clashes: dict[int, list[Problem]] = {}
    for clash in duplicates(catalog):
        clashes.setdefault(clash.row, []).append(clash)
    report = ValidationReport(catalog.origin, len(catalog), passed_over=catalog.passed_over)
    declared = declared_durations(catalog)
    total, known = 0.0, 0
    first_of: dict[str, int] = {}
    rows = list(zip(frame[ID_COLUMN].tolist(), frame["source_uri"].tolist(), frame["path"].tolist()))
    with ThreadPoolExecutor(n_threads) as pool:
        how: dict[str, Any] = {"probe": probe, "decode": decode, "content": content, "limits": limits}
        looks = pool.map(lambda row: look_at(row[1], row[2], cache_bytes=cache_bytes, **how), rows)
        for i, ((track_id, uri, _), (trouble, duration_s, sha256)) in enumerate(zip(rows, looks)):
            report.problems += clashes.get(i + 1, [])
            if trouble is not None:
                report.problems.append(Problem(i + 1, track_id, uri, *trouble))
            else:
                report.n_probed += probe or decode
                duration_s = declared[i] if duration_s is None else duration_s
                if duration_s is None:
                    report.n_unknown_duration += 1
                else:
                    total, known = total + duration_s, known + 1
            if sha256 is not None and (first := first_of.setdefault(sha256, i)) != i:
                message = f"{catalog.row_name(i)} holds the same bytes as {catalog.row_name(first)}"
                report.problems.append(Problem(i + 1, track_id, uri, "duplicate_content", message))
            if progress is not None:
                progress(i + 1, len(rows))
    report.audio_s = total if known else None
    return report


def path_trouble(uri: str, path: str | None) -> tuple[str, str] | None:
    """What is wrong with a row that names no file that can be opened.

    Parameters
    ----------
    uri : str
        The file as the catalogue states it.
    path : str or None
        Its absolute path or address.

    Returns
    -------
    tuple of str or None
        Kind and message of the problem; None where there is none.
    """
    if path is not None:
        return None
    if not uri:
        return "no_path", "the row names no file"
    if scheme_of(uri) in SCHEMES:
        return "unsupported_uri", "the address names no bucket and no host"
    return "unsupported_uri", f"cannot open {uri.split('://')[0]}:// addresses; mount or download the files"


def file_trouble(path: str) -> tuple[str, str] | None:
    """What keeps a file from being read, as far as its folder says.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    tuple of str or None
        Kind and message of the problem; None where there is none.
    """
    if is_remote(path):
        return _object_trouble(path)
    try:
        status = os.stat(path)
    except OSError as e:
        if os.path.islink(path) and isinstance(e, FileNotFoundError):
            return "missing", f"the link leads nowhere: {printable(path)}"
        if not isinstance(e, (FileNotFoundError, NotADirectoryError)):
            return "unreadable", f"{e.strerror or e}: {printable(path)}"
        return "missing", f"no such file: {printable(path)}{name_hint(path)}"
    except ValueError as e:  # NUL in the name
        return "missing", f"{e}: {printable(path)}"
    if not stat.S_ISREG(status.st_mode):
        what = "is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file"
        return "not_a_file", f"{what}: {printable(path)}"
    if not status.st_size:
        return "zero_bytes", f"the file is empty (0 bytes): {printable(path)}"
    return None


def _object_trouble(address: str) -> tuple[str, str] | None:
    try:
        entry = objects.info(Url(address))
    except OSError as e:
        return "unreadable", f"{getattr(e, 'what', str(e))}: {printable(address)}"
    if entry is None:
        return "missing", f"no such file: {printable(address)}"
    if not entry.size and SCHEMES[Url(address).scheme] != "http":  # which need not say
        return "zero_bytes", f"the file is empty (0 bytes): {printable(address)}"
    return None


def name_hint(path: str) -> str:
    """What to say of a missing file whose name is written another way than that of a file.

    Parameters
    ----------
    path : str
        The file as the catalogue states it.

    Returns
    -------
    str
        A hint on backslashes, or on letters with accents that are composed here and decomposed there; else empty.
    """
    if os.path.exists(path):
        return ""
    if "\\" in path:
        return " (backslashes as in a path of Windows: write / instead)"
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, path)
        if other != path and os.path.exists(other):
            return f" (a file whose name looks the same is there, in Unicode form {form}: write it that way)"
    return ""


def look_at(
    uri: str,
    path: str | None,
    *,
    probe: bool = True,
    decode: bool = False,
    content: bool = False,
    limits: AudioLimits | None = None,
    cache_bytes: int = remote.CACHE_BYTES,
) -> tuple[tuple[str, str] | None, float | None, str | None]:
    """What opening one file tells.

    Parameters
    ----------
    uri : str
        The file as the catalogue states it.
    path : str or None
        Its absolute path, where it is local.
    probe, decode, content : bool, optional
        As for :func:`validate_catalog`.
    limits : AudioLimits, optional
        As there.
    cache_bytes : int, optional
        As there.

    Returns
    -------
    tuple
        Kind and message of a problem, seconds of audio, digest of the bytes; each None when there is none.
    """
    if (trouble := path_trouble(uri, path)) is not None:
        return trouble, None, None
    assert path is not None
    if (trouble := file_trouble(path)) is not None:
        return trouble, None, None
    how: dict[str, Any] = {"probe": probe, "decode": decode, "content": content, "limits": limits}
    if not is_remote(path):
        return _listen(path, **how)
    if not (probe or decode or content):
        return None, None, None
    with remote.brought_audio(path, cache_bytes) as (copy, trouble):
        return (trouble, None, None) if copy is None else _listen(copy, **how)


def _listen(
    path: str, *, probe: bool, decode: bool, content: bool, limits: AudioLimits | None
) -> tuple[tuple[str, str] | None, float | None, str | None]:
    duration_s = sha256 = None
    may_be = vars(limits or AudioLimits())
    try:
        if content:
            sha256 = audio.file_sha256(path)
        if decode:
            with audio.open_audio(path, **may_be) as stream:
                for _ in stream:
                    pass
            if stream.status in ("truncated", "out_of_range"):
                return (stream.status, stream.message), None, sha256
            duration_s = stream.decoded_duration_s
        elif probe:
            with audio.open_audio(path, block_s=0.1, **may_be) as stream:
                duration_s = stream.info.declared_duration_s
    except StemfeaturesError as e:
        return ("unreadable", e.message), None, sha256
    except OSError as e:
        return ("unreadable", e.strerror or str(e)), None, sha256
    return None, duration_s, sha256
