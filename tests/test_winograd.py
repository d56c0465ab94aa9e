"""Convolutions with fewer products: the values of plain ones, and where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from networks import TINY
from torch import nn

from stemfeatures.constants import N_BINS
from stemfeatures.models.fusion import fused
from stemfeatures.models.joint import JointNet
from stemfeatures.models.winograd import TOGETHER, WinogradConv


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def conv_of(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(inputs)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("inputs", "outputs", "rows", "columns", "batch"),
    [
        (32, 48, 8, 12, 1),  # whole tiles
        (32, 32, 1, 1, 1), (32, 32, 2, 3, 2), (33, 37, 5, 7, 1), (32, 32, 9, 4, 1),  # tiles over the edge
        (32, 40, 4 * 23, 13, 2),  # lines of tiles that are taken together do not come out even
        (64, 64, 6, 4 * TOGETHER + 8, 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("residual", [False, True])
def test_values_are_those_of_a_convolution(
    inputs: int, outputs: int, rows: int, columns: int, batch: int, residual: bool
) -> None:
    if residual:
        outputs = inputs
    conv = conv_of(inputs, outputs, bias=inputs != 33)
    assert WinogradConv.fits(conv)
    x = torch.randn(batch, inputs, rows, columns).contiguous(memory_format=torch.channels_last)
    kept = x.clone()
    bias = None if conv.bias is None else conv.bias.double()
    with torch.inference_mode():
        expected = F.relu(F.conv2d(x.double(), conv.weight.double(), bias, padding=1)) + (x if residual else 0)
        found = WinogradConv(conv)(x, residual=residual)
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last) or rows * columns == 1
    assert float((found - expected).abs().max()) < 2e-5 * float(expected.abs().max())
    assert torch.equal(x, kept)


def test_planes_that_lie_channels_first_and_several_threads() -> None:
    conv = conv_of(32, 32)
    x = torch.randn(1, 32, 20, 20)
    with torch.inference_mode():
        expected = F.relu(conv(x))
        torch.testing.assert_close(WinogradConv(conv)(x), expected, atol=1e-4, rtol=0)
        torch.set_num_threads(2)  # which the transforms would not use
        assert torch.equal(WinogradConv(conv)(x), expected)
        assert torch.equal(WinogradConv(conv)(x, residual=True), expected + x)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 64, 3, padding=1),  # of few channels
        nn.Conv2d(64, 64, 3),
        nn.Conv2d(64, 64, 3, padding=1, stride=2),
        nn.Conv2d(64, 64, 3, padding=1, groups=2),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 64, (1, 3), padding=(0, 1)),
        nn.Conv2d(64, 64, 3, padding=1).to(torch.bfloat16),
        nn.Conv1d(64, 64, 3, padding=1),
    ],
)
def test_others_stay_as_they_are(conv: nn.Module) -> None:
    assert not WinogradConv.fits(conv)


def test_a_network_for_inference_has_them_in_float32_alone() -> None:
    torch.manual_seed(1)
    learned = JointNet(replace(TINY, channels=(8, 32, 40), pitch_channels=(8, 16, 32))).eval()
    for norm in (m for m in learned.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)):
        for of, low in ((norm.weight, -1.5), (norm.bias, -0.5), (norm.running_mean, -0.5), (norm.running_var, 0.5)):
            of.data.uniform_(low, low + 1)
    cheaper, reduced = fused(learned), fused(learned, dtype=torch.bfloat16)
    # Two blocks a level, on two levels, and two convolutions over time in the network of each pitch.
    assert sum(isinstance(m, WinogradConv) for m in cheaper.modules()) == 8
    assert not any(isinstance(m, WinogradConv) for m in [*reduced.modules(), *learned.modules()])
    x = torch.rand(2, N_BINS, 37)
    with torch.inference_mode():
        expected, found = vars(learned(x)), vars(cheaper(x))
    for name, value in expected.items():
        if value is not None:
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")
