"""Extraction end to end: what goes in comes out once, whatever fails, is killed, or has been done before."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import torch
from distributed import KilledWorker
from extract_helper import DEADLY, broken_shard, fake_shard, gpu_shard, started_with, write_tone
from features_helper import write_features
from hypothesis import given
from hypothesis import strategies as st
from networks import tiny_checkpoint

import stemfeatures
from pipelines import cli, extract_catalog
from pipelines.catalog import read_catalog
from pipelines.extraction import cluster as executors
from pipelines.extraction import driver as driver_module
from pipelines.extraction import loaded, plan, prefetch, threads
from pipelines.extraction import rows as rows_module
from pipelines.extraction import shard as shard_module
from pipelines.extraction.cluster import ClusterError, ClusterExecutor, local_cluster, trimming_workers
from pipelines.extraction.executor import LoopExecutor, WorkerCrash
from pipelines.extraction.plan import ShardLimits, plan_shards
from pipelines.extraction.prefetch import FileState, PrefetchStream, TrackTimeout
from pipelines.extraction.resume import decide
from pipelines.extraction.retry import failed_rows
from pipelines.extraction.stop import StopRequest
from pipelines.extraction.summary import ExtractInterrupted, ExtractProgress, ExtractSummary
from pipelines.extraction.tasks import ShardReceipt, ShardTask, TrackOutcome, TrackTask
from stemfeatures import audio
from stemfeatures._util.ends import ENDS, HANG_UP
from stemfeatures._util.urls import Place
from stemfeatures.analysis import Analyser
from stemfeatures.constants import STEM_ROWS
from stemfeatures.errors import CatalogError, DatasetError, DecodeError, LostPartError, ModelError, SeparationError
from stemfeatures.inference.segments import SegmentRunner
from stemfeatures.models import checkpoints
from stemfeatures.models.unet2020 import UNet2020, UNet2020Config
from stemfeatures.tables import reader
from stemfeatures.tables.compact import compact
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import PartFile
from stemfeatures.tables.reader import Features, open_features
from stemfeatures.tables.rows import Provenance
from stemfeatures.tables.schema import DATA_TABLES, DEFAULT_TABLES

#: Columns that say when and by which run, not what.
RUN_COLUMNS = ["run_id", "extracted_at"]


pytestmark = pytest.mark.usefixtures("fresh_network")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Eight tracks of different length, in folders with equal file names."""
    folder = tmp_path / "music"
    for i in range(8):
        write_tone(folder / "abcd"[i % 4] / f"song {i // 4}.wav", seconds=0.5 + 0.1 * i, f0=110.0 * (1 + i / 4))
    return folder


def extract(catalog: Any, out: Path, model: Path, **options: Any) -> ExtractSummary:
    return extract_catalog(catalog, out, model=model, **{"device": "cpu", "jobs": 1, **options})


def table(features: Features | Path, name: str) -> pd.DataFrame:
    """A table without the columns that differ from run to run, in a defined order."""
    if isinstance(features, Path):
        features = open_features(features)
    frame = features.to_pandas(name).drop(columns=RUN_COLUMNS, errors="ignore")
    frame = frame.astype(dict.fromkeys(frame.columns[frame.dtypes == "category"], object))  # in order of appearance
    return frame.sort_values([c for c in ("track_id", "stem", "kind") if c in frame], ignore_index=True)


def assert_same_tables(one: Path, other: Path) -> None:
    for name in DEFAULT_TABLES:
        pd.testing.assert_frame_equal(table(one, name), table(other, name), check_exact=True)
    columns = ["track_id", "source_uri", "stage", "error_type", "message"]
    left, right = (table(out, "errors")[columns] for out in (one, other))
    pd.testing.assert_frame_equal(left, right)


def assert_partition(out: Path, ids: set[str]) -> Features:
    """Every id stands once, in ``tracks`` or in ``errors``; rows of the other tables belong to ``tracks``."""
    features = open_features(out)
    tracks = features.to_pandas("tracks")["track_id"].tolist()
    errors = features.to_pandas("errors")["track_id"].tolist()
    assert sorted(tracks + errors) == sorted(ids)
    for name in set(DATA_TABLES) & set(features.tables):
        assert set(features.to_pandas(name, columns=["track_id"])["track_id"]) <= set(tracks)
    return features


# ------------------------------------------------------------------------------------------------------ one run


def write_mixed_catalog(tmp_path: Path) -> pd.DataFrame:
    """``catalog.csv`` of files that are sound, silent, short, broken, missing or somewhere else, and their files."""
    write_tone(tmp_path / "a" / "song.wav", seconds=1.2)
    write_tone(tmp_path / "b" / "song.wav", f0=330, channels=2)
    y, rate = audio.load(tmp_path / "b" / "song.wav")
    audio.write(tmp_path / "b" / "song.wav", y * np.array([[1], [-1]], np.float32) + np.float32(0.05), rate)
    write_tone(tmp_path / '日本 \'n; "x".flac')
    write_tone(tmp_path / "silent.wav", gain=0)
    audio.write(tmp_path / "silent.wav", np.zeros((1, 11_025), np.float32), 22_050)
    audio.write(tmp_path / "short.wav", 0.1 * np.sin(np.arange(100, dtype=np.float32))[None], 22_050)
    (tmp_path / "broken.mp3").write_bytes(b"not audio at all " * 100)
    (tmp_path / "empty.wav").write_bytes(b"")
    catalog = pd.DataFrame(
        [
            ("one", "a/song.wav", 1991, "Ä"),
            ("two", "b/song.wav", None, None),
            ("odd", '日本 \'n; "x".flac', 2001, "日本"),
            ("silent", "silent.wav", 1, "s"),
            ("short", "short.wav", 1, "s"),
            ("broken", "broken.mp3", 2, "x"),
            ("empty", "empty.wav", 2, "x"),
            ("missing", "nowhere.wav", 2, "x"),
            ("remote", "ftp://host/x.wav", 2, "x"),
            ("nameless", "", 2, "x"),
        ],
        columns=["track_id", "path", "Release Year", "artist"],
    )
    catalog.to_csv(tmp_path / "catalog.csv", index=False)
    return catalog


