"""The unit of work: some rows of a catalogue go in, part files come out, and a receipt of what they hold.

:func:`process_shard` is a plain function. It is called in a loop, or on a Dask worker; tasks and receipts are small
and can be pickled, and audio, frames and rows never leave the process. It may run twice, or die: nothing counts until
the driver commits the receipt.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from stemfeatures._util.clock import awake_s
from stemfeatures._util.urls import Place, Url, place_of
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE
from stemfeatures.errors import AudioError, DatasetError, ModelError, StemfeaturesError
from stemfeatures.tables.layout import DatasetLayout, require_there
from stemfeatures.tables.parts import to_table, write_part
from stemfeatures.tables.rows import Provenance, TrackInfo, error_row, track_rows

from ..catalog import printable
from . import threads
from .lane import TRACKS_BEHIND, Lane
from .lyrics import LyricsListener, wants_lyrics
from .prefetch import OPEN_TIMEOUT_S, FileState, PrefetchStream, TrackTimeout, prefetched
from .tasks import ShardReceipt, ShardTask, TrackFailure, TrackOutcome, TrackTask
from .watch import Watched

if TYPE_CHECKING:
    import pyarrow as pa

    from stemfeatures.analysis import Analyser, Preparation, TrackAnalysis, TrackStems, UndescribedTrack

log = logging.getLogger(__name__)

#: Tracks that are decoded ahead of the one the network works on.
TRACKS_AHEAD = 1
#: A shard ends after so long with what is finished, and the rest becomes another: no more is lost with a process.
PIECE_S = 120.0
MAX_MESSAGE = 4000
#: A network may take this long to be loaded, and to compile what it calls.
LOAD_TIMEOUT_S = 900.0
#: The rows of a shard may take this long to be written.
WRITE_TIMEOUT_S = 900.0
#: Who asks to stop waits so long for the track in work; batch systems kill half a minute after they have asked.
STOP_PATIENCE_S = 15.0
#: How often a worker looks into a store for the request to stop.
STOP_LOOK_S = 5.0
#: By how much the limit of progress exceeds those of the decoder, which say better what is wrong.
STALL_MARGIN_S = 2.0


def forget_analyser() -> None:
    """Load the network anew for the next shard."""
    _loaded.clear()


# ------------------------------------------------------------------------------------------------ the loaded model


@dataclass
class _Loaded:
    """The network of this process, the lock to hold while using it, and the batch size that was asked for."""

    analyser: Analyser
    batch_size: int
    lock: threading.Lock = field(default_factory=threading.Lock)


_loaded: dict[tuple[str, str, str | None], _Loaded] = {}
_loading = threading.Lock()


def load_analyser(task: ShardTask) -> _Loaded:
    """The network of this process: loaded and warmed up on the first call; another one takes its place.

    Raises ModelError when the checkpoint or the separator is not there, or not the one the driver saw.
    """
    sha256, batch_size = task.provenance.model_sha256, task.batch_size
    key = (sha256, task.device, task.separator)
    with _loading:
        if (loaded := _loaded.get(key)) is None:
            from stemfeatures.analysis import Analyser

            _loaded.clear()
            analyser = Analyser(task.model_path, device=task.device, batch_size=batch_size, separator=task.separator)
            _require_same("checkpoint", analyser.checkpoint.sha256, sha256, source=task.model_path)
            if analyser.separator is not None:
                expected = task.provenance.separator_sha256 or ""
                _require_same("separator", analyser.separator.sha256, expected, source=task.separator)
            _warm_up(analyser)
            loaded = _loaded[key] = _Loaded(analyser, batch_size)
        elif loaded.batch_size != batch_size:
            with loaded.lock:
                loaded.analyser.reset(batch_size=batch_size)
                loaded.batch_size = batch_size
        return loaded


def _require_same(what: str, found: str, expected: str, *, source: str | None) -> None:
    if found != expected:
        raise ModelError(f"this is another {what} than the driver's: sha256 {found}, not {expected}", source=source)


def _warm_up(analyser: Analyser) -> None:
    """Compile and load now what would otherwise delay the first track (and count against its time limit)."""
    import numpy as np

    times = np.arange(2 * ANALYSIS_SAMPLE_RATE) / ANALYSIS_SAMPLE_RATE
    tone = np.sin(2 * np.pi * 220 * times) * (times % 0.5 < 0.25) * 0.1
    analyser.from_audio(tone.astype(np.float32), ANALYSIS_SAMPLE_RATE)


# ------------------------------------------------------------------------------------------------------- the shard


def worker_name() -> str:
    """``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def process_on_worker(task: ShardTask) -> ShardReceipt:
    """:func:`process_shard` as a Dask task: with the thread policy of a worker."""
    from distributed import get_worker

    threads.configure_worker()
    receipt = process_shard(task, leave_when_stuck=True)
    with suppress(ValueError):  # not in a worker
        worker = get_worker()
        receipt.address = worker.address
        threads.give_back_memory(worker.monitor.get_process_memory(), worker.memory_manager.memory_limit)
    return receipt


