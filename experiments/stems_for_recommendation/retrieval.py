"""Ranking mixes by what they share: which features bring the wanted mix to the top."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.stems_for_recommendation.stem_mixes import Mix
from stemfeatures.constants import MIXTURE, STEMS
from stemfeatures.similarity.build import WEIGHTS
from stemfeatures.vectors.columns import all_families, family_of, scalar_families, split_column
from stemfeatures.vectors.transformer import FeatureTransformer, UnusableFeatureWarning

#: What the two mixes of a pair share, and the kinds they are of.
TASKS: dict[str, tuple[str, str]] = {
    **{f"{s} shared": ("original", f"{s}-shared") for s in STEMS},
    **{f"{s} swapped": ("original", f"{s}-swapped") for s in STEMS},
    "another excerpt": ("original", "excerpt"),
    "transposed": ("original", "transposed"),
}
RESAMPLES = 2000
#: Size of the vectors that are compared at equal size, and what names of such systems end in.
SIZE = 32
SMALL = f"({SIZE})"
CHOSEN = "right stem, chosen families"


@dataclass(frozen=True)
class Question:
    """One mix looks for one other; ``ignored`` share something with it as well and count neither way."""

    task: str
    base: str
    group: int
    query: int
    wanted: int
    ignored: np.ndarray


def questions(mixes: Sequence[Mix], track_ids: Sequence[str]) -> list[Question]:
    """All pairs of :data:`TASKS`, asked both ways. Places are those in ``track_ids``.

    Whatever else holds one of the shared stems of that song is ignored. Other mixes of the song, such as the one in
    which just the stem in question is exchanged, have to be ranked below: they are the hardest rivals.
    """
    place = {track: i for i, track in enumerate(track_ids)}
    mixes = [m for m in mixes if m.mix_id in place]
    by_base: dict[str, dict[str, Mix]] = {}
    for mix in mixes:
        by_base.setdefault(mix.base, {})[mix.kind] = mix
    found = []
    for base, of in by_base.items():
        for task, (first, second) in TASKS.items():
            if first not in of or second not in of:
                continue
            a, b = place[of[first].mix_id], place[of[second].mix_id]
            holds = {place[m.mix_id] for m in mixes if any(Path(m.stems[s].song).name == base for s in stems_of(task))}
            ignored = np.array(sorted(holds - {a, b}), np.int64)
            found += [Question(task, base, of[first].group, q, w, ignored) for q, w in ((a, b), (b, a))]
    return found


def stems_of(task: str) -> tuple[str, ...]:
    """The stems that the two mixes of a pair have in common."""
    stem, _, what = task.partition(" ")
    if what == "shared":
        return (stem,)
    return tuple(s for s in STEMS if what != "swapped" or s != stem)


def vectors(
    matrix: pd.DataFrame,
    stems: Sequence[str],
    *,
    families: Sequence[str] | None = None,
    n_components: int | None = None,
) -> np.ndarray:
    """Vectors as the similarity index makes them, of some columns of a feature matrix (all families but the embedding
    by default); PCA on demand."""
    families = scalar_families() if families is None else families
    columns = [split_column(c) for c in matrix.columns]
    keep = [stem in stems and family_of(field) in families for stem, field in columns]
    present = {family_of(field) for (_, field), yes in zip(columns, keep) if yes}
    weights = {family: weight for family, weight in WEIGHTS.items() if family in present}
    if (matrix.loc[:, keep].nunique() < 2).all():
        return np.zeros((len(matrix), 1))  # of a stem that plays in none of the mixes: all are alike
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusableFeatureWarning)
        return np.asarray(
            FeatureTransformer(weights=weights, n_components=n_components).fit_transform(matrix.loc[:, keep])
        )


def plain_vectors(matrix: pd.DataFrame, *, n_components: int | None = None) -> np.ndarray:
    """Vectors of columns that no table knows: scaled robustly, each with one voice; PCA on demand."""
    return np.asarray(FeatureTransformer(n_components=n_components).fit_transform(matrix.astype(np.float64)))


def ranks(x: np.ndarray, asked: Sequence[Question]) -> np.ndarray:
    """Rank of the wanted mix of each question, from 1, by Euclidean distance; ties count against it."""
    x = np.asarray(x, np.float64)
    squares = (x**2).sum(axis=1)
    found = np.empty(len(asked))
    for i, question in enumerate(asked):
        distance = squares - 2 * x @ x[question.query]
        rival = distance <= distance[question.wanted] + 1e-12
        rival[[question.query, question.wanted, *question.ignored]] = False
        found[i] = 1 + rival.sum()
    return found


class Systems:
    """Vectors to compare, each made once for all tasks.

    ``tables`` holds the matrix of the ``tables`` (with embeddings) and, as far as they are there, those of
    ``true-stems`` and ``librosa``.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self.tables = tables
        self._made: dict[tuple[object, ...], np.ndarray] = {}

    def vectors(
        self,
        table: str,
        stems: Sequence[str],
        *,
        families: tuple[str, ...] | None = None,
        n_components: int | None = None,
    ) -> np.ndarray:
        """:func:`vectors` of one of the tables."""
        key = (table, tuple(stems), families, n_components)
        if key not in self._made:
            self._made[key] = vectors(self.tables[table], stems, families=families, n_components=n_components)
        return self._made[key]

    def of(self, task: str) -> dict[str, list[np.ndarray]]:
        """Vectors for a task, by name; several under one name are averaged after scoring.

        ``(32)`` in a name: reduced to :data:`SIZE` dimensions by PCA.
        """
        right = stems_of(task)
        wrong = [s for s in STEMS if s not in right]
        made = {
            "right stems": [self.vectors("tables", right)],
            MIXTURE: [self.vectors("tables", [MIXTURE])],
            "mixture with embedding": [self.vectors("tables", [MIXTURE], families=all_families())],
        }
        if wrong:
            made["all stems"] = [self.vectors("tables", STEMS)]
            made["wrong stems"] = [self.vectors("tables", [s]) for s in wrong]
        if "librosa" in self.tables:
            made["librosa"] = [plain_vectors(self.tables["librosa"])]
        made[f"right stems {SMALL}"] = [self.vectors("tables", right, n_components=SIZE)]
        made[f"mixture {SMALL}"] = [self.vectors("tables", [MIXTURE], n_components=SIZE)]
        if wrong:
            made[f"all stems {SMALL}"] = [self.vectors("tables", STEMS, n_components=SIZE)]
        if "true-stems" in self.tables:
            made["right stems, true"] = [self.vectors("true-stems", right)]
        return made


