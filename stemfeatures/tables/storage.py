"""Where a dataset lies, and what a dataset needs of it: a folder of this machine, or a prefix of an object store.

Both can list and read, create a file unless it is there, replace one in a step, give one another name and delete it.
What differs is told here and nowhere else:

* On file systems a file is created by ``link`` and renamed by ``rename``; links inside the dataset are not followed,
  and nothing but regular files is opened.
* In object stores a file is created by a conditional request (``If-None-Match``), and renamed by a copy and a deletion:
  for a moment both names exist.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from .._util import objects
from .._util.files import fsync_path, naming, open_regular, temporary_name, write_new, write_replace
from .._util.objects import Entry
from .._util.patient import PatientFileSystem
from .._util.urls import SCHEMES, Place, Url
from ..errors import DatasetError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")


class Storage(Protocol):
    """A dataset's folder. Names are relative to it, with forward slashes."""

    @property
    def where(self) -> Place: ...

    def place(self, name: str) -> Place:
        """Where a file or a folder lies; DatasetError when its folder is a link."""
        ...

    def exists(self) -> bool:
        """Whether there is such a folder, with anything in it or not."""
        ...

    def has_folders(self, names: Iterable[str]) -> bool:
        """Whether it holds all of some folders, of its own."""
        ...

    def make_folder(self, name: str) -> None: ...

    def names(self) -> list[str]:
        """What is right inside the dataset."""
        ...

    def entries(self, folder: str) -> list[Entry]:
        """The files of a folder, none where there is no folder; hidden ones too."""
        ...

    def file_names(self, folder: str) -> list[str]:
        """The names alone of :meth:`entries`, in any order: of many files much sooner."""
        ...

    def tree(self, folders: Iterable[str]) -> dict[str, list[Entry]]:
        """:meth:`entries` of several folders, ``""`` for what is right inside the dataset."""
        ...

    def entry(self, name: str) -> Entry | None:
        """A file, None when there is none; OSError when it is no regular one."""
        ...

    def create(self, name: str, data: bytes) -> None:
        """Write a file unless it is there (FileExistsError)."""
        ...

    def replace(self, name: str, data: bytes) -> None: ...

    def move(self, name: str, new: str) -> None:
        """FileNotFoundError when there is none."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file or, of a file system, a folder with all that is in it; nothing when there is none."""
        ...

    def write_table(self, data: pa.Table, name: str, **options: Any) -> int:
        """Write Parquet whole or not at all, and return its bytes."""
        ...

    def take(self, source: Place, name: str) -> None:
        """Have a file of another dataset under a name, linked or copied, whole or not at all."""
        ...

    def write_tables(
        self, tables: Iterator[pa.Table], schema: pa.Schema, name: str, *, most_bytes: int, **options: Any
    ) -> int:
        """The same of tables, each of which becomes a row group; ends with the one by which it has so many bytes."""
        ...


def storage_of(where: Place) -> Storage:
    """The storage at a place; DatasetError for an address that cannot be written to."""
    if not isinstance(where, Url):
        return LocalStorage(where)
    if SCHEMES[where.scheme] == "http":
        raise DatasetError("a features directory cannot lie behind http; s3, gs and az can", source=str(where))
    return ObjectStorage(where)


def read_json(place: Place) -> Any:
    """What a file of a dataset says; OSError, and ValueError when it is no JSON."""
    if isinstance(place, Url):
        return json.loads(objects.read(place))
    with open_regular(place, follow=False) as opened:
        return json.loads(opened.read())


def arrow_source(place: Place) -> tuple[str, AbstractFileSystem | None]:
    """What ``pyarrow`` calls a file: its path, and the file system if it is not this machine's."""
    if not isinstance(place, Url):
        return str(place), None
    return objects.path_in(objects.filesystem(place), place), PatientFileSystem(place, skip_instance_cache=True)


def each(work: Callable[[Place], T], places: list[Place]) -> Iterator[Callable[[], T]]:
    """``work`` of each place, in order, as functions that return its result or raise its error; in stores several are
    at work at a time."""
    if not places or not isinstance(places[0], Url):
        yield from (partial(work, place) for place in places)
        return
    with ThreadPoolExecutor(objects.CONNECTIONS) as pool:
        for future in [pool.submit(work, place) for place in places]:
            yield future.result


@contextmanager
def parquet_file(place: Place, *, verify: bool = False) -> Iterator[pq.ParquetFile]:
    """A Parquet file of a dataset, open; the checksums of its pages are looked at on request."""
    path, fs = arrow_source(place)
    with pq.ParquetFile(path, filesystem=fs, page_checksum_verification=verify) as file:
        yield file


