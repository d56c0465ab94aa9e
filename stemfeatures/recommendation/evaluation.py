"""How good are recommenders? trec_eval's measures for each user, and intervals from a bootstrap over users.

Of the tracks a user listened to in the test (all that were, R of them):

- ``recall@k``: the share that is among the first k recommended; at most k/R.
- ``ndcg@k``: discounted cumulative gain with binary relevance, relative to the best possible order.
- ``map@k``: precision at the place of each hit among the first k, summed and divided by R.
- ``hit_rate@k``: whether any is among the first k.
- ``coverage@k`` is about the recommender: the share of the candidates that it recommends to anybody among the first k.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from .._util.json import plain
from ..errors import EvaluationError
from .factorization import Settings
from .fit import fit_recommender
from .names import QUESTIONS, RANKS_UNSEEN
from .ranking import recommend
from .splits import Split, TestSet

if TYPE_CHECKING:
    import pandas as pd

    from .models import ProgressCallback, Recommender

#: Our names of trec_eval's measures.
MEASURES = {"recall": "recall", "ndcg": "ndcg_cut", "map": "map_cut", "hit_rate": "success"}
#: Users whose rankings are held as Python objects at once.
_BLOCK_USERS = 2_000
CONFIDENCE = 0.95
BASELINE = "popularity"


@dataclass(frozen=True)
class Evaluation:
    """Scores of several recommenders on one split.

    Attributes
    ----------
    scores : DataFrame
        One row a model, question and measure: ``model, question, measure, k, value, low, high, users``. ``low`` and
        ``high`` bound the mean over users with 95 % confidence (NaN for coverage).
    gains : DataFrame
        The same for the difference to the popular tracks, user by user: whether ``low`` is above 0 tells more than
        whether two intervals overlap. Empty when popularity was not among the models.
    per_user : DataFrame
        ``model, question, user`` (its id, or position where ids are unknown) and a column for each measure.
    settings : dict
        Of the split and the evaluation.
    """

    scores: pd.DataFrame
    gains: pd.DataFrame
    per_user: pd.DataFrame
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """``settings, scores, gains`` as JSON types."""
        rows = [plain(table.to_dict("records")) for table in (self.scores, self.gains)]
        return {"settings": self.settings, "scores": rows[0], "gains": rows[1]}

    def __str__(self) -> str:
        return "\n\n".join(self._table(question) for question in QUESTIONS if question in set(self.scores["question"]))

    def _table(self, question: str) -> str:
        scores = self.scores[self.scores["question"] == question]
        test = self.settings["split"]["tests"][question]
        measures = list(dict.fromkeys(scores["measure"]))
        models = list(dict.fromkeys(scores["model"]))
        cells = scores.set_index(["k", "model", "measure"]).sort_index()
        lines = []
        for k in dict.fromkeys(scores["k"]):  # below each other: side by side they are wider than a terminal
            lines.append([f"@{k}", *measures])
            lines += [[str(model), *(_cell(cells.loc[k, model, name]) for name in measures)] for model in models]
        widths = [max(map(len, column)) for column in zip(*lines)]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines]
        title = [f"{_TITLES[question]}: {_count(test['users'], 'user')}, {_count(test['candidates'], 'candidate')}"]
        if whole := [str(k) for k in dict.fromkeys(scores["k"]) if k >= test["candidates"]]:
            title.append(f"(lists of {' and '.join(whole)} hold all of them: the order alone is measured)")
        return "\n".join([*title, *text])


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


_TITLES = {
    "warm": "Known users, known tracks",
    "cold_tracks": "Known users, tracks nobody has listened to",
    "cold_users": "New users with a short history, known tracks",
}


def _cell(row: pd.Series) -> str:
    if not np.isfinite(row["value"]):
        return "\N{EN DASH}"
    spread = (row["high"] - row["low"]) / 2
    return f"{row['value']:.3f}" + (f" ±{spread:.3f}" if np.isfinite(spread) else "")


def evaluate_models(
    split: Split,
    track_ids: np.ndarray,
    kinds: Iterable[str],
    *,
    features: np.ndarray | None = None,
    k: Sequence[int] = (10, 50),
    settings: Settings | None = None,
    seed: int = 0,
    resamples: int = 1000,
    user_ids: np.ndarray | None = None,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Train recommenders on ``split.train`` and score each on every question that it can answer.

    Parameters
    ----------
    split : Split
        What is learned from, and the questions that are asked.
    track_ids : np.ndarray
        (n_tracks,) ids of the catalogue.
    kinds : iterable of str
        Of ``names.KINDS``; one that cannot rank tracks without listeners gets NaN for ``cold_tracks``.
    features : (n_tracks, n_features) ndarray, optional
        Scaled alike; for content and hybrid.
    k : sequence of int
        Lengths of the list.
    settings : Settings, optional
        Of the factorisation.
    seed : int, default=0
        Of all that is random.
    resamples : int
        Of the bootstrap.
    user_ids : (n_users,) ndarray, optional
        Sorted; for implicit-bpr and ``per_user``.
    progress : ProgressCallback, optional
        See :class:`~.models.ProgressCallback`.

    Returns
    -------
    Evaluation
        Means and intervals by recommender and question.

    Raises
    ------
    EvaluationError
        ``pytrec_eval-terrier`` is not installed, or there is nothing to evaluate.
    ModelError
        See :func:`~.models.fit_recommender`.
    """
    kinds, ks = list(dict.fromkeys(kinds)), sorted(set(k))
    if not kinds or not ks or ks[0] < 1:
        raise EvaluationError("name at least one model and one length of the list, 1 or more")
    _trec_eval()  # complain before the training
    import pandas as pd

    scores: list[dict[str, Any]] = []
    per_user: list[pd.DataFrame] = []
    tuned: dict[str, float | None] = {}
    for kind in kinds:
        told: ProgressCallback | None = None
        if progress is not None:
            told = lambda what, done, total, kind=kind: progress(f"{kind}: {what}", done, total)  # noqa: E731
        model = fit_recommender(
            kind,
            split.train,
            track_ids,
            features=features,
            settings=settings,
            seed=seed,
            user_ids=user_ids,
            progress=told,
        )
        tuned[kind] = model.settings.regularization
        for done, test in enumerate(split.tests, 1):
            able = test.name != "cold_tracks" or kind in RANKS_UNSEEN
            values, coverage = score_model(model, test, ks, user_ids=user_ids) if able else (None, {})
            for measure in MEASURES:
                for at in ks:
                    one = None if values is None else values[f"{measure}@{at}"].to_numpy()
                    scores.append(_row(kind, test, measure, at, one, resamples, seed))
            for at in ks:
                share = {"value": coverage.get(at, np.nan), "low": np.nan, "high": np.nan}
                scores.append({**_row(kind, test, "coverage", at, None, resamples, seed), **share})
            if values is not None:
                per_user.append(values.assign(model=kind, question=test.name))
            if told is not None:
                told("ask", done, len(split.tests))
    if not per_user:
        raise EvaluationError(f"{', '.join(kinds)} cannot answer what this split asks: tracks without listeners")
    users = pd.concat(per_user, ignore_index=True)
    if user_ids is not None:
        users["user"] = np.asarray(user_ids)[users["user"]]
    users = users[["model", "question", "user", *(c for c in users if "@" in c)]]
    how = {
        "split": split.description,
        "k": ks,
        "seed": seed,
        "resamples": resamples,
        "confidence": CONFIDENCE,
        "train": dataclasses.asdict(settings or Settings()),
        "regularization": {kind: value for kind, value in tuned.items() if value is not None},
        "features": 0 if features is None else int(features.shape[1]),
    }
    return Evaluation(pd.DataFrame(scores), _gains(users, split, ks, resamples, seed), users, how)


