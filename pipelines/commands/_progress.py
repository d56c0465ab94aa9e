"""How far a job is, on standard error: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TextIO

from ._text import duration

#: Seconds between two lines where nobody watches.
EVERY_S = 30.0


class ProgressLine:
    """A progress line; a context manager.

    Parameters
    ----------
    total : int or None
        How many units there are; None when not known.
    label, unit : str
        What is done, to what (``"extract"``, ``"track"``).
    done : int, optional
        Units that were done before; they do not count for the speed.
    quiet : bool, optional
        Show nothing.
    """

    def __init__(
        self,
        total: int | None,
        *,
        label: str,
        unit: str,
        done: int = 0,
        quiet: bool = False,
        stream: TextIO | None = None,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.label, self.unit, self.done = total, label, unit, done
        self._stream = sys.stderr if stream is None else stream
        self._quiet, self._every_s, self._clock = quiet, every_s, clock
        self._started = self._said_at = clock()
        #: When and where the first unit was finished: it carries the start-up, so speed counts from there.
        self._first: tuple[float, int] | None = None
        self._unsaid = not quiet
        self._note, self._left_s = "", None  # type: tuple[str, float | None]
        self._bar: Any = None
        if not quiet and self._stream.isatty():
            from tqdm import tqdm

            line = "{n_fmt}/{total_fmt} |{bar:20}| {desc}" if total else "{n_fmt} {desc}"
            line = f"{label.replace('{', '').replace('}', '')}: {line}"
            self._bar = tqdm(total=total, initial=done, file=self._stream, dynamic_ncols=True, bar_format=line)

    def update(self, n: int = 1, *, note: str = "") -> None:
        """``n`` more units are done; ``note`` is said beside them."""
        self.advance_to(self.done + n, note=note)

    def advance_to(self, done: int, *, note: str = "", left_s: float | None = None) -> None:
        """``done`` units are done; ``left_s`` replaces our own estimate of the seconds that are left."""
        before, self.done = self.done, done
        self._note, self._left_s, self._unsaid = note, left_s, not self._quiet
        now = self._clock()
        if self._first is None and done > before:
            self._first = (now, done)
        if self._bar is not None:
            self._bar.set_description_str(self._words(now), refresh=False)
            self._bar.update(done - before)
        elif not self._quiet and now - self._said_at >= self._every_s:
            self._say(now)

    def say(self, message: str) -> None:
        """A line of its own, also when quiet: something went wrong."""
        if self._bar is not None:
            self._bar.write(message, file=self._stream)
        else:
            print(message, file=self._stream, flush=True)

    def close(self) -> None:
        """The last line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._unsaid and self._first is not None:
            self._say(self._clock())

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _words(self, now: float) -> str:
        words = [self._note] if self._note else []
        left = self._left_s
        if self._first is not None and self.done > self._first[1] and now > self._first[0]:
            speed = (self.done - self._first[1]) / (now - self._first[0])
            words.append(f"{speed:.2f} {self.unit}s/s" if speed > 0.1 else f"{60 * speed:.2f} {self.unit}s/min")
            if left is None and self.total is not None:
                left = (self.total - self.done) / speed
        if left is not None and left >= 0.05 and self.done != self.total:
            words.append(f"{duration(left)} left")
        return ", ".join(words)

    def _say(self, now: float) -> None:
        self._said_at, self._unsaid = now, False
        of = f" of {self.total:,}" if self.total is not None else ""
        words = [
            f"{self.label}: {self.done:,}{of} {self.unit}s",
            f"after {duration(now - self._started)}",
            self._words(now),
        ]
        print(", ".join(w for w in words if w), file=self._stream, flush=True)


def watched(items: Iterable[Any], progress: ProgressLine) -> Iterator[Any]:
    """``items``, each counted once the consumer is through with it."""
    with progress:
        for item in items:
            yield item
            progress.update()
