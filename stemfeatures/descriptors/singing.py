"""Whether what is heard as vocals is a voice: the evidence of phrases and of the whole track.

The presence that the network says is of the second around a frame, in which a guitar, a saxophone or a synthesiser may
sound like a voice. What of it is left over some seconds tells more: how sure the network is at its least sure moments,
how much of the mixture its masks are sure to be the voice's, whether between the notes there are consonants, which lie
in high bands, and whether steady notes lie on a grid of semitones, as those of keys and frets do. A logistic model
makes log-odds of these for windows of some seconds; their mean is that of the track, as an instrumental has no clear
singing anywhere. Both lower the presence of the frames. They never raise it: where a singer breathes, a good song is no
reason to hear a voice.

:mod:`stemfeatures.training.singing` fits the model to generated songs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..constants import FRAME_RATE, MIXTURE
from ..frames import PitchFrames, TrackFrames
from .fitted import logistic, stored_model
from .values import sums_before, windows

WEIGHTS = "singing_weights.json"
#: What is looked at in a window: mean and 20th percentile of the log-odds that the network gives its frames; dB of the
#: energy that is the vocals'; dB by which the masks are sure of it; log10 of the share of the vocals in the high bands
#: of frames without a pitch; how near steady pitches keep to a grid of semitones, 0..1.
FEATURES = ("presence_mean", "presence_low", "share_db", "sure_db", "consonants", "on_grid")
#: Length of a window, from one to the next, and the least of it that must sound.
WINDOW_S, STEP_S, LEAST_S = 6.0, 2.0, 0.5
#: First mel band of the consonants, from 4.2 kHz on. Where they have less than this share of the mixture, as in files
#: at 8 kHz, a voice has none: they tell nothing, as does the share that follows.
HIGH_BAND = 58
EMPTY_BAND, NO_CONSONANTS = 1e-6, 0.1
#: Semitones from one frame to the next below which a pitch is steady; what is taken for its nearness to the grid where
#: nothing is, as if of so many frames: that of singing.
STEADY, ANY_GRID, ANY_FRAMES = 0.2, 0.6, 20
#: Bounds of the log-odds of a frame and of a window, and of the features in dB and log10.
FRAME_BOUND, WINDOW_BOUND = 9.2, 6.0
LEAST_SHARE_DB, MOST_SURE_DB, LEAST_CONSONANTS = -40.0, 30.0, -2.0
#: Bound of the log-odds of a track, what they count for beside those of a window, and of how many seconds of sound it
#: is half of that: a short one gives little evidence. Chosen on the songs that were learned from, by models of others.
TRACK_BOUND, TRACK_WEIGHT, HALVED_S = 4.0, 2.0, 8.0
#: Log-odds against a voice that are forgiven: a soft voice that is lost is worse than a guitar that is told.
FORGIVEN = 0.25


@dataclass(frozen=True)
class SingingModel:
    """Log-odds that what sounds in a window is sung.

    Attributes
    ----------
    weights : np.ndarray
        (n_features,) of :data:`FEATURES`.
    bias : float
        Of the score.
    """

    weights: np.ndarray
    bias: float

    def score(self, features: np.ndarray) -> np.ndarray:
        """(n,) log-odds of ``(n, n_features)`` features."""
        return np.asarray(np.clip(features @ self.weights + self.bias, -WINDOW_BOUND, WINDOW_BOUND))


@dataclass(frozen=True)
class SingingWindows:
    """What windows say of the frames that sound like vocals.

    Attributes
    ----------
    spans : np.ndarray
        (n, 2) int64 first frame and end of each window.
    sounding : np.ndarray
        (n,) int64 frames of it that sound.
    features : np.ndarray
        (n, n_features) :data:`FEATURES`.
    """

    spans: np.ndarray
    sounding: np.ndarray
    features: np.ndarray


@cache
def singing_model() -> SingingModel:
    """The model that comes with the package."""
    stored = stored_model(WEIGHTS, FEATURES)
    return SingingModel(np.array(stored["weights"]), float(stored["bias"]))


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Of a probability of any shape, within :data:`FRAME_BOUND`."""
    p = np.asarray(probability, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(p) - np.log1p(-p), -FRAME_BOUND, FRAME_BOUND))