class LocalStorage:
    """A folder of this machine, or of a network drive."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def place(self, name: str) -> Path:
        folder, _, file = name.partition("/")
        path = self.where / folder
        if folder and path.is_symlink():
            raise DatasetError("is a link to another place; a dataset keeps its tables in itself", source=str(path))
        return path / file if file else path

    def exists(self) -> bool:
        return self.where.is_dir()

    def has_folders(self, names: Iterable[str]) -> bool:
        return all((self.where / name).is_dir() and not (self.where / name).is_symlink() for name in names)

    def make_folder(self, name: str) -> None:
        (self.where / name).mkdir(parents=True, exist_ok=True)
        fsync_path(self.where)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.where.iterdir())

    def entries(self, folder: str) -> list[Entry]:
        found = []
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.place(folder)) as scan:
            for item in scan:
                with suppress(FileNotFoundError):  # it has just been given another name
                    status = item.stat(follow_symlinks=False)
                    found.append(Entry(item.name, status.st_size, status.st_mtime))
        return sorted(found)

    def file_names(self, folder: str) -> list[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return os.listdir(self.place(folder))
        return []

    def tree(self, folders: Iterable[str]) -> dict[str, list[Entry]]:
        return {folder: self.entries(folder) for folder in folders}

    def entry(self, name: str) -> Entry | None:
        try:
            status = os.lstat(self.place(name))
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "is no regular file")
        return Entry(name.rpartition("/")[2], status.st_size, status.st_mtime)

    def create(self, name: str, data: bytes) -> None:
        write_new(self.place(name), data)

    def replace(self, name: str, data: bytes) -> None:
        write_replace(self.place(name), data)

    def move(self, name: str, new: str) -> None:
        os.rename(self.place(name), self.place(new))

    def delete(self, name: str) -> None:
        path = self.place(name)
        with suppress(FileNotFoundError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def take(self, source: Place, name: str) -> None:
        path = self.place(name)
        path.parent.mkdir(exist_ok=True)
        if isinstance(source, Path):
            with suppress(FileNotFoundError):  # what was taken by a process that died then
                path.unlink()
            try:
                os.link(source, path, follow_symlinks=False)
            except OSError:  # another file system, or one without links
                self._write(name, lambda tmp: shutil.copyfile(source, tmp))
            else:
                fsync_path(path.parent)
        else:
            self._write(name, lambda tmp: tmp.write_bytes(objects.read(source)))

    def write_table(self, data: pa.Table, name: str, **options: Any) -> int:
        return self._write(name, lambda path: pq.write_table(data, path, **options))

    def write_tables(
        self, tables: Iterator[pa.Table], schema: pa.Schema, name: str, *, most_bytes: int, **options: Any
    ) -> int:
        def write(path: Path) -> None:
            with pa.OSFile(str(path), "wb") as sink:
                _write_row_groups(sink, tables, schema, most_bytes, options)

        return self._write(name, write)

    def _write(self, name: str, write: Callable[[Path], object]) -> int:
        path = self.place(name)
        tmp = temporary_name(path)
        try:
            path.parent.mkdir(exist_ok=True)  # not its parents: a dataset that somebody has deleted stays deleted
            with naming(path, tmp):
                write(tmp)
                fsync_path(tmp)
                size = tmp.stat().st_size
                os.replace(tmp, path)
            fsync_path(path.parent)
        finally:
            with suppress(OSError):
                tmp.unlink()
        return size


class ObjectStorage:
    """A prefix of an object store. It has no folders: one is there when something is in it."""

    #: Makes a folder be there.
    _MARK = ".folder"

    def __init__(self, where: Url) -> None:
        self.where = where

    def place(self, name: str) -> Url:
        return self.where / name

    def exists(self) -> bool:
        return bool(self.names())

    def has_folders(self, names: Iterable[str]) -> bool:
        return set(names) <= set(self.names())

    def make_folder(self, name: str) -> None:
        objects.write(self.where / name / self._MARK, b"")

    def names(self) -> list[str]:
        return sorted(objects.call(self.where, _names_below))

    def entries(self, folder: str) -> list[Entry]:
        return sorted(entry for entry in objects.entries(self.where / folder) if entry.name != self._MARK)

    def file_names(self, folder: str) -> list[str]:
        return [entry.name for entry in self.entries(folder)]

    def tree(self, folders: Iterable[str]) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {folder: [] for folder in folders}
        for name, entry in objects.tree(self.where):
            if (folder := name.rpartition("/")[0]) in found and entry.name != self._MARK:
                found[folder].append(entry)
        return found

    def entry(self, name: str) -> Entry | None:
        return objects.info(self.where / name)

    def create(self, name: str, data: bytes) -> None:
        objects.create(self.where / name, data)

    def replace(self, name: str, data: bytes) -> None:
        objects.write(self.where / name, data)

    def move(self, name: str, new: str) -> None:
        objects.move(self.where / name, self.where / new)

    def delete(self, name: str) -> None:
        objects.delete(self.where / name)

    def take(self, source: Place, name: str) -> None:
        content = source.read_bytes() if isinstance(source, Path) else objects.read(source)
        objects.write(self.where / name, content)

    def write_table(self, data: pa.Table, name: str, **options: Any) -> int:
        buffer = pa.BufferOutputStream()
        pq.write_table(data, buffer, **options)
        return self._write(name, buffer)

    def write_tables(
        self, tables: Iterator[pa.Table], schema: pa.Schema, name: str, *, most_bytes: int, **options: Any
    ) -> int:
        buffer = pa.BufferOutputStream()
        _write_row_groups(buffer, tables, schema, most_bytes, options)
        return self._write(name, buffer)

    def _write(self, name: str, buffer: pa.BufferOutputStream) -> int:
        content = buffer.getvalue().to_pybytes()
        objects.write(self.where / name, content)
        return len(content)


def _write_row_groups(
    sink: pa.NativeFile, tables: Iterator[pa.Table], schema: pa.Schema, most_bytes: int, options: dict[str, Any]
) -> None:
    with pq.ParquetWriter(sink, schema, **options) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=table.num_rows)
            del table  # or it is there while the next one is made
            if sink.tell() >= most_bytes:
                return


def _names_below(fs: AbstractFileSystem, path: str) -> list[str]:
    try:
        return [item.rstrip("/").rpartition("/")[2] for item in fs.ls(path, detail=False)]
    except FileNotFoundError as error:
        if objects.says_no_bucket(error):
            raise
        return []
