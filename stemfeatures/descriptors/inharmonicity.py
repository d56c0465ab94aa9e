"""Inharmonicity of the voice and of the bass: how far their partials lie from multiples of the fundamental.

The median over frames whose pitch the F0 contour confirms (measured by :mod:`stemfeatures.frames.inharmonicity`). What
other stems leave in a separated one has partials too, and moves its own; so there is a value only where the masks
promise :data:`TRUSTED_SDR_DB` (``benchmarks/inharmonicity.py``, docs/descriptors.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..constants import PITCHED_STEMS
from ..fields import NOT_A_COORDINATE, Field, status_field
from ..frames import InharmonicityFrames
from .activity import active_rows
from .f0 import f0_contours
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .separation import is_trusted
from .values import OK, SILENT, median
from .voice import LEAST_FRAMES, POOR, TOO_FEW, UNKNOWN, confirmed

#: Signal-to-distortion ratio, as the masks promise it, from which on values of separated stems are near the true ones:
#: of strings they are smaller than of voices, which move while they are measured.
TRUSTED_SDR_DB = {"vocals": 9.0, "bass": 12.0}

FIELDS = (
    status_field(
        "inharmonicity_status",
        f"{OK} | {SILENT} | absent | {TOO_FEW} | {UNKNOWN} | {POOR} | not_applicable",
        "inharmonicity (poor_separation: separation_sdr_db is below "
        f"{' and '.join(f'{db:.0f} of {stem}' for stem, db in TRUSTED_SDR_DB.items())}; unknown: the frames hold no "
        "waveform)",
        family="timbre",
        since="1.1",
    ),
    Field(
        "inharmonicity_median",
        "float32",
        "Median distance of the partials (by energy) from the multiples of the fundamental that fits them best, "
        "as a share of the fundamental.",
        range="0..0.2",
        family="timbre",
        rows=PITCHED_STEMS,
        since="1.1",
        scale=NOT_A_COORDINATE,
        feature="inharmonicity",
        statistic="median",
    ),
)


def median_inharmonicity(tones: InharmonicityFrames, f0_hz: np.ndarray) -> float | None:
    """Median over the frames whose pitch a contour confirms.

    Parameters
    ----------
    tones : InharmonicityFrames
        Of a stem.
    f0_hz : (n_frames,) ndarray
        Its contour, NaN where unvoiced.

    Returns
    -------
    float or None
        None for fewer than :data:`.voice.LEAST_FRAMES` frames.
    """
    values = tones.inharmonicity[confirmed(tones, f0_hz)]
    values = values[np.isfinite(values)]
    return median(values) if len(values) >= LEAST_FRAMES else None


def _inharmonicity(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    tones = (inputs.frames.tones or {}).get(row)
    if not inputs.get(active_rows)[row].any():
        return {"inharmonicity_status": SILENT}
    if tones is None:
        return {"inharmonicity_status": UNKNOWN}
    value = median_inharmonicity(tones, inputs.get(f0_contours)[row][0].f0_hz)
    if value is None:
        return {"inharmonicity_status": TOO_FEW}
    if not is_trusted(inputs.frames.stems[row], TRUSTED_SDR_DB[row]):
        return {"inharmonicity_status": POOR}
    return {"inharmonicity_status": OK, "inharmonicity_median": value}


register(Extractor("inharmonicity", 42, FIELDS, "inharmonicity_status", _inharmonicity))
