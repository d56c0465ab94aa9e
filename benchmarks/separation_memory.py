"""Memory of separation for signals of growing length, each in a process of its own.

The peak is the largest resident size; the other columns are the resident size after a fifth of the signal and at its
end, which tell growth from what the allocator keeps.

python benchmarks/separation_memory.py [--minutes 1 10 60] [--sample-rate 44100] [--channels 2]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time


def separate(minutes: float, sample_rate: int, channels: int) -> None:
    """Stream noise through the separator, throw the stems away, print the peak."""
    import numpy as np
    import psutil
    import torch

    from stemfeatures.separation import Separator

    torch.set_num_threads(1)
    separator = Separator()
    rng = np.random.default_rng(0)
    seconds = int(minutes * 60)
    blocks = ((0.1 * rng.standard_normal((channels, sample_rate))).astype(np.float32) for _ in range(seconds))
    start, n = time.process_time(), 0
    process, early = psutil.Process(), 0
    for part in separator.stream(blocks, sample_rate, channels):
        n += part["vocals"].shape[1]
        if not early and n >= seconds * sample_rate / 5:
            early = process.memory_info().rss
    late = process.memory_info().rss
    assert n == seconds * sample_rate
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.1f} {early / 2**20:.1f} {late / 2**20:.1f} {(time.process_time() - start) / minutes:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", nargs="+", type=float, default=[1, 10, 60])
    parser.add_argument("--sample-rate", type=int, default=44_100)
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        separate(args.one, args.sample_rate, args.channels)
        return
    first = None
    print("minutes  peak MiB  ratio  after a fifth  at the end  CPU s/min")
    for minutes in args.minutes:
        command = [sys.executable, __file__, "--one", str(minutes)]
        command += ["--sample-rate", str(args.sample_rate), "--channels", str(args.channels)]
        peak, early, late, cpu = map(
            float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        )
        first = first or peak
        print(f"{minutes:7g}  {peak:8.0f}  {peak / first:5.2f}  {early:13.0f}  {late:10.0f}  {cpu:9.2f}")


if __name__ == "__main__":
    main()
