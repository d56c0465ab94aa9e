"""Best paths, beside all paths there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from stemfeatures.descriptors.paths import advance, advance_evenly, trace


def worth(path, scores, costs):
    moves = sum(costs[t, path[t], path[t + 1]] for t in range(len(path) - 1))
    return sum(score[state] for score, state in zip(scores, path)) - moves


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("evenly", [False, True])
def test_best_of_all_paths(seed: int, evenly: bool) -> None:
    rng = np.random.default_rng(seed)
    scores, costs = rng.normal(size=(6, 3)), rng.exponential(size=(5, 3, 3))
    scores[2, 1] = -np.inf
    if evenly:
        costs = costs[:, :1, :1] * (1 - np.eye(3))
    total, back = scores[0].copy(), np.zeros((6, 3), np.int8)
    for part in (slice(0, 2), slice(2, 5)):  # as blocks of a long track
        frames = slice(part.start + 1, part.stop + 1)
        if evenly:
            advance_evenly(total, scores[frames], costs[part, 0, 1].copy(), back[frames])
        else:
            advance(total, scores[frames], costs[part], back[frames])
    path = trace(back, int(total.argmax()))
    best = max(product(range(3), repeat=6), key=lambda states: worth(states, scores, costs))
    assert tuple(path) == best
    assert total.max() == pytest.approx(worth(best, scores, costs))


def test_equally_good_states() -> None:
    """It stays where it is, and of others comes from the first."""
    total, back = np.zeros(3), np.full((1, 3), 9, np.int8)
    advance_evenly(total, np.zeros((1, 3)), np.zeros(1), back)
    assert back.tolist() == [[0, 1, 2]]
    advance(total, np.zeros((1, 3)), np.zeros((1, 3, 3)), back)
    assert back.tolist() == [[0, 0, 0]]
