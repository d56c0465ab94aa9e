"""Phones of the voice bank: what kind each is, and where each lies in the frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

FRAME_S = 0.005
# ruff: noqa: RUF001 - these are letters of the phonetic alphabet
VOWELS = frozenset("iɪɛæʌəɜɑɔʊuAIOWYᵊᵻ")
#: Capital letters are the diphthongs of day, my, go, now, boy.
DIPHTHONGS = frozenset("AIOWY")
SONORANTS = frozenset("mnŋlɹwjɾ")
VOICED_OBSTRUENTS = frozenset("bdɡʤvðzʒ")
_STOPS = frozenset("pbtdkɡʧʤ")
_STRESS = frozenset("ˈˌ")


def kind(symbol: str) -> str:
    """``vowel``, ``sonorant``, ``voiced`` (obstruent), ``unvoiced`` or ``pause``."""
    if symbol in VOWELS:
        return "vowel"
    if symbol in SONORANTS:
        return "sonorant"
    if symbol in VOICED_OBSTRUENTS:
        return "voiced"
    return "pause" if symbol == " " else "unvoiced"


@dataclass(frozen=True)
class PhoneTimes:
    """The phones of one line; times in seconds from its first frame."""

    symbol: tuple[str, ...]
    nucleus: np.ndarray
    stressed: np.ndarray
    word: np.ndarray
    begin_s: np.ndarray
    end_s: np.ndarray


def phones_of_tokens(
    symbols: np.ndarray, token: Mapping[str, np.ndarray], n_frames: int, *, unit_s: float, lag_s: float
) -> PhoneTimes:
    """Phones from the tokens of a text-to-speech network, whose stress marks have durations of their own.

    ``token`` holds ``class`` (``nu`` = nucleus of a syllable), ``word`` and ``duration`` (in ``unit_s``). The times
    are those the network was asked for; what it did can lie 100 ms away, see :func:`align`.
    """
    duration = token["duration"] * unit_s
    begin = np.maximum(np.cumsum(duration) - duration - lag_s, 0.0)
    keep, start, stressed = [], [], []
    mark: int | None = None
    for k, symbol in enumerate(symbols):
        if symbol in _STRESS:
            mark = k
        elif token["class"][k] not in ("pad", "end"):
            keep.append(k)
            start.append(begin[k if mark is None else mark])
            stressed.append(mark is not None and token["class"][k] == "nu")
            mark = None
    last = min(begin[keep[-1]] + duration[keep[-1]], n_frames * FRAME_S)
    return PhoneTimes(
        tuple(str(s) for s in symbols[keep]),
        token["class"][keep] == "nu",
        np.array(stressed),
        token["word"][keep].astype(int),
        np.array(start),
        np.append(start[1:], last),
    )


def align(
    lines: Sequence[PhoneTimes], envelopes: Sequence[np.ndarray], *, rounds: int = 5, prior_s: float = 0.06
) -> list[PhoneTimes]:
    """Fit the phones of one singer's lines to the frames: Viterbi training of a Gaussian a phone state.

    ``envelopes`` are mel-coded envelopes, (frames, coefficients) a line, of which the first 14 and their changes are
    looked at. Stops and diphthongs have two states, others one. A phone is held to where it was said to begin by a
    Gaussian prior of ``prior_s``.
    """
    features = [_features(envelope) for envelope in envelopes]
    scale = np.concatenate(features).std(axis=0)
    features = [feature / scale for feature in features]
    chains = [_states(line) for line in lines]
    paths = [_first_path(line, chain, len(feature)) for line, chain, feature in zip(lines, chains, features)]
    for _ in range(rounds):
        models = _fit(features, chains, paths)
        paths = [
            _viterbi(feature, chain, models, line, prior_s) for feature, chain, line in zip(features, chains, lines)
        ]
    return [_read_path(line, chain, path) for line, chain, path in zip(lines, chains, paths)]


def _features(envelope: np.ndarray) -> np.ndarray:
    level = envelope[:, :14].astype(float)
    level[:, 0] = np.maximum(level[:, 0] - np.percentile(level[:, 0], 90), -12.0)
    padded = np.pad(level, ((2, 2), (0, 0)), mode="edge")
    return np.concatenate([level, padded[4:] - padded[:-4]], axis=1)


def _states(line: PhoneTimes) -> list[tuple[int, tuple[str, int]]]:
    """``(phone, (symbol, part))`` for each state of the chain; phone -1 and len(line) are silence around the line.

    States stand several times in a row, which gives a vowel 30 ms at least, a consonant 10 ms and a pause one frame.
    """
    chain: list[tuple[int, tuple[str, int]]] = [(-1, ("#", 0))]
    for k, symbol in enumerate(line.symbol):
        parts = 2 if symbol in _STOPS or symbol in DIPHTHONGS else 1
        frames = 1 if symbol == " " else 6 // parts if symbol in VOWELS else 2
        chain += [(k, (symbol, part)) for part in range(parts) for _ in range(frames)]
    return [*chain, (len(line.symbol), ("#", 1))]


def _first_path(line: PhoneTimes, chain: list, n: int) -> np.ndarray:
    """State of every frame when each phone's states share its time evenly."""
    times = (np.arange(n) + 0.5) * FRAME_S
    phone = np.searchsorted(np.append(line.begin_s, line.end_s[-1]), times, "right") - 1
    path = np.zeros(n, int)
    owner = np.array([k for k, _ in chain])
    for k in range(-1, len(line.symbol) + 1):
        frames, states = np.flatnonzero(phone == k), np.flatnonzero(owner == k)
        path[frames] = states[np.arange(len(frames)) * len(states) // max(len(frames), 1)]
    return path


def _fit(features: list, chains: list, paths: list) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each state, drawn towards those of all frames where there are few."""
    frames = np.concatenate(features)
    names = [name for chain, path in zip(chains, paths) for name in (chain[s][1] for s in path)]
    index = {name: k for k, name in enumerate(dict.fromkeys(name for chain in chains for _, name in chain))}
    label = np.array([index[name] for name in names])
    mean_all, var_all = frames.mean(axis=0), frames.var(axis=0)
    models = {}
    for name, k in index.items():
        mine = frames[label == k]
        n = len(mine)
        mean = (mine.sum(axis=0) + 2 * mean_all) / (n + 2)
        models[name] = mean, (((mine - mean) ** 2).sum(axis=0) + 10 * 0.5 * var_all) / (n + 10)
    return models


def _viterbi(feature: np.ndarray, chain: list, models: dict, line: PhoneTimes, prior_s: float) -> np.ndarray:
    n, n_states = len(feature), len(chain)
    mean = np.array([models[name][0] for _, name in chain])
    var = np.array([models[name][1] for _, name in chain])
    cost = ((feature[:, None] - mean) ** 2 / var + np.log(var)).sum(axis=2) * 0.5
    cost *= 0.3  # neighbouring frames say the same thing
    owner = np.array([k for k, _ in chain])
    enter = np.zeros((n, n_states))
    expected = np.append(line.begin_s, line.end_s[-1]) / FRAME_S
    first = np.flatnonzero(np.diff(owner, prepend=-1) > 0)
    enter[:, first] = 0.5 * ((np.arange(n)[:, None] - expected[owner[first]]) * FRAME_S / prior_s) ** 2
    total = np.full(n_states, np.inf)
    total[0] = cost[0, 0]
    moved = np.zeros((n, n_states), bool)
    for t in range(1, n):
        move = np.append(np.inf, total[:-1]) + enter[t]
        moved[t] = move < total
        total = np.where(moved[t], move, total) + cost[t]
    path = np.empty(n, int)
    state = n_states - 1
    for t in range(n - 1, -1, -1):
        path[t] = state
        state -= moved[t, state]
    return path


def _read_path(line: PhoneTimes, chain: list, path: np.ndarray) -> PhoneTimes:
    phone = np.array([k for k, _ in chain])[path]
    ids = np.arange(len(line.symbol) + 1)
    edge = np.searchsorted(phone, ids) * FRAME_S
    return replace(line, begin_s=edge[:-1], end_s=edge[1:])
