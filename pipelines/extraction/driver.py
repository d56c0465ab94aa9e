"""The driver: hands shards to an executor and commits what comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stemfeatures.errors import DatasetError
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.parts import write_part
from stemfeatures.tables.rows import Provenance

from .executor import Outcome, WorkerCrash
from .file_state import FileState
from .plan import efforts_s
from .rows import failure_row
from .summary import ExtractInterrupted, ExtractProgress, ExtractSummary, grouped
from .tasks import ShardReceipt, TrackFailure, TrackOutcome, TrackTask
from .tracing import RunTrace, failed_track


@contextmanager
def interruptible(driver: Driver) -> Iterator[None]:
    """Raise ExtractInterrupted, with what has been committed, for a KeyboardInterrupt."""
    try:
        yield
    except KeyboardInterrupt as stop:
        driver.summary.interrupted = True
        raise ExtractInterrupted(driver.summary) from stop


class Driver:
    """Commits what executors bring back, counts, and calls ``progress``.

    Parameters
    ----------
    summary : ExtractSummary
        Counts of this run are added to it.
    progress : callable or None
        Called with an :class:`~.summary.ExtractProgress`.
    tasks : list of TrackTask
        All tracks of the run.
    trace : RunTrace, optional
        Told of shards and commits.
    """

    def __init__(
        self,
        summary: ExtractSummary,
        progress: Callable[[ExtractProgress], None] | None,
        tasks: list[TrackTask],
        trace: RunTrace | None = None,
    ) -> None:
        self.summary, self.progress = summary, progress
        self._trace = trace or RunTrace(None)
        self._left = {row.track_id: 0.0 for task in tasks for row in task.same_audio}
        self._left |= dict(zip((task.track_id for task in tasks), efforts_s([task.weight_s for task in tasks])))
        self._effort_s = self._left_s = sum(self._left.values())
        self._uncommitted: dict[str, TrackOutcome] = {}  # of shards in work
        self._failures: list[TrackFailure] = []
        self._state = "starting"
        self._began: float | None = None

    def attach(self, committer: Committer, provenance: Provenance, *, device: str, n_workers: int) -> None:
        """Say where to commit to, and what the run works on."""
        self._committer, self._provenance = committer, provenance
        self.summary.run_id, self.summary.device, self.summary.n_workers = provenance.run_id, device, n_workers

    def begin(self) -> None:
        """The workers are there: from now on time counts."""
        self._began = time.monotonic()
        self.report("running")

    # --------------------------------------------------------------------------------------------------- progress

    def on_track(self, outcome: TrackOutcome) -> None:
        """Count a track whose shard is not committed yet; workers may tell of one later than their receipt does."""
        if outcome.track_id in self._left:
            self._uncommitted[outcome.track_id] = outcome
            self.report()

    def report(self, state: str | None = None) -> None:
        """Call ``progress``; with a new state, if given."""
        if state is not None:
            self._state = state
        if self.progress is None:
            return
        summary, outcomes = self.summary, self._uncommitted.values()
        elapsed_s = 0.0 if self._began is None else time.monotonic() - self._began
        left_s = max(0.0, self._left_s - sum(self._left.get(o.track_id, 0.0) for o in outcomes))
        done_s = self._effort_s - left_s
        self.progress(
            ExtractProgress(
                state=self._state,
                n_total=summary.n_total,
                n_skipped=summary.n_skipped + summary.n_known_failed,
                n_done=summary.n_done + sum(o.failure is None for o in outcomes),
                n_failed=summary.n_failed + sum(o.failure is not None for o in outcomes),
                audio_s=summary.audio_s + sum(o.audio_s for o in outcomes),
                elapsed_s=elapsed_s,
                n_workers=summary.n_workers,
                eta_s=elapsed_s * left_s / done_s if done_s > 0 and elapsed_s > 0 else None,
            )
        )

    # ----------------------------------------------------------------------------------------------------- commit

    def commit_unusable(self, rows: list[tuple[TrackTask, str]]) -> None:
        """Commit rows of the catalogue that name no local file, as rows of ``errors``."""
        if not rows:
            return
        made = [
            failure_row(task, why, self._provenance, stage="catalog", error_type="CatalogError") for task, why in rows
        ]
        self._commit_errors(made, "catalog")

    def commit(self, outcome: Outcome) -> None:
        """Commit a receipt, or the row of a track that crashed its workers."""
        if isinstance(outcome, WorkerCrash):
            rows = [
                failure_row(
                    task,
                    outcome.message,
                    self._provenance,
                    FileState.of(task.path),
                    stage=outcome.stage,
                    error_type=outcome.error_type,
                    attempt=task.attempt + outcome.crashes - 1,
                )
                for task in outcome.track.rows
            ]
            for row in rows:
                self._trace.add(failed_track(row["track_id"], f"{outcome.error_type}: {outcome.message}"))
            self._commit_errors(rows, "worker-crash")
        else:
            self._commit_receipt(outcome)

    def _commit_errors(self, rows: list[dict[str, Any]], shard: str) -> None:
        failures = [TrackFailure(*(row[f] for f in TrackFailure.__dataclass_fields__)) for row in rows]
        part = write_part(self._committer.layout, "errors", rows, shard=shard)
        self._commit_receipt(ShardReceipt(shard, [part], failures=failures))

    def _commit_receipt(self, receipt: ShardReceipt) -> None:
        for track_id in (*receipt.audio_s, *(failure.track_id for failure in receipt.failures)):
            self._uncommitted.pop(track_id, None)
        summary = self.summary
        self._trace.add(receipt.span)
        if receipt.parts:
            with self._trace.span("commit"):
                self._trace.describe(shard=receipt.name)
                result = self._committer.commit(receipt.parts, shard=receipt.name)
            summary.n_done += len(result.tracks)
            summary.n_failed += len(result.errors)
            summary.audio_s += sum(receipt.audio_s[t] for t in result.tracks)
            for status in (receipt.statuses[t] for t in result.tracks if t in receipt.statuses):
                summary.by_status[status] = summary.by_status.get(status, 0) + 1
            errors = set(result.errors)
            self._failures += [f for f in receipt.failures if f.track_id in errors]
            for track_id in (*result.tracks, *result.errors):
                self._left_s -= self._left.pop(track_id, 0.0)
        for stage, seconds in receipt.stage_s.items():
            summary.stage_s[stage] = summary.stage_s.get(stage, 0.0) + seconds
        self.report()

    def finish(self, *, interrupted: bool) -> None:
        """Record the end of the run; DatasetError if a track is neither done nor failed."""
        summary = self.summary
        self._uncommitted.clear()  # of shards that were given up
        summary.errors = grouped(self._failures)
        if self._left and not interrupted:
            raise DatasetError(
                f"{len(self._left)} tracks have no result, the first: {min(self._left)!r}", stage="worker"
            )
        summary.interrupted = bool(self._left)
        self._trace.describe(run_id=summary.run_id, n_done=summary.n_done, n_failed=summary.n_failed)
        self._committer.finish(
            status="interrupted" if summary.interrupted else "finished",
            n_skipped=summary.n_skipped + summary.n_known_failed,
            audio_s=summary.audio_s,
        )
