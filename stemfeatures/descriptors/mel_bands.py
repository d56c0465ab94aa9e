"""Where the mel bands lie, and what power is in them."""

from __future__ import annotations

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE


def mel_edges_hz(n_mels: int) -> np.ndarray:
    """(n_mels + 2,) edges and centres on Slaney's scale up to 11,025 Hz; band ``k`` is centred on number ``k + 1``."""
    # Linear below 1 kHz (15 mel), 27 steps to every factor of 6.4 above.
    top = 15 + np.log(ANALYSIS_SAMPLE_RATE / 2 / 1000) * 27 / np.log(6.4)
    place = np.linspace(0, top, n_mels + 2)
    return np.where(place < 15, place * 200 / 3, 1000 * 6.4 ** ((place - 15) / 27))


def band_power(mel: np.ndarray) -> np.ndarray:
    """Power in each band of ``(n_mels, n)`` mel power, whose triangles of unit area overlap by half."""
    hertz = mel_edges_hz(len(mel))
    return np.asarray(mel, dtype=np.float64) * ((hertz[2:] - hertz[:-2]) / 2)[:, None]
