"""Networks that mask patches of a fixed number of frames, for signals of any length, rate and number of channels.

Every channel is resampled to the rate of the network's grid. Masks are estimated from the mean of the channels, patch
by patch, and applied to every channel with the mixture's phase. Nothing above half of that rate is in any stem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..audio import StreamResampler
from ..errors import ModelError
from ..models import checkpoints
from ..models.network import PatchNetwork
from ..spectra.streaming import OverlapAdder, StreamFramer, forward_frames
from .base import BaseSeparator


class Patches:
    """Runs a network of a fixed number of frames over frames that arrive in order.

    Patches overlap and each gives its middle; zeros lie before the first frame and after the last.

    Parameters
    ----------
    network : callable
        ``(batch, ..., n_frames)`` to ``(batch, ..., n_frames)``, or to the frames inside the border alone.
    n_frames : int
        Length of a patch.
    border : int, optional
        Frames at either end of a patch that are context; None: a quarter of it.
    batch_size : int, optional
        Patches that the network is given at a time, at most.

    Raises
    ------
    ValueError
        Nothing of a patch lies inside its border, or there is no patch at a time.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        *,
        n_frames: int,
        border: int | None = None,
        batch_size: int = 1,
    ) -> None:
        self.network, self.n_frames, self.batch_size = network, n_frames, batch_size
        self._border = n_frames // 4 if border is None else border
        self._step = n_frames - 2 * self._border
        if (message := _without_middle(n_frames, self._border)) is not None:
            raise ValueError(message)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self._held: Tensor | None = None

    def push(self, frames: Tensor) -> list[Tensor]:
        """Add frames.

        Parameters
        ----------
        frames : Tensor
            ``(..., k)``, any ``k``.

        Returns
        -------
        list of Tensor
            Results of the frames that are ready, in order; together with those of :meth:`finish` as many as came in.
        """
        if self._held is None:
            self._held = frames.new_zeros(*frames.shape[:-1], self._border)
        self._held = torch.cat([self._held, frames], dim=-1)
        count = max(0, (self._held.shape[-1] - self.n_frames) // self._step + 1)
        patches = [self._held[..., i * self._step : i * self._step + self.n_frames] for i in range(count)]
        ready: list[Tensor] = []
        for i in range(0, count, self.batch_size):
            found = self.network(torch.stack(patches[i : i + self.batch_size]))
            first = (found.shape[-1] - self._step) // 2
            ready += found[..., first : first + self._step].unbind(0)
        self._held = self._held[..., count * self._step :]
        return ready

    def finish(self) -> list[Tensor]:
        """End the signal.

        Returns
        -------
        list of Tensor
            Results of the frames that are left.
        """
        if self._held is None:
            return []
        left = self._held.shape[-1] - self._border
        padded = self.push(self._held.new_zeros(*self._held.shape[:-1], self.n_frames))
        self._held = None
        ready = []
        for result in padded:
            ready.append(result[..., : max(0, left)])
            left -= result.shape[-1]
        return ready

    def all(self, frames: Tensor) -> Tensor:
        """The results of all frames of a signal at once.

        Parameters
        ----------
        frames : Tensor
            ``(..., k)``.

        Returns
        -------
        Tensor
            ``(..., k)``.
        """
        return torch.cat([*self.push(frames), *self.finish()], dim=-1)


def _without_middle(n_frames: int, border: int) -> str | None:
    """Say so where nothing of a patch lies inside its border."""
    if n_frames - 2 * border >= 1 and border >= 0:
        return None
    return f"patches of {n_frames} frames have no middle between borders of {border} frames"


class PatchSeparator(BaseSeparator):
    """Separates with a :class:`~stemfeatures.models.network.PatchNetwork`, in bounded memory.

    Parameters
    ----------
    model : str or Path
        Name or path of a checkpoint.
    device : str, optional
        Torch device.
    batch_size : int, optional
        Patches a forward pass, at most.

    Raises
    ------
    ModelError
        The checkpoint cannot be used.

    Attributes
    ----------
    net : PatchNetwork
        The network.
    """

    def __init__(self, model: str | Path, *, device: str = "cpu", batch_size: int = 1) -> None:
        self.checkpoint = checkpoints.resolve(model)
        self.device, self.batch_size = device, batch_size
        self.net = checkpoints.load_network(self.checkpoint, PatchNetwork, device=device)  # type: ignore[type-abstract]
        if (message := _without_middle(*self.net.patch)) is not None:
            raise ModelError(message, source=str(self.checkpoint.path))
        self.stems = self.net.stems
        self.band_hz = self.net.grid.sample_rate / 2

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """Separate a signal that arrives in blocks; memory is bounded by the length of a patch and of a block.

        Parameters
        ----------
        blocks : iterable of numpy.ndarray
            ``(channels, n)``, float, full scale 1.0; any ``n``.
        sample_rate : int
            Hz.
        channels : int
            Number of channels.

        Yields
        ------
        dict of str to numpy.ndarray
            Consecutive blocks ``(channels, k)`` of all stems, together as long as the signal; none for an empty one.
        """
        state = _State(self, sample_rate, channels)
        n_samples = given = 0
        with torch.inference_mode():
            for block in blocks:
                n_samples += block.shape[-1]
                ready = state.push(np.asarray(block, np.float32))
                given += ready[self.stems[0]].shape[-1]
                if ready[self.stems[0]].shape[-1]:
                    yield ready
            if n_samples == 0:
                return
            missing = n_samples - given
            last = {stem: signal[:, : max(0, missing)] for stem, signal in state.finish().items()}
            if missing:
                yield {s: np.pad(signal, ((0, 0), (0, missing - signal.shape[-1]))) for s, signal in last.items()}


class _State:
    """One signal on its way through resampling, frames, patches and back."""

    def __init__(self, separator: PatchSeparator, sample_rate: int, channels: int) -> None:
        self.device = device = separator.device
        net, grid = separator.net, separator.net.grid
        n_frames, border = net.patch
        self.down = StreamResampler(sample_rate, grid.sample_rate)
        self.framer = StreamFramer(channels, grid.n_fft, grid.hop_length, device=device)
        self.patches = Patches(net.masks, n_frames=n_frames, border=border, batch_size=separator.batch_size)
        self.adders = {s: OverlapAdder(channels, grid.n_fft, grid.hop_length, device=device) for s in separator.stems}
        self.up = {s: StreamResampler(grid.sample_rate, sample_rate) for s in separator.stems}
        self.n_samples = 0  # at the rate of the grid, known at the end
        self.spectrum = torch.zeros(channels, grid.n_fft // 2 + 1, 0, dtype=torch.complex64, device=device)

    def push(self, block: np.ndarray) -> dict[str, np.ndarray]:
        signal = np.ascontiguousarray(self.down.process(block))
        return self._render(self.framer.push(torch.from_numpy(signal).to(self.device)))

    def finish(self) -> dict[str, np.ndarray]:
        signal = np.ascontiguousarray(self.down.flush())
        ready = [self._render(self.framer.push(torch.from_numpy(signal).to(self.device)))]
        # Frames go on until the end is covered as the middle is. Under the last window alone, whose flank is near zero
        # there, whatever a mask changes would be divided by that; and a hop above n_fft / 2 leaves samples uncovered.
        self.n_samples = self.framer.n_samples
        silence = torch.zeros(len(self.spectrum), self.framer.n_fft, device=self.device)
        ready.append(self._render(self.framer.push(silence)))
        ready.append(self._render(self.framer.finish(), last=True))
        ready.append({s: r.flush() for s, r in self.up.items()})
        return {stem: np.concatenate([block[stem] for block in ready], axis=-1) for stem in self.up}

    def _render(self, frames: Tensor, *, last: bool = False) -> dict[str, np.ndarray]:
        """Samples at the rate of the signal that further frames ``(channels, k, n_fft)`` make ready."""
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
                samples = torch.cat([samples, adder.finish(self.n_samples)], dim=-1)
            found[stem] = self.up[stem].process(samples.cpu().numpy())
        return found
