"""``stemfeatures check``: whether a features directory is whole."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ._exit import DONE, SOME_FAILED
from ._options import add_dataset, add_verb
from ._text import columns, count, echo, json_text, visible

if TYPE_CHECKING:
    from stemfeatures.tables.check import CheckResult

#: Track ids that are shown on the screen.
_SHOWN = 10


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "check",
        run,
        "see whether the files of a features directory are as they were written",
        description="Compares sizes, and the number of rows in the footers, with the commit log, and names the tracks "
        "whose rows are lost. Exit code 3 when there are any and --repair was not asked for.",
        examples=(
            "stemfeatures check features",
            "stemfeatures check features --deep",
            "stemfeatures check features --repair",
        ),
    )
    add_dataset(parser)
    parser.add_argument("--deep", action="store_true", help="read all rows, too")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="take tracks with lost rows out of all tables, so that the next extract does them again",
    )
    parser.add_argument("--json", action="store_true", help="what was found as one JSON object")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.tables.check import check

    result = check(args.dataset, deep=args.deep, repair=args.repair)
    if args.json:
        echo(json_text(as_json(result), indent=1))
    elif not args.quiet or result.damaged:
        echo(as_text(result))
    return SOME_FAILED if result.damaged and not result.repaired else DONE


def as_json(result: CheckResult) -> dict[str, Any]:
    """The result as plain values."""
    damaged = [{"path": d.part.path, "rows": d.part.rows, "what": d.what} for d in result.damaged]
    return {
        "parts": result.n_parts,
        "damaged": damaged,
        "tracks": list(result.tracks),
        "unknown_rows": result.n_unknown,
        "repaired": result.repaired,
    }


def as_text(result: CheckResult) -> str:
    """The result for a screen."""
    if not result.damaged:
        return f"{count(result.n_parts, 'file')}: all are as they were written"
    rows = [("file", "rows", "what")]
    rows += [(d.part.path, f"{d.part.rows:,}", d.what) for d in result.damaged]
    lines = [f"{len(result.damaged):,} of {count(result.n_parts, 'file')} damaged:", columns(rows, align="<><")]
    if result.tracks:
        more = f", and {len(result.tracks) - _SHOWN:,} more (--json names all)" if len(result.tracks) > _SHOWN else ""
        lines.append(f"tracks with lost rows: {visible(', '.join(result.tracks[:_SHOWN]))}{more}")
    if result.n_unknown:
        lines.append(f"rows of tracks and errors that nothing else in the dataset names: {result.n_unknown:,}")
    if result.repaired:
        lines.append("repaired: these tracks are not done any more; the same extract command does them again")
    else:
        lines.append("with --repair these tracks are taken out, and the next extract does them again")
    return "\n".join(lines)
