"""How likely an onset that the network of notes reports is one of a note that is played.

In a separated stem most false notes are onsets of pitches that sound already, at strokes of other stems that cut holes
into them, and octaves of what is played. The network hears a few frames; a logistic model of what it says before and
after an onset, and at the octaves, twelfths and fifths around, knows better.
:mod:`stemfeatures.training.note_onsets` fits it to generated songs, separated and as they are.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from .._util.large_arrays import allocate
from ..constants import LOWEST_NOTE
from .fitted import logistic, stored_model
from .values import windows

#: Semitones to the pitches whose onsets are looked at.
INTERVALS = (-24, -19, -12, -7, -1, 1, 7, 12, 19)
#: What the model reads of an onset, in the order of :func:`onset_evidence`.
EVIDENCE = (
    "onset", "active", "active_later", "active_last", "active_before", "active_long_before", "onset_of_active",
    "onset_next", "least_active_before", *(f"onset_{k:+d}" for k in INTERVALS), "pitch", "pitch_squared",
)  # fmt: skip
WEIGHTS = "note_onset_weights.json"
#: Frames around an onset in which no other of that pitch is, and the least probability that is looked at.
APART, LEAST = 2, 0.25
#: Frames from an onset on, first and end, over which it is averaged how far the pitch sounds.
_SPANS = {"active": (0, 3), "later": (3, 12), "last": (12, 25), "before": (-4, -1), "long_before": (-12, -4)}
_BEFORE, _AFTER = 12, 25
_DIP = 4


def onset_evidence(onset: np.ndarray, active: np.ndarray, pitch: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """What the network says around onsets.

    Parameters
    ----------
    onset, active : np.ndarray
        (n_pitches, n_frames) probabilities that a note begins, and sounds, in 0..1; of all pitches.
    pitch, frame : np.ndarray
        (n,) numbers of the onsets' rows and columns.

    Returns
    -------
    np.ndarray
        (n, n_evidence) float64, in the order of :data:`EVIDENCE`.
    """
    n_pitches, n_frames = onset.shape
    sums = np.concatenate([np.zeros((n_pitches, 1)), np.cumsum(active, axis=1, dtype=np.float64)], axis=1)

    def sounding(first: int, end: int) -> np.ndarray:
        a, b = (np.clip(frame + shift, 0, n_frames) for shift in (first, end))
        return np.asarray((sums[pitch, b] - sums[pitch, a]) / np.maximum(b - a, 1))

    def near(interval: int) -> np.ndarray:
        other = pitch + interval
        heard = around[np.clip(other, 0, n_pitches - 1), frame]
        return np.where((other >= 0) & (other < n_pitches), heard, 0.0)

    around = maximum_filter1d(onset, 2 * APART + 1, axis=1)
    least = minimum_filter1d(active, _DIP, axis=1, origin=1)
    parts = {name: sounding(*span) for name, span in _SPANS.items()}
    own, octaves = _log_odds(onset[pitch, frame]), (LOWEST_NOTE + pitch - 60) / 12
    columns = [
        own, _log_odds(parts["active"]), parts["later"], parts["last"], parts["before"], parts["long_before"],
        own * parts["before"], _log_odds(onset[pitch, np.minimum(frame + 1, n_frames - 1)]),
        least[pitch, np.maximum(frame - 1, 0)], *(near(k) for k in INTERVALS), octaves, octaves**2,
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float64)


def _log_odds(probability: np.ndarray) -> np.ndarray:
    bounded = np.clip(probability.astype(np.float64), 1e-3, 1 - 1e-3)
    return np.asarray(np.log(bounded / (1 - bounded)))


def onset_peaks(onset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the maxima of ``(n_pitches, n_frames)`` probabilities that are worth a look."""
    highest = maximum_filter1d(onset, 2 * APART + 1, axis=1, mode="constant")
    pitch, frame = np.nonzero((onset == highest) & (onset >= LEAST))
    return pitch, frame


@cache
def _model() -> tuple[np.ndarray, float]:
    stored = stored_model(WEIGHTS, EVIDENCE)
    return np.array(stored["weights"]), float(stored["bias"])


def likely_onsets(onset: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Onsets that are likely to be played.

    Parameters
    ----------
    onset, active : np.ndarray
        (n_pitches, n_frames) probabilities that a note begins, and sounds, in 0..1; of all pitches.

    Returns
    -------
    np.ndarray
        (n_pitches, n_frames) float32, 0..1: at the maxima of ``onset`` the probability that a note is played there,
        above one half where it is worth telling; the frames beside them in the same ratio, 0 elsewhere.
    """
    weights, bias = _model()
    judged = allocate({"onset": onset.shape}, dtype=np.float32)["onset"]
    for part in windows(onset, active, judged):
        first, last = max(part.start - _BEFORE - 1, 0), part.stop + _AFTER
        some, sounds = onset[:, first:last], active[:, first:last]
        pitch, frame = onset_peaks(some)
        inside = (frame >= part.start - first - 1) & (frame < part.stop - first + 1)
        pitch, frame = pitch[inside], frame[inside]
        ratio = logistic(onset_evidence(some, sounds, pitch, frame) @ weights + bias) / some[pitch, frame]
        found = np.zeros(some.shape, np.float32)
        for beside in (-1, 1, 0):
            at = np.clip(frame + beside, 0, some.shape[1] - 1)
            found[pitch, at] = some[pitch, at] * ratio
        judged[:, part] = found[:, part.start - first : part.stop - first]
    return judged
