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

from .executor import Outcome, WorkerDeath
from .prefetch import FileState
from .shard import failure_row
from .summary import ExtractInterrupted, ExtractSummary, Progress, _grouped
from .tasks import ShardReceipt, TrackFailure, TrackOutcome, TrackTask


@contextmanager
def _interruptible(driver: _Driver) -> Iterator[None]:
    """A Ctrl-C that stops a run at once still tells what it has saved."""
    try:
        yield
    except KeyboardInterrupt as stop:
        driver.summary.interrupted = True
        raise ExtractInterrupted(driver.summary) from stop


class _Driver:
    """Commits what executors bring back, counts, and tells ``progress``."""

    def __init__(
        self, summary: ExtractSummary, progress: Callable[[Progress], None] | None, tasks: list[TrackTask]
    ) -> None:
        self.summary, self.progress = summary, progress
        self._left = {task.track_id: task.weight_s for task in tasks}
        self._weight_s = self._left_s = sum(self._left.values())
        self._through: dict[str, TrackOutcome] = {}  # of the shard in work, not committed yet
        self._failures: list[TrackFailure] = []
        self._state = "starting"
        self._began: float | None = None

    def begin(self, committer: Committer, provenance: Provenance) -> None:
        self._committer, self._provenance = committer, provenance
        self._began = time.monotonic()
        self.tell("running")

    # --------------------------------------------------------------------------------------------------- progress

    def on_track(self, outcome: TrackOutcome) -> None:
        self._through[outcome.track_id] = outcome
        self.tell()

    def tell(self, state: str | None = None) -> None:
        if state is not None:
            self._state = state
        if self.progress is None:
            return
        summary, through = self.summary, self._through.values()
        elapsed_s = 0.0 if self._began is None else time.monotonic() - self._began
        left_s = max(0.0, self._left_s - sum(self._left.get(o.track_id, 0.0) for o in through))
        done_s = self._weight_s - left_s
        self.progress(
            Progress(
                state=self._state,
                n_total=summary.n_total,
                n_skipped=summary.n_skipped + summary.n_known_failed,
                n_done=summary.n_done + sum(o.failure is None for o in through),
                n_failed=summary.n_failed + sum(o.failure is not None for o in through),
                audio_s=summary.audio_s + sum(o.audio_s for o in through),
                elapsed_s=elapsed_s,
                n_workers=summary.n_workers,
                eta_s=elapsed_s * left_s / done_s if done_s > 0 and elapsed_s > 0 else None,
            )
        )

    # ----------------------------------------------------------------------------------------------------- commit

    def reject(self, rows: list[tuple[TrackTask, str]]) -> None:
        """Rows of the catalogue that name no file end in ``errors``."""
        if not rows:
            return
        made = [
            failure_row(task, why, self._provenance, stage="catalog", error_type="CatalogError") for task, why in rows
        ]
        self._commit_errors(made, "catalog")

    def settle(self, outcome: Outcome) -> None:
        """Commit what became of a shard."""
        if isinstance(outcome, WorkerDeath):
            task = outcome.track
            row = failure_row(
                task,
                outcome.message,
                self._provenance,
                FileState.of(task.path),
                stage="worker",
                error_type="worker_died",
                attempt=task.attempt + outcome.deaths - 1,
            )
            self._commit_errors([row], "worker-died")
        else:
            self._commit_receipt(outcome)

    def _commit_errors(self, rows: list[dict[str, Any]], shard: str) -> None:
        failures = [TrackFailure(*(row[f] for f in TrackFailure.__dataclass_fields__)) for row in rows]
        part = write_part(self._committer.layout, "errors", rows, shard=shard)
        self._commit_receipt(ShardReceipt(shard, [part], failures=failures))

    def _commit_receipt(self, receipt: ShardReceipt) -> None:
        self._through.clear()
        summary = self.summary
        if receipt.parts:
            result = self._committer.commit(receipt.parts, shard=receipt.name)
            summary.n_done += len(result.tracks)
            summary.n_failed += len(result.errors)
            summary.audio_s += sum(receipt.audio_s[t] for t in result.tracks)
            errors = set(result.errors)
            self._failures += [f for f in receipt.failures if f.track_id in errors]
            for track_id in (*result.tracks, *result.errors):
                self._left_s -= self._left.pop(track_id, 0.0)
        for stage, seconds in receipt.stage_s.items():
            summary.stage_s[stage] = summary.stage_s.get(stage, 0.0) + seconds
        if receipt.worker:
            summary.loads[receipt.worker] = receipt.loads
        self.tell()

    def finish(self, *, interrupted: bool) -> None:
        """Record the end of the run; DatasetError if a track is neither done nor failed."""
        summary = self.summary
        summary.errors = _grouped(self._failures)
        if self._left and not interrupted:
            raise DatasetError(f"{len(self._left)} tracks were lost, the first: {min(self._left)!r}", stage="worker")
        summary.interrupted = bool(self._left)
        self._committer.finish(
            status="interrupted" if summary.interrupted else "finished",
            n_skipped=summary.n_skipped + summary.n_known_failed,
            audio_s=summary.audio_s,
        )
