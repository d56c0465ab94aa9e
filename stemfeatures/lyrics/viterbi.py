"""The most likely path through a graph of states, in bounded memory.

Where the path came from is kept for a stretch of frames at a time; of long songs scores are kept at the start of each
stretch, and the stretch is computed again when the path is traced back (Grice, Hughey and Speck 1997). States that are
far behind the best one are left out, by groups of neighbours: the graph of a long text has few that are not. Where it
is known about where the path runs, a :class:`Corridor` leaves out the others from the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .._util.numba_cache import compiled

NEVER = np.float32(-1e30)
#: Bytes for the moves of one stretch of frames.
MEMORY = 64_000_000
#: Scores by which a state may be behind the best: five times what the dearest jump of a graph of lyrics costs.
BEAM = 1000.0
#: States that are left out together.
GROUP = 64
#: Fewest frames of a stretch.
_FEWEST = 100
_STAY, _STEP, _JUMP = 0, 1, 2


@dataclass(frozen=True)
class StateGraph:
    """States that emit one frame each, and the moves between them.

    Attributes
    ----------
    column : np.ndarray
        (n_states,) int32 column of the observations that a state emits.
    stay : np.ndarray
        (n_states,) float32 logarithm of how likely a state lasts another frame.
    step : np.ndarray
        (n_states,) float32 the same of the move from state ``s - 1``; ``NEVER`` where there is none.
    jump_target, jump_origin : np.ndarray
        (n_jumps,) int32 all other moves, by target; at most 250 into one state.
    jump : np.ndarray
        (n_jumps,) float32 logarithm of how likely each is.
    initial, final : np.ndarray
        (n_states,) float32 score of starting and of ending in a state.
    """

    column: np.ndarray
    stay: np.ndarray
    step: np.ndarray
    jump_target: np.ndarray
    jump_origin: np.ndarray
    jump: np.ndarray
    initial: np.ndarray
    final: np.ndarray


@dataclass(frozen=True)
class Emissions:
    """Scores of some frames: ``weight * table[row[t], c] + extra[t, kind[c]]`` of frame ``t`` and column ``c``.

    Neighbouring frames may share a row, and columns of a kind what is added to them.

    Attributes
    ----------
    table : np.ndarray
        (n_rows, n_columns) float32.
    row : np.ndarray
        (n_frames,) int32 row of each frame.
    kind : np.ndarray
        (n_columns,) int32 kind of each column.
    extra : np.ndarray
        (n_frames, n_kinds) float32.
    weight : float
        What the table counts for.
    """

    table: np.ndarray
    row: np.ndarray
    kind: np.ndarray
    extra: np.ndarray
    weight: float = 1.0

    def at(self, columns: np.ndarray) -> np.ndarray:
        """(n_frames,) scores of one column a frame."""
        frames = np.arange(len(self.row))
        found: np.ndarray = self.weight * self.table[self.row, columns] + self.extra[frames, self.kind[columns]]
        return found

    @staticmethod
    def of(rows: np.ndarray) -> Emissions:
        """Scores that stand in an array as they are."""
        n_frames, n_columns = rows.shape
        row, kind = np.arange(n_frames, dtype=np.int32), np.zeros(n_columns, np.int32)
        return Emissions(rows, row, kind, np.zeros((n_frames, 1), np.float32))


class FrameEmissions(Protocol):
    """Scores of the columns in all frames of a recording, of at most ``stretch`` frames at a time."""

    n_frames: int

    @property
    def stretch(self) -> int:
        """Frames whose scores need no more memory than there is."""
        ...

    def emissions(self, first: int, stop: int) -> Emissions:
        """Those of frames ``first`` to ``stop``."""
        ...


@dataclass(frozen=True)
class Corridor:
    """The states among which a path is looked for, by groups of :data:`GROUP` neighbours.

    Attributes
    ----------
    period : int
        Frames that have the same groups.
    groups : np.ndarray
        int32, those of each period one after the other, in order.
    first : np.ndarray
        (n_periods + 1,) int32 where the groups of each period begin.
    """

    period: int
    groups: np.ndarray
    first: np.ndarray

    @staticmethod
    def everywhere(n_states: int, n_frames: int) -> Corridor:
        """All states in all frames."""
        n = -(-n_states // GROUP)
        return Corridor(n_frames + 1, np.arange(n, dtype=np.int32), np.array([0, n], np.int32))

    @property
    def width(self) -> int:
        """Most states of a period."""
        return GROUP * int(np.diff(self.first).max(initial=0))

    def mask(self, n_states: int) -> np.ndarray:
        """(n_states,) bool, those of the first frame."""
        groups = np.zeros(-(-n_states // GROUP), bool)
        groups[self.groups[: self.first[1]]] = True
        return np.repeat(groups, GROUP)[:n_states]


class _Held:
    """An array as scores."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.n_frames = values, len(values)

    @property
    def stretch(self) -> int:
        return len(self.values)

    def emissions(self, first: int, stop: int) -> Emissions:
        return Emissions.of(self.values[first:stop])


