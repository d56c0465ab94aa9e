"""How often is a stem told that does not play, and one lost that does? On generated songs, by who plays.

    python benchmarks/presence.py [--songs 28] [--seconds 24] [--seed 97500] [--lineups instrumental ...]

Generates songs of all styles and line-ups in turn (needs the train extra) and analyses the mixtures. A stem plays where
the song has notes of it that sound for a second in all; it is told where ``activity_status`` is ``ok``. Prints, by
stem, in how many of the songs without it it is told (false) and in how many of those with it it is not (lost), and in
how many ``voice_instrumental`` is wrong; before that, song by song, what is wrong with it.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from stemfeatures.analysis import Analyser
from stemfeatures.constants import MIXTURE, STEMS
from stemfeatures.generator.compose.form import LINEUPS
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.song import Song, generate_song

#: Seconds that the notes of a stem sound at least where it plays; a stroke of the drums counts as a tenth.
LEAST_S, STROKE_S = 1.0, 0.1


def songs(n: int, seed: int, seconds: float, lineups: list[str]) -> Iterator[Song]:
    """Songs of all styles and line-ups in turn."""
    styles = DRAWN_STYLES
    for k in range(n):
        style = styles[(5 * k + k // len(styles)) % len(styles)]
        yield generate_song(seed + k, duration_s=seconds, style=style, lineup=lineups[k % len(lineups)])


def playing(song: Song) -> dict[str, bool]:
    """Whether each stem plays."""
    sounding = {
        stem: sum(STROKE_S if stem == "drums" else note["end_s"] - note["start_s"] for note in notes)
        for stem, notes in song.truth.notes.items()
    }
    return {stem: sounding[stem] >= LEAST_S for stem in STEMS}


def faults(plays: Mapping[str, bool], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """``{stem: "false" or "lost"}`` of the stems that are told wrong."""
    told = {stem: rows[stem]["activity_status"] == "ok" for stem in STEMS}
    return {stem: "false" if told[stem] else "lost" for stem in STEMS if told[stem] != plays[stem]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=28)
    parser.add_argument("--seconds", type=float, default=24.0, help="length of the songs")
    parser.add_argument("--seed", type=int, default=97_500, help="number of the first song")
    parser.add_argument("--lineups", nargs="+", metavar="NAME", default=list(LINEUPS), choices=list(LINEUPS))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    analyser = Analyser()
    counts: Counter[tuple[str, str]] = Counter()
    for song in songs(args.songs, args.seed, args.seconds, args.lineups):
        plays, rows = playing(song), analyser.from_audio(song.mixture, song.truth.sample_rate).stems
        wrong = faults(plays, rows)
        counts.update((stem, "with" if plays[stem] else "without") for stem in STEMS)
        counts.update(wrong.items())
        word = "voice" if plays["vocals"] else "instrumental"
        counts["voice_instrumental", "wrong"] += rows[MIXTURE]["voice_instrumental"] != word
        found = ", ".join(f"{stem} {how}" for stem, how in wrong.items())
        print(f"{song.truth.choices['lineup']}, {song.truth.choices['style']}: {found or 'right'}", flush=True)
    print(f"{'':<20}{'false':>14}{'lost':>14}")
    for stem in STEMS:
        shares = (f"{counts[stem, how]} of {counts[stem, of]}" for how, of in (("false", "without"), ("lost", "with")))
        print(f"{stem:<20}" + "".join(f"{share:>14}" for share in shares))
    print(f"voice_instrumental wrong in {counts['voice_instrumental', 'wrong']} of {args.songs}")


if __name__ == "__main__":
    main()
