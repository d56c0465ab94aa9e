"""How much of a voice is harmonic: harmonics-to-noise ratio and cepstral peak prominence.

The ratio follows Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
of a sampled sound" (IFA Proceedings 17, 1993), eqs. 4 and 9: the autocorrelation of a windowed frame over that of the
window, at the period. The prominence follows Hillenbrand, Cleveland and Erickson (JSHR 37, 1994): the peak of the
cepstrum at the period over a line through the cepstrum.

Both are of the analysis signal, which ends at 11,025 Hz. Noise that lies above is not heard: of white noise at
44,100 Hz that is half, and the ratio 3 dB higher than that of the file.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import irfft, rfft

from ..constants import ANALYSIS_SAMPLE_RATE

#: Samples of the window, and the longest period of it that the shorter one holds often enough.
LONG, SHORT, LONGEST_IN_SHORT = 2048, 1024, 200
#: Values of the autocorrelation a sample; how far from the expected period its peak may be, as a share of it.
OVERSAMPLING, REACH = 4, 0.12
#: Quefrencies of the line, in seconds.
LINE_S = (0.001, 0.0166)
#: Bounds in dB of what is reported.
LEAST_DB, MOST_DB = -10.0, 50.0


def harmonicity(windows: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Harmonics-to-noise ratio and cepstral peak prominence around the middle of each window.

    Parameters
    ----------
    windows : np.ndarray
        (n, size) samples, at least :data:`LONG`.
    period : np.ndarray
        (n,) about how long a period is, in samples.

    Returns
    -------
    np.ndarray
        (n, 2) dB; NaN for silence.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * np.arange(2048) / 100)[None]
    >>> bool(harmonicity(tone, np.array([101.0]))[0, 0] > 40)
    True
    """
    found = np.full((len(windows), 2), np.nan)
    for size, those in ((SHORT, period <= LONGEST_IN_SHORT), (LONG, period > LONGEST_IN_SHORT)):
        if those.any():
            first = (windows.shape[1] - size) // 2
            found[those] = _of_size(windows[those, first : first + size], period[those])
    return found


@lru_cache(maxsize=2)
def _window(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hann window, and its oversampled autocorrelation, 1 at lag 0, up to half its length."""
    window = np.hanning(size + 2)[1:-1]
    power = np.square(np.abs(rfft(window, 2 * size)))
    r = irfft(power, 2 * size * OVERSAMPLING)[: size // 2 * OVERSAMPLING]
    return window, r / r[0]


def _of_size(x: np.ndarray, period: np.ndarray) -> np.ndarray:
    size = x.shape[1]
    window, own = _window(size)
    x = ((x - x.mean(axis=1, keepdims=True)) * window).astype(np.float32)  # transforms take half of the time
    power = np.square(np.abs(rfft(x, 2 * size)))
    sounds = power.sum(axis=1) > 1e-12
    r = irfft(power, 2 * size * OVERSAMPLING)[:, : size // 2 * OVERSAMPLING]
    r = r / np.where(sounds, r[:, 0], 1.0)[:, None] / own
    peak = np.clip(_peak(r, OVERSAMPLING * period)[1], 1e-3, 1 - 1e-6)
    ratio = np.clip(10 * np.log10(peak / (1 - peak)), LEAST_DB, MOST_DB)
    prominence = _prominence(power[:, ::2], period)
    return np.where(sounds[:, None], np.stack([ratio, prominence], axis=1), np.nan)


def _peak(values: np.ndarray, around: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place and height of the largest value of each row within REACH of a place, between values by a parabola."""
    half = int(np.ceil(REACH * around.max()))
    steps = np.arange(-half, half + 1)
    at = np.clip(np.rint(around).astype(int)[:, None] + steps, 1, values.shape[1] - 2)
    near = np.where(np.abs(steps) <= np.ceil(REACH * around)[:, None], np.take_along_axis(values, at, axis=1), -np.inf)
    rows = np.arange(len(values))
    best = at[rows, near.argmax(axis=1)]
    left, middle, right = (values[rows, best + step] for step in (-1, 0, 1))
    curvature = np.minimum(left - 2 * middle + right, -1e-12)
    offset = np.clip((left - right) / 2 / curvature, -0.5, 0.5)
    return best + offset, middle - (left - right) * offset / 4


def _prominence(power: np.ndarray, period: np.ndarray) -> np.ndarray:
    """(n,) dB of the cepstral peak over the line, from (n, size // 2 + 1) power spectra."""
    floor = 1e-10 * power.max(axis=1, keepdims=True) + 1e-20
    cepstrum = irfft(10 * np.log10(np.maximum(power, floor)), axis=1)
    level = 20 * np.log10(np.maximum(np.abs(cepstrum[:, : power.shape[1] - 1]), 1e-6))
    place, height = _peak(level, period)
    first, last = (round(s * ANALYSIS_SAMPLE_RATE) for s in LINE_S)
    last = min(last, level.shape[1])
    quefrency = np.arange(first, last)
    centred = quefrency - quefrency.mean()
    slope = level[:, first:last] @ centred / np.square(centred).sum()
    line = level[:, first:last].mean(axis=1) + slope * (place - quefrency.mean())
    return np.asarray(height - line)
