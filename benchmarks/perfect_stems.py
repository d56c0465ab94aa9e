"""The ceiling of F0 and beats: with the true stems of songs instead of those that the checkpoint separates.

    python benchmarks/perfect_stems.py FOLDER [--limit N]

FOLDER holds song folders or another data set with stems and truth (docs/datasets.md). Both analyses of a song read the
same mixture with the same network; only the masks differ. Means over the songs.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from stemfeatures.analysis import Analyser, TrackAnalysis
from stemfeatures.datasets.multitrack import TrackTruth
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.evaluation.beats import beat_scores
from stemfeatures.evaluation.estimators.checkpoint import f0_with_guesses
from stemfeatures.evaluation.f0 import f0_scores

WANTED = ("raw_pitch_accuracy", "overall_accuracy", "beat_f_measure", "downbeat_f_measure")


def scores(truth: TrackTruth, analysis: TrackAnalysis) -> dict[str, float]:
    """What of the truth there is."""
    found: dict[str, float] = {}
    if truth.f0 is not None:
        found |= f0_scores(*truth.f0, *f0_with_guesses(analysis))
    if truth.beats is not None:
        found |= beat_scores(*truth.beats, analysis.events.beats_s, analysis.events.beat_positions)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    torch.set_num_threads(1)
    analyser = Analyser()
    found: dict[str, dict[str, list[float]]] = {"separated": defaultdict(list), "true stems": defaultdict(list)}
    for track in islice(find_tracks(args.folder), args.limit):
        truth = track.load()
        for name, stems in (("separated", None), ("true stems", truth.stems)):
            analysis = analyser.from_audio(truth.mixture, truth.sample_rate, stems=stems)
            for score, value in scores(truth, analysis).items():
                if score in WANTED:
                    found[name][score].append(value)
    for score in WANTED:
        if values := found["separated"][score]:
            one, other = (np.nanmean(found[name][score]) for name in found)
            print(f"{score:20s} separated {one:6.3f}, true stems {other:6.3f} ({len(values)} songs)")


if __name__ == "__main__":
    main()
