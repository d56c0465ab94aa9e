"""Learn what starts of syllables look like from generated songs.

    python -m stemfeatures.lyrics.train_onsets SONGS... [-o FILE] [--held-out 4]

A song is a folder of the generator's, with ``mixture.flac`` and ``truth.json``; its vocals are separated first. Frames
within 15 ms of the start of a sung note count as starts, those further than 60 ms from any as others. Of every
``--held-out`` songs one is kept back to measure on; the weights that are written know all songs.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from .cepstra import FRAME_RATE, mel_power
from .observations import CENTRE_S, audible_frames
from .onsets import N_FEATURES, SHIPPED, onset_features
from .vocals import VocalSeparator

#: Seconds from a note within which frames are its start, and beyond which they are none.
NEAR_S, FAR_S = 0.015, 0.06
_RIDGE = 1.0
_ROUNDS = 12


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED)
    parser.add_argument("--held-out", type=int, default=4, help="0 keeps none back (default: %(default)s)")
    args = parser.parse_args(arguments)
    separator = VocalSeparator()
    examples = [found for song in args.songs if (found := _examples(song, separator)) is not None]
    if not examples:
        parser.error("no song has sung notes")
    measured = {}
    kept = [k for k in range(len(examples)) if args.held_out > 0 and k % args.held_out == 0]
    if 0 < len(kept) < len(examples):
        weights, offset = fit([e for k, e in enumerate(examples) if k not in kept])
        x, start = _joined([examples[k] for k in kept])
        measured = {"held_out_songs": len(kept), "area_under_roc": round(_area(x @ weights + offset, start), 4)}
        print(measured)
    weights, offset = fit(examples)
    made = {"songs": len(examples), **measured, "offset": round(offset, 5), "weights": np.round(weights, 5).tolist()}
    with gzip.GzipFile(args.output, "wb", mtime=0) as file:
        file.write(json.dumps(made).encode("ascii"))
    return 0


def fit(examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, float]:
    """Logistic regression by Newton's method; the offset leaves out how rare starts are.

    Parameters
    ----------
    examples : Sequence[tuple[np.ndarray, np.ndarray]]
        Of each song (n, N_FEATURES) features and (n,) bool, whether a syllable starts.

    Returns
    -------
    tuple[np.ndarray, float]
        Weights and offset of the logarithm of a ratio of likelihoods.
    """
    x, start = _joined(examples)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1).astype(np.float64)
    weights = np.zeros(N_FEATURES + 1)
    ridge = np.full(N_FEATURES + 1, _RIDGE)
    ridge[-1] = 0
    for _ in range(_ROUNDS):
        likely = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (start - likely) - ridge * weights
        curvature = (x * (likely * (1 - likely))[:, None]).T @ x + np.diag(ridge)
        weights += np.linalg.solve(curvature, gradient)
    return weights[:-1], float(weights[-1] - np.log(start.mean() / (1 - start.mean())))


def _examples(song: Path, separator: VocalSeparator) -> tuple[np.ndarray, np.ndarray] | None:
    """Features of the audible frames of a song and which are starts; None where nobody sings."""
    try:
        notes = json.loads((song / "truth.json").read_text(encoding="utf-8"))["notes"].get("vocals", [])
    except FileNotFoundError as error:
        raise DatasetError(f"no generated song: {error}", source=str(song), stage="train") from error
    if not notes:
        return None
    vocals = separator.from_file(song / "mixture.flac")
    features = onset_features(mel_power(vocals.signal))
    audible = audible_frames(vocals, len(features))
    if not audible.any():
        return None
    times = np.arange(len(features)) / FRAME_RATE + CENTRE_S
    distance = np.abs(times[:, None] - [note["start_s"] for note in notes]).min(axis=1)
    used = audible & ((distance < NEAR_S) | (distance > FAR_S))
    return features[used], distance[used] < NEAR_S


def _joined(examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([x for x, _ in examples]), np.concatenate([y for _, y in examples])


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the curve of hits against false alarms: how often a start scores higher than another frame."""
    rank = np.empty(len(scores))
    rank[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1)
    n = int(positive.sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


if __name__ == "__main__":
    raise SystemExit(main())
