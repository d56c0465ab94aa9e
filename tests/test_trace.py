"""The trace of a run: spans of shards, tracks and stages, by the SDK of OpenTelemetry, in memory and over loopback."""

from __future__ import annotations

import gzip
import http.server
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from extract_helper import DEADLY, fake_shard, write_tone

pytest.importorskip("opentelemetry.sdk", reason="needs the opentelemetry extra")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the opentelemetry extra")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from pipelines import cli, extract_catalog
from pipelines.catalog import portions
from pipelines.commands._exit import UsageError
from pipelines.commands._trace import tracer_of
from pipelines.extraction import cluster, executor
from pipelines.extraction.tasks import ShardTask
from pipelines.extraction.tracing import RunTrace, ShardSpans

pytestmark = pytest.mark.usefixtures("fresh_network")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for name, f0 in (("a", 220.0), ("b", 330.0)):
        write_tone(tmp_path / "music" / f"{name}.wav", f0=f0)
    (tmp_path / "music" / "broken.wav").write_bytes(b"no audio")
    return tmp_path / "music"


@pytest.fixture
def memory() -> Iterator[tuple[Any, InMemorySpanExporter]]:
    """A tracer, and what keeps its spans."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("test"), exporter
    provider.shutdown()


def by_parent(spans: tuple[ReadableSpan, ...]) -> list[tuple[str | None, str]]:
    """The name of the parent of each span, and its own."""
    names = {span.context.span_id: span.name for span in spans}
    return [(None if span.parent is None else names[span.parent.span_id], span.name) for span in spans]


def test_a_run_is_a_tree_of_spans(music: Path, tmp_path: Path, model: Path, memory: Any) -> None:
    tracer, exporter = memory
    before = time.time_ns()
    summary = extract_catalog(music, tmp_path / "out", model=model, device="cpu", jobs=1, tracer=tracer)
    assert (summary.n_done, summary.n_failed) == (2, 1)
    spans = exporter.get_finished_spans()
    assert len({span.context.trace_id for span in spans}) == 1
    n = Counter(by_parent(spans))
    n_shards = n["run", "shard"]
    assert n == {
        (None, "extract"): 1, ("extract", "plan"): 1, ("extract", "run"): 1,
        ("run", "shard"): n_shards, ("shard", "write"): n_shards, ("run", "commit"): n_shards, ("shard", "track"): 3,
        ("track", "decode"): 3, ("track", "network"): 2, ("track", "describe"): 2, ("track", "rows"): 2,
    }  # fmt: skip
    by_id = {span.context.span_id: span for span in spans}
    for span in spans:
        assert before <= span.start_time <= span.end_time <= time.time_ns()
        if span.parent is not None and span.name != "decode":  # which the next shard may have begun
            parent = by_id[span.parent.span_id]
            assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time, span.name
    tracks = {span.attributes["stemfeatures.track_id"]: span for span in spans if span.name == "track"}
    assert set(tracks) == {"a.wav", "b.wav", "broken.wav"}
    assert tracks["a.wav"].attributes["stemfeatures.audio_s"] == pytest.approx(0.7)
    assert tracks["a.wav"].attributes["stemfeatures.status"] == "ok"
    assert tracks["a.wav"].status.status_code is StatusCode.UNSET
    assert tracks["broken.wav"].status.status_code is StatusCode.ERROR
    assert "broken.wav" in tracks["broken.wav"].status.description
    (run,) = (span for span in spans if span.name == "run")
    assert run.attributes == {
        "stemfeatures.run_id": summary.run_id, "stemfeatures.n_done": 2, "stemfeatures.n_failed": 1,
    }  # fmt: skip
    exporter.clear()
    again = extract_catalog(
        music, tmp_path / "out", model=model, device="cpu", jobs=1, tracer=tracer, retry_failed=False
    )
    assert again.n_skipped == 2
    assert by_parent(exporter.get_finished_spans()) == [("extract", "plan"), (None, "extract")]


def test_nothing_is_timed_without_a_tracer(music: Path, tmp_path: Path, model: Path, monkeypatch: Any) -> None:
    tasks: list[ShardTask] = []
    real = executor.process_shard

    def seen(task: ShardTask, **options: Any) -> Any:
        tasks.append(task)
        receipt = real(task, **options)
        assert receipt.span is None
        return receipt

    monkeypatch.setattr(executor, "process_shard", seen)
    assert extract_catalog(music, tmp_path / "out", model=model, device="cpu", jobs=1).n_done == 2
    assert tasks
    assert not any(task.traced for task in tasks)
    spans = ShardSpans("s", on=False)
    spans.begin("a", 1)
    with spans.stage("a", "rows"):
        pass
    spans.end("a")
    assert spans.finish(2) is None
    trace = RunTrace(None)
    with trace.span("run"):
        trace.describe(n=1)
        trace.add(None)
    assert not trace.is_on


def test_spans_come_back_from_processes(music: Path, tmp_path: Path, model: Path, memory: Any) -> None:
    """Workers know nothing of OpenTelemetry: their times are in their receipts."""
    tracer, exporter = memory
    summary = extract_catalog(music, tmp_path / "out", model=model, device="cpu", jobs=2, tracer=tracer)
    assert summary.n_done == 2
    spans = exporter.get_finished_spans()
    shards = [span for span in spans if span.name == "shard"]
    assert {span.attributes["stemfeatures.worker"] for span in shards}
    assert Counter(by_parent(spans))["shard", "track"] == 3
    assert sum(span.attributes["stemfeatures.n_done"] for span in shards) == 2


def test_portions_and_names_that_are_no_text(tmp_path: Path, model: Path, memory: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(portions, "PORTION_ROWS", 2)
    tracer, exporter = memory
    paths = [write_tone(tmp_path / f"{i}.wav", f0=200.0 + i) for i in range(3)]
    frame = pd.DataFrame({"track_id": ["a", "b", "c"], "path": [str(path) for path in paths]})
    frame.to_parquet(tmp_path / "catalog.parquet")
    options = {"model": model, "device": "cpu", "jobs": 1, "tracer": tracer}
    assert extract_catalog(tmp_path / "catalog.parquet", tmp_path / "out", **options).n_done == 3
    n = Counter(by_parent(exporter.get_finished_spans()))
    assert (n["extract", "plan"], n["extract", "run"], n["extract", "merge"]) == (2, 2, 1)
    exporter.clear()
    spans = ShardSpans("s", on=True)
    spans.begin("caf\udce9", time.time_ns())
    spans.end("caf\udce9", "cannot read 'caf\udce9'")
    with tracer.start_as_current_span("run"):
        RunTrace(tracer).add(spans.finish(time.time_ns()))
    (track,) = (span for span in exporter.get_finished_spans() if span.name == "track")
    assert track.attributes["stemfeatures.track_id"] == "caf\\xe9"
    assert track.status.description == "cannot read 'caf\\xe9'"
    assert track.attributes["stemfeatures.status"] == "failed"


def test_a_track_that_kills_its_worker_is_a_span(tmp_path: Path, model: Path, memory: Any, monkeypatch: Any) -> None:
    tracer, exporter = memory
    monkeypatch.setattr(cluster, "process_on_worker", fake_shard)
    catalog = pd.DataFrame({"track_id": [DEADLY], "path": [str(write_tone(tmp_path / "a.wav"))]})
    summary = extract_catalog(catalog, tmp_path / "out", model=model, device="cpu", jobs=2, tracer=tracer)
    assert summary.n_failed == 1
    (track,) = (span for span in exporter.get_finished_spans() if span.name == "track")
    assert track.status.status_code is StatusCode.ERROR
    assert "WorkerCrash" in track.status.description
    assert track.attributes["stemfeatures.status"] == "failed"


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "stemfeatures"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=music"}, "stemfeatures"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=night"}, "night"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=night", "OTEL_SERVICE_NAME": "day"}, "day"),
    ],
)
def test_the_name_of_the_service(variables: dict[str, str], name: str, monkeypatch: Any) -> None:
    for variable in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with tracer_of(True) as tracer:
        assert tracer.resource.attributes["service.name"] == name


def test_variables_that_do_not_fit_together(monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200")
    with pytest.raises(UsageError, match="OTEL_"), tracer_of(True):
        pass


def test_who_does_not_wait_for_a_collector_keeps_the_summary(monkeypatch: Any) -> None:
    real = TracerProvider.shutdown

    def interrupted(provider: TracerProvider) -> None:
        real(provider)
        raise KeyboardInterrupt

    monkeypatch.setattr(TracerProvider, "shutdown", interrupted)
    with tracer_of(True) as tracer:
        assert tracer is not None
    with pytest.raises(KeyboardInterrupt, match="in work"), tracer_of(True):
        raise KeyboardInterrupt("in work")


class Collector:
    """Takes traces over HTTP, on loopback."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                outer.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_the_command_sends_a_trace(music: Path, tmp_path: Path, model: Path, monkeypatch: Any, capsys: Any) -> None:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server.server_port}")
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    command = ["extract", str(music), "-m", str(model), "-d", "cpu", "-j", "1"]
    assert cli.main([*command, "--trace", "-o", str(tmp_path / "out")]) == 3
    collector.server.shutdown()
    collector.server.server_close()
    resources = [resource for request in collector.requests for resource in request.resource_spans]
    service = {a.key: a.value.string_value for a in resources[0].resource.attributes}
    assert service["service.name"] == "stemfeatures"
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert Counter(span.name for span in spans)["track"] == 3
    assert {"extract", "plan", "run", "shard", "write", "commit", "decode", "network", "describe", "rows"} == {
        span.name for span in spans
    } - {"track"}
    # Nobody listens any more: the run is the same, and does not wait for long.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "4")
    started = time.monotonic()
    capsys.readouterr()
    assert cli.main([*command, "--trace", "-o", str(tmp_path / "other")]) == 3
    assert time.monotonic() - started < 120
    said = capsys.readouterr()
    (line,) = (line for line in said.err.splitlines() if "collector" in line)
    assert "the trace lacks spans" in line
    assert "Connection refused" in line


def test_lost_spans_are_told_once_a_run(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    """However many batches there are, and whoever drops them."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    theirs = logging.getLogger("opentelemetry")
    with tracer_of(True) as tracer:
        assert tracer is not None
        for _ in range(5):
            with tracer.start_as_current_span("run"):
                pass
        theirs.getChild("sdk._shared_internal").warning("Queue full, dropping Span.")
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert warned[0].startswith("the trace lacks spans, which do not reach the collector: ")
    assert (theirs.propagate, theirs.handlers) == (True, [])
