"""Spectral shape over the active frames, each counting the same.

MFCCs follow librosa's defaults (Slaney mel, 10 log10 with 80 dB below the loudest band kept, orthonormal DCT-II), so
the figures compare with ``librosa.feature.mfcc``. Means need one active frame, deviations two, deltas nine.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..constants import N_CONTRAST
from ..frames import StemFrames
from .values import OK, SILENT, mean, median, number, std, unmeasured

N_MFCC = 13
TOP_DB = 80.0
#: Frames in the regression that gives a delta, as in ``librosa.feature.delta``.
DELTA_WIDTH = 9
#: Smallest power taken as a sound; below it decibels are noise of the arithmetic.
POWER_FLOOR = 1e-10

_SHAPES = {
    "spectral_centroid": ("centroid_hz", "_hz"),
    "spectral_bandwidth": ("bandwidth_hz", "_hz"),
    "spectral_rolloff": ("rolloff_hz", "_hz"),
    "spectral_flatness": ("flatness", ""),
    "spectral_flux": ("flux", ""),
}

NAMES = (
    *(f"mfcc_{k:02d}_{stat}" for k in range(1, N_MFCC + 1) for stat in ("mean", "std", "delta_std")),
    *(f"{name}_{stat}{unit}" for name, (_, unit) in _SHAPES.items() for stat in ("mean", "std", "median")),
    *(f"spectral_contrast_{k:02d}_mean_db" for k in range(1, N_CONTRAST + 1)),
)


@cache
def _dct_basis(n_in: int) -> np.ndarray:
    """(N_MFCC, n_in) orthonormal DCT-II."""
    k = np.arange(N_MFCC)[:, None]
    basis = np.cos(np.pi * k * (np.arange(n_in) + 0.5) / n_in) * np.sqrt(2 / n_in)
    basis[0] /= np.sqrt(2)
    return basis


def mfcc(mel: np.ndarray) -> np.ndarray:
    """(N_MFCC, n_frames) cepstral coefficients of a mel power spectrogram (n_mels, n_frames)."""
    db = 10 * np.log10(np.maximum(mel, POWER_FLOOR))
    if db.size:
        db = np.maximum(db, db.max() - TOP_DB)
    return _dct_basis(len(mel)) @ db


def _delta(x: np.ndarray) -> np.ndarray:
    """Slope of a least-squares line over ``DELTA_WIDTH`` frames; only where the whole window exists."""
    half = DELTA_WIDTH // 2
    weights = np.arange(-half, half + 1) / np.square(np.arange(-half, half + 1)).sum()
    return np.einsum("k,ctk->ct", weights, np.lib.stride_tricks.sliding_window_view(x, DELTA_WIDTH, axis=1))


def describe_timbre(stem: StemFrames, active: np.ndarray) -> dict[str, Any]:
    """Fields of the family ``timbre`` for one row."""
    if not active.any():
        return unmeasured(NAMES, "timbre_status", SILENT)
    values: dict[str, Any] = {"timbre_status": OK}
    coefficients = mfcc(stem.mel)
    sounding = coefficients[:, active]
    half = DELTA_WIDTH // 2
    # A delta counts when its whole window is active: the jump into silence is a matter of activity, not of timbre.
    steady = (
        np.convolve(active, np.ones(DELTA_WIDTH, dtype=int), "valid") == DELTA_WIDTH if len(active) > 2 * half else []
    )
    deltas = _delta(coefficients)[:, steady] if np.any(steady) else np.empty((N_MFCC, 0))
    for k in range(N_MFCC):
        name = f"mfcc_{k + 1:02d}"
        values[f"{name}_mean"] = mean(sounding[k])
        values[f"{name}_std"] = std(sounding[k])
        values[f"{name}_delta_std"] = std(deltas[k])
    for name, (attribute, unit) in _SHAPES.items():
        series = getattr(stem, attribute)[active]
        values[f"{name}_mean{unit}"] = mean(series)
        values[f"{name}_std{unit}"] = std(series)
        values[f"{name}_median{unit}"] = median(series)
    contrast = stem.contrast[:, active].mean(axis=1, dtype=np.float64)
    values.update({f"spectral_contrast_{k + 1:02d}_mean_db": number(c) for k, c in enumerate(contrast)})
    return values
