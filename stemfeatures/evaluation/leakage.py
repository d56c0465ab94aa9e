"""Which stem ends up in which, by band: where a separator fails.

A mask M on a mixture treats all its stems alike: the estimate ``M X`` is the sum of ``M S_j`` over the true stems
``S_j``, and the energy of ``M S_j`` tells how much of stem j is in the estimate. For estimates that are not made by a
mask, M is the ratio of their magnitude to that of the mixture, at most 1.

    python -m stemfeatures.evaluation.leakage EVAL --model joint-v2

prints, by data set and estimated stem, the level of each true stem in it relative to the true stem that belongs there,
in dB: 0 on the diagonal if nothing was lost, -10 beside it if a tenth as much energy is foreign.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .._util.numba_cache import import_librosa
from ..datasets.multitrack import ACCOMPANIMENT, MultiTrack
from ..datasets.opening import find_tracks
from .base import Estimator
from .estimators.references import stft_grid
from .registry import get_estimator
from .run import NotOfferedError, separated_target

#: Edges in Hz of the bands that are told apart; the last one ends at half the sample rate.
BANDS_HZ = (0.0, 150.0, 400.0, 1000.0, 3000.0, 8000.0)


def leakage(
    stems: Mapping[str, np.ndarray], estimates: Mapping[str, np.ndarray], sample_rate: int
) -> dict[tuple[str, str], np.ndarray]:
    """Energy of true stems in estimates.

    Parameters
    ----------
    stems : Mapping of str to numpy.ndarray
        True stems by name, mono ``(n_samples,)``; the mixture is their sum.
    estimates : Mapping of str to numpy.ndarray
        Estimates by name, mono ``(n_samples,)``.
    sample_rate : int
        Hz.

    Returns
    -------
    dict of tuple to numpy.ndarray
        ``{(estimate, stem): (n_bands,)}`` energies, and ``{("", stem): ...}`` of the true stems themselves.

    Raises
    ------
    ValueError
        The signals are not mono or not equally long.
    """
    librosa = import_librosa()
    if len({np.shape(y) for y in (*stems.values(), *estimates.values())}) != 1 or next(iter(stems.values())).ndim != 1:
        raise ValueError("stems and estimates must be mono and equally long")
    n_fft, hop = stft_grid(sample_rate)

    def spectrum(y: np.ndarray) -> np.ndarray:
        return librosa.stft(np.asarray(y, np.float32), n_fft=n_fft, hop_length=hop)

    truth = {name: spectrum(y) for name, y in stems.items()}
    mixture = np.abs(sum(truth.values()))
    hertz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    band = np.searchsorted(BANDS_HZ, hertz, side="right") - 1

    def energies(power: np.ndarray) -> np.ndarray:
        return np.bincount(band, weights=power.sum(axis=1, dtype=np.float64), minlength=len(BANDS_HZ))

    power = {name: np.abs(s) ** 2 for name, s in truth.items()}
    found = {("", name): energies(p) for name, p in power.items()}
    for name, y in estimates.items():
        mask = np.minimum(np.abs(spectrum(y)) / np.maximum(mixture, 1e-9), 1.0) ** 2
        found |= {(name, stem): energies(mask * p) for stem, p in power.items()}
    return found


def leakage_table(tracks: list[MultiTrack], estimator: Estimator) -> pd.DataFrame:
    """Levels of true stems in estimates, as means over tracks.

    Parameters
    ----------
    tracks : list of MultiTrack
        With the truth for separation.
    estimator : Estimator
        What separates.

    Returns
    -------
    pandas.DataFrame
        One row a data set, estimate and true stem: the level in dB over all bands and in each.

    Raises
    ------
    NotOfferedError
        The estimator gives no stem that the tracks have.
    """
    rows = []
    for track in tracks:
        truth = track.load()
        stems = {name: y.mean(axis=0) for name, y in truth.stems.items()}
        estimates = {name: y.mean(axis=0) for name, y in estimator.separate(truth.mixture, truth.sample_rate).items()}
        if separated_target(estimates) not in (None, *stems):  # its accompaniment is not the truth's
            del estimates[ACCOMPANIMENT]
        estimates = {name: y for name, y in estimates.items() if name in stems}
        found = leakage(stems, estimates, truth.sample_rate)
        names = ["all", *(f"{edge:g} Hz" for edge in BANDS_HZ)]
        for (estimate, stem), energy in found.items():
            if not estimate:
                continue
            own = found["", estimate]
            if not own.sum():
                continue
            levels = np.concatenate([[energy.sum() / own.sum()], energy / np.maximum(own, 1e-6 * own.sum())])
            values = dict(zip(names, 10 * np.log10(np.maximum(levels, 1e-6))))
            rows.append({"dataset": track.dataset, "estimate": estimate, "stem": stem, **values})
    if not rows:
        raise NotOfferedError(f"{estimator.name} gives no stem that these tracks have")
    table = pd.DataFrame(rows).groupby(["dataset", "estimate", "stem"], sort=False).mean()
    return table.reset_index()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracks", type=Path, help="tracks with stems, as for `stemfeatures evaluate`")
    parser.add_argument("-m", "--model", help="checkpoint or reference (default: the default checkpoint)")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    tracks = [track for track in find_tracks(args.tracks, stage="evaluate") if "separation" in track.tasks]
    table = leakage_table(tracks, get_estimator(args.model, device=args.device))
    print(table.to_string(index=False, float_format=lambda x: f"{x:.1f}"))


if __name__ == "__main__":
    main()
