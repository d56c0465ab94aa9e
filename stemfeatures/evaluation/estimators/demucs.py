"""Demucs: ``htdemucs``, segments with a quarter of overlap, no random shifts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import register_estimator
from ..external import ExternalEstimator


@register_estimator
class Demucs(ExternalEstimator):
    """Hybrid Transformer Demucs (Rouard, Massa and Défossez, ICASSP 2023)."""

    name, module, distribution, install = "demucs", "demucs", "demucs", "pip install demucs"
    default_variant = "htdemucs"

    def load(self) -> Any:
        from demucs.api import Separator

        return Separator(model=self.weights, device=self.device, shifts=0)

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        import torch

        def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                _, stems = self.model.separate_tensor(torch.from_numpy(stereo), self.model.samplerate)
            return {stem: signal.cpu().numpy() for stem, signal in stems.items()}

        return self.separate_stereo(y, sample_rate, self.model.samplerate, run)
