"""Messages as JSON lines on standard error, for what collects the logs of many machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain
from stemfeatures.errors import printable_message

from ._progress import EVERY_S

if TYPE_CHECKING:
    from ..extraction.summary import ExtractProgress


def write_event(event: str, **values: Any) -> None:
    """One line: ``time`` (UTC, ISO 8601), ``event``, and the values."""
    said = {name: printable_message(value) if isinstance(value, str) else value for name, value in values.items()}
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **plain(said)}
    print(json.dumps(line, ensure_ascii=True, default=str), file=sys.stderr, flush=True)


class JsonHandler(logging.Handler):
    """Log records as events ``log``."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            failure = self.format(record).partition("\n")[2] if record.exc_info else None
            values = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
            write_event("log", **values, **({"traceback": failure} if failure else {}))
        except Exception:
            self.handleError(record)


class JsonProgress:
    """Events ``progress``: when the state changes, and every half minute."""

    def __init__(self) -> None:
        self._said_at = 0.0
        self._state = ""

    def __call__(self, state: ExtractProgress) -> None:
        now = time.monotonic()
        if state.state == self._state and now - self._said_at < EVERY_S:
            return
        self._said_at, self._state = now, state.state
        write_event("progress", **vars(state), times_real_time=state.times_real_time)

    def close(self) -> None:
        """Nothing is held back."""
