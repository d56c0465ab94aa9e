"""torchcrepe: ``full`` at 10 ms, Viterbi; the voicing threshold is the one of its README."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import F0_RANGE_HZ, register_estimator
from ..external import ExternalEstimator, mono_at


@register_estimator
class TorchCrepe(ExternalEstimator):
    """CREPE (Kim, Salamon, Li and Bello, ICASSP 2018), in PyTorch."""

    name, module, distribution, install = "torchcrepe", "torchcrepe", "torchcrepe", "pip install torchcrepe"
    default_variant = "full"
    voicing = "median of three periodicities >= 0.21"

    def load(self) -> Any:
        import torchcrepe

        torchcrepe.load.model(self.device, self.weights)
        return torchcrepe

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        import torch

        signal = torch.from_numpy(mono_at(y, sample_rate, 16_000))[None]
        fmin, fmax = F0_RANGE_HZ
        pitch, periodicity = self.model.predict(
            signal, 16_000, 160, fmin, fmax, self.weights, return_periodicity=True, batch_size=512, device=self.device
        )
        voiced = self.model.filter.median(periodicity, 3)[0].numpy() >= 0.21
        f0_hz = np.nan_to_num(pitch[0].numpy().astype(np.float64))
        return np.arange(len(f0_hz)) * 0.01, np.where(voiced, f0_hz, -f0_hz)
