"""A run as a trace of OpenTelemetry, sent to a collector by OTLP over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import stemfeatures

from ._exit import UsageError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

NAME = "stemfeatures"
#: Spans that wait to be sent: those of a few shards, which come all at once. More are dropped.
_QUEUE = 16_384


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
        The packages are missing.
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
    resource = {"service.version": stemfeatures.__version__}
    if "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        resource["service.name"] = os.environ.get("OTEL_SERVICE_NAME") or NAME
    provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
    queue = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _QUEUE
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=queue))
    try:
        yield provider.get_tracer(NAME, stemfeatures.__version__)
    finally:
        provider.shutdown()
