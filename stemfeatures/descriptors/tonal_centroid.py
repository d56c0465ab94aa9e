"""Tonal centroid: where the pitch classes lie on the circles of fifths, minor thirds and major thirds.

(Harte, Sandler and Gasser, "Detecting harmonic change in musical audio", AMCMM 2006.)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..constants import FRAME_RATE
from ..fields import Field, Scale, status_field
from .activity import active_rows
from .harmony import MIN_ACTIVE_S, TONAL_ROWS
from .inputs import DescriptorInputs
from .pitch_classes import estimate_tuning, fold_chroma, row_chroma, unit_amplitude
from .registry import Extractor, register
from .values import OK, SILENT, TOO_SHORT, number

#: Twelfths of a turn that a semitone makes on each circle, its radius and its name.
CIRCLES = ((7, 1.0, "fifths"), (9, 1.0, "minor thirds"), (4, 0.5, "major thirds"))

_field = partial(Field, type="float32", family="harmony", rows=TONAL_ROWS, since="1.1")
FIELDS = (
    status_field(
        "tonal_centroid_status",
        "ok | silent | absent | too_short | not_applicable",
        "the tonal centroid (which needs at least 0.5 s in which pitch classes are heard)",
        family="harmony",
        since="1.1",
    ),
    *(
        _field(
            f"tonal_centroid_{2 * k + axis + 1}_mean",
            description=f"Mean {('sine', 'cosine')[axis]} of the pitch classes on the circle of {name}"
            + (", of half the radius." if radius < 1 else "."),
            range="-1..1",
            scale=Scale(vector="tonal_centroid"),
            feature="tonal_centroid",
            statistic="mean",
            number=2 * k + axis + 1,
        )
        for k, (_, radius, name) in enumerate(CIRCLES)
        for axis in (0, 1)
    ),
)


def tonal_centroid(profile: np.ndarray) -> np.ndarray:
    """Tonal centroid of pitch classes.

    Parameters
    ----------
    profile : (12, ...) ndarray
        Shares of the pitch classes from C on, with sum 1.

    Returns
    -------
    (6, ...) ndarray
        Sine and cosine on the circles of fifths, minor thirds and major thirds.

    Examples
    --------
    >>> (tonal_centroid(np.eye(12)[7]).round(3) + 0.0).tolist()
    [0.5, 0.866, 1.0, 0.0, 0.433, -0.25]
    """
    classes = np.arange(12)
    rows = []
    for step, radius, _ in CIRCLES:
        angle = 2 * np.pi * step * classes / 12
        rows += [radius * np.sin(angle), radius * np.cos(angle)]
    return np.asarray(np.array(rows) @ profile)


def _describe(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    active = inputs.get(active_rows)[row]
    if not active.any():
        return {"tonal_centroid_status": SILENT}
    amplitude, told = unit_amplitude(inputs.get(row_chroma)[row], active)
    if told.sum() < MIN_ACTIVE_S * FRAME_RATE:
        return {"tonal_centroid_status": TOO_SHORT}
    centroid = tonal_centroid(fold_chroma(amplitude, estimate_tuning(amplitude) or 0.0)[:, 0] / told.sum())
    return {
        "tonal_centroid_status": OK,
        **{f"tonal_centroid_{k}_mean": number(value) for k, value in enumerate(centroid, start=1)},
    }


register(Extractor("tonal_centroid", 61, FIELDS, "tonal_centroid_status", _describe))
