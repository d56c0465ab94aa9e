"""``stemfeatures schema``: the data dictionary."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from stemfeatures._util.words import did_you_mean

from ._exit import DONE, UsageError
from ._options import add_verb
from ._text import echo, wrapped

if TYPE_CHECKING:
    from stemfeatures.tables.schema import Table


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "schema",
        run,
        "explain the tables and their columns",
        description="The data dictionary: every column with its type, unit, range and meaning. WHAT is a table, a "
        "column, a part of its name, a family (rhythm, harmony ...), words of its description, or words of all these "
        "and of the stem (vibrato vocals).",
        examples=(
            "stemfeatures schema",
            "stemfeatures schema stems",
            "stemfeatures schema f0_median_hz",
            "stemfeatures schema rhythm",
            "stemfeatures schema 'true peak'",
            "stemfeatures schema --json",
        ),
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help="what to look up (default: all tables)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as Markdown")


def run(args: argparse.Namespace) -> int:
    from stemfeatures.tables.schema import SCHEMA_VERSION, TABLES, find_fields, markdown

    what = " ".join(args.what)
    tables = find_fields(what)
    if not tables:
        near = did_you_mean(what, _known(TABLES.values()))
        raise UsageError(
            f"no table, column, family or description has {what!r}{near or '; stemfeatures schema lists all'}"
        )
    if args.markdown:
        echo(markdown(tables), end="")
    elif args.json:
        echo(json.dumps({"schema_version": SCHEMA_VERSION, "tables": {t.name: _as_json(t) for t in tables}}, indent=1))
    else:
        echo("\n\n".join(_as_text(t) for t in tables))
    return DONE


def _known(tables: Collection[Table]) -> set[str]:
    """What can be looked up: tables, families, columns, and the words of their names, as in ``tempo_bpm``."""
    fields = [f for table in tables for f in table.fields]
    names = {table.name for table in tables} | {f.name for f in fields} | {f.family for f in fields if f.family}
    return names | {word for f in fields for word in f.name.split("_") if len(word) > 2}


def _as_json(table: Any) -> dict[str, Any]:
    fields = [f.to_json() for f in table.fields]
    return {"description": table.description, "key": list(table.key), "fields": fields}


def _as_text(table: Any) -> str:
    lines = [f"{table.name} (key: {', '.join(table.key)})", *wrapped(table.description), ""]
    for f in table.fields:
        facts = [f.type, f.unit, f.range.replace(" | ", "|"), "or null" if f.nullable else ""]
        facts.append("" if not f.rows else f"of {', '.join(f.rows)}")
        head = f"  {f.name}  {'  '.join(filter(None, facts))}"
        lines += [*wrapped(head, hanging=" " * 6), *wrapped(f.description, indent=" " * 6)]
    return "\n".join(lines)
