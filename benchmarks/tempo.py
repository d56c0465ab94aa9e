"""How often are tempo and metre right, and does the confidence know it? On generated songs, whose beats are exact.

    python benchmarks/tempo.py [--songs 18] [--seconds 24] [--seed 795000] [--styles nine_eight ...]
        [--sample-rate 8000] [--rubato | --solo]

Generates songs of all styles in turn (needs the train and evaluate extras) and analyses the mixtures, every second song
without its drums too, and every third one once more without drums and with a tempo that swings from phrase to phrase.
With ``--rubato`` these alone, one a song; with ``--solo`` what is neither voice nor bass nor drums alone, with a steady
tempo and with one that swings; with ``--sample-rate`` all are resampled before. No beat: none are told;
wrong: they are, and reach less than 0.6. A tempo is right within 4 %; one that is right but for its octave (or, in
compound time, a factor of three) is shown beside. F: mir_eval's F-measure of the beats; what they reach, and the
confidence foretells, is that of the best octave (mean absolute error).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import mir_eval
import numpy as np

from stemfeatures.constants import MIXTURE
from stemfeatures.descriptors import describe
from stemfeatures.training.tempo import TempoExample, reached_f, rubato_songs, solo_songs, tempo_songs

#: Relative deviation within which a tempo is right, and factors that are an octave or a third off.
RIGHT, FACTORS = 0.04, (1.0, 2.0, 0.5, 3.0, 1 / 3)

#: F-measure below which beats were not followed: beats at a wrong tempo reach half by chance.
FOLLOWED = 0.6


class Scores(NamedTuple):
    """What one song was given."""

    steady: bool
    tempo: bool
    octave: bool
    metre: bool
    f: float
    confidence: float
    reached: float

    @property
    def wrong(self) -> bool:
        """Whether beats are told that the tracker did not follow."""
        return self.steady and self.reached < FOLLOWED


def score(song: TempoExample) -> Scores:
    """Compare the descriptors of a song with its truth."""
    description = describe(song.frames)
    row, beats_s = description.stems[MIXTURE], description.events.beats_s
    truth = song.beats_s[song.beats_s < song.frames.duration_s]
    confidence = row["tempo_confidence"] or 0.0
    if row["tempo_bpm"] is None:
        return Scores(False, False, False, False, 0.0, confidence, 0.0)
    ratio = row["tempo_bpm"] * float(np.median(np.diff(truth))) / 60
    return Scores(
        True,
        abs(ratio - 1) <= RIGHT,
        any(abs(ratio / factor - 1) <= RIGHT for factor in FACTORS),
        f"{row['meter_numerator']}/{row['meter_denominator']}" == song.metre,
        float(mir_eval.beat.f_measure(truth, beats_s)),
        confidence,
        reached_f(truth, beats_s, song.denominator),
    )


def kind(song: TempoExample) -> str:
    """Which line of the table a song belongs to."""
    if song.rubato:
        return f"rubato {song.rubato:g}, {'solo' if song.solo else 'without drums'}"
    if song.solo:
        return "steady, solo"
    slow = "below 70 bpm" if 60 / float(np.median(np.diff(song.beats_s))) < 70 else "70 bpm and more"
    return f"{slow}, {'with' if song.drums else 'without'} drums"


def table(scores: Iterable[tuple[str, Scores]]) -> str:
    """Text: a line a kind of songs."""
    kinds: dict[str, list[Scores]] = {}
    for name, found in scores:
        kinds.setdefault(name, []).append(found)
    row = "{:<32}{:>6}{:>10}{:>7}{:>7}{:>8}{:>7}{:>7}{:>12}{:>7}".format
    lines = [row("", "songs", "no beat", "wrong", "tempo", "octave", "metre", "F", "confidence", "error")]
    for name in sorted(kinds):
        songs = kinds[name]
        told = [s for s in songs if s.steady]
        counts = (sum(getattr(s, what) for s in songs) for what in ("wrong", "tempo", "octave", "metre"))
        means = [_mean([s.f for s in told]), _mean([s.confidence for s in songs])]
        error = _mean([abs(s.confidence - s.reached) for s in told])
        lines.append(row(name, len(songs), len(songs) - len(told), *counts, *means, error))
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.2f}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=18)
    parser.add_argument("--seconds", type=float, default=24.0, help="length of the songs")
    parser.add_argument("--seed", type=int, default=795_000, help="number of the first song")
    parser.add_argument("--styles", nargs="+", metavar="STYLE", help="of the songs (default: all that are drawn)")
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="of what is analysed (default: 44100)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rubato", action="store_true", help="only songs whose tempo swings, without their drums")
    which.add_argument("--solo", action="store_true", help="only instruments without voice, bass and drums")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scores = []
    options = {"styles": args.styles, "sample_rate": args.sample_rate}
    songs = rubato_songs if args.rubato else solo_songs if args.solo else tempo_songs
    for song in songs(args.songs, args.seed, args.seconds, **options):
        scores.append((kind(song), score(song)))
        print(f"{song.style}, {song.metre}: {scores[-1][0]}", flush=True)
    print(table(scores))


if __name__ == "__main__":
    main()
