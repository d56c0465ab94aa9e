"""Who listened to what: tables of interactions, read in bounded memory, with every row that cannot be used counted.

A table of interactions has the columns ``user_id`` and ``track_id`` and, optionally, ``weight`` (above 0: plays, hours,
stars; 1 where there is no such column) and ``time`` (ISO 8601, UTC where no zone is stated; or a number since
1970-01-01: seconds, milli-, micro- or nanoseconds, told apart by its size). Rows may repeat: weights of one user and
track add up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds
import scipy.sparse as sp

from ..errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("user_id", "track_id", "weight", "time")
STAGE = "interactions"
#: Rows held as text at once.
BATCH_ROWS = 262_144
_DELIMITERS = ",;\t|"
#: Numbers below this are no seconds since 1970 (they are before March 1973) but, with 8 digits, a date.
_FIRST_SECOND = 1e8


@dataclass(frozen=True)
class Reading:
    """What became of the rows of a table of interactions.

    Attributes
    ----------
    source : the file, folder or DataFrame.
    n_rows : rows of the table.
    bad : rows that were left out, by reason.
    examples : the first such row of each reason, as text.
    n_unknown_rows, unknown_tracks : rows whose track is not in the features directory, and those tracks' ids
        (:meth:`Interactions.for_tracks` finds them).
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
    user_ids, track_ids : the vocabularies, str arrays.
    user, track : (n,) int32, positions in the vocabularies.
    weight : (n,) float32, above 0.
    time : (n,) datetime64[ns], UTC; None when the table has no such column.
    reading : what was left out when they were read.
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
        """The rows of a mask or of positions; users and tracks keep their positions."""
        time = None if self.time is None else self.time[rows]
        return replace(self, user=self.user[rows], track=self.track[rows], weight=self.weight[rows], time=time)

    def for_tracks(self, track_ids: Sequence[str] | np.ndarray) -> Interactions:
        """The rows whose track is one of ``track_ids``, which becomes the vocabulary; the others are counted.

        Users stay, also those who are left without rows. Raises DatasetError when no row is left.
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
        """Weights as a sparse matrix (n_users, n_tracks) float32; those of repeated rows add up."""
        matrix = sp.coo_matrix((self.weight, (self.user, self.track)), shape=self.shape, dtype=np.float32).tocsr()
        matrix.sum_duplicates()
        return matrix


def read_interactions(source: str | os.PathLike[str] | pd.DataFrame) -> Interactions:
    """Read a table of interactions (see the module's docstring).

    Parameters
    ----------
    source : a CSV or TSV file (UTF-8; comma, semicolon, tab or bar), a Parquet file or a folder of them, or a
        DataFrame. Other columns are ignored.

    Returns
    -------
    Users and tracks are sorted by id, so the order of the rows does not matter. ``reading`` counts the rows that were
    left out: without user or track, with a weight that is no finite number above 0, with a time that cannot be read,
    or, in CSV, with a wrong number of cells.

    Raises
    ------
    DatasetError : there is no such table, it lacks a column, cannot be parsed, or not one row can be used.
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
    except pa.ArrowException as e:
        raise DatasetError(f"cannot be read: {' '.join(str(e).split())}", source=name, stage=STAGE) from e
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
        table = pa.Table.from_pandas(source, preserve_index=False)
        batches: Iterator[Any] = (pa.Table.from_batches([b]) for b in table.to_batches(BATCH_ROWS))
        names = table.column_names
    else:
        path = Path(source)
        if not path.exists():
            raise DatasetError("there is no such file", source=name, stage=STAGE)
        if path.is_dir() or path.suffix.lower() in (".parquet", ".pq"):
            dataset = ds.dataset(path, format="parquet")
            if not dataset.files:
                raise DatasetError("holds no Parquet files", source=name, stage=STAGE)
            names = dataset.schema.names
            wanted = [c for c in COLUMNS if c in names]
            batches = (pa.Table.from_batches([b]) for b in dataset.to_batches(columns=wanted, batch_size=BATCH_ROWS))
        else:
            reader, names = _open_csv(path, reject)
            batches = (pa.Table.from_batches([b]) for b in reader)
    if missing := [c for c in COLUMNS[:2] if c not in names]:
        raise DatasetError(
            f"has no column {' and '.join(missing)}; it has {', '.join(map(str, names[:12]))}", source=name, stage=STAGE
        )
    wanted = [c for c in COLUMNS if c in names]
    for batch in batches:
        table = batch.select(wanted)
        for i, column in enumerate(wanted[:2]):
            table = table.set_column(i, column, _as_ids(table[column]))
        yield table


def _open_csv(path: Path, reject: Any) -> tuple[pa_csv.CSVStreamingReader, list[str]]:
    """A reader of the columns in COLUMNS, and the names of all."""
    with open(path, encoding="utf-8-sig", errors="replace") as f:
        header = f.readline().rstrip("\r\n")
    if "\0" in header:
        raise DatasetError("is no text in UTF-8", source=str(path), stage=STAGE)
    delimiter = max(_DELIMITERS, key=header.count)
    names = [n.strip().strip('"') for n in header.split(delimiter)]

    def wrong_cells(row: pa_csv.InvalidRow) -> str:
        reject(_WRONG_CELLS, 1, repr(row.text))
        return "skip"

    reader = pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(use_threads=False),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=wrong_cells
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types={c: pa.string() for c in COLUMNS}, include_columns=[c for c in COLUMNS if c in names]
        ),
    )
    return reader, names


def _as_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text, null where empty. pandas makes floats of whole numbers that have gaps: 12.0 is 12 again."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
        if pc.all(pc.equal(pc.floor(column), column)).as_py() is not False:
            column = column.cast(pa.int64())
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), None, text)


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
        return pd.to_datetime(values, utc=True, errors="coerce").to_numpy(dtype="datetime64[ns]")
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
        text = pd.to_datetime(values[~is_number].astype(str), utc=True, errors="coerce", format="ISO8601")
        times[~is_number] = text.to_numpy(dtype="datetime64[ns]")
    return times


def _encode(chunks: list[pa.DictionaryArray]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct values and the position of each row in them."""
    values = pa.chunked_array(chunks).unify_dictionaries()
    names = np.asarray(values.chunk(0).dictionary.to_pylist(), dtype=str)
    order = np.argsort(names, kind="stable")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in values.chunks])
    return names[order], rank[codes]
