"""Words where most of them may be expected to begin, rather than where the single most likely path has them.

The path of :func:`.viterbi.best_path` is one of many that are nearly as likely and differ in where words begin. Forward
and backward probabilities of the states around it (Rabiner, Proceedings of the IEEE 77, 1989) say how likely a word
begins in each frame; of all paths the one is taken of which most words may be expected to begin close to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from .._util.numba_cache import compiled
from .graph import LyricsGraph
from .viterbi import FrameEmissions

#: Scores are divided by this before they count as logarithms of probabilities: neighbouring frames are not independent.
TEMPERATURE = 2.0
#: Other paths are looked for among the states that the path passes within so many frames, and so many around those.
REACH_FRAMES, REACH_STATES = 100, 60
#: A word begins where it should within so many frames.
NEAR_FRAMES = 5
#: What a frame in the right state counts for beside a word that begins where it should.
STATE_SHARE = 0.01
#: Frames times states that are held at a time, of 13 bytes each.
CELLS = 4_000_000
#: Smaller logarithms are moves that there are not.
_LEAST = -600.0
#: Fewest frames of a section that is cut in two.
FEWEST_FRAMES = 20 * REACH_FRAMES
_STEP, _JUMP = 1, 2
_NOWHERE = -1e30


def expected_path(
    path: np.ndarray,
    graph: LyricsGraph,
    scores: FrameEmissions,
    *,
    groups: np.ndarray | None = None,
    bonus: Callable[[int, int], np.ndarray] | None = None,
) -> np.ndarray:
    """The path of which most words may be expected to begin where they do, among those near another one.

    Parameters
    ----------
    path : np.ndarray
        (n_frames,) state of each frame, of :func:`.viterbi.best_path`.
    graph : LyricsGraph
        Its graph.
    scores : FrameEmissions
        How well frames fit its columns.
    groups, bonus : np.ndarray | None, Callable[[int, int], np.ndarray] | None
        As of :func:`.viterbi.best_path`.

    Returns
    -------
    np.ndarray
        (n_frames,) int32. Where a stanza is gone back to, and where probabilities are too small for numbers, it is the
        path that was given.
    """
    found = path.astype(np.int32)
    search = _Neighbourhood(graph, scores, np.zeros(len(graph.token), np.int32) if groups is None else groups, bonus)
    for first, stop in _sections(path, graph):
        search.improve(path, first, stop, found)
    return found


@dataclass(frozen=True)
class _Band:
    """The states of each frame of a section, ``low`` to ``high``; neither falls."""

    low: np.ndarray
    high: np.ndarray

    @property
    def width(self) -> int:
        return int((self.high - self.low).max())


class _Neighbourhood:
    """The moves of a graph as probabilities, and the words that its states begin."""

    def __init__(
        self,
        graph: LyricsGraph,
        scores: FrameEmissions,
        groups: np.ndarray,
        bonus: Callable[[int, int], np.ndarray] | None,
    ) -> None:
        states = graph.states
        self.scores, self.groups, self.bonus, self.column = scores, groups, bonus, states.column
        self.pause = graph.token < 0
        n = len(states.column)
        # A section never goes back: a word that is entered twice would be found twice.
        onwards = states.jump_target > states.jump_origin
        target, origin = states.jump_target[onwards], states.jump_origin[onwards]
        stay, step, jump = (_probabilities(moves) for moves in (states.stay, states.step, states.jump[onwards]))
        bounds = np.arange(n + 1)
        self.into = (stay, step, np.searchsorted(target, bounds), origin, jump)
        out = np.argsort(origin, kind="stable")
        self.out = (stay, step, np.searchsorted(origin[out], bounds), target[out], jump[out])
        edges = np.diff(graph.token, prepend=-2) != 0
        #: Which run of states of one word, or pause, a state is in, and where each begins.
        self.run, self.first_of_run = np.cumsum(edges) - 1, np.append(np.flatnonzero(edges), n)
        begins = (graph.token >= 0) & (np.diff(graph.phone, prepend=-2) != 0) & (step == 0)
        #: (n_states,) the run of a state that begins a way to say its word, -1 elsewhere.
        self.begins = np.where(begins, self.run, -1)

    def improve(self, path: np.ndarray, first: int, stop: int, found: np.ndarray) -> None:
        """Fill in the path of frames ``first`` to ``stop``; its ends stay as they are."""
        band, n = self._around(path[first:stop]), stop - first
        if n * band.width > CELLS and n > FEWEST_FRAMES:
            pauses = np.flatnonzero(self.pause[path[first + n // 4 : stop - n // 4]]) + n // 4
            middle = first + int(pauses[np.abs(pauses - n // 2).argmin()] if len(pauses) else n // 2)
            self.improve(path, first, middle, found)
            self.improve(path, middle, stop, found)
            return
        likely = self._likelihoods(band, first)
        begin, end = int(path[first]), int(path[stop - 1])
        right = np.zeros(likely.shape)
        if not _forward(likely, band.low, band.high, *self.into, begin, right):
            return
        runs = np.arange(self.run[band.low[0]], self.run[band.high[-1] - 1] + 1)
        # The frames whose band has a run follow each other.
        since = np.searchsorted(band.high, self.first_of_run[runs + 1])
        until = np.searchsorted(band.low, self.first_of_run[runs], side="right")
        place = np.cumsum(np.append(0, np.maximum(until - since, 0) + 2 * NEAR_FRAMES))
        offset = place[:-1] - since + NEAR_FRAMES
        slot = np.where(self.begins >= 0, self.begins - runs[0], -1)
        starts = np.zeros(place[-1])
        if not _backward(likely, band.low, band.high, *self.out, end, right, slot, offset, starts):
            return
        back = np.empty(likely.shape, np.uint8)
        near = np.convolve(starts, np.ones(2 * NEAR_FRAMES + 1), "same")
        _expect(right, band.low, band.high, *self.into, begin, slot, offset, near, STATE_SHARE, back)
        _trace(back, band.low, *self.into[2:4], end, found[first:stop])

    def _around(self, path: np.ndarray) -> _Band:
        """Whole words within reach of a path."""
        size = 2 * REACH_FRAMES + 1
        low = np.maximum(minimum_filter1d(path, size, mode="nearest") - REACH_STATES, 0)
        high = np.minimum(maximum_filter1d(path, size, mode="nearest") + REACH_STATES, len(self.column) - 1)
        return _Band(self.first_of_run[self.run[low]], self.first_of_run[self.run[high] + 1])

    def _likelihoods(self, band: _Band, first: int) -> np.ndarray:
        """(n_frames, width) float32 of the states of each frame, the best of a frame 1."""
        n = len(band.low)
        out = np.zeros((n, band.width), np.float32)
        size = min(n, self.scores.stretch)
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            seen = self.scores.emissions(first + part.start, first + part.stop)
            added = np.zeros((0, 1), np.float32)
            if self.bonus is not None:
                added = self.bonus(first + part.start, first + part.stop)
            emitted = (seen.table, seen.row, seen.extra, np.float32(seen.weight), self.column, seen.kind[self.column])
            scale = np.float32(1 / TEMPERATURE)
            _exponentials(*emitted, self.groups, added, band.low[part], band.high[part], scale, out[part])
        return out


def _probabilities(moves: np.ndarray) -> np.ndarray:
    """float64, 0 where there is no move."""
    found: np.ndarray = np.where(moves > _LEAST, np.exp(np.maximum(moves, _LEAST).astype(float) / TEMPERATURE), 0.0)
    return found


def _sections(path: np.ndarray, graph: LyricsGraph) -> Iterator[tuple[int, int]]:
    """Frames from and to which a path never goes back; those in which it waits to go back are in none."""
    first = 0
    for stop in (*(np.flatnonzero(np.diff(path) < 0) + 1).tolist(), len(path)):
        last = stop
        if stop < len(path) and graph.token[path[stop - 1]] < 0:
            while last > first and path[last - 1] == path[stop - 1]:
                last -= 1
        if last > first:
            yield first, last
        first = stop


@compiled(fastmath=True)
def _exponentials(
    table: np.ndarray,
    row: np.ndarray,
    extra: np.ndarray,
    weight: np.float32,
    column: np.ndarray,
    kind: np.ndarray,
    group: np.ndarray,
    bonus: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    scale: np.float32,
    out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Fill in the likelihoods of states from the scores of their columns, see :class:`.viterbi.Emissions`."""
    for t in range(len(row)):
        best = np.float32(_NOWHERE)
        for k in range(high[t] - low[t]):
            s = low[t] + k
            value = weight * table[row[t], column[s]] + extra[t, kind[s]]
            if len(bonus):
                value += bonus[t, group[s]]
            out[t, k] = value
            best = max(best, value)
        for k in range(high[t] - low[t]):
            out[t, k] = np.exp(scale * (out[t, k] - best))


