"""The lane behind the network: what is left to do of a track whose frames are complete, in a thread of its own.

A thread and not a process, so that arrays need not travel. Where one lane cannot keep up with a GPU, several processes
share the GPU, with a lane each.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

from . import threads

K = TypeVar("K")
R = TypeVar("R")

#: Tracks that may wait behind the network; their frames take memory.
TRACKS_BEHIND = 2


class Lane(Generic[K, R]):
    """Calls that are made one after the other, and whose results come back in this order.

    Parameters
    ----------
    aside : bool
        In a thread of its own; otherwise at once, by whoever gives them.
    """

    def __init__(self, *, aside: bool) -> None:
        self._given: deque[tuple[K, Future[R]]] = deque()
        self._calls: queue.SimpleQueue[tuple[Callable[[], R], Future[R]] | None] = queue.SimpleQueue()
        self._aside, self._closed = aside, False
        if aside:  # a daemon: the end of the process does not wait for a track that hangs
            threading.Thread(target=self._work, daemon=True, name="describe").start()

    def give(self, key: K, call: Callable[[], R]) -> None:
        """Have something done."""
        future: Future[R] = Future()
        self._given.append((key, future))
        if self._aside:
            self._calls.put((call, future))
        else:
            _do(call, future)

    def take(self, *, most: int, before: Callable[[K], None]) -> Iterator[tuple[K, R | Exception]]:
        """What is through, in order.

        Parameters
        ----------
        most : int
            So many may be left; the others are waited for.
        before : callable
            Told the key of what is waited for.

        Yields
        ------
        tuple
            The key, and the result or what was raised.
        """
        while self._given:
            key, future = self._given[0]
            if not future.done():
                if len(self._given) <= most:
                    return
                before(key)
            error = future.exception()
            self._given.popleft()
            if error is not None and not isinstance(error, Exception):
                raise error
            yield key, future.result() if error is None else error

    def close(self) -> list[K]:
        """Let the thread end after the call that it makes; the keys of what is not through."""
        self._closed = True
        self._calls.put(None)
        left, self._given = [key for key, _ in self._given], deque()
        return left

    def _work(self) -> None:
        threads.configure_thread()
        while (item := self._calls.get()) is not None and not self._closed:
            _do(*item)


def _do(call: Callable[[], R], future: Future[R]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
