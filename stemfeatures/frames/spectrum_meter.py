"""A small network that is asked about spectra of signals which arrive in blocks, levelled by the seconds around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..constants import HOP_LENGTH
from ..models.notes import LEVEL_FRAMES
from ..spectra.thirds import LONG_WINDOW

#: Frames at a time.
_CHUNK = 1024
_LEVEL_REACH = LEVEL_FRAMES // 2


class SpectrumMeter:
    """Keeps what later frames need of the signals and of their spectra.

    Parameters
    ----------
    reach : int
        Frames before and after a frame on which the network's answer depends.
    shape : tuple of int
        That of an answer, without its frames.
    signals : tuple of int, optional
        Shape of the signals, without their samples; one signal by default.
    """

    def __init__(self, reach: int, shape: tuple[int, ...], signals: tuple[int, ...] = ()) -> None:
        self._reach, self._shape = reach, shape
        self._signal = [np.zeros((*signals, LONG_WINDOW // 2), np.float32)]
        self._n_waiting = LONG_WINDOW // 2
        #: Magnitudes of frames that are still context of others, and of those that are not done; they begin at the
        #: first one.
        self._magnitudes: tuple[np.ndarray, ...] = ()
        self._first, self._n_done = 0, 0
        self._found: list[np.ndarray] = []

    def _measure(self, signal: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
        """Magnitudes of so many frames, each (count, n_bins)."""
        raise NotImplementedError

    def _tell(self, magnitudes: Sequence[np.ndarray], part: slice, first: int) -> np.ndarray:
        """The answer (..., n_frames) for part of the frames of magnitudes; ``first`` is the number of its first."""
        raise NotImplementedError

    def push_signal(self, signal: np.ndarray) -> None:
        """Take further (n,) samples, or those of several signals; sample 0 is the centre of frame 0."""
        self._signal.append(np.asarray(signal, dtype=np.float32))
        self._n_waiting += signal.shape[-1]
        ready = (self._n_waiting - LONG_WINDOW) // HOP_LENGTH + 1
        if ready >= _CHUNK:
            self._transform(ready)
            self._run(self._n_measured - self._context)

    def take(self) -> np.ndarray:
        """(..., n) float32 of the frames that are done and were not taken before, see :meth:`finish`."""
        found, self._found = self._found, []
        return np.concatenate(found, axis=-1) if found else np.zeros((*self._shape, 0), np.float32)

    def finish(self, n_frames: int) -> np.ndarray:
        """What is left.

        Parameters
        ----------
        n_frames : int
            Of the track; where its waveform ends it is silent.

        Returns
        -------
        np.ndarray
            (..., n) float32, the answer for each frame that was not taken before.
        """
        missing = n_frames - self._n_measured
        if missing > 0:
            length = max(0, (missing - 1) * HOP_LENGTH + LONG_WINDOW - self._n_waiting)
            self._signal.append(np.zeros((*self._signal[0].shape[:-1], length), np.float32))
            self._transform(missing)
        self._run(n_frames)
        return self.take()

    @property
    def _n_measured(self) -> int:
        return self._first + (len(self._magnitudes[0]) if self._magnitudes else 0)

    @property
    def _context(self) -> int:
        """Frames after a frame that decide about it."""
        return _LEVEL_REACH + self._reach

    def _transform(self, count: int) -> None:
        signal = np.concatenate(self._signal, axis=-1)
        found = self._measure(signal, count)
        self._magnitudes = tuple(map(np.concatenate, zip(self._magnitudes, found))) if self._magnitudes else found
        rest = signal[..., count * HOP_LENGTH :].copy()
        self._signal, self._n_waiting = [rest], rest.shape[-1]

    @torch.inference_mode()
    def _run(self, stop: int) -> None:
        """Frames up to ``stop``."""
        while self._n_done < stop:
            until = min(stop, self._n_done + _CHUNK)
            # Levels are known where all frames around are; the network is asked with its own reach beyond the frames.
            low = max(self._n_done - self._reach, 0)
            start, end = max(low - _LEVEL_REACH, self._first), until + self._context
            magnitudes = [x[start - self._first : end - self._first] for x in self._magnitudes]
            found = self._tell(magnitudes, slice(low - start, until + self._reach - start), low)
            self._found.append(np.ascontiguousarray(found[..., self._n_done - low : until - low]))
            self._n_done = until
        keep = max(self._n_done - self._context, self._first)
        self._magnitudes = tuple(x[keep - self._first :].copy() for x in self._magnitudes)
        self._first = keep
