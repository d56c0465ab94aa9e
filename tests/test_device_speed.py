"""GPUs or cores: what is measured, remembered, chosen and told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from extract_helper import write_tone

from pipelines import extract_catalog
from pipelines.catalog import portions
from pipelines.commands.extract import plan_text
from pipelines.extraction import device_speed, prepare
from pipelines.extraction.device_speed import Speeds, choice, speeds_here
from stemfeatures._util.python_process import python_command
from stemfeatures.models.checkpoints import resolve

GPUS = ("a GPU",)


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    device_speed._speeds.cache_clear()
    yield
    device_speed._speeds.cache_clear()


@pytest.mark.parametrize(
    ("core", "gpu", "n_cores", "n_gpus", "device"),
    [
        (36.0, 900.0, 24, 1, "cuda"),  # 864 and 900
        (36.0, 900.0, 26, 1, "cpu"),
        (36.0, 900.0, 26, 2, "cuda"),
        (36.0, 40.0, 1, 1, "cuda"),
    ],
)
def test_the_faster_ones_are_chosen(core: float, gpu: float, n_cores: int, n_gpus: int, device: str) -> None:
    assert choice(Speeds(core, gpu), n_cores=n_cores, n_gpus=n_gpus)[0] == device


def test_it_is_said_why() -> None:
    said = choice(Speeds(36.2, 4012.0), n_cores=16, n_gpus=1)[1]
    assert said == (
        "on cuda, as was measured here: 16 cores would make 580 x real time of the whole job, "
        "1 GPU 4,000 x of the network"
    )


def test_speeds_are_those_of_the_model(model: Path) -> None:
    """In a process of its own, as a run measures them, with the processor in place of a GPU."""
    command = python_command(device_speed.PROGRAM, str(model), "float32", "cpu")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    small = Speeds(**json.loads(done.stdout))
    assert 1 < small.core < small.gpu  # the whole job, and the network alone
    times: dict[str, float] = {}
    for name, path in (("small", str(model)), ("default", "joint-v8")):
        times[name] = device_speed.network_speed(path, "cpu")
    assert times["default"] < 0.7 * times["small"]


def test_the_signal_has_a_voice_and_strokes() -> None:
    y = device_speed.signal()
    assert y.shape == (2, round(device_speed.SIGNAL_S * device_speed.RATE))
    assert 0.1 < np.abs(y).max() < 1.0
    assert np.isfinite(y).all()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was measured, as commands."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if "bfloat16" in command:
            raise subprocess.CalledProcessError(1, command, "", "Traceback ...\nRuntimeError: CUDA out of memory\n")
        return subprocess.CompletedProcess(command, 0, 'a warning\n{"core": 36.0, "gpu": 900.0}\n', "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_speeds_are_measured_once_for_a_machine(measured: list[list[str]], model: Path, tmp_path: Path) -> None:
    checkpoint = resolve(model)
    for _ in range(2):
        device_speed._speeds.cache_clear()  # as in another process
        assert speeds_here(checkpoint, "float32", GPUS) == Speeds(36.0, 900.0)
    assert len(measured) == 1
    assert measured[0][-2:] == [str(model), "float32"]
    speeds_here(checkpoint, "float32", ("another GPU",))
    assert len(measured) == 2
    (tmp_path / "cache" / "stemfeatures" / device_speed.FILE).write_text("{")  # damaged
    device_speed._speeds.cache_clear()
    assert speeds_here(checkpoint, "float32", GPUS) == Speeds(36.0, 900.0)
    assert len(measured) == 3


def test_what_cannot_be_measured(measured: list[list[str]], model: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert speeds_here(resolve(model), "bfloat16", GPUS) is None
    assert len(measured) == 1
    assert "cannot measure whether GPUs or cores are faster here: RuntimeError: CUDA out of memory" in caplog.text


@pytest.fixture
def with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "best_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: GPUS[i])
    monkeypatch.setattr(prepare, "default_jobs", lambda most, **_: max(1, min(most, 32)))
    monkeypatch.setattr(prepare, "TRACKS_WORTH_MEASURING", 2)


@pytest.mark.usefixtures("with_a_gpu")
@pytest.mark.parametrize("speeds", [Speeds(36.0, 900.0), Speeds(36.0, 4000.0), None])
def test_a_run_takes_what_is_faster(
    speeds: Speeds | None, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "speeds_here", lambda *_: speeds)
    monkeypatch.setattr(prepare, "_gpu_processes", lambda gpus: gpus)
    monkeypatch.setattr(prepare, "visible_gpus", lambda: ["0"])
    for i in range(2):
        write_tone(tmp_path / "music" / f"{i}.wav", f0=200.0 + i)
    plan = extract_catalog(tmp_path / "music", tmp_path / "out", model=model, dry_run=True)
    expected = "cpu" if speeds is not None and speeds.gpu < 1000 else "cuda"
    assert plan.device == expected
    assert (f"\non {expected}, as was measured here: 32 cores would" in plan_text(plan)) == (speeds is not None)
    assert plan.device_why.count("GPU") == (speeds is not None)


@pytest.mark.usefixtures("with_a_gpu")
@pytest.mark.parametrize(("so_far", "asked", "measured"), [
    (None, "auto", "bfloat16"), (None, "float32", "float32"), ("float32", "auto", "float32"),
    ("bfloat16", "auto", "bfloat16"),
])  # fmt: skip
def test_cores_are_measured_in_the_precision_in_which_they_would_compute(
    so_far: str | None, asked: str, measured: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(prepare, "speeds_here", lambda _, precision, *__: seen.append(precision))
    monkeypatch.setattr(prepare, "resolved_precision", lambda p, d: "bfloat16" if p == "auto" and d == "cpu" else p)
    monkeypatch.setattr(prepare, "_gpu_processes", lambda gpus: gpus)
    monkeypatch.setattr(prepare, "visible_gpus", lambda: ["0"])
    for i in range(3):
        write_tone(tmp_path / "music" / f"{i}.wav", f0=200.0 + i)
    if so_far is not None:
        first = {"device": "cpu", "jobs": 1, "limit": 1, "precision": so_far}
        extract_catalog(tmp_path / "music", tmp_path / "out", model=model, **first)
    extract_catalog(tmp_path / "music", tmp_path / "out", model=model, dry_run=True, precision=asked)
    assert seen == [measured]


@pytest.mark.usefixtures("with_a_gpu")
def test_a_short_last_portion_is_on_the_device_of_the_others(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "speeds_here", lambda *_: Speeds(36.0, 900.0))
    monkeypatch.setattr(prepare, "_gpu_processes", lambda gpus: gpus)
    monkeypatch.setattr(prepare, "visible_gpus", lambda: ["0"])
    monkeypatch.setattr(portions, "PORTION_ROWS", 2)
    paths = [str(write_tone(tmp_path / f"{i}.wav", f0=200.0 + i)) for i in range(3)]
    pd.DataFrame({"track_id": list("abc"), "path": paths}).to_parquet(tmp_path / "catalog.parquet")
    plan = extract_catalog(tmp_path / "catalog.parquet", tmp_path / "out", model=model, dry_run=True)
    assert sum(len(shard.track_ids) for shard in plan.planned) == 3
    assert plan.device == "cpu"
    assert plan.device_why.startswith("on cpu, as was measured here: 32 cores")


@pytest.mark.usefixtures("with_a_gpu")
def test_a_few_tracks_and_stems_of_others_are_not_worth_it(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object) -> Speeds:
        raise AssertionError("is measured")

    monkeypatch.setattr(prepare, "speeds_here", measure)
    monkeypatch.setattr(prepare, "_gpu_processes", lambda gpus: gpus)
    monkeypatch.setattr(prepare, "visible_gpus", lambda: ["0"])
    write_tone(tmp_path / "music" / "0.wav")
    plan = extract_catalog(tmp_path / "music", tmp_path / "out", model=model, dry_run=True)
    assert (plan.device, plan.device_why) == ("cuda", "")
    write_tone(tmp_path / "music" / "1.wav", f0=300.0)
    (tmp_path / "stems").mkdir()
    given = extract_catalog(
        tmp_path / "music", tmp_path / "out", model=model, dry_run=True, stems_from=tmp_path / "stems"
    )
    assert (given.device, given.device_why) == ("cuda", "")
    alone = extract_catalog(tmp_path / "music", tmp_path / "out", model=model, dry_run=True, device="cpu")
    assert (alone.device, alone.device_why) == ("cpu", "")
