"""What the columns of a feature matrix mean, as far as distances between tracks are concerned.

A column of the matrix is called ``<stem>__<field>``; with the stem and the field's family it belongs to one **block**,
``(stem, family)``, which can be chosen and weighted. How a field is turned into coordinates:

=========  ==================================================================================================
linear     as it is: levels in dB and LUFS, shares, correlations
log        log2, because equal ratios sound equal: frequencies, durations
log1p      log2(1 + x), for quantities that may be 0 and have a long tail: rates, deviations in cents
share      square root, so that Euclidean distance is Hellinger's: pitch-class shares, share of energy
circle     a point on a circle, (cos, sin), because its two ends are neighbours: tempo (one turn an octave, so 70 and
           140 bpm coincide), key (the circle of fifths), tuning. Weighted by its strength where that is known.
direction  a vector over its length, so that Euclidean distance orders as cosine distance does: embeddings
mode       -1 or 1 (major or minor) times the key's strength
skip       says how long the track is, not how it sounds: left out of distances
=========  ==================================================================================================
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..constants import MIXTURE, PITCHED_STEMS, STEM_ROWS, STEMS
from ..fields import Field
from ..tables.schema import get_table

SEPARATOR = "__"
#: Families of table ``stems``, in column order.
SCALAR_FAMILIES = ("activity", "f0", "rhythm", "timbre", "loudness", "harmony")
EMBEDDING = "embedding"
FAMILIES = (*SCALAR_FAMILIES, EMBEDDING)
#: Family of columns that no table knows.
CUSTOM = "custom"

_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_KEYS = ("key", "key_2")
_NOT_HOW_IT_SOUNDS = {
    *("active_duration_s", "activity_start_s", "activity_end_s", "n_active_segments"),
    *("onset_count", "beat_count"),
}
_BEATS = (MIXTURE, "drums")
_TONAL = tuple(stem for stem in STEM_ROWS if stem != "drums")
#: Where the registry defines a field, if not on every row.
_DEFINED_ON: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"chords_changes_rate", (MIXTURE, "other")),
    (r"energy_share|loudness_relative_lu", STEMS),
    (r"f0_\w+|vibrato_\w+", PITCHED_STEMS),
    (r"tempo_\w+|beat_\w+|meter_\w+", _BEATS),
    (r"tuning_cents|chroma_\w+|hpcp_entropy|key|key_\w+", _TONAL),
)


@dataclass(frozen=True)
class Meaning:
    """How a field becomes coordinates.

    Attributes
    ----------
    kind : see the module's table.
    floor : smaller values count as this one (``log``).
    period : one turn (``circle``); of the logarithm if ``octaves``.
    strength : field whose value, limited to 0..1, weighs the point (``circle``, ``mode``).
    vector : fields of one vector share its name, and are scaled together.
    """

    kind: str = "linear"
    floor: float = 0.0
    period: float = 1.0
    octaves: bool = False
    strength: str = ""
    vector: str = ""


def meaning(field: str) -> Meaning:
    """How the matrix column ``field`` (without its stem) becomes coordinates; unknown ones are linear."""
    if field in _NOT_HOW_IT_SOUNDS:
        return Meaning("skip")
    if m := re.fullmatch(r"(key|key_2)_(fifths|minor)", field):
        circle = m[2] == "fifths"
        return Meaning("circle" if circle else "mode", period=12.0 if circle else 1.0, strength=f"{m[1]}_strength")
    if field in ("tempo_bpm", "tempo_2_bpm"):
        return Meaning("circle", octaves=True, strength="tempo_2_strength" if field == "tempo_2_bpm" else "")
    if field == "tuning_cents":
        return Meaning("circle", period=100.0)
    if re.fullmatch(r"chroma_\d\d_mean", field):
        return Meaning("share", vector="chroma")
    if re.fullmatch(r"embedding_\d+", field):
        return Meaning("direction", vector=EMBEDDING)
    if field == "energy_share":
        return Meaning("share")
    if field.startswith("spectral_flatness"):
        return Meaning("log", floor=1e-4)
    if field.endswith("_hz"):
        return Meaning("log", floor=1.0)
    if field.startswith("onset_interval") or field == "f0_note_duration_median_s":
        return Meaning("log", floor=0.01)
    if re.fullmatch(r"onset_rate|onset_strength_\w+|f0_note_rate|chords_changes_rate|spectral_flux\w*", field) or (
        re.search(r"_(cents|semitones)$", field)
    ):
        return Meaning("log1p")
    return Meaning()


def defined_on(field: str) -> tuple[str, ...]:
    """The stems on whose rows a field of table ``stems`` is defined; it is null (or constant) on the others."""
    return next((stems for pattern, stems in _DEFINED_ON if re.fullmatch(pattern, field)), STEM_ROWS)


def descriptors(families: tuple[str, ...] | None = None) -> tuple[Field, ...]:
    """The fields of table ``stems`` that a feature matrix is made from: numbers and keys."""
    families = SCALAR_FAMILIES if families is None else families
    numeric = re.compile(r"u?int\d+|float\d+")
    return tuple(
        f for f in get_table("stems").fields if f.family in families and (numeric.match(f.type) or f.name in _KEYS)
    )


def matrix_fields(field: Field) -> tuple[str, ...]:
    """The columns, without stem, that a field of table ``stems`` becomes: a key becomes two numbers."""
    return (f"{field.name}_fifths", f"{field.name}_minor") if field.name in _KEYS else (field.name,)


_FAMILY_OF = {name: f.family for f in descriptors() for name in matrix_fields(f)}


def split_column(column: object) -> tuple[str, str]:
    """``(stem, field)`` of a matrix column; the stem is empty when the column names none."""
    stem, separator, field = str(column).partition(SEPARATOR)
    return (stem, field) if separator and stem in STEM_ROWS else ("", str(column))


def family_of(field: str) -> str:
    """The family of a matrix column without its stem; :data:`CUSTOM` when no table knows it."""
    if field.startswith("embedding_") and field[len("embedding_") :].isdecimal():
        return EMBEDDING
    return _FAMILY_OF.get(field, CUSTOM)


def encode_key(key: str | None) -> tuple[float, float]:
    """``(fifths, minor)`` of a key such as ``G#:minor``: its place on the circle of fifths, 0 (C major, A minor) to 11
    (F major, D minor), and 1 for minor; NaN for none. Relative keys share a place.

    >>> encode_key("E:minor")
    (1.0, 1.0)
    """
    tonic, _, mode = (key or "").partition(":")
    if tonic not in _CLASSES or mode not in ("major", "minor"):
        return math.nan, math.nan
    minor = mode == "minor"
    return float((_CLASSES.index(tonic) + 3 * minor) * 7 % 12), float(minor)


def compatible_keys(key: str) -> tuple[str, ...]:
    """The keys that mix well with ``key`` after the rule of the Camelot wheel: itself, its relative, and its
    neighbours on the circle of fifths in the same mode. Empty for what is no key.

    >>> compatible_keys("C:major")
    ('C:major', 'F:major', 'G:major', 'A:minor')
    """
    fifths, minor = encode_key(key)
    if math.isnan(fifths):
        return ()
    by_place = {encode_key(f"{tonic}:{mode}"): f"{tonic}:{mode}" for tonic in _CLASSES for mode in ("major", "minor")}
    return tuple(
        by_place[p % 12, m] for p, m in ((fifths, minor), (fifths - 1, minor), (fifths + 1, minor), (fifths, 1 - minor))
    )
