"""The K-weighting of ITU-R BS.1770 at any sample rate."""

from __future__ import annotations

import numpy as np


def k_weighting(sample_rate: float) -> np.ndarray:
    """(2, 6) second-order sections of the K-weighting filter at any sample rate.

    BS.1770-4 lists coefficients for 48 kHz only. The analogue prototypes behind them (a shelf of 4 dB at 1682 Hz and a
    high-pass at 38 Hz; parameters from De Man, "Evaluation of implementations of the EBU R128 loudness measurement",
    AES 145, 2018) are mapped by the bilinear transform with the corner frequency kept. At 48 kHz the listed figures
    come out; at other rates the gain of the high-pass is the one it has there (0.04 dB). Below 3,364 Hz there is no
    shelf, as its corner lies above half of the rate.
    """
    shelf_hz = 1681.974450955533
    k = np.tan(np.pi * shelf_hz / sample_rate)
    q, vh = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    vb = vh**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = [vh + vb * k / q + k * k, 2 * (k * k - vh), vh - vb * k / q + k * k, a0, 2 * (k * k - 1), 1 - k / q + k * k]
    f2, q2 = 38.13547087602444, 0.5003270373238773
    k, k48 = np.tan(np.pi * f2 / np.array([sample_rate, 48_000.0]))
    c0, gain = 1 + k / q2 + k * k, 1 + k48 / q2 + k48 * k48
    high_pass = [gain, -2 * gain, gain, c0, 2 * (k * k - 1), 1 - k / q2 + k * k]
    flat = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    return np.array([np.array(shelf) / a0 if sample_rate > 2 * shelf_hz else flat, np.array(high_pass) / c0])
