"""Fit what reads the metre from accents, on generated songs.

    python -m stemfeatures.training.rhythm --songs 36 --seed 780000

makes and analyses the songs and fits the role of a moment in its bar (downbeat, strong, weak, off-beat) given the
accents there: a multinomial log-linear model, from the true beats and from halves, quarters and (in compound metres)
thirds of beats, and others without the network's activations of beats and downbeats. It writes the file that
:mod:`stemfeatures.descriptors.metre` reads.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from ..analysis import Analyser
from ..descriptors import metre
from ..descriptors.accents import ACCENTS, ACTIVATIONS, STROKE_ACCENTS, accents_at
from ..descriptors.fitted import store_model
from ..descriptors.inputs import DescriptorInputs
from ..descriptors.rhythm import accents
from ..frames import TrackFrames
from ..generator.compose.styles import DRAWN_STYLES
from ..generator.play.note_bank import NoteBank
from ..generator.song import VERSION, generate_song

FOLDER = Path(metre.__file__).parent
#: Points a beat at which accents are looked at, by the denominator of the metre.
DIVISIONS = {4: (1, 2, 4), 8: (1, 3, 6)}
#: Penalty on squared weights, in examples.
ROLE_PENALTY = 1.0


@dataclass
class Example:
    """One analysed song with its truth.

    Attributes
    ----------
    frames : TrackFrames
        Of the mixture.
    beats_s, positions : np.ndarray
        (n_beats,) seconds and places in the bar, 1 on downbeats.
    denominator : int
        4, or 8 in compound metres.
    """

    frames: TrackFrames
    beats_s: np.ndarray
    positions: np.ndarray
    denominator: int


def roles(example: Example) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Accents (n, 11) and roles (n,) of one song, for each division of its beats."""
    kept = example.beats_s < example.frames.duration_s - 0.5
    beats_s, positions = example.beats_s[kept], example.positions[kept]
    if len(beats_s) < 8:
        return
    streams = DescriptorInputs(example.frames).get(accents)
    beats = positions.max()
    role = np.where(positions == 1, metre.DOWNBEAT, metre.WEAK)
    if beats == 4 or (beats == 2 and example.denominator == 8):
        role[positions == 1 + beats // 2] = metre.STRONG
    for division in DIVISIONS[example.denominator]:
        grid = np.interp(np.arange((len(beats_s) - 1) * division + 1) / division, np.arange(len(beats_s)), beats_s)
        labels = np.full(len(grid), metre.OFFBEAT)
        labels[::division] = role
        # The tracker may take any level for its pulse: two points a pulse, or one.
        for points in (1, 2):
            yield accents_at(streams, grid, float(np.median(np.diff(grid))) * points), labels


def fit_log_linear(features: np.ndarray, target: np.ndarray, weight: np.ndarray, penalty: float) -> np.ndarray:
    """Multinomial log-linear model.

    Parameters
    ----------
    features : np.ndarray
        (n, n_features).
    target : np.ndarray
        (n, n_classes) one-hot.
    weight : np.ndarray
        (n,) of each example.
    penalty : float
        Half of it times the squared weights is added to the loss; the bias is free.

    Returns
    -------
    (n_classes, n_features + 1) weights, the bias last.
    """
    n_features, n_classes = features.shape[1], target.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = flat.reshape(n_classes, n_features + 1)
        score = features @ coefficients[:, :-1].T + coefficients[:, -1]
        score -= score.max(axis=1, keepdims=True)
        log = score - np.log(np.exp(score).sum(axis=1, keepdims=True))
        wrong = (np.exp(log) - target) * weight[:, None]
        gradient = np.concatenate([wrong.T @ features + penalty * coefficients[:, :-1], wrong.sum(axis=0)[:, None]], 1)
        value = -(weight * (log * target).sum(axis=1)).sum() + penalty / 2 * np.square(coefficients[:, :-1]).sum()
        return float(value), gradient.ravel()

    found = minimize(loss, np.zeros(n_classes * (n_features + 1)), jac=True, method="L-BFGS-B")
    return np.asarray(found.x.reshape(n_classes, n_features + 1))


def fit_roles(songs: Iterable[Example], left_out: tuple[str, ...] = ()) -> metre.AccentModel:
    """Model of the roles of all songs without the accents ``left_out``; each division of each song weighs the same."""
    collected = [pair for song in songs for pair in roles(song)]
    weight = np.concatenate([np.full(len(labels), 1 / len(labels)) for _, labels in collected])
    weight /= weight.mean()
    target = np.eye(4)[np.concatenate([labels for _, labels in collected])]
    kinds = np.concatenate([pair[0] for pair in collected]) * ~np.isin(ACCENTS, left_out)
    found = fit_log_linear(kinds, target, weight, ROLE_PENALTY)
    return metre.AccentModel(found[:, :-1], found[:, -1], np.log(weight @ target / weight.sum()))


def write_roles(songs: list[Example], folder: Path, made_of: dict[str, Any]) -> None:
    """Fit and write the file that :func:`stemfeatures.descriptors.metre.accent_models` reads."""
    left_out = {"metre": (), "level": ACTIVATIONS, "level_without_drums": (*ACTIVATIONS, *STROKE_ACCENTS)}
    models = {name: fit_roles(songs, left_out[name]) for name in metre.MODELS}
    said = {"accents": ACCENTS, "roles": metre.ROLE_NAMES, "made_of": made_of}
    store_model(folder / metre.WEIGHTS, said | {name: _rounded(model.arrays) for name, model in models.items()})


def _rounded(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: np.round(value, 4).tolist() for name, value in arrays.items()}


def analysed_songs(n_songs: int, seed: int, duration_s: float, bank: Path | None = None) -> Iterator[Example]:
    """Generated songs of all styles in turn; with a bank every second one plays its recorded instruments."""
    analyser = Analyser()
    notes = NoteBank(bank) if bank is not None else None
    styles = DRAWN_STYLES
    for k in range(n_songs):
        played = notes if k % 2 else None
        song = generate_song(seed + k, duration_s=duration_s, style=styles[k % len(styles)], notes=played)
        truth = song.truth
        yield Example(
            analyser.from_audio(song.mixture, truth.sample_rate).frames,
            np.array(truth.beats_s),
            np.array(truth.beat_positions),
            int(truth.choices["metre"].split("/")[1]),
        )
        print(f"{k + 1} of {n_songs}: {truth.choices['style']}, {truth.choices['metre']}", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=36)
    parser.add_argument("--seed", type=int, default=780_000)
    parser.add_argument("--duration", type=float, default=36.0, metavar="SECONDS")
    parser.add_argument("--bank", type=Path, metavar="FOLDER", help="sound bank of stemfeatures generate")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER, metavar="FOLDER")
    args = parser.parse_args(argv)
    if args.songs < 1:
        parser.error(f"{args.songs} songs: nothing can be learned from them")
    songs = list(analysed_songs(args.songs, args.seed, args.duration, args.bank))
    made_of = {"songs": args.songs, "seed": args.seed, "duration_s": args.duration, "model": songs[0].frames.model}
    made_of |= {"generator": VERSION, "bank": NoteBank(args.bank).fingerprint if args.bank else None}
    args.out.mkdir(parents=True, exist_ok=True)
    write_roles(songs, args.out, made_of)


if __name__ == "__main__":
    main()
