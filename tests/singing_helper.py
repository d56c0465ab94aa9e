"""Measurements of voices that know nothing of the generator but its audio and its truth."""

from __future__ import annotations

import warnings

import numpy as np


def pyin_rpa(
    y: np.ndarray, sample_rate: int, f0_hz: np.ndarray, *, fmin: float, fmax: float, frame_length: int
) -> float:
    """Part of the truth's voiced frames (F0 every 10 ms) where pYIN is within 50 cents; ``y`` (2, n)."""
    import librosa

    rate, hop = 22_050, 441  # 20 ms
    mono = librosa.resample(y.mean(axis=0), orig_sr=sample_rate, target_sr=rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimate, _, _ = librosa.pyin(
            mono, fmin=fmin, fmax=fmax, sr=rate, hop_length=hop, frame_length=frame_length, resolution=0.2, fill_na=None
        )
    return _accuracy(estimate, f0_hz[::2])


def yin_rpa(
    y: np.ndarray, sample_rate: int, f0_hz: np.ndarray, *, fmin: float, fmax: float, chroma: bool = False
) -> float:
    """The same of YIN, which decides frame by frame and smooths nothing over; with ``chroma`` octaves do not count."""
    import librosa

    rate, hop = 22_050, 441
    mono = librosa.resample(y.mean(axis=0), orig_sr=sample_rate, target_sr=rate)
    estimate = librosa.yin(mono, fmin=fmin, fmax=fmax, sr=rate, hop_length=hop, frame_length=1024)
    return _accuracy(estimate, f0_hz[::2], chroma=chroma)


def _accuracy(estimate: np.ndarray, truth: np.ndarray, *, chroma: bool = False) -> float:
    truth = truth[: len(estimate)]
    estimate = estimate[: len(truth)]
    voiced = truth > 0
    assert voiced.mean() > 0.15, "hardly anything to measure"
    cents = 1200 * np.log2(estimate[voiced] / truth[voiced])
    if chroma:
        cents = (cents + 600) % 1200 - 600
    return float(np.mean(np.abs(cents) < 50))
