"""Metrics of a run, as Prometheus reads them."""

from __future__ import annotations

import socket
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.commands import _prometheus
from pipelines.commands._exit import UsageError
from pipelines.commands._prometheus import PrometheusProgress
from pipelines.extraction.summary import ExtractProgress

STATE = ExtractProgress("running", 12, n_skipped=2, n_done=6, n_failed=1, audio_s=700.0, elapsed_s=10.0, n_workers=2)


def values(text: str) -> dict[str, float]:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name + "".join(f" {v}" for v in sample.labels.values()): sample.value for sample in samples}


EXPECTED = {
    "stemfeatures_tracks_total done": 6, "stemfeatures_tracks_total failed": 1, "stemfeatures_tracks_total skipped": 2,
    "stemfeatures_audio_seconds_total": 700, "stemfeatures_catalogue_tracks": 12, "stemfeatures_workers": 2,
    "stemfeatures_elapsed_seconds": 10, "stemfeatures_run running": 1,
}  # fmt: skip


def test_it_is_served_while_the_run_goes_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shown: list[ExtractProgress] = []
    metrics = PrometheusProgress(str(port), shown.append)

    def fetch() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    assert values(fetch()) == {}
    metrics(STATE)
    assert shown == [STATE]
    assert values(fetch()) == EXPECTED
    with pytest.raises(UsageError, match="cannot serve"):
        PrometheusProgress(f"127.0.0.1:{port}", shown.append)
    metrics.close()
    with pytest.raises(OSError, match="refused"):
        fetch()


def test_a_file_tells_of_the_last_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "metrics" / "extract.prom"
    with pytest.raises(UsageError, match="no folder"):
        PrometheusProgress(str(file), print)
    file.parent.mkdir()
    metrics = PrometheusProgress(str(file), lambda state: None)
    metrics(STATE)
    metrics.close()
    assert values(file.read_text()) == EXPECTED
    file.unlink()
    file.parent.rmdir()
    metrics(replace(STATE, state="finished"))  # the run goes on
    assert "not written" in caplog.text
    with pytest.raises(UsageError, match="PORT"):
        PrometheusProgress("metrics", print)


def test_a_file_is_not_written_for_each_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is passed over is told with the first state a second later, with another state of the run, or at its end."""
    now = 100.0
    monkeypatch.setattr(_prometheus.time, "monotonic", lambda: now)
    file = tmp_path / "extract.prom"
    metrics = PrometheusProgress(str(file), lambda state: None)

    def tell(n_done: int, state: str = "running") -> float:
        metrics(replace(STATE, n_done=n_done, state=state))
        return values(file.read_text())["stemfeatures_tracks_total done"]

    assert [tell(n) for n in range(1, 4)] == [1, 1, 1]
    now += 1.0
    assert [tell(n) for n in range(4, 7)] == [4, 4, 4]
    assert tell(7, "stopping") == 7
    assert tell(8, "stopping") == 7
    metrics.close()
    assert values(file.read_text())["stemfeatures_tracks_total done"] == 8
