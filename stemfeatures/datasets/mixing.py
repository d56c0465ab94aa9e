"""The rules for levels, channels, clipping and silence, which every loader and every training mix follows.

1. **Full scale is 1.0 and nothing is rescaled.** Loaders hand out the samples of the files. The mixture is the data
   set's own file where it has one, else the sum of the stems at unit gain (:func:`mix`).
2. **Channels of one recording are averaged, sources on channels are added.** Mono is the mean over the channels
   (:func:`stemfeatures.audio.to_mono`), of mixture and stems alike, so that stems that summed to the mixture still do.
   MIR-1K and iKala keep two *sources* in one stereo file, accompaniment left, voice right: there the mixture is
   ``left + right``. Their mean would halve each source against its mixture (6 dB).
3. **Nothing is clipped.** Samples are float32; a sum may exceed 1.0 and stays as it is. Whoever writes integers scales
   mixture and stems by one and the same gain (:func:`peak_gain`). Recordings that were clipped before are found by
   :func:`clipped_fraction`.
4. **Silence is truth.** A stem that is silent in a track is a stem of zeros, as long as its mixture, and counts as an
   example of silence; a stem the data set has no file for is absent, not silent (:func:`is_silent`).
5. **A mixture need not be the sum of its stems.** Mastering, codecs and resampling come between (MUSDB18: compare its
   stem files with MUSDB18-HQ). :func:`mixture_residual_db` measures it; above -40 dB ``mixture - vocals`` is not the
   accompaniment, and stems must be added up instead.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: A signal whose mean square lies below this many dB re full scale is silent.
SILENCE_DB = -80.0


def mix(stems: Mapping[str, np.ndarray]) -> np.ndarray:
    """The sum of the stems at unit gain, float32, not clipped.

    Raises ValueError if there are no stems or their shapes differ.
    """
    if len({np.shape(stem) for stem in stems.values()}) != 1:
        raise ValueError(f"stems must have one shape: { {name: np.shape(stem) for name, stem in stems.items()} }")
    return np.sum([np.asarray(stem, np.float64) for stem in stems.values()], axis=0).astype(np.float32)


def mixture_residual_db(mixture: np.ndarray, stems: Mapping[str, np.ndarray]) -> float:
    """Energy of ``mixture - sum of the stems`` over that of the mixture, in dB.

    ``-inf`` if the stems sum to the mixture exactly, 0 for stems that are all silent, NaN if the mixture is silent.
    ``accompaniment`` is left out where the stems it consists of are there. Raises ValueError if shapes differ.
    """
    parts = dict(stems)
    if set(parts) - {"vocals", "accompaniment"}:
        parts.pop("accompaniment", None)
    total = mix(parts)
    if total.shape != np.shape(mixture):
        raise ValueError(f"stems of shape {total.shape} and a mixture of {np.shape(mixture)}")
    energy = float(np.sum(np.square(mixture, dtype=np.float64)))
    residual = float(np.sum(np.square(np.subtract(mixture, total, dtype=np.float64))))
    if is_silent(mixture):
        return float("nan")
    return 10.0 * np.log10(residual / energy) if residual > 0 else float("-inf")


def is_silent(signal: np.ndarray, *, threshold_db: float = SILENCE_DB) -> bool:
    """Whether the mean square is below ``threshold_db`` (re full scale = 1.0), or there are no samples."""
    return signal.size == 0 or float(np.mean(np.square(signal, dtype=np.float64))) < 10 ** (threshold_db / 10)


def clipped_fraction(signal: np.ndarray, *, run: int = 3) -> float:
    """The share of samples, 0..1, in runs of at least ``run`` equal samples at the signal's own peak.

    A peak is one sample; where ``run`` and more in a row are equal to it, a converter or limiter cut it off. The level
    does not matter: a recording that was clipped and turned down afterwards is found too. Silence has no clipped
    samples. Lossy codecs round the flat tops and hide them.
    """
    y = np.abs(np.atleast_2d(signal))
    peak = float(y.max()) if y.size else 0.0
    if peak == 0.0 or is_silent(y):
        return 0.0
    at_peak = np.pad(y >= peak * (1 - 2.0**-14), ((0, 0), (1, 1))).astype(np.int8)
    count = 0
    for row in np.diff(at_peak, axis=-1):
        lengths = np.flatnonzero(row == -1) - np.flatnonzero(row == 1)
        count += int(lengths[lengths >= run].sum())
    return count / y.size


def peak_gain(*signals: np.ndarray, peak: float = 1.0) -> float:
    """The one gain, at most 1, under which no signal exceeds ``peak``: to be applied to mixture and stems alike."""
    highest = max((float(np.max(np.abs(signal))) for signal in signals if signal.size), default=0.0)
    return min(1.0, peak / highest) if highest > 0 else 1.0
