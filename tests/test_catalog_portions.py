"""Large manifests, a portion at a time: the same rows, types and clashes as in one piece."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from extract_helper import DEADLY, real_or_deadly_shard, write_tone
from networks import tiny_checkpoint

from pipelines import extract_catalog
from pipelines.catalog import portions, portions_of, read_catalog, scratch, spooled
from pipelines.catalog.repeats import Repeats, hashes
from pipelines.extraction import cluster, extract, kept_cluster, loaded
from pipelines.extraction.cluster import ClusterExecutor
from pipelines.extraction.resume import metadata_fields
from pipelines.extraction.summary import ExtractInterrupted, ExtractProgress
from stemfeatures.errors import CatalogError, DatasetError
from stemfeatures.tables.reader import open_features


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two parts of 7 and 5 rows, taken 5 at a time; column ``n`` has no value before row 10."""
    monkeypatch.setattr(portions, "PORTION_ROWS", 5)
    rows = pd.DataFrame(
        {
            "path": [f"song{i}.wav" for i in range(12)],
            "track_id": [f"{i}.0" for i in range(12)],
            "n": pd.array([None] * 10 + [7, 8], dtype="Int64"),
            "title": ["x"] * 12,
        }
    )
    (tmp_path / "parts").mkdir()
    rows[:7].to_parquet(tmp_path / "parts" / "0.parquet")
    rows[7:].to_parquet(tmp_path / "parts" / "1.parquet")
    return tmp_path / "parts"


def test_hashes_tell_texts_apart() -> None:
    texts = [*(f"track {i}.flac" for i in range(50_000)), "", "\u00e9.flac", "e\u0301.flac", "\u00e9.flac\0"]
    found = hashes(pa.chunked_array([texts[:7], texts[7:]]))
    assert len(np.unique(found)) == len(texts)
    # wherever a text stands, and whatever its type
    again = hashes(pa.chunked_array([pa.array(["x", *texts], pa.large_string())[1:], pa.array([], pa.large_string())]))
    np.testing.assert_array_equal(again, found)


def test_repeats_are_found_beyond_pieces_and_gaps(tmp_path: Path) -> None:
    texts = [f"{i}" for i in range(1000)] + [None, "7", "\u00e9", None, "7", "\u00e9", "999"]
    repeats = Repeats(tmp_path / "ids")
    for first in range(0, len(texts), 100):
        repeats.add(pa.chunked_array([pa.array(texts[first : first + 100], pa.string())]), first)
    assert sorted(rows.tolist() for rows in repeats.rows()) == [[7, 1001, 1004], [999, 1006], [1002, 1005]]


def test_portions_are_the_manifest(manifest: Path) -> None:
    whole = read_catalog(manifest)
    with portions_of(manifest) as parts:
        assert parts is not None
        assert len(parts) == 12
        catalogs = list(parts)
    assert [len(c) for c in catalogs] == [5, 5, 2]
    for name in ("track_id", "source_uri", "path"):
        assert [v for c in catalogs for v in c.frame[name]] == whole.frame[name].tolist()
    assert whole.frame["track_id"].tolist() == [str(i) for i in range(12)]
    assert {tuple((f.name, f.type) for f in metadata_fields(c, None)) for c in catalogs} == {
        (("meta_n", "int64"), ("meta_title", "string"))
    }
    assert catalogs[2].row_name(0) == "row 11 ('song10.wav')"
    with portions_of(manifest, limit=6) as parts:
        assert parts is not None
        assert [len(c) for c in parts] == [5, 1]
    for small in (5, 1):
        with portions_of(manifest, limit=small) as parts:
            assert parts is None
    with portions_of([str(manifest), "x"]) as parts:
        assert parts is None


