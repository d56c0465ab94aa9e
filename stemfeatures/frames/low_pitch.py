"""Pitch at the lower end of the network's grid and below it: 25 to 38 Hz, as of basses of five strings and deep kicks.

The network's grid begins at C1 (32.7 Hz), where a period is a third of an analysis frame: a tone below is read as its
octave, one at the lower end too high. So the separated bass is brought to 1378 Hz, and its autocorrelation over 186 ms
is searched for a period of 26 to 41 ms that no shorter one explains.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH
from .types import PitchFrames

DECIMATION = 16
RATE = ANALYSIS_SAMPLE_RATE / DECIMATION
#: Lowest and highest pitch that is looked for, in Hz.
LOWEST_HZ, HIGHEST_HZ = 24.5, 38.0
#: Samples of the window at the low rate, and of its transform.
WINDOW, N_FFT = 256, 512
#: Taps and corner of the filter before decimation.
TAPS, CORNER_HZ = 257, 480.0
#: Normalised autocorrelation that makes a period, and by how much it exceeds that of any shorter one.
PERIODIC, LEAD = 0.8, 0.1
#: Salience of the network's candidates beside such a period: they are its harmonics.
HARMONIC_SALIENCE = 0.3
#: Frames at a time.
_CHUNK = 8192
#: Samples at the low rate from frame to frame.
_HOP = HOP_LENGTH // DECIMATION


@lru_cache(maxsize=4)
def _low_pass(device: str) -> Tensor:
    """(1, 1, TAPS) windowed-sinc filter."""
    from scipy.signal import firwin

    taps = firwin(TAPS, CORNER_HZ, fs=ANALYSIS_SAMPLE_RATE)
    return torch.from_numpy(taps.astype(np.float32)).to(device)[None, None]


class LowPitchMeter:
    """Pitch from 25 to 38 Hz of a signal at 22,050 Hz that arrives in blocks.

    Parameters
    ----------
    device : str
        Torch device.
    """

    def __init__(self, device: str) -> None:
        self._pending = torch.zeros(TAPS // 2, device=device)
        #: At the low rate, from the beginning of the next frame on.
        self._low = torch.zeros(WINDOW // 2, device=device)
        self._found: list[tuple[Tensor, Tensor]] = []
        self._n_frames = 0

    def push(self, signal: Tensor) -> None:
        """Take further (n,) samples."""
        self._pending = torch.cat([self._pending, signal])
        count = (len(self._pending) - TAPS) // DECIMATION + 1
        if count > 0:
            used = self._pending[: (count - 1) * DECIMATION + TAPS]
            low_pass = _low_pass(str(signal.device))
            low = torch.nn.functional.conv1d(used[None, None], low_pass, stride=DECIMATION)[0, 0]
            self._low = torch.cat([self._low, low])
            self._pending = self._pending[count * DECIMATION :].clone()
        ready = (len(self._low) - WINDOW) // _HOP + 1
        if ready >= _CHUNK:
            self._search(ready)

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Pitch and periodicity of the frames that are done and were not taken before, as of :meth:`finish`."""
        found, self._found = self._found, []
        if not found:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        hertz, periodicity = (torch.cat(part).cpu().numpy() for part in zip(*found))
        return hertz, periodicity

    def finish(self, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Pitch and periodicity of each frame that was not taken before.

        Parameters
        ----------
        n_frames : int
            Of the track.

        Returns
        -------
        hz : np.ndarray
            (n_frames,) NaN where there is no such pitch.
        periodicity : np.ndarray
            (n_frames,) normalised autocorrelation at the period, 0 to 1; 0 where there is none.
        """
        self.push(torch.zeros(TAPS, device=self._pending.device))
        count = n_frames - self._n_frames
        missing = (count - 1) * _HOP + WINDOW - len(self._low)
        self._low = torch.nn.functional.pad(self._low, (0, max(0, missing)))
        self._search(count)
        return self.take()

    def _search(self, count: int) -> None:
        """Look at the next frames."""
        if count > 0:
            frames = self._low.unfold(0, WINDOW, _HOP)[:count]
            self._found += [_low_pitch(frames[at : at + _CHUNK]) for at in range(0, count, _CHUNK)]
            self._low = self._low[count * _HOP :].clone()
            self._n_frames += count


def _low_pitch(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Pitch (NaN: none) and periodicity of (n, WINDOW) samples at the low rate."""
    window = torch.hann_window(WINDOW, device=frames.device)
    frames = (frames - frames.mean(dim=1, keepdim=True)) * window
    own = torch.fft.irfft(torch.fft.rfft(window, N_FFT).abs() ** 2)[: WINDOW // 2]
    r = torch.fft.irfft(torch.fft.rfft(frames, N_FFT).abs() ** 2)[:, : WINDOW // 2]
    silent = r[:, 0] <= 1e-12
    r = r / torch.where(silent, torch.ones_like(r[:, 0]), r[:, 0])[:, None] / (own / own[0])
    first, last = int(RATE / HIGHEST_HZ), int(np.ceil(RATE / LOWEST_HZ))
    inside = r[:, first : last + 1]
    best = inside.argmax(dim=1)
    lag = (best + first).clamp(1, r.shape[1] - 2)
    rows = torch.arange(len(r), device=r.device)
    left, peak, right = r[rows, lag - 1], r[rows, lag], r[rows, lag + 1]
    curvature = left - 2 * peak + right
    offset = torch.where(curvature < 0, 0.5 * (left - right) / curvature.clamp_max(-1e-9), 0.0).clamp(-0.5, 0.5)
    # Lags behind the main lobe around 0 and before three quarters of the period.
    lags = torch.arange(r.shape[1], device=r.device)
    rising = torch.nn.functional.pad(torch.diff(r, dim=1) > 0, (1, 0))
    shorter = (rising.cumsum(dim=1) > 0) & (lags < 0.75 * lag[:, None])
    rival = torch.where(shorter, r, -1.0).amax(dim=1)
    is_peak = (peak >= left) & (peak >= right) & (best > 0) & (best < last - first)
    found = is_peak & (peak >= PERIODIC) & (peak >= rival + LEAD) & ~silent
    hertz = torch.where(found, RATE / (lag + offset), torch.nan)
    return hertz, torch.where(found, peak.clamp(0, 1), 0.0)


def add_low_pitch(pitch: PitchFrames, hz: np.ndarray, periodicity: np.ndarray) -> None:
    """Make a pitch below the network's grid the best candidate of the frames that have one, in place.

    Parameters
    ----------
    pitch : PitchFrames
        Of the network; stays as it is where ``hz`` is NaN.
    hz, periodicity : np.ndarray
        (n_frames,) of :meth:`LowPitchMeter.finish`.
    """
    low = np.isfinite(hz)
    if not low.any():
        return
    strong = np.maximum(periodicity[low], pitch.salience[low].max(axis=1))
    pitch.candidates_hz[low] = np.r_["1,2", hz[low][:, None], pitch.candidates_hz[low, :-1]]
    pitch.salience[low] = np.r_["1,2", strong[:, None], HARMONIC_SALIENCE * pitch.salience[low, :-1]]
    pitch.voicing[low] = np.maximum(pitch.voicing[low], periodicity[low])
