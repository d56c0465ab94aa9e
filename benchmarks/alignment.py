"""CPU seconds a minute of aligning lyrics, beyond separation, and the aligner of pocketsphinx beside it.

    python benchmarks/alignment.py [AUDIO LYRICS] [--repeat 6] [--rounds 3]
    python benchmarks/alignment.py [AUDIO LYRICS] --minutes 10,60 --rounds 0
    python benchmarks/alignment.py [AUDIO LYRICS] --minutes 180 --copies 12 --rounds 0

Both align the same separated vocals. Without arguments the song is Río of ``catalog_samples``, put end to end
``--repeat`` times with its words, so that it is as long as songs are. The median of the rounds is shown.

``--minutes`` puts it end to end until it has these lengths, with its words as often, or ``--copies`` times at most, and
shows the peak memory of a process that aligns each, beside what it takes before.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import math
import multiprocessing
import re
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stemfeatures._util.large_arrays import GrowingArrays
from stemfeatures.lyrics import Aligner, Vocals
from stemfeatures.lyrics.cepstra import SAMPLE_RATE
from stemfeatures.lyrics.text import decode_lyrics

SAMPLES = Path(__file__).parent.parent / "catalog_samples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="?", default=SAMPLES / "Río.flac")
    parser.add_argument("lyrics", type=Path, nargs="?")
    parser.add_argument("--repeat", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=lambda text: [float(part) for part in text.split(",")], default=())
    parser.add_argument("--copies", type=int, default=1_000_000)
    args = parser.parse_args()
    if args.lyrics is None:
        lines = json.loads((SAMPLES / "truth" / "rio.json").read_text(encoding="utf-8"))["lyrics"]
        text = "\n".join(line for _, _, line in lines)
    else:
        text = decode_lyrics(args.lyrics.read_bytes())
    aligner = Aligner()
    start = time.process_time()
    vocals = aligner.separator.from_file(args.audio)
    separation = (time.process_time() - start) / vocals.duration_s * 60
    for minutes in args.minutes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(memory, (vocals, text, minutes, args.copies)), flush=True)
    if not args.rounds:
        return
    vocals, text = repeated(vocals, text, args.repeat)
    minutes = vocals.duration_s / 60
    words = " ".join(re.findall("[a-z']+", text.lower()))

    def ours() -> None:
        alignment = aligner.from_vocals(vocals, text)
        print(f"  {alignment.status}, score {alignment.score}", flush=True)

    def theirs() -> None:
        pocketsphinx_words(vocals.signal, words)

    ours()  # compiles
    figures = {name: measured(run, args.rounds) / minutes for name, run in (("ours", ours), ("theirs", theirs))}
    print(f"{minutes:.1f} minutes; CPU seconds a minute: separation and voicing {separation:.2f},")
    print(f"alignment {figures['ours']:.2f}, pocketsphinx {figures['theirs']:.2f}")
    print(f"ratio to pocketsphinx {figures['ours'] / figures['theirs']:.2f}")


def repeated(vocals: Vocals, text: str, times: int) -> tuple[Vocals, str]:
    """A song and its words end to end."""
    arrays = GrowingArrays()  # in a file from some minutes on, as a separator gives them
    once = [vocals.signal] if vocals.mixture is None else [vocals.signal, vocals.mixture]
    for _ in range(times):
        arrays.append("signal", np.stack(once))
    signal, voiced = arrays.finish()["signal"], np.tile(vocals.voiced, times)
    perhaps = None if vocals.perhaps_voiced is None else np.tile(vocals.perhaps_voiced, times)
    mixture = None if vocals.mixture is None else signal[1]
    whole = Vocals(signal[0], voiced, vocals.duration_s * times, perhaps_voiced=perhaps, mixture=mixture)
    return whole, "\n\n".join([text] * times)


def memory(vocals: Vocals, text: str, minutes: float, copies: int) -> str:
    """Align a song that is repeated until it has a length; its peak memory, in words."""
    aligner = Aligner()
    aligner.from_vocals(vocals, text)  # compiles
    times = math.ceil(minutes * 60 / vocals.duration_s)
    vocals, text = repeated(vocals, text, times)[0], repeated(vocals, text, min(times, copies))[1]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.process_time()
    alignment = aligner.from_vocals(vocals, text)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    length = vocals.duration_s / 60
    return (
        f"{length:6.1f} minutes, {len(alignment.words)} words, {alignment.status}: {seconds / length:.2f} CPU s a "
        f"minute, {before:.0f} MB before and {peak:.0f} MB at the peak"
    )


def measured(run: Callable[[], None], rounds: int) -> float:
    """Median CPU seconds."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def pocketsphinx_words(signal: np.ndarray, words: str) -> int:
    """Align with pocketsphinx; the number of segments it found."""
    from pocketsphinx import Decoder

    decoder = Decoder(lm=None, loglevel="FATAL", samprate=SAMPLE_RATE)
    decoder.set_align_text(words)
    decoder.start_utt()
    decoder.process_raw((np.clip(signal, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    return sum(1 for _ in decoder.seg() or ())


if __name__ == "__main__":
    main()
