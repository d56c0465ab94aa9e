"""Beat This: ``final0`` without DBN."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import register_estimator
from ..external import ExternalEstimator, mono_at


@register_estimator
class BeatThis(ExternalEstimator):
    """Beat This (Foscarin, Schlüter and Widmer, ISMIR 2024)."""

    name, module, distribution, install = "beat_this", "beat_this", "beat-this", "pip install beat-this"
    default_variant = "final0"

    def load(self) -> Any:
        from beat_this.inference import Audio2Beats

        return Audio2Beats(checkpoint_path=self.weights, device=self.device)

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        beats_s, downbeats_s = self.model(mono_at(y, sample_rate, 22_050), 22_050)
        return np.asarray(beats_s, np.float64), positions_of(beats_s, downbeats_s)


def positions_of(beats_s: np.ndarray, downbeats_s: np.ndarray) -> np.ndarray:
    """(n_beats,) place of each beat in its bar, 1 = downbeat, 0 before the first downbeat."""
    is_downbeat = np.isin(beats_s, downbeats_s)
    index = np.arange(len(is_downbeat))
    last = np.maximum.accumulate(np.where(is_downbeat, index, -1)) if len(index) else index
    return np.where(last >= 0, index - last + 1, 0)
