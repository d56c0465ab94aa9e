"""The neighbours of every track of a features directory, as a Parquet table.

The tracks are dealt out in ranges; a task finds the neighbours of one range among all tracks, reading the index a
bounded number of rows at a time, and writes one part file. The parts appear under their final name together, when the
last one is done.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stemfeatures._util.pools import require_main_guard
from stemfeatures.errors import DatasetError
from stemfeatures.similarity.build import current_index
from stemfeatures.similarity.index import SimilarityIndex, open_index
from stemfeatures.tables.reader import open_features

from .extraction import threads

#: Tracks of a task: eight passes over the index.
RANGE = 2048
TASKS_PER_WORKER = 4
SCHEMA = pa.schema(
    [
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("neighbour_id", pa.string(), nullable=False),
        pa.field("distance", pa.float32(), nullable=False),
        pa.field("unlikeness", pa.float32()),
    ]
)


@dataclass(frozen=True)
class AllPairs:
    """What :func:`all_pairs` wrote.

    Attributes
    ----------
    path : path
        Folder of the table.
    n_tracks, n_rows : int
        Tracks of the index, rows of the table.
    n_without : int
        Tracks that have no neighbours, because a chosen stem is silent in them.
    """

    path: Path
    n_tracks: int
    n_rows: int
    n_without: int


@dataclass(frozen=True)
class RangeTask:
    """Tracks ``start`` to ``stop`` of an index, and where their neighbours go."""

    features: str
    index_dir: str
    folder: str
    start: int
    stop: int
    part: str
    question: dict[str, Any]
    metadata: dict[bytes, bytes]


def all_pairs(
    features: str | Path,
    out: str | Path,
    *,
    stems: Iterable[str] | None = None,
    families: Iterable[str] | None = None,
    unlike: Iterable[str] = (),
    weights: Mapping[str, float] | None = None,
    k: int = 10,
    exact: bool = False,
    index_dir: str | Path | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    building: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> AllPairs:
    """Write the ``k`` nearest tracks of every track to the folder ``out``, a Parquet table for any reader.

    Columns: ``track_id``, ``rank`` (1 is nearest), ``neighbour_id``, ``distance``, and ``unlikeness`` (with
    ``unlike``). What the index was made from and what was asked stands as JSON in the schema's metadata, under
    ``stemfeatures.similarity``.

    Parameters
    ----------
    features : str or path
        Features directory.
    out : str or path
        Folder of the table; it must not exist, but for ``overwrite``.
    stems, families, unlike : iterable of str, optional
        See :meth:`~stemfeatures.similarity.index.SimilarityIndex.similar`.
    weights : dict, optional
        See :meth:`~stemfeatures.similarity.index.SimilarityIndex.similar`.
    k : int, optional
        Neighbours of a track.
    exact : bool, optional
        Look at all tracks, also where the index has approximate graphs.
    index_dir : str or path, optional
        Folder of the index; default: that of the features directory.
    jobs : int, optional
        Worker processes; 1 is a plain loop in this process, None decides by the machine.
    scheduler : str, optional
        Address of a Dask scheduler whose workers see the same files.
    progress : callable, optional
        Called with the tracks that are done, and how many there are.
    building : callable, optional
        Called with the reason before the index is built; see :func:`~stemfeatures.similarity.build.current_index`.
    overwrite : bool, optional
        Replace a folder that holds nothing but such a table.

    Returns
    -------
    AllPairs
        Counts.

    Raises
    ------
    DatasetError
        The index cannot be built or lacks what was asked for, or ``out`` exists.
    ClusterError
        No such scheduler, or a worker crashed.
    """
    out = Path(out).absolute()
    if out.exists() and not (overwrite and _is_neighbours(out)):
        raise DatasetError("it exists already", source=str(out), stage="similar")
    if not out.parent.is_dir():
        raise DatasetError("there is no such directory", source=str(out.parent), stage="similar")
    dataset = open_features(features)
    index = current_index(dataset, index_dir=index_dir, building=building)
    question: dict[str, Any] = {
        "stems": None if stems is None else list(stems),
        "families": None if families is None else list(families),
        "unlike": list(unlike),
        "weights": dict(weights or {}),
        "k": k,
    }
    index.search(np.zeros(0, np.int64), **question)  # raises what the question lacks, before any worker starts
    origin = {"commit": index.commit, **index.made_from, "options": index.options, "question": question}
    metadata = {b"stemfeatures.similarity": json.dumps(origin, ensure_ascii=False).encode()}
    work = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    work.mkdir()
    try:
        n_workers = _workers(len(index), jobs, scheduler)
        size = max(1, min(RANGE, math.ceil(len(index) / (TASKS_PER_WORKER * n_workers))))
        where = str(dataset.path.absolute()), str(index.path.absolute()), index.store.folder.name
        tasks = [
            RangeTask(
                *where,
                start,
                min(start + size, len(index)),
                str(work / f"part-{i:05d}.parquet"),
                {**question, "exact": exact},
                metadata,
            )
            for i, start in enumerate(range(0, len(index), size))
        ]
        done = rows = without = 0
        for task, (n_rows, n_without) in _run(tasks, n_workers, scheduler):
            if not os.path.exists(task.part):
                raise DatasetError("a worker wrote it, but it cannot be seen here", source=task.part, stage="similar")
            done, rows, without = done + task.stop - task.start, rows + n_rows, without + n_without
            if progress is not None:
                progress(done, len(index))
        if out.exists():
            shutil.rmtree(out)
        os.rename(work, out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return AllPairs(out, len(index), rows, without)


def _is_neighbours(folder: Path) -> bool:
    """Whether a folder holds parts of such a table and nothing else."""
    return folder.is_dir() and all(path.match("part-*.parquet") for path in folder.iterdir())


def neighbours_of_range(task: RangeTask) -> tuple[int, int]:
    """Write one part; returns its rows, and how many tracks have no neighbours."""
    index = _index(task.features, task.index_dir, task.folder)
    rows = np.arange(task.start, task.stop)
    hits = index.search(rows, **task.question)
    found = np.isfinite(hits.scores)
    ranks = np.broadcast_to(np.arange(1, found.shape[1] + 1), found.shape)
    unlikeness = hits.unlikeness[found]
    table = pa.table(
        [
            pa.array(np.repeat(index.track_ids[rows], found.sum(axis=1)), pa.string()),
            pa.array(ranks[found], pa.int32()),
            pa.array(index.track_ids[hits.rows[found]], pa.string()),
            pa.array(hits.distances[found], pa.float32()),
            pa.array(unlikeness, pa.float32(), mask=np.isnan(unlikeness)),
        ],
        schema=SCHEMA.with_metadata(task.metadata),
    )
    pq.write_table(table, task.part, compression="zstd")
    return table.num_rows, int(np.count_nonzero(~found.any(axis=1)))


@lru_cache(maxsize=1)
def _index(features: str, index_dir: str, folder: str) -> SimilarityIndex:
    index = open_index(features, index_dir=index_dir)
    if index.store.folder.name != folder:
        raise DatasetError("the index was built anew meanwhile; start again", source=index_dir, stage="similar")
    return index


def _workers(n_tracks: int, jobs: int | None, scheduler: str | None) -> int:
    if jobs is not None:
        return jobs
    if n_tracks <= RANGE and scheduler is None:  # quicker than starting workers
        return 1
    from .extraction.cluster import default_jobs

    return default_jobs(math.ceil(n_tracks / RANGE))


def _run(tasks: list[RangeTask], n_workers: int, scheduler: str | None) -> Iterator[tuple[RangeTask, tuple[int, int]]]:
    """Each task with its result, as they are done; a bounded number is submitted at a time."""
    if scheduler is None and n_workers == 1:
        for task in tasks:
            with threads.single_threaded():
                yield task, neighbours_of_range(task)
        return
    from distributed import as_completed

    from .extraction.cluster import WINDOW, ClusterError, existing_scheduler, local_cluster

    require_main_guard()
    cluster = (
        local_cluster(n_workers, device="cpu") if scheduler is None else existing_scheduler(scheduler, device="cpu")[0]
    )
    with cluster:
        client = cluster.client
        window = max(2, math.ceil(WINDOW * cluster.n_workers))
        waiting = iter(tasks)
        pending = {}

        def submit() -> Any:
            task = next(waiting, None)
            if task is None:
                return None
            future = client.submit(neighbours_of_range, task, pure=False, key=f"similar-{uuid.uuid4().hex}")
            pending[future.key] = task
            return future

        running = as_completed([f for f in (submit() for _ in range(window)) if f is not None], loop=client.loop)
        for future in running:
            task = pending.pop(future.key)
            if future.status != "finished":
                error = future.exception()
                if isinstance(error, DatasetError):
                    raise error
                raise ClusterError(
                    f"tracks {task.start} to {task.stop}: {type(error).__name__}: {error}", source=cluster.address
                ) from error
            yield task, future.result()
            future.release()
            following = submit()
            if following is not None:
                running.add(following)
