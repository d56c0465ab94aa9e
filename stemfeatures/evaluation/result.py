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
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.json import plain
from .beats import TRIM_S
from .intervals import half_width
from .leakage import BANDS, LEVELS, SHARES, pair_name, pair_of

if TYPE_CHECKING:
    import pandas as pd

TASKS = ("separation", "f0", "beats", "presence", "leakage", "lyrics")
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
    "leakage": (*LEVELS, *SHARES),
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
    "leakage": (),
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
    "leakage": "leakage (dB against the stem that belongs there; in brackets the share of the true stem in %)",
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

        Parameters
        ----------
        results : sequence of EvaluationResult
            One or more, scored by the same settings.

        Returns
        -------
        EvaluationResult
            Task by task; ``settings["estimators"]`` has those of all.

        Raises
        ------
        ValueError
            There are none, or they were scored by different settings.
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
        """Averages over tracks.

        Returns
        -------
        pandas.DataFrame
            One row per ``task, estimator, dataset, stem, metric``: ``mean, median, mad`` (median absolute deviation)
            over the ``n`` tracks scored of ``n_groups`` artists or singers, ``ci95``, half the 95 % confidence interval
            of the mean, and ``n_skipped``, the tracks not scored. A track that is ``ok`` but has NaN for a metric
            counts as skipped for that metric alone.
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

    def against(self, estimator: str) -> EvaluationResult:
        """How much higher the others score than one of the estimators, track by track.

        Scores of two estimators on the same songs rise and fall together, so that the interval of a mean difference is
        far narrower than those of the two means: it says whether one of them is better.

        Parameters
        ----------
        estimator : str
            Name of the one that the others are compared with.

        Returns
        -------
        EvaluationResult
            One row per task, other estimator, track and stem that both have a score of: the differences of all
            metrics (also of those where less is better).

        Raises
        ------
        ValueError
            There is no such estimator, or no other.
        """
        scored = self.table[self.table["status"] == "ok"]
        first, others = scored[scored["estimator"] == estimator], scored[scored["estimator"] != estimator]
        if first.empty or others.empty:
            raise ValueError(f"nothing to compare with {estimator!r}: " + ", ".join(scored["estimator"].unique()))
        keys = ["task", "dataset", "track", "stem"]
        metrics = [m for task in TASKS for m in METRICS[task] if m in scored]
        pairs = others.merge(first[[*keys, *metrics]], on=keys, suffixes=("", " of first"))
        with np.errstate(invalid="ignore"):  # two perfect estimates do not differ by a number
            for metric in metrics:
                pairs[metric] = pairs[metric] - pairs[f"{metric} of first"]
        return EvaluationResult(in_order(pairs[[*KEYS, *metrics]]), {})

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON types.

        Returns
        -------
        dict
            ``settings``, ``summary`` and ``tracks``, the latter two as lists of rows; NaN and infinities become None.
        """
        return {
            "settings": self.settings,
            "summary": plain(self.summary().to_dict("records")),
            "tracks": plain(self.table.to_dict("records")),
        }

    def to_parquet(self, path: str | Path) -> None:
        """Write :attr:`table` to a file, with the settings as ``settings`` of its metadata.

        Parameters
        ----------
        path : str or Path
            The file; one that is there is replaced.
        """
        import json

        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.table, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), b"settings": json.dumps(self.settings).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), path)

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int | None = None) -> str:
        """A readable table a task: mean, its 95 % confidence interval and median over tracks by data set and stem.

        Parameters
        ----------
        width : int, optional
            Characters of a line. What is wider stands below each other, metric by metric; by default all columns stand
            side by side.

        Returns
        -------
        str
            Tables and notes.
        """
        summary = self.summary()
        tables = [_leakage_table if task == "leakage" else partial(_table_of, task=task) for task in TASKS]
        parts = [*(table(summary, width=width) for table in tables), _wrapped(self._notes(), width, indent="  ")]
        return "\n\n".join(part for part in parts if part)

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


def _table_of(summary: pd.DataFrame, *, task: str, width: int | None = None) -> str:
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
    lines = [[line[i] for i in shown] for line in lines]
    left = [k for k, i in enumerate(shown) if i < 3 or i == 5]
    aligned = _aligned(lines, left)
    if width is not None and max(map(len, aligned)) > width:
        aligned = _by_metric(rows, task, width)
    return "\n".join([_wrapped(_TITLES[task], width), *aligned])


