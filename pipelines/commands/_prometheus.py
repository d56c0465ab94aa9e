"""Where a run stands, for Prometheus: served while it goes on, or in a file that node_exporter collects."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._exit import UsageError
from ._text import visible

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from ..extraction.summary import ExtractProgress

logger = logging.getLogger(__name__)

#: Of a file that node_exporter's textfile collector reads.
_SUFFIX = ".prom"
_LOOPBACK = "127.0.0.1"
#: Seconds between two writes of the file: states come with each track.
_EVERY_S = 1.0


class PrometheusProgress:
    """Keeps the last state of a run for whoever asks, and hands every state on.

    Parameters
    ----------
    where : str
        ``PORT`` (of the loopback interface), ``HOST:PORT``, or a file whose name ends in ``.prom``, written anew once
        a second at most, when the run enters another state, and at the end.
    shown : callable
        What else is told of every state.

    Raises
    ------
    UsageError
        ``where`` is none of these, the port is taken, or prometheus_client is missing.
    """

    def __init__(self, where: str, shown: Callable[[ExtractProgress], None]) -> None:
        if find_spec("prometheus_client") is None:
            raise UsageError("--prometheus needs prometheus_client: pip install 'stemfeatures[prometheus]'")
        from prometheus_client import CollectorRegistry

        self._shown = shown
        self._state: ExtractProgress | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._file = Path(where) if where.endswith(_SUFFIX) else None
        self._written_at = -float("inf")
        self._server: Any = None
        if self._file is None:
            self._serve(where)
        elif not self._file.parent.is_dir():
            raise UsageError(f"--prometheus: there is no folder {self._file.parent}")

    def _serve(self, where: str) -> None:
        from prometheus_client import start_http_server

        host, _, port = where.rpartition(":")
        if not port.isdigit():
            raise UsageError(f"--prometheus: {where!r} is neither PORT, HOST:PORT nor a file *{_SUFFIX}")
        try:
            self._server, _ = start_http_server(int(port), addr=host.strip("[]") or _LOOPBACK, registry=self._registry)
        except (OSError, OverflowError) as error:
            raise UsageError(f"--prometheus: cannot serve at {where}: {error}") from error

    def __call__(self, state: ExtractProgress) -> None:
        entered = self._state is None or state.state != self._state.state
        self._state = state
        if entered or time.monotonic() - self._written_at >= _EVERY_S:
            self._write()
        self._shown(state)

    def collect(self) -> Iterator[Metric]:
        """The metrics of the last state; none before the first."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if (state := self._state) is None:
            return
        tracks = CounterMetricFamily("stemfeatures_tracks", "Rows of the catalogue by result.", labels=["result"])
        for result, n in {"done": state.n_done, "failed": state.n_failed, "skipped": state.n_skipped}.items():
            tracks.add_metric([result], n)
        yield tracks
        yield CounterMetricFamily("stemfeatures_audio_seconds", "Audio of the extracted tracks.", value=state.audio_s)
        yield GaugeMetricFamily("stemfeatures_catalogue_tracks", "Rows of the catalogue.", value=state.n_total)
        yield GaugeMetricFamily("stemfeatures_workers", "Processes at work.", value=state.n_workers)
        yield GaugeMetricFamily("stemfeatures_elapsed_seconds", "Since the first track began.", value=state.elapsed_s)
        if state.eta_s is not None:
            yield GaugeMetricFamily("stemfeatures_eta_seconds", "Estimated time to the end.", value=state.eta_s)
        run = GaugeMetricFamily("stemfeatures_run", "1 for the state that the run is in.", labels=["state"])
        run.add_metric([state.state], 1)
        yield run

    def close(self) -> None:
        """Stop serving; a file tells the last state from now on."""
        self._write()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _write(self) -> None:
        from prometheus_client import write_to_textfile

        if self._file is not None and self._state is not None:
            self._written_at = time.monotonic()
            try:
                write_to_textfile(str(self._file), self._registry)
            except OSError as error:  # a run does not end for want of metrics
                logger.warning("metrics were not written to %s: %s", visible(str(self._file)), error)
