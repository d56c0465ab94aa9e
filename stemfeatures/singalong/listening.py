"""One pass of the network over a song: its stems as they come, and what words and pitch are found from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE
from ..descriptors.describe import describe
from ..descriptors.types import TrackDescription
from ..errors import EmptyAudioError
from ..frames.builder import FrameBuilder
from ..inference.segments import Frames
from ..lyrics import Vocals
from ..lyrics.vocals import VocalCollector
from ..separation import Separator


@dataclass(frozen=True)
class Listening:
    """What was heard in a song.

    Attributes
    ----------
    vocals : Vocals
        For the alignment of lyrics.
    description : TrackDescription
        Key, tempo and F0 among others.
    n_samples : int
        Length of the song at its own rate.
    """

    vocals: Vocals
    description: TrackDescription
    n_samples: int


def listen(
    separator: Separator,
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    channels: int,
    on_stems: Callable[[dict[str, np.ndarray]], None],
) -> Listening:
    """Separate a song and hear what is in it.

    Parameters
    ----------
    separator : Separator
        A joint network.
    blocks : Iterable[np.ndarray]
        Samples as blocks (channels, n), full scale 1.0.
    sample_rate : int
        Hz.
    channels : int
        Number of channels.
    on_stems : Callable[[dict[str, np.ndarray]], None]
        Called with consecutive blocks (channels, k) of all stems.

    Returns
    -------
    Listening
        Without the stems.

    Raises
    ------
    EmptyAudioError
        There are no samples.
    """
    collector, builder = VocalCollector(separator.device), FrameBuilder(separator.device)
    n_samples = 0

    def found(frames: Frames) -> None:
        collector.add(frames)
        builder.add(frames)

    for stems in separator.stream(blocks, sample_rate, channels, on_frames=found):
        n_samples += next(iter(stems.values())).shape[-1]
        on_stems(stems)
    if n_samples == 0:
        raise EmptyAudioError("no samples to sing along with")
    n_analysed = -(-n_samples * ANALYSIS_SAMPLE_RATE // sample_rate)
    vocals = collector.finish(n_analysed, n_samples / sample_rate)
    return Listening(vocals, describe(builder.finish(n_analysed)), n_samples)
