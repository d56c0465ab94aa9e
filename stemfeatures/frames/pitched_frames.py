"""The frames with a pitch, and the waveform around them, of a signal that arrives in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..constants import HOP_LENGTH

#: Least probability of a pitch of a frame that is measured.
LEAST_VOICING = 0.5


class PitchedFrameMeter(ABC):
    """Takes pitch and waveform in blocks of any size, and hands out a window around each frame that is measured.

    Parameters
    ----------
    window : int
        Samples of a window; the centre of the first is sample 0 of the signal.
    every : int
        Of so many frames one is measured.
    range_hz : tuple of float
        Lowest and highest pitch that is measured.
    together : int
        Frames at a time; more of the waveform is not kept.
    """

    def __init__(self, *, window: int, every: int, range_hz: tuple[float, float], together: int) -> None:
        self._window, self._every, self._range_hz, self._together = window, every, range_hz, together
        self._signal = np.zeros(window // 2, np.float32)
        self._hz: np.ndarray = np.zeros(0, np.float32)
        self._voicing: np.ndarray = np.zeros(0, np.float32)
        self._n_done = 0

    def push(self, hz: np.ndarray, voicing: np.ndarray) -> None:
        """Take the pitch of further frames.

        Parameters
        ----------
        hz : np.ndarray
            (n_frames,) best candidate; NaN where there is none.
        voicing : np.ndarray
            (n_frames,) probability of a pitch.
        """
        self._hz = np.concatenate([self._hz, hz])
        self._voicing = np.concatenate([self._voicing, voicing])
        self._run()

    def push_signal(self, signal: np.ndarray) -> None:
        """Take further (n,) samples at 22,050 Hz; sample 0 is the centre of frame 0."""
        self._signal = np.concatenate([self._signal, np.asarray(signal, dtype=np.float32)])
        self._run()

    @abstractmethod
    def _measure(self, frame: np.ndarray, hz: np.ndarray, windows: np.ndarray) -> None:
        """Keep what is measured of the windows ``(n, window)`` around some frames, of which there may be none."""

    def _end(self) -> None:
        """Measure what is left; where the waveform ends it is silent."""
        self._signal = np.pad(self._signal, (0, len(self._hz) * HOP_LENGTH + self._window))
        while len(self._hz):
            self._step(min(self._together, len(self._hz)))

    def _run(self) -> None:
        while min(len(self._hz), (len(self._signal) - self._window) // HOP_LENGTH + 1) >= self._together:
            self._step(self._together)

    def _step(self, count: int) -> None:
        hz, voicing = self._hz[:count], self._voicing[:count]
        number = self._n_done + np.arange(count)
        lowest, highest = self._range_hz
        with np.errstate(invalid="ignore"):
            inside = (hz >= lowest) & (hz <= highest)
        rows = np.flatnonzero((number % self._every == 0) & (voicing > LEAST_VOICING) & inside)
        windows = sliding_window_view(self._signal, self._window)[rows * HOP_LENGTH]
        self._measure(number[rows], hz[rows], windows)
        self._hz, self._voicing, self._n_done = self._hz[count:], self._voicing[count:], self._n_done + count
        self._signal = self._signal[count * HOP_LENGTH :].copy()


__all__ = ["LEAST_VOICING", "PitchedFrameMeter"]
