"""One training example and its labels, whatever it was made from.

An :class:`ExampleSource` makes example number ``i`` as a function of its data, its seed and ``i`` alone, so a run can
stop and go on, and any worker can make any example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import HOP_LENGTH, N_PITCH_BINS, PITCH_BINS_PER_OCTAVE, PITCH_FMIN, PITCHED_STEMS


@dataclass
class Example:
    """One training example of ``n_frames`` frames.

    Attributes
    ----------
    stems : np.ndarray
        (4, n_frames * HOP_LENGTH) float32 in the order of ``STEMS``; the mixture is their sum.
    salience : np.ndarray
        (2, N_PITCH_BINS, n_frames) float16 targets in 0..1 in the order of ``PITCHED_STEMS``.
    voiced : np.ndarray
        (2, n_frames) float32, 1 voiced, 0 unvoiced; ``voiced_known``: where that may be believed.
    rhythm : np.ndarray
        (3, n_frames) float32 targets: onset, beat, downbeat; ``rhythm_known`` (3,): 1 where the label is exact.
    """

    stems: np.ndarray
    salience: np.ndarray
    voiced: np.ndarray
    voiced_known: np.ndarray
    rhythm: np.ndarray
    rhythm_known: np.ndarray


class ExampleSource(Protocol):
    """Makes examples by number."""

    def example(self, index: int) -> Example: ...


def label_example(
    stems: np.ndarray,
    f0: Mapping[str, Sequence[np.ndarray] | None],
    *,
    onsets_s: np.ndarray | None = None,
    beats_s: np.ndarray | None = None,
    downbeats_s: np.ndarray | None = None,
) -> Example:
    """An example from its sound and what is known of it; None is "not known".

    Parameters
    ----------
    stems : np.ndarray
        (4, n_frames * HOP_LENGTH) float32.
    f0 : Mapping[str, Sequence[np.ndarray] | None]
        By stem of ``PITCHED_STEMS``, (n_frames,) Hz a voice: 0 = unvoiced, NaN = not sure.
    onsets_s, beats_s, downbeats_s : np.ndarray, optional
        Seconds from the first sample.
    """
    n_frames = stems.shape[-1] // HOP_LENGTH
    salience = np.zeros((len(PITCHED_STEMS), N_PITCH_BINS, n_frames), np.float16)
    voiced = np.zeros((len(PITCHED_STEMS), n_frames), np.float32)
    known = np.zeros_like(voiced)
    for i, stem in enumerate(PITCHED_STEMS):
        voices = f0[stem]
        if voices is None:
            continue
        salience[i] = salience_target(voices, n_frames)
        voiced[i] = np.any([np.nan_to_num(voice) > 0 for voice in voices], axis=0)
        known[i] = np.all([np.isfinite(voice) for voice in voices], axis=0)
    rhythm = np.zeros((3, n_frames), np.float32)
    rhythm_known = np.zeros(3, np.float32)
    for i, times_s in enumerate((onsets_s, beats_s, downbeats_s)):
        if times_s is not None:
            rhythm[i], rhythm_known[i] = activation(times_s, n_frames), 1
    return Example(stems, salience, voiced, known, rhythm, rhythm_known)


def salience_target(f0: Sequence[np.ndarray], n_frames: int) -> np.ndarray:
    """(N_PITCH_BINS, n_frames) Gaussian bumps (sigma one bin) at every F0 > 0 of every voice, largest value 1."""
    target = np.zeros((N_PITCH_BINS, n_frames), np.float32)
    bins = np.arange(N_PITCH_BINS)[:, None]
    for voice in f0:
        known = np.nan_to_num(voice) > 0
        place = np.full(n_frames, -100.0)
        place[known] = PITCH_BINS_PER_OCTAVE * np.log2(voice[known] / PITCH_FMIN)
        np.maximum(target, np.exp(-0.5 * (bins - place) ** 2), out=target)
    return target


def activation(times_s: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames,) targets of 1 at the frame nearest to each time and 0.5 beside it."""
    out = np.zeros(n_frames + 2, np.float32)
    frames = np.round(np.asarray(times_s) * SR / HOP_LENGTH).astype(int)
    frames = frames[(frames >= 0) & (frames < n_frames)]
    for offset, value in ((-1, 0.5), (1, 0.5), (0, 1.0)):
        out[frames + 1 + offset] = np.maximum(out[frames + 1 + offset], value)
    return out[1:-1]
