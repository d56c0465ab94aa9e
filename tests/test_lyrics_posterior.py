"""Words where they may be expected to begin, against all paths of small graphs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from stemfeatures.lyrics import posterior
from stemfeatures.lyrics.graph import LyricsGraph
from stemfeatures.lyrics.posterior import NEAR_FRAMES, STATE_SHARE, TEMPERATURE, expected_path
from stemfeatures.lyrics.viterbi import NEVER, Emissions, StateGraph, best_path


class _Scores:
    """An array of scores, handed out a few frames at a time."""

    def __init__(self, values: np.ndarray, stretch: int) -> None:
        self.values, self.n_frames, self.stretch = values.astype(np.float32), len(values), stretch

    def emissions(self, first: int, stop: int) -> Emissions:
        return Emissions.of(self.values[first:stop])


def _words(n: int, *, skip: float = 4.0) -> LyricsGraph:
    """A pause, then ``n`` words of two states, each with a pause behind it that may be left out; words may be, too."""
    column, stay, step, token, phone = [0], [-0.1], [NEVER], [-1], [-1]
    jumps: list[tuple[int, int, float]] = []
    pause, end = 0, -1
    for k in range(n):
        first = len(column)
        jumps.append((first, pause, -0.7))
        if end >= 0:
            jumps.append((first, end, -1.0))
        for part in range(2):
            column.append(2 * k + part + 1)
            stay.append(-0.5)
            step.append(NEVER if part == 0 else -0.9)
            token.append(k)
            phone.append(2 * k + part)
        end = len(column) - 1
        column.append(0)
        stay.append(-0.1)
        step.append(NEVER)
        token.append(-1)
        phone.append(-1)
        jumps += [(len(column) - 1, end, -1.2), (len(column) - 1, pause, -skip)]
        pause = len(column) - 1
    jumps.sort()
    target, origin, score = zip(*jumps)
    initial, final = np.full(len(column), NEVER, np.float32), np.full(len(column), NEVER, np.float32)
    initial[0] = final[-1] = 0
    states = StateGraph(
        np.array(column, np.int32),
        np.array(stay, np.float32),
        np.array(step, np.float32),
        np.array(target, np.int32),
        np.array(origin, np.int32),
        np.array(score, np.float32),
        initial,
        final,
    )
    return LyricsGraph(states, np.arange(2 * n), np.array(token), np.array(phone), tuple("ab" * n))


def _moves(graph: LyricsGraph) -> np.ndarray:
    """(n_states, n_states) logarithm of moving from one to another."""
    states = graph.states
    n = len(states.column)
    moves = np.full((n, n), -np.inf)
    moves[np.arange(n), np.arange(n)] = states.stay
    steps = np.flatnonzero(states.step > NEVER)
    moves[steps - 1, steps] = states.step[steps]
    moves[states.jump_origin, states.jump_target] = states.jump
    return moves


def _best_of_all(graph: LyricsGraph, values: np.ndarray, ends: tuple[int, int]) -> tuple[np.ndarray, float]:
    """By going through all paths: the one whose words and states are expected to be right, and what is expected."""
    moves, n_frames = _moves(graph), len(values)
    paths = [(ends[0],)]
    for _ in range(n_frames - 1):
        paths = [(*path, s) for path in paths for s in np.flatnonzero(moves[path[-1]] > -np.inf)]
    every = np.array([path for path in paths if path[-1] == ends[1]])
    score = values[np.arange(n_frames), graph.states.column[every]].sum(axis=1)
    score = score + moves[every[:, :-1], every[:, 1:]].sum(axis=1)
    likely = np.exp((score - score.max()) / TEMPERATURE)
    likely /= likely.sum()
    first = [int(np.flatnonzero(graph.token == k)[0]) for k in range(graph.token.max() + 1)]
    entered = np.zeros((len(every), len(first), n_frames), bool)
    for k, state in enumerate(first):
        entered[:, k, 1:] = (every[:, 1:] == state) & (every[:, :-1] != state)
    starts = np.einsum("p,pkt->kt", likely, entered)
    right = np.stack([((every == s) * likely[:, None]).sum(axis=0) for s in range(len(graph.token))], axis=1)
    near = np.stack([np.convolve(row, np.ones(2 * NEAR_FRAMES + 1))[NEAR_FRAMES:-NEAR_FRAMES] for row in starts])
    expected = np.einsum("pkt,kt->p", entered, near) + STATE_SHARE * right[np.arange(n_frames), every].sum(axis=1)
    best = int(expected.argmax())
    return every[best], float(expected[best])


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_best_of_all_paths(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posterior, "NEAR_FRAMES", 1)
    monkeypatch.setitem(globals(), "NEAR_FRAMES", 1)
    rng = np.random.default_rng(seed)
    graph = _words(2)
    values = 3.0 * rng.standard_normal((9, 5))
    path, _ = best_path(values.astype(np.float32), graph.states)
    expected, _ = _best_of_all(graph, values, (int(path[0]), int(path[-1])))
    found = expected_path(path, graph, _Scores(values, 4))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(path, best_path(values.astype(np.float32), graph.states)[0])  # stays as it is


def test_many_likely_starts_outweigh_the_likeliest() -> None:
    """A word that begins in one of five neighbouring frames, or a little more likely in one far from them."""
    graph = _words(1)
    values = np.zeros((80, 3))
    values[:, 1:] = -30.0
    values[15, 1] = 3.0
    values[16, 2] = 0.0
    for frame in range(50, 55):
        values[frame, 1:] = 0.0
    values[55, 2] = 0.0
    scores = _Scores(values, 80)
    path, _ = best_path(scores, graph.states)
    assert np.flatnonzero(graph.token[path] == 0)[0] == 15
    found = expected_path(path, graph, scores)
    assert 49 <= np.flatnonzero(graph.token[found] == 0)[0] <= 54


def _song(n_words: int) -> tuple[LyricsGraph, np.ndarray]:
    rng = np.random.default_rng(5)
    n_frames = 60 * n_words
    values = rng.normal(-4.0, 1.0, (n_frames, 2 * n_words + 1))
    values[:, 0] = -1.0
    for k in range(n_words):
        for part in range(2):
            begin = 60 * k + 20 + 10 * part
            values[begin : begin + 10, 2 * k + part + 1] = rng.normal(1.0, 2.0, 10)
    return _words(n_words, skip=80.0), values


def test_sections_that_end_in_pauses_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, values = _song(80)
    scores = _Scores(values, 500)
    path, _ = best_path(scores, graph.states)
    whole = expected_path(path, graph, scores)
    monkeypatch.setattr(posterior, "CELLS", 50_000)
    np.testing.assert_array_equal(expected_path(path, graph, scores), whole)
    assert (whole != path).any()


def test_a_path_that_goes_back_does_so_at_the_same_time() -> None:
    """Two words that are sung twice: the way back waits in a pause at the end."""
    graph, values = _song(2)
    states = graph.states
    n = len(states.column)
    again = StateGraph(
        np.append(states.column, 0).astype(np.int32),
        np.append(states.stay, -0.1).astype(np.float32),
        np.append(states.step, NEVER).astype(np.float32),
        np.array([0, *states.jump_target, n], np.int32),
        np.array([n, *states.jump_origin, n - 1], np.int32),
        np.array([0.0, *states.jump, -20.0], np.float32),
        np.append(states.initial, NEVER).astype(np.float32),
        np.append(states.final, NEVER).astype(np.float32),
    )
    token, phone = np.append(graph.token, -1), np.append(graph.phone, -1)
    graph = LyricsGraph(again, graph.senones, token, phone, graph.phones)
    scores = _Scores(np.concatenate([values, values]), 100)
    path, _ = best_path(scores, again)
    found = expected_path(path, graph, scores)
    assert [int(s) for s in path[np.flatnonzero(np.diff(path) < 0)]] == [n]
    np.testing.assert_array_equal(np.flatnonzero(found == n), np.flatnonzero(path == n))
    for word, begin in product((0, 1), (0, 120)):
        start = begin + np.flatnonzero(graph.token[found[begin : begin + 120]] == word)[0]
        assert abs(start - begin - 60 * word - 20) <= 2


def test_a_bonus_keeps_a_word_within_its_time() -> None:
    graph, _ = _song(1)
    values = np.full((100, 3), -3.0)
    values[:, 0] = -1.0
    values[20:24, 1:] = values[70:74, 1:] = 2.0
    scores = _Scores(values, 100)
    groups = np.where(graph.token < 0, 1, 0).astype(np.int32)

    def bonus(first: int, stop: int) -> np.ndarray:
        outside = np.arange(first, stop) < 50
        return np.stack([np.where(outside, -5.0, 0.0), np.zeros(stop - first)], axis=1).astype(np.float32)

    path, _ = best_path(scores, graph.states, groups=groups, bonus=bonus)
    found = expected_path(path, graph, scores, groups=groups, bonus=bonus)
    assert np.flatnonzero(graph.token[found] == 0)[0] >= 68


def test_what_is_too_unlikely_for_numbers_stays_as_it_is() -> None:
    graph = _words(2)
    values = np.zeros((6, 5))
    values[1, 4] = 1e4  # of a state that nothing reaches by then
    path = np.array([0, 0, 1, 2, 5, 6], np.int32)
    assert expected_path(path, graph, _Scores(np.zeros((6, 5)), 6)).tolist() != path.tolist()
    np.testing.assert_array_equal(expected_path(path, graph, _Scores(values, 6)), path)


def test_a_frame_alone_and_pauses_alone() -> None:
    graph = _words(1)
    assert expected_path(np.zeros(1, np.int32), graph, _Scores(np.zeros((1, 3)), 1)).tolist() == [0]
    path = np.array([0, 0, 3, 3], np.int32)  # the word is left out
    values = np.zeros((4, 3))
    values[:, 1:] = -50.0
    assert expected_path(path, graph, _Scores(values, 4)).tolist() in ([0, 0, 3, 3], [0, 3, 3, 3], [0, 0, 0, 3])
