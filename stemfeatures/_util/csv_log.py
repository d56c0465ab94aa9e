"""CSV files that grow by a row at a time, and go on where a crash has cut off the last one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from .files import write_replace


def append_row(path: Path, header: Sequence[str], row: Iterable[object]) -> None:
    """Write a row behind those of a file, in one piece; below the header where there is none yet.

    A last line without an end, of which nobody knows how much is missing, is cut off before. A file whose header is
    another one, of an earlier version, is written anew first: its rows keep what they have by the names of the columns,
    and have nothing in columns that are new.
    """
    with path.open("a+b") as file:
        file.seek(0)
        whole = file.read().rpartition(b"\n")
        size = len(whole[0]) + len(whole[1])
        if whole[2]:
            file.truncate(size)
        text = io.StringIO(newline="")
        csv.writer(text).writerows([row] if size else [header, row])
        earlier = whole[0].decode() if size else ""
        if not size or next(csv.reader([earlier.partition("\n")[0]]))[: len(header)] == list(header):
            file.write(text.getvalue().encode())
            return
    write_replace(path, (_renewed(earlier, header) + text.getvalue()).encode())


def _renewed(text: str, header: Sequence[str]) -> str:
    """Lines of a file in the columns of another header, and behind them those that it does not have."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = [*header, *(name for name in rows.fieldnames or () if name not in header)]
    found = io.StringIO(newline="")
    writer = csv.DictWriter(found, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return found.getvalue()


def whole_lines(path: Path) -> list[str]:
    """The lines of a text file with their ends, but for a last one that was not written to its end."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = file.read().splitlines(keepends=True)
    return lines if not lines or lines[-1].endswith("\n") else lines[:-1]
