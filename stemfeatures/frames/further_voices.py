"""What the network of voices says of the separated vocals, which arrive in blocks; it is asked on request only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d

from ..constants import N_PITCH_CANDIDATES
from ..models import checkpoints
from ..models.voices import LOWEST_SUNG, VoiceNet, candidate_planes, voice_features
from ..spectra.thirds import thirds
from .spectrum_meter import SpectrumMeter

#: The network of the separated vocals, made by ``python -m stemfeatures.training.several_voices``.
WEIGHTS = "vocals-v1"
#: Least probability of a pitch that is kept.
LEAST_SUNG = 0.02


def voice_weights() -> Path:
    """The file of the network that ships with the package."""
    return checkpoints.WEIGHTS_DIR / "voices" / f"{WEIGHTS}.safetensors"


@lru_cache(maxsize=4)
def voice_network(device: str) -> VoiceNet:
    """The network that ships with the package, on a device.

    Parameters
    ----------
    device : str
        Torch device.

    Returns
    -------
    VoiceNet
        In evaluation mode; the same for whoever asks.

    Raises
    ------
    ModelError
        Its file is missing or damaged.
    """
    return VoiceNet.load_for_inference(voice_weights(), device)


def sung_pitches(sung: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest pitches of each frame.

    Parameters
    ----------
    sung : np.ndarray
        (n_frames, N_SUNG) probabilities.
    deviation : np.ndarray
        (n_frames, N_SUNG) semitones above the pitch.

    Returns
    -------
    hz, probability : np.ndarray
        (n_frames, N_PITCH_CANDIDATES) maxima along pitch, the likeliest first; NaN and 0 where there are fewer.
    """
    peaks = np.where((sung == maximum_filter1d(sung, 3, axis=1)) & (sung >= LEAST_SUNG), sung, 0)
    best = np.argsort(-peaks, axis=1, kind="stable")[:, :N_PITCH_CANDIDATES]
    height = np.take_along_axis(peaks, best, axis=1)
    midi = LOWEST_SUNG + best + np.clip(np.take_along_axis(deviation, best, axis=1), -0.5, 0.5)
    return np.where(height > 0, 440.0 * 2.0 ** ((midi - 69) / 12), np.nan), height


class VoicesMeter(SpectrumMeter):
    """Pitches that are sung in vocals at 22,050 Hz, which arrive in blocks with the mixture.

    What it tells, (2 * N_PITCH_CANDIDATES + 1, n), are Hz and probabilities of :func:`sung_pitches`, and the
    probability that several voices sing.

    Parameters
    ----------
    device : str
        Torch device.
    network : VoiceNet, optional
        Instead of the one that ships.
    """

    def __init__(self, device: str, network: VoiceNet | None = None) -> None:
        self.device, self._network = device, network or voice_network(device)
        #: Planes of the frames from the first one on that is needed.
        self._planes: list[np.ndarray] = []
        self._first_plane = 0
        super().__init__(self._network.reach, (2 * N_PITCH_CANDIDATES + 1,), (2,))

    def push_pitch(self, candidates_hz: np.ndarray, salience: np.ndarray, voicing: np.ndarray) -> None:
        """Take what is known of the pitch of further frames, ahead of their samples.

        Parameters
        ----------
        candidates_hz, salience : np.ndarray
            (n_frames, n_candidates), see :class:`.types.PitchFrames`.
        voicing : np.ndarray
            (n_frames,) probability of a pitch.
        """
        midi = 69 + 12 * np.log2(np.asarray(candidates_hz, np.float64) / 440.0)
        self._planes.append(candidate_planes(midi, salience, voicing))

    def _measure(self, signal: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
        vocals, mixture = signal
        return (*thirds(vocals, count), thirds(mixture, count)[0])

    def _tell(self, magnitudes: Sequence[np.ndarray], part: slice, first: int) -> np.ndarray:
        features = voice_features(*magnitudes)[part]
        planes = self._planes_of(first, len(features))
        x = (torch.from_numpy(array)[None].to(self.device) for array in (features, planes))
        pitches, several = self._network(*x)
        sung, deviation = torch.sigmoid(pitches[0, 0]).cpu().numpy(), pitches[0, 1].cpu().numpy()
        hz, probability = sung_pitches(sung, deviation)
        told = [hz.T, probability.T, torch.sigmoid(several).cpu().numpy()]
        return np.concatenate(told).astype(np.float32)

    def _planes_of(self, first: int, count: int) -> np.ndarray:
        """Planes of frames; those before are no longer needed. Where none are known there is no candidate."""
        planes = np.concatenate(self._planes, axis=1)[:, first - self._first_plane :]
        self._planes, self._first_plane = [planes], first
        missing = max(0, count - planes.shape[1])
        return np.ascontiguousarray(np.pad(planes, ((0, 0), (0, missing), (0, 0)))[:, :count])