def _by_metric(rows: pd.DataFrame, task: str, width: int) -> list[str]:
    """The same averages below each other, metric by metric, for lines of ``width`` characters."""
    made: list[str] = []
    for (dataset, stem), group in rows.groupby(["dataset", "stem"], sort=False):
        lines = [["metric", "estimator", "tracks", *_AVERAGES.values()]]
        for metric, of in group.groupby("metric", sort=False):
            of = of[of["n"] > 0]
            for i, row in enumerate(of.to_dict("records")):
                averages = [_number(row[average], task) for average in _AVERAGES]
                lines.append(["" if i else str(metric), row["estimator"], str(row["n"]), *averages])
        # Names of estimators give way: those of metrics say what the numbers are.
        over = max(map(len, _aligned(lines, (0, 1)))) - width
        longest = max(max(len(line[1]) for line in lines) - max(over, 0), len("estimator"))
        for line in lines:
            line[1] = line[1] if len(line[1]) <= longest else f"{line[1][: longest - 1]}…"
        skipped = group.groupby("estimator", sort=False)["n_skipped"].min()
        told = "".join(f", {n} skipped by {name}" for name, n in skipped.items() if n)
        made += ["", *_wrapped(f"{dataset}, {stem}{told}", width).split("\n"), *_aligned(lines, (0, 1))]
    return made[1:]


def _blocks(lines: list[list[str]], width: int | None) -> list[str]:
    """Lines of cells of which the first two are names; what is wider than ``width`` goes on below, with the names."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    blocks = [[0, 1]]
    for i in range(2, len(widths)):
        room = math.inf if width is None else width - sum(widths[k] + 2 for k in blocks[-1])
        if widths[i] > room and len(blocks[-1]) > 2:
            blocks.append([0, 1])
        blocks[-1].append(i)
    made: list[str] = []
    for of in blocks:
        made += ["", *_aligned([[line[i] for i in of] for line in lines], (0, 1))]
    return made[1:]


def _aligned(lines: list[list[str]], left: Sequence[int]) -> list[str]:
    """Lines of cells as text; columns ``left`` begin in one place, the others end in one."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    aligns = [str.ljust if i in left else str.rjust for i in range(len(widths))]
    return ["  ".join(align(cell, w) for align, cell, w in zip(aligns, line, widths)).rstrip() for line in lines]


def _wrapped(text: str, width: int | None, *, indent: str = "") -> str:
    """Lines of running text, within ``width``."""
    if width is None:
        return text
    wrapper = textwrap.TextWrapper(width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    return "\n".join(map(wrapper.fill, text.splitlines()))


def _leakage_table(summary: pd.DataFrame, *, width: int | None = None) -> str:
    """A matrix a band, estimates down and true stems across: levels with their intervals, and shares."""
    rows = summary[(summary["task"] == "leakage") & (summary["n"] > 0)]
    parts = []
    for (dataset, estimator), group in rows.groupby(["dataset", "estimator"], sort=False):
        values = {(row.stem, row.metric): row for row in group.itertuples()}
        pairs = [pair_of(name) for name in dict.fromkeys(group["stem"])]
        sources, estimates = (list(dict.fromkeys(names)) for names in zip(*pairs))
        lines = [["band", "estimate", *(f"of {source}" for source in sources)]]
        for band, level, share in zip(BANDS, LEVELS, SHARES):
            for estimate in estimates:
                cells = [_leak(values, pair_name(source, estimate), level, share) for source in sources]
                lines.append([band if estimate == estimates[0] else "", estimate, *cells])
        tracks = int(group["n"].max())
        head = f"{dataset}, {estimator}, {tracks} track{'s' if tracks > 1 else ''}"
        parts.append("\n".join([_wrapped(head, width), *_blocks(lines, width)]))
    return "\n".join([_wrapped(_TITLES["leakage"], width), *parts]) if parts else ""


def _leak(values: Mapping[tuple[str, str], Any], name: str, level: str, share: str) -> str:
    """``-12.1 ±3.0 (4)``."""
    found = values.get((name, level))
    if found is None or math.isnan(found.mean):
        return "-"
    interval = "" if math.isnan(found.ci95) else f" ±{found.ci95:.1f}"
    part = values.get((name, share))
    return f"{found.mean:.1f}{interval} ({100 * part.mean:.0f})" if part is not None else f"{found.mean:.1f}{interval}"


def _number(value: float | None, task: str) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}" if task == "separation" else f"{value:.3f}"