def score(asked: Sequence[Question], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a question and system: ``task, system, dims, base, group, rank, candidates, mrr, recall_1, recall_3``."""
    rows = []
    systems = Systems(tables)
    for task in TASKS:
        mine = [q for q in asked if q.task == task]
        if not mine:
            continue
        for name, several in systems.of(task).items():
            found = np.array([ranks(x, mine) for x in several])
            rows.append(_frame(mine, name, found, several[0].shape[1], len(several[0])))
        if len(stems_of(task)) == 1 and len({q.base for q in mine}) > 3:
            rows.append(chosen_families(mine, tables["tables"], stems_of(task)))
    return pd.concat(rows, ignore_index=True)


def chosen_families(asked: Sequence[Question], matrix: pd.DataFrame, stems: Sequence[str]) -> pd.DataFrame:
    """Families chosen on one half of the base songs and scored on the other, and the other way round."""
    there = [f for f in all_families() if any(_is(c, stems, f) for c in matrix.columns)]
    subsets = [s for n in range(1, len(there) + 1) for s in combinations(there, n)]
    half = {base: i % 2 for i, base in enumerate(sorted({q.base for q in asked}))}
    side = np.array([half[q.base] for q in asked])
    found, dims = {}, {}
    for subset in subsets:
        x = vectors(matrix, stems, families=subset)
        found[subset], dims[subset] = ranks(x, asked), x.shape[1]
    rows = []
    for other in (0, 1):
        best = max(subsets, key=lambda s: (1 / found[s][side != other]).mean())
        mine = [q for q in asked if half[q.base] == other]
        frame = _frame(mine, CHOSEN, found[best][side == other][None], dims[best], len(matrix))
        rows.append(frame.assign(families="+".join(best)))
    return pd.concat(rows, ignore_index=True)


def _is(column: str, stems: Sequence[str], family: str) -> bool:
    stem, field = split_column(column)
    return stem in stems and family_of(field) == family


def _frame(asked: Sequence[Question], system: str, found: np.ndarray, dims: int, n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": [q.task for q in asked],
            "system": system,
            "dims": dims,
            "base": [q.base for q in asked],
            "group": [q.group for q in asked],
            "query": [q.query for q in asked],
            "candidates": [n - 1 - len(q.ignored) for q in asked],
            "rank": np.median(found, axis=0),
            "mrr": (1 / found).mean(axis=0),
            "recall_1": (found <= 1).mean(axis=0),
            "recall_3": (found <= 3).mean(axis=0),
        }
    )


def agreement(ours: pd.DataFrame, true: pd.DataFrame) -> pd.DataFrame:
    """How well descriptors survive separation: Spearman's correlation, over mixes, of a column with the same column of
    the true stems; the median over the columns of each stem (rows) and family (columns)."""
    rows = []
    for column in ours.columns.intersection(true.columns):
        both = pd.concat([ours[column], true[column]], axis=1).dropna()
        if len(both) > 10 and both.nunique().min() > 2:
            stem, field = split_column(column)
            value = float(both.rank().corr().iloc[0, 1])
            rows.append({"stem": stem, "family": family_of(field), "correlation": value})
    table = pd.DataFrame(rows).pivot_table(index="stem", columns="family", values="correlation", aggfunc="median")
    return table.reindex(index=[s for s in STEMS if s in table.index])


def summary(scores: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Means by task and system with 95 % intervals from a bootstrap over base songs, and by seed.

    ``gain`` is the difference in MRR to the mixture, of equal size for those of :data:`SIZE` dimensions, song by song,
    with its interval.
    """
    rows = []
    for (task, system), some in scores.groupby(["task", "system"], sort=False):
        rival = scores[(scores["task"] == task) & (scores["system"] == rival_of(str(system)))]
        difference = some.groupby("base")["mrr"].mean() - rival.groupby("base")["mrr"].mean()
        row = {"task": task, "system": system, "dims": int(some["dims"].max())}
        row |= {"songs": some["base"].nunique(), "questions": len(some), "candidates": int(some["candidates"].min())}
        for name in ("recall_1", "recall_3", "mrr"):
            by_song = some.groupby("base")[name].mean().to_numpy()
            row[name] = by_song.mean()
            row[f"{name}_low"], row[f"{name}_high"] = interval(by_song, seed=seed)
        row["gain"] = difference.mean()
        row["gain_low"], row["gain_high"] = interval(difference.to_numpy(), seed=seed)
        row["mrr_by_seed"] = " ".join(f"{v:.2f}" for v in some.groupby("group")["mrr"].mean())
        rows.append(row)
    return pd.DataFrame(rows)


def rival_of(system: str) -> str:
    """The features of the mixture that a system is compared with."""
    return f"mixture {SMALL}" if system.endswith(SMALL) else MIXTURE


def interval(values: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean; NaN for fewer than two values."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def chance(candidates: int) -> dict[str, float]:
    """What random order would give with so many candidates, one of them wanted."""
    return {
        "recall_1": 1 / candidates,
        "recall_3": 3 / candidates,
        "mrr": float((1 / np.arange(1, candidates + 1)).mean()),
    }
