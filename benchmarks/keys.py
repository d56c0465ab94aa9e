"""How often are tonic, key and mode right? On generated songs of one key, by mode.

    python benchmarks/keys.py [--songs 8] [--seconds 30] [--seed 98200] [--modes aeolian mixolydian ...]

Composes songs until there are ``--songs`` of each mode (needs the train extra), plays them, and analyses the mixtures.
Prints how many have the right tonic, the right key (tonic, and major or minor), and the right mode, with the mean of
``key_mode_confidence`` where the mode is right and where it is wrong; and each song that is not, with what it reads as.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from stemfeatures.analysis import Analyser
from stemfeatures.constants import MIXTURE
from stemfeatures.descriptors.keys import MODES, SCALES
from stemfeatures.descriptors.pitch_classes import PITCH_CLASSES
from stemfeatures.generator.compose.composer import compose
from stemfeatures.generator.song import generate_song
from stemfeatures.training.keys import NAMES

#: Songs that are composed for each that is played, at most: some modes are rare.
TRIES = 200


class Outcome(NamedTuple):
    """What one song was given."""

    tonic: bool
    key: bool
    mode: bool
    confidence: float


def seeds(mode: str, n: int, seed: int, seconds: float) -> Iterator[tuple[int, int]]:
    """Numbers and tonics of ``n`` songs of one key in a mode."""
    found = 0
    for k in range(seed, seed + TRIES * n):
        score = compose(k, duration_s=seconds)
        pitched = score.bass or any(player.notes for player in score.players)
        if pitched and len(score.keys) == 1 and NAMES.get(score.mode, score.mode) == mode:
            yield k, score.tonic
            found += 1
        if found == n:
            return


def outcome(row: dict[str, object], tonic: int, mode: str) -> Outcome:
    """Compare the row of a mixture with the truth."""
    name = PITCH_CLASSES[tonic]
    right = str(row["key"]).partition(":")[0] == name
    confidence = row["key_mode_confidence"]
    return Outcome(
        right,
        row["key"] == f"{name}:{SCALES[mode]}",
        right and row["key_mode"] == mode,
        float(confidence) if isinstance(confidence, float) else 0.0,
    )


def line(name: str, found: list[Outcome]) -> str:
    """A row of the table."""
    counts = (sum(getattr(o, what) for o in found) for what in ("tonic", "key", "mode"))
    sure = ([o.confidence for o in found if o.mode == right] for right in (True, False))
    means = (f"{np.mean(values):.2f}" if values else "-" for values in sure)
    row = "{:<12}{:>7}{:>7}{:>7}{:>7}{:>9}{:>9}".format
    return row(name, len(found), *counts, *means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=8, help="of each mode")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the songs")
    parser.add_argument("--seed", type=int, default=98_200, help="number of the first song")
    parser.add_argument("--modes", nargs="+", metavar="MODE", default=["ionian", "aeolian", "mixolydian", "dorian"])
    args = parser.parse_args()
    if unknown := [mode for mode in args.modes if mode not in MODES]:
        parser.error(f"unknown mode {unknown[0]!r}; there are: {', '.join(MODES)}")
    warnings.simplefilter("ignore")
    analyser = Analyser()
    found: dict[str, list[Outcome]] = {mode: [] for mode in args.modes}
    for mode in args.modes:
        for seed, tonic in seeds(mode, args.songs, args.seed, args.seconds):
            song = generate_song(seed, duration_s=args.seconds)
            row = analyser.from_audio(song.mixture, song.truth.sample_rate).stems[MIXTURE]
            found[mode].append(outcome(row, tonic, mode))
            if not found[mode][-1].mode:
                style = song.truth.choices["style"]
                print(
                    f"{seed} {style}: {PITCH_CLASSES[tonic]} {mode}, reads {row['key']} {row['key_mode']}", flush=True
                )
    print("{:<12}{:>7}{:>7}{:>7}{:>7}{:>9}{:>9}".format("", "songs", "tonic", "key", "mode", "sure", "unsure"))
    for mode in args.modes:
        print(line(mode, found[mode]))
    print(line("all", [o for some in found.values() for o in some]))


if __name__ == "__main__":
    main()
