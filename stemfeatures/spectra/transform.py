"""Time-frequency representations, batched, in torch.

* Signals are ``(..., n_samples)``, spectrograms ``(..., n_bins, n_frames)``.
* Frames are centred: frame ``k`` covers ``k * hop - n_fft / 2`` to ``k * hop + n_fft / 2``, zeros lie outside the
  signal, and there are ``1 + n_samples // hop`` of them.
* The window is a periodic Hann for analysis and synthesis. With hop = n_fft / 4 its squares add up to the constant
  1.5, so a mask that is smooth in time leaves no modulation at the frame rate. (On the 1024/768 grid of the 2017
  U-Net they swing between 0.04 and 1, and whatever a mask changes is amplified by up to 23 in power.)
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..constants import (
    HOP_LENGTH,
    N_FFT,
)


@lru_cache(maxsize=16)
def _hann(n_fft: int, device: str, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(n_fft, periodic=True, device=device, dtype=dtype)


def hann(n_fft: int, like: Tensor) -> Tensor:
    """Periodic Hann window on the device and in the precision of ``like``."""
    return _hann(n_fft, str(like.device), like.dtype)


def stft(y: Tensor, *, n_fft: int = N_FFT, hop_length: int = HOP_LENGTH) -> Tensor:
    """Complex spectrogram ``(..., n_fft // 2 + 1, n_frames)`` of real signals ``(..., n_samples)``.

    >>> stft(torch.zeros(2, 1000)).shape
    torch.Size([2, 1025, 2])
    """
    flat = y.reshape(-1, y.shape[-1])
    spectrum = torch.stft(
        flat, n_fft, hop_length, window=hann(n_fft, y), center=True, pad_mode="constant", return_complex=True
    )
    return spectrum.reshape(*y.shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, n_samples: int, *, n_fft: int = N_FFT, hop_length: int = HOP_LENGTH) -> Tensor:
    """Inverse of :func:`stft`: least-squares overlap-add, exact for untouched spectrograms.

    >>> y = torch.randn(3000, dtype=torch.float64)
    >>> bool((istft(stft(y), 3000) - y).abs().max() < 1e-12)
    True
    """
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    window = hann(n_fft, flat.real)
    frames = torch.fft.irfft(flat, n=n_fft, dim=-2) * window[:, None]
    count = frames.shape[-1]
    length = n_fft + hop_length * (count - 1)
    fold = {"output_size": (1, length), "kernel_size": (1, n_fft), "stride": (1, hop_length)}
    signal = torch.nn.functional.fold(frames, **fold)[:, 0, 0]
    squares = (window**2)[:, None].expand(-1, count)[None]
    weight = torch.nn.functional.fold(squares, **fold)[0, 0, 0]
    signal, weight = (x[..., n_fft // 2 :][..., :n_samples] for x in (signal, weight))
    signal = signal / weight.clamp_min(1e-9)
    if signal.shape[-1] < n_samples:
        signal = torch.nn.functional.pad(signal, (0, n_samples - signal.shape[-1]))
    return signal.reshape(*spectrum.shape[:-2], n_samples)
