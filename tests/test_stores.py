"""Datasets, catalogues and audio in an object store: a real S3 server on loopback, healthy and not."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from extract_helper import write_tone
from store_helper import BUCKET, KEY, SECRET, Store, _server, store

from pipelines import extract_catalog
from pipelines.catalog import read_catalog, validate_catalog
from pipelines.catalog.remote import CACHE_BYTES
from pipelines.cli import main as cli
from pipelines.commands._exit import USAGE, exit_code
from pipelines.commands._inputs import Input, at_hand
from pipelines.commands._progress import ProgressLine
from pipelines.extraction import fetch, loaded, resume, stop
from pipelines.extraction.fetch import Abandoned, AudioCache, FetchError, named_as
from pipelines.extraction.lyrics import have_same_lyrics
from pipelines.extraction.prefetch import PrefetchStream, TrackTimeout
from stemfeatures._util import objects
from stemfeatures._util.urls import Url, joined, place_of, redacted
from stemfeatures.audio.ffmpeg_decoder import ffmpeg_path
from stemfeatures.errors import (
    BusyDatasetError,
    CatalogError,
    DatasetError,
    DecodeError,
    LostPartError,
    ModelError,
    SeparationError,
    UnreachableError,
)
from stemfeatures.lyrics.sources import FoundLyrics, find_lyrics, lyrics_beside
from stemfeatures.tables import lock, parts
from stemfeatures.tables.adopt import adopt
from stemfeatures.tables.check import check
from stemfeatures.tables.commits import append_commit, read_snapshot
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.compact import compact, vacuum
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.parts import PartFile, write_part
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.rows import Provenance, TrackInfo, error_row, track_rows

__all__ = ["_server", "store"]  # fixtures

OUT = f"s3://{BUCKET}/features/night"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    loaded.forget_analyser()
    fetch.audio_cache(CACHE_BYTES).close()


@pytest.fixture
def layout(store: Store) -> DatasetLayout:
    return DatasetLayout.create(OUT)


def shard(layout: DatasetLayout, ok: list[str], failed: tuple[str, ...] = (), *, run: str = "r1") -> list[PartFile]:
    """Parts of ``tracks`` and ``errors``."""
    made = Provenance(run, "c1", "joint-test", "sha")
    rows: dict[str, list] = {"errors": [error_row(t, f"{t}.wav", "no audio", made, stage="decode") for t in failed]}
    rows["tracks"] = [track_rows(TrackInfo(t, f"{t}.wav"), None, made)["tracks"][0] for t in ok]
    return [write_part(layout, table, some, shard="s") for table, some in rows.items() if some]


def ids(table: str = "tracks") -> list[str]:
    return open_features(OUT).to_pandas(table)["track_id"].tolist()


def plain_ids(table: str = "tracks") -> list[str]:
    """What a reader shows that knows nothing of the commit log."""
    url = Url(f"{OUT}/{table}")
    rows = ds.dataset(
        objects.path_in(objects.filesystem(url), url), filesystem=objects.filesystem(url), format="parquet"
    )
    return sorted(rows.to_table(columns=["track_id"])["track_id"].to_pylist())


# ----------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:word@host/a b.mp3", "https://host/a b.mp3"),
        ("s3://key:word@bucket/a.mp3", "s3://bucket/a.mp3"),
        ("https://h/a.mp3?X-Amz-Credential=K&X-Amz-Signature=S&id=7", "https://h/a.mp3?id=7"),
        ("https://h/a.mp3?sv=2024&sig=abc%3D&se=2026", "https://h/a.mp3"),
        ("cannot read https://h/a?token=t0k: no", "cannot read https://h/a no"),
        ("music/what?token=x.mp3", "music/what?token=x.mp3"),
    ],
)
def test_what_lets_others_in_is_not_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown
    if " " not in text and "://" in text:
        assert str(Url(text)) == shown


def test_relative_entries_end_at_the_bucket() -> None:
    assert joined("s3://b/lists/new", "../a/../ü ?.mp3") == "s3://b/lists/ü ?.mp3"
    assert joined("s3://b/lists", "../../../../x.mp3") == "s3://b/x.mp3"
    assert joined("https://h/l", "/ü x.mp3") == "https://h/%C3%BC%20x.mp3"
    assert place_of("s3://b/x/") == Url("s3://b/x")
    assert place_of("music/s3") == Path("music/s3")


def test_a_name_is_never_a_chain_of_file_systems(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("precious")
    url = Url(f"s3://{BUCKET}/x::file://{tmp_path}/secret.txt")
    with pytest.raises(objects.NoObjectError, match="there is no such object"):
        objects.read(url)
    assert objects.path_in(objects.filesystem(url), url).startswith(f"{BUCKET}/x::file:")


# ------------------------------------------------------------------------------------------------------- datasets


def test_commits_are_read_by_all_readers(layout: DatasetLayout, store: Store) -> None:
    with Committer(layout, {"run_id": "r1", "config_json": "{}"}) as committer:
        committer.commit(shard(layout, ["b", "a"], ("x",)), shard="s0")
        uncommitted = shard(layout, ["c"])
        assert (ids(), ids("errors")) == (["a", "b"], ["x"])
        assert plain_ids() == ["a", "b"]
        assert lock.lock_holder(layout) is not None
        committer.commit(uncommitted, shard="s1")
    with Committer(layout, {"run_id": "r2"}) as committer:
        assert committer.commit(shard(layout, ["a"], run="r2")).replaced == 1
    assert lock.lock_holder(layout) is None
    # The row that was replaced has left with the commit.
    assert (ids(), plain_ids()) == (["a", "b", "c"], ["a", "b", "c"])
    assert [r.files_after for r in compact(OUT) if r.table == "tracks"] == [1]
    assert (ids(), plain_ids(), ids("errors")) == (["a", "b", "c"], ["a", "b", "c"], ["x"])
    assert open_features(OUT).to_pandas("runs")["status"].tolist() == ["finished", "finished"]
    assert open_features(OUT).to_pandas("tracks", filter=[("track_id", "==", "b")])["source_uri"].tolist() == ["b.wav"]
    assert not [key for key in store.names() if ".new" in key or ".writer" in key or ".probe" in key]


def test_many_parts_are_found_by_one_look(layout: DatasetLayout, store: Store) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        for i in range(parts.MOST_LOOKS + 2):
            committer.commit(shard(layout, [f"t{i:02d}"]))
        hidden = shard(layout, ["late"])
        append_commit(layout, committer.snapshot, kind="shard", add=hidden)  # not published yet
    store.requests.clear()
    features = open_features(OUT)
    assert len(features.files("tracks")) == parts.MOST_LOOKS + 3
    assert not [name for name in store.requests if name.startswith("HEAD") and "part-" in name]
    store.client.delete_object(Bucket=BUCKET, Key=f"features/night/{features.snapshot.of('tracks')[0].path}")
    with pytest.raises(LostPartError, match="is missing; stemfeatures check s3://music/features/night"):
        features.files("tracks")
    assert [d.what for d in check(OUT).damaged] == ["is missing"]
    assert check(OUT, repair=True).repaired
    assert ids() == ["late", *(f"t{i:02d}" for i in range(1, parts.MOST_LOOKS + 2))]


def test_dead_attempts_are_cleared(layout: DatasetLayout, store: Store) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        committer.commit(shard(layout, ["a"]))
    shard(layout, ["dead"])
    assert len(vacuum(OUT)) == 1
    assert ids() == ["a"]


def test_two_writers_in_a_store(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RENEWAL_S", 0.2)
    monkeypatch.setattr(lock, "_LOOK_S", 0.1)
    with Committer(layout, {"run_id": "r1"}) as first:
        with pytest.raises(BusyDatasetError, match=rf"another writer is at work: run r1, process {os.getpid()} on"):
            Committer(layout, {"run_id": "r2"}).__enter__()
        first.commit(shard(layout, ["a"]))
    with Committer(layout, {"run_id": "r2"}):
        pass
    assert ids() == ["a"]


def test_a_dead_writer_is_replaced_and_does_not_come_back(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_LOOK_S", 0.1)
    monkeypatch.setattr(lock, "CLAIM_S", 1.0)
    monkeypatch.setattr(lock, "RENEWAL_S", 1000.0)  # as of a process that stands still
    stopped = Committer(layout, {"run_id": "r1"})
    stopped.__enter__()
    late = shard(layout, ["late"])
    with Committer(layout, {"run_id": "r2"}) as committer:
        committer.commit(shard(layout, ["a"], run="r2"))
    time.sleep(0.6)
    with pytest.raises(DatasetError, match="another writer has taken its place"):
        stopped.commit(late)
    with pytest.raises(DatasetError, match=r"another process committed 00000002\.json at the same time"):
        append_commit(layout, stopped.snapshot, kind="shard", add=late)  # had it not looked
    assert ids() == ["a"]


def test_a_store_that_creates_twice_is_told_of(
    layout: DatasetLayout, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "RENEWAL_S", 0.2)
    monkeypatch.setattr(lock, "_LOOK_S", 0.1)
    store.before = lambda environment: environment.pop("HTTP_IF_NONE_MATCH", None) and None
    with Committer(layout, {"run_id": "r1"}) as committer:
        assert "claims alone keep two writers apart" in caplog.text
        with pytest.raises(BusyDatasetError, match="another writer is at work"):
            Committer(layout, {"run_id": "r2"}).__enter__()
        committer.commit(shard(layout, ["a"]))
    assert ids() == ["a"]


# -------------------------------------------------------------------------------------------------------- failures


def test_answers_that_pass_are_asked_for_again(
    layout: DatasetLayout, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.01)
    url = Url(f"s3://{BUCKET}/x")
    with store.failing(2, "503 Service Unavailable", method="PUT") as refused:
        objects.write(url, b"abc")
    assert (len(refused), objects.read(url)) == (2, b"abc")
    with store.failing(2, "500 Internal Server Error", method="GET", path="/x") as refused:
        assert objects.read(url) == b"abc"
        assert len(refused) == 2
    with (
        store.failing(99, "503 Service Unavailable", path="/x"),
        pytest.raises(objects.StoreError, match="s3://music/x"),
    ):
        objects.read(url)
    snapshot = read_snapshot(layout)
    with store.failing(1, "500 Internal Server Error", method="PUT", path="_commits/0"):
        assert append_commit(layout, snapshot, kind="shard", add=shard(layout, ["a"])) == 1
    assert ids() == ["a"]


def test_tables_are_read_again_where_a_store_fails(
    layout: DatasetLayout, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it goes on failing no part is taken for lost."""
    append_commit(layout, read_snapshot(layout), kind="shard", add=shard(layout, ["a", "b"]))
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.001)
    features = open_features(OUT)
    with store.failing(2, "503 Slow Down", method="GET", path="/tracks/") as refused:
        assert features.to_pandas("tracks")["track_id"].tolist() == ["a", "b"]
        assert len(refused) == 2
    with store.failing(99, "500 Internal Server Error", method="GET", path="/tracks/"):
        with pytest.raises(UnreachableError, match=r"a table cannot be read now \(.*it may be whole"):
            features.to_pandas("tracks")
        with pytest.raises(UnreachableError, match=r"tracks/part-.* cannot be read now"):
            check(OUT, deep=True, repair=True)
    assert ids() == ["a", "b"]
    assert check(OUT, deep=True).damaged == ()


