"""Masks of the analysis grid on the grid of a signal of any rate."""

from __future__ import annotations

import torch
from torch import Tensor

from ..constants import (
    ANALYSIS_SAMPLE_RATE,
    HOP_LENGTH,
    N_BINS,
    N_FFT,
)


def rendering_grid(sample_rate: int) -> tuple[int, int]:
    """``(n_fft, hop_length)`` on which masks are applied at ``sample_rate``.

    The hop is the FFT-friendly length nearest to the analysis hop in seconds, and n_fft four times that. At 22,050
    and 44,100 Hz the grid coincides with the analysis grid frame by frame and bin by bin.

    >>> rendering_grid(22_050), rendering_grid(44_100), rendering_grid(48_000)
    ((2048, 512), (4096, 1024), (4500, 1125))
    """
    ideal = HOP_LENGTH * sample_rate / ANALYSIS_SAMPLE_RATE
    smooth = [2**a * 3**b * 5**c for a in range(14) for b in range(6) for c in range(5)]
    hop = min((h for h in smooth if h * 4 % 2 == 0), key=lambda h: (abs(h - ideal), h))
    return 4 * hop, hop


def extend_mask(mask: Tensor, frequencies: Tensor, *, band_hz: tuple[float, float] = (8_000.0, 11_000.0)) -> Tensor:
    """Masks ``(..., N_BINS, n_frames)`` read at ``frequencies`` in Hz: ``(..., n_frequencies, n_frames)``.

    Linear interpolation between analysis bins, so masks that sum to one still do. Above the analysis band
    (11,025 Hz) every bin takes the frame's mean mask over ``band_hz``.
    """
    position = frequencies.to(mask.device, mask.dtype) * (N_FFT / ANALYSIS_SAMPLE_RATE)
    low = position.floor().long().clamp(0, N_BINS - 1)
    high = (low + 1).clamp(max=N_BINS - 1)
    weight = (position - low).clamp(0, 1)[:, None]
    if bool((weight == 0).all()):
        inside = mask.index_select(-2, low)
    else:
        inside = mask.index_select(-2, low) * (1 - weight) + mask.index_select(-2, high) * weight
    above = frequencies >= ANALYSIS_SAMPLE_RATE / 2
    if bool(above.any()):
        first, last = (round(f * N_FFT / ANALYSIS_SAMPLE_RATE) for f in band_hz)
        mean = mask[..., first:last, :].mean(dim=-2, keepdim=True)
        inside = torch.where(above.to(mask.device)[:, None], mean, inside)
    return inside
