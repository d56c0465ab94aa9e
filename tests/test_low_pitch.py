"""Pitch below the grid of the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from frames_helper import SR, n_frames_of, no_pitch, pitch_frames

from stemfeatures.frames.low_pitch import LowPitchMeter, add_low_pitch

T = np.arange(int(1.6 * SR)) / SR
LOW = (25.0, 27.5, 29.14, 30.87, 32.7, 34.65, 36.71)
#: Many have 25 to 38 Hz as a subharmonic.
HIGH = (41.2, 49.0, 55.0, 61.7, 65.4, 75.0, 82.4, 92.5, 98.0, 110.0, 125.0, 155.6, 196.0, 246.9, 392.0)


def plucked(hz: float) -> np.ndarray:
    since = T % 0.8
    return 0.3 * np.exp(-1.5 * since) * sum(np.sin(2 * np.pi * k * hz * since) / k for k in range(1, 9))


def sine(hz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * T)


def weak_fundamental(hz: float) -> np.ndarray:
    return sum(a * np.sin(2 * np.pi * k * hz * T) for k, a in ((1, 0.06), (2, 0.3), (3, 0.2)))


def measured(y: np.ndarray, block: int = 7_000) -> tuple[np.ndarray, np.ndarray]:
    meter = LowPitchMeter("cpu")
    for at in range(0, len(y), block):
        meter.push(torch.from_numpy(y[at : at + block].astype(np.float32)))
    return meter.finish(n_frames_of(len(y)))


@pytest.mark.parametrize("tone", [plucked, sine, weak_fundamental])
@pytest.mark.parametrize("hz", LOW)
def test_deep_tones_have_their_pitch(tone, hz):
    found, periodicity = measured(tone(hz))
    low = np.isfinite(found)
    assert low.mean() > 0.85
    np.testing.assert_allclose(1200 * np.log2(found[low] / hz), 0, atol=12)
    assert abs(np.median(1200 * np.log2(found[low] / hz))) < 1
    assert (periodicity[low] >= 0.8).all()
    assert (periodicity[~low] == 0).all()


@pytest.mark.parametrize("tone", [plucked, sine, weak_fundamental])
@pytest.mark.parametrize("hz", HIGH)
def test_higher_tones_are_no_deep_ones(tone, hz):
    assert np.isnan(measured(tone(hz))[0]).all()


def test_noise_lines_and_silence_are_no_deep_tones():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(5 * SR)
    line = np.concatenate([plucked(440 * 2 ** ((midi - 69) / 12))[: SR // 4] for midi in rng.integers(28, 45, 20)])
    for y in (noise, np.cumsum(noise), line, np.zeros(SR), np.full(SR, 0.5), np.zeros(1)):
        found, periodicity = measured(y)
        assert len(found) == n_frames_of(len(y))
        assert np.isfinite(found).mean() < 0.03
        assert np.isfinite(periodicity).all()


def test_the_blocks_do_not_matter():
    y = plucked(30.87)
    np.testing.assert_allclose(measured(y, 7_000)[0], measured(y, 333)[0], rtol=1e-4)


def test_a_deep_pitch_goes_before_the_harmonics_that_the_network_hears():
    n = 20
    hz = np.where(np.arange(n) < 10, 30.87, np.nan).astype(np.float32)
    periodicity = np.where(np.isfinite(hz), 0.9, 0.0).astype(np.float32)
    network, pitch = (pitch_frames(np.full(n, 61.7), voicing=0.4) for _ in range(2))
    add_low_pitch(pitch, hz, periodicity)
    np.testing.assert_array_equal(pitch.candidates_hz[:10, 0], hz[:10])
    assert (pitch.salience[:10, 0] > 2 * pitch.salience[:10, 1:].max(axis=1)).all()
    np.testing.assert_array_equal(pitch.voicing[:10], periodicity[:10])
    np.testing.assert_array_equal(pitch.candidates_hz[10:], network.candidates_hz[10:])
    np.testing.assert_array_equal(pitch.salience[10:], network.salience[10:])
    np.testing.assert_array_equal(pitch.voicing[10:], network.voicing[10:])
    nothing = no_pitch(n)
    add_low_pitch(nothing, np.full(n, np.nan), np.zeros(n))
    np.testing.assert_array_equal(nothing.candidates_hz, no_pitch(n).candidates_hz)