def test_one_place_alone_tries_again(layout: DatasetLayout, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries of several layers would multiply, and a store that is down be told of after many minutes."""
    append_commit(layout, read_snapshot(layout), kind="shard", add=shard(layout, ["a", "b"]))
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.001)
    features = open_features(OUT)
    for status in ("500 Internal Server Error", "503 as SlowDown"):
        with store.failing(999, status, path="/tracks/") as refused, pytest.raises(UnreachableError, match=OUT):
            features.to_pandas("tracks")
        assert len(refused) == objects.LATER_TRIES
    objects.forget_filesystems()
    with store.failing(999, "503 as SlowDown") as refused, pytest.raises(DatasetError, match=OUT):
        open_features(OUT)
    assert len(refused) == objects.TRIES


def test_a_store_that_is_down_is_waited_for_and_named(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    objects.forget_filesystems()
    tried: list[str] = []
    real = objects._within
    monkeypatch.setattr(objects, "_within", lambda *args: (tried.append(""), real(*args))[1])
    with pytest.raises(DatasetError, match=f"{OUT}: the store cannot be reached.*{address}"):
        open_features(OUT)
    assert len(tried) == objects.TRIES


def test_a_store_that_has_never_answered_is_given_less_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is silent for a minute at a try, where nobody is at its address."""
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(objects, "FIRST_LIMIT_S", 0.3)
    tried: list[float] = []

    def silent(fs: Any, path: str) -> None:
        tried.append(time.monotonic())
        time.sleep(0.2)
        raise TimeoutError("silent")

    for answers, n in ((False, 2), (True, objects.LATER_TRIES)):
        tried.clear()
        if answers:
            objects.write(Url(f"{OUT}/a"), b"")
        with pytest.raises(objects.SilentStoreError, match=OUT):
            objects.call(Url(OUT), silent)
        assert len(tried) == n

    # Audio, too, is waited for no longer.
    url = Url(f"{OUT}/b")
    monkeypatch.setattr(objects.filesystem(url), "open", lambda path, *args, **options: silent(None, path))
    for answers, n in ((False, 2), (True, objects.LATER_TRIES)):
        tried.clear()
        monkeypatch.setattr(objects, "_answered", {objects._store_of(url)} if answers else set())
        with pytest.raises(objects.SilentStoreError, match=OUT):
            list(objects.blocks(url))
        assert len(tried) == n


def test_a_store_that_restarts_ends_no_run(
    layout: DatasetLayout, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has answered before is waited for for nearly a minute, whoever asks, Arrow too."""
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.001)
    made = shard(layout, ["a", "b"])

    def refusing(path: str, method: str = "") -> Any:
        return store.failing(8, "500 Internal Server Error", path=path, method=method)

    with Committer(layout, {"run_id": "r1", "config_json": "{}"}) as committer:
        for path, method in (("/tracks/", "GET"), ("_commits/0", "PUT")):
            with refusing(path, method) as refused:
                assert committer.commit(shard(layout, [path]) if method == "PUT" else made).number is not None
            assert len(refused) == 8
    for _ in range(2):
        with refusing("/tracks/") as refused:
            assert ids() == ["_commits/0", "a", "b"]
        assert len(refused) == 8
        compact(OUT)
    assert check(OUT, deep=True).damaged == ()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("404 Not Found", objects.NoObjectError),
        ("403 Forbidden", objects.NoAccessError),
        ("403 Forbidden as TokenOfOurOwn", objects.NoAccessError),  # a code that s3fs does not know
        ("501 Not Implemented", objects.StoreError),
    ],
)
def test_what_does_not_pass_is_not_waited_for(store: Store, status: str, kind: type[Exception]) -> None:
    store.put("x", b"abc")
    url = Url(f"s3://{BUCKET}/x")
    assert objects.read(url) == b"abc"
    with store.failing(99, status, path="/x") as refused, pytest.raises(kind):
        objects.read(url)
    assert len(refused) == 1


def test_a_host_that_has_never_answered_is_not_waited_for_as_another_one_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest may name many hosts, some of which have gone."""
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.001)
    (tmp_path / "a.bin").write_bytes(b"abc")
    heard: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            if "localhost" in self.headers["Host"]:
                self.send_error(503)
            else:
                super().do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=os.fspath(tmp_path))) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            assert objects.read(Url(f"http://127.0.0.1:{server.server_port}/a.bin")) == b"abc"
            heard.clear()
            with pytest.raises(objects.StoreError):
                objects.read(Url(f"http://localhost:{server.server_port}/a.bin"))
        finally:
            server.shutdown()
    assert len(heard) == objects.TRIES


