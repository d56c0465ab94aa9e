"""Listeners whose taste is known by construction, and which features serve them on tracks nobody has heard yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.stems_for_recommendation.retrieval import SIZE, SMALL, interval, plain_vectors, vectors
from experiments.stems_for_recommendation.stem_mixes import COVERAGE
from experiments.stems_for_recommendation.stem_songs import StemSong, read_excerpt
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, MIXTURE, N_FFT, STEMS
from stemfeatures.datasets.annotations import Annotations, Notes
from stemfeatures.recommendation.evaluation import evaluate_models
from stemfeatures.recommendation.interactions import read_interactions
from stemfeatures.recommendation.simulation import simulate_listeners
from stemfeatures.recommendation.splits import split_interactions

#: What each taste depends on (columns of :func:`truth_of`), and the stems that should tell.
TASTES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vocal register": (("voice_pitch",), ("vocals",)),
    "groove and tempo": (("tempo_cos", "tempo_sin", "drum_rate", "swing"), ("drums",)),
    "bass": (("bass_pitch", "bass_rate"), ("bass",)),
    "key": (("key_cos", "key_sin", "key_minor"), ("bass", "other")),
    "mixture": (("brightness", "density", "dynamics"), STEMS),
}

TRUTH = "the taste itself"


@dataclass(frozen=True)
class Settings:
    """Of the simulation: see :func:`stemfeatures.recommendation.simulation.simulate_listeners`."""

    users: int = 200
    tracks_per_user: float = 20.0
    taste: float = 2.0
    popularity: float = 0.5
    cold: float = 0.35
    k: int = 10


def listening_windows(songs: Sequence[StemSong], seconds: float, *, limit: int | None = None) -> dict[str, float]:
    """By song, where an excerpt with all four stems begins; songs without one are left out."""
    found: dict[str, float] = {}
    for song in songs:
        starts = song.starts(seconds)
        worth = [min(song.coverage(stem, s, seconds) for stem in STEMS) for s in starts]
        if worth and max(worth) >= 0.5 * COVERAGE and song.bpm and song.fifths is not None:
            found[song.name] = float(starts[int(np.argmax(worth))])
        if limit is not None and len(found) >= limit:
            break
    return found


def excerpt_of(song: StemSong, start_s: float, seconds: float) -> np.ndarray:
    """The song as it is: the sum of its stems, mono at 22,050 Hz."""
    return np.sum([read_excerpt(song.folder, stem, start_s, seconds) for stem in STEMS], axis=0)


def truth_of(song: StemSong, start_s: float, seconds: float, y: np.ndarray) -> dict[str, float]:
    """What the excerpt is like by construction; brightness and dynamics are measured on the exact mixture ``y``."""
    known = song.annotations
    assert song.bpm is not None
    assert song.fifths is not None
    turn, key = 2 * np.pi * np.log2(song.bpm), 2 * np.pi * song.fifths / 12
    bass = _inside(known.notes["bass"], start_s, seconds)
    counts = {s: len(_inside(notes, start_s, seconds).start_s) for s, notes in known.notes.items()}
    size = np.abs(np.fft.rfft(_framed(y) * np.hanning(N_FFT), axis=1))
    hertz = np.arange(size.shape[1]) * ANALYSIS_SAMPLE_RATE / N_FFT
    level = 10 * np.log10((size**2).sum(axis=1) + 1e-6)
    return {
        "voice_pitch": _voice_pitch(known, start_s, seconds),
        "tempo_cos": float(np.cos(turn)),
        "tempo_sin": float(np.sin(turn)),
        "drum_rate": counts.get("drums", 0) / seconds,
        "swing": float(known.choices.get("swing") or 0.0),
        "bass_pitch": float(np.median(bass.midi)) if len(bass.midi) else np.nan,
        "bass_rate": len(bass.midi) / seconds,
        "key_cos": float(np.cos(key)),
        "key_sin": float(np.sin(key)),
        "key_minor": float(bool(song.minor)),
        "brightness": float(np.log2((size @ hertz).sum() / size.sum())),
        "density": float(np.log2(1 + sum(counts.values()) / seconds)),
        "dynamics": float(np.std(level[level > level.max() - 40])),
    }


def _voice_pitch(known: Annotations, start_s: float, seconds: float) -> float:
    """Median of the lead's F0, in octaves; NaN when it has none."""
    voices = known.f0.get("vocals") or ()
    for times, hertz in voices[:1]:
        inside = hertz[(times >= start_s) & (times < start_s + seconds) & (hertz > 0)]
        if len(inside) > 50:
            return float(np.log2(np.median(inside)))
    return float("nan")


