"""Rows of several features directories in one."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from features_helper import write_features

from pipelines.cli import main
from stemfeatures.errors import BusyDatasetError, DatasetError, DecodeError, LostPartError
from stemfeatures.tables import compact, parts
from stemfeatures.tables.adopt import Adopted, adopt
from stemfeatures.tables.check import check
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.lock import DatasetLock
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.rows import Provenance, error_row


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


def test_what_cannot_be_taken(tmp_path: Path) -> None:
    one = write_features(tmp_path / "one", ["a", "b"], run_id="r1", metadata={"year": [1999, 2000]})
    for name, ids, metadata, message in (
        ("run", ["c"], None, "run r1 is in .*one already"),
        ("track", ["b", "c"], None, "track 'b' is in .*one already"),
        ("type", ["c"], {"year": ["MCM"]}, "column 'meta_year' of table tracks holds string, in .*one int64"),
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
