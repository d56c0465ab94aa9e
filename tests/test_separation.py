"""Separation of any length and format sums to the mixture and does not depend on how the signal arrives."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from networks import tiny_checkpoint

from stemfeatures.constants import STEMS
from stemfeatures.errors import DecodeError, EmptyAudioError, NonFiniteAudioError
from stemfeatures.inference import segments
from stemfeatures.separation import Separator


@pytest.fixture(scope="module")
def separator(tmp_path_factory):
    return Separator(tiny_checkpoint(tmp_path_factory.mktemp("model")))


def _noise(channels: int, n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, n))).astype(np.float32)


def _level_db(x: np.ndarray, reference: np.ndarray) -> float:
    return 10 * np.log10(np.mean(x.astype(float) ** 2) / np.mean(reference.astype(float) ** 2) + 1e-30)


@pytest.mark.parametrize(
    ("sample_rate", "channels", "n"),
    [
        (44_100, 2, 1), (44_100, 1, 2), (8_000, 1, 1), (22_050, 1, 512), (44_100, 2, 44_100), (48_000, 2, 50_001),
        (8_000, 1, 400_000), (11_025, 1, 33_333), (44_100, 2, 44_100 * 25 + 17), (96_000, 1, 96_001),
        (16_000, 6, 16_000),
    ],
)  # fmt: skip
def test_stems_sum_to_the_mixture(separator, sample_rate, channels, n):
    y = _noise(channels, n)
    stems = separator.separate_array(y, sample_rate)
    assert set(stems) == set(STEMS)
    assert all(s.shape == y.shape and s.dtype == np.float32 for s in stems.values())
    assert _level_db(sum(stems.values()) - y, y) < -100
    if n > 1000:
        assert any(_level_db(s - y / 4, y) > -40 for s in stems.values()), "masks of a test network must differ"


def test_one_dimensional_arrays_stay_so(separator):
    y = _noise(1, 5000)[0]
    assert separator.separate_array(y, 22_050)["vocals"].shape == y.shape


def test_blocks_do_not_matter(separator):
    y = _noise(2, 44_100 * 22)
    whole = separator.separate_array(y, 44_100)
    rng = np.random.default_rng(1)
    cuts = np.sort(rng.integers(0, y.shape[1], 40))
    blocks = np.split(y, cuts, axis=1)
    parts = list(separator.stream(blocks, 44_100, 2))
    for stem in STEMS:
        np.testing.assert_allclose(np.concatenate([p[stem] for p in parts], axis=1), whole[stem], atol=2e-5)


def test_segments_are_joined_without_a_seam(tmp_path):
    """Many short segments give what few long ones give, away from what a segment cannot see."""
    net = Separator(tiny_checkpoint(tmp_path)).net
    spectrum = torch.randn(1025, 1500, dtype=torch.complex64)
    got: list[segments.Frames] = []
    track = segments.SegmentTrack(got.append, segment=400)
    runner = segments.SegmentRunner(net)
    for start in range(0, 1500, 190):
        runner.add(track.push(spectrum[:, start : start + 190]))
    runner.add(track.finish())
    runner.flush()
    assert track.finished
    assert [f.first for f in got] == list(np.cumsum([0] + [len(f) for f in got[:-1]]))
    assert sum(len(f) for f in got) == 1500
    assert torch.equal(torch.cat([f.spectrum for f in got], dim=-1), spectrum)
    masks = torch.cat([f.masks for f in got], dim=-1)
    assert torch.allclose(masks.sum(dim=0), torch.ones(1024, 1500), atol=1e-5)


@pytest.mark.parametrize("n_frames", [1, 400, 401, 784, 785, 800, 1008, 1009, 1120, 1121])
def test_every_frame_comes_once_whatever_the_length(separator, n_frames):
    spectrum = torch.randn(1025, n_frames, dtype=torch.complex64)
    got: list[segments.Frames] = []
    track = segments.SegmentTrack(got.append, segment=400)
    runner = segments.SegmentRunner(separator.net, batch_size=3)
    runner.add(track.push(spectrum))
    runner.add(track.finish())
    runner.flush()
    assert torch.equal(torch.cat([f.spectrum for f in got], dim=-1), spectrum)


@pytest.mark.parametrize("n_frames", [985, 1100, 1200, 1350, 1500, 1520])
def test_the_last_segment_sees_little_twice(n_frames):
    """It is the shortest of a few lengths that holds what is new, no less than half of the others, or one more of
    them that is longer."""
    track = segments.SegmentTrack(lambda frames: None, segment=600)
    (whole, *more) = track.push(torch.zeros(1025, n_frames, dtype=torch.complex64))
    (last,) = track.finish()
    before = [whole, *more][-1]
    assert all(s.spectrum.shape[-1] == 600 for s in (whole, *more))
    length, new = last.spectrum.shape[-1], n_frames - before.start - 600
    assert last.start + length == n_frames
    assert length == min(n for n in (300, *range(384, 984, 128), 984) if n >= new + 2 * segments.BORDER)


def test_segments_of_a_track_run_in_order_whatever_their_lengths(separator):
    """The last one of a track is as long as that of another which waits before the first one."""
    ran: list[tuple[str, int]] = []
    runner = segments.SegmentRunner(separator.net, batch_size=8)
    names = {512: "a", 800: "b", 401: "c"}
    for n_frames, name in names.items():
        track = segments.SegmentTrack(lambda frames, name=name: ran.append((name, frames.first)), segment=400)
        spectrum = torch.randn(1025, n_frames, dtype=torch.complex64)
        cut = [*track.push(spectrum), *track.finish()]
        assert [s.spectrum.shape[-1] for s in cut] == ([400, 512] if name == "b" else [n_frames])
        runner.add(iter(cut))
    runner.flush()
    for name in names.values():
        starts = [first for owner, first in ran if owner == name]
        assert starts == sorted(starts), name
    assert {owner for owner, _ in ran} == {"a", "b", "c"}


def test_bad_arrays_are_refused(separator):
    with pytest.raises(EmptyAudioError):
        separator.separate_array(np.zeros((2, 0), np.float32), 44_100)
    with pytest.raises(NonFiniteAudioError):
        separator.separate_array(np.array([0.0, np.nan]), 44_100)


def test_files_keep_rate_channels_and_length(separator, tmp_path):
    y = _noise(2, 32_001)
    soundfile.write(tmp_path / "a b.wav", y.T, 32_000, subtype="FLOAT")
    for suffix, floor in (("wav", -100), ("flac", -80)):
        paths = separator.separate_file(tmp_path / "a b.wav", tmp_path / suffix, format=suffix)
        stems = {}
        for stem, path in paths.items():
            x, rate = soundfile.read(path, dtype="float32", always_2d=True)
            assert rate == 32_000
            stems[stem] = x.T
        assert _level_db(sum(stems.values()) - y, y) < floor


def test_a_bad_file_leaves_nothing_behind(separator, tmp_path):
    bad = tmp_path / "bad.mp3"
    bad.write_text("this is not audio")
    with pytest.raises(DecodeError, match=r"bad\.mp3"):
        separator.separate_file(bad, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_stems_that_there_are_not_are_named(separator, tmp_path):
    soundfile.write(tmp_path / "a.wav", _noise(2, 8000).T, 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="unknown stem 'vocal'; there are: vocals, drums, bass, other"):
        separator.separate_file(tmp_path / "a.wav", tmp_path / "out", stems=["drums", "vocal"])
    assert not (tmp_path / "out").exists()
    assert list(separator.separate_file(tmp_path / "a.wav", tmp_path / "out", stems="drums")) == ["drums"]


def test_memory_does_not_grow_with_length(separator):
    """Peak of Python-side allocations while streaming; torch's are bounded by the same buffers."""

    def peak(seconds: int) -> int:
        blocks = (_noise(1, 8_000, seed=i) for i in range(seconds))
        tracemalloc.start()
        for _ in separator.stream(blocks, 8_000, 1):
            pass
        value = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return value

    assert peak(120) < 1.3 * peak(60)