def process_shard(
    task: ShardTask,
    *,
    on_track: Callable[[TrackOutcome], None] | None = None,
    stop: Callable[[], bool] | None = None,
    leave_when_stuck: bool = False,
) -> ShardReceipt:
    """Extract the tracks of one shard and write their rows.

    A track that fails, at whatever stage, becomes a row of ``errors`` and never disturbs the others; one whose analysis
    makes no progress is given up. After ``PIECE_S`` no further track is begun: what the receipt leaves
    (:meth:`ShardTask.without`) is the work of another call.

    Parameters
    ----------
    task : ShardTask
        What to do.
    on_track : callable, optional
        Called as each track is through.
    stop : callable, optional
        Asked all the time; the shard ends early, with the tracks finished so far, when it says so or when
        ``task.stop_file`` exists: after the track in work, or when that takes longer than ``STOP_PATIENCE_S``.
    leave_when_stuck : bool
        Come back after a track that was given up, with the others undone, as the process should be replaced.

    Raises
    ------
    ModelError, DatasetError
        The checkpoint cannot be loaded here, or the dataset cannot be written: no fault of any track.
    """
    layout = _open(task.dataset)
    on_track = on_track or (lambda outcome: None)
    told = StopFile(layout, task.stop_file)

    def stopped() -> bool:
        return (stop is not None and stop()) or told.exists()

    work = _Shard(task, layout, stopped)
    while work.left and not work.is_over():
        thread = Watched(work.run, patience_s=LOAD_TIMEOUT_S)
        if thread.wait(on_track, stop=stopped, stop_patience_s=STOP_PATIENCE_S):
            break
        forget_analyser()  # the thread that was given up may be using it
        work.receipt.stuck = True
        _drop(work.lane)
        if stopped():
            break
        if work.give_up() and leave_when_stuck:
            break
    return within(WRITE_TIMEOUT_S, work.write, what=f"cannot write to {task.dataset}")


def _open(dataset: str | Place) -> DatasetLayout:
    try:
        return DatasetLayout.open(dataset)
    except DatasetError as error:
        require_there(DatasetLayout(place_of(dataset)), "cannot go on", error)
        raise


class StopFile:
    """Whether the driver asks all workers to stop: it puts a file into the dataset. A store is asked now and then.

    Parameters
    ----------
    layout : DatasetLayout
        The dataset.
    name : str or None
        Of the file; None where nobody asks.
    """

    def __init__(self, layout: DatasetLayout, name: str | None) -> None:
        self._layout, self._name = layout, name
        self._every_s = STOP_LOOK_S if isinstance(layout.path, Url) else 0.0
        self._next_s = 0.0
        self._found = False

    def exists(self) -> bool:
        """As of now, or of a few seconds ago."""
        if self._name is None or self._found or awake_s() < self._next_s:
            return self._found
        self._next_s = awake_s() + self._every_s
        with suppress(OSError):
            self._found = self._layout.storage.entry(self._name) is not None
        return self._found


def within(limit_s: float, call: Callable[[], ShardReceipt], *, what: str) -> ShardReceipt:
    """The result of a call; DatasetError when there is none within the limit: a file system that does not answer."""
    results: list[ShardReceipt] = []
    thread = Watched(lambda watched: results.append(call()), patience_s=limit_s)
    if not thread.wait(lambda message: None, stop=lambda: False, stop_patience_s=limit_s):
        raise DatasetError(f"{what}: no answer within {limit_s:g} s")
    return results[0]


