"""Which tracks may be found: by tempo, key, and the columns of table ``tracks``.

Filters look at the tables as they are now, not at the index, so any column of the catalogue can be asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..constants import MIXTURE
from ..tables.layout import METADATA_PREFIX
from ..tables.reader import Features
from ..vectors.columns import compatible_keys
from .index import SimilarityIndex
from .neighbours import SimilarityError

_CONDITION = re.compile(r"\s*(\w+)\s*(!=|<=|>=|==|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_COMPARE = {
    "=": pc.equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def eligible_tracks(
    index: SimilarityIndex,
    features: Features,
    *,
    tempo_bpm: tuple[float, float] | None = None,
    key_of: str | None = None,
    where: Sequence[str] = (),
) -> np.ndarray:
    """(n_tracks,) bool: the tracks of the index that fulfil every condition. Null fulfils none.

    Parameters
    ----------
    tempo_bpm : tuple[float, float], optional
        Lowest and highest tempo of the mixture.
    key_of : str, optional
        Only tracks whose key mixes well with the key of this one
        (:func:`~stemfeatures.vectors.columns.compatible_keys`).
    where : sequence of str
        Conditions on columns of table ``tracks`` such as ``"meta_year>=1990"``, ``"genre=rock"`` (``meta_`` may be left
        out) or ``"artist~bowie"``: ``= != < <= > >=``, and ``~`` for text that contains another in any case.

    Raises
    ------
    SimilarityError
        No such column, a value that does not fit it, a malformed condition, or ``key_of`` has no key.
    """
    allowed = np.ones(len(index), bool)
    if tempo_bpm is not None:
        low, high = tempo_bpm
        allowed &= _mixtures(index, features, (pc.field("tempo_bpm") >= low) & (pc.field("tempo_bpm") <= high))
    if key_of is not None:
        mixture = (pc.field("stem") == MIXTURE) & (pc.field("track_id") == key_of)
        keys = features.to_arrow("stems", columns=["key"], filter=mixture)["key"].to_pylist()
        if not keys or not (fitting := compatible_keys(keys[0] or "")):
            raise SimilarityError(f"no key is known of track {key_of!r}", source=str(features.path))
        allowed &= _mixtures(index, features, pc.field("key").cast(pa.string()).isin(list(fitting)))
    for text in where:
        rows = features.to_arrow("tracks", columns=["track_id"], filter=condition(features, text))
        allowed &= _mask(index, rows["track_id"])
    return allowed


def condition(features: Features, text: str) -> pc.Expression:
    """A filter on table ``tracks`` from a condition such as ``meta_year>=1990``; see :func:`eligible_tracks`."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise SimilarityError(f"malformed condition {text!r}; write e.g. meta_year>=1990 or meta_artist~bowie")
    name, operator, value = match.groups()
    fields = {f.name: f for f in features.fields("tracks")}
    column = name if name in fields else METADATA_PREFIX + name
    if column not in fields:
        there = ", ".join(sorted(fields, key=lambda n: (not n.startswith(METADATA_PREFIX), n)))
        raise SimilarityError(f"table tracks has no column {name!r}; there are: {there}", source=str(features.path))
    of = features.schema("tracks").field(column).type
    text_like = pa.types.is_string(of)
    if operator == "~":
        if not text_like:
            raise SimilarityError(f"{column} is no text ({fields[column].type}), ~ cannot be asked of it")
        return pc.match_substring(pc.field(column).cast(pa.string()), value, ignore_case=True)
    try:
        wanted = pa.scalar(value) if text_like else pa.scalar(value).cast(of)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SimilarityError(f"{value!r} is no value for {column} ({fields[column].type})") from error
    field = pc.field(column).cast(pa.string()) if text_like else pc.field(column)
    return _COMPARE[operator](field, wanted)


def _mixtures(index: SimilarityIndex, features: Features, rows: pc.Expression) -> np.ndarray:
    found = features.to_arrow("stems", columns=["track_id"], filter=(pc.field("stem") == MIXTURE) & rows)
    return _mask(index, found["track_id"])


def _mask(index: SimilarityIndex, track_ids: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.is_in(pa.array(index.track_ids, pa.string()), value_set=track_ids.combine_chunks()))
