"""Datasets that lie, lose files or are written by two: nothing outside is touched, nothing is lost unseen."""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main as cli
from pipelines.commands._exit import exit_code
from pipelines.commands.status import look
from pipelines.extraction import shard as shard_module
from pipelines.extraction.retry import last_settings
from stemfeatures._util.urls import Place
from stemfeatures.errors import (
    BusyDatasetError,
    ChangedDatasetError,
    DatasetError,
    LostOutputError,
    LostPartError,
    UnreachableError,
)
from stemfeatures.fields import Field
from stemfeatures.tables import check as check_module
from stemfeatures.tables import commits, key_index, purge, reader
from stemfeatures.tables.check import check
from stemfeatures.tables.commits import Snapshot, append_commit, read_snapshot
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.compact import compact, vacuum
from stemfeatures.tables.key_index import KeyIndex
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import PartFile, part_file, parts_holding, publish, staged, write_part
from stemfeatures.tables.reader import Features, open_features
from stemfeatures.tables.rows import Provenance, TrackInfo, error_row, track_rows
from stemfeatures.tables.storage import LocalStorage

TABLES = ("tracks", "stems", "contours", "events", "embeddings")


def write_shard(
    layout: DatasetLayout, ok: list[str], failed: tuple[str, ...] = (), *, run: str = "r1"
) -> list[PartFile]:
    """Parts of ``tracks`` and ``stems``, and of ``errors``."""
    made = Provenance(run, "c1", "joint-test", "sha")
    rows: dict[str, list] = {"errors": [error_row(t, f"{t}.wav", "no audio", made, stage="decode") for t in failed]}
    for track in ok:
        for table, some in track_rows(TrackInfo(track, f"{track}.wav"), None, made).items():
            rows.setdefault(table, []).extend(some)
        stem = {"track_id": track, "stem": "mixture", "loudness_status": "silent", "activity_status": "silent"}
        rows.setdefault("stems", []).append(_with_statuses(layout, {**stem, **made.columns()}))
    return [write_part(layout, table, some, shard="s") for table, some in rows.items() if some]


def _with_statuses(layout: DatasetLayout, row: dict[str, object]) -> dict[str, object]:
    """A row of ``stems`` whose columns that may not be null are given."""
    given = {f.name: "silent" if f.type == "category" else 0 for f in layout.fields("stems") if not f.nullable}
    return {**given, **row}


@pytest.fixture
def layout(tmp_path: Path) -> DatasetLayout:
    """Three shards of two tracks, and one that failed."""
    layout = DatasetLayout.create(tmp_path / "features")
    with Committer(layout, {"run_id": "r1", "config_json": "{}"}) as committer:
        for i in range(3):
            committer.commit(write_shard(layout, [f"a{i}", f"z{i}"], (f"bad{i}",)), shard=f"s{i}")
    return layout


def files_of(layout: DatasetLayout) -> dict[Path, bytes]:
    """All that a dataset holds, without who has written to it last."""
    return {path: path.read_bytes() for path in layout.path.rglob("*.*") if path.is_file() and path.name != ".lock"}


def ids(layout: DatasetLayout, table: str = "tracks") -> list[str]:
    return open_features(layout.path).to_pandas(table)["track_id"].tolist()


# ------------------------------------------------------------------------------------------- what a dataset may say


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder outside of the dataset, with files that look as if they belonged to one."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("part-0-1.parquet", ".part-0-1.parquet.new", ".x.tmp"):
        (folder / name).write_bytes(b"precious")
        os.utime(folder / name, (0, 0))
    return folder


def assert_untouched(victim: Path) -> None:
    assert {p.name: p.read_bytes() for p in victim.iterdir()} == dict.fromkeys(
        ("part-0-1.parquet", ".part-0-1.parquet.new", ".x.tmp"), b"precious"
    )


def test_the_last_run_is_the_last_one_also_where_the_clock_was_set_back(tmp_path: Path) -> None:
    """``retry-failed`` would take the catalogue of another run, ``status`` call the dataset incomplete for years."""
    DatasetLayout.create(tmp_path)
    for run, year, end in (("r2036", 2036, "interrupted"), ("r2024", 2024, "finished"), ("r2025", 2025, "finished")):
        settings = {
            "run_id": run,
            "started_at": datetime(year, 1, 1, tzinfo=UTC),
            "config_json": f'{{"model": "{run}"}}',
        }
        with Committer(tmp_path, settings) as committer:
            committer.finish(status=end)
    compact(tmp_path)
    features = open_features(tmp_path)
    assert last_settings(features)["model"] == "r2025"
    assert [row["run_id"] for row in look(features)["runs"]] == ["r2024", "r2036", "r2025"]
    assert not look(features)["incomplete"]


