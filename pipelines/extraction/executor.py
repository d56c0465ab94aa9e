"""What an executor is, and the plain loop in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Protocol, TypeAlias

from stemfeatures.errors import ModelError

from . import threads
from .loaded import LOAD_TIMEOUT_S, forget_analyser, load_analyser
from .shard import process_shard
from .stop import STOP_PATIENCE_S, StopRequest
from .tasks import ShardReceipt, ShardTask, TrackOutcome, TrackTask
from .watch import in_time

#: A shard that fails for no fault of a track (full disk, lost network drive) is tried so often, then the run ends.
SHARD_ATTEMPTS = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerCrash:
    """A track that crashed each worker process it was given to, or needs more memory than one may use."""

    track: TrackTask
    crashes: int
    message: str
    stage: str = "worker"
    error_type: str = "WorkerCrash"


Outcome: TypeAlias = ShardReceipt | WorkerCrash
#: Called as each track is through, in the thread that iterates over the outcomes of shards.
OnTrack: TypeAlias = "Callable[[TrackOutcome], None]"


class Executor(Protocol):
    """A context manager that processes shards."""

    @property
    def n_workers(self) -> int: ...

    def prepare(self, task: ShardTask, stop: StopRequest) -> None: ...

    def run(
        self, shards: Iterable[ShardTask], stop: StopRequest, on_track: OnTrack | None = None
    ) -> Iterator[Outcome]: ...

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LoopExecutor:
    """One shard after the other in this process. A track that crashes the process ends the run."""

    def __init__(self) -> None:
        self._memory = ExitStack()

    @property
    def n_workers(self) -> int:
        return 1

    def prepare(self, task: ShardTask, stop: StopRequest) -> None:
        """Load the network, so that the first track is not timed with it; ModelError where that takes too long."""

        def load() -> None:
            with threads.single_threaded():
                load_analyser(task)

        late = partial(ModelError, source=task.separator or task.model_path)
        try:
            in_time(load, limit_s=LOAD_TIMEOUT_S, late=late, stop=stop, stop_patience_s=STOP_PATIENCE_S)
        except BaseException:
            forget_analyser()
            raise

    def __enter__(self) -> LoopExecutor:
        self._memory.enter_context(threads.keeping_memory())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.close()

    def run(self, shards: Iterable[ShardTask], stop: StopRequest, on_track: OnTrack | None = None) -> Iterator[Outcome]:
        for shard in shards:
            left: ShardTask | None = shard
            while left is not None:
                if stop():
                    return
                receipt = self._attempt(left, stop, on_track)
                yield receipt
                left = left.without(receipt)

    def _attempt(self, shard: ShardTask, stop: StopRequest, on_track: OnTrack | None) -> ShardReceipt:
        for attempt in range(1, SHARD_ATTEMPTS + 1):
            try:
                with threads.single_threaded():
                    return process_shard(shard, on_track=on_track, stop=stop)
            except Exception as error:
                if attempt == SHARD_ATTEMPTS:
                    raise
                log.warning("shard %s: %s; trying again", shard.name, error)
        raise AssertionError
