"""A run as a trace of OpenTelemetry, sent to a collector by OTLP over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import stemfeatures

from ._exit import UsageError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

NAME = "stemfeatures"
#: Spans that wait to be sent: those of a few shards, which come all at once. More are dropped.
_QUEUE = 16_384
#: What the name of a service begins with that nobody has named, by the specification of OpenTelemetry.
_UNNAMED = "unknown_service"


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
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise UsageError("--trace needs OpenTelemetry: pip install 'stemfeatures[opentelemetry]'") from error
    resource = Resource.create({"service.version": stemfeatures.__version__})
    if str(resource.attributes["service.name"]).startswith(_UNNAMED):
        resource = resource.merge(Resource({"service.name": NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    queue = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _QUEUE
    try:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=queue))
    except ValueError as error:
        raise UsageError(f"--trace: the variables OTEL_* do not fit together: {error}") from error
    try:
        yield provider.get_tracer(NAME, stemfeatures.__version__)
    finally:
        with suppress(KeyboardInterrupt):  # who does not wait for a collector still learns what the run has done
            provider.shutdown()
