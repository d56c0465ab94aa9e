"""Scores by track, their averages, and how they are shown.

Notes
-----
* NaN is "not measurable", never a number that stands for it. A metric is averaged over the tracks that have it, and
  how many have not is counted beside the average.
* Mean, median and median absolute deviation are over the tracks of one data set; data sets are never pooled. BSS Eval
  is the median over windows first, so its ``median`` is the "median of medians" of the SiSEC and most papers.
* The confidence interval of a mean is over artists or singers where the data set names them, else over tracks
  (:mod:`.intervals`).
* Silent references are not scored and not hidden: their number is told, and how loud the estimates are there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.json import plain
from .beats import TRIM_S
from .intervals import half_width

if TYPE_CHECKING:
    import pandas as pd

TASKS = ("separation", "f0", "beats", "presence", "lyrics")
#: What a row can say of itself; only ``ok`` rows are summarised.
STATUSES = ("ok", "silent_reference", "not_offered")
KEYS = ("task", "estimator", "dataset", "track", "group", "stem", "status")
#: Score columns by task, in the order they are shown.
METRICS = {
    "separation": (
        "sdr_db",
        "si_sdr_db",
        "nsdr_db",
        "mixture_sdr_db",
        "bss_sdr_db",
        "bss_isr_db",
        "bss_sir_db",
        "bss_sar_db",
    ),
    "f0": (
        "raw_pitch_accuracy",
        "raw_chroma_accuracy",
        "voicing_recall",
        "voicing_false_alarm",
        "overall_accuracy",
        "rpa_steady",
        "rpa_moving",
        "rpa_fast",
        "multi_f0_precision",
        "multi_f0_recall",
        "multi_f0_accuracy",
        "multi_f0_chroma_accuracy",
        "multi_f0_error_score",
        "multi_f0_overlap_recall",
    ),
    "beats": ("beat_f_measure", "cmlt", "amlt", "downbeat_f_measure", "tempo_acc1", "tempo_acc2"),
    "presence": ("presence_f_measure", "presence_precision", "presence_recall", "presence_false_alarm"),
    "lyrics": (
        "absolute_error_mean_s",
        "absolute_error_median_s",
        "within_0.1_s",
        "within_0.3_s",
        "correct_duration",
        "perceptual",
        "words_timed",
    ),
}
#: Columns that describe a row and are not averaged.
DETAILS = {
    "separation": ("silent_estimate", "leakage_db", "bss_windows", "bss_nan_windows", "stems_sum_snr_db"),
    "f0": ("n_frames", "n_voiced", "n_steady", "n_moving", "n_fast", "n_overlap"),
    "beats": ("reference_bpm", "estimate_bpm", "n_reference_beats", "n_estimated_beats"),
    "presence": ("n_playing", "n_silent"),
    "lyrics": ("error_median_s", "lead_s", "n_words"),
}
#: Below this SNR of the sum of the stems against the mixture, a result says so.
INEXACT_SUM_DB = 40.0
#: How averages are called where they are shown.
_AVERAGES = {"mean": "mean", "ci95": "±95 %", "median": "median"}
_TITLES = {
    "separation": "separation (dB; sdr, si_sdr, nsdr of the whole track; bss_* median of 1 s windows, BSS Eval v4)",
    "f0": "vocal F0 (50 cents; mir_eval; rpa_* by speed of pitch; multi_f0_* where annotated voices overlap)",
    "beats": "beats (mir_eval; tempo within 4 %)",
    "presence": "presence (frames in which a stem plays, less than 40 dB below the mixture)",
    "lyrics": "lyrics (starts of words; mir_eval)",
}


@dataclass
class EvaluationResult:
    """Scores by track.

    Attributes
    ----------
    table : pd.DataFrame
        One row per task, track and stem (``mixture`` for beats); columns ``KEYS``, then the metrics and details of the
        tasks that ran. NaN is "not measurable".
    settings : dict[str, Any], default={}
        What the figures depend on; ``estimators`` says of each its version, weights and voicing threshold.
    """

    table: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def join(cls, results: Sequence[EvaluationResult]) -> EvaluationResult:
        """Several estimators on the same tracks as one table.

        Raises ValueError if there are none, or if they were scored by different settings.
        """
        import pandas as pd

        common, *others = [{k: v for k, v in r.settings.items() if k != "estimators"} for r in results] or [{}]
        if not results or any(other != common for other in others):
            raise ValueError("only results of the same settings can be joined")
        columns = dict.fromkeys(column for r in results for column in r.table.columns)
        # columns that hold nothing would decide types by their emptiness
        tables = [r.table.dropna(axis="columns", how="all") for r in results]
        table = pd.concat(tables, ignore_index=True).reindex(columns=list(columns))
        estimators = {name: of for r in results for name, of in r.settings.get("estimators", {}).items()}
        return cls(in_order(table), common | {"estimators": estimators})

    def summary(self) -> pd.DataFrame:
        """One row per ``task, estimator, dataset, stem, metric``.

        ``mean, median, mad`` (median absolute deviation) over the ``n`` tracks scored of ``n_groups`` artists or
        singers, ``ci95``, half the 95 % confidence interval of the mean, and ``n_skipped``, the tracks not scored.
        A track that is ``ok`` but has NaN for a metric counts as skipped for that metric alone.
        """
        import pandas as pd

        by = ["task", "estimator", "dataset", "stem"]
        rows = []
        for key, group in self.table.groupby(by, sort=False):
            for metric in METRICS[key[0]]:
                if metric in group:
                    scored = group.loc[group["status"] == "ok"].dropna(subset=metric)
                    values = scored[metric]
                    with np.errstate(invalid="ignore"):  # a perfect estimate has an infinite SDR
                        deviation = (values - values.median()).abs().median()
                    interval = half_width(values.to_numpy(), scored["group"].to_numpy())
                    averages = values.mean(), values.median(), deviation, interval
                    counts = len(values), scored["group"].nunique(), len(group) - len(values)
                    rows.append((*key, metric, *averages, *counts))
        names = ("metric", "mean", "median", "mad", "ci95", "n", "n_groups", "n_skipped")
        return pd.DataFrame(rows, columns=[*by, *names])

    def to_dict(self) -> dict[str, Any]:
        """``settings``, ``summary`` and ``tracks`` as plain JSON types; NaN and infinities become None."""
        return {
            "settings": self.settings,
            "summary": plain(self.summary().to_dict("records")),
            "tracks": plain(self.table.to_dict("records")),
        }

    def to_parquet(self, path: str | Path) -> None:
        """Write :attr:`table`; the settings go to ``settings`` of the file's metadata."""
        import json

        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.table, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), b"settings": json.dumps(self.settings).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), path)

    def __str__(self) -> str:
        """A readable table a task: mean, its 95 % confidence interval and median over tracks by data set and stem."""
        summary = self.summary()
        parts = [_shown(summary, task) for task in TASKS]
        return "\n\n".join(part for part in (*parts, self._notes()) if part)

    def _offered(self, estimator: str) -> set[str]:
        """The tasks that the estimator has at least one score in."""
        rows = self.table[(self.table["estimator"] == estimator) & (self.table["status"] != "not_offered")]
        return set(rows["task"])

    def _notes(self) -> str:
        """What the averages leave out."""
        notes = []
        left_out = self.table.loc[self.table["status"] != "ok"]
        for (task, status), rows in left_out.groupby(["task", "status"], sort=False):
            if status == "not_offered":
                names = ", ".join(dict.fromkeys(rows["estimator"]))
                notes.append(f"{task}: {len(rows)} rows not offered ({names})")
            else:
                notes.append(f"{task}: {len(rows)} rows with a {status.replace('_', ' ')}, not scored")
        if "leakage_db" in self.table:
            for name, rows in self.table.dropna(subset="leakage_db").groupby("estimator", sort=False):
                level = rows["leakage_db"].median()
                notes.append(f"{name}: where the reference is silent, the estimate is at {level:.0f} dB of the mixture")
        if "bss_nan_windows" in self.table and self.table["bss_windows"].sum() > 0:
            nan, windows = int(self.table["bss_nan_windows"].sum()), int(self.table["bss_windows"].sum())
            notes.append(f"bss: {nan} of {windows} windows without a value (a silent second of any stem) left out")
        if "stems_sum_snr_db" in self.table:
            sums = self.table.groupby(["dataset", "track"], sort=False)["stems_sum_snr_db"].first()
            notes += [
                f"{dataset}/{track}: the stems sum to the mixture at {snr:.1f} dB only"
                for (dataset, track), snr in sums.items()
                if snr < INEXACT_SUM_DB
            ]
        for name, of in self.settings.get("estimators", {}).items():
            if "f0" in self._offered(name) and of.get("voicing"):
                notes.append(f"f0: {name} counts a frame as voiced: {of['voicing']}")
        if "beats" in set(self.table["task"]):
            trim_s = self.settings.get("trim_s", TRIM_S)
            notes.append(f"beats: the first {trim_s:g} s are not scored" if trim_s else "beats: scored from the start")
        return "\n".join(notes)


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Task by task; columns in the order of the tasks, counts and flags in nullable types."""
    present = [task for task in TASKS if (table["task"] == task).any()]
    columns = [*KEYS, *(column for task in present for column in (*METRICS[task], *DETAILS[task]))]
    columns = [column for column in columns if column in table or not column.startswith(("bss_", "multi_f0_"))]
    table = table.reindex(columns=columns)
    # nullable: a column of another task's rows stays integer or boolean
    integers = [column for column in columns if column.startswith("n_") or column.endswith("_windows")]
    table = table.astype(dict.fromkeys(integers, "Int64"))
    flags = [column for column in columns if column == "silent_estimate"]
    numbers = [column for column in columns if column not in (*KEYS, *integers, *flags)]
    table = table.astype(dict.fromkeys(flags, "boolean") | dict.fromkeys(numbers, "float64"))
    order = {task: i for i, task in enumerate(TASKS)}
    return table.sort_values("task", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _shown(summary: pd.DataFrame, task: str) -> str:
    """Averages of one task by data set, stem and estimator as lines; empty if there are none."""
    rows = summary[summary["task"] == task]
    keys = ["dataset", "stem", "estimator"]
    rows = rows[rows.groupby("estimator")["n"].transform("max") > 0]
    if rows.empty:
        return ""
    # estimators of one stem below each other, whatever order they were scored in
    place = rows.groupby(["dataset", "stem"], sort=False).ngroup().to_numpy()
    rows = rows.iloc[np.argsort(place, kind="stable")]
    head = [*keys, "tracks", "skipped", "over tracks", *dict.fromkeys(rows["metric"])]
    lines = [head]
    for key, group in rows.groupby(keys, sort=False):
        by_metric = group.set_index("metric")
        for i, average in enumerate(("mean", "ci95", "median")):
            if not by_metric[average].notna().any():
                continue
            counts = [str(group["n"].max()), str(group["n_skipped"].min())]
            labels = [*key, *counts] if i == 0 else [""] * 5
            values = by_metric[average].to_dict()
            lines.append([*labels, _AVERAGES[average], *(_number(values.get(metric), task) for metric in head[6:])])
    shown = [i for i, name in enumerate(head) if i < 6 or any(line[i] != "-" for line in lines[1:])]
    widths = [max(len(line[i]) for line in lines) for i in shown]
    text = [
        "  ".join(line[i].ljust(w) if i < 3 or i == 5 else line[i].rjust(w) for i, w in zip(shown, widths)).rstrip()
        for line in lines
    ]
    return "\n".join([_TITLES[task], *text])


def _number(value: float | None, task: str) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}" if task == "separation" else f"{value:.3f}"
