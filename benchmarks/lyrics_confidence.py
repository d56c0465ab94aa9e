"""Whether words are found as often as their confidence says.

    python benchmarks/lyrics_confidence.py SONGS... [--limit N] [--learn]

``SONGS`` are folders of songs whose words have times: what ``stemfeatures generate`` wrote, UltraStar songs. Of the
words that are found it prints the mean squared error of the confidence that they begin within 0.3 s of where they are
sung, and of a constant, and how many do of those that are given less than 0.6, up to 0.9 and more. ``--learn`` fits
slope and offset of :mod:`stemfeatures.lyrics.acoustics` to them.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
from itertools import islice
from pathlib import Path

import numpy as np

from stemfeatures.datasets.opening import find_tracks
from stemfeatures.evaluation.lyrics import reference_words
from stemfeatures.lyrics import Aligner
from stemfeatures.lyrics.acoustics import CONFIDENCE_OFFSET, CONFIDENCE_SLOPE
from stemfeatures.training.logistic import fit_logistic

#: A word is found that begins no further than this from where it is sung.
FOUND_S = 0.3
#: Confidences between which words are counted together.
EDGES = (0.6, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, help="so many songs of each folder")
    parser.add_argument("--learn", action="store_true")
    args = parser.parse_args()
    aligner = Aligner()
    confidence, found = [], []
    for track in (track for folder in args.songs for track in islice(find_tracks(folder), args.limit)):
        lyrics = track.annotations().lyrics
        if lyrics is None or not lyrics.words:
            continue
        text, first, reference = reference_words(lyrics)
        words = aligner.from_vocals(aligner.separator.from_audio(*track.audio()), text).words
        for token, start_s in zip(first, reference + track.lyrics_lead_s):
            word = words[token]
            if word.start_s is not None and word.confidence is not None:
                confidence.append(word.confidence)
                found.append(abs(word.start_s - start_s) <= FOUND_S)
    if not found:
        parser.error("no words that have times were found")
    print(summary(np.array(confidence), np.array(found)))
    if args.learn:
        # Rounded confidences of 0 and 1 have no logarithm.
        share = np.clip(confidence, 0.0005, 0.9995)
        fit = (np.log(share / (1 - share)) - CONFIDENCE_OFFSET) / CONFIDENCE_SLOPE
        (slope,), offset = fit_logistic(fit[:, None], np.array(found, float), penalty=0.01)
        print(f"slope, offset: {slope:.2f} {offset:.2f}")


def summary(confidence: np.ndarray, found: np.ndarray) -> str:
    """Errors, and of words by their confidence the mean of it and the share that are found."""
    error, constant = np.mean((confidence - found) ** 2), found.mean() * (1 - found.mean())
    lines = [f"{len(found)} words: mean squared error {error:.4f}, of a constant {constant:.4f}"]
    group = np.digitize(confidence, EDGES)
    for k in np.unique(group):
        inside = group == k
        lines.append(f"{inside.sum():6} words of {confidence[inside].mean():.2f}: {found[inside].mean():.2f} found")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