def score_model(
    model: Recommender, test: TestSet, ks: Sequence[int], *, user_ids: np.ndarray | None = None
) -> tuple[pd.DataFrame, dict[int, float]]:
    """Measures of one recommender for each user of a test set (column ``user`` and ``<measure>@<k>``), and coverage."""
    import pandas as pd

    names = {f"{ours}@{k}": f"{theirs}_{k}" for ours, theirs in MEASURES.items() for k in ks}
    values = {name: np.zeros(len(test.users)) for name in names}
    shown = {k: np.zeros(len(model.track_ids), dtype=bool) for k in ks}
    ids = None if user_ids is None else user_ids[test.users]
    for ranking in recommend(model, test.history, k=max(ks), user_ids=ids, candidates=test.candidates):
        for k in ks:
            for best in ranking.tracks:
                shown[k][best[:k]] = True
        for at in range(0, len(ranking.tracks), _BLOCK_USERS):
            start = ranking.start + at
            tracks = ranking.tracks[at : at + _BLOCK_USERS]
            found = _measure(tracks, test.truth[start : start + len(tracks)], list(names.values()))
            for name, theirs in names.items():
                values[name][start : start + len(tracks)] = found[theirs]
    coverage = {k: float(shown[k].sum() / len(test.candidates)) for k in ks}
    return pd.DataFrame({"user": test.users, **values}), coverage


