"""Where things lie in a features directory, and which columns this dataset has.

::

    features/
      <table>/part-<shard>-<uuid>.parquet
      <table>/.part-<shard>-<uuid>.parquet.new   not committed yet, or not published; see parts.py
      _commits/00000042.json                     what counts; see commits.py
      _schema/<table>.json                       the columns of this dataset

It is a folder, or a prefix of an object store such as ``s3://bucket/features``; see storage.py.

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
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .._util.urls import Place, place_of
from ..errors import DatasetError, LostOutputError
from ..fields import Field
from .schema import SCHEMA_VERSION, TABLES, get_table, schema_of
from .storage import Storage, each, read_json, storage_of

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
    path : Path or Url
        The directory.
    stored : dict
        Columns by table, as ``_schema`` states them.
    schema_version : str
        Version that ``_schema`` states.
    """

    path: Place
    stored: dict[str, tuple[Field, ...]] = field(default_factory=dict)
    schema_version: str = SCHEMA_VERSION
    _said: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, path: str | Place | DatasetLayout) -> DatasetLayout:
        """The layout of an existing dataset; DatasetError when there is none or its major version is another."""
        if isinstance(path, DatasetLayout):
            return path
        path = place_of(path)
        storage = storage_of(path)
        try:
            if not is_dataset(path):
                if not storage.exists():
                    is_file = isinstance(path, Path) and path.exists()
                    what = "is a file, not a features directory" if is_file else "there is no such directory"
                    raise DatasetError(what, source=str(path))
                raise DatasetError(f"not a features directory (it has no {SCHEMA} and {COMMITS})", source=str(path))
            files = [e.name for e in storage.entries(SCHEMA) if e.name.endswith(".json") and e.name[0] != "."]
        except OSError as e:
            raise DatasetError(f"cannot be read: {e}", source=str(path)) from e
        stored: dict[str, tuple[Field, ...]] = {}
        versions = []
        said: dict[str, Any] = {}
        for file, read in zip(files, each(read_json, [path / SCHEMA / file for file in files])):
            name = file.removesuffix(".json")
            try:
                content = said[name] = read()
                fields = tuple(Field.from_json(f) for f in content["fields"])
                version = content["schema_version"]
                versions.append((_version(version), version))
                if content["table"] != name or not is_table_name(name):
                    raise ValueError(f"it is of a table {content['table']!r}")
                stored[name] = fields
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
                what = f"cannot read the schema: {type(e).__name__}: {e}"
                raise DatasetError(what, source=str(path / SCHEMA / file)) from e
        version = max(versions)[1] if versions else SCHEMA_VERSION
        if _version(version)[0] != _version(SCHEMA_VERSION)[0]:
            raise DatasetError(
                f"the dataset has schema version {version}, this library reads {SCHEMA_VERSION}; "
                "use the stemfeatures release that wrote it, or extract into a new directory",
                source=str(path),
            )
        return cls(path, stored, version, said)

    @classmethod
    def found(cls, path: str | Place) -> DatasetLayout:
        """Make the folders of a dataset if there is none, else open it.

        Harmless while somebody writes there: columns are stored by :meth:`with_columns`.

        Raises
        ------
        DatasetError
            The directory holds something else, or a dataset that cannot be read.
        """
        path = place_of(path)
        storage = storage_of(path)
        try:
            if not is_dataset(path):
                if storage.exists():
                    _require_free(storage)
                for name in (SCHEMA, COMMITS):
                    storage.make_folder(name)
        except OSError as e:
            raise DatasetError(f"cannot write here: {e}", source=str(path)) from e
        return cls.open(path)

    @classmethod
    def create(cls, path: str | Place, *, metadata: Iterable[Field] = ()) -> DatasetLayout:
        """:meth:`found`, :meth:`with_columns`. For those who hold the lock, or whom nobody else knows of."""
        return cls.found(path).with_columns(metadata)

    def with_columns(self, metadata: Iterable[Field] = (), *, of: DatasetLayout | None = None) -> DatasetLayout:
        """The dataset with further columns, stored in ``_schema``: of a catalogue (:func:`infer_metadata`), of this
        release, and all that are ``of`` another dataset.

        Only for those who hold the lock. Columns that the dataset does not have yet are added; those it has keep their
        type.
        """
        stored = {name: self.fields(name) for name in self.tables}
        for name, fields in ({} if of is None else of.stored).items():
            if name in stored:
                known = {f.name for f in stored[name]}
                fields = tuple(dataclasses.replace(f, nullable=True) for f in fields if f.name not in known)
            stored[name] = (*stored.get(name, ()), *fields)
        have = {f.name for f in stored["tracks"]}
        for f in metadata:
            if not f.name.startswith(METADATA_PREFIX):
                raise DatasetError(
                    f"catalogue column {f.name!r} must be called {METADATA_PREFIX}...", source=str(self.path)
                )
            if f.name not in have:
                stored["tracks"] += (dataclasses.replace(f, family="metadata", nullable=True),)
        others = () if of is None else (of.schema_version,)
        version = max(self.schema_version, SCHEMA_VERSION, *others, key=_version)
        said: dict[str, Any] = {}
        for name, fields in stored.items():
            content = {
                "table": name,
                "schema_version": version,
                "description": TABLES[name].description if name in TABLES else "",
                "fields": [f.to_json() for f in fields],
            }
            if self._said.get(name) != content:
                data = json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"
                self.storage.replace(f"{SCHEMA}/{name}.json", data)
            said[name] = content
        return DatasetLayout(self.path, stored, version, said)

    @property
    def storage(self) -> Storage:
        """What reads and writes the files."""
        return storage_of(self.path)

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

    def directory(self, table: str) -> Place:
        """Folder of the part files of ``table``; DatasetError when it is a link, or not called as a table may be."""
        if not is_table_name(table):
            raise DatasetError(f"{table!r} is no name of a table", source=str(self.path))
        return self.storage.place(table)


