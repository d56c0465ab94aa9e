"""The unit of work: some rows of a catalogue go in, part files come out, and a receipt of what they hold.

:func:`process_shard` is a plain function. It is called in a loop, or on a Dask worker; tasks and receipts are small
and can be pickled, and audio, frames and rows never leave the process. It may run twice, or die: nothing counts until
the driver commits the receipt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from stemfeatures._util.clock import awake_s
from stemfeatures._util.devices import is_cpu
from stemfeatures._util.urls import Place, place_of
from stemfeatures.errors import AudioError, DatasetError, ModelError, StemfeaturesError
from stemfeatures.tables.layout import DatasetLayout, require_there
from stemfeatures.tables.parts import write_part

from ..catalog import printable
from . import threads
from .lane import TRACKS_BEHIND, Lane
from .loaded import LOAD_TIMEOUT_S, forget_analyser, free_device_memory, load_analyser, out_of_memory
from .lyrics import LyricsListener, wants_lyrics
from .prefetch import OPEN_TIMEOUT_S, FileState, PrefetchStream, TrackTimeout, prefetched
from .rows import analysed_rows, failure_row, worker_name
from .stop import STOP_PATIENCE_S, StopFile
from .tasks import ShardReceipt, ShardTask, TrackFailure, TrackOutcome, TrackTask
from .tracing import ShardSpans
from .watch import Watched, in_time

if TYPE_CHECKING:
    import pyarrow as pa

    from stemfeatures.analysis import Analyser, Preparation, TrackAnalysis, TrackStems, UndescribedTrack

log = logging.getLogger(__name__)

#: Tracks that are decoded ahead of the one the network works on.
TRACKS_AHEAD = 1
#: A shard ends after so long with what is finished, and the rest becomes another: no more is lost with a process.
PIECE_S = 120.0
#: What workers call the events by which they tell of each track, long before its shard comes back.
OUTCOMES = "stemfeatures-tracks"
#: The rows of a shard may take this long to be written.
WRITE_TIMEOUT_S = 900.0
#: By how much the limit of progress exceeds those of the decoder, which say better what is wrong.
STALL_MARGIN_S = 2.0


def process_on_worker(task: ShardTask) -> ShardReceipt:
    """:func:`process_shard` as a Dask task: with the thread policy of a worker, and an event for each track."""
    from distributed import get_worker

    threads.configure_worker()

    def tell(outcome: TrackOutcome) -> None:
        with suppress(Exception):  # not in a worker, or the scheduler has gone: a receipt tells it again
            get_worker().log_event(OUTCOMES, {"run_id": task.provenance.run_id, **outcome.packed()})

    receipt = process_shard(task, on_track=tell, leave_when_stuck=True)
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
    return in_time(work.write, limit_s=WRITE_TIMEOUT_S, late=lambda what: _cannot_write(task, what))


def _cannot_write(task: ShardTask, what: str) -> DatasetError:
    return DatasetError(f"cannot write to {task.dataset}: {what}")  # a file system that does not answer


def _open(dataset: str | Place) -> DatasetLayout:
    try:
        return DatasetLayout.open(dataset)
    except DatasetError as error:
        require_there(DatasetLayout(place_of(dataset)), "cannot go on", error)
        raise


def describes_aside(device: str) -> bool:
    """Whether tracks are described in a thread of their own, so that the device does not wait: a CPU would only share
    its core, and hold the frames of several tracks."""
    return not is_cpu(device)


@dataclass
class _Outcome:
    """What becomes of a track behind the network: its rows, or the error of a row and its stage."""

    audio_s: float = 0.0
    status: str = "ok"
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
        self.spans = ShardSpans(task.name, on=task.traced)
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
            what = "network" if self.task.separator is None else "separator"
            source = self.task.separator or self.task.model_path
            raise ModelError(f"the {what} is not loaded within {LOAD_TIMEOUT_S:g} s", source=source)
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
        self.spans.end(track.track_id, f"{type(error).__name__}: {error}")
        del self.left[track.track_id]
        return True

    def _patience_s(self, stream: PrefetchStream) -> float:
        """Seconds without progress after which the analysis is given up; decoding has its own limits, a bit lower."""
        return stream.limit_s + max(STALL_MARGIN_S, OPEN_TIMEOUT_S if self.task.track_timeout_s is None else 0.0)

    def _analyse(self) -> None:
        """Analyse all tracks in shared batches: in smaller ones when they do not fit the device, and one track at a
        time when a batch fails, so that only the track that causes it ends in ``errors``."""
        self.analyser.configure(requested=self.task.tables)
        batch_size = self.analyser.batch_size
        while not self.alone:
            failure = self._together()
            if not self.left or self.is_over():
                return
            batch_size = self.analyser.batch_size
            if batch_size == 1 or not out_of_memory(failure):
                break
            log.warning("out of device memory with batches of %d segments; trying %d", batch_size, batch_size // 2)
            failure = None  # its traceback holds tensors
            free_device_memory()
            self.analyser.configure(batch_size=batch_size // 2)
        self._one_by_one()
        self.analyser.configure(batch_size=batch_size)

    def _together(self) -> Exception | None:
        """Analyse what is left; the failure of a batch, which several tracks may have shared, ends it early."""
        started = time.perf_counter()
        on_frames = None if self.lyrics is None else self.lyrics.on_frames
        results = self.analyser.undescribed(self._sources(), on_frames=on_frames)
        lane = self.lane = Lane(aside=self.aside)
        failure: Exception | None = None
        try:
            while failure is None:
                asked_ns = time.time_ns()
                try:
                    track_id, found = next(results)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                track = self.left[track_id]
                self.spans.add(track_id, "network", asked_ns)
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
        shared = self.analyser.batch_size > 1 or out_of_memory(error)
        if shared and not isinstance(error, AudioError):
            return error
        self._record(track, error)
        return None

    def _describe(self, track: TrackTask, describe: Callable[[], TrackAnalysis], stage: str = "describe") -> _Outcome:
        """Make the rows of one track; in the lane behind the network. Raises what ``describe`` raises."""
        with self.spans.stage(track.track_id, stage):
            result = describe()
        started, started_ns = time.perf_counter(), time.time_ns()
        stream = self.streams[track.track_id]
        outcome = _Outcome(result.decoded_duration_s, result.status)
        try:
            lyrics = None if self.lyrics is None else self.lyrics.describe(track.track_id, result)
            outcome.tables = [
                analysed_rows(
                    self.task, self.layout, row, result,
                    tags=stream.tags, state=self._state(row, track), lyrics=lyrics,
                )
                for row in track.rows
            ]  # fmt: skip
        except Exception as error:
            outcome.error, outcome.stage = error, None if isinstance(error, StemfeaturesError) else "tables"
        outcome.rows_s = time.perf_counter() - started
        self.spans.add(track.track_id, "rows", started_ns)
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
            on_file=None if self.lyrics is None else self.lyrics.find,
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
        self.spans.begin(track_id, stream.began_ns)
        self.thread.alive(self._patience_s(stream))

    def _one_by_one(self) -> None:
        started = time.perf_counter()
        for track in list(self.left.values()):
            if self.is_over():
                break
            self.analyser.configure(batch_size=1)
            stream = PrefetchStream(
                track.path,
                timeout_s=self.task.track_timeout_s,
                limits=self.task.limits,
                cache_bytes=self.task.cache_bytes,
                prepare=self._prepare(),
                on_file=None if self.lyrics is None else partial(self.lyrics.find, track.track_id),
                alive=self.thread.alive,
            )
            self._begin(track.track_id, stream)
            try:
                stems = self._stems(track)
                with stream.open():
                    self.thread.alive(self._patience_s(stream))
                    on_frames = None if self.lyrics is None else partial(self.lyrics.on_frames, track.track_id)
                    describe = partial(self.analyser.from_stream, stream, stems=stems, on_frames=on_frames)
                    outcome: _Outcome | Exception = self._describe(track, describe, "analyse")
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
                if outcome.status != "ok":
                    self.receipt.statuses |= {row.track_id: outcome.status for row in track.rows}
            del self.left[track.track_id]
            self.receipt.stage_s["decode"] += stream.decode_s
            self.receipt.stage_s["wait"] += stream.wait_s
            self.receipt.stage_s["rows"] += time.perf_counter() - started + outcome.rows_s
            self.receipt.stage_s["analyse"] -= inside_s + stream.wait_s
        self.spans.add(track.track_id, "decode", stream.began_ns, stream.ended_ns, busy_s=stream.decode_s)
        message = None if error is None else f"{type(error).__name__}: {error}"
        self.spans.end(track.track_id, message, audio_s=outcome.audio_s, status=outcome.status)
        for row in track.rows:
            counts = outcome.audio_s if row is track and not failures else 0.0
            self.thread.tell(TrackOutcome(row.track_id, counts, failures.get(row.track_id)))

    def _state(self, row: TrackTask, opened: TrackTask) -> FileState | None:
        return self.streams[opened.track_id].file_state if row is opened else FileState.of(row.path)

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
        started, started_ns = time.perf_counter(), time.time_ns()
        import pyarrow as pa

        rows: dict[str, Any] = {name: pa.concat_tables(made) for name, made in self.tables.items()}
        if self.errors:
            rows["errors"] = self.errors
        self.receipt.parts = [write_part(self.layout, name, some, shard=self.task.name) for name, some in rows.items()]
        self.receipt.stage_s["write"] += time.perf_counter() - started
        self.receipt.span = self.spans.finish(
            started_ns,
            worker=self.receipt.worker,
            n_done=len(self.receipt.audio_s),
            n_failed=len(self.receipt.failures),
        )
        return self.receipt
