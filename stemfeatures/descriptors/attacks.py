"""How fast sounds set in: the time from 20 % to 90 % of the peak of each onset, of the envelope of the waveform.

(Peeters, "A large set of audio features", CUIDADO 2004, log attack time; thresholds of essentia's ``LogAttackTime``.)
Sounds overlap in music: only onsets count whose level was at a fifth of the peak or less.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter1d

from ..constants import ANALYSIS_SAMPLE_RATE
from ..fields import Field, log, status_field
from ..frames.types import ENVELOPE_HOP
from .activity import active_rows
from .inputs import DescriptorInputs
from .onsets import row_onsets
from .registry import Extractor, register
from .values import OK, SILENT, mean, median, std

#: Shares of the peak between which the attack lasts.
FROM, UNTIL = 0.2, 0.9
#: Seconds before an onset in which the attack may begin, and after it within which it peaks; the next onset may be
#: about to begin this long before.
BEFORE_S, AFTER_S, NEXT_S = 0.08, 0.5, 0.03
#: The envelope holds its peaks so many values (17 ms), so that the period of a tone over 30 Hz makes no attack.
HOLD = 3
RATE = ANALYSIS_SAMPLE_RATE / ENVELOPE_HOP
#: Onsets at a time.
_CHUNK = 4096

NO_ATTACKS, UNKNOWN = "no_attacks", "unknown"

_field = partial(Field, type="float32", family="timbre", since="1.1")
FIELDS = (
    status_field(
        "attack_status",
        "ok | silent | absent | no_attacks | unknown",
        "attacks (no_attacks: no onset rises from a fifth of its peak; unknown: the frames hold no envelope)",
        family="timbre",
        since="1.1",
    ),
    _field(
        "attack_time_median_s",
        description="Median time from 20 % to 90 % of the peak of the onsets; 6 ms at least.",
        unit="s",
        range="> 0",
        scale=log(0.005),
        feature="attack_time",
        statistic="median",
    ),
    _field(
        "log_attack_time_mean",
        description="Mean decimal logarithm of the attack time in seconds.",
        range="-3..0",
        feature="log_attack_time",
        statistic="mean",
    ),
    _field(
        "log_attack_time_std",
        description="Standard deviation of the decimal logarithm of the attack time; null for a single attack.",
        range=">= 0",
        feature="log_attack_time",
        statistic="std",
    ),
)


def attack_times_of(envelope: np.ndarray, onsets_s: np.ndarray) -> np.ndarray:
    """Attack times of the onsets that rise from a fifth of their peak or less.

    Parameters
    ----------
    envelope : np.ndarray
        (n,) largest absolute value of consecutive blocks of 128 samples at 22,050 Hz.
    onsets_s : np.ndarray
        (n_onsets,) seconds, increasing.

    Returns
    -------
    np.ndarray
        (n_attacks,) seconds.

    Examples
    --------
    >>> ramp = np.concatenate([np.zeros(50), np.linspace(0, 1, 18), np.ones(50)])
    >>> attack_times_of(ramp, np.array([0.29])).round(3)
    array([0.069])
    """
    if not len(envelope) or not len(onsets_s):
        return np.zeros(0)
    held = maximum_filter1d(np.asarray(envelope, dtype=np.float64), HOLD, origin=HOLD // 2, mode="constant")
    until = np.minimum(np.append(onsets_s[1:] - NEXT_S, np.inf), onsets_s + AFTER_S)
    parts = [
        _attacks(held, onsets_s[at : at + _CHUNK] - BEFORE_S, until[at : at + _CHUNK])
        for at in range(0, len(onsets_s), _CHUNK)
    ]
    return np.concatenate(parts)


def _attacks(envelope: np.ndarray, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    first = np.rint(start_s * RATE).astype(int)
    place = first[:, None] + np.arange(round((BEFORE_S + AFTER_S) * RATE))
    inside = (place >= 0) & (place < len(envelope)) & (place < end_s[:, None] * RATE)
    # Before the signal begins there is silence, behind the window nothing that could be its peak.
    level = np.where(inside, envelope[np.clip(place, 0, len(envelope) - 1)], 0.0)
    steps = np.arange(level.shape[1])
    peak = level.max(axis=1)
    top = level.argmax(axis=1)
    low = (level <= FROM * peak[:, None]) & (steps < top[:, None])
    rises = low.any(axis=1) & (peak > 0)
    level, peak, low = level[rises], peak[rises], low[rises]
    begin = level.shape[1] - 1 - low[:, ::-1].argmax(axis=1)
    reached = ((level >= UNTIL * peak[:, None]) & (steps > begin[:, None])).argmax(axis=1)
    row = np.arange(len(level))

    def crossing(after: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Where the level passes a height between the step before and this one."""
        below, above = level[row, after - 1], level[row, after]
        return np.asarray(after - (above - height) / np.maximum(above - below, 1e-30))

    rise = crossing(reached, UNTIL * peak) - crossing(begin + 1, FROM * peak)
    return np.maximum(rise, 1.0) / RATE


def _describe(inputs: DescriptorInputs, row: str) -> dict[str, Any]:
    envelope = inputs.frames.stems[row].envelope
    if not inputs.get(active_rows)[row].any():
        return {"attack_status": SILENT}
    if envelope is None:
        return {"attack_status": UNKNOWN}
    times = attack_times_of(envelope, inputs.get(row_onsets)[row][0])
    if not len(times):
        return {"attack_status": NO_ATTACKS}
    return {
        "attack_status": OK,
        "attack_time_median_s": median(times),
        "log_attack_time_mean": mean(np.log10(times)),
        "log_attack_time_std": std(np.log10(times)),
    }


register(Extractor("attacks", 42, FIELDS, "attack_status", _describe))
