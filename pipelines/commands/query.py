"""``stemfeatures query``: SQL over a features directory."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemfeatures._util.json import plain

from ._exit import DONE, UsageError
from ._inputs import add_overwrite, require_folder, require_free
from ._options import add_dataset, add_verb, whole
from ._text import NOTHING, columns, count, echo, fits, json_text, table, visible

if TYPE_CHECKING:
    import pandas as pd
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
        "their path, too. A query only reads: --output writes its result. Needs the extra query.",
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
        require_folder(args.output, "--output")
        require_free([args.output], overwrite=args.overwrite)
    if find_spec("duckdb") is None:
        raise UsageError("SQL needs duckdb: pip install 'stemfeatures[query]'")
    from stemfeatures.tables.query import query
    from stemfeatures.tables.reader import open_features

    found = _in_plain_types(query(open_features(args.dataset), args.sql))
    if args.output is not None:
        _write(found, args.output)
        if not args.quiet:
            echo(visible(f"{args.output}: {count(found.num_rows, 'row')}"))
    elif args.csv:
        echo(_cells(found).to_csv(index=False), end="")
    elif args.json:
        for row in found.to_pylist():
            echo(json_text(plain(row)))
    else:
        echo(as_text(found, args.n))
    return DONE


def _in_plain_types(found: pa.Table) -> pa.Table:
    """Sums of integers, which DuckDB gives as decimals of 38 digits, as int64 where that holds them, and differences of
    times, which it gives as months, days and nanoseconds, as durations where there are no months."""
    import pyarrow as pa

    for i, field in enumerate(found.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            with suppress(pa.ArrowInvalid):
                found = found.set_column(i, field.name, found.column(i).cast(pa.int64()))
        elif pa.types.is_interval(field.type):
            spans = found.column(i).to_pylist()
            if not any(span.months for span in spans if span is not None):
                values = [s and timedelta(days=s.days, microseconds=s.nanoseconds // 1000) for s in spans]
                found = found.set_column(i, field.name, pa.array(values, pa.duration("us")))
    return found


def as_text(found: pa.Table, most: int) -> str:
    """The first rows as a table; where that is wider than the terminal, a line a value."""
    rows = [found.column_names]
    rows += [[_cell(value) for value in row] for row in _rows(found.slice(0, most))]
    numeric = [str(t).startswith(("int", "uint", "float", "double", "decimal")) for t in found.schema.types]
    text = [i for i, number in enumerate(numeric) if not number]
    if fits(rows, shrinks=text):
        lines = [table(rows, align="".join("<>"[number] for number in numeric), shrinks=text)]
    else:
        told = [columns(zip(rows[0], row, strict=True)) for row in rows[1:]]
        lines = ["\n\n".join(told or [columns([name] for name in rows[0])])]
    if (more := found.num_rows - most) > 0:
        lines.append(f"… and {count(more, 'more row')} (--csv, --json and --output give all)")
    return "\n".join(lines)


def _rows(found: pa.Table) -> Iterator[Sequence[Any]]:
    """Values by row, also where two columns have one name."""
    return zip(*(column.to_pylist() for column in found.columns), strict=True)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{len(value)} values]" if len(value) > 8 else ", ".join(_cell(v) for v in value)
    return str(value)


def _cells(found: pa.Table) -> pd.DataFrame:
    """A table for CSV: integers stay integers beside nulls, and lists are JSON, whole."""
    import pyarrow as pa

    for i, field in enumerate(found.schema):
        if pa.types.is_nested(field.type):
            values = [None if v is None else json_text(plain(v)) for v in found.column(i).to_pylist()]
            found = found.set_column(i, field.name, pa.array(values, pa.string()))
    return found.to_pandas(integer_object_nulls=True)


def _write(found: pa.Table, path: Path) -> None:
    import pyarrow.parquet

    from stemfeatures._util.files import replacing

    with replacing(path) as partial:
        if path.suffix.lower() == ".csv":
            _cells(found).to_csv(partial, index=False)
            return
        try:
            pyarrow.parquet.write_table(found, partial)
        except pyarrow.ArrowNotImplementedError as error:
            raise UsageError(f"--output: {error}; cast it, or write CSV") from error
