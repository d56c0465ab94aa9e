"""Spectral shape over the active frames, each counting the same.

MFCCs follow librosa's defaults (Slaney mel, 10 log10 with 80 dB below the loudest band kept, orthonormal DCT-II), so
the figures compare with ``librosa.feature.mfcc``. Means need one active frame, deviations two, deltas nine.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.fft import dct

from ..constants import N_CONTRAST
from ..fields import LOG1P, Field, log, status_field
from ..frames import StemFrames
from .activity import active_rows
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .values import OK, SILENT, Moments, loud_level, mean, median, std, windows

N_MFCC = 13
TOP_DB = 80.0
#: Frames in the regression that gives a delta, as in ``librosa.feature.delta``.
DELTA_WIDTH = 9
#: Smallest power taken as a sound; below it decibels are noise of the arithmetic.
POWER_FLOOR = 1e-10
#: Rises are logarithmic down to this far below the loud bands, and linear, so next to nothing, below.
FLUX_RANGE_DB = 50.0

#: ``(feature, attribute of StemFrames, what it is, suffix and unit, range, scale)``
_SHAPES = (
    ("spectral_centroid", "centroid_hz", "Centroid of the magnitude spectrum", "Hz", "0..11025", log(1.0)),
    (
        "spectral_bandwidth",
        "bandwidth_hz",
        "Spread of the magnitude spectrum around its centroid",
        "Hz",
        "0..11025",
        log(1.0),
    ),
    (
        "spectral_rolloff",
        "rolloff_hz",
        "Frequency below which 85 % of the magnitude spectrum lies",
        "Hz",
        "0..11025",
        log(1.0),
    ),
    ("spectral_flatness", "flatness", "Geometric over arithmetic mean of the power spectrum", "", "0..1", log(1e-4)),
    (
        "spectral_flux",
        "flux",
        "Rise of the log mel spectrum from frame to frame, 50 dB below the loud bands of the row counting as silence",
        "",
        ">= 0",
        LOG1P,
    ),
)
_STATISTICS = {"mean": "mean", "std": "standard deviation", "median": "median"}
_BANDS = ("0 to 200 Hz", *(f"{200 * 2**i} to {400 * 2**i} Hz" for i in range(N_CONTRAST - 2)), "6400 to 10000 Hz")


def _shape_name(feature: str, statistic: str, unit: str) -> str:
    return f"{feature}_{statistic}_{unit.lower()}" if unit else f"{feature}_{statistic}"


_field = partial(Field, type="float32", family="timbre")
_mfcc = partial(_field, feature="mfcc", unit="dB")
FIELDS = (
    status_field("timbre_status", "ok | silent | absent", "timbre (over active frames)", family="timbre"),
    *(
        field
        for k in range(1, N_MFCC + 1)
        for field in (
            _mfcc(
                f"mfcc_{k:02d}_mean",
                description=f"Mean of MFCC {k} (librosa's definition) over active frames.",
                statistic="mean",
                number=k,
            ),
            _mfcc(
                f"mfcc_{k:02d}_std",
                description=f"Standard deviation of MFCC {k} over active frames.",
                range=">= 0",
                statistic="std",
                number=k,
            ),
            _mfcc(
                f"mfcc_{k:02d}_delta_std",
                description=f"Standard deviation of the slope of MFCC {k} over nine active frames, per frame.",
                range=">= 0",
                feature="mfcc_delta",
                statistic="std",
                number=k,
            ),
        )
    ),
    *(
        _field(
            _shape_name(feature, statistic, unit),
            description=f"{text}: {word} over active frames.",
            unit=unit,
            range=limits,
            scale=scale,
            feature=feature,
            statistic=statistic,
        )
        for feature, _, text, unit, limits, scale in _SHAPES
        for statistic, word in _STATISTICS.items()
    ),
    *(
        _field(
            f"spectral_contrast_{k:02d}_mean_db",
            description=f"Mean peak to valley contrast in {band} over active frames.",
            unit="dB",
            feature="spectral_contrast",
            statistic="mean",
            number=k,
        )
        for k, band in enumerate(_BANDS, start=1)
    ),
)


def mfcc(mel: np.ndarray) -> np.ndarray:
    """(N_MFCC, n_frames) cepstral coefficients of a mel power spectrogram (n_mels, n_frames)."""
    floor_db = _floor_db(mel)
    return np.concatenate([_cepstrum(mel[:, part], floor_db) for part in windows(mel)] or [np.empty((N_MFCC, 0))], 1)


def _floor_db(mel: np.ndarray) -> np.float32:
    """Decibels below which bands count as silent."""
    loudest = max((mel[:, part].max() for part in windows(mel)), default=0.0)
    return np.float32(10 * np.log10(np.maximum(loudest, np.float32(POWER_FLOOR))) - TOP_DB)


def _cepstrum(mel: np.ndarray, floor_db: np.float32) -> np.ndarray:
    db = np.maximum(mel, POWER_FLOOR)
    np.log10(db, out=db)
    db *= 10
    np.maximum(db, floor_db, out=db)
    return np.asarray(dct(db.astype(np.float64), axis=0, norm="ortho")[:N_MFCC])


def _delta(x: np.ndarray) -> np.ndarray:
    """Slope of a least-squares line over ``DELTA_WIDTH`` frames; only where the whole window exists."""
    half = DELTA_WIDTH // 2
    weights = np.arange(-half, half + 1) / np.square(np.arange(-half, half + 1)).sum()
    return np.einsum("k,ctk->ct", weights, np.lib.stride_tricks.sliding_window_view(x, DELTA_WIDTH, axis=1))


def spectral_flux(mel: np.ndarray) -> np.ndarray:
    """Rise of the log mel spectrum, whatever its level.

    Parameters
    ----------
    mel : np.ndarray
        (n_mels, n_frames) power.

    Returns
    -------
    (n_frames,) mean over bands of the half-wave rectified rise of ``log10(1 + 1e5 * mel / loud)`` since the frame
    before, ``loud`` being the 95th percentile of the largest band of a frame; 0 in the first frame.
    """
    loud = loud_level(mel)
    flux = np.zeros(mel.shape[1])
    for part in windows(mel) if loud > 0 else ():
        first = max(part.start - 1, 0)
        level = np.log10(1 + mel[:, first : part.stop] * np.float32(10 ** (FLUX_RANGE_DB / 10) / loud))
        flux[first + 1 : part.stop] = np.maximum(np.diff(level, axis=1), 0.0).mean(axis=0)
    return flux


def describe_timbre(stem: StemFrames, active: np.ndarray) -> dict[str, Any]:
    """Fields of the family ``timbre`` for one row; those that are not there are null."""
    if not active.any():
        return {"timbre_status": SILENT}
    values: dict[str, Any] = {"timbre_status": OK}
    sounding, deltas = _cepstral_moments(stem.mel, active)
    for k in range(N_MFCC):
        name = f"mfcc_{k + 1:02d}"
        values[f"{name}_mean"] = sounding.mean(k)
        values[f"{name}_std"] = sounding.std(k)
        values[f"{name}_delta_std"] = deltas.std(k)
    for feature, attribute, _, unit, _, _ in _SHAPES:
        series = (spectral_flux(stem.mel) if attribute == "flux" else getattr(stem, attribute))[active]
        for statistic, take in (("mean", mean), ("std", std), ("median", median)):
            values[_shape_name(feature, statistic, unit)] = take(series)
    contrast = Moments(N_CONTRAST)
    for part in windows(stem.contrast):
        contrast.add(stem.contrast[:, part][:, active[part]])
    values.update({f"spectral_contrast_{k + 1:02d}_mean_db": contrast.mean(k) for k in range(N_CONTRAST)})
    return values


def _cepstral_moments(mel: np.ndarray, active: np.ndarray) -> tuple[Moments, Moments]:
    """Moments of the cepstral coefficients of the active frames, and of their slopes."""
    sounding, deltas, half = Moments(N_MFCC), Moments(N_MFCC), DELTA_WIDTH // 2
    floor_db = _floor_db(mel)
    for part in windows(mel):
        first, end = max(part.start - half, 0), min(part.stop + half, len(active))
        coefficients, on = _cepstrum(mel[:, first:end], floor_db), active[first:end]
        inside = slice(part.start - first, part.stop - first)
        sounding.add(coefficients[:, inside][:, on[inside]])
        # A delta counts when its whole window is active: the jump into silence is a matter of activity, not of timbre.
        if len(on) >= DELTA_WIDTH:
            steady = np.convolve(on, np.ones(DELTA_WIDTH, dtype=int), "valid") == DELTA_WIDTH
            if steady.any():
                deltas.add(_delta(coefficients)[:, steady])
    return sounding, deltas


def _timbre(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    return describe_timbre(inputs.frames.stems[row], inputs.get(active_rows)[row])


register(Extractor("timbre", 40, FIELDS, "timbre_status", _timbre))
