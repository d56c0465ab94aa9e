"""Numbers and tables for people."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any, TextIO
from unicodedata import category

from stemfeatures._util.words import size as size

#: Lines of running text are no longer, however wide the terminal is.
_LONGEST = 100
#: Columns of :func:`table` that are cut keep so much.
_SHORTEST = 6
#: An en dash stands for what could not be measured.
NOTHING = "\N{EN DASH}"


#: Limits of the library, in its messages, as the options that set them.
_OPTIONS = {
    "max_duration_s": "--max-duration",
    "max_channels": "--max-channels",
    "max_cpu_s_per_mb": "--max-cpu-per-mb",
}
#: What joins letters of some scripts, and parts of an emoji, is no danger.
_JOINERS = "\u200c\u200d"


#: Stands for the escape character of what :func:`table` draws, so that no other one gets past :func:`echo`.
_STYLE = "\ue09b"


def visible(text: str) -> str:
    """A name as it is printed: control characters, line ends and what turns the direction of writing around as escapes,
    such as ``\\n``, ``\\x1b`` and ``\\u202e``; bytes of a name that are not UTF-8 as in tables, ``\\xff``.
    Names of files, tags and catalogues may hold any."""
    if text.isprintable():
        return text
    return "".join(_escaped(c) if _is_hidden(c) else c for c in text)


def _escaped(c: str) -> str:
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode()


def by_options(message: str) -> str:
    """A message of the library as the command line says it: ``longer than --max-duration = 60 s``."""
    for name, option in _OPTIONS.items():
        message = re.sub(rf"\b{name}\b", option, message)
    return message


def echo(text: object = "", *, end: str = "\n", stream: TextIO | None = None) -> None:
    """The one way to print: line ends stay, all else that :func:`visible` would escape is escaped."""
    lines = "\n".join(_STYLE.join(map(visible, line.split(_STYLE))) for line in str(text).split("\n"))
    print(lines.replace(_STYLE, "\x1b"), end=end, file=stream or sys.stdout, flush=True)


def json_text(values: Any, *, indent: int | None = None) -> str:
    """Plain values as JSON in which all that :func:`visible` would escape is escaped, by the rules of JSON."""
    return visible_json(json.dumps(values, indent=indent, ensure_ascii=False, allow_nan=False))


def visible_json(text: str) -> str:
    """The same of a text that is JSON already."""
    lines = (line if line.isprintable() else "".join(map(_json_escaped, line)) for line in text.split("\n"))
    return "\n".join(lines)


def _json_escaped(c: str) -> str:
    return json.dumps(c)[1:-1] if _is_hidden(c) else c


def _is_hidden(c: str) -> bool:
    return (category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") or c == _STYLE) and c not in _JOINERS


def columns(rows: Iterable[Sequence[str]], *, align: str = "", indent: str = "") -> str:
    """Rows of cells as aligned lines; ``align`` holds ``<`` or ``>`` for each column, ``<`` where it ends."""
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    align = align.ljust(len(widths), "<")
    lines = ("  ".join(_padded(cell, a, w) for cell, a, w in zip(row, align, widths)) for row in cells)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def display_width(text: str) -> int:
    """Columns of a terminal that a text takes: letters of East Asian scripts take two, combining marks none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(cell: str, align: str, n: int) -> str:
    blanks = " " * (n - display_width(cell))
    return blanks + cell if align == ">" else cell + blanks


def terminal_width() -> int:
    """Columns of the terminal, or what COLUMNS says; 80 where there is none."""
    return max(40, shutil.get_terminal_size().columns)


def table(rows: Iterable[Sequence[str]], *, align: str = "", indent: str = "", shrinks: Sequence[int] = ()) -> str:
    """Rows of cells, the first one a head: drawn for the terminal where standard output is one, else plain lines.

    On a terminal, columns ``shrinks`` are cut where the table would be wider than it is, and the others never.
    """
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    if not cells or not sys.stdout.isatty():
        return columns(cells, align=align, indent=indent)
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for i, head in enumerate(cells[0]):
        right = align[i : i + 1] == ">"
        cut = i in shrinks
        made.add_column(
            Text(head), justify="right" if right else "left", no_wrap=True, overflow="ellipsis",
            min_width=_SHORTEST if cut else max(display_width(row[i]) for row in cells),
        )  # fmt: skip
    for row in cells[1:]:
        made.add_row(*map(Text, row))
    console = Console(file=StringIO(), width=terminal_width(), force_terminal=True, highlight=False)
    console.print(Padding(made, (0, 0, 0, len(indent))))
    drawn = console.file.getvalue().rstrip("\n").replace("\x1b", _STYLE)  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in drawn.split("\n"))


def fits(rows: Iterable[Sequence[str]], *, shrinks: Sequence[int] = ()) -> bool:
    """Whether :func:`table` shows all columns of the rows: on a terminal that is too narrow it would not."""
    if not sys.stdout.isatty():
        return True
    widths = [max(display_width(visible(str(cell))) for cell in column) for column in zip(*rows, strict=True)]
    least = sum(min(w, _SHORTEST) if i in shrinks else w for i, w in enumerate(widths))
    return least + 2 * max(len(widths) - 1, 0) <= terminal_width()


def wrapped(text: str, *, indent: str = "", hanging: str | None = None) -> list[str]:
    """Running text as lines that fit the terminal; ``hanging`` indents all but the first. Names of files stay whole."""
    hanging = indent if hanging is None else hanging
    width = min(terminal_width(), _LONGEST)
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_on_hyphens=False,
        break_long_words=False,
    )


def shortened(text: str, width: int) -> str:
    """``text`` with an ellipsis in place of what is too long."""
    if display_width(text) <= width:
        return text
    kept = text[: max(width - 1, 1)]
    while len(kept) > 1 and display_width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def shortened_inside(text: str, width: int) -> str:
    """``text`` with an ellipsis in its first half in place of what is too long: paths differ at their end."""
    if display_width(text) <= width:
        return text
    head, kept = (width - 1) // 3, text
    while len(kept) > 1 and (display_width(kept) > width - 1 - head or not display_width(kept[0])):
        kept = kept[1:]
    return (shortened(text, head + 1) if head else "…") + kept


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
