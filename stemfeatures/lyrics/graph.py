"""The graph of what may be sung: words in order, with pauses, other ways to say them, and words and lines left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .lexicon import Phones, pronunciations
from .text import Line, LyricsText
from .viterbi import NEVER, StateGraph

#: Column of the observations of pauses; those of what is said follow.
PAUSE = 0
_FULL_WIDTH = str.maketrans("\uff08\uff09", "()")
_HALF = math.log(0.5)
_PAUSE_STAY = math.log(0.99)
#: Moves into one state are counted in a byte.
_MOST_ORIGINS = 250


@dataclass(frozen=True)
class GraphCosts:
    """What it costs to sing other than the words in order, in nats of scaled observations.

    Attributes
    ----------
    skip_word, skip_line : float
        To leave out a word, or a whole line.
    repeat : float
        To go back to the start of a stanza that was sung, or on to a later one.
    skip_echo : float
        To leave out what stands in round brackets, which is not always sung.
    skip_again : float
        To sing a line once less than it says (``x3``), which many write of the music that goes on.
    """

    skip_word: float = 80.0
    skip_line: float = 160.0
    repeat: float = 200.0
    skip_echo: float = 30.0
    skip_again: float = 30.0


class Units(Protocol):
    """What words are made of: phones of an acoustic model, or letters of a network."""

    def states(self, way: Sequence[str], k: int) -> tuple[tuple[int, float, float], ...]:
        """Of unit ``k`` of a word: what each state emits, and logarithms of staying in it and of leaving it."""
        ...

    def gap(self, way: Sequence[str], k: int) -> bool | None:
        """Whether a pause must (True) or may (False) come between units ``k - 1`` and ``k``; None: there is none."""
        ...


@dataclass(frozen=True)
class LyricsGraph:
    """A state graph and what its states stand for.

    Attributes
    ----------
    states : StateGraph
        For :func:`.viterbi.best_path`.
    senones : np.ndarray
        (n,) senone, letter or :data:`.acoustic_model.ONSET` that observation column ``k + 1`` scores; column 0 is a
        pause.
    token : np.ndarray
        (n_states,) index of the token, -1 in pauses.
    phone : np.ndarray
        (n_states,) index into :attr:`phones`, -1 in pauses.
    phones : tuple[str, ...]
        Name of each phone of each way to say each word.
    """

    states: StateGraph
    senones: np.ndarray
    token: np.ndarray
    phone: np.ndarray
    phones: tuple[str, ...]


def with_columns(graph: LyricsGraph, senones: np.ndarray) -> StateGraph:
    """The states of a graph for observations whose column ``k + 1`` is ``senones[k]``; all its senones are there."""
    place = {int(senone): k + 1 for k, senone in enumerate(senones)}
    column = np.array([PAUSE, *(place[int(senone)] for senone in graph.senones)], np.int32)
    return replace(graph.states, column=column[graph.states.column])


def build_graph(
    lyrics: LyricsText,
    units: Units,
    *,
    costs: GraphCosts | None = None,
    say: Callable[[str], list[Phones]] = pronunciations,
) -> LyricsGraph:
    """The graph of lyrics.

    Parameters
    ----------
    lyrics : LyricsText
        What may be sung.
    units : Units
        What states emit: an :class:`.acoustic_model.AcousticModel` or a :class:`.ctc.CtcModel`.
    costs : GraphCosts | None
        None takes the defaults.
    say : Callable[[str], list[tuple[str, ...]]]
        From a token to the ways to say it, in the units' names.

    Returns
    -------
    LyricsGraph
        With one state, a pause, where there are no words.
    """
    builder = _Builder(units, costs or GraphCosts())
    stanza_starts: list[int] = []
    stanza_ends: list[int] = []
    stanza = -1
    for line in lyrics.lines:
        words = [k for k in range(line.first, line.stop) if lyrics.tokens[k].kind == "word"]
        said = [(k, ways) for k in words if (ways := say(lyrics.tokens[k].sung))]
        if not said:
            continue
        if line.stanza != stanza:
            stanza = line.stanza
            stanza_starts.append(builder.pause)
            stanza_ends.append(builder.pause)
        echoes = dict(_echoes(lyrics, line, [token for token, _ in said]))
        for time in range(line.times):
            start = builder.pause
            before = {}
            for token, ways in said:
                before[token] = builder.pause
                builder.add_word(token, ways)
                if token in echoes:
                    builder.jumps.append((builder.pause, before[echoes[token]], -builder.costs.skip_echo))
            if time:
                builder.jumps.append((builder.pause, start, -builder.costs.skip_again))
            elif len(said) > 1:
                builder.jumps.append((builder.pause, start, -builder.costs.skip_line))
        stanza_ends[-1] = builder.pause
    return builder.finish(stanza_starts, stanza_ends)


def _echoes(lyrics: LyricsText, line: Line, said: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Last and first of the tokens that are said in each pair of round brackets of a line."""
    depth, first = 0, line.first
    for k in range(line.first, line.stop):
        # Without the brackets around letters that were put in; brackets of full width are brackets, too.
        text = lyrics.tokens[k].sung.translate(_FULL_WIDTH)
        if depth <= 0 and "(" in text:
            depth, first = 0, k
        closes = depth > 0 or "(" in text
        depth += text.count("(") - text.count(")")
        inside = [token for token in said if first <= token <= k]
        if closes and depth <= 0 and inside:
            yield inside[-1], inside[0]


