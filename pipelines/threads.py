"""How many threads a process may use: the one place that decides it.

Parallelism comes from processes, a track each; inside a process every numeric library gets one thread. More would
fight over the same cores, and sums split over another number of threads differ in their last bits.

This module is also the Dask preload of local workers: ``dask_setup`` runs once in each of them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Environment of worker processes; read by the libraries when they are imported.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


def set_numba_cache_dir() -> None:
    """Let compiled functions outlive the process: ``NUMBA_CACHE_DIR`` in the user's cache folder, unless it is set.

    Numba's own choice is the folder of the installed library, which is often not writable; then every process would
    compile anew for up to a minute.
    """
    if "NUMBA_CACHE_DIR" in os.environ or "numba" in sys.modules:
        return
    base = os.environ.get("XDG_CACHE_HOME")
    home = Path.home() if "HOME" in os.environ else None
    candidates = [Path(base)] if base else []
    if home is not None:
        candidates.append(home / ("Library/Caches" if sys.platform == "darwin" else ".cache"))
    candidates.append(Path(tempfile.gettempdir()) / f"stemfeatures-{os.getuid()}")
    for candidate in candidates:
        folder = candidate / "stemfeatures" / "numba"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            os.environ["NUMBA_CACHE_DIR"] = str(folder)
            return


def configure_worker() -> None:
    """One thread a library from now on, in this process and this thread. Cheap when called again."""
    set_numba_cache_dir()
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
    set_numba_cache_dir()
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
    set_numba_cache_dir()
