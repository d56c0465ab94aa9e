"""``stemfeatures report``: a static page on a features directory or on a track of it."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ._exit import DONE, UsageError
from ._inputs import add_overwrite, require_free
from ._options import add_dataset, add_verb
from ._text import echo, visible


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "report",
        run,
        "write a page on a features directory, or on a track of it",
        description="Writes OUT/index.html, which opens from disk and needs no network. Of a directory: throughput, "
        "failures by reason, distributions of descriptors by stem, nulls and why, outliers, duplicates, and a map of "
        "all tracks by the embeddings of a stem. Of a track: a player, its picture, its descriptors and its neighbours "
        "by stem. Needs the extra report.",
        examples=(
            "stemfeatures report features -o report",
            "stemfeatures report features albums/song.mp3 -o song-report",
        ),
    )
    add_dataset(parser)
    parser.add_argument(
        "track_id",
        nargs="?",
        metavar="TRACK",
        help="a track of it (where its id begins with -: report -o OUT -- DIR TRACK)",
    )
    parser.add_argument("-o", "--out-dir", type=Path, required=True, metavar="OUT", help="folder of the page")
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    if find_spec("matplotlib") is None:
        raise UsageError("pictures need matplotlib: pip install 'stemfeatures[report]'")
    from stemfeatures.tables.reader import open_features

    from ..report import write_run_report, write_track_report
    from .status import look

    if args.out_dir.exists() and not args.out_dir.is_dir():
        raise UsageError(f"{args.out_dir} is a file; -o names a folder")
    require_free([args.out_dir / "index.html"], overwrite=args.overwrite)
    features = open_features(args.dataset)

    def tell(what: str) -> None:
        if not args.quiet:
            echo(f"stemfeatures: {visible(what)} ...", stream=sys.stderr)

    if args.track_id is None:
        path = write_run_report(features, look(features), args.out_dir, progress=tell)
    else:
        path = write_track_report(features, args.track_id, args.out_dir, progress=tell)
    if not args.quiet:
        echo(visible(str(path)))
    return DONE