def test_text_ids_stay_where_not_all_are_numbers(manifest: Path) -> None:
    rows = pd.read_parquet(manifest / "1.parquet")
    rows["track_id"] = ["a.1", *rows["track_id"][1:]]
    rows.to_parquet(manifest / "1.parquet")
    with portions_of(manifest) as parts:
        assert parts is not None
        assert [i for c in parts for i in c.frame["track_id"]][:8] == [*(f"{i}.0" for i in range(7)), "a.1"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("track_id", "2.0", r"row 3 and row 9 have the same track id '2\.0'"),
        ("path", "song6.wav", r"row 7 and row 9 have the same file 'song6\.wav'"),
    ],
)
def test_rows_of_two_portions_that_clash(manifest: Path, column: str, value: str, message: str) -> None:
    rows = pd.read_parquet(manifest / "1.parquet").reset_index(drop=True)
    rows.loc[1, column] = value
    rows.to_parquet(manifest / "1.parquet")
    with pytest.raises(CatalogError, match=message), portions_of(manifest):
        pass
    kept = {}
    for how in ("first", "skip"):
        with portions_of(manifest, on_duplicate=how) as parts:
            assert parts is not None
            kept[how] = [path for c in parts for path in c.frame["source_uri"]]
            assert (len(parts), parts.n_dropped) == (len(kept[how]), 12 - len(kept[how]))
    everything = [f"song{i}.wav" for i in range(12)]
    first, second = (2, 8) if column == "track_id" else (6, 8)
    assert kept["first"] == [p for i, p in enumerate(everything) if i != second]
    assert kept["skip"] == [p for i, p in enumerate(everything) if i not in (first, second)]


@pytest.mark.parametrize("how", ["first", "skip"])
def test_who_shares_a_file_with_a_row_that_is_left_out_stays(manifest: Path, how: str) -> None:
    """Rows are left out as from a manifest that is read in one piece."""
    rows = pd.read_parquet(manifest)
    rows.loc[8, "track_id"] = "2.0"  # of another row, so this one goes ...
    rows.loc[[8, 10], "path"] = "both.wav"  # ... and the other one of its file need not
    for i, part in enumerate((rows[:7], rows[7:])):
        part.to_parquet(manifest / f"{i}.parquet")
    whole, n_dropped = read_catalog(manifest).without_duplicates(how)
    with portions_of(manifest, on_duplicate=how) as parts:
        assert parts is not None
        assert parts.n_dropped == n_dropped
        assert [row for c in parts for row in c.frame["source_uri"]] == whole.frame["source_uri"].tolist()
    assert "both.wav" in whole.frame["source_uri"].tolist()


@pytest.mark.parametrize("how", ["first", "skip"])
def test_many_doubles_are_looked_up_in_turns(manifest: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(portions, "_LOOKED_UP", 2)
    rows = pd.read_parquet(manifest)
    rows["track_id"] = [f"id {i}" for i in (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 6, 0)]
    for i, part in enumerate((rows[:7], rows[7:])):
        part.to_parquet(manifest / f"{i}.parquet")
    whole, n_dropped = read_catalog(manifest).without_duplicates(how)
    assert n_dropped == (5 if how == "first" else 9)
    with portions_of(manifest, on_duplicate=how) as parts:
        assert parts is not None
        assert parts.n_dropped == n_dropped
        assert [row for c in parts for row in c.frame["source_uri"]] == whole.frame["source_uri"].tolist()


def test_every_row_has_a_double(manifest: Path) -> None:
    for i in range(2):
        pd.DataFrame({"path": ["a.wav", "b.wav", "c.wav"]}).to_parquet(manifest / f"{i}.parquet")
    with (
        pytest.raises(CatalogError, match="every row shares its id or its file with another"),
        portions_of(manifest, on_duplicate="skip"),
    ):
        pass


def test_integers_that_are_too_large_are_text_in_every_portion(manifest: Path) -> None:
    rows = pd.read_parquet(manifest)
    rows["barcode"] = pd.array([2**63 + 7 if i == 11 else i for i in range(12)], dtype="UInt64")
    rows["count"] = pd.array(range(12), dtype="UInt64")
    rows.to_parquet(manifest / "0.parquet")
    (manifest / "1.parquet").unlink()
    with portions_of(manifest) as parts:
        assert parts is not None
        types = [{f.name: f.type for f in metadata_fields(c, None)} for c in parts]
    assert [(of["meta_barcode"], of["meta_count"]) for of in types] == [("string", "int64")] * 3


TEXT_ROWS = [
    ("path", "track_id", "n", "share", "gain", "live", "barcode", "nothing", ""),
    *(
        (
            f"song{i}.wav" if i != 4 else " 'quo\nted, name'.wav",
            f"{i}.0",
            "" if i < 9 else f" {i}",
            str(i) if i < 11 else "0.5",
            "" if i < 11 else "-3",
            ["true", "False", ""][i % 3],
            str(i) if i < 11 else "007",
            "",
            "",
        )
        for i in range(12)
    ),
]


def text_manifest(path: Path, encoding: str, delimiter: str) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding=encoding, newline="") as file:
        file.write("sep=;\r\n\r\n" if delimiter == ";" else "")
        csv.writer(file, delimiter=delimiter).writerows(TEXT_ROWS)
    return path