@compiled()
def _forward(
    likely: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    stay: np.ndarray,
    step: np.ndarray,
    first_jump: np.ndarray,
    origin: np.ndarray,
    jump: np.ndarray,
    begin: int,
    ahead: np.ndarray,
) -> bool:  # pragma: no cover - compiled
    """Fill in probabilities of states given the frames up to theirs; whether there are any."""
    ahead[0, begin - low[0]] = 1.0
    for t in range(1, len(low)):
        below, above = low[t - 1], high[t - 1]
        total = 0.0
        for k in range(high[t] - low[t]):
            s = low[t] + k
            value = 0.0
            if below <= s < above:
                value += ahead[t - 1, s - below] * stay[s]
            if below < s <= above:
                value += ahead[t - 1, s - 1 - below] * step[s]
            for m in range(first_jump[s], first_jump[s + 1]):
                if below <= origin[m] < above:
                    value += ahead[t - 1, origin[m] - below] * jump[m]
            ahead[t, k] = value * likely[t, k]
            total += ahead[t, k]
        if not total > 0:
            return False
        for k in range(high[t] - low[t]):
            ahead[t, k] /= total
    return True


@compiled()
def _backward(
    likely: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    stay: np.ndarray,
    step: np.ndarray,
    first_jump: np.ndarray,
    target: np.ndarray,
    jump: np.ndarray,
    end: int,
    right: np.ndarray,
    slot: np.ndarray,
    offset: np.ndarray,
    starts: np.ndarray,
) -> bool:  # pragma: no cover - compiled
    """Make forward probabilities those given all frames, and add up in ``starts`` those of entering a word.

    ``slot`` is the word that a state begins; of frame ``t`` its place in ``starts`` is ``offset[slot] + t``.
    """
    n, width = right.shape
    now, before = np.zeros(width), np.zeros(width)
    now[end - low[n - 1]] = 1.0
    for k in range(width):
        right[n - 1, k] = now[k] if right[n - 1, k] > 0 else 0.0
    if right[n - 1].sum() == 0:
        return False
    for t in range(n - 1, 0, -1):
        below, above = low[t - 1], high[t - 1]
        total, most = 0.0, 0.0
        for k in range(above - below):
            s = below + k
            value = 0.0
            if low[t] <= s < high[t]:
                value += stay[s] * likely[t, s - low[t]] * now[s - low[t]]
            if low[t] <= s + 1 < high[t]:
                value += step[s + 1] * likely[t, s + 1 - low[t]] * now[s + 1 - low[t]]
            for m in range(first_jump[s], first_jump[s + 1]):
                if low[t] <= target[m] < high[t]:
                    value += jump[m] * likely[t, target[m] - low[t]] * now[target[m] - low[t]]
            before[k] = value
            total += right[t - 1, k] * value
            most = max(most, value)
        if not total > 0:
            return False
        for s in range(low[t], high[t]):
            if slot[s] >= 0 and right[t, s - low[t]] > 0:
                entered = right[t, s - low[t]]
                if below <= s < above:
                    stayed = right[t - 1, s - below] * stay[s] * likely[t, s - low[t]] * now[s - low[t]]
                    entered -= stayed / total
                starts[offset[slot[s]] + t] += entered
        for k in range(above - below):
            right[t - 1, k] *= before[k] / total
            before[k] /= most
        now, before = before, now
    return True


