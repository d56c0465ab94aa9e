"""``stemfeatures validate``: what would go wrong with a catalogue, before it does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain

from ._exit import DONE, SOME_FAILED
from ._options import CATALOG_HELP, add_cache_size, add_limits, add_verb, limits_of, whole
from ._progress import ProgressLine
from ._text import by_options, columns, count, duration, echo, fits, json_text, visible, wrapped

if TYPE_CHECKING:
    from ..catalog import ValidationReport

#: Problems that are printed; of half a million nobody reads more.
MOST_LINES = 200


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "validate",
        run,
        "look for problems in a catalogue without extracting it",
        description="Ids and files that occur twice, files that are missing, empty or cannot be opened as audio. Files "
        "that break off, or are damaged behind their beginning, are found with --decode. Exit code 3 when there are "
        "problems.",
        examples=(
            "stemfeatures validate catalog.csv",
            "stemfeatures validate music/ --content",
            "stemfeatures validate music/ --decode -j 8",
        ),
    )
    parser.add_argument(
        "catalog",
        nargs="+",
        metavar="CATALOG",
        help=CATALOG_HELP,
    )
    parser.add_argument("--limit", type=whole(1), metavar="N", help="only the first N rows of the catalogue")
    parser.add_argument("--content", action="store_true", help="find files with the same bytes, too: reads all")
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--no-probe", action="store_true", help="only see whether the files are there")
    depth.add_argument("--decode", action="store_true", help="decode every file to its end, to find truncated ones")
    parser.add_argument("-j", "--jobs", type=whole(1), default=4, metavar="N", help="files at a time (default: 4)")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    add_limits(parser)
    add_cache_size(parser)


def run(args: argparse.Namespace) -> int:
    from ..catalog import validate_catalog

    line: ProgressLine | None = None

    def show(done: int, total: int) -> None:
        nonlocal line
        if line is None:
            line = ProgressLine(total, label="validate", unit="row", quiet=args.quiet)
        line.advance_to(done)

    try:
        report = validate_catalog(
            args.catalog[0] if len(args.catalog) == 1 else args.catalog,
            probe=not args.no_probe,
            decode=args.decode,
            content=args.content,
            limit=args.limit,
            progress=show,
            n_threads=args.jobs,
            limits=limits_of(args),
            **({} if args.cache_size is None else {"cache_bytes": args.cache_size}),
        )
    finally:
        if line is not None:
            line.close()
    echo(as_json(report) if args.json else as_text(report))
    return DONE if report.ok else SOME_FAILED


def as_json(report: ValidationReport) -> str:
    values = {**vars(report), "problems": [vars(p) for p in report.problems], "ok": report.ok, "fatal": report.fatal}
    return json_text(plain(values))


def as_text(report: ValidationReport) -> str:
    """A line a problem, of many the first, and a summary."""
    from ..catalog.types import passed_over_text

    lines = []
    if report.problems:
        rows = [("row", "problem", "track id", "what")]
        shown = report.problems[:MOST_LINES]
        rows += [(str(p.row), p.kind, p.track_id, by_options(" ".join(p.message.split()))) for p in shown]
        lines += [*_problem_lines(rows), ""]
        if (more := len(report.problems) - MOST_LINES) > 0:
            lines.append(f"and {count(more, 'problem')} more; --json lists all of them")
    summary = f"{report.origin}: {count(report.n_rows, 'row')}"
    if report.audio_s is not None:
        summary += f", {duration(report.audio_s)} of audio"
        if report.n_unknown_duration:
            summary += f" (without {count(report.n_unknown_duration, 'file')} of unknown length)"
    if report.passed_over:
        lines.append(passed_over_text(report.passed_over))
    if report.ok:
        lines.append(f"{summary}, no problems")
    else:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in report.counts().items())
        lines.append(f"{summary}, {count(len(report.problems), 'problem')} ({kinds})")
        lines.append(_consequence(report))
    return "\n".join(lines)


def _problem_lines(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """A table with its head; where it is wider than the terminal, what is wrong stands below each row."""
    if fits(rows):
        return columns(rows, align="><<<").split("\n")
    head, *heads = columns([row[:2] for row in rows], align="><").split("\n")
    lines = [f"{head}: track id"]
    for (*_, track_id, message), line in zip(rows[1:], heads, strict=True):
        lines += [f"{line}: {visible(track_id)}", *wrapped(visible(message), indent=" " * 6)]
    return lines


def _consequence(report: ValidationReport) -> str:
    from ..catalog.types import HARMLESS_KINDS

    if report.fatal:
        return "extract refuses this catalogue until ids and files are unique, or takes what --on-duplicate says"
    kinds = report.counts()
    if not kinds.keys() <= HARMLESS_KINDS:
        taken = " and ".join(sorted(kinds.keys() & HARMLESS_KINDS))
        return f"extract puts these in table errors, and takes the other rows{f' and those {taken}' if taken else ''}"
    return "extract takes all of them" + (", the truncated ones as far as they go" if "truncated" in kinds else "")
