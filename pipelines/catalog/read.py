"""A catalogue from any of the forms it may have; see :mod:`pipelines.catalog`."""

from __future__ import annotations

import csv
import glob
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from stemfeatures.errors import CatalogError, StemfeaturesError

if TYPE_CHECKING:
    import pandas as pd

CatalogSpec: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | pd.DataFrame | Catalog"

# fmt: off
AUDIO_SUFFIXES = frozenset({
    ".wav", ".wave", ".w64", ".rf64", ".flac", ".aif", ".aiff", ".aifc", ".caf", ".au", ".alac", ".ape", ".wv",
    ".mp3", ".mp2", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".mp4", ".aac", ".ac3", ".wma", ".mka", ".webm",
})
# fmt: on
CSV_SUFFIXES = frozenset({".csv", ".tsv", ".tab"})
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
#: Columns that name the file, in order of preference.
PATH_COLUMNS = ("path", "source_uri", "uri", "file", "filepath")
ID_COLUMN = "track_id"
#: A metadata column that, where there is one, tells how long a track is without opening it.
DURATION_COLUMN = "duration_s"


@dataclass(frozen=True)
class Catalog:
    """The rows of a catalogue, as :func:`read_catalog` gives them; nothing has been opened yet.

    Attributes
    ----------
    frame : one row a track: ``track_id``, ``source_uri`` (as the catalogue states it; printable), ``path`` (absolute,
        None where the row names no local file), then the metadata columns.
    origin : the manifest, folder, pattern or list it came from, for people.
    root : absolute folder that relative paths are relative to; None for lists of files.
    has_ids : whether the catalogue states its own track ids.
    """

    frame: pd.DataFrame
    origin: str
    root: str | None = None
    has_ids: bool = False

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def metadata_columns(self) -> list[str]:
        return list(self.frame.columns[3:])

    def head(self, limit: int | None) -> Catalog:
        """The first ``limit`` rows; all for None."""
        return self if limit is None else replace(self, frame=self.frame.head(limit))

    def row_name(self, position: int) -> str:
        """How messages call the row at a position: ``row 3 ('a/song.wav')``, counted from 1, header left out."""
        row = self.frame.iloc[position]
        return f"row {position + 1} ({(row['source_uri'] or row['track_id'])!r})"

    def require_unique(self) -> None:
        """Raise CatalogError, naming both rows, when two rows share their id or their file."""
        if clash := next(_duplicates(self), None):
            raise CatalogError(f"{clash.message}; stemfeatures validate lists all such rows", source=self.origin)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one row.

    Attributes
    ----------
    row : its number, counted from 1, header left out.
    track_id, path : its id, and the file as the catalogue states it.
    kind : ``no_path``, ``unsupported_uri``, ``missing``, ``not_a_file``, ``zero_bytes``, ``unreadable``,
        ``truncated``, ``duplicate_id``, ``duplicate_path`` or ``duplicate_content``.
    message : a sentence.
    """

    row: int
    track_id: str
    path: str
    kind: str
    message: str


#: Problems that keep ``extract`` from starting.
FATAL_KINDS = frozenset({"duplicate_id", "duplicate_path"})
#: Problems of rows that are extracted all the same; truncated ones with status ``truncated``.
HARMLESS_KINDS = frozenset({"truncated", "duplicate_content"})


@dataclass
class ValidationReport:
    """What :func:`validate_catalog` found.

    Attributes
    ----------
    origin, n_rows : the catalogue, and its number of rows.
    problems : in the order of the rows.
    n_probed : files that were opened and can be read.
    audio_s : what they declare to last together, in seconds (after decoding: what was decoded); where nothing was
        probed, the sum of column ``duration_s``; None when neither is known.
    n_unknown_duration : rows without problem that ``audio_s`` does not count.
    """

    origin: str
    n_rows: int
    problems: list[Problem] = field(default_factory=list)
    n_probed: int = 0
    audio_s: float | None = None
    n_unknown_duration: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def fatal(self) -> bool:
        """Whether ``extract`` would refuse the catalogue as a whole."""
        return any(p.kind in FATAL_KINDS for p in self.problems)

    def counts(self) -> dict[str, int]:
        """Number of problems by kind."""
        kinds = [p.kind for p in self.problems]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


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


def _tree(folder: str) -> Iterator[os.DirEntry[str]]:
    """All entries below ``folder``, sorted by path; hidden ones and what cannot be read are left out.

    Links to folders are followed, but each real folder is visited once: links may lead in circles.
    """
    seen: set[tuple[int, int]] = set()

    def is_new(at: str) -> bool:
        status = os.stat(at)
        before = len(seen)
        seen.add((status.st_dev, status.st_ino))
        return len(seen) > before

    def visit(at: str) -> Iterator[os.DirEntry[str]]:
        try:
            entries = sorted(os.scandir(at), key=lambda e: os.fsencode(e.name))
        except OSError:
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                yield entry
            elif is_new(entry.path):
                yield entry
                yield from visit(entry.path)

    if os.path.isdir(folder):
        is_new(folder)
        yield from visit(folder)


def _walk(folder: Path) -> Iterator[Path]:
    """Audio files below ``folder``, sorted by path."""
    for entry in _tree(os.fspath(folder)):
        if os.path.splitext(entry.name)[1].lower() in AUDIO_SUFFIXES and not entry.is_dir():
            yield Path(entry.path)


def _glob(pattern: str) -> Iterator[Path]:
    """Files that match; without a suffix in the pattern those with the suffix of an audio file. Each file of each real
    folder once, however many links lead there."""
    chosen = bool(os.path.splitext(pattern)[1])
    path = Path(pattern)
    seen: set[tuple[str, str]] = set()
    for name in sorted(set(_matches(path.anchor, path.parts[bool(path.anchor) :])), key=os.fsencode):
        if os.path.isdir(name) or not (chosen or os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES):
            continue
        folder, file = os.path.split(name)
        if (key := (os.path.realpath(folder), file)) not in seen:
            seen.add(key)
            yield Path(name)


def _matches(base: str, parts: Sequence[str]) -> Iterator[str]:
    """Paths below ``base`` that match the parts of a pattern. ``glob`` alone would follow circles of links."""
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _matches(base, rest or ("*",))
        for entry in _tree(base or os.curdir):
            if entry.is_dir():
                yield from _matches(entry.path if base else entry.path[2:], rest or ("*",))
    elif glob.has_magic(part):
        for name in glob.iglob(part, root_dir=base or None):
            yield from _matches(os.path.join(base, name), rest)
    elif os.path.lexists(found := os.path.join(base, part)):
        yield from _matches(found, rest)


def _glob_root(pattern: str) -> Path:
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:fixed]).absolute()


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


def printable(text: str) -> str:
    """Text that can be stored as UTF-8, also when a file name's bytes are none."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


