"""How evenly the level of a row fluctuates over time: danceability.

Detrended fluctuation analysis of the level (Streich and Herrera, "Detrended fluctuation analysis of music signals:
danceability estimation and further semantic characterization", AES 118, 2005, with the slopes of Jennings et al.,
"Variance fluctuations in nonstationary time series", Physica A 336, 2004), as essentia's ``Danceability`` defines it.
Essentia takes the standard deviation of blocks of 10 ms; here it is the level of the analysis frames, every 23 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._util.numba_cache import compiled_when_called
from ..constants import FRAME_RATE
from ..fields import LOG1P, Field, status_field
from .activity import active_rows
from .inputs import DescriptorInputs
from .registry import Extractor, register
from .rhythm import BEAT_ROWS
from .values import OK, SILENT, TOO_SHORT, number

#: Lengths of the segments from which a trend is taken, in seconds, each so many times the one before.
SHORTEST_S, LONGEST_S, RATIO = 0.31, 8.8, 1.1
#: Segments begin this share of their length after one another.
STEP = 1 / 50
#: Slopes are taken over the logarithm of the length plus this many blocks of that length.
OFFSET, BLOCK_S = 3.0, 0.01

STEADY = "steady"
FIELDS = (
    status_field(
        "danceability_status",
        f"ok | silent | absent | too_short | {STEADY} | not_applicable",
        "danceability (8.8 s at least)",
        family="rhythm",
        since="1.1",
    ),
    Field(
        "danceability",
        "float32",
        "Inverse of the mean exponent of the fluctuation of the level over 0.31 to 8.8 s (essentia's Danceability); "
        "steady for a level that hardly changes.",
        range="> 0",
        scale=LOG1P,
        family="rhythm",
        since="1.1",
        rows=BEAT_ROWS,
    ),
)


def segment_lengths_s() -> np.ndarray:
    """(n,) lengths of segments, from 0.31 to 8.8 s."""
    count = int(np.floor(np.log(LONGEST_S / SHORTEST_S) / np.log(RATIO) + 1e-9)) + 1
    return np.asarray(SHORTEST_S * RATIO ** np.arange(count))


def fluctuation(level: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Fluctuation of a series about its linear trend, by length of segment.

    Parameters
    ----------
    level : (n_frames,) ndarray
        Any series; it is integrated without its mean.
    lengths : (n_lengths,) ndarray of int
        Frames of a segment, from 3 to fewer than ``n_frames``.

    Returns
    -------
    (n_lengths,) ndarray
        Root of the mean squared deviation of the integrated series from a straight line in each segment.
    """
    level = np.asarray(level, dtype=np.float64)
    profile = np.cumsum(level - level.mean())
    found = np.empty(len(lengths))
    for k, length in enumerate(lengths):
        hop = max(int(length * STEP), 1)
        count = -(-(len(profile) - int(length)) // hop)
        found[k] = np.sqrt(max(_deviation(profile, int(length), hop, count), 0.0) / (length * count))
    return found


@compiled_when_called(fastmath=True)
def _deviation(profile: np.ndarray, length: int, hop: int, count: int) -> float:  # pragma: no cover - compiled
    """Sum of the squared deviations of ``count`` segments, ``hop`` apart, each from its straight line.

    With ``t`` from the middle of a segment it is ``sum(p**2) - sum(p)**2 / length - sum(t p)**2 / sum(t**2)``.
    """
    middle, total = (length - 1) / 2, 0.0
    squares_of_t = length * (length * length - 1) / 12
    for segment in range(count):
        part = profile[segment * hop : segment * hop + length]
        level, sums, slope, squares = part[0], 0.0, 0.0, 0.0
        for i in range(length):
            p = part[i] - level
            sums += p
            slope += (i - middle) * p
            squares += p * p
        total += squares - sums * sums / length - slope * slope / squares_of_t
    return total


def danceability(level: np.ndarray, rate: float) -> float | None:
    """Danceability of a level over time.

    Parameters
    ----------
    level : (n_frames,) ndarray
        Root mean square of the frames, linear.
    rate : float
        Frames a second.

    Returns
    -------
    float or None
        About 0.5 to 3 in music, higher for a pulse; None for less than 8.8 s and where the level hardly changes.
    """
    seconds = segment_lengths_s()
    lengths = np.rint(seconds * rate).astype(int)
    if len(level) <= lengths[-1]:
        return None
    found = fluctuation(level, lengths)
    if found.min() <= 1e-9 * np.abs(level).max():
        return None
    exponents = np.diff(np.log(found)) / np.diff(np.log(lengths / rate / BLOCK_S + OFFSET))
    mean = float(np.maximum(exponents, 0.0).mean())
    return 1 / mean if mean > 0 else None


def _danceability(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    if not inputs.get(active_rows)[row].any():
        return {"danceability_status": SILENT}
    level = np.sqrt(inputs.frames.stems[row].energy.astype(np.float64))
    if len(level) <= round(segment_lengths_s()[-1] * FRAME_RATE):
        return {"danceability_status": TOO_SHORT}
    value = danceability(level, FRAME_RATE)
    return {"danceability_status": OK if value is not None else STEADY, "danceability": number(value)}


register(Extractor("danceability", 38, FIELDS, "danceability_status", _danceability))
