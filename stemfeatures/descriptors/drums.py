"""Strokes of the drums by kind, from the drum stem alone.

Each kind of stroke has a log-linear model of its own over the spectrum around a frame: how far each band rises there,
how it decays, how loud it is. Strokes are the peaks of its probability, so that a kick and a hi-hat may fall together.
:mod:`stemfeatures.training.rhythm` fits the models to generated songs, whose strokes are known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.ndimage import maximum_filter1d

from ..constants import FRAME_RATE
from .fitted import logistic
from .values import band_percentiles, loud_level, parabolic_offset, windows

#: Kinds of strokes; the snare includes rim shots and claps, the hat open and closed, cymbals crash and ride.
STROKES = ("kick", "snare", "hat", "tom", "cymbal")
#: First mel bands of the 17 groups whose rise and decay is looked at; the last ends at band 80.
_GROUPS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20, 25, 32, 40, 51, 64)
#: Log compression relative to a band's own loud frames, how far below the loudest one a band may be and still be judged
#: so, and compression relative to the loudest.
_OWN, _OWN_FLOOR_DB, _ALL = 300.0, 40.0, 1e3
#: Strokes of one kind lie more than this many frames apart.
_DISTANCE = 2
#: Frames of the context over which activations are seen, to either side.
_CONTEXT = 1
#: Frames after which the decay is looked at (70 and 160 ms after the stroke), and the farthest that is.
_DECAYED = (5, 9)
_FARTHEST = max(_DECAYED)
WEIGHTS = "stroke_weights.json"


def stroke_features(mel: np.ndarray, onset: np.ndarray) -> np.ndarray:
    """What tells strokes from each other.

    Parameters
    ----------
    mel : np.ndarray
        (n_mels, n_frames) power of the drum stem.
    onset : np.ndarray
        (n_frames,) activation of strokes, from the network.

    Returns
    -------
    (n_frames, n_features) rise of each group of bands over two frames, one frame before, at and after the frame and
    over all four; its fall within 70 and within 160 ms; its level, and that of all; and the activation around.
    """
    return np.concatenate(list(_feature_blocks(mel, onset)))


def _feature_blocks(mel: np.ndarray, onset: np.ndarray) -> Iterator[np.ndarray]:
    """:func:`stroke_features` of consecutive frames, as many as :func:`~.values.windows` says."""
    n = mel.shape[1]
    loud = max(loud_level(mel), 1e-30)
    own = np.maximum(band_percentiles(mel, 98), loud * 10 ** (-_OWN_FLOOR_DB / 10))
    stroke = np.nan_to_num(np.asarray(onset, dtype=np.float64))[None]
    for part in windows(mel):
        start, end = part.start, part.stop
        first = max(start - _FARTHEST, 0)
        some = np.asarray(mel[:, first : end + _FARTHEST], dtype=np.float64)
        # Natural logarithms take half the time of those to the base of 10.
        shape = _grouped(np.log(1 + some * (_OWN / own[:, None]))) / np.log(10)
        level = _grouped(np.log(1 + some * (_ALL / loud))) / np.log(10)
        frames = np.arange(start, end)

        def at(values: np.ndarray, shift: int, *, first: int = first, frames: np.ndarray = frames) -> np.ndarray:
            return values[:, np.clip(frames + shift, 0, n - 1) - first]

        rises = [np.maximum(at(shape, k) - at(shape, k - 2), 0.0) for k in (0, 1, 2)]
        whole = at(shape, 1) - at(shape, -3)
        falls = [at(shape, 2) - at(shape, k) for k in _DECAYED]
        loudness = at(level, 2)
        around = [at(stroke, k, first=0) for k in range(-_CONTEXT, _CONTEXT + 1)]
        yield np.concatenate([*rises, whole, *falls, loudness, loudness.mean(axis=0, keepdims=True), *around]).T


def _grouped(values: np.ndarray) -> np.ndarray:
    sizes = np.diff([*_GROUPS, len(values)])
    return np.add.reduceat(values, _GROUPS, axis=0) / sizes[:, None]


@dataclass(frozen=True)
class StrokeModel:
    """Log-linear models of the kinds of strokes.

    Attributes
    ----------
    mean, spread : np.ndarray
        (n_features,) of the features in training.
    weights : np.ndarray
        (5, n_features).
    bias : np.ndarray
        (5,).
    threshold : np.ndarray
        (5,) probability at which the strokes found in training were best by F-measure.
    """

    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray

    def probability(self, features: np.ndarray) -> np.ndarray:
        """(n_frames, 5) of :func:`stroke_features`."""
        return logistic(((features - self.mean) / self.spread) @ self.weights.T + self.bias)


@cache
def stroke_model() -> StrokeModel:
    """The model that comes with the package."""
    stored = json.loads(files(__package__).joinpath(WEIGHTS).read_text())
    if tuple(stored["strokes"]) != STROKES:
        raise ValueError(f"{WEIGHTS} is of the strokes {stored['strokes']}, expected {STROKES}")
    names = ("mean", "spread", "weights", "bias", "threshold")
    return StrokeModel(*(np.array(stored[name]) for name in names))


def peaks(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Frames at which a probability above ``threshold`` is the largest within 46 ms, the first of equals."""
    highest = maximum_filter1d(probability, 2 * _DISTANCE + 1, mode="constant")
    rising = np.r_[True, probability[1:] > probability[:-1]]
    return np.flatnonzero((probability >= highest) & (probability > threshold) & rising)


def find_strokes(
    mel: np.ndarray, onset: np.ndarray, active: np.ndarray, model: StrokeModel | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Strokes of the drums, with the probability of each.

    Parameters
    ----------
    mel : np.ndarray
        (n_mels, n_frames) power of the drum stem.
    onset : np.ndarray
        (n_frames,) activation of strokes.
    active : np.ndarray
        (n_frames,) bool, where the drums sound.
    model : StrokeModel, optional
        That of the package by default.

    Returns
    -------
    ``{kind: (times_s, probability)}`` for each of :data:`STROKES`, ``(n_strokes,)`` both.
    """
    if not active.any() or len(active) < 3:
        return {kind: (np.zeros(0), np.zeros(0)) for kind in STROKES}
    model = model or stroke_model()
    probability = np.concatenate([model.probability(features).T for features in _feature_blocks(mel, onset)], axis=1)
    # A stroke is heard in the frame before the drums sound, at the earliest.
    sounding = maximum_filter1d(active, 3)
    found = {}
    for kind, values, threshold in zip(STROKES, probability, model.threshold, strict=True):
        at = peaks(np.where(sounding, values, 0.0), float(threshold))
        found[kind] = np.maximum((at + parabolic_offset(values, at)) / FRAME_RATE, 0.0), values[at]
    return found
