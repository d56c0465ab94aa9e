"""The mixing desk: filters, dynamics, rooms.

Signals are float32 at 44.1 kHz, mono ``(n,)`` or stereo ``(2, n)``. Whatever acts on the mixture acts as one gain
over time on every stem, or as one linear filter: the stems still sum to the mixture. Filters: R. Bristow-Johnson's
cookbook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.signal import butter, sosfilt

SR = 44_100
BLOCK = 64

#: A band of an equaliser: kind (``low_shelf``, ``peak``, ``high_shelf``, ``low_cut``, ``high_cut``), Hz, dB, Q.
Band = tuple[str, float, float, float]


def from_db(db: float) -> float:
    return float(10.0 ** (db / 20.0))


def to_db(amplitude: float) -> float:
    return float(20.0 * np.log10(max(amplitude, 1e-9)))


def active_rms(y: np.ndarray) -> float:
    """RMS of the louder channel over the frames within 30 dB of the loudest; 0 for silence."""
    y = np.atleast_2d(y)
    usable = y.shape[1] // 2048 * 2048
    power = np.square(y[:, :usable]).reshape(len(y), -1, 2048).mean(axis=2).max(axis=0)
    peak = power.max(initial=0.0)
    return float(np.sqrt(power[power > 1e-3 * peak].mean())) if peak > 0 else 0.0


# -- filters ------------------------------------------------------------------------------------------------------


def _section(kind: str, hertz: float, db: float, q: float) -> np.ndarray:
    """One second-order section."""
    w = 2 * np.pi * min(hertz, 0.45 * SR) / SR
    cos, alpha, a = np.cos(w), np.sin(w) / (2 * q), 10 ** (db / 40)
    if kind == "peak":
        b, d = (1 + alpha * a, -2 * cos, 1 - alpha * a), (1 + alpha / a, -2 * cos, 1 - alpha / a)
    elif kind in ("low_shelf", "high_shelf"):
        s = 1 if kind == "low_shelf" else -1
        root = 2 * np.sqrt(a) * alpha
        b = (
            a * ((a + 1) - s * (a - 1) * cos + root),
            s * 2 * a * ((a - 1) - s * (a + 1) * cos),
            a * ((a + 1) - s * (a - 1) * cos - root),
        )
        d = (
            (a + 1) + s * (a - 1) * cos + root,
            -s * 2 * ((a - 1) + s * (a + 1) * cos),
            (a + 1) + s * (a - 1) * cos - root,
        )
    elif kind == "low_cut":
        b, d = ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2), (1 + alpha, -2 * cos, 1 - alpha)
    elif kind == "high_cut":
        b, d = ((1 - cos) / 2, 1 - cos, (1 - cos) / 2), (1 + alpha, -2 * cos, 1 - alpha)
    else:
        raise ValueError(f"unknown band {kind!r}")
    return np.array([*b, *d]) / d[0]


def equalise(y: np.ndarray, bands: Sequence[Band]) -> np.ndarray:
    """``y`` through the bands."""
    if not bands:
        return y
    return sosfilt(np.array([_section(*band) for band in bands], dtype=np.float32), y, axis=-1).astype(np.float32)


def draw_tone(rng: np.random.Generator, *, strength_db: float = 2.5, low_cut: float = 0.0) -> list[Band]:
    """A channel's equaliser: shelves and two peaks at random."""
    bands: list[Band] = [("low_cut", low_cut, 0.0, 0.7)] if low_cut else []
    bands.append(("low_shelf", float(rng.uniform(90, 250)), float(rng.normal(0, strength_db)), 0.7))
    for low, high in ((250, 1200), (1200, 5000)):
        hertz = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        bands.append(("peak", hertz, float(rng.normal(0, strength_db)), float(rng.uniform(0.5, 1.5))))
    bands.append(("high_shelf", float(rng.uniform(5000, 9000)), float(rng.normal(0.5, strength_db)), 0.7))
    return bands


# -- dynamics -----------------------------------------------------------------------------------------------------


