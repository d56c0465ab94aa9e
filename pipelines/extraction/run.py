"""Second phase of a run: start the workers, give them the shards, commit what comes back."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import COMMITS, DatasetLayout
from stemfeatures.tables.rows import Provenance

from .cluster import ClusterExecutor, existing_scheduler
from .driver import Driver, interruptible
from .executor import Executor, LoopExecutor
from .kept_cluster import KeptCluster
from .plan import DEFAULT_GPU_BATCH
from .prepare import PreparedRun, plan_tasks
from .provenance import canonical_json, git_sha, new_run_id, versions
from .stop import StopRequest
from .tasks import ShardTask


def execute(prepared: PreparedRun, driver: Driver, kept: KeptCluster | None = None) -> None:
    """Extract the tasks of a run; ``driver`` commits and counts.

    Parameters
    ----------
    prepared : PreparedRun
        With at least one row to extract.
    driver : Driver
        Its summary is complete afterwards, but for ``table_rows`` and ``wall_s``.
    kept : KeptCluster, optional
        Holds processes of this machine that stay for the next run; without it they end with this one.

    Raises
    ------
    BusyDatasetError
        Another run is at work in the dataset.
    ChangedDatasetError
        Another run has committed since this one was prepared.
    DatasetError
        The dataset cannot be written.
    ClusterError
        The workers cannot be started or reached, or do not see the files.
    ExtractInterrupted
        A second Ctrl-C, which stops at once.
    """
    driver.report("starting")
    checkpoint = prepared.checkpoint
    provenance = Provenance(
        new_run_id(), prepared.config_hash, checkpoint.name, checkpoint.sha256, **prepared.separator or {}
    )
    with interruptible(driver), ExitStack() as stack:
        kept = stack.enter_context(KeptCluster()) if kept is None else kept
        workers = _connect(prepared, kept, stack)  # before anything is written: the address may be wrong
        layout = DatasetLayout.found(prepared.out_dir.absolute())
        stop_file = f"{COMMITS}/.stop-{provenance.run_id}"
        stack.callback(_forget, layout, stop_file)

        def stopping() -> None:
            with suppress(OSError):  # then the workers end at the end of their shards
                layout.storage.replace(stop_file, b"")
            driver.report("stopping")

        stop = stack.enter_context(StopRequest(stopping))
        record = _run_record(prepared, provenance, workers)
        seen = prepared.decision.commit
        tracks = [row.track_id for task in prepared.all_tasks() for row in task.rows]
        committer = stack.enter_context(Committer(layout, record, metadata=prepared.metadata, seen=seen, tracks=tracks))
        task = _shard_template(prepared, committer.layout, provenance, workers)
        driver.attach(committer, provenance, device=workers.device, n_workers=workers.n)
        # Processes start under the committer, so that a run that is interrupted meanwhile is on record.
        executor = workers.remote or _local_executor(prepared, workers, kept, stack)
        if isinstance(executor, ClusterExecutor):
            executor.check(layout.path, task.model_path, checkpoint.sha256)
        executor.prepare(task, stop)
        driver.begin()
        driver.commit_unusable(prepared.unusable)
        shards = plan_tasks(prepared.tasks, workers.device, workers.n)
        named = (replace(task, name=f"{i:05d}", tracks=tuple(tracks)) for i, tracks in enumerate(shards))
        for outcome in executor.run(named, stop, driver.on_track):
            driver.commit(outcome)
        driver.finish(interrupted=stop.requested)


def _forget(layout: DatasetLayout, stop_file: str) -> None:
    with suppress(OSError):
        layout.storage.delete(stop_file)


@dataclass(frozen=True)
class _Workers:
    """Where the shards go: their device and number, and the executor if it is a scheduler that was there before."""

    device: str
    n: int
    remote: ClusterExecutor | None = None


def _connect(prepared: PreparedRun, kept: KeptCluster, stack: ExitStack) -> _Workers:
    if prepared.options.scheduler is None:
        device = prepared.device
        return _Workers(device, kept.size(prepared.n_workers, device=device, longest_s=prepared.longest_s))
    remote, device = existing_scheduler(prepared.options.scheduler, device=prepared.device)
    stack.enter_context(remote)
    remote.check_resources()
    return _Workers(device, max(1, remote.n_workers), remote)


def _local_executor(prepared: PreparedRun, workers: _Workers, kept: KeptCluster, stack: ExitStack) -> Executor:
    """One process needs no cluster; but a crash shall not end the run on a GPU, unless asked for, nor where a separator
    from outside is at work."""
    options = prepared.options
    if workers.n > 1 or options.leaves_this_process or (workers.device == "cuda" and options.jobs is None):
        return kept.of(workers.n, device=workers.device)
    return stack.enter_context(LoopExecutor())


def _shard_template(
    prepared: PreparedRun, layout: DatasetLayout, provenance: Provenance, workers: _Workers
) -> ShardTask:
    """A task that lacks only its name and its tracks."""
    options = prepared.options
    return ShardTask(
        name="",
        tracks=(),
        dataset=layout.path,
        model_path=str(prepared.checkpoint.path.absolute()),
        provenance=provenance,
        device=workers.device,
        batch_size=_batch_size(prepared, workers),
        tables=options.tables,
        track_timeout_s=options.track_timeout_s,
        separator=options.separator,
        limits=options.limits,
        stop_file=f"{COMMITS}/.stop-{provenance.run_id}",
        cache_bytes=options.cache_bytes,
        precision=prepared.precision,
        traced=options.tracer is not None,
    )


def _batch_size(prepared: PreparedRun, workers: _Workers) -> int:
    return prepared.options.batch_size or (DEFAULT_GPU_BATCH if workers.device.startswith("cuda") else 1)


def _found_from_anywhere(model: str | Path) -> str:
    """A checkpoint as ``retry-failed`` finds it, wherever that is started."""
    return os.path.abspath(model) if Path(model).suffix == ".safetensors" else str(model)


def _run_record(prepared: PreparedRun, provenance: Provenance, workers: _Workers) -> dict[str, Any]:
    """The row of table ``runs``, as far as it is known at the start."""
    options = prepared.options
    config = {
        "values": prepared.settings,
        "alignment": prepared.alignment,
        "tables": options.tables,
        "catalog": prepared.catalog.origin,
        "catalog_root": prepared.catalog.root,
        "model": _found_from_anywhere(options.model),
        "device": workers.device,
        "n_workers": workers.n,
        "batch_size": _batch_size(prepared, workers),
        "limit": options.limit,
        "overwrite": options.overwrite,
        "retry_failed": options.retry_failed,
        "track_timeout_s": options.track_timeout_s,
        "separator": options.separator,
        "stems_from": None if options.stems_from is None else os.path.abspath(options.stems_from),
        "keep_stems": None if options.keep_stems is None else os.path.abspath(options.keep_stems),
        "limits": vars(options.limits),
        "precision": prepared.precision,
        "precision_asked": options.precision,
    }
    return {
        "run_id": provenance.run_id,
        "config_json": canonical_json(config),
        "config_hash": prepared.config_hash,
        "versions_json": canonical_json(versions()),
        "model": prepared.checkpoint.name,
        "model_sha256": prepared.checkpoint.sha256,
        "git_sha": git_sha(),
    }
