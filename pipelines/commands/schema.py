"""``stemfeatures schema``: the data dictionary."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

from ._exit import DONE
from ._options import add_verb
from ._text import columns


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "schema",
        run,
        "explain the tables and their columns",
        description="The data dictionary: every column with its type, unit, range and meaning.",
        examples=(
            "stemfeatures schema",
            "stemfeatures schema stems",
            "stemfeatures schema --json",
        ),
    )
    parser.add_argument("table", nargs="?", metavar="TABLE", help="one table only (default: all)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as Markdown")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.tables.schema import SCHEMA_VERSION, TABLES, get_table, markdown

    tables = [get_table(args.table)] if args.table else list(TABLES.values())
    if args.markdown:
        print(markdown([t.name for t in tables]), end="")
    elif args.json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, "tables": {t.name: _as_json(t) for t in tables}}, indent=1))
    else:
        print("\n\n".join(_as_text(t) for t in tables))
    return DONE


def _as_json(table: Any) -> dict[str, Any]:
    fields = [f.to_json() for f in table.fields]
    return {"description": table.description, "key": list(table.key), "fields": fields}


def _as_text(table: Any) -> str:
    # A range such as "ok|silent" is as long as it is; the description has its own line under each column.
    rows = [
        (f.name, f.type, f.unit, f.range.replace(" | ", "|"), "or null" if f.nullable else "") for f in table.fields
    ]
    heads = columns(rows, indent="  ").split("\n")
    lines = [f"{table.name} (key: {', '.join(table.key)})", *textwrap.wrap(table.description, 100), ""]
    for head, f in zip(heads, table.fields):
        lines += [head, *textwrap.wrap(f.description, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)]
    return "\n".join(lines)
