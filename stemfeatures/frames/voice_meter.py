"""Jitter, shimmer, harmonicity and formants of a voice that arrives in blocks."""

from __future__ import annotations

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE
from .formants import N_FORMANTS, formants
from .harmonicity import harmonicity
from .periods import HALF, perturbations
from .pitched_frames import PitchedFrameMeter
from .types import VoiceFrames

#: Of so many frames one is measured, 70 ms apart.
EVERY = 3
#: Pitches in Hz of which there are periods enough around a frame; highest one whose periods have samples enough to be
#: told apart; highest one whose harmonics are dense enough to show resonances.
LOWEST_HZ, HIGHEST_HZ = 65.0, 1000.0
HIGHEST_PERTURBED_HZ, HIGHEST_FORMANTS_HZ = 600.0, 350.0
#: Frames at a time.
_TOGETHER = 1536


class VoiceMeter(PitchedFrameMeter):
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
        super().__init__(window=2 * HALF, every=EVERY, range_hz=(LOWEST_HZ, HIGHEST_HZ), together=_TOGETHER)
        self._parts: list[VoiceFrames] = []

    def finish(self) -> VoiceFrames:
        """What was measured."""
        self._end()
        if not self._parts:
            return _measured(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2 * HALF)))
        names = ("frame", "hz", "perturbations", "harmonicity_db", "formants_hz")
        return VoiceFrames(*(np.concatenate([getattr(part, name) for part in self._parts]) for name in names))

    def _measure(self, frame: np.ndarray, hz: np.ndarray, windows: np.ndarray) -> None:
        if len(frame):
            self._parts.append(_measured(frame, hz.astype(np.float64), windows))


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