def is_table_name(name: object) -> bool:
    """Whether a table may be called so: a name that means nothing to a file system."""
    return isinstance(name, str) and _TABLE_NAME.fullmatch(name) is not None


def is_dataset(path: Place) -> bool:
    """Whether a directory has what a dataset has, of its own."""
    return storage_of(path).has_folders((SCHEMA, COMMITS))


def require_there(layout: DatasetLayout, what: str, error: Exception) -> None:
    """LostOutputError, which says ``what`` failed, if that is because the directory has gone meanwhile."""
    try:
        gone = not is_dataset(layout.path)
    except OSError:  # a store that does not answer may have it
        gone = False
    if gone:
        raise LostOutputError(
            f"{what}: the features directory has gone, it was deleted or its disk taken away", source=str(layout.path)
        ) from error


def _require_free(storage: Storage) -> None:
    """DatasetError unless the directory holds nothing, or no more than what is left of a dataset without any part."""
    left, where = {*TABLES, SCHEMA, COMMITS}, storage.where
    if other := [n for n in storage.names() if n not in left or (isinstance(where, Path) and (where / n).is_symlink())]:
        raise DatasetError(f"the directory holds other things already: {', '.join(other[:5])}", source=str(where))
    parts = [e for table in TABLES for e in storage.entries(table) if e.name.endswith(".parquet") and e.name[0] != "."]
    commits = [e for e in storage.entries(COMMITS) if e.name.endswith(".json") and e.name[0] != "."]
    if parts or commits:
        lacks = SCHEMA if commits else COMMITS
        raise DatasetError(
            f"the directory holds {len(parts)} part files of a dataset whose {lacks} is gone, so nothing says which of "
            "their rows count; restore it from a copy, or move the directory away and extract anew",
            source=str(where),
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split("."))
