"""First phase of a run: what is asked for, which rows are left to extract, and where; nothing is written yet."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stemfeatures._util.collector import collector_paused
from stemfeatures._util.devices import best_device, is_cpu
from stemfeatures._util.files import open_regular
from stemfeatures._util.urls import Place, Url, is_remote
from stemfeatures.audio import AudioLimits, file_sha256
from stemfeatures.errors import DatasetError, ModelError
from stemfeatures.fields import Field
from stemfeatures.models import checkpoints
from stemfeatures.models.checkpoints import Checkpoint
from stemfeatures.models.precision import AUTO, BFLOAT16, FLOAT32, PRECISIONS, resolved_precision
from stemfeatures.tables.layout import DatasetLayout
from stemfeatures.tables.schema import DATA_TABLES, DEFAULT_TABLES
from stemfeatures.tables.storage import storage_of

from ..catalog import Catalog, declared_durations, look_at, path_trouble, printable, read_catalog
from ..catalog.remote import CACHE_BYTES
from ..catalog.types import CatalogSpec
from .cluster import default_jobs, visible_gpus, warn_of_long_tracks
from .device_speed import choice, speeds_here
from .fork_server import in_fork, start_fork_server
from .lyrics import COLUMN, lyrics_of, wants_lyrics
from .plan import LIMITS, estimate_duration_s, plan_shards
from .prefetch import file_states
from .provenance import digest, value_settings
from .resume import Decision, decide, existing_dataset, metadata_fields, plain, precisions_of, stem_folder
from .separator_trial import is_here_alone, origin_of
from .summary import ExtractProgress, ExtractSummary, PlannedShard, grouped
from .tasks import TrackFailure, TrackTask

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from stemfeatures.lyrics.sources import FoundLyrics

log = logging.getLogger(__name__)

R = TypeVar("R")

#: Files that are opened at a time, to see whether they are audio, or the same.
PROBES = 8
_EXCERPT_BYTES = 16_384
#: Starting a process takes seconds; by default there is one for so many tracks.
TRACKS_WORTH_A_PROCESS = 4
#: The same of a process that shares a GPU with others, and how much of the memory of a GPU one may take: what a context
#: and a batch need, and room.
TRACKS_WORTH_A_GPU_PROCESS = 64
GPU_PROCESS_BYTES = 4e9
#: Of fewer tracks the work takes less time than to find out where it takes the least.
TRACKS_WORTH_MEASURING = 200


@dataclass(frozen=True)
class ExtractOptions:
    """The options of :func:`~.extract.extract_catalog`, which documents them; ``tables`` in the order of the schema."""

    model: str | Path
    device: str
    jobs: int | None
    scheduler: str | None
    batch_size: int | None
    overwrite: bool
    dry_run: bool
    limit: int | None
    tables: tuple[str, ...]
    retry_failed: bool
    track_timeout_s: float | None
    limits: AudioLimits
    cache_bytes: int = CACHE_BYTES
    separator: str | None = None
    stems_from: Path | None = None
    keep_stems: Path | None = None
    on_duplicate: str = "error"
    precision: str = AUTO
    tracer: Tracer | None = None
    #: What separators have told that were tried, by name: once a run is enough, of however many portions.
    tried: dict[str, dict[str, str]] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("jobs", self.jobs), ("batch_size", self.batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.jobs is not None and self.scheduler is not None:
            raise ValueError(
                "jobs are processes of this machine, and a scheduler has its own workers: give one of the two"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}; there are: {', '.join(PRECISIONS)}")
        if self.precision == BFLOAT16 and self.scheduler is not None and not is_cpu(self.device):
            raise ValueError("bfloat16 is for networks on a CPU: with a scheduler, ask for device cpu")
        if self.stems_from is not None and (self.separator is not None or self.keep_stems is not None):
            raise ValueError("stems that are there already are neither separated nor written again")

    @property
    def leaves_this_process(self) -> bool:
        """Whether also a single process is another one than this: a separator from outside may end it at any track."""
        return self.separator is not None and not is_here_alone(self.separator)

    def origin(self) -> dict[str, str] | None:
        """Where stems come from if not from the checkpoint; raises ModelError, and DatasetError for no folder."""
        if self.separator is None and self.stems_from is None:
            return None
        if self.separator is not None:
            if self.separator not in self.tried:
                self.tried[self.separator] = origin_of(self.separator)
            return self.tried[self.separator]
        from stemfeatures.separation.given_stems import GIVEN

        assert self.stems_from is not None
        if not self.stems_from.is_dir():
            raise DatasetError("no folder of stems", source=printable(os.fspath(self.stems_from)), stage="separate")
        return {"separator": GIVEN, "separator_version": "", "separator_sha256": ""}


@dataclass(frozen=True)
class PreparedRun:
    """All that is known of a run before it starts.

    Attributes
    ----------
    options : ExtractOptions
        What was asked for.
    catalog : Catalog
        The rows, after ``limit``.
    out_dir : Path or Url
        The features directory.
    layout : DatasetLayout or None
        The dataset in it, if there is one already.
    metadata : tuple of Field
        Columns of the catalogue with their types.
    checkpoint : Checkpoint
        The network.
    settings : dict
        Everything that can change a value; ``config_hash`` is its digest.
    config_hash : str
        See table ``tracks``.
    alignment : dict or None
        How lyrics are aligned; None where no table of them is wanted.
    separator : dict or None
        Columns of table ``tracks`` that say where stems come from; None: from the checkpoint.
    decision : Decision
        Which rows are done.
    tasks : list of TrackTask
        The tracks to extract.
    unusable : list of (TrackTask, str)
        Rows that name no local file, with the reason.
    device : str
        Where the network runs; ``"auto"`` is still open when a scheduler decides.
    precision : str
        In which it computes, ``"float32"`` or ``"bfloat16"``; ``"auto"`` where workers of a scheduler find out.
    n_workers : int
        Processes; with a scheduler 1, until it is connected.
    n_dropped : int
        Rows of the catalogue that were left out, for they share their id or their file with another.
    device_why : str
        Why it is this device, where that was measured.
    """

    options: ExtractOptions
    catalog: Catalog
    out_dir: Place
    layout: DatasetLayout | None
    metadata: tuple[Field, ...]
    checkpoint: Checkpoint
    settings: dict[str, Any]
    config_hash: str
    alignment: dict[str, Any] | None
    separator: dict[str, str] | None
    decision: Decision
    tasks: list[TrackTask]
    unusable: list[tuple[TrackTask, str]]
    device: str
    n_workers: int
    precision: str
    n_dropped: int = 0
    device_why: str = ""

    @property
    def longest_s(self) -> float:
        """Length of the longest track that may be analysed, in seconds."""
        return longest_s(self.tasks, self.options)

    def all_tasks(self) -> Iterator[TrackTask]:
        """Those to extract, and those that cannot be."""
        yield from self.tasks
        yield from (task for task, _ in self.unusable)

    def summary(self) -> ExtractSummary:
        """A summary that holds what is known so far."""
        return ExtractSummary(
            run_id=None,
            out_dir=self.out_dir,
            n_total=len(self.catalog),
            n_skipped=len(self.decision.done),
            n_known_failed=len(self.decision.known_failed),
            n_metadata_changed=self.decision.metadata_changed,
            n_dropped=self.n_dropped,
            n_same_audio=sum(len(task.same_audio) for task in self.tasks),
            outdated=self.decision.outdated,
            device=self.device,
            device_why=self.device_why,
            n_workers=self.n_workers,
            model=self.checkpoint.name,
            precision=self.precision,
        )


def prepare(catalog: CatalogSpec, out_dir: Place, options: ExtractOptions) -> PreparedRun:
    """Read the catalogue and the dataset, and compare them.

    Parameters
    ----------
    catalog : str, path, sequence of paths, DataFrame or Catalog
        See :mod:`pipelines.catalog`.
    out_dir : Path or Url
        Features directory.
    options : ExtractOptions
        What was asked for.

    Returns
    -------
    PreparedRun
        Nothing has been written; the fork server may have been started, see :mod:`.fork_server`.

    Raises
    ------
    CatalogError
        The catalogue cannot be read, is empty, or two rows share an id or a file.
    DatasetError
        ``out_dir`` is a file, or no features directory that can be read.
    ModelError
        There is no such checkpoint or device.
    """
    _require_folder(out_dir)
    whole, n_dropped = read_catalog(catalog).without_duplicates(options.on_duplicate)
    if whole.passed_over:
        log.warning("%s: %s", whole.origin, whole.passed_over_text())
    layout = existing_dataset(out_dir)
    # Types come from the whole catalogue, so that a trial with a few rows does not settle them.
    metadata = metadata_fields(whole, layout)
    chosen = whole if options.limit is None else read_catalog(whole, limit=options.limit)
    separator = options.origin()
    # Workers load the library, and this process need not.
    of_library = in_fork if _starts_workers(options, len(chosen)) else _here
    checkpoint, settings = of_library(_checkpoint_and_settings, options.model, separator)
    device, why = options.device, ""
    if options.scheduler is None:
        device, why = _local_device(options, checkpoint, len(chosen), layout, settings)
    precision = _precision(options, device, layout, settings)
    config_hash = digest(settings)
    alignment = of_library(_alignment_settings) if wants_lyrics(options.tables) else None
    decision = decide(
        chosen,
        layout,
        settings=settings,
        precision=None if options.precision == AUTO else precision,
        tables=options.tables,
        overwrite=options.overwrite,
        retry_failed=options.retry_failed,
        stems_from=options.stems_from,
        alignment=alignment,
    )
    if decision.kept:
        log.warning(
            "%s tracks of an earlier run are left as they are, as their files are not there; with these they would be "
            "extracted again", f"{decision.kept:,}",
        )  # fmt: skip
    tasks, sizes, unusable = _tasks(chosen, decision, options)
    if options.stems_from is None and options.keep_stems is None:  # which are of one track each
        tasks = _share_audio(tasks, sizes, lyrics=alignment is not None)
    n_workers = 1
    if options.scheduler is None:
        n_workers = _n_local(options.jobs, device, len(tasks), longest_s(tasks, options))
    return PreparedRun(
        options=options,
        catalog=chosen,
        out_dir=out_dir,
        layout=layout,
        metadata=metadata,
        checkpoint=checkpoint,
        settings=settings,
        config_hash=config_hash,
        alignment=alignment,
        separator=separator,
        decision=decision,
        tasks=tasks,
        unusable=unusable,
        device=device,
        device_why=why,
        n_workers=n_workers,
        precision=precision,
        n_dropped=n_dropped,
    )


def longest_s(tasks: list[TrackTask], options: ExtractOptions) -> float:
    """Length of the longest track in seconds; longer files than the limit are not analysed."""
    return min(max((task.weight_s for task in tasks), default=0.0), options.limits.max_duration_s)


def _starts_workers(options: ExtractOptions, n_rows: int) -> bool:
    """Whether processes will be started on this machine, as far as is known by now; their fork server is then."""
    jobs = options.jobs
    if options.scheduler is None and jobs is None and (options.device == "auto" or is_cpu(options.device)):
        jobs = default_jobs(n_rows // TRACKS_WORTH_A_PROCESS)
    starts = options.scheduler is None and jobs is not None and (jobs > 1 or options.leaves_this_process)
    if starts:
        start_fork_server()
        with collector_paused():
            import_module("distributed")  # needed later, and what comes next waits for the server, which imports more
    return starts


def _here(call: Callable[..., R], *arguments: Any) -> R:
    return call(*arguments)


def _checkpoint_and_settings(model: str | Path, separator: dict[str, str] | None) -> tuple[Checkpoint, dict[str, Any]]:
    with collector_paused():  # imports, in a process that does all by itself
        checkpoint, _ = checkpoints.resolve_analysis(model)
    return checkpoint, value_settings(checkpoint.sha256, separator)


def _alignment_settings() -> dict[str, Any]:
    from stemfeatures.lyrics.settings import alignment_settings

    return alignment_settings()


def plan_tasks(tasks: list[TrackTask], device: str, n_workers: int) -> list[list[TrackTask]]:
    """The tracks of each shard."""
    limits = LIMITS["cuda" if device.startswith("cuda") else "cpu"]
    plan = plan_shards([task.weight_s for task in tasks], limits, n_workers=n_workers)
    return [[tasks[k] for k in positions] for positions in plan]


def foresee(
    prepared: PreparedRun, summary: ExtractSummary, progress: Callable[[ExtractProgress], None] | None = None
) -> None:
    """Put into ``summary`` what a dry run reports: the shards, and the failures that opening every file shows."""
    failures = [TrackFailure(t.track_id, t.source_uri, "catalog", "CatalogError", why) for t, why in prepared.unusable]
    usable: list[TrackTask] = []
    with ThreadPoolExecutor(PROBES) as pool:
        limits = prepared.options.limits
        cache = prepared.options.cache_bytes
        looks = pool.map(lambda t: look_at(t.source_uri, t.path, limits=limits, cache_bytes=cache), prepared.tasks)
        for n, (task, (trouble, duration_s, _)) in enumerate(zip(prepared.tasks, looks), start=1):
            if trouble is None:
                usable.append(task if duration_s is None else replace(task, weight_s=duration_s))
            else:
                failures += [TrackFailure(row.track_id, row.source_uri, "decode", *trouble) for row in task.rows]
            if progress is not None:
                progress(ExtractProgress("probing", len(prepared.tasks), n_done=len(usable), n_failed=n - len(usable)))
    summary.errors = grouped(failures)
    shards = plan_tasks(usable, prepared.device, prepared.n_workers)
    summary.planned = [_planned(i, tracks) for i, tracks in enumerate(shards)]


def data_tables(tables: Iterable[str] | None) -> tuple[str, ...]:
    """The tables to write, ``tracks`` among them, in the order of the schema; ValueError for unknown ones.

    Raises ImportError for tables of lyrics without the extra ``lyrics``.
    """
    wanted = {"tracks", *(DEFAULT_TABLES if tables is None else tables)}
    if unknown := sorted(wanted - set(DATA_TABLES)):
        raise ValueError(f"unknown table {unknown[0]!r}; there are: {', '.join(DATA_TABLES)}")
    if wants_lyrics(wanted):
        from stemfeatures.lyrics.acoustic_model import installed_model

        installed_model()  # ImportError now, not in every worker
    return tuple(name for name in DATA_TABLES if name in wanted)


def _require_folder(out_dir: Place) -> None:
    """DatasetError when the directory, or one above it, is something else; or for an address that is not written to."""
    storage_of(out_dir)
    if isinstance(out_dir, Url):
        return
    for path in (out_dir, *out_dir.absolute().parents):
        if path.is_dir():
            return
        if os.path.lexists(path):
            what = "is a file, not a folder" if path.is_file() else "is no folder"
            raise DatasetError(what, source=printable(os.fspath(path)))


def _tasks(
    catalog: Catalog, decision: Decision, options: ExtractOptions
) -> tuple[list[TrackTask], list[int | None], list[tuple[TrackTask, str]]]:
    """The tracks to extract, the bytes of their files on this machine, and the tracks that no worker need look at, with
    the reason."""
    frame = catalog.frame.iloc[decision.todo]
    declared = declared_durations(catalog)
    names = catalog.metadata_columns
    columns = [frame["track_id"], frame["source_uri"], frame["path"], *(frame[name] for name in names)]
    tasks: list[TrackTask] = []
    sizes: list[int | None] = []
    unusable: list[tuple[TrackTask, str]] = []
    states = file_states(frame["path"].tolist())
    for i, state, track_id, uri, path, *cells in zip(decision.todo, states, *(column.tolist() for column in columns)):
        task = TrackTask(
            track_id,
            uri,
            path or "",
            metadata=dict(zip(names, map(plain, cells))),
            attempt=decision.attempts.get(track_id, 0) + 1,
            stems=None if options.stems_from is None else str(stem_folder(options.stems_from, track_id, uri)),
            keep_stems=None if options.keep_stems is None else _kept_at(options.keep_stems, track_id),
        )
        if (trouble := path_trouble(uri, path)) is not None:
            unusable.append((task, trouble[1]))
        else:
            weight_s = estimate_duration_s(path, state.size if state else None, declared[i])
            tasks.append(replace(task, weight_s=weight_s))
            sizes.append(None if state is None or is_remote(task.path) else state.size or None)
    return tasks, sizes, unusable


def _kept_at(folder: Path, track_id: str) -> str:
    from stemfeatures.separation.given_stems import folder_of

    return str(folder_of(folder, track_id))


def _share_audio(tasks: list[TrackTask], sizes: list[int | None], *, lyrics: bool) -> list[TrackTask]:
    """One task for files that hold the same bytes, and have the same lyrics where these are wanted. Files of one size
    are read in three places, and where these agree as a whole."""
    groups = _alike(tasks, sizes)
    for key in (_excerpt, _digest, *((_lyrics,) if lyrics else ())):
        with ThreadPoolExecutor(PROBES) as pool:
            groups = [some for group in groups for some in _alike(group, list(pool.map(key, group)))]
    others = {group[0].track_id: tuple(group[1:]) for group in groups}
    shared = {task.track_id for some in others.values() for task in some}
    return [replace(task, same_audio=others.get(task.track_id, ())) for task in tasks if task.track_id not in shared]


def _alike(tasks: list[TrackTask], keys: list[Any]) -> list[list[TrackTask]]:
    """The tasks that share their key with another, in groups; None is like nothing."""
    groups: dict[Any, list[TrackTask]] = {}
    for task, key in zip(tasks, keys):
        if key is not None:
            groups.setdefault(key, []).append(task)
    return [group for group in groups.values() if len(group) > 1]


def _excerpt(task: TrackTask) -> bytes | None:
    try:
        with open_regular(task.path) as file:
            size = os.fstat(file.fileno()).st_size
            parts = []
            for quarter in (1, 2, 3):
                file.seek(size * quarter // 4)
                parts.append(file.read(_EXCERPT_BYTES))
            return hashlib.blake2b(b"".join(parts)).digest()
    except OSError:  # which the worker will tell
        return None


def _digest(task: TrackTask) -> str | None:
    try:
        return file_sha256(task.path)
    except OSError:
        return None


def _lyrics(task: TrackTask) -> FoundLyrics | str:
    return lyrics_of(task.path, task.metadata.get(COLUMN)) or "none"


def _planned(index: int, tracks: list[TrackTask]) -> PlannedShard:
    ids = tuple(row.track_id for task in tracks for row in task.rows)
    return PlannedShard(f"{index:05d}", len(ids), sum(t.weight_s for t in tracks), ids)


def _local_device(
    options: ExtractOptions,
    checkpoint: Checkpoint,
    n_rows: int,
    layout: DatasetLayout | None,
    settings: Mapping[str, Any],
) -> tuple[str, str]:
    """The device, and why where there was a choice that is worth to be measured."""
    device = options.device
    if device == "auto":
        device = best_device()
        by_network = options.separator is None and options.stems_from is None
        if is_cpu(device) or not by_network or n_rows < TRACKS_WORTH_MEASURING:
            return device, ""
        return _faster_device(options, checkpoint, _precision(options, "cpu", layout, settings))
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ModelError(f"device {device!r} was asked for, but PyTorch sees no CUDA device here", stage="device")
    return device, ""


def _faster_device(options: ExtractOptions, checkpoint: Checkpoint, precision: str) -> tuple[str, str]:
    """Of all GPUs and all cores, which would compute in ``precision``."""
    import torch

    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    speeds = speeds_here(checkpoint, precision, gpus)
    if speeds is None:
        return "cuda", ""
    n_cores = default_jobs(options.jobs or sys.maxsize)
    return choice(speeds, n_cores=n_cores, n_gpus=len(gpus))


def _precision(options: ExtractOptions, device: str, layout: DatasetLayout | None, settings: Mapping[str, Any]) -> str:
    """The precision of a run. ``auto`` goes on in float32 where that is what the dataset has so far; workers of a
    scheduler find out themselves what their processors do best."""
    precision = options.precision
    if options.scheduler is None:
        try:
            precision = resolved_precision(precision, device)
        except ValueError as error:
            raise ModelError(str(error), stage="device") from error
    if options.precision != AUTO or precision == FLOAT32:
        return precision
    return FLOAT32 if precisions_of(layout, settings) == {FLOAT32} else precision


def _n_local(jobs: int | None, device: str, n_tracks: int, longest_s: float) -> int:
    """Processes on this machine: ``jobs``, or what it can carry and the tracks are worth; at least one for each GPU."""
    if jobs is not None:
        warn_of_long_tracks(jobs, longest_s)
        return jobs
    if is_cpu(device):
        return default_jobs(n_tracks // TRACKS_WORTH_A_PROCESS, longest_s=longest_s)
    if device != "cuda":  # a certain GPU
        return 1
    gpus = len(visible_gpus())
    by_cores = default_jobs(n_tracks // TRACKS_WORTH_A_GPU_PROCESS, longest_s=longest_s)
    return max(gpus, min(by_cores, _gpu_processes(gpus)))


def _gpu_processes(gpus: int) -> int:
    """Processes for whose networks the GPUs have memory; they are given out in turn."""
    import torch

    least = min(torch.cuda.get_device_properties(i).total_memory for i in range(gpus))
    return gpus * max(1, int(least // GPU_PROCESS_BYTES))
