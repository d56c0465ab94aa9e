"""A catalogue from any of the forms it may have; see :mod:`pipelines.catalog`."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from stemfeatures.errors import CatalogError

from .manifest import _read_csv, _read_parquet
from .types import (
    CSV_SUFFIXES,
    ID_COLUMN,
    PARQUET_SUFFIXES,
    PATH_COLUMNS,
    Catalog,
    CatalogSpec,
    printable,
)
from .walk import _glob, _glob_root, _walk

if TYPE_CHECKING:
    import pandas as pd


# ------------------------------------------------------------------------------------------------------------ read


def read_catalog(spec: CatalogSpec, *, limit: int | None = None) -> Catalog:
    """Read a catalogue: manifest, folder, glob pattern, list of files or DataFrame; see the module's docstring.

    Parameters
    ----------
    spec : what to read.
    limit : read the first rows only.

    Raises
    ------
    CatalogError : there is no such thing, it has no rows or no column that names files, or it is not text in UTF-8 or
        UTF-16. Rows that clash or name no file are no error here: see :func:`validate_catalog`.
    """
    import pandas as pd

    if limit is not None and limit < 1:
        raise CatalogError(f"limit must be at least 1, not {limit}")
    if isinstance(spec, Catalog):
        return spec.head(limit)
    if isinstance(spec, pd.DataFrame):
        return _from_frame(spec.head(limit) if limit else spec, Path.cwd(), "DataFrame")
    if not isinstance(spec, (str, os.PathLike)):
        specs = [os.fspath(s) for s in spec]
        if len(specs) != 1:
            return _from_list(specs, limit)
        spec = specs[0]
    text = os.fspath(spec)
    path = Path(text)
    if path.is_dir():
        return _from_files(islice(_walk(path), limit), path.absolute(), text)
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in CSV_SUFFIXES:
            return _from_frame(_read_csv(path, limit), path.absolute().parent, text)
        if suffix in PARQUET_SUFFIXES:
            return _from_frame(_read_parquet(path, limit), path.absolute().parent, text)
        return _from_files([path], None, text)
    if glob.has_magic(text):
        return _from_files(islice(_glob(text), limit), _glob_root(text), text)
    raise CatalogError("there is no such file or folder", source=printable(text))


def _from_list(specs: Sequence[str], limit: int | None) -> Catalog:
    def files() -> Iterator[Path]:
        for text in specs:
            path = Path(text)
            if path.suffix.lower() in CSV_SUFFIXES | PARQUET_SUFFIXES:
                raise CatalogError("a manifest must be the only catalogue, not one of a list", source=printable(text))
            if path.is_dir():
                yield from _walk(path)
            elif not path.exists() and glob.has_magic(text):
                yield from _glob(text)
            else:
                yield path  # a missing one becomes a row of table errors, as in a manifest

    origin = f"{len(specs)} files" if len(specs) > 1 else "an empty list"
    return _from_files(islice(files(), limit), None, origin)


def _from_files(files: Iterable[Path], root: Path | None, origin: str) -> Catalog:
    import pandas as pd

    paths = [os.path.normpath(os.path.abspath(file)) for file in files]
    if not paths:
        raise CatalogError("no audio files there", source=printable(origin))
    base = None if root is None else os.path.normpath(root)
    columns = {
        ID_COLUMN: [_default_id(path, base) for path in paths],
        "source_uri": [printable(path) for path in paths],
        "path": pd.Series(paths, dtype=object),
    }
    return Catalog(pd.DataFrame(columns), printable(origin), base)


def _from_frame(manifest: pd.DataFrame, base: Path, origin: str) -> Catalog:
    import pandas as pd

    names = {str(c).strip().lower(): c for c in reversed(manifest.columns)}
    column = next((names[c] for c in PATH_COLUMNS if c in names), None)
    if column is None:
        have = ", ".join(map(str, manifest.columns)) or "none"
        raise CatalogError(
            f"no column names the files: one of {', '.join(PATH_COLUMNS)} is needed; the columns are: {have}",
            source=printable(origin),
        )
    if not len(manifest):
        raise CatalogError("the catalogue has no rows", source=printable(origin))
    stated = ["" if value is None or value != value else str(value).strip() for value in manifest[column].tolist()]
    folder = os.path.normpath(base)
    paths = [_local_path(text, folder) for text in stated]
    given = names.get(ID_COLUMN)
    ids = [None] * len(stated) if given is None else manifest[given].tolist()
    track_ids = [
        str(own).strip()
        if own is not None and own == own and str(own).strip()
        else _default_id(path, folder) if path is not None else (text or f"row-{i + 1}")
        for i, (own, path, text) in enumerate(zip(ids, paths, stated))
    ]  # fmt: skip
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
    return Catalog(pd.concat([head, rest], axis=1), printable(origin), folder, given is not None)


def _default_id(path: str, root: str | None) -> str:
    """Path relative to the root where it lies below it, else the absolute one."""
    if root is not None:
        prefix = root.rstrip(os.sep) + os.sep
        if path.startswith(prefix):
            path = path[len(prefix) :]
    return printable(path.replace(os.sep, "/"))


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def _local_path(text: str, base: str) -> str | None:
    """Absolute path of a manifest's entry; None when it names no local file."""
    if not text:
        return None
    if _SCHEME.match(text):
        uri = urlsplit(text)
        if uri.scheme.lower() != "file" or uri.netloc not in ("", "localhost"):
            return None
        # ``?`` and ``#`` are rarely escaped in the wild, and a file has neither query nor fragment.
        text = unquote(text.split("://", 1)[1].removeprefix("localhost"))
    return os.path.normpath(os.path.join(base, os.path.expanduser(text)))


# ------------------------------------------------------------------------------------------------------------- CSV


# -------------------------------------------------------------------------------------------------------- validate