def _measure(tracks: list[np.ndarray], truth: sp.csr_matrix, names: Sequence[str]) -> dict[str, np.ndarray]:
    """trec_eval's measures ``names`` (``ndcg_cut_10``) of the ranked tracks of users against the rows of ``truth``."""
    length = max(map(len, tracks), default=0)
    relevant = {
        str(u): dict.fromkeys(map(str, truth.indices[truth.indptr[u] : truth.indptr[u + 1]]), 1)
        for u in range(len(tracks))
    }
    # trec_eval sorts by score and breaks ties by name; distinct whole numbers keep the order as it is.
    run = {
        str(u): {str(t): float(length - place) for place, t in enumerate(line.tolist())}
        for u, line in enumerate(tracks)
    }
    measures = {f"{m}.{k}" for m, k in (name.rsplit("_", 1) for name in names)}
    scored = _trec_eval().RelevanceEvaluator(relevant, measures).evaluate(run)
    # A user without any recommendation is absent from its answer, and has found nothing.
    return {name: np.array([scored.get(str(u), {}).get(name, 0.0) for u in range(len(tracks))]) for name in names}


def _row(
    kind: str, test: TestSet, measure: str, k: int, values: np.ndarray | None, resamples: int, seed: int
) -> dict[str, Any]:
    value, low, high = (np.nan,) * 3 if values is None else mean_interval(values, resamples=resamples, seed=seed)
    return {
        "model": kind,
        "question": test.name,
        "measure": measure,
        "k": k,
        "value": value,
        "low": low,
        "high": high,
        "users": len(test.users),
    }


def _gains(per_user: pd.DataFrame, split: Split, ks: Sequence[int], resamples: int, seed: int) -> pd.DataFrame:
    """Differences to the baseline, paired by user."""
    import pandas as pd

    rows = []
    for test in split.tests:
        asked = per_user[per_user["question"] == test.name]
        base = asked[asked["model"] == BASELINE]
        for kind, values in asked.groupby("model", sort=False):
            if kind == BASELINE or base.empty:
                continue
            for measure in MEASURES:
                for k in ks:
                    column = f"{measure}@{k}"
                    difference = values[column].to_numpy() - base[column].to_numpy()
                    rows.append(_row(str(kind), test, measure, k, difference, resamples, seed))
    return pd.DataFrame(rows, columns=["model", "question", "measure", "k", "value", "low", "high", "users"])


def mean_interval(values: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """The mean and its 95 % interval: percentiles over bootstrap samples. NaN bounds for fewer than two values."""
    from scipy.stats import bootstrap

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, np.nan, np.nan
    if np.ptp(values) == 0:
        return mean, mean, mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            batch=max(1, 2**21 // len(values)),
            vectorized=True,
            axis=-1,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return mean, float(result.confidence_interval.low), float(result.confidence_interval.high)


def _trec_eval() -> Any:
    try:
        import pytrec_eval
    except ImportError as e:
        raise EvaluationError(
            "the measures are those of trec_eval: pip install 'stemfeatures[recommend]'", stage="evaluate"
        ) from e
    return pytrec_eval
