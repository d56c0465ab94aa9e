"""The pitch of recorded notes, by autocorrelation."""

from __future__ import annotations

import numpy as np

from ..units import SR


def measure_pitch(y: np.ndarray, guess_hz: float) -> tuple[float, float]:
    """``(hertz, strength 0..1)`` of a steady note within a semitone of ``guess_hz``.

    The period is refined at up to eight periods' distance, so the error is a fraction of a cent on steady notes.
    Strength below about 0.5 means: no such pitch.
    """
    part = y[int(0.1 * SR) : int(0.1 * SR) + 32768]
    if len(part) < 6 * SR / guess_hz:
        part = y
    n = len(part)
    if n < 3 * SR / guess_hz or not np.any(part):
        return guess_hz, 0.0
    correlation = _autocorrelation(part)
    period, strength = SR / guess_hz, 0.0
    for multiple in (1, 2, 4, 8):
        width = 0.06 * period if multiple == 1 else 0.25 * period / multiple * 2
        low, high = int(multiple * period - width), int(multiple * period + width) + 2
        if high + 1 >= 0.7 * n or low < 1:
            break
        lag, height = _peak(correlation, low, high)
        period = lag / multiple
        strength = max(strength, height) if multiple == 1 else strength
    return SR / period, strength


def steadiness(y: np.ndarray, hertz: float) -> tuple[float, float]:
    """``(strength 0..1, deviation in cents)`` of a note said to be at ``hertz``, over its first 0.6 s.

    In windows of five periods, 80 ms or more: the median height of the autocorrelation at the period, and what four
    windows of five stay below in their distance from ``hertz``. ``(0, inf)`` where the note is too short to tell.
    """
    size = int(max(0.08, 5 / hertz) * SR)
    loud = 0.05 * np.sqrt(np.mean(np.square(y[: SR // 2]))) if len(y) else 0.0
    low, high = int(SR / hertz * 2 ** (-1 / 12)), int(SR / hertz * 2 ** (1 / 12)) + 2
    found = []
    for start in range(int(0.03 * SR), min(len(y) - size, int(0.6 * SR)), size // 2):
        window = y[start : start + size]
        if np.sqrt(np.mean(np.square(window))) > loud:
            lag, height = _peak(_autocorrelation(window), low, high)
            found.append((height, abs(1200 * np.log2(SR / lag / hertz))))
    if not found:
        return 0.0, np.inf
    heights, cents = np.transpose(found)
    return float(np.median(heights)), float(np.percentile(cents, 80))


def _autocorrelation(part: np.ndarray) -> np.ndarray:
    """Normalised and without the bias towards short lags."""
    n = len(part)
    spectrum = np.fft.rfft(part.astype(np.float64) - part.mean(dtype=np.float64), 2 * n)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:n]
    return correlation / (correlation[0] * (1 - np.arange(n) / n) + 1e-12)


def _peak(correlation: np.ndarray, low: int, high: int) -> tuple[float, float]:
    """Lag (by a parabola, in samples) and height of the highest value between two lags."""
    k = low + int(np.argmax(correlation[low:high]))
    a, b, c = correlation[k - 1 : k + 2]
    curvature = a - 2 * b + c
    offset = 0.5 * (a - c) / curvature if curvature < 0 else 0.0
    return k + float(np.clip(offset, -1, 1)), float(b)
