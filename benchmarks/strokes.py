"""How many strokes of the drums are right, by kind? On generated songs, whose strokes are known.

    python benchmarks/strokes.py [--songs 18] [--seconds 24] [--seed 796000] [--bank FOLDER] [--grooves FOLDER]

Generates songs of all styles in turn (needs the train extra), analyses the mixtures, and compares table ``strokes``
with the truth: F-measure, precision and recall of all songs together (50 ms), of the separated drums, and of the true
stem beside silence. With a bank every second song plays its recorded instruments, with grooves most drums play what
drummers have played.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stemfeatures.analysis import Analyser
from stemfeatures.constants import STEMS
from stemfeatures.descriptors.activity import active_rows
from stemfeatures.descriptors.drums import STROKES, find_strokes
from stemfeatures.descriptors.inputs import DescriptorInputs
from stemfeatures.frames import TrackFrames
from stemfeatures.generator.compose.grooves import GrooveBank
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.play.note_bank import NoteBank
from stemfeatures.generator.song import generate_song
from stemfeatures.training.strokes import matched, strokes_by_kind

#: Matched, found and true strokes by kind.
Counts = dict[str, np.ndarray]


def counts(frames: TrackFrames, struck: Iterable[dict[str, Any]]) -> Counts:
    """Strokes of one song that are matched, found and true, by kind."""
    notes = list(struck)
    true = strokes_by_kind([note["start_s"] for note in notes], [note["midi"] for note in notes])
    active = DescriptorInputs(frames).get(active_rows)["drums"]
    found = find_strokes(frames.stems["drums"].mel, frames.onset, active)
    pairs = {kind: (true[kind], found[kind][0]) for kind in STROKES}
    return {kind: np.array([matched(one, other), len(other), len(one)]) for kind, (one, other) in pairs.items()}


def figures(counted: np.ndarray) -> str:
    """F-measure, precision and recall of matched, found and true strokes."""
    hits, found, true = counted.tolist()
    parts = (2 * hits, found + true), (hits, found), (hits, true)
    return "".join(f"{part / whole:>8.3f}" if whole else f"{'-':>8}" for part, whole in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=18)
    parser.add_argument("--seconds", type=float, default=24.0, help="length of the songs")
    parser.add_argument("--seed", type=int, default=796_000, help="number of the first song")
    parser.add_argument("--bank", type=Path, metavar="FOLDER", help="sound bank of stemfeatures generate")
    parser.add_argument("--grooves", type=Path, metavar="FOLDER", help="recorded drum performances (MIDI)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    analyser, bank = Analyser(), None if args.bank is None else NoteBank(args.bank)
    grooves = None if args.grooves is None else GrooveBank(args.grooves)
    totals: dict[str, Counts] = {name: {kind: np.zeros(3, int) for kind in STROKES} for name in ("separated", "true")}
    for k in range(args.songs):
        turn, place = divmod(k, len(DRAWN_STYLES))
        style, notes = DRAWN_STYLES[place], bank if (turn + place) % 2 else None
        song = generate_song(args.seed + k, duration_s=args.seconds, style=style, notes=notes, grooves=grooves)
        struck, rate = song.truth.notes["drums"], song.truth.sample_rate
        if not struck:
            continue
        alone = song.stems["drums"]
        given = {stem: alone if stem == "drums" else np.zeros_like(alone) for stem in STEMS}
        for name, heard, stems in (("separated", song.mixture, None), ("true", alone, given)):
            found = counts(analyser.from_audio(heard, rate, stems=stems).frames, struck)
            for kind in STROKES:
                totals[name][kind] += found[kind]
        print(f"{k + 1} of {args.songs}: {style}", flush=True)
    print(f"{'':<8}{'strokes':>8}" + "".join(f"{f'{name} F':>12}{'P':>6}{'R':>8}" for name in totals))
    for kind in STROKES:
        row = "".join(figures(total[kind]) for total in totals.values())
        print(f"{kind:<8}{totals['separated'][kind][2]:>8}{row}")


if __name__ == "__main__":
    main()
