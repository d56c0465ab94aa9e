"""Fit what reads tonic and mode from pitch classes, bass and chords, on composed songs.

    python -m stemfeatures.training.keys --songs 400 --seed 640000

composes songs (no sound is made: their notes and chords are the evidence), fits the log-linear model that
:mod:`stemfeatures.descriptors.keys` reads, prints how often it is right on songs that were left out, and writes it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from .._util.files import write_replace
from ..descriptors import keys
from ..descriptors.keys import EVIDENCE, MODES, SCALES, KeyEvidence, KeyModel, key_features
from ..generator.compose.composer import compose
from ..generator.compose.score import Note, Score
from ..generator.song import VERSION

FOLDER = Path(keys.__file__).parent
#: The modes of the composer by their names here, where they differ.
NAMES = {"major": "ionian", "minor": "aeolian"}
#: Third and fifth partials sound as fifths and thirds above a note; what else sounds (noise, passing notes) is spread
#: evenly.
FIFTH, THIRD, SPREAD = 0.35, 0.15, 0.15
#: Seconds of the beginning and of the end that count as such.
BEGINNING_S, END_S = 0.6, 1.5
#: Penalty on squared weights, in songs, and the unit in which weights are penalised.
PENALTY, UNIT = 1.0, 10.0


@dataclass(frozen=True)
class KeyExample:
    """Evidence of one song, its tonic (pitch class from C) and its mode."""

    evidence: KeyEvidence
    tonic: int
    mode: str


def score_evidence(score: Score) -> KeyEvidence:
    """What a listener without faults would hear of a score.

    Parameters
    ----------
    score : Score
        Of one key.

    Returns
    -------
    KeyEvidence
        From the notes of the bass and the accompaniment, and the chords.
    """
    played = [note for player in score.players for note in player.notes]
    bass = _durations(score.bass)
    heard = _durations(played) + bass
    heard = heard + FIFTH * np.roll(heard, 7) + THIRD * np.roll(heard, 4)
    triads = np.zeros(24)
    for chord in score.chords:
        root, *others = (pitch_class % 12 for pitch_class in chord.pitch_classes)
        for quality, third in enumerate((4, 3)):
            triads[12 * quality + root] += (chord.end_s - chord.start_s) * ((root + third) % 12 in others)
    low = score.bass or played
    start, end = min(note.start_s for note in low), max(note.end_s for note in low)
    return KeyEvidence(
        (1 - SPREAD) * _shares(heard) + SPREAD / 12,
        _shares(bass),
        _shares(triads),
        _shares(_durations(low, start, start + BEGINNING_S)),
        _shares(_durations(low, end - END_S, end)),
    )


def _durations(notes: Iterable[Note], start_s: float = 0.0, end_s: float = np.inf) -> np.ndarray:
    """(12,) sounding seconds by pitch class."""
    seconds = np.zeros(12)
    for note in notes:
        seconds[round(note.midi) % 12] += max(0.0, min(note.end_s, end_s) - max(note.start_s, start_s))
    return seconds


def _shares(x: np.ndarray) -> np.ndarray:
    total = x.sum()
    return x / total if total > 0 else x


def composed_songs(n_songs: int, seed: int, duration_s: float) -> list[KeyExample]:
    """Songs of one key in which anything but drums plays."""
    found = []
    for k in range(n_songs):
        score = compose(seed + k, duration_s=duration_s)
        if len(score.keys) == 1 and (score.bass or any(player.notes for player in score.players)):
            found.append(KeyExample(score_evidence(score), score.tonic, NAMES.get(score.mode, score.mode)))
    return found


def fit_keys(songs: list[KeyExample]) -> KeyModel:
    """The model under which the true tonics and modes are likeliest."""
    features = np.array([key_features(song.evidence) for song in songs])
    n, width = len(songs), len(EVIDENCE)
    true = np.array([song.tonic * len(MODES) + tuple(MODES).index(song.mode) for song in songs])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:width], flat[width:]
        score = (features @ weights + bias).reshape(n, -1)
        score -= score.max(axis=1, keepdims=True)
        log = score - np.log(np.exp(score).sum(axis=1, keepdims=True))
        wrong = np.exp(log)
        wrong[np.arange(n), true] -= 1
        wrong = wrong.reshape(n, 12, len(MODES))
        gradient = np.r_[np.tensordot(wrong, features, 3) + PENALTY * weights / UNIT**2, wrong.sum(axis=(0, 1))]
        gradient[width:] += PENALTY * bias
        value = -log[np.arange(n), true].sum() + PENALTY / 2 * (np.square(weights / UNIT).sum() + np.square(bias).sum())
        return float(value), gradient

    found = minimize(loss, np.zeros(width + len(MODES)), jac=True, method="L-BFGS-B").x
    return KeyModel(found[:width], found[width:])


def accuracy(model: KeyModel, songs: list[KeyExample]) -> dict[str, float]:
    """Share of songs whose tonic; tonic and third; and tonic and mode are right, 0..1."""
    right = {"tonic": 0, "key": 0, "mode": 0}
    for song in songs:
        p = model.probability(song.evidence)
        tonic, row = np.unravel_index(p.argmax(), p.shape)
        mode = tuple(MODES)[row]
        right["tonic"] += tonic == song.tonic
        right["key"] += tonic == song.tonic and SCALES[mode] == SCALES[song.mode]
        right["mode"] += tonic == song.tonic and mode == song.mode
    return {name: float(count / len(songs)) for name, count in right.items()}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=640_000)
    parser.add_argument("--duration", type=float, default=40.0, metavar="SECONDS")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER, metavar="FOLDER")
    args = parser.parse_args(argv)
    songs = composed_songs(args.songs, args.seed, args.duration)
    # Songs come in no order: the last quarter is left out for the figures, and fitted with the rest afterwards.
    kept = len(songs) * 3 // 4
    for name, value in accuracy(fit_keys(songs[:kept]), songs[kept:]).items():
        print(f"{name} right in {value:.3f} of {len(songs) - kept} songs that were left out")
    model = fit_keys(songs)
    stored = {"evidence": EVIDENCE, "modes": tuple(MODES), "weights": np.round(model.weights, 3).tolist()}
    made_of = {"songs": len(songs), "seed": args.seed, "duration_s": args.duration, "generator": VERSION}
    stored |= {"bias": np.round(model.bias, 3).tolist(), "made_of": made_of}
    args.out.mkdir(parents=True, exist_ok=True)
    write_replace(args.out / keys.WEIGHTS, (json.dumps(stored, separators=(",", ":")) + "\n").encode())


if __name__ == "__main__":
    main()
