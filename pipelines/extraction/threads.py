"""How many threads a process may use: the one place that decides it.

Parallelism comes from processes, a track each; inside a process every numeric library gets one thread. More would
fight over the same cores, and sums split over another number of threads differ in their last bits.

This module is also the Dask preload of local workers: ``dask_setup`` runs once in each of them.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Environment of worker processes; read by the libraries when they are imported.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


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


def dask_setup(worker: Any) -> None:
    """Dask preload: Ctrl-C in a terminal reaches all processes, but only the driver shall answer it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed").setLevel(logging.ERROR)