def block_peaks(y: np.ndarray, *, power: bool) -> np.ndarray:
    """(n_blocks,) peak, or mean square, of the louder channel."""
    y = np.atleast_2d(y)
    n_blocks = -(-y.shape[1] // BLOCK)
    padded = np.zeros((len(y), n_blocks * BLOCK), np.float32)
    padded[:, : y.shape[1]] = y
    blocks = padded.reshape(len(y), n_blocks, BLOCK)
    return np.square(blocks).mean(axis=2).max(axis=0) if power else np.abs(blocks).max(axis=(0, 2))


def ramps(points: np.ndarray, n: int) -> np.ndarray:
    """(n,) float32: straight lines between values at the block starts."""
    points = np.append(points, points[-1]).astype(np.float32)
    ramp = np.arange(BLOCK, dtype=np.float32) / BLOCK
    return (points[:-1, None] + (points[1:] - points[:-1])[:, None] * ramp).ravel()[:n]


def _follow(target: np.ndarray, attack_s: float, release_s: float) -> np.ndarray:
    """Smooth a gain reduction in dB: ``attack_s`` where it grows, ``release_s`` where it shrinks."""
    rise, fall = (float(np.exp(-BLOCK / SR / max(t, 1e-4))) for t in (attack_s, release_s))
    out, state = [], 0.0
    for value in target.tolist():
        state = value + (rise if value > state else fall) * (state - value)
        out.append(state)
    return np.array(out)


def compressor_gain(
    y: np.ndarray, *, threshold_db: float, ratio: float, attack_s: float, release_s: float
) -> np.ndarray:
    """(n,) gain of a compressor with a soft knee of 6 dB that listens to ``y``."""
    level = 10 * np.log10(block_peaks(y, power=True) + 1e-12)
    over = np.clip((level - threshold_db + 3) / 6, 0, 1) * np.maximum(level - threshold_db + 3, 0) * 0.5
    over = np.where(level > threshold_db + 3, level - threshold_db, over)
    reduction = _follow(over * (1 - 1 / ratio), attack_s, release_s)
    return ramps(10 ** (-reduction / 20), np.shape(y)[-1])


def compress(y: np.ndarray, rng: np.random.Generator, *, depth_db: float = 8.0, ratio: float = 3.0) -> np.ndarray:
    """``y`` compressed by about ``depth_db`` at its loud places, level kept roughly."""
    level = to_db(active_rms(y))
    settings = {"attack_s": float(rng.uniform(0.002, 0.03)), "release_s": float(rng.uniform(0.05, 0.3))}
    gain = compressor_gain(y, threshold_db=level - depth_db * rng.uniform(0.5, 1.2), ratio=ratio, **settings)
    return y * gain


def saturate(y: np.ndarray, drive_db: float) -> np.ndarray:
    """Soft clipping ``drive_db`` above the active level; the level is kept."""
    level = active_rms(y)
    if level == 0:
        return y
    driven = np.tanh(y * (from_db(drive_db) * 0.3 / level))
    return (driven * (level / max(active_rms(driven), 1e-9))).astype(np.float32)


def duck(n: int, times_s: Sequence[float], depth_db: float, release_s: float) -> np.ndarray:
    """(n,) gain that is pulled down at every given time and comes back: the pumping of dance music."""
    points = np.zeros(-(-n // BLOCK))
    shape = -depth_db * np.exp(-np.arange(int(4 * release_s * SR / BLOCK)) * BLOCK / SR / release_s)
    for time in times_s:
        a = round(time * SR / BLOCK)
        b = min(len(points), a + len(shape))
        if 0 <= a < b:
            points[a:b] = np.minimum(points[a:b], shape[: b - a])
    return ramps(10 ** (points / 20), n)


# -- speed ------------------------------------------------------------------------------------------------------


def resampled(y: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """(m,) float32: ``y`` played at ``speed`` (one value a sample of the result) until it ends; cubic interpolation."""
    place = np.cumsum(speed, dtype=np.float64)
    place -= place[0]
    place = place[: int(np.searchsorted(place, len(y) - 3))]
    left = place.astype(np.int64)
    x = (place - left).astype(np.float32)
    before, here, after, beyond = y[np.maximum(left - 1, 0)], y[left], y[left + 1], y[left + 2]
    slope, next_slope = 0.5 * (after - before), 0.5 * (beyond - here)
    rise = after - here
    return (here + x * (slope + x * (3 * rise - 2 * slope - next_slope + x * (slope + next_slope - 2 * rise)))).astype(
        np.float32
    )


# -- space --------------------------------------------------------------------------------------------------------


def pan(y: np.ndarray, place: float) -> np.ndarray:
    """(2, n) from mono; -1 left, 1 right, constant power, unity at the sides' middle."""
    angle = (place + 1) * np.pi / 4
    return np.stack([y * np.float32(np.sqrt(2) * np.cos(angle)), y * np.float32(np.sqrt(2) * np.sin(angle))])


def chorus(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2, n) from mono: a copy at each side, its delay wandering."""
    n = len(y)
    t = np.arange(n, dtype=np.float32)
    rate, depth = rng.uniform(0.3, 1.2), rng.uniform(0.0006, 0.002) * SR
    sides = []
    for phase in (0.0, np.pi / 2):
        place = (
            t
            - np.float32(0.008 * SR)
            - np.float32(depth) * np.sin(t * np.float32(2 * np.pi * rate / SR) + np.float32(phase))
        )
        left = np.clip(place.astype(np.int64), 0, n - 2)
        fraction = np.clip(place - left, 0, 1).astype(np.float32)
        sides.append(0.75 * y + 0.6 * (y[left] * (1 - fraction) + y[left + 1] * fraction))
    return np.stack(sides).astype(np.float32)


@dataclass(frozen=True)
class Room:
    """A stereo impulse response (without the direct sound) and its decay time in seconds."""

    response: np.ndarray
    decay_s: float


def draw_room(rng: np.random.Generator, *, decay_s: tuple[float, float] = (0.3, 2.2)) -> Room:
    """Early reflections, then noise that decays and darkens, with energy 1 a side."""
    decay = float(np.exp(rng.uniform(np.log(decay_s[0]), np.log(decay_s[1]))))
    n = int(min(1.1 * decay, 2.0) * SR)
    t = np.arange(n) / SR
    noise = rng.standard_normal((2, n))
    corner = rng.uniform(1500, 6000)
    dark = sosfilt(butter(1, corner, fs=SR, output="sos"), noise, axis=1)
    tail = dark * 10 ** (-3 * t / decay) + 0.4 * (noise - dark) * 10 ** (-3 * t / (0.45 * decay))
    predelay = int(rng.uniform(0.0, 0.05) * SR)
    tail *= 1 - np.exp(-t / rng.uniform(0.002, 0.03))
    for _ in range(8):
        tail[int(rng.integers(2)), int(rng.uniform(0.004, 0.06) * SR) % n] += rng.uniform(0.5, 2.5) * rng.choice(
            [-1, 1]
        )
    tail = sosfilt(butter(2, rng.uniform(120, 300), "highpass", fs=SR, output="sos"), tail, axis=1)
    response = np.concatenate([np.zeros((2, predelay)), tail], axis=1)
    response /= np.sqrt(np.square(response).sum(axis=1, keepdims=True))
    return Room(response.astype(np.float32), decay)


def reverberate(y: np.ndarray, room: Room, block: int = 1 << 18) -> np.ndarray:
    """(2, n): the room's answer to the middle of ``y``, cut to its length."""
    mono = y if y.ndim == 1 else 0.5 * (y[0] + y[1])
    n, length = len(mono), room.response.shape[1]
    size = block if n > block else scipy.fft.next_fast_len(n + length, real=True)
    hop = size - length + 1
    spectrum = scipy.fft.rfft(room.response, size, axis=1)
    out = np.zeros((2, n + size), np.float32)
    for start in range(0, n, hop):
        samples = mono[start : start + hop]
        if np.any(samples):
            out[:, start : start + size] += scipy.fft.irfft(scipy.fft.rfft(samples, size) * spectrum, size, axis=1)
    return out[:, :n]


def echo(y: np.ndarray, delay_s: float, feedback: float, *, ping_pong: bool, cut_hz: float) -> np.ndarray:
    """(2, n): repeats of the middle of ``y``, each darker and weaker, on alternating sides if ``ping_pong``."""
    mono = y if y.ndim == 1 else 0.5 * (y[0] + y[1])
    out = np.zeros((2, len(mono)), np.float32)
    step, gain, repeat = int(delay_s * SR), 1.0, mono
    for k in range(1, 7):
        if k * step >= len(mono) or gain < 0.02:
            break
        repeat = equalise(repeat, [("high_cut", cut_hz, 0.0, 0.6), ("low_cut", 180.0, 0.0, 0.6)])
        sides = (k % 2,) if ping_pong else (0, 1)
        for side in sides:
            out[side, k * step :] += np.float32(gain) * repeat[: len(mono) - k * step]
        gain *= feedback
    return out
