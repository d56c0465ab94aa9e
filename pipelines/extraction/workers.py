"""What is known of the workers of a Dask cluster, asked with a limit: a scheduler may stop to answer at any time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from stemfeatures._util.clock import awake_s
from stemfeatures.errors import ClusterError

from .watch import in_time

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")

#: A scheduler that takes longer to answer is stopped, or cut off.
ANSWER_TIMEOUT_S = 30.0
#: A worker that is paused and does nothing may be so for this long.
PAUSE_PATIENCE_S = 20.0
#: What a nanny tells the scheduler arrives within this.
EVENT_DELAY_S = 2.0


class Patience:
    """A limit of time that begins and ends; only seconds in which this process was awake count."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._since: float | None = None

    def begin(self) -> None:
        if self._since is None:
            self._since = awake_s()

    def end(self) -> None:
        self._since = None

    @property
    def is_over(self) -> bool:
        return self._since is not None and awake_s() - self._since > self.limit_s


def limited(call: Callable[[], T], *, limit_s: float | None = None, what: str = "the scheduler") -> T:
    """The result of a call to a cluster; TimeoutError when there is none in time."""
    limit_s = ANSWER_TIMEOUT_S if limit_s is None else limit_s
    late = f"{what} does not answer within {limit_s:g} s"
    return in_time(call, limit_s=limit_s, late=lambda message: TimeoutError(late))


def worker_info(client: Client) -> dict[str, dict[str, Any]]:
    """What the scheduler knows of each worker, by address; ClusterError when it does not answer."""

    def ask() -> dict[str, dict[str, Any]]:
        try:
            return dict(client.scheduler_info(n_workers=-1)["workers"])
        except TypeError:  # before 2025.3 all of them, always
            return dict(client.scheduler_info()["workers"])

    try:
        return limited(ask)
    except Exception as error:
        raise ClusterError(f"cannot ask the scheduler: {error}") from error


def slots(workers: dict[str, dict[str, Any]], resources: dict[str, float]) -> int:
    """Shards that these workers can process at a time."""
    total = 0
    for worker in workers.values():
        fits = [worker["nthreads"], *(worker["resources"].get(r, 0) // amount for r, amount in resources.items())]
        total += int(min(fits))
    return total


def killed_for_memory(client: Client, address: str) -> bool:
    """Whether a worker that is gone was killed by its nanny, at the memory limit."""
    for wait_s in (0.0, EVENT_DELAY_S):  # what the nanny tells may come later than the loss of its worker
        time.sleep(wait_s)
        events = limited(lambda: client.get_events("worker-restart-memory"))
        if any(event.get("worker") == address for _, event in events):
            return True
    return False


class PausedWorkers:
    """Workers that Dask has paused near their memory limit, and that do nothing: they would do so for ever, as what
    the allocator keeps is not given back."""

    def __init__(self) -> None:
        self._since: dict[str, Patience] = {}

    def idle(self, workers: dict[str, dict[str, Any]]) -> list[str]:
        """Addresses of those that have been so for long; asked now and then, with :func:`worker_info`."""
        paused = {
            address
            for address, worker in workers.items()
            if worker.get("status") == "paused" and not worker.get("metrics", {}).get("executing")
        }
        self._since = {address: self._since.get(address, Patience(PAUSE_PATIENCE_S)) for address in sorted(paused)}
        for patience in self._since.values():
            patience.begin()
        return [address for address, patience in self._since.items() if patience.is_over]
