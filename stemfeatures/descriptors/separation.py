"""How far a separated stem can be trusted on this track.

A mask of 0.5 leaves open whose the sound is, one near 0 or 1 does not. Read as the share of a stem in the energy of a
cell, a mask ``m`` expects the energy ``m P`` of the stem in a cell of power ``P``, and keeps ``m**2 P``: the difference
``m (1 - m) P`` is the error that a Wiener filter makes there (the variance of the posterior, e.g. Liutkus, Badeau and
Richard, "Gaussian processes for underdetermined source separation", IEEE TSP 2011). The ratio of the two over the track
is the expected signal-to-distortion ratio; a line through true ones corrects what networks are too sure of.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..constants import STEMS
from ..fields import NOT_A_COORDINATE, Field, status_field
from ..frames import StemFrames
from .activity import active_rows
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .values import OK, SILENT, number

#: True over expected SDR: slope and constant in dB, of ``benchmarks/stem_uncertainty.py --songs 8 --seconds 24``.
SLOPE, CONSTANT_DB = 0.85, 0.14
#: Bounds of what is reported.
LEAST_DB, MOST_DB = -20.0, 40.0

UNKNOWN = "unknown"

_field = partial(Field, type="float32", family="separation", rows=STEMS, since="1.1", scale=NOT_A_COORDINATE)
FIELDS = (
    status_field(
        "separation_status",
        "ok | silent | absent | unknown | not_applicable",
        "the separation (unknown: the frames hold no masks)",
        family="separation",
        since="1.1",
    ),
    _field(
        "separation_sdr_db",
        description="Signal-to-distortion ratio that the masks promise of the separated stem, calibrated on generated "
        "songs: how far its values can be trusted.",
        unit="dB",
        range="-20..40",
    ),
    _field(
        "separation_ambiguity",
        description="Share of the energy under the stem's mask that the mask leaves open between the stems.",
        range="0..1",
    ),
)


def expected_sdr_db(energy: np.ndarray, mask_energy: np.ndarray) -> float | None:
    """Signal-to-distortion ratio that masks promise, before any calibration.

    Parameters
    ----------
    energy, mask_energy : (n_frames,) ndarray
        Energies of the mixture times the mask squared, and times the mask.

    Returns
    -------
    float or None
        Decibels; None where there is no energy.
    """
    kept, total = np.sum(energy, dtype=np.float64), np.sum(mask_energy, dtype=np.float64)
    if total <= 0:
        return None
    return float(10 * np.log10(total / max(total - kept, 1e-9 * total)))


def calibrated_sdr_db(stem: StemFrames) -> float | None:
    """Signal-to-distortion ratio of a stem as the masks promise it, calibrated.

    Parameters
    ----------
    stem : StemFrames
        Of a separated stem.

    Returns
    -------
    float or None
        Decibels within :data:`LEAST_DB` and :data:`MOST_DB`; None where the frames hold no masks or no energy.
    """
    expected = None if stem.mask_energy is None else expected_sdr_db(stem.energy, stem.mask_energy)
    return None if expected is None else float(np.clip(SLOPE * expected + CONSTANT_DB, LEAST_DB, MOST_DB))


def is_trusted(stem: StemFrames, least_db: float) -> bool:
    """Whether the masks promise that a stem is no further from the true one than so many decibels.

    Parameters
    ----------
    stem : StemFrames
        Of a separated stem.
    least_db : float
        Least signal-to-distortion ratio of :func:`calibrated_sdr_db`.

    Returns
    -------
    bool
        False where the frames hold no masks.
    """
    sdr_db = calibrated_sdr_db(stem)
    return sdr_db is not None and sdr_db >= least_db


def _separation(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    stem = inputs.frames.stems[row]
    if not inputs.get(active_rows)[row].any():
        return {"separation_status": SILENT}
    expected = None if stem.mask_energy is None else expected_sdr_db(stem.energy, stem.mask_energy)
    if expected is None:
        return {"separation_status": UNKNOWN}
    return {
        "separation_status": OK,
        "separation_sdr_db": calibrated_sdr_db(stem),
        "separation_ambiguity": number(min(10 ** (-expected / 10), 1.0)),
    }


register(Extractor("separation", 68, FIELDS, "separation_status", _separation))