def test_every_row_ends_in_tracks_or_errors(tmp_path: Path, model: Path) -> None:
    catalog = write_mixed_catalog(tmp_path)
    seen: list[ExtractProgress] = []
    out = tmp_path / "features"
    summary = extract(tmp_path / "catalog.csv", out, model, progress=seen.append)

    features = assert_partition(out, set(catalog["track_id"]))
    assert (summary.n_total, summary.n_done, summary.n_failed, summary.n_skipped) == (10, 5, 5, 0)
    assert summary.table_rows == features.counts()
    assert summary.by_status == {"silent": 1, "too_short": 1}
    assert sorted((g.stage, g.reason, g.n) for g in summary.errors) == [
        ("catalog", "not on this machine", 1),
        ("catalog", "the row names no file", 1),
        ("decode", "empty file (0 bytes)", 1),
        ("decode", "no audio in the file", 1),
        ("decode", "no such file", 1),
    ]
    assert sum(g.n for g in summary.errors) == summary.n_failed

    tracks = features.to_pandas("tracks").set_index("track_id")
    assert tracks.loc["one", "source_uri"] == "a/song.wav"
    assert tracks.loc["one", "meta_release_year"] == 1991
    assert pd.isna(tracks.loc["two", "meta_release_year"])
    assert tracks.loc["odd", "meta_artist"] == "日本"
    assert tracks["channels"].to_dict() == {"one": 1, "two": 2, "odd": 1, "silent": 1, "short": 1}
    assert tracks["polarity_inverted_ratio"].to_dict() == {"one": 0, "two": 1, "odd": 0, "silent": 0, "short": 0}
    assert tracks.loc["two", "dc_offset"] == pytest.approx(0.05, abs=0.002)
    assert tracks.loc["one", "dc_offset"] < 0.002
    assert tracks.loc["silent", "status"] == "silent"
    assert tracks.loc["short", "status"] == "too_short"
    assert tracks.loc["one", "audio_sha256"] == audio.file_sha256(tmp_path / "a" / "song.wav")
    assert tracks.loc["one", "source_size_bytes"] == (tmp_path / "a" / "song.wav").stat().st_size
    assert tracks.loc["one", "decoded_duration_s"] == pytest.approx(1.2)
    assert summary.audio_s == pytest.approx(tracks["decoded_duration_s"].sum())

    errors = features.to_pandas("errors").set_index("track_id")
    assert errors["stage"].to_dict() == {
        "broken": "decode", "empty": "decode", "missing": "decode", "remote": "catalog", "nameless": "catalog",
    }  # fmt: skip
    assert "soundfile" in errors.loc["broken", "message"]
    assert "ffmpeg" in errors.loc["broken", "message"]
    assert (errors["attempt"] == 1).all()

    run = features.to_pandas("runs").iloc[0]
    assert run["run_id"] == summary.run_id == tracks["run_id"].iloc[0]
    assert (run["status"], run["n_tracks"], run["n_errors"]) == ("finished", 5, 5)
    assert {"python", "numpy", "torch", "librosa", "libsndfile", "ffmpeg", "soxr", "stemfeatures"} <= set(
        json.loads(run["versions_json"])
    )
    assert tracks["config_hash"].unique().tolist() == [run["config_hash"]]

    assert [seen[0].state, seen[-1].state] == ["starting", "finished"]
    assert (seen[-1].n_done, seen[-1].n_failed) == (5, 5)
    assert [s.n_done for s in seen] == sorted(s.n_done for s in seen)  # nothing is counted twice


def test_rows_hold_what_the_ladder_says(tmp_path: Path, model: Path) -> None:
    path = write_tone(tmp_path / "x.wav", seconds=1.5)
    extract([path], tmp_path / "out", model)
    with threads.single_threaded():
        expected = Analyser(model, precision="auto").from_file(path)
    stems = open_features(tmp_path / "out").to_pandas("stems").set_index("stem")
    for stem, values in expected.stems.items():
        for name, value in values.items():
            stored = stems.loc[stem, name]
            if value is None:
                assert pd.isna(stored), name
            elif isinstance(value, float):
                assert np.float32(value) == np.float32(stored), name
    contour = open_features(tmp_path / "out").contour(str(path), "vocals")
    assert len(contour.times_s) == len(expected.contours["vocals"].times_s)


def test_the_network_is_loaded_once(music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    load = checkpoints.load
    monkeypatch.setattr(checkpoints, "load", lambda *args, **options: loaded.append(args) or load(*args, **options))
    extract(music, tmp_path / "out", model)
    assert len(open_features(tmp_path / "out").files("tracks")) > 1
    assert len(loaded) == 1
    extract(music, tmp_path / "out", model, overwrite=True)
    assert len(loaded) == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists() or platform.libc_ver()[0] != "glibc", reason="of glibc only")
