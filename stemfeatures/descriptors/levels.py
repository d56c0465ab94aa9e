"""Which level of the pulses is the beat: what music does in a beat, however its bars are accented.

A pulse that the network hears may be the beat, its half or its double, or an eighth of a compound beat. The accents of
the best bar at each level speak for it, but songs at 50 and at 100 beats a minute have bars of much the same kind. What
tells them apart is how much happens in a beat: notes of the accompaniment, the voice and the bass, strokes of the
drums, changes of harmony (each as its logarithm and the square of that, so that there is a likeliest rate), and what
falls half way and a third of the way between two pulses. :mod:`stemfeatures.training.tempo` fits the weights to
generated songs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from ..constants import FRAME_RATE
from .accents import ACCENTS, LEAST_RISE, AccentStreams, harmony_change, summed_rises
from .fitted import stored_model

#: Points of a grid of half pulses that a beat has, by level: the pulses are the beats, every second one is, there are
#: beats between them, they are eighths of a compound beat, every second of these, or beats of three eighths.
GRID_POINTS = {"same": 2, "half": 4, "twice": 1, "eighths": 6, "quarters": 3, "thirds": 2}
COMPOUND = ("eighths", "quarters", "thirds")
#: Streams of accents whose events are counted.
RATES = {"notes": ("other", "vocals"), "bass": ("bass",), "strokes": ("kick", "snare")}
FEATURES = (
    "evidence", "metre", "tempo", "tempo_squared",
    *(f"{what}{power}" for what in (*RATES, "harmony") for power in ("", "_squared")),
    "is_half", "is_twice", "is_eighths", "is_quarters", "is_thirds",
    "thirds_between_thirds", "halves_between_same", "quarters_between_twice", "halves_between_twice",
)  # fmt: skip
#: Tempo from whose logarithm the others' are counted; a compound beat counts as one and a half.
CENTRE_BPM, COMPOUND_BEAT = 105.0, 1.5
#: A rise counts above this share of the large ones (97th percentile), and is the largest within 70 ms.
_RISE_SHARE, _RISE_REACH, _LARGE = 0.35, 3, 97
#: Seconds before and after a moment whose harmony is compared, the frames over which the change is smoothed, and the
#: least change that counts: so much, and so much of the large ones.
_SPAN_S, _SMOOTH, _LEAST_CHANGE, _CHANGE_SHARE = 1.0, 5, 0.08, 0.4
#: Fewer events a second than this tell nothing.
_LEAST_RATE = 0.02
#: Mean accents that are added before a ratio is taken.
_FLOOR = 0.3
WEIGHTS = "level_weights.json"


@dataclass(frozen=True)
class PulseContents:
    """What happens in and between pulses.

    Attributes
    ----------
    rates : dict[str, float]
        Events a second by the names of :data:`RATES` and ``harmony``.
    thirds, halves, quarters : float
        Logarithm of the accents a third and two thirds, half, and a quarter or three quarters of the way between two
        pulses, over those elsewhere between them.
    """

    rates: dict[str, float]
    thirds: float
    halves: float
    quarters: float


def pulse_contents(streams: AccentStreams, pulses_s: np.ndarray) -> PulseContents:
    """What happens in and between the pulses of a track.

    Parameters
    ----------
    streams : AccentStreams
        Of the track.
    pulses_s : np.ndarray
        (n,) seconds, two at least.
    """
    first, last = int(pulses_s[0] * FRAME_RATE), int(pulses_s[-1] * FRAME_RATE) + 1
    span_s = float(pulses_s[-1] - pulses_s[0])
    rates = {
        name: _count(streams.pulses[[ACCENTS.index(kind) for kind in kinds], first:last].sum(axis=0)) / span_s
        for name, kinds in RATES.items()
    }
    rates["harmony"] = _changes(streams.harmony, np.arange(first, last) / FRAME_RATE) / span_s
    quarter, third, half, two_thirds, three_quarters = _between(streams, pulses_s)
    elsewhere = (quarter + third + two_thirds + three_quarters) / 4
    return PulseContents(
        rates,
        thirds=_log_ratio(min(third, two_thirds), half),
        halves=_log_ratio(half, elsewhere),
        quarters=_log_ratio(max(quarter, three_quarters), (third + two_thirds) / 2),
    )


def _count(rise: np.ndarray) -> int:
    """Events of a stream: its large rises."""
    heard = rise > LEAST_RISE
    if not heard.any():
        return 0
    least = _RISE_SHARE * np.percentile(rise[heard], _LARGE)
    highest = rise >= maximum_filter1d(rise, 2 * _RISE_REACH + 1)
    return int((highest & (rise > least) & (rise > np.r_[0.0, rise[:-1]])).sum())


def _changes(harmony: np.ndarray, times_s: np.ndarray) -> int:
    """Changes of harmony that are the largest within a second."""
    change = uniform_filter1d(harmony_change(harmony, times_s, _SPAN_S), _SMOOTH, mode="constant")
    highest = change >= maximum_filter1d(change, 2 * int(_SPAN_S * FRAME_RATE) + 1)
    return int((highest & (change > max(_LEAST_CHANGE, _CHANGE_SHARE * np.percentile(change, 95)))).sum())


def _between(streams: AccentStreams, pulses_s: np.ndarray) -> list[float]:
    """Median accents a quarter, a third, half, two thirds and three quarters of the way from pulse to pulse."""
    busy = summed_rises(streams, 3)
    found = []
    for share in (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4):
        at = np.rint((pulses_s[:-1] + share * np.diff(pulses_s)) * FRAME_RATE).astype(int)
        found.append(float(np.median(busy[np.clip(at, 0, len(busy) - 1)])))
    return found


def _log_ratio(first: float, second: float) -> float:
    return float(np.log((first + _FLOOR) / (second + _FLOOR)))


def level_features(level: str, bpm: float, evidence: float, metre: float, contents: PulseContents) -> np.ndarray:
    """What speaks for a level.

    Parameters
    ----------
    level : str
        One of :data:`GRID_POINTS`.
    bpm : float
        Beats a minute at this level.
    evidence, metre : float
        Log likelihood of the accents at the best bar of the level, without the network's activations and with them.
    contents : PulseContents
        Of the pulses.

    Returns
    -------
    (n_features,) ndarray
        In the order of :data:`FEATURES`.
    """
    felt = bpm * (COMPOUND_BEAT if level in COMPOUND else 1.0)
    tempo = np.log2(felt / CENTRE_BPM)
    per_beat = [np.log2(rate * 60 / felt) if rate > _LEAST_RATE else 0.0 for rate in contents.rates.values()]
    return np.array([
        evidence, metre, tempo, tempo**2,
        *(value for rate in per_beat for value in (rate, rate**2)),
        *(float(level == name) for name in ("half", "twice", "eighths", "quarters", "thirds")),
        contents.thirds * (level == "thirds"),
        contents.halves * (level == "same"),
        contents.quarters * (level == "twice"),
        contents.halves * (level == "twice"),
    ])  # fmt: skip


@cache
def level_weights() -> np.ndarray:
    """(n_features,) weights that come with the package, in the order of :data:`FEATURES`."""
    return np.array(stored_model(WEIGHTS, FEATURES)["weights"])


def level_shares(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n_levels,) probability of each level, from (n_levels, n_features)."""
    score = features @ weights
    odds = np.exp(score - score.max())
    return np.asarray(odds / odds.sum())
