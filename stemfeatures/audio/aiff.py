"""AIFF files that were joined end to end: decoders read the first alone."""

from __future__ import annotations

import re

from .source import Source, find_marks, open_source

_MOST_STEPS = 10_000
_MARK, _MARK_BYTES = re.compile(rb"FORM.{4}AIF[FC]", re.DOTALL), 12


def aiff_links(source: Source) -> tuple[int, ...]:
    """Where the files begin, in bytes; empty where there is one, and for other files."""
    starts: list[int] = []
    with open_source(source) as file:
        size = file.seek(0, 2)
        at = 0
        for _ in range(_MOST_STEPS):
            if at == size:
                break
            file.seek(min(at, size))
            head = file.read(_MARK_BYTES)
            if _MARK.fullmatch(head):
                starts.append(at)
                n_bytes = int.from_bytes(head[4:8], "big")
                at += 8 + n_bytes + (n_bytes & 1)
            elif not starts:
                return ()
            else:  # tags in between, an odd size that was not filled up, or a file that was cut off
                at = next(find_marks(file, _MARK, _MARK_BYTES, starts[-1] + 1), size)
    return tuple(starts) if len(starts) > 1 else ()
