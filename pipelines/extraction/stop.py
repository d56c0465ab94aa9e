"""Who asks a run to stop: somebody at the terminal, or its end, the driver, and the driver its workers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from stemfeatures._util.clock import awake_s
from stemfeatures._util.ends import ENDS, HANG_UP
from stemfeatures._util.urls import Url
from stemfeatures.tables.layout import DatasetLayout

#: Who asks to stop waits so long for the track in work; batch systems kill half a minute after they have asked.
STOP_PATIENCE_S = 15.0
#: How often a worker looks into a store for the request to stop.
STOP_LOOK_S = 5.0


class StopRequest:
    """Whether somebody asked to stop. As a context manager (in the main thread) it listens to Ctrl-C, SIGTERM and
    SIGHUP: the first asks to stop soon, the second stops at once (KeyboardInterrupt). A closed terminal may send
    SIGHUP twice, by the shell and by itself, which are one. Who ignores signals (``nohup``) is not asked.

    Parameters
    ----------
    notify : callable, optional
        Called at the first request.
    """

    def __init__(self, notify: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._notify = notify
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.requested

    def request(self) -> None:
        self.requested = True
        if self._notify is not None:
            self._notify()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in ENDS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.request()
        elif number != HANG_UP:
            raise KeyboardInterrupt


@contextmanager
def ends_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a block as Ctrl-C does, so that what it has made is cleared away, unless somebody
    listens to them.

    Only in the main thread; a :class:`StopRequest` inside takes all of them over.
    """
    ours = threading.current_thread() is threading.main_thread()
    taken = [number for number in ENDS if ours and signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


class StopFile:
    """Whether the driver asks all workers to stop: it puts a file into the dataset. A store is asked now and then.

    Parameters
    ----------
    layout : DatasetLayout
        The dataset.
    name : str or None
        Of the file; None where nobody asks.
    """

    def __init__(self, layout: DatasetLayout, name: str | None) -> None:
        self._layout, self._name = layout, name
        self._every_s = STOP_LOOK_S if isinstance(layout.path, Url) else 0.0
        self._next_s = 0.0
        self._found = False

    def exists(self) -> bool:
        """As of now, or of a few seconds ago."""
        if self._name is None or self._found or awake_s() < self._next_s:
            return self._found
        self._next_s = awake_s() + self._every_s
        with suppress(OSError):
            self._found = self._layout.storage.entry(self._name) is not None
        return self._found
