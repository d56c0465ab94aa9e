"""Where things lie in a features directory, and which columns this dataset has.

::

    features/
      <table>/part-<shard>-<uuid>.parquet
      <table>/.part-<shard>-<uuid>.parquet.new   not committed yet, or not published; see parts.py
      _commits/00000042.json                     what counts; see commits.py
      _schema/<table>.json                       the columns of this dataset

Whoever can write there decides what its readers are told, and nothing more: every name in these files is checked before
it becomes a path, and links inside the directory are not followed.

A dataset may have columns the registry does not know: those of its catalogue, which travel through to ``tracks`` under
the prefix ``meta_``. Their types are inferred once, from the catalogue the dataset was made from, and remembered in
``_schema/tracks.json``, so that no part can differ from another. A later catalogue may add columns (older rows are null
there) but not change their types.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from .._util.files import fsync_path, open_regular, write_replace
from ..errors import DatasetError, LostOutputError
from ..fields import Field
from .schema import SCHEMA_VERSION, TABLES, get_table, schema_of

if TYPE_CHECKING:
    import pandas as pd

COMMITS = "_commits"
SCHEMA = "_schema"
METADATA_PREFIX = "meta_"
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def metadata_name(column: str) -> str:
    """Name in ``tracks`` of a catalogue column: ``Track Title`` becomes ``meta_track_title``."""
    return METADATA_PREFIX + (re.sub(r"\W+", "_", str(column).strip().lower()).strip("_") or "column")


def infer_metadata(catalog: pd.DataFrame) -> tuple[Field, ...]:
    """Fields for the columns of ``catalog`` (only those that shall travel), typed bool, int64, float64 or string.

    A column without any value is a string column. Raises DatasetError when two columns get one name.
    """
    import pandas as pd

    fields: dict[str, Field] = {}
    for column in catalog.columns:
        name = metadata_name(column)
        if name in fields:
            raise DatasetError(f"catalogue column {column!r} and another one would both be called {name!r}")
        values = catalog[column].dropna()
        kind = pd.api.types.infer_dtype(values, skipna=True)
        kind = {"boolean": "bool", "integer": "int64", "floating": "float64", "mixed-integer-float": "float64"}.get(
            kind, "string"
        )
        fields[name] = Field(name, kind, f"Catalogue column {str(column)!r}.", family="metadata")
    return tuple(fields.values())


@dataclass(frozen=True)
class DatasetLayout:
    """A features directory and its columns. Small and picklable, so it travels to workers.

    Attributes
    ----------
    path : Path
        The directory.
    stored : dict
        Columns by table, as ``_schema`` states them.
    schema_version : str
        Version that ``_schema`` states.
    """

    path: Path
    stored: dict[str, tuple[Field, ...]] = field(default_factory=dict)
    schema_version: str = SCHEMA_VERSION

    @classmethod
    def open(cls, path: str | Path | DatasetLayout) -> DatasetLayout:
        """The layout of an existing dataset; DatasetError when there is none or its major version is another."""
        if isinstance(path, DatasetLayout):
            return path
        path = Path(path)
        if not path.is_dir():
            what = "is a file, not a features directory" if path.exists() else "there is no such directory"
            raise DatasetError(what, source=str(path))
        if not is_dataset(path):
            raise DatasetError(f"not a features directory (it has no {SCHEMA} and {COMMITS})", source=str(path))
        stored: dict[str, tuple[Field, ...]] = {}
        versions = []
        for file in sorted((path / SCHEMA).glob("[!.]*.json")):
            try:
                with open_regular(file, follow=False) as opened:
                    content = json.loads(opened.read())
                fields = tuple(Field.from_json(f) for f in content["fields"])
                version = content["schema_version"]
                versions.append((_version(version), version))
                if content["table"] != file.stem or not is_table_name(file.stem):
                    raise ValueError(f"it is of a table {content['table']!r}")
                stored[file.stem] = fields
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
                raise DatasetError(f"cannot read the schema: {type(e).__name__}: {e}", source=str(file)) from e
        version = max(versions)[1] if versions else SCHEMA_VERSION
        if _version(version)[0] != _version(SCHEMA_VERSION)[0]:
            raise DatasetError(
                f"the dataset has schema version {version}, this library reads {SCHEMA_VERSION}; "
                "use the stemfeatures release that wrote it, or extract into a new directory",
                source=str(path),
            )
        return cls(path, stored, version)

    @classmethod
    def found(cls, path: str | Path) -> DatasetLayout:
        """Make the folders of a dataset if there is none, else open it.

        Harmless while somebody writes there: columns are stored by :meth:`with_columns`.

        Raises
        ------
        DatasetError
            The directory holds something else, or a dataset that cannot be read.
        """
        path = Path(path)
        if not is_dataset(path):
            if path.is_dir():
                _require_free(path)
            try:
                for name in (SCHEMA, COMMITS):
                    (path / name).mkdir(parents=True, exist_ok=True)
                fsync_path(path)
            except OSError as e:
                raise DatasetError(f"cannot write here: {e}", source=str(path)) from e
        return cls.open(path)

    @classmethod
    def create(cls, path: str | Path, *, metadata: Iterable[Field] = ()) -> DatasetLayout:
        """:meth:`found`, :meth:`with_columns`. For those who hold the lock, or whom nobody else knows of."""
        return cls.found(path).with_columns(metadata)

    def with_columns(self, metadata: Iterable[Field] = ()) -> DatasetLayout:
        """The dataset with catalogue columns (:func:`infer_metadata`) and those of this release, stored in ``_schema``.

        Only for those who hold the lock. Columns that the dataset does not have yet are added; those it has keep their
        type.
        """
        stored = {name: self.fields(name) for name in self.tables}
        have = {f.name for f in stored["tracks"]}
        for f in metadata:
            if not f.name.startswith(METADATA_PREFIX):
                raise DatasetError(
                    f"catalogue column {f.name!r} must be called {METADATA_PREFIX}...", source=str(self.path)
                )
            if f.name not in have:
                stored["tracks"] += (dataclasses.replace(f, family="metadata", nullable=True),)
        version = max(self.schema_version, SCHEMA_VERSION, key=_version)
        for name, fields in stored.items():
            content = {
                "table": name,
                "schema_version": version,
                "description": TABLES[name].description if name in TABLES else "",
                "fields": [f.to_json() for f in fields],
            }
            data = json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"
            file = self.path / SCHEMA / f"{name}.json"
            if not file.exists() or file.read_bytes() != data:
                write_replace(file, data)
        return DatasetLayout(self.path, stored, version)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of all tables: those of the registry, then those only this dataset has."""
        return (*TABLES, *(name for name in self.stored if name not in TABLES))

    @property
    def metadata(self) -> tuple[Field, ...]:
        """The catalogue columns in ``tracks``."""
        return tuple(f for f in self.fields("tracks") if f.family == "metadata")

    def fields(self, table: str) -> tuple[Field, ...]:
        """Columns of ``table`` in this dataset: those of the registry, then its own."""
        if table not in self.stored:
            return get_table(table).fields
        registered = TABLES[table].fields if table in TABLES else ()
        names = {f.name for f in registered}
        return (*registered, *(f for f in self.stored[table] if f.name not in names))

    def schema(self, table: str, *, describe: bool = True) -> pa.Schema:
        """Arrow schema of ``table`` in this dataset."""
        return schema_of(table, self.fields(table), describe=describe)

    def directory(self, table: str) -> Path:
        """Folder of the part files of ``table``; DatasetError when it is a link, or not called as a table may be."""
        if not is_table_name(table):
            raise DatasetError(f"{table!r} is no name of a table", source=str(self.path))
        folder = self.path / table
        if folder.is_symlink():
            raise DatasetError("is a link to another place; a dataset keeps its tables in itself", source=str(folder))
        return folder


