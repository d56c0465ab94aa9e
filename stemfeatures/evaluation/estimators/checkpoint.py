"""A checkpoint as an estimator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...constants import MIXTURE, STEMS
from ...descriptors.activity import active_frames, audible_energy, presence_of_vocals
from ...descriptors.inputs import DescriptorInputs
from ...descriptors.voices import further_voices, to_hertz
from ..base import BaseEstimator

if TYPE_CHECKING:
    from ...analysis import Analyser, TrackAnalysis
    from ...lyrics import Aligner
    from ...separation import BaseSeparator


@dataclass
class CheckpointEstimator(BaseEstimator):
    """A checkpoint of this package, loaded at first use.

    Attributes
    ----------
    model : str, optional
        Its name or path; None: the default one.
    device : str, default='cpu'
        Torch device.
    """

    model: str | None = None
    device: str = "cpu"
    _separator: BaseSeparator | None = field(default=None, init=False, repr=False)
    _analyser: Analyser | None = field(default=None, init=False, repr=False)
    _analysed: tuple[np.ndarray, Any] | None = field(default=None, init=False, repr=False)
    _aligner: Aligner | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.name = self.model or "joint"

    @property
    def _choice(self) -> dict[str, Any]:
        """The argument that chooses the checkpoint; none for the default one."""
        return {} if self.model is None else {"model": self.model}

    def __getstate__(self) -> dict[str, Any]:
        """Travels between processes without its weights."""
        return self.__dict__ | {"_separator": None, "_analyser": None, "_analysed": None, "_aligner": None}

    def prepare(self) -> None:
        from ...models import checkpoints

        checkpoints.resolve(**self._choice)  # found, not loaded: the task says by what

    def describe(self) -> dict[str, str]:
        from ...models import checkpoints

        checkpoint = checkpoints.resolve(**self._choice)
        return {"sha256": checkpoint.sha256, "voicing": "decoded; further voices among the candidates of the pitch"}

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        if self._separator is None:
            from ...separation import open_separator

            self._separator = open_separator(**self._choice, device=self.device)
        return self._separator.separate_array(y, sample_rate)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        return f0_with_guesses(self._analyse(y, sample_rate))

    def multi_f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, list[np.ndarray]]:
        # in the voiced frames of the contour: its pitch, and those of further voices
        analysis = self._analyse(y, sample_rate)
        contour = analysis.contours["vocals"].on_frames()
        further = DescriptorInputs(analysis.frames).get(further_voices).pitches(len(contour.f0_hz))
        found = np.concatenate([contour.f0_hz[None], np.where(np.isfinite(contour.f0_hz), to_hertz(further), np.nan)])
        return contour.times_s, [np.sort(frame[np.isfinite(frame)]).astype(np.float64) for frame in found.T]

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        events = self._analyse(y, sample_rate).events
        return events.beats_s, events.beat_positions

    def presence(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        # what the network says, of vocals less where they sound like no voice; of one that does not say it, where its
        # estimates are active
        frames = self._analyse(y, sample_rate).frames
        if frames.presence is not None:
            vocals = DescriptorInputs(frames).get(presence_of_vocals)
            presence = dict(zip(STEMS, frames.presence)) | {"vocals": vocals}
            return frames.times_s, {stem: row > 0.5 for stem, row in presence.items()}
        mixture = audible_energy(frames.stems[MIXTURE])
        return frames.times_s, {s: active_frames(audible_energy(frames.stems[s]), mixture) for s in STEMS}

    def lyrics(self, y: np.ndarray, sample_rate: int, text: str) -> list[float | None]:
        if self._aligner is None:
            from ...lyrics import Aligner

            self._aligner = Aligner(**self._choice, device=self.device)
        return [word.start_s for word in self._aligner.from_audio(y, sample_rate, text).words]

    def _analyse(self, y: np.ndarray, sample_rate: int) -> Any:
        """One analysis serves F0 and beats of the same array."""
        if self._analysed is None or self._analysed[0] is not y:
            if self._analyser is None:
                from ...analysis import Analyser
                from ...models import checkpoints

                if "f0" not in checkpoints.network_class(checkpoints.resolve(**self._choice)).tasks:
                    raise NotImplementedError(f"{self.name} separates only")
                self._analyser = Analyser(**self._choice, device=self.device)
            self._analysed = y, self._analyser.from_audio(y, sample_rate)
        return self._analysed[1]


def f0_with_guesses(analysis: TrackAnalysis) -> tuple[np.ndarray, np.ndarray]:
    """The contour of the voice in the way of mir_eval, which scores pitch and voicing apart.

    Parameters
    ----------
    analysis : TrackAnalysis
        Of a track.

    Returns
    -------
    times_s, f0_hz : np.ndarray
        Where there is no pitch, the negative of what it would be: the strongest candidate of a frame, and half way to
        the next one what the waveform has there.
    """
    contour, pitch = analysis.contours["vocals"], analysis.frames.pitch["vocals"]
    guess = np.nan_to_num(pitch.candidates_hz[:, 0])
    if pitch.between_hz is not None:
        between = np.where(np.isfinite(pitch.between_hz), pitch.between_hz, guess)
        guess = np.stack([guess, between], axis=1).ravel()[:-1]
    f0_hz = np.nan_to_num(contour.f0_hz)
    return contour.times_s, np.where(f0_hz > 0, f0_hz, -guess)