@pytest.mark.parametrize(
    ("name", "encoding", "delimiter"),
    [("a.csv", "utf-8", ","), ("b.csv", "utf-16", ";"), ("c.tsv.gz", "utf-8-sig", "\t")],
)
def test_a_text_manifest_in_portions_is_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str, delimiter: str
) -> None:
    """Types are those of all rows: what makes a column text, or a number, comes last."""
    monkeypatch.setattr(portions, "PORTION_ROWS", 5)
    monkeypatch.setattr(spooled, "LEAST_BYTES", 0)
    monkeypatch.setattr(spooled, "_ROWS", 3)
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = text_manifest(tmp_path / name, encoding, delimiter)
    whole = read_catalog(path)
    with portions_of(path) as parts:
        assert parts is not None
        assert parts.origin == str(path)
        catalogs = list(parts)
    assert [len(c) for c in catalogs] == [5, 5, 2]
    assert list(catalogs[0].frame.columns) == list(whole.frame.columns)
    for column in whole.frame.columns:
        values = [None if pd.isna(v) else v for c in catalogs for v in c.frame[column]]
        assert values == [None if pd.isna(v) else v for v in whole.frame[column]]
    types = {field.name: field.type for field in metadata_fields(whole, None)}
    assert types == {
        "meta_n": "int64",
        "meta_share": "float64",
        "meta_gain": "int64",
        "meta_live": "bool",
        "meta_barcode": "string",
        "meta_nothing": "string",
    }
    assert [{f.name: f.type for f in metadata_fields(c, None)} for c in catalogs] == [types] * 3
    with portions_of(path, limit=7) as parts:
        assert parts is not None
        trial = list(parts)
    assert [c.frame["track_id"].tolist() for c in trial] == [["0", "1", "2", "3", "4"], ["5", "6"]]
    assert [{f.name: f.type for f in metadata_fields(c, None)} for c in trial] == [types] * 2
    with portions_of(path, limit=5) as parts:
        assert parts is None
    assert not os.listdir(temporary)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_portions_of_a_wide_manifest_have_fewer_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A row with 1,500 descriptors of another tool takes as much memory as 150 rows of others."""
    monkeypatch.setattr(portions, "PORTION_CELLS", 60)
    monkeypatch.setattr(spooled, "LEAST_BYTES", 0)
    monkeypatch.setattr(spooled, "_CELLS", 30)
    wide = pd.DataFrame({"path": [f"{i}.wav" for i in range(7)], **{f"d{i}": np.arange(7.0) + i for i in range(19)}})
    if name == "a.csv":
        wide.to_csv(tmp_path / name, index=False)
    else:
        wide.to_parquet(tmp_path / name)
    with portions_of(tmp_path / name) as parts:
        assert parts is not None
        found = list(parts)
    assert [len(catalog) for catalog in found] == [3, 3, 1]
    assert pd.concat([catalog.frame["d18"] for catalog in found]).tolist() == wide["d18"].tolist()


def test_a_text_manifest_with_a_fault_is_left_to_who_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "PORTION_ROWS", 5)
    monkeypatch.setattr(spooled, "LEAST_BYTES", 0)
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for fault, message in ((b"a,b,c\n", "line 10 has 3 fields"), (b"\xff,b\n", "line 10 is not UTF-8")):
        (path := tmp_path / "a.csv").write_bytes(b"path,n\n" + b"".join(b"%d.wav,1\n" % i for i in range(8)) + fault)
        with portions_of(path) as parts:
            assert parts is None
            assert not os.listdir(temporary)
        with pytest.raises(CatalogError, match=message):
            read_catalog(path)
    (packed := tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"path,n\n1.wav,1\n", mtime=0)[:10] + b"\7" * 50)
    with portions_of(packed) as parts:
        assert parts is None
    for empty in ("", ",,\n,,\n"):
        path.write_text(empty)
        with pytest.raises(CatalogError, match="the file is empty"):
            read_catalog(path)


@pytest.mark.parametrize("merge", ["no need", "done", "fails"])
def test_a_run_in_portions(
    merge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(portions, "PORTION_ROWS", 2)
    if merge != "no need":
        monkeypatch.setattr(extract, "MOST_PARTS", 3)
    if merge == "fails":
        monkeypatch.setattr("stemfeatures.tables.compact.publish", _full_disk)
    for i in range(3):
        write_tone(tmp_path / f"{i}.wav", seconds=0.2)
    rows = pd.DataFrame({"path": ["0.wav", "gone.wav", "1.wav", "2.wav", "none.wav"]})
    rows.to_parquet(tmp_path / "catalog.parquet")
    told: list[ExtractProgress] = []
    options: dict[str, Any] = {"model": tiny_checkpoint(tmp_path), "device": "cpu", "jobs": 1, "progress": told.append}
    summary = extract_catalog(tmp_path / "catalog.parquet", tmp_path / "features", **options)
    assert (summary.n_total, summary.n_done, summary.n_failed, summary.n_skipped) == (5, 3, 2, 0)
    assert [(group.n, group.reason) for group in summary.errors] == [(2, "no such file")]
    assert (told[-1].n_total, told[-1].n_done, told[-1].n_failed) == (5, 3, 2)
    assert [p.state for p in told].count("finished") == 1
    features = open_features(tmp_path / "features")
    assert features.to_pandas("tracks")["track_id"].tolist() == ["0.wav", "1.wav", "2.wav"]
    assert features.to_pandas("errors")["track_id"].tolist() == ["gone.wav", "none.wav"]
    assert features.to_pandas("runs")["status"].tolist() == ["finished"] * 3
    assert len(features.files("tracks")) == (1 if merge == "done" else 2)
    assert ("small files are not merged: the disk is full" in caplog.text) == (merge == "fails")
    again = extract_catalog(tmp_path / "catalog.parquet", tmp_path / "features", retry_failed=False, **options)
    assert (again.n_skipped, again.n_known_failed, again.n_done) == (3, 2, 0)
    loaded.forget_analyser()


def test_portions_are_extracted_by_the_same_processes(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after one that has crashed its worker; another number of them is started where a portion wants more."""
    monkeypatch.setattr(portions, "PORTION_ROWS", 3)
    monkeypatch.setattr(cluster, "process_on_worker", real_or_deadly_shard)
    started: list[int] = []
    real = kept_cluster.local_cluster

    def counted(n_workers: int, *, device: str) -> ClusterExecutor:
        started.append(n_workers)
        return real(n_workers, device=device)

    monkeypatch.setattr(kept_cluster, "local_cluster", counted)
    ids = ["1", "2", DEADLY, *map(str, range(4, 10))]
    paths = [str(write_tone(tmp_path / f"{i}.wav", seconds=0.2, f0=200.0 + i)) for i in range(len(ids))]
    pd.DataFrame({"track_id": ids, "path": paths}).to_parquet(tmp_path / "catalog.parquet")
    options: dict[str, Any] = {"model": model, "device": "cpu", "jobs": 2}
    summary = extract_catalog(tmp_path / "catalog.parquet", tmp_path / "features", **options)
    assert started == [2]
    assert (summary.n_done, summary.n_failed) == (8, 1)
    rows = open_features(tmp_path / "features").to_pandas("tracks").set_index("track_id")
    assert len(set(rows["run_id"])) == 3
    assert sorted(rows.index) == sorted(set(ids) - {DEADLY})


