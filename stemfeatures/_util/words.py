"""Quantities and names as people read them."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_NAMES = 12  # in a message


def size(n_bytes: int) -> str:
    """``1.5 MB``: powers of 1000."""
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'extract'?`` with up to two of ``known`` that are written like ``name``, or nothing."""
    import difflib

    plain = {one.lower().replace("_", "-"): one for one in known}
    near = difflib.get_close_matches(name.lower().replace("_", "-"), plain, n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(repr(plain[one]) for one in near)}?" if near else ""


def there_are(name: object, known: Iterable[str]) -> str:
    """``; there are: a, b``: all of ``known`` where they are few, else those like ``name``; nothing where none is."""
    import difflib

    names = sorted(set(known))
    if len(names) <= _MOST_NAMES:
        return f"; there are: {', '.join(names)}" if names else ""
    wanted = str(name).lower()
    like = [one for one in names if wanted and wanted in one.lower()]
    like = (like or difflib.get_close_matches(wanted, names, n=_MOST_NAMES, cutoff=0.5))[:_MOST_NAMES]
    return f"; there are: {', '.join(like)}, ..." if like else ""