def test_a_server_that_cannot_be_reached_is_no_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.05)
    (tmp_path / "a.bin").write_bytes(b"abc")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=os.fspath(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler, bind_and_activate=False) as server:
        server.server_bind()  # it has a port, and does not listen yet
        url = Url(f"http://127.0.0.1:{server.server_port}/a.bin")
        with pytest.raises(objects.SilentStoreError, match=r"a\.bin: the store cannot be reached"):
            objects.info(url)
        assert [p.kind for p in validate_catalog(url.address).problems] == ["unreadable"]
        threading.Timer(0.1, server.server_activate).start()  # what passes is waited for
        serving = threading.Thread(target=server.serve_forever)
        threading.Timer(0.15, serving.start).start()
        found = objects.info(url)
        assert found is not None
        assert found.size == 3
        assert objects.info(Url(url.address.replace("a.bin", "b.bin"))) is None
        server.shutdown()


def test_an_answer_that_is_lost_is_no_other_writer(store: Store) -> None:
    url = Url(f"s3://{BUCKET}/once")
    objects.write(url, b"ours")
    objects.create(url, b"ours")  # an earlier try, whose answer did not come
    with pytest.raises(FileExistsError):
        objects.create(url, b"theirs")
    assert objects.read(url) == b"ours"


def test_a_store_that_does_not_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "CALL_LIMIT_S", 0.3)
    with (
        store.silent(f"/{BUCKET}", 1.0),
        pytest.raises(DatasetError, match=r"s3://music/features: .*the store does not answer within 0\.3 s"),
    ):
        open_features(f"s3://{BUCKET}/features")


