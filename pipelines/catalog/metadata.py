"""Metadata of a catalogue in types that the tables can hold: bool, int64, float64 or text.

Types are settled before any work begins, so that no value of a catalogue can fail a track when its row is written.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stemfeatures.errors import CatalogError

from .types import printable

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_INT64 = range(-(2**63), 2**63)
#: Types of numpy, and those of pandas with gaps, which are called alike in capitals.
_PLAIN = {
    "bool",
    "boolean",
    "float32",
    "float64",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
}


def settled(values: pd.Series, name: str, source: str) -> pd.Series:
    """A column as ``boolean``, ``Int64``, ``float64``, or ``object`` of str; missing and infinite values are null.

    Integers beyond int64 become text, with all of their digits. So do times (ISO 8601) and mixed types.

    Parameters
    ----------
    values : pandas.Series
        Of any type, nullable and Arrow-backed ones, too.
    name : str
        The column, for messages.
    source : str
        The catalogue, for messages.

    Returns
    -------
    pandas.Series
        As long as ``values``.

    Raises
    ------
    CatalogError
        Bytes that are not UTF-8, or lists and other nested values.
    """
    import pandas as pd

    if (numbers := _as_they_are(values, name, source)) is not None:
        return numbers
    cells = [_cell(value, name, source) for value in values.tolist()]
    kinds = {type(value) for value in cells if value is not None}
    if kinds == {bool}:
        return pd.Series(pd.array(cells, dtype="boolean"), index=values.index)
    if kinds == {int} and all(value is None or value in _INT64 for value in cells):
        return pd.Series(pd.array(cells, dtype="Int64"), index=values.index)
    if kinds and kinds <= {int, float} and float in kinds:
        numbers = pd.Series(
            [float("nan") if v is None else float(v) for v in cells], index=values.index, dtype="float64"
        )
        return _finite(numbers, name, source)
    return pd.Series([None if v is None else str(v) for v in cells], index=values.index, dtype=object)


def _as_they_are(values: pd.Series, name: str, source: str) -> pd.Series | None:
    """A column whose type says what all its values are, without a look at each; None for any other column.

    A manifest of descriptors has thousands of such columns.
    """
    import numpy as np
    import pandas as pd
    from pandas.api.types import infer_dtype, is_bool_dtype, is_integer_dtype, is_object_dtype

    of = values.dtype
    is_text = isinstance(of, pd.StringDtype) or (is_object_dtype(of) and infer_dtype(values, skipna=True) == "string")
    if (not is_text and str(of).lower() not in _PLAIN) or values.isna().all():
        return None
    if is_text:
        codes, texts = pd.factorize(values)  # each text once: it is looked at, and held
        shown = np.array([*(_cell(str(text), name, source) for text in texts), None], dtype=object)
        return pd.Series(shown[codes], index=values.index, dtype=object)
    if is_bool_dtype(of):
        return values.astype("boolean")
    if is_integer_dtype(of):
        return values.astype("Int64") if int(values.max()) in _INT64 else None
    return _finite(values.astype("float64"), name, source)


def _finite(numbers: pd.Series, name: str, source: str) -> pd.Series:
    """Numbers, null where they are infinite."""
    infinite = numbers.isin([float("inf"), float("-inf")])
    if n := int(infinite.sum()):
        log.warning("%s: column %r: %d infinite values are stored as null", source, name, n)
    return numbers.mask(infinite) if n else numbers


def _cell(value: Any, name: str, source: str) -> bool | int | float | str | None:
    """One value as a plain one."""
    import pandas as pd

    if type(value) is str:
        return value if value.isascii() and "://" not in value else printable(value)
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (list, tuple, dict, set)) or getattr(value, "ndim", False):
        raise CatalogError(
            f"column {name!r} holds {type(value).__name__}s; metadata must be numbers, text or booleans", source=source
        )
    if hasattr(value, "isoformat"):  # dates, times, timestamps
        return str(value.isoformat())
    if isinstance(value, Decimal):
        value = None if not value.is_finite() else float(value) if value % 1 else int(value)
    elif hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError as error:
            raise CatalogError(
                f"column {name!r} holds bytes that are not UTF-8; leave it out of the catalogue, or write it as text",
                source=source,
            ) from error
    if value is None or value != value:
        return None
    return value if isinstance(value, (bool, int, float)) else printable(str(value))