@pytest.mark.parametrize("name", ["../victim", "ABSOLUTE", "", ".", "..", "a/b", "stems\n", 7, None])
def test_a_schema_cannot_name_a_folder_outside(layout: DatasetLayout, victim: Path, name: object) -> None:
    name = str(victim) if name == "ABSOLUTE" else name
    content = json.loads((layout.path / "_schema" / "stems.json").read_text())
    (layout.path / "_schema" / "zz.json").write_text(json.dumps({**content, "table": name}))
    for act in (compact, vacuum, open_features):
        with pytest.raises(DatasetError, match=r"zz\.json: cannot read the schema"):
            act(layout.path)
    assert_untouched(victim)


@pytest.mark.parametrize("act", [compact, vacuum, ids, lambda layout: write_shard(layout, ["new"])])
def test_a_table_cannot_lie_elsewhere(layout: DatasetLayout, victim: Path, act: Callable) -> None:
    shutil.rmtree(layout.path / "tracks")
    (layout.path / "tracks").symlink_to(victim)
    with pytest.raises(DatasetError, match="is a link to another place"):
        act(layout)
    assert_untouched(victim)


@pytest.mark.parametrize(
    "path", ["../victim/part-0-1.parquet", "tracks/../../victim/part-0-1.parquet", "/etc/passwd", "tracks/x\0y", 3]
)
@pytest.mark.parametrize("where", ["commit", "checkpoint"])
def test_a_commit_cannot_name_a_file_outside(layout: DatasetLayout, victim: Path, path: object, where: str) -> None:
    part = {"path": path, "table": str(path).rpartition("/")[0] or "x", "rows": 1, "size": 8}
    part = {**part, "min_key": "a", "max_key": "z"}
    number = read_snapshot(layout).commit + 1
    log = layout.path / "_commits"
    if where == "commit":
        entry = {"format": 1, "commit": number, "add": [part]}
        (log / f"{number:08d}.json").write_text(json.dumps(entry))
        with pytest.raises(DatasetError, match="damaged commit: ValueError"):
            open_features(layout.path)
    else:
        (log / f"{number:08d}.checkpoint.json").write_text(
            json.dumps({"format": 1, "commit": number, "parts": [part], "replaced": {}})
        )
        assert len(ids(layout)) == 6  # not used
    assert_untouched(victim)


def test_a_part_that_is_a_link_is_not_followed(layout: DatasetLayout, tmp_path: Path) -> None:
    part = read_snapshot(layout).of("tracks")[0]
    file = part_file(layout, part)
    shutil.move(file, tmp_path / "elsewhere.parquet")
    file.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(LostPartError, match=r"is no regular file; stemfeatures check"):
        ids(layout)


