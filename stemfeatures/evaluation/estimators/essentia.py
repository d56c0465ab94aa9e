"""Essentia: PredominantPitchMelodia behind EqualLoudness with its own voicing, and RhythmExtractor2013."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import F0_RANGE_HZ, register_estimator
from ..external import ExternalEstimator, mono_at


@register_estimator
class Essentia(ExternalEstimator):
    """Melodia (Salamon and Gómez, IEEE TASLP 2012) and RhythmExtractor2013 (Zapata, Davies and Gómez, 2014)."""

    name, module, distribution, install = "essentia", "essentia", "essentia", "pip install essentia"
    voicing = "contours kept by the tool"

    def load(self) -> Any:
        import essentia

        essentia.log.infoActive = False
        import essentia.standard

        return essentia.standard

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        fmin, fmax = F0_RANGE_HZ
        melodia = self.model.PredominantPitchMelodia(
            minFrequency=fmin, maxFrequency=fmax, hopSize=128, guessUnvoiced=True
        )
        f0_hz, confidence = melodia(self.model.EqualLoudness()(mono_at(y, sample_rate, 44_100)))
        # a guess in an unvoiced frame has its pitch as it is, and a negative confidence
        return np.arange(len(f0_hz)) * (128 / 44_100), np.where(confidence < 0, -f0_hz, f0_hz).astype(np.float64)

    def beats(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray | None]:
        _, beats_s, *_ = self.model.RhythmExtractor2013(method="multifeature")(mono_at(y, sample_rate, 44_100))
        return np.asarray(beats_s, np.float64), None