@pytest.mark.parametrize(
    ("out", "status", "says"),
    [
        ("s3://nobody/features", "", "there is no such bucket"),
        (OUT, "403 Forbidden", "the store denies access"),
        ("https://127.0.0.1/features", "", "cannot lie behind http"),
    ],
)
def test_one_sentence_when_the_store_does_not_let_us(
    store: Store, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], out: str, status: str, says: str
) -> None:
    write_tone(tmp_path / "a.wav", seconds=0.2)
    with store.failing(999 if status else 0, status):
        code = cli(["extract", str(tmp_path / "a.wav"), "-o", out, "--model", str(model), "-j", "1", "-d", "cpu"])
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert code in (2, 4)
    assert says in told
    assert out in told
    assert SECRET not in told
    assert KEY not in told
    assert "Traceback" not in told


# ------------------------------------------------------------------------------------------------------------ audio


@pytest.fixture
def songs(store: Store, tmp_path: Path) -> Path:
    """Three songs, in a folder and in the bucket, and a manifest beside them that names five."""
    for i, name in enumerate(("a", "b", "ü c")):
        path = write_tone(tmp_path / "songs" / f"{name}.wav", seconds=0.5 + 0.1 * i, f0=110.0 * (i + 1))
        store.put(f"songs/{name}.wav", path.read_bytes())
    rows = "path,mood\na.wav,calm\nb.wav,wild\nü c.wav,\ngone.wav,\ns3://nobody/x.wav,\n"
    store.put("songs/catalog.csv", rows.encode())
    return tmp_path / "songs"


def test_a_run_from_a_store_into_it(store: Store, songs: Path, tmp_path: Path, model: Path) -> None:
    options: dict[str, Any] = {"model": model, "device": "cpu", "jobs": 1}
    store.requests.clear()
    summary = extract_catalog(f"s3://{BUCKET}/songs/catalog.csv", OUT, **options)
    assert (summary.n_done, summary.n_failed) == (3, 2)
    assert [store.requests[f"GET /{BUCKET}/songs/{name}.wav"] for name in ("a", "b")] == [1, 1]
    errors = open_features(OUT).to_pandas("errors").set_index("track_id")
    assert errors["stage"].tolist() == ["fetch", "fetch"]
    assert errors["message"].to_dict() == {
        "gone.wav": "there is no such object",
        "s3://nobody/x.wav": "there is no such bucket",
    }
    here = tmp_path / "features"
    assert extract_catalog(songs, here, **options).n_done == 3
    mine, theirs = open_features(OUT), open_features(here)
    for table in ("stems", "contours", "embeddings"):
        made = {"run_id"}
        both = [f.to_arrow(table).drop_columns(list(made)) for f in (mine, theirs)]
        assert both[0].equals(both[1])
    tracks = mine.to_pandas("tracks").set_index("track_id")
    assert tracks["audio_sha256"].tolist() == theirs.to_pandas("tracks")["audio_sha256"].tolist()
    assert tracks["source_size_bytes"].to_dict() == {p.name: p.stat().st_size for p in songs.iterdir()}
    assert tracks["meta_mood"].fillna("").tolist() == ["calm", "wild", ""]

    store.requests.clear()
    again = extract_catalog(f"s3://{BUCKET}/songs/catalog.csv", OUT, **options)
    assert (again.n_skipped, again.n_done, again.n_failed) == (3, 0, 2)
    assert not any(store.requests[f"GET /{BUCKET}/songs/{name}.wav"] for name in ("a", "b"))
    store.put("songs/a.wav", (songs / "b.wav").read_bytes())
    changed = extract_catalog(f"s3://{BUCKET}/songs/catalog.csv", OUT, retry_failed=False, **options)
    assert (changed.n_skipped, changed.n_done) == (2, 1)
    assert open_features(OUT).to_pandas("tracks")["audio_sha256"].nunique() == 2


