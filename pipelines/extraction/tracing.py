"""What a run spends its time on, as spans of OpenTelemetry: run, shard, track and stage.

Workers take times alone (:class:`Span`, which travels with the receipt of a shard), and the driver hands them on: so
they need no package for it, and no connection to whoever collects. Without a tracer nothing is timed and nothing
imported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from stemfeatures.errors import printable_message

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

Value: TypeAlias = str | int | float | bool

#: What the names of our attributes begin with.
_OURS = "stemfeatures."
#: Status of a track that has no row in table ``tracks``.
_FAILED = "failed"


@dataclass
class Span:
    """Something that took time, and its parts.

    Attributes
    ----------
    name : str
        What it was: ``shard``, ``track``, or a stage.
    start_ns, end_ns : int
        Nanoseconds since 1970, by the clock of the machine that it happened on.
    attributes : dict
        What is known of it.
    parts : list of Span
        What it consisted of.
    error : str or None
        Why it failed.
    """

    name: str
    start_ns: int
    end_ns: int = 0
    attributes: dict[str, Value] = field(default_factory=dict)
    parts: list[Span] = field(default_factory=list)
    error: str | None = None


class ShardSpans:
    """Takes the times of one shard.

    Parameters
    ----------
    shard : str
        Its name.
    on : bool
        Do so; otherwise every method does nothing.
    """

    def __init__(self, shard: str, *, on: bool) -> None:
        self._span = Span("shard", time.time_ns(), attributes={"shard": shard}) if on else None
        self._tracks: dict[str, Span] = {}

    def begin(self, track_id: str, start_ns: int) -> None:
        """A track is taken up, on which somebody has worked since ``start_ns``; once more, if it is tried again."""
        if self._span is not None:
            self._tracks[track_id] = Span("track", start_ns, attributes={"track_id": track_id})

    def add(self, track_id: str, stage: str, start_ns: int, end_ns: int | None = None, **attributes: Value) -> None:
        """A stage of a track that has begun is through, now if no time is given."""
        if (track := self._tracks.get(track_id)) is not None:
            track.parts.append(Span(stage, max(start_ns, track.start_ns), end_ns or time.time_ns(), attributes))

    @contextmanager
    def stage(self, track_id: str, stage: str) -> Iterator[None]:
        """A stage of a track."""
        started = time.time_ns()
        try:
            yield
        finally:
            self.add(track_id, stage, started)

    def end(self, track_id: str, error: str | None = None, *, status: str = "ok", **attributes: Value) -> None:
        """A track is through; with an error its status is ``failed``."""
        if self._span is not None and (track := self._tracks.pop(track_id, None)) is not None:
            track.end_ns, track.error = time.time_ns(), error
            track.attributes |= {**attributes, "status": status if error is None else _FAILED}
            self._span.parts.append(track)

    def finish(self, write_ns: int, **attributes: Value) -> Span | None:
        """The shard with its tracks, whose rows have been written since ``write_ns``."""
        if self._span is not None:
            self._span.end_ns = time.time_ns()
            self._span.attributes |= attributes
            self._span.parts.append(Span("write", write_ns, self._span.end_ns))
        return self._span


def failed_track(track_id: str, error: str) -> Span:
    """A track of which nothing is known but why it failed."""
    now = time.time_ns()
    return Span("track", now, now, {"track_id": track_id, "status": _FAILED}, error=error)


class RunTrace:
    """Hands spans to a tracer.

    Parameters
    ----------
    tracer : opentelemetry.trace.Tracer or None
        Without one every method does nothing.
    """

    def __init__(self, tracer: Tracer | None) -> None:
        self._tracer = tracer

    @property
    def is_on(self) -> bool:
        """Whether anybody wants to know."""
        return self._tracer is not None

    def span(self, name: str) -> AbstractContextManager[Any]:
        """A span of this thread as long as the block, inside the one that it is in."""
        if self._tracer is None:
            return nullcontext()
        return self._tracer.start_as_current_span(name)

    def describe(self, **attributes: Value | None) -> None:
        """Attributes of the span that this thread is in."""
        if self._tracer is not None:
            from opentelemetry.trace import get_current_span

            get_current_span().set_attributes(_ours({k: v for k, v in attributes.items() if v is not None}))

    def add(self, span: Span | None) -> None:
        """What happened elsewhere, inside the span that this thread is in."""
        if self._tracer is None or span is None:
            return
        from opentelemetry.trace import Status, StatusCode, use_span

        made = self._tracer.start_span(span.name, start_time=span.start_ns, attributes=_ours(span.attributes))
        if span.error is not None:
            made.set_status(Status(StatusCode.ERROR, printable_message(span.error)))
        with use_span(made):
            for part in span.parts:
                self.add(part)
        made.end(span.end_ns)


def _ours(attributes: dict[str, Value]) -> dict[str, Value]:
    return {_OURS + k: printable_message(v) if isinstance(v, str) else v for k, v in attributes.items()}
