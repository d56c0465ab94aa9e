"""``stemfeatures query``: SQL over a features directory."""

from __future__ import annotations

import argparse
import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain

from ._exit import DONE, UsageError
from ._inputs import add_overwrite, require_free
from ._options import add_dataset, add_verb, whole
from ._text import NOTHING, count, echo, json_text, table

if TYPE_CHECKING:
    import pyarrow as pa

_FILES = (".csv", ".parquet")


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "query",
        run,
        "ask a features directory in SQL",
        description="The tables are tracks, stems, contours and so on (stemfeatures schema tells their columns): the "
        "rows that count, also while a run is writing. The dialect is DuckDB's, which joins CSV and Parquet files by "
        "their path, too. Needs the extra query.",
        examples=(
            "stemfeatures query features \"SELECT track_id, tempo_bpm FROM stems WHERE stem = 'mixture'\"",
            "stemfeatures query features 'SELECT status, count(*) AS n FROM tracks GROUP BY status' --csv",
            "stemfeatures query features \"SELECT * FROM stems WHERE stem = 'bass'\" -o bass.parquet",
        ),
    )
    add_dataset(parser)
    parser.add_argument("sql", metavar="SQL", help="the query")
    parser.add_argument("-n", type=whole(1), default=50, metavar="N", help="rows shown as text (default: %(default)s)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a row, all rows")
    form.add_argument("--csv", action="store_true", help="CSV with a head, all rows")
    form.add_argument("-o", "--output", type=Path, metavar="FILE", help="write all rows to a .csv or .parquet file")
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    if args.output is not None:
        if args.output.suffix.lower() not in _FILES:
            raise UsageError(f"--output: {args.output} is neither {' nor '.join(_FILES)}")
        require_free([args.output], overwrite=args.overwrite)
    if find_spec("duckdb") is None:
        raise UsageError("SQL needs duckdb: pip install 'stemfeatures[query]'")
    from stemfeatures.tables.query import query
    from stemfeatures.tables.reader import open_features

    found = query(open_features(args.dataset), args.sql)
    if args.output is not None:
        _write(found, args.output)
    elif args.csv:
        echo(found.to_pandas().to_csv(index=False), end="")
    elif args.json:
        for row in found.to_pylist():
            echo(json_text(plain(row)))
    else:
        echo(as_text(found, args.n))
    return DONE


def as_text(found: pa.Table, most: int) -> str:
    """The first rows as a table."""
    rows = [found.column_names]
    rows += [[_cell(value) for value in row.values()] for row in found.slice(0, most).to_pylist()]
    numeric = [str(t).startswith(("int", "uint", "float", "double", "decimal")) for t in found.schema.types]
    text = [i for i, number in enumerate(numeric) if not number]
    lines = [table(rows, align="".join("<>"[number] for number in numeric), shrinks=text)]
    if (more := found.num_rows - most) > 0:
        lines.append(f"… and {count(more, 'more row')} (--csv, --json and --output give all)")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{len(value)} values]" if len(value) > 8 else ", ".join(_cell(v) for v in value)
    return str(value)


def _write(found: pa.Table, path: Path) -> None:
    import pyarrow.parquet

    from stemfeatures._util.files import replacing

    with replacing(path) as partial:
        if path.suffix.lower() == ".csv":
            found.to_pandas().to_csv(partial, index=False)
        else:
            pyarrow.parquet.write_table(found, partial)
