"""Worker processes: the one place of the library that starts them.

They are spawned, never forked: a forked child of a process that has run threads (torch, BLAS) may hang or crash.
So a worker imports everything anew, which takes seconds, and

* a script must start them under ``if __name__ == "__main__":``; commands, notebooks, ``python -c`` and pytest need not;
* the function, and the classes of what it is given, must lie in a module, not in a notebook;
* what travels should be small: paths, not arrays.

concurrent.futures and loky give up all work when one worker crashes. pebble does not, but what is wanted besides (log
records of the workers, one load of the function in each, an end when the parent ends, Ctrl-C while they import) would
still be most of this module.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from logging.handlers import QueueHandler
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from ..errors import WorkerError
from .ends import ENDS
from .python_process import forget_safe_path, paths_as_here

R = TypeVar("R")
E = TypeVar("E", bound=Exception)
_Item = tuple[Any, ...]
_SPAWN = multiprocessing.get_context("spawn")
#: Seconds in which a worker that is told to leave may tidy up.
_PATIENCE_S = 5.0
#: Above the loggers of the whole library.
_LOGGER = __name__.partition(".")[0]


def starmap(
    function: Callable[..., R],
    items: Iterable[_Item],
    *,
    jobs: int,
    stage: str,
    name: Callable[..., object] = lambda first, *_: first,
    catch: tuple[type[E], ...] = (),
) -> Iterator[R | E]:
    """``function(*item)`` of every item, in the order of the items whatever ``jobs``.

    Parameters
    ----------
    function : callable
        Goes to each worker once, so what it keeps between items (a network, an open bank) is loaded once there.
    items : iterable of tuple
        The arguments of each call.
    jobs : int
        Processes at the most; with one, or one item, the work is done in this process.
    stage : str
        What messages call the work.
    name : callable
        What messages call an item: ``name(*item)``, by default its first element.
    catch : tuple of type
        Errors that come in place of the result. With :class:`~stemfeatures.errors.WorkerError` among them an item that
        crashes its worker does not end the work.

    Yields
    ------
    object
        The result of each item, or its error. An error that ``catch`` does not hold is raised; of several that of the
        first item.

    Raises
    ------
    WorkerError
        A worker crashed, which names the item, or none can be started.
    RuntimeError
        Several jobs in a script without ``if __name__ == "__main__":``.
    """
    items = list(items)
    jobs = min(jobs, len(items))
    outcomes = _in_workers(function, items, jobs, stage, name) if jobs > 1 else _in_this_process(function, items)
    with closing(outcomes):
        for outcome in outcomes:
            if not isinstance(outcome, _Failed):
                yield outcome
            elif isinstance(outcome.error, catch):
                yield outcome.error
            else:
                raise outcome.error


@dataclass
class _Failed:
    """The outcome of an item that raised."""

    error: Exception


def _outcome(function: Callable[..., Any], item: _Item) -> Any:
    try:
        return function(*item)
    except Exception as error:
        return _Failed(error)


def _in_this_process(function: Callable[..., Any], items: Sequence[_Item]) -> Generator[Any, None, None]:
    for item in items:
        yield _outcome(function, item)


def _in_workers(
    function: Callable[..., Any], items: Sequence[_Item], jobs: int, stage: str, name: Callable[..., object]
) -> Generator[Any, None, None]:
    require_main_guard()
    work = pickle.dumps(function)
    todo = deque(range(len(items)))
    outcomes: dict[int, Any] = {}
    workers: dict[Any, _Worker] = {}  # by connection
    try:
        for number in range(len(items)):
            while number not in outcomes:
                while todo and len(workers) < jobs:
                    worker = _Worker(work)
                    workers[worker.connection] = worker
                    worker.give(todo[0], items[todo.popleft()])
                for connection in wait(list(workers)):
                    worker = workers[connection]
                    try:
                        if not worker.receive():
                            continue
                        outcomes[worker.number] = worker.outcome
                        if todo:
                            worker.give(todo[0], items[todo.popleft()])
                            continue
                    except EOFError:
                        source = str(name(*items[worker.number])) if worker.is_ready else None
                        crash = WorkerError(worker.exit_description(), source=source, stage=stage)
                        if not worker.is_ready:
                            raise crash from None
                        outcomes[worker.number] = _Failed(crash)
                    del workers[connection]
                    worker.stop()
            yield outcomes.pop(number)
    finally:
        for worker in workers.values():
            worker.process.terminate()
        for worker in workers.values():
            worker.stop()


class _Worker:
    """A process and the item it works on.

    Attributes
    ----------
    is_ready : bool
        Whether it has begun.
    number : int
        Of the item.
    outcome : object
        Of the item before, once :meth:`receive` has returned True.
    """

    def __init__(self, work: bytes) -> None:
        self.is_ready, self.number, self.outcome = False, -1, None  # type: bool, int, Any
        self.connection, theirs = _SPAWN.Pipe()
        level = logging.getLogger(_LOGGER).getEffectiveLevel()
        self.process = _SPAWN.Process(target=_work, args=(theirs, work, level), daemon=True)
        with paths_as_here():
            resource_tracker.ensure_running()  # now: it unblocks the signal
            # Ctrl-C reaches all processes of a terminal; while they import they could only answer with a traceback.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self.process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                theirs.close()

    def give(self, number: int, item: _Item) -> None:
        self.number = number
        with suppress(ConnectionError):  # receive() will raise
            self.connection.send(item)

    def receive(self) -> bool:
        """Read one message; whether it was the outcome of the item. Raises EOFError if the process has died."""
        try:
            kind, value = self.connection.recv()
        except ConnectionError as error:
            raise EOFError from error
        if kind == "log":
            logger = logging.getLogger(value.name)
            if logger.isEnabledFor(value.levelno):
                logger.handle(value)
        elif kind == "ready":
            self.is_ready = True
        else:
            self.outcome = value
        return kind == "outcome"

    def exit_description(self) -> str:
        """How the process ended, for a message."""
        self.process.join()
        code = self.process.exitcode or 0
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            how += ", which may mean that memory ran out" if -code == getattr(signal, "SIGKILL", None) else ""
        else:
            how = f"ended with exit code {code}"
        if self.is_ready:
            return f"its worker process {how}"
        hint = "; a script must start it under if __name__ == '__main__':" if is_script() else ""
        return f"a worker process {how} before it began{hint}"

    def stop(self) -> None:
        """Let an idle process go; wait for the end of one that was told to terminate."""
        self.connection.close()
        self.process.join(_PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


def _work(connection: Connection, work: bytes, level: int) -> None:
    """What runs in a worker process."""
    forget_safe_path()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    threading.Thread(target=_exit_with_parent, daemon=True).start()  # without the signals: they wake the work
    # A handler and not SIG_IGN, which the programs that are started from here would inherit.
    for number in ENDS - {signal.SIGTERM}:
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that temporary files go
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
    messages = _Messages(connection)  # type: ignore[arg-type]
    messages.setFormatter(logging.Formatter())  # the message alone: the rest is for those who handle it
    logging.basicConfig(handlers=[messages], force=True)
    logging.captureWarnings(True)
    logging.getLogger(_LOGGER).setLevel(level)
    with suppress(EOFError, ConnectionError):  # no more work
        messages.send(pickle.dumps(("ready", None)))
        load = lru_cache(1)(partial(pickle.loads, work))
        while True:
            messages.send(_packed(_outcome(_call, (load, connection.recv_bytes()))))


def _exit_with_parent() -> None:
    if starter := multiprocessing.parent_process():
        starter.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _call(load: Callable[[], Callable[..., Any]], item: bytes) -> Any:
    try:
        function, arguments = load(), pickle.loads(item)
    except AttributeError as error:
        message = f"{error}: what goes to worker processes must lie in a module, not in a notebook or a command line"
        raise TypeError(message) from error
    return function(*arguments)


class _Messages(QueueHandler):
    """What a worker sends: its outcomes, and its log records, which the process that started it handles as its own."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(ConnectionError):
            self.send(pickle.dumps(("log", record)))

    def send(self, message: bytes) -> None:
        with self.lock:  # type: ignore[union-attr]
            self.queue.send_bytes(message)  # type: ignore[attr-defined]


def _packed(outcome: Any) -> bytes:
    """A message that is sure to be read; tracebacks do not travel, so they become notes."""
    try:
        if isinstance(outcome, _Failed):
            outcome.error.add_note("".join(traceback.format_exception(outcome.error)))
            pickle.loads(pickle.dumps(outcome))  # errors with more than a message may only fail here
        return pickle.dumps(("outcome", outcome))
    except Exception as error:
        failed = outcome.error if isinstance(outcome, _Failed) else error
        return pickle.dumps(("outcome", _Failed(RuntimeError(f"{type(failed).__name__}: {failed}"))))


def is_script() -> bool:
    """Whether the main module is a script, which spawned processes import anew (the installed command has a guard)."""
    main = sys.modules.get("__main__")
    return str(getattr(main, "__file__", "")).endswith(".py") and getattr(main, "__spec__", None) is None


def require_main_guard() -> None:
    """RuntimeError in a process that is still importing the script that spawned it, which then starts a run again."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "a worker process has come to this call while it imported the script: with several jobs, or a separator "
            "of another package, the script must make it under if __name__ == '__main__':"
        )
