"""A run as a trace of OpenTelemetry, sent to a collector by OTLP over HTTP."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import stemfeatures

from ._exit import UsageError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

NAME = "stemfeatures"
#: Spans that wait to be sent: those of a few shards, which come all at once. More are dropped.
_QUEUE = 16_384
#: What the name of a service begins with that nobody has named, by the specification of OpenTelemetry.
_UNNAMED = "unknown_service"
#: Logger that all of its packages are below.
_THEIRS = "opentelemetry"


class _Losses(logging.Handler):
    """Takes what OpenTelemetry logs, several lines for each batch, and warns once a run that spans are lost."""

    def __init__(self) -> None:
        super().__init__()
        self._first_trouble = ""
        self._is_told = False

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        log.info("%s", message)
        self._first_trouble = self._first_trouble or message
        if record.name.startswith(f"{_THEIRS}.sdk"):  # which drops what its queue cannot hold
            self.tell()

    def tell(self) -> None:
        """Spans are lost."""
        if not self._is_told:
            self._is_told = True
            log.warning("the trace lacks spans, which do not reach the collector: %s", self._first_trouble or "unknown")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Nobody else hears these messages while the block runs."""
        logger = logging.getLogger(_THEIRS)
        propagated, logger.propagate = logger.propagate, False
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = propagated


@contextmanager
def tracer_of(wanted: bool) -> Iterator[Tracer | None]:
    """A tracer whose spans are sent while the block runs, and at its end; None if not wanted.

    Where to, with which headers, which share of runs and under which name say the standard variables ``OTEL_*``.

    Parameters
    ----------
    wanted : bool
        Whether there shall be one.

    Yields
    ------
    opentelemetry.trace.Tracer or None
        For :func:`pipelines.extract_catalog`.

    Raises
    ------
    UsageError
        The packages are missing, or the variables do not fit together.
    """
    if not wanted:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    except ImportError as error:
        raise UsageError("--trace needs OpenTelemetry: pip install 'stemfeatures[opentelemetry]'") from error
    resource = Resource.create({"service.version": stemfeatures.__version__})
    if str(resource.attributes["service.name"]).startswith(_UNNAMED):
        resource = resource.merge(Resource({"service.name": NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    queue = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _QUEUE
    losses = _Losses()

    class Exporter(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            if result is not SpanExportResult.SUCCESS:
                losses.tell()
            return result

    try:
        provider.add_span_processor(BatchSpanProcessor(Exporter(), max_queue_size=queue))
    except ValueError as error:
        raise UsageError(f"--trace: the variables OTEL_* do not fit together: {error}") from error
    with losses.listening():
        try:
            yield provider.get_tracer(NAME, stemfeatures.__version__)
        finally:
            with suppress(KeyboardInterrupt):  # who does not wait for a collector still learns what the run has done
                provider.shutdown()