def test_catalogues_in_a_store(store: Store, songs: Path, tmp_path: Path) -> None:
    where = f"s3://{BUCKET}/songs"
    store.put("songs/cover.jpg", b"x"), store.put("songs/.hidden.wav", b"x"), store.put("songs/odd.xyz", b"x")
    folder = read_catalog(where + "/")
    assert folder.frame["track_id"].tolist() == ["a.wav", "b.wav", "ü c.wav"]
    assert folder.frame["path"].tolist() == [f"{where}/{name}" for name in folder.frame["track_id"]]
    assert folder.passed_over == {".xyz": 1}
    assert read_catalog(f"{where}/[ab].wav").frame["track_id"].tolist() == ["a.wav", "b.wav"]
    assert read_catalog([f"{where}/a.wav", f"{where}/b.wav"]).frame["track_id"].tolist() == [
        f"{where}/a.wav",
        f"{where}/b.wav",
    ]
    for i in range(2):
        pd.DataFrame({"path": [f"../{i}.wav"], "n": [i]}).to_parquet(tmp_path / f"{i}.parquet")
        store.put(f"lists/part-{i}.parquet", (tmp_path / f"{i}.parquet").read_bytes())
    parted = read_catalog(f"s3://{BUCKET}/lists")
    assert parted.frame["path"].tolist() == [f"s3://{BUCKET}/0.wav", f"s3://{BUCKET}/1.wav"]
    assert parted.frame["n"].tolist() == [0, 1]
    report = validate_catalog(f"{where}/catalog.csv")
    assert report.counts() == {"missing": 1, "unreadable": 1}
    assert report.n_probed == 3


def test_a_folder_of_csv_in_a_store(store: Store) -> None:
    for i in range(2):
        store.put(f"text/part-{i}.csv", f"path,n\n../{i}.wav,{i}\n".encode())
    assert read_catalog(f"s3://{BUCKET}/text").frame["path"].tolist() == [f"s3://{BUCKET}/{i}.wav" for i in range(2)]
    store.put("text/bad.csv", b"title\nx\n")
    with pytest.raises(CatalogError, match=r"those of bad\.csv title") as error:
        read_catalog(f"s3://{BUCKET}/text")
    assert error.value.source == f"s3://{BUCKET}/text"


