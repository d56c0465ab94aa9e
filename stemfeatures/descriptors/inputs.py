"""The frames of one track, and the intermediate results that several descriptors share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..constants import PITCHED_STEMS, STEM_ROWS
from ..frames import TrackFrames

T = TypeVar("T")


class DescriptorInputs:
    """What descriptors are computed from.

    Parameters
    ----------
    frames : TrackFrames
        Frames of all rows.

    Attributes
    ----------
    frames : TrackFrames
        The same.

    Raises
    ------
    ValueError
        When a row is missing, there is no frame, or a row has another number of frames.
    """

    def __init__(self, frames: TrackFrames) -> None:
        _validate(frames)
        self.frames = frames
        self._results: dict[Callable[[DescriptorInputs], Any], Any] = {}

    def get(self, compute: Callable[[DescriptorInputs], T]) -> T:
        """The result of a function of the inputs, computed once a track.

        Parameters
        ----------
        compute : callable
            Takes these inputs; may call ``get`` for what it needs itself.

        Returns
        -------
        object
            What ``compute`` returned. It is shared: nobody changes it.
        """
        if compute not in self._results:
            self._results[compute] = compute(self)
        result: T = self._results[compute]
        return result


def _validate(frames: TrackFrames) -> None:
    missing = [row for row in STEM_ROWS if row not in frames.stems]
    missing += [f"pitch of {stem}" for stem in PITCHED_STEMS if stem not in frames.pitch]
    if missing:
        raise ValueError(f"frames lack {', '.join(missing)}")
    if frames.n_frames == 0:
        raise ValueError("frames hold no frame at all")
    for row in frames.rows:
        if len(frames.stems[row].energy) != frames.n_frames:
            raise ValueError(f"{row} has {len(frames.stems[row].energy)} frames, the activations {frames.n_frames}")
