"""Rows of several features directories in one."""

from __future__ import annotations

import errno
import math
import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from features_helper import write_features

from pipelines.cli import main
from stemfeatures.errors import BusyDatasetError, DatasetError, DecodeError, LostPartError
from stemfeatures.fields import Field
from stemfeatures.tables import adopt as adopting
from stemfeatures.tables import compact, parts
from stemfeatures.tables.adopt import Adopted, adopt
from stemfeatures.tables.check import check
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.lock import DatasetLock
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.rows import Provenance, error_row
from stemfeatures.tables.storage import LocalStorage


def _same(path: Path, other: Path) -> None:
    one, two = open_features(path), open_features(other)
    assert one.tables == two.tables
    for table in one.tables:
        if table != "runs":
            pd.testing.assert_frame_equal(
                one.to_pandas(table).drop(columns="extracted_at", errors="ignore"),
                two.to_pandas(table).drop(columns="extracted_at", errors="ignore"),
            )


def test_directories_in_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What two runs have made apart is what they would have made in one directory, and they stay as they are."""
    one = write_features(tmp_path / "one", ["b", "d"], run_id="r1")
    write_features(one, ["d"], seed=5, run_id="r2")  # which replaces a row
    two = write_features(tmp_path / "two", ["a", "c"], seed=2, run_id="r3")
    together = write_features(tmp_path / "together", ["b", "d"], run_id="r1")
    write_features(together, ["d"], seed=5, run_id="r2")
    write_features(together, ["a", "c"], seed=2, run_id="r3")
    assert main(["merge", str(tmp_path / "all"), str(one), str(two)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{one}: 2 tracks, 0 errors", f"{two}: 2 tracks, 0 errors"]
    for _ in range(2):
        _same(tmp_path / "all", together)
        assert open_features(tmp_path / "all").to_pandas("runs")["run_id"].tolist() == ["r1", "r2", "r3"]
        compact.compact(tmp_path / "all")
    assert check(one, deep=True).damaged == check(tmp_path / "all", deep=True).damaged == ()
    assert sorted(pd.read_parquet(tmp_path / "all" / "tracks")["track_id"]) == ["a", "b", "c", "d"]
    write_features(tmp_path / "all", ["a"], seed=9, run_id="r4")  # who writes there later replaces what was taken
    assert open_features(tmp_path / "all").counts()["tracks"] == 4


def test_what_may_only_be_read_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is mounted for reading, and folders of somebody else's; not while a writer is at work there."""
    source = write_features(tmp_path / "one", ["a", "b"], run_id="r1")
    real = os.open

    def denied(path: object, flags: int, *more: object, **options: object) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY) and str(path).startswith(str(source)):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *more, **options)

    for number in (errno.EROFS, errno.EACCES):
        out = tmp_path / f"all{number}"
        with DatasetLock(DatasetLayout.open(source), "extract"), monkeypatch.context() as patched:
            patched.setattr(os, "open", denied)
            with pytest.raises(BusyDatasetError, match="extract, process"):
                adopt(out, [source])
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", denied)
            assert [(taken.tracks, taken.errors) for taken in adopt(out, [source])] == [(2, 0)]
        assert open_features(out).counts()["tracks"] == 2
    number = errno.EIO
    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(DatasetError, match="cannot write here"):
        adopt(tmp_path / "last", [source])


def test_what_cannot_be_taken(tmp_path: Path) -> None:
    one = write_features(tmp_path / "one", ["a", "b"], run_id="r1", metadata={"year": [1999, 2000]})
    for name, ids, metadata, message in (
        ("run", ["c"], None, "run r1 is in .*one already"),
        ("track", ["b", "c"], None, "track 'b' is in .*one already"),
        ("type", ["c"], {"year": ["MCM"]}, "column 'meta_year' holds string, in .*one int64"),
    ):
        run_id = "r1" if name == "run" else "r2"
        write_features(tmp_path / name, ids, run_id=run_id, metadata=metadata)
        with pytest.raises(DatasetError, match=message):
            adopt(one, [tmp_path / name])
    with pytest.raises(DatasetError, match="cannot be taken into itself"):
        adopt(one, [one])
    with pytest.raises(DatasetError, match="there is no such directory"):
        adopt(one, [tmp_path / "nowhere"])
    good = write_features(tmp_path / "good", ["z"], run_id="r9")
    with DatasetLock(DatasetLayout.open(good), "a run"), pytest.raises(BusyDatasetError):
        adopt(one, [good])
    os.unlink(open_features(good).files("stems")[0])
    with pytest.raises(LostPartError):
        adopt(one, [good])
    assert open_features(one).to_pandas("tracks")["track_id"].tolist() == ["a", "b"]