def singing_windows(
    frames: TrackFrames, plays: np.ndarray, audible: np.ndarray, audible_mixture: np.ndarray
) -> SingingWindows:
    """Look at windows of a track.

    Parameters
    ----------
    frames : TrackFrames
        With presence.
    plays : np.ndarray
        (n_frames,) bool, where the vocals play as far as the network says.
    audible, audible_mixture : np.ndarray
        (n_frames,) energy of vocals and mixture, see :func:`.activity.audible_energy`.

    Returns
    -------
    SingingWindows
        Those in which enough plays; none where no masks were applied.
    """
    vocals, at = frames.stems["vocals"], np.flatnonzero(plays)
    if vocals.mask_energy is None or not len(at):
        return SingingWindows(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros((0, len(FEATURES))))
    assert frames.presence is not None
    unpitched = at[frames.pitch["vocals"].voicing[at] <= 0.5]
    odds = log_odds(frames.presence[0][at])
    energies = [
        sums_before(row[at])
        for row in (audible, audible_mixture, vocals.mask_energy, vocals.mask_energy - vocals.energy)
    ]
    bands = [sums_before(row[unpitched]) for row in _high_bands(frames)]
    starts = np.arange(0, max(1, frames.n_frames - round(WINDOW_S * FRAME_RATE / 2)), round(STEP_S * FRAME_RATE))
    spans = np.stack([starts, np.minimum(starts + round(WINDOW_S * FRAME_RATE), frames.n_frames)], axis=1)
    place, noise = np.searchsorted(at, spans), np.searchsorted(unpitched, spans)
    enough = place[:, 1] - place[:, 0] >= round(LEAST_S * FRAME_RATE)
    spans, place, noise = spans[enough], place[enough], noise[enough]
    own, of, masked, left_open = (total[place[:, 1]] - total[place[:, 0]] for total in energies)
    high, high_mixture, whole = (total[noise[:, 1]] - total[noise[:, 0]] for total in bands)
    features = [
        np.array([odds[first:end].mean() for first, end in place]),
        np.array([np.percentile(odds[first:end], 20) for first, end in place]),
        np.maximum(_decibels(own, of), LEAST_SHARE_DB),
        np.minimum(_decibels(masked, left_open), MOST_SURE_DB),
        np.maximum(_consonants(high, high_mixture, whole), LEAST_CONSONANTS),
        _on_grid(frames.pitch["vocals"], at, spans),
    ]
    return SingingWindows(spans, place[:, 1] - place[:, 0], np.stack(features, axis=1).reshape(-1, len(FEATURES)))


def sung_presence(presence: np.ndarray, heard: SingingWindows, model: SingingModel | None = None) -> np.ndarray:
    """Presence of the vocals once windows and track have been heard.

    Parameters
    ----------
    presence : np.ndarray
        (n_frames,) what the network says, 0..1.
    heard : SingingWindows
        Of the same track.
    model : SingingModel, optional
        That of the package by default.

    Returns
    -------
    np.ndarray
        (n_frames,) float32 in 0..1, nowhere more than that of the network.
    """
    if not len(heard.spans):
        return presence
    score = (model or singing_model()).score(heard.features)
    evidence = _of_frames(heard, score, len(presence)) + TRACK_WEIGHT * track_score(heard, score)
    lowered = logistic(log_odds(presence) + np.minimum(evidence + FORGIVEN, 0.0))
    return np.minimum(presence, lowered.astype(np.float32))


def track_score(heard: SingingWindows, score: np.ndarray) -> float:
    """Log-odds that a track is sung: the mean over what sounds, less of a short one."""
    total = float(heard.sounding.sum())
    mean = float(score @ heard.sounding) / total
    seconds = total / FRAME_RATE * STEP_S / WINDOW_S  # a frame lies in three windows
    return float(np.clip(mean, -TRACK_BOUND, TRACK_BOUND)) * seconds / (seconds + HALVED_S)


def _of_frames(heard: SingingWindows, score: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames,) mean of the windows around a frame, weighed by what sounds in them; 0 outside of all."""
    steps = np.zeros((2, n_frames + 1))
    for row, values in zip(steps, (score * heard.sounding, heard.sounding)):
        np.add.at(row, heard.spans[:, 0], values)
        np.add.at(row, heard.spans[:, 1], -values)
    total, weight = np.cumsum(steps[:, :-1], axis=1)
    return np.where(weight > 0.5, total / np.maximum(weight, 1.0), 0.0)


def _high_bands(frames: TrackFrames) -> np.ndarray:
    """(3, n_frames) power in the high bands of vocals and mixture, and in all bands of the mixture."""
    vocals, mixture = frames.stems["vocals"].mel, frames.stems[MIXTURE].mel
    found = [
        (vocals[HIGH_BAND:, part].sum(axis=0), mixture[HIGH_BAND:, part].sum(axis=0), mixture[:, part].sum(axis=0))
        for part in windows(vocals, mixture)
    ]
    return np.concatenate([np.stack(block) for block in found], axis=1)


def _consonants(high: np.ndarray, mixture: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """log10 of the share of the vocals in the high bands, that of :data:`NO_CONSONANTS` where these are empty."""
    nothing = EMPTY_BAND * whole + 1e-20
    return np.asarray(np.log10((high + NO_CONSONANTS * nothing) / (mixture + nothing) + 1e-12))


def _on_grid(pitch: PitchFrames, at: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """(n,) how near steady pitches of each span keep to one grid of semitones, wherever that lies.

    It is the length of the mean of unit vectors that turn once a semitone: 1 where all pitches are whole semitones
    apart, near 0 where they lie anywhere.
    """
    midi = 12 * np.log2(pitch.candidates_hz[at, 0] / 440.0)
    near = at + 1 < len(pitch.voicing)
    after = np.full(len(at), np.nan)
    after[near] = 12 * np.log2(pitch.candidates_hz[at[near] + 1, 0] / 440.0)
    with np.errstate(invalid="ignore"):
        steady = (pitch.voicing[at] > 0.5) & (np.abs(after - midi) < STEADY)
    turned = np.exp(2j * np.pi * midi[steady])
    place = np.searchsorted(at[steady], spans)
    real, imaginary = (
        total[place[:, 1]] - total[place[:, 0]] for total in map(sums_before, (turned.real, turned.imag))
    )
    return np.asarray((np.hypot(real, imaginary) + ANY_FRAMES * ANY_GRID) / (place[:, 1] - place[:, 0] + ANY_FRAMES))


def _decibels(part: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.asarray(10 * np.log10(np.maximum(part, 1e-20) / np.maximum(of, 1e-20)))