def test_a_plain_loop_keeps_memory_and_gives_it_back() -> None:
    """In a process of its own: what other tests hold lies between."""
    script = """
import numpy as np
from pipelines.extraction import threads
from pipelines.extraction.executor import LoopExecutor

def resident():
    some = [np.ones(2 << 20) for _ in range(8)]  # 128 MiB
    del some
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

resident()
with LoopExecutor():
    resident()
    inside = resident()
print(inside, int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    inside, after = map(int, done.stdout.split())
    assert inside - after > 100


def test_one_thread_while_extracting(music: Path, tmp_path: Path, model: Path) -> None:
    before = torch.get_num_threads()
    inside: set[int] = set()
    torch.set_num_threads(2)
    try:
        extract(
            music, tmp_path / "out", model, limit=2,
            progress=lambda s: inside.add(torch.get_num_threads()) if s.n_done == 1 and s.state == "running" else None,
        )  # fmt: skip
        assert 1 in inside
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_dry_run_and_limit(music: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    planned = extract(music, out, model, dry_run=True)
    assert not out.exists()
    assert planned.run_id is None
    assert sorted(i for p in planned.planned for i in p.track_ids) == sorted(
        f"{d}/song {k}.wav" for d in "abcd" for k in (0, 1)
    )
    assert sum(p.audio_s for p in planned.planned) > 0
    (music / "gone.wav").symlink_to("nowhere")
    os.mkfifo(music / "pipe.wav")
    planned = extract(music, out, model, dry_run=True)
    assert sum(p.n_tracks for p in planned.planned) == 8
    assert [(g.error_type, g.n) for g in planned.errors] == [("missing", 1), ("not_a_file", 1)]
    for name in ("gone.wav", "pipe.wav"):
        (music / name).unlink()
    extract(music, out, model, limit=3)
    assert_partition(out, {"a/song 0.wav", "a/song 1.wav", "b/song 0.wav"})
    assert sum(p.n_tracks for p in extract(music, out, model, dry_run=True).planned) == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "no-such-model"}, ModelError, "no-such-model"),
        ({"device": "cuda:7"}, ModelError, "cuda"),
        ({"tables": ["stem"]}, ValueError, "unknown table 'stem'"),
        ({"jobs": 0}, ValueError, "jobs"),
        ({"jobs": 2, "scheduler": "tcp://x:1"}, ValueError, "one of the two"),
    ],
)
def test_bad_arguments_leave_nothing(
    music: Path, tmp_path: Path, model: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    if "device" in options and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(error, match=message):
        extract_catalog(music, tmp_path / "out", **{"model": model, **options})
    assert not (tmp_path / "out").exists()


def test_clashing_rows_are_refused(music: Path, tmp_path: Path, model: Path) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text("track_id,path\nx,music/a/song 0.wav\nx,music/b/song 0.wav\n")
    with pytest.raises(CatalogError, match=r"row 2 .* and row 1 .*'x'"):
        extract(path, tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------------ resume


def test_clashing_rows_may_be_left_out(music: Path, tmp_path: Path, model: Path) -> None:
    write_tone(tmp_path / "one.wav")
    manifest = tmp_path / "m.csv"
    manifest.write_text("track_id,path\na,one.wav\nb,one.wav\nc,missing.wav\nc,other.wav\n", encoding="utf-8")
    for how, ids, dropped in (("first", ["a", "c"], 2), ("skip", [], 4)):
        catalog = read_catalog(manifest)
        if not ids:
            with pytest.raises(CatalogError, match="every row shares its id or its file"):
                catalog.without_duplicates(how)
            continue
        kept, n = catalog.without_duplicates(how)
        assert (kept.frame["track_id"].tolist(), n) == (ids, dropped)
    summary = extract_catalog(
        manifest, tmp_path / "f", model=model, device="cpu", jobs=1, on_duplicate="first", dry_run=True
    )
    assert (summary.n_dropped, summary.n_total, [s.track_ids for s in summary.planned]) == (2, 2, [("a",)])
    assert [(e.reason, e.n) for e in summary.errors] == [("no such file", 1)]


def test_the_same_audio_is_analysed_once(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tone = write_tone(tmp_path / "a.wav")
    for name in ("b.wav", "c.wav", "d.wav"):
        (tmp_path / name).write_bytes(tone.read_bytes())
    other = bytearray(tone.read_bytes())
    other[-1] ^= 1
    (tmp_path / "c.wav").write_bytes(other)  # of the same size, and alike where they are compared first
    for name in ("x.mp3", "y.mp3"):
        (tmp_path / name).write_bytes(b"no audio" * 100)
    opened: list[str] = []
    honest = prefetch.audio.open_audio
    monkeypatch.setattr(
        prefetch.audio, "open_audio", lambda path, **o: (opened.append(Path(path).name), honest(path, **o))[1]
    )
    summary = extract_catalog(tmp_path, tmp_path / "f", model=model, device="cpu", jobs=1)
    assert (summary.n_done, summary.n_failed, summary.n_same_audio) == (4, 2, 3)
    assert sorted(opened) == ["a.wav", "c.wav", "x.mp3"]
    features = open_features(tmp_path / "f")
    tracks = features.to_pandas("tracks").set_index("track_id")
    assert tracks["audio_sha256"].nunique() == 2
    assert tracks.loc["b.wav", "source_uri"].endswith("b.wav")
    stems = features.to_pandas("stems").set_index(["track_id", "stem"])
    pd.testing.assert_frame_equal(stems.loc["a.wav"], stems.loc["d.wav"])
    assert sorted(features.to_pandas("errors")["track_id"]) == ["x.mp3", "y.mp3"]
    assert sorted(Path(u).name for u in features.to_pandas("errors")["source_uri"]) == ["x.mp3", "y.mp3"]
    again = extract_catalog(tmp_path, tmp_path / "f", model=model, device="cpu", jobs=1, retry_failed=False)
    assert again.n_skipped == 4


def test_nothing_to_do_is_a_success(music: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    first = extract(music, out, model)
    commit = open_features(out).commit
    again = extract(str(music), out, model)
    assert again.nothing_to_do
    assert (again.run_id, again.n_done, again.n_skipped) == (None, 0, 8)
    assert again.table_rows == first.table_rows
    assert open_features(out).commit == commit


def test_planning_beside_compact(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the parts and the first byte all of them are merged and deleted, by another process."""
    music, out = tmp_path / "music", tmp_path / "out"
    for name in ("a", "b"):
        write_tone(music / f"{name}.wav")
        extract(music, out, model)
    real, merged = reader.part_files, []

    def found_too_early(layout: DatasetLayout, parts: Iterable[PartFile]) -> list[Place]:
        found = real(layout, parts)
        if not merged:
            merged.append(True)  # compact reads, too
            compact(out)
        return found

    commit = open_features(out).commit
    monkeypatch.setattr(reader, "part_files", found_too_early)
    assert extract(music, out, model).n_skipped == 2
    assert open_features(out).commit > commit
    monkeypatch.setattr(reader, "part_files", real)
    lost = next((out / "tracks").glob("*.parquet"))
    lost.unlink()
    with pytest.raises(LostPartError, match=f"{lost.name} is missing"):
        extract(music, out, model)


