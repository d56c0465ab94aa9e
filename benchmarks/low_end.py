"""How much of the energy of basses, drums and the rest lies in the low end, of recorded songs and of generated ones.

    python benchmarks/low_end.py FOLDER... [--below 150]

Each FOLDER holds song folders or another data set with stems (docs/datasets.md). Shares of a stem's energy between 30
Hz and the edge, the bass's part of what bass and drums have there, and the part of *other* in what all four stems have:
quartiles over the songs that have bass, drums and other.
"""

from __future__ import annotations

import argparse

import numpy as np

from stemfeatures.datasets.opening import find_tracks

LEAST_HZ = 30.0
_FOUND = ("bass", "drums", "other")


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
        shares: list[tuple[float, ...]] = []
        for track in find_tracks(folder):
            if not {"bass", "drums", "other"} <= set(track.stem_names):
                continue
            low, whole = np.array([low_energy(*track.audio(stem), args.below) for stem in _FOUND]).T
            sung = low_energy(*track.audio("vocals"), args.below)[0] if "vocals" in track.stem_names else 0.0
            if whole.min() > 1e-6 * whole.max():
                shares.append((*(low / whole), low[0] / (low[0] + low[1]), low[2] / (low.sum() + sung)))
        print(f"{folder}: {len(shares)} songs, below {args.below:g} Hz (quartiles)")
        if not shares:
            continue
        for name, values in zip((*_FOUND, "bass of both", "other of all"), np.array(shares).T):
            print(f"  {name:14s}" + "".join(f"{q:6.2f}" for q in np.quantile(values, (0.25, 0.5, 0.75))))


if __name__ == "__main__":
    main()