def is_table_name(name: object) -> bool:
    """Whether a table may be called so: a name that means nothing to a file system."""
    return isinstance(name, str) and _TABLE_NAME.fullmatch(name) is not None


def is_dataset(path: Path) -> bool:
    """Whether a directory has what a dataset has, of its own."""
    return all((path / name).is_dir() and not (path / name).is_symlink() for name in (SCHEMA, COMMITS))


def require_there(layout: DatasetLayout, what: str, error: Exception) -> None:
    """LostOutputError, which says ``what`` failed, if that is because the directory has gone meanwhile."""
    if not is_dataset(layout.path):
        raise LostOutputError(
            f"{what}: the features directory has gone, it was deleted or its disk taken away", source=str(layout.path)
        ) from error


def _require_free(path: Path) -> None:
    """DatasetError unless the directory holds nothing, or no more than what is left of a dataset without any part."""
    left = {*TABLES, SCHEMA, COMMITS}
    if other := sorted(p.name for p in path.iterdir() if p.name not in left or p.is_symlink()):
        raise DatasetError(f"the directory holds other things already: {', '.join(other[:5])}", source=str(path))
    parts = [part for table in TABLES for part in path.glob(f"{table}/*.parquet")]
    commits = [*path.glob(f"{COMMITS}/*.json")]
    if parts or commits:
        lacks = SCHEMA if commits else COMMITS
        raise DatasetError(
            f"the directory holds {len(parts)} part files of a dataset whose {lacks} is gone, so nothing says which of "
            "their rows count; restore it from a copy, or move the directory away and extract anew",
            source=str(path),
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split("."))
