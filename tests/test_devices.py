"""Which device is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stemfeatures._util import devices


@pytest.mark.parametrize(
    ("cuda", "visible", "said"),
    [(None, None, "is built for CPUs alone"), ("12.8", None, "its driver does not go with PyTorch"), (None, "", "")],
)
def test_a_gpu_that_is_not_used_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    cuda: str | None,
    visible: str | None,
    said: str,
) -> None:
    monkeypatch.setattr(devices, "_NVIDIA_GPUS", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.best_device() == "cpu"
    assert caplog.text == ""  # there is none
    (tmp_path / "0000:01:00.0").mkdir()
    assert devices.best_device() == "cpu"
    assert (said in caplog.text) if said else (caplog.text == "")
    caplog.clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.best_device() == "cuda"
    assert devices.unseen_gpus() is None
    assert caplog.text == ""
