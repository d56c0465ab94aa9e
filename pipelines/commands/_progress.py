"""How far a job is, on standard error: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from ._text import duration, visible

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
    started : float, optional
        When the work began, by ``clock``; now, if not given.
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
        started: float | None = None,
    ) -> None:
        self.total, self.label, self.unit, self.done = total, visible(label), unit, done
        self._stream = sys.stderr if stream is None else stream
        self._quiet, self._every_s, self._clock = quiet, every_s, clock
        self._started = self._said_at = clock() if started is None else started
        self._part = 0.0
        #: When and where the first unit was finished: it carries the start-up, so speed counts from there.
        self._first: tuple[float, float] | None = None
        self._unsaid = not quiet
        self._note, self._left_s = "", None  # type: tuple[str, float | None]
        self._live: _LiveLine | None = None
        if not quiet and self._stream.isatty():
            self._live = _LiveLine(self._stream, self.label, total, done)

    def update(self, n: int = 1, *, note: str = "") -> None:
        """``n`` more units are done; ``note`` is said beside them."""
        self.advance_to(self.done + n, note=note)

    def advance_to(self, done: int, *, note: str = "", left_s: float | None = None) -> None:
        """``done`` units are done; ``left_s`` replaces our own estimate of the seconds that are left."""
        self._move(done, 0.0, note, left_s)

    def within(self, part: float, *, note: str = "") -> None:
        """``part`` (0 to 1) of the unit that is being worked on is done."""
        self._move(self.done, min(max(part, 0.0), 1.0), note, None)

    def part_of(self, note: str) -> Callable[[float, float | None], None]:
        """What tells of the seconds of a file that are done, and of those it has, as calls of the library do."""

        def tell(done_s: float, total_s: float | None) -> None:
            self.within(done_s / total_s if total_s else 0.0, note=note)

        return tell

    def say(self, message: str) -> None:
        """A line of its own, also when quiet: something went wrong."""
        message = visible(message)
        if self._live is not None:
            self._live.say(message)
        else:
            print(message, file=self._stream, flush=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No live line meanwhile: results are written to standard output, which may be the same terminal."""
        if self._live is None:
            yield
            return
        self._live.hide()
        try:
            yield
        finally:
            self._live.show()

    def close(self) -> None:
        """The last line; a live one vanishes."""
        if self._live is not None:
            self._live.hide()
            self._live = None
        elif self._unsaid and self._first is not None:
            self._say(self._clock())

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _move(self, done: int, part: float, note: str, left_s: float | None) -> None:
        before = self.done + self._part
        self.done, self._part = done, part
        self._note, self._left_s, self._unsaid = visible(note), left_s, not self._quiet
        now, at = self._clock(), done + part
        if self._first is None and at > before:
            self._first = (now, at)
        if self._live is not None:
            self._live.move(at, f"{self.done:,}" + (f"/{self.total:,}" if self.total else ""), self._words(now))
        elif not self._quiet and now - self._said_at >= self._every_s:
            self._say(now)

    def _words(self, now: float) -> tuple[str, str]:
        """How long it will take, and what else there is to say, the least important last."""
        words = [self._note] if self._note else []
        left, at = self._left_s, self.done + self._part
        if self._first is not None and at > self._first[1] and now > self._first[0]:
            speed = (at - self._first[1]) / (now - self._first[0])
            if self.done > self._first[1]:
                words.append(f"{speed:.2f} {self.unit}s/s" if speed > 0.1 else f"{60 * speed:.2f} {self.unit}s/min")
            if left is None and self.total is not None:
                left = (self.total - at) / speed
        unfinished = left is not None and left >= 0.05 and self.done != self.total
        return f"{duration(left)} left" if unfinished and left is not None else "", ", ".join(words)

    def _say(self, now: float) -> None:
        self._said_at, self._unsaid = now, False
        of = f" of {self.total:,}" if self.total is not None else ""
        part = f" and {self._part:.0%} of the next" if self._part else ""
        left, rest = self._words(now)
        words = [f"{self.label}: {self.done:,}{of} {self.unit}s{part}", left, f"after {duration(now - self._started)}"]
        print(", ".join(w for w in (*words, rest) if w), file=self._stream, flush=True)


class _LiveLine:
    """A line of a terminal that redraws itself, with a running clock; what does not fit is cut from the end."""

    def __init__(self, stream: TextIO, label: str, total: int | None, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.table import Column
        from rich.text import Text

        class Clock(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(duration(int(task.elapsed or 0)).replace(".0 s", " s"))

        def words(name: str, **column: Any) -> TextColumn:
            column = {"no_wrap": True, "overflow": "ellipsis", **column}
            return TextColumn(f"{{task.fields[{name}]}}", markup=False, table_column=Column(**column))

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            words("count"),
            words("left", style="bold"),
            Clock(),
            words("rest", ratio=1),
            console=Console(file=stream, highlight=False),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=True,
        )
        count = f"{done:,}" + (f"/{total:,}" if total else "")
        self._task = self._progress.add_task(label, total=total, completed=done, count=count, left="", rest="")
        self.show()

    def show(self) -> None:
        _showing.append(self)
        self._progress.start()

    def hide(self) -> None:
        self._progress.stop()
        _showing.remove(self)

    def move(self, at: float, count: str, words: tuple[str, str]) -> None:
        self._progress.update(self._task, completed=at, count=count, left=words[0], rest=words[1])

    def say(self, message: str) -> None:
        self._progress.console.print(message, markup=False, highlight=False, soft_wrap=True)


#: The live line that is on the terminal now, if there is one.
_showing: list[_LiveLine] = []


def log_line(text: str) -> None:
    """A line on standard error, above the live line where there is one."""
    if _showing:
        _showing[-1].say(text)
    else:
        print(text, file=sys.stderr)


def watched(items: Iterable[Any], progress: ProgressLine) -> Iterator[Any]:
    """``items``, each counted once the consumer is through with it."""
    with progress:
        for item in items:
            yield item
            progress.update()
