"""A true-peak limiter: gain that falls ahead of a peak and rises after it, so that nothing exceeds a ceiling."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import minimum_filter1d

#: Oversampling that true peaks are read at (ITU-R BS.1770-4, annex 2), and the samples around that it needs.
_OVERSAMPLING, _AROUND = 4, 64
#: Time over which the gain falls before a peak, and rises after it.
ATTACK_S = 0.02


class TruePeakLimiter:
    """Limit the true peak of a signal that arrives in blocks.

    The gain that each sample needs is the ceiling over its oversampled magnitude (1 where that is below the ceiling).
    The least of these over the coming ``ATTACK_S``, averaged by a Hann window of the same length over the past, is at
    or below what every sample needs; all channels share it. A signal that never exceeds the ceiling passes unchanged,
    bit for bit.

    Parameters
    ----------
    sample_rate : int
        Rate of the signal in Hz.
    channels : int
        Number of its channels.
    ceiling_db : float, default=-1.0
        Highest true peak that may remain, in dBTP.

    Attributes
    ----------
    reduction_db : float
        Largest reduction of the gain so far, in dB, 0 or more.

    Examples
    --------
    >>> limiter = TruePeakLimiter(44100, 1, ceiling_db=-6.0)
    >>> y = np.concatenate([limiter.push(np.ones((1, 10000))), limiter.finish()], axis=1)
    >>> y.shape, round(float(np.abs(y[:, 2000:8000]).max()), 2)
    ((1, 10000), 0.5)
    """

    def __init__(self, sample_rate: int, channels: int, *, ceiling_db: float = -1.0) -> None:
        from scipy.signal import get_window

        self.ceiling = 10 ** (ceiling_db / 20)
        self.reduction_db = 0.0
        self._ahead = 2 * max(1, round(ATTACK_S * sample_rate / 2))
        window = get_window("hann", self._ahead + 3, fftbins=False)[1:-1]
        self._window = window / window.sum()
        self._before = np.zeros((channels, _AROUND))  # samples before those that wait
        self._waiting = np.zeros((channels, 0))
        self._needed = np.ones(0)  # gain needed by the first of the samples that wait
        self._least: np.ndarray | None = None  # of the samples given last

    def push(self, block: np.ndarray) -> np.ndarray:
        """Limit further samples.

        Parameters
        ----------
        block : np.ndarray
            (channels, n) samples, full scale 1.0.

        Returns
        -------
        np.ndarray
            (channels, k) samples that are ready; they lag behind by ``ATTACK_S``.
        """
        self._waiting = np.concatenate([self._waiting, block], axis=1)
        return self._take(last=False)

    def finish(self) -> np.ndarray:
        """Give the samples that still wait.

        Returns
        -------
        np.ndarray
            (channels, k): together with what :meth:`push` gave as many as came in.
        """
        return self._take(last=True)

    def _take(self, *, last: bool) -> np.ndarray:
        self._measure(last)
        needed = np.append(self._needed, np.ones(self._ahead)) if last else self._needed
        count = max(0, len(needed) - self._ahead)
        if count == 0:
            return self._waiting[:, :0]
        if self._least is None:
            # What the first samples need reaches back to before them.
            least = self._coming(np.append(np.ones(self._ahead), needed))
        else:
            least = np.append(self._least, self._coming(needed))
        ready = self._waiting[:, :count]
        if least.min() < 1:
            gain = np.convolve(least, self._window, "valid")
            self.reduction_db = max(self.reduction_db, float(-20 * np.log10(gain.min())))
            limited = ready * gain
        else:
            limited = ready
        self._least = least[count:]
        self._before = np.concatenate([self._before, ready], axis=1)[:, -_AROUND:]
        self._waiting, self._needed = self._waiting[:, count:], self._needed[count:]
        return limited

    def _coming(self, needed: np.ndarray) -> np.ndarray:
        """The least of each value and the ``_ahead`` after it, as far as they are known."""
        least = minimum_filter1d(needed, self._ahead + 1, mode="nearest")
        return least[self._ahead // 2 : len(needed) - self._ahead // 2]

    def _measure(self, last: bool) -> None:
        """Gains needed by the samples whose surroundings are known."""
        from scipy.signal import resample_poly

        first, stop = len(self._needed), self._waiting.shape[1] - (0 if last else _AROUND)
        if stop <= first:
            return
        around = np.concatenate([self._before, self._waiting], axis=1)[:, first : stop + 2 * _AROUND]
        fine = np.abs(resample_poly(around, _OVERSAMPLING, 1, axis=1)).max(axis=0)
        # A sample answers for the peaks up to its neighbours.
        peaks = minimum_filter1d(-fine, 2 * _OVERSAMPLING + 1, mode="nearest")[::_OVERSAMPLING]
        peak = -peaks[_AROUND : _AROUND + stop - first]
        self._needed = np.append(self._needed, self.ceiling / np.maximum(peak, self.ceiling))
