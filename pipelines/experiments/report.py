"""The study's tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .retrieval import chance


def retrieval_text(summary: pd.DataFrame, questions: pd.DataFrame) -> str:
    """A table for each set of songs: systems by task, MRR and recall@3 with intervals."""
    text = ""
    for name, part in summary.groupby("set", sort=False):
        text += f"\n### Retrieval, {name} songs\n\n"
        rows = []
        for task, of in part.groupby("task", sort=False):
            n, songs, asked = int(of["candidates"].min()), int(of["songs"].max()), int(of["questions"].max())
            rows.append([f"**{task}** ({songs} songs, {asked} questions)", "", "", "", "", "", ""])
            for row in of.to_dict("records"):
                gain = "" if row["system"] == "mixture (d)" else _with(row, "gain", signed=True)
                seeds = row["mrr_by_seed"] if name == "generated" else ""
                cells = [_with(row, "recall_1", interval=False), _with(row, "recall_3"), _with(row, "mrr"), gain, seeds]
                rows.append([row["system"], str(row["dims"]), *cells])
            luck = chance(n)
            rows.append(
                ["chance", "", f"{luck['recall_1']:.2f}", f"{luck['recall_3']:.2f}", f"{luck['mrr']:.2f}", "", ""]
            )
        header = ["", "dims", "recall@1", "recall@3", "MRR", "MRR less mixture (d)", "MRR by seed"]
        text += markdown(header, rows)
        text += "\nFamilies chosen on the other half: "
        chosen = questions[(questions["set"] == name) & (questions["system"] == "right stem, chosen families")]
        if len(chosen):
            said = chosen.groupby("task", sort=False)["families"].unique()
            text += "; ".join(f"{task}: {', '.join(sorted(values))}" for task, values in said.items())
        text += "\n"
    return text


def listening_text(summary: pd.DataFrame, *, n_tracks: int) -> str:
    """NDCG and recall on cold tracks, taste by taste."""
    text, rows = f"\n### Recommendation, {n_tracks} songs\n\n", []
    for taste, part in summary.groupby("taste", sort=False):
        rows.append([f"**{taste}** ({int(part['seeds'].max())} seeds)", "", "", "", ""])
        for row in part.to_dict("records"):
            gain = "" if row["system"] == "mixture (d)" else _with(row, "gain", signed=True)
            dims = str(row["dims"]) if row["dims"] else ""
            rows.append([row["system"], dims, _with(row, "ndcg"), _with(row, "recall"), gain])
    return text + markdown(["", "dims", "NDCG@10", "recall@10", "NDCG less mixture (d)"], rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _with(row: dict[str, float], name: str, *, signed: bool = False, interval: bool = True) -> str:
    value, low, high = row[name], row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
    form = "+.2f" if signed else ".2f"
    text = f"{value:{form}}"
    return text if not interval or not np.isfinite(low) else f"{text} [{low:{form}}, {high:{form}}]"
