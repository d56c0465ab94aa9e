"""Open-Unmix: ``umxl`` with one Wiener iteration, the tool's defaults."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import register_estimator
from ..external import ExternalEstimator


@register_estimator
class OpenUnmix(ExternalEstimator):
    """Open-Unmix (Stöter, Uhlich, Liutkus and Mitsufuji, JOSS 2019)."""

    name, module, distribution, install = "open-unmix", "openunmix", "openunmix", "pip install openunmix"
    default_variant = "umxl"

    def load(self) -> Any:
        from openunmix import utils

        separator = utils.load_separator(self.weights, device=self.device)
        separator.freeze()
        return separator.to(self.device)

    def separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        import torch

        rate = int(self.model.sample_rate)

        def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                stems = self.model.to_dict(self.model(torch.from_numpy(stereo)[None].to(self.device)))
            return {stem: signal[0].cpu().numpy() for stem, signal in stems.items()}

        return self.separate_stereo(y, sample_rate, rate, run)
