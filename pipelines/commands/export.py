"""``stemfeatures export``: the tables in the format of another lake."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from stemfeatures._util.urls import place_of

from ._exit import DONE, UsageError
from ._inputs import add_overwrite
from ._options import add_dataset, add_verb
from ._text import count, echo, visible

#: Those of :data:`stemfeatures.tables.export.LAKES`, which is imported only when it is asked for.
_KINDS = ("delta", "iceberg", "lance")


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "export",
        run,
        "write the tables to Delta Lake, Iceberg or Lance",
        description="Writes the committed rows, a new version of each table, in bounded memory. Categories become "
        "text, small unsigned integers signed ones. Each kind is an extra of its name.",
        examples=(
            "stemfeatures export features --to delta lake",
            "stemfeatures export features --to lance s3://bucket/lake --table stems --table embeddings",
            "stemfeatures export features --to iceberg default.music --overwrite",
        ),
    )
    add_dataset(parser)
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="folder or address below which the tables go; of Iceberg CATALOG.NAMESPACE, as PyIceberg is configured",
    )
    parser.add_argument("--to", choices=_KINDS, required=True, help="kind of lake")
    parser.add_argument(
        "--table",
        dest="tables",
        action="append",
        metavar="NAME",
        help="only this one (may be repeated; default: all)",
    )
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    from stemfeatures.tables.export import export
    from stemfeatures.tables.reader import open_features

    features = open_features(args.dataset)
    try:
        if args.to != "iceberg" and isinstance(place := place_of(args.target), Path) and place.is_file():
            raise UsageError(f"{place} is a file; TARGET names a folder")
        written = export(features, args.to, args.target, tables=args.tables, overwrite=args.overwrite)
    except (ImportError, ValueError) as error:
        raise UsageError(str(error)) from error
    if not args.quiet:
        echo("\n".join(f"{visible(table)}: {count(rows, 'row')}" for table, rows in written.items()))
    return DONE
