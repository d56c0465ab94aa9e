"""Does it help to weigh stems by how far their separation can be trusted? On mixes whose stems are known.

    python benchmarks/weighing.py [--songs 12] [--mixes 48] [--seconds 16] [--seed 98600]

Generates songs (needs the train extra) and makes mixes, each of the vocals, drums, bass and other of four songs, at
levels that deviate by ``--spread`` dB, so that some stems can be trusted far better than others. Their vectors are made
as they are, and with ``weigh_by_separation``. Prints, by stem, the latter two with the gain and its 95 % interval:

* regression: slope of the true coordinates on those of the separated stem (without level and activity) in the thirds of
  the mixes with the least, middle and highest ``separation_sdr_db``, and the weight that they get;
* retrieval: mean average precision of the mixes with the same stem, by the distance in that stem;
* listeners: each likes the quarter of the mixes that have most of a random direction in the vectors of the true stem
  (without level and activity). A recommender of kind ``content`` knows what of it is in one half of the mixes; area
  under the curve of the others, with vectors of all four stems.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from stemfeatures import audio
from stemfeatures.analysis import Analyser
from stemfeatures.constants import STEMS
from stemfeatures.descriptors.types import TrackDescription
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.song import generate_song
from stemfeatures.recommendation.fit import fit_recommender
from stemfeatures.recommendation.ranking import recommend
from stemfeatures.similarity.visitors import matrix_row
from stemfeatures.vectors.columns import family_of, matrix_columns, split_column, trust_column
from stemfeatures.vectors.transformer import FeatureTransformer

RATE = 44_100
#: What is not of the music in a stem.
NOT_TASTE = ("activity", "loudness")
WAYS = ("plain", "weighed")
#: Listeners who have heard the same mixes.
TOGETHER = 10


@dataclass
class Mixes:
    """Mixes, and which song each stem of them is of.

    Attributes
    ----------
    source : dict
        ``{stem: (n_mixes,) numbers of songs}``.
    found, true : DataFrame
        (n_mixes, n_columns) of the separated stems, with trust; (n_songs, n_columns) of the true stems.
    """

    source: dict[str, np.ndarray]
    found: pd.DataFrame
    true: pd.DataFrame


def columns() -> list[str]:
    """Those of the four stems in a feature matrix, and their trust."""
    known = matrix_columns().values()
    return [f"{s}__{c.name}" for s in STEMS for c in known if c.field.holds_for(s)] + [trust_column(s) for s in STEMS]


def stems_of_songs(n: int, seed: int, seconds: float) -> list[dict[str, np.ndarray]]:
    """Mono stems of equal power of songs in which all four play."""
    songs: list[dict[str, np.ndarray]] = []
    k = 0
    while len(songs) < n:
        style = DRAWN_STYLES[(5 * k) % len(DRAWN_STYLES)]
        song = generate_song(seed + k, duration_s=seconds, style=style, lineup="full")
        mono = {stem: audio.to_mono(y)[: int(seconds * RATE)] for stem, y in song.stems.items()}
        power = {stem: float(np.mean(np.square(y))) for stem, y in mono.items()}
        if min(power.values()) > 1e-8:
            songs.append({stem: 0.05 * y / np.sqrt(power[stem]) for stem, y in mono.items()})
        k += 1
    return songs


def make(songs: list[dict[str, np.ndarray]], n_mixes: int, spread_db: float, rng: np.random.Generator) -> Mixes:
    """Analyse the mixes, and the stems of the songs as they are."""
    analyser, names = Analyser(), columns()

    def row(description: TrackDescription) -> pd.DataFrame:
        return matrix_row(description, names)

    n = min(len(y) for song in songs for y in song.values())
    rounds = -(-n_mixes // len(songs))
    source = {s: np.concatenate([rng.permutation(len(songs)) for _ in range(rounds)])[:n_mixes] for s in STEMS}
    found = []
    for k in range(n_mixes):
        levels = 10 ** (rng.normal(0, spread_db, len(STEMS)) / 20)
        y = np.sum([level * songs[source[s][k]][s][:n] for s, level in zip(STEMS, levels)], axis=0)
        found.append(row(analyser.from_audio((y / max(1.0, np.abs(y).max())).astype(np.float32), RATE)))
    true = []
    for song in songs:
        stems = {s: y[:n].astype(np.float32) for s, y in song.items()}
        true.append(row(analyser.from_audio(np.sum([*stems.values()], axis=0), RATE, stems=stems)))
    return Mixes(source, pd.concat(found, ignore_index=True), pd.concat(true, ignore_index=True))


def vectors(frame: pd.DataFrame, way: str, *, stem: str | None = None, without: tuple[str, ...] = ()) -> np.ndarray:
    """Of all columns, or of those of one stem, with or without trust."""
    trust = [trust_column(s) for s in STEMS]
    chosen = [c for c in frame.columns if c not in trust and family_of(split_column(c)[1]) not in without]
    chosen = [c for c in chosen if stem is None or split_column(c)[0] == stem]
    return FeatureTransformer().fit_transform(frame[chosen + (trust if way == "weighed" else [])])


def slopes(mixes: Mixes, stem: str) -> list[tuple[float, float, float]]:
    """By thirds: median of ``separation_sdr_db``, slope of true coordinates on measured ones, mean weight."""
    names = [c for c in mixes.found.columns if c != trust_column(stem) and split_column(c)[0] == stem]
    names = [c for c in names if family_of(split_column(c)[1]) not in NOT_TASTE]
    scaler = FeatureTransformer(missing="neutral").fit(mixes.found[names])
    x, y = scaler.transform(mixes.found[names]), scaler.transform(mixes.true[names])[mixes.source[stem]]
    sdr_db = mixes.found[trust_column(stem)].to_numpy(np.float64)
    order = np.argsort(sdr_db)[: np.isfinite(sdr_db).sum()]
    found = []
    for rows in np.array_split(order, 3):
        a, b = x[rows] - x[rows].mean(axis=0), y[rows] - y[rows].mean(axis=0)
        weight = 1 / (1 + 10 ** (-sdr_db[rows] / 10))
        found.append((float(np.median(sdr_db[rows])), float((a * b).sum() / (a * a).sum()), float(weight.mean())))
    return found


def precisions(x: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Average precision of each row that another of the same source is found by."""
    found = []
    for k, row in enumerate(x):
        distance = np.linalg.norm(x - row, axis=1)
        distance[k] = np.inf
        order = np.argsort(distance, kind="stable")[:-1]
        ranks = np.flatnonzero(same[order] == same[k]) + 1
        if len(ranks):
            found.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return np.array(found)


