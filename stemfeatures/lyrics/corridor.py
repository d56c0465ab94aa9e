"""Where about in the lyrics a song is at each time: a coarse alignment, and the corridor around it for the fine one.

Frames of 40 ms and phones of one state, vowels of two, give a graph of a quarter of the states for a quarter of the
frames. Its path is seldom far from that of the fine graph, which is looked for within some seconds and phones of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .acoustic_model import ONSET, VOWEL_LEAVE, VOWEL_STAY, VOWELS, AcousticModel
from .graph import LyricsGraph
from .viterbi import GROUP, NEVER, Corridor, Emissions, FrameEmissions

#: Frames that are taken together.
FACTOR = 4
#: A path is looked for among the phones that the coarse one passes within so many frames, and so many around them.
REACH_FRAMES, REACH_PHONES = 500, 60
#: Frames that have the same corridor.
_PERIOD = 50


@dataclass(frozen=True)
class CoarsePhones:
    """The phones of an acoustic model in frames of 40 ms, as :func:`.graph.build_graph` asks for them."""

    model: AcousticModel

    def states(self, way: Sequence[str], k: int) -> tuple[tuple[int, float, float], ...]:
        """The middle senone of a phone, which lasts as long as three; a vowel begins with the start of a syllable."""
        fine = self.model.states(way, k)
        if way[k] in VOWELS:
            middle = fine[len(fine) // 2][0]
            return ((ONSET, float(NEVER), 0.0), (middle, FACTOR * math.log(VOWEL_STAY), 3 * math.log(VOWEL_LEAVE)))
        frames = sum(1 / (1 - math.exp(stay)) for _, stay, _ in fine)
        leave = min(FACTOR / frames, 0.99)
        return ((fine[len(fine) // 2][0], math.log(1 - leave), math.log(leave)),)

    def gap(self, way: Sequence[str], k: int) -> bool | None:
        """As of the model."""
        return self.model.gap(way, k)


class CoarseScores:
    """Scores of frames that are taken together: the sound of the first, the sum of what else counts, the best start.

    Parameters
    ----------
    scores : FrameEmissions
        Of frames of 10 ms, whose last kind of columns are starts of syllables.
    """

    def __init__(self, scores: FrameEmissions) -> None:
        self._scores = scores
        self.n_frames = -(-scores.n_frames // FACTOR)

    @property
    def stretch(self) -> int:
        """As many seconds as of the fine frames."""
        return -(-self._scores.stretch // FACTOR)

    def emissions(self, first: int, stop: int) -> Emissions:
        """Scores of coarse frames ``first`` to ``stop``."""
        fine = self._scores.emissions(FACTOR * first, min(FACTOR * stop, self._scores.n_frames))
        edges = np.arange(0, len(fine.row), FACTOR)
        extra = np.add.reduceat(fine.extra, edges, axis=0)
        extra[:, -1] = np.maximum.reduceat(fine.extra[:, -1], edges)
        return Emissions(fine.table, fine.row[::FACTOR], fine.kind, extra, FACTOR)


def corridor_around(path: np.ndarray, coarse: LyricsGraph, fine: LyricsGraph) -> Corridor:
    """The groups of states of a fine graph around a path of the coarse one of the same lyrics."""
    n_states = len(fine.phone)
    place, first_state = _places(coarse)[path], _first_states(fine)
    period, reach = _PERIOD // FACTOR * FACTOR, REACH_FRAMES
    groups, first = [], [0]
    for start in range(0, FACTOR * len(path), period):
        window = slice(max(start - reach, 0) // FACTOR, (start + period + reach) // FACTOR)
        near = np.unique(place[window])
        low = first_state[np.maximum(near - REACH_PHONES, 0)] // GROUP
        high = (first_state[np.minimum(near + REACH_PHONES + 1, len(first_state) - 1)] - 1) // GROUP
        inside = np.zeros(-(-n_states // GROUP) + 1, np.int32)
        np.add.at(inside, low, 1)
        np.add.at(inside, high + 1, -1)
        groups.append(np.flatnonzero(np.cumsum(inside[:-1]) > 0).astype(np.int32))
        first.append(first[-1] + len(groups[-1]))
    return Corridor(period, np.concatenate(groups), np.array(first, np.int32))


def spread(path: np.ndarray, coarse: LyricsGraph, fine: LyricsGraph) -> np.ndarray:
    """(n_coarse_frames,) states of a fine graph along a path of the coarse one: those of a phone share its time."""
    place, first_state = _places(coarse)[path], _first_states(fine)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    lengths = np.diff(starts, append=len(path))
    done = (np.arange(len(path)) - np.repeat(starts, lengths) + 0.5) / np.repeat(lengths, lengths)
    n_states = first_state[place + 1] - first_state[place]
    found: np.ndarray = first_state[place] + (done * n_states).astype(np.int64)
    return found


def _places(graph: LyricsGraph) -> np.ndarray:
    """(n_states,) place of each state among the phones and pauses of the lyrics."""
    return np.cumsum(np.diff(graph.phone, prepend=graph.phone[0]) != 0)


def _first_states(graph: LyricsGraph) -> np.ndarray:
    """(n_places + 1,) first state of each place, and the number of states."""
    place = _places(graph)
    return np.append(np.flatnonzero(np.diff(place, prepend=-1)), len(place))
