"""The one description of a column: from these come the Arrow schemas, the data dictionary and the feature vectors."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NUMBER = r"-?\d+(?:\.\d+)?"
_BETWEEN = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")
_ABOVE = re.compile(rf">=? ({_NUMBER})")


@dataclass(frozen=True)
class Scale:
    """How a field becomes coordinates in which Euclidean distances mean something.

    ============  ==================================================================================================
    linear        as it is: levels in dB and LUFS, shares, correlations
    log           log2, because equal ratios sound equal: frequencies, durations
    log1p         log2(1 + x), for quantities that may be 0 and have a long tail: rates, deviations in cents
    sqrt          square root, so that Euclidean distance is Hellinger's: pitch-class shares, share of energy
    circular      a point on a circle, (cos, sin), because its two ends are neighbours: tempo (one turn an octave, so 70
                  and 140 bpm coincide), tuning. Weighted by its strength where that is known
    key           a key such as ``G#:minor`` becomes two columns of a feature matrix: its place on the circle of fifths,
                  and whether it is minor (-1 or 1 times the key's strength)
    direction     a vector over its length, so that Euclidean distance orders as cosine distance does: embeddings
    none          not part of a feature matrix: names, states, keys of tables
    duration      in the matrix, but left out of distances: says how long the track is, not how it sounds
    ============  ==================================================================================================

    Attributes
    ----------
    kind : str
        One of the table above, or ``sign`` (-1 for 0, 1 for 1: the second column of a key).
    floor : float
        Smaller values count as this one (``log``).
    period : float
        One turn of the circle (``circular``); of the logarithm to base 2 if ``octaves``.
    octaves : bool
        Whether the circle is one of octaves (``circular``).
    strength : str
        Field whose value, limited to 0..1, weighs the point (``circular``, ``key``, ``sign``); empty for none.
    vector : str
        Fields of one vector share this name, and are centred and scaled together; empty for a scalar.
    """

    kind: str = "linear"
    floor: float = 0.0
    period: float = 1.0
    octaves: bool = False
    strength: str = ""
    vector: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"unknown scale {self.kind!r}; there are: {', '.join(_KINDS)}")


_KINDS = ("linear", "log", "log1p", "sqrt", "circular", "key", "sign", "direction", "duration", "none")

LINEAR = Scale()
LOG1P = Scale("log1p")
SQRT = Scale("sqrt")
DURATION = Scale("duration")
NOT_A_COORDINATE = Scale("none")


def log(floor: float) -> Scale:
    """Logarithmic scale on which values below ``floor`` count as ``floor``.

    Parameters
    ----------
    floor : float
        Above 0, in the unit of the field.

    Returns
    -------
    Scale
        Of kind ``log``.
    """
    return Scale("log", floor=floor)


@dataclass(frozen=True)
class Field:
    """A column of a table.

    Attributes
    ----------
    name : str
        Flat snake case, unit last (``f0_median_hz``).
    type : str
        ``string, bool, uint8, int8, int16, int32, int64, float32, float64, timestamp``, ``list<T>`` or
        ``fixed_list<T, N>`` of one of them, or ``category`` (a string of few values; pandas gets a ``Categorical``).
    description : str
        One sentence; says how the value is computed where the name alone does not.
    unit : str
        ``Hz, s, LUFS, LU, dBTP, dB, bpm, cents, 1/s`` or ``""`` for a pure number.
    range : str
        Valid values: ``"0..1"`` (both included), ``">= 0"``, ``"> 0"``, the values of a category as
        ``"ok | silent"``, or ``""`` for any.
    nullable : bool
        Whether null may occur; null always means "could not be measured".
    since : str
        Schema version that introduced it.
    family : str
        Group used to choose columns (``key, provenance, activity, f0, rhythm, timbre, loudness, harmony ...``).
    rows : tuple of str
        Rows of table ``stems`` on which the field is defined; it is null on the others. Empty: on every row.
    scale : Scale
        How it becomes coordinates of a feature vector: ``linear`` by default for numbers, ``none`` for all else.
    feature : str
        What a statistic is taken of, or a series of coefficients is called (``mfcc``); the name by default.
    statistic : str
        ``mean, std, median, min, max, p05, range ...`` of ``feature``; ``value`` for what is no statistic.
    number : int
        Place in a series of coefficients, from 1; 0 for what is in none.

    Raises
    ------
    ValueError
        For a range that is not written in one of these forms.

    Examples
    --------
    >>> Field("f0_median_hz", "float32", "Median F0.", "Hz", "24..2100").bounds
    (24.0, 2100.0)
    """

    name: str
    type: str
    description: str
    unit: str = ""
    range: str = ""
    nullable: bool = True
    since: str = "1.0"
    family: str = ""
    rows: tuple[str, ...] = ()
    scale: Scale = LINEAR
    feature: str = ""
    statistic: str = "value"
    number: int = 0

    def __post_init__(self) -> None:
        set_once = object.__setattr__
        if self.scale == LINEAR and not self.is_number:
            set_once(self, "scale", NOT_A_COORDINATE)
        if not self.feature:
            set_once(self, "feature", self.name)
        if self.range and not self.values and not (_BETWEEN.fullmatch(self.range) or _ABOVE.fullmatch(self.range)):
            raise ValueError(f"field {self.name!r}: range {self.range!r} is none of 'a..b', '>= a', '> a', 'x | y'")

    @property
    def is_number(self) -> bool:
        """Whether the column holds one number a row."""
        return self.type.removeprefix("u").startswith(("int", "float"))

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest valid value of a number; infinite where there is none."""
        if between := _BETWEEN.fullmatch(self.range):
            return float(between[1]), float(between[2])
        above = _ABOVE.fullmatch(self.range)
        return (float(above[1]) if above else -math.inf), math.inf

    @property
    def values(self) -> tuple[str, ...]:
        """Valid values of a category; empty where any string is valid."""
        return tuple(value.strip() for value in self.range.split("|")) if "|" in self.range else ()

    def holds_for(self, row: str) -> bool:
        """Whether the field is defined on a row of table ``stems``.

        Parameters
        ----------
        row : str
            One of ``constants.STEM_ROWS``.

        Returns
        -------
        bool
            False where it is null by definition.
        """
        return not self.rows or row in self.rows

    def to_json(self) -> dict[str, Any]:
        """All attributes as values that JSON has.

        Returns
        -------
        dict
            For :meth:`from_json`.
        """
        return dataclasses.asdict(self) | {"rows": list(self.rows)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Field:
        """The field that :meth:`to_json` wrote, in this or an earlier version.

        Parameters
        ----------
        content : mapping
            Attributes by name; unknown ones are ignored.

        Returns
        -------
        Field
            With defaults for attributes that ``content`` lacks.

        Raises
        ------
        KeyError, TypeError, ValueError
            When it is no description of a field.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        attributes = {name: value for name, value in content.items() if name in known}
        if "scale" in attributes:
            attributes["scale"] = Scale(**attributes["scale"])
        return cls(**attributes | {"rows": tuple(attributes.get("rows", ()))})


def status_field(name: str, values: str, measured: str, *, family: str, since: str = "1.0") -> Field:
    """The column that says whether a group of descriptors could be measured.

    Parameters
    ----------
    name : str
        Of the column, ending in ``_status``.
    values : str
        Its values, ``"ok | silent | ..."``.
    measured : str
        What could be measured, as the end of a sentence.
    family : str
        Family of the descriptors.
    since : str
        Schema version that introduced it.

    Returns
    -------
    Field
        A category that is never null; of a later schema version null in rows that were written before.
    """
    description = f"Whether {measured} could be measured, or why not."
    return Field(name, "category", description, range=values, nullable=since != "1.0", since=since, family=family)
