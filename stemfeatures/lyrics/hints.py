"""Times of lines that lyrics bring along: a line is looked for around them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .cepstra import FRAME_RATE
from .observations import CENTRE_S
from .text import LyricsText

#: Times of ``.lrc`` files are set by hand: a line may begin this much earlier, and end as much after the next begins.
TOLERANCE_S = 1.5
#: Scaled nats a frame for a word outside of the times of its line.
ELSEWHERE = -2.0


class LineHints:
    """What the times of lines add to the scores of their words.

    Parameters
    ----------
    text : LyricsText
        Lyrics of which at least one line has a time.
    """

    def __init__(self, text: LyricsText) -> None:
        starts = sorted(
            (start_s, k)
            for k, line in enumerate(text.lines)
            if line.start_s is not None
            for start_s in (line.start_s, *line.again_s)
        )
        ends = [after for (_, _), (after, _) in pairwise(starts)] + [float("inf")]
        #: Groups of states: the lines, and after them what has no time.
        self.n_groups = len(text.lines) + 1
        self._windows = [(k, start - TOLERANCE_S, end + TOLERANCE_S) for (start, k), end in zip(starts, ends)]
        self._of_line: dict[int, list[tuple[float, float]]] = {}
        for line, start, end in self._windows:
            self._of_line.setdefault(line, []).append((start, end))
        self._timed = np.array([*(line.start_s is not None for line in text.lines), False])

    @staticmethod
    def of(text: LyricsText) -> LineHints | None:
        """Hints of lyrics; None where no line has a time."""
        return LineHints(text) if any(line.start_s is not None for line in text.lines) else None

    def groups(self, text: LyricsText, token: np.ndarray) -> np.ndarray:
        """(n_states,) int32 group of each state from its token, -1 in pauses."""
        lines = np.array([*(t.line for t in text.tokens), self.n_groups - 1], np.int32)
        return lines[token]

    def bonus(self, first: int, stop: int) -> np.ndarray:
        """(stop - first, n_groups) float32 of the frames from ``first`` on, for :func:`.viterbi.best_path`."""
        times = np.arange(first, stop) / FRAME_RATE + CENTRE_S
        added = np.zeros((stop - first, self.n_groups), np.float32)
        added[:, self._timed] = ELSEWHERE
        for line, start, end in self._windows:
            added[(times >= start) & (times < end), line] = 0
        return added

    def inside(self, line: int, frame: int) -> bool:
        """Whether a frame lies within the times of a line; a line without times may be anywhere."""
        time = frame / FRAME_RATE + CENTRE_S
        return not self._timed[line] or any(start <= time < end for start, end in self._of_line[line])
