"""Stems of a track written as files while it is analysed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..audio import AudioWriter
from ..constants import STEMS
from ..inference.segments import Frames
from .joint import MaskRenderer


class StemKeeper:
    """Writes ``<folder>/<stem>.wav``, 32-bit float, at the rate and with the channels of the track.

    Parameters
    ----------
    folder : Path
        It is made if need be; files of an earlier run are replaced once the new ones are whole.
    sample_rate : int
        Hz.
    channels : int
        Number of channels.
    stems : tuple of str, optional
        Names of stems that come with the blocks; none: the four are rendered from the network's masks.
    device : str, optional
        Torch device of the masks.
    """

    def __init__(
        self, folder: Path, sample_rate: int, channels: int, *, stems: tuple[str, ...] = (), device: str = "cpu"
    ) -> None:
        self._renderer = None if stems else MaskRenderer(sample_rate, channels, device)
        self._device, self._channels = device, channels
        folder.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"sample_rate": sample_rate, "channels": channels}
        self._writers = {s: AudioWriter(folder / f"{s}.wav", format="wav", **options) for s in stems or STEMS}

    def push(self, block: np.ndarray, stems: Mapping[str, np.ndarray] | None) -> None:
        """Take a block ``(channels, n)`` of the track, and of its stems if they come with it."""
        if self._renderer is not None:
            self._renderer.push(torch.from_numpy(np.array(block, dtype=np.float32)).to(self._device))
        elif stems is not None:
            self._write(stems)

    def add_masks(self, frames: Frames) -> None:
        """Take further masks, in order."""
        if self._renderer is not None:
            self._renderer.add_masks(frames)
            for block in self._renderer.take():
                self._write(block)

    def finish(self) -> None:
        """Write what is left and close the files."""
        if self._renderer is not None:
            self._renderer.finish()
            for block in self._renderer.take():
                self._write(block)
        for writer in self._writers.values():
            writer.close()

    def abort(self) -> None:
        """Leave no file behind."""
        for writer in self._writers.values():
            writer.abort()

    def _write(self, stems: Mapping[str, np.ndarray]) -> None:
        for stem, writer in self._writers.items():
            y = stems[stem]
            if len(y) != self._channels:
                y = np.broadcast_to(y.mean(axis=0), (self._channels, y.shape[-1]))
            writer.write(y)
