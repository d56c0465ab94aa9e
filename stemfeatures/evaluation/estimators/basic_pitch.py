"""Basic Pitch: the highest of the contour posteriors; voiced from its default frame threshold on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..base import register_estimator
from ..external import ExternalEstimator, mono_at


@register_estimator
class BasicPitch(ExternalEstimator):
    """Basic Pitch (Bittner et al., ICASSP 2022), all instruments: the strongest pitch of a frame is its melody.

    Its contour bins are a third of a semitone; the *second* one is 27.5 Hz (the central bin of the first semitone).
    Reading bin ``k`` as ``27.5 * 2**(k / 36)`` is 33 cents sharp. Pitches are read between bins, by the centroid of the
    five around the highest.
    """

    name, module, distribution = "basic-pitch", "basic_pitch", "basic-pitch"
    install = "pip install --no-deps basic-pitch && pip install onnxruntime resampy pretty_midi"
    voicing = "contour posterior >= 0.3"
    threshold = 0.3

    def load(self) -> Any:
        with _quiet():
            import basic_pitch
            from basic_pitch.inference import Model

            folder = basic_pitch.ICASSP_2022_MODEL_PATH
            return Model(folder)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        times_s, contour = self._contour(y, sample_rate)
        best = contour.argmax(axis=1)
        f0_hz = self._hz(contour, np.arange(len(best)), best)
        return times_s, np.where(contour.max(axis=1, initial=0) >= self.threshold, f0_hz, -f0_hz)

    def multi_f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, list[np.ndarray]]:
        times_s, contour = self._contour(y, sample_rate)
        inner = contour[:, 1:-1]
        peaks = np.zeros(contour.shape, bool)
        peaks[:, 1:-1] = (inner > contour[:, :-2]) & (inner >= contour[:, 2:]) & (inner >= self.threshold)
        return times_s, [self._hz(contour, np.full(len(k), i), k) for i, k in enumerate(map(np.flatnonzero, peaks))]

    def _contour(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame times and (n_frames, 264) posteriors: windows of 172 frames, of which the middle 142 are kept."""
        from basic_pitch import constants, inference

        margin = 15
        overlap = 2 * margin * constants.FFT_HOP
        hop = constants.AUDIO_N_SAMPLES - overlap
        signal = mono_at(y, sample_rate, constants.AUDIO_SAMPLE_RATE)
        padded = np.concatenate([np.zeros(overlap // 2, np.float32), signal])
        windows = [window[None] for window, _ in inference.window_audio_file(padded, hop)]
        parts = [self.model.predict(window)["contour"][0][margin:-margin] for window in windows]
        starts = np.arange(len(parts))[:, None] * hop
        samples = (starts + np.arange(len(parts[0])) * constants.FFT_HOP).ravel()
        inside = samples <= len(signal)
        return samples[inside] / constants.AUDIO_SAMPLE_RATE, np.concatenate(parts)[inside]

    @staticmethod
    def _hz(contour: np.ndarray, frames: np.ndarray, bins: np.ndarray) -> np.ndarray:
        around = bins[:, None] + np.arange(-2, 3)
        weights = np.where(
            (around >= 0) & (around < contour.shape[1]),
            contour[frames[:, None], np.clip(around, 0, contour.shape[1] - 1)],
            0.0,
        )
        centroid = (weights * around).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
        return 27.5 * 2.0 ** ((centroid - 1) / 36)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings by which a package complains of frameworks that it does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
