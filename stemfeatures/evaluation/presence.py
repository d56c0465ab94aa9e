"""Which stems play at all, frame by frame.

Notes
-----
Frames are those of the analysis grid (23 ms). A stem plays where its energy is less than 40 dB below the level of the
mixture, and in pauses shorter than half a second; that level is the one of
:mod:`stemfeatures.descriptors.activity`. Frames within 5 dB of that threshold are not scored: nobody could say. An
estimate is brought to these frames by its nearest one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..audio import resample, to_mono
from ..constants import ANALYSIS_SAMPLE_RATE as SR
from ..constants import HOP_LENGTH, STEMS
from ..descriptors.activity import BELOW_MIXTURE_DB, MAX_GAP_S, level
from .f0 import nearest_frame

#: Within so many dB of the threshold frames are not scored.
UNSURE_DB = 5.0


def presence_truth(stems: Mapping[str, np.ndarray], sample_rate: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which stems play, from the stems themselves.

    Parameters
    ----------
    stems : Mapping of str to numpy.ndarray
        ``(channels, n_samples)`` by name; their sum is the mixture.
    sample_rate : int
        Hz.

    Returns
    -------
    dict of str to tuple
        ``{stem: (plays, known)}`` of those of ``STEMS`` that are there: ``(n_frames,)`` bool; frame ``k`` begins at
        ``k * HOP_LENGTH / ANALYSIS_SAMPLE_RATE`` seconds.
    """
    mono = {name: resample(to_mono(y), sample_rate, SR) for name, y in stems.items()}
    mixture = level(_frame_energies(np.sum(list(mono.values()), axis=0)))
    return {stem: _plays(_frame_energies(mono[stem]), mixture) for stem in STEMS if stem in mono}


def _frame_energies(y: np.ndarray) -> np.ndarray:
    frames = len(y) // HOP_LENGTH
    return np.square(y[: frames * HOP_LENGTH].astype(np.float64)).reshape(frames, HOP_LENGTH).mean(axis=1)


def _plays(energy: np.ndarray, mixture: float) -> tuple[np.ndarray, np.ndarray]:
    plays, surely, perhaps = (
        _bridged(energy > mixture * 10 ** (-decibels / 10) + 1e-12)
        for decibels in (BELOW_MIXTURE_DB, BELOW_MIXTURE_DB - UNSURE_DB, BELOW_MIXTURE_DB + UNSURE_DB)
    )
    return plays, surely == perhaps


def _bridged(plays: np.ndarray) -> np.ndarray:
    """Pauses shorter than :data:`MAX_GAP_S` between two sounds filled."""
    from scipy.ndimage import binary_closing

    reach = round(MAX_GAP_S / 2 * SR / HOP_LENGTH)
    closed = binary_closing(np.pad(plays, reach), np.ones(2 * reach + 1))
    return closed[reach : len(closed) - reach]


def at_frames(n_frames: int, times_s: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An estimate at the frames of :func:`presence_truth`, and whether it has one there."""
    nearest, within = nearest_frame(times_s, (np.arange(n_frames) + 0.5) * (HOP_LENGTH / SR))
    return np.asarray(estimate)[nearest], within


def presence_scores(
    plays: np.ndarray, known: np.ndarray, times_s: np.ndarray, estimate: np.ndarray
) -> dict[str, float]:
    """Scores of one stem.

    Parameters
    ----------
    plays : numpy.ndarray
        ``(n_frames,)`` bool, of :func:`presence_truth`.
    known : numpy.ndarray
        ``(n_frames,)`` bool, of :func:`presence_truth`.
    times_s : numpy.ndarray
        ``(n,)`` seconds, increasing.
    estimate : numpy.ndarray
        ``(n,)`` bool, whether the stem is estimated to play.

    Returns
    -------
    dict of str to float
        ``presence_f_measure, presence_precision, presence_recall``, NaN where the stem never plays (precision also
        where it is never estimated to), and ``presence_false_alarm``, the share of the frames without it that are
        estimated to have it, NaN where there are none.
    """
    there, within = at_frames(len(plays), times_s, estimate)
    said = there.astype(bool) & within
    hits, false = int((said & plays & known).sum()), int((said & ~plays & known).sum())
    playing, silent = int((plays & known).sum()), int((~plays & known).sum())
    nan = float("nan")
    return {
        "presence_f_measure": 2 * hits / (hits + false + playing) if playing else nan,
        "presence_precision": hits / (hits + false) if playing and hits + false else nan,
        "presence_recall": hits / playing if playing else nan,
        "presence_false_alarm": false / silent if silent else nan,
    }
