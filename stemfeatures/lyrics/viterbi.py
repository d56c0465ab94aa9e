"""The most likely path through a graph of states, in bounded memory.

Where the path came from is kept for a stretch of frames at a time; of long songs scores are kept at the start of each
stretch, and the stretch is computed again when the path is traced back (Grice, Hughey and Speck 1997). States that are
far behind the best one are left out, by groups of neighbours: the graph of a long text has few that are not.
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
_GROUP = 64
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


class FrameRows(Protocol):
    """Scores that are computed when they are asked for."""

    n_frames: int

    def rows(self, first: int, stop: int) -> np.ndarray:
        """(stop - first, n_columns) float32."""
        ...


@dataclass(frozen=True)
class _Held:
    """An array as rows."""

    values: np.ndarray

    @property
    def n_frames(self) -> int:
        return len(self.values)

    def rows(self, first: int, stop: int) -> np.ndarray:
        return self.values[first:stop]


def best_path(
    observations: np.ndarray | FrameRows,
    graph: StateGraph,
    *,
    memory: int = MEMORY,
    beam: float = BEAM,
    groups: np.ndarray | None = None,
    bonus: Callable[[int, int], np.ndarray] | None = None,
) -> tuple[np.ndarray, float]:
    """The state of each frame on the path of the highest sum of scores.

    Parameters
    ----------
    observations : np.ndarray | FrameRows
        (n_frames, n_columns) float32 scores; those of a long song may be computed block by block, twice.
    graph : StateGraph
        What may follow what.
    memory : int
        Bytes that may hold moves; but at least what 100 frames need, and without a beam the root of all frames.
    beam : float
        Paths that fall behind the best by more than this are given up; infinity keeps all.
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
    scores = _Held(observations) if isinstance(observations, np.ndarray) else observations
    n_frames, n_states = scores.n_frames, len(graph.column)
    if n_frames == 0 or n_states == 0:
        return np.zeros(0, np.int32), -math.inf
    # What is kept at the start of each stretch is sparse within a beam, and all states without.
    fewest = _FEWEST if math.isfinite(beam) else max(_FEWEST, math.isqrt(n_frames))
    block = min(n_frames, max(fewest, memory // n_states))
    n_blocks = math.ceil(n_frames / block)
    saved = []
    back = np.empty((block, n_states), np.uint8)
    first_jump = np.searchsorted(graph.jump_target, np.arange(n_states)).astype(np.int32)
    leaving = np.argsort(graph.jump_origin // _GROUP, kind="stable").astype(np.int32)
    bounds = np.arange(n_states // _GROUP + 2)
    first_leaving = np.searchsorted(graph.jump_origin[leaving] // _GROUP, bounds).astype(np.int32)
    jumps = graph.jump_target, graph.jump_origin, graph.jump, first_jump, leaving, first_leaving
    moves = graph.column, graph.stay, graph.step, *jumps
    group = np.zeros(n_states, np.int32) if groups is None else groups

    def added(first: int, n: int) -> np.ndarray:
        return np.zeros((0, 1), np.float32) if bonus is None else bonus(first, first + n)

    current = np.maximum(graph.initial + scores.rows(0, 1)[0, graph.column], NEVER)
    if bonus is not None:
        current = np.maximum(current + added(0, 1)[0, group], NEVER)
    for k in range(n_blocks):
        saved.append(_packed(current))
        rows = scores.rows(k * block + 1, min((k + 1) * block + 1, n_frames))
        current = _advance(rows, *moves, group, added(k * block + 1, len(rows)), current, back, beam)
    ending = current + graph.final
    state = int(ending.argmax())
    score = float(ending[state])
    if score <= NEVER / 2 and math.isfinite(beam):
        del saved, back  # the next try takes as much
        return best_path(observations, graph, memory=memory, beam=math.inf, groups=groups, bonus=bonus)
    if score <= NEVER / 2:
        return np.zeros(0, np.int32), -math.inf
    path = np.empty(n_frames, np.int32)
    for k in range(n_blocks - 1, -1, -1):
        n_rows = min((k + 1) * block + 1, n_frames) - (k * block + 1)
        if k < n_blocks - 1:
            rows = scores.rows(k * block + 1, k * block + 1 + n_rows)
            start = np.full(n_states, NEVER, np.float32)
            start[saved[k][0]] = saved[k][1]
            _advance(rows, *moves, group, added(k * block + 1, n_rows), start, back, beam)
        state = _trace(back, n_rows, state, first_jump, graph.jump_origin, path[k * block + 1 :])
    path[0] = state
    return path, score


def _packed(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states that can be reached, and their scores."""
    reached = np.flatnonzero(scores > NEVER).astype(np.int32)
    return reached, scores[reached]


@compiled()
def _advance(
    observations: np.ndarray,
    column: np.ndarray,
    stay: np.ndarray,
    step: np.ndarray,
    jump_target: np.ndarray,
    jump_origin: np.ndarray,
    jump: np.ndarray,
    first_jump: np.ndarray,
    leaving: np.ndarray,
    first_leaving: np.ndarray,
    group: np.ndarray,
    bonus: np.ndarray,
    current: np.ndarray,
    back: np.ndarray,
    beam: float,
) -> np.ndarray:  # pragma: no cover - compiled
    """Scores after some frames; ``back`` takes the move into each state: stay, step, or a jump, counted from 2.

    ``leaving`` orders jumps by the group of states that they leave; those of group ``g`` begin at ``first_leaving[g]``.
    """
    n_states = len(column)
    n_groups = (n_states + _GROUP - 1) // _GROUP
    before, after = current.copy(), np.full(n_states, NEVER, np.float32)
    top = np.empty(n_groups, np.float32)
    for g in range(n_groups):
        top[g] = before[g * _GROUP : (g + 1) * _GROUP].max()
    # Groups that hold anything but NEVER in `before` and in `after`.
    filled, stale = top > NEVER, np.zeros(n_groups, np.bool_)
    alive, kept = np.empty(n_groups, np.bool_), np.empty(n_groups, np.bool_)
    for t in range(len(observations)):
        row = observations[t]
        least = max(top.max() - np.float32(beam), NEVER)
        for g in range(n_groups):
            alive[g] = top[g] > NEVER and top[g] >= least
        for g in range(n_groups):
            kept[g] = alive[g] or (g > 0 and alive[g - 1])
        for g in range(n_groups):
            # A jump out of a group that is given up counts no more.
            for k in range(first_leaving[g], first_leaving[g + 1] if alive[g] else first_leaving[g]):
                m = leaving[k]
                if before[jump_origin[m]] + jump[m] >= least:
                    kept[jump_target[m] // _GROUP] = True
        for g in range(n_groups):
            first, stop = g * _GROUP, min((g + 1) * _GROUP, n_states)
            if not kept[g]:
                if stale[g]:
                    after[first:stop] = NEVER
                    stale[g] = False
                continue
            _move(before, after, stay, step, back[t], first, stop)
        for g in range(n_groups):
            for k in range(first_leaving[g], first_leaving[g + 1] if alive[g] else first_leaving[g]):
                m = leaving[k]
                target = jump_target[m]
                value = before[jump_origin[m]] + jump[m]
                if kept[target // _GROUP] and value > after[target]:
                    after[target] = value
                    back[t, target] = _JUMP + m - first_jump[target]
        for g in range(n_groups):
            top[g] = NEVER
            if not kept[g]:
                continue
            best = NEVER
            for s in range(g * _GROUP, min((g + 1) * _GROUP, n_states)):
                value = after[s] + row[column[s]]
                if len(bonus):
                    value += bonus[t, group[s]]
                value = max(value, NEVER)
                after[s] = value
                best = max(best, value)
            top[g] = best
            stale[g] = True
        before, after = after, before
        filled, stale = stale, filled
    return before


@compiled()
def _move(
    before: np.ndarray, after: np.ndarray, stay: np.ndarray, step: np.ndarray, back: np.ndarray, first: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Stay, or step on, whichever is better, for neighbouring states."""
    if first == 0:
        after[0] = before[0] + stay[0]
        back[0] = _STAY
        first = 1
    for s in range(first, stop):
        staying, stepping = before[s] + stay[s], before[s - 1] + step[s]
        after[s] = max(staying, stepping)
        back[s] = stepping > staying


@compiled()
def _trace(
    back: np.ndarray, n_frames: int, state: int, first_jump: np.ndarray, jump_origin: np.ndarray, path: np.ndarray
) -> int:  # pragma: no cover - compiled
    """Fill the path of a stretch from its last frame to its first; returns the state of the frame before."""
    for t in range(n_frames - 1, -1, -1):
        path[t] = state
        move = back[t, state]
        if move == _STEP:
            state -= 1
        elif move >= _JUMP:
            state = jump_origin[first_jump[state] + move - _JUMP]
    return state
