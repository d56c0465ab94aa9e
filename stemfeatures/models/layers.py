"""Layers that subnetworks of the joint network have in common."""

from __future__ import annotations

from torch import nn


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int | tuple[int, int] = 1
) -> nn.Module:
    """A convolution that keeps sizes but for the stride, a batch norm in place of its bias, and an activation."""
    k = (kernel, kernel) if isinstance(kernel, int) else kernel
    conv = nn.Conv2d(inputs, outputs, k, stride, padding=(k[0] // 2, k[1] // 2), bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