def test_the_lock_is_no_way_to_write_elsewhere(layout: DatasetLayout, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("a letter")
    lock = layout.path / "_commits" / ".lock"
    for make in (lambda: lock.symlink_to(precious), lambda: os.mkfifo(lock)):
        lock.unlink()
        make()
        with pytest.raises(DatasetError, match=r"cannot write here|not a regular file"):
            compact(layout)
    assert precious.read_text() == "a letter"


@pytest.mark.parametrize("file", ["_schema/tracks.json", "_commits/00000002.json"])
def test_a_pipe_in_the_dataset_is_not_waited_for(layout: DatasetLayout, file: str) -> None:
    (layout.path / file).unlink()
    os.mkfifo(layout.path / file)
    with pytest.raises(DatasetError, match="not a regular file"):
        open_features(layout.path)


# --------------------------------------------------------------------------------------- never more than is committed


def test_plain_readers_see_committed_rows_only(layout: DatasetLayout) -> None:
    def seen(table: str) -> list[str]:
        return sorted(pd.read_parquet(layout.path / table)["track_id"])

    with Committer(layout, {"run_id": "r2"}) as committer:
        parts = write_shard(layout, ["new"], run="r2")
        assert "new" not in seen("tracks")
        assert pd.read_parquet(layout.path / "runs")["run_id"].tolist() == ["r1", "r2"]
        committer.commit(parts)
        assert seen("tracks") == sorted([*(f"{k}{i}" for k in "az" for i in range(3)), "new"])
        write_shard(layout, ["dead"], run="r2")
    assert "dead" not in seen("tracks")
    assert not list(layout.path.glob("*/.part*"))  # the end of the run has cleared them away


def test_a_commit_that_was_not_published_is_read_and_published_later(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    committer = Committer(layout, {"run_id": "r2"}).__enter__()
    parts = write_shard(layout, ["new"], run="r2")
    with monkeypatch.context() as patch:
        patch.setattr("stemfeatures.tables.committer.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            committer.commit(parts)
    committer._lock.release()  # what the kernel does when a process is killed
    assert "new" in ids(layout)
    assert "new" not in pd.read_parquet(layout.path / "tracks")["track_id"].tolist()
    with Committer(layout, {"run_id": "r3"}):
        assert "new" in pd.read_parquet(layout.path / "tracks")["track_id"].tolist()


@pytest.mark.parametrize("at", ["delete_parts", "publish", "clear"])
def test_plain_readers_never_see_rows_twice_while_compact_works(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    before = ids(layout)
    module = importlib.import_module("stemfeatures.tables.compact")
    real, left = getattr(module, at), [at == "publish"]  # its first call brings up what an earlier process has left

    def killed(*args: object) -> None:
        if not left.pop():
            raise KeyboardInterrupt
        left.append(False)
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, at, killed)
        with pytest.raises(KeyboardInterrupt):
            compact(layout)
    assert ids(layout) == before
    files = list((layout.path / "tracks").glob("*.parquet"))
    rows = [t for file in files for t in pq.read_table(file, partitioning=None)["track_id"].to_pylist()]
    assert len(rows) == len(set(rows))
    compact(layout)
    assert sorted(pd.read_parquet(layout.path / "tracks")["track_id"]) == sorted(before)


def plain(layout: DatasetLayout, table: str) -> list[tuple[str, str]]:
    """Track and run of each row of the files that readers of folders see."""
    files = sorted((layout.path / table).glob("part-*.parquet"))
    rows = [pq.read_table(file, partitioning=None, columns=["track_id", "run_id"]).to_pydict() for file in files]
    return sorted(pair for found in rows for pair in zip(found["track_id"], found["run_id"]))


def live(layout: DatasetLayout, table: str) -> list[tuple[str, str]]:
    found = open_features(layout.path).to_pandas(table, columns=["track_id", "run_id"])
    return sorted(zip(found["track_id"], found["run_id"]))


@pytest.mark.parametrize("at", ["append_commit", "delete_parts", "publish", ""])
def test_plain_readers_never_see_rows_that_were_replaced(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """A track that is extracted again, one that failed and is well now, and one that fails now; killed on the way."""
    before = {table: plain(layout, table) for table in ("tracks", "stems", "errors")}

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    committer = Committer(layout, {"run_id": "r2"}).__enter__()
    parts = write_shard(layout, ["a0", "bad1"], ("z2",), run="r2")
    with monkeypatch.context() as patch:
        if at:
            patch.setattr(f"stemfeatures.tables.committer.{at}", killed)
            with pytest.raises(KeyboardInterrupt):
                committer.commit(parts)
        else:
            assert committer.commit(parts).replaced == 3
    committer._lock.release()  # what the kernel does when a process is killed
    now = {table: plain(layout, table) for table in before}
    for table, rows in now.items():
        assert len({track for track, _ in rows}) == len(rows)
        if at in ("append_commit", "delete_parts"):
            assert rows == before[table]
        elif at == "publish":
            assert set(rows) <= set(live(layout, table))
    with Committer(layout, {"run_id": "r3"}):
        pass
    for table in before:
        assert plain(layout, table) == live(layout, table)
    expected = {"a0": "r2", "z0": "r1", "a1": "r1", "z1": "r1", "a2": "r1", "bad1": "r2"}
    if at == "append_commit":
        expected = {f"{letter}{i}": "r1" for letter in "az" for i in range(3)}
    assert dict(live(layout, "stems")) == dict(live(layout, "tracks")) == expected
    assert not check(layout, deep=True).damaged


def test_rows_that_were_replaced_stay_in_large_files(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """But files of which nothing is left go, however large they are."""
    monkeypatch.setattr(purge, "MOST_BYTES", 0)
    with Committer(layout, {"run_id": "r2"}) as committer:
        committer.commit(write_shard(layout, ["a0", "a1", "z1"], run="r2"))
    tracks = [("a0", "r2"), ("a1", "r2"), ("a2", "r1"), ("z0", "r1"), ("z1", "r2"), ("z2", "r1")]
    assert live(layout, "tracks") == tracks
    assert plain(layout, "tracks") == sorted([*tracks, ("a0", "r1")])
    compact(layout)
    assert plain(layout, "tracks") == tracks


def test_a_large_file_goes_when_nothing_of_it_counts(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many commits have replaced its rows; it is opened only where the last of them may be among these."""
    opened: list[str] = []
    real = purge.part_file

    def noted(layout: DatasetLayout, part: PartFile) -> Place:
        opened.append(part.table)
        return real(layout, part)

    monkeypatch.setattr(purge, "MOST_BYTES", 0)
    compact(layout)  # all tracks in one file
    monkeypatch.setattr(purge, "part_file", noted)
    everything = ["a0", "z2", "a1", "z0", "a2", "z1"]
    old = {part.path for part in read_snapshot(layout).of("tracks")}
    assert len(old) == 1
    with Committer(layout, {"run_id": "r2"}) as committer:
        for track in everything:
            committer.commit(write_shard(layout, [track], run="r2"))
            gone = old - set(committer.snapshot.parts)
            assert gone == (old if track == everything[-1] else set())
            # a0 is its first track and z2 its last one; then a1 is found to count, a2, z1.
            expected = {"a0": 0, "z2": 1, "a1": 2, "z0": 2, "a2": 3, "z1": 4}
            assert opened.count("tracks") == expected[track]
    assert plain(layout, "tracks") == live(layout, "tracks") == sorted((track, "r2") for track in everything)


# ----------------------------------------------------------------------------------------------------- two writers


def test_two_first_writers(tmp_path: Path) -> None:
    """Of two runs with other columns that begin at once one writes, with its columns; the other changes nothing."""
    for i in range(20):
        path, both = tmp_path / str(i), threading.Barrier(2)
        outcomes: dict[str, object] = {}

        def run(name: str, path: Path = path, both: threading.Barrier = both, to: dict = outcomes) -> None:
            both.wait()
            try:
                layout = DatasetLayout.found(path)
                metadata = [Field(f"meta_{name}", "string", "A column.", family="metadata")]
                with Committer(layout, {"run_id": name}, metadata=metadata, seen=0) as committer:
                    row = {**track_rows(TrackInfo(name, "x.wav"), None, Provenance(name, "c", "m", "s"))["tracks"][0]}
                    part = write_part(committer.layout, "tracks", [{**row, f"meta_{name}": "here"}], shard="0")
                    committer.commit([part])
                    both.wait()  # the other has tried by now
            except (BusyDatasetError, ChangedDatasetError) as refusal:
                to[name] = refusal
                both.wait()
            except Exception as failure:
                to[name] = failure
                both.abort()

        threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        refused = [name for name, error in outcomes.items()]
        assert len(refused) == 1, outcomes
        assert isinstance(outcomes[refused[0]], BusyDatasetError), outcomes
        winner = ({"one", "two"} - set(refused)).pop()
        tracks = open_features(path).to_pandas("tracks")
        assert tracks["track_id"].tolist() == [winner]
        assert tracks[f"meta_{winner}"].tolist() == ["here"]
        assert f"meta_{refused[0]}" not in tracks


def test_a_plan_that_is_out_of_date_is_refused(layout: DatasetLayout) -> None:
    seen = read_snapshot(layout).commit
    with Committer(layout, {"run_id": "r2"}, seen=seen):
        pass
    columns = [Field("meta_x", "string", "A column.", family="metadata")]
    with pytest.raises(ChangedDatasetError), Committer(layout, {"run_id": "r3"}, metadata=columns, seen=seen):
        pass
    assert not DatasetLayout.open(layout.path).metadata


@pytest.mark.parametrize("gone", ["_commits", "_schema"])
def test_what_is_left_of_a_deleted_dataset(layout: DatasetLayout, gone: str) -> None:
    shutil.rmtree(layout.path / gone)
    with pytest.raises(DatasetError, match=rf"files of a dataset whose {gone} is gone, .* move the directory away"):
        DatasetLayout.found(layout.path)
    for file in layout.path.rglob("*.*"):
        file.unlink()
    assert read_snapshot(DatasetLayout.found(layout.path)).commit == 0  # nothing is lost: taken over


def test_a_dataset_that_is_deleted_meanwhile_stays_deleted(layout: DatasetLayout) -> None:
    committer = Committer(layout, {"run_id": "r2"}).__enter__()
    shutil.rmtree(layout.path)
    gone = "the features directory has gone"
    part = PartFile("tracks/part-1.parquet", "tracks", 1, 1, "a", "a")
    acts = [lambda: write_shard(layout, ["new"], run="r2"), lambda: committer.commit([part]), committer.finish]
    for act in acts:
        with pytest.raises(LostOutputError, match=rf"cannot (write|commit).*: {gone}") as lost:
            act()
        assert exit_code(lost.value) == 4
    with pytest.raises(LostOutputError, match=f"cannot go on: {gone}"):
        shard_module._open(str(layout.path))
    committer._lock.release()
    assert not layout.path.exists()


# ----------------------------------------------------------------------------------------------- lost and damaged parts


def damage(layout: DatasetLayout, table: str, how: str, *, which: int = 0) -> PartFile:
    part = read_snapshot(layout).of(table)[which]
    file = part_file(layout, part)
    if how == "deleted":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[: part.size // 2])
    elif how == "footer":
        file.write_bytes(file.read_bytes()[:-8] + bytes(8))
    else:  # its pages
        content = bytearray(file.read_bytes())
        content[4 : part.size // 3] = bytes(part.size // 3 - 4)
        file.write_bytes(content)
    return part


def test_a_lost_part_of_contours_is_no_track_without_them(layout: DatasetLayout) -> None:
    made = Provenance("r2", "c1", "joint-test", "sha")
    columns = {"t0_s": 0.0, "hop_s": 0.1, "f0_cents": [4551, None], "voicing": [255, 0]}
    with Committer(layout, {"run_id": "r2", "config_json": "{}"}) as committer:
        row = {"track_id": "b0", "stem": "vocals", **columns, **made.columns()}
        parts = write_shard(layout, ["b0"], run="r2")
        committer.commit([*parts, write_part(layout, "contours", [row], shard="s")], shard="x")
    f0_hz = open_features(layout.path).describe("b0").contours["vocals"].f0_hz
    assert f0_hz[0] == pytest.approx(10 * 2 ** (4551 / 1200))
    assert open_features(layout.path).describe("a1").contours == {}
    damage(layout, "contours", "deleted")
    with pytest.raises(LostPartError, match=r"stemfeatures check"):
        open_features(layout.path).describe("b0")


@pytest.mark.parametrize(
    ("how", "deep"),
    [("deleted", False), ("truncated", False), ("footer", False), ("pages", True)],
    ids=lambda x: str(x),
)
@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("table", ["stems", "tracks", "errors", "runs"])
def test_lost_parts_are_named_and_repaired(
    layout: DatasetLayout, table: str, how: str, deep: bool, compacted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if compacted:
        compact(layout)
    assert check(layout, deep=True).damaged == ()
    part = damage(layout, table, how)
    affected = {"a0", "a1", "a2", "z0", "z1", "z2"} if compacted else {"a0", "z0"}
    result = check(layout, deep=deep)
    assert [d.part.path for d in result.damaged] == [part.path]
    assert set(result.tracks) == (affected if table in ("stems", "tracks") else set())
    assert result.n_unknown == (part.rows if table == "errors" else 0)
    if how in ("deleted", "truncated"):  # everybody notices, and names the command
        for act in (lambda: compact(layout), lambda: Committer(layout, {"run_id": "r9"}).__enter__()):
            with pytest.raises(LostPartError, match=r"stemfeatures check .*--repair"):
                act()
        with pytest.raises(LostPartError, match=r"stemfeatures check"):
            open_features(layout.path).to_pandas(table)
    assert cli(["check", str(layout.path), "--repair", *(["--deep"] if deep else [])]) == 0
    assert part.path in capsys.readouterr().out
    assert check(layout, deep=True).damaged == ()
    kept = {"a0", "a1", "a2", "z0", "z1", "z2"} - (affected if table in ("stems", "tracks") else set())
    for name in ("tracks", "stems"):
        assert set(ids(layout, name)) == kept
        if kept:  # nor do plain readers see more
            assert sorted(pd.read_parquet(layout.path / name)["track_id"]) == sorted(kept)
    assert open_features(layout.path).to_pandas("runs")["run_id"].tolist() == ["r1"]
    with Committer(layout, {"run_id": "r2"}) as committer:  # what was lost is done again
        committer.commit(write_shard(layout, sorted(affected), run="r2"))
    if table in ("stems", "tracks"):
        assert sorted(pd.read_parquet(layout.path / "tracks")["track_id"]) == sorted(kept | affected)
    compact(layout)
    assert sorted(pd.read_parquet(layout.path / "stems")["track_id"]) == sorted(kept | affected)


@pytest.mark.parametrize("at", ["look", "open"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE], ids=errno.errorcode.get)
def test_what_cannot_be_looked_at_now_is_not_taken_for_lost(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at: str, number: int
) -> None:
    """A network drive that is away for a while costs no rows, whoever repairs meanwhile."""
    before = files_of(layout)
    part = read_snapshot(layout).of("stems")[1]

    def away(*given: Any, **options: Any) -> Any:
        if any(part.path in str(each) for each in given):
            raise OSError(number, os.strerror(number))
        return real(*given, **options)

    if at == "look":
        real: Any = LocalStorage.entry
        monkeypatch.setattr(LocalStorage, "entry", away)
        with pytest.raises(UnreachableError, match=rf"{part.path} cannot be read now \(.*try again later"):
            open_features(layout.path).to_pandas("stems")
    else:
        real = check_module.parquet_file
        monkeypatch.setattr(check_module, "parquet_file", away)
    for more in ([], ["--repair"], ["--deep", "--repair"]):
        assert cli(["check", str(layout.path), *more]) == 4
        assert f"{part.path} cannot be read now ({os.strerror(number)})" in capsys.readouterr().err
    monkeypatch.undo()
    assert files_of(layout) == before


def test_check_beside_a_writer_is_no_alarm(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = check_module._fault, [0]

    def slow(*args: Any, **options: Any) -> str:
        calls[0] += 1
        if calls[0] == 2:  # the snapshot has been read; its parts are merged and deleted
            compact(layout)
        return real(*args, **options)

    monkeypatch.setattr(check_module, "_fault", slow)
    assert check(layout).damaged == ()
    monkeypatch.setattr(check_module, "_fault", real)
    lost = damage(layout, "stems", "deleted")
    assert [d.part.path for d in check(layout).damaged] == [lost.path]
    writing = threading.Event()

    def write() -> None:
        for i in range(5):
            with Committer(fresh, {"run_id": f"r{i}"}) as committer:
                committer.commit(write_shard(fresh, [f"x{i}"], run=f"r{i}"))
            compact(fresh)
        writing.set()

    fresh = DatasetLayout.create(layout.path.with_name("fresh"))
    thread = threading.Thread(target=write)
    thread.start()
    while not writing.is_set():
        assert check(fresh).damaged == ()
    thread.join()
    assert check(fresh, deep=True).damaged == ()


@pytest.mark.parametrize("deep", [False, True])
def test_a_part_that_is_published_while_a_check_opens_it_is_not_damaged(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch, deep: bool
) -> None:
    part = read_snapshot(layout).of("stems")[1]
    hidden = layout.path / staged(part.path)
    (layout.path / part.path).rename(hidden)  # as a commit leaves it until it is published
    real = check_module.find_part

    def found_too_early(dataset: DatasetLayout, wanted: PartFile) -> tuple[Place | None, str]:
        found = real(dataset, wanted)
        if wanted == part and hidden.exists():
            publish(layout, [part])
        return found

    monkeypatch.setattr(check_module, "find_part", found_too_early)
    assert check(layout, deep=deep).damaged == ()
    assert not hidden.exists()


def test_a_shallow_check_finds_what_keeps_it_from_judging(layout: DatasetLayout) -> None:
    lost = damage(layout, "stems", "deleted")
    unreadable = damage(layout, "tracks", "pages", which=2)
    result = check(layout, repair=True)
    assert {d.part.path for d in result.damaged} == {lost.path, unreadable.path}
    assert result.tracks == ("a0", "a2", "z0", "z2")
    assert ids(layout) == ids(layout, "stems") == ["a1", "z1"]


def test_a_deep_check_finds_any_bit(layout: DatasetLayout) -> None:
    part = read_snapshot(layout).of("stems")[1]
    file = part_file(layout, part)
    whole, rows = file.read_bytes(), pq.read_table(file)
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # of the pages
    found = 0
    for at in range(4, end, max(1, end // 40)):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        file.write_bytes(flipped)
        if check_module._fault(layout, part, deep=True):
            found += 1
        else:  # of no consequence: something of a page's head that nobody reads
            assert pq.read_table(file).equals(rows)
    assert found >= 30
    file.write_bytes(bytes(b ^ 0x10 if 4 <= i < end and i % 50 == 0 else b for i, b in enumerate(whole)))
    assert [d.part for d in check(layout, deep=True).damaged] == [part]
    other = read_snapshot(layout).of("stems")[0]
    keys = pq.read_table(part_file(layout, other))["track_id"].to_pylist()
    assert other.holds_exactly(keys)
    assert not part.holds_exactly(keys)
    assert not part.holds_exactly([None])


def test_rows_that_were_replaced_are_not_counted_as_lost(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "MOST_BYTES", 0)  # the part with the row that does not count stays
    with Committer(layout, {"run_id": "r2"}) as committer:
        committer.commit(write_shard(layout, ["a0"], run="r2"))
    damage(layout, "tracks", "deleted")
    result = check(layout)
    assert result.tracks == ("z0",)
    assert result.n_unknown == 0


def test_repair_needs_no_commits_that_a_checkpoint_holds(layout: DatasetLayout) -> None:
    commits.write_checkpoint(layout, read_snapshot(layout))
    log = layout.path / "_commits"
    (log / "00000001.json").unlink()
    (log / "00000002.json").write_bytes(b'{"format": 1, "add": 7, "at": 3}')
    damage(layout, "runs", "deleted")
    damage(layout, "stems", "deleted")
    assert check(layout, repair=True).tracks == ("a0", "z0")
    runs = open_features(layout.path).to_pandas("runs")
    assert runs[["run_id", "status", "n_tracks"]].to_numpy().tolist() == [["r1", "finished", 4]]


def test_check_tells_and_status_warns(layout: DatasetLayout, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(layout.path)
    assert cli(["check", folder]) == 0
    assert "are as they were written" in capsys.readouterr().out
    part = damage(layout, "stems", "deleted", which=1)
    assert cli(["check", folder, "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert [d["path"] for d in told["damaged"]] == [part.path]
    assert told["tracks"] == ["a1", "z1"]
    assert cli(["status", folder]) == 3
    assert f"stemfeatures check {folder}" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------- a long commit log


def test_the_log_does_not_outgrow_what_it_says(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "CHECKPOINT_EVERY", 8)
    snapshot = read_snapshot(layout)
    log, written = layout.path / "_commits", {}
    for i in range(600):
        part = PartFile(f"tracks/part-{i}.parquet", "tracks", 2, 1000, f"a{i}", f"z{i}", "00000000" * 16)
        append_commit(layout, snapshot, kind="shard", add=[part])
        for file in log.glob("*.*.json"):
            written[file.name] = file.stat().st_size
    commits_bytes = sum(f.stat().st_size for f in log.glob("????????.json"))
    kept = sum(f.stat().st_size for f in log.glob("*.*.json"))
    assert kept < 1.2 * commits_bytes
    assert sum(written.values()) < 4 * commits_bytes  # all that was ever written; it was the square before
    assert len(list(log.glob("*.checkpoint.json"))) == 1
    opened: list[str] = []
    real = commits._read

    def counted(file: Path) -> dict[str, object]:
        opened.append(file.name)
        return real(file)

    monkeypatch.setattr(commits, "_read", counted)
    assert read_snapshot(layout).to_json() == snapshot.to_json()
    assert len(opened) < 60


def test_a_checkpoint_that_was_just_replaced(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is listed once; and once more where what was listed is gone, so that not all of it is read."""
    monkeypatch.setattr(commits, "CHECKPOINT_EVERY", 4)
    snapshot = read_snapshot(layout)
    listings: list[list[str]] = []
    for i in range(40):
        append_commit(
            layout, snapshot, kind="shard", add=[PartFile(f"tracks/part-{i}.parquet", "tracks", 2, 9, "a", "z")]
        )
        if i == 10:
            listings.append(commits._names(layout))
    real_names, real_read = commits._names, commits._read
    n_listed, n_read = [0], [0]

    def names(of: DatasetLayout) -> list[str]:
        n_listed[0] += 1
        return listings.pop() if listings else real_names(of)

    def read(file: Path) -> dict[str, object]:
        n_read[0] += 1
        return real_read(file)

    monkeypatch.setattr(commits, "_names", names)
    monkeypatch.setattr(commits, "_read", read)
    for expected in (2, 1):
        n_listed[0] = n_read[0] = 0
        assert read_snapshot(layout).to_json() == snapshot.to_json()
        assert n_listed[0] == expected
        assert n_read[0] < 12


def test_one_track_is_read_from_the_parts_that_can_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = DatasetLayout.create(tmp_path / "features")
    names = [f"{i:02d}" for i in range(60)]
    with Committer(layout, {"run_id": "r1"}) as committer:
        for i in range(20):  # as a run makes them: every part spans nearly all ids
            committer.commit(write_shard(layout, names[i::20]))
    opened: list[int] = []
    from stemfeatures.tables import parts

    real = parts.find_part

    def counted(dataset: DatasetLayout, part: PartFile) -> tuple[Place | None, str]:
        opened.append(1)
        return real(dataset, part)

    monkeypatch.setattr(parts, "find_part", counted)
    features: Features = open_features(layout.path)
    assert features.to_pandas("tracks", filter=[("track_id", "==", "07")])["source_uri"].tolist() == ["07.wav"]
    assert len(opened) == 1
    assert features.to_pandas("tracks", filter=[("track_id", "in", ["07", "31"])])["track_id"].tolist() == ["07", "31"]
    assert features.to_pandas("tracks", filter=[("track_id", "==", "nobody")]).empty
    assert len(opened) == 3


def test_of_many_parts_those_are_found_that_can_hold_many_tracks(tmp_path: Path) -> None:
    layout = DatasetLayout.create(tmp_path / "features")
    names = [f"{i:02d}" for i in range(60)]
    with Committer(layout, {"run_id": "r1"}) as committer:
        for i in range(20):
            committer.commit(write_shard(layout, names[i::20]))
    parts = read_snapshot(layout).of("tracks")
    old = [replace(part, key_hashes="") for part in parts]
    for keys in (["07", "31", "nobody"], ["11", "51", "31"], ["zz"], ["", "30a"], names, []):
        for some in (parts, old, parts[:3] + old[3:]):
            assert parts_holding(some, keys) == [part for part in some if part.may_hold(keys)]
    assert [part.min_key for part in parts_holding(parts, ["07", "31", "nobody"])] == ["07", "11"]


def test_large_parts_are_read_once_for_ids_in_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often many ids are looked for; and only those parts again that hold one of them."""
    monkeypatch.setattr(reader, "INDEX", KeyIndex())
    monkeypatch.setattr(key_index, "MANY_KEYS", 100)
    layout = DatasetLayout.create(tmp_path / "features")
    names = [f"{hash_of(i):016x}" for i in range(1500)]
    with Committer(layout, {"run_id": "r1"}) as committer:
        for i in range(3):
            committer.commit(write_shard(layout, names[i:900:3]))
    snapshot = read_snapshot(layout)
    assert all(not part.key_hashes for part in snapshot.of("tracks"))
    opened: list[str] = []
    real = reader.rows_of

    def counted(layout: DatasetLayout, parts: Iterable[PartFile], table: str, **options: Any) -> ds.Dataset:
        parts = list(parts)
        opened.extend(part.path for part in parts)
        return real(layout, parts, table, **options)

    monkeypatch.setattr(reader, "rows_of", counted)

    def found(keys: list[str]) -> list[str]:
        rows = reader.live_rows(layout, snapshot, "tracks", keys=keys).to_table(columns=["track_id"])
        return sorted(set(rows["track_id"].to_pylist()) & set(keys))

    new = names[900:]
    assert found(new) == []
    assert len(opened) == 3  # to learn what they hold
    assert found(new[:300]) == []
    assert len(opened) == 3
    assert found([*new, names[4], names[7]]) == sorted([names[4], names[7]])
    assert len(opened) == 4  # the one that holds both
    assert found([names[0], "nobody"]) == [names[0]]
    assert len(opened) == 7  # few are found by row groups
    monkeypatch.setattr(reader, "INDEX", KeyIndex(most_bytes=8 * 700))
    opened.clear()
    assert found(new) == []
    assert len(opened) == 3  # two that are known, and one for which there is no memory
    opened.clear()
    assert found(new) == []
    assert len(opened) == 1


def hash_of(i: int) -> int:
    """Of no order, and the same for everybody."""
    return int.from_bytes(hashlib.sha256(str(i).encode()).digest()[:8])


def test_parts_of_earlier_releases_say_less(layout: DatasetLayout) -> None:
    snapshot: Snapshot = read_snapshot(layout)
    old = [replace(part, key_hashes="") for part in snapshot.of("tracks")]
    assert all(part.may_hold(["m"]) for part in old)
    assert not any(part.may_hold(["m"]) for part in snapshot.of("tracks"))
    assert not any(part.may_hold(["zz"]) for part in old)
    assert PartFile.from_json({**old[0].to_json(), "null_counts": {"x": 1}}) == old[0]


def test_the_clock_is_set_back_during_a_run(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    class Back(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    with Committer(layout, {"run_id": "r2"}) as committer:
        monkeypatch.setattr("stemfeatures.tables.committer.datetime", Back)
        committer.commit(write_shard(layout, ["new"], run="r2"))
    run = open_features(layout.path).to_pandas("runs").set_index("run_id").loc["r2"]
    assert 0 <= (run["finished_at"] - run["started_at"]).total_seconds() < 600
    assert run["status"] == "finished"


def test_a_log_that_is_listed_while_somebody_commits(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two new files may be seen without the first."""
    whole, real = ids(layout), commits._names
    looks: list[int] = []

    def half(of: DatasetLayout) -> list[str]:
        looks.append(1)
        return [name for name in real(of) if len(looks) > 1 or name != "00000003.json"]

    monkeypatch.setattr(commits, "_names", half)
    assert ids(layout) == whole
    assert len(looks) == 2
    (layout.path / "_commits" / "00000003.json").unlink()
    with pytest.raises(DatasetError, match="commit 3 is missing"):
        open_features(layout.path)
