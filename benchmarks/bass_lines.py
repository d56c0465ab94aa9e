"""Does ``similar --stem bass`` find the same bass line under other vocals and drums?

    python benchmarks/bass_lines.py [--songs 8] [--seconds 20] [--seed 900] [--work DIR]

Generates songs (needs the train extra), mixes every bass line with the vocals, drums and other of three songs,
extracts the mixes, and ranks all of them for each: mean average precision of the mixes with the same bass line, and how
often one of them is among the first three.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import warnings
from pathlib import Path

import numpy as np
import soundfile as sf

import stemfeatures
from pipelines import cli, extract_catalog
from stemfeatures.similarity.index import SimilarityIndex

REST = ("vocals", "drums", "other")
#: Songs that lend their vocals, drums and other to a bass line, counted from the song of the bass line.
STEPS = (0, 3, 5)
FAMILIES = ("activity", "f0", "rhythm", "timbre", "loudness", "harmony")


def mix(songs: list[Path], folder: Path) -> None:
    """Write ``bass<i>_rest<j>.flac`` for every song ``i``."""
    stems = [{name: sf.read(song / f"{name}.flac") for name in ("bass", *REST)} for song in songs]
    for i, song in enumerate(stems):
        for j in ((i + step) % len(songs) for step in STEPS):
            parts = [song["bass"][0], *(stems[j][name][0] for name in REST)]
            n = min(map(len, parts))
            y = np.sum([part[:n] for part in parts], axis=0)
            sf.write(folder / f"bass{i}_rest{j}.flac", y / max(1.0, np.abs(y).max() / 0.98), song["bass"][1])


def scores(index: SimilarityIndex, *, stem: str, families: tuple[str, ...] | None = None) -> tuple[float, float]:
    """Mean average precision, and how often the first three hold one that is wanted."""
    bass = np.array([str(t).partition("_")[0] for t in index.track_ids])
    hits = index.search(np.arange(len(index)), stems=[stem], families=families, k=len(index) - 1)
    precisions, early = [], []
    for row, rows in enumerate(hits.rows):
        ranks = np.flatnonzero(bass[rows[rows >= 0]] == bass[row]) + 1
        if len(ranks):
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
            early.append(ranks[0] <= 3)
    return float(np.mean(precisions)), float(np.mean(early))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the songs")
    parser.add_argument("--seed", type=int, default=900)
    parser.add_argument("--work", type=Path, help="folder for songs, mixes and tables, which stay there")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with contextlib.ExitStack() as stack:
        work = args.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        songs, mixes, features = work / "songs", work / "mixes", work / "features"
        made = [
            "generate",
            "--out",
            songs,
            "--songs",
            args.songs,
            "--seed",
            args.seed,
            "--duration",
            args.seconds,
            "-q",
        ]
        if cli.main([str(word) for word in made]):
            raise SystemExit("the songs could not be generated")
        mixes.mkdir(exist_ok=True)
        mix(sorted(p for p in songs.iterdir() if p.is_dir()), mixes)
        extract_catalog(mixes, features, jobs=1)
        index = stemfeatures.build_index(features)
        rows = {
            "bass": scores(index, stem="bass"),
            **{f"bass, {f}": scores(index, stem="bass", families=(f,)) for f in FAMILIES},
            "mixture": scores(index, stem="mixture"),
        }
        index = stemfeatures.build_index(features, weights={}, index_dir=work / "equal")
        rows["bass, all families weighted equally"] = scores(index, stem="bass")
        print(f"{len(index)} tracks{'':<30}   mAP  first 3")
        for name, (precision, first) in rows.items():
            print(f"{name:<40}{precision:>6.2f}{first:>9.2f}")


if __name__ == "__main__":
    main()
