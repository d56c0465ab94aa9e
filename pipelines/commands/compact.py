"""``stemfeatures compact``: fewer, larger, sorted files."""

from __future__ import annotations

import argparse
from typing import Any

from ._exit import DONE
from ._options import add_dataset, add_verb
from ._text import columns, count, echo, size


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "compact",
        run,
        "merge the small files of a features directory",
        description="Merges small part files, drops replaced rows and sorts by track. Afterwards each table folder "
        "holds exactly the rows that count, so that pandas, DuckDB, Polars and Dask can read it as it is. May be "
        "interrupted at any time and started again.",
        examples=("stemfeatures compact features",),
    )
    add_dataset(parser)
    parser.add_argument(
        "--vacuum",
        action="store_true",
        help="merge nothing, only delete files that do not count (dead attempts, replaced parts), as compact does too",
    )


def run(args: argparse.Namespace) -> int:
    from stemfeatures.tables.compact import compact, vacuum

    if args.vacuum:
        deleted = vacuum(args.dataset)
        if not args.quiet:
            echo(f"{count(len(deleted), 'file')} deleted, nothing merged")
        return DONE
    results = compact(args.dataset)
    if not args.quiet:
        rows = [("table", "files", "before", "size", "before")]
        rows += [
            (r.table, f"{r.files_after:,}", f"{r.files_before:,}", size(r.bytes_after), size(r.bytes_before))
            for r in results
        ]
        echo(columns(rows, align="<>>>>") if results else "nothing to compact")
    return DONE
