"""Augmentation of one stem: equaliser, room, drive. Plain numpy on ``(n_samples,)`` float32 signals."""

from __future__ import annotations

import numpy as np

from ...constants import ANALYSIS_SAMPLE_RATE as SR


def random_equaliser(n_bins: int, rng: np.random.Generator, *, strength_db: float = 4.0) -> np.ndarray:
    """(n_bins,) gains of a smooth random curve over log frequency, from 0 to SR / 2."""
    points = np.array([0.0, 60, 150, 400, 1000, 2500, 6000, SR / 2])
    gains = rng.normal(0, strength_db, len(points))
    if rng.random() < 0.1:
        gains[-2:] -= rng.uniform(6, 24)
    if rng.random() < 0.1:
        gains[:2] -= rng.uniform(6, 18)
    axis = np.log2(np.linspace(0, SR / 2, n_bins) + 30.0)
    return 10 ** (np.interp(axis, np.log2(points + 30.0), gains) / 20)


def random_room(rng: np.random.Generator) -> np.ndarray:
    """An impulse response: the direct sound and exponentially decaying, darkening noise."""
    decay = float(np.exp(rng.uniform(np.log(0.15), np.log(1.8))))
    n = int(min(decay, 1.2) * SR)
    t = np.arange(n) / SR
    tail = rng.standard_normal(n) * 10 ** (-3 * t / decay)
    darkness = rng.uniform(0.2, 0.8)
    tail[1:] = (1 - darkness) * tail[1:] + darkness * np.convolve(tail, [0.25, 0.5, 0.25], "same")[1:]
    delay = int(rng.uniform(0.0, 0.04) * SR)
    wet = 10 ** (rng.uniform(-24, -6) / 20)
    response = np.zeros(n + delay)
    response[delay:] = tail * wet / np.sqrt(np.sum(tail**2) + 1e-12)
    response[0] += 1.0
    return response


def colour(y: np.ndarray, rng: np.random.Generator, *, room: float = 0.5, equaliser: float = 0.8) -> np.ndarray:
    """Random equaliser and room in one pass of FFT convolution; length is kept."""
    use_room, use_equaliser = rng.random() < room, rng.random() < equaliser
    if not (use_room or use_equaliser):
        return y
    size = 1 << int(np.ceil(np.log2(len(y) + int(1.3 * SR))))
    spectrum = np.fft.rfft(y, size)
    if use_equaliser:
        spectrum *= random_equaliser(len(spectrum), rng)
    if use_room:
        spectrum *= np.fft.rfft(random_room(rng), size)
    return np.fft.irfft(spectrum, size)[: len(y)].astype(np.float32)


def drive(y: np.ndarray, amount: float) -> np.ndarray:
    """Soft clipping; ``amount`` is the gain in dB into ``tanh``, level is kept roughly."""
    peak = float(np.abs(y).max(initial=0.0))
    if peak == 0:
        return y
    gain = 10 ** (amount / 20) / peak
    return (np.tanh(gain * y) * (peak / np.tanh(gain * peak))).astype(np.float32)


def rms(y: np.ndarray) -> float:
    """Root mean square over the samples that are above -40 dB of the peak's frame."""
    frames = y[: len(y) // 1024 * 1024].reshape(-1, 1024)
    power = np.mean(frames.astype(float) ** 2, axis=1)
    loud = power > 1e-4 * power.max(initial=0.0)
    return float(np.sqrt(power[loud].mean())) if loud.any() else 0.0


def high_pass(y: np.ndarray, hertz: float) -> np.ndarray:
    """Zero-phase high-pass, 24 dB an octave (the magnitude of a fourth-order Butterworth filter)."""
    spectrum = np.fft.rfft(y, 2 * len(y))
    ratio = (np.arange(len(spectrum)) * SR / (2 * len(y)) / hertz) ** 4
    return np.fft.irfft(spectrum * (ratio / np.sqrt(1 + ratio**2)), 2 * len(y))[: len(y)].astype(np.float32)