class _Builder:
    def __init__(self, units: Units, costs: GraphCosts) -> None:
        self.units, self.costs = units, costs
        #: Column, logarithms of staying and of the step into it, token, and phone of each state.
        self.states: list[tuple[int, float, float, int, int]] = []
        self.phones: list[str] = []
        self.jumps: list[tuple[int, int, float]] = []
        self._columns: dict[int, int] = {}
        self._said: dict[tuple[str, ...], tuple[tuple[int, float, float], ...]] = {}
        #: Ends of the ways to say the last word, with what leaving them costs.
        self.ends: list[tuple[int, float]] = []
        self.pause = self._add(PAUSE, _PAUSE_STAY)

    def add_word(self, token: int, ways: list[Phones]) -> None:
        ends = []
        share = -math.log(len(ways))
        for way in ways:
            first = len(self.states)
            leave = float(NEVER)
            for k in range(len(way)):
                leave = self._add_unit(token, way, k, leave)
            self.jumps.append((first, self.pause, _HALF + share))
            self.jumps += [(first, end, cost + _HALF + share) for end, cost in self.ends]
            ends.append((len(self.states) - 1, leave))
        pause = self._add(PAUSE, _PAUSE_STAY)
        self.jumps += [(pause, end, cost + _HALF) for end, cost in ends]
        self.jumps.append((pause, self.pause, -self.costs.skip_word))
        self.pause, self.ends = pause, ends

    def _add_unit(self, token: int, way: Phones, k: int, entering: float) -> float:
        """The states of a unit, and the gap before it; returns the cost of leaving the last."""
        gap = self.units.gap(way, k) if k else None
        if gap is not None:
            if not gap:
                self.jumps.append((len(self.states) + 1, len(self.states) - 1, entering))
            # What sounds in the gap counts to the unit before.
            self._add(PAUSE, 0.0, entering, token, len(self.phones) - 1)
            entering = 0.0
        self.phones.append(way[k])
        for column, stay, leave in self._states_of(way, k):
            self._add(column, stay, entering, token, len(self.phones) - 1)
            entering = leave
        return entering

    def _states_of(self, way: Phones, k: int) -> tuple[tuple[int, float, float], ...]:
        """Column, and logarithms of staying and leaving, of the states of a unit between its neighbours."""
        key = (*way[max(k - 1, 0) : k + 2], "b" if k == 0 else "", "e" if k == len(way) - 1 else "")
        if key not in self._said:
            self._said[key] = tuple(
                (self._columns.setdefault(emitted, len(self._columns) + 1), stay, leave)
                for emitted, stay, leave in self.units.states(way, k)
            )
        return self._said[key]

    def _add(self, column: int, stay: float, step: float = float(NEVER), token: int = -1, phone: int = -1) -> int:
        self.states.append((column, stay, step, token, phone))
        return len(self.states) - 1

    def finish(self, stanza_starts: list[int], stanza_ends: list[int]) -> LyricsGraph:
        last = self.pause
        if len(stanza_starts) > 1:
            # All jumps between stanzas pass one state, so that there are few of them.
            hub = self._add(PAUSE, _PAUSE_STAY)
            self.jumps += [(hub, end, -self.costs.repeat) for end in stanza_ends[-_MOST_ORIGINS:]]
            self.jumps += [(start, hub, 0.0) for start in stanza_starts]
            self.jumps.append((last, hub, 0.0))
        column, stay, step, of_token, of_phone = zip(*self.states)
        initial, final = (np.full(len(column), NEVER, np.float32) for _ in range(2))
        initial[0] = final[last] = 0
        self.jumps.sort()
        target, origin, score = zip(*self.jumps) if self.jumps else ((), (), ())
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
        senones = np.array(list(self._columns), np.int64)
        return LyricsGraph(states, senones, np.array(of_token), np.array(of_phone), tuple(self.phones))
