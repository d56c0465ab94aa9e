"""Jitter, shimmer, harmonicity and formants of a voice that arrives in blocks."""

from __future__ import annotations

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH
from .formants import N_FORMANTS, formants
from .harmonicity import harmonicity
from .periods import HALF, perturbations
from .types import VoiceFrames

#: Of so many frames one is measured, 70 ms apart.
EVERY = 3
#: Least probability of a pitch of a frame that is measured.
LEAST_VOICING = 0.5
#: Pitches in Hz of which there are periods enough around a frame; highest one whose periods have samples enough to be
#: told apart; highest one whose harmonics are dense enough to show resonances.
LOWEST_HZ, HIGHEST_HZ = 65.0, 1000.0
HIGHEST_PERTURBED_HZ, HIGHEST_FORMANTS_HZ = 600.0, 350.0
#: Frames at a time; more of the waveform is not kept.
_CHUNK = 1536


class VoiceMeter:
    """Measures the voiced frames of a signal at 22,050 Hz.

    Examples
    --------
    >>> meter = VoiceMeter()
    >>> meter.push(np.full(44, 220.0), np.ones(44))
    >>> meter.push_signal(np.sign(np.sin(2 * np.pi * 220 * np.arange(22_050) / 22_050)))
    >>> bool(meter.finish().perturbations[5, 0] < 0.01)
    True
    """

    def __init__(self) -> None:
        self._signal = np.zeros(HALF, np.float32)
        self._hz: np.ndarray = np.zeros(0, np.float32)
        self._voicing: np.ndarray = np.zeros(0, np.float32)
        self._n_done = 0
        self._parts: list[VoiceFrames] = []

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
        """Take further (n,) samples; sample 0 is the centre of frame 0."""
        self._signal = np.concatenate([self._signal, np.asarray(signal, dtype=np.float32)])
        self._run()

    def finish(self) -> VoiceFrames:
        """What was measured; where the waveform ends it is silent."""
        self._signal = np.pad(self._signal, (0, len(self._hz) * HOP_LENGTH + 2 * HALF))
        while len(self._hz):
            self._measure(min(_CHUNK, len(self._hz)))
        if not self._parts:
            return _measured(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2 * HALF)))
        names = ("frame", "hz", "perturbations", "harmonicity_db", "formants_hz")
        return VoiceFrames(*(np.concatenate([getattr(part, name) for part in self._parts]) for name in names))

    def _run(self) -> None:
        while min(len(self._hz), (len(self._signal) - 2 * HALF) // HOP_LENGTH + 1) >= _CHUNK:
            self._measure(_CHUNK)

    def _measure(self, count: int) -> None:
        hz, voicing = self._hz[:count], self._voicing[:count]
        number = self._n_done + np.arange(count)
        with np.errstate(invalid="ignore"):
            inside = (hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)
        rows = np.flatnonzero((number % EVERY == 0) & (voicing > LEAST_VOICING) & inside)
        if len(rows):
            windows = self._signal[(rows * HOP_LENGTH)[:, None] + np.arange(2 * HALF)]
            self._parts.append(_measured(number[rows], hz[rows].astype(np.float64), windows))
        self._hz, self._voicing, self._n_done = self._hz[count:], self._voicing[count:], self._n_done + count
        self._signal = self._signal[count * HOP_LENGTH :].copy()


def _measured(frame: np.ndarray, hz: np.ndarray, windows: np.ndarray) -> VoiceFrames:
    period = ANALYSIS_SAMPLE_RATE / hz
    perturbed, resonant = hz <= HIGHEST_PERTURBED_HZ, hz <= HIGHEST_FORMANTS_HZ
    perturbation, resonances = np.full((len(hz), 4), np.nan), np.full((len(hz), 2 * N_FORMANTS), np.nan)
    if perturbed.any():
        perturbation[perturbed] = perturbations(windows[perturbed], period[perturbed])
    if resonant.any():
        resonances[resonant] = formants(windows[resonant])
    parts = (hz, perturbation, harmonicity(windows, period), resonances)
    return VoiceFrames(frame, *(part.astype(np.float32) for part in parts))
