"""Who listened to what: tables of interactions, read in bounded memory, with every row that cannot be used counted.

A table of interactions has the columns ``user_id`` and ``track_id`` and, optionally, ``weight`` (above 0: plays, hours,
stars; 1 where there is no such column) and ``time`` (ISO 8601 and its relatives as BigQuery, PostgreSQL, Snowflake and
mail write them, UTC where no zone is stated; or a number since 1970-01-01: seconds, milli-, micro- or nanoseconds,
distinguished by its size). Rows may repeat: weights of one user and track add up. Names of columns may have any case,
and blanks around them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import scipy.sparse as sp

from .._util.tabular import (
    DAMAGED,
    OTHER_TABLES,
    PARQUET_SUFFIXES,
    READ_TABLES,
    TEXT_SUFFIXES,
    TYPED_FORMATS,
    TableError,
    as_ids,
    csv_rows,
    decoded,
    named_index_as_columns,
    open_table_bytes,
    open_text_table,
    open_typed,
    require_distinct,
    restore_integers,
    suffix_of,
)
from ..errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd


class SupportsArrow(Protocol):
    """A table that gives itself to Arrow (the PyCapsule interface)."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


COLUMNS = ("user_id", "track_id", "weight", "time")
STAGE = "interactions"
#: Rows held as text at once.
BATCH_ROWS = 262_144
#: Numbers below this are no seconds since 1970 (they are before March 1973) but, with 8 digits, a date.
_FIRST_SECOND = 1e8


@dataclass(frozen=True)
class Reading:
    """How many rows of a table of interactions were read and left out.

    Attributes
    ----------
    source : str
        The file, folder or DataFrame.
    n_rows : int
        Rows of the table.
    bad : dict
        Rows that were left out, by reason.
    examples : dict
        The first such row of each reason, as text.
    n_unknown_rows : int
        Rows whose track is not in the features directory (:meth:`Interactions.for_tracks` finds them).
    unknown_tracks : tuple of str
        Ids of those tracks.
    """

    source: str
    n_rows: int
    bad: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    n_unknown_rows: int = 0
    unknown_tracks: tuple[str, ...] = ()

    @property
    def n_bad(self) -> int:
        return sum(self.bad.values())

    def to_dict(self, *, n_examples: int = 5) -> dict[str, Any]:
        return {
            "source": self.source,
            "rows": self.n_rows,
            "bad_rows": dict(self.bad),
            "bad_examples": dict(self.examples),
            "unknown_track_rows": self.n_unknown_rows,
            "unknown_tracks": len(self.unknown_tracks),
            "unknown_track_examples": list(self.unknown_tracks[:n_examples]),
        }

    def warnings(self) -> list[str]:
        """One line for each kind of row that is not used."""
        lines = [f"{_count(n, 'row')} left out: {why} (such as {self.examples[why]})" for why, n in self.bad.items()]
        if self.n_unknown_rows:
            n, ids = len(self.unknown_tracks), ", ".join(map(repr, self.unknown_tracks[:3]))
            lines.append(
                f"{_count(self.n_unknown_rows, 'row')} left out: {_count(n, 'track')} not in the features directory "
                f"({ids}{', ...' if n > 3 else ''})"
            )
        return lines


