"""Moments, zero crossings, Bark bands and attacks of signals with a known answer, and beside librosa and essentia."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import pytest
import torch
from frames_helper import SR, stem_frames, track_frames
from scipy.stats import kurtosis, skew

from stemfeatures.constants import BARK_EDGES_HZ, STEMS
from stemfeatures.descriptors import describe
from stemfeatures.descriptors.attacks import attack_times_of
from stemfeatures.descriptors.spectrum import bark_shares
from stemfeatures.frames.measures import WaveMeter, spectral_shape
from stemfeatures.frames.roughness import roughness, spectral_peaks

T = np.arange(3 * SR) / SR


def other(y: np.ndarray) -> dict[str, Any]:
    """Values of a stem that plays alone."""
    return row_of("other", y, sdr_db=20.0)


def row_of(stem: str, y: np.ndarray, *, sdr_db: float) -> dict[str, Any]:
    """Values of a stem whose masks promise so much."""
    frames = track_frames({stem: y})
    energy = frames.stems[stem].energy
    frames.stems[stem].mask_energy = energy / (1 - 10 ** (-sdr_db / 10))
    return describe(frames).stems[stem]


def test_moments_are_those_of_the_distribution_of_magnitude() -> None:
    """A bin of weight w counts as w equal observations of its frequency."""
    counts = np.random.default_rng(0).integers(0, 5, (1024, 3))
    counts[400:, 1] = 0
    magnitude = torch.from_numpy(counts.astype(np.float32))
    shape = spectral_shape(magnitude, magnitude**2)
    for frame in range(3):
        observed = np.repeat(np.arange(1024) * SR / 2048, counts[:, frame])
        assert float(shape["skewness"][frame]) == pytest.approx(skew(observed), abs=1e-4)
        assert float(shape["kurtosis"][frame]) == pytest.approx(kurtosis(observed), abs=1e-4)
    line = torch.zeros(1024, 1)
    line[100] = 1
    assert [float(spectral_shape(line, line)[name]) for name in ("skewness", "kurtosis")] == [0, 0]


def test_white_noise_is_flat_in_all() -> None:
    values = other(0.1 * np.random.default_rng(0).standard_normal(len(T)))
    # A uniform distribution: skewness 0, kurtosis 9 / 5 - 3; every second pair of samples has another sign.
    assert values["spectrum_status"] == "ok"
    assert values["spectral_skewness_mean"] == pytest.approx(0, abs=0.02)
    assert values["spectral_kurtosis_mean"] == pytest.approx(-1.2, abs=0.02)
    assert values["zero_crossing_rate_mean"] == pytest.approx(0.5, abs=0.01)
    shares = np.array([values[f"bark_{k:02d}_mean"] for k in range(1, 24)])
    np.testing.assert_allclose(shares, np.diff(BARK_EDGES_HZ) / 11_025, rtol=0.25, atol=2e-3)
    assert shares.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("hz", "band"), [(55, 1), (440, 5), (1000, 9), (5000, 19), (10_500, 23)])
def test_a_tone_lies_in_its_band_and_crosses_zero_twice_a_period(hz: float, band: int) -> None:
    values = other(0.2 * np.sin(2 * np.pi * hz * T))
    assert values[f"bark_{band:02d}_mean"] > 0.95
    assert values["zero_crossing_rate_median"] == pytest.approx(2 * hz / SR, rel=0.02, abs=2 / 2048)


@pytest.mark.parametrize("seed", [0, 1])
def test_zero_crossings_are_those_of_librosa(seed: int) -> None:
    y = np.random.default_rng(seed).standard_normal(20_000 + seed).cumsum().astype(np.float32)
    y -= np.convolve(y, np.ones(300) / 300, "same")
    meter = WaveMeter(1, "cpu")
    for part in np.split(y, [7, 600, 5000]):
        meter.push(torch.from_numpy(part.astype(np.float32))[None])
    n_frames = 1 + len(y) // 512
    rate, envelope = meter.finish(n_frames)
    theirs = librosa.feature.zero_crossing_rate(np.pad(y.astype(np.float32), 1024), center=False)[0]
    np.testing.assert_allclose(rate[0, : len(theirs)], theirs, atol=2 / 2048)
    assert envelope.shape == (1, 4 * n_frames)
    np.testing.assert_array_equal(envelope[0, :100], np.abs(y[:12_800].astype(np.float32)).reshape(-1, 128).max(axis=1))


def strokes(attack_s: float) -> np.ndarray:
    """A tone of 440 Hz every half second, that rises in a line and decays."""
    t = T % 0.5
    envelope = np.where(t < attack_s, t / attack_s, np.exp(-(t - attack_s) / 0.06))
    return 0.3 * envelope * np.sin(2 * np.pi * 440 * T)


@pytest.mark.parametrize("attack_s", [0.02, 0.05, 0.12])
def test_attack_times_of_linear_rises(attack_s: float) -> None:
    values = other(strokes(attack_s))
    assert values["attack_status"] == "ok"
    assert values["attack_time_median_s"] == pytest.approx(0.7 * attack_s, abs=0.006)
    assert values["log_attack_time_mean"] == pytest.approx(np.log10(0.7 * attack_s), abs=0.15)
    assert values["log_attack_time_std"] < 0.1


def test_attacks_are_those_of_essentia() -> None:
    standard = pytest.importorskip("essentia.standard")
    for attack_s in (0.03, 0.1):
        y = strokes(attack_s)[: SR // 2].astype(np.float32)
        theirs = 10 ** standard.LogAttackTime(sampleRate=SR)(standard.Envelope(sampleRate=SR)(y))[0]
        [ours] = attack_times_of(stem_frames(y).envelope, np.array([0.0]))
        assert ours == pytest.approx(theirs, abs=0.008)


def test_what_does_not_rise_is_no_attack() -> None:
    held = np.ones(200)
    assert len(attack_times_of(held, np.array([0.5]))) == 0  # a new note on a sound that goes on
    assert len(attack_times_of(np.zeros(200), np.array([0.5]))) == 0
    assert len(attack_times_of(np.zeros(0), np.zeros(0))) == 0
    assert attack_times_of(np.r_[np.zeros(90), held], np.array([0.52])) == pytest.approx([128 / SR])
    assert other(np.zeros(SR))["attack_status"] == "silent"
    np.testing.assert_array_equal(bark_shares(np.zeros((23, 4))), 0)


def test_two_partials_are_as_rough_as_essentia_says() -> None:
    """Its curve, seen with a second partial so soft that nothing is limited."""
    standard = pytest.importorskip("essentia.standard")
    dissonance = standard.Dissonance()
    cents = np.arange(10, 500, 10)
    for hz in (200.0, 500.0, 1000.0):
        pairs = np.stack([np.full(len(cents), hz), hz * 2 ** (cents / 1200)], axis=1).astype(np.float32)
        theirs = np.array([dissonance(pair, np.array([1, 0.05], np.float32)) for pair in pairs])
        ours = roughness(torch.from_numpy(pairs), torch.tensor([1.0, 0.05]).expand(len(pairs), 2)).numpy()
        np.testing.assert_allclose(ours / ours.max(), theirs / theirs.max(), atol=0.13)
        assert np.corrcoef(ours, theirs)[0, 1] > 0.98
    both = torch.tensor([[1000.0, 1000.0 + 0.22 * (0.0207 * 1000 + 18.96) / 0.24]])
    assert float(roughness(both, torch.ones(1, 2))) == pytest.approx(0.5, abs=1e-4)


def test_harmonic_tones_are_smoothest_in_the_intervals_of_sethares() -> None:
    """Six partials each: the curve dips at 6:5, 5:4, 4:3, 3:2, 5:3 and 2:1 (his figure 3)."""
    ratios = np.arange(1.05, 2.1, 0.005)
    partials = 500.0 * np.arange(1, 7)
    hz = torch.from_numpy(np.concatenate([np.tile(partials, (len(ratios), 1)), ratios[:, None] * partials], axis=1))
    curve = roughness(hz, torch.from_numpy(np.tile(0.88 ** np.arange(6), 2)).expand(len(ratios), 12)).numpy()
    dips = ratios[1:-1][(curve[1:-1] < curve[:-2]) & (curve[1:-1] < curve[2:])]
    for interval in (6 / 5, 5 / 4, 4 / 3, 3 / 2, 5 / 3, 2):
        assert np.abs(dips - interval).min() < 0.006


def test_dissonance_of_tones_whatever_their_level() -> None:
    def tones(*hz: float, gain: float = 0.1) -> np.ndarray:
        return np.asarray(gain * sum(np.sin(2 * np.pi * f * T) for f in hz))

    alone, rough, soft = other(tones(1000)), other(tones(1000, 1050)), other(tones(1000, 1050, gain=0.01))
    assert alone["dissonance_mean"] < 0.02
    assert rough["dissonance_mean"] == pytest.approx(0.49, abs=0.03)
    assert soft["dissonance_mean"] == pytest.approx(rough["dissonance_mean"], rel=1e-3)
    assert other(tones(1000, 1500))["dissonance_mean"] < 0.03
    # of other not where something bleeds into it
    y = tones(500, 530)
    for row in STEMS:
        assert row_of(row, y, sdr_db=20.0)["dissonance_status"] == "ok"
        bled = row_of(row, y, sdr_db=6.0)
        status = "poor_separation" if row == "other" else "ok"
        assert (bled["dissonance_status"], bled["dissonance_mean"] is not None) == (status, status == "ok")
    hz, height = spectral_peaks(torch.zeros(1, 1024, 3))
    np.testing.assert_array_equal(roughness(hz, height), 0)
