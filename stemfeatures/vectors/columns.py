"""The columns of a feature matrix: which field each comes from, and how it becomes coordinates.

A column is called ``<stem>__<field>``; with the stem and the field's family it belongs to one **block**,
``(stem, family)``, which can be chosen and weighted. Its :class:`~stemfeatures.fields.Scale` is that of the field. A
key becomes two columns, ``<key>_fifths`` and ``<key>_minor``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..constants import STEM_ROWS
from ..descriptors.registry import descriptor_fields
from ..fields import LINEAR, Field, Scale

SEPARATOR = "__"
#: What says how far a separated stem can be trusted. It is no coordinate, the others of its stem are weighed by it.
TRUST = "separation_sdr_db"
EMBEDDING = "embedding"
#: Family of columns that no table knows.
CUSTOM = "custom"

_EMBEDDING_PREFIX = f"{EMBEDDING}_"
_EMBEDDING_SCALE = Scale("direction", vector=EMBEDDING)
_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class MatrixColumn:
    """A column of a feature matrix, without its stem.

    Attributes
    ----------
    name : str
        The field's, with ``_fifths`` or ``_minor`` for a key.
    field : Field
        What it comes from.
    scale : Scale
        How it becomes coordinates.
    """

    name: str
    field: Field
    scale: Scale


def field_columns(field: Field) -> tuple[MatrixColumn, ...]:
    """The columns that a field of table ``stems`` becomes.

    Parameters
    ----------
    field : Field
        A descriptor.

    Returns
    -------
    tuple of MatrixColumn
        One for a number, two for a key, none for what is no coordinate.
    """
    if field.scale.kind == "none":
        return ()
    if field.scale.kind == "key":
        fifths = dataclasses.replace(field.scale, kind="circular")
        minor = dataclasses.replace(field.scale, kind="sign")
        return (
            MatrixColumn(f"{field.name}_fifths", field, fifths),
            MatrixColumn(f"{field.name}_minor", field, minor),
        )
    return (MatrixColumn(field.name, field, field.scale),)


def matrix_columns() -> Mapping[str, MatrixColumn]:
    """Every column that descriptors become.

    Returns
    -------
    mapping
        By name, in the order of the data dictionary.
    """
    global _known
    fields = descriptor_fields()
    if _known[0] is not fields:
        _known = fields, {column.name: column for field in fields for column in field_columns(field)}
    return _known[1]


#: The fields that :func:`matrix_columns` saw last, and their columns.
_known: tuple[tuple[Field, ...], dict[str, MatrixColumn]] = ((), {})


def scalar_families() -> tuple[str, ...]:
    """Families of the descriptors of table ``stems``.

    Returns
    -------
    tuple of str
        In column order.

    Examples
    --------
    >>> scalar_families()[:3]
    ('activity', 'f0', 'rhythm')
    """
    return tuple(dict.fromkeys(column.field.family for column in matrix_columns().values()))


def all_families() -> tuple[str, ...]:
    """Families that a feature matrix can have: :func:`scalar_families` and ``embedding``.

    Returns
    -------
    tuple of str
        In column order.
    """
    return (*scalar_families(), EMBEDDING)


def matrix_fields(families: tuple[str, ...] | None = None) -> tuple[Field, ...]:
    """The fields of table ``stems`` that a feature matrix is made from: numbers and keys.

    Parameters
    ----------
    families : tuple of str, optional
        Only of these; all by default.

    Returns
    -------
    tuple of Field
        In column order.
    """
    fields = dict.fromkeys(column.field for column in matrix_columns().values())
    return tuple(f for f in fields if families is None or f.family in families)


def embedding_column(number: int) -> str:
    """Name, without stem, of one dimension of an embedding.

    Parameters
    ----------
    number : int
        From 0.

    Returns
    -------
    str
        The name.

    Examples
    --------
    >>> embedding_column(7)
    'embedding_007'
    """
    return f"{_EMBEDDING_PREFIX}{number:03d}"


def _is_embedding(name: str) -> bool:
    return name.startswith(_EMBEDDING_PREFIX) and name.removeprefix(_EMBEDDING_PREFIX).isdecimal()


def scale_of(name: str) -> Scale:
    """How a column becomes coordinates.

    Parameters
    ----------
    name : str
        Of the column, without its stem.

    Returns
    -------
    Scale
        That of its field; ``linear`` for a column that no table knows.
    """
    if _is_embedding(name):
        return _EMBEDDING_SCALE
    column = matrix_columns().get(name)
    return LINEAR if column is None else column.scale


def family_of(name: str) -> str:
    """The family of a column.

    Parameters
    ----------
    name : str
        Of the column, without its stem.

    Returns
    -------
    str
        That of its field; :data:`CUSTOM` for a column that no table knows.
    """
    if _is_embedding(name):
        return EMBEDDING
    column = matrix_columns().get(name)
    return CUSTOM if column is None else column.field.family


def trust_column(stem: str) -> str:
    """The column by which those of a stem are weighed.

    Parameters
    ----------
    stem : str
        Of the matrix; empty where columns name none.

    Returns
    -------
    str
        Its name.

    Examples
    --------
    >>> trust_column("bass")
    'bass__separation_sdr_db'
    """
    return f"{stem}{SEPARATOR}{TRUST}"


def split_column(column: object) -> tuple[str, str]:
    """Stem and field of a column.

    Parameters
    ----------
    column : object
        Name of the column, as a DataFrame has it.

    Returns
    -------
    stem : str
        Empty when the column names none.
    field : str
        The rest.

    Examples
    --------
    >>> split_column("vocals__f0_median_hz")
    ('vocals', 'f0_median_hz')
    """
    stem, separator, field = str(column).partition(SEPARATOR)
    return (stem, field) if separator and stem in STEM_ROWS else ("", str(column))


def fma_names(name: str) -> tuple[str, str, str]:
    """Feature, statistics and number of a column, in the manner of FMA.

    Parameters
    ----------
    name : str
        Of the column, without its stem.

    Returns
    -------
    feature : str
        What the statistic is taken of.
    statistics : str
        ``mean``, ``std`` ...; ``value`` for what is no statistic.
    number : str
        Place in a series of coefficients, two digits; ``"01"`` for what is in none.

    Examples
    --------
    >>> fma_names("mfcc_02_std")
    ('mfcc', 'std', '02')
    >>> fma_names("f0_p05_hz")
    ('f0', 'p05', '01')
    """
    if _is_embedding(name):
        return EMBEDDING, "value", name.removeprefix(_EMBEDDING_PREFIX)
    column = matrix_columns().get(name)
    if column is None or name != column.field.name:
        return name, "value", "01"
    return column.field.feature, column.field.statistic, f"{column.field.number or 1:02d}"


def encode_key(key: str | None) -> tuple[float, float]:
    """The two numbers that stand for a key; relative keys share a place on the circle of fifths.

    Parameters
    ----------
    key : str or None
        Such as ``G#:minor``.

    Returns
    -------
    fifths : float
        Place on the circle of fifths, 0 (C major, A minor) to 11 (F major, D minor); NaN for what is no key.
    minor : float
        1 for minor, 0 for major; NaN for what is no key.

    Examples
    --------
    >>> encode_key("E:minor")
    (1.0, 1.0)
    """
    tonic, _, mode = (key or "").partition(":")
    if tonic not in _CLASSES or mode not in ("major", "minor"):
        return math.nan, math.nan
    minor = mode == "minor"
    return float((_CLASSES.index(tonic) + 3 * minor) * 7 % 12), float(minor)


def compatible_keys(key: str) -> tuple[str, ...]:
    """The keys that mix well with a key after the rule of the Camelot wheel.

    Parameters
    ----------
    key : str
        Such as ``G#:minor``.

    Returns
    -------
    tuple of str
        The key itself, its neighbours on the circle of fifths in the same mode, and its relative; empty for what is no
        key.

    Examples
    --------
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
