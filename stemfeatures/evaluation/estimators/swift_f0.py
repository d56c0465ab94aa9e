"""SwiftF0 at 16 ms; a confidence of 0.5 is the tool's own mark of voicing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import F0_RANGE_HZ, register_estimator
from ..external import ExternalEstimator, mono_at


@register_estimator
class SwiftF0(ExternalEstimator):
    """SwiftF0 (Nieradzik, 2025); from version 0.3 on."""

    name, module, distribution, install = "swift-f0", "swift_f0", "swift-f0", "pip install 'swift-f0>=0.3'"
    voicing = "confidence >= 0.5"

    def load(self) -> Any:
        import swift_f0

        return swift_f0.SwiftF0(threads=1)

    def f0(self, y: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        fmin, fmax = F0_RANGE_HZ
        found = self.model.detect(mono_at(y, sample_rate, 16_000), 16_000, fmin=fmin, fmax=fmax)
        return found.timestamps, np.where(found.confidence >= 0.5, found.pitch_hz, -found.pitch_hz)
