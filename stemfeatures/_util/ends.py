"""By which signals a run is asked to end."""

from __future__ import annotations

import signal

#: The terminal has gone: it was closed, or the connection to it broke. There is none on Windows.
HANG_UP: int | None = getattr(signal, "SIGHUP", None)
#: Ctrl-C, what batch systems send, and that.
ENDS: frozenset[int] = frozenset({signal.SIGINT, signal.SIGTERM, *(() if HANG_UP is None else (HANG_UP,))})

__all__ = ["ENDS", "HANG_UP"]