def test_only_what_changed_is_done_again(music: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    extract(music, out, model)
    touched, changed, gone = music / "a" / "song 0.wav", music / "b" / "song 0.wav", music / "c" / "song 0.wav"
    os.utime(touched, (1, 1))
    write_tone(changed, seconds=0.9, f0=500)
    gone_row = open_features(out).to_pandas("tracks", filter=[("track_id", "==", "c/song 0.wav")])
    write_tone(music / "new.wav")
    catalog = [str(p.relative_to(music)) for p in sorted(music.rglob("*.wav"))]
    gone.unlink()
    summary = extract(music, out, model)
    assert (summary.n_done, summary.n_skipped) == (2, 6)
    features = assert_partition(out, set(catalog))
    tracks = features.to_pandas("tracks").set_index("track_id")
    assert tracks.index[tracks["run_id"] == summary.run_id].tolist() == ["b/song 0.wav", "new.wav"]
    assert tracks.loc["b/song 0.wav", "decoded_duration_s"] == pytest.approx(0.9)
    # What was extracted of a file that is gone stays, also when the catalogue still names it.
    pd.DataFrame({"path": catalog}).to_csv(music / "all.csv", index=False)
    listed = extract(music / "all.csv", out, model, dry_run=True)
    assert listed.n_skipped == 9
    assert tracks.loc["c/song 0.wav", "audio_sha256"] == gone_row["audio_sha256"].iloc[0]


def test_features_of_files_that_are_away_are_not_replaced_by_errors(tmp_path: Path) -> None:
    """As where a network drive is not there in the night after an upgrade."""
    out = write_features(tmp_path / "out", ["a.wav", "b.wav"])
    write_tone(tmp_path / "music" / "b.wav")
    names = ["a.wav", "b.wav", "c.wav"]
    paths = [str(tmp_path / "music" / name) for name in names]
    catalog = read_catalog(pd.DataFrame({"track_id": names, "path": paths}))
    settings = {"model_sha256": "another", "analysis_version": 1000}
    decision = decide(catalog, DatasetLayout.open(out), settings=settings, tables=["tracks"])
    assert (decision.done, decision.todo, decision.kept) == ([0], [1, 2], 1)
    asked = decide(catalog, DatasetLayout.open(out), settings=settings, tables=["tracks"], overwrite=True)
    assert asked.todo == [0, 1, 2]


def test_failed_tracks_are_tried_again(music: Path, tmp_path: Path, model: Path) -> None:
    out, bad = tmp_path / "out", music / "bad.wav"
    bad.write_bytes(b"nothing")
    assert extract(music, out, model).n_failed == 1
    known = extract(music, out, model, retry_failed=False)
    assert (known.n_failed, known.n_known_failed, known.run_id) == (0, 1, None)
    assert extract(music, out, model).n_failed == 1
    errors = open_features(out).to_pandas("errors")
    assert errors[["track_id", "attempt"]].to_numpy().tolist() == [["bad.wav", 2]]
    assert errors["audio_sha256"].tolist() == [audio.file_sha256(bad)]
    write_tone(bad)
    repaired = extract(music, out, model, retry_failed=False)  # it has changed, so it is no known failure
    assert (repaired.n_done, repaired.n_skipped) == (1, 8)
    assert_partition(out, {str(p.relative_to(music)) for p in music.rglob("*.wav")})
    assert not len(open_features(out).to_pandas("errors"))


def test_only_what_failed_is_tried_again(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tone(tmp_path / "in" / "good.wav")
    bad = tmp_path / "in" / "bad.wav"
    bad.write_bytes(b"")
    (tmp_path / "in" / "m.csv").write_text("path,title\ngood.wav,One\nbad.wav,Two\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for i, spec in enumerate(("in/m.csv", "in", "in/*.wav")):
        out = tmp_path / f"out-{i}"
        summary = extract_catalog(spec, out, model=model, device="cpu", jobs=1)
        assert [e.reason for e in summary.errors] == ["empty file (0 bytes)"]
        monkeypatch.chdir("/")  # the catalogue is found from anywhere
        rows = failed_rows(open_features(out))
        assert rows.frame["track_id"].tolist() == ["bad.wav"]
        monkeypatch.chdir(tmp_path)
    write_tone(bad)
    out = tmp_path / "out-0"
    assert cli.main(["retry-failed", str(out), "-j", "1", "-d", "cpu", "-q"]) == 0
    features = open_features(out)
    assert features.to_pandas("tracks").set_index("track_id")["meta_title"].to_dict() == {
        "bad.wav": "Two",
        "good.wav": "One",
    }
    assert features.counts()["errors"] == 0
    assert cli.main(["retry-failed", str(out), "-q"]) == 0
    listed = tmp_path / "out-list"
    extract_catalog([tmp_path / "in" / "good.wav", "no.wav"], listed, model=model, device="cpu", jobs=1)
    with pytest.raises(CatalogError, match="had a list of files; name the catalogue"):
        failed_rows(open_features(listed))


def test_overwrite_and_repeat_give_the_same(music: Path, tmp_path: Path, model: Path) -> None:
    extract(music, tmp_path / "one", model)
    extract(music, tmp_path / "two", model)
    again = extract(music, tmp_path / "two", model, overwrite=True)
    assert again.n_done == 8
    assert (open_features(tmp_path / "two").to_pandas("tracks")["run_id"] == again.run_id).all()
    for name in DEFAULT_TABLES:
        pd.testing.assert_frame_equal(table(tmp_path / "one", name), table(tmp_path / "two", name), check_exact=True)


def test_another_model_is_other_work(music: Path, tmp_path: Path, model: Path) -> None:
    extract(music, tmp_path / "out", model, limit=2)
    other = tiny_checkpoint(tmp_path / "model", seed=1)
    summary = extract(music, tmp_path / "out", other, limit=2)
    assert summary.n_done == 2
    stems = open_features(tmp_path / "out").to_pandas("stems")
    assert stems["model_sha256"].nunique() == stems["config_hash"].nunique() == 1
    assert len(stems) == 10


def test_tables_subset(music: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    extract(music, out, model, limit=2, tables=["stems"])
    assert open_features(out).tables == ("tracks", "stems", "runs")
    narrow = table(out, "stems")
    assert extract(music, out, model, limit=2, tables=["tracks"]).nothing_to_do
    wide = extract(music, out, model, limit=2)  # asks for more, so it is done again
    assert wide.n_done == 2
    assert {"contours", "events", "embeddings", "active_segments"} < set(open_features(out).tables)
    pd.testing.assert_frame_equal(table(out, "stems"), narrow, check_exact=True)  # the choice changes no value
    assert extract(music, out, model, limit=2, tables=["events"]).nothing_to_do


def test_series_are_written_on_request(music: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    extract(music, out, model, limit=1)
    assert "series" not in open_features(out).tables
    assert extract(music, out, model, limit=1, tables=[*DEFAULT_TABLES, "series"]).n_done == 1  # asks for more
    features = open_features(out)
    (track,) = features.to_pandas("tracks")["track_id"]
    series = features.events("series", track)
    assert list(series["stem"]) == list(STEM_ROWS)
    for _, row in series.iterrows():
        n = len(row["times_s"]) - 1
        assert len(row["loudness_lufs"]) == len(row["activity"]) == n
        assert row["chroma"] is None if row["stem"] == "drums" else len(row["chroma"]) == 12 * n
        vectors = features.embeddings(row["stem"])[1]
        assert row["embedding"] is None if len(vectors) == 0 else len(row["embedding"]) == n * vectors.shape[1]
    assert extract(music, out, model, limit=1).nothing_to_do


def test_catalogue_columns_over_time(music: Path, tmp_path: Path, model: Path) -> None:
    out, path = tmp_path / "out", tmp_path / "catalog.csv"
    path.write_text("path,year,genre\nmusic/a/song 0.wav,1999,pop\nmusic/b/song 0.wav,,\n")
    extract(path, out, model)
    path.write_text("path,year,genre\nmusic/a/song 0.wav,1999,rock\nmusic/b/song 0.wav,,\n")
    assert extract(path, out, model).n_metadata_changed == 1
    assert open_features(out).to_pandas("tracks")["meta_genre"].iloc[0] == "pop"
    path.write_text("path,year,genre\nmusic/a/song 0.wav,1999,rock\nmusic/b/song 0.wav,unknown,\n")
    with pytest.raises(CatalogError, match=r"'year' holds string values.*int64"):
        extract(path, out, model)
    path.write_text("path,genre,mood\nmusic/a/song 0.wav,rock,\nmusic/c/song 0.wav,8,dark\n")
    extract(path, out, model, overwrite=True)
    tracks = open_features(out).to_pandas("tracks").set_index("meta_genre")
    assert tracks.loc["rock", "track_id"] == "music/a/song 0.wav"
    assert tracks.loc["8", "meta_mood"] == "dark"


def test_two_collections_may_not_share_derived_ids(tmp_path: Path, model: Path) -> None:
    write_tone(tmp_path / "x" / "song.wav")
    write_tone(tmp_path / "y" / "song.wav", f0=300)
    extract(tmp_path / "x", tmp_path / "out", model)
    with pytest.raises(CatalogError, match="track_id column"):
        extract(tmp_path / "y", tmp_path / "out", model)
    # But a collection may move, for its audio is the same.
    (tmp_path / "x").rename(tmp_path / "z")
    assert extract(tmp_path / "z", tmp_path / "out", model).nothing_to_do


# ------------------------------------------------------------------------------------------- kills and interrupts


def test_killed_and_started_again(music: Path, tmp_path: Path, model: Path) -> None:
    (music / "broken.wav").write_bytes(b"x" * 1000)
    extract(music, tmp_path / "undisturbed", model)
    out = tmp_path / "killed"
    helper = Path(__file__).with_name("extract_helper.py")
    committed = []
    for n in (2, 4):  # the second kill hits the run that goes on
        command = [sys.executable, str(helper), str(music), str(out), str(model), str(n)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        committed.append(open_features(out).counts().get("tracks", 0))
    assert 0 <= committed[0] < committed[1] < 8
    summary = extract(music, out, model)
    assert summary.n_skipped == committed[1]
    assert summary.n_skipped + summary.n_done + summary.n_failed == 9
    assert_partition(out, {str(p.relative_to(music)) for p in music.rglob("*.wav")})
    assert_same_tables(out, tmp_path / "undisturbed")
    assert open_features(out).to_pandas("runs")["status"].tolist() == ["interrupted", "interrupted", "finished"]


@pytest.mark.parametrize("number", sorted(ENDS))
def test_interrupt_commits_what_is_finished(music: Path, tmp_path: Path, model: Path, number: int) -> None:
    out = tmp_path / "out"
    states = []

    def progress(state: ExtractProgress) -> None:
        states.append(state.state)
        if state.n_done == 3 and state.state == "running":
            os.kill(os.getpid(), number)

    with pytest.raises(ExtractInterrupted) as stop:
        extract(music, out, model, progress=progress)
    assert stop.value.summary.interrupted
    assert stop.value.summary.n_done == 3
    assert "stopping" in states
    assert len(open_features(out).to_pandas("tracks")) == 3
    assert open_features(out).to_pandas("runs")["status"].tolist() == ["interrupted"]
    assert not list((out / "_commits").glob(".stop*"))
    assert extract(music, out, model).n_skipped == 3
    assert len(open_features(out).to_pandas("tracks")) == 8


def test_interrupt_at_the_start_is_on_record(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = LoopExecutor.prepare

    def interrupted(self: LoopExecutor, task: ShardTask, stop: StopRequest) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        prepare(self, task, stop)

    monkeypatch.setattr(LoopExecutor, "prepare", interrupted)
    with pytest.raises(ExtractInterrupted, match="0 of 8 tracks were saved, 8 are left; the same command goes on"):
        extract(music, tmp_path / "out", model)
    assert open_features(tmp_path / "out").to_pandas("runs")["status"].tolist() == ["interrupted"]


def test_second_interrupt_tells_what_was_saved(music: Path, tmp_path: Path, model: Path) -> None:
    def progress(state: ExtractProgress) -> None:
        if state.n_done == 3 and state.state == "running":
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(ExtractInterrupted, match="the same command goes on") as stop:
        extract(music, tmp_path / "out", model, progress=progress)
    assert stop.value.summary.interrupted
    features = open_features(tmp_path / "out")
    assert stop.value.summary.n_done == features.counts().get("tracks", 0) < 4
    assert features.to_pandas("runs")["status"].tolist() == ["interrupted"]


@pytest.mark.skipif(HANG_UP is None, reason="terminals send no signal here")
def test_a_closed_terminal_asks_once_however_often_it_says_so() -> None:
    with StopRequest() as stop:
        for _ in range(2):  # by the shell and by the terminal itself
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


@pytest.mark.skipif(HANG_UP is None, reason="terminals send no signal here")
def test_who_ignores_the_end_of_a_terminal_goes_on() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_second_interrupt_stops_at_once() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ------------------------------------------------------------------------------------------------ what may go wrong


def test_shard_is_tried_twice_when_the_disk_fails(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [DatasetError("disk full"), None, None]
    write = shard_module.write_part

    def write_part(*args: Any, **options: Any) -> Any:
        if failures and (error := failures.pop(0)):
            raise error
        return write(*args, **options)

    monkeypatch.setattr(shard_module, "write_part", write_part)
    assert extract(music, tmp_path / "out", model).n_done == 8
    failures += [DatasetError("disk full")] * 2
    with pytest.raises(DatasetError, match="disk full"):
        extract(music, tmp_path / "out", model, overwrite=True)
    assert len(open_features(tmp_path / "out").to_pandas("tracks")) == 8
    assert open_features(tmp_path / "out").to_pandas("runs")["status"].tolist() == ["finished", "failed"]


def test_rows_that_do_not_fit_are_an_error_of_their_track(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = rows_module.track_rows

    def track_rows(info: Any, *args: Any, **options: Any) -> Any:
        rows = make(info, *args, **options)
        if info.track_id == "c/song 1.wav":
            rows["stems"][0]["tempo_bpm"] = float("inf")
        if info.track_id == "d/song 1.wav":
            raise ZeroDivisionError("a bug")
        return rows

    monkeypatch.setattr(rows_module, "track_rows", track_rows)
    assert extract(music, tmp_path / "out", model).n_failed == 2
    errors = assert_partition(
        tmp_path / "out", {f"{d}/song {k}.wav" for d in "abcd" for k in (0, 1)}
    ).to_pandas("errors").set_index("track_id")  # fmt: skip
    assert (errors["stage"] == "tables").all()
    assert "tempo_bpm" in errors.loc["c/song 1.wav", "message"]
    assert errors.loc["d/song 1.wav", "error_type"] == "ZeroDivisionError"


def test_batches_that_fail(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large a batch is halved; a track whose values are not finite stands alone, whoever shared its batch."""
    music = tmp_path / "music"
    for i in range(8):
        write_tone(music / f"{i}.wav", f0=200 + 20 * i)
    write_tone(music / "loud.wav", gain=0.99, f0=1000)
    monkeypatch.setattr(plan, "SHARDS_PER_WORKER", 1)
    run = SegmentRunner._run
    sizes = []

    def fail(self: SegmentRunner, batch: list[Any]) -> None:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        if any(s.spectrum.abs().max() > 200 for s in batch):
            raise SeparationError("not finite")
        run(self, batch)

    monkeypatch.setattr(SegmentRunner, "_run", fail)
    monkeypatch.setattr(loaded, "_warm_up", lambda analyser: None)
    summary = extract(music, tmp_path / "out", model, batch_size=8)
    assert max(sizes) > 2
    assert sizes.count(2) > 0
    assert (summary.n_done, summary.n_failed) == (8, 1)
    errors = open_features(tmp_path / "out").to_pandas("errors")
    assert errors[["track_id", "stage", "error_type"]].to_numpy().tolist() == [
        ["loud.wav", "separate", "SeparationError"]
    ]


@pytest.fixture
def vocals_model(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separator with nine tenths of everything as vocals; the small joint network is the default one."""
    resolve = checkpoints.resolve
    monkeypatch.setattr(checkpoints, "DEFAULT_MODEL", str(model))
    monkeypatch.setattr(checkpoints, "resolve", lambda name=str(model): resolve(name))
    net = UNet2020(UNet2020Config(target="vocals", n_frames=16, width=2, depth=2, noise=3))
    with torch.no_grad():
        net.out.weight.zero_()
        net.out.bias.fill_(float(torch.logit(torch.tensor(0.9))))
    return checkpoints.save(net, tmp_path / "vocals.safetensors", {}).path


def vocals_share(out: Path) -> dict[str, float]:
    stems = open_features(out).to_pandas("stems", ["track_id", "stem", "energy_share"])
    return stems[stems["stem"] == "vocals"].set_index("track_id")["energy_share"].to_dict()


def test_a_separator_stays_when_the_batch_size_changes(tmp_path: Path, vocals_model: Path) -> None:
    music = tmp_path / "music"
    for i in range(3):
        write_tone(music / f"{i}.wav", f0=200 + 50 * i)
    shares = []
    for k, batch_size in enumerate((1, 4, 1)):  # in one process, which keeps the network
        out = tmp_path / f"out{k}"
        assert extract(music, out, vocals_model, batch_size=batch_size).n_done == 3
        shares.append(vocals_share(out))
        assert sorted(shares[-1]) == ["0.wav", "1.wav", "2.wav"]
        assert all(0.95 < share < 1 for share in shares[-1].values())  # 0.9 ** 2 against 4 masks that share 0.1
    assert shares[1] == pytest.approx(shares[0], abs=1e-5)
    assert shares[2] == shares[0]


def test_a_separator_stays_when_a_track_of_a_batch_fails(
    tmp_path: Path, vocals_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = tmp_path / "music"
    for i in range(4):
        write_tone(music / f"{i}.wav", f0=200 + 50 * i)
    expected = extract(music, tmp_path / "one", vocals_model, batch_size=4)
    assert expected.n_failed == 0
    write_tone(music / "loud.wav", gain=0.99, f0=1000)
    run = SegmentRunner._run

    def fail(self: SegmentRunner, batch: list[Any]) -> None:
        if any(s.spectrum.abs().max() > 200 for s in batch):
            raise SeparationError("not finite")
        run(self, batch)

    monkeypatch.setattr(SegmentRunner, "_run", fail)
    summary = extract(music, tmp_path / "other", vocals_model, batch_size=4)
    assert (summary.n_done, summary.n_failed) == (4, 1)
    assert vocals_share(tmp_path / "other") == pytest.approx(vocals_share(tmp_path / "one"), abs=1e-5)
    music_after = tmp_path / "after"
    write_tone(music_after / "next.wav")
    extract(music_after, tmp_path / "later", vocals_model, batch_size=4)
    assert vocals_share(tmp_path / "later")["next.wav"] > 0.95


def test_a_file_that_changes_while_it_is_read(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = audio.open_audio

    def open_audio(path: str, **options: Any) -> audio.AudioStream:
        if path.endswith("b/song 1.wav"):
            os.utime(path, (1, 1))
        return opened(path, **options)

    monkeypatch.setattr(audio, "open_audio", open_audio)
    assert extract(music, tmp_path / "out", model).n_failed == 1
    errors = open_features(tmp_path / "out").to_pandas("errors")
    assert errors["track_id"].tolist() == ["b/song 1.wav"]
    assert "changed while it was read" in errors["message"].iloc[0]


def test_time_limit_of_a_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tone(tmp_path / "x.wav")
    forever = threading.Event()
    monkeypatch.setattr(audio.AudioStream, "__next__", lambda self: forever.wait())
    stream = PrefetchStream(str(path), timeout_s=0.05).open()
    with pytest.raises(TrackTimeout, match=r"gave up after 0\.05 s") as error:
        next(stream)
    assert error.value.source == str(path)
    forever.set()


def test_memory_is_given_back_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the audio that went through the process, in whatever files."""
    given: list[float] = []
    monkeypatch.setattr(threads, "TRIM_EVERY_S", 45.0)
    monkeypatch.setattr(threads, "_trim", lambda: given.append(heard_s))
    monkeypatch.setattr(threads, "trimmer", threads.Trimmer())
    heard_s = 0.0
    for n in range(4):
        path = tmp_path / f"{n}.wav"
        audio.write(path, np.zeros((1, 8000 * 30)), 8000)
        with PrefetchStream(str(path)).open() as stream:
            for block in stream:
                heard_s += block.shape[1] / 8000
    assert heard_s == 120
    assert given == [40, 90]  # before the block that is being counted


def test_what_is_looked_for_beside_a_file_does_not_keep_it_from_being_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lyrics may lie in a store that does not answer; what is found there is known before the first block."""
    path = write_tone(tmp_path / "x.wav")
    monkeypatch.setattr(prefetch, "OPEN_TIMEOUT_S", 2.0)
    answered = threading.Event()
    found: list[str] = []

    def look(copy: str) -> None:
        answered.wait(60.0)
        found.append(copy)

    with PrefetchStream(str(path), on_file=look).open() as stream:
        assert found == []
        answered.set()
        assert next(stream).shape[0] == 1
        assert found == [str(path)]


def test_a_pipe_is_an_error_at_once(tmp_path: Path, model: Path) -> None:
    """Nothing is read from it: not its audio, not its digest, not when the run is repeated."""
    music = tmp_path / "music"
    write_tone(music / "a.wav")
    os.mkfifo(music / "b.mp3")
    os.mkfifo(music / "c.wav")
    for attempt in (1, 2):
        summary = extract(music, tmp_path / "out", model)
        assert (summary.n_done, summary.n_skipped, summary.n_failed) == ((1, 0, 2) if attempt == 1 else (0, 1, 2))
        assert summary.wall_s < 60
    errors = open_features(tmp_path / "out").to_pandas("errors").set_index("track_id")
    assert sorted(errors.index) == ["b.mp3", "c.wav"]
    assert errors["message"].str.contains("not a regular file").all()
    assert errors["audio_sha256"].isna().all()
    assert errors["attempt"].tolist() == [2, 2]


def test_time_limit_of_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tone(tmp_path / "x.wav")
    opened = threading.Event()
    monkeypatch.setattr(audio, "open_audio", lambda path, **options: opened.wait())
    monkeypatch.setattr(prefetch, "OPEN_TIMEOUT_S", 0.05)
    with pytest.raises(TrackTimeout, match=r"gave up after 0\.05\d* s, the file is not open yet") as error:
        PrefetchStream(str(path)).open()
    assert error.value.source == str(path)
    opened.set()


def test_backslashes_of_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"sub\\a.wav: no such file \(backslashes as in a path of Windows"):
        PrefetchStream(str(tmp_path / "sub\\a.wav")).open()


def test_prefetch_is_bounded_and_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(write_tone(tmp_path / f"{i}.wav", seconds=0.2)) for i in range(6)]
    begun: list[str] = []
    work = PrefetchStream._work

    def counted(self: PrefetchStream) -> None:
        begun.append(self.path)
        work(self)

    monkeypatch.setattr(PrefetchStream, "_work", counted)
    streams = prefetch.prefetched(zip(range(6), paths), ahead=1)
    first = next(streams)[1].open()
    assert sum(block.shape[1] for block in first) == 4410
    assert (first.status, first.sha256) == ("ok", audio.file_sha256(paths[0]))
    assert begun == paths[:2]
    waiting = [t for t in threading.enumerate() if t.name == "decode"]
    streams.close()  # type: ignore[attr-defined]
    for thread in waiting:
        thread.join(10)
        assert not thread.is_alive()
    assert begun == paths[:2]


# ------------------------------------------------------------------------------------------------------- planning


@given(
    st.lists(st.floats(0, 5000), max_size=60),
    st.integers(1, 20),
    st.floats(1, 4000),
    st.integers(1, 8),
)
def test_plan(durations: list[float], most: int, audio_s: float, n_workers: int) -> None:
    shards = plan_shards(durations, ShardLimits(most, audio_s), n_workers=n_workers)
    assert sorted(i for some in shards for i in some) == list(range(len(durations)))
    for some in shards:
        assert 1 <= len(some) <= most
        assert len(some) == 1 or sum(durations[i] for i in some) <= audio_s
    ordered = [durations[i] for some in shards for i in some]
    assert ordered == sorted(ordered, reverse=True)
    assert len(shards) >= min(len(durations), 2 * n_workers)  # no worker stands idle


def test_shards_of_a_large_catalogue_are_of_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that their rows need not be sorted with all others when they are merged; long tracks still come first."""
    monkeypatch.setattr(plan, "NEIGHBOURS", 100)
    durations = list(np.random.default_rng(0).uniform(60, 400, 1050))
    shards = plan_shards(durations, ShardLimits(30, 3600.0), n_workers=4)
    assert sorted(i for some in shards for i in some) == list(range(1050))
    for some in shards:
        assert len({i // 100 for i in some}) == 1
        assert 1 <= len(some) <= 30
        assert sum(durations[i] for i in some) <= 3600.0
    longest = [max(durations[i] for i in some) for some in shards]
    assert longest == sorted(longest, reverse=True)
    assert len(shards) < 1.2 * len(plan_shards(durations[:100], ShardLimits(30, 3600.0), n_workers=1)) * 10.5


def test_time_left_of_short_tracks_and_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long tracks come first: what one second of audio takes is not what a track of a second takes."""
    now = [100.0]
    monkeypatch.setattr(driver_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    tasks = [TrackTask("long", "long", "/long", weight_s=600.0)]
    tasks += [TrackTask(f"{i}", f"{i}", f"/{i}", weight_s=1.0) for i in range(1000)]
    tasks.append(TrackTask("unknown", "unknown", "/unknown"))
    seen: list[ExtractProgress] = []
    driver = driver_module.Driver(ExtractSummary(None, Path("out"), n_total=len(tasks)), seen.append, tasks)
    driver.begin()
    now[0] += 15.5 + 0.12  # at 1.55 CPU seconds a minute, and 0.12 a track
    driver.on_track(TrackOutcome("long", 600.0))
    assert seen[-1].eta_s == pytest.approx(1001 * (1.55 / 60 + 0.12), rel=0.03)
    whole = ExtractSummary(None, Path("out"), n_total=3 * len(tasks), n_done=len(tasks), wall_s=160.0)
    whole.progress_of_part(seen.append)(seen[-1])  # as the second of three portions that cost the same
    a_portion_s = seen[-2].elapsed_s + seen[-2].eta_s
    assert (seen[-1].n_done, seen[-1].elapsed_s) == (len(tasks) + 1, pytest.approx(160 + 15.62))
    assert seen[-1].eta_s == pytest.approx(a_portion_s + seen[-2].eta_s)


# ------------------------------------------------------------------------------------------------------- clusters


def blueprint(tmp_path: Path) -> ShardTask:
    return ShardTask("s", (), str(tmp_path), "model", Provenance("r", "c", "m", "s"), "cpu", 1, ("tracks",))


def fake_tasks(tmp_path: Path, ids: list[str], size: int) -> list[ShardTask]:
    tracks = [TrackTask(i, i, f"/{i}") for i in ids]
    return [
        replace(blueprint(tmp_path), name=f"{k:03d}", tracks=tuple(tracks[k : k + size]))
        for k in range(0, len(tracks), size)
    ]


def test_tracks_that_kill_their_worker_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"good {i}" for i in range(20)]
    ids[3] = f"{DEADLY} 1"
    ids[17] = f"{DEADLY} 2"
    monkeypatch.setattr(executors, "process_on_worker", fake_shard)
    monkeypatch.setattr(executors, "MAX_CRASHES", 1)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")  # as a cluster of Dask leaves it in a notebook
    before = dict(os.environ)
    with local_cluster(2, device="cpu") as cluster:
        outcomes = list(cluster.run(fake_tasks(tmp_path, ids, 4), StopRequest()))
        assert trimming_workers(cluster.client) == 0
        if sys.platform == "linux":
            for environment in cluster.client.run(started_with).values():
                assert environment.items() >= threads.MEMORY_ENVIRONMENT.items()
        # An error that is no track's fault ends the run instead of being blamed on tracks.
        monkeypatch.setattr(executors, "process_on_worker", broken_shard)
        with pytest.raises(OSError, match="no space left"):
            list(cluster.run(fake_tasks(tmp_path, ["x"], 1), StopRequest()))
    assert dict(os.environ) == before
    done = [i for o in outcomes if isinstance(o, ShardReceipt) for i in o.audio_s]
    dead = [o.track.track_id for o in outcomes if isinstance(o, WorkerCrash)]
    assert sorted(dead) == [f"{DEADLY} 1", f"{DEADLY} 2"]
    assert sorted(done) == sorted(i for i in ids if not i.startswith(DEADLY))  # each once


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("finished", CancelledError()),
        ("finished", KilledWorker("key", None, 1)),
        ("cancelled", CancelledError()),
        ("lost", CancelledError()),
    ],
)
def test_a_receipt_that_is_lost_with_its_worker_is_made_again(tmp_path: Path, status: str, error: Exception) -> None:
    """A worker that crashes on its next shard takes along the receipts that nobody has fetched."""

    class Lost:
        def __init__(self) -> None:
            self.status = status

        def result(self) -> ShardReceipt:
            raise error

        exception = result

    executor = ClusterExecutor(SimpleNamespace(scheduler=None), closing=ExitStack())  # type: ignore[arg-type]
    attempts: dict[str, int] = {}
    assert executor._result(Lost(), fake_tasks(tmp_path, ["x"], 1)[0], attempts) is None  # type: ignore[arg-type]
    assert attempts == {}  # it is no failure of the shard


def test_tracks_are_told_of_before_their_receipt_and_of_this_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each look finds a shard that is through, and where others use the scheduler."""
    monkeypatch.setattr("distributed.wait", lambda *_, **__: None)
    task = replace(blueprint(tmp_path), tracks=(TrackTask("a", "a", "/a"),))
    told = {"run_id": "r", **TrackOutcome("a", 3.0).packed()}

    class Client(SimpleNamespace):
        def subscribe_topic(self, topic: str, handler: Any) -> None:
            self.handler = handler
            handler((0.0, told))  # late, of the run before

        def submit(self, *_: Any, **__: Any) -> SimpleNamespace:
            for event in ({**told, "run_id": "of another"}, "of something else", told):
                self.handler((0.0, event))
            receipt = ShardReceipt("s", [], {"a": 3.0})
            return Hashable(status="finished", done=lambda: True, result=lambda: receipt, release=lambda: None)

    class Hashable(SimpleNamespace):
        __hash__ = object.__hash__

    client = Client(scheduler=None, status="running", as_current=ExitStack)
    executor = ClusterExecutor(client, closing=ExitStack())  # type: ignore[arg-type]
    for _ in range(2):  # as the next run of a client that is kept
        seen: list[TrackOutcome] = []
        outcomes = executor.run([task], StopRequest(), seen.append)
        assert [receipt.name for receipt in outcomes if seen == [TrackOutcome("a", 3.0)]] == ["s"]
        assert seen == [TrackOutcome("a", 3.0)]


def test_processes_give_what_the_loop_gives(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a track that crashes its process among them."""
    monkeypatch.setattr(executors, "MAX_CRASHES", 1)
    extract(music, tmp_path / "loop", model)
    killer = music / "e" / "killer.wav"
    write_tone(killer, seconds=2.0)
    hook = tmp_path / "hook.py"
    hook.write_text(
        "import os\nfrom stemfeatures import audio\nopened = vars(audio).setdefault('opened', audio.open_audio)\n"
        "def open_audio(path, **options):\n"
        f"    return os._exit(11) if str(path) == {str(killer)!r} else opened(path, **options)\n"
        "audio.open_audio = open_audio\n"
    )
    seen: list[ExtractProgress] = []
    with dask.config.set({"distributed.worker.preload": [str(hook)]}):
        summary = extract(music, tmp_path / "cluster", model, jobs=2, progress=seen.append)
    assert (summary.n_done, summary.n_failed, summary.n_workers) == (8, 1, 2), summary.errors
    features = assert_partition(tmp_path / "cluster", {str(p.relative_to(music)) for p in music.rglob("*.wav")})
    errors = features.to_pandas("errors")
    assert errors[["track_id", "stage", "error_type", "attempt"]].to_numpy().tolist() == [
        ["e/killer.wav", "worker", "WorkerCrash", executors.MAX_CRASHES]
    ]
    for name in DEFAULT_TABLES:
        pd.testing.assert_frame_equal(
            table(tmp_path / "cluster", name), table(tmp_path / "loop", name), check_exact=True
        )
    assert seen[-1].n_done == 8


def test_one_process_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "visible_gpus", lambda: ["3", "5"])
    monkeypatch.setattr(executors, "process_on_worker", gpu_shard)
    with local_cluster(2, device="cuda") as cluster:
        assert cluster.n_workers == 2
        assert cluster.resources == executors.SHARD
        outcomes = list(cluster.run(fake_tasks(tmp_path, list("abcdef"), 1), StopRequest()))
    assert {o.worker for o in outcomes if isinstance(o, ShardReceipt)} == {"3", "5"}


@pytest.fixture
def in_process_cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def test_existing_scheduler(
    music: Path, tmp_path: Path, model: Path, in_process_cluster: Any, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    address = in_process_cluster.scheduler_address
    extract(music, tmp_path / "loop", model)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", str(1 << 30))
    monkeypatch.setattr(shard_module, "PIECE_S", 0.0)
    summary = extract(music, tmp_path / "out", model, jobs=None, scheduler=address, device="auto")
    assert (summary.n_done, summary.device) == (8, "cpu")
    assert len(open_features(tmp_path / "out").files("tracks")) == 8  # each a piece of its own
    monkeypatch.undo()
    advice = "1 of 1 workers give memory back to the system all the time"
    assert advice not in caplog.text
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")  # what Dask sets
    extract(music, tmp_path / "one", model, jobs=None, scheduler=address, device="auto", limit=1)
    assert advice in caplog.text
    assert "MALLOC_TRIM_THRESHOLD_=1073741824" in caplog.text
    assert cli.main(["doctor", "--scheduler", address]) == 3
    assert advice in capsys.readouterr().out
    assert_same_tables(tmp_path / "out", tmp_path / "loop")
    assert in_process_cluster.scheduler.workers  # it is somebody else's, and still there
    with pytest.raises(ClusterError, match=r"resource GPU=1.*--resources"):
        extract(music, tmp_path / "gpu", model, jobs=None, scheduler=address, device="cuda")
    assert not (tmp_path / "gpu").exists()
    in_process_cluster.scale(0)
    in_process_cluster.sync(in_process_cluster._correct_state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "CONNECT_TIMEOUT_S", 0.5)
        with pytest.raises(ClusterError, match="no workers"):
            extract(music, tmp_path / "out", model, jobs=None, scheduler=address, overwrite=True)


def test_no_scheduler_there(music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:9.*cannot reach a scheduler"):
        extract(music, tmp_path / "out", model, jobs=None, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"nonsense: cannot reach a scheduler there: missing port"):
        extract(music, tmp_path / "out", model, jobs=None, scheduler="nonsense")
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and says nothing
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(ClusterError, match=r"cannot reach a scheduler there"):
            extract(music, tmp_path / "out", model, jobs=None, scheduler=address)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_out_dir_is_a_file(music: Path, tmp_path: Path, model: Path, below: str) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(DatasetError, match=r"is a file, not a folder") as error:
        extract(music, tmp_path / "out" / below, model)
    assert error.value.source == str(tmp_path / "out")


def test_stopped_cluster_finishes_what_runs(
    music: Path, tmp_path: Path, model: Path, in_process_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progress(state: ExtractProgress) -> None:
        if state.n_done and state.state == "running":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(ExtractInterrupted) as stop:
        extract(
            music, tmp_path / "out", model, jobs=None, scheduler=in_process_cluster.scheduler_address, progress=progress
        )  # fmt: skip
    n = stop.value.summary.n_done
    assert 0 < n < 8
    assert len(open_features(tmp_path / "out").to_pandas("tracks")) == n
    assert extract(music, tmp_path / "out", model).n_skipped == n


def test_a_script_without_guard_is_told(music: Path, tmp_path: Path, model: Path) -> None:
    script = tmp_path / "script.py"
    call = f"extract_catalog({str(music)!r}, {str(tmp_path / 'out')!r}, model={str(model)!r}, device='cpu', jobs=2)"
    script.write_text(f"from pipelines import extract_catalog\n{call}\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(executors.__file__).parents[2])}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "the script must make it under if __name__ == '__main__':" in done.stderr
    assert "a script must start it under if __name__ == '__main__':" in done.stderr.splitlines()[-1]


def test_loop_executor_stops_between_shards(tmp_path: Path) -> None:
    stop = StopRequest()
    stop.request()
    assert list(LoopExecutor().run(fake_tasks(tmp_path, ["a"], 1), stop)) == []


def test_file_state_is_exact(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "x.wav")
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    state = FileState.of(path)
    assert state is not None
    assert state.modified_at.isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert FileState.of(tmp_path / "nowhere") is None


def test_public_names() -> None:
    import pipelines

    assert {"extract_catalog", "read_catalog", "validate_catalog"} <= set(dir(pipelines))
    assert pipelines.extract_catalog is extract_catalog
    assert stemfeatures.open_features is open_features
    with pytest.raises(AttributeError):
        pipelines.nothing  # noqa: B018
