"""How much of the energy of basses and drums lies in the low end, of recorded songs and of generated ones.

    python benchmarks/low_end.py FOLDER... [--below 150]

Each FOLDER holds song folders or another data set with stems (docs/datasets.md). Shares of a stem's energy between 30
Hz and the edge, and the bass's part of what both have there: quartiles over the songs that have both stems.
"""

from __future__ import annotations

import argparse

import numpy as np

from stemfeatures.datasets.opening import find_tracks

LEAST_HZ = 30.0


def low_energy(y: np.ndarray, sample_rate: int, below: float) -> tuple[float, float]:
    """Energy of ``(..., n_samples)`` between LEAST_HZ and ``below``, and of all of it."""
    power = np.abs(np.fft.rfft(y)) ** 2
    hertz = np.fft.rfftfreq(y.shape[-1], 1 / sample_rate)
    return float(power[..., (hertz > LEAST_HZ) & (hertz < below)].sum()), float(power.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--below", type=float, default=150.0, metavar="HZ")
    args = parser.parse_args()
    for folder in args.folders:
        shares: list[tuple[float, float, float]] = []
        for track in find_tracks(folder):
            if not {"bass", "drums"} <= set(track.stem_names):
                continue
            (bass, all_bass), (drums, all_drums) = (
                low_energy(*track.audio(stem), args.below) for stem in ("bass", "drums")
            )
            if min(all_bass, all_drums) > 1e-6 * max(all_bass, all_drums):
                shares.append((bass / all_bass, drums / all_drums, bass / (bass + drums)))
        print(f"{folder}: {len(shares)} songs, below {args.below:g} Hz (quartiles)")
        if not shares:
            continue
        for name, values in zip(("bass", "drums", "bass of both"), np.array(shares).reshape(-1, 3).T):
            print(f"  {name:14s}" + "".join(f"{q:6.2f}" for q in np.quantile(values, (0.25, 0.5, 0.75))))


if __name__ == "__main__":
    main()
