"""What is too large for memory lies in a file without a name; no value depends on where it lies."""

from __future__ import annotations

import dataclasses
import errno
import os
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import tiny_checkpoint
from test_descriptors import song_frames

from stemfeatures._util import large_arrays
from stemfeatures._util.large_arrays import GrowingArrays, allocate, release
from stemfeatures.analysis import Analyser
from stemfeatures.descriptors import f0, values
from stemfeatures.descriptors.describe import describe
from stemfeatures.frames import TrackFrames
from stemfeatures.frames.types import ROUGHNESS_STEP

PARTS = [np.random.default_rng(n).normal(size=(3, n)).astype(np.float32) for n in (5, 0, 700, 1, 40)]
#: Contours, activations and the like, which stay in memory.
MOST_BYTES_A_FRAME = 450


def resident_file_bytes() -> int:
    """Of files that are mapped into this process."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile")]
    return 1024 * int(line.split()[1])


def lies_in_file(array: np.ndarray) -> bool:
    return large_arrays._mapping_of(array) is not None


@pytest.mark.parametrize("in_memory", [0, 100, 8_500, 10**9])
def test_parts_grow_to_the_same_array_wherever_they_lie(in_memory: int) -> None:
    arrays = GrowingArrays(in_memory=in_memory)
    for part in PARTS:
        arrays.append("a", part)
        arrays.append("b", part[0].astype(np.float64))
    found = arrays.finish()
    np.testing.assert_array_equal(found["a"], np.concatenate(PARTS, axis=1))
    np.testing.assert_array_equal(found["b"], np.concatenate(PARTS, axis=1)[0])
    assert lies_in_file(found["a"]) == (in_memory < 10_000)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}


def test_what_is_released_is_neither_in_memory_nor_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = resident_file_bytes()
    [array] = allocate({"a": (4, 5_000_000)}).values()
    array[:] = np.arange(5_000_000)
    assert resident_file_bytes() - before > 70_000_000
    release(array[1:, 7:])  # any view of it
    assert resident_file_bytes() - before < 10_000_000
    np.testing.assert_array_equal(array[3, ::999_983], np.arange(5_000_000, dtype=np.float32)[::999_983])
    assert not list(tmp_path.iterdir())  # the file has no name: nothing can be left behind


@pytest.mark.parametrize("full", ["write", "posix_fallocate"])
def test_arrays_stay_in_memory_where_the_disk_is_full(
    full: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = GrowingArrays(in_memory=0)
    for part in PARTS[:3]:
        arrays.append("a", part)

    def no_room(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if full == "posix_fallocate":
        monkeypatch.setattr(os, full, no_room)
    else:
        monkeypatch.setattr(GrowingArrays, "_put", no_room)
    for part in PARTS[3:]:
        arrays.append("a", part)
    found = arrays.finish()["a"]
    np.testing.assert_array_equal(found, np.concatenate(PARTS, axis=1))
    assert lies_in_file(found) == (full == "write")
    assert f"no room for 0 MB in the temporary folder {tempfile.gettempdir()}" in caplog.text
    assert "TMPDIR names another" in caplog.text


def test_a_track_whose_frames_lie_in_a_file_has_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    times = np.arange(30 * 22_050) / 22_050
    y = 0.2 * np.sin(2 * np.pi * 220 * times) * (times % 0.5 < 0.3) + 0.05 * rng.standard_normal((2, len(times)))
    analyser = Analyser(tiny_checkpoint(tmp_path))
    usual = analyser.from_audio(y, 22_050)
    monkeypatch.setattr(large_arrays, "IN_MEMORY", 0)
    monkeypatch.setattr(values, "BLOCK_FRAMES", 300)
    other = analyser.from_audio(y, 22_050)
    pairs: list[tuple[Any, Any]] = list(
        zip(
            [usual.frames, usual.frames.voice, *usual.frames.stems.values(), *usual.frames.pitch.values()],
            [other.frames, other.frames.voice, *other.frames.stems.values(), *other.frames.pitch.values()],
        )
    )
    for a, b in pairs:
        for field in dataclasses.fields(a):
            if isinstance(value := getattr(a, field.name), np.ndarray):
                np.testing.assert_array_equal(getattr(b, field.name), value, err_msg=field.name)
    assert lies_in_file(other.frames.stems["other"].mel)
    assert lies_in_file(other.frames.pitch["vocals"].candidates_hz)
    assert not lies_in_file(usual.frames.stems["other"].mel)
    for row, fields in usual.stems.items():
        for name, value in fields.items():
            if name != "key_mode_confidence":  # counts triads that are equally likely, too
                near = pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value
                assert other.stems[row][name] == near, (row, name)


def repeated(frames: TrackFrames, times: int) -> TrackFrames:
    """The same song several times, in a file."""

    def longer(array: np.ndarray) -> np.ndarray:
        axis = 0 if array.ndim == 2 and array.shape[1] == 5 else -1
        whole = np.concatenate([array] * times, axis=axis)
        if array.shape[-1] == -(-frames.n_frames // ROUGHNESS_STEP):  # one frame of several
            whole = whole[: -(-times * frames.n_frames // ROUGHNESS_STEP)]
        [found] = allocate({"found": whole.shape}, in_memory=0).values()
        found[:] = whole
        return found

    def of(part: Any) -> dict[str, Any]:
        arrays = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
        skipped = ("embedding", "step_power")
        return {n: longer(a) for n, a in arrays.items() if isinstance(a, np.ndarray) and n not in skipped}

    stems = {row: dataclasses.replace(stem, **of(stem)) for row, stem in frames.stems.items()}
    pitch = {row: dataclasses.replace(part, **of(part)) for row, part in frames.pitch.items()}
    n_samples = 512 * (times * frames.n_frames - 1)
    return dataclasses.replace(frames, n_samples=n_samples, stems=stems, pitch=pitch, step_power=None, **of(frames))


def test_descriptors_take_little_memory_for_a_longer_track(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames take 3.6 kB each, and what formulas make of all of them at once would take as much again."""
    monkeypatch.setattr(large_arrays, "IN_MEMORY", 0)
    for module, name in (
        (values, "BLOCK_FRAMES"),
        (f0, "BLOCK_FRAMES"),
        (f0, "VIBRATO_BLOCK"),
    ):
        monkeypatch.setattr(module, name, 100)
    frames, peaks = song_frames(), []
    describe(frames)  # what is computed once
    for times in (3, 9):
        long = repeated(frames, times)
        tracemalloc.start()
        describe(long)
        peaks.append(tracemalloc.get_traced_memory()[1] / (6 * frames.n_frames))
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < MOST_BYTES_A_FRAME
