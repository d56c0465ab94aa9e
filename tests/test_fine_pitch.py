"""F0 of a voice at the resolution of its waveform."""

from __future__ import annotations

import numpy as np
import pytest
from frames_helper import HOP_LENGTH, SR, n_frames_of

from stemfeatures.frames import fine_pitch
from stemfeatures.frames.fine_pitch import FinePitch

T = np.arange(2 * SR) / SR
AT = np.arange(n_frames_of(len(T))) * HOP_LENGTH


def voice(hz: np.ndarray, harmonics: int = 12) -> np.ndarray:
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, T.shape)) / SR
    return 0.1 * sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))


def moved(y: np.ndarray, candidates: np.ndarray, voicing: float = 0.9, block: int = 5_000) -> np.ndarray:
    """Candidates (n_frames, n) after all blocks."""
    return both(y, candidates, voicing, block)[0]


def both(
    y: np.ndarray, candidates: np.ndarray, voicing: float = 0.9, block: int = 5_000
) -> tuple[np.ndarray, np.ndarray]:
    """The same, and what lies between the frames."""
    fine = FinePitch()
    for start in range(0, len(candidates), 37):
        part = candidates[start : start + 37]
        fine.push(part, np.full(len(part), voicing))
    for start in range(0, len(y), block):
        fine.push_signal(y[start : start + block])
    return fine.finish()


def errors(hz: np.ndarray, true: np.ndarray | float) -> np.ndarray:
    """Cents, but at both ends, where the waveform is silent."""
    return np.abs(1200 * np.log2(hz[3:-3] / np.broadcast_to(true, hz.shape)[3:-3]))


@pytest.mark.parametrize("hz", [62.0, 98.0, 220.0, 440.0, 880.0])
@pytest.mark.parametrize("off", [-45, 20])
def test_a_candidate_beside_a_steady_pitch_is_moved_onto_it(hz, off):
    candidates = np.full((len(AT), 1), hz * 2 ** (off / 1200))
    assert errors(moved(voice(hz), candidates)[:, 0], hz).max() < 3


def test_a_candidate_that_lags_behind_a_glide_is_moved_onto_it():
    true = 220 * 2 ** (np.abs(T % 0.8 - 0.4) * 2)  # 24 semitones a second, up and down
    late = true[np.maximum(AT - 700, 0)]
    found = moved(voice(true), late[:, None])[:, 0]
    before, after = errors(late, true[np.minimum(AT, len(T) - 1)]), errors(found, true[np.minimum(AT, len(T) - 1)])
    assert np.median(before) > 50
    assert np.median(after) < 5


def test_half_way_between_frames_the_pitch_is_that_of_the_waveform():
    """Of a glide that turns and of a vibrato of 6 Hz: nearer than the mean of both frames."""
    half = np.minimum(AT + HOP_LENGTH // 2, len(T) - 1)
    for true, most in ((220 * 2 ** (np.abs(T % 0.8 - 0.4) * 2), 15), (330 * 2 ** (np.sin(2 * np.pi * 6 * T) / 12), 7)):
        frames = true[np.minimum(AT, len(T) - 1)]
        _, between = both(voice(true), frames[:, None])
        found, mean = errors(between[:-1], true[half][:-1]), errors(np.sqrt(frames[:-1] * frames[1:]), true[half][:-1])
        assert found.max() < most
        assert found.max() < 0.75 * mean.max()
        assert np.isnan(between[-1])


def test_nothing_is_between_frames_far_apart_and_without_a_pitch_the_mean_is():
    candidates = np.where(np.arange(len(AT))[:, None] < 40, 220.0, 330.0)
    _, between = both(np.where(AT[40] / SR > T, voice(220.0), voice(330.0)), candidates)
    assert np.flatnonzero(np.isnan(between)).tolist() == [39, len(AT) - 1]
    candidates[::2] *= 2 ** (30 / 1200)
    _, between = both(np.zeros(len(T)), candidates)
    np.testing.assert_allclose(between[:39], 220 * 2 ** (15 / 1200))
    _, between = both(voice(220.0), candidates, voicing=0.1)
    np.testing.assert_allclose(between[:39], 220 * 2 ** (15 / 1200))


def test_each_candidate_is_moved_alone_and_none_where_there_is_no_period():
    candidates = np.stack([np.full(len(AT), 218.0), np.full(len(AT), 111.0), np.full(len(AT), np.nan)], axis=1)
    found = moved(voice(220.0), candidates)
    assert errors(found[:, 0], 220).max() < 2
    assert errors(found[:, 1], 110).max() < 2
    assert np.isnan(found[:, 2]).all()
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(T))
    for y in (noise, np.zeros(len(T))):
        np.testing.assert_array_equal(moved(y, candidates), candidates)
    np.testing.assert_array_equal(moved(voice(220.0), candidates, voicing=0.1), candidates)


def test_far_candidates_and_those_out_of_range_stay():
    for hz in (300.0, 40.0, 1_310.0):
        candidates = np.full((len(AT), 1), hz)
        np.testing.assert_array_equal(moved(voice(220.0), candidates), candidates)


def test_the_blocks_do_not_matter(monkeypatch):
    true = 220 * 2 ** (0.05 * np.sin(2 * np.pi * 6 * T))
    candidates = np.full((len(AT), 2), [[222.0, 109.0]])
    whole = both(voice(true), candidates, block=len(T))
    monkeypatch.setattr(fine_pitch, "_CHUNK", 16)
    for block in (333, 7_000):
        for found, expected in zip(both(voice(true), candidates, block=block), whole):
            np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_one_frame_and_none():
    assert [len(found) for found in FinePitch().finish()] == [0, 0]
    fine = FinePitch()
    fine.push(np.array([[220.0]]), np.ones(1))
    fine.push_signal(np.zeros(1))
    found, between = fine.finish()
    assert found.tolist() == [[220.0]]
    assert np.isnan(between).tolist() == [True]
