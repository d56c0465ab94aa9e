"""Dissonance: the roughness of the pairs of peaks of the spectrum, over the active frames.

It is measured by :mod:`stemfeatures.frames.roughness`. What bleeds into a stem has peaks too: of voice, drums and bass
separation keeps the rank of the value, of other it does not always (``benchmarks/kept_ranks.py``), so that it has one
where the masks promise :data:`TRUSTED_SDR_DB`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..fields import NOT_A_COORDINATE, Field, status_field
from ..frames import StemFrames
from ..frames.types import ROUGHNESS_STEP
from .activity import active_rows
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .separation import is_trusted
from .values import OK, SILENT, TOO_SHORT, mean, std
from .voice import POOR, UNKNOWN

#: Signal-to-distortion ratio, as the masks promise it, from which on the value is that of the stem.
TRUSTED_SDR_DB = {"other": 12.0}
_STATISTICS = (("mean", "mean", mean), ("std", "standard deviation", std))

FIELDS = (
    status_field(
        "dissonance_status",
        f"{OK} | {SILENT} | absent | {TOO_SHORT} | {UNKNOWN} | {POOR}",
        "dissonance (too_short: none of the frames sounds that are measured, every eighth; poor_separation: "
        "separation_sdr_db is below "
        f"{' and '.join(f'{db:.0f} of {stem}' for stem, db in TRUSTED_SDR_DB.items())}; unknown: the frames lack it)",
        family="timbre",
        since="1.1",
    ),
    *(
        Field(
            f"dissonance_{statistic}",
            "float32",
            "Roughness of the pairs of peaks of the spectrum (Plomp and Levelt 1965, Sethares 1993), 0 to 0.5 of two "
            f"equal ones: {word} over active frames.",
            range=">= 0",
            family="timbre",
            since="1.1",
            scale=NOT_A_COORDINATE,
            feature="dissonance",
            statistic=statistic,
        )
        for statistic, word, _ in _STATISTICS
    ),
)


def active_dissonance(stem: StemFrames, active: np.ndarray) -> np.ndarray | None:
    """Dissonance of the active frames of those that were measured.

    Parameters
    ----------
    stem : StemFrames
        Of a row.
    active : np.ndarray
        (n_frames,) bool.

    Returns
    -------
    np.ndarray or None
        (n,) float32; None where the frames lack it.
    """
    return None if stem.dissonance is None else stem.dissonance[active[::ROUGHNESS_STEP]]


def _dissonance(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    active, stem = inputs.get(active_rows)[row], inputs.frames.stems[row]
    if not active.any():
        return {"dissonance_status": SILENT}
    rough = active_dissonance(stem, active)
    if rough is None:
        return {"dissonance_status": UNKNOWN}
    if not len(rough):
        return {"dissonance_status": TOO_SHORT}
    if row in TRUSTED_SDR_DB and not is_trusted(stem, TRUSTED_SDR_DB[row]):
        return {"dissonance_status": POOR}
    return {"dissonance_status": OK, **{f"dissonance_{statistic}": take(rough) for statistic, _, take in _STATISTICS}}


register(Extractor("dissonance", 42, FIELDS, "dissonance_status", _dissonance))
