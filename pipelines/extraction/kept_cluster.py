"""Worker processes of this machine that stay from one run to the next: portions of a catalogue are many short runs."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from .cluster import ClusterExecutor, have_memory, local_cluster


class KeptCluster:
    """The last cluster that was asked for; a context manager, at whose end its processes end.

    Workers keep the network that they have loaded, and what they have compiled.
    """

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._cluster: ClusterExecutor | None = None
        self._made_as: tuple[int, str] | None = None

    def __enter__(self) -> KeptCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, if there are any; others can be asked for."""
        self._cluster = self._made_as = None
        self._closing.close()

    def size(self, n_workers: int, *, device: str, longest_s: float) -> int:
        """How many processes there will be for a run that wants ``n_workers``.

        More of them stay where a run has less to do, unless its longest track needs more memory than each has.
        """
        if self._made_as is not None:
            n_kept, on = self._made_as
            if on == device and n_kept >= n_workers and (n_kept == n_workers or have_memory(n_kept, longest_s)):
                return n_kept
        return n_workers

    def of(self, n_workers: int, *, device: str) -> ClusterExecutor:
        """A cluster of :meth:`size` processes: the one that is there, or another one in its place."""
        if self._cluster is None or self._made_as != (n_workers, device):
            self.close()
            self._cluster = self._closing.enter_context(local_cluster(n_workers, device=device))
            self._made_as = (n_workers, device)
        return self._cluster
