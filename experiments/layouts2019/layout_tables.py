"""The tables of the comparison of layouts: scores by track, a summary, and what a page shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.layouts2019.networks import LAYOUTS

if TYPE_CHECKING:
    import pandas as pd

#: Title, task and metrics of each table, with their digits.
TABLES = (
    ("Vocals, dB (mono, whole track)", "separation", {"sdr_db": ("SDR", 2), "nsdr_db": ("NSDR", 2)}),
    ("Vocal F0 (50 cents)", "f0", {"raw_pitch_accuracy": ("RPA", 3), "overall_accuracy": ("OA", 3)}),
    (
        "Several vocal F0 at once, tracks in which voices overlap",
        "f0",
        {"multi_f0_accuracy": ("accuracy", 3), "multi_f0_overlap_recall": ("recall in the overlap", 3)},
    ),
)


def collect(out: Path) -> pd.DataFrame | None:
    """The scores of all runs that are done, None without one."""
    import pandas as pd

    found = [pd.read_parquet(path) for path in sorted(out.glob("*-seed*/scores.parquet"))]
    return pd.concat(found, ignore_index=True) if found else None


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per ``task, dataset, metric, layout``.

    ``mean``, ``std`` over seeds (of the runs' means over tracks; std with n - 1, NaN for one seed), ``n_seeds``,
    ``n_tracks``; ``gain``, ``gain_std``: of the difference to the single task with the same seed; ``wins``: seeds in
    which it was above zero; ``parameters``, ``steps``, ``seconds`` a run.
    """
    import pandas as pd

    rows = []
    ok = scores[scores["status"] == "ok"]
    for _, task, metrics in TABLES:
        for dataset, group in ok[ok["task"] == task].groupby("dataset", sort=False):
            for metric in (name for name in metrics if name in group):
                by_run = group.groupby(["layout", "seed"])[metric].agg(["mean", "count"]).dropna()
                means = by_run["mean"].unstack("seed")
                for layout in (name for name in LAYOUTS if name in means.index):
                    row = means.loc[layout].dropna()
                    gain = (means.loc[layout] - means.loc[task]).dropna() if task in means.index else row.iloc[:0]
                    runs = scores[scores["layout"] == layout].groupby("seed").first()
                    rows.append(
                        {
                            "task": task,
                            "dataset": dataset,
                            "metric": metric,
                            "layout": layout,
                            "mean": row.mean(),
                            "std": row.std(),
                            "n_seeds": len(row),
                            "n_tracks": int(by_run.loc[layout, "count"].max()),
                            "gain": gain.mean(),
                            "gain_std": gain.std(),
                            "wins": int((gain > 0).sum()),
                            "parameters": int(runs["parameters"].iloc[0]),
                            "steps": int(runs["steps"].iloc[0]),
                            "seconds": runs["seconds"].mean(),
                        }
                    )
    return pd.DataFrame(rows)


def as_markdown(summary: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    """A table of :data:`TABLES` each, a row a layout, mean ± standard deviation over seeds (gain over the single task;
    seeds in which there was one)."""
    sections = [
        f"{plan['steps']:,} steps of {plan['batch_size']} examples of {plan['n_frames']} frames; "
        "mean ± standard deviation over seeds; in brackets the mean difference to the single task with the same seed "
        "and the number of seeds in which it was positive."
    ]
    for title, task, metrics in TABLES:
        rows = summary[(summary["task"] == task) & summary["metric"].isin(metrics)]
        if rows.empty:
            continue
        shown = list(dict.fromkeys(zip(rows["dataset"], rows["metric"])))
        tracks = rows.groupby("dataset")["n_tracks"].max()
        head = ["layout", "parameters", "seeds", "s a run"]
        head += [f"{metrics[m][0]} {d} ({tracks[d]})" for d, m in shown]
        lines = [head, ["---", *["--:"] * (len(head) - 1)]]
        for layout, group in rows.groupby("layout", sort=False):
            cells, one = group.set_index(["dataset", "metric"]), group.iloc[0]
            line = [
                str(layout).replace("_to_", " → ").replace("_stopped", ", gradient stopped"),
                f"{one['parameters'] / 1e6:.2f} M",
                str(one["n_seeds"]),
            ]
            line.append(f"{one['seconds']:.0f}")
            for key in shown:
                line.append(_cell(cells.loc[key], metrics[key[1]][1], layout == task) if key in cells.index else "")
            lines.append(line)
        sections.append(f"**{title}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(sections) + "\n"


def _cell(row: pd.Series, digits: int, is_reference: bool) -> str:
    text = f"{row['mean']:.{digits}f}" + (f" ± {row['std']:.{digits}f}" if row["n_seeds"] > 1 else "")
    if is_reference or math.isnan(row["gain"]):
        return text
    return f"{text} ({row['gain']:+.{digits}f}, {row['wins']}/{row['n_seeds']})"


def write_tables(out: Path, plan: Mapping[str, Any]) -> None:
    """Write ``scores.parquet``, ``table.csv`` and ``table.md`` of the runs that are done."""
    scores = collect(out)
    if scores is None:
        return
    scores.to_parquet(out / "scores.parquet", index=False)
    summary = summarise(scores)
    summary.to_csv(out / "table.csv", index=False)
    (out / "table.md").write_text(as_markdown(summary, plan), encoding="utf-8")
