"""CPU seconds per minute of audio of this checkout beside another one, by turns in one run.

    git worktree add ../before REVISION
    python benchmarks/revisions.py ../before [--file FILE] [--seconds 60] [--repeat 4]

Each checkout has a process of its own, with one thread, in which all is loaded; they analyse the same signal by turns,
as `extract -j 1` does, so that what else the machine does meets both. Least of the repeats each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "catalog_samples" / "Francium (excerpt 1).mp3"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def work(file: Path, seconds: float) -> None:
    """Analyse the signal once for each line of standard input; prints seconds by stage as JSON."""
    import numpy as np
    import torch

    from pipelines.extraction import threads
    from stemfeatures import audio
    from stemfeatures.analysis import Analyser
    from stemfeatures.descriptors import LoudnessMeter, describe

    torch.set_num_threads(1)
    y, rate = audio.load(file)
    y = np.atleast_2d(y)
    y = np.tile(y, (1, int(seconds * rate) // y.shape[1] + 1))[:, : int(seconds * rate)]
    analyser = Analyser()
    begun, network = 0.0, 0.0

    def begin(*_: object) -> None:
        nonlocal begun
        begun = time.process_time()

    def end(*_: object) -> None:
        nonlocal network
        network += time.process_time() - begun

    analyser.net.register_forward_pre_hook(begin)
    analyser.net.register_forward_hook(end)
    with ExitStack() as stack:
        if hasattr(threads, "keeping_memory"):
            stack.enter_context(threads.keeping_memory())
        analyser.from_audio(y[:, : 5 * rate], rate)
        print("ready", flush=True)
        for _ in sys.stdin:
            network, start = 0.0, time.process_time()
            frames = analyser.from_audio(y, rate).frames
            spent = {"all": time.process_time() - start, "network": network}
            start = time.process_time()
            describe(frames)
            spent["descriptors"] = time.process_time() - start
            start, meter = time.process_time(), LoudnessMeter(rate, len(y))
            for first in range(0, y.shape[1], 10 * rate):
                meter.update(y[:, first : first + 10 * rate])
            spent["loudness"] = time.process_time() - start
            spent["frames, resampling, STFT"] = 2 * spent["all"] - sum(spent.values())
            print(json.dumps({name: s * 60 / seconds for name, s in spent.items()}), flush=True)


class Checkout:
    """The process of one checkout."""

    def __init__(self, tree: Path, file: Path, seconds: float) -> None:
        environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": str(tree)}
        command = [sys.executable, __file__, str(tree), "--file", str(file), "--seconds", str(seconds), "--work"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tree
        )
        self.spent: list[dict[str, float]] = []
        if self._read().strip() != "ready":
            raise SystemExit(f"{tree} cannot be measured")

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def analyse(self) -> None:
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        self.spent.append(json.loads(self._read()))

    def least(self, stage: str) -> float:
        return min(spent[stage] for spent in self.spent)

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path, help="the other checkout")
    parser.add_argument("--file", type=Path, default=SAMPLE, help="audio, repeated up to the length")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.file, args.seconds)
    other, this = (Checkout(tree.resolve(), args.file.resolve(), args.seconds) for tree in (args.tree, ROOT))
    for _ in range(args.repeat):
        other.analyse()
        this.analyse()
    for stage in this.spent[0]:
        before, now = other.least(stage), this.least(stage)
        print(f"{stage:28s} there {before:6.3f}, here {now:6.3f}, ratio {now / before:5.2f}")
    for checkout in (other, this):
        checkout.close()
    return None


if __name__ == "__main__":
    main()
