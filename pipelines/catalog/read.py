"""A catalogue from any of the forms it may have; see :mod:`pipelines.catalog`."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from stemfeatures._util.tabular import (
    OTHER_TABLES,
    READ_TABLES,
    TEXT_SUFFIXES,
    TYPED_FORMATS,
    TableError,
    as_ids,
    named_index_as_columns,
    require_distinct,
    restore_integers,
    suffix_of,
)
from stemfeatures._util.urls import SCHEMES, Url, is_remote, joined, scheme_of
from stemfeatures.errors import CatalogError

from . import remote
from .manifest import read_csv, read_parts, read_typed
from .metadata import settled
from .path_columns import path_column
from .types import (
    ID_COLUMN,
    Catalog,
    CatalogSpec,
    passed_over_text,
    printable,
)
from .walk import expand, glob_root, manifest_parts, walk

if TYPE_CHECKING:
    import pandas as pd


def read_catalog(spec: CatalogSpec, *, limit: int | None = None) -> Catalog:
    """Read a catalogue: manifest, folder, glob pattern, list of files or DataFrame; see :mod:`pipelines.catalog`.

    Parameters
    ----------
    spec : str, path, sequence of paths, DataFrame or Catalog
        What to read.
    limit : int, optional
        Read the first rows only.

    Returns
    -------
    Catalog
        Its rows, in order; no file has been opened yet.

    Raises
    ------
    CatalogError
        There is no such thing, it has no rows or no column that names files, or it is not text in UTF-8 or UTF-16. Rows
        that clash or name no file are no error here: see :func:`validate_catalog`.
    """
    import pandas as pd

    if limit is not None and limit < 1:
        raise CatalogError(f"limit must be at least 1, not {limit}")
    if isinstance(spec, Catalog):
        return spec.head(limit)
    if isinstance(spec, pd.DataFrame):
        return from_frame(named_index_as_columns(spec.head(limit) if limit else spec), Path.cwd(), "DataFrame")
    if not isinstance(spec, (str, os.PathLike)):
        specs = [os.fspath(s) for s in spec]
        if len(specs) != 1:
            return _from_list(specs, limit)
        spec = specs[0]
    text = os.fspath(spec)
    _require_name(text)
    if is_remote(text):
        return _from_store(text.rstrip("/"), limit)
    path = Path(text)
    # These of ``os.path`` raise nothing, whatever the name and whoever may not look.
    if os.path.isdir(path):
        if parts := manifest_parts(path):
            return _from_parts(path, parts, text, limit)
        passed_over: Counter[str] = Counter()
        return _from_files(islice(walk(path, passed_over), limit), path.absolute(), text, passed_over)
    if os.path.isfile(path):
        return _from_file(path, text, limit)
    if glob.has_magic(text):
        return _from_files(islice(expand(text), limit), glob_root(text), text)
    if scheme := scheme_of(text):
        if scheme in SCHEMES:
            raise CatalogError("the address names no bucket and no host", source=printable(text))
        raise CatalogError(f"cannot open {scheme}:// addresses; mount or download the files", source=printable(text))
    raise CatalogError(_why_not(path), source=printable(text))


def _require_name(text: str) -> None:
    """CatalogError for an empty name: a variable of the shell that is not set must not mean the folder one is in."""
    if not text:
        raise CatalogError("the name of the catalogue is empty")


def _why_not(path: Path) -> str:
    """Why a path is no catalogue."""
    try:
        os.stat(path)
    except (FileNotFoundError, ValueError):  # the latter for NUL in its name
        return "there is no such file or folder"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "is neither a regular file nor a folder"


def _from_store(address: str, limit: int | None) -> Catalog:
    """A catalogue at an address of a store."""
    url = Url(address)
    bare = str(url).partition("?")[0]
    suffix, folder = suffix_of(bare), url.parent.address
    if suffix in {*TEXT_SUFFIXES, *TYPED_FORMATS} and not glob.has_magic(bare):
        with remote.brought(address) as path:
            read = read_parts if path.is_dir() else read_csv if suffix in TEXT_SUFFIXES else read_typed
            return from_frame(_named(read, path, limit, address), folder, address)
    if SCHEMES[url.scheme] == "http":
        return _from_files([address], None, address)
    if glob.has_magic(bare):
        return _from_files(islice(remote.matches(address), limit), remote.pattern_root(address), address)
    if remote.is_file(address):
        return _from_files([address], None, address)
    names = remote.files_below(address)
    if not names:
        raise CatalogError("there is no such object, and nothing below it", source=printable(address))
    if remote.is_manifest(names):
        with remote.brought(address) as path:
            return from_frame(_named(read_parts, path, limit, address), url.address, address)
    passed_over: Counter[str] = Counter()
    files = islice(remote.audio_below(address, names, passed_over), limit)
    return _from_files(files, url.address, address, passed_over)


def _named(
    read: Callable[[Path, int | None], pd.DataFrame], path: Path, limit: int | None, address: str
) -> pd.DataFrame:
    """A manifest; errors name its address, not the copy that is read."""
    try:
        return read(path, limit)
    except CatalogError as error:
        message = error.message.replace(str(path), printable(address))
        raise CatalogError(message, source=printable(address)) from error


def is_table(path: Path) -> bool:
    """Whether a file is a manifest by its suffix: text, compressed or not, or a table with types."""
    return suffix_of(path) in {*TEXT_SUFFIXES, *TYPED_FORMATS}


def _from_file(path: Path, text: str, limit: int | None) -> Catalog:
    suffix = suffix_of(path)
    if suffix in TEXT_SUFFIXES or suffix == ".txt":  # which lies beside music, too: alone, it is a manifest
        return from_frame(read_csv(path, limit), path.absolute().parent, text)
    if path.suffix.lower() in TYPED_FORMATS:
        return from_frame(read_typed(path, limit), path.absolute().parent, text)
    if suffix in OTHER_TABLES or suffix in TYPED_FORMATS or path.suffix.lower() in OTHER_TABLES:
        raise CatalogError(
            f"a manifest must be {READ_TABLES}, not {''.join(path.suffixes[-2:])}", source=printable(text)
        )
    return _from_files([path], None, text)


def _from_parts(path: Path, parts: Sequence[Path], text: str, limit: int | None) -> Catalog:
    try:
        return from_frame(read_parts(path, limit), path.absolute(), text)
    except CatalogError as error:
        if error.source != printable(text):
            raise
        why = f"{error.message} (there is no audio below it: {printable(parts[0].name)} was read as a manifest)"
        raise CatalogError(why, source=error.source) from error


def _from_list(specs: Sequence[str], limit: int | None) -> Catalog:
    passed_over: Counter[str] = Counter()

    def files() -> Iterator[Path | str]:
        for text in specs:
            _require_name(text)
            path = Path(text)
            if is_remote(text):
                yield text
            elif is_table(path):
                raise CatalogError("a manifest must be the only catalogue, not one of a list", source=printable(text))
            elif os.path.isdir(path):
                yield from walk(path, passed_over)
            elif not os.path.exists(path) and glob.has_magic(text):
                yield from expand(text)
            else:
                yield path  # a missing one becomes a row of table errors, as in a manifest

    origin = f"{len(specs)} files" if len(specs) > 1 else "an empty list"
    return _from_files(islice(files(), limit), None, origin, passed_over)


def _from_files(
    files: Iterable[Path | str],
    root: Path | str | None,
    origin: str,
    passed_over: Mapping[str, int] | None = None,
) -> Catalog:
    import pandas as pd

    paths = [_absolute(file) for file in files]
    if not paths:
        why = f"; {passed_over_text(dict(passed_over))}" if passed_over else ""
        raise CatalogError(f"no audio files there{why}", source=printable(origin))
    base = None if root is None else _absolute(root)
    columns = {
        ID_COLUMN: [_default_id(path, base) for path in paths],
        "source_uri": [printable(path) for path in paths],
        "path": pd.Series(paths, dtype=object),
    }
    return Catalog(
        pd.DataFrame(columns), printable(origin), base and printable(base), passed_over=dict(passed_over or {})
    )


def _absolute(file: Path | str) -> str:
    """The absolute path, or the address."""
    return file if isinstance(file, str) and is_remote(file) else os.path.normpath(os.path.abspath(file))


def from_frame(
    manifest: pd.DataFrame,
    base: Path | str,
    origin: str,
    *,
    first_row: int = 0,
    restore_ids: bool | None = None,
    metadata_types: Mapping[str, str] | None = None,
) -> Catalog:
    """A catalogue from the table of a manifest.

    Parameters
    ----------
    manifest : DataFrame
        As it was read.
    base : path or str
        Folder, or address, of the manifest.
    origin : str
        What messages call it.
    first_row : int, optional
        Rows of the manifest before these.
    restore_ids : bool, optional
        Whether text ids such as ``12.0`` are integers; by default they are where all of these are such.
    metadata_types : mapping, optional
        Types of the columns, where these rows are not all.

    Returns
    -------
    Catalog
        Its rows.

    Raises
    ------
    CatalogError
        There are no rows, no column names the files, or two columns have one name.
    """
    import pandas as pd

    try:
        require_distinct([str(c) for c in manifest.columns])
    except TableError as error:
        raise CatalogError(error.message, source=printable(origin)) from error
    names = {str(c).strip().lower(): c for c in reversed(manifest.columns)}
    column = names[path_column(manifest.columns, origin).strip().lower()]
    if not len(manifest):
        raise CatalogError("the catalogue has no rows", source=printable(origin))
    folder = _absolute(base)
    stated = [_stated(value, folder) for value in manifest[column].tolist()]
    paths = [_located(text, folder) for text in stated]
    given = names.get(ID_COLUMN)
    ids = [None] * len(stated) if given is None else _stated_ids(manifest[given], origin, restore_ids)
    track_ids = [
        own or (_default_id(path, folder) if path is not None else (text or f"row-{first_row + i + 1}"))
        for i, (own, path, text) in enumerate(zip(ids, paths, stated))
    ]
    head = pd.DataFrame(
        {
            ID_COLUMN: [printable(i) for i in track_ids],
            "source_uri": [printable(text) for text in stated],
            "path": pd.Series(paths, dtype=object),
        }
    )
    rest = manifest.drop(columns=[c for c in (column, given) if c is not None]).reset_index(drop=True)
    # Two columns may not share a name with ours; a second path column is metadata.
    rest.columns = [f"{c}_" if c in head.columns else str(c) for c in rest.columns]
    if len(set(rest.columns)) < len(rest.columns):
        twice = next(c for c in rest.columns if list(rest.columns).count(c) > 1)
        raise CatalogError(f"two columns are called {twice!r}", source=printable(origin))
    settle = {name: settled(rest[name], name, printable(origin)) for name in rest.columns}
    frame = pd.concat([head, pd.DataFrame(settle, index=head.index)], axis=1)
    return Catalog(
        frame,
        printable(origin),
        printable(folder),
        given is not None,
        first_row=first_row,
        metadata_types=dict(metadata_types or {}),
    )


def _stated(value: Any, folder: str) -> str:
    """A cell of the path column as text; empty where there is none. Blanks around it belong to it where there is such a
    file."""
    if isinstance(value, (bytes, os.PathLike)):
        return os.fsdecode(value)  # a file name need not be UTF-8
    missing = value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
    exact = "" if missing else str(value)
    bare = exact.strip()
    if bare == exact or not bare or is_remote(bare) or is_remote(folder):
        return bare
    return exact if (path := _located(exact, folder)) is not None and os.path.lexists(path) else bare


def _stated_ids(column: pd.Series, origin: str, restore: bool | None) -> list[str | None]:
    """The ids that the catalogue states, None where it states none; tables of listening are read alike."""
    try:
        ids = as_ids(column, str(column.name)).to_pylist()
    except TableError as error:
        raise CatalogError(error.message, source=printable(origin)) from error
    some = iter([own for own in ids if own is not None])
    if restore or restore is None:
        some = iter(restore_integers(list(some)))
    return [None if own is None else printable(next(some)) for own in ids]


def _default_id(path: str, root: str | None) -> str:
    """Path relative to the root where it lies below it, else the absolute one."""
    if root is not None:
        prefix = root.rstrip("/") + "/"
        if path.startswith(prefix):
            path = path[len(prefix) :]
    return printable(path.replace(os.sep, "/"))


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def _located(text: str, base: str) -> str | None:
    """Absolute path, or address, of a manifest's entry; None when it names neither a local file nor a known store."""
    if not text or is_remote(text):
        return text or None
    if _SCHEME.match(text):
        try:
            uri = urlsplit(text)
        except ValueError:  # one bracket of two
            return None
        if uri.scheme.lower() != "file" or uri.netloc not in ("", "localhost"):
            return None
        # ``?`` and ``#`` are rarely escaped in the wild, and a file has neither query nor fragment.
        text = unquote(text.split("://", 1)[1].removeprefix("localhost"))
    elif is_remote(base):
        return joined(base, text)
    return os.path.normpath(os.path.join("/" if is_remote(base) else base, os.path.expanduser(text)))
