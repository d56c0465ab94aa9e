"""CSV files that grow by a row at a time, and go on where a crash has cut off the last one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path


def append_row(path: Path, header: Sequence[str], row: Iterable[object]) -> None:
    """Write a row behind those of a file, in one piece; below the header where there is none yet.

    A last line without an end, of which nobody knows how much is missing, is cut off before.
    """
    with path.open("a+b") as file:
        file.seek(0)
        whole = file.read().rpartition(b"\n")
        size = len(whole[0]) + len(whole[1])
        if whole[2]:
            file.truncate(size)
        text = io.StringIO(newline="")
        csv.writer(text).writerows([row] if size else [header, row])
        file.write(text.getvalue().encode())


def whole_lines(path: Path) -> list[str]:
    """The lines of a text file with their ends, but for a last one that was not written to its end."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = file.read().splitlines(keepends=True)
    return lines if not lines or lines[-1].endswith("\n") else lines[:-1]
