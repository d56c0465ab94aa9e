"""CPU seconds per minute of audio of all descriptors and tables, beside essentia's MusicExtractor in the same run.

    python benchmarks/descriptors.py [--seconds 60] [--seed 96000] [--repeat 3]

Generates a song (needs the train extra) and analyses its mixture: all that follows the network, for the mixture and the
four stems (masks, frames, descriptors, events), on one thread; resampling, STFT and loudness are counted too, the
network is not. essentia (pip install essentia), where it is there, extracts its descriptors from the same mixture and
the four true stems. Least of the repeats each.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from stemfeatures import audio
from stemfeatures.analysis import Analyser
from stemfeatures.constants import MIXTURE, STEMS
from stemfeatures.descriptors import describe
from stemfeatures.generator.song import Song, generate_song


def cpu_s(work: Callable[[], object], repeat: int) -> float:
    """Least CPU seconds of several runs."""
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


class NetworkClock:
    """CPU seconds that a network spends in its forward pass."""

    def __init__(self, net: torch.nn.Module) -> None:
        self.seconds, self._start = 0.0, 0.0
        net.register_forward_pre_hook(self._begin)
        net.register_forward_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._start = time.process_time()

    def _end(self, *_: object) -> None:
        self.seconds += time.process_time() - self._start


def our_seconds(song: Song, repeat: int) -> tuple[float, float]:
    """CPU seconds of all but the network, and of the descriptors among them."""
    analyser = Analyser()
    clock = NetworkClock(analyser.net)
    rate = song.truth.sample_rate
    analyser.from_audio(song.mixture[:, : 3 * rate], rate)  # what is compiled and loaded once
    without = []
    for _ in range(repeat):
        before, start = clock.seconds, time.process_time()
        frames = analyser.from_audio(song.mixture, rate).frames
        without.append(time.process_time() - start - (clock.seconds - before))
    return min(without), cpu_s(lambda: describe(frames), repeat)


def essentia_seconds(song: Song, folder: Path, repeat: int) -> float:
    """CPU seconds of MusicExtractor over the mixture and the four stems; it takes no silent ones."""
    import essentia
    import essentia.standard

    essentia.log.infoActive = essentia.log.warningActive = False
    files: list[Path] = []
    for name, y in {MIXTURE: song.mixture, **{s: song.stems[s] for s in STEMS}}.items():
        if not np.any(y):
            continue
        files.append(folder / f"{name}.wav")
        audio.write(files[-1], np.asarray(y, dtype=np.float32), song.truth.sample_rate)
    extractor = essentia.standard.MusicExtractor()
    return cpu_s(lambda: [extractor(str(file)) for file in files], repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the song")
    parser.add_argument("--seed", type=int, default=96_000, help="number of the song")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    song = generate_song(args.seed, duration_s=args.seconds, style="pop")
    minutes = song.mixture.shape[1] / song.truth.sample_rate / 60
    ours, descriptors = our_seconds(song, args.repeat)
    print(f"{'CPU seconds per minute of audio, mixture and four stems':<64}{'':>8}")
    print(f"{'stemfeatures: all but the network':<64}{ours / minutes:>8.2f}")
    print(f"{'  of them descriptors and events':<64}{descriptors / minutes:>8.2f}")
    if importlib.util.find_spec("essentia") is None:
        print("essentia is not installed: no comparison")
        return
    with tempfile.TemporaryDirectory() as folder:
        theirs = essentia_seconds(song, Path(folder), args.repeat)
    print(f"{'essentia: MusicExtractor, five signals':<64}{theirs / minutes:>8.2f}")
    print(f"{'ratio':<64}{ours / theirs:>8.2f}")


if __name__ == "__main__":
    main()
