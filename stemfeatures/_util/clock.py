"""Time that a process was awake: what limits of time should count.

A laptop sleeps, a batch system stops its jobs, a debugger holds a process: seconds of the machine's clock go by in
which nobody can have done anything, and every limit that is measured by that clock has passed afterwards.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TypeVar

T = TypeVar("T")

_TICK_S = 0.25
#: A step of the clock that is longer than this was no waiting for the processor.
_LONGEST_STEP_S = 2.0


class AwakeClock:
    """Counts seconds in a thread; a step during which the process cannot have run counts for two seconds at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = self._slept_s = 0.0
        self._last = _now()
        threading.Thread(target=self._tick, daemon=True, name="clock").start()

    def seconds(self) -> float:
        """Seconds awake since the clock was made."""
        self._step()
        return self._seconds

    def slept_s(self) -> float:
        """Seconds that were not counted."""
        self._step()
        return self._slept_s

    def _step(self) -> None:
        with self._lock:
            now = _now()
            step, self._last = now - self._last, now
            awake = min(step, _LONGEST_STEP_S)
            self._seconds += awake
            self._slept_s += step - awake

    def _tick(self) -> None:
        while True:
            time.sleep(_TICK_S)
            self._step()


def _now() -> float:
    """Seconds that also go by while the machine sleeps, where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


_clock: AwakeClock | None = None
_making = threading.Lock()


def _shared() -> AwakeClock:
    global _clock
    with _making:
        if _clock is None:
            _clock = AwakeClock()
        return _clock


def awake_s() -> float:
    """Seconds that this process was awake, since some moment."""
    return _shared().seconds()


def slept_s() -> float:
    """Seconds that this process was not awake, since some moment."""
    return _shared().slept_s()


def get_within(source: queue.Queue[T] | queue.SimpleQueue[T], limit_s: float) -> T:
    """The next item of a queue.

    Parameters
    ----------
    source : queue.Queue or queue.SimpleQueue
        The queue.
    limit_s : float
        Seconds to wait, as far as the process is awake.

    Returns
    -------
    object
        The item.

    Raises
    ------
    queue.Empty
        There was none for so long.
    """
    end = awake_s() + limit_s
    while True:
        left = end - awake_s()
        try:
            return source.get(timeout=min(max(left, 0.0), _LONGEST_STEP_S / 2))
        except queue.Empty:
            if left <= 0:
                raise