def describes_aside(device: str) -> bool:
    """Whether tracks are described in a thread of their own, so that the device does not wait: a CPU would only share
    its core, and hold the frames of several tracks."""
    return device != "cpu"


@dataclass
class _Outcome:
    """What becomes of a track behind the network: its rows, or the error of a row and its stage."""

    audio_s: float = 0.0
    tables: list[dict[str, pa.Table]] = field(default_factory=list)
    error: Exception | None = None
    stage: str | None = None
    rows_s: float = 0.0


#: Of a track that is to be described.
_TrackLane: TypeAlias = "Lane[tuple[TrackTask, UndescribedTrack], _Outcome]"


def _drop(lane: _TrackLane) -> None:
    for _, undescribed in lane.close():
        undescribed.drop()


class _Shard:
    """The state of one call of :func:`process_shard`."""

    def __init__(self, task: ShardTask, layout: DatasetLayout, stopped: Callable[[], bool]) -> None:
        self.task, self.layout, self.stopped = task, layout, stopped
        self.analyser: Analyser
        self.thread: Watched
        self.aside = describes_aside(task.device)
        self.lane: _TrackLane = Lane(aside=False)
        self.began: float | None = None
        self.receipt = ShardReceipt(task.name, worker=worker_name())
        self.receipt.stage_s = dict.fromkeys(("decode", "wait", "analyse", "rows", "write"), 0.0)
        self.tables: dict[str, list[pa.Table]] = {}
        self.errors: list[dict[str, Any]] = []
        self.left = {track.track_id: track for track in task.tracks}
        self.streams: dict[str, PrefetchStream] = {}
        self.lyrics = LyricsListener(task.tracks, task.device) if wants_lyrics(task.tables) else None
        self.again: set[str] = set()
        self.current: str | None = None
        self.alone = False

    def run(self, thread: Watched) -> None:
        """Load the network and analyse what is left; in a thread that may be given up."""
        self.thread, self.current = thread, None
        with threads.single_threaded():
            loaded = load_analyser(self.task)
            with loaded.lock:
                self.analyser = loaded.analyser
                self.began = self.began or awake_s()
                self._analyse()

    def is_over(self) -> bool:
        """Whether no further track shall be begun: somebody asks to stop, or there is enough to be committed."""
        late = self.began is not None and awake_s() - self.began > PIECE_S
        return self.stopped() or (late and self.receipt.n_tracks > 0)

    def give_up(self) -> bool:
        """The thread that worked on a track has been given up: say so of the track, or (False) try all one by one."""
        if self.current is None:
            raise ModelError(f"the network is not loaded within {LOAD_TIMEOUT_S:g} s", source=self.task.model_path)
        stream, track = self.streams[self.current], self.left[self.current]
        for other in self.streams.values():
            other.close()
        if self.task.batch_size > 1 and not self.alone:  # another track of the batch may hang
            log.warning("shard %s: no progress; its tracks are tried one by one", self.task.name)
            self.alone = True
            return False
        limit_s = self._patience_s(stream)
        error = TrackTimeout(
            f"gave up after {limit_s:g} s without any progress of the analysis", source=printable(track.path),
            stage="analyse",
        )  # fmt: skip
        for row in track.rows:
            self._add_failure(self._error_row(row, error, stream, None, stream.file_state))
        del self.left[track.track_id]
        return True

    def _patience_s(self, stream: PrefetchStream) -> float:
        """Seconds without progress after which the analysis is given up; decoding has its own limits, a bit lower."""
        return stream.limit_s + max(STALL_MARGIN_S, OPEN_TIMEOUT_S if self.task.track_timeout_s is None else 0.0)

    def _analyse(self) -> None:
        """Analyse all tracks in shared batches: in smaller ones when they do not fit the device, and one track at a
        time when a batch fails, so that only the track that causes it ends in ``errors``."""
        # A shard that was stopped may have left segments in the queue.
        self.analyser.reset(requested=self.task.tables)
        batch_size = self.analyser.batch_size
        while not self.alone:
            failure = self._together()
            if not self.left or self.is_over():
                return
            batch_size = self.analyser.batch_size
            if batch_size == 1 or not _out_of_memory(failure):
                break
            log.warning("out of device memory with batches of %d segments; trying %d", batch_size, batch_size // 2)
            failure = None  # its traceback holds tensors
            _free_device_memory()
            self.analyser.reset(batch_size=batch_size // 2)
        self._one_by_one()
        self.analyser.reset(batch_size=batch_size)

    def _together(self) -> Exception | None:
        """Analyse what is left; the failure of a batch, which several tracks may have shared, ends it early."""
        started = time.perf_counter()
        on_frames = None if self.lyrics is None else self.lyrics.on_frames
        results = self.analyser.undescribed(self._sources(), on_frames=on_frames)
        lane = self.lane = Lane(aside=self.aside)
        failure: Exception | None = None
        try:
            while failure is None:
                try:
                    track_id, found = next(results)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                track = self.left[track_id]
                if isinstance(found, Exception):
                    failure = self._failed(track, found)
                else:
                    lane.give((track, found), partial(self._describe, track, found.describe))
                del found  # an hour of frames is half a gigabyte, which the next track shall not wait beside
                failure = failure or self._collect(TRACKS_BEHIND)
            failure = self._collect(0) or failure
        finally:
            _drop(lane)
        results.close()  # type: ignore[attr-defined]
        for stream in self.streams.values():
            stream.close()
        self.receipt.stage_s["analyse"] += time.perf_counter() - started
        return failure

    def _collect(self, most: int) -> Exception | None:
        """Record what has been described; the failure of a batch, if there is one among them."""
        failure: Exception | None = None
        current = self.current
        for (track, _), outcome in self.lane.take(most=most, before=self._wait_for):
            if isinstance(outcome, Exception):
                failure = self._failed(track, outcome) or failure
            else:
                self._record(track, outcome)
        self.current = current
        return failure

    def _wait_for(self, key: tuple[TrackTask, UndescribedTrack]) -> None:
        track_id = key[0].track_id
        with self.thread.holding():
            self.current = track_id
        self.thread.alive(self._patience_s(self.streams[track_id]))

    def _failed(self, track: TrackTask, error: Exception) -> Exception | None:
        """Record the error of a track; or give it back as one that another track of its batch may have caused."""
        shared = self.analyser.batch_size > 1 or _out_of_memory(error)
        if shared and not isinstance(error, AudioError):
            return error
        self._record(track, error)
        return None

    def _describe(self, track: TrackTask, describe: Callable[[], TrackAnalysis]) -> _Outcome:
        """Make the rows of one track; in the lane behind the network. Raises what ``describe`` raises."""
        result = describe()
        started = time.perf_counter()
        stream = self.streams[track.track_id]
        outcome = _Outcome(result.decoded_duration_s)
        try:
            outcome.tables = [self._rows(row, result, stream, self._state(row, track)) for row in track.rows]
        except Exception as error:
            outcome.error, outcome.stage = error, None if isinstance(error, StemfeaturesError) else "tables"
        outcome.rows_s = time.perf_counter() - started
        return outcome

    def _sources(self) -> Iterator[tuple[str, PrefetchStream, TrackStems]]:
        tracks = [(track.track_id, track.path) for track in self.left.values()]
        streams = prefetched(
            tracks,
            ahead=TRACKS_AHEAD,
            timeout_s=self.task.track_timeout_s,
            limits=self.task.limits,
            cache_bytes=self.task.cache_bytes,
            prepare=self._prepare(),
            alive=self.thread.alive,
            stop=self.is_over,
        )
        for track_id, stream in streams:
            self._begin(track_id, stream)
            try:
                stems = self._stems(self.left[track_id])
                stream.open()
                self.thread.alive(self._patience_s(stream))
            except Exception as error:
                stream.close()
                self._record(self.left[track_id], error)
            else:
                yield track_id, stream, stems

    def _prepare(self) -> Callable[[int, int], Preparation] | None:
        """What the thread that decodes does besides; not where stems must come with the blocks."""
        from stemfeatures.analysis import Preparation

        has_stems = self.task.separator is not None or any(track.stems is not None for track in self.task.tracks)
        return None if has_stems else Preparation

    def _stems(self, track: TrackTask) -> TrackStems:
        from stemfeatures.analysis import TrackStems
        from stemfeatures.separation.given_stems import StemFolder

        given = None if track.stems is None else StemFolder(track.stems, timeout_s=self.task.track_timeout_s)
        return TrackStems(given, None if track.keep_stems is None else Path(track.keep_stems))

    def _begin(self, track_id: str, stream: PrefetchStream) -> None:
        with self.thread.holding():
            self.streams[track_id], self.current = stream, track_id
        self.thread.alive(self._patience_s(stream))

    def _one_by_one(self) -> None:
        started = time.perf_counter()
        for track in list(self.left.values()):
            if self.is_over():
                break
            self.analyser.reset(batch_size=1)
            stream = PrefetchStream(
                track.path,
                timeout_s=self.task.track_timeout_s,
                limits=self.task.limits,
                cache_bytes=self.task.cache_bytes,
                prepare=self._prepare(),
                alive=self.thread.alive,
            )
            self._begin(track.track_id, stream)
            try:
                stems = self._stems(track)
                with stream.open():
                    self.thread.alive(self._patience_s(stream))
                    on_frames = None if self.lyrics is None else partial(self.lyrics.on_frames, track.track_id)
                    describe = partial(self.analyser.from_stream, stream, stems=stems, on_frames=on_frames)
                    outcome: _Outcome | Exception = self._describe(track, describe)
            except Exception as error:
                outcome = error
            finally:
                stream.close()
            self._record(track, outcome)
            del outcome
        self.receipt.stage_s["analyse"] += time.perf_counter() - started

    def _record(self, track: TrackTask, result: _Outcome | Exception) -> None:
        """Keep the rows of one track, of whichever outcome."""
        started = time.perf_counter()
        stream = self.streams[track.track_id]
        if isinstance(result, TrackTimeout) and stream.was_asleep and track.track_id not in self.again:
            self.again.add(track.track_id)  # it may have been the disk that was not awake yet
            return
        outcome = _Outcome(error=result) if isinstance(result, Exception) else result
        failed: list[dict[str, Any]] = []
        if (error := outcome.error) is not None:
            failed = [self._error_row(r, error, stream, outcome.stage, self._state(r, track)) for r in track.rows]
        self.thread.alive()
        inside_s = time.perf_counter() - started + (0.0 if self.aside else outcome.rows_s)
        with self.thread.holding():  # all of a track or nothing, as the thread may be given up
            for table, some in ((table, some) for of_row in outcome.tables for table, some in of_row.items()):
                self.tables.setdefault(table, []).append(some)
            failures = {row["track_id"]: self._add_failure(row) for row in failed}
            if not failures:
                own = {track.track_id: outcome.audio_s}
                self.receipt.audio_s |= {row.track_id: 0.0 for row in track.same_audio} | own
            del self.left[track.track_id]
            self.receipt.stage_s["decode"] += stream.decode_s
            self.receipt.stage_s["wait"] += stream.wait_s
            self.receipt.stage_s["rows"] += time.perf_counter() - started + outcome.rows_s
            self.receipt.stage_s["analyse"] -= inside_s + stream.wait_s
        for row in track.rows:
            counts = outcome.audio_s if row is track and not failures else 0.0
            self.thread.tell(TrackOutcome(row.track_id, counts, failures.get(row.track_id)))

    def _state(self, row: TrackTask, opened: TrackTask) -> FileState | None:
        return self.streams[opened.track_id].file_state if row is opened else FileState.of(row.path)

    def _rows(
        self, track: TrackTask, result: TrackAnalysis, stream: PrefetchStream, state: FileState | None
    ) -> dict[str, pa.Table]:
        info = TrackInfo(
            track_id=track.track_id,
            source_uri=track.source_uri,
            status=result.status,
            audio_sha256=result.sha256,
            source_size_bytes=state.size if state else None,
            source_modified_at=state.modified_at if state else None,
            decoded_duration_s=result.decoded_duration_s,
            sample_rate=result.sample_rate,
            channels=result.channels,
            polarity_inverted_ratio=result.polarity_inverted_ratio,
            dc_offset=result.dc_offset,
            tags=stream.tags,
            metadata=track.metadata,
        )
        if (file := result.info) is not None:
            info.duration_s = file.declared_duration_s
            info.codec, info.bit_rate, info.lossless = file.codec, file.bit_rate, file.lossless
            info.decoder, info.decoder_version = file.decoder, file.decoder_version
            info.start_offset_s = file.start_offset_s
        provenance = replace(self.task.provenance, separator_sha256=result.separator_sha256)
        description = result.description
        if self.lyrics is not None:
            found = self.lyrics.tables(track.track_id, result)
            description = replace(description, tables={**description.tables, **found})
        rows = track_rows(info, description, provenance, tables=self.task.tables)
        # All of a track's rows are checked before any of them is kept.
        return {table: to_table(self.layout, table, some) for table, some in rows.items()}

    def _error_row(
        self, track: TrackTask, error: Exception, stream: PrefetchStream, stage: str | None, state: FileState | None
    ) -> dict[str, Any]:
        row = failure_row(track, error, self.task.provenance, state, stage=stage)
        row["audio_sha256"] = stream.digest
        if not isinstance(error, StemfeaturesError):
            log.debug("%s: %s", printable(track.source_uri), row["message"], exc_info=error)
        return row

    def _add_failure(self, row: dict[str, Any]) -> TrackFailure:
        self.errors.append(row)
        failure = TrackFailure(*(row[name] for name in TrackFailure.__dataclass_fields__))
        self.receipt.failures.append(failure)
        return failure

    def write(self) -> ShardReceipt:
        started = time.perf_counter()
        import pyarrow as pa

        rows: dict[str, Any] = {name: pa.concat_tables(made) for name, made in self.tables.items()}
        if self.errors:
            rows["errors"] = self.errors
        self.receipt.parts = [write_part(self.layout, name, some, shard=self.task.name) for name, some in rows.items()]
        self.receipt.stage_s["write"] += time.perf_counter() - started
        return self.receipt


def failure_row(
    track: TrackTask,
    error: BaseException | str,
    provenance: Provenance,
    state: FileState | None = None,
    *,
    stage: str | None = None,
    error_type: str | None = None,
    attempt: int | None = None,
) -> dict[str, Any]:
    """The row of ``errors`` of one track; an error of no known stage happened in ``analyse``."""
    if stage is None and not isinstance(error, StemfeaturesError):
        stage = "analyse"
    if error_type is None and type(error) is StemfeaturesError and error.__cause__ is not None:
        error_type = type(error.__cause__).__name__  # a wrapper that only adds the stage
    row = error_row(
        track.track_id,
        track.source_uri,
        error,
        provenance,
        stage=stage,
        error_type=error_type,
        attempt=track.attempt if attempt is None else attempt,
        worker=worker_name(),
        source_size_bytes=state.size if state else None,
        source_modified_at=state.modified_at if state else None,
    )
    row["message"] = row["message"].encode("utf-8", "backslashreplace").decode()[:MAX_MESSAGE]
    return row


def _out_of_memory(error: object) -> bool:
    """Whether the device (not the machine) has run out of memory."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError)


def _free_device_memory() -> None:
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def check_worker(dataset: Place, model_path: str, sha256: str) -> str | None:
    """What keeps this process from working for a run, None when nothing does. Runs on every worker at the start."""
    from stemfeatures.models.checkpoints import resolve_analysis

    if isinstance(dataset, Url):
        try:
            DatasetLayout.open(dataset)
        except DatasetError as error:
            return f"cannot read {dataset}: {error.message}"
    elif not dataset.is_dir() or not os.access(dataset, os.W_OK):
        return f"cannot write to {dataset}: workers and driver must share this folder"
    try:
        checkpoint, _ = resolve_analysis(model_path)
    except ModelError as error:
        return str(error)
    if checkpoint.sha256 != sha256:
        return f"{model_path} is another checkpoint here than at the driver"
    return None
