"""How far the partials of a tone lie from the multiples of its fundamental, of a stem that arrives in blocks.

The inharmonicity of Peeters, "A large set of audio features for sound description" (CUIDADO report, 2004), as essentia
scales it: the mean distance of the partials from their multiples of the fundamental, each weighted by its energy, over
the fundamental. Partials are the strongest peaks of the spectrum near the multiples; the fundamental is the one that
fits them best, since that of a single peak is too uncertain where the first partial is weak or masked.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .._util.numba_cache import compiled_when_called
from ..constants import ANALYSIS_SAMPLE_RATE
from .pitched_frames import PitchedFrameMeter
from .types import InharmonicityFrames

#: Samples of the window (0.19 s), and of its transform, so that a parabola through three bins finds a peak.
WINDOW, N_FFT = 4096, 8192
#: Lowest pitch whose partials the window tells apart, highest one that has more than a few.
LOWEST_HZ, HIGHEST_HZ = 25.0, 1000.0
#: Partials that are looked for, up to so many Hz, and how far from their place, as a share of the fundamental.
N_PARTIALS, TOP_HZ, REACH = 20, 10_000.0, 0.2
#: Peaks so far below the strongest partial are none.
RANGE_DB = 60.0
#: Least number of partials of a tone.
LEAST_PARTIALS = 3
#: Of so many frames one is measured, 70 ms apart.
EVERY = 3
_BIN_HZ = ANALYSIS_SAMPLE_RATE / N_FFT
#: Frames at a time, and those with a pitch whose partials are searched together.
_TOGETHER, _SEARCHED = 1536, 128


@lru_cache(maxsize=1)
def _window() -> np.ndarray:
    from scipy.signal import get_window

    return np.asarray(get_window("hann", WINDOW), dtype=np.float32)


def partials(x: np.ndarray, hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and energies of the partials of tones.

    Parameters
    ----------
    x : np.ndarray
        (n, WINDOW) samples at 22,050 Hz.
    hz : np.ndarray
        (n,) pitches, from :data:`LOWEST_HZ` to :data:`HIGHEST_HZ`.

    Returns
    -------
    found_hz : np.ndarray
        (n, N_PARTIALS) float64, NaN where there is none.
    energy : np.ndarray
        (n, N_PARTIALS) relative to the strongest of the tone; 0 where there is none.
    """
    from scipy.fft import rfft

    spectrum = rfft(np.asarray(x, dtype=np.float32) * _window(), N_FFT)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return _peaks(power, np.asarray(hz, dtype=np.float64))


@compiled_when_called()
def _peaks(power: np.ndarray, hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Partials in (n, bins) power spectra, as :func:`partials` gives them."""
    found_hz, energy = np.empty((len(hz), N_PARTIALS)), np.empty((len(hz), N_PARTIALS))
    least, top = np.float32(1e-30), TOP_HZ / _BIN_HZ
    for row in range(len(hz)):
        x, bins, heights = power[row], found_hz[row], energy[row]
        reach, strongest = max(REACH * hz[row] / _BIN_HZ, 1.0), -100.0
        for k in range(N_PARTIALS):
            place = hz[row] * (k + 1) / _BIN_HZ
            first, end = int(np.ceil(place - reach)), int(np.floor(place + reach)) + 1
            at = first
            for i in range(first, min(end, int(np.ceil(top)))):
                if x[i] > x[at]:
                    at = i
            bins[k], heights[k] = np.nan, -np.inf
            if first >= top:
                continue
            left, centre = float(np.log(max(x[at - 1], least))), float(np.log(max(x[at], least)))
            right = float(np.log(max(x[at + 1], least)))
            # The highest bin at the edge of the reach is the slope of a peak beyond it.
            if centre > left and centre >= right:
                offset = (left - right) / 2 / min(left - 2 * centre + right, -1e-12)
                bins[k], heights[k] = at + min(max(offset, -0.5), 0.5), centre
                strongest = max(strongest, centre)
        for k in range(N_PARTIALS):
            told = heights[k] > strongest - RANGE_DB * np.log(10) / 10
            bins[k] = bins[k] * _BIN_HZ if told else np.nan
            heights[k] = np.exp(heights[k] - strongest) if told else 0.0
    return found_hz, energy


def inharmonicity(found_hz: np.ndarray, energy: np.ndarray, fundamental_hz: np.ndarray | None = None) -> np.ndarray:
    """Mean distance of partials from the multiples of the fundamental, over the fundamental.

    Parameters
    ----------
    found_hz, energy : np.ndarray
        (n, n_partials) of :func:`partials`; column ``k`` is near the ``k + 1``-th multiple.
    fundamental_hz : np.ndarray, optional
        (n,) the one that fits the partials best, by default.

    Returns
    -------
    np.ndarray
        (n,) 0 where all partials are multiples; NaN for fewer than :data:`LEAST_PARTIALS`.

    Notes
    -----
    With partials ``f_k`` of energies ``e_k``, ``f0 = sum(e_k k f_k) / sum(e_k k**2)`` and the value is
    ``sum(e_k |f_k - k f0|) / (f0 sum(e_k))``.

    Examples
    --------
    >>> inharmonicity(np.array([[100.0, 200.0, 300.0]]), np.ones((1, 3))).tolist()
    [0.0]
    """
    number = np.arange(1, found_hz.shape[1] + 1)
    told = np.isfinite(found_hz)
    hz = np.where(told, found_hz, 0.0)
    enough = told.sum(axis=1) >= LEAST_PARTIALS
    if fundamental_hz is None:
        fundamental_hz = (energy * number * hz).sum(axis=1) / np.where(enough, (energy * number**2).sum(axis=1), 1.0)
    apart = (energy * np.abs(hz - number * fundamental_hz[:, None])).sum(axis=1)
    below = np.where(enough, fundamental_hz * energy.sum(axis=1), 1.0)
    return np.asarray(np.where(enough, apart / below, np.nan))


class InharmonicityMeter(PitchedFrameMeter):
    """Measures the frames with a pitch of a signal at 22,050 Hz.

    Examples
    --------
    >>> meter = InharmonicityMeter()
    >>> meter.push(np.full(44, 220.0), np.ones(44))
    >>> meter.push_signal(np.sign(np.sin(2 * np.pi * 220 * np.arange(22_050) / 22_050)))
    >>> bool(meter.finish().inharmonicity[5] < 0.001)
    True
    """

    def __init__(self) -> None:
        super().__init__(window=WINDOW, every=EVERY, range_hz=(LOWEST_HZ, HIGHEST_HZ), together=_TOGETHER)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def finish(self) -> InharmonicityFrames:
        """What was measured."""
        self._end()
        none = (np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))
        return InharmonicityFrames(*(np.concatenate(part) for part in zip(none, *self._parts)))

    def _measure(self, frame: np.ndarray, hz: np.ndarray, windows: np.ndarray) -> None:
        values = np.zeros(len(hz), np.float32)
        for start in range(0, len(hz), _SEARCHED):
            some = slice(start, start + _SEARCHED)
            values[some] = inharmonicity(*partials(windows[some], hz[some]))
        self._parts.append((frame, hz.astype(np.float32), values))
