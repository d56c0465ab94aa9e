"""A spectrum at three bins a semitone, of a long window for the pitch and of a short one for the time.

The long window tells semitones apart from 100 Hz on, the short one says when a tone begins. Both are brought to one
axis by products with sparse matrices: below, where a bin of the transform is wider than a third of a semitone, the
magnitude is read between two bins; above, the bins of a third are weighted by a triangle.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from scipy.signal import get_window
from scipy.sparse import csr_array

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH

#: Lowest semitone (MIDI) of the axis, and how many there are: 41 Hz to 10.5 kHz.
LOWEST_SEMITONE, N_SEMITONES = 28, 96
BINS_PER_SEMITONE = 3
N_THIRDS = BINS_PER_SEMITONE * N_SEMITONES
#: Samples of the long and of the short window; both are centred on the frame.
LONG_WINDOW, SHORT_WINDOW = 4096, 1024
#: Frames that are transformed together.
_TOGETHER = 256


def third_frequencies(bins_per_semitone: int = BINS_PER_SEMITONE) -> np.ndarray:
    """Centres of the bins.

    Parameters
    ----------
    bins_per_semitone : int, default=3
        Odd: one of them is centred on the semitone.

    Returns
    -------
    np.ndarray
        (bins_per_semitone * N_SEMITONES,) Hz; bin ``bins_per_semitone * s + bins_per_semitone // 2`` is semitone
        ``LOWEST_SEMITONE + s`` at A4 = 440 Hz.

    Examples
    --------
    >>> round(float(third_frequencies()[3 * (69 - LOWEST_SEMITONE) + 1]), 3)
    440.0
    """
    step = (np.arange(bins_per_semitone * N_SEMITONES) - bins_per_semitone // 2) / bins_per_semitone
    return np.asarray(440.0 * 2.0 ** ((LOWEST_SEMITONE - 69 + step) / 12))


@lru_cache(maxsize=4)
def third_filters(n_fft: int, bins_per_semitone: int) -> csr_array:
    """Weights from magnitudes to bins of a semitone's parts.

    Parameters
    ----------
    n_fft : int
        Samples of the transform.
    bins_per_semitone : int
        1 or 3.

    Returns
    -------
    scipy.sparse.csr_array
        (n_fft // 2 + 1, bins_per_semitone * N_SEMITONES) float32, columns of unit sum.
    """
    place = third_frequencies(bins_per_semitone) * n_fft / ANALYSIS_SAMPLE_RATE
    # Half the width of a triangle: to the neighbouring bin of the axis, at least to the next of the transform.
    reach = np.maximum(place * (2.0 ** (1 / 12 / bins_per_semitone) - 1), 1.0)
    bins = np.arange(n_fft // 2 + 1)
    weight = np.maximum(1 - np.abs(bins[:, None] - place) / reach, 0)
    return csr_array((weight / np.maximum(weight.sum(axis=0), 1e-9)).astype(np.float32))


@lru_cache(maxsize=4)
def _window(length: int) -> np.ndarray:
    window = get_window("hann", length)
    return np.asarray(window / window.sum(), dtype=np.float32)


def thirds(signal: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of consecutive frames.

    Parameters
    ----------
    signal : np.ndarray
        (n_samples,) at 22,050 Hz, beginning ``LONG_WINDOW // 2`` samples before the centre of the first frame and
        ending no earlier than as much after that of the last.
    n_frames : int
        How many frames of :data:`stemfeatures.constants.HOP_LENGTH` samples.

    Returns
    -------
    fine : np.ndarray
        (n_frames, N_THIRDS) float32 of the long window; a sine of amplitude 1 has 0.5 at the centre of a bin of the
        transform, less beside it, and less where a third has many bins.
    coarse : np.ndarray
        (n_frames, N_SEMITONES) float32 of the short window.
    """
    frames = np.lib.stride_tricks.sliding_window_view(signal, LONG_WINDOW)[::HOP_LENGTH][:n_frames]
    inner = slice((LONG_WINDOW - SHORT_WINDOW) // 2, (LONG_WINDOW + SHORT_WINDOW) // 2)
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for first in range(0, n_frames, _TOGETHER):
        part = frames[first : first + _TOGETHER]
        for kept, x, parts in ((found[0], part, BINS_PER_SEMITONE), (found[1], part[:, inner], 1)):
            spectrum = scipy.fft.rfft(x * _window(x.shape[1]))
            kept.append(np.abs(spectrum) @ third_filters(x.shape[1], parts))
    widths = (N_THIRDS, N_SEMITONES)
    fine, coarse = (np.concatenate(part) if part else np.zeros((0, n), np.float32) for part, n in zip(found, widths))
    return fine, coarse