def test_errors_name_the_object_and_not_our_copy(
    store: Store, songs: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that come long after decoding, with no word on the file."""

    def fails(*frames: Any, **options: Any) -> None:
        raise ZeroDivisionError("of a descriptor")

    monkeypatch.setattr("stemfeatures.analysis.describe", fails)
    address = f"s3://{BUCKET}/songs/a.wav"
    assert cli(["describe", address, "-m", str(model), "-d", "cpu", "-q"]) == 3
    assert f"failed: {address}: ZeroDivisionError: of a descriptor [describe]\n" in capsys.readouterr().err
    with PrefetchStream(address).open() as stream:
        assert stream.name == address  # which the analysis of a catalogue calls it
        assert os.fspath(stream.info.path) != address
    copy = Path("/tmp/copy/a.wav")
    named = [named_as(error, copy, address) for error in (
        SeparationError("not finite"), DecodeError(f"{copy}: bad header", source=str(copy)),
        ModelError("bad weights", source="m.safetensors"),
    )]  # fmt: skip
    assert [str(error) for error in named] == [
        f"{address}: not finite [separate]", f"{address}: {address}: bad header [decode]",
        "m.safetensors: bad weights [model]",
    ]  # fmt: skip
    progress = ProgressLine(1, label="analyse", unit="file", quiet=True)
    with pytest.raises(DatasetError) as caught, progress, at_hand(Input(place_of(address), "a.wav"), None, progress):
        raise DatasetError("3 values, and not 64")
    assert caught.value.__cause__ is not caught.value  # nobody comes to an end of that
    assert (str(caught.value), exit_code(caught.value)) == (f"{address}: 3 values, and not 64 [tables]", USAGE)


def test_describe_and_separate_read_from_a_store(
    store: Store, songs: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where, shared = f"s3://{BUCKET}/songs", ["-m", str(model), "-d", "cpu"]
    store.put("songs/broken.wav", b"no audio")
    assert cli(["describe", f"{where}/a.wav", str(songs / "a.wav"), "--json", "-q", *shared]) == 0
    away, here = map(json.loads, capsys.readouterr().out.splitlines())
    assert (away.pop("input"), here.pop("input")) == (f"{where}/a.wav", str(songs / "a.wav"))
    assert away == here
    pictures = tmp_path / "pictures"
    assert cli(["separate", f"{where}/*.wav", "-o", str(tmp_path / "stems"), "-q", *shared]) == 3
    told = capsys.readouterr().err
    assert f"failed: {where}/broken.wav: " in told
    assert fetch._PREFIX not in told  # the copy
    assert sorted(p.name for p in (tmp_path / "stems").iterdir()) == ["a", "b", "ü c"]
    assert cli(["separate", str(songs / "b.wav"), "-o", str(tmp_path / "own"), "-q", *shared]) == 0
    for stem in (tmp_path / "own" / "b").iterdir():
        assert stem.read_bytes() == (tmp_path / "stems" / "b" / stem.name).read_bytes()
    assert cli(["describe", f"{where}/none.wav", *shared]) == 2
    assert "there is no such object, and nothing below it" in capsys.readouterr().err
    fetch.audio_cache(CACHE_BYTES).close()
    small = ["--cache-size", "1kB"]
    assert cli(["describe", f"{where}/a.wav", "--plot", str(pictures), *small, *shared]) == 3
    assert "a.wav: larger than what is kept on this machine (1,000 bytes; --cache-size)" in capsys.readouterr().err
    assert not pictures.exists()
    assert cli(["validate", f"{where}/a.wav", *small]) == 3
    assert "larger than what is kept on this machine (1,000 bytes" in capsys.readouterr().out


def test_similar_takes_a_file_of_a_store(
    store: Store, songs: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features, where = tmp_path / "features", f"s3://{BUCKET}/songs"
    assert extract_catalog(songs, features, model=model, device="cpu", jobs=1).n_done == 3
    asked = ["similar", str(features), "--stem", "mixture", "--family", "loudness,timbre", "-q"]
    assert cli([*asked, f"{where}/b.wav", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["query"]["track_id"] == f"{where}/b.wav"
    nearest = answer["neighbours"][0]
    assert (nearest["track_id"], round(nearest["distance"], 4)) == ("b.wav", 0.0)
    store.put("songs/broken.wav", b"no audio")
    for name, why in (("none.wav", "there is no such object"), ("broken.wav", f"{where}/broken.wav: ")):
        assert cli([*asked, f"{where}/{name}"]) == 3
        assert why in capsys.readouterr().err


def test_recommenders_learn_from_a_store(layout: DatasetLayout, tmp_path: Path) -> None:
    with Committer(layout, {"run_id": "r1"}) as committer:
        committer.commit(shard(layout, ["a", "b", "c"]))
    listening, model, found = tmp_path / "plays.csv", tmp_path / "model", tmp_path / "found.parquet"
    listening.write_text("user_id,track_id\nana,a\nana,b\nluis,b\n")
    train = ["recommend", "train", OUT, str(listening), "-o", str(model), "--kind", "popularity", "-q"]
    assert cli(train) == 0
    assert json.loads((model / "recommender.json").read_text())["features"]["path"] == OUT
    predict = ["recommend", "predict", str(model), OUT, str(listening), "--user", "luis", "-o", str(found), "-q"]
    assert cli(predict) == 0
    assert pq.read_table(found)["track_id"].to_pylist() == ["a"]


def test_what_comes_from_a_store_is_told_meanwhile(store: Store, songs: Path) -> None:
    told, size = StringIO(), f"{(songs / 'a.wav').stat().st_size / 1000:.1f} kB"
    progress = ProgressLine(1, label="describe", unit="file", every_s=0.0, stream=told)
    with at_hand(Input(Url(f"s3://{BUCKET}/songs/a.wav"), "a"), None, progress) as file:
        assert file.read_bytes() == (songs / "a.wav").read_bytes()
    assert f"fetching a.wav, {size} of {size}" in told.getvalue()


def test_signatures_stay_out_of_tables(store: Store, songs: Path, tmp_path: Path, model: Path) -> None:
    signed = store.client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "songs/a.wav"})
    assert KEY in signed
    catalog = pd.DataFrame({"path": [signed, signed.replace("a.wav", "none.wav")]})
    summary = extract_catalog(catalog, tmp_path / "features", model=model, device="cpu", jobs=1)
    assert (summary.n_done, summary.n_failed) == (1, 1)
    features = open_features(tmp_path / "features")
    row = features.to_pandas("tracks").iloc[0]
    assert row["source_uri"] == row["track_id"] == f"{store.address}/{BUCKET}/songs/a.wav"
    assert row["audio_sha256"] == hashlib.sha256((songs / "a.wav").read_bytes()).hexdigest()
    kept = json.dumps([features.to_arrow(t).to_pylist() for t in features.tables], default=str)
    assert KEY not in kept
    assert "Signature" not in kept
    assert SECRET not in kept
    assert features.to_pandas("errors")["message"].tolist() == ["there is no such object"]


def test_the_cache_is_bounded_and_cleared(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.tempfile, "tempdir", str(tmp_path))
    for name in "abcd":
        store.put(f"{name}.wav", name.encode() * 100)
    dead = tmp_path / "stemfeatures-audio-dead"
    dead.mkdir()
    (dead / ".lock").touch()
    cache = AudioCache(250)

    def take(name: str) -> fetch.Fetched:
        url = f"s3://{BUCKET}/{name}.wav"
        return cache.fetch(url, on_open=lambda state: sizes.append(state.size), abandoned=lambda: False)

    sizes: list[int] = []
    a, b = take("a"), take("b")
    assert not dead.exists()
    assert (a.path.read_bytes(), a.sha256) == (b"a" * 100, hashlib.sha256(b"a" * 100).hexdigest())
    cache.release(a), cache.release(b)
    store.requests.clear()
    assert take("a").path == a.path
    assert store.requests == {f"HEAD /{BUCKET}/a.wav": 1}  # it is still the same
    c = take("c")  # b was used longest ago, and a is in use
    assert (a.path.exists(), b.path.exists(), c.path.exists()) == (True, False, True)
    d = take("d")  # in work, so more than is kept
    assert a.path.exists()
    assert c.path.exists()
    assert d.path.exists()
    assert sizes == [100] * 5
    store.put("large.wav", b"x" * 251)
    with pytest.raises(FetchError, match=r"larger than what is kept on this machine \(250 bytes; --cache-size\)"):
        take("large")
    with pytest.raises(Abandoned):
        cache.fetch(f"s3://{BUCKET}/b.wav", on_open=lambda state: None, abandoned=lambda: True)
    cache.close()
    assert not list(tmp_path.glob("stemfeatures-audio-*"))


def test_the_cache_keeps_nothing_that_nobody_can_ask_for(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.tempfile, "tempdir", str(tmp_path))
    lock, n_locked = fetch.lock_file, 0

    def cleared_by_another(fd: int, **how: bool) -> None:
        nonlocal n_locked
        n_locked += 1
        if n_locked == 1:  # the folder is there, and not locked yet
            shutil.rmtree(next(tmp_path.glob("stemfeatures-audio-*")))
        lock(fd, **how)

    monkeypatch.setattr(fetch, "lock_file", cleared_by_another)
    cache, url = AudioCache(1000), f"s3://{BUCKET}/a.wav"

    def take() -> fetch.Fetched:
        return cache.fetch(url, on_open=lambda state: None, abandoned=lambda: False)

    store.put("a.wav", b"a" * 100)
    old = take()
    assert n_locked == 2
    store.put("a.wav", b"new")
    new = take()
    assert (old.path.read_bytes(), new.path.read_bytes()) == (b"a" * 100, b"new")
    cache.release(old)
    assert (old.path.exists(), new.path.exists()) == (False, True)
    cache.release(new)
    assert take().path == new.path
    cache.close()
    assert not list(tmp_path.iterdir())


def test_a_connection_that_breaks_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(objects, "BLOCK_BYTES", 1000)
    data = bytes(range(256)) * 20
    store.put("long.wav", data)
    url = Url(f"s3://{BUCKET}/long.wav")
    read = objects.blocks(url)
    got = next(read)
    with store.failing(3, "503 Service Unavailable", path="long.wav"):
        got += b"".join(read)
    assert got == data
    read = objects.blocks(url)
    next(read)
    store.put("long.wav", data[::-1])
    with pytest.raises(objects.StoreError):
        list(read)


def test_a_slow_store_is_a_row_of_errors(store: Store, songs: Path) -> None:
    stream = None
    with store.silent("/songs/a.wav", 2.0):
        stream = PrefetchStream(f"s3://{BUCKET}/songs/a.wav", timeout_s=0.3)
        with pytest.raises(TrackTimeout, match=r"gave up after 0\.3 s, the store has not given the file yet") as error:
            stream.open()
    assert error.value.stage == "fetch"
    assert error.value.source == f"s3://{BUCKET}/songs/a.wav"


def test_workers_are_told_to_stop_through_the_store(layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "STOP_LOOK_S", 0.05)
    told = stop.StopFile(layout, "_commits/.stop-r1")
    assert not told.exists()
    layout.storage.replace("_commits/.stop-r1", b"")
    deadline = threading.Event()
    for _ in range(100):
        if told.exists():
            break
        deadline.wait(0.05)
    assert told.exists()


def test_what_a_store_only_gives_is_merged(store: Store, layout: DatasetLayout, tmp_path: Path) -> None:
    with Committer(layout, {"run_id": "r1", "config_json": "{}"}) as committer:
        committer.commit(shard(layout, ["b", "a"], ("x",)), shard="s0")
    with store.failing(99, "403 Forbidden", method="PUT") as refused:
        assert adopt(tmp_path / "all", [OUT])[0].tracks == 2
    assert refused
    assert open_features(tmp_path / "all").to_pandas("tracks")["track_id"].tolist() == ["a", "b"]


def test_what_may_only_be_read_is_not_kept_by_a_dead_writer(
    store: Store, layout: DatasetLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_LOOK_S", 0.1)
    monkeypatch.setattr(lock, "CLAIM_S", 1.0)
    monkeypatch.setattr(lock, "RENEWAL_S", 0.2)

    def denied(environment: dict[str, Any]) -> str | None:
        name = environment["PATH_INFO"].removeprefix(f"/{BUCKET}/")
        return "403 Forbidden" if environment["REQUEST_METHOD"] == "PUT" and name not in writable else None

    with Committer(layout, {"run_id": "r1", "config_json": "{}"}) as committer:
        committer.commit(shard(layout, ["a"]), shard="s0")
        writable = set(store.names())  # its claim is renewed
        store.before = denied
        with pytest.raises(BusyDatasetError, match="another writer is at work: run r1, process"):
            adopt(tmp_path / "all", [OUT])
        store.before = None
    claim = {"purpose": "run r2", "pid": 1, "host": "gone", "since": "then"}
    store.put("features/night/_commits/.writer-0", json.dumps(claim).encode())
    writable = set()
    store.before = denied
    assert adopt(tmp_path / "all", [OUT])[0].tracks == 1
    store.before = None


# ---------------------------------------------------------------------------------------------------------- lyrics


def test_lyrics_of_a_store(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pocketsphinx", reason="needs the lyrics extra")
    caplog.set_level("WARNING")
    song = f"s3://{BUCKET}/album/01 what?.flac"
    assert find_lyrics(song) is None
    store.put("album/01 what?.txt", "beside, latín".encode("cp1252"))
    assert find_lyrics(song) == FoundLyrics("beside, latín", "txt")
    store.put("album/01 what?.lrc", b"[00:01.00]in time")
    assert find_lyrics(song) == FoundLyrics("[00:01.00]in time", "lrc")
    assert find_lyrics(song, "01 what?.txt") == FoundLyrics("beside, latín", "catalog")
    store.put("texts/one.txt", b"elsewhere")
    for given in ("../texts/one.txt", f"s3://{BUCKET}/texts/one.txt", "/texts/one.txt"):
        assert find_lyrics(song, given) == FoundLyrics("elsewhere", "catalog")
    assert find_lyrics(tmp_path / "here.flac", f"s3://{BUCKET}/texts/one.txt") == FoundLyrics("elsewhere", "catalog")
    assert not caplog.records
    assert find_lyrics(song, "gone.txt") == FoundLyrics("[00:01.00]in time", "lrc")
    assert [record.getMessage() for record in caplog.records] == [
        f"s3://{BUCKET}/album/gone.txt: there is no such object"
    ]
    store.put("album/01 what?.lrc", b"x" * 1_000_001)
    assert find_lyrics(song) == FoundLyrics("beside, latín", "txt")
    assert "too large" in caplog.records[-1].getMessage()
    caplog.clear()
    with store.failing(9, "403 Forbidden", method="HEAD"):  # a store that may not be listed says so of what is absent
        assert find_lyrics(song) is None
    assert not caplog.records
    # A signed address is no text, and nobody is shown what signs it.
    for given in (f"s3://{BUCKET}/texts/one.TXT?X-Amz-Signature=s3cret", "https://127.0.0.1:1/one.lrc?sig=s3cret"):
        monkeypatch.setattr(objects, "info", lambda url: None)
        assert find_lyrics(tmp_path / "here.flac", given) is None
        assert "there is no such object" in caplog.records[-1].getMessage()
    assert "s3cret" not in caplog.text
    # A server of HTTP may answer with a page, whatever it is asked for.
    assert lyrics_beside("https://host/album/song.flac") == []


def test_a_run_finds_the_lyrics_of_a_store(store: Store, tmp_path: Path, model: Path) -> None:
    """Beside the audio, in its tags and in the catalogue; edited, added and gone ones are found by the next run."""
    pytest.importorskip("pocketsphinx", reason="needs the lyrics extra")
    for name in ("beside", "none", "tags", "told"):
        write_tone(tmp_path / f"{name}.wav")
    tagged = ["-metadata", "lyrics=from the tags", "-c:a", "libmp3lame"]
    command = [ffmpeg_path() or "ffmpeg", "-v", "error", "-i", tmp_path / "tags.wav", *tagged, tmp_path / "tags.mp3"]
    subprocess.run(command, check=True)
    songs = ["beside.wav", "none.wav", "tags.mp3", "told.wav"]
    for name in songs:
        store.put(f"songs/{name}", (tmp_path / name).read_bytes())
    store.put("songs/beside.txt", b"purple elephants")
    catalog = pd.DataFrame({"track_id": [name.split(".")[0] for name in songs]})
    catalog["path"] = [f"s3://{BUCKET}/songs/{name}" for name in songs]
    catalog["lyrics"] = [None, None, None, "discovering bicycles"]

    def extract() -> tuple[int, dict[str, str | None]]:
        summary = extract_catalog(catalog, OUT, model=model, device="cpu", jobs=1, tables=["lyric_songs"])
        assert summary.n_failed == 0
        features = open_features(OUT)
        sources = features.to_arrow("lyric_songs", columns=["track_id", "source"]).to_pylist()
        assert len(sources) == len(songs)
        return summary.n_done, {row["track_id"]: row["source"] for row in sources}

    found = {"beside": "txt", "none": None, "tags": "tags", "told": "catalog"}
    assert extract() == (4, found)
    assert extract() == (0, found)
    store.put("songs/beside.txt", b"purple elephants forever")
    store.put("songs/none.lrc", b"[00:01.00]purple")
    catalog.loc[3, "lyrics"] = "discovering"
    assert extract() == (3, {**found, "none": "lrc"})
    assert extract() == (0, {**found, "none": "lrc"})
    for name in ("beside.txt", "none.lrc"):
        store.client.delete_object(Bucket=BUCKET, Key=f"songs/{name}")
    catalog.loc[3, "lyrics"] = None
    gone = {"beside": None, "none": None, "tags": "tags", "told": None}
    assert extract() == (3, gone)
    assert extract() == (0, gone)


def test_many_lyrics_of_a_folder_are_looked_up_by_one_listing(store: Store) -> None:
    pytest.importorskip("pocketsphinx", reason="needs the lyrics extra")
    store.put("songs/3.txt", b"purple elephants")
    store.put("songs/4.txt", b"elephants")
    store.requests.clear()
    purple = hashlib.sha256(b"purple elephants").hexdigest()
    had = {3: "txt", 4: "txt", 5: "tags", 6: "txt", 7: None, 8: "lrc"}
    rows = [(f"s3://{BUCKET}/songs/{i}.wav", None, purple if i in had else None, had.get(i)) for i in range(12)]
    # The tags of 5, and those that 7 may have, are in a file that has not changed.
    assert have_same_lyrics(rows) == [i not in (4, 6, 8) for i in range(12)]
    assert {name for name in store.requests if "songs/" in name} == {
        f"{method} /{BUCKET}/songs/{i}{suffix}"
        for i in (3, 4)
        for method, suffix in (("HEAD", ".lrc"), ("HEAD", ".txt"), ("GET", ".txt"))
    }
    # Audio of this machine whose lyrics lie in a store is asked for with the others.
    told = [
        ("/music/a.wav", f"s3://{BUCKET}/songs/{i}.txt", {"track_id": str(i), "lyrics_sha256": purple}) for i in (3, 4)
    ]
    here = ("/music/a.wav", None, {"track_id": "a", "lyrics_sha256": None})
    away = [(7, *told[0]), (8, *told[1]), (9, *here)]
    assert resume._same_lyrics_in_stores(away, dict) == {7: True, 8: False}
    gone = [(0, f"s3://{BUCKET}/alone/{name}.wav", None, {"track_id": name, "lyrics_sha256": purple}) for name in "ab"]
    sources = {"a": {"source": "lrc"}, "b": {"source": "tags"}}
    assert [resume._same_lyrics_in_stores([row], lambda: sources) for row in gone] == [{0: False}, {0: True}]
    addressed = [("/music/a.wav", f"s3://{BUCKET}/songs/{i}.txt", purple, "catalog") for i in (3, 5)]
    assert have_same_lyrics(addressed) == [True, False]
    with store.failing(99, "403 Forbidden"):
        assert have_same_lyrics([*rows, *addressed]) == [True] * 14
