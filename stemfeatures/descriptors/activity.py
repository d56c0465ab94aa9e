"""When a stem sounds at all: the gate that every other family stands behind.

Separation never leaves an absent stem at digital zero: bleed of the others stays, typically 40 dB and more below the
mixture. A frame is therefore *active* when its energy exceeds both

* the level of the mixture less 40 dB, and
* the stem's own level less 50 dB, which cuts reverb tails and the noise floor;

so a file turned down is as active as it was. A track without a frame above -60 dBFS mean square (the threshold of
essentia's ``silence_rate_60db``) is silent, and below -100 dBFS (16-bit rounding noise) nothing sounds.

The level is the energy-weighted mean of the frame energies, ``sum(e ** 2) / sum(e)``: how loud a signal is where it has
its energy, whatever the share of silence around it. A constant offset is no sound: the energy is limited to
15 dB above the K-weighted power, which leaves 20 Hz and up as it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, MIXTURE, STEMS
from ..fields import DURATION, SQRT, Field, status_field
from ..frames import StemFrames, TrackFrames
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .values import OK, SILENT, number, runs

ABSOLUTE_FLOOR_DBFS = -60.0
ROUNDING_DBFS = -100.0
BELOW_MIXTURE_DB = 40.0
BELOW_OWN_LEVEL_DB = 50.0
#: K-weighted share of a constant, at most: a Hann window spreads a third of it to 10.8 Hz, where K-weighting is -23 dB.
CONSTANT_LEAKAGE = 0.006
#: Largest excess of the energy over the K-weighted power that sound can have (a 20 Hz sine: 13 dB).
INAUDIBLE_DB = 15.0
#: Pauses shorter than this do not end a segment.
MAX_GAP_S = 0.5

_field = partial(Field, type="float32", family="activity")
FIELDS = (
    status_field("activity_status", "ok | silent", "the stem sounds at all and so its activity", family="activity"),
    _field(
        "activity_ratio",
        description="Share of frames in which the row sounds: above -60 dBFS, the mixture's level less 40 dB and its "
        "own level less 50 dB.",
        range="0..1",
    ),
    _field(
        "active_duration_s",
        description="activity_ratio times the duration.",
        unit="s",
        range=">= 0",
        scale=DURATION,
    ),
    _field(
        "activity_start_s",
        type="float64",
        description="Start of the first active frame.",
        unit="s",
        range=">= 0",
        scale=DURATION,
    ),
    _field(
        "activity_end_s",
        type="float64",
        description="End of the last active frame.",
        unit="s",
        range=">= 0",
        scale=DURATION,
    ),
    _field(
        "n_active_segments",
        type="int32",
        description="Active stretches, pauses under 0.5 s bridged.",
        range=">= 0",
        scale=DURATION,
    ),
    _field("silence_rate_60db", description="Share of frames below -60 dBFS mean square.", range="0..1"),
    _field(
        "energy_share",
        description="Energy of the stem over the sum of the four stems.",
        range="0..1",
        rows=STEMS,
        scale=SQRT,
    ),
)


def level(energy: np.ndarray) -> float:
    """Energy-weighted mean of the frame energies (linear mean square); 0 for silence."""
    e = np.asarray(energy, dtype=np.float64)
    total = e.sum()
    return float((e * (e / total)).sum()) if total > 0 else 0.0


def audible_energy(stem: StemFrames) -> np.ndarray:
    """(n_frames,) energy without that of a constant offset."""
    weighted = np.maximum(stem.k_power - np.float32(CONSTANT_LEAKAGE) * stem.energy, 0)
    return np.minimum(stem.energy, weighted * np.float32(10 ** (INAUDIBLE_DB / 10)))


def active_frames(energy: np.ndarray, mixture_energy: np.ndarray) -> np.ndarray:
    """Boolean mask of the frames in which a stem sounds.

    Parameters
    ----------
    energy, mixture_energy : (n_frames,) ndarray
        Mean squares of the stem and of the mixture, full scale = 1.

    Returns
    -------
    (n_frames,) ndarray of bool
        True where it sounds.
    """
    if not len(mixture_energy) or mixture_energy.max() <= 10 ** (ABSOLUTE_FLOOR_DBFS / 10):
        return np.zeros(len(energy), dtype=bool)
    floor = max(
        10 ** (ROUNDING_DBFS / 10),
        level(mixture_energy) * 10 ** (-BELOW_MIXTURE_DB / 10),
        level(energy) * 10 ** (-BELOW_OWN_LEVEL_DB / 10),
    )
    return np.asarray(energy) > floor


def describe_activity(frames: TrackFrames, stem: str, active: np.ndarray) -> dict[str, Any]:
    """Fields of the family ``activity`` for one row."""
    hop_s = HOP_LENGTH / ANALYSIS_SAMPLE_RATE
    duration = frames.duration_s
    energy = frames.stems[stem].energy
    sounding = np.flatnonzero(active)
    segments = runs(active)
    if len(segments) > 1:
        segments = segments[np.r_[True, (segments[1:, 0] - segments[:-1, 1]) * hop_s >= MAX_GAP_S]]
    share = None
    if stem != MIXTURE:
        total = sum(float(frames.stems[name].energy.sum(dtype=np.float64)) for name in STEMS)
        share = number(energy.sum(dtype=np.float64) / total) if total > 0 else None
    return {
        "activity_status": OK if len(sounding) else SILENT,
        "activity_ratio": number(active.mean()) if len(active) else None,
        "active_duration_s": number(active.mean() * duration) if len(active) else None,
        "activity_start_s": number(max(0.0, (sounding[0] - 0.5) * hop_s)) if len(sounding) else None,
        "activity_end_s": number(min(duration, (sounding[-1] + 0.5) * hop_s)) if len(sounding) else None,
        "n_active_segments": len(segments),
        "silence_rate_60db": number((energy < 10 ** (ABSOLUTE_FLOOR_DBFS / 10)).mean()) if len(energy) else None,
        "energy_share": share,
    }


def active_rows(inputs: DescriptorInputs) -> dict[str, np.ndarray]:
    """Active frames of every row, for :meth:`DescriptorInputs.get`.

    Parameters
    ----------
    inputs : DescriptorInputs
        Of the track.

    Returns
    -------
    dict
        ``{row: (n_frames,) bool}``.
    """
    audible = {row: audible_energy(inputs.frames.stems[row]) for row in inputs.frames.rows}
    return {row: active_frames(energy, audible[MIXTURE]) for row, energy in audible.items()}


def _activity(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    return describe_activity(inputs.frames, row, inputs.get(active_rows)[row])


register(Extractor("activity", 10, FIELDS, "activity_status", _activity))
