"""Where shards are processed: in this process, on a local Dask cluster, or on a scheduler that exists.

All three run :func:`~.shard.process_shard` and yield the outcome of each shard as it happens; the caller commits.

Notes
-----
When a worker crashes, Dask reports every shard that was on the worker, not the one that caused the crash. So these
shards are halved and tried again among the others, until they are single tracks. Single tracks are judged on a worker
of their own, one at a time, while the others go on: a track that crashes it ``MAX_CRASHES`` times becomes a
:class:`WorkerCrash`. A scheduler that was there before has no such worker; there they wait until everything else is
done, and are tried with nothing else running.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stemfeatures._util.pools import is_script
from stemfeatures._util.python_process import SAFE_PATH, environment_as_here, variables_as_before
from stemfeatures._util.urls import Place
from stemfeatures._util.words import size
from stemfeatures.errors import ClusterError, LostSchedulerError

from ..catalog import printable
from . import threads
from .executor import SHARD_ATTEMPTS, OnTrack, Outcome, WorkerCrash
from .fork_server import start_fork_server
from .loaded import LOAD_TIMEOUT_S, check_worker
from .shard import OUTCOMES, process_on_worker
from .stop import STOP_PATIENCE_S, StopRequest
from .tasks import ShardReceipt, ShardTask, TrackOutcome
from .workers import Patience, PausedWorkers, killed_for_memory, limited, slots, worker_info

if TYPE_CHECKING:
    from distributed import Client, Future, Security, SpecCluster

log = logging.getLogger(__name__)

#: Workers that a single track may crash, alone on the cluster, before it is given up.
MAX_CRASHES = 2
#: Workers that are restarted since Dask has paused them, without any shard that comes back in between.
MAX_RESTARTS = 10
#: Shards that are submitted at a time, per worker: enough to keep it busy, and bounded whatever the catalogue.
WINDOW = 2.5
POLL_S = 1.0
CONNECT_TIMEOUT_S = 12.0
#: How long a cluster may be without any worker before the run ends.
NO_WORKER_TIMEOUT_S = 300.0
#: Workers that are asked to stop may take so long, a bit longer than their tracks in work.
STOP_TIMEOUT_S = STOP_PATIENCE_S + 10.0
RESTART_TIMEOUT_S = 60.0
#: The worker for suspects may be away for so long; Dask does not start one again that died while it started.
JUDGE_TIMEOUT_S = 60.0
#: What to do where Dask's limit of memory is too low for the network alone.
MORE_MEMORY = "start the workers with a larger --memory-limit"
#: How long a scheduler may be away before the run ends.
RECONNECT_TIMEOUT_S = 120.0
#: What a worker of :func:`local_cluster` has one of, and what the worker for suspects has.
SHARD, JUDGE = {"SHARD": 1.0}, {"JUDGE": 1.0}
#: How much of the machine's memory that worker may take.
JUDGE_MEMORY = 0.5
#: A worker gets this much memory, and so much more for each hour of its longest track: more than
#: benchmarks/extraction_memory.py measures, for frames take it where the temporary folder has no room or is memory.
#: Decides how many a machine gets by default.
WORKER_BYTES, WORKER_BYTES_PER_HOUR = 1.7e9, 1.7e9


#: Of the small web servers that Dask starts: any free port, not reachable from outside. They have no pages either:
#: whoever may log in to this machine could read paths and stacks there.
_NO_PORT = "127.0.0.1:0"
_NO_PAGES: dict[str, list[str]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
#: Of a worker: what it holds is networks and one track, not results, so there is nothing to spill, and a pause would be
#: for ever. The profiler's history of calls would grow to hundreds of megabytes a night.
_WORKER_CONFIG = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.profile.enabled": False,
    **_NO_PAGES,
}


class ClusterExecutor:
    """Shards as Dask tasks. Use :func:`local_cluster` or :func:`existing_scheduler` to make one.

    Parameters
    ----------
    client : Client
        Of the cluster; closed at the end of the block, together with ``closing``.
    resources : dict, optional
        What a shard needs of a worker, e.g. ``{"GPU": 1}``.
    judge : callable, optional
        Sees that there is a worker with the resource ``JUDGE``, for tracks that are suspected of crashing theirs; with
        ``True`` another one.
    connect : callable, optional
        Makes another client when this one has given up a scheduler that went away, which it does after some seconds.
    """

    def __init__(
        self,
        client: Client,
        *,
        closing: ExitStack,
        resources: dict[str, float] | None = None,
        judge: Callable[[bool], None] | None = None,
        connect: Callable[[], Client] | None = None,
    ) -> None:
        self.client, self.resources = client, resources or {}
        self.address = str(client.scheduler.address) if client.scheduler is not None else ""
        self._closing, self._judge, self._connect = closing, judge, connect
        self._workerless, self._mute = Patience(NO_WORKER_TIMEOUT_S), Patience(RECONNECT_TIMEOUT_S)
        self._paused, self._judgeless, self._is_judging = PausedWorkers(), Patience(JUDGE_TIMEOUT_S), False
        self._restarted: set[str] = set()
        self._n_workers = self._n_restarts = 0
        self._ask_at = 0.0
        self._stop = StopRequest()
        self._run_id = ""
        self._told: deque[dict[str, Any]] = deque()
        self._on_track: OnTrack | None = None

    def __enter__(self) -> ClusterExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    @property
    def n_workers(self) -> int:
        """Shards that can be processed at a time, as far as is known; the scheduler is asked now and then."""
        if time.monotonic() >= self._ask_at:
            with suppress(ClusterError):
                self._n_workers = slots(worker_info(self.client), self.resources)
            self._ask_at = time.monotonic() + POLL_S
        return self._n_workers

    def prepare(self, task: ShardTask, stop: StopRequest) -> None:
        """Nothing: each worker loads the network when its first shard comes."""

    def check_resources(self) -> None:
        """Raise ClusterError unless there are workers that can take a shard."""
        workers = worker_info(self.client)
        if not slots(workers, self.resources):
            if not workers:
                raise ClusterError("the scheduler has no workers", source=self.address)
            need = ", ".join(f"{name}={amount:g}" for name, amount in self.resources.items())
            raise ClusterError(
                f"none of the {len(workers)} workers has the resource {need}, shards would wait for ever; start one "
                f"worker per device with: dask worker {self.address} --nthreads 1 "
                f"--resources {need.replace(', ', ' ')!r}",
                source=self.address,
            )

    def check(self, dataset: Place, model_path: str, sha256: str) -> None:
        """Raise ClusterError unless the workers see the dataset and the checkpoint, and have the memory to load it."""
        workers = worker_info(self.client)
        try:
            answers = limited(
                lambda: self.client.run(check_worker, dataset, model_path, sha256, on_error="return"),
                limit_s=LOAD_TIMEOUT_S,
                what="a worker",
            )
        except Exception as error:
            raise ClusterError(f"the workers do not answer: {error}") from error
        for worker, answer in sorted(answers.items()):
            if answer is not None:
                lost = isinstance(answer, OSError) and killed_for_memory(self.client, worker)
                limit = workers.get(worker, {}).get("memory_limit", 0)
                message = f"loading the network needs more than its {size(limit)}; {MORE_MEMORY}" if lost else answer
                raise ClusterError(str(message), source=f"worker {worker}")
        if n := trimming_workers(self.client):
            log.warning("%s", threads.trim_advice(n, len(answers)))

    def run(self, shards: Iterable[ShardTask], stop: StopRequest, on_track: OnTrack | None = None) -> Iterator[Outcome]:
        self._stop, self._on_track, self._run_id = stop, on_track, ""
        self._listen()
        queue = deque(shards)
        singles: deque[ShardTask] = deque()
        pending: dict[Future, ShardTask] = {}
        judged: _Judged | None = None
        attempts: dict[str, int] = {}
        asked_to_stop = Patience(STOP_TIMEOUT_S)
        try:
            while queue or pending or singles or judged:
                while queue and not stop() and self._connected() and len(pending) < self._window():
                    task = queue.popleft()
                    pending[self._submit(task)] = task
                alone = self._judge is not None or not (queue or pending)
                if judged is None and singles and alone and not stop() and self._connected():
                    judged = self._judge_next(singles.popleft())
                if not pending and judged is None:  # all of the rest is left for the next run
                    return
                running = [*pending, *([judged.future] if judged else [])]
                for future in self._finished(running, asked_to_stop):
                    if judged is not None and future is judged.future:
                        outcome, judged = self._verdict(judged, attempts)
                        if outcome is not None:
                            yield outcome
                        continue
                    task = pending.pop(future)
                    receipt = self._result(future, task, attempts)
                    if receipt is not None:
                        yield receipt
                        if not stop() and (left := task.without(receipt)) is not None:
                            queue.appendleft(left)
                    elif _crashed(future):
                        log.warning("shard %s (%d tracks): its worker crashed", task.name, len(task.tracks))
                        if len(task.tracks) > 1:
                            queue.extendleft(reversed(task.halves()))
                        else:
                            singles.append(task)
                    else:
                        queue.append(task)
                if asked_to_stop.is_over:  # they had the time to come to an end
                    return
        finally:
            if unfinished := [*pending, *([judged.future] if judged else [])]:
                with suppress(Exception):
                    limited(lambda: self.client.cancel(unfinished, force=True))

    def _judge_next(self, task: ShardTask, crashes: int = 0) -> _Judged:
        """Give a shard of one track to the worker that is kept for this, or to any, as nothing else is running."""
        if self._judge is not None:
            self._judge(False)
            self._is_judging = True
        resources = JUDGE if self._judge is not None else self.resources
        return _Judged(self._submit(task, resources), task, crashes)

    def _verdict(self, judged: _Judged, attempts: dict[str, int]) -> tuple[Outcome | None, _Judged | None]:
        """The outcome of a track that was tried on its own, or its next try."""
        self._is_judging = False
        self._judgeless.end()
        receipt = self._result(judged.future, judged.task, attempts)
        if receipt is not None:
            return receipt, None
        crashes = judged.crashes + _crashes(judged.future)
        too_large = self._memory_limit(judged.future)
        if crashes < MAX_CRASHES and too_large is None:
            go_on = not self._stop() and self._connected()
            return None, self._judge_next(judged.task, crashes) if go_on else None
        track = judged.task.tracks[0]
        if too_large is None:
            crash = WorkerCrash(track, crashes, crash_message(crashes, judged.task.separator))
        else:
            crash = WorkerCrash(track, crashes, memory_advice(too_large), stage="memory", error_type="MemoryLimit")
        log.warning("%s: %s", printable(track.source_uri), crash.message)
        return crash, None

    def _memory_limit(self, future: Future) -> int | None:
        """The limit in bytes that the worker of a track came to, and was killed for; None: it was not."""
        if not _crashed(future):
            return None
        worker = future.exception().last_worker
        with suppress(Exception):  # the scheduler has gone meanwhile
            if worker.address in self._restarted or killed_for_memory(self.client, worker.address):
                return int(worker.memory_limit)
        return None

    def _window(self) -> int:
        return max(2, math.ceil(WINDOW * self.n_workers))

    def _submit(self, task: ShardTask, resources: dict[str, float] | None = None) -> Future:
        # Dask must not know two submissions of a shard for the same task: the second is meant to run.
        self._run_id = task.provenance.run_id
        key = f"extract-{task.provenance.run_id}-{task.name}-{os.urandom(4).hex()}"
        return self.client.submit(
            process_on_worker, task, key=key, pure=False, resources=resources or self.resources or None, retries=0
        )

    def _listen(self) -> None:
        """Hear of each track from now on; in the thread of the client, so that they are kept for :meth:`_tell`."""
        self._told.clear()
        with suppress(Exception):  # the scheduler has gone
            self.client.subscribe_topic(OUTCOMES, self._hear)

    def _hear(self, event: tuple[float, Any]) -> None:
        """Keep what is of this run: others may share the scheduler, and this client outlasts its runs."""
        _, told = event
        if isinstance(told, dict) and told.get("run_id") == self._run_id:
            self._told.append(told)

    def _tell(self) -> None:
        """Pass on what was heard of the tracks of this run."""
        while self._told:
            heard = self._told.popleft()
            if self._on_track is not None:
                self._on_track(TrackOutcome.unpacked(heard))

    def _finished(self, pending: list[Future], asked_to_stop: Patience) -> list[Future]:
        """Wait until a shard is through, or until it is late; ClusterError when the cluster is gone."""
        from distributed import wait

        while True:
            if self._stop():
                asked_to_stop.begin()
                if asked_to_stop.is_over:
                    return []
            try:
                with self.client.as_current():
                    wait(pending, timeout=POLL_S, return_when="FIRST_COMPLETED")
            except TimeoutError:
                self._tell()
                self._require_workers()
                continue
            except Exception as error:  # cancelled: the scheduler has gone
                self._reconnect(error)
            else:
                self._tell()  # here, too: with many workers some shard is always through
                self._workerless.end()
                self._n_restarts = 0
            return [future for future in pending if future.done()]

    def _result(self, future: Future, task: ShardTask, attempts: dict[str, int]) -> ShardReceipt | None:
        """The receipt; None when the shard must be tried again; raises when it has failed too often."""
        from distributed import KilledWorker

        if future.status == "finished":
            try:
                receipt = future.result()
            except (CancelledError, KilledWorker):  # its worker crashed on the next shard, with the receipt
                log.warning("shard %s: the receipt was lost with its worker; trying again", task.name)
                return None
            future.release()
            if receipt.stuck:
                self._replace_worker(receipt.address)
            return receipt
        if _crashed(future) or future.status in ("cancelled", "lost"):
            return None
        error = future.exception()
        attempts[task.name] = attempts.get(task.name, 0) + 1
        if attempts[task.name] >= SHARD_ATTEMPTS:
            raise error
        log.warning("shard %s: %s; trying again", task.name, error)
        return None

    def _replace_worker(self, address: str) -> None:
        """Restart a process in which an analysis hangs."""
        try:
            self.client.restart_workers([address], timeout=RESTART_TIMEOUT_S, raise_for_error=False)
        except Exception as error:  # a worker without a nanny: it goes on beside the thread that hangs
            log.warning("worker %s cannot be restarted: %s", address, error)

    def _connected(self) -> bool:
        """Whether the scheduler is there, or is back after a while; False when somebody asks to stop meanwhile."""
        if self.client.status != "running":
            self._reconnect()
        return bool(self.client.status == "running")

    def _reconnect(self, error: Exception | None = None) -> None:
        """Wait until a scheduler that has gone is back; what it had to do is submitted again."""
        patience = Patience(RECONNECT_TIMEOUT_S)
        patience.begin()
        log.warning("%s: lost the scheduler; waiting up to %g s for it", self.address, RECONNECT_TIMEOUT_S)
        while not patience.is_over:
            if self.client.status == "running" or self._stop():
                self._listen()
                return
            if self.client.status in ("closing", "closed") and self._connect is not None:
                with suppress(Exception):  # it is not there yet
                    self.client = self._connect()
                    self._listen()
                    return
            time.sleep(POLL_S)
        why = f": {type(error).__name__}: {str(error).splitlines()[0]}" if error is not None and str(error) else ""
        raise self._lost(f"has gone, and is not back within {RECONNECT_TIMEOUT_S:g} s{why}") from error

    def _lost(self, what: str) -> LostSchedulerError:
        return LostSchedulerError(
            f"the scheduler {what}; what was finished is saved, and the same command goes on from there",
            source=self.address,
        )

    def _require_workers(self) -> None:
        if not self._connected():
            return
        try:
            workers = worker_info(self.client)
        except ClusterError as error:
            self._mute.begin()
            if self._mute.is_over:
                raise self._lost(f"does not answer for {RECONNECT_TIMEOUT_S:g} s") from error
            return
        self._mute.end()
        self._n_workers = slots(workers, self.resources)
        self._require_judge(workers)
        for address in self._paused.idle(workers):
            self._wake(address, workers[address].get("memory_limit", 0))
        if self._n_workers:
            self._workerless.end()
            return
        self._workerless.begin()
        if self._workerless.is_over:
            raise ClusterError(f"no usable worker for {NO_WORKER_TIMEOUT_S:g} s")

    def _require_judge(self, workers: dict[str, dict[str, Any]]) -> None:
        if not self._is_judging or slots(workers, JUDGE):
            self._judgeless.end()
            return
        self._judgeless.begin()
        if self._judgeless.is_over and self._judge is not None:
            self._judgeless.end()
            self._judge(True)

    def _wake(self, address: str, limit: int) -> None:
        """Restart a worker that Dask has paused; ClusterError when that has been in vain too often."""
        self._n_restarts += 1
        if self._n_restarts > MAX_RESTARTS:
            raise ClusterError(
                f"Dask pauses the workers before they have done anything: {size(limit)} of memory are too few; "
                f"{MORE_MEMORY}",
                source=self.address,
            )
        log.warning("worker %s: Dask has paused it near its memory limit of %s; restarting it", address, size(limit))
        self._restarted.add(address)
        self._replace_worker(address)


@dataclass
class _Judged:
    """A track that is tried on its own, and how many workers it has crashed so."""

    future: Future
    task: ShardTask
    crashes: int


def _crashed(future: Future) -> bool:
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _crashes(future: Future) -> int:
    """How many workers a task that is done has crashed: a scheduler tries it again as often as it is told to."""
    return 1 + int(getattr(future.exception(), "allowed_failures", 0)) if _crashed(future) else 0


def crash_message(crashes: int, separator: str | None) -> str:
    """What to tell of a track that ends each process it is given to."""
    if separator is None:
        what = "a crash in a decoder, or the memory of the machine"
    else:
        what = f"a crash in the separator {printable(separator)} or in a decoder, or the memory of the machine"
    return f"the worker process crashed on this track, {crashes} times with nothing else in it ({what})"


def memory_advice(limit: int) -> str:
    """What to tell of a track that needs more memory than a worker may use."""
    return (
        f"the analysis needs more memory than its worker may use ({size(limit)}); give each worker more: fewer --jobs, "
        "or dask worker --memory-limit"
    )


def trimming_workers(client: Client) -> int:
    """Workers whose allocator gives memory back so eagerly that it costs them time, see :mod:`.threads`."""
    answers = client.run(threads.trim_threshold, on_error="return")
    return sum(isinstance(answer, int) for answer in answers.values())


def default_jobs(most: int, *, longest_s: float = 0.0) -> int:
    """Worker processes for this machine: its cores (those we may use), its memory, at most ``most``.

    ``longest_s`` is the length of the longest track in seconds.
    """
    if most < 2:
        return 1
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return max(1, min(CPU_COUNT, int(MEMORY_LIMIT // worker_bytes(longest_s)), most))


def worker_bytes(longest_s: float) -> float:
    """Memory that a worker should have for tracks of up to so many seconds."""
    return WORKER_BYTES + WORKER_BYTES_PER_HOUR * longest_s / 3600


def have_memory(n_workers: int, longest_s: float) -> bool:
    """Whether each of so many processes will have the memory that the longest track may need."""
    from distributed.system import MEMORY_LIMIT

    return bool(MEMORY_LIMIT / n_workers >= worker_bytes(longest_s))


def warn_of_long_tracks(n_workers: int, longest_s: float) -> None:
    """Say so when the longest track may need more memory than each of so many processes will have."""
    if n_workers > 1 and not have_memory(n_workers, longest_s):
        from distributed.system import MEMORY_LIMIT

        log.warning(
            "each of %d processes has %s of memory; the longest track, of %.0f minutes, may need %s: with fewer --jobs "
            "it would have them", n_workers, size(int(MEMORY_LIMIT / n_workers)), longest_s / 60,
            size(int(worker_bytes(longest_s))),
        )  # fmt: skip


def local_cluster(n_workers: int, *, device: str) -> ClusterExecutor:
    """Worker processes on this machine, one thread each; with ``device="cuda"`` each has a GPU of its own.

    They import the main module: a script that starts a run must do so under ``if __name__ == "__main__":``. They talk
    by TLS with a key of this run's own, which never leaves the memory of its processes: whoever can open a connection
    to a Dask scheduler can run code as its user, and a port of the loopback device is open to all users of a machine.
    """
    import dask
    from distributed import Client, Scheduler, Security, SpecCluster

    method = start_fork_server()
    security = Security.temporary()
    workers, judge = _workers(n_workers, device=device, security=security)
    closing = ExitStack()
    closing.enter_context(_environment_as_before())
    closing.enter_context(_quiet_distributed())
    # Dask gives up a worker that is down so long after it was down before; ours come back however often tracks crash
    # them, and NO_WORKER_TIMEOUT_S ends a run without workers. Read at each loss, so set for the whole run.
    while_it_runs = {
        "distributed.deploy.lost-worker-timeout": "7 days",
        "distributed.worker.multiprocessing-method": method,
    }
    closing.enter_context(dask.config.set(while_it_runs))
    try:
        # No retries by the scheduler: which track crashes a worker is found out above.
        with dask.config.set({"distributed.scheduler.allowed-failures": 0, **_NO_PAGES}):
            cluster = SpecCluster(
                workers=workers,
                worker=judge,  # what scaling up adds
                scheduler={"cls": Scheduler, "options": _scheduler_options(security)},
                security=security,
                name="stemfeatures",
            )
        closing.callback(cluster.close, timeout=30)
        client = Client(cluster, set_as_default=False)
        closing.callback(client.close)
        client.wait_for_workers(n_workers, timeout=120)
    except BaseException as error:
        closing.close()
        if isinstance(error, (OSError, RuntimeError, TimeoutError)):
            hint = "; a script must start it under if __name__ == '__main__':" if is_script() else ""
            raise ClusterError(f"cannot start {n_workers} worker processes: {error}{hint}") from error
        raise

    see_to_it = partial(see_to_judge, cluster, frozenset(workers))
    return ClusterExecutor(client, closing=closing, resources=SHARD, judge=see_to_it)


def see_to_judge(cluster: SpecCluster, workers: frozenset[Any], another: bool) -> None:
    """Have one worker besides ``workers``, the names of the others; ``another`` than the one that there may be.

    The judge that goes is named: to scale down, Dask takes workers first that are about to start again. So is the one
    that comes: Dask gives a name that is free to the next, and takes who had it for that one.
    """
    if another:
        name = 1 + max([*cluster.workers, *cluster.worker_spec])
        for judge in [each for each in cluster.worker_spec if each not in workers]:
            del cluster.worker_spec[judge]
        cluster.worker_spec[name] = cluster.new_spec
    cluster.scale(len(workers) + 1)


def _workers(n_workers: int, *, device: str, security: Security) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """What a cluster starts: its workers, and the one with more memory that judges tracks which killed another."""
    import dask
    from distributed import Nanny
    from distributed.system import MEMORY_LIMIT

    before_it_starts = {**threads.MEMORY_ENVIRONMENT, **environment_as_here()}

    class KeepingNanny(Nanny):
        """Starts workers whose allocator keeps memory; also after a Nanny of Dask left its own setting here."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.pre_spawn_env = {**self.pre_spawn_env, **before_it_starts}

    gpus = visible_gpus() if device == "cuda" else []
    preload = dask.config.get("distributed.worker.preload")
    preload = [*([preload] if isinstance(preload, str) else preload), threads.__name__]
    options: dict[str, Any] = {
        "nthreads": 1,
        "host": "127.0.0.1",
        "memory_limit": int(MEMORY_LIMIT / n_workers),
        "dashboard_address": _NO_PORT,
        "preload": preload,
        "silence_logs": logging.ERROR,
        "config": _WORKER_CONFIG,
        "protocol": "tls://",
        "security": security,
    }
    workers = {}
    for i in range(n_workers):
        # The fork server may have been started long before.
        environment = {**os.environ, **threads.WORKER_ENVIRONMENT, **threads.MEMORY_ENVIRONMENT}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[i % len(gpus)]
        more = {"env": environment, "resources": SHARD}
        workers[i] = {"cls": KeepingNanny, "options": {**options, **more}}
    # A long track may need more memory than a worker has; it is killed there, and has room here.
    room = max(options["memory_limit"], int(JUDGE_MEMORY * MEMORY_LIMIT))
    judge = {"cls": KeepingNanny, "options": {**options, **more, "resources": JUDGE, "memory_limit": room}}
    return workers, judge


