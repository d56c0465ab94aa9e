"""Rows in order with little memory, and tables that are merged so."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from features_helper import write_features

from stemfeatures.errors import DatasetError
from stemfeatures.tables import compact, external_sort, parts, storage
from stemfeatures.tables.check import check
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.storage import LocalStorage


def _rows(n: int, n_keys: int) -> pa.Table:
    rng = np.random.default_rng(n)
    keys = [f"k{key:03d}é" for key in rng.integers(0, n_keys, n)]
    lists = pa.array([list(range(i % 5)) for i in range(n)], pa.list_(pa.int64()))
    return pa.table({"key": pa.array(keys, pa.string()), "row": np.arange(n), "list": lists})


@pytest.mark.parametrize(
    ("n", "n_keys", "memory_bytes", "most_runs"),
    [
        (5000, 400, 4000, 4),
        (5000, 400, 10**9, 64),
        (3000, 3, 2000, 2),
        (3000, 2000, 20_000, 64),
        (1, 1, 1, 2),
        (0, 1, 1, 2),
    ],
)
def test_rows_in_order(
    n: int, n_keys: int, memory_bytes: int, most_runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stable sort in memory has them, all of a key together, and no more of them in memory than was asked for."""
    monkeypatch.setattr(external_sort, "MOST_RUNS", most_runs)
    rows = _rows(n, n_keys)
    batches = [*rows.to_batches(max_chunksize=37), *rows.slice(0, 0).to_batches()]
    found = list(external_sort.in_order(batches, rows.schema, "key", tmp_path, memory_bytes=memory_bytes))
    expected = rows.to_pandas().sort_values("key", kind="stable", ignore_index=True)
    got = pa.concat_tables(found) if found else rows
    assert got.to_pandas()["row"].tolist() == expected["row"].tolist()
    assert got["list"].to_pylist() == [list(range(row % 5)) for row in expected["row"]]
    keys = [set(table["key"].to_pylist()) for table in found]
    assert sum(map(len, keys)) == len(set().union(*keys))
    assert not list(tmp_path.iterdir())
    if n_keys > 100 and memory_bytes < 10**6:
        most = max(37 * 40, memory_bytes)  # a batch, at least
        assert max(table.nbytes for table in found) < 3 * most


def test_compact_sorts_what_is_larger_than_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows with several runs on disk, in parts of a certain size, a track in one of them."""
    path = tmp_path / "features"
    ids = [f"t{i * 7 % 24:02d}" for i in range(24)]
    for n in range(0, 24, 8):
        write_features(path, ids[n : n + 8], seed=n, run_id=f"run-{n}")
    before = {table: open_features(path).to_pandas(table) for table in open_features(path).tables}
    monkeypatch.setattr(external_sort, "MEMORY_BYTES", 10_000)
    compact.compact(path, target_bytes=250_000)
    after = open_features(path)
    for table, rows in before.items():
        pd.testing.assert_frame_equal(after.to_pandas(table), rows)
    files = after.files("stems")
    assert len(files) > 1
    assert all(os.path.getsize(file) < 900_000 for file in files)
    held = [pq.read_table(file, columns=["track_id"])["track_id"].to_pylist() for file in files]
    assert [sorted(some) for some in held] == held
    assert sum(len(set(some)) for some in held) == 24
    receipts = after.snapshot.of("stems")
    assert [(p.rows, p.min_key, p.max_key) for p in receipts] == [(len(s), s[0], s[-1]) for s in held]
    assert check(path, deep=True).damaged == ()


def test_parts_that_lie_apart_are_not_laid_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of parts whose ids are not among those of others are sorted by themselves; the result is the same."""
    monkeypatch.setattr(compact, "_READ_TOGETHER", 2)
    laid: list[Path] = []
    real = external_sort._laid_aside
    monkeypatch.setattr(external_sort, "_laid_aside", lambda *a: laid.append(a[2]) or real(*a))
    apart, across = tmp_path / "apart", tmp_path / "across"
    for path, step in ((apart, 1), (across, 4)):
        for n in range(4):
            first = 8 * n if step == 1 else n
            write_features(path, [f"t{first + i * step:02d}" for i in range(8)], seed=n, run_id=f"r{n}")
    size = open_features(apart).to_pandas("stems").memory_usage().sum() // 3
    monkeypatch.setattr(external_sort, "MEMORY_BYTES", int(size))
    for path, aside in ((apart, False), (across, True)):
        before = open_features(path).to_pandas("stems")
        laid.clear()
        compact.compact(path, tables=["stems"])
        assert bool(laid) == aside
        after = open_features(path).to_pandas("stems")
        assert after["track_id"].tolist() == sorted(before["track_id"])
        pd.testing.assert_frame_equal(
            after.reset_index(drop=True), before.sort_values("track_id", kind="stable").reset_index(drop=True)
        )


