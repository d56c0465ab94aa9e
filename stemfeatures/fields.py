"""The one description of a column: from lists of these come the Arrow schemas, the data dictionary and ``schema``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """A column of a table.

    Attributes
    ----------
    name : flat snake case, unit last (``f0_median_hz``).
    type : ``string, bool, uint8, int8, int16, int32, int64, float32, float64, timestamp``, ``list<T>`` or
        ``fixed_list<T, N>`` of one of them, or ``category`` (a dictionary-encoded string).
    description : one sentence, says how it is computed where the name alone does not.
    unit : ``Hz, s, LUFS, LU, dBTP, dB, bpm, cents, 1/s`` or ``""`` for a pure number.
    range : human-readable valid range, e.g. ``"0..1"``, or ``""``.
    nullable : whether null may occur; null always means "could not be measured".
    since : schema version that introduced it.
    family : group used to choose columns (``key, provenance, activity, f0, rhythm, timbre, loudness, harmony``).
    """

    name: str
    type: str
    description: str
    unit: str = ""
    range: str = ""
    nullable: bool = True
    since: str = "1.0"
    family: str = ""
