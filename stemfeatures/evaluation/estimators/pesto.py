"""PESTO: ``mir-1k_g7`` at 10 ms; voiced from a confidence of 0.5 on (the tool names no threshold)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import register_estimator
from ..external import ExternalEstimator, mono_at


@register_estimator
class Pesto(ExternalEstimator):
    """PESTO (Riou, Lattner, Hadjeres and Peeters, ISMIR 2023); its weights were trained on the vocals of MIR-1K."""

    name, module, distribution, install = "pesto", "pesto", "pesto-pitch", "pip install pesto-pitch"
    default_variant = "mir-1k_g7"
    voicing = "confidence >= 0.5"

    def load(self) -> Any:
        from pesto import load_model

        return load_model(self.weights, 10.0, sampling_rate=16_000).to(self.device)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        import torch

        signal = torch.from_numpy(mono_at(y, sample_rate, 16_000)).to(self.device)
        with torch.inference_mode():
            pitch, confidence, _ = self.model(signal, sr=16_000, convert_to_freq=True, return_activations=False)
        f0_hz = pitch.cpu().numpy().astype(np.float64)
        return np.arange(len(f0_hz)) * 0.01, np.where(confidence.cpu().numpy() >= 0.5, f0_hz, -f0_hz)
