"""Best paths through states over time (Viterbi), a frame after the other in compiled code.

``total[s]`` is what the best path that ends in state ``s`` is worth; ``back[t, s]`` is the state before ``s`` at frame
``t`` on it.
"""

from __future__ import annotations

import numpy as np

from .._util.numba_cache import compiled_when_called


@compiled_when_called()
def advance(
    total: np.ndarray, scores: np.ndarray, costs: np.ndarray, back: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Go on over frames whose moves cost different amounts.

    Parameters
    ----------
    total : np.ndarray
        (n_states,) float64 before the frames; that after them in place.
    scores : np.ndarray
        (n, n_states) float64 of being in a state.
    costs : np.ndarray
        (n, n_states, n_states) float64 of moving from one (first axis) to another.
    back : np.ndarray
        (n, n_states) integers that are written; of equally good states before the first.
    """
    before = np.empty_like(total)
    for t in range(len(scores)):
        for state in range(len(total)):  # an assignment of arrays takes seconds to compile
            before[state] = total[state]
        for state in range(len(total)):
            best, origin = -np.inf, 0
            for other in range(len(total)):
                worth = before[other] - costs[t, other, state]
                if worth > best:
                    best, origin = worth, other
            total[state], back[t, state] = best + scores[t, state], origin


@compiled_when_called()
def advance_evenly(
    total: np.ndarray, scores: np.ndarray, costs: np.ndarray, back: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Go on over frames where all changes of state cost the same.

    Parameters
    ----------
    total, scores : np.ndarray
        As of :func:`advance`.
    costs : np.ndarray
        (n,) float64 of a change of state before each frame.
    back : np.ndarray
        As of :func:`advance`; a state that is as good as a change to it stays.
    """
    for t in range(len(scores)):
        origin = total.argmax()
        leap = total[origin] - costs[t]
        for state in range(len(total)):
            changes = leap > total[state]
            back[t, state] = origin if changes else state
            total[state] = (leap if changes else total[state]) + scores[t, state]


@compiled_when_called()
def trace(back: np.ndarray, last: int) -> np.ndarray:  # pragma: no cover - compiled
    """The states of a path.

    Parameters
    ----------
    back : np.ndarray
        (n, n_states) of :func:`advance`; what is in the first frame is not read.
    last : int
        State of the last frame.

    Returns
    -------
    np.ndarray
        (n,) int64.
    """
    path = np.empty(len(back), np.int64)
    state = last
    for t in range(len(back) - 1, -1, -1):
        path[t] = state
        state = back[t, state]
    return path
