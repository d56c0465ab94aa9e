"""Networks of a fixed number of frames over signals of any length, on grids of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..audio import StreamResampler
from ..models import checkpoints
from ..models.unet2017 import HOP_LENGTH, N_FFT, N_FRAMES, SAMPLE_RATE
from ..spectra.streaming import OverlapAdder, StreamFramer, forward_frames
from .base import BaseSeparator


class Patches:
    """Runs a network of a fixed number of frames over frames that arrive in order.

    Patches overlap and each gives its middle, by default half of it; zeros lie before the first frame and after the
    last.

    Parameters
    ----------
    network : ``(..., n_frames)`` to ``(..., n_frames)``, or to the frames inside the border alone.
    border : frames at either end of a patch that are not used; None: a quarter of it.
    """

    def __init__(
        self, network: Callable[[Tensor], Tensor], *, n_frames: int = N_FRAMES, border: int | None = None
    ) -> None:
        self.network, self.n_frames = network, n_frames
        self._border = n_frames // 4 if border is None else border
        self._step = n_frames - 2 * self._border
        self._held: Tensor | None = None

    def push(self, frames: Tensor) -> list[Tensor]:
        """Results of the frames that are ready, in order; together with :meth:`finish` as many as came in."""
        if self._held is None:
            self._held = frames.new_zeros(*frames.shape[:-1], self._border)
        self._held = torch.cat([self._held, frames], dim=-1)
        ready = []
        while self._held.shape[-1] >= self.n_frames:
            found = self.network(self._held[..., : self.n_frames])
            first = (found.shape[-1] - self._step) // 2
            ready.append(found[..., first : first + self._step])
            self._held = self._held[..., self._step :]
        return ready

    def finish(self) -> list[Tensor]:
        """Results of the frames that are left."""
        if self._held is None:
            return []
        left = self._held.shape[-1] - self._border
        padded = self.push(self._held.new_zeros(*self._held.shape[:-1], self.n_frames))
        self._held = None
        ready = []
        for part in padded:
            ready.append(part[..., : max(0, left)])
            left -= part.shape[-1]
        return ready

    def all(self, frames: Tensor) -> Tensor:
        """The same for all frames at once."""
        return torch.cat([*self.push(frames), *self.finish()], dim=-1)


class LowRateSeparator(BaseSeparator):
    """What separators on a grid of their own share: signals of any length, rate and channels in bounded memory.

    Parameters
    ----------
    model : path of a checkpoint. device : torch device.

    Raises
    ------
    ModelError
        When the checkpoint cannot be used.

    Attributes
    ----------
    load : reads the network ``unet`` of a checkpoint.
    grid : (n_fft, hop_length). grid_rate : sample rate of the grid; stems hold nothing above its half.
    """

    grid: tuple[int, int] = (N_FFT, HOP_LENGTH)
    grid_rate: int = SAMPLE_RATE
    load: Callable[..., nn.Module]
    unet: nn.Module

    def __init__(self, model: str | Path, *, device: str = "cpu") -> None:
        self.checkpoint = checkpoints.resolve(model)
        self.device = device
        self.unet = self.load(self.checkpoint, device=device)
        self.stems = checkpoints.stems_of(self.checkpoint)

    def patches(self) -> Patches:
        """Magnitudes of the mono mixture ``(n_fft // 2 + 1, k)`` to masks ``(stems, n_fft // 2 + 1, k)``, anew for
        each signal."""
        raise NotImplementedError

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """Stems of a signal that arrives as blocks ``(channels, n)``; yields blocks of the stems in order, together as
        long as the signal. Memory is bounded by the length of a patch and of a block."""
        work = _Work(self, sample_rate, channels)
        n_samples = given = 0
        with torch.inference_mode():
            for block in blocks:
                n_samples += block.shape[-1]
                parts = work.push(np.asarray(block, np.float32))
                given += parts[self.stems[0]].shape[-1]
                if parts[self.stems[0]].shape[-1]:
                    yield parts
            if n_samples == 0:
                return
            missing = n_samples - given
            last = {stem: part[:, : max(0, missing)] for stem, part in work.finish().items()}
            if missing:
                yield {s: np.pad(part, ((0, 0), (0, missing - part.shape[-1]))) for s, part in last.items()}


class _Work:
    """One signal on its way through resampling, frames, patches and back."""

    def __init__(self, separator: LowRateSeparator, sample_rate: int, channels: int) -> None:
        self.device = device = separator.device
        n_fft, hop_length = separator.grid
        self.down = StreamResampler(sample_rate, separator.grid_rate)
        self.framer = StreamFramer(channels, n_fft, hop_length, device=device)
        self.patches = separator.patches()
        self.adders = {s: OverlapAdder(channels, n_fft, hop_length, device=device) for s in separator.stems}
        self.up = {s: StreamResampler(separator.grid_rate, sample_rate) for s in separator.stems}
        self.spectrum = torch.zeros(channels, n_fft // 2 + 1, 0, dtype=torch.complex64, device=device)

    def push(self, block: np.ndarray) -> dict[str, np.ndarray]:
        signal = np.ascontiguousarray(self.down.process(block))
        return self._render(self.framer.push(torch.from_numpy(signal).to(self.device)))

    def finish(self) -> dict[str, np.ndarray]:
        signal = np.ascontiguousarray(self.down.flush())
        parts = [self._render(self.framer.push(torch.from_numpy(signal).to(self.device)))]
        parts.append(self._render(self.framer.finish(), last=True))
        parts.append({s: r.flush() for s, r in self.up.items()})
        return {stem: np.concatenate([part[stem] for part in parts], axis=-1) for stem in self.up}

    def _render(self, frames: Tensor, *, last: bool = False) -> dict[str, np.ndarray]:
        """Samples at the rate of the signal that further frames ``(channels, k, N_FFT)`` make ready."""
        spectrum = forward_frames(frames)
        self.spectrum = torch.cat([self.spectrum, spectrum], dim=-1)
        # The mean of the channels is taken before the magnitude: that of the mono mixture.
        masks = self.patches.push(spectrum.mean(dim=0).abs()) + (self.patches.finish() if last else [])
        count = sum(mask.shape[-1] for mask in masks)
        ready, self.spectrum = self.spectrum[..., :count], self.spectrum[..., count:]
        found = {}
        for i, (stem, adder) in enumerate(self.adders.items()):
            masked = ready * torch.cat(masks, dim=-1)[i] if masks else ready
            samples = adder.push(masked)
            if last:
                samples = torch.cat([samples, adder.finish(self.framer.n_samples)], dim=-1)
            found[stem] = self.up[stem].process(samples.cpu().numpy())
        return found