def _scheduler_options(security: Security) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": 0,
        "protocol": "tls://",
        "security": security,
        "dashboard": False,
        "dashboard_address": _NO_PORT,
    }


@contextmanager
def _environment_as_before() -> Iterator[None]:
    """Take back what Nannies set in the environment of this process: its own allocator is not that of the workers, and
    what it starts later is not a worker."""
    import dask

    nanny = {"PYTHONHASHSEED", "__DASK_PARENT_PID"}
    names = {
        *threads.MEMORY_ENVIRONMENT,
        *SAFE_PATH,
        *nanny,
        *dask.config.get("distributed.nanny.pre-spawn-environ", {}),
    }
    with variables_as_before(names):
        yield


@contextmanager
def _quiet_distributed() -> Iterator[None]:
    """Hide what Dask logs, except at level DEBUG: this module logs what matters of it."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    before = [logger.level for logger in loggers]
    if not log.isEnabledFor(logging.DEBUG):
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)


def existing_scheduler(address: str, *, device: str) -> tuple[ClusterExecutor, str]:
    """Connect to a scheduler; with the device its workers shall use (for ``"auto"``: ``cuda`` if any has a GPU).

    Raises ClusterError when it cannot be reached or has no workers.
    """
    from distributed import Client

    closing = ExitStack()

    def connect() -> Client:
        _require_reachable(address)
        client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
        closing.callback(client.close)
        return client

    closing.enter_context(_quiet_distributed())
    try:
        client = connect()
    except ClusterError:
        closing.close()
        raise
    except Exception as error:
        closing.close()
        raise ClusterError(f"cannot reach a scheduler there: {error}", source=address) from error
    try:
        client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_S)
    except TimeoutError as error:
        closing.close()
        raise ClusterError(f"the scheduler has no workers (waited {CONNECT_TIMEOUT_S:g} s)", source=address) from error
    if device == "auto":
        device = "cuda" if slots(worker_info(client), {"GPU": 1}) else "cpu"
    resources = {"GPU": 1.0} if device.startswith("cuda") else None
    return ClusterExecutor(client, closing=closing, resources=resources, connect=connect), device


def _require_reachable(address: str) -> None:
    """ClusterError unless a Dask scheduler answers there.

    A client that cannot connect tries for far longer than its time limit, and logs errors when it is collected; so
    none is made before it is known that it can.
    """
    from distributed.comm import connect
    from distributed.security import Security

    if address.startswith("inproc:"):  # of this process
        return

    async def connect_once() -> None:
        security = Security().get_connection_args("client")
        comm = await connect(address, timeout=CONNECT_TIMEOUT_S, **security)
        await comm.close()

    async def limited() -> None:
        await asyncio.wait_for(connect_once(), CONNECT_TIMEOUT_S + 1)

    try:
        with ThreadPoolExecutor(1) as thread:  # this one may have an event loop at work, as in a notebook
            thread.submit(asyncio.run, limited()).result()
    except Exception as error:
        why = str(error) or f"no answer within {CONNECT_TIMEOUT_S:g} s"
        if cause := error.__cause__ and str(error.__cause__).rpartition(">: ")[2]:  # ConnectionRefusedError ...
            why += f" ({cause})"
        raise ClusterError(f"cannot reach a scheduler there: {why}", source=address) from error


def visible_gpus() -> list[str]:
    """Names for ``CUDA_VISIBLE_DEVICES`` of the GPUs this process may use."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [n.strip() for n in named.split(",") if n.strip()] if named is not None else [str(i) for i in range(count)]
    return names[:count]
