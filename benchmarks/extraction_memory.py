"""Peak memory of extracting tracks of growing length, each in a process of its own.

    python benchmarks/extraction_memory.py [--minutes 3 10 60] [--model NAME] [--small-network] [--sung]

A stereo file of tones, strokes and noise at 44.1 kHz is written, and ``extract_catalog`` makes its rows, with the
environment that ``extract -j N`` gives its workers. The peak is the largest resident size of the process. ``growth`` is
how much more an hour of audio takes than the first length. ``--small-network`` takes random weights of a network that
costs next to nothing, to see in little time what grows besides the network, whose memory depends on no length.
``--sung`` takes a song with lyrics instead, over and over, and makes the tables of lyrics, too.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
from faults import write_model

from pipelines.extraction.threads import MEMORY_ENVIRONMENT, WORKER_ENVIRONMENT
from stemfeatures.descriptors.lyric_tables import LYRIC_TABLES
from stemfeatures.tables.schema import DEFAULT_TABLES

RATE = 44_100
SUNG = Path(__file__).parent.parent / "catalog_samples" / "Río"


def write_song(path: Path, minutes: float) -> None:
    """Arpeggios over a bass, strokes twice a second, and noise; a bar of them after the other, each a bit different."""
    rng = np.random.default_rng(0)
    times = np.arange(2 * RATE) / RATE
    strokes = rng.standard_normal((2, len(times))) * 0.1 * np.exp(-25 * (times % 0.5))
    with sf.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for bar in range(max(1, round(minutes * 30))):
            root = 55 * 2 ** ((5 * (bar // 4) % 12) / 12)
            notes = root * 4 * 2 ** (np.array([0, 4, 7, 12])[(4 * times).astype(int) % 4] / 12)
            tones = 0.1 * np.sin(2 * np.pi * np.cumsum(notes) / RATE) + 0.15 * np.sin(2 * np.pi * root * times)
            noise = 0.01 * rng.standard_normal((2, len(times)))
            file.write((tones * (bar % 16 != 15) + strokes + noise).T)


def write_sung_song(path: Path, minutes: float) -> None:
    """Río of ``catalog_samples`` end to end, and its lyrics beside it as often."""
    y, rate = sf.read(SUNG.with_suffix(".flac"), always_2d=True)
    times = max(1, round(minutes * 60 * rate / len(y)))
    with sf.SoundFile(path, "w", rate, y.shape[1], "PCM_16") as file:
        for _ in range(times):
            file.write(y)
    path.with_suffix(".txt").write_text("\n\n".join([SUNG.with_suffix(".txt").read_text()] * times))


def extract_one(song: Path, out: Path, model: str) -> None:
    """In a process of its own: extract, print the peak in MiB and the seconds of CPU."""
    from pipelines import extract_catalog

    tables = (*DEFAULT_TABLES, *LYRIC_TABLES) if song.with_suffix(".txt").exists() else None
    summary = extract_catalog([song], out, model=model, device="cpu", jobs=1, tables=tables)
    if summary.n_done != 1:
        sys.exit(f"not extracted: {summary.errors}")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", nargs="+", type=float, default=[3, 10, 60])
    parser.add_argument("--model", default="joint-v8", help="checkpoint (default: %(default)s)")
    parser.add_argument("--small-network", action="store_true", help="random weights of a small network")
    parser.add_argument("--one", nargs=2, type=Path, metavar=("SONG", "OUT"), help=argparse.SUPPRESS)
    parser.add_argument("--sung", action="store_true", help="with lyrics")
    args = parser.parse_args()
    if args.one is not None:
        song, out = args.one
        extract_one(song, out, args.model)
        return
    environment = {**os.environ, **WORKER_ENVIRONMENT, **MEMORY_ENVIRONMENT}
    first: tuple[float, float] | None = None
    print("minutes  peak MiB  ratio  growth MiB/h  CPU s/min")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        model = str(write_model(work)) if args.small_network else args.model
        for minutes in args.minutes:
            song, out = work / "song.wav", work / f"features-{minutes:g}"
            (write_sung_song if args.sung else write_song)(song, minutes)
            command = [sys.executable, __file__, "--model", model, "--one", str(song), str(out)]
            said = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
            peak, cpu_s = map(float, said.split()[-2:])
            first = first or (minutes, peak)
            hours = (minutes - first[0]) / 60
            growth = f"{(peak - first[1]) / hours:12.0f}" if hours > 0 else f"{'':>12}"
            print(f"{minutes:7g}  {peak:8.0f}  {peak / first[1]:5.2f}  {growth}  {cpu_s / minutes:9.2f}", flush=True)


if __name__ == "__main__":
    main()