@pytest.mark.parametrize(
    ("wanted", "device", "longest_s", "expected"),
    [(4, "cpu", 60.0, 4), (2, "cpu", 60.0, 4), (2, "cpu", 7200.0, 2), (6, "cpu", 60.0, 6), (2, "cuda", 60.0, 2)],
)
def test_processes_that_stay(
    wanted: int, device: str, longest_s: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than wanted, if each has memory for the longest track of the next portion."""
    monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", 4 * 2_000_000_000)
    ended: list[int] = []

    class Cluster(ExitStack):
        def __init__(self, n_workers: int, *, device: str) -> None:
            super().__init__()
            self.callback(ended.append, n_workers)

    monkeypatch.setattr(kept_cluster, "local_cluster", Cluster)
    with kept_cluster.KeptCluster() as kept:
        assert kept.size(4, device="cpu", longest_s=60.0) == 4
        first = kept.of(4, device="cpu")
        assert kept.size(wanted, device=device, longest_s=longest_s) == expected
        stays = (expected, device) == (4, "cpu")
        assert (kept.of(expected, device=device) is first) == stays
        assert ended == ([] if stays else [4])
    assert ended[-1] == expected


def _full_disk(*arguments: object, **options: object) -> None:
    raise DatasetError("the disk is full")


def test_ctrl_c_between_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While small files are merged: what the portions before have come to is told."""
    monkeypatch.setattr(portions, "PORTION_ROWS", 1)

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(extract, "compact_if_many", interrupt)
    pd.DataFrame({"path": ["gone.wav", "none.wav"]}).to_parquet(tmp_path / "catalog.parquet")
    with pytest.raises(ExtractInterrupted, match="1 of 2 tracks were saved, 1 are left") as stopped:
        extract_catalog(
            tmp_path / "catalog.parquet", tmp_path / "out", model=tiny_checkpoint(tmp_path), device="cpu", jobs=1
        )  # fmt: skip
    assert (stopped.value.summary.n_failed, stopped.value.summary.interrupted) == (1, True)
    loaded.forget_analyser()


def test_what_a_killed_run_has_left_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next one, and not what another one is at work in."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, signal\nfrom pipelines.catalog.scratch import scratch_folder\n"
        "with scratch_folder('stemfeatures-test-') as folder:\n"
        "    (folder / 'text.parquet').write_bytes(bytes(1000))\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(scratch.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert sorted(path.name for path in left.iterdir()) == [".in-use", "text.parquet"]
    (other := tmp_path / "stemfeatures-test-without-a-lock").mkdir()
    with scratch.scratch_folder("stemfeatures-test-") as first, scratch.scratch_folder("stemfeatures-test-") as second:
        assert sorted(tmp_path.iterdir()) == sorted([first, second, other])
    assert list(tmp_path.iterdir()) == [other]


def test_sigterm_leaves_nothing_of_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "catalog.csv").write_text("path\n" + "".join(f"{'x' * 60}{i}.wav\n" for i in range(60_000)))
    seen = []

    def terminate(*args: object, **options: object) -> None:
        seen.extend(path.name.rpartition("-")[0] for path in (tmp_path / "temporary").iterdir())
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr("pipelines.extraction.extract._extract", terminate)
    with pytest.raises(KeyboardInterrupt):
        extract_catalog(tmp_path / "catalog.csv", tmp_path / "out", jobs=1)
    assert seen == ["stemfeatures-manifest"]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