def _inside(notes: Notes, start_s: float, seconds: float) -> Notes:
    yes = (notes.start_s >= start_s) & (notes.start_s < start_s + seconds)
    return Notes(*(column[yes] for column in notes))


def _framed(y: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(y, N_FFT)[:: 2 * HOP_LENGTH]


def representations(taste: str, tables: Mapping[str, pd.DataFrame], truth: pd.DataFrame) -> dict[str, np.ndarray]:
    """Features of the same tracks, by name, all but the taste itself of the same size."""
    ours, (columns, right) = tables["tables"], TASTES[taste]

    def of(stems: Sequence[str], matrix: pd.DataFrame = ours) -> np.ndarray:
        return vectors(matrix, stems, n_components=SIZE)

    made = {
        f"mixture {SMALL}": of([MIXTURE]),
        f"four stems {SMALL}": of(STEMS),
        f"mixture and stems {SMALL}": of((MIXTURE, *STEMS)),
    }
    if right != STEMS:
        made[f"right stems {SMALL}"] = of(right)
    if "librosa" in tables:
        made[f"librosa {SMALL}"] = plain_vectors(tables["librosa"], n_components=SIZE)
    if "true-stems" in tables:
        made[f"four stems {SMALL}, true"] = of(STEMS, tables["true-stems"])
        if right != STEMS:
            made[f"right stems {SMALL}, true"] = of(right, tables["true-stems"])
    made[TRUTH] = plain_vectors(truth[list(columns)])
    return made


def score_listeners(
    tables: Mapping[str, pd.DataFrame],
    truth: pd.DataFrame,
    *,
    seeds: Sequence[int],
    tastes: Sequence[str] = tuple(TASTES),
    settings: Settings | None = None,
) -> pd.DataFrame:
    """NDCG@k and recall@k on cold tracks of a content-only recommender: one row a taste, system and seed.

    A seed draws the listeners, what they listen to, and which tracks are cold.
    """
    settings = settings or Settings()
    rows = []
    for taste in tastes:
        columns, _ = TASTES[taste]
        made = representations(taste, tables, truth)
        for seed in seeds:
            listening = simulate_listeners(
                truth[list(columns)],
                users=settings.users,
                seed=seed,
                tracks_per_user=settings.tracks_per_user,
                taste=settings.taste,
                popularity=settings.popularity,
            )
            known = read_interactions(listening).for_tracks(truth.index)
            sides = split_interactions(known, k=1, cold_tracks=settings.cold, cold_users=0.0, seed=seed)
            trained = np.unique(sides.train.indices)
            for name, x in made.items():
                x = np.asarray(x - x[trained].mean(axis=0), np.float32)
                if name == TRUTH:
                    # The recommender divides by the length, which would leave of a single number its sign.
                    x = np.column_stack([x, np.ones(len(x), np.float32)])
                kinds = ("random", "content") if name == f"mixture {SMALL}" else ("content",)
                found = evaluate_models(
                    sides, np.asarray(truth.index, str), kinds, features=x, k=(settings.k,), seed=seed, resamples=10
                ).scores
                cold = found[found["question"] == "cold_tracks"].set_index(["model", "measure"])
                for kind in kinds:
                    rows.append(
                        {
                            "taste": taste,
                            "system": name if kind == "content" else kind,
                            "dims": x.shape[1] if kind == "content" else 0,
                            "seed": seed,
                            "users": int(cold.loc[(kind, "ndcg"), "users"]),
                            "ndcg": float(cold.loc[(kind, "ndcg"), "value"]),
                            "recall": float(cold.loc[(kind, "recall"), "value"]),
                        }
                    )
    return pd.DataFrame(rows)


def listening_summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with 95 % intervals (bootstrap over seeds), and the gain in NDCG over the mixture, paired."""
    rows = []
    for (taste, system), some in scores.groupby(["taste", "system"], sort=False):
        base = scores[(scores["taste"] == taste) & (scores["system"] == f"mixture {SMALL}")].set_index("seed")
        some = some.set_index("seed")
        row = {"taste": taste, "system": system, "dims": int(some["dims"].iloc[0]), "seeds": len(some)}
        for name in ("ndcg", "recall"):
            row[name] = some[name].mean()
            row[f"{name}_low"], row[f"{name}_high"] = interval(some[name].to_numpy())
        gain = (some["ndcg"] - base["ndcg"]).to_numpy()
        row["gain"] = gain.mean()
        row["gain_low"], row["gain_high"] = interval(gain)
        rows.append(row)
    return pd.DataFrame(rows)
