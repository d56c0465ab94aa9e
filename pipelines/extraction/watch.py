"""Work in a thread that can be given up when it makes no progress.

A loop in a native library cannot be interrupted. What can be done is to stop waiting for it: to save what is finished,
to name the track that hangs, and to go on elsewhere. The thread notices at its next sign of life that nobody waits any
more, and ends.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from stemfeatures._util.clock import awake_s

T = TypeVar("T")

_POLL_S = 0.1


class GivenUp(BaseException):
    """Raised in a thread that nobody waits for any more; no error of what it works on."""


#: Threads of this process that were given up and may still be at work.
_abandoned: list[threading.Thread] = []


def any_abandoned() -> bool:
    """Whether threads that were given up are still at work in this process."""
    return any(thread.is_alive() for thread in _abandoned)


def abandon(thread: threading.Thread) -> None:
    """Nobody waits for a thread any more, which may hang in a native library."""
    if thread.is_alive():
        _abandoned.append(thread)


def in_time(
    call: Callable[[], T],
    *,
    limit_s: float,
    late: Callable[[str], Exception],
    stop: Callable[[], bool] = lambda: False,
    stop_patience_s: float = math.inf,
) -> T:
    """The result of a call, which may hang.

    Parameters
    ----------
    call : callable
        Is made in a thread of its own.
    limit_s : float
        Seconds that it may take, as far as this process is awake.
    late : callable
        Makes the error when it takes longer, of a text such as ``no answer within 30 s``.
    stop, stop_patience_s : callable and float
        As for :meth:`Watched.wait`; KeyboardInterrupt when it has been given up because of it.
    """
    results: list[T] = []
    thread = Watched(lambda watched: results.append(call()), patience_s=limit_s)
    if not thread.wait(lambda message: None, stop=stop, stop_patience_s=stop_patience_s):
        if stop():
            raise KeyboardInterrupt
        raise late(f"no answer within {limit_s:g} s")
    return results[0]


class Watched:
    """A call in a thread of its own.

    Parameters
    ----------
    call : callable
        Is given this object, and calls :meth:`alive` now and then.
    patience_s : float
        Seconds without a sign of life, as far as this process is awake, after which it is given up.
    """

    def __init__(self, call: Callable[[Watched], None], *, patience_s: float) -> None:
        self._call, self._patience_s = call, patience_s
        self._lock = threading.RLock()
        self._given_up = False
        self._messages: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._alive_at = awake_s()
        self._thread = threading.Thread(target=self._run, daemon=True, name="shard")
        self._thread.start()

    # ----------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            self._call(self)
            self._messages.put(("end", None, None))
        except GivenUp:
            pass
        except BaseException as error:
            self._messages.put(("end", error, None))

    def alive(self, patience_s: float | None = None) -> None:
        """A sign of life; what comes next may take ``patience_s``. Raises GivenUp when nobody waits any more."""
        with self.holding():
            self._alive_at = awake_s()
            if patience_s is not None:
                self._patience_s = patience_s

    def holding(self) -> _Holding:
        """A block that is done either wholly or, when nobody waits any more, not at all (GivenUp)."""
        return _Holding(self)

    def tell(self, message: Any) -> None:
        """Hand something to the thread that waits, and go on when it has taken it."""
        taken = threading.Event()
        self._messages.put(("message", message, taken))
        while not taken.wait(_POLL_S):
            self.alive()
        self.alive()

    # ------------------------------------------------------------------------------------------------- who waits

    def wait(self, on_message: Callable[[Any], None], *, stop: Callable[[], bool], stop_patience_s: float) -> bool:
        """Wait for the end.

        Parameters
        ----------
        on_message : callable
            Called with what the thread tells.
        stop : callable
            Whether somebody has asked to stop.
        stop_patience_s : float
            Seconds for which the thread may go on from then.

        Returns
        -------
        bool
            Whether it came to its end; False when it has been given up.

        Raises
        ------
        BaseException
            What the call raised.
        """
        stopping_since: float | None = None
        try:
            while True:
                try:
                    kind, content, taken = self._messages.get(timeout=_POLL_S)
                except queue.Empty:
                    now = awake_s()
                    if stopping_since is None and stop():
                        stopping_since = now
                    late = stopping_since is not None and now - stopping_since > stop_patience_s
                    if (late or now - self._alive_at > self._patience_s) and self._give_up():
                        return False
                    continue
                if kind == "message":
                    on_message(content)
                    taken.set()
                elif content is None:
                    return True
                else:
                    raise content
        except BaseException:
            with self._lock:
                self._given_up = True
            self._thread.join(timeout=5.0)
            abandon(self._thread)
            raise

    def _give_up(self) -> bool:
        """False when it has just come to its end."""
        with self._lock:
            if not self._messages.empty():
                return False
            self._given_up = True
        abandon(self._thread)
        return True


class _Holding:
    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def __enter__(self) -> None:
        self._watched._lock.acquire()
        if self._watched._given_up:
            self._watched._lock.release()
            raise GivenUp

    def __exit__(self, *_: object) -> None:
        self._watched._lock.release()
