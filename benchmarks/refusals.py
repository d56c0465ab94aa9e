"""How often lyrics are refused: songs with their own words and those of the next song, or a few lines of these.

    python benchmarks/refusals.py SONGS... [--limit N] [--learn]

``SONGS`` are folders of songs whose words have times: what ``stemfeatures generate`` wrote, UltraStar songs. For each
song the score of both texts is shown, and which share of its own words would begin within 0.3 s of where they are sung;
then the same is asked of two to six lines of each text.
``--learn`` fits the rule of :mod:`stemfeatures.lyrics.acoustics` to them: the weights of the fit of phones, of
vowels a second and of what the order of the words gains, and the weight of one. Own words of which fewer than 0.3 are
found are no examples.
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
from stemfeatures.evaluation.lyrics import lyrics_scores, reference_words, token_starts
from stemfeatures.lyrics import Aligner
from stemfeatures.lyrics.acoustics import FASTEST, MIDDLE_GAIN, PhoneAcoustics
from stemfeatures.lyrics.alignment import LEAST_SCORE
from stemfeatures.lyrics.search import Search

#: Share of its own words that must be found for a song to be an example.
FOUND = 0.3
#: Strength of the ridge, on columns of about the same spread.
RIDGE, SPREADS = 0.3, np.array([1.0, 1.0, 0.1, 1.0])


class _Recording(PhoneAcoustics):
    """Keeps what scores are made of, and refuses nothing."""

    def forget(self) -> None:
        """Before a text: one that comes to no score is refused, and has no fit."""
        self.last, self.real = (0.0, 0.0, 0.0, 1.0), 0.0

    def score(self, found: Search, fit: float, n_phones: int) -> float:
        gain = found.gain / max(found.n_voiced, 1) - MIDDLE_GAIN * found.changed
        self.last = (fit, min(found.rate, FASTEST), gain, 1.0)
        self.real = super().score(found, fit, n_phones)
        return 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, help="so many songs of each folder")
    parser.add_argument("--learn", action="store_true")
    args = parser.parse_args()
    acoustics = _Recording()
    aligner = Aligner(acoustics=acoustics)
    columns, own, refused, in_part = [], [], [], []
    for folder in args.songs:
        songs = []
        for track in islice(find_tracks(folder), args.limit):
            truth = track.load()
            if truth.annotations.lyrics is None or not truth.annotations.lyrics.words:
                continue
            vocals = aligner.separator.from_audio(truth.mixture, truth.sample_rate)
            songs.append((track.name, vocals, reference_words(truth.annotations.lyrics), track.lyrics_lead_s))
        if len(songs) == 1:
            parser.error(f"{folder} has one song with words: the words of another are needed")
        for k, (name, vocals, (text, first, reference), lead_s) in enumerate(songs):
            acoustics.forget()
            found = aligner.from_vocals(vocals, text)
            starts = token_starts([word.start_s for word in found.words])[first]
            share = lyrics_scores(reference, starts, lead_s=lead_s)["within_0.3_s"]
            scores = [acoustics.real]
            rows = [acoustics.last]
            other = songs[(k + 1) % len(songs)][2][0]
            rng = np.random.default_rng(k)
            for lyrics in (other, some_lines(text, rng), some_lines(other, rng)):
                acoustics.forget()
                aligner.from_vocals(vocals, lyrics)
                scores.append(acoustics.real)
                rows.append(acoustics.last)
            print(
                f"{name:40} {share:.3f} found, own words {scores[0]:.3f}, those of another {scores[1]:.3f}", flush=True
            )
            refused.append([score < LEAST_SCORE for score in scores[:2]])
            in_part.append([score < LEAST_SCORE for score in scores[2:]])
            columns += rows if share >= FOUND else rows[1::2]
            own += [True, False] * 2 if share >= FOUND else [False] * 2
    if not refused:
        parser.error("no song has words with times")
    right, wrong = np.sum(refused, axis=0)
    print(f"refused: {right} of {len(refused)} with their own words, {wrong} with those of another")
    right, wrong = np.sum(in_part, axis=0)
    print(f"refused: {right} of {len(in_part)} with some of their own lines, {wrong} with some of another's")
    if args.learn:
        print("fit, rate, gain, one:", *(f"{weight:.2f}" for weight in learned(np.array(columns), np.array(own))))


def some_lines(text: str, rng: np.random.Generator) -> str:
    """Two to six lines in a row of a text, or all of a shorter one."""
    lines = [line for line in text.splitlines() if line.strip()]
    n = min(int(rng.integers(2, 7)), len(lines))
    first = int(rng.integers(len(lines) - n + 1))
    return "\n".join(lines[first : first + n])


def learned(columns: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression with a ridge, by Newton's method; the last column is of ones."""
    x = columns / SPREADS
    weights, ridge = np.zeros(x.shape[1]), np.full(x.shape[1], RIDGE)
    ridge[-1] = 0
    for _ in range(20):
        likely = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        curvature = (x * (likely * (1 - likely))[:, None]).T @ x + np.diag(ridge) + 1e-9 * np.eye(len(ridge))
        weights += np.linalg.solve(curvature, x.T @ (own - likely) - ridge * weights)
    return np.asarray(weights / SPREADS)


if __name__ == "__main__":
    main()
