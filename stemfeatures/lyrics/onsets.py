"""How much a frame of vocals looks like the start of a syllable, from what changes in the spectrum around it.

A logistic regression on differences of the logarithm of power in four bands, at five places within 0.09 s, and on what
of them rises. :mod:`.train_onsets` makes the shipped weights from generated songs, whose notes have exact times.
"""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path

import numpy as np

#: Mel bands of :func:`.cepstra.mel_power` that are taken together.
GROUPS = ((0, 5), (5, 10), (10, 16), (16, 25))
#: Frames of 10 ms from the one in question to the middle of a difference, and from there to either end of it.
PLACES, REACH = (-6, -3, 0, 3, 6), 3
#: Power that is added before logarithms are taken, on the scale of 16-bit samples.
FLOOR = 1e4
#: Frames whose logarithms are taken at a time.
_BLOCK = 10_000
N_FEATURES = 2 * len(GROUPS) * len(PLACES)
SHIPPED = Path(__file__).parent / "onsets.json.gz"


def onset_features(mel: np.ndarray) -> np.ndarray:
    """Differences of bands, and what of them is above zero.

    Parameters
    ----------
    mel : np.ndarray
        (n_frames, 25) power of :func:`.cepstra.mel_power`.

    Returns
    -------
    np.ndarray
        (n_frames, N_FEATURES) float32.
    """
    change = _changes(mel)
    around = np.concatenate([_shifted(change, place) for place in PLACES], axis=1)
    return np.concatenate([around, np.maximum(around, 0)], axis=1)


def onset_scores(mel: np.ndarray) -> np.ndarray:
    """(n_frames,) float32 nats by which each frame is more likely where a syllable starts than elsewhere."""
    weights, offset = _shipped()
    change = _changes(mel)
    rise = np.maximum(change, 0)
    by_place = weights.reshape(2, len(PLACES), len(GROUPS))
    scores = np.full(len(mel), offset, np.float32)
    for k, place in enumerate(PLACES):
        scores += _shifted(change @ by_place[0, k] + rise @ by_place[1, k], place)
    return scores


def _changes(mel: np.ndarray) -> np.ndarray:
    """(n_frames, n_groups) by how much the logarithm of each group rises around each frame."""
    level = np.empty((len(mel), len(GROUPS)), np.float32)
    for first in range(0, len(mel), _BLOCK):
        power = mel[first : first + _BLOCK].astype(float)
        for k, (a, b) in enumerate(GROUPS):
            level[first : first + _BLOCK, k] = np.log(power[:, a:b] + FLOOR).mean(axis=1)
    padded = np.pad(level, ((REACH, REACH), (0, 0)), mode="edge") if len(level) else level
    return padded[2 * REACH :] - padded[: len(padded) - 2 * REACH]


def _shifted(values: np.ndarray, place: int) -> np.ndarray:
    """Each frame takes what is ``place`` frames later; beyond the ends nothing changes."""
    out = np.zeros_like(values)
    n = max(len(values) - abs(place), 0)
    if place >= 0:
        out[:n] = values[place : place + n]
    else:
        out[len(values) - n :] = values[:n]
    return out


@lru_cache(maxsize=1)
def _shipped() -> tuple[np.ndarray, float]:
    with gzip.open(SHIPPED, "rt", encoding="ascii") as file:
        made = json.load(file)
    return np.array(made["weights"], np.float32), float(made["offset"])
