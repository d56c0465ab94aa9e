"""Run an estimator over a folder of tracks with truth, and put the scores in one table.

Conventions
-----------
* The estimator gets the channels of the mixture at the file's own rate. Separation is then scored on the mono
  downmix (mean of the channels) of estimate and truth, at that rate, over the full band.
* Summaries give mean and median over the tracks of a data set that could be scored; how many could not is
  counted beside them. Data sets are never pooled.
* Where the truth has ``accompaniment`` and the estimator has not, it is the sum of the stems other than vocals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.multitrack import MultiTrack, TrackTruth, find_tracks
from ..errors import EvaluationError, ModelError
from .beats import TRIM_S, beat_scores
from .estimators import Estimator
from .f0 import f0_scores
from .separation import bss_eval, is_silent, sdr, si_sdr

if TYPE_CHECKING:
    import pandas as pd

TASKS = ("separation", "f0", "beats")
#: What a row can say of itself; only ``ok`` rows are summarised.
STATUSES = ("ok", "silent_reference", "not_offered")
KEYS = ("task", "estimator", "dataset", "track", "stem", "status")
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
    "f0": ("raw_pitch_accuracy", "raw_chroma_accuracy", "voicing_recall", "voicing_false_alarm", "overall_accuracy"),
    "beats": ("beat_f_measure", "cmlt", "amlt", "downbeat_f_measure", "tempo_acc1", "tempo_acc2"),
}
#: Columns that describe a row and are not averaged.
DETAILS = {
    "separation": ("silent_estimate", "bss_windows", "bss_nan_windows", "stems_sum_snr_db"),
    "f0": ("n_frames", "n_voiced"),
    "beats": ("reference_bpm", "estimate_bpm", "n_reference_beats", "n_estimated_beats"),
}
#: Below this SNR of the sum of the stems against the mixture, a result says so.
INEXACT_SUM_DB = 40.0
_TITLES = {
    "separation": "separation (dB; sdr, si_sdr, nsdr of the whole track; bss_* median of 1 s windows, BSS Eval v4)",
    "f0": "vocal F0 (50 cents; mir_eval)",
    "beats": "beats (mir_eval; tempo within 4 %)",
}


@dataclass
class EvaluationResult:
    """Scores by track.

    Attributes
    ----------
    table : one row per task, track and stem (``mixture`` for beats); columns ``KEYS``, then the metrics and details of
        the tasks that ran. NaN is "not measurable".
    settings : what the figures depend on.
    """

    table: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> pd.DataFrame:
        """One row per ``task, estimator, dataset, stem, metric``: ``mean, median, n`` tracks scored, ``n_skipped``.

        A track that is ``ok`` but has NaN for a metric counts as skipped for that metric alone.
        """
        import pandas as pd

        by = ["task", "estimator", "dataset", "stem"]
        rows = []
        for key, group in self.table.groupby(by, sort=False):
            for metric in METRICS[key[0]]:
                if metric in group:
                    values = group.loc[group["status"] == "ok", metric].dropna()
                    rows.append((*key, metric, values.mean(), values.median(), len(values), len(group) - len(values)))
        return pd.DataFrame(rows, columns=[*by, "metric", "mean", "median", "n", "n_skipped"])

    def to_dict(self) -> dict[str, Any]:
        """``settings``, ``summary`` and ``tracks`` as plain JSON types; NaN and infinities become None."""
        return {
            "settings": self.settings,
            "summary": [_plain(row) for row in self.summary().to_dict("records")],
            "tracks": [_plain(row) for row in self.table.to_dict("records")],
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
        """A readable table a task: mean and median over tracks by data set and stem."""
        summary = self.summary()
        parts = []
        for task in TASKS:
            rows = summary[(summary["task"] == task)]
            if rows.empty:
                continue
            keys = ["estimator", "dataset", "stem"]
            scored = rows.groupby(keys, sort=False)["n"].max()
            skipped = rows.groupby(keys, sort=False)["n_skipped"].min()
            head = [*keys, "tracks", "skipped", "over tracks", *dict.fromkeys(rows["metric"])]
            lines = [head]
            for key, group in rows.groupby(keys, sort=False):
                for i, average in enumerate(("mean", "median")):
                    values = group.set_index("metric")[average]
                    labels = [*key, str(scored[key]), str(skipped[key])] if i == 0 else [""] * 5
                    lines.append([*labels, average, *(_number(values[metric], task) for metric in head[6:])])
            shown = [i for i, name in enumerate(head) if i < 6 or any(line[i] != "-" for line in lines[1:])]
            widths = [max(len(line[i]) for line in lines) for i in shown]
            parts.append(
                "\n".join(
                    [
                        _TITLES[task],
                        *(
                            "  ".join(
                                line[i].ljust(width) if i < 3 or i == 5 else line[i].rjust(width)
                                for i, width in zip(shown, widths)
                            ).rstrip()
                            for line in lines
                        ),
                    ]
                )
            )
        notes = self._notes()
        return "\n\n".join([*parts, *([notes] if notes else [])])

    def _notes(self) -> str:
        """What the averages leave out."""
        counts = self.table.loc[self.table["status"] != "ok"].groupby(["task", "status"]).size()
        notes = [f"{task}: {n} rows {status.replace('_', ' ')}" for (task, status), n in counts.items()]
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
        if "beats" in set(self.table["task"]):
            trim_s = self.settings.get("trim_s", TRIM_S)
            notes.append(f"beats: the first {trim_s:g} s are not scored" if trim_s else "beats: scored from the start")
        return "\n".join(notes)


def evaluate(
    task: str,
    dataset_path: str | Path,
    estimator: Estimator,
    *,
    limit: int | None = None,
    museval: bool = False,
    trim_s: float = TRIM_S,
    jobs: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> EvaluationResult:
    """Score an estimator on every track that has the truth for the task.

    Parameters
    ----------
    task : ``separation``, ``f0``, ``beats`` or ``all`` (those of the three that the data hold truth for).
    dataset_path : see :func:`stemfeatures.datasets.multitrack.find_tracks`.
    estimator : see :class:`~stemfeatures.evaluation.estimators.Estimator`; must pickle if ``jobs > 1``.
    limit : take only the first ``limit`` tracks of each data set.
    museval : add BSS Eval v4 to separation; some ten times slower than the rest.
    trim_s : seconds at the start in which beats are not scored.
    jobs : processes to spread the tracks over.
    progress : called as ``progress(done, total, track name)``.

    Raises
    ------
    ValueError : unknown task.
    CatalogError : no tracks, unreadable annotations. AudioError : unreadable audio.
    ModelError : the checkpoint cannot be used. ImportError : the extra ``evaluate`` is not installed.
    EvaluationError : no track with the truth, or the estimator failed or answered something malformed; names the
        track. A score over fewer tracks than asked for is not comparable, so nothing is skipped on errors.
    """
    import pandas as pd

    if task not in (*TASKS, "all"):
        raise ValueError(f"unknown task {task!r}, expected one of {', '.join((*TASKS, 'all'))}")
    tasks = TASKS if task == "all" else (task,)
    tracks = _limited(find_tracks(dataset_path), tasks, limit)
    if not tracks:
        raise EvaluationError(f"no track here holds the truth for {task!r}", source=str(dataset_path))

    options = {"tasks": tasks, "estimator": estimator, "museval": museval, "trim_s": trim_s}
    rows: list[dict[str, Any]] = []
    for done, (track, found) in enumerate(_in_order(tracks, options, jobs), 1):
        rows += found
        if progress is not None:
            progress(done, len(tracks), track.name)
    present = [t for t in TASKS if any(row["task"] == t for row in rows)]
    columns = [*KEYS, *(column for t in present for column in (*METRICS[t], *DETAILS[t]))]
    if not museval:
        columns = [column for column in columns if not column.startswith("bss_")]
    table = pd.DataFrame(rows).reindex(columns=columns)
    # nullable types: a column of another task's rows stays integer or boolean
    integers = [column for column in columns if column.startswith("n_") or column in ("bss_windows", "bss_nan_windows")]
    table = table.astype(dict.fromkeys(integers, "Int64"))
    if "silent_estimate" in table:
        table["silent_estimate"] = table["silent_estimate"].astype("boolean")
    order = {t: i for i, t in enumerate(TASKS)}
    table = table.sort_values("task", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    settings = {
        "task": task,
        "estimator": estimator.name,
        "limit": limit,
        "museval": museval,
        "trim_s": trim_s,
        "channels": "mono downmix",
        "cent_tolerance": 50,
    }
    return EvaluationResult(table, settings)


def evaluate_track(
    track: MultiTrack,
    *,
    tasks: tuple[str, ...],
    estimator: Estimator,
    museval: bool = False,
    trim_s: float = TRIM_S,
) -> list[dict[str, Any]]:
    """The table rows of one track. Raises as :func:`evaluate`."""
    truth = track.load()
    rows: list[dict[str, Any]] = []
    for task in tasks:
        if task not in track.tasks:
            continue
        try:
            if task == "separation":
                found = _separation_rows(truth, estimator, museval)
            elif task == "f0":
                found = [_f0_row(truth, estimator)]
            else:
                found = [_beats_row(truth, estimator, trim_s)]
        except EvaluationError as error:
            raise EvaluationError(error.message, source=f"{track.dataset}/{track.name}") from error
        except (ImportError, ModelError):  # not of this track
            raise
        except Exception as error:
            raise EvaluationError(
                f"{estimator.name} failed at {task}: {type(error).__name__}: {error}",
                source=f"{track.dataset}/{track.name}",
            ) from error
        keys = {"task": task, "estimator": estimator.name, "dataset": track.dataset, "track": track.name}
        rows += [keys | row for row in found]
    return rows


def _separation_rows(truth: TrackTruth, estimator: Estimator, museval: bool) -> list[dict[str, Any]]:
    mixture = _mono(truth.mixture)
    references = {stem: _mono(signal) for stem, signal in truth.stems.items()}
    try:
        if getattr(estimator, "needs_truth", False):
            estimates = estimator.separate_with_truth(truth.mixture, truth.sample_rate, truth.stems)  # type: ignore[attr-defined]
        else:
            estimates = estimator.separate(truth.mixture, truth.sample_rate)
    except NotImplementedError:
        return [{"stem": stem, "status": "not_offered"} for stem in references]
    for stem, signal in estimates.items():
        if np.shape(signal) != truth.mixture.shape:
            raise EvaluationError(
                f"{estimator.name} returned {stem} as {np.shape(signal)}, the mixture is {truth.mixture.shape} "
                "(channels, samples)"
            )
        if not np.all(np.isfinite(signal)):
            raise EvaluationError(f"{estimator.name} returned {stem} with NaN or infinity")
    if "accompaniment" in references and "accompaniment" not in estimates and len(estimates) > 1:
        estimates = estimates | {"accompaniment": sum(s for stem, s in estimates.items() if stem != "vocals")}
    estimates = {stem: _mono(estimates[stem]) for stem in references if stem in estimates}
    bss = bss_eval({s: references[s] for s in estimates}, estimates, truth.sample_rate) if museval else {}
    sum_snr = sdr(mixture, np.sum(list(references.values()), axis=0))

    rows = []
    for stem, reference in references.items():
        row: dict[str, Any] = {"stem": stem, "status": "ok", "stems_sum_snr_db": sum_snr}
        rows.append(row)
        if is_silent(reference):
            row["status"] = "silent_reference"
        elif stem not in estimates:
            row["status"] = "not_offered"
        else:
            estimate = estimates[stem]
            row["silent_estimate"] = is_silent(estimate)
            row["sdr_db"] = sdr(reference, estimate)
            row["si_sdr_db"] = si_sdr(reference, estimate)
            row["mixture_sdr_db"] = sdr(reference, mixture)
            row["nsdr_db"] = row["sdr_db"] - row["mixture_sdr_db"]
            if museval:
                row["bss_windows"] = len(bss[stem]["sdr"])
                row["bss_nan_windows"] = int(np.isnan(bss[stem]["sdr"]).sum())
                for name, values in bss[stem].items():
                    row[f"bss_{name}_db"] = float(np.nanmedian(values)) if np.any(~np.isnan(values)) else math.nan
    return rows


def _f0_row(truth: TrackTruth, estimator: Estimator) -> dict[str, Any]:
    assert truth.f0 is not None
    times, f0_hz = truth.f0
    row: dict[str, Any] = {"stem": "vocals", "n_frames": len(times), "n_voiced": int((f0_hz > 0).sum())}
    try:
        estimate = estimator.f0(truth.mixture, truth.sample_rate)
    except NotImplementedError:
        return row | {"status": "not_offered"}
    return row | {"status": "ok"} | f0_scores(times, f0_hz, *estimate)


def _beats_row(truth: TrackTruth, estimator: Estimator, trim_s: float) -> dict[str, Any]:
    assert truth.beats is not None
    row: dict[str, Any] = {"stem": "mixture", "n_reference_beats": int((truth.beats[0] >= trim_s).sum())}
    try:
        beats_s, positions = estimator.beats(truth.mixture, truth.sample_rate)
    except NotImplementedError:
        return row | {"status": "not_offered"}
    row |= {"status": "ok", "n_estimated_beats": int((np.asarray(beats_s) >= trim_s).sum())}
    return row | beat_scores(*truth.beats, beats_s, positions, trim_s=trim_s)


def _limited(tracks: list[MultiTrack], tasks: tuple[str, ...], limit: int | None) -> list[MultiTrack]:
    """Tracks with the truth for any of the tasks; at most ``limit`` of a data set."""
    taken: list[MultiTrack] = []
    counts: dict[str, int] = {}
    for track in tracks:
        counts.setdefault(track.dataset, 0)
        if track.tasks & set(tasks) and (limit is None or counts[track.dataset] < limit):
            counts[track.dataset] += 1
            taken.append(track)
    return taken


def _in_order(
    tracks: list[MultiTrack], options: dict[str, Any], jobs: int
) -> Iterator[tuple[MultiTrack, list[dict[str, Any]]]]:
    if jobs <= 1:
        for track in tracks:
            yield track, evaluate_track(track, **options)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial

    # spawn: a forked child of a process that has run torch or BLAS threads may hang
    with ProcessPoolExecutor(min(jobs, len(tracks)), multiprocessing.get_context("spawn")) as pool:
        yield from zip(tracks, pool.map(partial(evaluate_track, **options), tracks))


def _mono(signal: np.ndarray) -> np.ndarray:
    return np.asarray(signal, np.float64).mean(axis=0)


def _number(value: float, task: str) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}" if task == "separation" else f"{value:.3f}"


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in row.items():
        value = value.item() if isinstance(value, np.generic) else value
        plain[name] = (
            value if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)) else None
        )
    return plain
