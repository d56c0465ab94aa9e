"""What acoustic models share that look for lyrics: what they build, what they are told, and what they find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import LyricsGraph, Units
from .hints import LineHints
from .observations import STRETCH
from .text import LyricsText
from .viterbi import FrameEmissions

#: From lyrics and what states emit to the graph of the lyrics.
Builder = Callable[[LyricsText, Units], LyricsGraph]


@dataclass(frozen=True)
class Search:
    """What was found of lyrics.

    Attributes
    ----------
    graph : LyricsGraph
        Of the lyrics.
    path : np.ndarray
        (n_frames,) its state in each frame of 10 ms; empty where there is none.
    scores : FrameEmissions
        How well the frames fit its columns.
    gain : float
        By how many scaled nats the words do better than in other orders, where the acoustic model looks at that.
    n_voiced : int
        Frames of 10 ms in which somebody sings, where it looks at that.
    rate : float
        Vowels a voiced second, where it looks at that.
    changed : float
        Share of the words that the other orders change: the order of "la la la" says nothing.
    total : float
        Score of the path by a model that has not been adapted to it, which compares texts of the same recording.
    lost : float
        By how much it is lower than that of the best path if no line had a time.
    """

    graph: LyricsGraph
    path: np.ndarray
    scores: FrameEmissions
    gain: float = 0.0
    n_voiced: int = 0
    rate: float = 0.0
    changed: float = 1.0
    total: float = 0.0
    lost: float = 0.0

    def along(self, frames: np.ndarray) -> np.ndarray:
        """Scores of the states of the path in some frames."""
        column = self.graph.states.column[self.path]
        found = np.empty(len(column), np.float32)
        for first in range(0, len(column), STRETCH):
            part = slice(first, min(first + STRETCH, len(column)))
            found[part] = self.scores.emissions(part.start, part.stop).at(column[part])
        chosen: np.ndarray = found[frames]
        return chosen


def told(hints: LineHints | None, text: LyricsText, graph: LyricsGraph, factor: int = 1) -> dict[str, Any]:
    """What the times of lines say of a graph, for :func:`.viterbi.best_path` of frames of ``factor`` times 10 ms."""
    if hints is None:
        return {}

    def bonus(first: int, stop: int) -> np.ndarray:
        return factor * hints.bonus(factor * first, factor * stop)[::factor]

    return {"groups": hints.groups(text, graph.token), "bonus": bonus}
