"""How much of the energy of basses, drums and the rest lies in the low end, of recorded songs and of generated ones.

    python benchmarks/low_end.py FOLDER... [--below 150]

Each FOLDER holds song folders or another data set with stems (docs/datasets.md). Shares of a stem's energy between 30
Hz and the edge, the bass's part of what bass and drums have there, and the part of *other* in what all four stems have:
quartiles over the songs that have bass and drums, what is of *other* itself over those that have it.
"""

from __future__ import annotations

import argparse

import numpy as np

from stemfeatures.constants import STEMS
from stemfeatures.datasets.opening import find_tracks

LEAST_HZ = 30.0
DRUMS, BASS, OTHER = (STEMS.index(stem) for stem in ("drums", "bass", "other"))
_NAMES = ("bass", "drums", "other", "bass of both", "other of all")


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
            if not {"bass", "drums"} <= set(track.stem_names):
                continue
            low, whole = np.array(
                [low_energy(*track.audio(stem), args.below) if stem in track.stem_names else (0, 0) for stem in STEMS]
            ).T
            if min(whole[BASS], whole[DRUMS]) > 1e-6 * whole.max():
                own = low[OTHER] / whole[OTHER] if whole[OTHER] > 0 else np.nan
                both = low[BASS] / (low[BASS] + low[DRUMS])
                shares.append((low[BASS] / whole[BASS], low[DRUMS] / whole[DRUMS], own, both, low[OTHER] / low.sum()))
        print(f"{folder}: {len(shares)} songs, below {args.below:g} Hz (quartiles)")
        if not shares:
            continue
        for name, values in zip(_NAMES, np.array(shares).T):
            print(f"  {name:14s}" + "".join(f"{q:6.2f}" for q in np.nanquantile(values, (0.25, 0.5, 0.75))))


if __name__ == "__main__":
    main()
