"""The process that workers of this machine are forked from: it has imported what they need, once for all of them.

A worker that is spawned imports PyTorch, SciPy and Dask anew, which takes seconds of each core. A fork of the driver
may hang in a lock that one of its threads held. The fork server of :mod:`multiprocessing` is a process of its own
without any thread of Python, started before the first worker, and ends with the driver.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from . import threads

#: Imported by the fork server.
PRELOADED = f"{__package__}.preloaded"
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
    multiprocessing.get_context(METHOD).set_forkserver_preload([PRELOADED])
    settings = {**threads.WORKER_ENVIRONMENT, **threads.MEMORY_ENVIRONMENT}  # read when a process starts
    environment = {name: os.environ.get(name) for name in settings}
    resource_tracker.ensure_running()  # now: it unblocks the signals
    # Ctrl-C in a terminal and SIGTERM of a batch system reach all processes; without their server workers are lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        os.environ.update(settings)
        forkserver.ensure_running()
    except OSError:
        return "spawn"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name, value in environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return METHOD


def in_fork(call: Callable[..., R], *arguments: Any) -> R:
    """What a function gives in a process that is forked from the server; called here where that comes to nothing."""
    if METHOD != "forkserver":
        return call(*arguments)
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, call, arguments), daemon=True)
    try:
        process.start()
        theirs.close()
        answer: R = ours.recv()
    except (EOFError, OSError):  # the call raised, or the server or the fork died
        return call(*arguments)
    except BaseException:  # Ctrl-C, which the fork does not heed
        if process.pid is not None:
            process.kill()
        raise
    finally:
        theirs.close()
        ours.close()
        if process.pid is not None:
            process.join()
    return answer


def _answer(connection: Connection, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer = call(*arguments)
    except Exception:
        return
    connection.send(answer)
