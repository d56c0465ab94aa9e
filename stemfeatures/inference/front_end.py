"""From blocks of audio at any rate to what the network reads: mono, 22,050 Hz, spectra, segments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..audio import StreamResampler
from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_FFT
from ..spectra.streaming import StreamFramer, forward_frames
from .downmix import Downmix
from .segments import SegmentRunner, SegmentTrack


class FrontEnd:
    """Feeds one track to a runner as its blocks come.

    Attributes
    ----------
    downmix : Downmix
        What the channels were found to be like.
    n_samples : int
        Of the analysis signal so far.
    """

    def __init__(self, sample_rate: int, runner: SegmentRunner, track: SegmentTrack, *, device: str = "cpu") -> None:
        self.runner, self.track, self.device = runner, track, device
        self._n_rows = 1 + len(track.stem_names)
        self.downmix = Downmix(sample_rate, self._n_rows)
        self._resampler = StreamResampler(sample_rate, ANALYSIS_SAMPLE_RATE)
        self._framer = StreamFramer(self._n_rows, N_FFT, HOP_LENGTH, device=device)

    @property
    def n_samples(self) -> int:
        return self._framer.n_samples

    def push(self, block: np.ndarray, stems: Mapping[str, np.ndarray] | None = None) -> None:
        """A further block ``(channels, n)``, and its stems if the track has any."""
        further = [(stems or {})[name] for name in self.track.stem_names]
        self._analyse(self._resampler.process(self.downmix.process(block, further)))

    def finish(self) -> None:
        """Queue what is left; the segments have run after the runner's ``flush``."""
        self._analyse(self._resampler.process(self.downmix.flush()))
        self._analyse(self._resampler.flush())
        self._queue(self._framer.finish())
        self.runner.add(self.track.finish())

    def _analyse(self, rows: np.ndarray) -> None:
        signal = torch.from_numpy(np.ascontiguousarray(rows.reshape(self._n_rows, -1), dtype=np.float32))
        self._queue(self._framer.push(signal.to(self.device)))

    def _queue(self, frames: torch.Tensor) -> None:
        if frames.shape[1]:
            spectra = forward_frames(frames)
            self.runner.add(self.track.push(spectra[0], spectra[1:] if len(spectra) > 1 else None))
