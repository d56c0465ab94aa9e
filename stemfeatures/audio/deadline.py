"""Calls that may never return, given up after a time."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from .._util.clock import awake_s, get_within
from .decoder import DecoderTimeout

T = TypeVar("T")


class DeadlineThread:
    """Runs calls one after the other in a daemon thread, so that a call that never returns can be given up.

    Parameters
    ----------
    limit_s : float
        Seconds that the calls may take together, as far as this process is awake.

    Attributes
    ----------
    cpu_s : float
        Seconds of CPU that the calls took so far.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = self._left_s = limit_s
        self.cpu_s = 0.0
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[Any, BaseException | None, float]] = SimpleQueue()
        self._thread = threading.Thread(target=_serve, args=(self._calls, self._results), daemon=True)
        self._thread.start()
        weakref.finalize(self, self._calls.put, None)

    def __call__(self, call: Callable[[], T]) -> T:
        """The result of a call, or the error that it raises; DecoderTimeout when the time is over."""
        started = awake_s()
        self._calls.put(call)
        try:
            value, error, cpu_s = get_within(self._results, max(self._left_s, 0.0))
            self.cpu_s += cpu_s
        except Empty:
            raise DecoderTimeout(f"no answer within {self._limit_s:g} s") from None
        finally:
            self._left_s -= awake_s() - started
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame: a cycle that would keep the stream alive
        return value

    def stop(self, last_call: Callable[[], Any] | None = None) -> None:
        """End the thread after a last call: its files are closed there, as it may hang in one of them."""
        if last_call is not None:
            self._calls.put(last_call)
        self._calls.put(None)
        if self._left_s > 0:
            self._thread.join(timeout=1.0)


def _serve(calls: SimpleQueue, results: SimpleQueue) -> None:
    while (call := calls.get()) is not None:
        started = time.thread_time()
        try:
            value = call()
            results.put((value, None, time.thread_time() - started))
            del value
        except BaseException as error:
            results.put((None, error, time.thread_time() - started))
        del call  # or the thread would keep the file open while it waits


def within(limit_s: float, call: Callable[[], T]) -> T:
    """The result of one call; DecoderTimeout if it takes longer than ``limit_s`` seconds."""
    thread = DeadlineThread(limit_s)
    try:
        return thread(call)
    finally:
        thread.stop()
