"""The same results on a GPU; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import tiny_checkpoint

from stemfeatures.analysis import Analyser
from stemfeatures.constants import STEMS
from stemfeatures.separation import Separator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((2, int(44_100 * seconds)))).astype(np.float32)


def test_separation_on_cuda_equals_that_on_the_cpu(tmp_path):
    path, y = tiny_checkpoint(tmp_path), _noise(20)
    a = Separator(path).separate_array(y, 44_100)
    b = Separator(path, device="cuda", batch_size=4).separate_array(y, 44_100)
    for stem in STEMS:
        np.testing.assert_allclose(a[stem], b[stem], atol=2e-3)
    np.testing.assert_allclose(sum(b.values()), y, atol=1e-5)


def test_analysis_on_cuda_equals_that_on_the_cpu(tmp_path):
    path, y = tiny_checkpoint(tmp_path), _noise(20)
    a = Analyser(path).from_audio(y, 44_100).frames
    b = Analyser(path, device="cuda", batch_size=4).from_audio(y, 44_100).frames
    for stem in STEMS:
        np.testing.assert_allclose(a.stems[stem].energy, b.stems[stem].energy, rtol=0.02, atol=1e-7)
    np.testing.assert_allclose(a.beat, b.beat, atol=5e-3)


def test_gpu_memory_does_not_grow_with_length(tmp_path):
    separator = Separator(tiny_checkpoint(tmp_path), device="cuda", batch_size=2)

    def peak(seconds: int) -> int:
        torch.cuda.reset_peak_memory_stats()
        blocks = (_noise(1, seed=i) for i in range(seconds))
        for _ in separator.stream(blocks, 44_100, 2):
            pass
        return torch.cuda.max_memory_allocated()

    peak(60)
    assert peak(240) < 1.05 * peak(90)