def test_a_disk_that_is_full_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_features(tmp_path / "features", ["b", "c"], run_id="r1")
    write_features(path, ["a"], run_id="r2")

    def full(*arguments: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(external_sort, "_laid_aside", full)
    monkeypatch.setattr(external_sort, "MEMORY_BYTES", 1000)
    with pytest.raises(DatasetError, match=r"cannot merge the parts of table .*No space left on device"):
        compact.compact(path)
    assert not list(path.glob(".compact-*"))
    assert check(path, deep=True).damaged == ()
    assert open_features(path).to_pandas("tracks")["track_id"].tolist() == ["a", "b", "c"]


def test_a_disk_that_is_full_of_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were written before are not left, or it would stay full."""
    path = tmp_path / "features"
    for n in range(0, 24, 8):
        write_features(path, [f"t{n + i:02d}" for i in range(8)], seed=n, run_id=f"run-{n}")
    before = {file: file.stat().st_size for file in path.rglob("*") if file.name != ".lock"}
    real, written = LocalStorage.write_tables, []

    def write_tables(self: LocalStorage, *arguments: Any, **options: Any) -> int:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(arguments[2])
        return real(self, *arguments, **options)

    monkeypatch.setattr(LocalStorage, "write_tables", write_tables)
    with pytest.raises(DatasetError, match=r"cannot write a part: .*No space left on device"):
        compact.compact(path, tables=["stems"], target_bytes=250_000)
    assert len(written) == 2
    assert {file: file.stat().st_size for file in path.rglob("*") if file.name != ".lock"} == before
    assert open_features(path).counts()["tracks"] == 24


def test_what_a_killed_process_has_left_is_gone_before_room_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_features(tmp_path / "features", ["a"], run_id="r1")
    write_features(path, ["b"], run_id="r2")
    (path / ".compact-dead").mkdir()
    (path / ".compact-dead" / "0.arrow").write_bytes(b"rows")
    (path / "stems" / ".part-c000004-0000-0.parquet.new").write_bytes(b"rows")

    def look(*arguments: object, **options: object) -> None:
        assert not list(path.glob(".compact-*"))
        assert not list(path.glob("stems/.part-*"))
        looked.append(arguments)

    looked: list[object] = []
    monkeypatch.setattr(compact, "_compact_table", look)
    compact.compact(path, tables=["stems"])
    assert len(looked) == 1


def test_small_files_alone_are_merged(tmp_path: Path) -> None:
    """Large ones stay, with the rows in them that were replaced, until all is asked for."""
    path = tmp_path / "features"
    for n in range(3):
        write_features(path, ["a", f"b{n}"], seed=n, run_id=f"run-{n}")
    assert not compact.compact_if_many(path, parts=10_000)
    stems = open_features(path).to_pandas("stems")
    large = {part.path for part in open_features(path).snapshot.of("stems")}
    compact.compact(path, target_bytes=2, rewrite=False)
    assert {part.path for part in open_features(path).snapshot.of("stems")} == large
    assert compact.compact_if_many(path, parts=3)
    features = open_features(path)
    assert len(features.files("stems")) == 1
    assert features.snapshot.replaced["stems"].keys() == {"run-0", "run-1"}
    pd.testing.assert_frame_equal(features.to_pandas("stems"), stems)
    compact.compact(path)
    assert open_features(path).snapshot.replaced == {}
    pd.testing.assert_frame_equal(open_features(path).to_pandas("stems"), stems)


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP_ROWS", 12)
    path = write_features(tmp_path / "features", ["b", "c"], run_id="r1")
    write_features(path, ["a", "d", "e"], run_id="r2")
    compact.compact(path)
    (file,) = open_features(path).files("stems")
    metadata = pq.read_metadata(file)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [15, 10]


def test_of_many_files_few_are_known_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set keeps the metadata of each file that it has opened."""
    path = tmp_path / "features"
    for n in range(5):
        write_features(path, [f"t{n * 7 % 5}{i}" for i in range(2)], seed=n, run_id=f"run-{n}")
    write_features(path, ["t00"], seed=9, run_id="run-9")  # anew
    before = open_features(path).to_pandas("stems")
    opened: list[int] = []
    filters: list[Any] = []
    n_parts = len(open_features(path).snapshot.of("stems"))
    real = compact.rows_of

    def seen(layout: Any, some: Any, table: str, *, dead: Any) -> Any:
        opened.append(len(some))
        filters.append(dead)
        return real(layout, some, table, dead=dead)

    monkeypatch.setattr(compact, "rows_of", seen)
    monkeypatch.setattr(compact, "_READ_TOGETHER", 2)
    compact.compact(path, tables=["stems"])
    assert (max(opened), sum(opened)) == (2, n_parts)
    assert n_parts > 4
    assert filters[0] is not None
    assert all(dead is filters[0] for dead in filters)  # it may list a million tracks
    pd.testing.assert_frame_equal(open_features(path).to_pandas("stems"), before)


def test_one_row_group_is_held_at_a_time() -> None:
    last: list[weakref.ref[pa.Table]] = []

    def tables() -> Iterator[pa.Table]:
        for k in range(4):
            assert not last or last[-1]() is None
            table = pa.table({"k": [k] * 3})
            last.append(weakref.ref(table))
            yield table
            del table

    sink = pa.BufferOutputStream()
    storage._write_row_groups(sink, tables(), pa.schema({"k": pa.int64()}), 1 << 30, {})
    written = pq.ParquetFile(pa.BufferReader(sink.getvalue()))
    assert (written.num_row_groups, written.read()["k"].to_pylist()) == (4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3)
