"""How loud the beats are, and in which bands: essentia's ``BeatsLoudness``, from the analysis frames.

Of the frames within 50 ms of a beat the loudest counts. Essentia takes the spectrum of the 50 ms from there on; a frame
is 93 ms long.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._util.large_arrays import release
from ..constants import FRAME_RATE
from ..fields import SQRT, Field, status_field
from ..frames import StemFrames
from .activity import active_rows
from .inputs import DescriptorInputs
from .mel_bands import band_power, mel_edges_hz
from .registry import Extractor, register
from .rhythm import BEAT_ROWS, NO_BEATS, row_bars
from .values import OK, PICKED_FRAMES, SILENT, blocks, mean, std

#: Edges of the bands in Hz, essentia's; the last one ends at 11,025 Hz here.
BAND_EDGES_HZ = (20, 150, 400, 3200, 7000)
#: Frames are this quiet at most, relative to the loudest one.
QUIETEST_DB = -80.0
#: Frames to either side of a beat among which the loudest is looked for (50 ms).
REACH = 2
BANDS = tuple(f"{low}_{high}hz" for low, high in zip(BAND_EDGES_HZ, (*BAND_EDGES_HZ[1:], 11025), strict=True))

_beat = partial(Field, type="float32", family="rhythm", rows=BEAT_ROWS, since="1.1")
FIELDS = (
    status_field(
        "beat_loudness_status",
        "ok | silent | absent | no_beats | not_applicable",
        "the loudness of the beats",
        family="rhythm",
        since="1.1",
    ),
    _beat(
        "beat_loudness_mean_db",
        description="Mean square of the loudest frame around a beat, mean over the beats in dB relative to full scale.",
        unit="dB",
    ),
    _beat("beat_loudness_std_db", description="Standard deviation of the same.", unit="dB", range=">= 0"),
    _beat(
        "beat_accent_db",
        description="Median of the beats less the median of all frames between the first and the last beat.",
        unit="dB",
    ),
    *(
        _beat(
            f"beat_loudness_ratio_{band}",
            description=f"Share of the power of a beat in the band {band}, mean over "
            "the beats (essentia's beats_loudness_band_ratio).",
            range="0..1",
            scale=SQRT,
        )
        for band in BANDS
    ),
)


def loudest_frames(energy: np.ndarray, beats_s: np.ndarray) -> np.ndarray:
    """(n_beats,) number of the loudest of the frames within 50 ms of each beat, the first of equals."""
    around = np.rint(beats_s * FRAME_RATE).astype(int)[:, None] + np.arange(-REACH, REACH + 1)
    around = np.clip(around, 0, len(energy) - 1)
    return np.asarray(around[np.arange(len(around)), energy[around].argmax(axis=1)])


def band_ratios(mel: np.ndarray) -> np.ndarray:
    """(n_bands, n) shares of the power of ``(n_mels, n)`` mel power in :data:`BANDS`; NaN in silence."""
    power = band_power(mel)
    centres = mel_edges_hz(len(mel))[1:-1]
    edges = np.searchsorted(centres, BAND_EDGES_HZ)
    bands = np.add.reduceat(power, edges, axis=0)
    total = bands.sum(axis=0)
    return np.asarray(np.divide(bands, total, out=np.full_like(bands, np.nan), where=total > 0))


def describe_beat_loudness(stem: StemFrames, beats_s: np.ndarray) -> dict[str, Any]:
    """Fields of one row at given beats."""
    at = loudest_frames(stem.energy, beats_s)
    loudest = 10 * np.log10(float(stem.energy.max()))
    decibels = loudest + np.maximum(10 * np.log10(stem.energy / stem.energy.max() + 1e-30), QUIETEST_DB)
    between = decibels[at.min() : at.max() + 1]
    parts = []
    for first, end in blocks(len(at), PICKED_FRAMES):
        parts.append(band_ratios(stem.mel[:, at[first:end]]))
        release(stem.mel)
    ratios = np.concatenate(parts, axis=1)
    ratios = ratios[:, np.isfinite(ratios[0])]
    return {
        "beat_loudness_status": OK,
        "beat_loudness_mean_db": mean(decibels[at]),
        "beat_loudness_std_db": std(decibels[at]),
        "beat_accent_db": float(np.median(decibels[at]) - np.median(between)),
        **{f"beat_loudness_ratio_{band}": mean(row) for band, row in zip(BANDS, ratios, strict=True)},
    }


def _beat_loudness(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    bars = inputs.get(row_bars)[row]
    if not inputs.get(active_rows)[row].any():
        return {"beat_loudness_status": SILENT}
    if bars is None:
        return {"beat_loudness_status": NO_BEATS}
    return describe_beat_loudness(inputs.frames.stems[row], bars.track.beats_s)


register(Extractor("beat_loudness", 39, FIELDS, "beat_loudness_status", _beat_loudness))
