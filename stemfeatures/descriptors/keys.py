"""The key of a piece with its mode: which tonic, and which of six scales upon it.

A scale alone does not tell: A aeolian, C ionian and G mixolydian have the same seven notes. What tells the tonic is how
often it and its fifth sound, what the bass and the chords stand on, and with what the piece begins and ends. Modes on
one tonic differ by a note or two; the tones of the chords tell these more clearly than the spectrum, in which partials
and what drums leave sound as any pitch class. A log-linear model weighs all this (:mod:`stemfeatures.training.keys`
fits it to generated songs).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

#: Semitones above the tonic.
MODES = {
    "ionian": (0, 2, 4, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "aeolian": (0, 2, 3, 5, 7, 8, 10),
}
#: The scale of a mode in the names of keys: by its third.
SCALES = {mode: "major" if 4 in notes else "minor" for mode, notes in MODES.items()}
#: What speaks for a tonic and a mode: the share of the scale in all and of what marks it off from its neighbours, of
#: the tonic, third and fifth, of the tonic and fifth in the bass, of the tonic in the bass at the beginning and at the
#: end; the scale and what marks it off in the tones of the chords; and the tonic among the roots of all chords, of the
#: first and of the last one.
EVIDENCE = (
    "scale",
    "leading",
    "colour",
    "tonic",
    "third",
    "fifth",
    "bass_tonic",
    "bass_fifth",
    "first",
    "last",
    "chord_scale",
    "chord_leading",
    "chord_colour",
    "chord_third",
    "chord_tonic",
    "chord_first",
    "chord_last",
)
WEIGHTS = "key_weights.json"
#: The degrees that tell modes with one third apart, in semitones: seventh of major ones, sixth of minor ones.
_SEVENTH = {"ionian": 11, "lydian": 11, "mixolydian": 10, "dorian": 10, "phrygian": 10, "aeolian": 10}
_COLOUR = {"ionian": 5, "lydian": 6, "mixolydian": 5, "dorian": 9, "phrygian": 1, "aeolian": 8}
#: What stands in the place of the colour in the neighbour of a mode.
_RIVAL = {"ionian": 6, "lydian": 5, "mixolydian": 6, "dorian": 8, "phrygian": 2, "aeolian": 9}


@dataclass(frozen=True)
class KeyEvidence:
    """Distributions over pitch classes, from C; each sums to 1, or is 0 throughout where nothing is known.

    Attributes
    ----------
    profile : np.ndarray
        (12,) of all that sounds.
    bass : np.ndarray
        (12,) of the bass.
    first, last : np.ndarray
        (12,) of the bass at the beginning and at the end.
    chord_tones : np.ndarray
        (12,) of the tones of the chords, by their time.
    roots : np.ndarray
        (12,) of the roots of the chords, by their time.
    first_root, last_root : np.ndarray
        (12,) of the first and of the last chord.
    """

    profile: np.ndarray
    bass: np.ndarray
    first: np.ndarray
    last: np.ndarray
    chord_tones: np.ndarray
    roots: np.ndarray
    first_root: np.ndarray
    last_root: np.ndarray


@dataclass(frozen=True)
class KeyModel:
    """Log-linear model of tonic and mode.

    Attributes
    ----------
    weights : np.ndarray
        (17,) by evidence.
    bias : np.ndarray
        (6,) by mode.
    """

    weights: np.ndarray
    bias: np.ndarray

    def probability(self, evidence: KeyEvidence) -> np.ndarray:
        """(12, 6) of each tonic, from C, and mode."""
        score = key_features(evidence) @ self.weights + self.bias
        p = np.exp(score - score.max())
        return np.asarray(p / p.sum())


@cache
def key_model() -> KeyModel:
    """The model that comes with the package."""
    stored = json.loads(files(__package__).joinpath(WEIGHTS).read_text())
    if tuple(stored["evidence"]) != EVIDENCE or tuple(stored["modes"]) != tuple(MODES):
        raise ValueError(f"{WEIGHTS} is of other evidence or modes")
    return KeyModel(np.array(stored["weights"]), np.array(stored["bias"]))


def key_features(evidence: KeyEvidence) -> np.ndarray:
    """(12, 6, 17) evidence for each tonic, from C, and mode."""
    features = np.zeros((12, len(MODES), len(EVIDENCE)))
    for row, mode in enumerate(MODES):
        scale, leading, colour, third = _marks(evidence.profile, mode)
        features[:, row] = np.stack(
            [
                scale,
                leading,
                colour,
                evidence.profile,
                third,
                _share(evidence.profile, 7),
                evidence.bass,
                _share(evidence.bass, 7),
                evidence.first,
                evidence.last,
                *_marks(evidence.chord_tones, mode),
                evidence.roots,
                evidence.first_root,
                evidence.last_root,
            ],
            axis=1,
        )
    return features


def _share(of: np.ndarray, *semitones: int) -> np.ndarray:
    """(12,) what of a distribution lies so many semitones above each tonic."""
    return np.asarray(of[(np.arange(12)[:, None] + np.array(semitones)) % 12].sum(axis=1))


def _marks(of: np.ndarray, mode: str) -> list[np.ndarray]:
    """Share of the scale of a mode, and lead of its seventh, its colour and its third, each (12,) by tonic."""
    third = 3 if SCALES[mode] == "minor" else 4
    return [
        _share(of, *MODES[mode]),
        _share(of, _SEVENTH[mode]) - _share(of, 21 - _SEVENTH[mode]),
        _share(of, _COLOUR[mode]) - _share(of, _RIVAL[mode]),
        _share(of, third) - _share(of, 7 - third),
    ]


def estimate_mode(evidence: KeyEvidence, scale: int | None = None) -> tuple[int, str, float]:
    """The likeliest tonic and mode.

    Parameters
    ----------
    evidence : KeyEvidence
        What speaks for them.
    scale : int, optional
        Tonic of a major scale, a pitch class from C: only tonics and modes of its notes are asked for.

    Returns
    -------
    tonic : int
        Pitch class from C.
    mode : str
        One of ``MODES``.
    probability : float
        Among those that are asked for, 0..1.
    """
    p = key_model().probability(evidence)
    if scale is not None:
        notes = {(scale + step) % 12 for step in MODES["ionian"]}
        inside = [[{(t + step) % 12 for step in steps} == notes for steps in MODES.values()] for t in range(12)]
        p = np.where(inside, p, 0.0)
        p = p / p.sum()
    tonic, mode = np.unravel_index(p.argmax(), p.shape)
    return int(tonic), tuple(MODES)[mode], float(p[tonic, mode])
