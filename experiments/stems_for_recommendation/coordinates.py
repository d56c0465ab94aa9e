"""Which families of descriptors should be coordinates of vectors? By what is found without one, on mixes of a study.

    python -m experiments.stems_for_recommendation.coordinates STUDY [--table true-stems]

STUDY is the folder of :mod:`.stems_for_recommendation`, after its stages ``mixes`` and ``true-stems`` (or ``extract``,
for ``--table tables``). Two mixes share a stem, and one looks for the other by the vector of that stem. Prints, for
each stem, the mean reciprocal rank with all families; the gain where a family is left out, with its 95 % interval from
a bootstrap over base songs; and a greedy selection, chosen on one half of the base songs and scored on the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import stemfeatures
from experiments.stems_for_recommendation.retrieval import Question, interval, questions, ranks, vectors
from experiments.stems_for_recommendation.stem_mixes import read_plan
from stemfeatures.constants import STEMS
from stemfeatures.vectors.columns import family_of, scalar_families, split_column

ALL = "all families"


def families_of(matrix: pd.DataFrame, stem: str) -> tuple[str, ...]:
    """Families that a stem has columns of, embeddings aside, in the order of the tables."""
    there = {family_of(field) for row, field in map(split_column, matrix.columns) if row == stem}
    return tuple(family for family in scalar_families() if family in there)


def reciprocal_ranks(matrix: pd.DataFrame, stem: str, asked: Sequence[Question], families: Sequence[str]) -> pd.Series:
    """Mean reciprocal rank of each base song by the vectors of some families of a stem."""
    found = 1 / ranks(vectors(matrix, [stem], families=families), asked)
    return pd.Series(found).groupby([q.base for q in asked]).mean()


def left_out(matrix: pd.DataFrame, stem: str, asked: Sequence[Question], *, seed: int = 0) -> pd.DataFrame:
    """What leaving out a family changes.

    Parameters
    ----------
    matrix : pd.DataFrame
        Features, a mix a row.
    stem : str
        Whose vectors are compared.
    asked : sequence of Question
        Of mixes that share it.
    seed : int, default=0
        Of the bootstrap.

    Returns
    -------
    pd.DataFrame
        ``family, mrr, gain, low, high``: the first row is that of all families, whose gain is 0.
    """
    families = families_of(matrix, stem)
    whole = reciprocal_ranks(matrix, stem, asked, families)
    rows = [{"family": ALL, "mrr": whole.mean(), "gain": 0.0, "low": 0.0, "high": 0.0}]
    for family in families if len(families) > 1 else ():
        without = reciprocal_ranks(matrix, stem, asked, [f for f in families if f != family])
        low, high = interval((without - whole).to_numpy(), seed=seed)
        gain = float((without - whole).mean())
        rows.append({"family": family, "mrr": without.mean(), "gain": gain, "low": low, "high": high})
    return pd.DataFrame(rows)


def greedy(matrix: pd.DataFrame, stem: str, asked: Sequence[Question]) -> tuple[str, ...]:
    """Families added one by one, each time the one that helps most, until none does.

    Parameters
    ----------
    matrix : pd.DataFrame
        Features, a mix a row.
    stem : str
        Whose vectors are compared.
    asked : sequence of Question
        Of mixes that share it.

    Returns
    -------
    tuple of str
        In the order in which they were added.
    """
    chosen: tuple[str, ...] = ()
    best, rest = 0.0, list(families_of(matrix, stem))
    while rest:
        scores = [float(reciprocal_ranks(matrix, stem, asked, (*chosen, family)).mean()) for family in rest]
        if max(scores) <= best:
            break
        best = max(scores)
        chosen = (*chosen, rest.pop(int(np.argmax(scores))))
    return chosen


def halves(asked: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """Questions of every second base song, and of the others."""
    place = {base: i for i, base in enumerate(sorted({q.base for q in asked}))}
    even = [q for q in asked if place[q.base] % 2 == 0]
    return even, [q for q in asked if place[q.base] % 2]


def report(matrix: pd.DataFrame, stem: str, asked: Sequence[Question]) -> None:
    """Print what a stem's families are worth."""
    print(f"\n{stem}: {len(asked)} questions of {len({q.base for q in asked})} songs, {len(matrix)} mixes")
    print(left_out(matrix, stem, asked).to_string(index=False, float_format="{:.3f}".format))
    for chosen_on, scored_on in (halves(asked), halves(asked)[::-1]):
        if chosen_on and scored_on:
            chosen = greedy(matrix, stem, chosen_on)
            score = reciprocal_ranks(matrix, stem, scored_on, chosen).mean()
            whole = reciprocal_ranks(matrix, stem, scored_on, families_of(matrix, stem)).mean()
            print(f"chosen on the other half: {score:.3f} (all: {whole:.3f})  {', '.join(chosen)}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--table", choices=("true-stems", "tables"), default="true-stems")
    args = parser.parse_args(arguments)
    if args.table == "tables":
        matrix = stemfeatures.features_matrix(args.study / "features", families=scalar_families())
    else:
        matrix = pd.read_parquet(args.study / "true-stems.parquet")
    mixes = read_plan(args.study / "mixes.json")
    asked = questions(mixes, [str(track) for track in matrix.index])
    for stem in STEMS:
        if mine := [q for q in asked if q.task == f"{stem} shared"]:
            report(matrix, stem, mine)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
