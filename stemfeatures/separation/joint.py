"""Separation of signals of any length, rate and number of channels into stems that sum to the mixture.

Masks are estimated on the mono 22,050 Hz analysis grid and applied to every channel of the full-rate signal, with the
mixture's phase. Rates other than 22,050 and 44,100 Hz read the masks by linear interpolation in frequency and time;
above 11,025 Hz a frame takes its mean mask over 8 to 11 kHz. All of this is linear in masks that sum to one, and the
overlap-add is an exact inverse, so the stems sum to the mixture up to rounding (about -120 dB in float32).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..constants import FRAME_RATE, STEMS
from ..inference.front_end import FrontEnd
from ..inference.segments import Frames, SegmentRunner, SegmentTrack
from ..models import checkpoints
from ..spectra.streaming import OverlapAdder, StreamFramer, forward_frames
from .base import BaseSeparator
from .mask_transfer import extend_mask, rendering_grid


class Separator(BaseSeparator):
    """Separates audio with a joint checkpoint into stems that sum to the mixture.

    :func:`~.open.open_separator` opens checkpoints of other networks too.

    Parameters
    ----------
    model : str or Path, optional
        Name of a checkpoint or path to one.
    device : str, optional
        Torch device.
    batch_size : int, optional
        Segments a forward pass.
    precision : str, optional
        In which the network computes on a CPU, see :mod:`..models.precision`.

    Attributes
    ----------
    stems : tuple of str
        What it separates into.

    Raises
    ------
    ModelError
        The checkpoint cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.random.default_rng(0).normal(0, 0.1, 22_050).astype(np.float32)
    >>> stems = Separator().separate_array(y, 22_050)
    >>> bool(np.abs(sum(stems.values()) - y).max() < 1e-5)
    True
    """

    stems: tuple[str, ...] = STEMS

    def __init__(
        self, model: str | Path = checkpoints.DEFAULT_MODEL, *, device: str = "cpu", batch_size: int = 1,
        precision: str = "float32",
    ) -> None:  # fmt: skip
        self.checkpoint = checkpoints.resolve(model)
        self.device, self.batch_size = device, batch_size
        self.net = checkpoints.load_for_inference(self.checkpoint, device=device, precision=precision)

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        *,
        on_frames: Callable[[Frames], None] | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Separate a signal that arrives in blocks; memory is bounded by the length of a segment and of a block.

        Parameters
        ----------
        blocks : iterable of numpy.ndarray
            ``(channels, n)``, float, full scale 1.0; any ``n``.
        sample_rate : int
            Hz.
        channels : int
            Number of channels.
        on_frames : callable, optional
            Called with what the network says of further frames of the analysis signal, in order and without gaps.

        Yields
        ------
        dict of str to numpy.ndarray
            Consecutive blocks ``(channels, k)`` of all stems, together as long as the signal; none for an empty one.
        """
        renderer = MaskRenderer(sample_rate, channels, self.device)
        runner = SegmentRunner(self.net, device=self.device, batch_size=self.batch_size)

        def found(frames: Frames) -> None:
            renderer.add_masks(frames)
            if on_frames is not None:
                on_frames(frames)

        track = SegmentTrack(found)
        front_end = FrontEnd(sample_rate, runner, track, device=self.device)

        with torch.inference_mode():
            for block in blocks:
                renderer.push(torch.from_numpy(np.array(block, dtype=np.float32)).to(self.device))
                front_end.push(block)
                yield from renderer.take()
            if renderer.n_samples == 0:
                return
            front_end.finish()
            runner.flush()
            renderer.finish()
            yield from renderer.take()


class MaskRenderer:
    """Holds the full-rate signal until the masks for it are known, and applies them."""

    def __init__(self, sample_rate: int, channels: int, device: str) -> None:
        self.n_fft, self.hop_length = rendering_grid(sample_rate)
        self.framer = StreamFramer(channels, self.n_fft, self.hop_length, device=device)
        self.adders = {s: OverlapAdder(channels, self.n_fft, self.hop_length, device=device) for s in STEMS}
        self.frequencies = torch.arange(self.n_fft // 2 + 1, device=device) * (sample_rate / self.n_fft)
        #: Analysis frames a rendering frame.
        self.ratio = self.hop_length / sample_rate * FRAME_RATE
        self._frames: list[Tensor] = []
        self._done = 0
        self._last_mask: Tensor | None = None
        self._ready: list[dict[str, np.ndarray]] = []

    @property
    def n_samples(self) -> int:
        return self.framer.n_samples

    def push(self, block: Tensor) -> None:
        frames = self.framer.push(block)
        if frames.shape[1]:
            # unfold gives a view on the buffer; the copy is what is kept until masks arrive.
            self._frames.append(forward_frames(frames))

    def add_masks(self, frames: Frames) -> None:
        """Masks of further analysis frames: render what they cover."""
        masks, first = frames.masks, frames.first
        if self._last_mask is not None:
            masks, first = torch.cat([self._last_mask, masks], dim=-1), first - 1
        self._last_mask = masks[..., -1:]
        last = first + masks.shape[-1] - 1
        # 1e-6 so that frames of the coinciding grids do not wait for the next mask because of rounding.
        stop = int((last + 1e-6) / self.ratio) + 1
        self._render(masks, first, stop)

    def finish(self) -> None:
        """Render what is left with the last mask."""
        frames = self.framer.finish()
        if frames.shape[1]:
            self._frames.append(forward_frames(frames))
        assert self._last_mask is not None
        self._render(self._last_mask, None, self._done + sum(f.shape[-1] for f in self._frames))
        rest = {s: a.finish(self.n_samples) for s, a in self.adders.items()}
        self._ready.append({s: r.cpu().numpy() for s, r in rest.items()})

    def take(self) -> Iterator[dict[str, np.ndarray]]:
        ready, self._ready = self._ready, []
        return (r for r in ready if next(iter(r.values())).shape[-1])

    def _render(self, masks: Tensor, first: int | None, stop: int) -> None:
        count = min(stop - self._done, sum(f.shape[-1] for f in self._frames))
        if count <= 0:
            return
        spectrum = self._pop(count)
        if first is None:
            chosen = masks.expand(*masks.shape[:-1], count)
        else:
            position = torch.arange(self._done, self._done + count, device=masks.device, dtype=torch.float64)
            position = (position * self.ratio - first).clamp(0, masks.shape[-1] - 1)
            low = (position + 1e-6).floor().long()
            weight = (position - low).clamp(0, 1).float()
            chosen = masks[..., low]
            if bool((weight > 1e-5).any()):
                after = masks[..., (low + 1).clamp(max=masks.shape[-1] - 1)]
                chosen = chosen * (1 - weight) + after * weight
        self._done += count
        ready = {}
        for i, stem in enumerate(STEMS):
            ready[stem] = self.adders[stem].push(spectrum * extend_mask(chosen[i], self.frequencies)).cpu().numpy()
        self._ready.append(ready)

    def _pop(self, count: int) -> Tensor:
        taken, need = [], count
        while need:
            head = self._frames[0]
            if head.shape[-1] <= need:
                taken.append(self._frames.pop(0))
            else:
                taken.append(head[..., :need])
                self._frames[0] = head[..., need:]
            need -= taken[-1].shape[-1]
        return torch.cat(taken, dim=-1)
