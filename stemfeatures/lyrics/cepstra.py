"""Mel-frequency cepstra as the shipped acoustic model was trained on: the front end of CMU Sphinx.

Frames of 25.6 ms every 10 ms at 16 kHz, pre-emphasis, Hamming window, 25 mel bands from 130 to 6,800 Hz, tracked noise
taken off, 13 cepstra with a lifter. Streams are the cepstra, their first and their second differences over time.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .._util.large_arrays import release, rows
from .._util.numba_cache import compiled

SAMPLE_RATE = 16_000
HOP_LENGTH = 160
FRAME_RATE = SAMPLE_RATE / HOP_LENGTH
WINDOW_LENGTH = 410
N_FFT = 512
N_BANDS = 25
BAND_HZ = (130.0, 6_800.0)
N_CEPSTRA = 13
LIFTER = 22
PRE_EMPHASIS = 0.97
#: The model was trained on 16-bit samples: the floors of noise tracking and of logarithms are on that scale.
FULL_SCALE = 32_768.0
_LOG_FLOOR = 1e-4
#: Frames that one Fourier transform takes at a time, and of how many other things are computed at a time.
_CHUNK, _BLOCK = 500, 10_000
#: Noise tracking: smoothing of power, slow rise and fast fall of the floor, decay and depth of temporal masking,
#: bound of the gain, and bands on either side over which gains are averaged.
_SMOOTHING, _RISE, _FALL, _DECAY, _MASKED, _MAX_GAIN, _NEIGHBOURS = 0.7, 0.995, 0.5, 0.85, 0.2, 20.0, 4


def cepstra(signal: np.ndarray, *, remove_noise: bool = True) -> np.ndarray:
    """Cepstra of a signal.

    Parameters
    ----------
    signal : np.ndarray
        (n_samples,) at 16 kHz, full scale 1.0.
    remove_noise : bool
        Track each band's floor and take it off, as in the training of the shipped model.

    Returns
    -------
    np.ndarray
        (n_frames, 13) float32; frame ``k`` covers samples ``160 k`` to ``160 k + 410``. Of ``n_samples`` there are
        ``1 + (n_samples - 410) // 160`` whole frames and one that zeros complete; none of an empty signal.
    """
    return cepstra_of_mel(mel_power(signal), remove_noise=remove_noise)


def cepstra_of_mel(mel: np.ndarray, *, remove_noise: bool = True) -> np.ndarray:
    """The same of the power in mel bands, which is left as it is."""
    found = np.empty((len(mel), N_CEPSTRA), np.float32)
    state = noise_state(mel[0].astype(float)) if len(mel) else np.zeros((4, N_BANDS))
    for first in range(0, len(mel), _BLOCK):
        power = mel[first : first + _BLOCK].astype(float)
        if remove_noise:
            subtract_noise(power, state)
        found[first : first + _BLOCK] = np.log(power + _LOG_FLOOR) @ _cosines()
    return found


def mel_power(signal: np.ndarray) -> np.ndarray:
    """(n_frames, 25) power in mel bands, float32, of a signal on the scale of 16-bit samples."""
    n = len(signal)
    if not n:
        return np.zeros((0, N_BANDS), np.float32)
    from scipy.fft import rfft

    n_frames = 2 + (n - WINDOW_LENGTH) // HOP_LENGTH if n >= WINDOW_LENGTH else 1
    # In single precision: logarithms are within 2e-5 of those of double precision, at a third of the time.
    window, filters = np.hamming(WINDOW_LENGTH).astype(np.float32), _filters().astype(np.float32)
    mel = rows((n_frames, N_BANDS))
    for first in range(0, n_frames, _CHUNK):
        if first % _BLOCK == 0:
            release(signal, mel)  # those of a long recording lie in files
        stop = min(first + _CHUNK, n_frames)
        begin, end = first * HOP_LENGTH, (stop - 1) * HOP_LENGTH + WINDOW_LENGTH
        # One sample before the first, for pre-emphasis, and zeros after the last.
        y = np.pad(np.asarray(signal[max(begin - 1, 0) : end], np.float32), (int(begin == 0), max(end - n, 0)))
        y = (y[1:] - np.float32(PRE_EMPHASIS) * y[:-1]) * np.float32(FULL_SCALE)
        y[max(n - begin, 0) :] = 0
        spectrum = rfft(np.lib.stride_tricks.sliding_window_view(y, WINDOW_LENGTH)[::HOP_LENGTH] * window, N_FFT)
        mel[first:stop] = (spectrum.real**2 + spectrum.imag**2) @ filters
    return mel


@compiled()
def subtract_noise(mel: np.ndarray, state: np.ndarray) -> None:  # pragma: no cover - compiled
    """Scale mel power in place by what stands out of the tracked floor of each band (Doblinger 1995; Kim 2010).

    ``state`` is that of :func:`noise_state` before the first frame; afterwards it is that for the frames that follow.
    """
    n_frames, n_bands = mel.shape
    power, noise, floor, peak = state[0], state[1], state[2], state[3]
    gain = np.empty(n_bands)
    for t in range(n_frames):
        for b in range(n_bands):
            power[b] = _SMOOTHING * power[b] + (1 - _SMOOTHING) * mel[t, b]
            rate = _RISE if power[b] >= noise[b] else _FALL
            noise[b] = rate * noise[b] + (1 - rate) * power[b]
            signal = max(power[b] - noise[b], 1.0)
            rate = _RISE if signal >= floor[b] else _FALL
            floor[b] = rate * floor[b] + (1 - rate) * signal
            loudest = signal
            peak[b] *= _DECAY
            if signal < _DECAY * peak[b]:
                signal = _MASKED * peak[b]
            peak[b] = max(peak[b], loudest)
            signal = max(signal, floor[b])
            gain[b] = _MAX_GAIN
            if signal < _MAX_GAIN * power[b]:
                gain[b] = signal / power[b]
            gain[b] = max(gain[b], 1 / _MAX_GAIN)
        for b in range(n_bands):
            low, high = max(b - _NEIGHBOURS, 0), min(b + _NEIGHBOURS, n_bands - 1)
            mel[t, b] *= gain[low : high + 1].mean()


def noise_state(frame: np.ndarray) -> np.ndarray:
    """(4, 25) smoothed power, noise, its floor and the decaying peak of each band before a first frame of mel power."""
    return np.stack([frame, frame / _MAX_GAIN, frame / _MAX_GAIN, np.zeros(len(frame))])


def streams(cepstra: np.ndarray, mean: np.ndarray | None = None, frames: np.ndarray | None = None) -> np.ndarray:
    """Cepstra less their mean, their slope and its change.

    Parameters
    ----------
    cepstra : np.ndarray
        (n_frames, 13).
    mean : np.ndarray | None
        (13,) what is taken off; None takes the mean of all frames.
    frames : np.ndarray | None
        (n,) indices of the frames that are asked for; None asks for all.

    Returns
    -------
    np.ndarray
        (3, n, 13) float32. The slope of frame ``k`` is ``c[k + 2] - c[k - 2]``, its change the slope of
        ``k + 1`` less that of ``k - 1``; the first and last frame are repeated outwards.
    """
    if not len(cepstra):
        return np.zeros((3, 0, N_CEPSTRA), np.float32)
    mean = cepstra.mean(axis=0) if mean is None else mean
    frames = np.arange(len(cepstra)) if frames is None else frames
    out = rows((3, len(frames), N_CEPSTRA))

    def slope(near: np.ndarray) -> np.ndarray:
        return level(near + 2) - level(near - 2)

    def level(near: np.ndarray) -> np.ndarray:
        found: np.ndarray = cepstra[np.clip(near, 0, len(cepstra) - 1)] - mean
        return found

    for first in range(0, len(frames), _BLOCK):
        part = frames[first : first + _BLOCK]
        out[:, first : first + _BLOCK] = level(part), slope(part), slope(part + 1) - slope(part - 1)
        release(out)
    return out


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """(257, 25) triangles of unit area on power, their corners at whole bins."""
    hertz = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    low, high = (2595 * math.log10(1 + hz / 700) for hz in BAND_HZ)
    corners = 700 * (10 ** (np.linspace(low, high, N_BANDS + 2) / 2595) - 1)
    width = SAMPLE_RATE / N_FFT
    corners = np.floor(corners / width + 0.5) * width
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (hertz[:, None] - left) / (middle - left)
    falling = (right - hertz[:, None]) / (right - middle)
    return np.maximum(np.minimum(rising, falling), 0) * 2 / (right - left)


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """(25, 13) orthonormal type II cosine transform and lifter."""
    order = np.arange(N_CEPSTRA)
    basis = np.cos(np.pi * order * (np.arange(N_BANDS)[:, None] + 0.5) / N_BANDS) * np.sqrt(2 / N_BANDS)
    basis[:, 0] /= np.sqrt(2)
    return basis * (1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER))
