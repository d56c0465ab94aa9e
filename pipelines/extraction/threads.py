"""How many threads a process may use, and when it gives memory back: the one place that decides it.

Parallelism comes from processes, a track each; inside a process every numeric library gets one thread. More would
fight over the same cores, and sums split over another number of threads differ in their last bits.

This module is also the Dask preload of local workers: ``dask_setup`` runs once in each of them.

Notes
-----
Dask starts workers with ``MALLOC_TRIM_THRESHOLD_=65536``, so that results that were freed leave the process. Ours hold
no results: tensors of some MiB come and go several times a second, and with that threshold each is given back to the
system and faulted in again, page by page, which takes as long as the work itself.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import logging
import multiprocessing.util
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from stemfeatures._util.ends import ENDS
from stemfeatures._util.python_process import forget_safe_path

#: Environment of worker processes; read by the libraries when they are imported.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}

#: Of the C library's allocator; read when a process starts, so set before it is spawned. 32 MiB is the most that every
#: glibc takes for the second, and holds the largest tensor of a segment. Threads share one heap: in those of their own
#: large tensors leave more room unused. Other C libraries ignore them.
MEMORY_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_ARENA_MAX": "1",
}
_MALLOC_VARIABLES = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}
#: Of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Below this threshold a process gives back what the next segment needs again.
LEAST_TRIM_THRESHOLD = 64 << 20
#: Beyond this share of its limit a worker gives back what it can after a shard.
MEMORY_SHARE = 0.5
#: Seconds of audio after which a process gives back what its allocator keeps: large blocks that come and go leave more
#: and more places between them that none fits in, in an hour of one track a quarter of all that is in use.
TRIM_EVERY_S = 900.0


def configure_worker() -> None:
    """One thread a library from now on, in this process and this thread. Cheap when called again."""
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import torch
    from threadpoolctl import threadpool_limits

    # OpenMP keeps the number per thread, and tasks run in threads of a pool.
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    threadpool_limits(1)


def configure_thread() -> None:
    """The same for one more thread where the libraries are limited already: OpenMP keeps the number per thread."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="openmp")


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread a library inside the block, as in a worker; the numbers from before afterwards."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Inside the block this process keeps memory as workers do; afterwards it gives back what is unused.

    An allocator that somebody has set by environment variables is left alone.
    """
    if _MALLOC_VARIABLES & os.environ.keys():
        yield
        return
    _set_allocator(trim=1 << 30)
    try:
        yield
    finally:
        # Where glibc's own thresholds would be by now: they follow the largest block that was freed.
        _set_allocator(trim=64 << 20)
        _trim()


def _set_allocator(*, trim: int) -> None:
    with suppress(OSError, AttributeError):  # of glibc only
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_TRIM_THRESHOLD, trim)
        allocator.mallopt(_M_MMAP_THRESHOLD, 32 << 20)


def _trim() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def dask_setup(worker: Any) -> None:
    """Dask preload: Ctrl-C in a terminal, its end, and SIGTERM of a batch system reach all processes, but only the
    driver shall answer them: it lets the workers save what is finished, and ends them then."""
    if threading.current_thread() is threading.main_thread():
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        # The fork server blocks them, and so would programs that are started from here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
    forget_safe_path()
    tempfile.tempdir = None  # TMPDIR may have changed since the fork server was started
    # A forked process ends without what is registered with atexit, such as the removal of temporary folders.
    multiprocessing.util.Finalize(None, atexit._run_exitfuncs, exitpriority=0)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # the driver says what matters


def give_back_memory(used: int, limit: int | None) -> None:
    """Return to the system what the allocator keeps, when a worker uses much of its limit, in bytes: Dask pauses it by
    its resident size, and one that has nothing to do would stay paused."""
    if limit and used > MEMORY_SHARE * limit:
        gc.collect()
        _trim()


class Trimmer:
    """Counts the audio that goes through this process, and gives back unused memory now and then.

    What is given back is faulted in again when it is needed, which takes some two tenths of a second.
    """

    def __init__(self) -> None:
        self._audio_s = 0.0

    def count(self, audio_s: float) -> None:
        """So many seconds of audio more are being analysed."""
        self._audio_s += audio_s
        if self._audio_s >= TRIM_EVERY_S:
            self._audio_s = 0.0
            _trim()


#: Of this process, whose tracks share one heap.
trimmer = Trimmer()


def trim_threshold() -> int | None:
    """``MALLOC_TRIM_THRESHOLD_`` of this process in bytes, if that is so small that it costs time; else None."""
    try:
        threshold = int(os.environ.get("MALLOC_TRIM_THRESHOLD_", ""))
    except ValueError:
        return None
    return threshold if 0 <= threshold < LEAST_TRIM_THRESHOLD else None


def trim_advice(n_trimming: int, n_workers: int) -> str:
    """What to tell of workers whose :func:`trim_threshold` is small."""
    setting = " ".join(f"{name}={value}" for name, value in MEMORY_ENVIRONMENT.items())
    return (
        f"{n_trimming} of {n_workers} workers give memory back to the system all the time (Dask sets "
        f"MALLOC_TRIM_THRESHOLD_), about half their CPU time; start them with: {setting} dask worker ..."
    )
