"""The vocals of a recording and where they have a pitch, in one pass of the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .._util.large_arrays import GrowingArrays
from ..audio import StreamResampler, as_signal, open_audio
from ..constants import ANALYSIS_SAMPLE_RATE, FRAME_RATE, HOP_LENGTH, N_BINS, N_FFT, STEMS
from ..descriptors.activity import active_frames, playing_frames
from ..errors import EmptyAudioError
from ..inference.front_end import FrontEnd
from ..inference.segments import Frames, SegmentRunner, SegmentTrack
from ..models import checkpoints
from ..spectra.streaming import OverlapAdder
from .cepstra import SAMPLE_RATE

#: Probability of voicing from which on a frame counts as voiced.
VOICED = 0.5
#: The same of a voice that the network hardly hears behind its accompaniment: words are looked for there, at a cost.
PERHAPS_VOICED = 0.15
#: Words are looked for no further than this from a frame in which somebody sings.
REACH_S = 0.4
#: Further than that from a pitch, somebody growls, shouts or speaks where the presence of the vocals is above the first
#: value, for as long as it is above the second, and for so long at least: a line, no moment that sounds like a voice.
UNPITCHED_ON, UNPITCHED_OFF, UNPITCHED_S = 0.95, 0.8, 1.0
_BLOCK_S = 10.0
_VOCALS = STEMS.index("vocals")


@dataclass(frozen=True)
class Vocals:
    """A singer alone.

    Attributes
    ----------
    signal : np.ndarray
        (n_samples,) float32 at 16 kHz.
    voiced : np.ndarray
        (n_frames,) bool, whether somebody sings: frames with a pitch, and those of voices without one that are far from
        any, see :func:`sung_frames`. Of 512 samples at 22,050 Hz, centred as in :mod:`stemfeatures.constants`.
    duration_s : float
        Of the recording.
    message : str
        What there is to say of the file that it comes from, such as that it ends early; else empty.
    perhaps_voiced : np.ndarray | None
        (n_frames,) bool, ``voiced`` and the frames that may have a pitch; None where that is not known.
    mixture : np.ndarray | None
        (n_samples,) float32 at 16 kHz, what they were separated from; None of vocals that came alone.
    """

    signal: np.ndarray
    voiced: np.ndarray
    duration_s: float
    message: str = ""
    perhaps_voiced: np.ndarray | None = None
    mixture: np.ndarray | None = None


class VocalSeparator:
    """Takes vocals out of recordings with a joint checkpoint.

    Parameters
    ----------
    model : str | Path
        Name of a checkpoint or path to one.
    device : str
        Torch device.

    Raises
    ------
    ModelError
        When the checkpoint cannot be used.
    """

    def __init__(self, model: str | Path = checkpoints.DEFAULT_MODEL, *, device: str = "cpu") -> None:
        self.net = checkpoints.load_for_inference(checkpoints.resolve(model), device=device)
        self.device = device

    def from_file(self, path: str | Path, *, separated: bool = False) -> Vocals:
        """Vocals of a file, see :meth:`from_audio`. Raises AudioError, naming it, when it cannot be decoded."""
        with open_audio(path) as stream:
            vocals = self.from_blocks(stream, stream.info.sample_rate, separated=separated)
            return replace(vocals, message=stream.message)

    def from_audio(self, y: np.ndarray, sample_rate: int, *, separated: bool = False) -> Vocals:
        """Vocals of an array.

        Parameters
        ----------
        y : np.ndarray
            (n_samples,) or (channels, n_samples), floating point (full scale 1.0) or signed integers.
        sample_rate : int
            Hz.
        separated : bool
            The array is vocals alone already: only their voicing is asked for.

        Raises
        ------
        EmptyAudioError, NonFiniteAudioError
            When there are no samples, or NaN or infinity among them.
        """
        signal = as_signal(y, sample_rate)
        size = max(1, int(_BLOCK_S * sample_rate))
        blocks = (signal[:, i : i + size] for i in range(0, signal.shape[1], size))
        return self.from_blocks(blocks, int(sample_rate), separated=separated)

    @torch.inference_mode()
    def from_blocks(self, blocks: Iterable[np.ndarray], sample_rate: int, *, separated: bool = False) -> Vocals:
        """Vocals of blocks ``(channels, n)`` of a signal; see :meth:`from_audio`."""
        collector = VocalCollector(self.device, separated=separated)
        runner = SegmentRunner(self.net, device=self.device)
        front_end = FrontEnd(sample_rate, runner, SegmentTrack(collector.add), device=self.device)
        n_samples = 0
        for block in blocks:
            n_samples += block.shape[1]
            front_end.push(block)
        if n_samples == 0:
            raise EmptyAudioError("no samples to align")
        front_end.finish()
        runner.flush()
        return collector.finish(front_end.n_samples, n_samples / sample_rate)


class VocalCollector:
    """Collects the vocals of a track from what the network says of its frames.

    Parameters
    ----------
    device : str
        Torch device of the frames.
    separated : bool
        The track is vocals alone already.
    """

    def __init__(self, device: str = "cpu", *, separated: bool = False) -> None:
        self.separated = separated
        self._adder = OverlapAdder(1 if separated else 2, N_FFT, HOP_LENGTH, device=device)
        self._resampler = StreamResampler(ANALYSIS_SAMPLE_RATE, SAMPLE_RATE)
        # An hour takes half a gigabyte, which may lie in a file.
        self._signal = GrowingArrays()
        self._voicing: list[np.ndarray] = []
        self._presence: list[np.ndarray] = []
        self._energy: list[np.ndarray] = []

    def add(self, frames: Frames) -> None:
        """Take further frames, in order."""
        mask = frames.masks[_VOCALS]
        mask = torch.ones_like(mask) if self.separated else mask
        spectrum = frames.spectrum * torch.cat([mask, mask[-1:]])
        power = torch.stack([spectrum[:N_BINS].abs() ** 2, frames.spectrum[:N_BINS].abs() ** 2])
        # Mean squares on the scale of samples: Parseval, and 3 N / 8 for the window.
        self._energy.append((power.sum(dim=1) * (2 / N_FFT / (3 * N_FFT / 8))).cpu().numpy())
        self._voicing.append(frames.voicing[0].cpu().numpy())
        if frames.presence is not None:
            self._presence.append(frames.presence[_VOCALS].cpu().numpy())
        whole = [spectrum] if self.separated else [spectrum, frames.spectrum]
        self._resample(self._adder.push(torch.stack(whole)))

    def finish(self, n_samples: int, duration_s: float) -> Vocals:
        """The vocals of a track of ``n_samples`` at the analysis rate."""
        self._resample(self._adder.finish(n_samples))
        self._signal.append("signal", self._resampler.flush())
        energy = np.concatenate(self._energy, axis=1)
        active = active_frames(energy[0], energy[1])
        voicing = np.concatenate(self._voicing)
        pitched = (voicing > VOICED) & active
        voiced = sung_frames(pitched, active, np.concatenate(self._presence)) if self._presence else pitched
        signal = self._signal.finish()["signal"]
        perhaps = voiced | ((voicing > PERHAPS_VOICED) & active)
        mixture = None if self.separated else signal[1]
        return Vocals(signal[0], voiced, duration_s, perhaps_voiced=perhaps, mixture=mixture)

    def _resample(self, signal: torch.Tensor) -> None:
        self._signal.append("signal", self._resampler.process(signal.cpu().numpy()))


def sung_frames(pitched: np.ndarray, active: np.ndarray, presence: np.ndarray) -> np.ndarray:
    """Frames in which somebody sings, with a pitch or without.

    Parameters
    ----------
    pitched : np.ndarray
        (n_frames,) bool, which have a pitch.
    active : np.ndarray
        (n_frames,) bool, which are loud enough to be heard.
    presence : np.ndarray
        (n_frames,) probability that there are vocals.

    Returns
    -------
    np.ndarray
        (n_frames,) bool: those with a pitch, and beyond :data:`REACH_S` of any those of growls, shouts and speech.
    """
    from scipy.ndimage import binary_opening

    plays = playing_frames(presence, UNPITCHED_ON, UNPITCHED_OFF) & active & ~within_reach(pitched)
    found: np.ndarray = pitched | binary_opening(plays, np.ones(round(UNPITCHED_S * FRAME_RATE)))
    return found


def within_reach(voiced: np.ndarray) -> np.ndarray:
    """(n_frames,) bool, which frames are no further than :data:`REACH_S` from some."""
    from scipy.ndimage import maximum_filter1d

    return maximum_filter1d(voiced.astype(np.uint8), 2 * round(REACH_S * FRAME_RATE) + 1).astype(bool)