@compiled()
def _expect(
    right: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    stay: np.ndarray,
    step: np.ndarray,
    first_jump: np.ndarray,
    origin: np.ndarray,
    jump: np.ndarray,
    begin: int,
    slot: np.ndarray,
    offset: np.ndarray,
    near: np.ndarray,
    share: float,
    back: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Fill in the moves into each state of the path of most words and states that are expected to be right."""
    n, width = right.shape
    before, after = np.full(width, _NOWHERE), np.full(width, _NOWHERE)
    before[begin - low[0]] = 0.0
    for t in range(1, n):
        below, above = low[t - 1], high[t - 1]
        for k in range(high[t] - low[t]):
            s = low[t] + k
            reward = near[offset[slot[s]] + t] if slot[s] >= 0 else 0.0
            best, move = _NOWHERE, 0
            if below <= s < above and stay[s] > 0:
                best = before[s - below]
            if below < s <= above and step[s] > 0 and before[s - 1 - below] > best:
                best, move = before[s - 1 - below], _STEP
            for m in range(first_jump[s], first_jump[s + 1]):
                if below <= origin[m] < above and jump[m] > 0 and before[origin[m] - below] + reward > best:
                    best, move = before[origin[m] - below] + reward, _JUMP + m - first_jump[s]
            after[k] = best + share * right[t, k]
            back[t, k] = move
        before, after = after, before


@compiled()
def _trace(
    back: np.ndarray, low: np.ndarray, first_jump: np.ndarray, origin: np.ndarray, state: int, path: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Fill in the path that ends in a state."""
    for t in range(len(path) - 1, -1, -1):
        path[t] = state
        if t == 0:
            break
        move = back[t, state - low[t]]
        if move == _STEP:
            state -= 1
        elif move >= _JUMP:
            state = origin[first_jump[state] + move - _JUMP]
