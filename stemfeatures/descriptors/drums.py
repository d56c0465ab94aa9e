"""Strokes of the drums by kind, from the drum stem alone.

A network of one hidden layer reads the spectrum around a frame: how far each band rises there, how it decays, how loud
it is, and what a band does not fall below in the second after it beside before, which tells a cymbal that rings under
other strokes from a hi-hat. Each kind has a probability of its own, and its strokes are the peaks of it, so that a kick
and a hi-hat may fall together. :mod:`stemfeatures.training.strokes` fits the network to generated songs, whose strokes
are known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d

from ..constants import FRAME_RATE
from .fitted import logistic
from .values import band_percentiles, loud_level, parabolic_offset, windows

#: Kinds of strokes; the snare includes rim shots and claps, the hat open and closed, cymbals crash and ride.
STROKES = ("kick", "snare", "hat", "tom", "cymbal")
#: First mel bands of the 17 groups whose rise and decay is looked at; the last ends at band 80.
_GROUPS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20, 25, 32, 40, 51, 64)
#: First mel bands of the eight groups, from 1 kHz on, whose ringing is looked at.
_RINGING = (16, 25, 32, 40, 48, 56, 64, 72)
#: First mel bands of the three groups, from 2.2 kHz on, in which neighbouring bands are compared.
_TEXTURE = (32, 48, 64)
#: Log compression relative to a band's own loud frames, how far below the loudest one a band may be and still be judged
#: so, and compression relative to the loudest.
_OWN, _OWN_FLOOR_DB, _ALL = 300.0, 40.0, 1e3
#: Compression of what rings, relative to the loudest band.
_FAINT = 1e5
#: Strokes of one kind lie more than this many frames apart.
_DISTANCE = 2
#: Frames of the context over which activations are seen, to either side.
_CONTEXT = 1
#: Frames after which the decay is looked at (70 and 160 ms after the stroke), and the farthest that is.
_DECAYED = (5, 9)
#: First and last frames, beside the stroke, of the stretches whose least level is looked at, before and after it (up to
#: one second), and of the one whose largest is.
_BEFORE, _AFTER, _STRUCK = (-8, -2), ((3, 7), (7, 14), (14, 26), (26, 43)), (0, 3)
_EARLIEST, _FARTHEST = -_BEFORE[0], _AFTER[-1][1]
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
    over all four; its fall within 70 and within 160 ms; its level, and that of all; the activation around; by how much
    the least level of each high group in four stretches of the second after exceeds that before, its level at the
    stroke beside both, and before; and how much neighbouring high bands differ.
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
        first = max(start - _EARLIEST, 0)
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
        faint = np.log(1 + some * (_FAINT / loud)) / np.log(10)
        ringing = [at(values, shift) for values, shift in _ringing(_grouped(faint, _RINGING))]
        texture = at(_texture(faint), 2)
        loudness = np.concatenate([loudness, loudness.mean(axis=0, keepdims=True)])
        yield np.concatenate([*rises, whole, *falls, loudness, *around, *_beside(*ringing), texture]).T


def _grouped(values: np.ndarray, groups: tuple[int, ...] = _GROUPS) -> np.ndarray:
    sizes = np.diff([*groups, len(values)])
    return np.add.reduceat(values, groups, axis=0) / sizes[:, None]


def _ringing(level: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Extremes of ``(n_groups, n)`` levels over the stretches beside a stroke, and how far from it to read them.

    The largest at the stroke comes first, then the least before and after it.
    """
    stretches = [(maximum_filter1d, _STRUCK), *((minimum_filter1d, some) for some in (_BEFORE, *_AFTER))]
    for extreme, (first, last) in stretches:
        size = last - first + 1
        yield extreme(level, size, axis=1, mode="nearest"), first + size // 2


def _beside(struck: np.ndarray, before: np.ndarray, *after: np.ndarray) -> list[np.ndarray]:
    """What a stroke leaves of itself, from the levels of :func:`_ringing`."""
    return [*(some - before for some in after), struck - after[0], struck - before, before]


def _texture(level: np.ndarray) -> np.ndarray:
    """(3, n) spread of high bands around those beside them: partials of a cymbal stand out, noise is even."""
    first = _TEXTURE[0]
    apart = level[first:] - uniform_filter1d(level[first:], 5, axis=0)
    return np.stack([some.std(axis=0) for some in np.split(apart, np.array(_TEXTURE[1:]) - first)])


@dataclass(frozen=True)
class StrokeModel:
    """A network of one hidden layer, of rectified units.

    Attributes
    ----------
    mean, spread : np.ndarray
        (n_features,) of the features in training.
    hidden, hidden_bias : np.ndarray
        (n_hidden, n_features) and (n_hidden,).
    weights : np.ndarray
        (5, n_hidden).
    bias : np.ndarray
        (5,).
    threshold : np.ndarray
        (5,) probability at which strokes of songs that were not learned from were best by F-measure.
    """

    mean: np.ndarray
    spread: np.ndarray
    hidden: np.ndarray
    hidden_bias: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray

    def probability(self, features: np.ndarray) -> np.ndarray:
        """(n_frames, 5) of :func:`stroke_features`."""
        heard = np.maximum(((features - self.mean) / self.spread) @ self.hidden.T + self.hidden_bias, 0.0)
        return logistic(heard @ self.weights.T + self.bias)


@cache
def stroke_model() -> StrokeModel:
    """The model that comes with the package."""
    stored = json.loads(files(__package__).joinpath(WEIGHTS).read_text())
    if tuple(stored["strokes"]) != STROKES:
        raise ValueError(f"{WEIGHTS} is of the strokes {stored['strokes']}, expected {STROKES}")
    return StrokeModel(*(np.array(stored[field.name]) for field in fields(StrokeModel)))


def peaks(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Frames at which a probability above ``threshold`` is the largest within 46 ms, the first of equals."""
    highest = maximum_filter1d(probability, 2 * _DISTANCE + 1, mode="constant")
    rising = np.r_[True, probability[1:] > probability[:-1]]
    return np.flatnonzero((probability >= highest) & (probability > threshold) & rising)


def stroke_times(probability: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Seconds of the peaks of a probability at given frames, between frames."""
    return np.maximum((frame + parabolic_offset(probability, frame)) / FRAME_RATE, 0.0)


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
        found[kind] = stroke_times(values, at), values[at]
    return found
