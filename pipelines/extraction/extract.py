"""From a catalogue of audio to committed feature tables.

>>> from pipelines import extract_catalog
>>> summary = extract_catalog("catalog.csv", "new_features")
>>> summary.n_done, summary.n_failed
(1, 0)

The driver (this module) reads the catalogue, leaves out what is done, plans shards, and commits the receipts that an
executor brings back; it alone decides what counts. Every row of the catalogue ends in exactly one of ``tracks`` and
``errors``. See :mod:`pipelines.catalog` for what a catalogue is, :mod:`.resume` for what is left out, :mod:`.cluster`
for where the work is done.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from stemfeatures._util.pools import require_main_guard
from stemfeatures.errors import DatasetError, ModelError
from stemfeatures.models import checkpoints
from stemfeatures.tables.committer import Committer
from stemfeatures.tables.layout import COMMITS, DatasetLayout
from stemfeatures.tables.reader import open_features
from stemfeatures.tables.rows import Provenance
from stemfeatures.tables.schema import DATA_TABLES

from ..catalog import Catalog, declared_durations, file_trouble, path_trouble, printable, read_catalog
from ..catalog.types import CatalogSpec
from .cluster import ClusterExecutor, default_jobs, existing_scheduler, local_cluster, visible_gpus
from .driver import _Driver, _interruptible
from .executor import Executor, LoopExecutor, StopRequest
from .plan import LIMITS, ShardLimits, estimate_duration_s, plan_shards
from .prefetch import FileState
from .provenance import canonical_json, digest, git_sha, new_run_id, value_settings, versions
from .resume import Decision, decide, existing_dataset, metadata_fields, plain
from .summary import ExtractInterrupted, ExtractSummary, PlannedShard, Progress, _grouped
from .tasks import ShardTask, TrackFailure, TrackTask

log = logging.getLogger(__name__)

DEFAULT_GPU_BATCH = 8
#: Starting a process takes seconds; by default there is one for so many tracks.
TRACKS_WORTH_A_PROCESS = 4


def extract_catalog(
    catalog: CatalogSpec,
    out_dir: str | Path,
    *,
    model: str | Path = checkpoints.DEFAULT_MODEL,
    device: str = "auto",
    jobs: int | None = None,
    scheduler: str | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    tables: Iterable[str] | None = None,
    retry_failed: bool = True,
    progress: Callable[[Progress], None] | None = None,
    track_timeout_s: float | None = None,
) -> ExtractSummary:
    """Extract the features of every track of a catalogue into a features directory.

    Goes on where an earlier run into the same directory stopped, however it stopped. With several processes, call it
    under ``if __name__ == "__main__":``.

    Parameters
    ----------
    catalog : manifest, folder, glob pattern, files or DataFrame; see :mod:`pipelines.catalog`.
    out_dir : features directory; made if there is none. Workers on other machines must see it under the same path.
    model : name of a checkpoint, or path to one.
    device : ``"cpu"``, ``"cuda"``, ``"cuda:1"``..., or ``"auto"``: CUDA where there is any.
    jobs : processes on this machine. 1: everything in this process. Default: one for each GPU, or for each core as far
        as the memory reaches. From 2 on (and by default on a GPU) a track that crashes its process is found out and
        ends in ``errors``; with 1 it takes the run with it.
    scheduler : address of a Dask scheduler to use instead, e.g. ``"tcp://head:8786"``. For CUDA each of its workers
        must have been started with ``--nthreads 1 --resources "GPU=1"``.
    batch_size : segments a forward pass; default 1 on a CPU, where it makes values independent of what else is
        extracted, and 8 on a GPU.
    overwrite : extract rows that are done again, and replace all that the dataset holds of them.
    dry_run : only plan; nothing is written.
    limit : only the first rows of the catalogue.
    tables : data tables to write besides ``tracks``: ``stems``, ``contours``, ``events``, ``embeddings``. Default: all.
        A later run with more of them extracts anew; one with fewer leaves what is there as it is.
    retry_failed : try again what an earlier run put into ``errors``.
    progress : called with a :class:`Progress` as things happen, in the thread that called this function.
    track_timeout_s : wall-clock limit for a single track; default 10 minutes and ten times its length.

    Raises
    ------
    CatalogError : the catalogue cannot be read, is empty, or two rows share an id or a file.
    ModelError : there is no such checkpoint, or a worker cannot load it.
    DatasetError : ``out_dir`` is a file or no features directory, cannot be written, or another run is at work in it.
    ClusterError : no such scheduler, no workers, or they lack a GPU.
    ExtractInterrupted : Ctrl-C or SIGTERM, after what was finished has been committed. A second Ctrl-C stops at once.
    """
    started = time.monotonic()
    require_main_guard()
    _check_arguments(jobs, batch_size, scheduler)
    wanted = _tables(tables)
    out_dir = Path(out_dir)
    _require_folder(out_dir)
    whole = read_catalog(catalog)
    whole.require_unique()
    layout = existing_dataset(out_dir)
    # Types come from the whole catalogue, so that a trial with a few rows does not settle them.
    metadata = metadata_fields(whole, layout)
    chosen = whole if limit is None else read_catalog(whole, limit=limit)
    checkpoint, _ = checkpoints.resolve_analysis(model)
    settings = value_settings(checkpoint.sha256)
    config_hash = digest(settings)
    decision = decide(
        chosen,
        layout,
        config_hash=config_hash,
        model_sha256=checkpoint.sha256,
        tables=wanted,
        overwrite=overwrite,
        retry_failed=retry_failed,
    )
    tasks, unusable = _tasks(chosen, decision)
    if scheduler is None:
        device = _local_device(device)
    n_workers = 1 if scheduler is not None else _n_local(jobs, device, len(tasks))
    summary = ExtractSummary(
        run_id=None,
        out_dir=out_dir,
        n_total=len(chosen),
        n_skipped=len(decision.done),
        n_known_failed=len(decision.known_failed),
        n_metadata_changed=decision.metadata_changed,
        device=device,
        n_workers=n_workers,
        model=checkpoint.name,
    )
    if dry_run or not decision.todo:
        if dry_run:
            tasks, failures = _foresee(tasks, unusable)
            summary.errors = _grouped(failures)
            plan = plan_shards([t.weight_s for t in tasks], _limits(device), n_workers=n_workers)
            summary.planned = [_planned(i, [tasks[k] for k in some]) for i, some in enumerate(plan)]
        summary.table_rows = {} if layout is None else open_features(layout.path).counts()
        summary.wall_s = time.monotonic() - started
        return summary

    driver = _Driver(summary, progress, tasks)
    driver.tell("starting")
    provenance = Provenance(new_run_id(), config_hash, checkpoint.name, checkpoint.sha256)
    model_path = str(checkpoint.path.absolute())
    with _interruptible(driver), ExitStack() as stack:
        remote: ClusterExecutor | None = None
        if scheduler is not None:  # before anything is written: the address may be wrong
            remote, device = existing_scheduler(scheduler, device=device)
            stack.enter_context(remote)
            remote.check_resources()
            n_workers = max(1, remote.n_workers)
        layout = DatasetLayout.create(out_dir.absolute(), metadata=metadata)
        batch_size = batch_size or (DEFAULT_GPU_BATCH if device.startswith("cuda") else 1)
        stop_file = layout.path / COMMITS / f".stop-{provenance.run_id}"
        stack.callback(stop_file.unlink, missing_ok=True)
        blueprint = ShardTask(
            name="",
            tracks=(),
            dataset=str(layout.path),
            model_path=model_path,
            provenance=provenance,
            device=device,
            batch_size=batch_size,
            tables=wanted,
            track_timeout_s=track_timeout_s,
            stop_file=str(stop_file),
        )
        plan = plan_shards([t.weight_s for t in tasks], _limits(device), n_workers=n_workers)
        shards = [
            replace(blueprint, name=f"{i:05d}", tracks=tuple(tasks[k] for k in some)) for i, some in enumerate(plan)
        ]
        config = {
            "values": settings,
            "tables": wanted,
            "catalog": chosen.origin,
            "catalog_root": chosen.root,
            "model": str(model),
            "device": device,
            "n_workers": n_workers,
            "batch_size": batch_size,
            "limit": limit,
            "overwrite": overwrite,
            "retry_failed": retry_failed,
            "track_timeout_s": track_timeout_s,
        }
        run = {
            "run_id": provenance.run_id,
            "config_json": canonical_json(config),
            "config_hash": config_hash,
            "versions_json": canonical_json(versions()),
            "model": checkpoint.name,
            "model_sha256": checkpoint.sha256,
            "git_sha": git_sha(),
        }

        def stopping() -> None:
            stop_file.touch()
            driver.tell("stopping")

        stop = stack.enter_context(StopRequest(stopping))
        committer = stack.enter_context(Committer(layout, run))
        summary.run_id, summary.device, summary.n_workers = provenance.run_id, device, n_workers
        # Processes start under the committer, so that a run that is interrupted meanwhile is on record.
        executor: Executor
        if remote is not None:
            executor = remote
        elif _needs_cluster(n_workers, jobs, device):
            executor = stack.enter_context(local_cluster(n_workers, device=device))
        else:
            executor = stack.enter_context(LoopExecutor(driver.on_track))
        if isinstance(executor, ClusterExecutor):
            executor.check(str(layout.path), model_path, checkpoint.sha256)
        executor.prepare(blueprint)
        driver.begin(committer, provenance)
        driver.reject(unusable)
        for outcome in executor.run(shards, stop):
            driver.settle(outcome)
        driver.finish(interrupted=stop.requested)
    summary.table_rows = open_features(layout.path).counts()
    summary.wall_s = time.monotonic() - started
    if summary.interrupted:
        raise ExtractInterrupted(summary)
    driver.tell("finished")
    return summary


# -------------------------------------------------------------------------------------------------------- planning


def _check_arguments(jobs: int | None, batch_size: int | None, scheduler: str | None) -> None:
    for name, value in (("jobs", jobs), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if jobs is not None and scheduler is not None:
        raise ValueError("jobs are processes of this machine, and a scheduler has its own workers: give one of the two")


def _require_folder(out_dir: Path) -> None:
    """DatasetError when the directory, or one above it, is something else."""
    for path in (out_dir, *out_dir.absolute().parents):
        if path.is_dir():
            return
        if os.path.lexists(path):
            what = "is a file, not a folder" if path.is_file() else "is no folder"
            raise DatasetError(what, source=printable(os.fspath(path)))


def _tables(tables: Iterable[str] | None) -> tuple[str, ...]:
    wanted = {"tracks", *(DATA_TABLES if tables is None else tables)}
    if unknown := sorted(wanted - set(DATA_TABLES)):
        raise ValueError(f"unknown table {unknown[0]!r}; there are: {', '.join(DATA_TABLES)}")
    return tuple(name for name in DATA_TABLES if name in wanted)


def _tasks(catalog: Catalog, decision: Decision) -> tuple[list[TrackTask], list[tuple[TrackTask, str]]]:
    """The tracks to extract, and those that no worker need look at, with the reason."""
    frame = catalog.frame.iloc[decision.todo]
    declared = declared_durations(catalog)
    names = catalog.metadata_columns
    columns = [frame["track_id"], frame["source_uri"], frame["path"], *(frame[name] for name in names)]
    tasks: list[TrackTask] = []
    unusable: list[tuple[TrackTask, str]] = []
    for i, track_id, uri, path, *cells in zip(decision.todo, *(column.tolist() for column in columns)):
        task = TrackTask(
            track_id,
            uri,
            path or "",
            metadata=dict(zip(names, map(plain, cells))),
            attempt=decision.attempts.get(track_id, 0) + 1,
        )
        if (trouble := path_trouble(uri, path)) is not None:
            unusable.append((task, trouble[1]))
        else:
            state = FileState.of(path)
            weight_s = estimate_duration_s(path, state.size if state else None, declared[i])
            tasks.append(replace(task, weight_s=weight_s))
    return tasks, unusable


def _foresee(
    tasks: list[TrackTask], unusable: list[tuple[TrackTask, str]]
) -> tuple[list[TrackTask], list[TrackFailure]]:
    """The tracks whose files are there, and failures of the others, as far as a look at the folders tells."""
    failures = [TrackFailure(t.track_id, t.source_uri, "catalog", "CatalogError", why) for t, why in unusable]
    usable = []
    for task in tasks:
        if (trouble := file_trouble(task.path)) is None:
            usable.append(task)
        else:
            failures.append(TrackFailure(task.track_id, task.source_uri, "decode", *trouble))
    return usable, failures


def _planned(index: int, tracks: list[TrackTask]) -> PlannedShard:
    ids = tuple(t.track_id for t in tracks)
    return PlannedShard(f"{index:05d}", len(tracks), sum(t.weight_s for t in tracks), ids)


def _limits(device: str) -> ShardLimits:
    return LIMITS["cuda" if device.startswith("cuda") else "cpu"]


def _local_device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device!r} was asked for, but PyTorch sees no CUDA device here", stage="device")
    return device


def _n_local(jobs: int | None, device: str, n_tracks: int) -> int:
    """Processes on this machine: one for each GPU; else ``jobs``, or what it can carry and the tracks are worth."""
    if device == "cuda":
        gpus = len(visible_gpus())
        if jobs is not None and jobs > gpus:
            log.warning("%d jobs were asked for, but there are %d GPUs: one process each", jobs, gpus)
        return min(jobs or gpus, gpus)
    if device != "cpu":  # a certain GPU
        return 1
    return jobs or default_jobs(n_tracks // TRACKS_WORTH_A_PROCESS)


def _needs_cluster(n_workers: int, jobs: int | None, device: str) -> bool:
    """One process needs no cluster; but on a GPU, unless asked for, a crash shall not end the run."""
    return n_workers > 1 or (device == "cuda" and jobs is None)


# ---------------------------------------------------------------------------------------------------------- driver
