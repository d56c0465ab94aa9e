"""Further shapes of the spectrum over the active frames: moments, zero crossings, Bark bands.

Skewness and kurtosis are the third and fourth moments of the magnitude spectrum around its centroid, as essentia's
``DistributionShape`` has them; ``spectral_bandwidth`` is its ``SpectralSpread`` (the root of the second). Where a frame
is next to one line (skewness 30 and more) the rounding of far bins moves them by about a percent. Bark bands
after Zwicker, "Subdivision of the audible frequency range into critical bands", JASA 33 (1961), up to 11,025 Hz.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..constants import BARK_EDGES_HZ
from ..fields import LINEAR, LOG1P, NOT_A_COORDINATE, Field, Scale, status_field
from .activity import active_rows
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .values import OK, SILENT, mean, median, number, std, windows

UNKNOWN = "unknown"

#: ``(feature, attribute of StemFrames, what it is, range, scale)``
_SERIES = (
    ("spectral_skewness", "skewness", "Skewness of the magnitude spectrum around its centroid", "", LINEAR),
    (
        "spectral_kurtosis",
        "kurtosis",
        "Kurtosis, less 3, of the magnitude spectrum around its centroid",
        ">= -3",
        NOT_A_COORDINATE,
    ),
    ("zero_crossing_rate", "zero_crossing_rate", "Changes of sign a sample of 22,050 Hz", "0..1", LOG1P),
)
_STATISTICS = (("mean", "mean", mean), ("std", "standard deviation", std), ("median", "median", median))

_field = partial(Field, type="float32", family="timbre", since="1.1")
FIELDS = (
    status_field(
        "spectrum_status",
        "ok | silent | absent | unknown",
        "moments of the spectrum, zero crossings and Bark bands (over active frames; unknown: the frames lack them)",
        family="timbre",
        since="1.1",
    ),
    *(
        _field(
            f"{feature}_{statistic}",
            description=f"{text}: {word} over active frames.",
            range=">= 0" if statistic == "std" else limits,
            scale=scale,
            feature=feature,
            statistic=statistic,
        )
        for feature, _, text, limits, scale in _SERIES
        for statistic, word, _ in _STATISTICS
    ),
    *(
        _field(
            f"bark_{k:02d}_mean",
            description=f"Mean share of {low} to {high} Hz (a Bark band) in the power of an active frame.",
            range="0..1",
            scale=Scale("sqrt", vector="bark"),
            feature="bark",
            statistic="mean",
            number=k,
        )
        for k, (low, high) in enumerate(zip(BARK_EDGES_HZ, BARK_EDGES_HZ[1:]), start=1)
    ),
)


def bark_shares(bark: np.ndarray, active: np.ndarray | None = None) -> np.ndarray:
    """Mean distribution of power over bands.

    Parameters
    ----------
    bark : np.ndarray
        (n_bands, n_frames) power.
    active : np.ndarray, optional
        (n_frames,) bool, the frames that count; all by default.

    Returns
    -------
    np.ndarray
        (n_bands,) mean over the frames with any power of the share of each band; sums to 1, or is 0 throughout.
    """
    shares, count = np.zeros(len(bark)), 0
    for part in windows(bark):
        power = bark[:, part] if active is None else bark[:, part][:, active[part]]
        total = power.sum(axis=0, dtype=np.float64)
        told = total > 0
        shares += (power[:, told] / total[told]).sum(axis=1)
        count += int(np.count_nonzero(told))
    return shares / max(count, 1)


def _spectrum(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    active, stem = inputs.get(active_rows)[row], inputs.frames.stems[row]
    if not active.any():
        return {"spectrum_status": SILENT}
    if stem.bark is None:
        return {"spectrum_status": UNKNOWN}
    measured: dict[str, Any] = {"spectrum_status": OK}
    for feature, attribute, *_ in _SERIES:
        series = getattr(stem, attribute)[active]
        measured |= {f"{feature}_{statistic}": take(series) for statistic, _, take in _STATISTICS}
    shares = bark_shares(stem.bark, active)
    return measured | {f"bark_{k:02d}_mean": number(share) for k, share in enumerate(shares, start=1)}


register(Extractor("spectrum", 41, FIELDS, "spectrum_status", _spectrum))
