"""Lanes of a shard: what is done ahead of the network and behind it, and pieces that are committed on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from extract_helper import write_tone
from test_extract import assert_same_tables, extract

from pipelines.extraction import loaded, plan, prepare
from pipelines.extraction import shard as shard_module
from pipelines.extraction.lane import Lane
from pipelines.extraction.tasks import ShardReceipt, ShardTask, TrackTask
from stemfeatures import analysis
from stemfeatures.inference.transfer import to_host, unpacked
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.rows import Provenance


@pytest.fixture(autouse=True, scope="module")
def _fresh_network() -> Iterator[None]:
    yield
    loaded.forget_analyser()


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tracks, one of which is broken."""
    folder = tmp_path_factory.mktemp("music")
    for i in range(4):
        write_tone(folder / f"{i}.wav", seconds=0.6 + 0.1 * i, f0=110.0 * (i + 2), channels=1 + i % 2)
    (folder / "broken.wav").write_bytes(b"x" * 1000)
    return folder


@pytest.fixture(scope="module")
def whole(music: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one shard makes of them, one thread after the other but for decoding."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SHARDS_PER_WORKER", 1)
        extract(music, out, model)
    assert len(open_features(out).files("tracks")) == 1
    return out


def test_lanes_change_no_value(
    music: Path, whole: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loudness and the mono signal are made in the thread that decodes, descriptors in one behind the network."""
    names: dict[str, set[str]] = {"prepare": set(), "describe": set()}

    def seen(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            names[stage].add(threading.current_thread().name)
            return call(*args, **options)

        return wrapped

    monkeypatch.setattr(analysis, "describe", seen("describe", analysis.describe))
    monkeypatch.setattr(analysis.Preparation, "push", seen("prepare", analysis.Preparation.push))
    monkeypatch.setattr(loaded, "_warm_up", lambda analyser: None)
    monkeypatch.setattr(shard_module, "describes_aside", lambda device: True)
    summary = extract(music, tmp_path / "aside", model)
    assert (summary.n_done, summary.n_failed) == (4, 1)
    assert names == {"prepare": {"decode"}, "describe": {"describe"}}
    assert_same_tables(whole, tmp_path / "aside")


@pytest.mark.parametrize("aside", [False, True])
def test_a_piece_is_committed_when_it_is_due(
    aside: bool, music: Path, whole: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pieces of no length each track is a commit of its own, and a lane has at most two more of them."""
    monkeypatch.setattr(plan, "SHARDS_PER_WORKER", 1)
    monkeypatch.setattr(shard_module, "describes_aside", lambda device: aside)
    monkeypatch.setattr(shard_module, "PIECE_S", 0.0)
    summary = extract(music, tmp_path, model)
    assert (summary.n_done, summary.n_failed) == (4, 1)
    files = open_features(tmp_path).files("tracks")
    assert len(files) == 4 if not aside else 1 < len(files) <= 4
    assert_same_tables(whole, tmp_path)


def test_a_batch_that_fails_behind_others_is_tried_track_by_track(
    music: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = analysis.describe

    def fail(frames: Any, **options: Any) -> Any:
        if frames.n_samples == round(0.7 * 22_050):
            raise ZeroDivisionError("no tempo")
        return describe(frames, **options)

    monkeypatch.setattr(analysis, "describe", fail)
    monkeypatch.setattr(shard_module, "describes_aside", lambda device: True)
    monkeypatch.setattr(plan, "SHARDS_PER_WORKER", 1)
    summary = extract(music, tmp_path / "out", model, batch_size=4)
    assert (summary.n_done, summary.n_failed) == (3, 2)
    errors = open_features(tmp_path / "out").to_pandas("errors").set_index("track_id")
    assert errors.loc["1.wav", ["stage", "error_type"]].tolist() == ["describe", "ZeroDivisionError"]


def test_a_lane_gives_results_in_order_and_waits_for_those_that_are_too_many() -> None:
    lane: Lane[int, int] = Lane(aside=True)
    go, waited = threading.Event(), []

    def before(key: int) -> None:
        waited.append(key)
        go.set()

    def call(n: int) -> int:
        assert go.wait(10)
        if n == 1:
            raise ZeroDivisionError
        return n * n

    for n in range(4):
        lane.give(n, lambda n=n: call(n))  # type: ignore[misc]
    first = dict(lane.take(most=3, before=before))
    assert waited[0] == 0
    assert first[0] == 0
    rest = {**first, **dict(lane.take(most=0, before=before))}
    assert list(rest) == [0, 1, 2, 3]
    assert isinstance(rest.pop(1), ZeroDivisionError)
    assert rest == {0: 0, 2: 4, 3: 9}
    lane.give(7, lambda: 1)
    list(lane.take(most=0, before=before))
    assert lane.close() == []


def test_the_rest_of_a_shard_and_its_halves_have_names_of_their_own() -> None:
    tracks = tuple(TrackTask(name, name, name) for name in "abcd")
    task = ShardTask("00007", tracks, Path("x"), "m", Provenance("r", "c", "m", "s"), "cpu", 1, ("tracks",))
    rest = task.without(ShardReceipt(task.name, audio_s={"a": 1.0}))
    assert rest is not None
    again = rest.without(ShardReceipt(rest.name, audio_s={"c": 1.0}))
    assert again is not None
    assert (rest.name, again.name, [t.track_id for t in again.tracks]) == ("00007.1", "00007.2", ["b", "d"])
    assert [half.name for half in again.halves()] == ["00007a.2", "00007b.2"]
    assert again.without(ShardReceipt("x", audio_s={"b": 1.0, "d": 1.0})) is None


def test_results_come_from_a_device_in_one_copy() -> None:
    rng = np.random.default_rng(0)
    tensors = {n: torch.from_numpy(rng.normal(size=s).astype(np.float32)) for n, s in (("a", (2, 3)), ("b", (4,)))}
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
    for found in (unpacked(flat, tensors), to_host(tensors)):
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(found[name], tensor.numpy())


@pytest.mark.parametrize(
    ("jobs", "n_tracks", "cores", "gigabytes", "expected"),
    [
        (None, 10_000, 16, 80, 16),  # a process a core, while the GPUs have memory for them
        (None, 10_000, 96, 24, 12),
        (None, 100, 16, 80, 2),  # few tracks are not worth more than a process for each GPU
        (5, 100, 16, 80, 5),
        (1, 100, 16, 80, 1),
    ],
)
def test_processes_share_gpus(
    jobs: int | None, n_tracks: int, cores: int, gigabytes: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(total_memory=gigabytes * 10**9))
    monkeypatch.setattr(prepare, "default_jobs", lambda most, longest_s: max(1, min(cores, most)))
    assert prepare._n_local(jobs, "cuda", n_tracks, 200.0) == expected
