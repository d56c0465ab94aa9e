"""The process that workers of this machine are forked from: it has imported what they need, once for all of them.

A worker that is spawned imports PyTorch, SciPy and Dask anew, which takes seconds of each core. A fork of the driver
may hang in a lock that one of its threads held. The fork server of :mod:`multiprocessing` is a process of its own
without any thread of Python, started before the first worker, and ends with the driver.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from stemfeatures._util.ends import ENDS, HANG_UP
from stemfeatures._util.python_process import paths_as_here, variables_as_before

from . import threads

#: Variable of the environment with the number of the driver, for :mod:`.orphan`.
DRIVER = "STEMFEATURES_DRIVER"
#: Imported by the fork server, in this order.
PRELOADED = [f"{__package__}.orphan", f"{__package__}.preloaded"]
#: A fork answers within so many seconds, those included in which its server imports on a busy machine.
ANSWER_S = 300.0
#: What is killed has gone within so many seconds.
END_S = 10.0
#: How Dask starts workers, where it can: forked elsewhere, the frameworks of the system do not survive.
METHOD = "forkserver" if sys.platform == "linux" else "spawn"


R = TypeVar("R")


def start_fork_server() -> str:
    """Start the fork server, which imports while the driver goes on. Harmless when called again.

    A server that somebody has started before in this process is taken as it is; workers import the rest themselves.

    Returns
    -------
    str
        :data:`METHOD`, or ``"spawn"`` where the server cannot be started: the path of its socket, in the temporary
        folder, may have a hundred characters.
    """
    if METHOD != "forkserver":
        return METHOD
    multiprocessing.get_context(METHOD).set_forkserver_preload(PRELOADED)
    # Read when a process starts.
    settings = {**threads.WORKER_ENVIRONMENT, **threads.MEMORY_ENVIRONMENT, DRIVER: str(os.getpid())}
    with variables_as_before(settings), paths_as_here():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, () if HANG_UP is None else {HANG_UP})
        try:
            resource_tracker.ensure_running()  # now: it unblocks the other signals
            # Ctrl-C in a terminal, its end, and SIGTERM of a batch system reach all processes; without their server
            # workers are lost.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
            os.environ.update(settings)
            forkserver.ensure_running()
        except OSError:
            return "spawn"
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return METHOD


def in_fork(call: Callable[..., R], *arguments: Any) -> R:
    """What a function gives in a process that is forked from the server.

    It is called here where that comes to nothing: the call raises, the server or the fork dies, or there is no answer
    within :data:`ANSWER_S`.
    """
    if METHOD != "forkserver":
        return call(*arguments)
    from stemfeatures._util.clock import get_within

    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, call, arguments), daemon=True)
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    given_up = threading.Event()

    def ask() -> None:
        try:
            process.start()  # waits for the server, which may still import
            theirs.close()
            if given_up.is_set():
                _end(process)
            answers.put((ours.recv(), None))
        except BaseException as error:
            answers.put((None, error))
        finally:
            theirs.close()
            ours.close()

    threading.Thread(target=ask, daemon=True, name="fork").start()
    try:
        answer, error = get_within(answers, ANSWER_S)
    except BaseException as stop:  # late, or Ctrl-C, which the fork does not heed
        given_up.set()
        _end(process)
        if isinstance(stop, queue.Empty):
            return call(*arguments)
        raise
    _end(process, END_S)
    if isinstance(error, (EOFError, OSError)):  # the call raised, or the server or the fork died
        return call(*arguments)
    if error is not None:
        raise error
    found: R = answer
    return found


def _end(process: BaseProcess, patience_s: float = 0.0) -> None:
    """Wait for a fork to end, and kill it where it does not."""
    if process.pid is None:
        return
    process.join(patience_s)
    if process.exitcode is None:
        process.kill()
        process.join(END_S)


def _answer(connection: Connection, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer = call(*arguments)
    except Exception:
        return
    with suppress(BrokenPipeError):  # the driver has been killed
        connection.send(answer)
