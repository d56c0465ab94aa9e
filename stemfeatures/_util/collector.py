"""Python's collector of objects that refer to one another."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Do not look for garbage in the block: of the objects that imports make, a million, hardly any goes again.

    PyTorch, SciPy, numba and Dask are imported in four fifths of the time.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
