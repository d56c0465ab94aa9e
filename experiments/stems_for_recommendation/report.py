"""The study's tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.stems_for_recommendation.retrieval import CHOSEN, SMALL, chance, rival_of
from stemfeatures.constants import MIXTURE

_COMPARED = ("right stems", f"right stems {SMALL}", CHOSEN, "right stems, true")


def retrieval_text(summary: pd.DataFrame, questions: pd.DataFrame) -> str:
    """For each set of songs, what the systems reach task by task, and by how much stems are better than the mixture."""
    text = ""
    for name, some in summary.groupby("set", sort=False):
        text += f"\n### Retrieval, {name} songs: MRR\n\n{_overview(some, 'mrr')}"
        text += f"\n### Retrieval, {name} songs: recall@3\n\n{_overview(some, 'recall_3')}"
        text += f"\n### Retrieval, {name} songs: stems less mixture, MRR\n\n{_gains(some)}"
        chosen = questions[(questions["set"] == name) & (questions["system"] == CHOSEN)]
        if len(chosen):
            said = chosen.groupby("task", sort=False)["families"].unique()
            text += "\nFamilies chosen on one half of the songs and used on the other: "
            text += "; ".join(f"{task}: {', '.join(sorted(values))}" for task, values in said.items()) + "\n"
    return text


def agreement_text(table: pd.DataFrame, name: str) -> str:
    rows = [
        [str(stem), *("" if np.isnan(v) else f"{v:.2f}" for v in row)] for stem, row in zip(table.index, table.values)
    ]
    return f"\n### Descriptors that survive separation, {name} songs\n\n" + markdown(["", *table.columns], rows)


def _overview(summary: pd.DataFrame, measure: str) -> str:
    """A row a task, a column a system."""
    names = list(dict.fromkeys(summary["system"]))
    rows = []
    for task, of in summary.groupby("task", sort=False):
        values = of.set_index("system")[measure]
        luck = chance(int(of["candidates"].min()))[measure]
        cells = [f"{values[n]:.2f}" if n in values else "" for n in names]
        rows.append([f"{task} ({of['songs'].max()})", *cells, f"{luck:.2f}"])
    return markdown(["(songs)", *names, "chance"], rows)


def _gains(summary: pd.DataFrame) -> str:
    rows = []
    for task, of in summary.groupby("task", sort=False):
        cells = of.set_index("system").to_dict("index")
        rows.append(
            [
                str(task),
                *(_with(cells[n], "gain", signed=True) if n in cells else "" for n in _COMPARED),
                *(cells[n]["mrr_by_seed"] for n in (_COMPARED[0], MIXTURE)),
            ]
        )
    return markdown(["", *_COMPARED, "MRR by seed, right stems", "MRR by seed, mixture"], rows)


def listening_text(summary: pd.DataFrame, *, n_tracks: int) -> str:
    """NDCG and recall on cold tracks, taste by taste."""
    text, rows = f"\n### Recommendation, {n_tracks} songs\n\n", []
    for taste, some in summary.groupby("taste", sort=False):
        rows.append([f"**{taste}** ({int(some['seeds'].max())} seeds)", "", "", "", ""])
        for row in some.to_dict("records"):
            gain = "" if row["system"] == rival_of(row["system"]) else _with(row, "gain", signed=True)
            dims = str(row["dims"]) if row["dims"] else ""
            rows.append([row["system"], dims, _with(row, "ndcg"), _with(row, "recall"), gain])
    return text + markdown(["", "dims", "NDCG@10", "recall@10", "NDCG less mixture"], rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _with(row: dict[str, float], name: str, *, signed: bool = False, interval: bool = True) -> str:
    value, low, high = row[name], row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
    form = "+.2f" if signed else ".2f"
    text = f"{value:{form}}"
    return text if not interval or not np.isfinite(low) else f"{text} [{low:{form}}, {high:{form}}]"
