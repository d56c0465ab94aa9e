"""From blocks of audio at any rate to what the network reads: mono, 22,050 Hz, spectra, segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from ..audio import StreamResampler
from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, N_FFT
from ..spectra.streaming import StreamFramer, forward_frames
from .downmix import Downmix
from .segments import SegmentRunner, SegmentTrack
from .transfer import to_device


class MonoSignal:
    """The analysis signal of a track, and of its stems, as blocks of it come.

    Needs no network and no device: a thread ahead of these may do it, with the same result.

    Parameters
    ----------
    sample_rate : int
        Of the track in Hz.
    n_rows : int, default=1
        The track and its stems.

    Attributes
    ----------
    downmix : Downmix
        What the channels were found to be like.
    """

    def __init__(self, sample_rate: int, n_rows: int = 1) -> None:
        self.downmix = Downmix(sample_rate, n_rows)
        self._n_rows = n_rows
        self._resampler = StreamResampler(sample_rate, ANALYSIS_SAMPLE_RATE)

    def push(self, block: np.ndarray, further: Sequence[np.ndarray] = ()) -> np.ndarray:
        """What a further block ``(channels, n)``, with those of the stems, adds to the signal: ``(rows, k)``."""
        return self._of_rows(self._resampler.process(self.downmix.process(block, further)))

    def finish(self) -> Iterator[np.ndarray]:
        """What is left, as :meth:`push` gives it."""
        yield self._of_rows(self._resampler.process(self.downmix.flush()))
        yield self._of_rows(self._resampler.flush())

    def _of_rows(self, signal: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(signal.reshape(self._n_rows, -1), dtype=np.float32)


class FrontEnd:
    """Feeds one track to a runner as its blocks come.

    Parameters
    ----------
    sample_rate : int
        Of the track in Hz.
    runner : SegmentRunner
        Runs the network.
    track : SegmentTrack
        Takes its results.
    device : str, optional
        Torch device.
    mono : MonoSignal, optional
        Makes the signal that is analysed; one of its own by default.

    Attributes
    ----------
    n_samples : int
        Of the analysis signal so far.
    """

    def __init__(
        self, sample_rate: int, runner: SegmentRunner, track: SegmentTrack, *, device: str = "cpu",
        mono: MonoSignal | None = None,
    ) -> None:  # fmt: skip
        self.runner, self.track, self.device = runner, track, device
        n_rows = 1 + len(track.stem_names)
        self.mono = mono or MonoSignal(sample_rate, n_rows)
        self._framer = StreamFramer(n_rows, N_FFT, HOP_LENGTH, device=device)

    @property
    def n_samples(self) -> int:
        return self._framer.n_samples

    def push(self, block: np.ndarray, stems: Mapping[str, np.ndarray] | None = None) -> None:
        """A further block ``(channels, n)``, and its stems if the track has any."""
        self.push_mono(self.mono.push(block, [(stems or {})[name] for name in self.track.stem_names]))

    def push_mono(self, rows: np.ndarray) -> None:
        """A further block of the analysis signal, as ``mono`` has made it."""
        self._queue(self._framer.push(to_device(rows, self.device)))

    def finish(self) -> None:
        """Queue what is left; the segments have run after the runner's ``flush``."""
        for rows in self.mono.finish():
            self.push_mono(rows)
        self._queue(self._framer.finish())
        self.runner.add(self.track.finish())

    def _queue(self, frames: torch.Tensor) -> None:
        if frames.shape[1]:
            spectra = forward_frames(frames)
            self.runner.add(self.track.push(spectra[0], spectra[1:] if len(spectra) > 1 else None))