@dataclass(frozen=True)
class Interactions:
    """Interactions, one row an event.

    Attributes
    ----------
    user_ids : (n_users,) ndarray of str
        The users.
    track_ids : (n_tracks,) ndarray of str
        The tracks.
    user : (n,) ndarray of int32
        Position in ``user_ids``.
    track : (n,) ndarray of int32
        Position in ``track_ids``.
    weight : (n,) ndarray of float32
        Above 0.
    time : (n,) ndarray or None
        As datetime64[ns], UTC; None when the table has no such column.
    reading : Reading
        What was left out when they were read.
    """

    user_ids: np.ndarray
    track_ids: np.ndarray
    user: np.ndarray
    track: np.ndarray
    weight: np.ndarray
    time: np.ndarray | None = None
    reading: Reading = field(default_factory=lambda: Reading("arrays", 0))

    def __len__(self) -> int:
        return len(self.user)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users and of tracks."""
        return len(self.user_ids), len(self.track_ids)

    def select(self, rows: np.ndarray) -> Interactions:
        """Some of the rows; users and tracks keep their positions.

        Parameters
        ----------
        rows : np.ndarray
            A mask of all rows, or positions of rows.

        Returns
        -------
        Interactions
            With the same vocabularies.
        """
        time = None if self.time is None else self.time[rows]
        return replace(self, user=self.user[rows], track=self.track[rows], weight=self.weight[rows], time=time)

    def for_tracks(self, track_ids: Sequence[str] | np.ndarray) -> Interactions:
        """The rows whose track is one of ``track_ids``, which becomes the vocabulary; the others are counted.

        Users stay, also those who are left without rows.

        Parameters
        ----------
        track_ids : sequence of str
            The tracks, in the order of the new vocabulary.

        Returns
        -------
        Interactions
            What is left.

        Raises
        ------
        DatasetError
            No row is left.
        """
        import pandas as pd

        position = pd.Index(track_ids).get_indexer(pd.Index(self.track_ids))
        track = position[self.track]
        known = track >= 0
        if not known.any():
            raise DatasetError(
                f"no track of the interactions (such as {str(self.track_ids[0])!r}) is in the features directory "
                f"(such as {str(track_ids[0])!r})"
                if len(self) and len(track_ids)
                else "there are no interactions, or no tracks",
                source=self.reading.source,
                stage=STAGE,
            )
        unknown = np.unique(self.track[~known])
        reading = replace(
            self.reading,
            n_unknown_rows=int(np.sum(~known)),
            unknown_tracks=tuple(str(self.track_ids[i]) for i in unknown),
        )
        rows = self.select(known)
        return replace(
            rows, track=track[known].astype(np.int32), track_ids=np.asarray(track_ids, dtype=str), reading=reading
        )

    def matrix(self) -> sp.csr_matrix:
        """Weights as a matrix; those of repeated rows add up.

        Returns
        -------
        sp.csr_matrix
            (n_users, n_tracks), float32.
        """
        matrix = sp.coo_matrix((self.weight, (self.user, self.track)), shape=self.shape, dtype=np.float32).tocsr()
        matrix.sum_duplicates()
        return matrix


def read_interactions(source: str | os.PathLike[str] | pd.DataFrame | SupportsArrow) -> Interactions:
    """Read a table of interactions (see the module's docstring).

    Parameters
    ----------
    source : str or path-like or DataFrame or Arrow table
        A CSV or TSV file (UTF-8 or UTF-16; comma, semicolon, tab or bar; also compressed by gzip, bzip2, xz, Zstandard
        or zip), a Parquet file, a folder of them (``user_id=7/`` is a column), a Feather or JSON lines file, a
        DataFrame of pandas or Polars, or another table that gives itself to Arrow (of pyarrow, a relation of DuckDB).
        Other columns are ignored.

    Returns
    -------
    Interactions
        Users and tracks are sorted by id, so the order of the rows does not matter. ``reading`` counts the rows that
        were left out: without user or track, with a weight that is no finite number above 0, with a time that cannot be
        read, or, in CSV, with a wrong number of cells.

    Raises
    ------
    DatasetError
        There is no such table, it lacks a column, cannot be parsed, or not one row can be used.
    TypeError
        ``source`` is nothing of these.
    """
    name = source if isinstance(source, (str, os.PathLike)) else "DataFrame"
    name = os.fspath(name)
    bad: dict[str, int] = {}
    examples: dict[str, str] = {}

    def reject(why: str, n: int, example: str) -> None:
        bad[why] = bad.get(why, 0) + n
        examples.setdefault(why, example)

    users, tracks, weights, times = [], [], [], []
    n_rows = 0
    try:
        for batch in _batches(source, name, reject):
            n_rows += len(batch)
            good, weight, time = _check(batch, reject)
            users.append(batch["user_id"].combine_chunks().filter(good).dictionary_encode())
            tracks.append(batch["track_id"].combine_chunks().filter(good).dictionary_encode())
            weights.append(weight[good])
            if time is not None:
                times.append(time[good])
    except TableError as e:
        raise DatasetError(e.message, source=name, stage=STAGE) from e
    except (pa.ArrowException, *DAMAGED) as e:
        what = f"cannot be read: {' '.join(str(e).split())}"
        if "invalid UTF8" in what:
            what = f"is not text in UTF-8 or UTF-16 ({' '.join(str(e).split())}); save it as UTF-8"
        raise DatasetError(what, source=name, stage=STAGE) from e
    n_rows += bad.get(_WRONG_CELLS, 0)
    if not sum(map(len, weights)):
        reasons = "; ".join(f"{n:,} {why}" for why, n in bad.items()) or "it is empty"
        raise DatasetError(f"holds no interaction that can be used ({reasons})", source=name, stage=STAGE)
    user_ids, user = _encode(users)
    track_ids, track = _encode(tracks)
    return Interactions(
        user_ids,
        track_ids,
        user,
        track,
        np.concatenate(weights),
        np.concatenate(times) if times else None,
        Reading(name, n_rows, bad, examples),
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


_WRONG_CELLS = "wrong number of cells"


def _batches(source: Any, name: str, reject: Any) -> Iterator[pa.Table]:
    """Tables of the columns in COLUMNS that there are; ids as text, null where empty."""
    if not isinstance(source, (str, os.PathLike)):
        names, batches = (_open_frame if _is_frame(source) else _open_arrow)(source)
    else:
        path = Path(source)
        if not path.exists():
            raise DatasetError("there is no such file", source=name, stage=STAGE)
        if path.is_dir() and (parts := _text_parts(path)):
            yield from _of_parts(parts, reject)
            return
        if path.is_dir() or path.suffix.lower() in TYPED_FORMATS:
            names, batches = _open_typed(path)
        elif (suffix := suffix_of(path)) in OTHER_TABLES:
            raise TableError(f"a table of interactions must be {READ_TABLES}, not {suffix}")
        else:
            names, batches = _open_csv(path, reject)
    found = _required(names)
    if missing := [c for c in COLUMNS[:2] if c not in found]:
        raise DatasetError(
            f"has no column {' and '.join(missing)}; it has {', '.join(map(str, names[:12]))}", source=name, stage=STAGE
        )
    for batch in batches:
        columns = [decoded(batch.column(column), column) for column in found.values()]
        yield pa.table({wanted: _cells(column, wanted) for column, wanted in zip(columns, found)})


def _cells(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The cells of one of COLUMNS: ids and text without blanks around, numbers and times as they are."""
    if name in COLUMNS[:2] or pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return as_ids(column, name)
    if pa.types.is_nested(column.type) or pa.types.is_duration(column.type):
        allowed = "numbers" if name == "weight" else "dates, numbers or text"
        raise TableError(f"column {name!r} is {column.type}; {name}s must be {allowed}")
    return column


def _text_parts(folder: Path) -> list[Path]:
    """The text tables of a folder without Parquet files, sorted; empty and hidden files are left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith((".", "_"))]
    if any(suffix_of(path) in PARQUET_SUFFIXES for path in files):
        return []
    return [path for path in files if suffix_of(path) in TEXT_SUFFIXES and path.stat().st_size]


def _of_parts(parts: Sequence[Path], reject: Any) -> Iterator[pa.Table]:
    """The batches of several files with one header; DatasetError naming the one that has another."""
    columns: list[str] | None = None
    for part in parts:
        for batch in _batches(part, str(part), reject):
            columns = columns or batch.column_names
            if batch.column_names != columns:
                raise DatasetError(
                    f"has the columns {', '.join(batch.column_names)}, {parts[0].name} has {', '.join(columns)}; the "
                    "files of a table have one header",
                    source=str(part),
                    stage=STAGE,
                )
            yield batch


def _required(names: Sequence[Any]) -> dict[str, Any]:
    """The columns in COLUMNS that there are, in that order, and what the table calls them (any case, blanks around)."""
    called: dict[str, Any] = {}
    for name in names:
        if (plain := str(name).strip().lower()) in COLUMNS:
            if plain in called:
                raise TableError(f"two columns are called {plain!r}")
            called[plain] = name
    return {column: called[column] for column in COLUMNS if column in called}


def _is_frame(source: Any) -> bool:
    import pandas as pd

    return isinstance(source, pd.DataFrame)


def _open_frame(frame: pd.DataFrame) -> tuple[list[Any], Iterator[pa.Table]]:
    """Names of the columns of a DataFrame, and its rows in pieces; ids may be of mixed types."""
    frame = named_index_as_columns(frame)
    require_distinct([str(name) for name in frame.columns])
    names = list(frame.columns)
    found = _required(names)
    arrays = [
        as_ids(frame[column], wanted) if wanted in COLUMNS[:2] else _as_arrow(frame[column])
        for wanted, column in found.items()
    ]
    table = pa.table(arrays, names=list(found.values()))
    return names, (pa.Table.from_batches([b]) for b in table.to_batches(BATCH_ROWS))


def _open_arrow(source: SupportsArrow) -> tuple[list[str], Iterator[pa.Table]]:
    """Names of the columns of a table that gives itself to Arrow, and its rows in pieces."""
    try:
        table = pa.table(source)
    except (TypeError, ValueError) as e:
        raise TypeError(f"interactions are a path, a DataFrame or an Arrow table, not {type(source).__name__}") from e
    require_distinct(table.column_names)
    rows = table.select(list(_required(table.column_names).values())).to_batches(BATCH_ROWS)
    return table.column_names, (pa.Table.from_batches([b]) for b in rows)


def _as_arrow(values: pd.Series) -> pa.Array:
    """A column of weights or times; values of mixed types as text."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.array([None if missing else str(v) for v, missing in zip(values, values.isna())])


def _open_typed(path: Path) -> tuple[list[str], Iterator[pa.Table]]:
    dataset, _ = open_typed(path)
    names = dataset.schema.names
    wanted = list(_required(names).values())
    batches = dataset.to_batches(columns=wanted, batch_size=BATCH_ROWS)
    return names, (pa.Table.from_batches([b]) for b in batches)


def _open_csv(path: Path, reject: Any) -> tuple[list[str], Iterator[pa.Table]]:
    """Names of all columns of a text file, and the rows of those in COLUMNS in pieces."""
    text = open_text_table(path)
    # A column without a name needs one.
    names = [name or f"column_{i + 1}" for i, name in enumerate(text.names)]
    wanted = list(_required(names).values())

    mended: list[list[str]] = []

    def wrong_cells(row: pa_csv.InvalidRow) -> str:
        cells = next(csv_rows([row.text or ""], delimiter=text.delimiter, skipinitialspace=True), [])
        if len(cells) > len(names) and not any(cell.strip() for cell in cells[len(names) :]):
            mended.append(cells[: len(names)])  # spreadsheets write delimiters behind the last cell
        else:
            reject(_WRONG_CELLS, 1, repr(row.text))
        return "skip"

    def taken() -> pa.Table:
        columns = dict(zip(names, zip(*mended)))
        mended.clear()
        return pa.table({name: pa.array(columns[name], pa.string()) for name in wanted})

    def batches() -> Iterator[pa.Table]:
        with open_table_bytes(path) as file:
            reader = pa_csv.open_csv(
                file,
                read_options=pa_csv.ReadOptions(
                    use_threads=False,
                    column_names=names,
                    skip_rows=text.skip_lines,
                    encoding="utf8" if text.encoding == "utf-8-sig" else text.encoding,
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=text.delimiter, newlines_in_values=True, invalid_row_handler=wrong_cells
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted
                ),
            )
            for batch in reader:
                yield pa.Table.from_batches([batch])
                if mended:
                    yield taken()
            if mended:
                yield taken()

    return names, batches()


def _check(batch: pa.Table, reject: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Which rows can be used, the weights and the times."""
    n = len(batch)
    good = np.ones(n, dtype=bool)

    def leave_out(rows: np.ndarray, why: str) -> None:
        rows = rows & good
        if rows.any():
            reject(why, int(rows.sum()), repr(batch.slice(int(np.argmax(rows)), 1).to_pylist()[0]))
            good[rows] = False

    for column in COLUMNS[:2]:
        leave_out(pc.is_null(batch[column]).to_numpy(), f"no {column}")
    weight = np.ones(n, dtype=np.float32)
    if "weight" in batch.column_names:
        with np.errstate(over="ignore"):
            weight = _numbers(batch["weight"]).astype(np.float32)
        leave_out(~np.isfinite(weight), "weight is not a number")
        leave_out(~(weight > 0), "weight is not above 0")
    time = None
    if "time" in batch.column_names:
        time = _times(batch["time"])
        leave_out(np.isnat(time), "time cannot be read")
    return good, weight, time


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """float64, NaN where there is no number."""
    import pandas as pd

    return pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _times(column: pa.ChunkedArray) -> np.ndarray:
    """datetime64[ns] in UTC, NaT where there is no time."""
    import pandas as pd

    values = column.to_pandas()
    if pa.types.is_temporal(column.type):
        return _in_range(pd.to_datetime(values, utc=True, errors="coerce"))
    number = _numbers(column)
    size = np.abs(np.where(np.isfinite(number), number, 0.0))
    is_number = size >= _FIRST_SECOND
    per_second = np.select([size < 1e11, size < 1e14, size < 1e17], [1.0, 1e3, 1e6], 1e9)
    seconds = np.where(is_number, number / per_second, 0.0)
    fits = np.abs(seconds) < 9e9  # datetime64[ns] ends in 2262
    times = np.full(len(number), np.datetime64("NaT", "ns"))
    whole = np.floor(seconds * fits)
    nanoseconds = np.round((seconds * fits - whole) * 1e9).astype("timedelta64[ns]")
    times[is_number & fits] = (whole.astype("datetime64[s]").astype("datetime64[ns]") + nanoseconds)[is_number & fits]
    if not is_number.all():
        times[~is_number] = _written_times(values[~is_number].astype(str))
    return times


#: Of exports: a zone as UTC, GMT or hours alone, with a blank before it.
_ZONE_NAME = re.compile(r"\s*(?:UTC|GMT|Z)$", re.IGNORECASE)
_ZONE_HOURS = re.compile(r"([T ]\d\d:?\d\d[\d:.,]*)\s*([+-]\d\d)(?::?(\d\d))?$")
#: The name of a zone behind its offset, as Java writes it.
_ZONE_BESIDES = re.compile(r"(?<=[\dZ])\[[\w/+-]+\]$")
#: The name of a zone, as Presto and Athena write it.
_ZONE_PLACE = re.compile(r"(.*\d) ([A-Z][A-Za-z_]+(?:/[A-Za-z_+-]+)+)$")
#: With the name of a month, so that day and month cannot be taken for each other.
_NAMED_MONTHS = (
    "%a, %d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M:%S %z", "%d %b %Y, %H:%M", "%d %b %Y %H:%M", "%d %b %Y",
    "%a %b %d %H:%M:%S %z %Y", "%b %d, %Y, %I:%M:%S %p %z", "%b %d, %Y, %I:%M:%S %p", "%b %d, %Y, %I:%M %p",
    "%b %d, %Y",
)  # fmt: skip


def _written_times(values: pd.Series) -> np.ndarray:
    """datetime64[ns] of text; NaT where it cannot be read without guessing."""
    import pandas as pd

    text = values.str.strip().str.replace(_ZONE_BESIDES, "", regex=True)
    iso = text.str.replace(_ZONE_NAME, "Z", regex=True).str.replace(_ZONE_HOURS, _zone, regex=True)
    times = pd.to_datetime(iso, utc=True, errors="coerce", format="ISO8601")
    if times.isna().any():
        placed = text.where(times.isna()).str.extract(_ZONE_PLACE)
        for zone in placed[1].dropna().unique():
            times = times.mask(placed[1] == zone, _local_times(placed[0].where(placed[1] == zone), zone))
    mail = text.str.replace(_ZONE_NAME, " +0000", regex=True)
    for form in _NAMED_MONTHS:
        if not (unread := times.isna()).any():
            break
        times = times.mask(unread, pd.to_datetime(mail.where(unread), utc=True, errors="coerce", format=form))
    return _in_range(times)


def _in_range(times: pd.Series) -> np.ndarray:
    """datetime64[ns]; NaT for the years that it does not reach, such as 9999, which stands for "never"."""
    import pandas as pd

    first, last = (pd.Timestamp(year=year, month=1, day=1, tz="UTC") for year in (1678, 2262))
    return times.where((times >= first) & (times < last)).to_numpy(dtype="datetime64[ns]")


def _local_times(text: pd.Series, zone: str) -> pd.Series:
    """Times of a place in UTC; NaT where there are none, or two, as when clocks are set back."""
    import pandas as pd

    local = pd.to_datetime(text, errors="coerce", format="ISO8601")
    try:
        return local.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    except (KeyError, ValueError, TypeError):  # no such zone, or one is stated besides
        return pd.Series(pd.NaT, index=text.index, dtype="datetime64[ns, UTC]")


def _zone(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}:{found[3] or '00'}"


def _encode(chunks: list[pa.DictionaryArray]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct values and the position of each row in them."""
    values = pa.chunked_array(chunks).unify_dictionaries()
    written = restore_integers(values.chunk(0).dictionary.to_pylist())
    names, rank = np.unique(np.asarray(written, dtype=str), return_inverse=True)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in values.chunks])
    return names, rank.astype(np.int32)[codes]