def best_path(
    observations: np.ndarray | FrameEmissions,
    graph: StateGraph,
    *,
    memory: int = MEMORY,
    beam: float = BEAM,
    corridor: Corridor | None = None,
    groups: np.ndarray | None = None,
    bonus: Callable[[int, int], np.ndarray] | None = None,
) -> tuple[np.ndarray, float]:
    """The state of each frame on the path of the highest sum of scores.

    Parameters
    ----------
    observations : np.ndarray | FrameEmissions
        (n_frames, n_columns) float32 scores; those of a long song may be computed block by block, twice.
    graph : StateGraph
        What may follow what.
    memory : int
        Bytes that may hold moves; but at least what 100 frames need, and without a beam the root of all frames.
    beam : float
        Paths that fall behind the best by more than this are given up; infinity keeps all.
    corridor : Corridor | None
        States among which the path is; None takes all.
    groups : np.ndarray | None
        (n_states,) int32 group of a state, 0 to ``n_groups - 1``, for ``bonus``.
    bonus : Callable[[int, int], np.ndarray] | None
        Of frames ``first`` to ``stop``: (stop - first, n_groups) float32 that is added to scores, by group of state.

    Returns
    -------
    path : np.ndarray
        (n_frames,) int32; empty where no path reaches a final state.
    score : float
        Of the path; minus infinity where there is none.
    """
    scores: FrameEmissions = _Held(observations) if isinstance(observations, np.ndarray) else observations
    n_frames, n_states = scores.n_frames, len(graph.column)
    if n_frames == 0 or n_states == 0:
        return np.zeros(0, np.int32), -math.inf
    search = _Search(scores, graph, corridor or Corridor.everywhere(n_states, n_frames), beam, groups, bonus)
    # What is kept at the start of each stretch is sparse within a beam, and all states without.
    fewest = _FEWEST if math.isfinite(beam) else max(_FEWEST, math.isqrt(n_frames))
    width = search.corridor.width
    block = min(n_frames, max(fewest, min(memory // width, scores.stretch)))
    back = np.empty((block, width), np.uint8)
    saved = []
    current = search.initial()
    for first in range(1, n_frames, block):
        saved.append(_packed(current))
        current = search.advance(first, min(first + block, n_frames), current, back)
    ending = current + graph.final
    state = int(ending.argmax())
    score = float(ending[state])
    if score <= NEVER / 2:
        if corridor is None and not math.isfinite(beam):
            return np.zeros(0, np.int32), -math.inf
        del saved, back  # the next try takes as much
        wider = beam if corridor is not None else math.inf
        return best_path(observations, graph, memory=memory, beam=wider, groups=groups, bonus=bonus)
    path = np.empty(n_frames, np.int32)
    for k in range(len(saved) - 1, -1, -1):
        first, stop = k * block + 1, min((k + 1) * block + 1, n_frames)
        if k < len(saved) - 1:
            start = np.full(n_states, NEVER, np.float32)
            start[saved[k][0]] = saved[k][1]
            search.advance(first, stop, start, back)
        state = search.trace(first, stop, state, back, path[first:stop])
    path[0] = state
    return path, score


class _Search:
    """What all stretches of one search share."""

    def __init__(
        self,
        scores: FrameEmissions,
        graph: StateGraph,
        corridor: Corridor,
        beam: float,
        groups: np.ndarray | None,
        bonus: Callable[[int, int], np.ndarray] | None,
    ) -> None:
        n_states = len(graph.column)
        self.scores, self.graph, self.corridor, self.beam, self.bonus = scores, graph, corridor, beam, bonus
        self.group = np.zeros(n_states, np.int32) if groups is None else groups
        self.first_jump = np.searchsorted(graph.jump_target, np.arange(n_states)).astype(np.int32)
        leaving = np.argsort(graph.jump_origin // GROUP, kind="stable").astype(np.int32)
        bounds = np.arange(n_states // GROUP + 2)
        first_leaving = np.searchsorted(graph.jump_origin[leaving] // GROUP, bounds).astype(np.int32)
        target = graph.jump_target[leaving]
        move = (_JUMP + leaving - self.first_jump[target]).astype(np.uint8)
        self._jumps = (target, graph.jump_origin[leaving], graph.jump[leaving], move, first_leaving)

    def initial(self) -> np.ndarray:
        """Scores after the first frame."""
        graph, seen = self.graph, self.scores.emissions(0, 1)
        found = seen.weight * seen.table[seen.row[0], graph.column] + seen.extra[0, seen.kind[graph.column]]
        if self.bonus is not None:
            found = found + self.bonus(0, 1)[0, self.group]
        found = np.maximum(graph.initial + found, NEVER).astype(np.float32)
        return np.where(self.corridor.mask(len(found)), found, NEVER)

    def advance(self, first: int, stop: int, current: np.ndarray, back: np.ndarray) -> np.ndarray:
        """Scores after frames ``first`` to ``stop``, from those before them."""
        graph, corridor, seen = self.graph, self.corridor, self.scores.emissions(first, stop)
        added = np.zeros((0, 1), np.float32) if self.bonus is None else self.bonus(first, stop)
        found: np.ndarray = _advance(
            seen.table,
            seen.row,
            seen.extra,
            np.float32(seen.weight),
            graph.column,
            seen.kind[graph.column],
            graph.stay,
            graph.step,
            *self._jumps,
            self.group,
            added,
            corridor.groups,
            corridor.first,
            corridor.period,
            first,
            current,
            back,
            np.float32(self.beam),
        )
        return found

    def trace(self, first: int, stop: int, state: int, back: np.ndarray, path: np.ndarray) -> int:
        """Fill the path of frames ``first`` to ``stop``, which ends in a state; returns that of the frame before."""
        lists, jumps = self.corridor, (self.first_jump, self.graph.jump_origin)
        return int(_trace(back, stop - first, state, *jumps, lists.groups, lists.first, lists.period, first, path))


def _packed(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states that can be reached, and their scores."""
    reached = np.flatnonzero(scores > NEVER).astype(np.int32)
    return reached, scores[reached]


@compiled()
def _advance(
    table: np.ndarray,
    row: np.ndarray,
    extra: np.ndarray,
    weight: np.float32,
    column: np.ndarray,
    kind: np.ndarray,
    stay: np.ndarray,
    step: np.ndarray,
    jump_target: np.ndarray,
    jump_origin: np.ndarray,
    jump: np.ndarray,
    jump_move: np.ndarray,
    first_leaving: np.ndarray,
    group: np.ndarray,
    bonus: np.ndarray,
    members: np.ndarray,
    first_member: np.ndarray,
    period: int,
    start: int,
    current: np.ndarray,
    back: np.ndarray,
    beam: np.float32,
) -> np.ndarray:  # pragma: no cover - compiled
    """Scores after the frames from ``start`` on; ``back`` takes the move into each state: stay, step, or 2 + jump.

    The moves of a group stand where the group stands among those of its period. Jumps are ordered by the group of
    states that they leave; those of group ``g`` begin at ``first_leaving[g]``.
    """
    n_states = len(column)
    n_groups = (n_states + GROUP - 1) // GROUP
    before, after = current.copy(), np.full(n_states, NEVER, np.float32)
    top = np.full(n_groups, NEVER, np.float32)
    # Groups that hold anything but NEVER in `before` and in `after`; where the moves of a group stand, -1 nowhere.
    filled, stale = np.zeros(n_groups, np.bool_), np.zeros(n_groups, np.bool_)
    alive, kept, slot = np.zeros(n_groups, np.bool_), np.zeros(n_groups, np.bool_), np.full(n_groups, -1, np.int32)
    jumps = (jump_target, jump_origin, jump, first_leaving)
    taken, value = np.empty(len(jump), np.int32), np.empty(len(jump), np.float32)
    fold = np.empty(GROUP // 2, np.float32)
    now = (start - 1) // period
    old = members[first_member[now] : first_member[now + 1]]
    for k, g in enumerate(old):
        top[g] = _highest(before, g * GROUP, min((g + 1) * GROUP, n_states), fold)
        filled[g] = top[g] > NEVER
        slot[g] = k
    for t in range(len(row)):
        new = old
        moves_on = (start + t) // period != now
        if moves_on:
            now = (start + t) // period
            new = members[first_member[now] : first_member[now + 1]]
            slot[old] = -1
            for k, g in enumerate(new):
                slot[g] = k
        best = NEVER
        for g in old:
            best = max(best, top[g])
        least = max(best - beam, NEVER)
        for g in old:
            alive[g] = top[g] > NEVER and top[g] >= least
        for g in new:
            kept[g] = alive[g] or (g > 0 and alive[g - 1])
        n_taken = _jumps_taken(before, jumps, slot, (alive, kept), old, least, taken, value)
        for g in new:
            if kept[g]:
                _move(before, after, stay, step, back[t, slot[g] * GROUP :], g * GROUP, min((g + 1) * GROUP, n_states))
            elif stale[g]:
                after[g * GROUP : (g + 1) * GROUP] = NEVER
                stale[g] = False
        for k in range(n_taken):
            target = jump_target[taken[k]]
            if value[k] > after[target]:
                after[target] = value[k]
                back[t, slot[target // GROUP] * GROUP + target % GROUP] = jump_move[taken[k]]
        scores, added = table[row[t]], extra[t]
        for g in new:
            top[g] = NEVER
            if kept[g]:
                first, stop = g * GROUP, min((g + 1) * GROUP, n_states)
                _emit(after, scores, weight, added, column, kind, first, stop)
                for s in range(first, stop if len(bonus) else first):
                    after[s] = max(after[s] + bonus[t, group[s]], NEVER)
                top[g] = _highest(after, first, stop, fold)
                stale[g] = True
        if moves_on:
            _forget(before, after, top, (alive, kept, filled, stale), old, slot)
        old = new
        before, after = after, before
        filled, stale = stale, filled
    return before


@compiled()
def _jumps_taken(
    before: np.ndarray,
    jumps: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    slot: np.ndarray,
    flags: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    least: np.float32,
    taken: np.ndarray,
    value: np.ndarray,
) -> int:  # pragma: no cover - compiled
    """Fill in the jumps within the beam and their scores, and keep the groups that they reach; returns their number."""
    jump_target, jump_origin, jump, first_leaving = jumps
    alive, kept = flags
    n = 0
    for g in groups:
        if not alive[g]:  # a jump out of a group that is given up counts no more
            continue
        for k in range(first_leaving[g], first_leaving[g + 1]):
            reached = before[jump_origin[k]] + jump[k]
            if reached >= least:
                target = jump_target[k] // GROUP
                if slot[target] >= 0:
                    kept[target] = True
                    taken[n], value[n] = k, reached
                    n += 1
    return n


@compiled()
def _forget(
    before: np.ndarray,
    after: np.ndarray,
    top: np.ndarray,
    flags: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    groups: np.ndarray,
    slot: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Empty the groups that are in the corridor no more."""
    for g in groups:
        if slot[g] < 0:
            before[g * GROUP : (g + 1) * GROUP] = NEVER
            after[g * GROUP : (g + 1) * GROUP] = NEVER
            top[g] = NEVER
            for flag in flags:
                flag[g] = False


@compiled(fastmath=True)
def _highest(scores: np.ndarray, first: int, stop: int, fold: np.ndarray) -> np.float32:  # pragma: no cover - compiled
    """The best of neighbouring states; ``fold`` is room for half a group.

    One half is laid over the other again and again: a loop over all of them has to wait for each comparison.
    """
    part = scores[first:stop]
    half = len(part) // 2
    if len(part) < GROUP:
        best = NEVER
        for k in range(len(part)):
            best = max(best, part[k])
        return best
    for k in range(half):
        one, other = part[k], part[half + k]
        fold[k] = one if one > other else other
    while half > 1:
        half //= 2
        for k in range(half):
            one, other = fold[k], fold[half + k]
            fold[k] = one if one > other else other
    return fold[0]


@compiled(fastmath=True)
def _emit(
    after: np.ndarray,
    scores: np.ndarray,
    weight: np.float32,
    extra: np.ndarray,
    column: np.ndarray,
    kind: np.ndarray,
    first: int,
    stop: int,
) -> None:  # pragma: no cover - compiled
    """Add the scores of a frame to neighbouring states."""
    part, columns, kinds = after[first:stop], column[first:stop], kind[first:stop]
    for k in range(len(part)):
        # Unsigned: nothing is counted from the end.
        value = part[k] + (weight * scores[np.uint32(columns[k])] + extra[np.uint32(kinds[k])])
        part[k] = value if value > NEVER else NEVER


@compiled(fastmath=True)
def _move(
    before: np.ndarray, after: np.ndarray, stay: np.ndarray, step: np.ndarray, back: np.ndarray, first: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Stay, or step on, whichever is better, for neighbouring states; ``back`` begins with that of the first."""
    begin = first
    if first == 0:
        after[0] = before[0] + stay[0]
        back[0] = _STAY
        begin = 1
    # Slices from nowhere below zero: compilers vectorise what needs no look at the sign of its place.
    here, below, found = before[begin:stop], before[begin - 1 : stop - 1], after[begin:stop]
    stays, steps, moves = stay[begin:stop], step[begin:stop], back[begin - first :]
    for k in range(stop - begin):
        staying, stepping = here[k] + stays[k], below[k] + steps[k]
        onwards = stepping > staying
        found[k] = stepping if onwards else staying
        moves[k] = onwards


@compiled()
def _trace(
    back: np.ndarray,
    n_frames: int,
    state: int,
    first_jump: np.ndarray,
    jump_origin: np.ndarray,
    members: np.ndarray,
    first_member: np.ndarray,
    period: int,
    start: int,
    path: np.ndarray,
) -> int:  # pragma: no cover - compiled
    """Fill the path of a stretch from its last frame to its first; returns the state of the frame before."""
    for t in range(n_frames - 1, -1, -1):
        path[t] = state
        now = (start + t) // period
        groups = members[first_member[now] : first_member[now + 1]]
        move = back[t, np.searchsorted(groups, state // GROUP) * GROUP + state % GROUP]
        if move == _STEP:
            state -= 1
        elif move >= _JUMP:
            state = jump_origin[first_jump[state] + move - _JUMP]
    return state
