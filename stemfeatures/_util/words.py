"""Quantities as people read them."""

from __future__ import annotations


def size(n_bytes: int) -> str:
    """``1.5 MB``: powers of 1000."""
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
