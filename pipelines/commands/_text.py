"""Numbers and tables for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any
from unicodedata import category

#: An en dash stands for what could not be measured.
NOTHING = "\N{EN DASH}"


def visible(text: str) -> str:
    """``text`` with control characters and line ends (file names may hold them) as escapes: ``\\n``, ``\\x1b``."""
    return "".join(c.encode("unicode_escape").decode() if category(c) in ("Cc", "Zl", "Zp") else c for c in text)


def columns(rows: Iterable[Sequence[str]], *, align: str = "", indent: str = "") -> str:
    """Rows of cells as aligned lines; ``align`` holds ``<`` or ``>`` for each column, ``<`` where it ends."""
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    align = align.ljust(len(widths), "<")
    lines = ("  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, align, widths)) for row in cells)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def number(value: Any, spec: str = ".1f") -> str:
    """``value`` in the given format; None, NaN and infinity are a dash."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    return format(value, spec)


def count(n: int, noun: str) -> str:
    """``1 track``, ``2,000 tracks``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """``8.3 s``, ``12 min 05 s``, ``3 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(n_bytes: int) -> str:
    """``1.5 MB``: powers of 1000."""
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