def test_errors_are_taken_and_files_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files cannot be linked they are copied. A track that failed in one is in it."""
    one = write_features(tmp_path / "one", ["a"], run_id="r1")
    two = write_features(tmp_path / "two", ["b"], run_id="r2")
    with Committer(two, {"run_id": "r3"}) as committer:
        row = error_row("x", "x.wav", DecodeError("not audio"), Provenance("r3", "c1", "joint-test", "sha-1"))
        committer.commit([parts.write_part(committer.layout, "errors", [row], shard="s")])

    real = os.link

    def refuse(source: Path, target: Path, **options: bool) -> None:
        if str(target).endswith(".parquet.new"):
            raise OSError(18, "Invalid cross-device link")
        real(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr("stemfeatures.tables.storage.os.link", refuse)
        assert adopt(one, [two]) == [Adopted(two, 1, 1, len(open_features(two).snapshot.parts) - 1)]
    assert open_features(one).to_pandas("errors")["track_id"].tolist() == ["x"]
    three = write_features(tmp_path / "three", ["x"], run_id="r4")
    with pytest.raises(DatasetError, match="track 'x' is in"):
        adopt(one, [three])


def test_a_disk_that_is_full_of_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of what was taken, and the rows that were there are there. What a dead process has left is no
    hindrance."""
    one = write_features(tmp_path / "one", ["a"], run_id="r1")
    two = write_features(tmp_path / "two", ["b"], run_id="r2")
    before = sorted(one.rglob("*"))
    real, left = LocalStorage.take, [3]

    def take(self: LocalStorage, source: Path, name: str) -> None:
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        real(self, source, name)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "take", take)
        with pytest.raises(DatasetError, match=r"cannot take .*No space left on device"):
            adopt(one, [two])
    assert left == [0]
    assert sorted(one.rglob("*")) == before
    (part,) = open_features(two).snapshot.of("tracks")
    (one / parts.staged(part.path)).write_bytes(b"half of it")
    adopt(one, [two])
    assert open_features(one).to_pandas("tracks")["track_id"].tolist() == ["a", "b"]
    assert os.path.samefile(one / part.path, two / part.path)


def test_columns_and_tables_that_only_one_has_are_taken(tmp_path: Path) -> None:
    """Of descriptors that are not installed here, or of a later release."""
    mood = Field("mood", "string", "How it feels.", family="rhythm", nullable=False)
    sighs = (Field("track_id", "string", "Which.", nullable=False), Field("run_id", "string", "Run.", nullable=False))
    one = write_features(tmp_path / "one", ["a"], run_id="r1")
    two = write_features(tmp_path / "two", ["b"], run_id="r2")
    DatasetLayout.open(two).with_columns(of=DatasetLayout(two, {"tracks": (mood,), "sighs": sighs}))
    made = {"run_id": "r3", "config_hash": "c", "model_sha256": "s", "schema_version": "1.0"}
    track = {"track_id": "z", "source_uri": "z.wav", "status": "ok", "extracted_at": datetime.now(UTC), "mood": "calm"}
    with Committer(two, {"run_id": "r3"}) as committer:
        tables = {"tracks": {**track, **made}, "sighs": {"track_id": "z", "run_id": "r3"}}
        committer.commit([parts.write_part(committer.layout, name, [row], shard="s") for name, row in tables.items()])
    adopt(one, [two])
    for _ in range(2):
        features = open_features(one)
        assert features.to_arrow("tracks", columns=["mood"])["mood"].to_pylist() == [None, None, "calm"]
        assert features.to_arrow("sighs")["track_id"].to_pylist() == ["z"]
        compact.compact(one)
    write_features(one, ["c"], run_id="r4")  # rows without it may follow
    assert open_features(one).counts()["tracks"] == 4


def test_ids_of_many_small_files_are_looked_up_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write_features(tmp_path / "one", ["a"], run_id="r1")
    two = tmp_path / "two"
    for n in range(4):
        write_features(two, [f"b{n}"], run_id=f"s{n}")
    real, looked = adopting.live_rows, []

    def live_rows(*arguments: object, **options: list[str]) -> object:
        looked.extend([options["keys"]] if "keys" in options else [])
        return real(*arguments, **options)

    monkeypatch.setattr(adopting, "live_rows", live_rows)
    monkeypatch.setattr(adopting, "_LOOKED_UP", 3)
    adopt(one, [two])
    assert [sorted(ids) for ids in looked] == [["b0", "b1", "b2"]] * 2 + [["b3"]] * 2


def test_catalogue_columns_of_two_types(tmp_path: Path) -> None:
    """As ``extract`` takes them one after the other: what fits the type that the column has."""
    one = write_features(
        tmp_path / "one", ["a"], run_id="r1", metadata={"year": [1999], "gain": [0.5], "code": ["x"], "gone": ["y"]}
    )
    more = {"year": [2000.0, 2001.0], "gain": [1, 2], "code": [7, 8], "gone": [math.nan, math.nan]}
    two = write_features(tmp_path / "two", ["b", "c"], run_id="r2", metadata=more)
    write_features(two, ["c"], run_id="r3", metadata={name: values[1:] for name, values in more.items()})
    adopt(one, [two])
    for _ in range(2):
        tracks = open_features(one).to_arrow("tracks")
        assert tracks["meta_year"].to_pylist() == [1999, 2000, 2001]
        assert tracks["meta_gain"].to_pylist() == [0.5, 1.0, 2.0]
        assert tracks["meta_code"].to_pylist() == ["x", "7", "8"]
        assert tracks["meta_gone"].to_pylist() == ["y", None, None]
        assert check(one, deep=True).damaged == ()
        compact.compact(one)
    three = write_features(tmp_path / "three", ["d"], run_id="r4", metadata={"year": [1999.5]})
    before = sorted(one.rglob("*"))
    with pytest.raises(DatasetError, match=r"column 'meta_year' holds float64, in .*one int64"):
        adopt(one, [three])
    assert sorted(one.rglob("*")) == before