# ------------------------------------------------------------------------------------------------------------- CSV

_INTEGER = r"[+-]?(?:0|[1-9]\d{0,17})"
_NUMBER = r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"


def _read_csv(path: Path, limit: int | None) -> pd.DataFrame:
    import pandas as pd

    source = printable(os.fspath(path))
    text = _decode(path, source)
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise CatalogError("the file is empty", source=source)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path, first), strict=True)
    rows: list[list[str]] = []
    try:
        filled = (row for row in reader if any(cell.strip() for cell in row))
        stated = [name.strip() for name in next(filled)]
        header = [name or f"column_{i + 1}" for i, name in enumerate(stated)]
        for row in islice(filled, limit):
            if any(cell.strip() for cell in row[len(header) :]):
                raise CatalogError(
                    f"line {reader.line_num} has {len(row)} fields, the header {len(header)}; "
                    "names with the delimiter in them must be quoted",
                    source=source,
                )
            rows.append((row + [""] * len(header))[: len(header)])
    except csv.Error as e:
        raise CatalogError(f"line {reader.line_num}: {e}", source=source) from e
    if twice := [name for name in header if header.count(name) > 1]:
        raise CatalogError(f"two columns are called {twice[0]!r}", source=source)
    frame = pd.DataFrame(rows, columns=header, dtype=str)
    nameless = [f"column_{i + 1}" for i, name in enumerate(stated) if not name]
    frame = frame.drop(columns=[name for name in nameless if (frame[name] == "").all()])  # trailing delimiters
    special = {*PATH_COLUMNS, ID_COLUMN}
    for column in frame.columns:
        if column.lower() not in special:
            frame[column] = _typed(frame[column])
    return frame


