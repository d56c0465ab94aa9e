"""``stemfeatures neighbours``: the nearest tracks of every track, as a Parquet table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ._exit import DONE
from ._inputs import add_overwrite, require_free
from ._options import add_dataset, add_verb, whole
from ._progress import ProgressLine
from ._similarity import add_index_dir, add_question, question, tell_building
from ._text import count, echo, visible


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "neighbours",
        run,
        "find the tracks nearest to every track, as a Parquet table",
        description="What similar finds for one track, for all of them: track_id, rank, neighbour_id, distance and, "
        "with --not, unlikeness. Tracks in which a chosen stem is silent have no rows. The folder appears when the "
        "table is complete.",
        examples=(
            "stemfeatures neighbours features -o neighbours",
            "stemfeatures neighbours features --stem bass -k 20 -o bass-neighbours -j 8",
        ),
    )
    add_dataset(parser)
    parser.add_argument("-o", "--out-dir", type=Path, required=True, metavar="OUT", help="folder of the table")
    add_overwrite(parser)
    add_question(parser)
    workers = parser.add_argument_group("workers")
    workers.add_argument("-j", "--jobs", type=whole(1), metavar="N", help="worker processes (default: by the machine)")
    workers.add_argument("--scheduler", metavar="ADDR", help="use the workers of this running Dask scheduler")
    add_index_dir(parser)


def run(args: argparse.Namespace) -> int:
    from ..similarity import all_pairs

    require_free([args.out_dir], overwrite=args.overwrite)
    line: ProgressLine | None = None

    def show(done: int, total: int) -> None:
        nonlocal line
        if line is None:
            line = ProgressLine(total, label="neighbours", unit="track", quiet=args.quiet)
        line.advance_to(done)

    try:
        result = all_pairs(
            args.dataset,
            args.out_dir,
            **question(args),
            index_dir=args.index_dir,
            jobs=args.jobs,
            scheduler=args.scheduler,
            progress=show,
            overwrite=args.overwrite,
            building=tell_building(args),
        )
    finally:
        if line is not None:
            line.close()
    if not args.quiet:
        without = f"; {count(result.n_without, 'track')} without, for a chosen stem is silent in them"
        made = f"{count(result.n_rows, 'row')} for {count(result.n_tracks, 'track')}"
        echo(f"{visible(str(result.path))}: {made}{without if result.n_without else ''}")
    return DONE
