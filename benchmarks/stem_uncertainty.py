"""Does ``separation_sdr_db`` say how good a stem is? Against the true SDR, over songs and stems.

    python benchmarks/stem_uncertainty.py [--songs 10] [--seconds 30] [--seed 94000] [--stems FOLDER ...]

Generates songs (needs the train extra), takes songs of folders with the four stems besides, analyses and separates
their sums, and prints Spearman's rank correlation of what the tables say with the SDR of the separated stem (mono,
10 log10 of true energy over that of the error): over all stems of all songs, and stem by stem. The last line is the
straight line through the generated ones, the constants of ``stemfeatures/descriptors/separation.py``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from stemfeatures import audio
from stemfeatures.analysis import Analyser
from stemfeatures.constants import MIXTURE, STEMS
from stemfeatures.evaluation.separation import sdr
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.song import generate_song
from stemfeatures.separation import Separator

#: Reference stems this far below their mixture have no SDR to speak of.
LEAST_SHARE_DB = -40.0


def generated(n: int, seed: int, seconds: float) -> Iterator[tuple[str, dict[str, np.ndarray], int]]:
    """Names, mono stems and sample rates of generated songs of all styles in turn."""
    styles = DRAWN_STYLES
    for k in range(n):
        song = generate_song(seed + k, duration_s=seconds, style=styles[(5 * k) % len(styles)])
        yield f"generated {seed + k}", {s: audio.to_mono(song.stems[s]) for s in STEMS}, song.truth.sample_rate


def recorded(folders: list[Path]) -> Iterator[tuple[str, dict[str, np.ndarray], int]]:
    """The same of folders that hold the stems, or that hold such folders."""
    for folder in folders:
        for song in sorted({path.parent for path in folder.rglob("vocals.*")}):
            loaded = {s: audio.load(next(song.glob(f"{s}.*"))) for s in STEMS}
            yield song.name, {s: audio.to_mono(y) for s, (y, _) in loaded.items()}, loaded[STEMS[0]][1]


def promises(
    stems: dict[str, np.ndarray], sample_rate: int, analyser: Analyser, separator: Separator
) -> Iterator[tuple[str, float, float, float]]:
    """Stem, SDR that the masks promise before and after calibration, and true SDR, of the stems that sound."""
    mixture = np.stack(list(stems.values())).sum(axis=0)
    rows = analyser.from_audio(mixture, sample_rate).stems
    separated = separator.separate_array(mixture, sample_rate)
    for stem, y in stems.items():
        share = np.mean(np.square(y, dtype=np.float64)) / max(np.mean(np.square(mixture, dtype=np.float64)), 1e-20)
        values = rows[stem]
        if values["separation_status"] == "ok" and share > 10 ** (LEAST_SHARE_DB / 10):
            expected = -10 * np.log10(max(values["separation_ambiguity"], 1e-6))
            yield stem, expected, values["separation_sdr_db"], sdr(y, separated[stem])


def correlation_text(name: str, rows: list[tuple[str, float, float, float]]) -> str:
    """Rank correlations over all stems and by stem, and the error of what is promised."""
    promised, true = (np.array([row[k] for row in rows]) for k in (2, 3))
    parts = [f"{name:<12}{len(rows):>4} stems  all {spearmanr(promised, true)[0]:.2f}"]
    for stem in STEMS:
        of = np.array([row[0] == stem for row in rows])
        rank = spearmanr(promised[of], true[of])[0] if of.sum() > 2 else np.nan
        parts.append(f"{stem} {rank:.2f}")
    return "  ".join([*parts, f"median error {np.median(np.abs(promised - true)):.1f} dB"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the generated songs")
    parser.add_argument("--seed", type=int, default=94_000, help="number of the first song")
    parser.add_argument("--stems", type=Path, nargs="*", default=[], metavar="FOLDER", help="recorded songs with stems")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    analyser, separator = Analyser(), Separator()
    found: dict[str, list[tuple[str, float, float, float]]] = {"generated": [], "recorded": []}
    sources = {"generated": generated(args.songs, args.seed, args.seconds), "recorded": recorded(args.stems)}
    for kind, songs in sources.items():
        for name, stems, sample_rate in songs:
            rows = list(promises(stems, sample_rate, analyser, separator))
            found[kind] += rows
            print(f"{name:<24}{MIXTURE}", *(f"{s} {p:.1f} ({t:.1f})" for s, _, p, t in rows), sep="  ", flush=True)
    for kind, rows in found.items():
        if len(rows) > 2:
            print(correlation_text(kind, rows))
    if len(rows := found["generated"]) > 2:
        slope, constant = np.polyfit([row[1] for row in rows], [row[3] for row in rows], 1)
        print(f"SLOPE, CONSTANT_DB = {slope:.2f}, {constant:.2f}")


if __name__ == "__main__":
    main()
