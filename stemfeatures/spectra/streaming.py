"""Framing and overlap-add of signals that arrive in blocks, so that memory does not grow with length.

Both follow the conventions of :mod:`.transform`: centred frames, zeros outside the signal, periodic Hann
for analysis and synthesis, division by the sum of squared windows that really cover a sample.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._util.numba_cache import compiled_when_called
from .transform import hann


class StreamFramer:
    """Blocks of ``(channels, n)`` samples to centred frames.

    >>> framer = StreamFramer(1, 8, 2)
    >>> framer.push(torch.arange(7.0)[None]).shape  # frame k needs samples up to 2 k + 3
    torch.Size([1, 2, 8])
    >>> framer.finish().shape                       # 1 + 7 // 2 frames in all
    torch.Size([1, 2, 8])
    """

    def __init__(self, channels: int, n_fft: int, hop_length: int, *, device: str = "cpu") -> None:
        self.n_fft, self.hop_length = n_fft, hop_length
        self.n_samples = 0
        self.n_frames = 0
        self._buffer = torch.zeros(channels, n_fft // 2, device=device)

    def push(self, block: Tensor) -> Tensor:
        """Frames ``(channels, k, n_fft)`` that the new samples complete; ``k`` may be 0."""
        self.n_samples += block.shape[-1]
        self._buffer = torch.cat([self._buffer, block], dim=-1)
        count = max(0, (self._buffer.shape[-1] - self.n_fft) // self.hop_length + 1)
        return self._take(count)

    def finish(self) -> Tensor:
        """The last frames, padded with zeros."""
        count = 1 + self.n_samples // self.hop_length - self.n_frames
        missing = (count - 1) * self.hop_length + self.n_fft - self._buffer.shape[-1]
        self._buffer = torch.nn.functional.pad(self._buffer, (0, max(0, missing)))
        return self._take(max(0, count))

    def _take(self, count: int) -> Tensor:
        if count == 0:
            return self._buffer.new_zeros(self._buffer.shape[0], 0, self.n_fft)
        frames = self._buffer.unfold(-1, self.n_fft, self.hop_length)[:, :count]
        self._buffer = self._buffer[:, count * self.hop_length :].clone()
        self.n_frames += count
        return frames


def forward_frames(frames: Tensor) -> Tensor:
    """Frames ``(..., k, n_fft)`` to spectra ``(..., n_fft // 2 + 1, k)``."""
    if frames.shape[-2] == 0:
        return torch.zeros(
            *frames.shape[:-2], frames.shape[-1] // 2 + 1, 0, dtype=torch.complex64, device=frames.device
        )
    return torch.fft.rfft(frames * hann(frames.shape[-1], frames)).transpose(-1, -2)


class OverlapAdder:
    """Spectra in order to samples; every sample is given out once, as soon as it is complete."""

    def __init__(self, channels: int, n_fft: int, hop_length: int, *, device: str = "cpu") -> None:
        self.n_fft, self.hop_length = n_fft, hop_length
        self._tail = torch.zeros(channels, n_fft - hop_length, device=device)
        self._weight = torch.zeros(n_fft - hop_length, device=device)
        self._skip = n_fft // 2
        self._given = 0

    def push(self, spectrum: Tensor) -> Tensor:
        """Samples ``(channels, m)`` that the spectra ``(channels, n_fft // 2 + 1, k)`` complete."""
        count = spectrum.shape[-1]
        if count == 0:
            return self._tail[:, :0]
        window = hann(self.n_fft, self._tail)
        frames = torch.fft.irfft(spectrum.transpose(-1, -2), n=self.n_fft)
        total = (count - 1) * self.hop_length + self.n_fft
        signal = torch.nn.functional.pad(self._tail, (0, total - self._tail.shape[-1]))
        weight = torch.nn.functional.pad(self._weight, (0, total - self._weight.shape[-1]))
        if signal.device.type == "cpu":
            _add(frames.numpy(), window.numpy(), self.hop_length, signal.numpy(), weight.numpy())
        else:
            self._add_by_torch(frames, window, signal, weight)
        done = count * self.hop_length
        self._tail, self._weight = signal[:, done:].clone(), weight[done:].clone()
        return self._give(signal[:, :done].div_(weight[:done].clamp_min(1e-9)))

    def _add_by_torch(self, frames: Tensor, window: Tensor, signal: Tensor, weight: Tensor) -> None:
        squares, hop, count = window**2, self.hop_length, frames.shape[1]
        if self.n_fft % hop == 0:
            of_hops, weight_of_hops = signal.view(len(signal), -1, hop), weight.view(-1, hop)
            for part in range(self.n_fft // hop):
                cut = slice(part * hop, (part + 1) * hop)
                of_hops[:, part : part + count].addcmul_(frames[..., cut], window[cut])
                weight_of_hops[part : part + count] += squares[cut]
        else:
            for k in range(count):
                place = slice(k * hop, k * hop + self.n_fft)
                signal[:, place].addcmul_(frames[:, k], window)
                weight[place] += squares

    def finish(self, n_samples: int) -> Tensor:
        """What is left of a signal of ``n_samples``."""
        rest = self._give(self._tail / self._weight.clamp_min(1e-9))
        surplus = self._given - n_samples
        self._given = n_samples
        if surplus >= 0:
            return rest[:, : max(rest.shape[-1] - surplus, 0)]
        return torch.nn.functional.pad(rest, (0, -surplus))

    def _give(self, signal: Tensor) -> Tensor:
        drop = min(self._skip, signal.shape[-1])
        self._skip -= drop
        signal = signal[:, drop:]
        self._given += signal.shape[-1]
        return signal


@compiled_when_called(fastmath=True)
def _add(
    frames: np.ndarray, window: np.ndarray, hop: int, signal: np.ndarray, weight: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add windowed frames (channels, k, n_fft), a hop apart, to a signal, and the squares of the window to a weight."""
    n_fft = len(window)
    for channel in range(len(signal)):
        for k in range(frames.shape[1]):
            frame, place = frames[channel, k], signal[channel, k * hop : k * hop + n_fft]
            for i in range(n_fft):
                place[i] += frame[i] * window[i]
    for k in range(frames.shape[1]):
        place = weight[k * hop : k * hop + n_fft]
        for i in range(n_fft):
            place[i] += window[i] * window[i]
