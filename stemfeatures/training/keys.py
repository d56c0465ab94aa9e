"""Fit what reads tonic and mode from pitch classes, bass and chords, on generated songs.

    python -m stemfeatures.training.keys --songs 220 --seed 650000

composes songs of one key until there are enough of each mode, plays and analyses them, fits the log-linear model that
:mod:`stemfeatures.descriptors.keys` reads, prints how often it is right on songs that were left out, and writes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from ..analysis import Analyser
from ..descriptors import keys
from ..descriptors.fitted import store_model
from ..descriptors.harmony import track_key_evidence
from ..descriptors.inputs import DescriptorInputs
from ..descriptors.keys import EVIDENCE, MODES, SCALES, KeyEvidence, KeyModel, key_features
from ..generator.compose.composer import compose
from ..generator.song import VERSION, generate_song
from ..models.checkpoints import DEFAULT_MODEL

FOLDER = Path(keys.__file__).parent
#: The modes of the composer by their names here, where they differ.
NAMES = {"major": "ionian", "minor": "aeolian"}
#: Shares of the modes among the songs, so that there are enough of the rare ones, and the shares as which they count.
SHARES = {"ionian": 6, "aeolian": 6, "mixolydian": 6, "dorian": 2, "phrygian": 1, "lydian": 1}
PRIOR = {"ionian": 0.33, "aeolian": 0.3, "mixolydian": 0.16, "dorian": 0.11, "phrygian": 0.05, "lydian": 0.05}
#: Songs that are composed for each that is played, at most.
TRIES = 40
#: Penalty on squared weights, in songs, and the unit in which weights are penalised.
PENALTY, UNIT = 0.3, 10.0
#: Parts of the songs, each of which is left out once for the figures.
PARTS = 8


@dataclass(frozen=True)
class KeyExample:
    """Evidence of one song, its tonic (pitch class from C) and its mode."""

    evidence: KeyEvidence
    tonic: int
    mode: str


def songs_of_modes(wanted: dict[str, int], seed: int, duration_s: float) -> list[tuple[int, int, str]]:
    """Numbers, tonics and modes of songs of one key in which anything but drums plays, so many of each mode."""
    left, found = dict(wanted), []
    for k in range(seed, seed + TRIES * sum(wanted.values())):
        if not any(left.values()):
            break
        score = compose(k, duration_s=duration_s)
        mode = NAMES.get(score.mode, score.mode)
        pitched = score.bass or any(player.notes for player in score.players)
        if left.get(mode) and pitched and len(score.keys) == 1:
            left[mode] -= 1
            found.append((k, score.tonic, mode))
    return found


def heard_songs(n_songs: int, seed: int, duration_s: float) -> Iterator[KeyExample]:
    """Generated songs, their modes by :data:`SHARES`, as they are heard; those without pitches are passed over."""
    analyser = Analyser()
    wanted = {mode: round(n_songs * share / sum(SHARES.values())) for mode, share in SHARES.items()}
    for k, tonic, mode in songs_of_modes(wanted, seed, duration_s):
        song = generate_song(k, duration_s=duration_s)
        frames = analyser.from_audio(song.mixture, song.truth.sample_rate).frames
        evidence = track_key_evidence(DescriptorInputs(frames))
        if evidence is not None:
            yield KeyExample(evidence, tonic, mode)


def fit_keys(songs: list[KeyExample]) -> KeyModel:
    """The model under which the true tonics and modes are likeliest, modes being as frequent as :data:`PRIOR` says."""
    features = np.array([key_features(song.evidence) for song in songs])
    n, width = len(songs), len(EVIDENCE)
    mode = np.array([tuple(MODES).index(song.mode) for song in songs])
    true = np.array([song.tonic for song in songs]) * len(MODES) + mode
    weight = np.array([PRIOR[name] for name in MODES])[mode] / np.bincount(mode, minlength=len(MODES))[mode]
    weight *= n / weight.sum()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:width], flat[width:]
        score = (features @ weights + bias).reshape(n, -1)
        score -= score.max(axis=1, keepdims=True)
        log = score - np.log(np.exp(score).sum(axis=1, keepdims=True))
        wrong = np.exp(log)
        wrong[np.arange(n), true] -= 1
        wrong = (wrong * weight[:, None]).reshape(n, 12, len(MODES))
        gradient = np.r_[np.tensordot(wrong, features, 3) + PENALTY * weights / UNIT**2, wrong.sum(axis=(0, 1))]
        gradient[width:] += PENALTY * bias
        value = -(weight * log[np.arange(n), true]).sum() + PENALTY / 2 * (
            np.square(weights / UNIT).sum() + np.square(bias).sum()
        )
        return float(value), gradient

    found = minimize(loss, np.zeros(width + len(MODES)), jac=True, method="L-BFGS-B").x
    return KeyModel(found[:width], found[width:])


def right(model: KeyModel, song: KeyExample) -> tuple[bool, bool, bool]:
    """Whether tonic; tonic and third; and tonic and mode of a song are right."""
    p = model.probability(song.evidence)
    tonic, row = np.unravel_index(p.argmax(), p.shape)
    mode, same = tuple(MODES)[row], bool(tonic == song.tonic)
    return same, same and SCALES[mode] == SCALES[song.mode], same and mode == song.mode


def left_out(songs: list[KeyExample]) -> np.ndarray:
    """(n_songs, 3) bool :func:`right` of each song by a model of the other parts of the songs."""
    part = np.arange(len(songs)) % PARTS
    found = np.zeros((len(songs), 3), dtype=bool)
    for k in np.unique(part):
        model = fit_keys([song for song, of in zip(songs, part) if of != k])
        found[part == k] = [right(model, song) for song, of in zip(songs, part) if of == k]
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=220)
    parser.add_argument("--seed", type=int, default=650_000)
    parser.add_argument("--duration", type=float, default=24.0, metavar="SECONDS")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER, metavar="FOLDER")
    args = parser.parse_args(argv)
    songs = list(heard_songs(args.songs, args.seed, args.duration))
    if len(songs) < 2:
        parser.error(f"{len(songs)} of the {args.songs} songs can be learned from: make more, by --songs")
    write_model(songs, args.out, {"songs": args.songs, "seed": args.seed, "duration_s": args.duration})


def write_model(songs: list[KeyExample], folder: Path, made_of: dict[str, object]) -> None:
    """Print how often songs are right that were left out, fit the model and write what the descriptors read."""
    found, mode = left_out(songs), np.array([song.mode for song in songs])
    for name in dict.fromkeys(mode.tolist()):
        counts = found[mode == name].sum(axis=0)
        print(f"{name}: {(mode == name).sum()} songs; tonic, key, mode right: {', '.join(map(str, counts))}")
    model = fit_keys(songs)
    stored = {"evidence": EVIDENCE, "modes": tuple(MODES), "weights": np.round(model.weights, 3).tolist()}
    made_of = made_of | {"model": DEFAULT_MODEL, "generator": VERSION}
    stored |= {"bias": np.round(model.bias, 3).tolist(), "made_of": made_of}
    store_model(folder / keys.WEIGHTS, stored)


if __name__ == "__main__":
    main()
