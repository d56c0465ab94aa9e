"""From a catalogue of audio to committed feature tables.

>>> from pipelines import extract_catalog
>>> summary = extract_catalog("catalog.csv", "new_features")
>>> summary.n_done, summary.n_failed
(1, 0)

A run has two phases: :func:`~.prepare.prepare` reads the catalogue, leaves out what is done (:mod:`.resume`) and
collects tasks; :func:`~.run.execute` gives them in shards to an executor (:mod:`.executor`, :mod:`.cluster`) and
commits the receipts that come back (:mod:`.driver`). Every row of the catalogue ends in exactly one of ``tracks`` and
``errors``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stemfeatures._util.pools import require_main_guard
from stemfeatures._util.urls import Place, place_of
from stemfeatures.audio import AudioLimits
from stemfeatures.errors import ChangedDatasetError, DatasetError
from stemfeatures.models import checkpoints
from stemfeatures.models.precision import AUTO
from stemfeatures.tables.compact import compact_if_many
from stemfeatures.tables.reader import open_features

from ..catalog import Portions, portions_of
from ..catalog.remote import CACHE_BYTES
from ..catalog.types import CatalogSpec
from .driver import Driver
from .fork_server import start_fork_server
from .kept_cluster import KeptCluster
from .prepare import ExtractOptions, PreparedRun, data_tables, foresee, prepare
from .resume import existing_dataset
from .run import execute
from .stop import ends_as_ctrl_c
from .summary import ExtractInterrupted, ExtractProgress, ExtractSummary
from .tracing import RunTrace

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

#: Small parts that portions leave side by side; of more they are merged before the next one.
MOST_PARTS = 4096


def extract_catalog(
    catalog: CatalogSpec,
    out_dir: str | Place,
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
    progress: Callable[[ExtractProgress], None] | None = None,
    track_timeout_s: float | None = None,
    separator: str | None = None,
    stems_from: str | Path | None = None,
    keep_stems: str | Path | None = None,
    on_duplicate: str = "error",
    limits: AudioLimits | None = None,
    cache_bytes: int = CACHE_BYTES,
    precision: str = AUTO,
    tracer: Tracer | None = None,
) -> ExtractSummary:
    """Extract the features of every track of a catalogue into a features directory.

    Goes on where an earlier run into the same directory stopped, however it stopped. A manifest of more than 50,000
    rows is planned and extracted a portion at a time, each as a run of its own by the same processes, and small files
    are merged in between when there are many (:func:`~stemfeatures.tables.compact.compact`). With several processes,
    or a ``separator``, call it under ``if __name__ == "__main__":``.

    Parameters
    ----------
    catalog : str, path, sequence of paths, DataFrame or Catalog
        Manifest, folder, glob pattern, files or table; see :mod:`pipelines.catalog`.
    out_dir : str or path
        Features directory; made if there is none. Workers on other machines must see it under the same path. Also an
        address of a store, such as ``"s3://bucket/features"``.
    model : str or path, optional
        Name of a checkpoint, or path to one.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``..., or ``"auto"``: CUDA where there is any, unless the cores are faster,
        which is measured, once for a machine, where there are 200 tracks and more.
    jobs : int, optional
        Processes on this machine; they share the GPUs. 1: everything in this process. Default: one for each core as far
        as the memory of the machine and of its GPUs reaches, and one for each GPU at least. From 2 on (by default on
        a GPU, and with a ``separator``) a track that crashes its process is identified and ends in ``errors``; with 1
        it ends the run.
    scheduler : str, optional
        Address of a Dask scheduler to use instead, e.g. ``"tcp://head:8786"``. For CUDA each of its workers must have
        been started with ``--nthreads 1 --resources "GPU=1"``.
    batch_size : int, optional
        Segments a forward pass; default 1 on a CPU, where it makes values independent of what else is extracted, and
        4 on a GPU.
    overwrite : bool, optional
        Extract rows that are done again, and replace all that the dataset holds of them.
    dry_run : bool, optional
        Only plan, and open every file to see whether it can be read; nothing is written.
    limit : int, optional
        Only the first rows of the catalogue.
    tables : iterable of str, optional
        Data tables to write besides ``tracks``, of ``stemfeatures.tables.schema.DATA_TABLES``. Default: all that are
        not on request. A later run with more of them extracts anew; one with fewer leaves what is there as it is.
    retry_failed : bool, optional
        Try again what an earlier run put into ``errors``.
    progress : callable, optional
        Called with an :class:`~.summary.ExtractProgress` as things happen, in the thread that called this function.
    track_timeout_s : float, optional
        Limit in seconds for opening a file and reading its digest, for decoding it, and for each time that its analysis
        makes no progress; by default 2 minutes, 10 minutes and ten times its length. Time for which this process is
        stopped, or its machine asleep, does not count.
    separator : str, optional
        What separates instead of the checkpoint, such as ``"demucs:htdemucs"`` or ``"package.module:function"``; see
        :mod:`stemfeatures.separation.external`. It works in other processes than this one, also with one job (but for
        a function of a notebook or of the program itself, which they cannot import): they must have it too.
    stems_from : str or path, optional
        Folder with the stems of each track, ``<track id or path, without suffix>/<stem>.<suffix>``.
    keep_stems : str or path, optional
        Write the stems as WAV files in the same layout.
    on_duplicate : str, optional
        What becomes of rows that share their id or their file: ``"error"`` refuses the catalogue, ``"first"`` takes
        the first of them, ``"skip"`` none.
    limits : AudioLimits, optional
        What a file may be: length, channels, CPU for each megabyte. A file that is more ends in ``errors``.
    cache_bytes : int, optional
        Of audio in a store: no larger file is taken, and no more is kept on this machine by each process besides what
        is in work.
    precision : str, optional
        In which the network computes on a CPU: ``"auto"``, ``"float32"`` or ``"bfloat16"``. ``auto`` is bfloat16 on
        processors that have instructions for it, unless the rows of the dataset are in float32 so far; rows of either
        are done. Asked for by name, rows in the other are extracted again.
    tracer : opentelemetry.trace.Tracer, optional
        Gets a span for planning, for each shard, track and stage, and for each commit.

    Returns
    -------
    ExtractSummary
        Counts, failures by kind, seconds by stage.

    Raises
    ------
    ValueError
        ``jobs`` or ``batch_size`` below 1, ``jobs`` together with ``scheduler``, an unknown table or precision,
        ``"bfloat16"`` on workers of a scheduler that may be GPUs, or ``stems_from``
        together with ``separator`` or ``keep_stems``.
    CatalogError
        The catalogue cannot be read, is empty, or two rows share an id or a file.
    ModelError
        There is no such checkpoint or separator, or a worker cannot load it.
    DatasetError
        ``out_dir`` is a file or no features directory, cannot be written, or another run is at work in it.
    ClusterError
        No such scheduler, no workers, or they lack a GPU.
    ExtractInterrupted
        Ctrl-C, SIGTERM or SIGHUP, after what was finished has been committed. A second Ctrl-C stops at once.
    """
    require_main_guard()
    if jobs is not None and jobs > 1:
        start_fork_server()
    options = ExtractOptions(
        model=model,
        device=device,
        jobs=jobs,
        scheduler=scheduler,
        batch_size=batch_size,
        overwrite=overwrite,
        dry_run=dry_run,
        limit=limit,
        tables=data_tables(tables),
        retry_failed=retry_failed,
        track_timeout_s=track_timeout_s,
        separator=separator,
        stems_from=None if stems_from is None else Path(stems_from),
        keep_stems=None if keep_stems is None else Path(keep_stems),
        on_duplicate=on_duplicate,
        limits=limits or AudioLimits(),
        cache_bytes=cache_bytes,
        precision=precision,
        tracer=tracer,
    )
    where = place_of(out_dir)
    trace = RunTrace(tracer)
    with (
        ends_as_ctrl_c(),
        trace.span("extract"),
        portions_of(catalog, limit=limit, on_duplicate=on_duplicate) as portions,
    ):
        if portions is None:
            return _extract(catalog, where, options, progress)
        return _extract_portions(portions, where, replace(options, limit=None, on_duplicate="error"), progress)


def _extract_portions(
    portions: Portions, out_dir: Place, options: ExtractOptions, progress: Callable[[ExtractProgress], None] | None
) -> ExtractSummary:
    """A large manifest: each portion is a run of its own in table ``runs``."""
    whole = ExtractSummary(None, out_dir, n_total=portions.n_rows, n_dropped=portions.n_dropped)
    try:
        with KeptCluster() as kept:
            for n, catalog in enumerate(portions):
                if n and not options.dry_run:
                    with RunTrace(options.tracer).span("merge"):
                        _merge_parts(out_dir, whole)
                whole.add(_extract(catalog, out_dir, options, progress and whole.progress_of_part(progress), kept))
                if options.scheduler is None:  # a short last portion would choose otherwise than full ones
                    options = replace(options, device=whole.device)
    except KeyboardInterrupt as stop:
        if isinstance(stop, ExtractInterrupted):
            whole.add(stop.summary)
        whole.interrupted = True
        raise ExtractInterrupted(whole) from stop
    return whole


def _merge_parts(out_dir: Place, whole: ExtractSummary) -> None:
    """Merge the small parts that portions have left, when they are many: each portion looks at all parts."""
    started = time.monotonic()
    try:
        if existing_dataset(out_dir) is not None and compact_if_many(out_dir, parts=MOST_PARTS):
            log.info("%s: small files were merged in %.0f s", out_dir, time.monotonic() - started)
    except (DatasetError, OSError) as error:  # of another run, or a full disk: parts stay as they are
        log.warning("small files are not merged: %s", error)
    finally:
        whole.wall_s += time.monotonic() - started


def _extract(
    catalog: CatalogSpec,
    out_dir: Place,
    options: ExtractOptions,
    progress: Callable[[ExtractProgress], None] | None,
    kept: KeptCluster | None = None,
) -> ExtractSummary:
    """One run."""
    started = time.monotonic()
    trace = RunTrace(options.tracer)
    while True:
        with trace.span("plan"):
            prepared = prepare(catalog, out_dir, options)
        summary = prepared.summary()
        if options.dry_run or not prepared.decision.todo:
            if options.dry_run:
                foresee(prepared, summary, progress)
            _close(prepared, summary, started)
            return summary
        driver = Driver(summary, progress, prepared.tasks, trace)
        try:
            with trace.span("run"):
                execute(prepared, driver, kept)
        except ChangedDatasetError:  # another run has come to its end just now: what is left to do is less
            continue
        except ExtractInterrupted:
            _close(prepared, summary, started)
            raise
        break
    _close(prepared, summary, started)
    if summary.interrupted:
        raise ExtractInterrupted(summary)
    driver.report("finished")
    return summary


def _close(prepared: PreparedRun, summary: ExtractSummary, started: float) -> None:
    """Add what is known at the end only: rows of the tables, and the duration."""
    wrote = summary.run_id is not None or prepared.layout is not None
    summary.table_rows = open_features(prepared.out_dir).counts() if wrote else {}
    summary.wall_s = time.monotonic() - started
