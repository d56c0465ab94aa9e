"""How many onsets are right? Of solo instruments of a SoundFont, played in several ways, whose notes are known.

    python benchmarks/onsets.py [--lines 3] [--seconds 12] [--seed 5100] [--instruments trumpet ...] [--ways legato ...]
        [--font FILE] [--reverb]

Composes lines that a player of each instrument might play, detached, legato, with repeated notes, softly, and in
chords, lets ``fluidsynth`` play them (FluidR3 where it is installed), and analyses the recording. F-measure of mir_eval
(50 ms), means over lines: of the row of the mixture, of the separated stem that has most of the energy, and of the stem
that the instrument belongs to where the recording is given for it, so that nothing is separated; with precision and
recall of the mixture. Notes that begin within 30 ms of each other are one onset.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mir_eval
import numpy as np

from stemfeatures.analysis import Analyser
from stemfeatures.constants import MIXTURE, STEMS
from stemfeatures.errors import DatasetError
from stemfeatures.generator.play.soundfonts import MidiNote, find_soundfonts, play_notes
from stemfeatures.generator.units import SR

#: Steps of a major scale.
SCALE = (0, 2, 4, 5, 7, 9, 11)
#: Keys of a drum kit.
KICK, SNARE, HAT, CRASH = 36, 38, 42, 49
DRUMS = "drums"
WINDOW_S, TOGETHER_S = 0.05, 0.03
#: Seconds in which a line rings out before the next one begins.
RING_S = 3.0


class Instrument(NamedTuple):
    """A General MIDI program (from 0), the keys it plays, and how long its shortest note is in seconds."""

    program: int
    low: int
    high: int
    shortest_s: float = 0.12
    stem: str = "other"


INSTRUMENTS = {
    "trumpet": Instrument(56, 58, 82),
    "flute": Instrument(73, 62, 91),
    "organ": Instrument(19, 48, 79, 0.15),
    "drawbar organ": Instrument(16, 48, 79),
    "strings": Instrument(48, 48, 84, 0.25),
    "violin": Instrument(40, 57, 88),
    "guitar": Instrument(24, 45, 76),
    "steel guitar": Instrument(25, 45, 76),
    "piano": Instrument(0, 40, 88),
    "bass": Instrument(33, 28, 48, 0.15, "bass"),
    "drums": Instrument(0, 0, 0, 0.1, DRUMS),
    # To choose settings on, and only where they are asked for.
    "recorder": Instrument(74, 72, 91),
    "oboe": Instrument(68, 60, 86),
    "clarinet": Instrument(71, 52, 84),
    "pan flute": Instrument(75, 60, 88),
    "ocarina": Instrument(79, 60, 84),
    "alto sax": Instrument(65, 50, 80),
    "shakuhachi": Instrument(77, 60, 84),
    "horn": Instrument(60, 45, 74),
    "cello": Instrument(42, 40, 70, 0.2),
    "piccolo": Instrument(72, 74, 98),
    "bassoon": Instrument(70, 36, 65),
    "whistle": Instrument(78, 72, 96),
}
#: How many of these are measured where none is named.
N_REPORTED = 11


def _walk(rng: np.random.Generator, n: int, instrument: Instrument) -> np.ndarray:
    """(n,) keys of a melody in a major scale, mostly by step, never the same twice in a row."""
    tonic = int(rng.integers(12))
    keys = np.array([k for k in range(instrument.low, instrument.high + 1) if (k - tonic) % 12 in SCALE])
    at, found = int(rng.integers(len(keys))), []
    for step in rng.choice((-4, -3, -2, -1, 1, 2, 3, 4), n, p=(0.04, 0.06, 0.15, 0.25, 0.25, 0.15, 0.06, 0.04)):
        at = at + step if 0 <= at + step < len(keys) else at - step
        found.append(keys[at])
    return np.array(found)


def _lengths(rng: np.random.Generator, seconds: float, shortest_s: float) -> np.ndarray:
    """Times between notes, a quarter of a beat (where it is playable) to two beats, that fill ``seconds``."""
    beat = 60 / rng.uniform(70, 150)
    values = np.array([v for v in (0.25, 0.5, 1.0, 1.5, 2.0) if v * beat >= shortest_s])
    weights = np.array([{0.25: 1, 0.5: 4, 1.0: 3, 1.5: 1, 2.0: 1}[float(v)] for v in values], dtype=float)
    found = beat * rng.choice(values, int(seconds / (values[0] * beat)) + 1, p=weights / weights.sum())
    return np.asarray(found[: int(np.searchsorted(np.cumsum(found), seconds))])


def melody(
    rng: np.random.Generator, instrument: Instrument, seconds: float, *, held: float = 0.8, velocity: tuple[int, int]
) -> list[MidiNote]:
    """A line of notes that sound for a share of their time."""
    lengths = _lengths(rng, seconds, instrument.shortest_s)
    starts = 0.3 + np.r_[0.0, np.cumsum(lengths)[:-1]]
    keys = _walk(rng, len(lengths), instrument)
    loud = rng.integers(*velocity, len(lengths))
    return [MidiNote(t, t + held * d, int(k), int(v)) for t, d, k, v in zip(starts, lengths, keys, loud)]


def detached(rng: np.random.Generator, instrument: Instrument, seconds: float) -> list[MidiNote]:
    """Notes that pause before the next."""
    return melody(rng, instrument, seconds, velocity=(64, 112))


def legato(rng: np.random.Generator, instrument: Instrument, seconds: float) -> list[MidiNote]:
    """Notes that end where the next begins."""
    return melody(rng, instrument, seconds, held=1.0, velocity=(64, 112))


def soft(rng: np.random.Generator, instrument: Instrument, seconds: float) -> list[MidiNote]:
    """The same, softly."""
    return melody(rng, instrument, seconds, held=0.95, velocity=(28, 56))


def repeated(rng: np.random.Generator, instrument: Instrument, seconds: float) -> list[MidiNote]:
    """Each key two to five times."""
    notes = melody(rng, instrument, seconds, held=0.85, velocity=(64, 112))
    times = np.repeat(np.arange(len(notes)), rng.integers(2, 6, len(notes)))
    return [note._replace(key=notes[k].key) for note, k in zip(notes, times)]


def chords(rng: np.random.Generator, instrument: Instrument, seconds: float) -> list[MidiNote]:
    """Three notes at a time, of the scale."""
    notes = melody(rng, instrument, seconds, held=0.95, velocity=(64, 112))
    major = {note.key % 12 for note in notes}
    found = []
    for note in notes:
        thirds = [k for k in range(note.key - 1, note.key - 12, -1) if k % 12 in major][1::2][:2]
        found += [note, *(note._replace(key=k) for k in thirds)]
    return found


def drumming(rng: np.random.Generator, _: Instrument, seconds: float) -> list[MidiNote]:
    """A pattern of a bar with kick, snare, hi-hat and a crash, in eighths or sixteenths."""
    grid_s = 60 / rng.uniform(70, 150) / float(rng.choice((2, 4)))
    grid_s = max(grid_s, 0.1)
    kick, snare, hat = (rng.random(16) < share for share in (0.25, 0.1, 0.6))
    found = []
    for k in range(int(seconds / grid_s)):
        step = k % 16
        keys = (
            [KICK] * int(kick[step] or step == 0) + [SNARE] * int(snare[step] or step % 8 == 4) + [HAT] * int(hat[step])
        )
        keys += [CRASH] * int(k % 64 == 0)
        start = 0.3 + k * grid_s
        found += [MidiNote(start, start + 0.09, key, int(rng.integers(50, 115))) for key in keys]
    return found


WAYS: dict[str, Callable[[np.random.Generator, Instrument, float], list[MidiNote]]] = {
    "detached": detached,
    "legato": legato,
    "repeated": repeated,
    "soft": soft,
    "chords": chords,
}


class Scores(NamedTuple):
    """What one line was given."""

    mixture: float
    separated: float
    given: float
    precision: float
    recall: float


def truth_of(notes: list[MidiNote]) -> np.ndarray:
    """(n,) seconds at which notes begin, each once."""
    starts = np.unique([note.start_s for note in notes])
    return np.asarray(starts[np.r_[True, np.diff(starts) > TOGETHER_S]])


def played(
    name: str, ways: list[str], font: Path, args: argparse.Namespace
) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Truth and recording (n, 2) of each line, by way of playing; all of an instrument are played at once."""
    instrument, place, slot_s = INSTRUMENTS[name], list(INSTRUMENTS).index(name), args.seconds + RING_S
    is_drums = instrument.stem == DRUMS
    lines: list[tuple[str, list[MidiNote]]] = []
    for way, compose in {"groove": drumming}.items() if is_drums else ((way, WAYS[way]) for way in ways):
        for k in range(args.lines):
            rng = np.random.default_rng([args.seed + k, place, len(lines) // args.lines])
            lines.append((way, compose(rng, instrument, args.seconds)))
    starts = slot_s * np.arange(len(lines))
    later = [
        note._replace(start_s=note.start_s + start, end_s=note.end_s + start)
        for start, (_, notes) in zip(starts, lines)
        for note in notes
    ]
    channel, length = 9 if is_drums else 0, round((args.seconds + 1) * SR)
    y = play_notes(font, instrument.program, later, len(lines) * slot_s, channel=channel, reverb=args.reverb)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for start, (way, notes) in zip(starts, lines):
        found.setdefault(way, []).append((truth_of(notes), y[round(start * SR) :][:length]))
    return found


def score(analyser: Analyser, y: np.ndarray, truth: np.ndarray, stem: str) -> Scores:
    """Compare the onsets of a recording (n, 2) with the truth."""
    analysis = analyser.from_audio(y.T, SR)
    found = analysis.events.onsets_s
    loudest = max(STEMS, key=lambda row: analysis.stems[row]["energy_share"] or 0.0)
    silence = np.zeros_like(y.T)
    given = {row: y.T if row == stem else silence for row in STEMS}
    alone = analyser.from_audio(y.T, SR, stems=given).events.onsets_s[stem]
    f, precision, recall = mir_eval.onset.f_measure(truth, found[MIXTURE], window=WINDOW_S)
    separated, known = (mir_eval.onset.f_measure(truth, rest, window=WINDOW_S)[0] for rest in (found[loudest], alone))
    return Scores(f, separated, known, precision, recall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=3, help="of each instrument and way of playing")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a line")
    parser.add_argument("--seed", type=int, default=5100, help="number of the first line")
    parser.add_argument("--instruments", nargs="+", choices=list(INSTRUMENTS), default=list(INSTRUMENTS)[:N_REPORTED])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--font", type=Path, help="SoundFont (default: the first that is installed)")
    parser.add_argument("--reverb", action="store_true", help="with the reverb of fluidsynth")
    args = parser.parse_args()
    font = args.font or next(iter(find_soundfonts()), None)
    if font is None:
        parser.error("no SoundFont is installed; name one with --font")
    warnings.simplefilter("ignore")
    try:
        measure(font, args)
    except DatasetError as error:  # of the font: nothing else is read here
        parser.error(str(error))


def measure(font: Path, args: argparse.Namespace) -> None:
    """A row for each instrument and way of playing, and one for each instrument."""
    analyser = Analyser()
    row = "{:<14}{:<10}{:>6}{:>9}{:>11}{:>8}{:>11}{:>8}".format
    print(row("instrument", "way", "onsets", "mixture", "separated", "given", "precision", "recall"))
    for name in args.instruments:
        found = []
        for way, lines in played(name, args.ways, font, args).items():
            scores = [score(analyser, y, truth, INSTRUMENTS[name].stem) for truth, y in lines]
            print(
                row(
                    name,
                    way,
                    sum(len(truth) for truth, _ in lines),
                    *(f"{value:.3f}" for value in np.mean(scores, axis=0)),
                ),
                flush=True,
            )
            found += scores
        print(row(name, "all", "", *(f"{value:.3f}" for value in np.mean(found, axis=0))), flush=True)


if __name__ == "__main__":
    main()