def _decode(path: Path, source: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise CatalogError(f"cannot be read: {e.strerror}", source=source) from e
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise CatalogError(
            f"line {line} is not {e.encoding.upper()} ({e.reason}); save it as UTF-8", source=source
        ) from e
    if "\0" in text:
        raise CatalogError("the file is not text (it holds NUL)", source=source)
    return text


def _delimiter(path: Path, header: str) -> str:
    """The delimiter that the header line uses most outside of quotes; a header of one word has none."""
    bare = re.sub(r'"[^"]*"', "", header)
    counts = {d: bare.count(d) for d in (",", ";", "\t", "|")}
    best = max(counts, key=lambda d: counts[d])
    return best if counts[best] else ("\t" if path.suffix.lower() != ".csv" else ",")


def _typed(values: pd.Series) -> pd.Series:
    """A column of text as int64, float64 or bool where *every* value is one; else as it is. Empty is null.

    Numbers with leading zeros are text (bar codes, dates), and so are ``NA`` and ``None``, which are artists.
    """
    import pandas as pd

    values = values.str.strip()
    null = values == ""
    some = values[~null]
    if not len(some):
        return pd.Series(None, index=values.index, dtype=object)
    if some.str.fullmatch(_INTEGER).all():
        return values.mask(null).astype(object).map(int, na_action="ignore").astype("Int64")
    if some.str.fullmatch(_NUMBER).all():
        return pd.to_numeric(values.mask(null)).astype("float64")
    lower = some.str.lower()
    if lower.isin(["true", "false"]).all():
        return (values.str.lower() == "true").astype("boolean").mask(null)
    return values.astype(object).mask(null, None)


def _read_parquet(path: Path, limit: int | None) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = printable(os.fspath(path))
    try:
        with pq.ParquetFile(path) as file:
            if limit is None:
                table = file.read()
            else:  # only as many row groups as are needed
                batches = []
                missing = limit
                for batch in file.iter_batches(batch_size=min(limit, 65_536)):
                    batches.append(batch.slice(0, missing))
                    missing -= len(batches[-1])
                    if missing <= 0:
                        break
                table = pa.Table.from_batches(batches, file.schema_arrow)
    except (OSError, pa.ArrowException) as e:
        raise CatalogError(f"not a Parquet file: {e}", source=source) from e
    for column, of in zip(table.column_names, table.schema.types):
        if pa.types.is_nested(of):
            raise CatalogError(f"column {column!r} is {of}; metadata must be numbers, text or booleans", source=source)
    # Nullable types keep integers with gaps integers.
    nullable = {pa.bool_(): pd.BooleanDtype()}
    for bits in (8, 16, 32, 64):
        nullable[getattr(pa, f"int{bits}")()] = getattr(pd, f"Int{bits}Dtype")()
        nullable[getattr(pa, f"uint{bits}")()] = getattr(pd, f"UInt{bits}Dtype")()
    return table.to_pandas(types_mapper=nullable.get, ignore_metadata=True)


# -------------------------------------------------------------------------------------------------------- validate


def validate_catalog(
    catalog: CatalogSpec,
    *,
    probe: bool = True,
    decode: bool = False,
    content: bool = False,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    n_threads: int = 4,
) -> ValidationReport:
    """Look for everything that would keep a row from being extracted, without extracting it.

    Parameters
    ----------
    catalog : as in :func:`read_catalog`, whose errors are raised.
    probe : open every file and decode its first tenth of a second; without it only existence and size are looked at.
    decode : decode every file to its end, which alone tells of truncated files and of damage further on.
    content : read every file whole, and report those with the same bytes as another.
    limit : look at the first rows only.
    progress : called with ``(rows looked at, rows)``.
    n_threads : files looked at at a time.
    """
    catalog = read_catalog(catalog, limit=limit)
    frame = catalog.frame
    clashes: dict[int, list[Problem]] = {}
    for clash in _duplicates(catalog):
        clashes.setdefault(clash.row, []).append(clash)
    report = ValidationReport(catalog.origin, len(catalog))
    declared = declared_durations(catalog)
    total, known = 0.0, 0
    first_of: dict[str, int] = {}
    rows = list(zip(frame[ID_COLUMN].tolist(), frame["source_uri"].tolist(), frame["path"].tolist()))
    with ThreadPoolExecutor(n_threads) as pool:
        looks = pool.map(lambda row: _look_at(row[1], row[2], probe=probe, decode=decode, content=content), rows)
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


def declared_durations(catalog: Catalog) -> list[float | None]:
    """Column ``duration_s``, None where it has no usable number."""
    import pandas as pd

    if DURATION_COLUMN not in catalog.frame.columns:
        return [None] * len(catalog)
    values = pd.to_numeric(catalog.frame[DURATION_COLUMN], errors="coerce").astype("float64")
    return [v if 0 < v < float("inf") else None for v in values.tolist()]


def _duplicates(catalog: Catalog) -> Iterator[Problem]:
    """A problem for every row that repeats the id or the file of an earlier one."""
    frame = catalog.frame
    for column, kind, what in ((ID_COLUMN, "duplicate_id", "track id"), ("path", "duplicate_path", "file")):
        values = frame[column]
        again = values.duplicated() & values.notna()
        if not again.any():
            continue
        first: dict[str, int] = {}
        for i, value in enumerate(values.tolist()):
            first.setdefault(value, i)
        for i in again.to_numpy().nonzero()[0].tolist():
            earlier = first[values.iloc[i]]
            message = f"{catalog.row_name(i)} and {catalog.row_name(earlier)} have the same {what}"
            if kind == "duplicate_id":
                message += f" {values.iloc[i]!r}"
            row = frame.iloc[i]
            yield Problem(i + 1, row[ID_COLUMN], row["source_uri"], kind, message)


def path_trouble(uri: str, path: str | None) -> tuple[str, str] | None:
    """Kind and message when a row names no local file, else None."""
    if path is not None:
        return None
    if not uri:
        return "no_path", "the row names no file"
    return "unsupported_uri", f"cannot open {uri.split('://')[0]}:// addresses; mount or download the files"


def file_trouble(path: str) -> tuple[str, str] | None:
    """Kind and message when a look at the folder tells that a file cannot be read, else None."""
    try:
        status = os.stat(path)
    except OSError as e:
        if os.path.islink(path) and isinstance(e, FileNotFoundError):
            return "missing", "the link leads nowhere"
        kind = "missing" if isinstance(e, (FileNotFoundError, NotADirectoryError)) else "unreadable"
        return kind, e.strerror or str(e)
    except ValueError as e:  # NUL in the name
        return "missing", str(e)
    if not stat.S_ISREG(status.st_mode):
        return "not_a_file", "is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file"
    if not status.st_size:
        return "zero_bytes", "the file is empty (0 bytes)"
    return None


def _look_at(
    uri: str, path: str | None, *, probe: bool, decode: bool, content: bool
) -> tuple[tuple[str, str] | None, float | None, str | None]:
    """(kind and message, seconds, digest) of one file, each None when there is none."""
    from stemfeatures import audio

    if (trouble := path_trouble(uri, path)) is not None:
        return trouble, None, None
    assert path is not None
    if (trouble := file_trouble(path)) is not None:
        return trouble, None, None
    duration_s = sha256 = None
    try:
        if content:
            sha256 = audio.file_sha256(path)
        if decode:
            with audio.open_audio(path) as stream:
                for _ in stream:
                    pass
            if stream.status == "truncated":
                return ("truncated", stream.message), None, sha256
            duration_s = stream.decoded_duration_s
        elif probe:
            duration_s = audio.probe(path).declared_duration_s
    except StemfeaturesError as e:
        return ("unreadable", e.message), None, sha256
    except OSError as e:
        return ("unreadable", e.strerror or str(e)), None, sha256
    return None, duration_s, sha256