def areas(x: dict[str, np.ndarray], taste: np.ndarray, n_listeners: int, rng: np.random.Generator) -> np.ndarray:
    """(n_listeners, n_ways) area under the curve of what each likes among what was not heard, ten with one history."""
    n = len(taste)
    ids = np.array([f"{k:04d}" for k in range(n)])
    found: list[np.ndarray] = []
    while sum(map(len, found)) < n_listeners:
        heard = rng.permutation(n) < n // 2
        rest = np.flatnonzero(~heard)
        utility = taste @ rng.standard_normal((taste.shape[1], TOGETHER)) + 1e-9 * rng.standard_normal((n, TOGETHER))
        liked = (utility >= np.quantile(utility, 0.75, axis=0)).T
        liked = liked[(liked & heard).any(axis=1) & (liked & ~heard).any(axis=1)]
        if len(liked):
            history = sp.csr_matrix((liked & heard).astype(np.float32))
            found.append(np.stack([_areas(x[way], ids, history, rest, liked[:, rest]) for way in WAYS], axis=1))
    return np.concatenate(found)[:n_listeners]


def _areas(x: np.ndarray, ids: np.ndarray, history: sp.csr_matrix, rest: np.ndarray, liked: np.ndarray) -> np.ndarray:
    model = fit_recommender("content", history, ids, features=(x - x.mean(axis=0)).astype(np.float32))
    tracks = np.concatenate([ranking.tracks for ranking in recommend(model, history, k=len(rest), candidates=rest)])
    places = np.argsort(tracks, axis=1)  # of the candidates, which are sorted
    n_liked = liked.sum(axis=1)
    above = (places * liked).sum(axis=1) - n_liked * (n_liked - 1) / 2
    return np.asarray(1 - above / (n_liked * (~liked).sum(axis=1)))


def line(name: str, plain: np.ndarray, weighed: np.ndarray) -> str:
    """A row of the table."""
    gain = weighed - plain
    half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
    return f"{name:<22}{plain.mean():>8.3f}{weighed.mean():>9.3f}{gain.mean():>9.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--mixes", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=16.0, help="length of the mixes")
    parser.add_argument("--spread", type=float, default=8.0, metavar="DB", help="deviation of the levels of stems")
    parser.add_argument("--listeners", type=int, default=200, help="who care for a stem")
    parser.add_argument("--seed", type=int, default=98_600, help="number of the first song")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    songs = stems_of_songs(args.songs, args.seed, args.seconds)
    mixes = make(songs, args.mixes, args.spread, np.random.default_rng(args.seed))
    for stem in STEMS:
        parts = (f"{sdr_db:.1f} dB: {slope:.2f}, {weight:.2f}" for sdr_db, slope, weight in slopes(mixes, stem))
        print(f"{f'regression, {stem}':<22}", "; ".join(parts))
    print(f"{'':<22}{'plain':>8}{'weighed':>9}{'gain':>9}")
    for stem in STEMS:
        x = {way: vectors(mixes.found, way, stem=stem) for way in WAYS}
        print(line(f"retrieval, {stem}", *(precisions(x[way], mixes.source[stem]) for way in WAYS)), flush=True)
    x, rng = {way: vectors(mixes.found, way) for way in WAYS}, np.random.default_rng(1)
    for stem in STEMS:
        taste = vectors(mixes.true, "plain", stem=stem, without=NOT_TASTE)[mixes.source[stem]]
        found = areas(x, taste - taste.mean(axis=0), args.listeners, rng)
        print(line(f"listeners, {stem}", found[:, 0], found[:, 1]), flush=True)


if __name__ == "__main__":
    main()
